use super::super::streams::rows;
use super::super::{Order, crc::Checksum, protocol::Kind};
use super::*;

const COBS_CRC: &[u8] = include_bytes!("../../../../tests/fixtures/serial/cobs-crc16-json-DERIVED.bin");

fn keys(format: &str) -> Keys {
    Keys { format: Format::named(format).unwrap(), ..Keys::default() }
}

fn stream(keys: Keys) -> Stream {
    Stream::new(&Protocol::new(keys).unwrap(), "port", None)
}

/// What is in the bytes, and what of them was skipped: the same however they are cut.
fn of(keys: &Keys, bytes: &[u8]) -> (Vec<String>, u64) {
    let all = |size: usize| {
        let (mut stream, mut all) = (stream(keys.clone()), Vec::new());
        for chunk in bytes.chunks(size) {
            stream.feed(chunk, Local::UTC, &mut |decoded| all.push(decoded));
        }
        stream.end(Local::UTC, &mut |decoded| all.push(decoded));
        assert_eq!(stream.pending(), 0);
        (rows(&all), stream.skipped())
    };
    let at_once = all(bytes.len().max(1));
    assert_eq!(all(1), at_once);
    assert_eq!(all(3), at_once);
    at_once
}

fn lines(format: &str, text: &str) -> Vec<String> {
    let (rows, skipped) = of(&keys(format), text.as_bytes());
    assert_eq!(skipped, 0);
    rows
}

#[test]
fn rows_with_and_without_a_header() {
    let text = "time,node,temperature,humidity\n2025-10-09T08:53:20Z,t1,21.5,48\n2025-10-09T08:53:50Z,t2,20,\n";
    assert_eq!(
        lines("csv-lines", text),
        [
            "t1 temperature 21.5 degC @2025-10-09T08:53:20Z",
            "t1 humidity 48 % @2025-10-09T08:53:20Z",
            "t2 temperature 20 degC @2025-10-09T08:53:50Z",
        ]
    );
    let columns = Some(["temperature", "humidity"].map(str::to_owned).to_vec());
    let said = Keys { columns, ..keys("csv-lines") };
    // A header that comes nevertheless is no row of texts.
    assert_eq!(
        of(&said, b"Temperature;Humidity\n21,5;48\nerror;\n").0,
        ["port temperature 21.5 degC", "port humidity 48 %", "port ! temperature: error"]
    );
    assert_eq!(lines("csv-lines", "21.5,48\n"), ["port column_1 21.5", "port column_2 48"]);
    let waits = Keys { header: Some(true), ..keys("csv-lines") };
    let (got, skipped) = of(&waits, b"1.5,48\ntemperature,humidity\n21.5,48\nwind_speed,rssi\n3,-70\n");
    assert_eq!(
        got,
        [
            "dead: line 1: expected a header before the first row",
            "port temperature 21.5 degC",
            "port humidity 48 %",
            "port wind_speed 3 m/s",
            "port rssi -70 dBm",
        ]
    );
    assert_eq!(skipped, 6);
    let none = Keys { header: Some(false), ..keys("csv-lines") };
    assert_eq!(of(&none, b"open,closed\n").0.len(), 2);
    let blanks = Keys { separator: Some(b' '), ..keys("csv-lines") };
    assert_eq!(
        of(&blanks, b"temperature   humidity\n 21.5   48\n").0,
        ["port temperature 21.5 degC", "port humidity 48 %"]
    );
    let bars = Keys { separator: Some(b'|'), ..keys("csv-lines") };
    assert_eq!(of(&bars, b"21.5|48\n").0, ["port column_1 21.5", "port column_2 48"]);
}

#[test]
fn other_payloads_by_lines() {
    assert_eq!(
        lines("influx-line", "weather,location=roof temperature=21.5 1760000000000000000\n# none\nuptime value=5i"),
        ["roof temperature 21.5 degC @2025-10-09T08:53:20Z", "port uptime 5 s"]
    );
    assert_eq!(lines("number", "21.5\n-3\n"), ["port value 21.5", "port value -3"]);
    assert_eq!(lines("json", "{\"node\":\"a\",\"x\":1}\n7\n"), ["a x 1", "port value 7"]);
    let named = Keys { node: Some("id".into()), time: Some("at".into()), ..keys("json-lines") };
    assert_eq!(of(&named, b"{\"id\":\"a\",\"at\":1760000000,\"x\":1}\n").0, ["a x 1 @2025-10-09T08:53:20Z"]);
    assert_eq!(
        lines("senml", "[{\"bn\":\"dev1/\",\"n\":\"temp\",\"u\":\"Cel\",\"v\":21.5}]\n"),
        ["dev1 temperature 21.5 degC"]
    );
    assert_eq!(lines("hub-lines", "HEARTBEAT 3 7 80 0 -71 5 0\n")[0], "7 battery 80 %");
}

#[test]
fn noise_before_a_line_is_cut_off_and_counted() {
    let (got, skipped) = of(&keys("csv-lines"), b"\x00\xff\x97temperature,humidity\r\n21.5,48\r\n\x80\x81");
    assert_eq!(got, ["port temperature 21.5 degC", "port humidity 48 %", "dead: invalid UTF-8 at byte 0"]);
    assert_eq!(skipped, 3 + 2);
    let (got, skipped) = of(&keys("json-lines"), b"\xfe{\"x\":1}\n{\"\xff\":2}\n");
    assert_eq!((got[0].as_str(), got.len(), skipped), ("port x 1", 2, 1 + 7));
    let (got, skipped) =
        of(&keys("json-lines"), b"Booting... {\"x\":{\"y\":1}}\nmp\":{\"x\":1},\"t\":2}\n{\"x\":2\n[{\"x\":3}\n");
    assert_eq!((got[0].as_str(), skipped), ("port x.y 1", 11 + 18 + 6 + 8));
    assert_eq!((got.iter().filter(|row| row.starts_with("dead: ")).count(), got.len()), (3, 4));
    // A letter of several bytes is none.
    assert_eq!(behind_noise("\u{1}öl,1".as_bytes()), "öl,1".as_bytes());
    assert_eq!(behind_noise(b"a\xffb"), b"a\xffb");
}

#[test]
fn framings_around_payloads() {
    let cobs = Keys { framing: Some(Kind::Cobs), crc: Checksum::named("CRC-16/MODBUS"), ..keys("json") };
    let noise = [b"\x01\x02\x00".as_slice(), COBS_CRC].concat();
    let (got, skipped) = of(&cobs, &noise);
    assert_eq!(
        got,
        ["dead: a frame of 2 bytes: the COBS code at byte 1 leads beyond the frame", "port v 21.5", "port ! s: t1"]
    );
    assert_eq!(skipped, 2);
    let layout = Layout::parse("u16 node, i16 temperature * 0.01 degC").ok();
    let fixed = Keys {
        framing: Some(Kind::Fixed),
        crc: Checksum::named("CRC-16/XMODEM"),
        crc_order: Some(Order::Big),
        layout,
        ..keys("layout")
    };
    let rules = Protocol::new(fixed.clone()).unwrap().rules().cloned().unwrap();
    let frame = rules.encode(&[17, 0, 0x66, 0x08]).unwrap();
    let mut bad = frame.clone();
    bad[2] ^= 1;
    let (got, skipped) = of(&fixed, &[b"\x55".as_slice(), &frame, &bad, &frame].concat());
    let good: Vec<&String> = got.iter().filter(|row| !row.starts_with("dead: ")).collect();
    assert_eq!(good, ["17 temperature 21.5 degC"; 2]);
    assert_eq!(skipped, 1 + 6);
    // Ended by silence alone.
    let gap = Keys { framing: Some(Kind::IdleGap), ..keys("number") };
    let (mut port, mut all) = (stream(gap), Vec::new());
    assert_eq!(port.gap(), Some(Duration::from_millis(50)));
    for chunk in ["21", ".5"] {
        port.feed(chunk.as_bytes(), Local::UTC, &mut |decoded| all.push(decoded));
    }
    port.idle(Local::UTC, &mut |decoded| all.push(decoded));
    port.feed(b"7", Local::UTC, &mut |decoded| all.push(decoded));
    assert_eq!((rows(&all), port.pending()), (vec!["port value 21.5".to_owned()], 1));
    port.forget();
    assert_eq!((port.pending(), port.skipped()), (0, 0));
}

#[test]
fn a_file_ends_what_it_holds() {
    let telegram = include_bytes!("../../../../tests/fixtures/serial/dsmr-v2_2.bin");
    let (got, skipped) = of(&keys("dsmr-p1"), telegram.trim_ascii_end());
    assert!(got.len() > 5 && got.iter().all(|row| !row.starts_with("dead")) && skipped == 0, "{got:?}");
    assert_eq!(
        (lines("number", "5"), lines("auto", "5\n")),
        (vec!["port value 5".to_owned()], vec!["port value 5".to_owned()])
    );
}
