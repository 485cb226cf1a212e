//! Bytes to readings: what one message costs before it reaches the channel.
//!
//! `cargo bench --no-default-features --bench decode`

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gadwall::codec::json::{Options, decode};
use gadwall::codec::json_lines::JsonLines;
use gadwall::codec::payload::{Decoders, Format, Message};
use gadwall::codec::serial::crc::Checksum;
use gadwall::codec::serial::layout::Layout;
use gadwall::codec::serial::protocol::Kind;
use gadwall::codec::serial::{self, Keys, Protocol, Stream};
use gadwall::codec::time::Local;
use gadwall::codec::topic::Pattern;
use payloads::{PLUG, samples};

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
    for (name, keys, frame, readings) in frames() {
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

/// A frame of each format with the keys of its port, and how many readings are in it.
fn frames() -> Vec<(&'static str, Keys, Vec<u8>, usize)> {
    let of = |format: &str| Keys { format: serial::Format::named(format).expect("a format"), ..Keys::default() };
    let crc = || Checksum::named("CRC-16/MODBUS");
    let layout = "u16 node, u32 unix_time, i16 temperature * 0.01 degC, u16 humidity * 0.01 %, u8 flags";
    let layout = || Some(Layout::parse(layout).expect("a layout"));
    let payload = [0x11, 0, 0, 0x78, 0xE7, 0x68, 0x2B, 0xFF, 6, 0x13, 3];
    let fixture = |name: &str| {
        let path = format!("{}/tests/fixtures/serial/{name}.bin", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(&path).expect("a fixture")
    };
    let mut all = vec![
        ("json-lines", of("json-lines"), format!("{LINE}\n").into_bytes(), 3),
        ("csv-lines", of("csv-lines"), b"temperature,humidity\n21.53,48.7\n".to_vec(), 2),
        ("influx-line", of("influx-line"), b"weather,location=roof temperature=21.5 1760000000000000000\n".to_vec(), 1),
        ("nmea-0183", of("nmea-0183"), fixture("nmea-gsa"), 4),
        ("dsmr-p1", of("dsmr-p1"), fixture("dsmr-v5"), 28),
        ("sds011", of("sds011"), fixture("sds011-spec-123.6-261.8"), 2),
        ("pms", of("pms"), fixture("pms5003-golden"), 12),
        ("mh-z19", of("mh-z19"), fixture("mhz19-reply-800ppm"), 2),
    ];
    for (name, kind) in Kind::ALL.into_iter().filter(|(_, kind)| !matches!(kind, Kind::Lines | Kind::IdleGap)) {
        let keys = Keys { framing: Some(kind), crc: crc(), layout: layout(), ..of("layout") };
        let protocol = Protocol::new(keys.clone()).expect("keys that fit");
        let frame = protocol.rules().and_then(|rules| rules.encode(&payload)).expect("a frame");
        all.push((name, keys, frame, 3));
    }
    all
}

criterion_group!(benches, topics, messages, formats, serial);
criterion_main!(benches);
