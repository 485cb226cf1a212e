use super::*;
use crate::codec::payload;

fn keys(format: &str) -> Keys {
    Keys { format: Format::named(format).unwrap(), ..Keys::default() }
}

fn layout(text: &str) -> Layout {
    Layout::parse(text).unwrap()
}

fn crc() -> Option<Checksum> {
    Checksum::named("CRC-16/MODBUS")
}

fn misfits(keys: Keys) -> Vec<String> {
    let misfits = Protocol::new(keys).unwrap_err();
    misfits.into_iter().map(|(key, reason)| format!("{key}: {reason}")).collect()
}

#[test]
fn formats_that_need_nothing_else_have_a_framing_or_are_their_own() {
    for format in Format::all() {
        match format.frames() {
            Frames::Own => assert_eq!(Protocol::of(format).rules(), None, "{format:?}"),
            Frames::Lines | Frames::Text => {
                let protocol = Protocol::of(format);
                let rules = protocol.rules().unwrap();
                assert_eq!((&rules.framing, rules.max, &rules.check), (&Framing::Lines, 4_096, &None), "{format:?}");
                assert_eq!((protocol.gap(), protocol.max_held()), (None, 4_096));
            }
            Frames::Bytes => assert!(Protocol::new(keys(format.as_str())).is_err(), "{format:?}"),
        }
    }
    assert_eq!(Protocol::of(Format::DsmrP1).max_held(), 16_384);
}

#[test]
fn a_framing_has_its_defaults() {
    let text = "u16 node, i16 temperature * 0.01 degC";
    let fixed = Keys { framing: Some(Kind::Fixed), layout: Some(layout(text)), crc: crc(), ..keys("layout") };
    let rules = Protocol::new(fixed.clone()).unwrap().rules().cloned().unwrap();
    assert_eq!((rules.framing, rules.max), (Framing::Fixed { len: 6, sync: vec![] }, 6));
    assert_eq!(rules.check.map(|check| (check.order, check.covers)), Some((Order::Little, Covers::Payload)));
    let lines = Keys { crc: crc(), ..keys("csv-lines") };
    let rules = Protocol::new(lines).unwrap().rules().cloned().unwrap();
    assert_eq!((rules.framing, rules.check.unwrap().order), (Framing::Lines, Order::Big));
    let prefixed = Keys { framing: Some(Kind::LengthPrefixed), ..keys("msgpack") };
    let protocol = Protocol::new(prefixed).unwrap();
    assert_eq!(protocol.rules().unwrap().framing, Framing::LengthPrefixed(Prefix::default()));
    assert_eq!(protocol.gap(), Some(BROKEN_OFF));
    let gap = Keys { framing: Some(Kind::IdleGap), max_frame: Some(64), ..keys("number") };
    let protocol = Protocol::new(gap.clone()).unwrap();
    assert_eq!((protocol.gap(), protocol.max_held()), (Some(GAP), 64));
    let longer = Protocol::new(Keys { gap: Some(BROKEN_OFF), ..gap }).unwrap();
    assert_eq!(longer.gap(), Some(BROKEN_OFF));
}

#[test]
fn what_does_not_fit_is_told_with_what_does() {
    let nmea = Keys { framing: Some(Kind::Cobs), crc: crc(), max_frame: Some(9), ..keys("nmea-0183") };
    assert_eq!(
        misfits(nmea),
        [
            "framing: expected none: format = \"nmea-0183\" has a framing of its own; framings are for payloads such as \"json\" or \"layout\"",
            "crc: expected none: format = \"nmea-0183\" has its own rules",
            "max-frame: expected with framing = \"cobs\" or \"slip\" or \"length-prefixed\" or \"idle-gap\" only",
        ]
    );
    assert_eq!(
        misfits(Keys { framing: Some(Kind::Slip), ..keys("csv-lines") }),
        ["framing: expected \"lines\" with format = \"csv-lines\"; \"csv\" goes with every framing"]
    );
    assert_eq!(
        misfits(keys("layout")),
        [
            "framing: expected \"cobs\", \"slip\", \"length-prefixed\", \"fixed\" or \"idle-gap\": format = \"layout\" is of bytes",
            "layout: expected the fields of the payload, such as \"u16 node, i16 temperature * 0.01 degC\"",
        ]
    );
    assert_eq!(
        misfits(Keys { framing: Some(Kind::Lines), ..keys("msgpack") }),
        [
            "framing: expected \"cobs\", \"slip\", \"length-prefixed\", \"fixed\" or \"idle-gap\": the bytes of format = \"msgpack\" may hold the end of a line"
        ]
    );
    let cobs = Keys {
        framing: Some(Kind::Cobs),
        crc_order: Some(Order::Big),
        crc_covers: Some(Covers::Frame),
        gap: Some(GAP),
        length: Some(3),
        max_line: Some(100),
        layout: Some(layout("u8 a")),
        time: Some("t".into()),
        columns: Some(vec!["a".into()]),
        model: Some(Model::T),
        ..keys("number")
    };
    assert_eq!(
        misfits(cobs),
        [
            "length: expected with framing = \"fixed\" only",
            "gap: expected with framing = \"idle-gap\" or \"length-prefixed\" or \"fixed\" only",
            "max-line: expected with framing = \"lines\" only",
            "crc-order: expected a crc beside it",
            "crc-covers: expected a crc beside it",
            "crc-covers: expected with framing = \"length-prefixed\" or \"fixed\" only",
            "layout: expected with format = \"layout\" only",
            "time: expected with format = \"json-lines\", \"csv-lines\", \"json\" or \"csv\" only",
            "columns: expected with format = \"csv-lines\" or \"csv\" only",
            "model: expected with format = \"pms\" only",
        ]
    );
    let both = Keys { columns: Some(vec!["a".into()]), header: Some(true), ..keys("csv-lines") };
    assert_eq!(misfits(both), ["columns: expected without header = true: the header names the columns"]);
}

#[test]
fn a_fixed_frame_has_the_length_of_its_layout() {
    let fixed = |text: &str, length| Keys {
        framing: Some(Kind::Fixed),
        layout: Some(layout(text)),
        length,
        crc: crc(),
        ..keys("layout")
    };
    let no = "length: expected the length of a frame in bytes, with its checksum";
    assert_eq!(misfits(fixed("u8 a, [u8 b]", None)), [no]);
    assert_eq!(misfits(fixed("u8 a, ...", None)), [no]);
    assert_eq!(
        misfits(fixed("u8 a, [u8 b]", Some(5))),
        ["length: expected 3 or 4, the length of the layout with its checksum"]
    );
    assert!(
        Protocol::new(fixed("u8 a, [u8 b]", Some(4))).is_ok() && Protocol::new(fixed("u8 a, ...", Some(9))).is_ok()
    );
    let number = Keys { framing: Some(Kind::Fixed), ..keys("number") };
    assert_eq!(misfits(number.clone()), [no]);
    let sync = Keys { length: Some(2), sync: Some(vec![1, 2]), ..number };
    assert_eq!(misfits(sync), ["length: a frame of 2 bytes: expected at least 3 for sync bytes, payload and checksum"]);
    let short = Keys { framing: Some(Kind::Cobs), crc: crc(), max_frame: Some(2), ..keys("json") };
    assert_eq!(misfits(short), ["max-frame: the limit of 2 bytes: expected at least 3"]);
    assert_eq!(Keys::default().format, Format::HubLines);
    assert_eq!(keys("influx-line").format, Format::Payload(payload::Format::InfluxLine));
}
