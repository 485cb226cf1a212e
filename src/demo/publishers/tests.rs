use std::path::Path;
use std::time::Instant;

use super::super::broker::{Broker, find};
use super::*;

#[test]
fn every_device_has_its_state_and_its_number_of_readings() {
    let mut seen = Vec::new();
    for (i, (name, kind)) in (0..).zip(DEVICES) {
        let mut device = Device::new(i, name, kind);
        let state = device.state(1_760_000_000);
        let keys: Vec<&str> = state.as_object().unwrap().keys().map(String::as_str).collect();
        seen.push(format!("{} {} {}", device.topic(), values(&state), keys.join(",")));
    }
    assert_eq!(
        seen,
        [
            "zigbee2mqtt/bench-north 5 battery,humidity,linkquality,temperature,voltage",
            "zigbee2mqtt/bench-south 5 battery,humidity,linkquality,temperature,voltage",
            "zigbee2mqtt/propagator 5 battery,humidity,linkquality,temperature,voltage",
            "zigbee2mqtt/tomato-bed 4 battery,linkquality,soil_moisture,temperature",
            "zigbee2mqtt/door 4 battery,contact,linkquality,voltage",
            "zigbee2mqtt/water-tank 6 battery,battery_low,linkquality,tamper,voltage,water_leak",
        ]
    );
}

#[test]
fn numbers_and_booleans_are_readings_and_nothing_else_is() {
    let state = json!({"a": 1, "b": {"c": -2.5, "d": true, "e": "text"}, "f": null, "g": [1, 2]});
    assert_eq!(values(&state), 3);
    assert_eq!(hundredths(2_153).to_string(), "21.53");
}

#[test]
fn only_what_was_acknowledged_and_had_a_subscriber_is_sent() {
    let mut ledger = Ledger::default();
    for readings in [5, 4, 6] {
        ledger.queued(readings);
    }
    ledger.left(1);
    ledger.left(2);
    assert_eq!(ledger.counts(), PublishCounts { unacked: 3, ..PublishCounts::default() });
    ledger.acked(2, true);
    ledger.acked(2, true);
    ledger.acked(9, true);
    assert_eq!(ledger.counts(), PublishCounts { messages: 1, readings: 4, unacked: 2, unheard: 0 });
    ledger.acked(1, false);
    ledger.left(1);
    ledger.acked(1, true);
    assert_eq!(ledger.counts(), PublishCounts { messages: 2, readings: 10, unacked: 0, unheard: 1 });
}

fn broker(dir: &Path) -> Broker {
    let program = find(std::env::var_os("PATH").as_deref()).expect("this test needs mosquitto");
    Broker::start(&program, dir).unwrap()
}

fn wait_for(publishers: &mut Publishers, done: impl Fn(&Publishers) -> bool) -> PublishCounts {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        publishers.check().unwrap();
        if done(publishers) {
            return publishers.counts();
        }
        let counts = publishers.counts();
        assert!(Instant::now() < deadline, "{counts:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_real_broker_says_which_messages_had_a_subscriber() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(dir.path());
    let mut publishers = Publishers::start(broker.port()).unwrap();
    let counts = wait_for(&mut publishers, |p| p.counts().unheard >= 2);
    assert_eq!((counts.messages, counts.readings), (0, 0));

    // Somebody subscribes, and every message that counts from now on reaches them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (client, mut connection) = AsyncClient::new(MqttOptions::new("listener", "127.0.0.1", broker.port()), 10);
    let (mut messages, mut heard) = (0, 0);
    let mut listen = async |until: u64| {
        while messages < until {
            let event = tokio::time::timeout(Duration::from_secs(30), connection.poll()).await;
            if let Event::Incoming(Packet::Publish(p)) = event.expect("a message within 30 s").unwrap() {
                assert!(!p.retain);
                messages += 1;
                heard += values(&serde_json::from_slice(&p.payload).unwrap());
            }
        }
        (messages, heard)
    };
    runtime.block_on(async {
        client.subscribe("zigbee2mqtt/+", QoS::AtLeastOnce).await.unwrap();
        listen(3).await;
        publishers.stop();
        let counts = wait_for(&mut publishers, Publishers::is_quiet);
        assert!(counts.messages >= 3, "{counts:?}");
        assert_eq!(listen(counts.messages).await, (counts.messages, counts.readings));
    });
}

#[test]
fn a_lost_broker_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(dir.path());
    let mut publishers = Publishers::start(broker.port()).unwrap();
    wait_for(&mut publishers, |p| p.counts().unheard >= 1);
    drop(broker);
    let deadline = Instant::now() + Duration::from_secs(30);
    let error = loop {
        if let Err(e) = publishers.check() {
            break e;
        }
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    };
    let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
    assert_eq!(chain[..2], ["the publishers have ended", "the connection to the broker is lost"]);
}
