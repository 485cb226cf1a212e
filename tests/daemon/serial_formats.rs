//! What devices say on serial ports: each format on a real pseudo-terminal, in pieces, behind noise, and damaged.

use std::io::Write;
use std::process::{Output, Stdio};

use crate::harness::{Broker, Daemon, Hub, Setup, Stored, gadwall, now_micros, wait_for};

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../fixtures/serial/", $name, ".bin")).as_slice()
    };
}

const GGA: &[u8] = fixture!("nmea-gga-fix");
const GGA_BAD: &[u8] = fixture!("nmea-gga-BAD-checksum");
const DSMR_5: &[u8] = fixture!("dsmr-v5");
const DSMR_3: &[u8] = fixture!("dsmr-v3");
const SDS011: &[u8] = fixture!("sds011-spec-123.6-261.8");
const PMS: &[u8] = fixture!("pms5003-golden");
const PMS_CUT: &[u8] = fixture!("pms5003-mid-stream-start");
const COBS_JSON: &[u8] = fixture!("cobs-crc16-json-DERIVED");

/// Device and its section.
struct Port {
    name: &'static str,
    device: Hub,
    keys: String,
}

impl Port {
    fn new(name: &'static str, keys: &str) -> Self {
        Self { name, device: Hub::new(), keys: keys.to_owned() }
    }

    fn section(&self) -> String {
        let port = self.device.link().display();
        format!("[[serial]]\nname = \"{}\"\nport = \"{port}\"\n{}\n", self.name, self.keys)
    }

    /// In chunks of 1 to 7 bytes, the same each time.
    fn say(&mut self, bytes: &[u8]) {
        let mut state = bytes.len() as u64 | 1;
        let mut rest = bytes;
        while !rest.is_empty() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (chunk, behind) = rest.split_at(((state >> 60) as usize % 7 + 1).min(rest.len()));
            self.device.send_bytes(chunk);
            rest = behind;
        }
    }
}

fn start(ports: &[Port]) -> Daemon {
    let config: String = ports.iter().map(Port::section).collect();
    let daemon = Setup::new(&config).start();
    for port in ports {
        daemon.wait_state(port.name, "up");
    }
    daemon
}

/// The rows of a source as `node metric value unit @time`; `@` where the gateway stamped it after `since`.
fn rows(stored: &Stored, source: &str, since: i64) -> Vec<String> {
    let mut rows: Vec<String> = stored
        .rows
        .iter()
        .filter(|row| row.source == source)
        .map(|row| {
            let unit = row.unit.as_deref().map(|unit| format!(" {unit}")).unwrap_or_default();
            let at = if row.ts >= since && row.lag == Some(0) { String::new() } else { time(row.ts) };
            format!("{} {} {}{unit} @{at}", row.node, row.metric, row.value)
        })
        .collect();
    rows.sort();
    rows
}

fn time(micros: i64) -> String {
    gadwall::reading::Timestamp(micros).to_string()
}

#[track_caller]
fn assert_rows(stored: &Stored, source: &str, since: i64, expected: &[&str]) {
    let mut expected: Vec<&str> = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(rows(stored, source, since), expected, "{source}");
}

/// A sentence with its checksum.
fn sentence(body: &str) -> Vec<u8> {
    format!("${body}*{:02X}\r\n", body.bytes().fold(0, |sum, byte| sum ^ byte)).into_bytes()
}

fn crc16_modbus(bytes: &[u8]) -> [u8; 2] {
    let mut crc = 0xFFFF_u16;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 };
        }
    }
    crc.to_le_bytes()
}

const POSITION: [&str; 7] = [
    "boat altitude 61.7 m @",
    "boat fix_quality 1 @",
    "boat geoid_separation 55.2 m @",
    "boat hdop 1.03 @",
    "boat latitude 53.361336666666666 deg @",
    "boat longitude -6.50562 deg @",
    "boat satellites 8 @",
];

#[test]
fn devices_with_a_framing_of_their_own_in_pieces_and_behind_noise() {
    let mut ports = [
        Port::new("boat", "format = \"nmea-0183\""),
        Port::new("meter", "format = \"dsmr-p1\""),
        Port::new("old", "format = \"dsmr-p1\"\nbaud = 9600\ndata-bits = 7\nparity = \"even\""),
        Port::new("street", "format = \"sds011\""),
        Port::new("air", "format = \"pms\""),
    ];
    let since = now_micros();
    let mut daemon = start(&ports);
    let [boat, meter, old, street, air] = &mut ports;
    // Without a date the arrival counts; with one its own time does, and the same position in another sentence is no other.
    let rmc = sentence("GPRMC,092751.000,A,5321.6802,N,00630.3372,W,1.0,31.66,091025,,,A");
    let gll = sentence("GPGLL,5321.6802,N,00630.3372,W,092751.000,A,A");
    boat.say(&[b"\xb5\x62xyz,1*".as_slice(), GGA, b"\x80\x81", &rmc, &gll, b"$GPG"].concat());
    let mut flipped = DSMR_5.to_vec();
    let at = flipped.windows(7).position(|seven| seven == b"004.426").unwrap();
    flipped[at] ^= 1;
    // The same telegram again is stored once.
    meter.say(&[b"W)(00000.107*m3)\r\n!6EEE\r\n".as_slice(), DSMR_5, &flipped, DSMR_5, b"\x00"].concat());
    old.say(&[b"noise\x7f\r\n".as_slice(), DSMR_3].concat());
    street.say(&[&SDS011[4..], b"\xAA\x00", SDS011, b"\xAA"].concat());
    air.say(PMS_CUT);
    air.say(&[b"\x42\x4D\x00".as_slice(), PMS].concat());
    daemon.wait_stat("/readings/committed", 7 + 4 + 28 + 11 + 2 + 24);
    wait_for("what was skipped", || daemon.source("air")["skipped_bytes"] == 8 + 3);
    let of = |source: &str| {
        let source = daemon.source(source);
        let number = |key: &str| source[key].as_u64().unwrap();
        (source["format"].as_str().unwrap().to_owned(), number("frames"), number("dead"), number("skipped_bytes"))
    };
    assert_eq!(of("boat"), ("nmea-0183".into(), 3, 0, 8 + 2));
    assert_eq!(of("meter"), ("dsmr-p1".into(), 3, 1, 21 + DSMR_5.len() as u64 - 2 + 1));
    assert_eq!(of("street"), ("sds011".into(), 1, 0, 6 + 2));
    assert_eq!(of("air"), ("pms".into(), 2, 0, 11));
    let stored = daemon.finish();
    let own = "@2025-10-09T09:27:51Z";
    let mut expected: Vec<String> = POSITION.iter().map(|row| (*row).to_owned()).collect();
    expected.extend(
        ["course 31.66 deg", "latitude 53.361336666666666 deg", "longitude -6.50562 deg", "speed 0.514444444444 m/s"]
            .map(|row| format!("boat {row} {own}")),
    );
    assert_rows(&stored, "boat", since, &expected.iter().map(String::as_str).collect::<Vec<_>>());
    let telegram = rows(&stored, "meter", since);
    assert_eq!(telegram.len(), 28, "{telegram:?}");
    for row in [
        "K8EG004046395507 energy_1 4.426 kWh @2017-01-02T18:20:02Z",
        "K8EG004046395507 energy_returned_1 2.444 kWh @2017-01-02T18:20:02Z",
        "K8EG004046395507 power 244 W @2017-01-02T18:20:02Z",
        "K8EG004046395507 voltage_l3 229 V @2017-01-02T18:20:02Z",
        "K8EG004046395507 current_l1 0.48 A @2017-01-02T18:20:02Z",
        "K8EG004046395507 power_failures 13 @2017-01-02T18:20:02Z",
        "2222ABCD123456789 gas 0.107 m3 @2017-01-02T15:10:05Z",
    ] {
        assert!(telegram.iter().any(|r| r == row), "{row} is not in {telegram:?}");
    }
    assert_rows(
        &stored,
        "old",
        since,
        &[
            "K8EG004046395507 energy_1 12345.678 kWh @",
            "K8EG004046395507 energy_2 12345.678 kWh @",
            "K8EG004046395507 energy_returned_1 12345.678 kWh @",
            "K8EG004046395507 energy_returned_2 12345.678 kWh @",
            "K8EG004046395507 tariff 2 @",
            "K8EG004046395507 power 1190 W @",
            "K8EG004046395507 power_returned 0 W @",
            "K8EG004046395507 current_limit 16 A @",
            "K8EG004046395507 switch_position 1 @",
            // Of 2009, which is before every gateway: the arrival counts, and an event says so.
            "2222ABCD123456789 gas 1.001 m3 @",
            "2222ABCD123456789 valve_position 1 @",
        ],
    );
    assert_rows(&stored, "street", since, &["sds011-A160 pm2_5 123.6 ug/m3 @", "sds011-A160 pm10 261.8 ug/m3 @"]);
    let air = rows(&stored, "air", since);
    for row in
        ["air pm2_5 14 ug/m3 @", "air pm2_5 4 ug/m3 @", "air particles_0_3 1974 1/dL @", "air pm10_standard 7 ug/m3 @"]
    {
        assert!(air.iter().any(|r| r == row), "{row} is not in {air:?}");
    }
    assert_eq!(stored.dead.len(), 1, "{:?}", stored.dead);
    assert!(stored.dead[0].reason.starts_with("malformed: the checksum is 6EEE, expected "), "{:?}", stored.dead[0]);
    assert_eq!(stored.dead[0].excerpt, flipped[..flipped.len() - 2]);
}

#[test]
fn broken_checksums_are_dead_letters_and_what_follows_is_read() {
    let mut ports = [Port::new("boat", "format = \"nmea-0183\""), Port::new("street", "format = \"sds011\"")];
    let since = now_micros();
    let mut daemon = start(&ports);
    let [boat, street] = &mut ports;
    boat.say(&[GGA_BAD, GGA].concat());
    let mut flipped = SDS011.to_vec();
    flipped[2] ^= 4;
    // A byte lost, one doubled, one flipped: three frames are none.
    let doubled = [&SDS011[..3], &SDS011[2..]].concat();
    street.say(&[SDS011, &SDS011[1..], SDS011, &doubled, &flipped, SDS011].concat());
    daemon.wait_stat("/readings/committed", 7 + 3 * 2);
    let skipped = |source: &str| daemon.source(source)["skipped_bytes"].as_u64().unwrap();
    assert_eq!(skipped("boat"), 70);
    assert_eq!(skipped("street"), 9 + 11 + 10);
    assert!(daemon.reason("dead", "malformed") >= 2, "{}", daemon.stats());
    let stored = daemon.finish();
    assert_rows(&stored, "boat", since, &POSITION);
    assert_eq!(rows(&stored, "street", since).len(), 6);
    assert!(stored.dead.iter().any(|d| d.source == "boat" && d.reason == "malformed: the checksum is 77, expected 76"));
    assert!(stored.dead.iter().any(|d| d.source == "street"), "{:?}", stored.dead);
}

#[test]
fn rows_and_points_by_lines() {
    let mut ports = [
        Port::new("logger", "format = \"csv-lines\"\ntimezone = \"Europe/Berlin\""),
        Port::new(
            "bare",
            "format = \"csv-lines\"\ncolumns = [\"node\", \"temperature\", \"pressure [Pa]\"]\nseparator = \";\"",
        ),
        Port::new("late", "format = \"csv-lines\"\nheader = true"),
        Port::new("points", "format = \"influx-line\""),
        Port::new("value", "format = \"number\""),
    ];
    let since = now_micros();
    let mut daemon = start(&ports);
    let [logger, bare, late, points, value] = &mut ports;
    logger.say(
        b"\x00\xfe\x80time;node;temperature [degC];state\r\n9.10.2025 10:53;t1;21,5;ok\r\n9.10.2025 10:54;t2;;\r\n",
    );
    logger.say(b"9.10.2025 10:55;t1;22,25;\r\n9.10.2025 10:56;t1\r\n");
    bare.say(b"a;21,5;101300\nb;20;100000\n");
    late.say(b"5,48.7\ntemperature,humidity\n21.5,48.7\n");
    points.say(b"# comment\nweather,location=roof temperature=21.5,humidity=48i 1760000000000000000\nno point\n");
    value.say(b"21.5\n-3\n");
    daemon.wait_stat("/readings/committed", 2 + 4 + 2 + 2 + 2);
    daemon.wait_stat("/readings/dead", 3);
    let stored = daemon.finish();
    assert_rows(
        &stored,
        "logger",
        since,
        &["t1 temperature 21.5 degC @2025-10-09T08:53:00Z", "t1 temperature 22.25 degC @2025-10-09T08:55:00Z"],
    );
    assert_rows(
        &stored,
        "bare",
        since,
        &["a temperature 21.5 degC @", "a pressure 1013 hPa @", "b temperature 20 degC @", "b pressure 1000 hPa @"],
    );
    assert_rows(&stored, "late", since, &["late temperature 21.5 degC @", "late humidity 48.7 % @"]);
    assert_rows(
        &stored,
        "points",
        since,
        &["roof temperature 21.5 degC @2025-10-09T08:53:20Z", "roof humidity 48 % @2025-10-09T08:53:20Z"],
    );
    assert_rows(&stored, "value", since, &["value value 21.5 @", "value value -3 @"]);
    let mut dead: Vec<String> = stored.dead.iter().map(|d| format!("{}: {}", d.source, d.reason)).collect();
    dead.sort_unstable();
    assert_eq!(dead[0], "late: malformed: line 1: expected a header before the first row");
    assert_eq!(dead[1], "logger: malformed: line 1: 2 cells: expected 4 as in the header");
    assert!(dead[2].starts_with("points: malformed: line 1, column ") && dead.len() == 3, "{dead:?}");
    assert_eq!(
        stored.events.iter().map(|e| (&*e.node, &*e.kind, &*e.data)).collect::<Vec<_>>(),
        [("t1", "state", "ok")]
    );
}

const LAYOUT: &str =
    "layout = \"u8 = 0x01, u16 node, u32 unix_time, i16 temperature * 0.01 degC, u16 humidity * 0.01 %\"";

/// The payload of [`LAYOUT`].
fn payload(node: u16, secs: u32, temperature: i16, humidity: u16) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend(node.to_le_bytes());
    bytes.extend(secs.to_le_bytes());
    bytes.extend(temperature.to_le_bytes());
    bytes.extend(humidity.to_le_bytes());
    bytes
}

/// Ports with a framing around a payload.
fn framed() -> [Port; 6] {
    let prefixed = format!(
        "format = \"layout\"\nframing = \"length-prefixed\"\nsync = \"AA 55\"\nlength-counts = \"rest\"\n\
         crc = \"CRC-16/MODBUS\"\ncrc-covers = \"length\"\n{LAYOUT}"
    );
    [
        Port::new("radio", &prefixed),
        Port::new("fixed", &format!("format = \"layout\"\nframing = \"fixed\"\ncrc = \"CRC-16/MODBUS\"\n{LAYOUT}")),
        Port::new("gap", &format!("format = \"layout\"\nframing = \"idle-gap\"\ngap = \"20ms\"\n{LAYOUT}")),
        Port::new("cobs", "format = \"json\"\nframing = \"cobs\"\ncrc = \"CRC-16/MODBUS\""),
        Port::new("slip", "format = \"layout\"\nframing = \"slip\"\nlayout = \"u16be counter, u8 state\""),
        Port::new("text", "format = \"csv-lines\"\ncolumns = [\"temperature\"]\ncrc = \"CRC-16/MODBUS\""),
    ]
}

#[test]
fn layouts_and_payloads_in_framings_with_checksums() {
    let mut ports = framed();
    let since = now_micros();
    let mut daemon = start(&ports);
    let [radio, fixed, gap, cobs, slip, text] = &mut ports;
    let frame = |payload: &[u8]| {
        let covered = [&[u8::try_from(payload.len() + 2).unwrap()], payload].concat();
        [b"\xAA\x55".as_slice(), &covered, &crc16_modbus(&covered)].concat()
    };
    let first = frame(&payload(17, 1_760_000_000, -213, 4_870));
    let mut broken = frame(&payload(17, 1_760_000_030, 9_999, 4_870));
    broken[9] ^= 0x40;
    let third = frame(&payload(18, 1_760_000_060, 2_150, 5_000));
    let other = frame(&[&[2], &payload(19, 1, 2, 3)[1..]].concat());
    radio
        .say(&[b"\x00\xAA\xAA".as_slice(), &first[4..], &first, &broken, &third, &other, b"\xAA\x55\x0d\x01"].concat());
    let checked = |payload: Vec<u8>| [payload.as_slice(), &crc16_modbus(&payload)].concat();
    let frames = [checked(payload(5, 1_760_000_000, 100, 1)), checked(payload(6, 1_760_000_000, 200, 2))];
    fixed.say(&[&frames[0][3..], &frames[0], &frames[1]].concat());
    // Only silence ends these.
    gap.device.send_bytes(&payload(7, 1_760_000_000, 300, 3));
    wait_for("the first frame of the gap", || daemon.source("gap")["readings"] == 2);
    gap.device.send_bytes(&payload(8, 1_760_000_000, 400, 4)[..9]);
    wait_for("the frame that is cut", || daemon.source("gap")["dead"] == 1);
    gap.device.send_bytes(&payload(9, 1_760_000_000, 500, 5));
    cobs.say(&[b"\x05\x07\x00".as_slice(), COBS_JSON].concat());
    slip.say(b"\xC0\x01\xDB\xDC\x07\xC0\xC0\x00\x05\x01\xC0");
    // The catalogue's check value of 123456789 is 4B37.
    text.say(b"123456789*4B37\n123456788*4B37\n");
    daemon.wait_stat("/readings/committed", 4 + 4 + 4 + 1 + 4 + 1);
    daemon.wait_stat("/readings/dead", 6);
    let source = |name: &str, key: &str| daemon.source(name)[key].as_u64().unwrap();
    assert_eq!((source("radio", "dead"), source("text", "dead"), source("cobs", "dead")), (2, 1, 1));
    // Noise and the tail of a frame, the broken frame, the payload of another kind, and four bytes behind which was silence.
    let skipped = 3 + first.len() - 4 + broken.len() + 11 + 4;
    wait_for("what the radio's port skipped", || source("radio", "skipped_bytes") == skipped as u64);
    assert_eq!(source("fixed", "skipped_bytes"), frames[0].len() as u64 - 3);
    assert_eq!(source("text", "skipped_bytes"), 14);
    assert_eq!(daemon.source("radio")["format"], "layout");
    // What was half heard when the line went away is counted, and is no beginning of what comes then.
    cobs.say(b"\x04\x41");
    wait_for("the half frame", || source("cobs", "bytes") == 3 + COBS_JSON.len() as u64 + 2);
    assert_eq!(source("cobs", "skipped_bytes"), 2);
    cobs.device.unplug();
    cobs.device.plug();
    wait_for("another connection", || source("cobs", "connects") == 2);
    cobs.say(COBS_JSON);
    daemon.wait_stat("/readings/committed", 18 + 1);
    assert_eq!(source("cobs", "skipped_bytes"), 2 + 2);
    let stored = daemon.finish();
    assert_rows(
        &stored,
        "radio",
        since,
        &[
            "17 temperature -2.13 degC @2025-10-09T08:53:20Z",
            "17 humidity 48.7 % @2025-10-09T08:53:20Z",
            "18 temperature 21.5 degC @2025-10-09T08:54:20Z",
            "18 humidity 50 % @2025-10-09T08:54:20Z",
        ],
    );
    assert_rows(
        &stored,
        "fixed",
        since,
        &[
            "5 temperature 1 degC @2025-10-09T08:53:20Z",
            "5 humidity 0.01 % @2025-10-09T08:53:20Z",
            "6 temperature 2 degC @2025-10-09T08:53:20Z",
            "6 humidity 0.02 % @2025-10-09T08:53:20Z",
        ],
    );
    assert_rows(
        &stored,
        "gap",
        since,
        &[
            "7 temperature 3 degC @2025-10-09T08:53:20Z",
            "7 humidity 0.03 % @2025-10-09T08:53:20Z",
            "9 temperature 5 degC @2025-10-09T08:53:20Z",
            "9 humidity 0.05 % @2025-10-09T08:53:20Z",
        ],
    );
    assert_rows(&stored, "cobs", since, &["cobs v 21.5 @"; 2]);
    // 01 C0 is 448.
    assert_rows(
        &stored,
        "slip",
        since,
        &["slip counter 448 @", "slip state 7 @", "slip counter 5 @", "slip state 1 @"],
    );
    assert_rows(&stored, "text", since, &["text temperature 123456789 degC @"]);
    let dead = |source: &str| {
        let of = stored.dead.iter().filter(|d| d.source == source);
        of.map(|d| d.reason.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(dead("gap"), ["malformed: a payload of 9 bytes, expected 11"]);
    assert!(dead("radio")[0].starts_with("malformed: a frame of 16 bytes: the checksum is "), "{:?}", stored.dead);
    assert!(dead("text")[0].starts_with("malformed: a frame of 14 bytes: the checksum is 0x4b37, expected "));
}

#[test]
fn a_layout_reads_mqtt_messages_too() {
    let broker = Broker::new();
    let subscribe = "{ topic = \"radio/{node}/up\", format = \"layout\", \
                     layout = \"u16 supply mV, i16 temperature * 0.01 degC\" }";
    let mut daemon = Daemon::start(&broker.section("home", "", subscribe));
    daemon.wait_state("home", "up");
    let since = now_micros();
    let mut client = broker.publisher();
    client.publish("radio/n1/up", [0x1C, 0x0C, 0x66, 0x08]);
    client.publish("radio/n1/up", [1, 2, 3]);
    daemon.wait_stat("/readings/committed", 2);
    daemon.wait_stat("/readings/dead", 1);
    let stored = daemon.finish();
    assert_rows(&stored, "home", since, &["n1 supply 3.1 V @", "n1 temperature 21.5 degC @"]);
    assert_eq!(stored.dead[0].reason, "malformed: topic `radio/n1/up`: a payload of 3 bytes, expected 4");
}

/// `gadwall decode` with these arguments and bytes.
fn decode(args: &[&str], bytes: &[u8]) -> Output {
    let mut command = gadwall();
    command.arg("decode").args(args).arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("starting gadwall");
    match child.stdin.take().expect("its input").write_all(bytes) {
        // What was asked wrongly is said before anything is read.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written.expect("writing to it"),
    }
    child.wait_with_output().expect("its output")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn decode_prints_what_a_port_would_store() {
    let out = decode(&["--json", "--format", "sds011"], &[b"\x01\x02".as_slice(), SDS011].concat());
    assert_eq!(
        text(&out.stdout),
        "{\"node\":\"sds011-A160\",\"metric\":\"pm2_5\",\"value\":123.6,\"unit\":\"ug/m3\",\"time\":null}\n\
         {\"node\":\"sds011-A160\",\"metric\":\"pm10\",\"value\":261.8,\"unit\":\"ug/m3\",\"time\":null}\n"
    );
    assert_eq!((out.status.code(), text(&out.stderr)), (Some(0), "1 frame, 0 bad; 2 of 12 bytes skipped\n"));
    let out = decode(&["--format", "nmea-0183"], &[GGA_BAD, GGA].concat());
    assert_eq!(text(&out.stdout).lines().count(), 7);
    assert_eq!(
        (out.status.code(), text(&out.stderr)),
        (Some(1), "byte 0: malformed: the checksum is 77, expected 76\n2 frames, 1 bad; 70 of 144 bytes skipped\n")
    );
    let out = decode(
        &["--json", "--name", "cobs", "--format", "json", "--framing", "cobs", "--crc", "crc-16/modbus"],
        COBS_JSON,
    );
    assert_eq!(
        text(&out.stdout),
        "{\"node\":\"cobs\",\"metric\":\"v\",\"value\":21.5,\"unit\":null,\"time\":null}\n\
         {\"node\":\"cobs\",\"event\":\"s\",\"data\":\"t1\",\"time\":null}\n"
    );
    let layout = "u16 node, i16 temperature * 0.01 degC";
    let hex = ["--json", "--hex", "--format", "layout", "--layout", layout];
    let line = "{\"node\":\"17\",\"metric\":\"temperature\",\"value\":21.5,\"unit\":\"degC\",\"time\":null}\n";
    assert_eq!(text(&decode(&hex, b"11 00 66 08").stdout), line);
    let framed = [&hex[..], &["--framing", "slip"]].concat();
    assert_eq!(text(&decode(&framed, b"C0 11 00 66 08 C0").stdout), line);
    let csv = ["--json", "--format", "csv-lines", "--columns", "temperature,humidity"];
    assert_eq!(text(&decode(&csv, b"21.5;48").stdout).lines().count(), 2);
    let out = decode(&["--json", "--format", "dsmr-p1"], DSMR_5);
    assert_eq!((out.status.code(), text(&out.stdout).lines().count()), (Some(0), 28));
    assert!(
        text(&out.stdout)
            .contains("\"metric\":\"gas\",\"value\":0.107,\"unit\":\"m3\",\"time\":\"2017-01-02T15:10:05Z\"")
    );
}

#[test]
fn decode_says_what_was_asked_wrongly() {
    for (args, expected) in [
        (
            ["--format", "pms", "--framing", "cobs"].as_slice(),
            "gadwall: --framing: expected none: format = \"pms\" has a framing",
        ),
        (&["--format", "layout", "--framing", "cobs"], "gadwall: --layout: expected the fields of the payload"),
        (&["--format", "layout", "--layout", "u16 a, u12 b"], "column 8: `u12` is no type"),
        (&["--format", "homie", "--framing", "cobs"], "gadwall: --format homie is told by topics"),
        (&["--format", "nmea"], "expected one of auto, csv, csv-lines"),
        (&["--hex", "--format", "pms"], "gadwall: -: expected hex digits in pairs"),
    ] {
        let out = decode(args, b"xyz");
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        assert!(text(&out.stderr).contains(expected), "{args:?}: {}", text(&out.stderr));
    }
}

#[test]
fn decode_reads_what_was_heard_on_a_modbus_bus() {
    const ASKED: &[u8] = include_bytes!("../fixtures/serial/modbus-rtu-req-holding.bin");
    const ANSWER: &[u8] = include_bytes!("../fixtures/serial/modbus-rtu-rsp-holding.bin");
    let heard = [ASKED, ANSWER].concat();
    let out = decode(&["--format", "modbus", "--json"], &heard);
    let row = |address: u16, value: u16| {
        format!(
            "{{\"node\":\"unit-17\",\"metric\":\"holding_{address}\",\"value\":{value}.0,\"unit\":null,\"time\":null}}\n"
        )
    };
    assert_eq!(text(&out.stdout), row(107, 0xAE41) + &row(108, 0x5652) + &row(109, 0x4340));
    assert_eq!((out.status.code(), text(&out.stderr)), (Some(0), "1 requests, 1 answers; 0 of 19 bytes skipped\n"));

    let dir = tempfile::tempdir().expect("a folder");
    let config = dir.path().join("gadwall.toml");
    let table = r#"
        [[modbus]]
        name = "bus"
        port = "/dev/ttyUSB0"
        [[modbus.unit]]
        id = 17
        node = "tank"
        registers = [{ metric = "temperature", address = 109, scale = 0.001, unit = "degC" }]
    "#;
    std::fs::write(&config, table).expect("writing the configuration");
    let file = config.to_str().expect("UTF-8");
    let out = decode(&["--format", "modbus", "--config", file, "--json"], &heard);
    assert_eq!(
        text(&out.stdout),
        "{\"node\":\"tank\",\"metric\":\"temperature\",\"value\":17.216,\"unit\":\"degC\",\"time\":null}\n"
    );
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let out = decode(&["--format", "modbus", "--config", file, "--name", "other"], &heard);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("there is no such [[modbus]]"), "{}", text(&out.stderr));
}
