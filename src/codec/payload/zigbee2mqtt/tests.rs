use super::*;
use crate::codec::payload::shown::{lines, message};

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/fixtures/payloads/zigbee2mqtt/", $name))
    };
}

/// What was decoded; where it holds no dead letter, `auto` must take it for this format.
#[track_caller]
fn shows(topic: &str, payload: &[u8], expected: &[&str]) {
    let message = message(topic, payload);
    let decoded = decode(&message);
    assert_eq!(lines(&decoded), expected, "{topic}");
    if decoded.dead.is_empty() && topic.starts_with("zigbee2mqtt") && !payload.is_empty() {
        assert!(recognises(&message), "{topic}");
    }
}

#[test]
fn fixtures() {
    shows(
        "zigbee2mqtt/0x00158d0001234567",
        fixture!("01-wsdcgq01lm-temp-hum.json"),
        &["0x00158d0001234567 humidity=44.72 %", "0x00158d0001234567 temperature=27.34 degC"],
    );
    shows(
        "zigbee2mqtt/0x00158d000202c411",
        fixture!("02-rtcgq01lm-occupancy.json"),
        &["0x00158d000202c411 occupancy=1"],
    );
    shows(
        "zigbee2mqtt/btn1",
        fixture!("04-button-real-log.json"),
        &["btn1 battery=100 %", "btn1 linkquality=212", "btn1 voltage=3 V", "btn1 action: single"],
    );
    shows(
        "zigbee2mqtt/0x84fd27fffe9f718e",
        fixture!("05-plug-nested-update.json"),
        &[
            "0x84fd27fffe9f718e linkquality=54",
            "0x84fd27fffe9f718e state=0",
            "0x84fd27fffe9f718e power_on_behavior: previous",
            "0x84fd27fffe9f718e update.state: available",
        ],
    );
    shows("zigbee2mqtt/bridge/state", fixture!("07-bridge-state-v2.json"), &["bridge availability: online"]);
    shows("zigbee2mqtt/bridge/state", fixture!("08-bridge-state-v1.txt"), &["bridge availability: online"]);
}

#[test]
fn last_seen_is_the_time_in_each_of_its_shapes() {
    for last_seen in ["\"2023-06-01T10:00:00.500Z\"", "\"2023-06-01T12:00:00.500+02:00\"", "1685613600500"] {
        shows(
            "zigbee2mqtt/t",
            format!("{{\"temperature\":20.5,\"last_seen\":{last_seen}}}").as_bytes(),
            &["t temperature=20.5 degC @2023-06-01T10:00:00.500Z"],
        );
    }
    shows("zigbee2mqtt/t", br#"{"temperature":20.5,"last_seen":null}"#, &["t temperature=20.5 degC"]);
    shows(
        "zigbee2mqtt/t",
        br#"{"temperature":20.5,"last_seen":"yesterday"}"#,
        &[
            "t temperature=20.5 degC",
            "t clock: the field `last_seen` is `yesterday`: expected a Unix time in s, ms, us or ns, or a text such as \
             2025-10-09T08:53:20Z",
        ],
    );
    shows(
        "zigbee2mqtt/b",
        br#"{"action":"double","last_seen":1685613600500}"#,
        &["b action: double @2023-06-01T10:00:00.500Z"],
    );
}

#[test]
fn friendly_names_have_slashes_and_base_topics_are_whatever_was_configured() {
    let payload = br#"{"state":"ON","linkquality":3}"#;
    for (topic, node) in [
        ("zigbee2mqtt/kitchen/floor_light", "kitchen/floor_light"),
        ("home/zigbee2mqtt-upstairs/lamp", "lamp"),
        ("zb/lamp", "lamp"),
    ] {
        shows(topic, payload, &[&format!("{node} linkquality=3"), &format!("{node} state=1")]);
        assert!(recognises(&message(topic, payload)));
    }
    let named = Message { node: Some("upstairs/lamp"), ..message("home/zb/upstairs/lamp", payload) };
    assert_eq!(lines(&decode(&named))[0], "upstairs/lamp linkquality=3");
    shows("home/zigbee2mqtt/bridge/state", b"offline", &["bridge availability: offline"]);
    shows("my/zb/bridge/devices", b"[]", &[]);
}

#[test]
fn attributes_come_one_by_one() {
    shows("zigbee2mqtt/kitchen/sensor/temperature", b"21.5", &["kitchen/sensor temperature=21.5 degC"]);
    shows("zigbee2mqtt/lamp/state", b"ON", &["lamp state=1"]);
    shows("zigbee2mqtt/lamp/color-x", b"0.35", &["lamp color.x=0.35"]);
    shows("zigbee2mqtt/lamp/update-installed_version", b"587765297", &[]);
    shows("zigbee2mqtt/lamp/last_seen", b"2023-06-01T10:00:00.500Z", &[]);
    shows("zigbee2mqtt/btn/action", b"single", &["btn action: single"]);
    shows("zigbee2mqtt/btn/action", b"", &[]);
    shows("zigbee2mqtt/btn/battery", b"", &[]);
    shows("zigbee2mqtt/btn/voltage", b"2985", &["btn voltage=2.985 V"]);
    shows("zigbee2mqtt/lamp/color", b"255,0,0", &[]);
    shows("zigbee2mqtt/lamp", b"21", &["dead malformed: byte 0: expected a JSON object with the device's state"]);
}

#[test]
fn availability_is_an_object_or_bare_text() {
    shows("zigbee2mqtt/kitchen/lamp/availability", br#"{"state":"online"}"#, &["kitchen/lamp availability: online"]);
    shows("zigbee2mqtt/lamp/availability", b"offline", &["lamp availability: offline"]);
    shows("zigbee2mqtt/lamp/availability", b"", &[]);
    shows(
        "zigbee2mqtt/lamp/availability",
        b"{}",
        &["dead malformed: expected `online` or `offline`, bare or as `state` of a JSON object"],
    );
}

#[test]
fn commands_and_the_bridge_are_nothing() {
    for (topic, payload) in [
        ("zigbee2mqtt/lamp/set", &b"{\"state\":\"ON\"}"[..]),
        ("zigbee2mqtt/lamp/set/state", b"ON"),
        ("zigbee2mqtt/lamp/left/get", b"{}"),
        ("zigbee2mqtt/bridge/info", b"{\"version\":\"2.1.1\",\"permit_join\":false}"),
        ("zigbee2mqtt/bridge/log", b"{\"type\":\"pairing\"}"),
        ("zigbee2mqtt/bridge/logging", b"{\"level\":\"info\"}"),
        ("zigbee2mqtt/bridge/request/permit_join", b"{\"time\":254}"),
        ("zigbee2mqtt/bridge/response/device/rename", b"{}"),
        ("zigbee2mqtt/bridge/config/devices/get", b""),
        ("zigbee2mqtt/gone", b""),
    ] {
        shows(topic, payload, &[]);
    }
}

#[test]
fn plugs_measure_volts_and_batteries_millivolts() {
    shows(
        "zigbee2mqtt/plug",
        br#"{"current":0.35,"energy":12.5,"power":78.2,"state":"ON","voltage":231,"power_factor":0.97,"ac_frequency":50,
            "produced_energy":1.5,"power_apparent":80,"device_temperature":31}"#,
        &[
            "plug frequency=50 Hz (ac_frequency)",
            "plug current=0.35 A",
            "plug device_temperature=31 degC",
            "plug energy=12.5 kWh",
            "plug power=78.2 W",
            "plug apparent_power=80 VA (power_apparent)",
            "plug power_factor=0.97",
            "plug energy_returned=1.5 kWh (produced_energy)",
            "plug state=1",
            "plug voltage=231 V",
        ],
    );
    shows("zigbee2mqtt/door", br#"{"battery":0,"voltage":900}"#, &["door battery=0 %", "door voltage=0.9 V"]);
    shows("zigbee2mqtt/door", br#"{"battery_low":true,"voltage":3}"#, &["door battery_low=1", "door voltage=3 V"]);
    shows("zigbee2mqtt/door", br#"{"voltage":2995}"#, &["door voltage=2.995 V"]);
    shows("zigbee2mqtt/off", br#"{"voltage":0}"#, &["off voltage=0 V"]);
}

#[test]
fn air_and_soil_and_light_have_the_names_of_the_vocabulary() {
    shows(
        "zigbee2mqtt/air",
        br#"{"co2":612,"formaldehyd":0.02,"humidity":41,"pm25":7,"pressure":1013.2,"temperature":22.1,"voc":120,"voc_index":88}"#,
        &[
            "air co2=612 ppm",
            "air formaldehyde=0.02 mg/m3 (formaldehyd)",
            "air humidity=41 %",
            "air pm2_5=7 ug/m3 (pm25)",
            "air pressure=1013.2 hPa",
            "air temperature=22.1 degC",
            "air voc=120 ug/m3",
            "air voc_index=88",
        ],
    );
    shows("zigbee2mqtt/soil", br#"{"soil_moisture":33}"#, &["soil soil_moisture=33 %"]);
    // Before 2.0 both were there; since 2.0 `illuminance` is in lux.
    shows(
        "zigbee2mqtt/pir",
        br#"{"illuminance":12041,"illuminance_lux":16}"#,
        &["pir illuminance_raw=12041 (illuminance)", "pir illuminance=16 lx (illuminance_lux)"],
    );
    shows("zigbee2mqtt/pir", br#"{"illuminance":16}"#, &["pir illuminance=16 lx"]);
}

#[test]
fn states_are_switches_and_other_text_is_an_event() {
    for (json, expected) in [
        (r#"{"contact":false}"#, "d contact=0"),
        (r#"{"state":"OPEN","position":100}"#, "d position=100 %|d state=1"),
        (r#"{"state":"CLOSE"}"#, "d state=0"),
        (r#"{"state":"STOP"}"#, "d state: STOP"),
        (r#"{"state":"LOCK","lock_state":"locked"}"#, "d lock_state=1|d state=1"),
        (r#"{"state":"UNLOCK","lock_state":"not_fully_locked"}"#, "d state=0|d lock_state: not_fully_locked"),
        (
            r#"{"child_lock":"UNLOCK","system_mode":"heat","local_temperature":19.5}"#,
            "d child_lock=0|d local_temperature=19.5 degC|d system_mode: heat",
        ),
        (r#"{"gas":true,"water_leak":false,"smoke":false}"#, "d gas=1|d smoke=0|d water_leak=0"),
        (
            r#"{"state_left":"ON","state_right":"OFF","power_left":3}"#,
            "d power_left=3 W|d state_left=1|d state_right=0",
        ),
        (
            r#"{"color":{"x":0.3,"y":0.4},"color_mode":"xy","brightness":254}"#,
            "d brightness=254|d color.x=0.3|d color.y=0.4|d color_mode: xy",
        ),
        (r#"{"action":"","battery":97}"#, "d battery=97 %"),
        (r#"{"action":null,"click":"long"}"#, "d click: long"),
        (r#"{"action":"recall_1","action_group":3,"action_transaction":17}"#, "d action: recall_1"),
        (
            r#"{"update":{"state":"updating","progress":13.4,"remaining":3217},"update_available":true}"#,
            "d update.progress=13.4|d update.remaining=3217|d update_available=1|d update.state: updating",
        ),
        (r#"{"device":{"friendlyName":"d","networkAddress":21},"elapsed":3000,"temperature":null}"#, ""),
        (r#"{"temperature":"21.5"}"#, "d temperature=21.5 degC"),
    ] {
        let expected: Vec<&str> = expected.split('|').filter(|line| !line.is_empty()).collect();
        shows("zigbee2mqtt/d", json.as_bytes(), &expected);
    }
}

#[test]
fn what_is_no_json_is_told_with_its_place() {
    shows("zigbee2mqtt/d", br#"{"temperature":21.5,}"#, &["dead malformed: trailing comma at line 1 column 21"]);
    shows("zigbee2mqtt/d", b"{\"t\":\"\xff\"}", &["dead not-utf8: invalid UTF-8 at byte 6"]);
}

#[test]
fn other_publishers_are_not_taken() {
    for (topic, payload) in [
        ("tele/tasmota/SENSOR", &br#"{"Time":"2019-11-03T19:34:28","BME280":{"Temperature":21.7}}"#[..]),
        ("rtl_433/raspi/events", br#"{"time":"@0.087s","model":"Acurite-5n1"}"#),
        ("home/OpenMQTTGateway/BTtoMQTT/4C33A6603C79", br#"{"id":"4C:33:A6:60:3C:79","tempc":"26.2"}"#),
        ("shellyplus1-b8d61a85a8e0/online", b"true"),
        ("livingroom/sensor/livingroom_temperature/state", b"21.4"),
    ] {
        assert!(!recognises(&message(topic, payload)), "{topic}");
    }
}

#[test]
fn meters_with_three_phases() {
    // The exposes of herdsman-converters: `energy_produced`, `power_apparent_phase_b`, `power_reactive_phase_c` in VAR.
    shows(
        "zigbee2mqtt/meter",
        br#"{"current_neutral":0.2,"current_phase_b":1.5,"energy_produced":4,"power_apparent_phase_b":300,
            "power_factor_phase_b":0.98,"power_reactive_phase_c":12,"voltage_phase_c":231}"#,
        &[
            "meter current_neutral=0.2 A",
            "meter current_phase_b=1.5 A",
            "meter energy_returned=4 kWh (energy_produced)",
            "meter apparent_power_phase_b=300 VA (power_apparent_phase_b)",
            "meter power_factor_phase_b=0.98",
            "meter reactive_power_phase_c=12 var (power_reactive_phase_c)",
            "meter voltage_phase_c=231 V",
        ],
    );
    shows(
        "zigbee2mqtt/knob",
        br#"{"action":"hold","action_duration":1.2}"#,
        &["knob action_duration=1.2 s", "knob action: hold"],
    );
}
