//! Local time: where a day begins in a time zone, and which instant a time of day without a zone means.
//!
//! Rules of daylight saving come from the IANA database that `chrono-tz` is built with; pure, so the machine's own
//! database is not read. Of a local time that happens twice (clocks set back) the first is meant, as RFC 5545 (3.3.5) says,
//! unless its arrival tells that the second has just come ([`instant_heard`]); one that never happens (clocks set forward) is read with the offset that held before the gap, which is the instant
//! that many minutes after it.

use chrono::{DateTime, Days, LocalResult, NaiveDate, NaiveDateTime, TimeDelta, TimeZone};
pub use chrono_tz::Tz;

use crate::reading::Timestamp;

/// One day in microseconds, for ranges that are a little wider than they need to be.
pub const DAY: i64 = 86_400 * 1_000_000;
/// One hour in microseconds.
pub const HOUR: i64 = 3_600 * 1_000_000;

/// So far a node's clock may be ahead of ours without being taken for one that shows another hour: 5 minutes, in
/// microseconds.
const AHEAD: i64 = 300 * 1_000_000;

/// No zone's offset has ever changed by more at once; what a gap is looked for in.
const WIDEST_GAP: i64 = 24 * 60;

/// The beginning of the hour (of UTC) that holds `ts`.
pub const fn hour_of(ts: Timestamp) -> Timestamp {
    Timestamp(ts.0.div_euclid(HOUR) * HOUR)
}

/// The instant at which the day of `zone` that holds `ts` begins. That is not always midnight: where clocks are set forward
/// at midnight, it is the first instant behind the gap. `ts` itself where chrono cannot say.
pub fn day_of(ts: Timestamp, zone: Tz) -> Timestamp {
    local(ts, zone).map_or(ts, |local| begin_of(local.date_naive(), zone))
}

/// The instant at which the next day of `zone` begins.
pub fn next_day(ts: Timestamp, zone: Tz) -> Timestamp {
    let next = local(ts, zone).and_then(|local| local.date_naive().checked_add_days(Days::new(1)));
    next.map_or(Timestamp(ts.micros().saturating_add(DAY)), |date| begin_of(date, zone))
}

/// The instant that `local`, a time of day of `zone`, means.
pub fn instant_of(local: NaiveDateTime, zone: Tz) -> Timestamp {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => Timestamp(at.timestamp_micros()),
        LocalResult::None => {
            // The offset before the gap: that of the last minute that exists.
            let before = (1..=WIDEST_GAP).find_map(|minutes| {
                let earlier = local.checked_sub_signed(TimeDelta::minutes(minutes))?;
                let at = zone.from_local_datetime(&earlier).latest()?;
                Some(at.timestamp_micros() + minutes * 60_000_000)
            });
            Timestamp(before.unwrap_or_else(|| local.and_utc().timestamp_micros()))
        }
    }
}

/// The instant that `local` means to somebody who heard it at `arrival`. Of a local time that happens twice that is the
/// second where the second has just come: not more than [`AHEAD`] after the arrival, and before it by less than the two
/// are apart. So the times of a node that sends what its clock shows do not go backwards when clocks are set back. In all
/// other cases it is that of [`instant_of`].
pub fn instant_heard(local: NaiveDateTime, zone: Tz, arrival: Timestamp) -> Timestamp {
    if let LocalResult::Ambiguous(first, second) = zone.from_local_datetime(&local) {
        let (first, second) = (first.timestamp_micros(), second.timestamp_micros());
        let ago = arrival.micros().saturating_sub(second);
        if (-AHEAD..second - first).contains(&ago) {
            return Timestamp(second);
        }
    }
    instant_of(local, zone)
}

/// Whether the clocks of `zone` show the time of day of `ts` a second time.
pub fn happens_twice(ts: Timestamp, zone: Tz) -> bool {
    local(ts, zone).is_some_and(|at| matches!(zone.from_local_datetime(&at.naive_local()), LocalResult::Ambiguous(..)))
}

/// `ts` as the clocks of `zone` show it; `None` outside of what chrono can say.
pub fn local(ts: Timestamp, zone: Tz) -> Option<DateTime<Tz>> {
    DateTime::from_timestamp_micros(ts.micros()).map(|utc| utc.with_timezone(&zone))
}

/// What a clock in `zone` shows at `ts`: [`local`] without its offset; 1970 where chrono cannot say.
pub fn clock_time(ts: Timestamp, zone: Tz) -> NaiveDateTime {
    local(ts, zone).map_or(DateTime::UNIX_EPOCH.naive_utc(), |at| at.naive_local())
}

/// The first instant of a date: the earliest of its minutes that exists.
pub fn begin_of(date: NaiveDate, zone: Tz) -> Timestamp {
    let midnight = date.and_hms_opt(0, 0, 0).expect("every date has a midnight");
    // A date may be left out as a whole; it then begins where the next one does.
    let first = (0..=2 * WIDEST_GAP).find_map(|minutes| {
        let at = midnight.checked_add_signed(TimeDelta::minutes(minutes))?;
        zone.from_local_datetime(&at).earliest()
    });
    Timestamp(first.map_or_else(|| midnight.and_utc().timestamp_micros(), |at| at.timestamp_micros()))
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<DateTime<Utc>>().unwrap().timestamp_micros())
    }

    fn naive(text: &str) -> NaiveDateTime {
        text.parse().unwrap()
    }

    #[test]
    fn days_have_23_24_and_25_hours_in_berlin() {
        let zone = Tz::Europe__Berlin;
        // Central European Summer Time 2025: from 30 March 01:00 UTC to 26 October 01:00 UTC (directive 2000/84/EC).
        let spring = day_of(at("2025-03-30T12:00:00Z"), zone);
        assert_eq!(spring, at("2025-03-29T23:00:00Z"));
        assert_eq!(next_day(spring, zone), at("2025-03-30T22:00:00Z"));
        let autumn = day_of(at("2025-10-26T22:59:59.999999Z"), zone);
        assert_eq!(autumn, at("2025-10-25T22:00:00Z"));
        assert_eq!(next_day(autumn, zone), at("2025-10-26T23:00:00Z"));
        assert_eq!(day_of(at("2025-10-26T23:00:00Z"), zone), at("2025-10-26T23:00:00Z"));
        assert_eq!(
            next_day(at("2025-06-01T00:00:00Z"), zone).micros() - day_of(at("2025-06-01T00:00:00Z"), zone).micros(),
            DAY
        );
    }

    #[test]
    fn a_day_that_begins_behind_a_gap_begins_at_its_first_instant() {
        // Clocks in Beirut go from 00:00 to 01:00 on the last Sunday of March (30 March 2025): 22:00 UTC of the day before.
        let zone = Tz::Asia__Beirut;
        let day = day_of(at("2025-03-30T12:00:00Z"), zone);
        assert_eq!(day, at("2025-03-29T22:00:00Z"));
        assert_eq!(local(day, zone).unwrap().naive_local(), naive("2025-03-30T01:00:00"));
        assert_eq!(next_day(at("2025-03-29T12:00:00Z"), zone), day);
        // A midnight that happens twice begins at the first.
        let havana = Tz::America__Havana;
        let day = day_of(at("2025-11-02T12:00:00Z"), havana);
        assert_eq!(day, at("2025-11-02T04:00:00Z"));
        assert_eq!(next_day(day, havana), at("2025-11-03T05:00:00Z"));
    }

    #[test]
    fn a_zone_with_half_hours_and_the_date_line() {
        assert_eq!(day_of(at("2025-06-01T18:29:59Z"), Tz::Asia__Kolkata), at("2025-05-31T18:30:00Z"));
        assert_eq!(day_of(at("2025-06-01T18:30:00Z"), Tz::Asia__Kolkata), at("2025-06-01T18:30:00Z"));
        // Samoa left 30 December 2011 out.
        let zone = Tz::Pacific__Apia;
        let day = day_of(at("2011-12-30T09:00:00Z"), zone);
        assert_eq!(day, at("2011-12-29T10:00:00Z"));
        assert!(next_day(day, zone) > day);
        assert_eq!(day_of(at("2011-12-30T10:00:00Z"), zone), at("2011-12-30T10:00:00Z"));
    }

    #[test]
    fn local_times_that_happen_twice_or_never() {
        let zone = Tz::Europe__Berlin;
        assert_eq!(instant_of(naive("2025-07-01T12:00:00"), zone), at("2025-07-01T10:00:00Z"));
        assert_eq!(instant_of(naive("2025-10-26T02:30:00"), zone), at("2025-10-26T00:30:00Z"), "the first of two");
        assert_eq!(
            instant_of(naive("2025-03-30T02:30:00"), zone),
            at("2025-03-30T01:30:00Z"),
            "half an hour behind the gap"
        );
        assert_eq!(instant_of(naive("2025-03-30T02:00:00.5"), zone), at("2025-03-30T01:00:00.5Z"));
        assert_eq!(instant_of(naive("2025-03-30T03:00:00"), zone), at("2025-03-30T01:00:00Z"));
        assert_eq!(instant_of(naive("2025-03-30T03:30:00"), Tz::UTC), at("2025-03-30T03:30:00Z"));
    }

    #[test]
    fn the_arrival_tells_which_of_two_is_meant() {
        let zone = Tz::Europe__Berlin;
        let heard = |local: &str, arrival: &str| instant_heard(naive(local), zone, at(arrival)).to_string();
        let (first, second) = ("2025-10-26T00:30:00Z", "2025-10-26T01:30:00Z");
        assert_eq!(heard("2025-10-26T02:30:00", "2025-10-26T00:30:01Z"), first);
        assert_eq!(heard("2025-10-26T02:30:00", "2025-10-26T01:24:59Z"), first, "late, and yet before the second");
        assert_eq!(heard("2025-10-26T02:30:00", "2025-10-26T01:25:00Z"), second, "5 minutes ahead");
        assert_eq!(heard("2025-10-26T02:30:00", "2025-10-26T01:30:01Z"), second);
        assert_eq!(heard("2025-10-26T02:30:00", "2025-10-26T02:29:59Z"), second);
        assert_eq!(heard("2025-10-26T02:30:00", "2025-10-26T02:30:00Z"), first, "an old one: the arrival says nothing");
        assert_eq!(heard("2025-10-26T02:30:00", "2025-10-25T12:00:00Z"), first);
        // Times that happen once or never do not depend on it.
        assert_eq!(heard("2025-10-26T01:59:59", "2025-10-26T00:59:59Z"), "2025-10-25T23:59:59Z");
        assert_eq!(heard("2025-10-26T03:00:00", "2025-10-26T01:30:00Z"), "2025-10-26T02:00:00Z");
        assert_eq!(heard("2025-03-30T02:30:00", "2025-03-30T01:30:00Z"), "2025-03-30T01:30:00Z");
    }

    #[test]
    fn the_times_of_a_node_that_tells_local_time_do_not_go_backwards_in_autumn() {
        // Lord Howe sets its clocks back by half an hour, on 6 April 2025 at 02:00 (15:00 UTC of the day before).
        for (zone, begin) in
            [(Tz::Europe__Berlin, "2025-10-25T22:00:00Z"), (Tz::Australia__Lord_Howe, "2025-04-05T12:00:00Z")]
        {
            for late in [0, 1_000_000, 20 * 60_000_000] {
                for minute in 0..360 {
                    let told = Timestamp(at(begin).micros() + minute * 60_000_000);
                    let shown = local(told, zone).unwrap().naive_local();
                    let arrival = Timestamp(told.micros() + late);
                    assert_eq!(instant_heard(shown, zone, arrival), told, "{zone} {shown} {late}");
                }
            }
        }
    }

    #[test]
    fn which_times_happen_twice() {
        let zone = Tz::Europe__Berlin;
        for (ts, twice) in [
            ("2025-10-25T23:59:59Z", false),
            ("2025-10-26T00:00:00Z", true),
            ("2025-10-26T01:59:59.999999Z", true),
            ("2025-10-26T02:00:00Z", false),
            ("2025-03-30T01:00:00Z", false),
        ] {
            assert_eq!(happens_twice(at(ts), zone), twice, "{ts}");
            assert!(!happens_twice(at(ts), Tz::UTC));
        }
        let zone = Tz::Australia__Lord_Howe;
        assert!(happens_twice(at("2025-04-05T14:30:00Z"), zone) && happens_twice(at("2025-04-05T15:29:59Z"), zone));
        assert!(!happens_twice(at("2025-04-05T14:29:59Z"), zone) && !happens_twice(at("2025-04-05T15:30:00Z"), zone));
        assert!(!happens_twice(Timestamp(i64::MAX), zone));
    }

    #[test]
    fn hours_before_1970_and_times_that_are_none() {
        assert_eq!(hour_of(Timestamp(-1)), Timestamp(-HOUR));
        assert_eq!(hour_of(Timestamp(HOUR)), Timestamp(HOUR));
        assert_eq!(day_of(Timestamp(i64::MAX), Tz::UTC), Timestamp(i64::MAX));
        assert_eq!(next_day(Timestamp(i64::MIN), Tz::UTC), Timestamp(i64::MIN + DAY));
    }

    #[test]
    fn every_day_of_many_years_begins_where_the_one_before_ends() {
        for zone in [
            Tz::Europe__Berlin,
            Tz::Asia__Beirut,
            Tz::America__Sao_Paulo,
            Tz::Australia__Lord_Howe,
            Tz::Pacific__Apia,
            Tz::UTC,
        ] {
            let mut day = day_of(at("2005-01-01T12:00:00Z"), zone);
            while day < at("2030-01-01T00:00:00Z") {
                let next = next_day(day, zone);
                assert!(next > day && next.micros() - day.micros() <= 26 * HOUR, "{zone} {day}");
                assert_eq!(day_of(day, zone), day, "{zone}");
                assert_eq!(day_of(Timestamp(next.micros() - 1), zone), day, "{zone}");
                day = next;
            }
        }
    }
}
