use super::*;
use crate::codec::time::Local;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/fixtures/payloads/homie/", $name))
    };
}

fn message<'a>(topic: &'a str, payload: &'a str) -> Message<'a> {
    Message {
        topic: topic.trim(),
        payload: payload.as_bytes(),
        node: None,
        metric: None,
        time: None,
        local: Local::UTC,
        retain: false,
    }
}

/// `node metric=value unit` and `node kind: data`, for short.
fn said(decoded: &Decoded) -> Vec<String> {
    let reading = |r: &crate::reading::Reading| {
        let unit = r.unit.as_deref().map_or_else(String::new, |unit| format!(" {unit}"));
        let own = r.own_name.as_deref().map_or_else(String::new, |own| format!(" ({own})"));
        format!("{} {}={}{unit}{own}", r.node, r.metric, r.value)
    };
    let readings = decoded.readings.iter().map(reading);
    let events = decoded.events.iter().map(|e| format!("{} {}: {}", e.node, e.kind, e.data));
    let dead = decoded.dead.iter().map(|d| format!("dead {}", d.detail));
    readings.chain(events).chain(dead).collect()
}

fn all(homie: &mut Homie, messages: &[(&str, &str)]) -> Vec<String> {
    messages.iter().flat_map(|(topic, payload)| said(&homie.decode(&message(topic, payload)))).collect()
}

#[test]
fn the_samples_are_what_their_documentation_says() {
    let mut homie = Homie::new();
    let samples = [
        (fixture!("07-property-description.topic"), fixture!("07-property-description.json")),
        (fixture!("01-temp.topic"), fixture!("01-temp.txt")),
        (fixture!("02-bool.topic"), fixture!("02-bool.txt")),
        (fixture!("04-int.topic"), fixture!("04-int.txt")),
        (fixture!("05-target.topic"), fixture!("05-target.txt")),
    ];
    for (topic, payload) in samples {
        assert!(recognises(&message(topic, payload)), "{topic}");
    }
    assert_eq!(
        all(&mut homie, &samples),
        ["super-car/engine temperature=21.5 degC", "kitchen-light/light power=1", "kitchen-light/light brightness=20"]
    );
}

#[test]
fn version_5_describes_its_devices_in_one_message() {
    let description = r##"{"homie":"5.0","version":1,"name":"Station","nodes":{
        "out":{"properties":{
            "wind-speed":{"datatype":"float","unit":"km/h"},
            "pressure":{"datatype":"integer","unit":"Pa"},
            "mode":{"datatype":"enum","format":"eco,boost"},
            "level":{"datatype":"enum","format":"1,2,3"},
            "serial":{"datatype":"string"},
            "next":{"datatype":"datetime"},
            "runtime":{"datatype":"duration"},
            "on":{"datatype":"boolean","unit":"W"},
            "outside":{"datatype":"float","unit":"°F"},
            "count":{"datatype":"integer","unit":"#"}}}}}"##;
    let mut homie = Homie::new();
    assert_eq!(all(&mut homie, &[("homie/5/st/$state", "ready")]), ["st availability: online"]);
    // Its node is known from now on.
    assert_eq!(all(&mut homie, &[("homie/5/st/$description", description)]), ["st/out availability: online"]);
    let said = all(
        &mut homie,
        &[
            ("homie/5/st/out/wind-speed", "36"),
            ("homie/5/st/out/pressure", "101300"),
            ("homie/5/st/out/mode", "eco"),
            ("homie/5/st/out/level", "2"),
            ("homie/5/st/out/serial", "0012"),
            ("homie/5/st/out/next", "2025-10-09T08:53:20Z"),
            ("homie/5/st/out/runtime", "PT1H5M46.5S"),
            ("homie/5/st/out/on", "false"),
            ("homie/5/st/out/outside", "212"),
            ("homie/5/st/out/count", "7"),
            ("homie/5/st/out/serial", "\0"),
            ("homie/5/st/out/wind-speed", ""),
            ("homie/5/st/out/wind-speed/set", "3"),
            ("homie/5/st/out/wind-speed/$target", "3"),
            ("homie/5/$broadcast/alert", "fire"),
            ("homie/5/st/$alert/battery", "replace it"),
            ("homie/5/st/$log/debug", "x"),
            ("homie/5/st/$log/error", "no sensor"),
        ],
    );
    assert_eq!(
        said,
        [
            "st/out wind_speed=10 m/s (wind-speed)",
            "st/out pressure=1013 hPa",
            "st/out mode: eco",
            "st/out level=2",
            "st/out serial: 0012",
            "st/out runtime=3946.5 s",
            "st/out on=0",
            "st/out outside=100 degC",
            "st/out count=7",
            "st alert: battery: replace it",
            "st log: error: no sensor",
        ]
    );
    let bad = all(
        &mut homie,
        &[
            ("homie/5/st/out/pressure", "high"),
            ("homie/5/st/out/on", "yes"),
            ("homie/5/st/out/runtime", "5"),
            ("homie/5/st/out/pressure", "1e999"),
            ("homie/5/st/$state", "happy"),
            ("homie/5/st/$description", "{"),
        ],
    );
    assert_eq!(
        bad,
        [
            "dead `pressure` is `high`: expected a number",
            "dead `on` is `yes`: expected true or false",
            "dead `runtime` is `5`: expected a duration such as PT5M30S",
            "dead `pressure` does not fit into a 64-bit float: `1e999`",
            "dead the state `happy`: expected init, ready, disconnected, sleeping, lost or alert",
            "dead EOF while parsing an object at line 1 column 1",
        ]
    );
}

#[test]
fn version_4_describes_each_property_in_topics_of_its_own() {
    let mut homie = Homie::new();
    let said = all(
        &mut homie,
        &[
            ("house/cellar/pump/$homie", "4.0.0"),
            ("house/cellar/pump/$name", "Pump 2000"),
            ("house/cellar/pump/$nodes", "motor,lights[]"),
            ("house/cellar/pump/motor/$properties", "temp,power"),
            ("house/cellar/pump/motor/temp/$datatype", "float"),
            ("house/cellar/pump/motor/temp/$unit", "°F"),
            ("house/cellar/pump/motor/temp/$format", "0:100"),
            ("house/cellar/pump/motor/power/$unit", "W"),
            ("house/cellar/pump/motor/temp", "212"),
            ("house/cellar/pump/motor/power", "50"),
            ("house/cellar/pump/$state", "ready"),
            ("house/cellar/pump/$stats/interval", "60"),
            ("house/cellar/pump/$stats/uptime", "120"),
            ("house/cellar/pump/$stats/cputemp", "48"),
            ("house/cellar/pump/$stats/signal", "24"),
            ("house/cellar/pump/$fw/version", "1"),
            ("house/cellar/pump/$state", "lost"),
        ],
    );
    assert_eq!(
        said,
        [
            "pump/motor temperature=100 degC (temp)",
            "pump/motor power=50 W",
            "pump availability: online",
            "pump/lights availability: online",
            "pump/motor availability: online",
            "pump uptime=120 s",
            "pump device_temperature=48 degC (cputemp)",
            "pump signal=24 %",
            "pump availability: offline",
            "pump/lights availability: offline",
            "pump/motor availability: offline",
        ]
    );
    assert_eq!(all(&mut homie, &[("homie/old/$online", "false")]), ["old availability: offline"]);
}

#[test]
fn children_are_gone_with_their_root() {
    let mut homie = Homie::new();
    let child = r#"{"homie":"5.0","root":"bridge","parent":"bridge","nodes":{}}"#;
    let said = all(
        &mut homie,
        &[
            ("homie/5/bridge/$state", "ready"),
            ("homie/5/lamp/$description", child),
            ("homie/5/lamp/$state", "ready"),
            ("homie/5/bridge/$state", "lost"),
            ("homie/5/bridge/$state", "ready"),
        ],
    );
    assert_eq!(
        said,
        [
            "bridge availability: online",
            "lamp availability: online",
            "bridge availability: offline",
            "lamp availability: offline",
            "bridge availability: online",
            "lamp availability: online",
        ]
    );
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut homie = Homie::new();
    for at in 0..MAX_DEVICES + 100 {
        let topic = format!("homie/d{at}/n/p/$unit");
        homie.decode(&message(&topic, "V"));
    }
    assert_eq!(homie.devices.sizes(), (MAX_DEVICES, 2 * MAX_DEVICES));
    // One that is not remembered is decoded all the same.
    assert_eq!(all(&mut homie, &[("homie/d600/n/p", "5")]), ["d600/n p=5"]);
    assert_eq!(all(&mut homie, &[("homie/d0/n/p", "5")]), ["d0/n p=5 V"]);
    // One that has gone makes room.
    homie.decode(&message("homie/d0/$state", "lost"));
    homie.decode(&message("homie/d600/n/p/$unit", "A"));
    assert_eq!(all(&mut homie, &[("homie/d600/n/p", "5"), ("homie/d0/n/p", "5")]), ["d600/n p=5 A", "d0/n p=5"]);
    let nodes: Vec<String> = (0..20_000).map(|at| format!("n{at}")).collect();
    homie.decode(&message("homie/d1/$nodes", &nodes.join(",")));
    assert_eq!(homie.devices.sizes(), (MAX_DEVICES, MAX_PROPERTIES));
    homie.decode(&message("homie/d1/$state", ""));
    assert!(homie.devices.sizes().1 < MAX_PROPERTIES);
}

#[test]
fn only_topics_of_the_convention_are_recognised() {
    for (topic, payload, is) in [
        ("homie/car/engine/temp", "1", true),
        ("house/5/car/$state", "lost", true),
        ("house/car/$homie", "4.0.0", true),
        ("house/5/car/engine/temp", "1", false),
        ("house/car/$state", "on", false),
        ("zigbee2mqtt/0x00158d0001234567", "{}", false),
        ("homie/Car/engine/temp", "1", false),
    ] {
        assert_eq!(recognises(&message(topic, payload)), is, "{topic}");
    }
}
