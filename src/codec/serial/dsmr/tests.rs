use proptest::prelude::*;

use super::super::streams::{Stream, always_the_same, rows, survives_damage};
use super::*;

const V2: &[u8] = include_bytes!("../../../../tests/fixtures/serial/dsmr-v2_2.bin");
const V3: &[u8] = include_bytes!("../../../../tests/fixtures/serial/dsmr-v3.bin");
const V4: &[u8] = include_bytes!("../../../../tests/fixtures/serial/dsmr-v4_2.bin");
const V5: &[u8] = include_bytes!("../../../../tests/fixtures/serial/dsmr-v5.bin");
const FLUVIUS: &[u8] = include_bytes!("../../../../tests/fixtures/serial/dsmr-fluvius_v171.bin");
const LUXEMBOURG: &[u8] = include_bytes!("../../../../tests/fixtures/serial/dsmr-luxembourg.bin");
const SWEDEN: &[u8] = include_bytes!("../../../../tests/fixtures/serial/dsmr-sweden.bin");

/// A telegram of these lines, with its checksum.
fn telegram(lines: &[&str]) -> Vec<u8> {
    let mut bytes = b"/NWB5-TEST\r\n\r\n".to_vec();
    for line in lines {
        bytes.extend(line.bytes());
        bytes.extend(b"\r\n");
    }
    bytes.push(b'!');
    let sum = Checksum::named("CRC-16/ARC").unwrap().of(&bytes);
    bytes.extend(format!("{sum:04X}\r\n").bytes());
    bytes
}

fn all(bytes: &[u8]) -> (Vec<String>, u64) {
    let (mut dsmr, mut all) = (Dsmr::new("meter"), Vec::new());
    dsmr.feed(bytes, &mut |decoded| all.push(decoded));
    (rows(&all), dsmr.skipped())
}

/// Rows of one node at one time, without both.
fn of(rows: &[String], node: &str, time: &str) -> Vec<String> {
    let rows = rows.iter().filter_map(|row| row.strip_prefix(node)?.trim_start().strip_suffix(time));
    rows.map(|row| row.trim_end().to_owned()).collect()
}

#[test]
fn version_2_without_times_and_with_gas_on_a_line_of_its_own() {
    // Both ids are zeros: the source is the node. 7 November 2016, 19:00 in Amsterdam, is 18:00 UTC.
    assert_eq!(
        all(V2),
        (
            [
                "meter energy_1 1.001 kWh",
                "meter energy_2 1.001 kWh",
                "meter energy_returned_1 1.001 kWh",
                "meter energy_returned_2 1.001 kWh",
                "meter tariff 1",
                "meter power 1010 W",
                "meter power_returned 0 W",
                "meter power_limit 999000 W",
                "meter switch_position 1",
                "meter/1 gas 1.001 m3 @2016-11-07T18:00:00Z",
                "meter/1 valve_position 1",
            ]
            .map(str::to_owned)
            .to_vec(),
            0
        )
    );
}

#[test]
fn version_3_with_ids_in_hex() {
    // 4B384547303034303436333935353037 is K8EG004046395507; the gas meter's 3232323241424344313233343536373839 is
    // 2222ABCD123456789.
    assert_eq!(
        all(V3).0,
        [
            "K8EG004046395507 energy_1 12345.678 kWh",
            "K8EG004046395507 energy_2 12345.678 kWh",
            "K8EG004046395507 energy_returned_1 12345.678 kWh",
            "K8EG004046395507 energy_returned_2 12345.678 kWh",
            "K8EG004046395507 tariff 2",
            "K8EG004046395507 power 1190 W",
            "K8EG004046395507 power_returned 0 W",
            "K8EG004046395507 current_limit 16 A",
            "K8EG004046395507 switch_position 1",
            "2222ABCD123456789 gas 1.001 m3 @2009-02-12T15:00:00Z",
            "2222ABCD123456789 valve_position 1",
        ]
    );
}

#[test]
fn version_5_with_three_phases() {
    let (got, skipped) = all(V5);
    // 2 January 2017, 19:20:02 W.
    assert_eq!(
        of(&got, "K8EG004046395507", "@2017-01-02T18:20:02Z"),
        [
            "energy_1 4.426 kWh",
            "energy_2 2.399 kWh",
            "energy_returned_1 2.444 kWh",
            "energy_returned_2 0 kWh",
            "tariff 2",
            "power 244 W",
            "power_returned 0 W",
            "power_failures 13",
            "long_power_failures 0",
            "voltage_sags_l1 0",
            "voltage_sags_l2 0",
            "voltage_sags_l3 0",
            "voltage_swells_l1 0",
            "voltage_swells_l2 0",
            "voltage_swells_l3 0",
            "voltage_l1 230 V",
            "voltage_l2 230 V",
            "voltage_l3 229 V",
            "current_l1 0.48 A",
            "current_l2 0.44 A",
            "current_l3 0.86 A",
            "power_l1 70 W",
            "power_l2 32 W",
            "power_l3 142 W",
            "power_returned_l1 0 W",
            "power_returned_l2 0 W",
            "power_returned_l3 0 W",
        ]
    );
    // The gas meter's own time; the second one has no id and no reading.
    assert_eq!(of(&got, "2222ABCD123456789", ""), ["gas 0.107 m3 @2017-01-02T15:10:05Z"]);
    assert_eq!((got.len(), skipped), (28, 0));
}

#[test]
fn version_4_with_a_log_of_failures_and_ids_that_are_no_text() {
    let (got, skipped) = all(V4);
    let meter = of(&got, "3960221976967177082151037881335713", "@2016-11-13T19:57:57Z");
    assert_eq!(meter[..3], ["energy_1 1581.123 kWh", "energy_2 1435.706 kWh", "energy_returned_1 0 kWh"]);
    assert_eq!(meter[5..9], ["power 2027 W", "power_returned 0 W", "power_failures 15", "long_power_failures 7"]);
    assert_eq!(meter.len(), 24);
    assert_eq!(of(&got, "4819243993373755377509728609491464", ""), ["gas 981.443 m3 @2016-11-29T19:00:00Z"]);
    assert_eq!((got.len(), skipped), (25, 0));
}

#[test]
fn a_belgian_meter_with_demand_gas_and_water() {
    let (got, skipped) = all(FLUVIUS);
    // 3153414733313031303231363035 is 1SAG3101021605; 12 May 2020, 13:54:09 S.
    let meter = of(&got, "1SAG3101021605", "@2020-05-12T11:54:09Z");
    assert_eq!(
        meter,
        [
            "energy_1 0.034 kWh",
            "energy_2 15.758 kWh",
            "energy_returned_1 0 kWh",
            "energy_returned_2 0.011 kWh",
            "power_demand 2351 W",
            "tariff 1",
            "power 0 W",
            "power_returned 0 W",
            "power_l1 0 W",
            "power_l2 0 W",
            "power_l3 0 W",
            "power_returned_l1 0 W",
            "power_returned_l2 0 W",
            "power_returned_l3 0 W",
            "voltage_l1 234.7 V",
            "voltage_l2 234.7 V",
            "voltage_l3 234.7 V",
            "current_l1 0 A",
            "current_l2 0 A",
            "current_l3 0 A",
            "switch_position 1",
            "power_limit 999900 W",
            "current_limit_l1 999 A",
        ]
    );
    let others: Vec<&String> = got.iter().filter(|row| !row.ends_with("11:54:09Z")).collect();
    assert_eq!(
        others,
        [
            "1SAG3101021605 power_demand_max 2589 W @2020-05-09T11:45:58Z",
            "7FLO2119033733 gas 112.384 m3 @2020-05-12T11:45:58Z",
            "8SAG1234567890 water 872.234 m3 @2020-05-12T11:45:58Z",
        ]
    );
    assert_eq!((got.len(), skipped), (27, 0));
}

#[test]
fn meters_of_luxembourg_and_sweden() {
    let (got, skipped) = all(LUXEMBOURG);
    // 53414731303330373030303132373031 is SAG1030700012701; 3 April 2026, 17:54:31 S.
    let meter = of(&got, "SAG1030700012701", "@2026-04-03T15:54:31Z");
    assert_eq!(
        meter[..15],
        [
            "energy 273.764 kWh",
            "energy_returned 112743.03 kWh",
            "reactive_energy 462.59 kvarh",
            "reactive_energy_returned 7109.23 kvarh",
            "power 0 W",
            "power_returned 897 W",
            "reactive_power 0 var",
            "reactive_power_returned 154 var",
            "apparent_power_limit 27600 VA",
            "apparent_power 0 VA",
            "apparent_power_returned 913 VA",
            "current_limit_l1 40 A",
            "switch_position 1",
            "switch_position_1 0",
            "switch_position_2 0",
        ]
    );
    assert_eq!(
        of(&got, "FLO182370120350", ""),
        ["gas 14239.771 m3 @2026-04-03T15:45:42Z", "valve_position 1 @2026-04-03T15:54:31Z"]
    );
    assert_eq!(skipped, 0);

    // No id at all, and winter time in April: it is the standard time all year. 7 April 2021, 11:16:27 W.
    let (got, skipped) = all(SWEDEN);
    let meter = of(&got, "meter", "@2021-04-07T10:16:27Z");
    assert_eq!(
        meter[..6],
        [
            "energy 4788.631 kWh",
            "energy_returned 0 kWh",
            "reactive_energy 1203.621 kvarh",
            "reactive_energy_returned 150.94 kvarh",
            "power 4905 W",
            "power_returned 0 W",
        ]
    );
    assert_eq!(meter[14..17], ["reactive_power_l1 574 var", "reactive_power_l2 553 var", "reactive_power_l3 498 var"]);
    assert_eq!((meter.len(), got.len(), skipped), (26, 26, 0));
}

#[test]
fn heat_cooling_and_meters_that_were_never_read() {
    let got = all(&telegram(&[
        "1-3:0.2.8(50)",
        "0-0:1.0.0(220708231051S)",
        "0-0:96.1.1(ADB3100000043021)",
        "0-1:24.1.0(004)",
        "0-1:96.1.0(717285092D2C340C)",
        "0-1:24.2.1(220708231051S)(46.720*GJ)",
        "0-2:24.2.1(101209112400W)(12785.444*GJ)",
        "0-2:24.1.0(010)",
        "0-2:96.1.0(5f5f5f5f464f55525f5f5f)",
        "0-3:24.1.0(003)",
        "0-3:96.1.0()",
        "0-3:24.2.1(632525252525S)(00000.000)",
        "0-4:24.1.0(003)",
        "0-4:24.2.1(700101010000W)(00000000)",
        "0-5:24.1.0(007)",
        "0-5:24.2.1(220799231051S)(00000.815*m3)",
    ]));
    assert_eq!(
        got.0,
        [
            "717285092D2C340C heat 46.72 GJ @2022-07-08T21:10:51Z",
            "____FOUR___ cooling 12785.444 GJ @2010-12-09T10:24:00Z",
            "ADB3100000043021/5 water 0.815 m3",
            "ADB3100000043021/5 ! clock: the field `time` is `220799231051S`: expected a Unix time in s, ms, us or ns, or a \
             text such as 2025-10-09T08:53:20Z",
        ]
    );
}

#[test]
fn other_units_countries_and_oddities() {
    let got = all(&telegram(&[
        "0-0:1.0.0(221006155014S)",
        "0-0:42.0.0(AUX1030303218166)",
        "0-0:96.1.0(9903218166)",
        "0-0:96.50.68(ON)",
        "1-0:1.8.0*255(006545766*Wh)",
        "1-0:1.8.3(000000.000*kWh)",
        "1-0:1.7.0(000000286*W)",
        "1-0:3.8.1(000000747*varh)",
        "1-0:13.7.0(0.336)",
        "1-0:14.7.0(49.99*Hz)",
        "1-0:15.8.0(002526.790*kWh)",
        "1-0:21.7.0()",
        "1-0:41.7.0(*kW)",
        "1-0:61.7.0(00.0x0*kW)",
        "0-0:98.1.0(230801000000S)(000663.924*kWh)(000383.623*kWh)",
        "0-0:96.13.0(Kedves (t) / fogyaszto!)",
        "what is this",
    ]));
    assert_eq!(
        got.0,
        [
            "AUX1030303218166 breaker 1 @2022-10-06T13:50:14Z",
            "AUX1030303218166 energy 6545.766 kWh @2022-10-06T13:50:14Z",
            "AUX1030303218166 energy_3 0 kWh @2022-10-06T13:50:14Z",
            "AUX1030303218166 power 286 W @2022-10-06T13:50:14Z",
            "AUX1030303218166 reactive_energy_1 0.747 kvarh @2022-10-06T13:50:14Z",
            "AUX1030303218166 power_factor 0.336 @2022-10-06T13:50:14Z",
            "AUX1030303218166 frequency 49.99 Hz @2022-10-06T13:50:14Z",
            "AUX1030303218166 energy_combined 2526.79 kWh @2022-10-06T13:50:14Z",
            "dead: `1-0:61.7.0(00.0x0*kW)`: expected a number such as 00.244*kW",
            "dead: `what is this` is no line of a telegram",
        ]
    );
    // Before version 3 gas had a medium of its own.
    let got = all(b"/KMP5 old\r\n\r\n0-0:96.1.1(204B413655303031)\r\n7-0:0.0.0(4730303031)\r\n1-0:1.8.1(00002.500*kWh)\r\n7-0:23.1.0(101217190000)(00024.123)\r\n!\r\n");
    assert_eq!(got.0, ["KA6U001 energy_1 2.5 kWh", "G0001 gas 24.123 m3 @2010-12-17T18:00:00Z"]);
    // In Lithuania clocks are an hour ahead.
    let mut there = Dsmr::in_zone("meter", Tz::Europe__Vilnius);
    let mut got = Vec::new();
    there.feed(&telegram(&["0-0:1.0.0(250710120000S)", "1-0:1.8.0(1*kWh)"]), &mut |decoded| got.push(decoded));
    assert_eq!(rows(&got), ["meter energy 1 kWh @2025-07-10T09:00:00Z"]);
}

#[test]
fn a_telegram_without_its_checksum_is_not_believed_where_it_should_have_one() {
    let cut = [V5.strip_suffix(b"6EEE\r\n").unwrap(), b"\r\n"].concat();
    assert_eq!(all(&cut), (vec!["dead: the checksum has 0 digits, expected 4".to_owned()], 884));
    let mut flipped = V5.to_vec();
    flipped[200] ^= 1;
    let (got, skipped) = all(&flipped);
    assert!(got.len() == 1 && got[0].starts_with("dead: the checksum is 6EEE, expected "), "{got:?}");
    assert_eq!(skipped, 888);
    // A Swedish one does not say its version, but its meter had sent one before.
    let cut = [SWEDEN, SWEDEN.strip_suffix(b"57B6\r\n").unwrap(), b"\r\n"].concat();
    assert_eq!(all(&cut).0.last().unwrap(), "dead: the checksum has 0 digits, expected 4");
    let broken = [&V5[..400], b"\r\n", V5].concat();
    assert_eq!(all(&broken).0[0], "dead: the telegram breaks off");
    assert_eq!(all(&broken).0.len(), 29);
    let endless = [b"/ISk5\r\n".as_slice(), &[b'0'; MAX]].concat();
    assert_eq!(all(&endless).0, ["dead: the telegram is over the limit of 16384 bytes"]);
    assert_eq!(all(b"/ISk5\r\n\r\n!\r\n").0, ["dead: the telegram holds no reading"]);
}

#[test]
fn the_stream_heals() {
    let stream = || Box::new(Dsmr::new("meter")) as Box<dyn Stream>;
    always_the_same(&mut { stream }, &[V2, V3, V2]);
    always_the_same(&mut { stream }, &[V5, FLUVIUS, SWEDEN]);
    let small: Vec<Vec<u8>> =
        (1..6).map(|n| telegram(&["0-0:1.0.0(220708231051S)", &format!("1-0:1.8.1(00000{n}.426*kWh)")])).collect();
    let small: Vec<&[u8]> = small.iter().map(Vec::as_slice).collect();
    survives_damage(&mut { stream }, &small, 2);
}

proptest! {
    #[test]
    fn the_cut_into_chunks_does_not_matter(
        bytes in proptest::collection::vec(prop_oneof![
            Just(b"/".to_vec()), Just(b"!".to_vec()), Just(b"\r\n".to_vec()), Just(b"1-0:1.8.1(1*kWh)\r\n".to_vec()),
            Just(b"0-1:24.2.1(".to_vec()), Just(b")".to_vec()), "[0-9A-F]{1,6}".prop_map(String::into_bytes),
            any::<[u8; 2]>().prop_map(|b| b.to_vec()),
        ], 0..60),
        cut in 1_usize..50,
    ) {
        let bytes = bytes.concat();
        let at_once = all(&bytes);
        let (mut dsmr, mut got) = (Dsmr::new("meter"), Vec::new());
        for chunk in bytes.chunks(cut) {
            dsmr.feed(chunk, &mut |decoded| got.push(decoded));
        }
        prop_assert_eq!((rows(&got), dsmr.skipped()), at_once);
    }
}
