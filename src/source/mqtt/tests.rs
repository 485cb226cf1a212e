//! The source against a real mosquitto, with the test in the place of the writer.

pub(super) mod bench;

use std::net::TcpListener;
use std::process::Command;

use bench::{Broker, Gateway, config, file, subscription, wait_until};
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::SubscribeReasonCode;

use super::{filters, message};
use crate::codec::payload::Format;
use crate::config;
use crate::metrics::{DropReason, SourceState};
use crate::pipeline::{Carried, Item, Notice};
use crate::reading::{DeadReason, Outcome, Reading, Timestamp, When};

fn name() -> std::sync::Arc<str> {
    "home".into()
}

#[test]
fn acknowledges_only_after_the_commit_and_in_the_order_of_receipt() {
    let broker = Broker::open();
    let mut gateway = Gateway::ready(config(broker.port, &["s/{node}"]));
    gateway.wait_subscribed(&broker, "s/first");
    broker.publish(&["-q", "1", "-t", "s/a", "-l"], "1\n2\n3\n");
    let (one, two, three) = (gateway.next(), gateway.next(), gateway.next());
    let reading = Reading {
        node: "a".into(),
        metric: "value".into(),
        own_name: None,
        unit: None,
        when: When::Arrival,
        value: 1.0,
    };
    assert_eq!(one.content.readings, [reading]);
    assert_eq!((&*one.source, one.waiting), ("home", false));
    let delivery = one.delivery.unwrap();
    assert!(!delivery.dup);
    assert_eq!(delivery.digest, message::digest(b"s/a", b"1"));
    three.answer(Outcome::Committed);
    two.answer(Outcome::Committed);
    // The source takes answers after each message: with the second of these it has seen those two.
    broker.publish(&["-q", "1", "-t", "s/a", "-l"], "4\n5\n");
    let (four, five) = (gateway.next(), gateway.next());
    assert_eq!(gateway.status.acked.get(), 1, "only the message before all of these");
    one.answer(Outcome::Committed);
    gateway.wait_acked(4);
    four.answer(Outcome::Committed);
    five.answer(Outcome::Committed);
    gateway.wait_acked(6);
    gateway.stop();

    // The broker has all of them: what it sends next is new.
    let again = Gateway::ready(config(broker.port, &["s/{node}"]));
    broker.say("s/a", "6");
    let next = again.next();
    assert_eq!((next.content.readings[0].value, next.delivery.unwrap().dup), (6.0, false));
    assert_eq!(again.notices.borrow().len(), 0, "the session was kept");
    assert_eq!(gateway.metrics.readings.received.get(), 6);
    assert_eq!((gateway.status.readings.get(), gateway.status.frames.get(), gateway.status.dead.get()), (6, 6, 0));
}

#[test]
fn what_the_store_does_not_take_is_sent_again() {
    let broker = Broker::open();
    let gateway = Gateway::ready(config(broker.port, &["s/{node}"]));
    gateway.wait_subscribed(&broker, "s/first");
    assert_eq!(*gateway.notices.borrow(), [Notice::SessionLost(name())]);
    broker.publish(&["-q", "1", "-t", "s/a", "-l"], "1\n2\n");
    let (one, two) = (gateway.next(), gateway.next());
    let before = [one.delivery.unwrap(), two.delivery.unwrap()];
    // The second is stored, the first is not: neither may be acknowledged.
    two.answer(Outcome::Committed);
    drop(one);
    let (one, two) = (gateway.next(), gateway.next());
    let after = [one.delivery.unwrap(), two.delivery.unwrap()];
    assert_eq!(after, before.map(|delivery| crate::reading::Delivery { dup: true, ..delivery }));
    assert_eq!(gateway.status.connects.get(), 2);
    assert_eq!(gateway.status.acked.get(), 1, "only the message before all of these");
    assert_eq!(gateway.notices.borrow().len(), 1, "the session was kept");
    one.answer(Outcome::Committed);
    two.answer(Outcome::Committed);
    gateway.wait_acked(3);
}

#[test]
fn a_frame_that_comes_again_is_not_acknowledged_before_its_first_copy_is_stored() {
    const UPLINK: &str = include_str!("../../../tests/fixtures/payloads/the-things-stack/02-dragino-lht65.json");
    let topic = "v3/app@ttn/devices/lht65-4c84/up";
    let mut broker = Broker::open();
    let mut config = config(broker.port, &["v3/#", "s/{node}"]);
    config.subscribe[0].format = Format::TheThingsStack;
    let gateway = Gateway::ready(config);
    gateway.wait_subscribed(&broker, "s/first");
    broker.say(topic, UPLINK);
    let first = gateway.next();
    assert_eq!(first.content.readings.len(), 7);
    broker.stop();
    wait_until("nothing listens any more", || matches!(gateway.status.state(), SourceState::Down(_)));
    broker.start();
    // It is remembered and holds nothing new; were it acknowledged, a crash before the commit would lose it.
    let again = gateway.next();
    assert!(again.content.is_empty() && again.delivery.unwrap().dup);
    assert_eq!(gateway.status.acked.get(), 1, "only the message before both");
    first.answer(Outcome::Committed);
    again.answer(Outcome::Committed);
    gateway.wait_acked(2);
}

#[test]
fn what_is_left_out_is_remembered_by_its_own_packet_id() {
    let broker = Broker::open();
    let mut config = config(broker.port, &["s/{node}/x", "{site}/b/{node}", "rtl_433/#", "t/{node}"]);
    config.subscribe[2].format = Format::Rtl433;
    let gateway = Gateway::ready(config);
    gateway.wait_subscribed(&broker, "t/first");
    let content = |carried: &Carried| carried.content.readings.len();
    // A copy for each of two overlapping subscriptions.
    broker.say("s/b/x", "1");
    let (one, copy) = (gateway.next(), gateway.next());
    assert_eq!((content(&one), content(&copy)), (1, 0));
    let (one_delivery, copy_delivery) = (one.delivery.unwrap(), copy.delivery.unwrap());
    assert_eq!(one_delivery.digest, copy_delivery.digest);
    assert_ne!(one_delivery.packet, copy_delivery.packet);
    // A frame that was heard twice.
    let frame = r#"{"model":"Acurite-Tower","id":1,"temperature_C":21.5}"#;
    broker.say("rtl_433/x/events", frame);
    broker.say("rtl_433/x/events", frame);
    let (first, repeat) = (gateway.next(), gateway.next());
    assert_eq!((content(&first), content(&repeat)), (1, 0));
    assert!(first.delivery.is_some() && repeat.delivery.is_some());
    for carried in [one, copy, first, repeat] {
        carried.answer(Outcome::Committed);
    }
    gateway.wait_acked(5);
}

#[test]
fn stopping_waits_for_the_commit_and_sends_the_acknowledgements() {
    let broker = Broker::open();
    let mut gateway = Gateway::ready(config(broker.port, &["s/{node}"]));
    gateway.wait_subscribed(&broker, "s/first");
    broker.say("s/a", "1");
    let one = gateway.next();
    let delivery = one.delivery.unwrap();
    while gateway.outlet.nudges.try_recv().is_ok() {}
    gateway.begin_stop();
    gateway.outlet.nudges.recv().unwrap();
    one.answer(Outcome::Committed);
    gateway.ended().unwrap();
    assert_eq!(gateway.status.acked.get(), 2);
    // The broker closed the connection behind our DISCONNECT, so it has the acknowledgement.
    assert_eq!(gateway.next_notice(), Notice::Confirmed(name(), vec![(delivery.packet, delivery.digest)]));
    broker.say("s/a", "2");
    let again = Gateway::start(config(broker.port, &["s/{node}"]));
    let queued = again.next();
    assert_eq!((queued.content.readings[0].value, queued.delivery.unwrap().dup), (2.0, false));
}

#[test]
fn a_stop_without_an_answer_leaves_the_message_to_the_broker() {
    let broker = Broker::open();
    let mut gateway = Gateway::ready(config(broker.port, &["s/{node}"]));
    gateway.wait_subscribed(&broker, "s/first");
    broker.say("s/a", "1");
    let one = gateway.next();
    gateway.stop();
    drop(one);
    assert_eq!(gateway.status.acked.get(), 1, "only the message before it");
    let again = Gateway::start(config(broker.port, &["s/{node}"]));
    let one = again.next();
    assert_eq!((one.content.readings[0].value, one.delivery.unwrap().dup), (1.0, true));
}

#[test]
fn a_stop_in_the_middle_of_a_burst_loses_and_repeats_nothing() {
    let broker = Broker::open();
    let mut gateway = Gateway::ready(config(broker.port, &["s/{node}"]));
    gateway.wait_subscribed(&broker, "s/first");
    let lines: String = (0..3_000).map(|n| format!("{n}\n")).collect();
    let mut values = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| broker.publish(&["-q", "1", "-t", "s/a", "-l"], &lines));
        values.extend(gateway.take(500));
        gateway.begin_stop();
        // Until the source has ended, and with it its end of the channel.
        while let Ok(item) = gateway.outlet.items.recv() {
            if let Item::Envelope(carried) = item {
                values.push(carried.content.readings[0].value);
                carried.answer(Outcome::Committed);
            }
        }
    });
    gateway.ended().unwrap();
    assert_eq!(gateway.status.acked.get(), values.len() as u64 + 1);
    assert!(values.len() < 3_000, "the stop came in the middle");
    let again = Gateway::start(config(broker.port, &["s/{node}"]));
    values.extend(again.take(3_000 - values.len()));
    let wrong = values.iter().zip(0..).find(|(value, n)| value.to_bits() != f64::from(*n).to_bits());
    assert_eq!(wrong, None, "the first that is lost or repeated");
}

#[test]
fn a_stop_is_heard_while_the_broker_sends_without_a_pause() {
    let broker = Broker::open();
    broker.publish(&["-q", "1", "-r", "-t", "s/first", "-m", r#"{"time":1700000000,"x":0}"#], "");
    let mut config = config(broker.port, &["s/{node}"]);
    config.subscribe[0].qos = 0;
    let mut gateway = Gateway::start(config);
    assert_eq!(gateway.take(1), [0.0], "it has subscribed");
    let lines = "1\n".repeat(200_000);
    std::thread::scope(|scope| {
        scope.spawn(|| broker.publish(&["-q", "0", "-t", "s/a", "-l"], &lines));
        gateway.take(100);
        gateway.begin_stop();
        while gateway.outlet.items.recv().is_ok() {}
    });
    gateway.ended().unwrap();
    let counts = &gateway.metrics.readings;
    assert!(counts.received.get() < 200_000, "the stop was heard only at the end");
    assert_eq!(gateway.status.acked.get(), 0, "nothing to acknowledge with QoS 0");
}

#[test]
fn a_pingresp_confirms_the_acknowledgements_before_it() {
    // The shortest that mosquitto allows.
    let broker = Broker::with("allow_anonymous true\nmax_keepalive 10\n", |_| ());
    let gateway = Gateway::ready(config(broker.port, &["s/{node}"]));
    gateway.wait_subscribed(&broker, "s/first");
    broker.say("s/a", "1");
    let timed = r#"{"time":1700000001,"x":1}"#;
    broker.say("s/a", timed);
    let (one, two) = (gateway.next(), gateway.next());
    let delivery = one.delivery.unwrap();
    assert_eq!(two.delivery, None, "what has a time of its own needs nothing else to be known again");
    one.answer(Outcome::Committed);
    two.answer(Outcome::Committed);
    gateway.wait_acked(3);
    assert_eq!(gateway.next_notice(), Notice::Confirmed(name(), vec![(delivery.packet, delivery.digest)]));
}

#[test]
fn a_refused_password_is_told_and_a_new_one_is_read() {
    let broker = Broker::with("allow_anonymous false\npassword_file {}/users\n", |folder| {
        let users = folder.join("users");
        let made = Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(&users).args(["gadwall", "right"]).status();
        assert!(made.unwrap().success());
    });
    let password = file(broker.folder.path(), "password", "wrong\n");
    let gateway = Gateway::start(config::Mqtt {
        username_file: Some(file(broker.folder.path(), "user", "gadwall\n")),
        password_file: Some(password.clone()),
        ..config(broker.port, &["s/{node}"])
    });
    let text = format!("the broker refused the user name or password (not authorised) at 127.0.0.1:{}", broker.port);
    assert_eq!(gateway.wait_down(), text);
    std::fs::write(&password, "right\n").unwrap();
    gateway.wait_up();
    assert_eq!(gateway.status.connects.get(), 1);
}

#[test]
fn a_refused_subscription_is_a_problem_and_the_others_go_on() {
    let library = "/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so";
    let library = [library, "/usr/lib/aarch64-linux-gnu/mosquitto_dynamic_security.so"]
        .into_iter()
        .find(|path| std::path::Path::new(path).exists())
        .expect("mosquitto's own plugin for dynamic security is needed");
    let more = format!("allow_anonymous true\nplugin {library}\nplugin_opt_config_file {{}}/rules.json\n");
    let broker = Broker::with(&more, |folder| {
        let rules = r#"{
            "defaultACLAccess": {"publishClientSend": true, "publishClientReceive": true, "subscribe": false},
            "anonymousGroup": "all", "clients": [],
            "groups": [{"groupname": "all", "roles": [{"rolename": "reader"}]}],
            "roles": [{"rolename": "reader", "acls": [
                {"acltype": "subscribePattern", "topic": "open/#", "priority": 0, "allow": true}]}]
        }"#;
        file(folder, "rules.json", rules);
    });
    let gateway = Gateway::ready(config(broker.port, &["closed/{node}", "open/{node}"]));
    gateway.wait_subscribed(&broker, "open/a");
    assert_eq!(gateway.status.state(), SourceState::Up);
    assert_eq!(gateway.status.problems(), ["the broker refused the subscription to `closed/+`: not authorised"]);
}

#[test]
fn a_broker_that_restarts_is_connected_again_and_one_that_forgot_is_noticed() {
    let mut broker = Broker::open();
    let gateway = Gateway::ready(config(broker.port, &["s/{node}"]));
    gateway.wait_subscribed(&broker, "s/first");
    broker.say("s/a", "1");
    let unanswered = gateway.next();
    broker.stop();
    wait_until("nothing listens any more", || {
        gateway.status.state()
            == SourceState::Down(format!("nothing listens at 127.0.0.1:{} (connection refused)", broker.port))
    });
    broker.start();
    let again = gateway.next();
    assert_eq!((again.content.readings[0].value, again.delivery.unwrap().dup), (1.0, true));
    assert_eq!(gateway.status.state(), SourceState::Up);
    // An answer for the connection before acknowledges nothing in this one.
    unanswered.answer(Outcome::Committed);
    broker.say("s/a", "2");
    let two = gateway.next();
    assert_eq!(two.content.readings[0].value.to_bits(), 2.0_f64.to_bits());
    assert_eq!(gateway.status.acked.get(), 1, "only the message before all of these");

    broker.stop();
    std::fs::remove_file(broker.folder.path().join("mosquitto.db")).unwrap();
    gateway.notices.borrow_mut().clear();
    broker.start();
    assert_eq!(gateway.next_notice(), Notice::SessionLost(name()));
    gateway.wait_up();
    broker.publish(&["-q", "1", "-r", "-t", "s/a", "-m", r#"{"time":1700000003,"x":3}"#], "");
    assert_eq!(gateway.take(1), [3.0], "subscribed again");
}

#[test]
fn a_message_that_two_subscriptions_match_is_taken_once() {
    let broker = Broker::open();
    let gateway = Gateway::ready(config(broker.port, &["s/{node}/x", "{site}/b/{node}", "t/{node}"]));
    gateway.wait_subscribed(&broker, "t/first");
    // The first pattern wins, and what the sender says twice comes twice.
    broker.publish(&["-q", "1", "-t", "s/b/x", "-l"], "1\n1\n2\n");
    broker.say("s/c/x", "3");
    broker.say("t/b/y", "4");
    let (mut nodes, mut values) = (Vec::new(), Vec::new());
    // The copies hold nothing but their packet ids.
    for _ in 0..8 {
        let carried = gateway.next();
        nodes.extend(carried.content.readings.iter().map(|reading| reading.node.to_string()));
        values.extend(carried.content.readings.iter().map(|reading| reading.value));
        assert!(carried.delivery.is_some());
        carried.answer(Outcome::Committed);
    }
    assert_eq!(values, [1.0, 1.0, 2.0, 3.0, 4.0]);
    assert_eq!(nodes, ["b", "b", "b", "c", "t/y"]);
    // Eight PUBACKs for five messages, and the first one.
    gateway.wait_acked(9);
    assert_eq!(gateway.status.problems(), [] as [&str; 0]);
}

#[test]
fn filters_that_can_match_the_same_topic_are_found() {
    let overlap = |filters: &[&str]| {
        let wanted: Vec<_> = filters.iter().map(|f| filters::Wanted { filter: (*f).into(), qos: 1 }).collect();
        filters::overlap(&wanted)
    };
    assert!(overlap(&["s/+/x", "+/b/+"]));
    assert!(overlap(&["s/#", "+/b/+"]));
    assert!(overlap(&["t/+", "s/+", "s/#"]));
    assert!(!overlap(&["s/+", "s/+/x", "t/+"]));
    assert!(!overlap(&["s/+/x", "+/b/y"]));
    assert!(!overlap(&["s/+"]));
}

#[test]
fn a_message_over_the_limit_does_not_stop_the_others() {
    let broker = Broker::open();
    let gateway = Gateway::ready(config::Mqtt { max_message: 1_000, ..config(broker.port, &["s/{node}"]) });
    gateway.wait_subscribed(&broker, "s/first");
    let large = format!(r#"{{"x":1,"pad":"{}"}}"#, "x".repeat(2_000));
    broker.say("s/a", &large);
    broker.say("s/a", "2");
    assert_eq!(gateway.take(1), [2.0]);
    gateway.wait_acked(2);
    assert_eq!(gateway.status.connects.get(), 1);
}

#[test]
fn retained_messages_are_kept_only_with_a_time_of_their_own() {
    let broker = Broker::open();
    broker.publish(&["-q", "1", "-r", "-t", "s/old", "-m", r#"{"x":1,"y":2}"#], "");
    broker.publish(&["-q", "1", "-r", "-t", "s/timed", "-m", r#"{"time":1700000000,"x":3}"#], "");
    let gateway = Gateway::ready(config(broker.port, &["s/{node}"]));
    let timed = gateway.next();
    let at = When::Live(Timestamp::from_secs(1_700_000_000));
    let reading =
        Reading { node: "timed".into(), metric: "x".into(), own_name: None, unit: None, when: at, value: 3.0 };
    assert_eq!(timed.content.readings, [reading]);
    timed.answer(Outcome::Committed);
    gateway.wait_acked(2);
    let counts = &gateway.metrics.readings;
    assert_eq!((counts.received.get(), counts.dropped(DropReason::Retained).get()), (3, 2));
    // The same topics, live.
    broker.say("s/old", "4");
    assert_eq!(gateway.take(1), [4.0]);
}

#[test]
fn what_gives_no_reading_is_a_dead_letter_and_is_acknowledged() {
    let broker = Broker::open();
    let mut before = Gateway::ready(config(broker.port, &["left/{node}", "s/{node}"]));
    before.wait_subscribed(&broker, "s/first");
    before.stop();
    // The session still has the subscription that the configuration has not any more.
    let gateway = Gateway::ready(config(broker.port, &["s/{node}"]));
    broker.say("left/a", "1");
    let unmatched = gateway.next();
    assert_eq!(unmatched.content.dead[0].reason, DeadReason::UnmatchedTopic);
    assert_eq!(unmatched.content.dead[0].detail, "no pattern of `subscribe` matches `left/a`");
    assert_eq!(unmatched.content.dead[0].excerpt, b"1");
    assert!(unmatched.delivery.is_some(), "a dead letter has no time of its own");
    unmatched.answer(Outcome::Committed);
    gateway.wait_acked(1);
    // More of them than a second may have: counted and acknowledged, not stored.
    broker.publish(&["-q", "1", "-t", "left/a", "-l"], &"x\n".repeat(20));
    broker.say("s/a", "{");
    loop {
        let carried = gateway.next();
        let reason = carried.content.dead[0].reason;
        carried.answer(Outcome::Committed);
        if reason == DeadReason::Malformed {
            break;
        }
    }
    gateway.wait_acked(22);
    let counts = &gateway.metrics.readings;
    assert_eq!(counts.dead(DeadReason::UnmatchedTopic).get(), 21);
    assert_eq!(counts.dead(DeadReason::Malformed).get(), 1);
    assert_eq!((gateway.status.dead.get(), counts.received.get()), (22, 0));
}

#[test]
fn a_burst_arrives_whole_through_a_small_intake_and_a_small_window() {
    let broker = Broker::open();
    let small = config::Intake { capacity: 100, max_bytes: 100_000 };
    let gateway = Gateway::with_intake(config::Mqtt { window: 50, ..config(broker.port, &["s/{node}"]) }, &small);
    gateway.wait_subscribed(&broker, "s/first");
    let lines: String = (0..5_000).map(|n| format!("{n}\n")).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| broker.publish(&["-q", "1", "-t", "s/a", "-l"], &lines));
        // Batches like the writer's: committed when a commit is asked for.
        let mut values = Vec::new();
        let mut batch = Vec::new();
        while values.len() < 5_000 {
            let mut nudged = false;
            let first = crossbeam_channel::select! {
                recv(gateway.outlet.items) -> item => Some(item.unwrap()),
                recv(gateway.outlet.nudges) -> _ => {
                    nudged = true;
                    None
                }
                default(std::time::Duration::from_secs(30)) => panic!("stuck at {}", values.len()),
            };
            // A wish for a commit covers what was sent before it: the channel is emptied first.
            for item in first.into_iter().chain(gateway.outlet.items.try_iter()) {
                match item {
                    Item::Envelope(carried) => {
                        values.push(carried.content.readings[0].value);
                        batch.push(carried);
                    }
                    Item::Notice(notice) => panic!("{notice:?}"),
                }
            }
            if nudged {
                for carried in batch.drain(..) {
                    carried.answer(Outcome::Committed);
                }
            }
        }
        for carried in batch.drain(..) {
            carried.answer(Outcome::Committed);
        }
        let wrong = values.iter().zip(0..).find(|(value, n)| value.to_bits() != f64::from(*n).to_bits());
        assert_eq!(wrong, None, "the first that is lost, repeated or out of order");
    });
    gateway.wait_acked(5_001);
    assert_eq!(gateway.status.connects.get(), 1);
    assert_eq!((gateway.metrics.queue.depth.get(), gateway.metrics.queue.bytes.get()), (0, 0));
}

#[test]
fn a_commit_is_asked_for_at_half_the_window_and_when_the_broker_falls_silent() {
    let broker = Broker::open();
    let gateway = Gateway::ready(config::Mqtt { window: 40, ..config(broker.port, &["s/{node}"]) });
    gateway.wait_subscribed(&broker, "s/first");
    assert_eq!(gateway.outlet.nudges.try_iter().count(), 0);
    broker.publish(&["-q", "1", "-t", "s/a", "-l"], &"1\n".repeat(9));
    let nine: Vec<_> = (0..9).map(|_| gateway.next()).collect();
    assert_eq!(gateway.outlet.nudges.try_iter().count(), 0, "nine are too few");
    broker.say("s/a", "1");
    let tenth = gateway.next();
    gateway.outlet.nudges.recv().unwrap();
    broker.publish(&["-q", "1", "-t", "s/a", "-l"], &"1\n".repeat(20));
    let more: Vec<_> = (0..20).map(|_| gateway.next()).collect();
    gateway.outlet.nudges.recv().unwrap();
    for carried in nine.into_iter().chain([tenth]).chain(more) {
        carried.answer(Outcome::Committed);
    }
    gateway.wait_acked(31);
}

#[test]
fn tls_needs_the_right_authority_and_a_certificate_of_the_client() {
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let (ours, other) = (authority("ours"), authority("other"));
    let leaf = |folder: &std::path::Path, name: &str| {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &ours).unwrap();
        (
            file(folder, &format!("{name}.pem"), &certificate.pem()),
            file(folder, &format!("{name}.key"), &key.serialize_pem()),
        )
    };
    let more = "allow_anonymous true\ncafile {}/ca.pem\ncertfile {}/localhost.pem\nkeyfile {}/localhost.key\n\
                require_certificate true\n";
    let broker = Broker::with(more, |folder| {
        file(folder, "ca.pem", &ours.as_ref().pem());
        leaf(folder, "localhost");
    });
    let folder = broker.folder.path();
    let wrong = file(folder, "other.pem", &other.as_ref().pem());
    let (cert, key) = leaf(folder, "gadwall");
    let url: url::Url = format!("mqtts://localhost:{}", broker.port).parse().unwrap();
    let base = config::Mqtt { url, ..config(broker.port, &["s/{node}"]) };

    let distrusting = Gateway::start(config::Mqtt { ca_file: Some(wrong), ..base.clone() });
    let text = format!("the certificate of localhost:{} is not accepted: UnknownIssuer", broker.port);
    assert_eq!(distrusting.wait_down(), text);

    let anonymous = Gateway::start(config::Mqtt { ca_file: Some(folder.join("ca.pem")), ..base.clone() });
    let text = format!("TLS with localhost:{} failed: received fatal alert: CertificateRequired", broker.port);
    assert_eq!(anonymous.wait_down(), text);

    // The key appears later.
    let hidden = folder.join("hidden.key");
    std::fs::rename(&key, &hidden).unwrap();
    let gateway = Gateway::start(config::Mqtt {
        ca_file: Some(folder.join("ca.pem")),
        cert_file: Some(cert.clone()),
        key_file: Some(key.clone()),
        ..base
    });
    assert_eq!(gateway.wait_down(), format!("key-file {}: No such file or directory (os error 2)", key.display()));
    std::fs::rename(&hidden, &key).unwrap();
    gateway.wait_up();
    broker.publish(
        &[
            "--cafile",
            folder.join("ca.pem").to_str().unwrap(),
            "--cert",
            cert.to_str().unwrap(),
            "--key",
            key.to_str().unwrap(),
            "-h",
            "localhost",
            "-q",
            "1",
            "-r",
            "-t",
            "s/a",
            "-m",
            r#"{"time":1700000000,"x":7}"#,
        ],
        "",
    );
    assert_eq!(gateway.take(1), [7.0]);
    gateway.wait_acked(1);
}

#[test]
fn a_broker_that_cannot_be_reached_is_named() {
    // Bound, so that nobody else takes it, and not listening.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = closed.local_addr().unwrap().port();
    let gateway = Gateway::start(config(port, &["s/{node}"]));
    assert_eq!(gateway.wait_down(), format!("nothing listens at 127.0.0.1:{port} (connection refused)"));

    let mut nowhere = config(port, &["s/{node}"]);
    nowhere.url = "mqtt://nowhere.invalid".parse().unwrap();
    let text = Gateway::start(nowhere).wait_down();
    let start = "the host name nowhere.invalid of nowhere.invalid:1883 cannot be resolved: ";
    assert!(text.starts_with(start), "{text}");

    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let gateway = Gateway::start(config(port, &["s/{node}"]));
    assert_eq!(gateway.wait_down(), format!("127.0.0.1:{port} did not answer within 10 s"));
}

#[test]
fn a_source_without_a_store_ends_with_an_error() {
    let broker = Broker::open();
    let mut gateway = Gateway::ready(config(broker.port, &["s/{node}"]));
    gateway.wait_subscribed(&broker, "s/first");
    let (_, other) = crate::pipeline::channel(&config::Intake::default(), gateway.metrics.clone());
    gateway.outlet = other;
    broker.say("s/a", "1");
    assert_eq!(gateway.ended().unwrap_err().to_string(), "the store takes no more envelopes");
}

#[test]
fn filters_are_unique_and_without_those_that_a_broader_one_covers() {
    let reduced = |topics: &[(&str, u8)]| {
        let all: Vec<_> =
            topics.iter().map(|(topic, qos)| config::Subscription { qos: *qos, ..subscription(topic) }).collect();
        filters::reduce(&all).into_iter().map(|w| (w.filter, w.qos)).collect::<Vec<_>>()
    };
    let owned = |filters: &[(&str, u8)]| filters.iter().map(|(f, q)| ((*f).to_owned(), *q)).collect::<Vec<_>>();
    assert_eq!(reduced(&[("s/{node}", 1), ("s/{node}", 1)]), owned(&[("s/+", 1)]));
    assert_eq!(reduced(&[("s/{node}/{metric}", 1), ("s/{metric}/{node}", 1)]), owned(&[("s/+/+", 1)]));
    assert_eq!(reduced(&[("s/{node}/{metric}", 0), ("s/{metric}/{node}", 1)]), owned(&[("s/+/+", 1)]));
    assert_eq!(reduced(&[("s/a/{node}", 1), ("s/{node}/{metric}", 1)]), owned(&[("s/+/+", 1)]));
    assert_eq!(reduced(&[("s/a/{node}", 1), ("s/{node}/{metric}", 0)]), owned(&[("s/a/+", 1), ("s/+/+", 0)]));
    assert_eq!(reduced(&[("s/{node}", 2), ("t/{node}", 1)]), owned(&[("s/+", 1), ("t/+", 1)]));
}

#[test]
fn the_brokers_answers_to_the_subscriptions_are_put_in_words() {
    let wanted: Vec<_> =
        ["a/+", "b/+", "c/+", "d/+"].map(|filter| filters::Wanted { filter: filter.into(), qos: 1 }).into();
    let codes = [
        SubscribeReasonCode::Success(QoS::AtLeastOnce),
        SubscribeReasonCode::NotAuthorized,
        SubscribeReasonCode::Success(QoS::AtMostOnce),
    ];
    assert_eq!(
        filters::problems(&wanted, &codes),
        [
            "the broker refused the subscription to `b/+`: not authorised",
            "the broker grants `c/+` with QoS 0 only, so its messages are not acknowledged: set `qos = 0` if that is meant",
            "the broker did not answer the subscription to `d/+`",
        ]
    );
    assert_eq!(filters::problems(&wanted[..1], &codes), [] as [&str; 0]);
}
