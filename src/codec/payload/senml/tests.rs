use super::*;
use crate::codec::payload::listed::{lines, message};
use crate::codec::time::Local;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/fixtures/payloads/senml/", $name))
    };
}

const TOPIC: &str = "sensors/dev1";
const OW: &str = "urn:dev:ow:10e2073a01080063";

fn decoded(payload: &[u8]) -> Vec<String> {
    lines(&decode(&message(TOPIC, payload)))
}

fn json(payload: &str) -> Vec<String> {
    decoded(payload.as_bytes())
}

#[test]
fn the_fixtures_are_what_the_rfc_says() {
    assert_eq!(decoded(fixture!("01-single.json")), [format!("{OW} temperature 23.1 degC - -")]);
    assert_eq!(
        decoded(fixture!("02-base.json")),
        [format!("{OW} voltage 120.1 V - -"), format!("{OW} current 1.2 A - -")]
    );
    // A base time of 1276020076.001 s, and seconds before it: not before now.
    assert_eq!(
        decoded(fixture!("04-relative-negative-t.json")),
        [
            "urn:dev:ow:10e2073a0108006 voltage 120.1 V 2010-06-08T18:01:16.001Z -",
            "urn:dev:ow:10e2073a0108006 current 1.2 A 2010-06-08T18:01:11.001Z -",
            "urn:dev:ow:10e2073a0108006 current 1.3 A 2010-06-08T18:01:12.001Z -",
            "urn:dev:ow:10e2073a0108006 current 1.4 A 2010-06-08T18:01:13.001Z -",
        ]
    );
    for payload in [&fixture!("01-single.json")[..], fixture!("02-base.json"), fixture!("04-relative-negative-t.json")]
    {
        assert!(recognises(&message(TOPIC, payload)));
    }
}

#[test]
fn the_examples_of_the_rfc() {
    // 5.1.4: the names are a device alone, the units say what.
    assert_eq!(
        json(
            r#"[{"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,"bu":"%RH","v":20},{"u":"lon","v":24.30621},{"u":"lat","v":60.07965},{"t":60,"v":20.3}]"#
        ),
        [
            format!("{OW} humidity 20 % 2011-10-31T13:24:24Z -"),
            format!("{OW} longitude 24.30621 deg 2011-10-31T13:24:24Z -"),
            format!("{OW} latitude 60.07965 deg 2011-10-31T13:24:24Z -"),
            format!("{OW} humidity 20.3 % 2011-10-31T13:25:24Z -"),
        ]
    );
    // 5.1.5: every type of value.
    assert_eq!(
        json(
            r#"[{"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1},{"n":"label","vs":"Machine Room"},{"n":"open","vb":false},{"n":"nfc-reader","vd":"aGkgCg"}]"#
        ),
        [
            format!("{OW} temperature 23.1 degC - temp"),
            format!("{OW} open 0 - - -"),
            format!("!{OW} label Machine Room -"),
            format!("!{OW} nfc-reader aGkgCg -"),
        ]
    );
    // 5.1.6: several devices in one pack.
    assert_eq!(
        json(
            r#"[{"bn":"2001:db8::2/","bt":1.320078429e+09,"n":"temperature","u":"Cel","v":25.2},{"n":"humidity","u":"%RH","v":30},{"bn":"2001:db8::1/","n":"temperature","u":"Cel","v":12.3},{"n":"humidity","u":"%RH","v":67}]"#
        ),
        [
            "2001:db8::2 temperature 25.2 degC 2011-10-31T16:27:09Z -",
            "2001:db8::2 humidity 30 % 2011-10-31T16:27:09Z -",
            "2001:db8::1 temperature 12.3 degC 2011-10-31T16:27:09Z -",
            "2001:db8::1 humidity 67 % 2011-10-31T16:27:09Z -",
        ]
    );
    // 6: the pack of 5.1.3 in CBOR, byte for byte as the RFC prints it.
    let cbor = "87a721781b75726e3a6465763a6f773a3130653230373361303130383030363a22fb41d303a15b00106223614120050067766f6c7461676501615602fb405e066666666666a3006763757272656e74062402fb3ff3333333333333a3006763757272656e74062302fb3ff4cccccccccccda3006763757272656e74062202fb3ff6666666666666a3006763757272656e74062102f93e00a3006763757272656e74062002fb3ff999999999999aa3006763757272656e74060002fb3ffb333333333333";
    let cbor = crate::codec::payload::ruuvi::advertisement::unhex(cbor).unwrap();
    let found = decoded(&cbor);
    assert_eq!(found[0], "urn:dev:ow:10e2073a0108006 voltage 120.1 V 2010-06-08T18:01:16.001Z -");
    assert_eq!(found[1], "urn:dev:ow:10e2073a0108006 current 1.2 A 2010-06-08T18:01:11.001Z -");
    // A half float, 1.5.
    assert_eq!(found[4], "urn:dev:ow:10e2073a0108006 current 1.5 A 2010-06-08T18:01:14.001Z -");
    assert_eq!(found[6], "urn:dev:ow:10e2073a0108006 current 1.7 A 2010-06-08T18:01:16.001Z -");
    assert_eq!(found.len(), 7);
    assert!(recognises(&message(TOPIC, &cbor)));
}

#[test]
fn small_times_are_relative_to_the_arrival() {
    let pack = r#"[{"bn":"urn:dev:ow:1:","n":"current","u":"A","t":-5,"v":1.2},{"n":"current","u":"A","t":-4.5,"v":1.3},{"n":"current","u":"A","v":1.4}]"#;
    assert_eq!(
        json(pack),
        [
            "urn:dev:ow:1 current 1.2 A 2025-10-09T08:53:15Z -",
            "urn:dev:ow:1 current 1.3 A 2025-10-09T08:53:15.500Z -",
            "urn:dev:ow:1 current 1.4 A - -",
        ]
    );
    // Nobody knows what time it is: the latest counts as just arrived, the others are not lost.
    let unsure = Message { local: Local::UTC, ..message(TOPIC, pack.as_bytes()) };
    let found = lines(&decode(&unsure));
    assert_eq!(found[2], "urn:dev:ow:1 current 1.4 A - -");
    assert_eq!(found[0], "urn:dev:ow:1 current 1.2 A stored 1969-12-31T23:59:55Z -");
    // 2^28 is the first absolute time.
    assert_eq!(json(r#"[{"n":"a/x","t":268435456,"v":1}]"#), ["a x 1 - 1978-07-04T21:24:16Z -"]);
    assert_eq!(json(r#"[{"n":"a/x","t":268435455,"v":1}]"#), ["a x 1 - 2034-04-12T06:17:35Z -"]);
}

#[test]
fn base_values_sums_and_units() {
    assert_eq!(
        json(
            r#"[{"bn":"urn:dev:mac:0024befffe804ff1/","bv":20,"bs":100,"n":"p","u":"W","v":1.5,"s":5},{"n":"q","u":"W","v":2}]"#
        ),
        [
            "urn:dev:mac:0024befffe804ff1 p 21.5 W - -",
            "urn:dev:mac:0024befffe804ff1 p.sum 105 W*s - -",
            "urn:dev:mac:0024befffe804ff1 q 22 W - -",
            "urn:dev:mac:0024befffe804ff1 q.sum 100 W*s - -",
        ]
    );
    for (unit, name, expected) in [
        ("C", "charge", "a charge 2 coulomb - -"),
        ("F", "cap", "a cap 2 farad - -"),
        ("K", "temperature", "a temperature -271.15 degC - -"),
        ("Pa", "pressure", "a pressure 0.02 hPa - -"),
        ("/", "battery", "a battery 200 % - -"),
        ("%EL", "batt", "a battery 2 % - batt"),
        ("mV", "voltage", "a voltage 0.002 V - -"),
        ("Wh", "energy", "a energy 0.002 kWh - -"),
        ("count", "visits", "a visits 2 count - -"),
        ("beat/min", "heart", "a heart 2 beat/min - -"),
        ("", "temperature", "a temperature 2 degC - -"),
    ] {
        assert_eq!(json(&format!(r#"[{{"bn":"a/","n":"{name}","u":"{unit}","v":2}}]"#)), [expected], "{unit}");
    }
}

#[test]
fn one_name_is_one_node_however_it_is_split() {
    for (base, own, node, metric) in [
        ("", "urn:dev:ow:10e2073a01080063:temperature", "urn:dev:ow:10e2073a01080063", "temperature"),
        ("urn:dev:ow:10e2073a01080063", ":temperature", "urn:dev:ow:10e2073a01080063", "temperature"),
        ("urn:dev:ow:", "10e2073a01080063_temperature", "urn:dev:ow:10e2073a01080063", "temperature"),
        ("urn:dev:os:32473-123456_", "door", "urn:dev:os:32473-123456", "door"),
        ("urn:uuid:1234-5678:", "x", "urn:uuid:1234-5678", "x"),
        ("kitchen-", "temp", "kitchen", "temperature"),
        ("", "kitchen/temperature", "kitchen", "temperature"),
        ("", "kitchen:temperature", "kitchen", "temperature"),
        ("house/", "room/temperature", "house", "room/temperature"),
        ("", "temperature", TOPIC, "temperature"),
        ("2001:db8::1", "", "2001:db8::1", "value"),
        ("dev7", "", "dev7", "value"),
    ] {
        let found = decode(&message(TOPIC, format!(r#"[{{"bn":"{base}","n":"{own}","v":1}}]"#).as_bytes()));
        let reading = &found.readings[0];
        assert_eq!((&*reading.node, &*reading.metric), (node, metric), "{base} {own}");
    }
}

#[test]
fn what_must_be_understood_and_what_is_wrong() {
    assert_eq!(
        json(r#"[{"n":"a/x","v":1},{"n":"a/y","v":2,"lock_":true}]"#),
        ["?malformed record 2: the field `lock_` must be understood and is not known"]
    );
    assert_eq!(
        json(r#"[{"bver":11,"n":"a/x","v":1}]"#),
        ["?malformed record 1: version 11: expected at most 10, or 26"]
    );
    // RFC 9100: the features of RFC 8428 and the units of RFC 8798.
    assert_eq!(json(r#"[{"bver":26,"n":"a/voltage","u":"mV","v":5}]"#), ["a voltage 0.005 V - -"]);
    assert_eq!(json(r#"[{"bver":42,"n":"a/x","v":1}]"#).len(), 1);
    assert_eq!(json(r#"[{"bver":5,"n":"a/x","v":1,"foo":2}]"#), ["a x 1 - - -"]);
    assert_eq!(json(r#"[{"bn":7,"n":"a/x","v":1}]"#), ["?malformed record 1: the field `bn`: expected text"]);
    assert_eq!(
        json(r#"[{"n":"a/x","v":"1"},{"n":"a/y","v":2},{"v":3},{"n":"a/z","v":1,"vs":"b"},{"n":"a/w","v":1e999}]"#),
        [
            "a y 2 - - -",
            "?malformed record 1: the field `v`: expected a number",
            "?bad-name record 3: expected a name in `n` or `bn`",
            "?malformed record 4: 2 values: expected one of `v`, `vs`, `vb`, `vd`",
            "?bad-number record 5: the field `v` does not fit into a 64-bit float",
        ]
    );
    assert_eq!(json("{}"), ["?malformed expected an array of records"]);
    assert_eq!(json("[]"), ["?no-reading expected a record"]);
    assert_eq!(json("[1]"), ["?malformed record 1: expected an object"]);
    assert!(json("[{")[0].starts_with("?malformed EOF while parsing an object at line 1 column 2"));
    assert!(
        decoded(&[0x81, 0xa1, 0x00])[0].starts_with("?malformed byte 3 of the CBOR: "),
        "{:?}",
        decoded(&[0x81, 0xa1, 0x00])
    );
    assert!(decoded(&[0x80, 0x00])[0].starts_with("?malformed byte 1 of the CBOR: "));
}

#[test]
fn cbor_of_every_kind() {
    // Indefinite lengths, text keys, a decimal fraction (2731 * 10^-2), bytes, an unknown label, self-described.
    let bytes = [
        &[0xD9, 0xD9, 0xF7, 0x9F, 0xBF][..],
        &[0x21, 0x64, b'd', b'e', b'v', b'/', 0x00, 0x61, b't', 0x02, 0xC4, 0x82, 0x21, 0x19, 0x0A, 0xAB, 0xFF],
        &[0xA3, 0x61, b'n', 0x61, b'x', 0x61, b'v', 0x29, 0x18, 0x63, 0x82, 0x01, 0x02],
        &[0xA2, 0x00, 0x61, b'd', 0x08, 0x42, 0xFB, 0xF0],
        &[0xA2, 0x00, 0x61, b'b', 0x04, 0xF5, 0xFF],
    ]
    .concat();
    assert_eq!(decoded(&bytes), ["dev t 27.31 - - -", "dev x -10 - - -", "dev b 1 - - -", "!dev d -_A -"]);
    assert!(!recognises(&message(TOPIC, b"[{\"temperature\":20}]")));
    assert!(!recognises(&message(TOPIC, b"[]")));
}
