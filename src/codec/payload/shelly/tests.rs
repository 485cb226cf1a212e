use super::*;
use crate::codec::payload::shown::{lines, message};

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/fixtures/payloads/shelly/", $name))
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

/// The same for a notification of one component at a fixed time.
#[track_caller]
fn status(component: &str, json: &str, expected: &[&str]) {
    let payload = format!(
        "{{\"src\":\"shellyx-1\",\"method\":\"NotifyStatus\",\"params\":{{\"ts\":1700000000.5,\"{component}\":{json}}}}}"
    );
    let expected: Vec<String> = expected.iter().map(|line| line.replace('@', "@2023-11-14T22:13:20.500Z")).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    shows("d/events/rpc", payload.as_bytes(), &expected);
}

#[test]
fn fixtures() {
    shows(
        "shellyplusht-b8d61a8b17cc/events/rpc",
        fixture!("01-plus-ht-fullstatus.json"),
        &[
            "shellyplusht-b8d61a8b17cc cloud.connected=0 @2023-04-08T14:07:59.620Z",
            "shellyplusht-b8d61a8b17cc battery_voltage=0.43 V @2023-04-08T14:07:59.620Z (devicepower:0.battery.V)",
            "shellyplusht-b8d61a8b17cc battery=0 % @2023-04-08T14:07:59.620Z (devicepower:0.battery.percent)",
            "shellyplusht-b8d61a8b17cc devicepower:0.external.present=1 @2023-04-08T14:07:59.620Z",
            "shellyplusht-b8d61a8b17cc humidity=42.2 % @2023-04-08T14:07:59.620Z (humidity:0.rh)",
            "shellyplusht-b8d61a8b17cc mqtt.connected=1 @2023-04-08T14:07:59.620Z",
            "shellyplusht-b8d61a8b17cc sys.fs_free=118784 @2023-04-08T14:07:59.620Z",
            "shellyplusht-b8d61a8b17cc sys.fs_size=458752 @2023-04-08T14:07:59.620Z",
            "shellyplusht-b8d61a8b17cc sys.ram_free=164244 @2023-04-08T14:07:59.620Z",
            "shellyplusht-b8d61a8b17cc sys.ram_size=235300 @2023-04-08T14:07:59.620Z",
            "shellyplusht-b8d61a8b17cc sys.restart_required=0 @2023-04-08T14:07:59.620Z",
            "shellyplusht-b8d61a8b17cc uptime=3 s @2023-04-08T14:07:59.620Z (sys.uptime)",
            "shellyplusht-b8d61a8b17cc sys.wakeup_period=600 @2023-04-08T14:07:59.620Z",
            "shellyplusht-b8d61a8b17cc temperature=19.8 degC @2023-04-08T14:07:59.620Z (temperature:0.tC)",
            "shellyplusht-b8d61a8b17cc rssi=-60 dBm @2023-04-08T14:07:59.620Z (wifi.rssi)",
        ],
    );
    // Only what has changed: nothing is said of power.
    shows(
        "shelly1minig3-54320464a1d0/events/rpc",
        fixture!("02-notifystatus-switch.json"),
        &["shelly1minig3-54320464a1d0 output=0 @2025-01-11T13:56:50.490Z (switch:0.output)"],
    );
    shows(
        "aiida/1/events/rpc",
        fixture!("04-plugsg3.json"),
        &[
            "aiida/1 energy=2.067124 kWh @2026-03-13T16:44:45Z (switch:0.aenergy.total)",
            "aiida/1 power=73.2 W @2026-03-13T16:44:45Z (switch:0.apower)",
            "aiida/1 current=0.372 A @2026-03-13T16:44:45Z (switch:0.current)",
            "aiida/1 energy_returned=0 kWh @2026-03-13T16:44:45Z (switch:0.ret_aenergy.total)",
            "aiida/1 voltage=235 V @2026-03-13T16:44:45Z (switch:0.voltage)",
        ],
    );
    // `n_current` is null.
    shows(
        "shellypro3em-ec6260890b50/status/em:0",
        fixture!("05-pro3em-status-em0.json"),
        &[
            "shellypro3em-ec6260890b50 power_a=342.8 W (em:0.a_act_power)",
            "shellypro3em-ec6260890b50 apparent_power_a=457.5 VA (em:0.a_aprt_power)",
            "shellypro3em-ec6260890b50 current_a=3.761 A (em:0.a_current)",
            "shellypro3em-ec6260890b50 power_factor_a=-0.8 (em:0.a_pf)",
            "shellypro3em-ec6260890b50 voltage_a=121.7 V (em:0.a_voltage)",
            "shellypro3em-ec6260890b50 power_b=957.3 W (em:0.b_act_power)",
            "shellypro3em-ec6260890b50 apparent_power_b=980.7 VA (em:0.b_aprt_power)",
            "shellypro3em-ec6260890b50 current_b=8.109 A (em:0.b_current)",
            "shellypro3em-ec6260890b50 power_factor_b=-0.98 (em:0.b_pf)",
            "shellypro3em-ec6260890b50 voltage_b=121 V (em:0.b_voltage)",
            "shellypro3em-ec6260890b50 power_c=0.2 W (em:0.c_act_power)",
            "shellypro3em-ec6260890b50 apparent_power_c=3.1 VA (em:0.c_aprt_power)",
            "shellypro3em-ec6260890b50 current_c=0.025 A (em:0.c_current)",
            "shellypro3em-ec6260890b50 power_factor_c=-1 (em:0.c_pf)",
            "shellypro3em-ec6260890b50 voltage_c=121.7 V (em:0.c_voltage)",
            "shellypro3em-ec6260890b50 power=1300.252 W (em:0.total_act_power)",
            "shellypro3em-ec6260890b50 apparent_power=1441.226 VA (em:0.total_aprt_power)",
            "shellypro3em-ec6260890b50 current=11.896 A (em:0.total_current)",
        ],
    );
    shows(
        "shellyplus1-b8d61a85a8e0/online",
        fixture!("07-online.txt"),
        &["shellyplus1-b8d61a85a8e0 availability: online"],
    );
}

#[test]
fn components_with_a_number_have_it_behind_the_name() {
    status(
        "switch:1",
        r#"{"id":1,"source":"init","output":true,"apower":8.9,"pf":0.6,"freq":50,
            "aenergy":{"total":6532,"by_minute":[45.2,47.1,88.3],"minute_ts":1626935779},"temperature":{"tC":23.5,"tF":74.4},
            "timer_started_at":1626935739.79,"timer_duration":60}"#,
        &[
            "d energy_1=6.532 kWh @ (switch:1.aenergy.total)",
            "d power_1=8.9 W @ (switch:1.apower)",
            "d frequency_1=50 Hz @ (switch:1.freq)",
            "d output_1=1 @ (switch:1.output)",
            "d power_factor_1=0.6 @ (switch:1.pf)",
            "d device_temperature_1=23.5 degC @ (switch:1.temperature.tC)",
        ],
    );
    status(
        "temperature:100",
        r#"{"id":100,"tC":null,"tF":null,"errors":["out_of_range"]}"#,
        &["d temperature:100.errors: out_of_range @"],
    );
    status(
        "temperature:101",
        r#"{"id":101,"tC":-3.5,"tF":25.7}"#,
        &["d temperature_101=-3.5 degC @ (temperature:101.tC)"],
    );
    status("voltmeter:100", r#"{"id":100,"voltage":4.321}"#, &["d voltage_100=4.321 V @ (voltmeter:100.voltage)"]);
}

#[test]
fn meters_count_in_watt_hours() {
    status(
        "emdata:0",
        r#"{"id":0,"a_total_act_energy":1000.5,"a_total_act_ret_energy":0,"total_act":2000,"total_act_ret":10}"#,
        &[
            "d energy_a=1.0005 kWh @ (emdata:0.a_total_act_energy)",
            "d energy_returned_a=0 kWh @ (emdata:0.a_total_act_ret_energy)",
            "d energy=2 kWh @ (emdata:0.total_act)",
            "d energy_returned=0.01 kWh @ (emdata:0.total_act_ret)",
        ],
    );
    status(
        "em1data:1",
        r#"{"id":1,"total_act_energy":1500,"total_act_ret_energy":5}"#,
        &[
            "d energy_1=1.5 kWh @ (em1data:1.total_act_energy)",
            "d energy_returned_1=0.005 kWh @ (em1data:1.total_act_ret_energy)",
        ],
    );
    status(
        "em1:0",
        r#"{"id":0,"current":2.598,"voltage":234.9,"act_power":501.8,"aprt_power":612.4,"pf":0.84,"freq":50,"calibration":"factory"}"#,
        &[
            "d power=501.8 W @ (em1:0.act_power)",
            "d apparent_power=612.4 VA @ (em1:0.aprt_power)",
            "d current=2.598 A @ (em1:0.current)",
            "d frequency=50 Hz @ (em1:0.freq)",
            "d power_factor=0.84 @ (em1:0.pf)",
            "d voltage=234.9 V @ (em1:0.voltage)",
            "d em1:0.calibration: factory @",
        ],
    );
}

#[test]
fn other_components_keep_their_own_names() {
    status(
        "cover:0",
        r#"{"id":0,"state":"closed","current_pos":0,"pos_control":true,"last_direction":"close"}"#,
        &[
            "d cover:0.current_pos=0 % @",
            "d cover:0.pos_control=1 @",
            "d cover:0.state=0 @",
            "d cover:0.last_direction: close @",
        ],
    );
    status("cover:0", r#"{"id":0,"state":"opening"}"#, &["d cover:0.state: opening @"]);
    status("input:2", r#"{"id":2,"state":null}"#, &[]);
    status(
        "input:2",
        r#"{"id":2,"state":true,"counts":{"total":7,"by_minute":[0,0,0]}}"#,
        &["d input:2.counts.total=7 @", "d input:2.state=1 @"],
    );
    status(
        "light:0",
        r#"{"id":0,"output":true,"brightness":40}"#,
        &["d light:0.brightness=40 % @", "d output=1 @ (light:0.output)"],
    );
    status("smoke:0", r#"{"id":0,"alarm":true,"mute":false}"#, &["d smoke:0.alarm=1 @", "d smoke:0.mute=0 @"]);
    status(
        "flood:0",
        r#"{"id":0,"alarm":false,"errors":["cable_unplugged"]}"#,
        &["d flood:0.alarm=0 @", "d flood:0.errors: cable_unplugged @"],
    );
    status(
        "illuminance:0",
        r#"{"id":0,"lux":127,"illumination":"dim"}"#,
        &["d illuminance=127 lx @ (illuminance:0.lux)", "d illuminance:0.illumination: dim @"],
    );
    status(
        "wifi",
        r#"{"sta_ip":"192.168.1.4","status":"got ip","ssid":"1234","rssi":-71}"#,
        &["d rssi=-71 dBm @ (wifi.rssi)"],
    );
}

#[test]
fn devices_behind_a_gateway_are_nodes_with_their_own_time() {
    shows(
        "gw/events/rpc",
        br#"{"src":"shellyblugwg3-1","method":"NotifyStatus","params":{"ts":1700000200,
            "bthomedevice:200":{"id":200,"rssi":-61,"battery":98,"packet_id":34,"last_updated_ts":1700000100},
            "bthomesensor:201":{"id":201,"value":21.5,"last_updated_ts":1700000100},
            "blutrv:202":{"id":202,"target_C":21,"current_C":19.5,"pos":35,"rssi":-70,"battery":60,"packet_id":5,
                          "last_updated_ts":null,"paired":true,"errors":["low_battery"]}}}"#,
        &[
            "gw/blutrv:202 battery=60 % @2023-11-14T22:16:40Z (blutrv:202.battery)",
            "gw/blutrv:202 temperature=19.5 degC @2023-11-14T22:16:40Z (blutrv:202.current_C)",
            "gw/blutrv:202 blutrv:202.paired=1 @2023-11-14T22:16:40Z",
            "gw/blutrv:202 blutrv:202.pos=35 % @2023-11-14T22:16:40Z",
            "gw/blutrv:202 rssi=-70 dBm @2023-11-14T22:16:40Z (blutrv:202.rssi)",
            "gw/blutrv:202 target_temperature=21 degC @2023-11-14T22:16:40Z (blutrv:202.target_C)",
            "gw/bthomedevice:200 battery=98 % @2023-11-14T22:15:00Z (bthomedevice:200.battery)",
            "gw/bthomedevice:200 rssi=-61 dBm @2023-11-14T22:15:00Z (bthomedevice:200.rssi)",
            "gw bthomesensor:201.value=21.5 @2023-11-14T22:15:00Z",
            "gw/blutrv:202 blutrv:202.errors: low_battery @2023-11-14T22:16:40Z",
        ],
    );
}

#[test]
fn events_have_the_kind_of_their_component() {
    shows(
        "shellyplusi4-1/events/rpc",
        br#"{"src":"shellyplusi4-1","dst":"shellyplusi4-1/events","method":"NotifyEvent","params":{"ts":1700000000.5,
            "events":[{"component":"input:0","id":0,"event":"single_push","ts":1700000000.25},
                      {"component":"bthomedevice:200","id":200,"event":"long_push","idx":2},
                      {"component":"sys","event":"config_changed","cfg_rev":11},
                      {"component":"em1data:0","id":0,"event":"data","data":{"ts":1700000000,"period":60,"values":[[1,2]]}}]}}"#,
        &[
            "shellyplusi4-1 input:0: single_push @2023-11-14T22:13:20.250Z",
            "shellyplusi4-1/bthomedevice:200 bthomedevice:200.2: long_push @2023-11-14T22:13:20.500Z",
        ],
    );
    shows(
        "gw/events/rpc",
        br#"{"src":"shellyblugwg3-1","method":"NotifyEvent","params":{"ts":1700000000,"events":[{"component":"script:1","id":1,
            "event":"shelly-blu","ts":1700000000,"data":{"encryption":false,"BTHome_version":2,"pid":118,"battery":100,"button":1,
            "temperature":[20.5,21],"window":0,"rssi":-76,"address":"60:ef:ab:42:fe:6c"}}]}}"#,
        &[
            "60:ef:ab:42:fe:6c battery=100 % @2023-11-14T22:13:20Z",
            "60:ef:ab:42:fe:6c rssi=-76 dBm @2023-11-14T22:13:20Z",
            "60:ef:ab:42:fe:6c temperature_0=20.5 degC @2023-11-14T22:13:20Z (temperature.0)",
            "60:ef:ab:42:fe:6c temperature_1=21 degC @2023-11-14T22:13:20Z (temperature.1)",
            "60:ef:ab:42:fe:6c window=0 @2023-11-14T22:13:20Z",
            "60:ef:ab:42:fe:6c button: 1 @2023-11-14T22:13:20Z",
        ],
    );
}

#[test]
fn a_clock_that_is_not_set_gives_no_time() {
    for ts in ["null", "0"] {
        let payload = format!(
            r#"{{"src":"shellyx","method":"NotifyStatus","params":{{"ts":{ts},"temperature:0":{{"id":0,"tC":20.5,"tF":68.9}}}}}}"#
        );
        shows("shellyx/events/rpc", payload.as_bytes(), &["shellyx temperature=20.5 degC (temperature:0.tC)"]);
    }
}

#[test]
fn answers_are_those_of_their_sender() {
    shows(
        "gadwall/rpc",
        br#"{"id":1,"src":"shellyplus1pm-1","dst":"gadwall","result":{"id":0,"source":"MQTT","output":true,"apower":12.5}}"#,
        &["shellyplus1pm-1 power=12.5 W (switch:0.apower)", "shellyplus1pm-1 output=1 (switch:0.output)"],
    );
    shows(
        "gadwall/rpc",
        br#"{"id":1,"src":"shellyplusht-1","dst":"gadwall","result":{"humidity:0":{"id":0,"rh":50},"sys":{"unixtime":1700000000,"uptime":9}}}"#,
        &[
            "shellyplusht-1 humidity=50 % @2023-11-14T22:13:20Z (humidity:0.rh)",
            "shellyplusht-1 uptime=9 s @2023-11-14T22:13:20Z (sys.uptime)",
        ],
    );
    for nothing in [
        r#"{"id":1,"src":"shellyplus1-1","dst":"gadwall","result":{"was_on":false}}"#,
        r#"{"id":1,"src":"shellyplus1-1","dst":"g","result":{"sys":{"device":{"name":"x"}},"switch:0":{"id":0,"auto_off_delay":60}}}"#,
        r#"{"id":1,"src":"shellyplus1-1","dst":"gadwall","error":{"code":-105,"message":"not found"}}"#,
    ] {
        shows("gadwall/rpc", nothing.as_bytes(), &[]);
    }
    let request = message("shellyplus1-1/rpc", br#"{"id":1,"src":"gadwall","method":"Shelly.GetStatus"}"#);
    assert!(decode(&request).is_empty());
}

#[test]
fn prefixes_are_whatever_was_configured() {
    shows(
        "shellies/shellyplus1pm-1/status/switch:0",
        br#"{"id":0,"output":true,"apower":3}"#,
        &[
            "shellies/shellyplus1pm-1 power=3 W (switch:0.apower)",
            "shellies/shellyplus1pm-1 output=1 (switch:0.output)",
        ],
    );
    let named =
        Message { node: Some("boiler"), ..message("home/boiler/status/switch:0", br#"{"id":0,"output":false}"#) };
    assert_eq!(lines(&decode(&named)), ["boiler output=0 (switch:0.output)"]);
    shows("home/boiler/online", b"false", &["home/boiler availability: offline"]);
    shows("home/boiler/online", b"maybe", &["dead malformed: expected `true` or `false`"]);
}

#[test]
fn the_first_generation_speaks_bare_text() {
    for (rest, payload, expected) in [
        ("relay/0", "on", "s relay/0=1"),
        ("relay/0", "overpower", "s relay/0: overpower"),
        ("relay/0/power", "34.5", "s power=34.5 W (relay/0/power)"),
        ("relay/1/energy", "60000", "s energy_1=1 kWh (relay/1/energy)"),
        ("emeter/0/total", "1500.5", "s energy=1.5005 kWh (emeter/0/total)"),
        ("emeter/1/voltage", "231.1", "s voltage_1=231.1 V (emeter/1/voltage)"),
        ("temperature", "41.2", "s device_temperature=41.2 degC (temperature)"),
        ("sensor/temperature", "20.1", "s temperature=20.1 degC (sensor/temperature)"),
        ("sensor/state", "open", "s sensor/state=1"),
        ("input/0", "1", "s input/0=1"),
        ("ext_temperature/0", "3.4", "s ext_temperature/0=3.4 degC"),
        ("online", "true", "s availability: online"),
        ("input_event/0", r#"{"event":"S","event_cnt":4}"#, "s input_event/0: S"),
    ] {
        shows(&format!("shellies/s/{rest}"), payload.as_bytes(), &[expected]);
    }
    for (topic, payload) in [
        ("shellies/announce", r#"{"id":"shelly1-1","model":"SHSW-1"}"#),
        ("shellies/s/info", r#"{"wifi_sta":{"rssi":-60},"uptime":7}"#),
        ("shellies/s/relay/0/command", "on"),
        ("shellies/s/temperature_f", "106.2"),
    ] {
        shows(topic, payload.as_bytes(), &[]);
    }
}

#[test]
fn what_is_no_json_is_told_with_its_place() {
    shows("d/status/switch:0", b"{\"id\":0", &["dead malformed: EOF while parsing an object at line 1 column 7"]);
    shows("d/status/switch:0", b"true", &["dead malformed: byte 0: expected a JSON object"]);
    let expected =
        "dead no-reading: expected a topic that ends in `/events/rpc`, `/status/<component>`, `/online` or `/rpc`";
    shows("d/elsewhere", b"{}", &[expected]);
}

#[test]
fn other_publishers_are_not_taken() {
    for (topic, payload) in [
        ("zigbee2mqtt/bridge/state", &b"online"[..]),
        ("livingroom/status", b"online"),
        ("tele/t/STATE", b"{}"),
        ("sensors/dev1", b"{}"),
        ("home/status/wifi", b"{}"),
    ] {
        assert!(!recognises(&message(topic, payload)), "{topic}");
    }
}
