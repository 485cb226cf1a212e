use super::*;
use crate::codec::payload::listed::{lines, message};

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/fixtures/payloads/ruuvi-gateway/", $name))
    };
}

const TOPIC: &str = "ruuvi/C8:25:2D:8E:9C:2C/F4:1F:0C:28:CB:D6";

fn decoded(payload: &[u8]) -> Vec<String> {
    lines(&Ruuvi::new().decode(&message(TOPIC, payload)))
}

/// `metric value unit` of an advertisement's values.
fn values(hex: &str) -> Vec<String> {
    let hex = format!("{:02X}FF9904{hex}", hex.len() / 2 + 3);
    let read = advertisement::read(&advertisement::unhex(&hex).unwrap()).unwrap().unwrap();
    read.values
        .iter()
        .map(|(_, metric, unit, value)| format!("{metric} {} {unit}", (value * 1e4).round() / 1e4))
        .collect()
}

#[test]
fn the_fixtures_are_what_the_documentation_says() {
    // 0x15AE * 0.005, 0x4C6D * 0.0025, 0xC6D7 + 50000 Pa, 0x000C, 0xFFF8, 0x03F4 mg, 0xADB6: 1389 + 1600 mV, 22 * 2 - 40.
    let at = "2022-05-27T16:13:47Z";
    let node = "F4:1F:0C:28:CB:D6";
    let expected = [
        format!("{node} temperature 27.75 degC {at} -"),
        format!("{node} humidity 48.9125 % {at} -"),
        format!("{node} pressure 1009.03 hPa {at} -"),
        format!("{node} acceleration_x 0.012 g {at} accelX"),
        format!("{node} acceleration_y -0.008 g {at} accelY"),
        format!("{node} acceleration_z 1.012 g {at} accelZ"),
        format!("{node} battery_voltage 2.989 V {at} voltage"),
        format!("{node} tx_power 4 dBm {at} txPower"),
        format!("{node} movement_counter 173 - {at} movementCounter"),
        format!("{node} rssi -26 dBm {at} -"),
    ];
    assert_eq!(decoded(fixture!("01-timestamped.json")), expected);
    // Without a synchronised clock the arrival counts. 0x1664, 0x55D5, 0xC6DE, 0xAE76: 1395 mV and 22.
    let expected = [
        format!("{node} temperature 28.66 degC - -"),
        format!("{node} humidity 54.9325 % - -"),
        format!("{node} pressure 1009.1 hPa - -"),
        format!("{node} acceleration_x 0.008 g - accelX"),
        format!("{node} acceleration_y -0.012 g - accelY"),
        format!("{node} acceleration_z 1.008 g - accelZ"),
        format!("{node} battery_voltage 2.995 V - voltage"),
        format!("{node} tx_power 4 dBm - txPower"),
        format!("{node} movement_counter 15 - - movementCounter"),
        format!("{node} rssi -25 dBm - -"),
    ];
    assert_eq!(decoded(fixture!("02-counter.json")), expected);
    for payload in [&fixture!("01-timestamped.json")[..], fixture!("02-counter.json")] {
        assert!(recognises(&message(TOPIC, payload)));
    }
}

#[test]
fn the_published_test_vectors_of_format_5() {
    assert_eq!(
        values("0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F"),
        [
            "temperature 24.3 degC",
            "humidity 53.49 %",
            "pressure 1000.44 hPa",
            "acceleration_x 0.004 g",
            "acceleration_y -0.004 g",
            "acceleration_z 1.036 g",
            "battery_voltage 2.977 V",
            "tx_power 4 dBm",
            "movement_counter 66 ",
        ]
    );
    assert_eq!(
        values("057FFFFFFEFFFE7FFF7FFF7FFFFFDEFEFFFECBB8334C884F"),
        [
            "temperature 163.835 degC",
            "humidity 163.835 %",
            "pressure 1155.34 hPa",
            "acceleration_x 32.767 g",
            "acceleration_y 32.767 g",
            "acceleration_z 32.767 g",
            "battery_voltage 3.646 V",
            "tx_power 20 dBm",
            "movement_counter 254 ",
        ]
    );
    assert_eq!(
        values("058001000000008001800180010000000000CBB8334C884F"),
        [
            "temperature -163.835 degC",
            "humidity 0 %",
            "pressure 500 hPa",
            "acceleration_x -32.767 g",
            "acceleration_y -32.767 g",
            "acceleration_z -32.767 g",
            "battery_voltage 1.6 V",
            "tx_power -40 dBm",
            "movement_counter 0 ",
        ]
    );
    assert_eq!(values("058000FFFFFFFF800080008000FFFFFFFFFFFFFFFFFFFFFF"), [] as [&str; 0]);
}

#[test]
fn the_published_test_vectors_of_the_other_formats() {
    assert_eq!(
        values("03291A1ECE1EFC18F94202CA0B53"),
        [
            "humidity 20.5 %",
            "temperature 26.3 degC",
            "pressure 1027.66 hPa",
            "acceleration_x -1 g",
            "acceleration_y -1.726 g",
            "acceleration_z 0.714 g",
            "battery_voltage 2.899 V",
        ]
    );
    // The sign is a bit of its own: -127.99.
    assert_eq!(values("0300FF6300008001800180010000")[1], "temperature -127.99 degC");
    assert_eq!(
        values("C512FC5394C37CAC364200CDCBB8334C884F"),
        [
            "temperature 24.3 degC",
            "humidity 53.49 %",
            "pressure 1000.44 hPa",
            "battery_voltage 2.977 V",
            "tx_power 4 dBm",
            "movement_counter 66 ",
        ]
    );
    assert_eq!(values("C58000FFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"), [] as [&str; 0]);
}

#[test]
fn the_published_test_vectors_of_ruuvi_air() {
    assert_eq!(
        values("06170C5668C79E007000C90501D9FFCD004C884F"),
        [
            "temperature 29.5 degC",
            "humidity 55.3 %",
            "pressure 1011.02 hPa",
            "pm2_5 11.2 ug/m3",
            "co2 201 ppm",
            "voc_index 10 ",
            "nox_index 2 ",
            "calibration_in_progress 0 ",
            "illuminance 13026.67 lx",
        ]
    );
    assert_eq!(
        values("067FFF9C40FFFE27109C40FAFAFEFFFF074C8F4F"),
        [
            "temperature 163.835 degC",
            "humidity 100 %",
            "pressure 1155.34 hPa",
            "pm2_5 1000 ug/m3",
            "co2 40000 ppm",
            "voc_index 500 ",
            "nox_index 500 ",
            "calibration_in_progress 1 ",
            "illuminance 65535 lx",
        ]
    );
    assert_eq!(
        values("0680010000000000000000000000FF00004C884F"),
        [
            "temperature -163.835 degC",
            "humidity 0 %",
            "pressure 500 hPa",
            "pm2_5 0 ug/m3",
            "co2 0 ppm",
            "voc_index 0 ",
            "nox_index 0 ",
            "calibration_in_progress 0 ",
            "illuminance 0 lx",
        ]
    );
    assert_eq!(values("068000FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"), ["calibration_in_progress 1 "]);
    assert_eq!(
        values("E17FFF9C40FFFE27102710271027109C40FAFADC28F0FFFFFFFFFFFE3FFFFFFFFFFFCBB8334C884F"),
        [
            "temperature 163.835 degC",
            "humidity 100 %",
            "pressure 1155.34 hPa",
            "pm1 1000 ug/m3",
            "pm2_5 1000 ug/m3",
            "pm4 1000 ug/m3",
            "pm10 1000 ug/m3",
            "co2 40000 ppm",
            "voc_index 500 ",
            "nox_index 500 ",
            "calibration_in_progress 1 ",
            "illuminance 144284 lx",
        ]
    );
    let least = values("E1800100000000000000000000000000000000000000FFFFFF00000000FFFFFFFFFFCBB8334C884F");
    assert_eq!((least.len(), &*least[0], &*least[11]), (12, "temperature -163.835 degC", "illuminance 0 lx"));
    assert_eq!(
        values("E1170C5668C79E0065007004BD11CA00C90A0213E0ACFFFFFFDECDEE10FFFFFFFFFFCBB8334C884F"),
        [
            "temperature 29.5 degC",
            "humidity 55.3 %",
            "pressure 1011.02 hPa",
            "pm1 10.1 ug/m3",
            "pm2_5 11.2 ug/m3",
            "pm4 121.3 ug/m3",
            "pm10 455.4 ug/m3",
            "co2 201 ppm",
            "voc_index 20 ",
            "nox_index 4 ",
            "calibration_in_progress 0 ",
            "illuminance 13027 lx",
        ]
    );
}

#[test]
fn a_measurement_that_is_sent_again_is_stored_once() {
    let with = |data: &str, ts: u32, gateway: &str| {
        format!(r#"{{"gw_mac":"{gateway}","rssi":-26,"aoa":[],"gwts":{ts},"ts":{ts},"data":"{data}","coords":""}}"#)
    };
    let first = "0201061BFF99040515AE4C6DC6D7000CFFF803F4ADB6AD697FF41F0C28CBD6";
    let next = "0201061BFF99040515AE4C6DC6D7000CFFF803F4ADB6AD6980F41F0C28CBD6";
    let mut format = Ruuvi::new();
    let mut readings = |payload: &str| format.decode(&message(TOPIC, payload.as_bytes())).readings.len();
    assert_eq!(readings(&with(first, 1_653_668_027, "C8:25:2D:8E:9C:2C")), 10);
    assert_eq!(readings(&with(first, 1_653_668_028, "C8:25:2D:8E:9C:2C")), 0);
    assert_eq!(readings(&with(first, 1_653_668_027, "C8:25:2D:00:00:01")), 0);
    // A broker's redelivery has the same time: the store knows it.
    assert_eq!(readings(&with(first, 1_653_668_027, "C8:25:2D:8E:9C:2C")), 10);
    assert_eq!(readings(&with(next, 1_653_668_029, "C8:25:2D:8E:9C:2C")), 10);
}

#[test]
fn what_the_gateway_decoded_has_its_units() {
    let payload = br#"{"gw_mac":"C8:25:2D:8E:9C:2C","rssi":-60,"aoa":[],"gwts":1700000001,"ts":1700000000,"dataFormat":5,"temperature":21.5,"humidity":null,"pressure":100321,"accelX":0.01,"movementCounter":3,"voltage":2.95,"txPower":4,"measurementSequenceNumber":9,"id":"F4:1F:0C:28:CB:D6","coords":""}"#;
    let node = "F4:1F:0C:28:CB:D6";
    let at = "2023-11-14T22:13:20Z";
    assert_eq!(
        decoded(payload),
        [
            format!("{node} temperature 21.5 degC {at} -"),
            format!("{node} pressure 1003.21 hPa {at} -"),
            format!("{node} acceleration_x 0.01 g {at} accelX"),
            format!("{node} movement_counter 3 - {at} movementCounter"),
            format!("{node} battery_voltage 2.95 V {at} voltage"),
            format!("{node} tx_power 4 dBm {at} txPower"),
            format!("{node} rssi -60 dBm {at} -"),
        ]
    );
    assert!(recognises(&message(TOPIC, payload)));
}

#[test]
fn bad_and_foreign_advertisements() {
    let with = |data: &str| decoded(format!(r#"{{"gw_mac":"C8:25:2D:8E:9C:2C","data":"{data}"}}"#).as_bytes());
    assert_eq!(with("02010"), ["?malformed the field `data`, character 4: expected pairs of hex digits"]);
    assert_eq!(with("0201zz"), ["?malformed the field `data`, character 4: expected pairs of hex digits"]);
    assert_eq!(
        with("0201061BFF9904051234"),
        ["?malformed the field `data`: byte 3: an element of 27 bytes, 6 are left"]
    );
    assert_eq!(with("05FF99040512"), ["?malformed the field `data`: data format 5: 2 bytes, expected 24"]);
    assert_eq!(with("05FF99040812"), ["?no-reading the field `data`: data format 8: expected 3, 5, 6, C5 or E1"]);
    // Apple's, and none at all.
    assert_eq!(with("0201061AFF4C000215FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000C5"), [] as [&str; 0]);
    assert_eq!(with(""), [] as [&str; 0]);
}

#[test]
fn the_gateway_tells_whether_it_is_there() {
    let message = message("ruuvi/C8:25:2D:8E:9C:2C/gw_status", br#"{"state":"offline"}"#);
    assert!(recognises(&message));
    assert_eq!(lines(&Ruuvi::new().decode(&message)), ["!C8:25:2D:8E:9C:2C availability offline -"]);
}
