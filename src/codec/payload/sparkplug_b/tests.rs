use super::proto::{PropertySet, PropertyValue};
use super::*;
use crate::codec::time::Local;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/fixtures/payloads/sparkplug-b/", $name))
    };
}

const NBIRTH: &str = "spBv1.0/Sparkplug B Devices/NBIRTH/Raspberry Pi";
const NDATA: &str = "spBv1.0/Sparkplug B Devices/NDATA/Raspberry Pi";
const NDEATH: &str = "spBv1.0/Sparkplug B Devices/NDEATH/Raspberry Pi";
/// 2017-02-03T17:55:02.122Z
const AT: u64 = 1_486_144_502_122;

fn message<'a>(topic: &'a str, payload: &'a [u8]) -> Message<'a> {
    Message { topic, payload, node: None, metric: None, time: None, local: Local::UTC, retain: false }
}

/// `node metric=value unit @time` and `node kind: data`, for short.
fn said(sparkplug: &Sparkplug) -> Vec<String> {
    let when = |when: When| match when {
        When::Arrival => String::new(),
        When::Live(ts) => format!(" @{ts}"),
        When::Stored(ts) => format!(" stored @{ts}"),
    };
    let reading = |r: &crate::reading::Reading| {
        let unit = r.unit.as_deref().map_or_else(String::new, |unit| format!(" {unit}"));
        let own = r.own_name.as_deref().map_or_else(String::new, |own| format!(" ({own})"));
        format!("{} {}={}{unit}{own}{}", r.node, r.metric, r.value, when(r.when))
    };
    let decoded = &sparkplug.decoded;
    let readings = decoded.readings.iter().map(reading);
    let events = decoded.events.iter().map(|e| format!("{} {}: {}{}", e.node, e.kind, e.data, when(e.when)));
    let dead = decoded.dead.iter().map(|d| format!("dead {}", d.detail));
    readings.chain(events).chain(dead).collect()
}

fn metric(name: &str, alias: Option<u64>, datatype: Option<u32>, value: Value) -> Metric {
    let name = (!name.is_empty()).then(|| name.to_owned());
    Metric { name, alias, datatype, value: Some(value), ..Metric::default() }
}

fn encoded(seq: u64, metrics: &[Metric]) -> Vec<u8> {
    let metrics = metrics.iter().map(|metric| metric.encode_to_vec().into()).collect();
    Payload { timestamp: Some(AT), metrics, seq: Some(seq), ..Payload::default() }.encode_to_vec()
}

fn feed(state: &mut SparkplugB, topic: &str, seq: u64, metrics: &[Metric]) -> Sparkplug {
    state.decode(&message(topic, &encoded(seq, metrics)))
}

#[test]
fn the_samples_are_what_their_documentation_says() {
    let node = "Sparkplug B Devices/Raspberry Pi";
    let time = "@2017-02-03T17:55:02.122Z";
    for (birth, data, death) in [
        (
            fixture!("01-nbirth-wire.bin").as_slice(),
            fixture!("02-ndata-wire.bin").as_slice(),
            fixture!("04-ndeath-wire.bin").as_slice(),
        ),
        (fixture!("01-nbirth.json"), fixture!("02-ndata.json"), fixture!("04-ndeath.json")),
    ] {
        let mut state = SparkplugB::new();
        assert!(recognises(&message(NBIRTH, birth)) && recognises(&message(NDEATH, death)));
        let born = state.decode(&message(NBIRTH, birth));
        assert_eq!(
            said(&born),
            [format!("{node} Supply Voltage=12.1 {time}"), format!("{node} availability: online {time}")]
        );
        assert_eq!(born.rebirth, None);
        // The sample has sequence number 2 behind 0: one message is missing.
        let data = state.decode(&message(NDATA, data));
        assert_eq!(said(&data), [format!("{node} Supply Voltage=12.3 {time}")]);
        let rebirth = data.rebirth.unwrap();
        assert_eq!(rebirth.topic, "spBv1.0/Sparkplug B Devices/NCMD/Raspberry Pi");
        assert_eq!(rebirth.reason, "messages are missing before this one");
        let gone = state.decode(&message(NDEATH, death));
        assert_eq!(said(&gone), [format!("{node} availability: offline")]);
        assert_eq!(gone.rebirth, None);
    }
}

#[test]
fn the_request_for_births_is_encoded_exactly() {
    // timestamp 1; metric: name, timestamp 1, datatype 11 (Boolean), boolean_value true.
    let expected = b"\x08\x01\x12\x1c\x0a\x14Node Control/Rebirth\x18\x01\x20\x0b\x70\x01";
    assert_eq!(rebirth(1), expected);
}

#[test]
fn aliases_stand_for_the_names_of_the_birth() {
    let mut state = SparkplugB::new();
    let unit = PropertySet {
        keys: vec![Bytes::from_static(b"engLow"), Bytes::from_static(b"engUnit")],
        values: vec![Bytes::new(), PropertyValue { text: Some("°F".into()) }.encode_to_vec().into()],
    };
    let temperature =
        Metric { properties: Some(unit), ..metric("Temperature", Some(1), Some(datatype::FLOAT), Value::Float(212.0)) };
    feed(&mut state, "spBv1.0/g/NBIRTH/e", 0, &[metric("bdSeq", None, Some(datatype::INT64), Value::Long(3))]);
    let born = feed(
        &mut state,
        "spBv1.0/g/DBIRTH/e/d",
        1,
        &[
            temperature,
            metric("Inputs/Count", Some(2), Some(datatype::INT16), Value::Int(7)),
            metric("State", Some(3), Some(datatype::STRING), Value::Text("idle".into())),
            metric("On", Some(4), Some(datatype::BOOLEAN), Value::Boolean(true)),
        ],
    );
    let at = "@2017-02-03T17:55:02.122Z";
    assert_eq!(
        said(&born),
        [
            format!("g/e/d temperature=100 degC (Temperature) {at}"),
            format!("g/e/d Inputs/Count=7 {at}"),
            format!("g/e/d On=1 {at}"),
            format!("g/e/d availability: online {at}"),
        ]
    );
    assert_eq!(born.rebirth, None);
    let historical = Metric {
        is_historical: Some(true),
        timestamp: Some(1_486_144_500_000),
        ..metric("", Some(1), None, Value::Float(32.0))
    };
    let data = feed(
        &mut state,
        "spBv1.0/g/DDATA/e/d",
        2,
        &[
            historical,
            metric("", Some(2), None, Value::Int(0xffff_ffff)),
            metric("", Some(3), None, Value::Text("busy".into())),
            metric("", Some(9), None, Value::Int(1)),
            Metric { is_null: Some(true), value: None, ..metric("", Some(4), None, Value::Int(0)) },
            Metric { is_transient: Some(true), ..metric("", Some(4), None, Value::Boolean(false)) },
        ],
    );
    assert_eq!(
        said(&data),
        [
            "g/e/d temperature=0 degC (Temperature) stored @2017-02-03T17:55:00Z".to_owned(),
            format!("g/e/d Inputs/Count=-1 {at}"),
            format!("g/e/d State: busy {at}"),
            "dead 1 metrics by alias, the first 9: expected a birth that tells it".to_owned(),
        ]
    );
    assert_eq!(data.rebirth.unwrap().reason, "a metric that no birth has told");
    // An old session's will, then that of this one: with the edge node its device is gone.
    let death = |bd_seq| [metric("bdSeq", None, None, Value::Long(bd_seq))];
    assert_eq!(said(&feed(&mut state, "spBv1.0/g/NDEATH/e", 0, &death(2))), [] as [&str; 0]);
    assert_eq!(
        said(&feed(&mut state, "spBv1.0/g/NDEATH/e", 0, &death(3))),
        ["g/e availability: offline", "g/e/d availability: offline"]
    );
}

#[test]
fn every_integer_is_read_by_its_type() {
    let mut state = SparkplugB::new();
    let types = [
        ("i8", datatype::INT8, Value::Int(0xff), -1.0),
        ("i8 wide", datatype::INT8, Value::Int(0xffff_ffff), -1.0),
        ("i16", datatype::INT16, Value::Int(0x8000), -32_768.0),
        ("i32", datatype::INT32, Value::Int(0x8000_0000), -2_147_483_648.0),
        ("i32 long", datatype::INT32, Value::Long(0xffff_fffe), -2.0),
        ("i64", datatype::INT64, Value::Long(u64::MAX), -1.0),
        ("u8", datatype::UINT8, Value::Int(255), 255.0),
        ("u16", datatype::UINT16, Value::Int(65_535), 65_535.0),
        ("u32", datatype::UINT32, Value::Long(4_294_967_295), 4_294_967_295.0),
        ("u64", datatype::UINT64, Value::Long(1 << 60), 1_152_921_504_606_846_976.0),
        ("double", datatype::DOUBLE, Value::Double(0.1), 0.1),
        ("float", datatype::FLOAT, Value::Float(21.1), 21.1),
        ("flag", datatype::BOOLEAN, Value::Boolean(true), 1.0),
        ("text", datatype::STRING, Value::Text("7.5".into()), 7.5),
    ];
    let metrics: Vec<Metric> =
        types.iter().map(|(name, index, value, _)| metric(name, None, Some(*index), value.clone())).collect();
    let nothing = [
        metric("at", None, Some(datatype::DATE_TIME), Value::Long(AT)),
        metric("id", None, Some(15), Value::Text("12".into())),
        metric("set", None, Some(16), Value::DataSet(Bytes::new())),
        metric("raw", None, Some(17), Value::Binary(Bytes::from_static(b"1"))),
        metric("nan", None, Some(datatype::FLOAT), Value::Float(f32::NAN)),
        metric("Properties/Version", None, Some(datatype::INT32), Value::Int(1)),
        metric("Node Control/Scan Rate", None, Some(datatype::INT64), Value::Long(3000)),
    ];
    let born = feed(&mut state, "spBv1.0/g/NBIRTH/e", 0, &[metrics, nothing.to_vec()].concat());
    let got: Vec<_> = born.decoded.readings.iter().map(|r| (&*r.metric, r.value)).collect();
    let expected: Vec<_> = types.iter().map(|(name, _, _, value)| (*name, *value)).collect();
    assert_eq!((got, born.decoded.dead), (expected, vec![]));
    // Without a type the sign of a small number does not matter, and that of others is not guessed.
    let untyped = feed(
        &mut state,
        "spBv1.0/g/NDATA/e",
        1,
        &[
            metric("small", None, None, Value::Int(7)),
            metric("medium", None, None, Value::Int(20_000)),
            metric("large", None, None, Value::Int(0xffff_ffff)),
            metric("byte", None, None, Value::Int(0xff)),
        ],
    );
    assert_eq!(
        said(&untyped),
        [
            "g/e small=7 @2017-02-03T17:55:02.122Z",
            "g/e medium=20000 @2017-02-03T17:55:02.122Z",
            "dead 2 integers may be negative: expected their datatype, here or in a birth"
        ]
    );
    assert!(untyped.rebirth.is_some());
}

#[test]
fn templates_are_flattened_and_bounded() {
    let template = |metrics: Vec<Metric>, is_definition| {
        let metrics = metrics.iter().map(|m| m.encode_to_vec().into()).collect();
        Value::Template(Template { metrics, is_definition: Some(is_definition) }.encode_to_vec().into())
    };
    let member = metric("rpm", None, Some(datatype::INT32), Value::Int(3000));
    let mut deep = metric("x", None, Some(datatype::INT32), Value::Int(1));
    for _ in 0..6 {
        deep = metric("t", None, Some(datatype::TEMPLATE), template(vec![deep], false));
    }
    let born = feed(
        &mut SparkplugB::new(),
        "spBv1.0/g/NBIRTH/e",
        0,
        &[
            metric("_types_/Motor", None, Some(datatype::TEMPLATE), template(vec![member.clone()], true)),
            metric("Motor 1", None, Some(datatype::TEMPLATE), template(vec![member], false)),
            deep,
        ],
    );
    let at = "@2017-02-03T17:55:02.122Z";
    assert_eq!(
        said(&born),
        [
            format!("g/e Motor 1/rpm=3000 {at}"),
            format!("g/e availability: online {at}"),
            "dead metric `t/t/t/t/t`: expected a template, and at most 4 in each other".to_owned(),
        ]
    );
}

#[test]
fn births_are_asked_for_once_a_minute() {
    let mut state = SparkplugB::new();
    let data = encoded(5, &[metric("x", None, Some(datatype::INT32), Value::Int(1))]);
    let at = |state: &mut SparkplugB, topic: &str, secs: i64| {
        let local = Local { arrival: Some(Timestamp::from_secs(1_760_000_000 + secs)), ..Local::UTC };
        state.decode(&Message { local, ..message(topic, &data) }).rebirth
    };
    let first = at(&mut state, "spBv1.0/g/NDATA/e", 0).unwrap();
    assert_eq!(first.reason, "an edge node whose birth was not heard");
    assert_eq!(first.payload, rebirth(1_760_000_000_000));
    assert_eq!(at(&mut state, "spBv1.0/g/NDATA/e", 59), None);
    assert!(at(&mut state, "spBv1.0/g/NDATA/e", 60).is_some());
    // Many at once: 60 in a minute.
    let asked = (0..200).filter(|n| at(&mut state, &format!("spBv1.0/g/NDATA/e{n}"), 120).is_some()).count();
    assert_eq!(asked, 60);
    // The numbers go round, and one that comes again is no gap.
    let mut state = SparkplugB::new();
    feed(&mut state, "spBv1.0/g/NBIRTH/e", 254, &[]);
    for seq in [255, 0, 0, 1] {
        assert_eq!(feed(&mut state, "spBv1.0/g/NDATA/e", seq, &[]).rebirth, None, "{seq}");
    }
    assert!(feed(&mut state, "spBv1.0/g/NDATA/e", 3, &[]).rebirth.is_some());
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut state = SparkplugB::new();
    let metrics: Vec<Metric> =
        (0..6_000).map(|n| metric(&format!("m{n}"), Some(n), Some(datatype::INT32), Value::Int(1))).collect();
    for edge in 0..6 {
        feed(&mut state, &format!("spBv1.0/g/NBIRTH/e{edge}"), 0, &metrics);
    }
    assert_eq!(state.edges.sizes(), (4, MAX_METRICS));
    // What alone exceeds the bound is told, and nobody asked.
    let beyond = feed(&mut state, "spBv1.0/g/NDATA/e5", 1, &[metric("", Some(5_500), None, Value::Int(1))]);
    assert_eq!(
        said(&beyond),
        ["dead 1 metrics by alias, the first 5500: expected fewer metrics in a birth than this one had"]
    );
    assert_eq!(beyond.rebirth, None);
    for edge in 0..1_000 {
        feed(&mut state, &format!("spBv1.0/g/NDATA/f{edge}"), 0, &[]);
    }
    assert_eq!(state.edges.sizes(), (MAX_EDGES, 0));
}

#[test]
fn compressed_payloads_are_read_within_a_bound() {
    use std::io::Write as _;
    let compressed = |inner: &[u8], algorithm: &str| {
        let body = if algorithm == "GZIP" {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(inner).unwrap();
            encoder.finish().unwrap()
        } else {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(inner).unwrap();
            encoder.finish().unwrap()
        };
        let metrics = vec![
            metric("algorithm", None, Some(datatype::STRING), Value::Text(algorithm.into())).encode_to_vec().into(),
        ];
        let uuid = Some("SPBV1.0_COMPRESSED".to_owned());
        Payload { metrics, uuid, body: Some(body.into()), ..Payload::default() }.encode_to_vec()
    };
    let inner = fixture!("01-nbirth-wire.bin");
    for algorithm in ["GZIP", "DEFLATE"] {
        let born = SparkplugB::new().decode(&message(NBIRTH, &compressed(inner, algorithm)));
        assert_eq!(born, SparkplugB::new().decode(&message(NBIRTH, inner)));
        assert_eq!(born.decoded.readings.len(), 1);
    }
    let bomb = SparkplugB::new().decode(&message(NBIRTH, &compressed(&vec![0; 4 << 20], "GZIP")));
    assert_eq!(said(&bomb), ["dead expected a payload of at most 1048576 bytes once it is inflated"]);
}

#[test]
fn what_is_no_sparkplug_is_refused_and_others_ignored() {
    let mut state = SparkplugB::new();
    let bad = state.decode(&message("spBv1.0/g/NDATA/e", b"\xff\xff"));
    assert!(said(&bad)[0].starts_with("dead expected a Sparkplug B payload (protobuf): "), "{bad:?}");
    assert_eq!(said(&state.decode(&message("spBv1.0/g/XDATA/e", b""))).len(), 1);
    for topic in ["spBv1.0/STATE/host", "STATE/host", "spBv1.0/g/NCMD/e", "spBv1.0/g/DCMD/e/d"] {
        assert_eq!(state.decode(&message(topic, b"ONLINE")), Sparkplug::default(), "{topic}");
    }
    for (topic, payload, is) in [
        ("spBv1.0/g/NDATA/e", b"\x18\x02".as_slice(), true),
        ("spBv1.0/STATE/h", b"{}", true),
        ("spBv1.0/g/NDATA/e", b"\xff", false),
        ("spBv1.0/g/NDATA/e/d", b"", false),
        ("spAv1.0/g/NDATA/e", b"", false),
    ] {
        assert_eq!(recognises(&message(topic, payload)), is, "{topic}");
    }
}
