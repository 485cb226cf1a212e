//! A frame of each format of a serial port, for the benchmarks of decoding.

use gadwall::codec::serial::crc::Checksum;
use gadwall::codec::serial::layout::Layout;
use gadwall::codec::serial::protocol::Kind;
use gadwall::codec::serial::{Format, Keys, Protocol};

/// A frame of each format with the keys of its port, and how many readings are in it.
pub fn samples() -> Vec<(&'static str, Keys, Vec<u8>, usize)> {
    let of = |format: &str| Keys { format: Format::named(format).expect("a format"), ..Keys::default() };
    let crc = || Checksum::named("CRC-16/MODBUS");
    let layout = "u16 node, u32 unix_time, i16 temperature * 0.01 degC, u16 humidity * 0.01 %, u8 flags";
    let layout = || Some(Layout::parse(layout).expect("a layout"));
    let payload = [0x11, 0, 0, 0x78, 0xE7, 0x68, 0x2B, 0xFF, 6, 0x13, 3];
    let fixture = |name: &str| {
        let path = format!("{}/tests/fixtures/serial/{name}.bin", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(&path).expect("a fixture")
    };
    let mut all = vec![
        (
            "json-lines",
            of("json-lines"),
            b"{\"node\":\"t1\",\"time\":1760000000.5,\"temperature\":21.53,\"humidity\":48.7}\n".to_vec(),
            2,
        ),
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
