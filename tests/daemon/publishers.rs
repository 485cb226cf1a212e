//! What publishers really send, recognised by `auto`, and the commands that show what is made of it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::thread;

use serde_json::{Value, json};

use crate::harness::{Broker, Client, DEADLINE, Daemon, Stored, gadwall, now_micros, wait_for};

/// Times without a zone are those of Berlin.
const CONFIG: &str = "[store]\nflush-interval = \"200ms\"\n[clock]\ntimezone = \"Europe/Berlin\"\n";

/// A captured message.
struct Fixture {
    /// `tasmota/02-energy`
    name: String,
    topic: String,
    payload: Vec<u8>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/payloads")
}

/// Every fixture, by name.
fn fixtures() -> BTreeMap<String, Fixture> {
    let mut found = BTreeMap::new();
    let publishers = std::fs::read_dir(root()).expect("the fixtures").map(|e| e.expect("an entry").path());
    for folder in publishers.filter(|p| p.is_dir()) {
        let publisher = folder.file_name().and_then(|n| n.to_str()).expect("UTF-8").to_owned();
        for entry in std::fs::read_dir(&folder).expect("a publisher's folder") {
            let path = entry.expect("an entry").path();
            let extension = path.extension().and_then(|e| e.to_str()).expect("an extension");
            if matches!(extension, "topic" | "tsv") {
                continue;
            }
            let name = format!("{publisher}/{}", path.file_stem().and_then(|n| n.to_str()).expect("UTF-8"));
            let topic = std::fs::read_to_string(path.with_extension("topic")).expect("a topic");
            let payload = std::fs::read(&path).expect("a payload");
            let fixture = Fixture { name: name.clone(), topic: topic.trim_end().to_owned(), payload };
            assert!(found.insert(name, fixture).is_none(), "two payloads of one name: {}", path.display());
        }
    }
    found
}

/// What has to be stored: `= NODE | TIME`, and below it `METRIC | VALUE | UNIT | OWN NAME`. Without a time it is the arrival.
const READINGS: &str = "\
= 0x00158d0001234567
temperature | 27.34 | degC
humidity | 44.72 | %
= 0x00158d000202c411
occupancy | 1
= btn1
battery | 100 | %
linkquality | 212
voltage | 3 | V
= 0x84fd27fffe9f718e
linkquality | 54
state | 0
= tasmota | 2019-11-03T18:34:28Z
temperature | 21.7 | degC | BME280.Temperature
humidity | 66.6 | % | BME280.Humidity
pressure | 988.6 | hPa | BME280.Pressure
= pow1 | 2018-02-15T16:37:10Z
energy | 6.294 | kWh | ENERGY.Total
energy_yesterday | 5.34 | kWh | ENERGY.Yesterday
energy_today | 0.954 | kWh | ENERGY.Today
energy_period | 0.217 | kWh | ENERGY.Period
power | 2635 | W | ENERGY.Power
apparent_power | 2650 | VA | ENERGY.ApparentPower
reactive_power | 282 | var | ENERGY.ReactivePower
power_factor | 0.99 || ENERGY.Factor
voltage | 227 | V | ENERGY.Voltage
current | 11.661 | A | ENERGY.Current
= tasmota | 2019-10-31T10:14:59Z
Heap | 28
LoadAvg | 19
MqttCount | 6
POWER | 0
Sleep | 50
uptime | 66972 | s | UptimeSec
Vcc | 3.423 | V
Wifi.Downtime | 6 | s
Wifi.LinkCount | 1
Wifi.RSSI | 100 | %
= LYWSD03-52680f | 2020-03-24T11:47:51Z
temperature | 21.1 | degC | Temperature
humidity | 58 | % | Humidity
dew_point | 12.5 | degC | DewPoint
battery | 100 | % | Battery
= LYWSD02-a2fd09 | 2020-03-24T11:47:51Z
temperature | 21.4 | degC | Temperature
humidity | 57 | % | Humidity
dew_point | 12.5 | degC | DewPoint
battery | 2 | % | Battery
= MJ_HT_V1-d8799d | 2020-03-24T11:47:51Z
temperature | 21.4 | degC | Temperature
humidity | 54.6 | % | Humidity
dew_point | 11.9 | degC | DewPoint
= tasmota | 2023-05-28T18:04:27Z
co2 | 618 | ppm | SCD40.CarbonDioxide
eco2 | 623 | ppm | SCD40.eCO2
temperature | 23.8 | degC | SCD40.Temperature
humidity | 61.1 | % | SCD40.Humidity
dew_point | 15.8 | degC | SCD40.DewPoint
= livingroom
temperature | 21.4 | degC | livingroom_temperature
= apollo-mtr-1-livingroom
ld2450_moving_target | 1
= shellyplusht-b8d61a8b17cc | 2023-04-08T14:07:59.620Z
cloud.connected | 0
battery_voltage | 0.43 | V | devicepower:0.battery.V
battery | 0 | % | devicepower:0.battery.percent
devicepower:0.external.present | 1
humidity | 42.2 | % | humidity:0.rh
mqtt.connected | 1
sys.fs_free | 118784
sys.fs_size | 458752
sys.ram_free | 164244
sys.ram_size | 235300
sys.restart_required | 0
uptime | 3 | s | sys.uptime
sys.wakeup_period | 600
temperature | 19.8 | degC | temperature:0.tC
rssi | -60 | dBm | wifi.rssi
= shelly1minig3-54320464a1d0 | 2025-01-11T13:56:50.490Z
output | 0 || switch:0.output
= aiida/1 | 2026-03-13T16:44:45Z
power | 73.2 | W | switch:0.apower
voltage | 235 | V | switch:0.voltage
current | 0.372 | A | switch:0.current
energy | 2.067124 | kWh | switch:0.aenergy.total
energy_returned | 0 | kWh | switch:0.ret_aenergy.total
= shellypro3em-ec6260890b50
current_a | 3.761 | A | em:0.a_current
voltage_a | 121.7 | V | em:0.a_voltage
power_a | 342.8 | W | em:0.a_act_power
apparent_power_a | 457.5 | VA | em:0.a_aprt_power
power_factor_a | -0.8 || em:0.a_pf
current_b | 8.109 | A | em:0.b_current
voltage_b | 121 | V | em:0.b_voltage
power_b | 957.3 | W | em:0.b_act_power
apparent_power_b | 980.7 | VA | em:0.b_aprt_power
power_factor_b | -0.98 || em:0.b_pf
current_c | 0.025 | A | em:0.c_current
voltage_c | 121.7 | V | em:0.c_voltage
power_c | 0.2 | W | em:0.c_act_power
apparent_power_c | 3.1 | VA | em:0.c_aprt_power
power_factor_c | -1 || em:0.c_pf
current | 11.896 | A | em:0.total_current
power | 1300.252 | W | em:0.total_act_power
apparent_power | 1441.226 | VA | em:0.total_aprt_power
= Acurite-5n1/A/839
battery_ok | 1
wind_speed | 1.1975 | m/s | wind_avg_km_h
wind_direction | 337.5 | deg | wind_dir_deg
precipitation | 16.764 | mm | rain_in
= AmbientWeather-WH31E/1/208
battery_ok | 1
temperature | 31.8 | degC | temperature_C
humidity | 50 | %
= Nexus-TH/2/42 | 2019-08-29T06:38:19Z
battery_ok | 1
temperature | 20.5 | degC | temperature_C
humidity | 83 | %
= Acurite-Tower/A/10327 | 2023-07-15T18:11:41Z
battery_ok | 1
temperature | 26.5 | degC | temperature_C
humidity | 72 | %
rssi | -0.101 | dB
snr | 21.039 | dB
noise_floor | -21.14 | dB | noise
= Acurite-Atlas/A/924
battery_ok | 1
wind_speed | 0 | m/s | wind_avg_mi_h
temperature | 21.7222222222 | degC | temperature_F
humidity | 55 | %
strike_count | 0
strike_distance | 31
= 4C:33:A6:60:3C:79
humidity | 52.6 | % | hum
temperature | 19.2 | degC | tempc
= 0x28616411907650bc
temperature | 27.8 | degC | temp
= 45:E1:74:12:6E:00
rssi | -89 | dBm
distance | 21.51847 | m
= 1de4b189115e45f6b44e509352269977
rssi | -79 | dBm
tx_power | -66 | dBm | txpower
= F3:52:85
rssi | -82 | dBm
temperature | 24.1 | degC | tempc
humidity | 104.7 | % | hum
dew_point | 24.8 | degC | dp
voltage | 2.56 | V | volt
= 11:22:33:44:55:66
rssi | -42 | dBm
distance | 0.03341741003670675 | m
unlocked | 0
= dev1 | 2019-01-29T13:02:34.981Z
rssi | -35 | dBm
snr | 5 | dB
= lht65-4c84 | 2021-11-11T08:33:34.909192Z
battery_voltage | 3.103 | V | BatV
Bat_status | 3
humidity_SHT | 67.6 | % | Hum_SHT
temperature_DS | 13.18 | degC | TempC_DS
temperature_SHT | 14.65 | degC | TempC_SHT
rssi | -60 | dBm
snr | 8.5 | dB
= portenta-h7-icicle-00/simulated | 2024-03-22T17:55:05.070404Z
detected | 1
rssi | 42 | dBm
snr | 4.2 | dB
= super-car/engine
temperature | 21.5 | degC
= kitchen-light/light
power | 1
brightness | 20
= urn:dev:ow:10e2073a01080063
temperature | 23.1 | degC
voltage | 120.1 | V
current | 1.2 | A
= urn:dev:ow:10e2073a0108006
voltage | 120.1 | V
current | 1.2 | A
current | 1.3 | A
current | 1.4 | A
= us-midwest | 2016-06-13T17:43:50.100400Z
temperature | 82 | degC
humidity | 71 | %
= Name#15/Name#7/0123456789ABCDEF | 2024-12-22T15:12:09Z
huebridge_motion_sensor.motion | 0 || motion
= robot/San Francisco/114h
pressure | 1027 | hPa
temperature | 10.09 | degC
weather.wind_degrees | 34 | deg | wind_degrees
= F4:1F:0C:28:CB:D6 | 2022-05-27T16:13:47Z
temperature | 27.75 | degC
humidity | 48.9125 | %
pressure | 1009.03 | hPa
acceleration_x | 0.012 | g | accelX
acceleration_y | -0.008 | g | accelY
acceleration_z | 1.012 | g | accelZ
battery_voltage | 2.989 | V | voltage
tx_power | 4 | dBm | txPower
movement_counter | 173 || movementCounter
rssi | -26 | dBm
= F4:1F:0C:28:CB:D6
temperature | 28.66 | degC
humidity | 54.9325 | %
pressure | 1009.1 | hPa
acceleration_x | 0.008 | g | accelX
acceleration_y | -0.012 | g | accelY
acceleration_z | 1.008 | g | accelZ
battery_voltage | 2.995 | V | voltage
tx_power | 4 | dBm | txPower
movement_counter | 15 || movementCounter
rssi | -25 | dBm
= Sparkplug B Devices/Raspberry Pi | 2017-02-03T17:55:02.122Z
Supply Voltage | 12.1
= garden/t1
temperature | 21.5 | degC
= t7 | 2025-10-09T08:53:00Z
temperature | 19.5 | degC | temperature [degC]
pressure | 1013 | hPa | pressure_pa
= boards/b1 | 2025-10-09T08:53:20Z
env.humidity | 40 | % | env.rh
= loggers/b
temperature | 19.5 | degC
temperature | 20.5 | degC
= plain/j | 2025-10-09T08:53:20Z
bme280.temperature | 7.5 | degC | bme280.temp
door | 1
= plain/j | 2025-10-09T08:54:20Z
bme280.temperature | 8.5 | degC | bme280.temp
door | 0
";

/// Messages of the formats that have no publisher of their own, and an announcement, which holds none.
const PLAIN: [(&str, &[u8]); 8] = [
    ("homeassistant/switch/plug/config", br#"{"stat_t":"stat/plug/POWER","uniq_id":"plug","qos":1,"exp_aft":120}"#),
    ("garden/t1/temperature", b"21.5"),
    ("loggers/a", b"time;node;temperature [degC];pressure_pa\n9.10.2025 10:53;t7;19,5;101300\n"),
    ("boards/b1", b"\x82\xa2ts\xd6\xff\x68\xe7\x78\x00\xa3env\x81\xa2rh\x28"),
    // Rows without a time are all kept.
    ("loggers/b", b"temperature;humidity\n19,5;\n20,5;\n"),
    ("plain/j", br#"{"ts":1760000000,"bme280":{"temp":"7.5"},"door":"ON","mode":"eco","co2":null,"fw":"1.2.3"}"#),
    (
        "plain/j",
        br#"{"ts":"2025-10-09T08:54:20Z","bme280":{"temp":8.5},"door":"OFF","mode":"eco","co2":"unavailable"}"#,
    ),
    ("plain/j/status", br#"{"state":"online"}"#),
];

/// The format of each topic.
const FORMATS: &[(&str, &str)] = &[
    ("zigbee2mqtt/0x00158d0001234567", "zigbee2mqtt"),
    ("zigbee2mqtt/0x00158d000202c411", "zigbee2mqtt"),
    ("zigbee2mqtt/btn1", "zigbee2mqtt"),
    ("zigbee2mqtt/0x84fd27fffe9f718e", "zigbee2mqtt"),
    ("zigbee2mqtt/bridge/state", "zigbee2mqtt"),
    ("tele/tasmota/SENSOR", "tasmota"),
    ("tele/pow1/SENSOR", "tasmota"),
    ("tele/tasmota/STATE", "tasmota"),
    ("tele/demo-sensor/LWT", "tasmota"),
    ("livingroom/sensor/livingroom_temperature/state", "esphome"),
    ("apollo-mtr-1-livingroom/binary_sensor/ld2450_moving_target/state", "esphome"),
    ("livingroom/sensor/outdoor_bme280_pressure/state", "esphome"),
    ("shellyplusht-b8d61a8b17cc/events/rpc", "shelly"),
    ("shelly1minig3-54320464a1d0/events/rpc", "shelly"),
    ("aiida/1/events/rpc", "shelly"),
    ("shellypro3em-ec6260890b50/status/em:0", "shelly"),
    ("shellyplus1-b8d61a85a8e0/online", "shelly"),
    ("rtl_433/raspi/events", "rtl_433"),
    ("rtl_433/raspi.fritz.box/events", "rtl_433"),
    ("home/OpenMQTTGateway/BTtoMQTT/4C33A6603C79", "theengs"),
    ("home/OpenMQTTGateway/CLIMAtoMQTT/ds1820/0x28616411907650bc", "theengs"),
    ("home/OpenMQTTGateway/BTtoMQTT/45E174126E00", "theengs"),
    ("home/OpenMQTTGateway/BTtoMQTT/58782076BC24", "theengs"),
    ("home/TheengsGateway/BTtoMQTT/F35285", "theengs"),
    ("home/TheengsGateway/BTtoMQTT/112233445566", "theengs"),
    ("v3/app1@tenant1/devices/dev1/up", "the-things-stack"),
    ("v3/smarthouse-22rdk-29600@ttn/devices/lht65-4c84/up", "the-things-stack"),
    ("v3/icicle-monitor@ttn/devices/portenta-h7-icicle-00/up", "the-things-stack"),
    ("homie/5/super-car/engine/temperature", "homie"),
    ("homie/5/kitchen-light/light/power", "homie"),
    ("homie/5/kitchen-light/light/brightness", "homie"),
    ("homie/5/kitchen-light/light/brightness/$target", "homie"),
    ("homie/5/super-car/$description", "homie"),
    ("sensors/dev1", "senml"),
    ("sensors/weather", "influx-line"),
    ("telegraf/host01/hue", "influx-line"),
    ("telegraf/robot/weather", "influx-line"),
    ("ruuvi/C8:25:2D:8E:9C:2C/F4:1F:0C:28:CB:D6", "ruuvi"),
    ("ruuvi/C8:25:2D:8E:9C:2D/F4:1F:0C:28:CB:D6", "ruuvi"),
    ("spBv1.0/Sparkplug B Devices/NBIRTH/Raspberry Pi", "sparkplug-b"),
    ("spBv1.0/Sparkplug B Devices/NDATA/Raspberry Pi", "sparkplug-b"),
    ("spBv1.0/Sparkplug B Devices/NDEATH/Raspberry Pi", "sparkplug-b"),
    // The daemon's own question: a sequence number is missing in the sample.
    ("spBv1.0/Sparkplug B Devices/NCMD/Raspberry Pi", "sparkplug-b"),
    ("garden/t1/temperature", "number"),
    ("loggers/a", "csv"),
    ("boards/b1", "msgpack"),
    ("loggers/b", "csv"),
    ("plain/j", "json"),
    ("plain/j/status", "json"),
];

#[derive(Debug)]
struct Row {
    node: String,
    metric: String,
    value: f64,
    unit: Option<String>,
    own_name: Option<String>,
    /// Microseconds since 1970; `None`: the arrival.
    ts: Option<i64>,
}

fn micros(time: &str) -> i64 {
    let time: chrono::DateTime<chrono::Utc> = time.parse().unwrap_or_else(|e| panic!("{time}: {e}"));
    time.timestamp_micros()
}

fn table(text: &str) -> Vec<Row> {
    let (mut node, mut ts) = ("", None);
    let mut rows = Vec::new();
    for line in text.lines() {
        let mut cells = line.trim_start_matches("= ").split('|').map(str::trim);
        let first = cells.next().expect("a cell");
        if line.starts_with("= ") {
            (node, ts) = (first, cells.next().map(micros));
            continue;
        }
        let value = cells.next().and_then(|v| v.parse().ok()).unwrap_or_else(|| panic!("no value: {line}"));
        let mut cell = || cells.next().filter(|c| !c.is_empty()).map(str::to_owned);
        let (unit, own_name) = (cell(), cell());
        rows.push(Row { node: node.into(), metric: first.into(), value, unit, own_name, ts });
    }
    rows
}

/// Asserts that the file holds these readings, each once, and no other.
#[track_caller]
fn assert_rows(stored: &Stored, since: i64, expected: &[Row]) {
    let until = now_micros();
    let mut left: Vec<&Row> = expected.iter().collect();
    let mut strange = Vec::new();
    for row in &stored.rows {
        let same = |e: &&Row| {
            (&e.node, &e.metric, &e.unit) == (&row.node, &row.metric, &row.unit)
                && (e.value - row.value).abs() <= 1e-12 * e.value.abs()
                && e.ts.map_or((since..=until).contains(&row.ts), |ts| ts == row.ts)
        };
        match left.iter().position(same) {
            Some(at) => drop(left.swap_remove(at)),
            None => strange.push(row),
        }
    }
    assert!(left.is_empty() && strange.is_empty(), "missing: {left:#?}\nnot sent, or stored twice: {strange:#?}");
}

/// Asserts that the API shows these series of these nodes, with own name and unit, and no other.
#[track_caller]
fn assert_series(daemon: &Daemon, expected: &[Row]) {
    type Series = BTreeMap<String, (Option<String>, Option<String>)>;
    let mut nodes: BTreeMap<&str, Series> = BTreeMap::new();
    for row in expected {
        // What the first reading of a series is called counts.
        let series = nodes.entry(&row.node).or_default();
        series.entry(row.metric.clone()).or_insert_with(|| (row.own_name.clone(), row.unit.clone()));
    }
    for (node, series) in nodes {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let shown = node_of(daemon, node);
        let found: Series = shown["series"]
            .as_array()
            .expect("series")
            .iter()
            .map(|s| (text(&s["metric"]).expect("a name"), (text(&s["own_name"]), text(&s["unit"]))))
            .collect();
        assert_eq!(found, series, "{node}");
    }
}

fn node_of(daemon: &Daemon, node: &str) -> Value {
    let encoded: String = node
        .bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect();
    daemon.json(&format!("/api/v1/nodes/{encoded}"))
}

/// `node kind: data` of each event with its time where that is not the arrival, sorted.
fn events(stored: &Stored, since: i64) -> Vec<String> {
    let time = |ts: i64| if ts >= since { String::new() } else { format!(" @{ts}") };
    let mut found: Vec<String> =
        stored.events.iter().map(|e| format!("{} {}: {}{}", e.node, e.kind, e.data, time(e.ts))).collect();
    found.sort();
    found
}

/// What each publisher sends: its captured messages, and some of them again, as it repeats them.
fn messages(fixtures: BTreeMap<String, Fixture>) -> BTreeMap<String, Vec<(String, Vec<u8>)>> {
    let mut of_publishers: BTreeMap<String, Vec<(String, Vec<u8>)>> = BTreeMap::new();
    for fixture in fixtures.into_values() {
        let publisher = fixture.name.split('/').next().expect("a publisher").to_owned();
        let messages = of_publishers.entry(publisher).or_default();
        let replaced = |from: &str, to: &str| {
            let text = String::from_utf8(fixture.payload.clone()).expect("UTF-8");
            assert!(text.contains(from), "{from} in {}", fixture.name);
            text.replace(from, to).into_bytes()
        };
        // How their publishers repeat a frame.
        let again: Vec<(String, Vec<u8>)> = match &*fixture.name {
            "rtl_433/01-acurite-5n1" => (1..3)
                .map(|n| (fixture.topic.clone(), replaced("\"sequence_num\" : 0", &format!("\"sequence_num\" : {n}"))))
                .collect(),
            "rtl_433/04-nexus-syslog-json" | "tasmota/02-energy" | "the-things-stack/02-dragino-lht65" => {
                vec![(fixture.topic.clone(), fixture.payload.clone())]
            }
            "ruuvi-gateway/01-timestamped" => {
                vec![(fixture.topic.replace("9C:2C", "9C:2D"), replaced("8E:9C:2C", "8E:9C:2D"))]
            }
            _ => Vec::new(),
        };
        let message = (fixture.topic.clone(), fixture.payload.clone());
        // The one that is broken comes first: the last message of a topic tells its format.
        if fixture.name.ends_with("INVALID-JSON") {
            messages.insert(0, message);
        } else {
            messages.push(message);
        }
        messages.extend(again);
    }
    let plain = PLAIN.map(|(topic, payload)| (topic.to_owned(), payload.to_vec()));
    of_publishers.insert("plain".into(), plain.to_vec());
    of_publishers
}

#[test]
fn every_publisher_at_once_is_recognised_and_stored_once() {
    let broker = Broker::new();
    let since = now_micros();
    let mut fixtures = fixtures();
    let mut before = broker.publisher();
    let mut sent = 0;
    // The last state of nodes, descriptions, and an old value, which is no news.
    for name in
        ["zigbee2mqtt/07-bridge-state-v2", "tasmota/08-lwt", "shelly/07-online", "homie/07-property-description"]
    {
        let fixture = fixtures.remove(name).expect("the fixture");
        before.send(&fixture.topic, &fixture.payload, 1, true);
        sent += 1;
    }
    before.send("livingroom/sensor/livingroom_temperature/state", "19.9", 1, true);
    sent += 1;
    before.settle();

    let mut daemon = Daemon::start(&format!("{CONFIG}{}", broker.section("home", "", "{ topic = \"#\" }")));
    daemon.wait_state("home", "up");
    let of_publishers = messages(fixtures);
    sent += of_publishers.values().map(Vec::len).sum::<usize>();
    thread::scope(|scope| {
        for messages in of_publishers.values() {
            let mut client = broker.publisher();
            scope.spawn(move || {
                for (topic, payload) in messages {
                    client.send(topic, payload, 1, false);
                }
                client.settle();
            });
        }
    });
    wait_for("all to be acknowledged", || daemon.source("home")["acked"].as_u64() >= Some(sent as u64));
    wait_for("the daemon to hear its own question", || daemon.source("home")["frames"].as_u64() > Some(sent as u64));

    let expected = table(READINGS);
    let formats: BTreeMap<&str, &str> = FORMATS.iter().copied().collect();
    assert_eq!(daemon.source("home")["formats"], json!(formats));
    assert_series(&daemon, &expected);
    let shown = |daemon: &Daemon| {
        for (node, online) in [
            ("bridge", json!(true)),
            ("demo-sensor", json!(true)),
            ("plain/j", json!(true)),
            ("shellyplus1-b8d61a85a8e0", json!(true)),
            ("Sparkplug B Devices/Raspberry Pi", json!(false)),
            ("tasmota", json!(null)),
        ] {
            assert_eq!(node_of(daemon, node)["online"], online, "{node}");
        }
    };
    shown(&daemon);
    assert_eq!(daemon.reason("dropped", "retained"), 1);
    daemon.kill9();
    let stored = daemon.stored();
    assert_rows(&stored, since, &expected);
    let told = events(&stored, since);
    let sparkplug = micros("2017-02-03T17:55:02.122Z");
    let uplink = micros("2019-01-29T13:02:34.981Z");
    let mut must = vec![
        format!("Sparkplug B Devices/Raspberry Pi availability: online @{sparkplug}"),
        // In protobuf and in JSON.
        "Sparkplug B Devices/Raspberry Pi availability: offline".to_owned(),
        "Sparkplug B Devices/Raspberry Pi availability: offline".to_owned(),
        "0x84fd27fffe9f718e power_on_behavior: previous".to_owned(),
        "0x84fd27fffe9f718e update.state: available".to_owned(),
        "bridge availability: online".to_owned(),
        "bridge availability: online".to_owned(),
        "btn1 action: single".to_owned(),
        "demo-sensor availability: online".to_owned(),
        "plain/j availability: online".to_owned(),
        // What each message tells is an event once.
        format!("plain/j mode: eco @{}", micros("2025-10-09T08:53:20Z")),
        format!("dev1 uplink: port 15, payload VGVtcGVyYXR1cmUgPSAwLjA= @{uplink}"),
        "shellyplus1-b8d61a85a8e0 availability: online".to_owned(),
        // Of the year 2010, which no living clock shows.
        "urn:dev:ow:10e2073a0108006 clock: impossible time 1276020076001000 us, stamped at arrival".to_owned(),
    ];
    must.sort();
    assert_eq!(told, must);
    let (conflicts, others): (Vec<&str>, Vec<&str>) =
        stored.dead.iter().map(|d| d.reason.as_str()).partition(|reason| reason.starts_with("conflict: "));
    let invalid = "malformed: topic `v3/app1@tenant1/devices/dev1/up`: expected `,` or `}` at line 79 column 5";
    assert_eq!(others, [invalid]);
    // The samples of a birth and of data have one time and two values; they come in protobuf and in JSON.
    let two_values = " at 2017-02-03T17:55:02.122Z: 12.1 is stored, 12.3 came";
    assert!((1..=2).contains(&conflicts.len()) && conflicts.iter().all(|c| c.ends_with(two_values)), "{conflicts:?}");

    // Nothing comes twice, not even what is sent again.
    daemon.restart();
    daemon.wait_state("home", "up");
    shown(&daemon);
    let mut client = broker.publisher();
    for (topic, payload) in of_publishers["the-things-stack"].iter().chain(&of_publishers["tasmota"]) {
        client.send(topic, payload, 1, false);
    }
    client.send("garden/t2/temperature", "5", 1, false);
    client.settle();
    daemon.wait_stat("/readings/committed", 1);
    let stored = daemon.finish();
    let expected = table(&format!("{READINGS}= garden/t2\ntemperature | 5 | degC\n"));
    assert_rows(&stored, since, &expected);
}

/// A field of protobuf with a length.
fn field(number: u8, body: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2], &*varint(body.len() as u64), body].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A Sparkplug payload with one Float metric, which has a name or only its alias 7.
fn sparkplug(name: Option<&str>, millis: u64, value: f32, seq: u8) -> Vec<u8> {
    let named = name.map_or_else(Vec::new, |name| field(1, name.as_bytes()));
    let metric = [&*named, b"\x10\x07\x18", &*varint(millis), b"\x20\x09\x65", &value.to_le_bytes()].concat();
    [b"\x08", &*varint(millis), &field(2, &metric), &[0x18, seq]].concat()
}

#[test]
fn an_unknown_alias_is_asked_for_and_then_known() {
    let broker = Broker::new();
    let since = now_micros();
    let mut edge = Client::connect(broker.port(), "edge", true, None);
    edge.subscribe("spBv1.0/plant/NCMD/line1");
    let mut daemon = Daemon::start(&format!("{CONFIG}{}", broker.section("home", "", "{ topic = \"spBv1.0/#\" }")));
    daemon.wait_state("home", "up");
    let millis = (since / 1_000) as u64 - 60_000;
    let mut client = broker.publisher();
    client.send("spBv1.0/plant/NDATA/line1", sparkplug(None, millis, 20.5, 3), 1, false);
    client.settle();
    let asked = edge.next(DEADLINE).expect("the daemon asks");
    assert_eq!(asked.topic, "spBv1.0/plant/NCMD/line1");
    // The payload's timestamp is the first field.
    let (mut time, mut shift) = (0_u64, 0);
    for byte in &asked.payload[1..] {
        time |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    assert!((since / 1_000..=now_micros() / 1_000).contains(&(time as i64)), "{time}");
    let metric = [&*field(1, b"Node Control/Rebirth"), b"\x18", &*varint(time), b"\x20\x0b\x70\x01"].concat();
    assert_eq!(asked.payload, [b"\x08", &*varint(time), &field(2, &metric)].concat());

    client.send("spBv1.0/plant/NBIRTH/line1", sparkplug(Some("Temperature"), millis + 1_000, 21.0, 0), 1, false);
    client.send("spBv1.0/plant/NDATA/line1", sparkplug(None, millis + 2_000, 21.1, 1), 1, false);
    client.settle();
    daemon.wait_stat("/readings/committed", 2);
    assert_eq!(node_of(&daemon, "plant/line1")["online"], true);
    let stored = daemon.finish();
    let row = |after: u64, value: f64| Row {
        node: "plant/line1".into(),
        metric: "temperature".into(),
        value,
        unit: Some("degC".into()),
        own_name: Some("Temperature".into()),
        ts: Some((millis + after) as i64 * 1_000),
    };
    assert_rows(&stored, since, &[row(1_000, 21.0), row(2_000, 21.1)]);
    let dead: Vec<&str> = stored.dead.iter().map(|d| d.reason.as_str()).collect();
    assert_eq!(
        dead,
        [
            "malformed: topic `spBv1.0/plant/NDATA/line1`: 1 metrics by alias, the first 7: expected a birth that tells it"
        ]
    );
    assert_eq!(edge.next(std::time::Duration::ZERO), None, "asked once");
}

/// Runs `gadwall decode` with these arguments, and `input` as its standard input.
fn decode(arguments: &[&str], input: &[u8]) -> (Option<i32>, String, String) {
    let mut command = gadwall();
    command.arg("decode").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary under test starts");
    // One that does not read its input has ended before.
    let _ = child.stdin.take().expect("stdin is piped").write_all(input);
    said(child.wait_with_output().expect("its end"))
}

fn said(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn decode_prints_what_would_be_stored() {
    let payload =
        br#"{"temperature":20.5,"linkquality":54,"last_seen":"2023-06-01T12:00:00.5+02:00","action":"single"}"#;
    let arguments = ["--format", "zigbee2mqtt", "--topic", "zigbee2mqtt/hall/t", "--json", "-"];
    let lines = concat!(
        r#"{"node":"hall/t","metric":"linkquality","value":54.0,"unit":null,"time":"2023-06-01T10:00:00.500Z"}"#,
        "\n",
        r#"{"node":"hall/t","metric":"temperature","value":20.5,"unit":"degC","time":"2023-06-01T10:00:00.500Z"}"#,
        "\n",
        r#"{"node":"hall/t","event":"action","data":"single","time":"2023-06-01T10:00:00.500Z"}"#,
        "\n",
    );
    assert_eq!(decode(&arguments, payload), (Some(0), lines.into(), String::new()));

    // The arrival counts, and a file; auto says what it takes it for.
    let file = root().join("esphome/01-number.txt");
    let file = file.to_str().expect("UTF-8");
    let topic = "livingroom/sensor/livingroom_temperature/state";
    let line = r#"{"node":"livingroom","metric":"temperature","value":21.4,"unit":"degC","time":null}"#;
    assert_eq!(
        decode(&["--topic", topic, "--json", file], b""),
        (Some(0), format!("{line}\n"), "taken for esphome\n".into())
    );
    assert_eq!(
        decode(&["--format", "auto", "--topic", topic, file], b""),
        (
            Some(0),
            "(arrival)  livingroom  temperature (livingroom_temperature)  21.4 degC\n".into(),
            "taken for esphome\n".into()
        )
    );
    // A zone, and a pattern that names the node.
    let file = root().join("tasmota/02-energy.json");
    let arguments =
        ["--topic", "tele/pow1/SENSOR", "--pattern", "tele/{plug}/SENSOR", "--timezone", "Europe/Berlin", "--json"];
    let (code, out, _) = decode(&[&arguments[..], &[file.to_str().expect("UTF-8")]].concat(), b"");
    assert_eq!(code, Some(0));
    let line = r#"{"node":"pow1","metric":"energy","value":6.294,"unit":"kWh","time":"2018-02-15T16:37:10Z"}"#;
    assert!(out.lines().any(|l| l == line), "{out}");
    assert_eq!(out.lines().count(), 10);
    // Known, and nothing to store.
    let (code, out, err) = decode(&["--topic", "zigbee2mqtt/bridge/info", "--format", "zigbee2mqtt", "-"], b"{}");
    assert_eq!((code, &*out), (Some(0), ""));
    assert_eq!(err, "nothing of it is stored: such messages hold no readings\n");
}

#[test]
fn decode_says_why_bytes_are_not_stored() {
    let file = root().join("the-things-stack/05-doc-example-INVALID-JSON.txt");
    let file = file.to_str().expect("UTF-8");
    assert_eq!(
        decode(&["--format", "the-things-stack", "--json", file], b""),
        (Some(1), String::new(), "malformed: expected `,` or `}` at line 79 column 5\n".into())
    );
    // What is good in it is shown all the same.
    let (code, out, err) = decode(
        &["--format", "influx-line", "--json", "-"],
        b"w,host=a temperature=1 1760000000\nw,host=b temperature=\n",
    );
    let line = r#"{"node":"a","metric":"temperature","value":1.0,"unit":"degC","time":"2025-10-09T08:53:20Z"}"#;
    assert_eq!((code, out), (Some(1), format!("{line}\n")));
    assert!(err.starts_with("malformed: line 2, column "), "{err}");
    assert_eq!(
        decode(&["--format", "msgpack", "-"], b"\x82\xa1a\x01"),
        (Some(1), String::new(), "malformed: byte 4: expected a value\n".into())
    );
    let (code, out, err) = decode(&["--format", "zigbee", "-"], b"{}");
    assert_eq!((code, &*out), (Some(2), ""));
    assert!(err.contains("expected one of auto, csv, csv-lines, dsmr-p1, esphome, "), "{err}");
    let (code, out, err) = decode(&["/nowhere/at/all"], b"");
    assert_eq!((code, &*out), (Some(2), ""));
    assert!(err.contains("/nowhere/at/all"), "{err}");
}

#[test]
fn what_sniff_prints_can_be_put_into_the_configuration() {
    let broker = Broker::new();
    let mut client = broker.publisher();
    client.send("zigbee2mqtt/kitchen", br#"{"temperature":20.5}"#, 1, true);
    client.send("tele/plug/LWT", "Online", 1, true);
    client.send("tele/plug/SENSOR", br#"{"Time":"2025-10-09T10:53:20","ENERGY":{"Power":12}}"#, 1, true);
    client.settle();
    let mut sniff = gadwall();
    sniff.args(["sniff", "--mqtt", &broker.url(), "--seconds", "6"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = sniff.spawn().expect("the binary under test starts");
    broker.wait_logged(0, "Sending SUBACK to gadwall-sniff-", 1);
    let live: [(&str, &[u8]); 8] = [
        ("shelly1minig3-1/events/rpc", br#"{"src":"shelly1minig3-1","method":"NotifyStatus","params":{"ts":1760000000,"switch:0":{"id":0,"output":true}}}"#),
        ("rtl_433/pi/events", br#"{"time":"1760000000","model":"Nexus-TH","id":1,"temperature_C":3.5}"#),
        ("home/OMG/BTtoMQTT/4C33A6603C79", br#"{"id":"4C:33:A6:60:3C:79","tempc":19.5}"#),
        ("attic/sensor/attic_temperature/state", b"18.5"),
        // Also below what takes the topics of Shelly devices.
        ("attic/status", b"online"),
        ("garden/t1/temperature", b"17.5"),
        ("garden/{odd}/temperature", b"16.5"),
        ("boards/b1", br#"{"a":1.5}"#),
    ];
    for (topic, payload) in live {
        client.send(topic, payload, 1, false);
    }
    client.settle();
    let (code, out, err) = said(child.wait_with_output().expect("its end"));
    assert_eq!((code, &*err), (Some(0), ""));
    for (topic, format, readings) in [
        ("zigbee2mqtt/kitchen", "zigbee2mqtt", "1"),
        ("tele/plug/LWT", "tasmota", "0"),
        ("tele/plug/SENSOR", "tasmota", "1"),
        ("shelly1minig3-1/events/rpc", "shelly", "1"),
        ("rtl_433/pi/events", "rtl_433", "1"),
        ("home/OMG/BTtoMQTT/4C33A6603C79", "theengs", "1"),
        ("attic/sensor/attic_temperature/state", "esphome", "1"),
        ("attic/status", "esphome", "0"),
        ("garden/t1/temperature", "number", "1"),
        ("boards/b1", "json", "1"),
    ] {
        let told = out.lines().find(|l| l.split_whitespace().next() == Some(topic)).unwrap_or_default();
        assert_eq!(told.split_whitespace().collect::<Vec<_>>(), [topic, format, "1", readings], "{out}");
    }
    let (_, lines) = out.split_once("For the configuration:\n\n").expect("the lines");

    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("gadwall.toml");
    let text = format!("[store]\npath = {:?}\n{lines}", folder.path().join("gadwall.duckdb"));
    std::fs::write(&file, text).expect("writing the configuration");
    let checked = gadwall().arg("check").arg(&file).output().expect("gadwall check runs");
    let (code, out, err) = said(checked);
    assert_eq!((code, &*err), (Some(0), ""), "{lines}");
    assert!(out.contains("ok, 0 serial and 1 mqtt"), "{out}");

    let since = now_micros();
    let mut daemon = Daemon::start(&format!("{CONFIG}{lines}"));
    daemon.wait_state("home", "up");
    for (topic, payload) in live {
        client.send(topic, payload, 1, false);
    }
    client.settle();
    let sent = live.len() as u64 + 3;
    wait_for("all to be acknowledged", || daemon.source("home")["acked"].as_u64() >= Some(sent));
    assert_eq!(node_of(&daemon, "plug")["online"], true);
    assert_eq!(node_of(&daemon, "attic")["online"], true);
    let stored = daemon.finish();
    let expected = "\
= plug | 2025-10-09T08:53:20Z
power | 12 | W
= shelly1minig3-1 | 2025-10-09T08:53:20Z
output | 1
= Nexus-TH/1 | 2025-10-09T08:53:20Z
temperature | 3.5 | degC
= 4C:33:A6:60:3C:79
temperature | 19.5 | degC
= attic
temperature | 18.5 | degC
= t1
temperature | 17.5 | degC
= {odd}
temperature | 16.5 | degC
= b1
a | 1.5
";
    assert_rows(&stored, since, &table(expected));
    assert_eq!(stored.dead, []);
}
