use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../tests/fixtures/serial/", $name)).as_slice()
    };
}

fn heard<F: AsRef<[u8]>>(frames: &[F]) -> Heard {
    let at = |i| Duration::from_millis(500) * u32::try_from(i).unwrap();
    let pieces = frames.iter().enumerate().map(|(i, frame)| (at(i), frame.as_ref().to_vec())).collect();
    Heard { uart: Uart { baud: 9_600, ..Uart::default() }, pieces }
}

/// What a line that repeats these frames is, with how many of them were good.
fn judged<F: AsRef<[u8]>>(frames: &[F]) -> Option<(String, u64)> {
    let found = judge(&heard(frames))?;
    let framing = found.keys.framing.map_or(String::new(), |kind| format!(" {}", kind.as_str()));
    let crc = found.keys.crc.as_ref().map_or(String::new(), |crc| format!(" {}", crc.name()));
    Some((format!("{}{framing}{crc}", found.keys.format.as_str()), found.good))
}

fn is<F: AsRef<[u8]>>(frames: &[F], expected: &str, good: u64) {
    assert_eq!(judged(frames), Some((expected.to_owned(), good)));
}

#[test]
fn the_frames_of_devices_are_recognised() {
    let sds = fixture!("sds011-spec-123.6-261.8.bin");
    is(&[sds; 5], "sds011", 5);
    is(&[fixture!("pms5003-golden.bin"); 4], "pms", 4);
    let nmea = [fixture!("nmea-gga-fix.bin"), b"\r\n", fixture!("nmea-gsa.bin"), b"\r\n"].concat();
    assert_eq!(judged(&[&nmea; 3]).map(|(what, _)| what), Some("nmea-0183".into()));
    is(&[fixture!("dsmr-v5.bin"); 2], "dsmr-p1", 2);
    is(&[fixture!("dsmr-v2_2.bin"); 3], "dsmr-p1", 3);
}

#[test]
fn lines_of_text_are_told_apart() {
    is(&[b"{\"t\": 21.5, \"node\": \"a\"}\n"; 4], "json-lines", 4);
    is(&[b"HEARTBEAT 3 7 1 1 1 1\n"; 4], "hub-lines", 4);
    is(&[b"weather,site=a t=21.5,h=40i 1760000000000000000\n"; 4], "influx-line", 4);
    let rows: &[&[u8]] = &[b"t,h\n", b"21.5,40\n", b"21.6,41\n", b"21.7,41\n"];
    assert_eq!(judged(rows).map(|(what, _)| what), Some("csv-lines".into()));
}

#[test]
fn a_framing_with_its_checksum_is_found() {
    is(&[fixture!("cobs-crc16-json-DERIVED.bin"); 4], "json cobs CRC-16/MODBUS", 4);
}

#[test]
fn what_a_wrong_speed_makes_of_a_frame_is_nothing() {
    // Half the bits of each byte, as a line that is read twice as fast gives them.
    let garbage: Vec<u8> = fixture!("pms5003-golden.bin")
        .iter()
        .flat_map(|byte| [byte.wrapping_mul(0x55) | 0x80, byte.rotate_left(3) & 0x7F])
        .collect();
    assert_eq!(judged(&[&garbage; 4]), None);
    assert_eq!(judged(&[[0, 0x80, 0xF8, 0, 0xFF, 0x1C]; 20]), None);
}

#[test]
fn noise_and_a_cut_frame_do_not_decide() {
    let pms = fixture!("pms5003-mid-stream-start.bin");
    assert_eq!(judged(&[pms, pms, pms]).map(|(what, _)| what), Some("pms".into()));
}

#[test]
fn seven_bits_with_even_parity_are_seen_by_their_ones() {
    let even = |byte: &u8| byte | if byte.count_ones() % 2 == 1 { 0x80 } else { 0 };
    let telegram: Vec<u8> = fixture!("dsmr-v2_2.bin").iter().map(even).collect();
    let found = judge(&heard(&[&telegram, &telegram])).unwrap();
    assert_eq!((found.keys.format, found.uart.data_bits, found.uart.parity), (Format::DsmrP1, 7, Parity::Even));
    let text = section("/dev/ttyUSB0", &found);
    let keys: toml::Table = text.parse().unwrap();
    let keys = keys["serial"][0].as_table().unwrap();
    assert_eq!((keys["baud"].as_integer(), keys["data-bits"].as_integer()), (Some(9_600), Some(7)));
    assert_eq!((keys["parity"].as_str(), keys["format"].as_str()), (Some("even"), Some("dsmr-p1")));
}

#[test]
fn what_is_printed() {
    let print = |heard: &[Heard]| {
        let mut out = Vec::new();
        let found = heard.iter().map(judge).fold(None, better);
        print("/dev/ttyUSB0", heard, found.as_ref(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert!(
        print(&[heard::<&[u8]>(&[])])
            .starts_with("Nothing came from /dev/ttyUSB0. Some devices only speak when they are asked")
    );
    let wrong = Heard { uart: Uart { baud: 4_800, ..Uart::default() }, ..heard(&[[0, 0x80, 0xF8, 0, 0xFF, 0x1C]; 3]) };
    assert_eq!(
        print(&[wrong.clone(), heard(&[fixture!("sds011-spec-123.6-261.8.bin"); 3])]),
        "    baud  mode   bytes  could be\n\
        \x20   4800  8N1       18  nothing that is known\n\
        \x20   9600  8N1       30  sds011: 3 frames with a right checksum, 0 bad, 30 of 30 bytes fit\n\
         \nThe first reading: sds011-A160 pm2_5 123.6 ug/m3\n\
         \nFor the configuration:\n\n[[serial]]\nname = \"port\"\nport = \"/dev/ttyUSB0\"\nformat = \"sds011\"\n"
    );
    let unknown = print(&[wrong]);
    assert!(unknown.contains("  00 80 F8 00 FF 1C 00 80 F8 00 FF 1C 00 80 F8 00  ................\n"), "{unknown}");
    assert!(unknown.contains("No format fits."));
}
