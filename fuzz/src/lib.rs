//! What must hold for every input of the codecs. Each target of `fuzz_targets/` calls one function; the tests here call
//! them with the committed corpus. A property that does not hold panics.

mod config;
mod described;
mod devices;
mod home;
mod json;
mod kept;
mod message;
mod modbus;
mod published;
mod serial;
mod topic;
mod values;

use gadwall::codec::time::{Local, from_integer, parse_number, parse_query, parse_text};
use gadwall::reading::Timestamp;
use gadwall::zone::Tz;

pub use config::config;
pub use described::{homie, sparkplug_b};
pub use devices::{dsmr, framing, layout, mh_z19, nmea, pms, port, sds011, senseair_s8};
pub use home::{esphome, shelly, tasmota, zigbee2mqtt};
pub use json::{json, json_lines};
pub use kept::{floor, redelivery, starts, wal};
pub use message::message;
pub use modbus::modbus;
pub use published::{rtl_433, ruuvi, senml, the_things_stack, theengs};
pub use serial::{hub_lines, lines};
pub use topic::topic;
pub use values::{csv, influx_line, msgpack, number};

/// Times: what is parsed lies in the years 0000 to 9999, and printed and parsed again it is the same, in whatever zone; the
/// ways to parse agree.
pub fn time(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let now = Timestamp(1_760_000_000_123_456);
    let parsed = parse_text(text, Local::UTC);
    for t in [parsed, parse_query(text, now).ok()].into_iter().flatten() {
        let printed = t.to_string();
        assert!(printed.len() >= 20 && printed.ends_with('Z') && !printed.starts_with(['+', '-']), "{printed}");
        for local in
            [Local::UTC, Local { zone: Tz::Europe__Berlin, arrival: Some(now) }, Local::of(Tz::Australia__Lord_Howe)]
        {
            assert_eq!(parse_text(&printed, local), Some(t), "{printed}");
        }
        assert_eq!(parse_query(&printed, now), Ok(t), "{printed}");
    }
    if parsed.is_some() {
        assert_eq!(parse_query(text, now).ok(), parsed);
    }
    // In another zone the same text is another instant of that day or of one beside it; but for the ends of the years.
    for zone in [Tz::Europe__Berlin, Tz::Australia__Lord_Howe] {
        let there = parse_text(text, Local::of(zone));
        if let (Some(here), Some(there)) = (parsed, there) {
            assert!((here.micros() - there.micros()).abs() <= 15 * 3_600_000_000, "{here} {there}");
        }
        if let Some(t) = there {
            // Heard at that moment it is the same, also where clocks show it twice: the first has just come.
            assert_eq!(parse_text(text, Local { zone, arrival: Some(t) }), there, "{t}");
        }
    }
    if let Some(t) = parse_number(text) {
        assert_eq!(parsed, Some(t));
    }
    if let Ok(n) = text.parse::<i64>() {
        assert_eq!(parse_number(text), from_integer(n));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Calls `property` with every file of the target's corpus.
    fn replay(target: &str, property: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        let mut files = 0;
        for entry in std::fs::read_dir(&folder).expect("the corpus is there") {
            let path = entry.expect("the corpus can be listed").path();
            println!("{}", path.display());
            property(&std::fs::read(&path).expect("the file can be read"));
            files += 1;
        }
        assert!(files > 0, "{} is empty", folder.display());
    }

    #[test]
    fn topic() {
        replay("topic", super::topic);
    }

    #[test]
    fn json() {
        replay("json", super::json);
    }

    #[test]
    fn json_lines() {
        replay("json_lines", super::json_lines);
    }

    #[test]
    fn time() {
        replay("time", super::time);
    }

    #[test]
    fn lines() {
        replay("lines", super::lines);
    }

    #[test]
    fn hub_lines() {
        replay("hub_lines", super::hub_lines);
    }

    #[test]
    fn config() {
        replay("config", super::config);
    }

    #[test]
    fn message() {
        replay("message", super::message);
    }

    #[test]
    fn redelivery() {
        replay("redelivery", super::redelivery);
    }

    #[test]
    fn starts() {
        replay("starts", super::starts);
    }

    #[test]
    fn floor() {
        replay("floor", super::floor);
    }

    #[test]
    fn wal() {
        replay("wal", super::wal);
    }

    #[test]
    fn rtl_433() {
        replay("rtl_433", super::rtl_433);
    }

    #[test]
    fn theengs() {
        replay("theengs", super::theengs);
    }

    #[test]
    fn the_things_stack() {
        replay("the_things_stack", super::the_things_stack);
    }

    #[test]
    fn ruuvi() {
        replay("ruuvi", super::ruuvi);
    }

    #[test]
    fn senml() {
        replay("senml", super::senml);
    }

    #[test]
    fn zigbee2mqtt() {
        replay("zigbee2mqtt", super::zigbee2mqtt);
    }

    #[test]
    fn tasmota() {
        replay("tasmota", super::tasmota);
    }

    #[test]
    fn esphome() {
        replay("esphome", super::esphome);
    }

    #[test]
    fn shelly() {
        replay("shelly", super::shelly);
    }

    #[test]
    fn homie() {
        replay("homie", super::homie);
    }

    #[test]
    fn sparkplug_b() {
        replay("sparkplug_b", super::sparkplug_b);
    }

    #[test]
    fn csv() {
        replay("csv", super::csv);
    }

    #[test]
    fn influx_line() {
        replay("influx_line", super::influx_line);
    }

    #[test]
    fn msgpack() {
        replay("msgpack", super::msgpack);
    }

    #[test]
    fn number() {
        replay("number", super::number);
    }

    #[test]
    fn framing() {
        replay("framing", super::framing);
    }

    #[test]
    fn layout() {
        replay("layout", super::layout);
    }

    #[test]
    fn nmea() {
        replay("nmea", super::nmea);
    }

    #[test]
    fn dsmr() {
        replay("dsmr", super::dsmr);
    }

    #[test]
    fn sds011() {
        replay("sds011", super::sds011);
    }

    #[test]
    fn port() {
        replay("port", super::port);
    }

    #[test]
    fn pms() {
        replay("pms", super::pms);
    }

    #[test]
    fn mh_z19() {
        replay("mh_z19", super::mh_z19);
    }

    #[test]
    fn modbus() {
        replay("modbus", super::modbus);
    }

    #[test]
    fn senseair_s8() {
        replay("senseair_s8", super::senseair_s8);
    }

    /// What is only ever refused would be printed and parsed again by no input.
    #[test]
    fn the_corpus_of_the_configuration_has_good_ones() {
        let text = include_str!("../corpus/config/all-kinds");
        let config = gadwall::config::Config::parse(text, "/g/gadwall.toml").expect("every key as it should be");
        let numbers = (config.serial.len(), config.modbus.len(), config.mqtt.len(), config.quality.len());
        assert_eq!(numbers, (2, 1, 1, 2));
    }
}
