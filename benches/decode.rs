//! Bytes to readings: what one message costs before it reaches the channel.
//!
//! `cargo bench --no-default-features --bench decode`

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gadwall::codec::json::{Options, decode};
use gadwall::codec::json_lines::JsonLines;
use gadwall::codec::payload::{Decoders, Format, Message};
use gadwall::codec::serial::{Protocol, Stream};
use gadwall::codec::time::Local;
use gadwall::codec::topic::Pattern;
use payloads::{PLUG, samples};

#[path = "common/frames.rs"]
mod frames;
#[path = "common/payloads.rs"]
mod payloads;

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
    assert_eq!(decode(PLUG.as_bytes(), &options).readings.len(), 13);
    let mut group = c.benchmark_group("json");
    group.throughput(Throughput::Elements(13));
    group.bench_function("thirteen leaves", |b| b.iter(|| decode(black_box(PLUG.as_bytes()), &options)));
    group.throughput(Throughput::Elements(1));
    let bare = Options { metric: Some("temperature"), ..options };
    group.bench_function("bare number", |b| b.iter(|| decode(black_box(b"21.53"), &bare)));
    group.finish();

    let mut lines = JsonLines::new("pico", "time", "node");
    assert_eq!(lines.line(LINE.as_bytes(), Local::UTC).readings.len(), 3);
    let mut group = c.benchmark_group("json_lines");
    group.throughput(Throughput::Elements(3));
    group.bench_function("three leaves with time and node", |b| {
        b.iter(|| lines.line(black_box(LINE.as_bytes()), Local::UTC));
    });
    group.finish();
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

/// Each format of a serial port: the frame as one chunk, as a port's driver gives it.
fn serial(c: &mut Criterion) {
    let mut group = c.benchmark_group("serial");
    for (name, keys, frame, readings) in frames::samples() {
        group.throughput(Throughput::Bytes(frame.len() as u64));
        let mut stream = Stream::new(&Protocol::new(keys).expect("keys that fit"), "port", None);
        let mut found = 0;
        // The first one may be a header.
        for _ in 0..2 {
            found = 0;
            stream.feed(&frame, Local::UTC, &mut |decoded| found += decoded.readings.len());
        }
        assert_eq!((found, stream.skipped()), (readings, 0), "{name}");
        group.bench_function(name, |b| {
            b.iter(|| {
                stream.feed(black_box(&frame), Local::UTC, &mut |decoded| {
                    black_box(decoded);
                });
            });
        });
    }
    group.finish();
}

criterion_group!(benches, topics, messages, formats, serial);
criterion_main!(benches);
