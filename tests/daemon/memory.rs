//! Memory above its limit: what is given up, that nobody is told that something is safe which is not, and that it goes on when
//! there is memory again.

use crate::harness::{Broker, Daemon, Hub, Record, assert_exactly, expected, gadwall, now_micros, wait_for};

const DEVICE: u64 = 11_529_215_046_068_469_763;
const T0: i64 = 1_760_000_000;

fn record(i: i64) -> Record {
    Record { time: T0 + i, temp: i, hum: 5_000, flags: 0 }
}

#[test]
fn without_memory_senders_keep_what_they_have_and_send_it_again_when_there_is_some() {
    let (broker, mut hub) = (Broker::new(), Hub::new());
    let since = now_micros();
    let config = format!(
        "[memory]\nlimit = \"1MB\"\n[store]\nflush-interval = \"200ms\"\n{}\n{}",
        hub.section("hub-lines", ""),
        broker.section("home", "", "{ topic = \"sensors/{node}\", format = \"json\", time = \"time\" }"),
    );
    let mut daemon = Daemon::start(&config);
    daemon.wait_state("home", "up");
    // No process is that small: a step a second, to the last.
    wait_for("everything to be given up", || daemon.stats()["memory"]["shed"] == "serial");

    hub.wait_answered();
    hub.send_batch(3, DEVICE, &[record(0), record(1)]);
    hub.expect_ack("BATCH_ACK 3 2 1");
    hub.send(&format!("SENSOR_DATA 3 {DEVICE} TEMP 2150"));
    wait_for("the live reading to be dropped", || daemon.reason("dropped", "memory") == 7);
    let mut publisher = broker.publisher();
    for i in 0..5 {
        publisher.send("sensors/a", format!("{{\"time\": {}, \"v\": {i}}}", T0 + i), 1, false);
    }
    publisher.flush();
    wait_for("the broker's messages to be seen", || daemon.source("home")["frames"].as_u64() >= Some(1));

    let answer = daemon.get("/api/v1/nodes");
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (503, Some("memory")));
    let failing = daemon.failing();
    assert!(failing.iter().any(|f| f == "memory: above its limit of 1.0 MB: nothing is taken in"), "{failing:?}");
    assert!(failing.iter().any(|f| f == "source hub: memory is above its limit: readings are dropped"), "{failing:?}");
    let stats = daemon.stats();
    let memory = &stats["memory"];
    assert_eq!((&memory["limit_bytes"], &memory["refused_queries"]), (&1_000_000.into(), &1.into()), "{memory}");
    for step in ["trim", "queries", "brokers", "serial"] {
        assert_eq!(memory["shed_times"][step], 1, "{memory}");
    }
    assert_eq!((stats["readings"]["committed"].as_u64(), daemon.source("home")["acked"].as_u64()), (Some(0), Some(0)));
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.log());
    for step in ["trim", "queries", "brokers", "serial"] {
        assert_eq!(
            daemon.log().matches(&format!("step=\"{step}\"")).count(),
            1,
            "{step} is told once: {}",
            daemon.log()
        );
    }
    assert_eq!(daemon.stored().rows, []);

    let text = std::fs::read_to_string(daemon.config()).expect("the daemon's configuration");
    std::fs::write(daemon.config(), text.replace("\"1MB\"", "\"auto\"")).expect("writing the configuration");
    daemon.restart();
    hub.wait_answered();
    hub.send_batch(3, DEVICE, &[record(0), record(1)]);
    hub.expect_ack("BATCH_ACK 3 2 0");
    daemon.wait_stat("/readings/committed", 11);
    assert_eq!(daemon.stats()["memory"]["shed"], "nothing");
    assert!(daemon.stat("/memory/limit_bytes") > 50_000_000);
    let mut all: Vec<_> = [record(0), record(1)].iter().flat_map(|r| r.expected("hub", DEVICE)).collect();
    all.extend((0..5).map(|i| expected("home", "a", "v", (T0 + i) * 1_000_000, i as f64)));
    let stored = daemon.finish();
    assert_exactly(&stored, since, &all);
}

#[test]
fn the_check_says_how_much_memory_there_may_be_and_where() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("gadwall.toml");
    let check = |text: &str| {
        std::fs::write(&path, text).expect("writing the configuration");
        let output = gadwall().arg("check").arg(&path).output().expect("the binary under test starts");
        assert_eq!(output.status.code(), Some(0));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("messages are UTF-8");
        (text(output.stdout), text(output.stderr))
    };
    let serial = "[[serial]]\nname = \"hub\"\nport = \"/dev/serial/by-id/x\"\nformat = \"hub-lines\"\n";
    let (out, _) = check(serial);
    assert!(out.contains("memory: at most about 123 MB, and 0.3 MB more for each million readings stored\n"), "{out}");
    assert!(out.contains("  the database's buffers          24.0 MB  [store] memory-limit\n"), "{out}");
    let (out, err) = check(&format!("{serial}[store]\nmemory-limit = \"64MB\"\n[memory]\nlimit = \"80MB\"\n"));
    assert!(out.contains("memory: at most about 163 MB") && out.contains("  above 80.0 MB it sheds"), "{out}");
    assert!(err.contains("warning: memory.limit = \"80MB\""), "{err}");
}
