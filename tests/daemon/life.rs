//! The life of the process: how it starts, refuses to start, is watched and ends.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{DEADLINE, Daemon, Hub, Record, Setup, assert_exactly, gadwall, now_micros, open, wait_for};

const DEVICE: u64 = 11_529_215_046_068_469_763;

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("messages are UTF-8")
}

fn run(args: &[&str]) -> Output {
    gadwall().args(args).output().expect("the binary under test starts")
}

/// A configuration file of its own folder.
fn file(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("gadwall.toml");
    std::fs::write(&path, text).expect("writing the configuration");
    let path = path.to_str().expect("UTF-8").to_owned();
    (dir, path)
}

/// Works with a batch as proof that it stores and answers.
#[track_caller]
fn works(hub: &mut Hub, record: Record) {
    hub.wait_answered();
    hub.send_batch(3, DEVICE, &[record]);
    hub.expect_ack("BATCH_ACK 3 1 0");
}

fn record(i: i64) -> Record {
    Record { time: 1_760_000_000 + i, temp: i, hum: 2 * i, flags: 0 }
}

#[test]
fn a_bad_configuration_is_told_with_file_line_key_and_value() {
    let cases = [
        ("[store]\npath = \"x\"\nflush-intervall = \"5s\"\n", ["flush-intervall", ":3"].as_slice()),
        ("[store]\nflush-interval = \"soon\"\n", &["flush-interval", "soon"]),
        ("[store]\nbatch-rows = 0\n", &["batch-rows", "0"]),
        ("[intake]\ncapacity = 5\n", &["capacity", "5"]),
        ("[clock]\ntrust = \"never\"\n", &["trust", "never"]),
        ("[http]\nlisten = \"0.0.0.0:8080\"\n", &["listen", "0.0.0.0:8080", "token-file"]),
        ("[[serial]]\nname = \"hub\"\nport = \"/dev/x\"\nformat = \"morse\"\n", &["format", "morse", "hub-lines"]),
        (
            "[[mqtt]]\nname = \"m\"\nurl = \"http://x\"\nsubscribe = [{ topic = \"a/{node}\", format = \"json\" }]\n",
            &["url", "http"],
        ),
        ("[store\n", &[":1"]),
    ];
    for (text, parts) in cases {
        let (_dir, path) = file(text);
        for args in [["check", &path].as_slice(), &["check", "--config", &path], &["run", "--config", &path]] {
            let output = run(args);
            let message = stderr(&output);
            assert_eq!(output.status.code(), Some(78), "{args:?} of {text}: {message}");
            assert!(message.contains(&path), "the file is named: {message}");
            for part in parts {
                assert!(message.contains(part), "{part:?} is not in: {message}");
            }
        }
    }
}

#[test]
fn a_configuration_that_is_missing_is_named() {
    for command in ["check", "run"] {
        let output = run(&[command, "--config", "/nowhere/gadwall.toml"]);
        assert_eq!(output.status.code(), Some(78));
        assert!(stderr(&output).contains("/nowhere/gadwall.toml"), "{}", stderr(&output));
    }
}

#[test]
fn the_printed_configuration_is_a_good_one() {
    let printed = run(&["print-config"]);
    assert_eq!(printed.status.code(), Some(0));
    let text = String::from_utf8(printed.stdout).expect("UTF-8");
    let table: toml::Table = text.parse().expect("TOML");
    assert_eq!(table["store"]["flush-interval"].as_str(), Some("5s"));
    assert_eq!(table["http"]["listen"].as_str(), Some("127.0.0.1:8080"));
    let (_dir, path) = file(&text);
    let checked = run(&["check", &path]);
    assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
    assert!(String::from_utf8_lossy(&checked.stdout).contains(&path));
}

#[test]
fn the_environment_is_stronger_than_the_file() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address");
    let mut daemon = Setup::new(&format!("[http]\nlisten = \"{address}\"\n"))
        .env("GADWALL_HTTP__LISTEN", "127.0.0.1:0")
        .env("GADWALL_INTAKE__CAPACITY", "12345")
        .start();
    assert_eq!(daemon.stat("/queue/capacity"), 12_345);
    assert_eq!(daemon.terminate().code(), Some(0));
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let mut hub = Hub::new();
    let since = now_micros();
    let mut daemon = Daemon::start(&hub.section("hub-lines", ""));
    works(&mut hub, record(1));
    let second = daemon.second();
    let message = stderr(&second);
    let code = second.status.code();
    assert!(code.is_some_and(|c| c != 0 && c != 78), "exit status {code:?}: {message}");
    assert!(message.contains("gadwall.lock"), "the lock is named: {message}");
    assert!(daemon.exit_status().is_none());
    assert_eq!(daemon.get("/healthz").status, 200);
    works(&mut hub, record(2));
    let sent = [record(1).expected("hub", DEVICE), record(2).expected("hub", DEVICE)].concat();
    assert_exactly(&daemon.finish(), since, &sent);
}

#[test]
fn the_lock_goes_with_its_daemon() {
    let mut daemon = Daemon::start("");
    daemon.kill9();
    daemon.restart();
    assert_eq!(daemon.terminate().code(), Some(0));
}

#[test]
fn an_address_in_use_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let mut daemon = Setup::new(&format!("[http]\nlisten = \"{address}\"\n")).spawn();
    assert_eq!(daemon.wait_exit().code(), Some(1));
    wait_for("the reason", || daemon.log().contains(&address) && daemon.log().contains("in use"));
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let mut daemon = Setup::new("[store]\npath = \"/dev/null/gadwall/g.duckdb\"\n").spawn();
    let status = daemon.wait_exit();
    assert!(status.code().is_some_and(|c| c != 0), "{status}");
    wait_for("the reason", || daemon.log().contains("/dev/null/gadwall"));
}

/// All files of a folder with their contents, but for the lock, which is no data.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(dir)
        .expect("the folder")
        .map(|e| e.expect("an entry"))
        .filter(|e| e.file_type().is_ok_and(|t| t.is_file()) && e.file_name() != "gadwall.lock")
        .map(|e| (e.file_name().to_string_lossy().into_owned(), std::fs::read(e.path()).expect("a file")))
        .collect();
    files.sort();
    files
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let mut daemon = Daemon::start("");
    assert_eq!(daemon.terminate().code(), Some(0));
    let db = open(daemon.database());
    let changed = db.execute("UPDATE meta SET value = '999' WHERE key = 'schema'", []).expect("the table meta");
    assert_eq!(changed, 1);
    db.execute_batch("CHECKPOINT").expect("a checkpoint");
    drop(db);
    let before = contents(daemon.dir());
    let output = daemon.second();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(78), "{message}");
    let path = daemon.database().to_str().expect("UTF-8").to_owned();
    assert!(message.contains(&path) && message.contains("newer") && message.contains("999"), "{message}");
    assert!(contents(daemon.dir()) == before, "the files were touched");
}

/// The next messages to the service manager, split into lines.
fn next_states(socket: &UnixDatagram, within: Duration) -> Vec<String> {
    socket.set_read_timeout(Some(within)).expect("a timeout");
    let mut message = [0; 4_096];
    match socket.recv(&mut message) {
        Ok(n) => String::from_utf8_lossy(&message[..n]).lines().map(str::to_owned).collect(),
        Err(_) => Vec::new(),
    }
}

#[test]
fn the_service_manager_is_told() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let mut hub = Hub::new();
    let mut daemon =
        Setup::new(&hub.section("hub-lines", "")).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "2000000").start();
    let mut states = Vec::new();
    let until = |what: &str, states: &mut Vec<String>, found: &dyn Fn(&[String]) -> bool| {
        let end = Instant::now() + DEADLINE;
        while !found(states) {
            assert!(Instant::now() < end, "not told: {what}; told {states:?}");
            states.extend(next_states(&socket, Duration::from_millis(200)));
        }
    };
    let count = |states: &[String], s: &str| states.iter().filter(|x| x.starts_with(s)).count();
    until("READY=1", &mut states, &|s| count(s, "READY=1") == 1);
    let ready = states.iter().position(|s| s == "READY=1").expect("just seen");
    assert!(states[..ready].iter().all(|s| !s.starts_with("WATCHDOG")), "{states:?}");
    until("two signs of life", &mut states, &|s| count(s, "WATCHDOG=1") >= 2);
    until("a status", &mut states, &|s| count(s, "STATUS=") >= 1);
    hub.wait_answered();
    hub.unplug();
    until("the port that is gone", &mut states, &|s| {
        s.iter().any(|x| x.starts_with("STATUS=") && x.contains("hub down"))
    });
    daemon.signal(Signal::TERM);
    until("STOPPING=1", &mut states, &|s| count(s, "STOPPING=1") == 1);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    assert_eq!(count(&states, "READY=1"), 1, "{states:?}");
    let stopping = states.iter().position(|s| s == "STOPPING=1").expect("just seen");
    assert!(ready < stopping, "{states:?}");
}

#[test]
fn hup_does_not_end_it_and_int_does() {
    let mut hub = Hub::new();
    let since = now_micros();
    let mut daemon = Daemon::start(&hub.section("hub-lines", ""));
    works(&mut hub, record(1));
    daemon.signal(Signal::HUP);
    wait_for("the log to tell of it", || daemon.log().contains("configuration was reloaded"));
    // What cannot be read stays out of force.
    std::fs::write(daemon.config(), "[store]\nnonsense = 1\n").expect("writing the configuration");
    daemon.signal(Signal::HUP);
    wait_for("the log to tell of it", || daemon.log().contains("nonsense"));
    works(&mut hub, record(2));
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    let sent = [record(1).expected("hub", DEVICE), record(2).expected("hub", DEVICE)].concat();
    assert_exactly(&daemon.stored(), since, &sent);
}

#[test]
fn the_log_is_plain_lines_on_stderr() {
    let mut daemon = Daemon::start("");
    assert_eq!(daemon.terminate().code(), Some(0));
    wait_for("the last line", || daemon.log().contains("stopped"));
    let log = daemon.log();
    assert!(!log.contains('\u{1b}'), "no colours where nobody looks: {log}");
    assert!(log.ends_with('\n'));
    for line in log.lines() {
        assert!(["ERROR", " WARN", " INFO"].iter().any(|level| line.contains(level)), "a line with its level: {line}");
    }
    assert!(log.contains(daemon.database().to_str().expect("UTF-8")), "the database is named: {log}");
    assert!(log.contains(daemon.address()), "the address is told: {log}");
}

#[test]
fn the_status_of_a_running_daemon_is_shown() {
    let hub = Hub::new();
    let daemon = Daemon::start(&hub.section("hub-lines", ""));
    let output = run(&["status", "--url", &format!("http://{}", daemon.address())]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    assert!(text.contains(env!("CARGO_PKG_VERSION")) && text.contains("hub"), "{text}");
    // Nobody is there.
    let output = run(&["status", "--url", "http://127.0.0.1:1"]);
    assert!(output.status.code().is_some_and(|c| c != 0));
    assert!(stderr(&output).contains("127.0.0.1:1"), "{}", stderr(&output));
}

#[test]
fn the_serial_ports_are_listed() {
    let output = run(&["ports"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!output.stdout.is_empty());
}

#[test]
fn the_demo_stores_what_it_sends() {
    let output = run(&["demo", "--seconds", "2"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    assert!(text.contains("Sent equals stored"), "{text}");
}
