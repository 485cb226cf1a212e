//! `gadwall sniff --port`.

use std::process::{Output, Stdio};
use std::thread;
use std::time::Duration;

use crate::harness::{Daemon, Devices, Hub, Slave, gadwall};

const SDS011: &[u8] = &[0xAA, 0xC0, 0xD4, 0x04, 0x3A, 0x0A, 0xA1, 0x60, 0x1D, 0xAB];

/// What a person reads who sniffs at the port with these options, while `meanwhile` is done again and again.
fn sniff(port: &std::path::Path, options: &[&str], mut meanwhile: impl FnMut()) -> (Option<i32>, String, String) {
    let mut command = gadwall();
    command.arg("sniff").arg("--port").arg(port).args(options).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("starting it");
    while child.try_wait().expect("asking for its end").is_none() {
        meanwhile();
        thread::sleep(Duration::from_millis(100));
    }
    let Output { status, stdout, stderr } = child.wait_with_output().expect("its output");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn a_talking_device_is_recognised_and_its_lines_are_for_the_configuration() {
    let mut port = Hub::new();
    let path = port.link().to_owned();
    let (status, out, err) = sniff(&path, &["--baud", "9600", "--seconds", "20"], || {
        port.try_send_bytes(SDS011, Duration::from_millis(100));
    });
    assert_eq!(status, Some(0), "{err}");
    assert!(out.contains("sds011: ") && out.contains(" frames with a right checksum, 0 bad, "), "{out}");
    assert!(out.contains("The first reading: sds011-A160 pm2_5 123.6 ug/m3\n"), "{out}");
    let (_, section) = out.split_once("For the configuration:\n\n").expect("lines for the configuration");
    // They are as they have to be: the daemon takes them.
    let mut daemon = Daemon::start(section);
    daemon.wait_state("port", "up");
    port.send_bytes(SDS011);
    daemon.wait_stat("/readings/committed", 2);
    // What was sent when the sniffer had gone may be stored as well.
    let stored = daemon.finish();
    let rows = stored.of("sds011-A160");
    assert!(rows.len() >= 2 && rows.len() == stored.rows.len(), "{:?}", stored.rows);
    for (metric, value) in [("pm2_5", 123.6), ("pm10", 261.8)] {
        let values: Vec<f64> = rows.iter().filter(|r| r.metric == metric).map(|r| r.value).collect();
        assert_eq!(values, vec![value; rows.len() / 2], "{metric}");
    }
}

#[test]
fn a_silent_port_and_one_that_is_in_use_are_told() {
    let port = Hub::new();
    let (status, out, _) = sniff(port.link(), &["--seconds", "1"], || {});
    assert_eq!(status, Some(0));
    assert!(out.starts_with(&format!("Nothing came from {}. Some devices only speak", port.link().display())), "{out}");
    let daemon = Daemon::start(&port.section("hub-lines", ""));
    daemon.wait_state("hub", "up");
    let (status, _, err) = sniff(port.link(), &["--seconds", "1"], || {});
    assert_eq!(status, Some(1));
    assert!(err.contains("it is in use by another program: is it a running gadwall? Stop it first"), "{err}");
    assert_eq!(daemon.source("hub")["state"], "up");
}

#[test]
fn a_sensor_and_a_bus_are_found_by_asking() {
    let line = Devices::new(
        9_600,
        Box::new(|held| {
            if held.get(..2) != Some(&[0xFF, 0x01]) {
                // Whatever else is asked on the line is not for it.
                return (!held.is_empty()).then(|| (1, Vec::new()));
            }
            let answer = vec![0xFF, 0x86, 0x02, 0x20, 0, 0, 0, 0, 0x58];
            (held.len() >= 9).then(|| (9, vec![(Duration::ZERO, answer)]))
        }),
    );
    let (status, out, err) = sniff(line.link(), &["--seconds", "1", "--ask"], || {});
    assert_eq!(status, Some(0), "{err}");
    assert!(out.starts_with("It answers as \"mh-z19\" does, at 9600 baud.\n"), "{out}");
    assert!(out.ends_with(&format!("port = \"{}\"\nformat = \"mh-z19\"\n", line.link().display())), "{out}");

    let bus = Slave::default();
    bus.hold(3, 3, 0, &[1]).hold(5, 4, 0, &[1]);
    let line = bus.line_with_others(9_600);
    let (status, out, err) = sniff(line.link(), &["--baud", "9600", "--seconds", "1", "--ask"], || {});
    assert_eq!(status, Some(0), "{err}");
    // One holds the register, the other says by an exception that it does not.
    assert!(out.starts_with("Modbus units answer: 3, 5.\n"), "{out}");
    assert!(out.contains("[[modbus]]\nname = \"bus\"\n") && out.contains("[[modbus.unit]]\nid = 5\n"), "{out}");
}
