use proptest::prelude::*;

use super::super::streams::{Stream, always_the_same, rows, survives_damage};
use super::*;

const GGA: &[u8] = include_bytes!("../../../../tests/fixtures/serial/nmea-gga-fix.bin");
const GGA_BAD: &[u8] = include_bytes!("../../../../tests/fixtures/serial/nmea-gga-BAD-checksum.bin");
const GSA: &[u8] = include_bytes!("../../../../tests/fixtures/serial/nmea-gsa.bin");
const GSV: &[u8] = include_bytes!("../../../../tests/fixtures/serial/nmea-gsv.bin");

/// Sentences with their checksums.
fn sentences(bodies: &[&str]) -> Vec<u8> {
    let one = |body: &&str| format!("${body}*{:02X}\r\n", body.bytes().fold(0, |sum, byte| sum ^ byte));
    bodies.iter().map(one).collect::<String>().into_bytes()
}

fn all(bytes: &[u8]) -> (Vec<String>, u64) {
    let (mut nmea, mut all) = (Nmea::new("boat"), Vec::new());
    nmea.feed(bytes, &mut |decoded| all.push(decoded));
    (rows(&all), nmea.skipped())
}

fn of(bodies: &[&str]) -> Vec<String> {
    let (rows, skipped) = all(&sentences(bodies));
    assert_eq!(skipped, 0);
    rows
}

#[test]
fn a_position_with_what_belongs_to_it() {
    // 53 degrees 21.6802 minutes north, 6 degrees 30.3372 minutes west.
    assert_eq!(
        all(GGA),
        (
            vec![
                "boat fix_quality 1".to_owned(),
                "boat satellites 8".to_owned(),
                format!("boat latitude {} deg", 53.0 + 21.6802 / 60.0),
                format!("boat longitude {} deg", -(6.0 + 30.3372 / 60.0)),
                "boat hdop 1.03".to_owned(),
                "boat altitude 61.7 m".to_owned(),
                "boat geoid_separation 55.2 m".to_owned(),
            ],
            0
        )
    );
    assert_eq!(all(GSA).0, ["boat fix_mode 3", "boat pdop 1.72", "boat hdop 1.03", "boat vdop 1.38"]);
    assert_eq!(all(GSV).0, ["boat satellites_in_view_gps 11"]);
}

#[test]
fn a_wrong_checksum_is_told_and_counted() {
    assert_eq!(all(GGA_BAD), (vec!["dead: the checksum is 77, expected 76".to_owned()], 70));
    assert_eq!(all(b"$GPGSA,A,1\r\n").0, ["dead: the sentence has no checksum"]);
    assert_eq!(all(b"$GPGGA,0927$GPGSA,A,1*").0, ["dead: the sentence breaks off"]);
    assert_eq!(all(b"$GPGGA,09\x8027\r\n"), (vec!["dead: a byte that is no ASCII text in a sentence".to_owned()], 12));
    assert_eq!(all(b"$GPGGA,1*+0\r\n").0, ["dead: the checksum is +0, expected 4B"]);
    let long = [b"$GPGGA,".as_slice(), &[b'1'; 300]].concat();
    assert_eq!(all(&long), (vec!["dead: the sentence is over the limit of 256 bytes".to_owned()], 307));
    // A `$` in noise is nothing to tell.
    assert_eq!(all(b"\xB5b$\x01ab$cd\r\n"), (vec![], 9));
}

#[test]
fn the_date_of_rmc_goes_with_the_time_of_day_of_the_others() {
    let got = of(&[
        "GNGGA,235958.00,4717.11399,N,00833.91590,E,1,08,1.01,499.6,M,48.0,M,,",
        "GNRMC,235958.00,A,4717.11399,N,00833.91590,E,10.0,77.52,091202,,,A",
        "GNRMC,235959.50,A,4717.11399,N,00833.91590,E,10.0,77.52,091225,,,A",
        "GNVTG,77.52,T,,M,0.004,N,0.008,K,A",
        "GNGGA,000000.00,4717.11400,N,00833.91590,E,2,09,1.01,499.6,M,48.0,M,,",
        "GNGLL,4717.11364,N,00833.91565,E,000000.00,A,A",
    ]);
    let speed = "5.14444444444";
    let (latitude, later) = (47.0 + 17.11399 / 60.0, 47.0 + 17.114 / 60.0);
    let longitude = 8.0 + 33.9159 / 60.0;
    assert_eq!(
        got,
        [
            "boat fix_quality 1".to_owned(),
            "boat satellites 8".to_owned(),
            format!("boat latitude {latitude} deg"),
            format!("boat longitude {longitude} deg"),
            "boat hdop 1.01".to_owned(),
            "boat altitude 499.6 m".to_owned(),
            "boat geoid_separation 48 m".to_owned(),
            // 2002: a receiver whose weeks rolled over. Position was told for this time.
            format!("boat speed {speed} m/s"),
            "boat course 77.52 deg".to_owned(),
            "boat ! clock: the receiver says that it is 2002-12-09: the arrival counts".to_owned(),
            format!("boat latitude {latitude} deg @2025-12-09T23:59:59.500Z"),
            format!("boat longitude {longitude} deg @2025-12-09T23:59:59.500Z"),
            format!("boat speed {speed} m/s @2025-12-09T23:59:59.500Z"),
            "boat course 77.52 deg @2025-12-09T23:59:59.500Z".to_owned(),
            // Speed and course of VTG are of the same time; midnight has passed for the next, and GLL tells nothing new.
            "boat fix_quality 2 @2025-12-10T00:00:00Z".to_owned(),
            "boat satellites 9 @2025-12-10T00:00:00Z".to_owned(),
            format!("boat latitude {later} deg @2025-12-10T00:00:00Z"),
            format!("boat longitude {longitude} deg @2025-12-10T00:00:00Z"),
            "boat hdop 1.01 @2025-12-10T00:00:00Z".to_owned(),
            "boat altitude 499.6 m @2025-12-10T00:00:00Z".to_owned(),
            "boat geoid_separation 48 m @2025-12-10T00:00:00Z".to_owned(),
        ]
    );
}

#[test]
fn zda_has_a_date_as_well_and_an_interruption_forgets_it() {
    let mut nmea = Nmea::new("boat");
    let mut got = Vec::new();
    nmea.feed(&sentences(&["GPZDA,201530.00,04,07,2024,00,00", "GPGSV,1,1,05"]), &mut |d| got.push(d));
    nmea.forget();
    nmea.feed(&sentences(&["GPGSA,A,1"]), &mut |d| got.push(d));
    assert_eq!(rows(&got), ["boat satellites_in_view_gps 5 @2024-07-04T20:15:30Z", "boat fix_mode 1"]);
}

#[test]
fn without_a_fix_there_is_no_position() {
    assert_eq!(of(&["GPGGA,,,,,,0,00,99.99,,,,,,"]), ["boat fix_quality 0", "boat satellites 0"]);
    for body in [
        "GPRMC,092750.000,V,5321.6802,N,00630.3372,W,0.02,31.66,280511,,,N",
        "GPRMC,092750.000,A,5321.6802,N,00630.3372,W,0.02,31.66,280521,,,N",
        "GPGLL,5321.6802,N,00630.3372,W,092750.000,V,N",
        "GPVTG,,T,,M,,N,,K,N",
        "GPTXT,01,01,02,u-blox ag",
        "PUBX,00,1",
        "PMTK001,314,3",
    ] {
        assert_eq!(of(&[body]), Vec::<String>::new(), "{body}");
    }
    assert_eq!(of(&["GNGNS,092750.00,5321.6802,N,00630.3372,W,NN,00,99.9,,,,"]), ["boat satellites 0"]);
    let got = of(&["GNGNS,092750.00,5321.6802,S,00630.3372,E,AN,08,1.0,61.7,55.2,,"]);
    assert_eq!(got[1], format!("boat latitude {} deg", -(53.0 + 21.6802 / 60.0)));
    assert_eq!(got.len(), 6);
}

#[test]
fn fields_that_are_none_are_told_and_the_others_kept() {
    assert_eq!(
        of(&["GPGGA,092750.000,5361.6802,N,00630.3372,W,1,x,1.03,61.7,M,,M,,"]),
        [
            "boat fix_quality 1",
            "boat hdop 1.03",
            "boat altitude 61.7 m",
            "dead: field 7 of GGA is `x`, expected a number",
            "dead: field 2 of GGA is `5361.6802`, expected ddmm.mmmm",
        ]
    );
    assert_eq!(
        of(&["GPZDA,246060,01,01,2024,,"]),
        ["dead: field 1 of ZDA is `246060`, expected a time such as 092750.00"]
    );
}

#[test]
fn weather_and_water() {
    assert_eq!(of(&["WIMWV,214.8,R,18.0,K,A"]), ["boat wind_direction 214.8 deg", "boat wind_speed 5 m/s"]);
    assert_eq!(of(&["WIMWV,27.0,T,3.5,M,A"]), ["boat wind_direction_true 27 deg", "boat wind_speed_true 3.5 m/s"]);
    assert_eq!(of(&["WIMWV,214.8,R,0.1,K,V"]), Vec::<String>::new());
    assert_eq!(of(&["YXMTW,17.75,C"]), ["boat water_temperature 17.75 degC"]);
    assert_eq!(of(&["SDDBT,8.1,f,2.4,M,1.3,F"]), ["boat depth 2.4 m"]);
    assert_eq!(of(&["SDDBS,10,f,,M,,F"]), ["boat depth_below_surface 3.048 m"]);
    assert_eq!(of(&["HETHS,77.5,A", "HETHS,77.6,V"]), ["boat heading 77.5 deg"]);
    assert_eq!(
        of(&["WIMDA,29.9870,I,1.0155,B,21.5,C,,,45.2,,9.1,C,210.0,T,205.0,M,5.8,N,3.0,M"]),
        [
            "boat pressure 1015.5 hPa".to_owned(),
            "boat temperature 21.5 degC".to_owned(),
            "boat humidity 45.2 %".to_owned(),
            "boat dew_point 9.1 degC".to_owned(),
            "boat wind_direction_true 210 deg".to_owned(),
            "boat wind_speed 3 m/s".to_owned(),
        ]
    );
    assert_eq!(
        of(&["IIXDR,C,19.52,C,TempAir,P,1.02481,B,Barometer,H,48.1,P,"]),
        [
            "boat temperature_TempAir 19.52 degC".to_owned(),
            format!("boat pressure_Barometer {} hPa", 1.02481 * 1000.0),
            "boat humidity 48.1 %".to_owned(),
        ]
    );
}

#[test]
fn the_stream_heals() {
    let stream = || Box::new(Nmea::new("boat")) as Box<dyn Stream>;
    let rmc = sentences(&["GPRMC,092751.000,A,5321.6802,N,00630.3371,W,0.06,31.66,280521,,,A"]);
    always_the_same(&mut { stream }, &[GGA, GSA, GSV, GGA, &rmc, GSV]);
    survives_damage(&mut { stream }, &[GGA, GSA, GSV, GGA, GSA], 2);
    survives_damage(&mut { stream }, &[GSA, GSV, GGA, GSV, GSA], 2);
}

proptest! {
    #[test]
    fn the_cut_into_chunks_does_not_matter(
        bytes in proptest::collection::vec(prop_oneof![Just(b'$'), Just(b'*'), Just(b','), Just(b'\n'), b'0'..=b'9', b'A'..=b'Z', any::<u8>()], 0..300),
        cut in 1_usize..50,
    ) {
        let at_once = all(&bytes);
        let (mut nmea, mut got) = (Nmea::new("boat"), Vec::new());
        for chunk in bytes.chunks(cut) {
            nmea.feed(chunk, &mut |decoded| got.push(decoded));
            prop_assert!(nmea.pending() < MAX);
        }
        prop_assert_eq!((rows(&got), nmea.skipped()), at_once);
    }
}
