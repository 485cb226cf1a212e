//! MQTT against a real mosquitto.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use crate::harness::{
    Broker, Client, DEADLINE, Daemon, Expected, Settings, assert_exactly, expected, now_micros, wait_for,
};

/// Readings that nobody waits for are committed soon, so that the tests are.
const FAST: &str = "[store]\nflush-interval = \"200ms\"\n";
const TIMED: &str = r#"{ topic = "sensors/{node}", format = "json", time = "time" }"#;
const T0: i64 = 1_760_000_000;

fn at(secs: i64) -> i64 {
    secs * 1_000_000
}

/// A message on `sensors/{node}` with its own time.
fn timed(client: &mut Client, node: &str, time: i64, value: i64) -> Expected {
    client.send(&format!("sensors/{node}"), format!("{{\"time\": {time}, \"v\": {value}}}"), 1, false);
    expected("home", node, "v", at(time), value as f64)
}

/// What the broker still holds for the daemon's session: everything that was not acknowledged. A last message on
/// `sensors/last`, with its own time `T0 + last`, shows that all has come; it stays in the session.
fn unacknowledged(broker: &Broker, id: &str, last: i64) -> Vec<String> {
    let mut client = Client::connect(broker.port(), id, false, None);
    assert!(client.session_present, "the broker kept the session of {id}");
    let mut publisher = broker.publisher();
    timed(&mut publisher, "last", T0 + last, last);
    publisher.flush();
    let mut found = Vec::new();
    loop {
        let message = client.next(DEADLINE).expect("the last message comes");
        if message.topic == "sensors/last" {
            return found;
        }
        found.push(format!("{} {}", message.topic, String::from_utf8_lossy(&message.payload)));
    }
}

#[test]
fn objects_booleans_bare_numbers_and_times() {
    let broker = Broker::new();
    let since = now_micros();
    let subscribe = format!(
        "{TIMED}, {{ topic = \"values/{{node}}/{{metric}}\", format = \"json\" }}, \
         {{ topic = \"{{site}}/rooms/{{node}}\", format = \"json\", time = \"meta.at\" }}, \
         {{ topic = \"bare/{{node}}\", format = \"json\", qos = 0 }}"
    );
    let mut daemon = Daemon::start(&format!("{FAST}{}", broker.section("home", "", &subscribe)));
    daemon.wait_state("home", "up");
    let mut client = broker.publisher();
    let messages: [(&str, &str, u8); 14] = [
        (
            "sensors/a",
            r#"{"time": 1760000000, "temperature": 21.5, "contact": true, "battery": {"level": 87, "low": false}}"#,
            1,
        ),
        ("sensors/a", r#"{"time": 1760000001000, "temperature": -3}"#, 0),
        ("sensors/a", r#"{"time": 1760000002000000, "temperature": 0.1}"#, 1),
        ("sensors/a", r#"{"time": 1760000003000000000, "temperature": 1e-7}"#, 1),
        ("sensors/a", r#"{"time": "2025-10-09T08:53:24Z", "temperature": 5}"#, 1),
        ("sensors/a", r#"{"time": "2025-10-09T10:53:25.250+02:00", "temperature": 6}"#, 1),
        ("sensors/a", r#"{"time": "1760000006", "temperature": 7}"#, 1),
        ("sensors/b", r#"{"temperature": 8, "name": "text", "list": [1, true, "x"]}"#, 1),
        ("values/n/power", "230.25", 1),
        ("values/n/on", "true", 0),
        ("values/n/deep", r#"{"x": {"y": 9}}"#, 1),
        ("villa/rooms/hall", r#"{"meta": {"at": 1760000000, "rev": 2}, "v": 10}"#, 1),
        ("bare/z", "42", 1),
        ("sensors/caf\u{e9}", r#"{"time": 1760000000, "v": 11}"#, 1),
    ];
    for (topic, payload, qos) in messages {
        client.send(topic, payload, qos, false);
    }
    client.flush();
    let sent = [
        expected("home", "a", "temperature", at(T0), 21.5),
        expected("home", "a", "contact", at(T0), 1.0),
        expected("home", "a", "battery.level", at(T0), 87.0),
        expected("home", "a", "battery.low", at(T0), 0.0),
        expected("home", "a", "temperature", at(T0 + 1), -3.0),
        expected("home", "a", "temperature", at(T0 + 2), 0.1),
        expected("home", "a", "temperature", at(T0 + 3), 1e-7),
        expected("home", "a", "temperature", at(T0 + 4), 5.0),
        expected("home", "a", "temperature", at(T0 + 5) + 250_000, 6.0),
        expected("home", "a", "temperature", at(T0 + 6), 7.0),
        expected("home", "b", "temperature", None, 8.0),
        expected("home", "b", "list.0", None, 1.0),
        expected("home", "b", "list.1", None, 1.0),
        expected("home", "n", "power", None, 230.25),
        expected("home", "n", "on", None, 1.0),
        expected("home", "n", "deep.x.y", None, 9.0),
        expected("home", "villa/hall", "meta.rev", at(T0), 2.0),
        expected("home", "villa/hall", "v", at(T0), 10.0),
        expected("home", "z", "value", None, 42.0),
        expected("home", "caf\u{e9}", "v", at(T0), 11.0),
    ];
    daemon.wait_stat("/readings/committed", sent.len() as u64);
    let stored = daemon.finish();
    assert_exactly(&stored, since, &sent);
    assert_eq!(stored.dead, []);
    assert_eq!(stored.events, []);
}

#[test]
fn a_lone_message_is_acknowledged_after_its_commit() {
    let broker = Broker::new();
    let since = now_micros();
    let mut daemon = Daemon::start(&broker.section("home", "", TIMED));
    daemon.wait_state("home", "up");
    let mut client = broker.publisher();
    let sent = [timed(&mut client, "n", T0, 1)];
    client.flush();
    wait_for("the acknowledgement", || broker.logged("Received PUBACK from gadwall-home") == 1);
    daemon.kill9();
    assert_exactly(&daemon.stored(), since, &sent);
}

#[test]
fn five_thousand_messages_over_two_patterns_are_stored_once() {
    let broker = Broker::new();
    let since = now_micros();
    let subscribe = format!("{TIMED}, {{ topic = \"values/{{node}}/{{metric}}\", format = \"json\", qos = 1 }}");
    let mut daemon = Daemon::start(&broker.section("home", "", &subscribe));
    daemon.wait_state("home", "up");
    let mut client = broker.publisher();
    let mut sent = Vec::new();
    for i in 0..2_500 {
        sent.push(timed(&mut client, &format!("n{}", i % 7), T0 + i, i));
        let (node, metric) = (format!("m{}", i % 5), format!("x{}", i % 3));
        client.send(&format!("values/{node}/{metric}"), format!("{}", i as f64 / 8.0), 1, false);
        sent.push(expected("home", &node, &metric, None, i as f64 / 8.0));
    }
    client.flush();
    wait_for("all to be acknowledged", || daemon.source("home")["acked"].as_u64() >= Some(5_000));
    assert_eq!(daemon.stat("/readings/committed"), 5_000);
    let stored = daemon.finish();
    assert_exactly(&stored, since, &sent);
    assert_eq!(stored.dead, []);
    assert_eq!(unacknowledged(&broker, "gadwall-home", 1), Vec::<String>::new());
}

#[test]
fn overlapping_patterns_store_a_message_once() {
    let broker = Broker::new();
    let since = now_micros();
    let subscribe =
        r#"{ topic = "o/{node}/temp", format = "json", time = "t" }, { topic = "o/{node}/{metric}", format = "json" },
        { topic = "o/{node}/temp", format = "json" }"#
            .replace('\n', " ");
    let mut daemon = Daemon::start(&format!("{FAST}{}", broker.section("home", "", &subscribe)));
    daemon.wait_state("home", "up");
    let mut client = broker.publisher();
    client.send("o/n/temp", format!("{{\"t\": {T0}, \"c\": 1}}"), 1, false);
    client.send("o/n/hum", "2", 1, false);
    client.flush();
    daemon.wait_stat("/readings/committed", 2);
    assert_exactly(
        &daemon.finish(),
        since,
        &[expected("home", "n", "c", at(T0), 1.0), expected("home", "n", "humidity", None, 2.0)],
    );
}

#[test]
fn retained_messages_are_old_news_unless_they_have_a_time() {
    let broker = Broker::new();
    let mut client = broker.publisher();
    client.send("sensors/untimed", r#"{"v": 1}"#, 1, true);
    client.send("sensors/timed", format!("{{\"time\": {T0}, \"v\": 2}}"), 1, true);
    client.flush();
    let since = now_micros();
    let mut daemon = Daemon::start(&format!("{FAST}{}", broker.section("home", "", TIMED)));
    daemon.wait_state("home", "up");
    wait_for("the retained message to be counted", || daemon.reason("dropped", "retained") == 1);
    daemon.wait_stat("/readings/committed", 1);
    // What is published with the flag while the daemon listens is news.
    client.send("sensors/live", r#"{"v": 3}"#, 1, true);
    client.flush();
    daemon.wait_stat("/readings/committed", 2);
    assert_eq!(daemon.terminate().code(), Some(0));
    // Another client of the same name ends the session: the next subscription is a new one and brings all of them again.
    drop(Client::connect(broker.port(), "gadwall-home", true, None));
    daemon.restart();
    daemon.wait_state("home", "up");
    wait_for("the retained messages to be counted", || daemon.reason("dropped", "retained") == 2);
    daemon.wait_stat("/readings/duplicate", 1);
    timed(&mut client, "timed", T0 + 1, 4);
    client.flush();
    daemon.wait_stat("/readings/committed", 1);
    let sent = [
        expected("home", "timed", "v", at(T0), 2.0),
        expected("home", "live", "v", None, 3.0),
        expected("home", "timed", "v", at(T0 + 1), 4.0),
    ];
    assert_exactly(&daemon.finish(), since, &sent);
    assert_eq!(unacknowledged(&broker, "gadwall-home", 1), Vec::<String>::new());
}

#[test]
fn messages_without_a_reading_do_not_fill_the_window() {
    let broker = Broker::new();
    let since = now_micros();
    let mut daemon = Daemon::start(&broker.section("home", "window = 10", TIMED));
    daemon.wait_state("home", "up");
    let mut client = broker.publisher();
    for i in 0..100 {
        let payload = if i % 2 == 0 { r#"{"fw": "1.2.3"}"# } else { "not JSON" };
        client.send("sensors/n", payload, 1, false);
    }
    let sent = [timed(&mut client, "n", T0, 1)];
    client.flush();
    daemon.wait_stat("/readings/committed", 1);
    wait_for("all to be acknowledged", || daemon.source("home")["acked"].as_u64() >= Some(101));
    assert_eq!(daemon.reason("dead", "no-reading"), 50);
    assert_eq!(daemon.reason("dead", "malformed"), 50);
    let stored = daemon.finish();
    assert_exactly(&stored, since, &sent);
    assert!(!stored.dead_for("no-reading").is_empty() && !stored.dead_for("malformed").is_empty());
    assert_eq!(unacknowledged(&broker, "gadwall-home", 1), Vec::<String>::new());
}

#[test]
fn bad_messages_are_counted_acknowledged_and_stop_nothing() {
    let broker = Broker::new();
    // A subscription that an earlier configuration left in the session.
    Client::connect(broker.port(), "gadwall-home", false, None).subscribe("elsewhere/#");
    let since = now_micros();
    let subscribe = format!("{TIMED}, {{ topic = \"values/{{node}}/{{metric}}\", format = \"json\" }}");
    let mut daemon = Daemon::start(&broker.section("home", "", &subscribe));
    daemon.wait_state("home", "up");
    let mut client = broker.publisher();
    let long = "x".repeat(129);
    let many: Vec<String> = (0..1_001).map(|i| format!("\"m{i}\": {i}")).collect();
    let bad: Vec<(&str, String, String)> = vec![
        ("malformed", "sensors/n".into(), "{\"v\": 1".into()),
        ("malformed", "sensors/n".into(), "{\"v\": NaN}".into()),
        ("malformed", "sensors/n".into(), String::new()),
        ("bad-number", "sensors/n".into(), "{\"v\": 1e999}".into()),
        ("bad-number", "values/n/m".into(), "-1e999".into()),
        ("bad-name", format!("sensors/{long}"), "{\"v\": 1}".into()),
        ("bad-name", "sensors/n".into(), format!("{{\"{long}\": 1}}")),
        ("bad-name", format!("values/n/{long}"), "1".into()),
        ("unmatched-topic", "elsewhere/n".into(), "{\"v\": 1}".into()),
        ("no-reading", "sensors/n".into(), "{}".into()),
        ("no-reading", "sensors/n".into(), "{\"id\": \"x\"}".into()),
    ];
    for (_, topic, payload) in &bad {
        client.send(topic, payload, 1, false);
    }
    client.send("sensors/n", b"\xff\xfe", 1, false);
    client.send("values/n/m", "NaN", 1, false);
    // The longest name that is good.
    let sent = [timed(&mut client, "n", T0, 1), timed(&mut client, &"x".repeat(128), T0, 2)];
    client.flush();
    daemon.wait_stat("/readings/committed", 2);
    wait_for("all to be acknowledged", || daemon.source("home")["acked"].as_u64() >= Some(bad.len() as u64 + 4));
    for reason in ["bad-number", "bad-name", "unmatched-topic", "no-reading"] {
        let count = bad.iter().filter(|(r, _, _)| *r == reason).count() as u64;
        assert_eq!(daemon.reason("dead", reason), count, "{reason}: {}", daemon.stats());
    }
    assert_eq!(daemon.reason("dead", "not-utf8"), 1, "{}", daemon.stats());
    assert!(daemon.reason("dead", "malformed") >= 3, "{}", daemon.stats());
    assert_eq!(daemon.stat("/readings/dead"), bad.len() as u64 + 2);
    // More values than one message may have: some of them may be stored, the rest is counted.
    client.publish("sensors/many", format!("{{\"time\": {T0}, {}}}", many.join(", ")));
    wait_for("too many values to be counted", || daemon.reason("dead", "too-many-values") == 1);
    let mut stored = daemon.finish();
    let unmatched = stored.dead_for("unmatched-topic");
    assert_eq!(unmatched.len(), 1);
    assert!(unmatched[0].reason.contains("elsewhere/n"), "{:?}", unmatched[0]);
    assert!(stored.of("many").len() <= 1_000);
    stored.rows.retain(|r| r.node != "many");
    assert_exactly(&stored, since, &sent);
    assert_eq!(unacknowledged(&broker, "gadwall-home", 1), Vec::<String>::new());
}

#[test]
fn a_message_over_the_limit_is_not_stored_and_the_others_are() {
    let broker = Broker::new();
    let since = now_micros();
    let mut daemon = Daemon::start(&format!("{FAST}{}", broker.section("home", "max-message = \"4kB\"", TIMED)));
    daemon.wait_state("home", "up");
    let mut client = broker.publisher();
    let mut sent = vec![timed(&mut client, "n", T0, 1)];
    let padding = "x".repeat(20_000);
    client.send("sensors/n", format!("{{\"time\": {}, \"v\": 2, \"text\": \"{padding}\"}}", T0 + 1), 1, false);
    sent.push(timed(&mut client, "n", T0 + 2, 3));
    client.flush();
    daemon.wait_stat("/readings/committed", 2);
    assert_eq!(daemon.source("home")["state"], "up");
    assert_exactly(&daemon.finish(), since, &sent);
}

#[test]
fn a_refused_subscription_is_told_and_the_others_go_on() {
    let broker = Settings::default().subscribable("sensors/#").start();
    let since = now_micros();
    let subscribe = format!("{TIMED}, {{ topic = \"secret/{{node}}\", format = \"json\" }}");
    let mut daemon = Daemon::start(&format!("{FAST}{}", broker.section("home", "", &subscribe)));
    daemon.wait_failing("home", "secret/");
    assert!(daemon.source("home").to_string().contains("secret/"), "{}", daemon.source("home"));
    assert!(daemon.log().contains("secret/"), "the log names the topic");
    let mut client = broker.publisher();
    let sent = [timed(&mut client, "n", T0, 1)];
    client.flush();
    daemon.wait_stat("/readings/committed", 1);
    assert_exactly(&daemon.finish(), since, &sent);
}

/// The configuration with the name of a file of secrets, whose directory is made beforehand.
fn with_login(broker: &Broker, password: &str, name: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("user"), "gateway\n").expect("writing the user name");
    std::fs::write(dir.path().join("password"), format!("{password}\n")).expect("writing the password");
    for file in ["user", "password"] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(dir.path().join(file), mode).expect("our own file");
    }
    let more =
        format!("username-file = \"{0}/user\"\npassword-file = \"{0}/password\"", dir.path().to_str().expect("UTF-8"));
    let section = broker.section(name, &more, TIMED);
    (dir, section)
}

#[test]
fn user_name_and_password_come_from_files() {
    let broker = Settings::default().user("gateway", "pass word#1").start();
    let since = now_micros();
    let (_secrets, section) = with_login(&broker, "pass word#1", "home");
    let mut daemon = Daemon::start(&format!("{FAST}{section}"));
    daemon.wait_state("home", "up");
    let mut client = Client::connect(broker.port(), "", true, Some(("gateway", "pass word#1")));
    let sent = [timed(&mut client, "n", T0, 1)];
    client.flush();
    daemon.wait_stat("/readings/committed", 1);
    assert!(!daemon.stats().to_string().contains("pass word#1"));
    assert!(!daemon.log().contains("pass word#1"));
    assert_exactly(&daemon.finish(), since, &sent);
}

#[test]
fn a_refused_password_is_told_and_the_other_broker_goes_on() {
    let locked = Settings::default().user("gateway", "right").start();
    let open = Broker::new();
    let since = now_micros();
    let (_secrets, section) = with_login(&locked, "wrong", "locked");
    let mut daemon = Daemon::start(&format!("{FAST}{section}{}", open.section("home", "", TIMED)));
    daemon.wait_state("locked", "down");
    daemon.wait_state("home", "up");
    daemon.wait_failing("locked", "");
    let failing = daemon.failing()[0].to_lowercase();
    assert!(failing.contains("authori") || failing.contains("password"), "the refusal is told: {failing}");
    let mut client = open.publisher();
    let sent = [timed(&mut client, "n", T0, 1)];
    client.flush();
    daemon.wait_stat("/readings/committed", 1);
    assert_exactly(&daemon.finish(), since, &sent);
}

#[test]
fn two_brokers_with_equal_nodes_stay_apart() {
    let (first, second) = (Broker::new(), Broker::new());
    let since = now_micros();
    let mut daemon =
        Daemon::start(&format!("{FAST}{}{}", first.section("one", "", TIMED), second.section("two", "", TIMED)));
    let mut sent = Vec::new();
    for (source, broker, value) in [("one", &first, 1), ("two", &second, 2)] {
        daemon.wait_state(source, "up");
        let mut client = broker.publisher();
        for i in 0..50 {
            timed(&mut client, "n", T0 + i, value * 100 + i);
            sent.push(expected(source, "n", "v", at(T0 + i), (value * 100 + i) as f64));
        }
        client.flush();
    }
    daemon.wait_stat("/readings/committed", 100);
    assert_exactly(&daemon.finish(), since, &sent);
}

#[test]
fn a_broker_that_is_down_at_the_start_is_found_later() {
    let mut broker = Broker::stopped();
    let since = now_micros();
    let mut daemon = Daemon::start(&format!("{FAST}{}", broker.section("home", "", TIMED)));
    daemon.wait_state("home", "down");
    daemon.wait_failing("home", &broker.port().to_string());
    broker.start();
    daemon.wait_state("home", "up");
    wait_for("the health to be good", || daemon.get("/healthz").status == 200);
    let mut client = broker.publisher();
    let sent = [timed(&mut client, "n", T0, 1)];
    client.flush();
    daemon.wait_stat("/readings/committed", 1);
    assert_exactly(&daemon.finish(), since, &sent);
}

#[test]
fn a_broker_that_restarts_with_its_session_loses_nothing() {
    let mut broker = Settings::default().persistent().start();
    let since = now_micros();
    let subscribe = format!("{TIMED}, {{ topic = \"values/{{node}}/{{metric}}\", format = \"json\" }}");
    let mut daemon = Daemon::start(&broker.section("home", "", &subscribe));
    daemon.wait_state("home", "up");
    let mut sent = Vec::new();
    let mut publish = |broker: &Broker, from: i64| {
        let mut client = broker.publisher();
        for i in from..from + 100 {
            sent.push(timed(&mut client, "n", T0 + i, i));
            client.send("values/m/x", i.to_string(), 1, false);
            sent.push(expected("home", "m", "x", None, i as f64));
        }
        client.flush();
    };
    publish(&broker, 0);
    // At once: some of it is committed, some acknowledged, some neither.
    broker.stop();
    daemon.wait_state("home", "down");
    broker.start();
    daemon.wait_state("home", "up");
    publish(&broker, 100);
    daemon.wait_stat("/readings/committed", 400);
    assert_eq!(daemon.terminate().code(), Some(0));
    // What is published while the gateway is away is kept for it.
    publish(&broker, 200);
    broker.stop();
    broker.start();
    daemon.restart();
    daemon.wait_stat("/readings/committed", 200);
    assert_exactly(&daemon.finish(), since, &sent);
    assert_eq!(unacknowledged(&broker, "gadwall-home", 1), Vec::<String>::new());
}

#[test]
fn a_broker_that_restarts_without_its_session_is_subscribed_again() {
    let mut broker = Broker::new();
    let since = now_micros();
    let mut daemon = Daemon::start(&format!("{FAST}{}", broker.section("home", "", TIMED)));
    let mut sent = Vec::new();
    for round in 0..3 {
        daemon.wait_state("home", "up");
        wait_for("the subscription", || broker.logged("Received SUBSCRIBE from gadwall-home") > round as usize);
        let mut client = broker.publisher();
        for i in 0..20 {
            sent.push(timed(&mut client, "n", T0 + round * 100 + i, i));
        }
        client.flush();
        daemon.wait_stat("/readings/committed", sent.len() as u64);
        broker.stop();
        daemon.wait_state("home", "down");
        broker.start();
    }
    assert_exactly(&daemon.finish(), since, &sent);
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Certificate and key as PEM.
    fn sign(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        (cert, key.serialize_pem())
    }
}

#[test]
fn tls_with_an_own_authority_and_client_certificates() {
    let (ours, other) = (Authority::new("our authority"), Authority::new("another authority"));
    let (cert, key) = ours.sign("localhost", ExtendedKeyUsagePurpose::ServerAuth);
    let broker = Settings::default().tls(&ours.pem, &cert, &key).start();
    let files = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, text).expect("writing PEM");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("our own file");
        format!("\"{}\"", path.display())
    };
    let (client_cert, client_key) = ours.sign("gateway-7", ExtendedKeyUsagePurpose::ClientAuth);
    let (ca, other_ca) = (write("ca.pem", &ours.pem), write("other.pem", &other.pem));
    let (cert_file, key_file) = (write("client.pem", &client_cert), write("client.key", &client_key));
    let section = |name: &str, ca: &str, client: bool| {
        let client = if client { format!("cert-file = {cert_file}\nkey-file = {key_file}\n") } else { String::new() };
        format!(
            "[[mqtt]]\nname = \"{name}\"\nurl = \"{}\"\nclient-id = \"gadwall-{name}\"\nca-file = {ca}\n{client}\
             subscribe = [{TIMED}]\n",
            broker.tls_url()
        )
    };
    let since = now_micros();
    let mut daemon = Daemon::start(&format!(
        "{FAST}{}{}{}",
        section("home", &ca, true),
        section("distrust", &other_ca, true),
        section("nameless", &ca, false)
    ));
    daemon.wait_state("home", "up");
    daemon.wait_state("distrust", "down");
    daemon.wait_state("nameless", "down");
    let failing = daemon.failing();
    assert_eq!(failing.len(), 2, "{failing:?}");
    assert!(failing[0].starts_with("source distrust: ") && failing[1].starts_with("source nameless: "), "{failing:?}");
    // The broker took the name out of the client's certificate.
    assert!(broker.log().contains("u'gateway-7'"), "the broker saw the client's certificate");
    let mut client = broker.publisher();
    let mut sent = Vec::new();
    for i in 0..100 {
        sent.push(timed(&mut client, "n", T0 + i, i));
    }
    client.flush();
    daemon.wait_stat("/readings/committed", 100);
    assert_exactly(&daemon.finish(), since, &sent);
}

#[test]
fn an_impossible_time_of_a_message_is_replaced_and_told() {
    let broker = Broker::new();
    let since = now_micros();
    let mut daemon = Daemon::start(&format!("{FAST}{}", broker.section("home", "", TIMED)));
    daemon.wait_state("home", "up");
    let mut client = broker.publisher();
    for (i, time) in ["7", "\"soon\"", "99999999999"].into_iter().enumerate() {
        client.send("sensors/n", format!("{{\"time\": {time}, \"v\": {i}}}"), 1, false);
    }
    client.flush();
    daemon.wait_stat("/readings/committed", 3);
    let quality = daemon.json("/api/v1/nodes/n/quality");
    assert_eq!(quality["metrics"][0]["clock"]["errors"], 3, "{quality}");
    let stored = daemon.finish();
    let sent: Vec<Expected> = (0..3).map(|i| expected("home", "n", "v", None, f64::from(i))).collect();
    assert_exactly(&stored, since, &sent);
    assert_eq!(stored.events.iter().filter(|e| e.node == "n" && e.kind == "clock").count(), 1, "{:?}", stored.events);
}

#[test]
fn nodes_above_the_bound_become_dead_letters() {
    let broker = Broker::new();
    let since = now_micros();
    let mut daemon = Daemon::start(&format!("{FAST}max-nodes = 10\n{}", broker.section("home", "", TIMED)));
    daemon.wait_state("home", "up");
    let mut client = broker.publisher();
    let mut sent = Vec::new();
    for i in 0..30 {
        let reading = timed(&mut client, &format!("n{i:02}"), T0 + i, i);
        if i < 10 {
            sent.push(reading);
        }
    }
    // The known ones go on.
    sent.push(timed(&mut client, "n03", T0 + 100, 100));
    client.flush();
    daemon.wait_stat("/readings/committed", 11);
    wait_for("the others to be counted", || daemon.reason("dead", "too-many-nodes") == 20);
    assert_exactly(&daemon.finish(), since, &sent);
    assert_eq!(unacknowledged(&broker, "gadwall-home", 200), Vec::<String>::new());
}

#[test]
fn whoever_waits_does_not_wait_for_the_flush_interval() {
    let broker = Broker::new();
    let since = now_micros();
    let hour = "[store]\nflush-interval = \"1h\"\n";
    let mut daemon = Daemon::start(&format!("{hour}{}", broker.section("home", "window = 1000", TIMED)));
    daemon.wait_state("home", "up");
    let mut client = broker.publisher();
    let mut sent = Vec::new();
    // Ten acknowledgements to come, and then silence.
    for i in 0..10 {
        sent.push(timed(&mut client, "n", T0 + i, i));
    }
    client.flush();
    daemon.wait_stat("/readings/committed", 10);
    // Half a window.
    for i in 10..510 {
        sent.push(timed(&mut client, "n", T0 + i, i));
    }
    client.flush();
    daemon.wait_stat("/readings/committed", 500);
    // A shutdown.
    sent.push(timed(&mut client, "n", T0 + 1_000, 7));
    client.flush();
    daemon.wait_stat("/readings/received", 511);
    assert_exactly(&daemon.finish(), since, &sent);
    assert_eq!(unacknowledged(&broker, "gadwall-home", 2_000), Vec::<String>::new());
}

#[test]
fn a_slow_broker_window_still_drains_within_the_deadline() {
    // A window of 10 and a commit every few seconds at most: half a window asks for the commit.
    let broker = Broker::new();
    let since = now_micros();
    let mut daemon = Daemon::start(&broker.section("home", "window = 10", TIMED));
    daemon.wait_state("home", "up");
    let mut client = broker.publisher();
    let mut sent = Vec::new();
    for i in 0..500 {
        sent.push(timed(&mut client, "n", T0 + i, i));
    }
    client.flush();
    crate::harness::wait_within("500 messages through a window of 10", Duration::from_secs(60), || {
        daemon.stat("/readings/committed") >= 500
    });
    assert_exactly(&daemon.finish(), since, &sent);
}
