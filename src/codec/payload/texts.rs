//! Texts of formats whose publishers choose their fields themselves (JSON, MessagePack, tables, line protocol): which of them
//! tell that something happened, and which say the same as the last time.
//!
//! A text is an event, but for what only describes (ids, addresses, versions, names, units: [`tells`]) and for one that is
//! sent with each message and has not changed ([`Texts`]): a board that says `"mode": "eco"` every second has done one thing.

use super::recent::{Key, Recent, key};
use super::scalar::is_number;
use crate::codec::time;
use crate::reading::{AVAILABILITY_EVENT, CLOCK_EVENT, Event, When};

/// States of which the last text is remembered. Where a source has more of them, some are told again although they have not
/// changed. About 110 bytes each.
pub const MAX_REMEMBERED: usize = 1_024;

/// Last words of fields that describe who sends and how, and say nothing of what was measured or has happened. Sorted.
const DESCRIBING: &[&str] = &[
    "addr",
    "address",
    "app",
    "application",
    "area",
    "board",
    "brand",
    "bssid",
    "build",
    "building",
    "category",
    "checksum",
    "chip",
    "class",
    "client",
    "color",
    "colour",
    "comment",
    "crc",
    "currency",
    "date",
    "datetime",
    "desc",
    "description",
    "dev",
    "device",
    "domain",
    "dst",
    "encoding",
    "eui",
    "filename",
    "firmware",
    "floor",
    "format",
    "fw",
    "gateway",
    "group",
    "guid",
    "hardware",
    "hash",
    "host",
    "hostname",
    "hw",
    "iccid",
    "icon",
    "id",
    "ids",
    "imei",
    "imsi",
    "ip",
    "label",
    "lang",
    "language",
    "location",
    "mac",
    "manufacturer",
    "md5",
    "model",
    "name",
    "node",
    "nonce",
    "owner",
    "path",
    "payload",
    "product",
    "project",
    "protocol",
    "raw",
    "rev",
    "revision",
    "room",
    "schema",
    "sensor",
    "serial",
    "sha256",
    "sig",
    "signature",
    "site",
    "sn",
    "software",
    "source",
    "src",
    "ssid",
    "station",
    "sw",
    "tenant",
    "time",
    "timestamp",
    "timezone",
    "token",
    "topic",
    "ts",
    "type",
    "tz",
    "unit",
    "units",
    "uom",
    "uri",
    "url",
    "user",
    "uuid",
    "vendor",
    "ver",
    "version",
    "zone",
];

/// Last words of fields that tell a deed and no state: the same text twice is two deeds. Sorted.
const DEEDS: &[&str] = &[
    "action",
    "alert",
    "barcode",
    "button",
    "card",
    "click",
    "cmd",
    "code",
    "command",
    "event",
    "gesture",
    "key",
    "keypress",
    "log",
    "message",
    "msg",
    "notification",
    "press",
    "rfid",
    "scan",
    "scene",
    "tag",
    "trigger",
    "uid",
];

/// Longest word that is looked up.
const LONGEST: usize = 16;

/// The last word of a name such as `button_1`, `fwVersion` or `device.id`, in lower case, without numbers behind it; empty where it is
/// longer than any that is known.
fn last_word(name: &str) -> String {
    let separator = |c: char| matches!(c, '_' | '-' | '.' | ' ' | '/');
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || separator(c));
    let word = name.rsplit(separator).next().unwrap_or_default();
    // `fwVersion`: the last capital behind a small letter begins a word.
    let begins =
        word.as_bytes().windows(2).rposition(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase());
    let word = begins.map_or(word, |at| &word[at + 1..]);
    if word.len() > LONGEST { String::new() } else { word.to_ascii_lowercase() }
}

fn is_one_of(name: &str, words: &[&str]) -> bool {
    words.binary_search(&&*last_word(name)).is_ok()
}

/// Whether the field's text tells of a state or of something that happened: it does, unless the field's last word is one of
/// who or how (`fw_version`, `mac`, `unit`), or the text is a time, a version, an address, a link or a long hexadecimal number.
pub fn tells(field: &str, text: &str) -> bool {
    !is_one_of(field, DESCRIBING) && !describes(text)
}

/// Whether a text is of a shape that only describes.
fn describes(text: &str) -> bool {
    let text = text.trim();
    let grouped = |separator: char, groups: usize, longest: usize| {
        text.split(separator).count() == groups
            && text
                .split(separator)
                .all(|g| (1..=longest).contains(&g.len()) && g.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let version = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let is_version = version.starts_with(|c: char| c.is_ascii_digit())
        && version.split(['.', '-', '+']).take(3).filter(|part| part.parse::<u32>().is_ok()).count() == 3;
    let long_hex = text.len() >= 12 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let is_time = text.len() <= 40 && !is_number(text) && time::parse_text(text, time::Local::UTC).is_some();
    text.contains("://")
        || is_version
        || long_hex
        || is_time
        || grouped(':', 6, 2)
        || grouped(':', 8, 2)
        || grouped('-', 6, 2)
        || grouped('-', 5, 12) && text.len() == 36
}

/// The last text of each state.
#[derive(Clone, Debug)]
pub struct Texts {
    last: Recent<Key>,
}

impl Default for Texts {
    fn default() -> Self {
        Self { last: Recent::new(MAX_REMEMBERED) }
    }
}

impl Texts {
    /// Leaves the events out that tell of a state what was told last: of kinds that `is_state` may tell one, but not those of
    /// deeds, of clocks and availability, nor what a sender had stored.
    pub fn leave_out_known(&mut self, events: &mut Vec<Event>, is_state: impl Fn(&str) -> bool) {
        events.retain(|event| {
            let stored = matches!(event.when, When::Stored(_));
            let own = matches!(&*event.kind, CLOCK_EVENT | AVAILABILITY_EVENT);
            if stored || own || is_one_of(&event.kind, DEEDS) || !is_state(&event.kind) {
                return true;
            }
            let (of, text) = (key([event.node.as_bytes(), event.kind.as_bytes()]), key([event.data.as_bytes()]));
            if self.last.get(&of) == Some(&text) {
                return false;
            }
            self.last.put(of, text);
            true
        });
    }

    /// Forgets them: what was told last may not be stored.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted() {
        assert!(DESCRIBING.is_sorted() && DEEDS.is_sorted());
        assert!(DESCRIBING.iter().chain(DEEDS).all(|word| word.len() <= LONGEST));
    }

    #[test]
    fn what_describes_tells_nothing() {
        for (field, text) in [
            ("id", "t1"),
            ("device_id", "t1"),
            ("deviceId", "t1"),
            ("fwVersion", "beta"),
            ("meta.model", "BME280"),
            ("sensor-type", "BME280"),
            ("unit", "C"),
            ("x", "1.2.3"),
            ("x", "v2.10.0-rc1"),
            ("x", "192.168.1.7"),
            ("x", "a4:c1:38:00:11:22"),
            ("x", "00:15:8d:00:01:23:45:67"),
            ("x", "1bc68b2a-0000-4000-8000-00805f9b34fb"),
            ("x", "https://example.org/a"),
            ("x", "2025-10-09T08:53:20Z"),
            ("x", "00158d0001234567"),
        ] {
            assert!(!tells(field, text), "{field} {text}");
        }
        for (field, text) in [
            ("state", "open"),
            ("mode", "heat"),
            ("button_1", "single"),
            ("alarm", "smoke in the cellar"),
            ("error", "E12"),
            ("wind", "NW"),
            ("x", "12:30"),
            ("x", "deadbeef"),
            ("lastAction", "on_press"),
        ] {
            assert!(tells(field, text), "{field} {text}");
        }
    }

    #[test]
    fn a_state_is_told_when_it_changes_and_a_deed_each_time() {
        let mut texts = Texts::default();
        let mut told = |kind: &str, data: &str, when| {
            let mut events = vec![Event { node: "n".into(), kind: kind.into(), when, data: data.into() }];
            texts.leave_out_known(&mut events, |_| true);
            !events.is_empty()
        };
        let now = When::Arrival;
        assert!(told("mode", "eco", now) && !told("mode", "eco", now) && told("mode", "off peak", now));
        assert!(told("mode", "eco", now) && told("mode2", "eco", now));
        assert!(told("button", "single", now) && told("button", "single", now));
        assert!(told("clock", "x", now) && told("clock", "x", now));
        assert!(told("mode", "eco", When::Stored(crate::reading::Timestamp(0))));
        texts.forget();
        let mut events = vec![Event { node: "n".into(), kind: "mode".into(), when: now, data: "eco".into() }];
        texts.leave_out_known(&mut events, |_| true);
        assert_eq!(events.len(), 1);
    }
}
