use std::collections::HashMap;

use proptest::prelude::*;

use super::super::streams::rows;
use super::*;

fn layout(text: &str) -> Layout {
    Layout::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn of(text: &str, payload: &[u8]) -> Vec<String> {
    rows(&[layout(text).decode(payload, &Arc::from("radio"))])
}

fn error(text: &str) -> String {
    Layout::parse(text).unwrap_err().to_string()
}

const ISSUE: &str = "u16 node, u32 unix_time, i16 temperature * 0.01 degC, u16 humidity * 0.01 %, u8 flags";

#[test]
fn the_example_of_the_documentation() {
    // Node 17; 0x68E77800 = 1760000000; -213; 4870; 3.
    let payload = [0x11, 0x00, 0x00, 0x78, 0xE7, 0x68, 0x2B, 0xFF, 0x06, 0x13, 0x03];
    assert_eq!(
        of(ISSUE, &payload),
        [
            "17 temperature -2.13 degC @2025-10-09T08:53:20Z",
            "17 humidity 48.7 % @2025-10-09T08:53:20Z",
            "17 flags 3 @2025-10-09T08:53:20Z",
        ]
    );
    assert_eq!(of(ISSUE, &payload[..10]), ["dead: a payload of 10 bytes, expected 11"]);
    assert_eq!(of(ISSUE, &[payload.as_slice(), &[0]].concat()), ["dead: a payload of 12 bytes, expected 11"]);
    // Node 0 and time 0 are none.
    assert_eq!(of(ISSUE, &[0; 11]), ["radio temperature 0 degC", "radio humidity 0 %", "radio flags 0"]);
}

#[test]
fn numbers_of_all_sizes_in_both_orders() {
    let bytes = [0x81, 0x02, 0x03, 0x84, 0x05, 0x06, 0x07, 0x88];
    for (text, len, value) in [
        ("u8 x", 1, "129"),
        ("i8 x", 1, "-127"),
        ("u16 x", 2, "641"),
        ("u16be x", 2, "33026"),
        ("be i16 x", 2, "-32510"),
        ("u24 x", 3, "197249"),
        ("be, i24 x", 3, "-8322557"),
        ("i32 x", 4, "-2080177535"),
        ("be: u32 x", 4, "2164392836"),
        ("be: u40le x", 5, "23689626241"),
        ("be: le u48 x", 6, "6620759392897"),
        ("i64be x", 8, "-9150747627308579000"),
        ("u64 x", 8, "9801809734754566000"),
    ] {
        assert_eq!(of(text, &bytes[..len]), [format!("radio x {value}")], "{text}");
    }
    assert_eq!(
        of("f32 x, be f64 y", &[0x00, 0x00, 0xAC, 0x41, 0xC0, 0x59, 0, 0, 0, 0, 0, 0]),
        ["radio x 21.5", "radio y -100"]
    );
    // An infinity is no reading, and is told; what is not a number says that there is none.
    assert_eq!(of("f32 x, u8 y", &[0, 0, 0xC0, 0x7F, 1]), ["radio y 1"]);
    assert_eq!(of("f32 x, u8 y", &[0, 0, 0x80, 0x7F, 1]), ["radio y 1", "dead: `x` does not fit into a 64-bit float"]);
}

#[test]
fn bit_fields_begin_at_the_lowest_bit_or_in_big_endian_at_the_highest() {
    // 0b1011_0110: from below 110, 0110, 1; from above 101, 1011, 0.
    assert_eq!(of("u8:3 a, u8:4 b, u8:1 c", &[0b1011_0110]), ["radio a 6", "radio b 6", "radio c 1"]);
    assert_eq!(of("be: u8:3 a, u8:4 b, u8:1 c", &[0b1011_0110]), ["radio a 5", "radio b 11", "radio c 0"]);
    assert_eq!(of("i8:3 a, i8:4 b, u8:1 _", &[0b1011_0110]), ["radio a -2", "radio b 6"]);
    // Two bytes together: 0x1234 in little endian is 34 12.
    assert_eq!(of("u16:12 a, u16:4 b", &[0x34, 0x12]), ["radio a 564", "radio b 1"]);
    assert_eq!(of("be, u16:12 a * 0.1, u16:4 b", &[0x12, 0x34]), ["radio a 29.1", "radio b 4"]);
    // The rest of a byte is left out by a field of another type, by no bits at all, and at the end.
    assert_eq!(
        of("u8:4 a, u8 b, u8:2 c, u8:0, u8:4 d", &[0xF1, 2, 0xF3, 0xF4]),
        ["radio a 1", "radio b 2", "radio c 3", "radio d 4"]
    );
    assert_eq!(of("u8:4 = 0xA, u8:4 x na 0xF, u8 y", &[0xFA, 1]), ["radio y 1"]);
    assert_eq!(of("u8:4 = 0xA, u8:4 x, u8 y", &[0xFB, 1]), ["dead: byte 0: found 0xb, expected 0xa"]);
}

#[test]
fn arrays_gaps_and_constants() {
    assert_eq!(
        of(
            "u8 = 0xAA, u8 version = 2, u16 temperature[3] / 10, skip 1, _ , u8 x".replace("_ ,", "u16 _,").as_str(),
            &[0xAA, 2, 215, 0, 216, 0, 217, 0, 9, 9, 9, 7]
        ),
        [
            "radio temperature_0 21.5 degC",
            "radio temperature_1 21.6 degC",
            "radio temperature_2 21.7 degC",
            "radio x 7"
        ]
    );
    assert_eq!(of("u16be = 0xAA55, u8 x", &[0x55, 0xAA, 1]), ["dead: byte 0: found 0x55aa, expected 0xaa55"]);
    assert_eq!(of("i8 = -1, u8 x", &[0xFE, 1]), ["dead: byte 0: found 0xfe, expected -1"]);
    assert_eq!(of("i8 = -1, f32 = 1.5, u8 x", &[0xFF, 0, 0, 0xC0, 0x3F, 1]), ["radio x 1"]);
}

#[test]
fn values_that_mean_none() {
    let text = "i16 temperature * 0.1 na 0x8000, u16 humidity / 10 != 0xFFFF na 65534, f32 x na -999";
    let none = [0x00, 0x80, 0xFF, 0xFF, 0x00, 0xC0, 0x79, 0xC4];
    assert_eq!(of(text, &none), Vec::<String>::new());
    assert_eq!(of(text, &[0xD7, 0, 0xFE, 0xFF, 0, 0, 0, 0]), ["radio temperature 21.5 degC", "radio x 0"]);
    // A node or time of its own that is not there.
    let text = "u8 node na 0xFF, u32 unix_time na 0xFFFFFFFF, u8 x";
    assert_eq!(of(text, &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]), ["radio x 1"]);
}

#[test]
fn units_become_those_of_the_vocabulary() {
    assert_eq!(
        of(
            "i16 temperature / 10 °F, u32 pressure Pa, u16 voltage mV, u8 dose \"1/dL\", u16 wind_speed * 0.1 m/s",
            &[0x48, 8, 0xCD, 0x8B, 1, 0, 0xE4, 0xC, 3, 25, 0]
        ),
        [
            "radio temperature 100 degC".to_owned(),
            format!("radio pressure {} hPa", f64::from(0x18BCD) * 0.01),
            "radio voltage 3.3 V".to_owned(),
            "radio dose 3 1/dL".to_owned(),
            "radio wind_speed 2.5 m/s".to_owned(),
        ]
    );
    assert_eq!(of("u16 battery/10 + -40, u8 battery2*0.5%", &[0x10, 4, 5])[0], "radio battery 64 %");
}

#[test]
fn nodes_and_times_in_their_shapes() {
    assert_eq!(of("be: u48 node hex, u8 x", &[0, 0x15, 0x8D, 0, 0xAB, 1, 5]), ["00158d00ab01 x 5"]);
    assert_eq!(of("u64 node, u8 x", &[0xFF; 9]), ["18446744073709551615 x 255"]);
    assert_eq!(of("i8 node, u8 x", &[0xFE, 1]), ["-2 x 1"]);
    let ms = 1_760_000_000_123_u64.to_le_bytes();
    assert_eq!(of("u64 unix_time_ms, u8 x", &[ms.as_slice(), &[1]].concat()), ["radio x 1 @2025-10-09T08:53:20.123Z"]);
    let us = 1_760_000_000_123_456_i64.to_be_bytes();
    assert_eq!(
        of("be: i64 unix_time_us, u8 x", &[us.as_slice(), &[1]].concat()),
        ["radio x 1 @2025-10-09T08:53:20.123456Z"]
    );
    let float = 1_760_000_000.5_f64.to_le_bytes();
    assert_eq!(of("f64 unix_time, u8 x", &[float.as_slice(), &[1]].concat()), ["radio x 1 @2025-10-09T08:53:20.500Z"]);
    let got = of("u64 unix_time, u8 x", &[&[0xFF; 8], [1].as_slice()].concat());
    assert!(
        got[0] == "radio x 1" && got[1].starts_with("radio ! clock: the field `unix_time` is `18446744073709551615`")
    );
    assert_eq!(of("u32 uptime, u8 x", &[10, 0, 0, 0, 1]), ["radio uptime 10 s", "radio x 1"]);
}

#[test]
fn tails_are_there_as_a_whole_or_not() {
    let text = "u8 a, [u16 b, [u8 c = 7, u8 d]]";
    assert_eq!(layout(text).lengths(), [1, 3, 5]);
    assert_eq!(of(text, &[1]), ["radio a 1"]);
    assert_eq!(of(text, &[1, 2, 0]), ["radio a 1", "radio b 2"]);
    assert_eq!(of(text, &[1, 2, 0, 7, 3]), ["radio a 1", "radio b 2", "radio d 3"]);
    assert_eq!(of(text, &[1, 2]), ["dead: a payload of 2 bytes, expected 1 or 3 or 5"]);
    assert_eq!(layout("u8 a [, u8 b]"), layout("u8 a, [u8 b]"));
    let open = "u8 a, [u16 b, ...]";
    assert_eq!(of(open, &[1, 2]), ["radio a 1"]);
    assert_eq!(of(open, &[1, 2, 0, 9, 9]), ["radio a 1", "radio b 2"]);
    assert_eq!(of("u16 a, ...", &[1]), ["dead: a payload of 1 bytes, expected 2 or more"]);
}

#[test]
fn errors_point_at_their_column() {
    for (text, expected) in [
        ("", "column 1: expected a field such as `u16 temperature`"),
        ("u16 a, , u8 b", "column 8: expected a field such as `u16 temperature`"),
        (
            "u16 a, u12 b",
            "column 8: `u12` is no type: expected u8 to u64, i8 to i64 (by 8), f32, f64, with `be` or `le` behind, or `skip`",
        ),
        (
            "u16 a, u72 b",
            "column 8: `u72` is no type: expected u8 to u64, i8 to i64 (by 8), f32, f64, with `be` or `le` behind, or `skip`",
        ),
        ("u16", "column 4: expected a name, `_` or `=` with a constant"),
        ("u16 a * x", "column 9: `x` is no number: expected one behind `*`"),
        ("u16 a * 0", "column 9: expected another factor than 0"),
        ("u16 a * 1e17 * 1e17", "column 16: the scale has more digits than can be kept"),
        ("u16 a degC hPa", "column 12: `hPa` behind the unit `degC`: expected `,`, a scale, or `na` with a number"),
        ("u8 = 256, u8 a", "column 6: 256 does not fit into 8 bits"),
        ("i8 = -129, u8 a", "column 6: -129 does not fit into 8 bits"),
        ("u8 = 0x1FF, u8 a", "column 6: 0x1FF does not fit into 8 bits"),
        ("u8 = x, u8 a", "column 6: `x` is no integer: expected one such as 255 or 0xFF"),
        ("u8 a na 1.5", "column 9: `1.5` is no integer: expected one such as 255 or 0xFF"),
        ("u8 a[0]", "column 6: `0`: expected a number from 1 to 1000"),
        ("u8 a[2", "column 7: expected `]`"),
        ("u8 a[2] = 3", "column 4: an array has no constant"),
        ("u8 a[999], u8 b[2]", "column 12: expected at most 1000 readings"),
        ("u8:9 a", "column 4: `9`: expected a number from 0 to 8"),
        ("f32:3 a", "column 5: a float has no bit fields"),
        ("u8:5 a, u8:4 b", "column 9: 4 bits, but 3 of 8 are left: a bit field of 0 bits begins anew"),
        ("u8:0 a", "column 6: expected `,`: a bit field of 0 bits has no name, it ends its byte"),
        ("u8 a, u8 a", "column 10: a second field `a`"),
        ("u8 node, u16 node, u8 a", "column 14: a second field for `node`"),
        ("u32 unix_time, u64 unix_time_ms, u8 a", "column 20: a second field for `unix_time`"),
        ("u8 node * 2, u8 a", "column 4: `node` has no scale, no unit and is no array"),
        ("f32 node, u8 a", "column 1: expected an integer for the node"),
        ("f32 unix_time, u8 a", "column 1: expected an integer or f64 for the time: f32 cannot hold it"),
        ("u8 a, [u8 b", "column 12: expected `]`"),
        ("u8 a, [u8 b], u8 c", "column 13: expected the end: an optional tail is the last of a layout"),
        ("[u8 a]", "column 1: expected a field in front of the optional tail"),
        ("u8 a, [[u8 b]]", "column 8: expected a field such as `u16 temperature`"),
        ("u8 a]", "column 5: found `]`, expected `,` or the end"),
        ("u8 a, ..., u8 b", "column 10: expected the end behind `...`"),
        ("u8 a, ... [u8 b]", "column 11: expected the end behind `...`"),
        ("u8 = 1", "column 1: expected at least one field that is a reading"),
        ("skip 0, u8 a", "column 6: `0`: expected a number from 1 to 65535"),
        ("skip 65535, u8 a", "column 13: expected at most 65535 bytes in all"),
        ("be le u8 a", "column 1: expected one of `be` and `le`"),
        ("u8 grün temperature", "column 9: `temperature` is a second word"),
        ("u8 a:b", "column 5: found `:`, expected a scale, a unit, `na` or `,`"),
        ("u8 a \"x", "column 6: expected `\"` behind the unit"),
        ("u8 a(b)", "column 4: `a(b)` is no name: expected letters, digits, `_`, `-` and `.`"),
    ] {
        if text.starts_with("u8 grün") {
            // One word behind the name is its unit, whatever it is.
            assert_eq!(of(text, &[1]), ["radio grün 1 temperature"]);
            continue;
        }
        assert_eq!(error(text), expected, "{text}");
    }
    let long = format!("u8 {}", "a".repeat(129));
    assert_eq!(error(&long), "column 4: a name of 129 bytes: expected at most 128");
    assert_eq!(error(&"u8 a,".repeat(4_000)), "column 16385: the layout is longer than 16384 characters");
}

#[test]
fn what_is_encoded_is_decoded_again() {
    let text = format!("u8 = 0xAA, {ISSUE}, u8:3 mode, u8:5 level na 31, [be i24 depth * 0.001 m]");
    let layout = layout(&text);
    let values = HashMap::from([("temperature", 21.53), ("humidity", 48.7), ("flags", 3.0), ("mode", 5.0)]);
    let time = Timestamp::from_secs(1_760_000_000);
    let payload = layout.encode(Some("17"), Some(time), &values).unwrap();
    assert_eq!(payload, [0xAA, 17, 0, 0x00, 0x78, 0xE7, 0x68, 0x69, 0x08, 0x06, 0x13, 3, 0xFD]);
    let decoded = layout.decode(&payload, &Arc::from("radio"));
    let expected = ["temperature 21.53 degC", "humidity 48.7 %", "flags 3", "mode 5"];
    assert_eq!(rows(&[decoded]), expected.map(|row| format!("17 {row} @2025-10-09T08:53:20Z")));
    let deep = layout.encode(None, None, &HashMap::from([("depth", -1.234)])).unwrap();
    assert_eq!(deep[13..], [0xFF, 0xFB, 0x2E]);
    let error = layout.encode(None, None, &HashMap::from([("humidity", 700.0)])).unwrap_err();
    assert_eq!(error, "`humidity` does not fit: 70000");
    assert!(layout.encode(Some("70000"), None, &values).unwrap_err().starts_with("`the node` does not fit"));
    assert!(layout.encode(Some("kitchen"), None, &values).unwrap_err().starts_with("the node is no number"));
}

/// A field of any shape, with a name of its own.
fn any_field() -> impl Strategy<Value = String> {
    let kinds = prop_oneof![
        Just("u8"),
        Just("i8"),
        Just("u16"),
        Just("be i16"),
        Just("u24be"),
        Just("i24"),
        Just("u32"),
        Just("i48"),
        Just("u64"),
        Just("be i64"),
        Just("u8:3"),
        Just("be i16:5"),
        Just("f64"),
    ];
    let scales = prop_oneof![
        Just(""),
        Just(" * 0.01"),
        Just(" / 10"),
        Just(" + -40"),
        Just(" * 0.1 - 40"),
        Just(" na 1"),
        Just(" Pa"),
        Just(" degF"),
    ];
    (kinds, scales).prop_map(|(kind, scale)| format!("{kind} NAME{scale}"))
}

proptest! {
    #[test]
    fn random_bytes_survive_decoding_and_encoding(
        fields in proptest::collection::vec(any_field(), 1..8),
        tail in proptest::collection::vec(any_field(), 0..3),
        bytes in proptest::collection::vec(any::<u8>(), 100),
    ) {
        let named = |fields: &[String], from: usize| {
            let fields = fields.iter().enumerate();
            fields.map(|(at, field)| format!("u8:0, {}", field.replace("NAME", &format!("m{}", from + at)))).collect::<Vec<_>>().join(", ")
        };
        let mut text = named(&fields, 0);
        if !tail.is_empty() {
            text = format!("{text}, [{}]", named(&tail, 10));
        }
        let layout = Layout::parse(&text).unwrap();
        let source: Arc<str> = Arc::from("s");
        for len in layout.lengths().to_vec() {
            let first = layout.decode(&bytes[..len], &source);
            let values: HashMap<&str, f64> = first.readings.iter().map(|r| (&*r.metric, r.value)).collect();
            // A tail without a single value is not sent.
            let Ok(again) = layout.encode(None, None, &values) else { continue };
            let second = layout.decode(&again, &source);
            for reading in &first.readings {
                let other = second.readings.iter().find(|r| r.metric == reading.metric);
                let Some(other) = other else {
                    // Rounded to what means that there is none: 64 bits do not fit into a float.
                    prop_assert!(text.contains("na 1"));
                    continue;
                };
                let near = (other.value - reading.value).abs() <= 0.6 + 1e-12 * reading.value.abs();
                prop_assert!(near, "{text}: {} {} {}", reading.metric, reading.value, other.value);
            }
        }
    }

    #[test]
    fn any_text_is_a_layout_or_an_error_within_it(text in "[u8i16be,: \\[\\]=*/+.na0-9xé_-]{0,60}") {
        match Layout::parse(&text) {
            Ok(layout) => {
                let most = *layout.lengths().last().unwrap();
                let decoded = layout.decode(&vec![0x5A; most], &Arc::from("s"));
                prop_assert!(decoded.readings.iter().all(|r| r.value.is_finite()));
            }
            Err(e) => prop_assert!(e.column >= 1 && e.column <= text.chars().count() + 1, "{text}: {e}"),
        }
    }
}
