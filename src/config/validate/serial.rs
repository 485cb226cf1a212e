//! `[[serial]]`.

use std::time::Duration;

use super::{DAY, HOUR, SECOND, Section, Taken, zone};
use crate::codec::serial::protocol::{COUNTS, COVERS, Kind, MODELS, ORDERS};
use crate::codec::serial::{Format, Keys, Protocol};
use crate::config::{Parity, Serial, Uart, value};

const MILLISECOND: Duration = Duration::from_millis(1);

pub(super) fn serial(mut section: Section<'_>, taken: &mut Taken) -> Option<Serial> {
    let name = taken.name(&mut section);
    let port = taken.port(&mut section);
    let formats: Vec<_> = Format::all().map(|format| (format.as_str(), format)).collect();
    let expected = "how its bytes are read, such as \"json-lines\" or \"nmea-0183\"";
    let format = section.required("format", expected, value::format(&formats));
    // What is wrong with the others is told beside a wrong format, too.
    let usual = format.unwrap_or_default();
    let uart = uart(&mut section, usual);
    let interval = section.or("interval", Serial::default().interval, value::duration(SECOND..=8 * HOUR, 10 * SECOND));
    if !usual.is_asked() && section.is_set("interval") {
        let reason = format!("expected none: with format = \"{}\" nothing is asked", usual.as_str());
        section.blame("interval", reason);
    }
    // A device that is asked seldom is not silent before it was asked again.
    let patience = usual.silence().max(if usual.is_asked() { 3 * interval.unwrap_or_default() } else { SECOND });
    let silence = section.or("silence", patience.min(DAY), value::duration(SECOND..=DAY, usual.silence()));
    if let (Some(silence), Some(interval)) = (silence, interval)
        && usual.is_asked()
        && silence <= interval
    {
        section.blame("silence", "expected more than interval");
    }
    let keys = keys(&mut section, format);
    let timezone = section.optional("timezone", zone);
    if !usual.has_local_times() && section.is_set("timezone") {
        section.blame("timezone", format!("expected none: format = \"{}\" has no local times", usual.as_str()));
    }
    let protocol = keys.and_then(|keys| {
        let misfits = match Protocol::new(keys) {
            Ok(protocol) => return Some(protocol),
            Err(misfits) => misfits,
        };
        for (key, reason) in misfits {
            section.blame(key, reason);
        }
        None
    });
    section.finish();
    Some(Serial {
        name: name?,
        port: port?,
        uart: uart?,
        protocol: protocol?,
        silence: silence?,
        interval: interval?,
        timezone: timezone?,
    })
}

fn uart(section: &mut Section<'_>, format: Format) -> Option<Uart> {
    let default = Uart::default();
    let baud = section.or("baud", format.baud(), value::whole(300..=4_000_000));
    let data_bits = section.or("data-bits", default.data_bits, value::whole(7..=8));
    let parity = section.or("parity", default.parity, value::choice(&Parity::ALL));
    let stop_bits = section.or("stop-bits", default.stop_bits, value::whole(1..=2));
    Some(Uart { baud: baud?, data_bits: data_bits?, parity: parity?, stop_bits: stop_bits? })
}

/// How the bytes are read; whether it fits together is not looked at.
fn keys(section: &mut Section<'_>, format: Option<Format>) -> Option<Keys> {
    let max_line = section.optional("max-line", value::whole(64..=65_536));
    let framing = section.optional("framing", value::choice(&Kind::ALL));
    let crc = section.optional("crc", value::crc);
    let crc_order = section.optional("crc-order", value::choice(&ORDERS));
    let crc_covers = section.optional("crc-covers", value::choice(&COVERS));
    let length = section.optional("length", value::whole(1..=65_536));
    let sync = section.optional("sync", value::sync);
    let length_bytes = section.optional("length-bytes", value::whole(1..=2));
    let length_order = section.optional("length-order", value::choice(&ORDERS));
    let length_counts = section.optional("length-counts", value::choice(&COUNTS));
    let gap = section.optional("gap", value::duration(MILLISECOND..=60 * SECOND, 50 * MILLISECOND));
    let max_frame = section.optional("max-frame", value::whole(1..=65_536));
    let layout = section.optional("layout", value::layout);
    let time = section.optional("time", value::field);
    let node = section.optional("node", value::field);
    let columns = section.optional("columns", value::columns);
    let header = section.optional("header", value::flag);
    let separator = section.optional("separator", value::separator);
    let model = section.optional("model", value::choice(&MODELS));
    Some(Keys {
        format: format?,
        framing: framing?,
        crc: crc?,
        crc_order: crc_order?,
        crc_covers: crc_covers?,
        length: length?,
        sync: sync?,
        length_bytes: length_bytes?,
        length_order: length_order?,
        length_counts: length_counts?,
        gap: gap?,
        max_line: max_line?,
        max_frame: max_frame?,
        layout: layout?,
        time: time?,
        node: node?,
        columns: columns?,
        header: header?,
        separator: separator?,
        model: model?,
    })
}
