use super::*;
use crate::codec::payload::listed::{lines, message, message_at};

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/fixtures/payloads/the-things-stack/", $name))
    };
}

const TOPIC: &str = "v3/app1@tenant1/devices/dev1/up";
const NONE: [&str; 0] = [];

fn decoded(payload: &[u8]) -> Vec<String> {
    lines(&TheThingsStack::new().decode(&message(TOPIC, payload)))
}

/// An uplink of `dev1` with these fields, and these of its `uplink_message`.
fn with(outer: &str, inner: &str) -> Vec<String> {
    let ids = r#""end_device_ids":{"device_id":"dev1","dev_eui":"42"}"#;
    decoded(format!(r#"{{{ids}{outer},"uplink_message":{{{inner}}}}}"#).as_bytes())
}

#[test]
fn the_fixtures_are_what_their_documentation_says() {
    let at = "2021-11-11T08:33:34.909192Z";
    assert_eq!(
        decoded(fixture!("02-dragino-lht65.json")),
        [
            format!("lht65-4c84 battery_voltage 3.103 V {at} BatV"),
            format!("lht65-4c84 Bat_status 3 - {at} -"),
            format!("lht65-4c84 humidity_SHT 67.6 % {at} Hum_SHT"),
            format!("lht65-4c84 temperature_DS 13.18 degC {at} TempC_DS"),
            format!("lht65-4c84 temperature_SHT 14.65 degC {at} TempC_SHT"),
            format!("lht65-4c84 rssi -60 dBm {at} -"),
            format!("lht65-4c84 snr 8.5 dB {at} -"),
        ]
    );
    // No decoder: nothing is lost.
    assert_eq!(
        decoded(fixture!("01-doc-uplink.json")),
        [
            "dev1 rssi -35 dBm 2019-01-29T13:02:34.981Z -",
            "dev1 snr 5 dB 2019-01-29T13:02:34.981Z -",
            "!dev1 uplink port 15, payload VGVtcGVyYXR1cmUgPSAwLjA= 2019-01-29T13:02:34.981Z",
        ]
    );
    let at = "2024-03-22T17:55:05.070404Z";
    assert_eq!(
        decoded(fixture!("04-simulated.json")),
        [
            format!("portenta-h7-icicle-00/simulated detected 1 - {at} -"),
            format!("portenta-h7-icicle-00/simulated rssi 42 dBm {at} -"),
            format!("portenta-h7-icicle-00/simulated snr 4.2 dB {at} -"),
        ]
    );
    let invalid = decoded(fixture!("05-doc-example-INVALID-JSON.txt"));
    assert_eq!(invalid, ["?malformed expected `,` or `}` at line 79 column 5"]);
    for payload in
        [&fixture!("01-doc-uplink.json")[..], fixture!("02-dragino-lht65.json"), fixture!("04-simulated.json")]
    {
        assert!(recognises(&message(TOPIC, payload)));
    }
}

#[test]
fn the_gateways_time_counts_where_it_can_be_right() {
    let times = |settings: &str, gateway: &str, server: &str| {
        let inner = format!(
            r#""decoded_payload":{{"x":1}},"settings":{{"time":{settings}}},"rx_metadata":[{{"time":{gateway}}}],"received_at":{server}"#
        );
        with(r#","received_at":"2024-01-01T00:00:09Z""#, &inner)[0].clone()
    };
    let (a, b, c) = (r#""2024-01-01T00:00:01Z""#, r#""2024-01-01T00:00:02Z""#, r#""2024-01-01T00:00:03Z""#);
    assert_eq!(times(a, b, c), "dev1 x 1 - 2024-01-01T00:00:01Z -");
    assert_eq!(times("null", b, c), "dev1 x 1 - 2024-01-01T00:00:02Z -");
    assert_eq!(times("null", "null", c), "dev1 x 1 - 2024-01-01T00:00:03Z -");
    assert_eq!(times("null", "null", "null"), "dev1 x 1 - 2024-01-01T00:00:09Z -");
    // Clocks that were never set, or are ahead.
    assert_eq!(times(r#""1970-01-01T00:00:05Z""#, "null", c), "dev1 x 1 - 2024-01-01T00:00:03Z -");
    assert_eq!(times(r#""2024-01-01T03:00:00Z""#, b, c), "dev1 x 1 - 2024-01-01T00:00:02Z -");
    // With nanoseconds, cut.
    assert_eq!(
        times("null", "null", r#""2024-01-01T00:00:03.926321616Z""#),
        "dev1 x 1 - 2024-01-01T00:00:03.926321Z -"
    );
}

#[test]
fn payloads_of_every_shape() {
    let payload = |decoded: &str| with("", &format!(r#""f_port":2,"frm_payload":"AQ==","decoded_payload":{decoded}"#));
    for (decoded, expected) in [
        (
            r#"{"temperature_1":27.2,"relative_humidity_2":40}"#,
            &["dev1 humidity_2 40 % - relative_humidity_2", "dev1 temperature_1 27.2 degC - -"][..],
        ),
        (
            r#"{"gps_6":{"latitude":52.1,"altitude":12}}"#,
            &["dev1 gps_6.altitude 12 m - -", "dev1 gps_6.latitude 52.1 deg - -"],
        ),
        (r#"{"list":[1,{"v":2}]}"#, &["dev1 list.0 1 - - -", "dev1 list.1.v 2 - - -"]),
        (
            r#"{"TempC1":"20.5","door":"open","Ext_sensor":"Temperature Sensor"}"#,
            &["dev1 temperature_1 20.5 degC - TempC1", "dev1 door 1 - - -"],
        ),
        (r#"{"battery_mv":3600,"leak":false}"#, &["dev1 battery_voltage 3.6 V - battery_mv", "dev1 leak 0 - - -"]),
        (r#"{"alarm":"tilt"}"#, &["!dev1 alarm tilt -"]),
        (r#"{"bytes":[1,2,3]}"#, &["!dev1 uplink port 2, payload AQ== -"]),
        ("{}", &["!dev1 uplink port 2, payload AQ== -"]),
        (r#"{"x":null}"#, &["!dev1 uplink port 2, payload AQ== -"]),
    ] {
        let mut found = payload(decoded);
        found.sort();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{decoded}");
    }
    // Deep nesting ends.
    let deep = format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100));
    assert_eq!(payload(&deep), ["!dev1 uplink port 2, payload AQ== -"]);
}

#[test]
fn normalized_payloads_have_defined_names() {
    let inner = r#""frm_payload":"AQ==","decoded_payload":{"t":21.4},"normalized_payload":[{"air":{"temperature":21.5,"relativeHumidity":40,"lightIntensity":9},"wind":{"speed":3}},{"time":"2024-01-01T00:00:00Z","soil":{"ec":1.5,"depth":20}}],"decoded_payload_warnings":["old firmware"]"#;
    assert_eq!(
        with("", inner),
        [
            "dev1 t 21.4 - - -",
            "dev1 illuminance 9 lx - air.lightIntensity",
            "dev1 humidity 40 % - air.relativeHumidity",
            "dev1 temperature 21.5 degC - air.temperature",
            "dev1 wind_speed 3 m/s - wind.speed",
            "dev1 soil_depth 20 cm 2024-01-01T00:00:00Z soil.depth",
            "dev1 conductivity 1500 uS/cm 2024-01-01T00:00:00Z soil.ec",
            "!dev1 decoder_warning old firmware -",
        ]
    );
}

#[test]
fn the_loudest_gateway_and_what_is_left_out_as_zero() {
    let inner = r#""settings":{"data_rate":{"lora":{}}},"rx_metadata":[{"rssi":-110,"snr":-3},{"rssi":-60},{"rssi":-90,"snr":7}]"#;
    assert_eq!(with("", inner), ["dev1 rssi -60 dBm - -", "dev1 snr 0 dB - -"]);
    let battery = r#""last_battery_percentage":{"f_cnt":3,"value":87.4,"received_at":"2024-01-01T00:00:00Z"}"#;
    assert_eq!(with("", battery), ["dev1 battery 87.4 % 2024-01-01T00:00:00Z last_battery_percentage"]);
    let places = r#""locations":{"frm-payload":{"latitude":1.5,"longitude":2.5,"source":"SOURCE_GPS"},"user":{"latitude":9,"source":"SOURCE_REGISTRY"}}"#;
    assert_eq!(
        with("", places),
        ["dev1 latitude 1.5 deg - locations.latitude", "dev1 longitude 2.5 deg - locations.longitude"]
    );
}

#[test]
fn an_uplink_is_stored_once() {
    let uplink = |count: u32, server: &str, simulated: bool| {
        format!(
            r#"{{"end_device_ids":{{"device_id":"dev1","dev_eui":"42"}},"simulated":{simulated},"uplink_message":{{"session_key_id":"AX0A","f_cnt":{count},"f_port":1,"frm_payload":"AQ==","decoded_payload":{{"x":1}},"received_at":"{server}"}}}}"#
        )
    };
    let mut format = TheThingsStack::new();
    let mut count = |payload: &str, at: f64| format.decode(&message_at(TOPIC, payload.as_bytes(), at)).readings.len();
    let first = uplink(7, "2024-01-01T00:00:00Z", false);
    assert_eq!(count(&first, 1_760_000_000.0), 1);
    assert_eq!(count(&first, 1_760_000_001.0), 0);
    assert_eq!(count(&uplink(7, "2024-01-01T00:00:04Z", false), 1_760_000_004.0), 0);
    // The same bytes much later: a broker's redelivery.
    assert_eq!(count(&first, 1_760_000_100.0), 1);
    assert_eq!(count(&uplink(8, "2024-01-01T00:01:00Z", false), 1_760_000_060.0), 1);
    // A counter that began anew.
    assert_eq!(count(&uplink(7, "2024-01-01T01:00:00Z", false), 1_760_003_600.0), 1);
    // Whoever simulates means each.
    let simulated = uplink(7, "2024-01-01T01:00:00Z", true);
    assert_eq!((count(&simulated, 1_760_003_600.0), count(&simulated, 1_760_003_600.0)), (1, 1));
}

#[test]
fn other_messages() {
    let of = |fields: &str| {
        decoded(format!(r#"{{"end_device_ids":{{"device_id":"dev1","dev_addr":"00BCB929"}},"received_at":"2024-01-01T00:00:00Z",{fields}}}"#).as_bytes())
    };
    assert_eq!(of(r#""join_accept":{"session_key_id":"A"}"#), ["!dev1 join 00BCB929 2024-01-01T00:00:00Z"]);
    assert_eq!(of(r#""downlink_queued":{"f_port":1}"#), NONE);
    assert_eq!(of(r#""downlink_sent":{"f_port":1}"#), NONE);
    assert_eq!(of(r#""service_data":{"service":"x","data":{"a":1}}"#), NONE);
    assert_eq!(
        of(r#""downlink_failed":{"downlink":{},"error":{"message_format":"no gateway"}}"#),
        ["!dev1 downlink_failed no gateway 2024-01-01T00:00:00Z"]
    );
    assert_eq!(
        of(r#""location_solved":{"service":"lora-cloud","location":{"latitude":1.5,"longitude":2.5,"accuracy":30}}"#),
        [
            "dev1 latitude 1.5 deg 2024-01-01T00:00:00Z location_solved.latitude",
            "dev1 longitude 2.5 deg 2024-01-01T00:00:00Z location_solved.longitude",
            "dev1 location_accuracy 30 m 2024-01-01T00:00:00Z location_solved.accuracy",
        ]
    );
    assert_eq!(decoded(br#"{"downlinks":[{"f_port":1,"frm_payload":"AA=="}]}"#), NONE);
    assert_eq!(decoded(b"{}"), ["?malformed expected the device's id as text in `end_device_ids.device_id`"]);
    assert_eq!(of(r#""x":1"#), ["?no-reading expected `uplink_message` or another of the known messages"]);
}

#[test]
fn the_examples_of_the_documentation() {
    // "Payload formatters" (JavaScript): the battery is in millivolts.
    assert_eq!(
        with(
            "",
            r#""f_port":4,"f_cnt":7825,"frm_payload":"DLIEgPeu","decoded_payload":{"battery":3250,"event":"button","light":1152,"temperature":-21.3}"#
        ),
        [
            "dev1 battery_voltage 3.25 V - battery",
            "dev1 illuminance 1152 lx - light",
            "dev1 temperature -21.3 degC - -",
            "!dev1 event button -",
        ]
    );
    assert_eq!(
        with(
            "",
            r#""frm_payload":"AQ==","decoded_payload":{},"normalized_payload":[{"action":{"contactState":"open"},"metering":{"water":{"total":1500}},"battery":3.1}]"#
        ),
        [
            "dev1 action.contactState 1 - - -",
            "dev1 battery_voltage 3.1 V - battery",
            "dev1 water 1.5 m3 - metering.water.total",
        ]
    );
}
