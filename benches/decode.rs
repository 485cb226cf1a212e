//! Bytes to readings: what one message costs before it reaches the channel.
//!
//! `cargo bench --no-default-features --bench decode`

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gadwall::codec::json::{Options, decode};
use gadwall::codec::json_lines::JsonLines;
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

criterion_group!(benches, topics, messages);
criterion_main!(benches);
