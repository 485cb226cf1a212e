use super::*;
use crate::codec::payload::shown::{lines, message};

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/fixtures/payloads/tasmota/", $name))
    };
}

/// What was decoded; where it holds no dead letter, `auto` must take it for this format.
#[track_caller]
fn shows(topic: &str, payload: &[u8], expected: &[&str]) {
    let message = message(topic, payload);
    let decoded = decode(&message);
    assert_eq!(lines(&decoded), expected, "{topic}");
    if decoded.dead.is_empty() && !payload.is_empty() {
        assert!(recognises(&message), "{topic}");
    }
}

#[test]
fn fixtures() {
    // Winter: Berlin is an hour ahead of UTC.
    shows(
        "tele/tasmota/SENSOR",
        fixture!("01-bme280.json"),
        &[
            "tasmota humidity=66.6 % @2019-11-03T18:34:28Z (BME280.Humidity)",
            "tasmota pressure=988.6 hPa @2019-11-03T18:34:28Z (BME280.Pressure)",
            "tasmota temperature=21.7 degC @2019-11-03T18:34:28Z (BME280.Temperature)",
        ],
    );
    shows(
        "tele/pow1/SENSOR",
        fixture!("02-energy.json"),
        &[
            "pow1 apparent_power=2650 VA @2018-02-15T16:37:10Z (ENERGY.ApparentPower)",
            "pow1 current=11.661 A @2018-02-15T16:37:10Z (ENERGY.Current)",
            "pow1 power_factor=0.99 @2018-02-15T16:37:10Z (ENERGY.Factor)",
            "pow1 energy_period=0.217 kWh @2018-02-15T16:37:10Z (ENERGY.Period)",
            "pow1 power=2635 W @2018-02-15T16:37:10Z (ENERGY.Power)",
            "pow1 reactive_power=282 var @2018-02-15T16:37:10Z (ENERGY.ReactivePower)",
            "pow1 energy_today=0.954 kWh @2018-02-15T16:37:10Z (ENERGY.Today)",
            "pow1 energy=6.294 kWh @2018-02-15T16:37:10Z (ENERGY.Total)",
            "pow1 voltage=227 V @2018-02-15T16:37:10Z (ENERGY.Voltage)",
            "pow1 energy_yesterday=5.34 kWh @2018-02-15T16:37:10Z (ENERGY.Yesterday)",
        ],
    );
    shows(
        "tele/tasmota/STATE",
        fixture!("04-state.json"),
        &[
            "tasmota Heap=28 @2019-10-31T10:14:59Z",
            "tasmota LoadAvg=19 @2019-10-31T10:14:59Z",
            "tasmota MqttCount=6 @2019-10-31T10:14:59Z",
            "tasmota POWER=0 @2019-10-31T10:14:59Z",
            "tasmota Sleep=50 @2019-10-31T10:14:59Z",
            "tasmota uptime=66972 s @2019-10-31T10:14:59Z (UptimeSec)",
            "tasmota Vcc=3.423 V @2019-10-31T10:14:59Z",
            "tasmota Wifi.Downtime=6 s @2019-10-31T10:14:59Z",
            "tasmota Wifi.LinkCount=1 @2019-10-31T10:14:59Z",
            "tasmota Wifi.RSSI=100 % @2019-10-31T10:14:59Z",
        ],
    );
    shows(
        "tele/tasmota/SENSOR",
        fixture!("05-ble-many-devices.json"),
        &[
            "LYWSD02-a2fd09 battery=2 % @2020-03-24T11:47:51Z (Battery)",
            "LYWSD02-a2fd09 dew_point=12.5 degC @2020-03-24T11:47:51Z (DewPoint)",
            "LYWSD02-a2fd09 humidity=57 % @2020-03-24T11:47:51Z (Humidity)",
            "LYWSD02-a2fd09 temperature=21.4 degC @2020-03-24T11:47:51Z (Temperature)",
            "LYWSD03-52680f battery=100 % @2020-03-24T11:47:51Z (Battery)",
            "LYWSD03-52680f dew_point=12.5 degC @2020-03-24T11:47:51Z (DewPoint)",
            "LYWSD03-52680f humidity=58 % @2020-03-24T11:47:51Z (Humidity)",
            "LYWSD03-52680f temperature=21.1 degC @2020-03-24T11:47:51Z (Temperature)",
            "MJ_HT_V1-d8799d dew_point=11.9 degC @2020-03-24T11:47:51Z (DewPoint)",
            "MJ_HT_V1-d8799d humidity=54.6 % @2020-03-24T11:47:51Z (Humidity)",
            "MJ_HT_V1-d8799d temperature=21.4 degC @2020-03-24T11:47:51Z (Temperature)",
        ],
    );
    // Summer: two hours.
    shows(
        "tele/tasmota/SENSOR",
        fixture!("07-scd40.json"),
        &[
            "tasmota co2=618 ppm @2023-05-28T18:04:27Z (SCD40.CarbonDioxide)",
            "tasmota dew_point=15.8 degC @2023-05-28T18:04:27Z (SCD40.DewPoint)",
            "tasmota humidity=61.1 % @2023-05-28T18:04:27Z (SCD40.Humidity)",
            "tasmota temperature=23.8 degC @2023-05-28T18:04:27Z (SCD40.Temperature)",
            "tasmota eco2=623 ppm @2023-05-28T18:04:27Z (SCD40.eCO2)",
        ],
    );
    shows(
        "tele/demo-sensor/LWT",
        fixture!("08-lwt.txt"),
        &["demo-sensor availability: Online".replace("Online", "online").as_str()],
    );
}

#[test]
fn full_topics_have_any_order_and_the_last_level_tells_the_kind() {
    for (topic, node) in [
        ("tele/livingroom/STATE", "livingroom"),
        ("livingroom/tele/STATE", "livingroom"),
        ("home/tele/first/livingroom/STATE", "home/first/livingroom"),
        ("TELE/livingroom/STATE", "livingroom"),
        ("home/livingroom/STATE", "home/livingroom"),
    ] {
        shows(
            topic,
            br#"{"Time":"2024-01-01T00:00:00Z","POWER":"ON"}"#,
            &[&format!("{node} POWER=1 @2024-01-01T00:00:00Z")],
        );
    }
    let named = Message { node: Some("plug"), ..message("tele/a/b/STATE", br#"{"POWER1":"OFF"}"#) };
    assert_eq!(lines(&decode(&named)), ["plug POWER1=0"]);
}

#[test]
fn times_come_as_local_text_with_an_offset_or_as_an_epoch() {
    for (json, time) in [
        (r#""Time":"2024-07-01T12:00:00""#, "2024-07-01T10:00:00Z"),
        (r#""Time":"2024-07-01T12:00:00+05:30""#, "2024-07-01T06:30:00Z"),
        (r#""Time":"2024-07-01T12:00:00.250""#, "2024-07-01T10:00:00.250Z"),
        (r#""Time":"2024-07-01T11:00:00","Epoch":1719828000"#, "2024-07-01T10:00:00Z"),
        (r#""Time":1719828000"#, "2024-07-01T10:00:00Z"),
    ] {
        let payload = format!("{{{json},\"POWER\":\"ON\"}}");
        shows("tele/t/STATE", payload.as_bytes(), &[&format!("t POWER=1 @{time}")]);
    }
}

#[test]
fn several_sensors_of_a_kind_keep_their_names_before_the_quantity() {
    shows(
        "tele/t/SENSOR",
        br#"{"DS18B20-1":{"Id":"012345678901","Temperature":21.5},"DS18B20-2":{"Id":"3C01D607A2B4","Temperature":null},
            "BME280-76":{"Temperature":20,"Humidity":50.5},"ESP32":{"Temperature":53.3},"TempUnit":"C"}"#,
        &[
            "t bme280_76.humidity=50.5 % (BME280-76.Humidity)",
            "t bme280_76.temperature=20 degC (BME280-76.Temperature)",
            "t ds18b20_1.temperature=21.5 degC (DS18B20-1.Temperature)",
            "t device_temperature=53.3 degC (ESP32.Temperature)",
        ],
    );
    // A sensor that fails says null: it still counts.
    shows(
        "tele/t/SENSOR",
        br#"{"AM2301":{"Temperature":null,"Humidity":null},"DS18B20":{"Id":"01","Temperature":19},"BH1750":{"Illuminance":90}}"#,
        &["t illuminance=90 lx (BH1750.Illuminance)", "t ds18b20.temperature=19 degC (DS18B20.Temperature)"],
    );
    shows(
        "tele/t/SENSOR",
        br#"{"ANALOG":{"A0":523,"Temperature1":20.5},"COUNTER":{"C1":7},"Switch1":"ON"}"#,
        &["t ANALOG.A0=523", "t temperature_1=20.5 degC (ANALOG.Temperature1)", "t COUNTER.C1=7", "t Switch1=1"],
    );
}

#[test]
fn units_are_those_that_the_message_names() {
    shows(
        "tele/t/SENSOR",
        br#"{"BME280":{"Temperature":68.0,"DewPoint":50,"Pressure":29.92},"PressureUnit":"inHg","TempUnit":"F"}"#,
        &[
            "t dew_point=10 degC (BME280.DewPoint)",
            "t pressure=1013.20748907 hPa (BME280.Pressure)",
            "t temperature=20 degC (BME280.Temperature)",
        ],
    );
    shows(
        "tele/t/SENSOR",
        br#"{"TX23":{"Speed":{"Act":36,"Avg":18},"Dir":{"Card":"WSW","Deg":247.5}},"SpeedUnit":"km/h"}"#,
        &["t TX23.Dir.Deg=247.5", "t TX23.Speed.Act=10 m/s", "t TX23.Speed.Avg=5 m/s", "t TX23.Dir.Card: WSW"],
    );
    shows(
        "tele/t/SENSOR",
        br#"{"BME680":{"Gas":33.4},"SR04":{"Distance":123},"VL53L0X":{"Distance":263},"PMS5003":{"CF1":1,"PM2.5":12,"PB0.3":900}}"#,
        &[
            "t BME680.Gas=33.4",
            "t PMS5003.CF1=1",
            "t PMS5003.PB0.3=900",
            "t pm2_5=12 ug/m3 (PMS5003.PM2.5)",
            "t sr04.distance=1.23 m (SR04.Distance)",
            "t vl53l0x.distance=0.263 m (VL53L0X.Distance)",
        ],
    );
}

#[test]
fn phases_are_counted_from_one() {
    shows(
        "tele/t/SENSOR",
        br#"{"ENERGY":{"TotalStartTime":"2023-01-01T00:00:00","Total":[1.5,2.5],"Power":[100,0],"Voltage":231,"ExportActive":0.25}}"#,
        &[
            "t energy_returned=0.25 kWh (ENERGY.ExportActive)",
            "t power_1=100 W (ENERGY.Power.1)",
            "t power_2=0 W (ENERGY.Power.2)",
            "t energy_1=1.5 kWh (ENERGY.Total.1)",
            "t energy_2=2.5 kWh (ENERGY.Total.2)",
            "t voltage=231 V (ENERGY.Voltage)",
        ],
    );
}

#[test]
fn the_parts_of_a_status_are_read_as_what_they_are() {
    shows(
        "stat/t/STATUS10",
        br#"{"StatusSNS":{"Time":"2024-01-01T13:00:00","SHT3X":{"Temperature":20.1}}}"#,
        &["t temperature=20.1 degC @2024-01-01T12:00:00Z (SHT3X.Temperature)"],
    );
    shows(
        "stat/t/STATUS8",
        br#"{"StatusSNS":{"Time":"2024-01-01T13:00:00","ENERGY":{"Power":7}}}"#,
        &["t power=7 W @2024-01-01T12:00:00Z (ENERGY.Power)"],
    );
    shows(
        "stat/t/STATUS11",
        br#"{"StatusSTS":{"Time":"2024-01-01T13:00:00","Uptime":"1T00:00:00","POWER1":"ON","Wifi":{"AP":1,"Channel":6,"RSSI":84,"Signal":-58}}}"#,
        &[
            "t POWER1=1 @2024-01-01T12:00:00Z",
            "t uptime=86400 s @2024-01-01T12:00:00Z (Uptime)",
            "t Wifi.RSSI=84 % @2024-01-01T12:00:00Z",
            "t rssi=-58 dBm @2024-01-01T12:00:00Z (Wifi.Signal)",
        ],
    );
    shows("stat/t/STATUS", br#"{"Status":{"Module":1,"FriendlyName":["t"],"Power":1}}"#, &[]);
    shows("stat/t/STATUS5", br#"{"StatusNET":{"Hostname":"t","IPAddress":"192.168.1.4"}}"#, &[]);
}

#[test]
fn results_tell_states_and_what_happened() {
    shows("stat/t/RESULT", br#"{"POWER":"ON"}"#, &["t POWER=1"]);
    shows("stat/t/POWER2", b"OFF", &["t POWER2=0"]);
    shows(
        "stat/t/RESULT",
        br#"{"POWER":"ON","Dimmer":53,"Color":"112233","HSBColor":"210,67,20","Channel":[7,13]}"#,
        &["t Channel.0=7", "t Channel.1=13", "t Dimmer=53", "t POWER=1"],
    );
    shows("stat/t/RESULT", br#"{"TelePeriod":300}"#, &[]);
    shows("stat/t/RESULT", br#"{"Command":"Unknown"}"#, &[]);
    shows("stat/t/RESULT", br#"{"Button1":{"Action":"SINGLE"}}"#, &["t Button1: SINGLE"]);
    shows("stat/t/RESULT", br#"{"Switch1":{"Action":"ON"}}"#, &["t Switch1=1"]);
    shows("stat/t/RESULT", br#"{"Switch1":{"Action":"TOGGLE"}}"#, &["t Switch1: TOGGLE"]);
    shows(
        "stat/t/RESULT",
        br#"{"Shutter1":{"Position":50,"Direction":0,"Target":50}}"#,
        &["t Shutter1.Direction=0", "t Shutter1.Position=50", "t Shutter1.Target=50"],
    );
    shows(
        "tele/t/RESULT",
        br#"{"Time":"2024-01-01T13:00:00","RfReceived":{"Data":"0x7028D2","Bits":24,"Protocol":1,"Pulse":238}}"#,
        &["t RfReceived: 0x7028D2 @2024-01-01T12:00:00Z"],
    );
    shows(
        "tele/t/RESULT",
        br#"{"IrReceived":{"Protocol":"NEC","Bits":32,"Data":"0x00FF38C7"}}"#,
        &["t IrReceived: 0x00FF38C7"],
    );
    shows("tele/t/SENSOR", br#"{"RC522":{"UID":"BA839D07","Data":"","Type":"MIFARE 1KB"}}"#, &["t RC522: BA839D07"]);
}

#[test]
fn a_restart_tells_its_reason() {
    shows("tele/t/INFO1", br#"{"Info1":{"Module":"Sonoff Pow","Version":"13.1.0(tasmota)"}}"#, &[]);
    shows("tele/t/INFO2", br#"{"Info2":{"WebServerMode":"Admin","IPAddress":"192.168.1.4"}}"#, &[]);
    shows(
        "tele/t/INFO3",
        br#"{"Info3":{"RestartReason":"Power On","BootCount":12}}"#,
        &["t BootCount=12", "t RestartReason: Power On"],
    );
    shows("tele/t/INFO3", br#"{"RestartReason":"Hardware Watchdog"}"#, &["t RestartReason: Hardware Watchdog"]);
    shows("tele/t/LWT", b"Offline", &["t availability: offline"]);
    shows("tele/t/LWT", b"gone", &["dead malformed: expected `Online` or `Offline`"]);
    shows(
        "tele/t/UPTIME",
        br#"{"Time":"2024-01-01T13:00:00","Uptime":"0T01:00:00"}"#,
        &["t uptime=3600 s @2024-01-01T12:00:00Z (Uptime)"],
    );
}

#[test]
fn zigbee_devices_are_nodes_by_their_name_or_address() {
    shows(
        "tele/bridge/SENSOR",
        br#"{"ZbReceived":{"0x329F":{"Device":"0x329F","Name":"Kitchen","Temperature":27.89,"Humidity":69.45,"Endpoint":1,"LinkQuality":94}}}"#,
        &[
            "Kitchen humidity=69.45 % (Humidity)",
            "Kitchen linkquality=94 (LinkQuality)",
            "Kitchen temperature=27.89 degC (Temperature)",
        ],
    );
    shows(
        "tele/bridge/5ADF/SENSOR",
        br#"{"ZbReceived":{"0x01F3":{"Device":"0x01F3","BatteryVoltage":2.7,"BatteryPercentage":17,"0006/4001":3,"Power":1,"Endpoint":2}}}"#,
        &[
            "0x01F3 battery=17 % (BatteryPercentage)",
            "0x01F3 battery_voltage=2.7 V (BatteryVoltage)",
            "0x01F3 Power_2=1",
        ],
    );
    // Without the key around it.
    shows(
        "tele/bridge/SENSOR",
        br#"{"0xFF74":{"Device":"0xFF74","Click":"single","Endpoint":2}}"#,
        &["0xFF74 Click: single"],
    );
}

#[test]
fn ble_devices_and_beacons_are_nodes_of_their_own() {
    shows(
        "tele/t/SENSOR",
        br#"{"Time":"2021-05-15T19:18:56","LYWSD038bb3af":{"mac":"a4c1388bb3af","Temperature":18.8,"Battery":null,"RSSI":-85}}"#,
        &[
            "LYWSD038bb3af rssi=-85 dBm @2021-05-15T17:18:56Z (RSSI)",
            "LYWSD038bb3af temperature=18.8 degC @2021-05-15T17:18:56Z (Temperature)",
        ],
    );
    shows(
        "tele/t/SENSOR",
        br#"{"IBEACON":{"MAC":"58782076BC24","UID":"2F234454CF6D4A0FADF2F4911BA9FFA6","MAJOR":"0001","MINOR":"0002","RSSI":-81,"STATE":"ON"}}"#,
        &[
            "2F234454CF6D4A0FADF2F4911BA9FFA6-0001-0002 rssi=-81 dBm (RSSI)",
            "2F234454CF6D4A0FADF2F4911BA9FFA6-0001-0002 STATE=1",
        ],
    );
    shows(
        "tele/t/SENSOR",
        br#"{"IBEACON":{"MAC":"FFFFA0003B19","NAME":"iB1","RSSI":0,"STATE":"OFF"}}"#,
        &["iB1 STATE=0"],
    );
    shows("tele/t/SENSOR", br#"{"IBEACON_FF34C21G2174":{"RSSI":-81}}"#, &["FF34C21G2174 rssi=-81 dBm (RSSI)"]);
    shows(
        "tele/t/BLE",
        br#"{"BLEDevices":{"total":2,"F8042E85ACE5":{"i":0,"r":-90},"A4C1388BB3AF":{"i":2,"r":-80,"a":"keys"}}}"#,
        &["keys rssi=-80 dBm (r)"],
    );
}

#[test]
fn commands_and_discovery_are_nothing() {
    shows("cmnd/t/POWER", b"ON", &[]);
    shows("tasmota/discovery/8CAAB5000000/sensors", br#"{"sn":{"Time":"2024-01-01T00:00:00"},"ver":1}"#, &[]);
    shows("tele/t/SENSOR", b"", &[]);
}

#[test]
fn what_is_no_json_is_told_with_its_place() {
    shows("tele/t/SENSOR", br#"{"Time":nan}"#, &["dead malformed: expected ident at line 1 column 10"]);
    shows("tele/t/SENSOR", b"[]", &["dead malformed: byte 0: expected a JSON object"]);
}

#[test]
fn other_publishers_are_not_taken() {
    for (topic, payload) in [
        ("zigbee2mqtt/lamp", &br#"{"state":"ON"}"#[..]),
        ("rtl_433/raspi/events", br#"{"time":"@0.087s","model":"Acurite-5n1"}"#),
        ("home/OpenMQTTGateway/LWT", b"online"),
        ("shellies/shelly1/relay/0", b"on"),
        ("livingroom/switch/relay/state", b"ON"),
        ("spBv1.0/g/STATE/host", br#"{"online":true}"#),
    ] {
        assert!(!recognises(&message(topic, payload)), "{topic}");
    }
}

#[test]
fn further_temperatures_are_in_the_unit_that_the_message_names() {
    // MLX90614 and MAX31855 (`xsns_46_MLX90614.ino`, `xsns_39_max31855.ino`).
    shows(
        "tele/t/SENSOR",
        br#"{"MLX90614":{"OBJTMP":212,"AMBTMP":68},"MAX31855":{"ProbeTemperature":50,"ReferenceTemperature":68,"Error":0},"TempUnit":"F"}"#,
        &[
            "t MAX31855.Error=0",
            "t probe_temperature=10 degC (MAX31855.ProbeTemperature)",
            "t reference_temperature=20 degC (MAX31855.ReferenceTemperature)",
            "t ambient_temperature=20 degC (MLX90614.AMBTMP)",
            "t object_temperature=100 degC (MLX90614.OBJTMP)",
        ],
    );
}
