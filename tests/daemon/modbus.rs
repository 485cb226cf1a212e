//! Units of a bus on a pseudo-terminal, at the pace of a real line: some of them dead, late, or wrong.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Daemon, Devices, Manner, Slave, Stored, now_micros, wait_for, wait_within};

/// A `[[modbus]]` at 9600 baud with these units.
fn section(line: &Devices, more: &str, units: &str) -> String {
    format!("[[modbus]]\nname = \"bus\"\nport = \"{}\"\n{more}\n{units}", line.link().display())
}

fn unit(daemon: &Daemon, id: u8) -> Value {
    let source = daemon.source("bus");
    let units = source["units"].as_array().cloned().unwrap_or_default();
    units.into_iter().find(|unit| unit["unit"] == id).unwrap_or_else(|| panic!("no unit {id} in {source}"))
}

/// Values of a series in their order, with their times in microseconds.
fn series(stored: &Stored, node: &str, metric: &str) -> Vec<(i64, f64)> {
    stored.rows.iter().filter(|r| r.node == node && r.metric == metric).map(|r| (r.ts, r.value)).collect()
}

/// Asserts that a series has a reading for each of its intervals, however late any of them was.
#[track_caller]
fn assert_on_time(stored: &Stored, node: &str, metric: &str, interval: Duration) {
    let rows = series(stored, node, metric);
    let (first, last) = (rows[0].0, rows[rows.len() - 1].0);
    let interval = interval.as_micros() as i64;
    let expected = (last - first + interval / 2) / interval + 1;
    assert!((rows.len() as i64 - expected).abs() <= 1, "{} readings of {node}, {expected} intervals", rows.len());
}

fn events(stored: &Stored) -> Vec<(&str, &str, &str)> {
    let mut events: Vec<_> = stored.events.iter().map(|e| (&*e.node, &*e.kind, &*e.data)).collect();
    events.sort_unstable();
    events
}

#[test]
fn every_type_and_table_of_a_unit_is_stored_exactly() {
    let bus = Slave::default();
    bus.hold(1, 3, 0, &[2301, 0xFF9C, 0x0001, 0xE240, 0xE240, 0x0001, 0x42F6, 0xE979, 0x8000, 0x0005])
        .hold(1, 4, 100, &[0x405E, 0xDD2F, 0x1A9F, 0xBE77, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFE, 0x7FC0, 0])
        .hold(1, 1, 9, &[0, 1, 1, 0, 0, 0, 0, 0, 0, 1])
        .hold(1, 2, 0, &[1]);
    let line = bus.line(19_200);
    let since = now_micros();
    let mut daemon = Daemon::start(&section(
        &line,
        "baud = 19200\ninterval = \"1h\"",
        r#"
        [[modbus.unit]]
        id = 1
        node = "meter"
        registers = [
            { metric = "voltage", address = 0, scale = 0.1, unit = "V" },
            { metric = "temperature", address = 1, type = "i16", scale = 0.1, offset = 0.5 },
            { metric = "count", address = 2, type = "u32" },
            { metric = "swapped", address = 4, type = "u32", order = "CDAB", scale = 0.001 },
            { metric = "current", address = 6, type = "f32" },
            { metric = "absent", address = 8, type = "i16", na = 0x8000 },
            { metric = "flag", address = 9, bit = 2 },
            { metric = "clear", address = 9, bit = 1 },
            { metric = "energy", address = 100, type = "f64", function = "input", unit = "kWh" },
            { metric = "balance", address = 104, type = "i64", function = "input" },
            { metric = "nan", address = 108, type = "f32", function = "input" },
            { metric = "off", address = 9, function = "coil", node = "pump" },
            { metric = "on", address = 18, function = "coil", node = "pump" },
            { metric = "door", address = 0, function = "discrete" },
        ]
        "#,
    ));
    daemon.wait_stat("/readings/committed", 12);
    let nodes = daemon.json("/api/v1/nodes");
    assert!(nodes["nodes"].as_array().is_some_and(|all| all.iter().all(|node| node["online"] == true)), "{nodes}");
    let stored = daemon.finish();
    let mut got: Vec<_> =
        stored.rows.iter().map(|r| (&*r.node, &*r.metric, r.unit.as_deref().unwrap_or_default(), r.value)).collect();
    got.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    assert_eq!(
        got,
        [
            ("meter", "balance", "", -2.0),
            ("meter", "clear", "", 0.0),
            ("meter", "count", "", 123_456.0),
            ("meter", "current", "A", 123.456),
            ("meter", "door", "", 1.0),
            ("meter", "energy", "kWh", 123.456),
            ("meter", "flag", "", 1.0),
            ("meter", "swapped", "", 123.456),
            ("meter", "temperature", "degC", -9.5),
            ("meter", "voltage", "V", 230.1),
            ("pump", "off", "", 0.0),
            ("pump", "on", "", 1.0),
        ]
    );
    assert!(stored.rows.iter().all(|r| r.source == "bus" && r.lag == Some(0) && r.ts >= since));
    assert_eq!(stored.dead, []);
    // Neighbours at once: registers 0 to 9, inputs 100 to 109; coils apart, because others stand between them.
    let mut asked = bus.asked();
    asked.sort_unstable();
    assert_eq!(
        asked,
        [[1, 1, 0, 9, 0, 1], [1, 1, 0, 18, 0, 1], [1, 2, 0, 0, 0, 1], [1, 3, 0, 0, 0, 10], [1, 4, 0, 100, 0, 10],]
    );
}

#[test]
fn dead_late_wrong_and_refusing_units_cost_the_others_nothing() {
    let bus = Slave::default();
    for id in 1..=6 {
        bus.hold(id, 3, 0, &[u16::from(id) * 100, u16::from(id) * 100 + 1]);
    }
    bus.answers(2, Manner::Dead)
        .answers(3, Manner::Late(Duration::from_millis(900)))
        .answers(4, Manner::WrongCrc)
        .answers(5, Manner::Refuses(4));
    let line = bus.line(9_600);
    let units: String = (1..=6)
        .map(|id| {
            format!(
                "[[modbus.unit]]\nid = {id}\nnode = \"n{id}\"\nregisters = [{{ metric = \"a\", address = 0 }}, \
                 {{ metric = \"b\", address = 1 }}, {{ metric = \"c\", address = 1, interval = \"3s\" }}]\n"
            )
        })
        .collect();
    let mut daemon = Daemon::start(&section(&line, "timeout = \"400ms\"\ninterval = \"1s\"", &units));
    wait_for("the bad units to be dead", || (2..=4).all(|id| unit(&daemon, id)["state"] == "dead"));
    wait_for("unit 1 to answer 20 times", || unit(&daemon, 1)["answers"].as_u64() >= Some(20));
    let reason = |id| unit(&daemon, id)["reason"].as_str().unwrap_or_default().to_owned();
    assert_eq!(reason(2), "it does not answer");
    assert_eq!(reason(3), "its answers come later than timeout = \"400ms\"");
    assert_eq!(reason(4), "its answers have a wrong CRC: are baud rate and parity right?");
    assert!(unit(&daemon, 3)["late"].as_u64() >= Some(2), "{}", unit(&daemon, 3));
    assert!(unit(&daemon, 4)["garbled"].as_u64() >= Some(3), "{}", unit(&daemon, 4));
    let refusing = unit(&daemon, 5);
    assert_eq!((&refusing["state"], &refusing["answers"]), (&json!("up"), &json!(0)));
    assert!(refusing["exceptions"]["SERVER DEVICE FAILURE"].as_u64() >= Some(15), "{refusing}");
    for id in [1, 6] {
        let unit = unit(&daemon, id);
        assert_eq!(
            (&unit["passed_over"], &unit["unanswered"], &unit["late"]),
            (&json!(0), &json!(0), &json!(0)),
            "{unit}"
        );
    }
    let text = format!("unit 5, holding register 0: {}", "SERVER DEVICE FAILURE");
    daemon.wait_failing("bus", &text);
    let nodes = daemon.json("/api/v1/nodes");
    let online = |name: &str| {
        let nodes = nodes["nodes"].as_array().expect("nodes");
        nodes.iter().find(|node| node["name"] == name).map(|node| node["online"].clone())
    };
    let online: Vec<_> = (1..=6).map(|id| online(&format!("n{id}")).unwrap_or_default()).collect();
    assert_eq!(online, [json!(true), json!(false), json!(false), json!(false), json!(true), json!(true)]);

    // A dead one comes back by itself.
    bus.answers(2, Manner::Well);
    wait_within("unit 2 to be back", Duration::from_secs(90), || unit(&daemon, 2)["state"] == "up");
    let stored = daemon.finish();
    for id in [1.0, 6.0] {
        let node = format!("n{id}");
        for (metric, value, interval) in [("a", id * 100.0, 1), ("b", id * 100.0 + 1.0, 1), ("c", id * 100.0 + 1.0, 3)]
        {
            assert_on_time(&stored, &node, metric, Duration::from_secs(interval));
            assert!(series(&stored, &node, metric).iter().all(|(_, got)| *got == value));
        }
    }
    for node in ["n3", "n4", "n5"] {
        assert_eq!(stored.of(node).len(), 0, "{node}");
    }
    assert!(series(&stored, "n2", "a").iter().all(|(_, value)| *value == 200.0));
    assert_eq!(
        events(&stored),
        [
            ("n1", "availability", "online"),
            ("n2", "availability", "offline"),
            ("n2", "availability", "online"),
            ("n3", "availability", "offline"),
            ("n4", "availability", "offline"),
            ("n5", "availability", "online"),
            ("n6", "availability", "online"),
        ]
    );
}

#[test]
fn registers_that_are_refused_together_are_read_one_by_one() {
    let bus = Slave::default();
    bus.hold(9, 4, 10, &[1, 2, 3]).answers(9, Manner::OneByOne);
    let line = bus.line(9_600);
    let mut daemon = Daemon::start(&section(
        &line,
        "interval = \"500ms\"",
        "[[modbus.unit]]\nid = 9\nnode = \"n\"\nfunction = \"input\"\nregisters = [{ metric = \"a\", address = 10 }, \
         { metric = \"b\", address = 11 }, { metric = \"c\", address = 12 }, { metric = \"hole\", address = 20 }]\n",
    ));
    daemon.wait_stat("/readings/committed", 9);
    assert_eq!(unit(&daemon, 9)["state"], "up");
    daemon.wait_failing("bus", "unit 9, input register 20: ILLEGAL DATA ADDRESS");
    assert!(!daemon.failing().join(" ").contains("input register 10"), "{:?}", daemon.failing());
    let stored = daemon.finish();
    for (metric, value) in [("a", 1.0), ("b", 2.0), ("c", 3.0)] {
        let rows = series(&stored, "n", metric);
        assert!(rows.len() >= 3 && rows.iter().all(|(_, got)| *got == value), "{metric}: {rows:?}");
    }
    let joined = bus.asked().iter().filter(|request| request[5] > 1).count();
    assert_eq!(joined, 1, "asked together once and never again");
}

#[test]
fn a_line_that_is_pulled_out_is_opened_again() {
    let bus = Slave::default();
    bus.hold(1, 3, 0, &[7]);
    let mut line = bus.line(9_600);
    let mut daemon = Daemon::start(&section(
        &line,
        "interval = \"200ms\"",
        "[[modbus.unit]]\nid = 1\nregisters = [{ metric = \"a\", address = 0 }]\n",
    ));
    daemon.wait_state("bus", "up");
    daemon.wait_stat("/readings/committed", 2);
    line.unplug();
    daemon.wait_state("bus", "down");
    daemon.wait_failing("bus", "does not exist; is the device plugged in?");
    let before = daemon.stat("/readings/received");
    line.plug();
    daemon.wait_stat("/readings/received", before + 3);
    assert_eq!((daemon.source("bus")["state"].clone(), daemon.failing()), (json!("up"), Vec::new()));
    let stop = Instant::now();
    let stored = daemon.finish();
    assert!(stop.elapsed() < Duration::from_secs(5), "the stop took {:?}", stop.elapsed());
    assert!(series(&stored, "bus", "a").iter().all(|(_, value)| *value == 7.0));
}

#[test]
fn a_wrong_table_is_told_with_its_line() {
    let text = "[[modbus]]\nname = \"bus\"\nport = \"/dev/x\"\n[[modbus.unit]]\nid = 1\nregisters = [{ metric = \"a\", address = 65536 }]\n";
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("g.toml");
    std::fs::write(&file, text).expect("writing the configuration");
    let check = |file: &std::path::Path| {
        let output = crate::harness::gadwall().arg("check").arg(file).output().expect("running check");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (status, _, error) = check(&file);
    assert_eq!(status, Some(78));
    assert_eq!(
        error,
        format!(
            "gadwall: {}:6: modbus[0].unit[0].registers[0].address = 65536: expected a whole number from 0 to 65535\n",
            file.display()
        )
    );
    std::fs::write(&file, text.replace("65536", "65535")).expect("writing the configuration");
    let (status, out, _) = check(&file);
    assert_eq!(status, Some(0));
    assert!(out.contains(": ok, 0 serial, 1 modbus and 0 mqtt\n"), "{out}");
}
