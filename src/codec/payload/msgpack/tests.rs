use super::*;

fn message(payload: &[u8]) -> Message<'_> {
    Message { topic: "dev/1", payload, node: None, metric: None, time: None, local: Local::UTC, retain: false }
}

fn readings(decoded: &Decoded) -> Vec<(String, f64, When)> {
    decoded.readings.iter().map(|r| (r.metric.to_string(), r.value, r.when)).collect()
}

fn row(metric: &str, value: f64) -> (String, f64, When) {
    (metric.into(), value, When::Arrival)
}

#[test]
fn leaves_are_named_by_their_paths() {
    // {"temperature": 21.1f32, "env": {"rh": [40, -1]}, "on": true, "n": nil, "s": "7.5", "b": bin[1], 5: 300}
    let payload = b"\x87\xabtemperature\xca\x41\xa8\xcc\xcd\xa3env\x81\xa2rh\x92\x28\xff\xa2on\xc3\xa1n\xc0\xa1s\xa37.5\xa1b\xc4\x01\x00\x05\xcd\x01\x2c";
    let decoded = decode(&message(payload));
    assert_eq!(decoded.dead, []);
    assert_eq!(
        readings(&decoded),
        [
            row("temperature", 21.1),
            row("env.rh.0", 40.0),
            row("env.rh.1", -1.0),
            row("on", 1.0),
            row("s", 7.5),
            row("5", 300.0),
        ]
    );
    let temperature = &decoded.readings[0];
    assert_eq!(
        (&*temperature.node, temperature.unit.as_deref(), &temperature.own_name),
        ("dev/1", Some("degC"), &None)
    );
    let named = decode(&Message { node: Some("n"), metric: Some("m"), ..message(b"\x81\xa1x\xd1\xff\x00") });
    assert_eq!(readings(&named), [row("m.x", -256.0)]);
    assert_eq!(&*named.readings[0].node, "n");
    assert_eq!(readings(&decode(&message(b"\x2a"))), [row("value", 42.0)]);
    assert_eq!(readings(&decode(&message(b"\x92\x2a\xc2"))), [row("value.0", 42.0), row("value.1", 0.0)]);
}

#[test]
fn times_are_extensions_numbers_or_texts() {
    let at = When::Live(Timestamp(1_760_000_000_500_000));
    // Seconds in 32 bits, in a field that says so.
    let four = b"\x82\xa2ts\xd6\xff\x68\xe7\x78\x00\xa1x\x01";
    assert_eq!(decode(&message(four)).readings[0].when, When::Live(Timestamp(1_760_000_000_000_000)));
    // 500,000,000 ns in the upper 30 bits, seconds in the lower 34.
    let packed = (500_000_000_u64 << 34) | 0x68e7_7800;
    let eight = [b"\x82\xa1x\x01\xa4time\xd7\xff".as_slice(), &packed.to_be_bytes()].concat();
    assert_eq!(decode(&message(&eight)).readings[0].when, at);
    let twelve = [
        b"\x82\xa1x\x01\xa4time\xc7\x0c\xff".as_slice(),
        &500_000_000_u32.to_be_bytes(),
        &1_760_000_000_i64.to_be_bytes(),
    ]
    .concat();
    assert_eq!(decode(&message(&twelve)).readings[0].when, at);
    // The configured field, in each element of an array.
    let array = [
        b"\x92\x82\xa1t\xcf".as_slice(),
        &1_760_000_000_500_u64.to_be_bytes(),
        b"\xa1x\x01\x82\xa1t\xb42025-10-09T08:53:20Z\xa1x\x02",
    ]
    .concat();
    let decoded = decode(&Message { time: Some("t"), ..message(&array) });
    assert_eq!(
        readings(&decoded),
        [("x".into(), 1.0, at), ("x".into(), 2.0, When::Live(Timestamp(1_760_000_000_000_000)))]
    );
    let bad = decode(&Message { time: Some("t"), ..message(b"\x82\xa1t\xa4noon\xa1x\x01") });
    assert_eq!((bad.readings[0].when, &*bad.events[0].kind), (When::Arrival, "clock"));
}

#[test]
fn what_is_not_messagepack_is_refused_with_its_offset() {
    for (payload, detail) in [
        (b"\x81\xa1x\x01\x00".as_slice(), "byte 4: expected the end of the message"),
        (b"\x81\xa1x", "byte 3: expected a value"),
        (b"\x81\xa5xy", "byte 1: expected a MessagePack value of the length that it tells"),
        (b"\x81\xa1x\xcd\x01", "byte 3: expected a MessagePack value of the length that it tells"),
        (b"\x81\xc0\x01", "byte 1: expected a key that is text or a whole number"),
        (b"\xc1", "byte 0: expected a MessagePack value: the byte 0xc1 begins none"),
        (b"", "byte 0: expected a value"),
        (b"\xdd\xff\xff\xff\xff", "byte 5: expected a value"),
        (&[0x91; 100], "byte 65: expected at most 64 maps and arrays in each other"),
    ] {
        let decoded = decode(&message(payload));
        assert_eq!(decoded.readings, []);
        let dead: Vec<_> = decoded.dead.iter().map(|d| (d.reason, d.detail.as_str())).collect();
        assert_eq!(dead, [(DeadReason::Malformed, detail)], "{payload:x?}");
    }
    assert_eq!(decode(&message(b"\x80")).dead[0].reason, DeadReason::NoReading);
    assert!(decode(&message(b"\xc0")).is_empty(), "nil is no value, and no fault");
    let nan = decode(&message(b"\x82\xa1x\xcb\x7f\xf8\0\0\0\0\0\0\xa1y\x01"));
    assert_eq!(readings(&nan), [row("y", 1.0)]);
}

#[test]
fn values_and_names_are_bounded() {
    let mut many = vec![0xdc, 0x07, 0xd0];
    many.resize(3 + 2_000, 0x01);
    let decoded = decode(&message(&many));
    assert_eq!((decoded.readings.len(), decoded.dead.len()), (MAX_VALUES, 1));
    assert_eq!(decoded.dead[0].reason, DeadReason::TooManyValues);
    let long = [b"\x82\xd9\xc8".as_slice(), &[b'n'; 200], b"\x01\xa1y\x02"].concat();
    let decoded = decode(&message(&long));
    assert_eq!((readings(&decoded), decoded.dead[0].reason), (vec![row("y", 2.0)], DeadReason::BadName));
}

#[test]
fn names_times_and_texts_are_those_of_json() {
    // {"ts": 1760000000, "temp": 21.5, "env": {"rh": 40}, "mode": "eco", "fw": "1.2.3", "power": true}
    let payload = b"\x86\xa2ts\xce\x68\xe7\x78\x00\xa4temp\xcb\x40\x35\x80\0\0\0\0\0\xa3env\x81\xa2rh\x28\xa4mode\xa3eco\xa2fw\xa51.2.3\xa5power\xc3";
    let decoded = decode(&message(payload));
    let json = crate::codec::json::decode(
        br#"{"ts":1760000000,"temp":21.5,"env":{"rh":40},"mode":"eco","fw":"1.2.3","power":true}"#,
        &crate::codec::json::Options {
            node: message(payload).node_or(None).as_ref(),
            metric: None,
            time: None,
            local: Local::UTC,
        },
    );
    assert_eq!(decoded, json);
    assert_eq!((decoded.readings.len(), decoded.events.len()), (3, 1));
}

#[test]
fn only_maps_with_names_are_recognised() {
    for (payload, is) in [
        (b"\x81\xa1x\x01".as_slice(), true),
        (b"\x91\x81\xa1x\xcb\x40\x35\x80\0\0\0\0\0", true),
        (b"\x81\xa1x\x01\x00", false),
        (b"\x81\xa1x\xa1y", false),
        (b"\x81\x05\x01", false),
        (b"\x93\x01\x02\x03", false),
        (b"{\"x\":1}", false),
        (b"42", false),
        (b"", false),
    ] {
        assert_eq!(recognises(&message(payload)), is, "{payload:x?}");
    }
}
