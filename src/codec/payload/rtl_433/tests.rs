use super::*;
use crate::codec::payload::listed::{lines, message, message_at};
use crate::zone::Tz;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/fixtures/payloads/rtl_433/", $name))
    };
}

const EVENTS: &str = "rtl_433/raspi/events";

fn decoded(topic: &str, payload: &[u8]) -> Vec<String> {
    lines(&Rtl433::new().decode(&message(topic, payload)))
}

#[test]
fn the_fixtures_are_what_their_documentation_says() {
    let cases: [(&[u8], &[&str]); 4] = [
        (
            fixture!("01-acurite-5n1.json"),
            &[
                "Acurite-5n1/A/839 battery_ok 1 - - -",
                "Acurite-5n1/A/839 precipitation 16.764 mm - rain_in",
                "Acurite-5n1/A/839 wind_speed 1.1975 m/s - wind_avg_km_h",
                "Acurite-5n1/A/839 wind_direction 337.5 deg - wind_dir_deg",
            ],
        ),
        (
            fixture!("02-ambient-wh31e.json"),
            &[
                "AmbientWeather-WH31E/1/208 battery_ok 1 - - -",
                "AmbientWeather-WH31E/1/208 humidity 50 % - -",
                "AmbientWeather-WH31E/1/208 temperature 31.8 degC - temperature_C",
            ],
        ),
        (
            fixture!("05-tower-protocol-meta.json"),
            &[
                "Acurite-Tower/A/10327 battery_ok 1 - 2023-07-15T18:11:41Z -",
                "Acurite-Tower/A/10327 humidity 72 % 2023-07-15T18:11:41Z -",
                "Acurite-Tower/A/10327 noise_floor -21.14 dB 2023-07-15T18:11:41Z noise",
                "Acurite-Tower/A/10327 rssi -0.101 dB 2023-07-15T18:11:41Z -",
                "Acurite-Tower/A/10327 snr 21.039 dB 2023-07-15T18:11:41Z -",
                "Acurite-Tower/A/10327 temperature 26.5 degC 2023-07-15T18:11:41Z temperature_C",
            ],
        ),
        (
            fixture!("07-atlas-lightning.json"),
            &[
                "Acurite-Atlas/A/924 battery_ok 1 - - -",
                "Acurite-Atlas/A/924 humidity 55 % - -",
                "Acurite-Atlas/A/924 strike_count 0 - - -",
                "Acurite-Atlas/A/924 strike_distance 31 - - -",
                "Acurite-Atlas/A/924 temperature 21.722222 degC - temperature_F",
                "Acurite-Atlas/A/924 wind_speed 0 m/s - wind_avg_mi_h",
            ],
        ),
    ];
    for (payload, expected) in cases {
        assert_eq!(decoded(EVENTS, payload), expected);
        assert!(recognises(&message(EVENTS, payload)));
    }
    // Local time, with a blank and without a zone.
    let nexus = Message {
        local: Local { zone: Tz::Europe__Berlin, arrival: None },
        ..message("rtl_433/raspi.fritz.box/events", fixture!("04-nexus-syslog-json.json"))
    };
    assert_eq!(
        lines(&Rtl433::new().decode(&nexus)),
        [
            "Nexus-TH/2/42 battery_ok 1 - 2019-08-29T06:38:19Z -",
            "Nexus-TH/2/42 humidity 83 % 2019-08-29T06:38:19Z -",
            "Nexus-TH/2/42 temperature 20.5 degC 2019-08-29T06:38:19Z temperature_C",
        ]
    );
}

#[test]
fn a_burst_is_stored_once_and_a_stuck_sensor_each_time() {
    let frame = |time: &str, sequence: u8, rssi: f64| {
        format!(
            r#"{{"time":"{time}","model":"Acurite-Tower","id":1,"channel":"A","sequence_num":{sequence},"temperature_C":20.5,"rssi":{rssi}}}"#
        )
    };
    // By arrival, by the recording's clock, and by a clock of whole seconds.
    for times in [
        ["", "", ""],
        ["@0.087052s", "@0.3s", "@0.5s"],
        ["2025-10-09 08:53:20", "2025-10-09 08:53:20", "2025-10-09 08:53:21"],
    ] {
        let mut format = Rtl433::new();
        for (n, time) in (0_u8..).zip(times) {
            let later = 0.1 * f64::from(n);
            let payload = frame(time, n, -later);
            let found = format.decode(&message_at(EVENTS, payload.as_bytes(), 1_760_000_000.2 + later));
            assert_eq!(found.readings.len(), if n == 0 { 2 } else { 0 }, "{payload}");
            assert!(found.dead.is_empty());
        }
        // The other receiver's copy is the same frame.
        let payload = frame(times[2], 2, -3.0);
        assert!(format.decode(&message_at("rtl_433/attic/events", payload.as_bytes(), 1_760_000_000.6)).is_empty());
        // The same values 16 seconds later are new readings.
        let payload = frame("", 0, -0.1);
        assert_eq!(format.decode(&message_at(EVENTS, payload.as_bytes(), 1_760_000_016.0)).readings.len(), 2);
    }
    // A recording that is played faster than it was made.
    let mut format = Rtl433::new();
    for time in ["@0.5s", "@18.5s", "@36.5s"] {
        assert_eq!(format.decode(&message(EVENTS, frame(time, 0, -1.0).as_bytes())).readings.len(), 2, "{time}");
    }
    // Where no clock tells, everything is stored.
    let mut format = Rtl433::new();
    for _ in 0..2 {
        let payload = frame("", 0, -1.0);
        let unsure = Message { local: Local::UTC, ..message(EVENTS, payload.as_bytes()) };
        assert_eq!(format.decode(&unsure).readings.len(), 2);
    }
}

#[test]
fn every_shape_of_time_is_read() {
    for (time, expected) in [
        (r#""2019-08-29T08:38:19""#, "2019-08-29T08:38:19Z"),
        (r#""2019-08-29T08:38:19+0200""#, "2019-08-29T06:38:19Z"),
        (r#""2019-08-29T08:38:19Z""#, "2019-08-29T08:38:19Z"),
        (r#""2019-08-29 08:38:19.123456""#, "2019-08-29T08:38:19.123456Z"),
        (r#""1689444701.250000""#, "2023-07-15T18:11:41.250Z"),
        ("1689444701", "2023-07-15T18:11:41Z"),
        (r#""@0.087s""#, "-"),
        (r#""""#, "-"),
        ("null", "-"),
    ] {
        let payload = format!(r#"{{"time":{time},"model":"X","humidity":50}}"#);
        assert_eq!(decoded(EVENTS, payload.as_bytes()), [format!("X humidity 50 % {expected} -")], "{time}");
    }
    let bad = decoded(EVENTS, br#"{"time":"yesterday","model":"X","humidity":50}"#);
    assert_eq!(bad[0], "X humidity 50 % - -");
    assert!(bad[1].starts_with("!X clock the field `time` is `yesterday`: expected"), "{bad:?}");
}

#[test]
fn units_names_switches_and_buttons() {
    for (field, expected) in [
        (r#""pressure_kPa":220.5"#, "X pressure 2205 hPa - pressure_kPa"),
        (r#""pressure_PSI":32"#, "X pressure 2206.322334 hPa - pressure_PSI"),
        (r#""pressure_hPa":1013.2"#, "X pressure 1013.2 hPa - pressure_hPa"),
        (r#""temperature_1_F":32"#, "X temperature_1 0 degC - temperature_1_F"),
        (r#""temperature_2_C":-5.5"#, "X temperature_2 -5.5 degC - temperature_2_C"),
        (r#""wind_max_m_s":7.5"#, "X wind_gust 7.5 m/s - wind_max_m_s"),
        (r#""rain_rate_mm_h":2.5"#, "X precipitation_rate 2.5 mm/h - rain_rate_mm_h"),
        (r#""light_klx":1.5"#, "X illuminance 1500 lx - light_klx"),
        (r#""light_lux":12"#, "X illuminance 12 lx - light_lux"),
        (r#""battery_V":2.9"#, "X battery_voltage 2.9 V - battery_V"),
        (r#""battery_mV":2900"#, "X battery_voltage 2.9 V - battery_mV"),
        (r#""battery_ok":0.5"#, "X battery_ok 0.5 - - -"),
        (r#""battery":"LOW""#, "X battery_ok 0 - - -"),
        (r#""pm2_5_ug_m3":7"#, "X pm2_5 7 ug/m3 - pm2_5_ug_m3"),
        (r#""pm10_ug_m3":9"#, "X pm10 9 ug/m3 - pm10_ug_m3"),
        (r#""co2_ppm":612"#, "X co2 612 ppm - co2_ppm"),
        (r#""moisture":33"#, "X soil_moisture 33 % - moisture"),
        (r#""depth_cm":101"#, "X depth 1.01 m - depth_cm"),
        (r#""storm_dist_km":8"#, "X storm_dist 8 km - storm_dist_km"),
        (r#""power_W":12.5"#, "X power 12.5 W - power_W"),
        (r#""uv":3"#, "X uv_index 3 - - uv"),
        (r#""switch1":"OPEN""#, "X switch1 1 - - -"),
        (r#""state":"OFF""#, "X state 0 - - -"),
        (r#""tamper":1"#, "X tamper 1 - - -"),
        (r#""button":3"#, "!X button 3 -"),
        (r#""event":"motion""#, "!X event motion -"),
        (r#""cmd":"On""#, "!X cmd On -"),
        (r#""unknown_name":2"#, ""),
        (r#""data":"1600000000""#, ""),
        (r#""raw_msg":"39650088""#, ""),
        (r#""rows":[{"len":25,"data":"fb2dd58"}]"#, ""),
        (r#""code_hex":"00123""#, ""),
        (r#""humidity":null"#, ""),
    ] {
        let payload = format!(r#"{{"model":"X",{field}}}"#);
        let expected: Vec<&str> = Some(expected).filter(|text| !text.is_empty()).into_iter().collect();
        assert_eq!(decoded(EVENTS, payload.as_bytes()), expected, "{field}");
    }
    // Beside a measured value a number is the state of the sender's own button.
    let found = decoded(EVENTS, br#"{"model":"Prologue-TH","button":0,"temperature_C":20}"#);
    assert_eq!(found, ["Prologue-TH button 0 - - -", "Prologue-TH temperature 20 degC - temperature_C"]);
}

#[test]
fn a_channel_is_one_identity_as_number_and_as_text() {
    let of = |channel: &str| {
        decoded(
            EVENTS,
            format!(r#"{{"model":"Some Model/X","subtype":"key","channel":{channel},"id":"a b","humidity":1}}"#)
                .as_bytes(),
        )
    };
    assert_eq!(of("1"), ["Some_Model_X/key/1/a_b humidity 1 % - -"]);
    assert_eq!(of("1"), of(r#""1""#));
}

#[test]
fn devices_topics_repeat_what_the_event_has_told() {
    let mut format = Rtl433::new();
    let event = br#"{"time":"2025-10-09 08:53:19","model":"Acurite-Tower","id":7,"channel":"A","battery_ok":1,"temperature_C":26.500}"#;
    assert_eq!(format.decode(&message(EVENTS, event)).readings.len(), 2);
    for (key, value) in
        [("time", "2025-10-09 08:53:19"), ("id", "7"), ("channel", "A"), ("battery_ok", "1"), ("temperature_C", "26.5")]
    {
        let topic = format!("rtl_433/raspi/devices/Acurite-Tower/A/7/{key}");
        assert!(format.decode(&message(&topic, value.as_bytes())).is_empty(), "{key}");
    }
    // Alone they are readings, with the time that their topic `time` has told.
    let mut format = Rtl433::new();
    let topic = |key: &str| format!("rtl_433/raspi/devices/Acurite-Tower/A/7/{key}");
    assert!(format.decode(&message(&topic("time"), b"2025-10-09 08:53:19")).is_empty());
    assert_eq!(
        lines(&format.decode(&message(&topic("temperature_C"), b"26.5"))),
        ["Acurite-Tower/A/7 temperature 26.5 degC 2025-10-09T08:53:19Z temperature_C"]
    );
    assert!(format.decode(&message_at(&topic("temperature_C"), b"26.5", 1_760_000_001.0)).is_empty());
    assert_eq!(
        lines(&format.decode(&message_at(&topic("temperature_C"), b"26.5", 1_760_000_030.0))),
        ["Acurite-Tower/A/7 temperature 26.5 degC - temperature_C"]
    );
    assert!(recognises(&message(&topic("temperature_C"), b"26.5")));
}

#[test]
fn devices_topics_can_be_configured() {
    assert_eq!(
        decoded("rtl_433/raspi/devices/TPMS/Schrader/1a2b/pressure_kPa", b"220.5"),
        ["Schrader/1a2b pressure 2205 hPa - pressure_kPa"]
    );
    assert_eq!(decoded("sensors/Nexus-TH/42/humidity", b"83"), ["Nexus-TH/42 humidity 83 % - -"]);
    let named =
        Message { node: Some("attic"), metric: Some("temperature_C"), ..message("x/attic/temperature_C", b"21") };
    assert_eq!(lines(&Rtl433::new().decode(&named)), ["attic temperature 21 degC - temperature_C"]);
    assert_eq!(decoded("rtl_433/raspi/devices/X/1/raw_msg", b"1234"), [] as [&str; 0]);
    assert_eq!(decoded("rtl_433/raspi/devices/X/1/battery", b"OK"), ["X/1 battery_ok 1 - - -"]);
    assert_eq!(decoded("rtl_433/raspi/devices/X/1/button", b"2"), ["!X/1 button 2 -"]);
}

#[test]
fn reports_and_availability() {
    assert!(
        decoded(
            "rtl_433/raspi/states",
            br#"{"enabled":200,"since":"2024-01-01T00:00:00","frames":{"count":3},"stats":[]}"#
        )
        .is_empty()
    );
    assert_eq!(decoded("rtl_433/raspi/availability", b"offline"), ["!raspi availability offline -"]);
    assert_eq!(decoded(EVENTS, b"{}"), ["?no-reading expected a field `model` with text"]);
    assert_eq!(decoded(EVENTS, b"[1]"), ["?malformed expected a JSON object"]);
    assert!(decoded(EVENTS, br#"{"model":"#)[0].starts_with("?malformed EOF while parsing a value at line 1 column"));
    assert!(!recognises(&message("home/OMG/RTL_433toMQTT/X", br#"{"model":"X","id":1}"#)));
    assert!(!recognises(&message("shellies/x/events", br#"{"model":"SHSW-1","mac":"AA"}"#)));
}

#[test]
fn the_memory_is_bounded() {
    let mut format = Rtl433::new();
    for id in 0..5_000 {
        let payload = format!(r#"{{"model":"X","id":{id},"humidity":{}}}"#, id % 100);
        assert_eq!(format.decode(&message(EVENTS, payload.as_bytes())).readings.len(), 1);
    }
    assert!(format.heard.len() <= REMEMBERED);
}
