//! Bytes to readings: what one message costs before it reaches the channel.
//!
//! `cargo bench --no-default-features --bench decode`

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gadwall::codec::json::{Options, decode};
use gadwall::codec::json_lines::JsonLines;
use gadwall::codec::payload::{Decoders, Format, Message};
use gadwall::codec::time::Local;
use gadwall::codec::topic::Pattern;

/// A plug as Zigbee2MQTT publishes it: twelve leaves that become readings, and text that does not.
const PLUG: &str = r#"{"current":0.16,"energy":18.43,"power":23.7,"voltage":231,"linkquality":132,"child_lock":false,
"countdown":0,"indicator":true,"power_outage_count":3,"device_temperature":31,"state":"ON","power_on_behavior":"previous",
"update":{"installed_version":537019939,"latest_version":587765297,"state":"available"}}"#;

const LINE: &str = r#"{"node":"t1","time":1760000000.5,"temperature":21.53,"humidity":48.7,"battery":97}"#;

fn topics(c: &mut Criterion) {
    let pattern = Pattern::parse("zigbee2mqtt/{node}").expect("a valid pattern");
    let deep = Pattern::parse("sensors/{site}/+/{node}/{metric}").expect("a valid pattern");
    let mut group = c.benchmark_group("topic");
    group.bench_function("zigbee2mqtt", |b| b.iter(|| pattern.captures(black_box("zigbee2mqtt/0x00158d0001234567"))));
    group.bench_function("three captures", |b| {
        b.iter(|| deep.captures(black_box("sensors/cellar/rack/t1/temperature")));
    });
    group.bench_function("no match", |b| b.iter(|| deep.captures(black_box("zigbee2mqtt/0x00158d0001234567"))));
    group.finish();
}

fn messages(c: &mut Criterion) {
    let options = Options { node: "0x00158d0001234567", metric: None, time: Some("time"), local: Local::UTC };
    assert_eq!(decode(PLUG.as_bytes(), &options).readings.len(), 12);
    let mut group = c.benchmark_group("json");
    group.throughput(Throughput::Elements(12));
    group.bench_function("twelve leaves", |b| b.iter(|| decode(black_box(PLUG.as_bytes()), &options)));
    group.throughput(Throughput::Elements(1));
    let bare = Options { metric: Some("temperature"), ..options };
    group.bench_function("bare number", |b| b.iter(|| decode(black_box(b"21.53"), &bare)));
    group.finish();

    let lines = JsonLines::new("pico", "time", "node");
    assert_eq!(lines.line(LINE.as_bytes(), Local::UTC).readings.len(), 3);
    let mut group = c.benchmark_group("json_lines");
    group.throughput(Throughput::Elements(3));
    group.bench_function("three leaves with time and node", |b| {
        b.iter(|| lines.line(black_box(LINE.as_bytes()), Local::UTC));
    });
    group.finish();
}

/// A message of a captured one's topic and bytes.
macro_rules! captured {
    ($name:literal, $extension:literal) => {
        (
            include_str!(concat!("../tests/fixtures/payloads/", $name, ".topic")),
            include_bytes!(concat!("../tests/fixtures/payloads/", $name, ".", $extension)).as_slice(),
        )
    };
}

/// One message of each format, with the number of readings that are in it.
fn samples() -> [(Format, (&'static str, &'static [u8]), usize); 16] {
    [
        (Format::Json, ("plugs/kitchen", PLUG.as_bytes()), 12),
        (Format::Number, ("garden/t1/temperature", b"21.5"), 1),
        (
            Format::Csv,
            ("loggers/a", b"time;node;temperature [degC];pressure_pa\n2025-10-09 10:53:20;t1;21,5;101300\n"),
            2,
        ),
        (Format::Msgpack, ("boards/b1", b"\x82\xa2ts\xd6\xff\x68\xe7\x78\x00\xa3env\x81\xa2rh\x28"), 1),
        (Format::Zigbee2mqtt, ("zigbee2mqtt/kitchen", PLUG.as_bytes()), 11),
        (Format::Tasmota, captured!("tasmota/02-energy", "json"), 10),
        (Format::Esphome, captured!("esphome/01-number", "txt"), 1),
        (Format::Shelly, captured!("shelly/05-pro3em-status-em0", "json"), 18),
        (Format::Rtl433, captured!("rtl_433/05-tower-protocol-meta", "json"), 6),
        (Format::Theengs, captured!("theengs/01-tempodisc", "json"), 5),
        (Format::TheThingsStack, captured!("the-things-stack/02-dragino-lht65", "json"), 7),
        (Format::Homie, captured!("homie/01-temp", "txt"), 1),
        (Format::Senml, captured!("senml/04-relative-negative-t", "json"), 4),
        (Format::InfluxLine, captured!("influx-line-protocol/05-escaped-space", "txt"), 3),
        (Format::Ruuvi, captured!("ruuvi-gateway/01-timestamped", "json"), 10),
        (Format::SparkplugB, captured!("sparkplug-b/01-nbirth-wire", "bin"), 1),
    ]
}

/// Each format alone, and with `auto` finding it: a message and its readings, without what they remember of earlier ones,
/// which would take the same message for a repeat.
fn formats(c: &mut Criterion) {
    for (name, auto) in [("format", false), ("auto", true)] {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(1));
        for (format, (topic, payload), readings) in samples() {
            let (topic, local) = (topic.trim_end(), Local::UTC);
            let message = Message { topic, payload, node: None, metric: None, time: None, local, retain: false };
            let asked = if auto { Format::Auto } else { format };
            let output = Decoders::new().decode(asked, &message);
            assert_eq!(
                (output.decoded.readings.len(), output.decoded.dead.len()),
                (readings, 0),
                "{}",
                format.as_str()
            );
            assert_eq!(output.taken_for, auto.then_some(format));
            let mut decoders = Decoders::new();
            group.bench_function(format.as_str(), |b| {
                b.iter(|| {
                    decoders.forget_frames();
                    decoders.decode(asked, black_box(&message))
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, topics, messages, formats);
criterion_main!(benches);
