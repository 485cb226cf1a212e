use proptest::prelude::*;

use super::*;

/// 2025-10-09T08:53:20Z.
const T: i64 = 1_760_000_000_000_000;

fn number(text: &str) -> Option<i64> {
    parse_number(text).map(Timestamp::micros)
}

fn text(text: &str) -> Option<i64> {
    parse_text(text, Local::UTC).map(Timestamp::micros)
}

#[test]
fn the_magnitude_tells_the_unit() {
    for number in [1_760_000_000, 1_760_000_000_000, 1_760_000_000_000_000, 1_760_000_000_000_000_000] {
        assert_eq!(from_integer(number), Some(Timestamp(T)), "{number}");
        assert_eq!(from_integer(-number), Some(Timestamp(-T)), "-{number}");
        assert_eq!(super::parse_number(&number.to_string()), Some(Timestamp(T)), "{number}");
    }
    assert_eq!(number("99999999999"), Some(99_999_999_999_000_000));
    assert_eq!(number("99999999999.9"), Some(99_999_999_999_900_000));
    assert_eq!(number("100000000000"), Some(100_000_000_000_000));
    assert_eq!(number("99999999999999"), Some(99_999_999_999_999_000));
    assert_eq!(number("100000000000000"), Some(100_000_000_000_000));
    assert_eq!(number("99999999999999999"), Some(99_999_999_999_999_999));
    assert_eq!(number("100000000000000000"), Some(100_000_000_000_000));
    assert_eq!(number("0"), Some(0));
    assert_eq!(number("-1"), Some(-1_000_000));
}

#[test]
fn decimal_text_is_exact() {
    assert_eq!(number("1760000000.123456"), Some(T + 123_456));
    assert_eq!(number("1760000000.999999"), Some(T + 999_999));
    assert_eq!(number("1760000000123.456"), Some(T + 123_456));
    assert_eq!(number("1760000000123456.9"), Some(T + 123_456));
    assert_eq!(number("1760000000123456789"), Some(T + 123_456));
    assert_eq!(number("1760000000.1234567"), Some(T + 123_456));
    assert_eq!(number("0001760000000"), Some(T));
    assert_eq!(number("0.5"), Some(500_000));
    assert_eq!(number("0.000001"), Some(1));
    assert_eq!(number("0.0000009"), Some(0));
    assert_eq!(number("-0.0000001"), Some(-1));
    assert_eq!(number("-1.5"), Some(-1_500_000));
    assert_eq!(number("-0"), Some(0));
    assert_eq!(number("-1760000000123456789"), Some(-T - 123_457));
    assert_eq!(from_integer(-1_760_000_000_123_456_789), Some(Timestamp(-T - 123_457)));
}

#[test]
fn exponents_are_applied() {
    assert_eq!(number("1.76e9"), Some(T));
    assert_eq!(number("1.76E+12"), Some(T));
    assert_eq!(number("1760000000123456e-6"), Some(T + 123_456));
    assert_eq!(number("0.00176e+12"), Some(T));
    assert_eq!(number("176e7"), Some(T));
    assert_eq!(number("1e-999999999999999999999"), Some(0));
    assert_eq!(number("0e999999999999999999999"), Some(0));
    assert_eq!(number("1e999999999999999999999"), None);
    assert_eq!(number("1e999"), None);
}

#[test]
fn what_is_no_number_and_what_is_beyond_the_years_is_refused() {
    for bad in [
        "", "-", "+", ".", "1.", ".5", "1e", "1e+", "e5", "1.2.3", "1_000", "0x10", "NaN", "inf", "--1", " 1", "1 ",
        "١",
    ] {
        assert_eq!(number(bad), None, "{bad:?}");
    }
    assert_eq!(number("253402300799999999999"), Some(LATEST));
    assert_eq!(number("253402300800000000000"), None);
    assert_eq!(number("-62167219200000000000"), Some(EARLIEST));
    assert_eq!(number("-62167219200000000001"), None);
    assert_eq!(number(&"9".repeat(100_000)), None);
    assert_eq!(from_integer(i64::MIN), Some(Timestamp(-9_223_372_036_854_776)));
}

#[test]
fn text_is_a_number_or_a_date_with_a_zone_or_utc() {
    for same in [
        "1760000000",
        " 1760000000000 ",
        "2025-10-09T08:53:20Z",
        "2025-10-09t08:53:20z",
        "2025-10-09 08:53:20Z",
        "2025-10-09T10:53:20+02:00",
        "2025-10-09T10:53:20+0200",
        "2025-10-09T10:53:20+02",
        "2025-10-09T03:23:20-05:30",
        "2025-10-09T08:53:20-00:00",
        "2025-10-09 08:53:20",
        "2025-10-09T08:53:20",
        "2025-10-09T08:53:20.0",
        "2025-10-09T08:53:20.000000999Z",
    ] {
        assert_eq!(text(same), Some(T), "{same}");
    }
    assert_eq!(text("2025-10-09T08:53:20.5"), Some(T + 500_000));
    assert_eq!(text("2025-10-09 08:53:20,25"), Some(T + 250_000));
    assert_eq!(text("2025-10-09T10:53:20.123456789+02:00"), Some(T + 123_456));
    assert_eq!(text("1969-12-31T23:59:59.9999999Z"), Some(-1));
    assert_eq!(text("2016-12-31T23:59:60Z"), text("2017-01-01T00:00:00Z"));
    assert_eq!(text("2024-02-29T00:00:00Z"), Some(1_709_164_800_000_000));
    assert_eq!(text("0000-01-01T00:00:00Z"), Some(EARLIEST));
    assert_eq!(text("9999-12-31T23:59:59.999999Z"), Some(LATEST));
    for bad in [
        "",
        "now",
        "yesterday",
        "2025-10-09",
        "08:53:20",
        "2025-10-09T08:53Z",
        "2025-10-09_08:53:20",
        "2025-10-09T08:53:20.",
        "2025-10-09T08:53:20.Z",
        "2025-10-09T08:53:20 UTC",
        "2025-10-09T08:53:20+2",
        "2025-10-09T08:53:20+24:00",
        "2025-10-09T08:53:20+02:60",
        "2025-10-09T08:53:20 02:00",
        "2025-10-09T08:53:20Zx",
        "2025-13-09T08:53:20Z",
        "2025-02-29T08:53:20Z",
        "2025-10-09T24:00:00Z",
        "2025-10-09T08:60:20Z",
        "2025-10-09T08:53:61Z",
        "+025-10-09T08:53:20Z",
        "20251-10-09T08:53:2Z",
        "2025-10-09T08:53:2äZ",
        "0000-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "9999-12-31T23:59:60Z",
    ] {
        assert_eq!(text(bad), None, "{bad:?}");
    }
}

#[test]
fn questions_also_take_now_and_a_time_back() {
    let now = Timestamp(T + 7);
    let query = |text: &str| parse_query(text, now).map(Timestamp::micros).map_err(|e| e.to_string());
    assert_eq!(query("now"), Ok(T + 7));
    assert_eq!(query("-90s"), Ok(T + 7 - 90_000_000));
    assert_eq!(query("-30m"), Ok(T + 7 - 1_800_000_000));
    assert_eq!(query("-24h"), Ok(T + 7 - 86_400_000_000));
    assert_eq!(query("-7d"), Ok(T + 7 - 604_800_000_000));
    assert_eq!(query("-2w"), Ok(T + 7 - 1_209_600_000_000));
    assert_eq!(query("-0s"), Ok(T + 7));
    assert_eq!(query("-90"), Ok(-90_000_000));
    assert_eq!(query("1760000000"), Ok(T));
    assert_eq!(query("1760000000.5"), Ok(T + 500_000));
    assert_eq!(query("2025-10-09T10:53:20+02:00"), Ok(T));
    assert_eq!(query("2025-10-09T10:53:20 02:00"), Ok(T));
    assert_eq!(query("2025-10-09 10:53:20 0200"), Ok(T));
    assert_eq!(query(" 2025-10-09 08:53:20 "), Ok(T));
    for bad in [
        "",
        "-",
        "-h",
        "-24H",
        "24h",
        "-1.5h",
        "-1h30m",
        "--1h",
        "-999999999w",
        "-9999999999s",
        "tomorrow",
        "2025-10-09",
        "-1é",
    ] {
        assert_eq!(
            query(bad),
            Err(format!(
                "`{bad}` is not a time: expected RFC 3339 such as 2025-10-09T08:53:20Z, Unix seconds such as 1760000000 \
                 or 1760000000.5, a time back from now such as -24h (units s, m, h, d, w), or now"
            ))
        );
    }
    let long = query(&"x\n".repeat(1_000)).unwrap_err();
    assert!(long.starts_with(&format!("`{}` is not a time", "x?".repeat(20))), "{long}");
}

#[test]
fn a_text_without_a_zone_is_a_local_time() {
    let read = |text: &str, zone| parse_text(text, Local::of(zone)).unwrap().to_string();
    let (berlin, lord_howe) = (Tz::Europe__Berlin, Tz::Australia__Lord_Howe);
    assert_eq!(read("2025-10-09T10:53:20", berlin), "2025-10-09T08:53:20Z");
    assert_eq!(read("2025-01-09 10:53:20.25", berlin), "2025-01-09T09:53:20.250Z");
    assert_eq!(read("2025-10-09T10:53:20", Tz::UTC), "2025-10-09T10:53:20Z");
    assert_eq!(read("2025-10-09T10:53:20", lord_howe), "2025-10-08T23:53:20Z");
    // What has a zone, and numbers, do not change.
    for same in ["2025-10-09T08:53:20Z", "2025-10-09T10:53:20+02:00", "1760000000", "1760000000000"] {
        assert_eq!(read(same, lord_howe), "2025-10-09T08:53:20Z", "{same}");
    }
    // Clocks set forward in Berlin, by an hour at 01:00 UTC, and at Lord Howe, by half an hour at 15:30 UTC.
    assert_eq!(read("2025-03-30T01:59:59.5", berlin), "2025-03-30T00:59:59.500Z");
    assert_eq!(read("2025-03-30T02:30:00", berlin), "2025-03-30T01:30:00Z");
    assert_eq!(read("2025-03-30T03:00:00", berlin), "2025-03-30T01:00:00Z");
    assert_eq!(read("2025-10-05T01:59:59", lord_howe), "2025-10-04T15:29:59Z");
    assert_eq!(read("2025-10-05T02:15:00", lord_howe), "2025-10-04T15:45:00Z");
    assert_eq!(read("2025-10-05T02:30:00", lord_howe), "2025-10-04T15:30:00Z");
    // Clocks set back, at 01:00 UTC, and at 15:00 UTC.
    assert_eq!(read("2025-10-26T02:30:00", berlin), "2025-10-26T00:30:00Z");
    assert_eq!(read("2025-10-26T03:00:00", berlin), "2025-10-26T02:00:00Z");
    assert_eq!(read("2025-04-06T01:45:00", lord_howe), "2025-04-05T14:45:00Z");
    assert_eq!(read("2025-04-06T02:00:00", lord_howe), "2025-04-05T15:30:00Z");
    let heard = |text: &str, zone, arrival: &str| {
        parse_text(text, Local { zone, arrival: parse_text(arrival, Local::UTC) }).unwrap().to_string()
    };
    assert_eq!(heard("2025-10-26T02:30:00", berlin, "2025-10-26T01:30:01Z"), "2025-10-26T01:30:00Z");
    assert_eq!(heard("2025-10-26T02:59:60", berlin, "2025-10-26T02:00:00Z"), "2025-10-26T02:00:00Z");
    assert_eq!(heard("2025-04-06T01:45:00", lord_howe, "2025-04-05T15:15:00Z"), "2025-04-05T15:15:00Z");
    assert_eq!(heard("2025-10-26T02:30:00", Tz::UTC, "2025-10-26T02:30:01Z"), "2025-10-26T02:30:00Z");
    // The years that RFC 3339 can write end with UTC's, not with the zone's.
    assert_eq!(parse_text("0000-01-01T00:00:00", Local::of(berlin)), None);
    assert_eq!(read("9999-12-31T23:59:59.999999", berlin), "9999-12-31T22:59:59.999999Z");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_printed_time_is_parsed_again(micros in EARLIEST..=LATEST) {
        prop_assert_eq!(text(&Timestamp(micros).to_string()), Some(micros));
    }

    #[test]
    fn whole_numbers_agree_with_integers(n in any::<i64>(), zeros in 0_usize..20) {
        prop_assert_eq!(parse_number(&n.to_string()), from_integer(n));
        prop_assert_eq!(parse_number(&format!("{n}.{}", "0".repeat(zeros + 1))), from_integer(n));
        prop_assert_eq!(parse_number(&format!("{n}{}e-{zeros}", "0".repeat(zeros))), from_integer(n));
    }

    #[test]
    fn seconds_with_micros_are_exact(secs in 0_i64..99_999_999_999, micros in 0_i64..1_000_000) {
        prop_assert_eq!(number(&format!("{secs}.{micros:06}")), Some(secs * 1_000_000 + micros));
        // The year 0000 begins 62,167,219,200 s before 1970.
        if secs < 62_167_219_200 && secs + micros > 0 {
            prop_assert_eq!(number(&format!("-{secs}.{micros:06}")), Some(-secs * 1_000_000 - micros));
        }
    }

    #[test]
    fn no_text_panics(bytes in "[-+0-9TZ:. eé]{0,32}") {
        if let Some(t) = parse_text(&bytes, Local::of(Tz::Europe__Berlin)) {
            prop_assert!((EARLIEST..=LATEST).contains(&t.micros()));
        }
        let _: Result<Timestamp, NotATime> = parse_query(&bytes, Timestamp(T));
    }
}
