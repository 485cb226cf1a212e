//! `[[serial]]` and layouts: what is read, and what is said about mistakes.

use std::time::Duration;

use super::{Config, errors, parsed};
use crate::codec::serial::Format;
use crate::codec::serial::framing::Framing;
use crate::config::{Parity, Serial, Uart};

const LAYOUT: &str = "layout = \"u16 node, i16 temperature * 0.01 degC\"\n";

/// A port whose keys from line 4 on are `keys`.
fn text(keys: &str) -> String {
    format!("[[serial]]\nname = \"port\"\nport = \"/dev/port\"\n{keys}")
}

fn port(keys: &str) -> Serial {
    parsed(&text(keys)).serial.remove(0)
}

/// Asserts that the keys have exactly these mistakes.
#[track_caller]
fn says(keys: &str, expected: &[&str]) {
    let expected: Vec<String> = expected.iter().map(|text| format!("gadwall.toml:{text}")).collect();
    assert_eq!(errors(&text(keys)), expected.join("\n"));
}

#[test]
fn defaults_are_those_of_the_format() {
    let line = |baud| Uart { baud, ..Uart::default() };
    for (format, baud, silence) in [
        ("hub-lines", 115_200, 60),
        ("json-lines", 115_200, 60),
        ("csv-lines", 115_200, 60),
        ("influx-line", 115_200, 60),
        ("nmea-0183", 9_600, 30),
        ("dsmr-p1", 115_200, 60),
        ("sds011", 9_600, 30),
        ("pms", 9_600, 30),
    ] {
        let port = port(&format!("format = \"{format}\"\n"));
        assert_eq!((port.uart, port.silence), (line(baud), Duration::from_secs(silence)), "{format}");
        assert_eq!(port.protocol.keys().format, Format::named(format).unwrap());
    }
    let old =
        port("format = \"dsmr-p1\"\nbaud = 9600\ndata-bits = 7\nparity = \"even\"\nstop-bits = 2\nsilence = \"90s\"\n");
    assert_eq!(old.uart, Uart { baud: 9_600, data_bits: 7, parity: Parity::Even, stop_bits: 2 });
    assert_eq!(old.silence, Duration::from_secs(90));
}

#[test]
fn framings_with_their_keys() {
    let fixed = port(&format!("format = \"layout\"\nframing = \"fixed\"\ncrc = \"modbus\"\n{LAYOUT}"));
    assert_eq!(fixed.protocol.rules().unwrap().framing, Framing::Fixed { len: 6, sync: vec![] });
    let cobs =
        port("format = \"json\"\nframing = \"cobs\"\ncrc = \"CRC-16/XMODEM\"\ncrc-order = \"big\"\nmax-frame = 200\n");
    assert_eq!((cobs.protocol.max_held(), cobs.protocol.gap()), (200, None));
    assert_eq!(cobs.protocol.rules().unwrap().check.as_ref().unwrap().checksum.name(), "CRC-16/XMODEM");
    let gap = port("format = \"msgpack\"\nframing = \"idle-gap\"\ngap = \"20ms\"\n");
    assert_eq!(gap.protocol.gap(), Some(Duration::from_millis(20)));
    let variables = [
        ("GADWALL_SERIAL__0__NAME", "p"),
        ("GADWALL_SERIAL__0__PORT", "/dev/p"),
        ("GADWALL_SERIAL__0__FORMAT", "csv-lines"),
        ("GADWALL_SERIAL__0__COLUMNS", "time, temperature"),
        ("GADWALL_SERIAL__0__HEADER", "false"),
        ("GADWALL_SERIAL__0__SEPARATOR", "tab"),
    ];
    let config = Config::parse_with("", "gadwall.toml", variables).unwrap();
    let keys = config.serial[0].protocol.keys();
    assert_eq!(keys.columns, Some(vec!["time".to_owned(), "temperature".to_owned()]));
    assert_eq!((keys.header, keys.separator), (Some(false), Some(b'\t')));
}

#[test]
fn what_does_not_fit_is_told_with_its_line() {
    says(
        "format = \"nmea-0183\"\nframing = \"cobs\"\ntimezone = \"UTC\"\n",
        &[
            "5: serial[0].framing = \"cobs\": expected none: format = \"nmea-0183\" has a framing of its own; framings are for \
             payloads such as \"json\" or \"layout\"",
            "6: serial[0].timezone = \"UTC\": expected none: format = \"nmea-0183\" has no local times",
        ],
    );
    says(
        "format = \"layout\"\n",
        &[
            "1: serial[0].framing: missing, expected \"cobs\", \"slip\", \"length-prefixed\", \"fixed\" or \"idle-gap\": \
             format = \"layout\" is of bytes",
            "1: serial[0].layout: missing, expected the fields of the payload, such as \"u16 node, i16 temperature * 0.01 degC\"",
        ],
    );
    says(
        &format!("format = \"layout\"\nframing = \"fixed\"\nlength = 9\n{LAYOUT}"),
        &["6: serial[0].length = 9: expected 4, the length of the layout"],
    );
    says(
        "format = \"csv-lines\"\nmax-frame = 100\ngap = \"1s\"\nmodel = \"pms5003\"\n",
        &[
            "5: serial[0].max-frame = 100: expected with framing = \"cobs\" or \"slip\" or \"length-prefixed\" or \"idle-gap\" only",
            "6: serial[0].gap = \"1s\": expected with framing = \"idle-gap\" or \"length-prefixed\" or \"fixed\" only",
            "7: serial[0].model = \"pms5003\": expected with format = \"pms\" only",
        ],
    );
}

#[test]
fn values_of_framings_and_columns() {
    says(
        "format = \"json\"\ncrc = \"CRC-16/MODBUSS\"\n",
        &[
            "5: serial[0].crc = \"CRC-16/MODBUSS\": unknown checksum, expected a name of the CRC catalogue with 8, 16 or 32 bits, \
           such as \"CRC-16/MODBUS\" or \"CRC-8/MAXIM-DOW\"",
        ],
    );
    let layout = "format = \"layout\"\nframing = \"cobs\"\nlayout = \"u16 a, u12 b\"\n";
    says(
        layout,
        &[
            "6: serial[0].layout = \"u16 a, u12 b\": column 8: `u12` is no type: expected u8 to u64, i8 to i64 (by 8), f32, f64, \
           with `be` or `le` behind, or `skip`",
        ],
    );
    says(
        "format = \"json\"\nframing = \"stx\"\nsync = \"AA 5\"\nlength-bytes = 3\n",
        &[
            "5: serial[0].framing = \"stx\": expected \"lines\", \"cobs\", \"slip\", \"length-prefixed\", \"fixed\" or \"idle-gap\"",
            "6: serial[0].sync = \"AA 5\": expected 1 to 16 bytes in hex, such as \"AA 55\"",
            "7: serial[0].length-bytes = 3: expected a whole number from 1 to 2",
        ],
    );
    let columns =
        "expected the names of 1 to 256 columns, each once and of 1 to 128 bytes, such as [\"time\", \"temperature\"]";
    says(
        "format = \"csv-lines\"\ncolumns = [\"a\", \"a\"]\nheader = \"yes\"\nseparator = \"x\"\n",
        &[
            &format!("5: serial[0].columns = (an array): {columns}"),
            "6: serial[0].header = \"yes\": expected true or false",
            "7: serial[0].separator = \"x\": expected one character that is no letter, digit or quote, \"tab\" or \"space\"",
        ],
    );
    says(
        "format = \"pms\"\nparity = \"mark\"\n",
        &["5: serial[0].parity = \"mark\": expected \"none\", \"even\" or \"odd\""],
    );
}

#[test]
fn a_subscription_may_have_a_layout() {
    let mqtt = |keys: &str| {
        format!(
            "[[mqtt]]\nname = \"home\"\nurl = \"mqtt://localhost\"\n[[mqtt.subscribe]]\ntopic = \"a/{{node}}\"\n{keys}"
        )
    };
    let config = parsed(&mqtt(&format!("format = \"layout\"\n{LAYOUT}")));
    assert_eq!(config.mqtt[0].subscribe[0].layout.as_ref().unwrap().lengths(), [4]);
    assert_eq!(
        errors(&mqtt("format = \"layout\"\ntime = \"t\"\n")),
        "gadwall.toml:4: mqtt[0].subscribe[0].layout: missing, expected the fields of the payload, such as \
         \"u16 node, i16 temperature * 0.01 degC\"\n\
         gadwall.toml:7: mqtt[0].subscribe[0].time = \"t\": expected none with format = \"layout\": the field `unix_time` of a \
         layout is the time"
    );
    assert_eq!(
        errors(&mqtt("layout = \"u8 a b c\"\n")),
        "gadwall.toml:6: mqtt[0].subscribe[0].layout = \"u8 a b c\": column 8: `c` behind the unit `b`: expected `,`, a scale, or \
         `na` with a number"
    );
    assert_eq!(
        errors(&mqtt(LAYOUT)),
        "gadwall.toml:6: mqtt[0].subscribe[0].layout = \"u16 node, i16 temperature * 0.01 degC\": expected with format = \
         \"layout\" only"
    );
}
