use super::*;
use crate::codec::payload::shown::{lines, message};

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/fixtures/payloads/esphome/", $name))
    };
}

/// What was decoded; where it holds no dead letter, `auto` must take it for this format.
#[track_caller]
fn shows(topic: &str, payload: &[u8], expected: &[&str]) {
    let message = message(topic, payload);
    let decoded = decode(&message);
    assert_eq!(lines(&decoded), expected, "{topic}");
    if decoded.dead.is_empty() {
        assert!(recognises(&message), "{topic}");
    }
}

#[test]
fn the_lists_are_sorted() {
    assert!(ALIASES.is_sorted_by(|a, b| a.0 < b.0));
}

#[test]
fn fixtures() {
    shows(
        "livingroom/sensor/livingroom_temperature/state",
        fixture!("01-number.txt"),
        &["livingroom temperature=21.4 degC (livingroom_temperature)"],
    );
    shows(
        "apollo-mtr-1-livingroom/binary_sensor/ld2450_moving_target/state",
        fixture!("02-binary.txt"),
        &["apollo-mtr-1-livingroom ld2450_moving_target=1"],
    );
    shows("livingroom/sensor/outdoor_bme280_pressure/state", fixture!("04-nan.txt"), &[]);
}

#[test]
fn units_are_those_of_the_last_words() {
    for (object, payload, expected) in [
        ("outdoor_bme280_pressure", "1013.2", "n outdoor_bme280_pressure=1013.2 hPa"),
        ("wifi_signal", "-61", "n rssi=-61 dBm (wifi_signal)"),
        ("n_wifi_signal", "-61", "n rssi=-61 dBm (n_wifi_signal)"),
        ("wifi_signal_percent", "78", "n wifi_signal_percent=78 %"),
        ("uptime", "3600", "n uptime=3600 s"),
        ("pm_2_5", "7", "n pm2_5=7 ug/m3 (pm_2_5)"),
        ("co2", "612", "n co2=612 ppm"),
        ("battery_level", "97", "n battery=97 % (battery_level)"),
        ("plug_power", "3.4", "n plug_power=3.4 W"),
        ("energy", "1200", "n energy=1200"),
        ("total_daily_energy", "1.2", "n total_daily_energy=1.2"),
        ("energy_wh", "1200", "n energy=1.2 kWh (energy_wh)"),
        ("moving_distance", "180", "n moving_distance=180"),
        ("voc_index", "101", "n voc_index=101"),
        ("temperature_2", "-3.25", "n temperature_2=-3.25 degC"),
    ] {
        shows(&format!("n/sensor/{object}/state"), payload.as_bytes(), &[expected]);
    }
}

#[test]
fn prefixes_have_levels_and_the_nodes_name_is_not_said_twice() {
    for (topic, expected) in [
        ("home/esp/kitchen/sensor/kitchen_humidity/state", "home/esp/kitchen humidity=40 % (kitchen_humidity)"),
        ("living-room/sensor/living_room_humidity/state", "living-room humidity=40 % (living_room_humidity)"),
        ("sensor/sensor/humidity/state", "sensor humidity=40 %"),
        ("kitchen/sensor/kitchen/state", "kitchen kitchen=40"),
        ("kitchen/sensor/kitchens_humidity/state", "kitchen kitchens_humidity=40 %"),
    ] {
        shows(topic, b"40", &[expected]);
    }
    let named = Message { node: Some("bath"), ..message("esp/bath/sensor/bath_humidity/state", b"40.5") };
    assert_eq!(lines(&decode(&named)), ["bath humidity=40.5 % (bath_humidity)"]);
}

#[test]
fn every_component_has_its_states() {
    for (topic, payload, expected) in [
        ("n/switch/relay/state", "OFF", "n relay=0"),
        ("n/binary_sensor/door/state", "ON", "n door=1"),
        ("n/sensor/ip/state", "192.168.1.4", "n ip: 192.168.1.4"),
        ("n/number/target_temperature/state", "21.0", "n target_temperature=21 degC"),
        ("n/select/mode/state", "Eco", "n mode: Eco"),
        ("n/lock/door/state", "LOCKED", "n door=1"),
        ("n/lock/door/state", "UNLOCKED", "n door=0"),
        ("n/lock/door/state", "JAMMED", "n door: JAMMED"),
        ("n/cover/blind/state", "closed", "n blind=0"),
        ("n/cover/blind/state", "opening", "n blind: opening"),
        ("n/cover/blind/position/state", "40", "n blind.position=40 %"),
        ("n/cover/blind/tilt/state", "0", "n blind.tilt=0 %"),
        ("n/valve/main/state", "open", "n main=1"),
        ("n/fan/ceiling/state", "ON", "n ceiling=1"),
        ("n/fan/ceiling/speed_level/state", "3", "n ceiling.speed_level=3"),
        ("n/fan/ceiling/oscillation/state", "oscillate_off", "n ceiling.oscillation=0"),
        ("n/fan/ceiling/direction/state", "reverse", "n ceiling.direction: reverse"),
        ("n/climate/heater/current_temperature/state", "19.4", "n heater.current_temperature=19.4 degC"),
        ("n/climate/heater/target_temperature_low/state", "18", "n heater.target_temperature_low=18 degC"),
        ("n/climate/heater/current_humidity/state", "44", "n heater.current_humidity=44 %"),
        ("n/climate/heater/mode/state", "heat", "n heater.mode: heat"),
        ("n/climate/heater/away/state", "OFF", "n heater.away=0"),
        ("n/alarm_control_panel/house/state", "armed_away", "n house: armed_away"),
        ("n/event/doorbell/state", r#"{"event_type":"press"}"#, "n doorbell: press"),
    ] {
        shows(topic, payload.as_bytes(), &[expected]);
    }
    shows(
        "n/light/n_lamp/state",
        br#"{"state":"ON","color_mode":"rgb","brightness":128,"color":{"r":255,"g":0,"b":0},"effect":"none"}"#,
        &["n lamp.brightness=128", "n lamp.color.b=0", "n lamp.color.g=0", "n lamp.color.r=255", "n lamp=1 (n_lamp)"],
    );
}

#[test]
fn the_status_is_the_availability() {
    shows("livingroom/status", b"online", &["livingroom availability: online"]);
    shows("home/esp/kitchen/status", b"offline", &["home/esp/kitchen availability: offline"]);
    shows("livingroom/status", b"up", &["dead malformed: expected `online` or `offline`"]);
}

#[test]
fn what_is_no_telemetry_is_nothing() {
    for (topic, payload) in [
        ("n/switch/relay/command", "ON"),
        ("n/climate/heater/mode/command", "heat"),
        ("n/debug", "\u{1b}[0;36m[D][sensor:094]: 'Temperature': Sending state 21.40000 with 1 decimals\u{1b}[0m"),
        ("n/debug", "[I][app:102]: ESPHome version 2024.6.0"),
        ("esphome/discover/n", r#"{"ip":"192.168.1.4","name":"n"}"#),
        ("n/date/holiday/state", r#"{"year":2024,"month":7,"day":1}"#),
        ("n/text/note/state", "123"),
        ("n/update/firmware/state", r#"{"installed_version":"2024.6.0","latest_version":"2024.7.0"}"#),
        ("n/sensor/t/state", "nan"),
        ("n/sensor/t/state", ""),
    ] {
        shows(topic, payload.as_bytes(), &[]);
    }
    let discovery = message("homeassistant/sensor/n/temperature/config", br#"{"stat_t":"n/sensor/temperature/state"}"#);
    assert!(decode(&discovery).is_empty() && !recognises(&discovery));
}

#[test]
fn a_topic_of_ones_own_is_a_value() {
    let own = message("garden/soil", b"33.5");
    assert_eq!(lines(&decode(&own)), ["garden soil=33.5"]);
    assert!(!recognises(&own));
    let named = Message { node: Some("g"), metric: Some("soil_moisture"), ..own };
    assert_eq!(lines(&decode(&named)), ["g soil_moisture=33.5 %"]);
}

#[test]
fn what_is_no_json_is_told_with_its_place() {
    shows("n/light/l/state", b"ON", &["dead malformed: expected value at line 1 column 1"]);
    shows("n/light/l/state", b"[]", &["dead malformed: byte 0: expected a JSON object"]);
    shows("n/sensor/l/state", b"2\xff", &["dead not-utf8: invalid UTF-8 at byte 1"]);
}

#[test]
fn other_publishers_are_not_taken() {
    for (topic, payload) in [
        ("zigbee2mqtt/bridge/state", &b"online"[..]),
        ("homie/5/kitchen-light/light/power", b"true"),
        ("shellyplus1-b8d61a85a8e0/status/switch:0", b"{}"),
        ("homeassistant/sensor/living_room/state", b"21"),
        ("tele/t/LWT", b"Online"),
        ("home/status", b"1"),
    ] {
        assert!(!recognises(&message(topic, payload)), "{topic}");
    }
}
