//! Numbers of groups over buckets: what they are made from, and what they cost.

use super::*;
use crate::store::reader::aggregate;
use crate::zone::{DAY, HOUR, Tz};

/// 2025-06-01T00:00:00Z, a Sunday.
const JUNE: i64 = 1_748_736_000 * SEC;

fn question(aggregates: &[Aggregate], grouping: Grouping) -> Question {
    Question { selection: Selection::All, grouping, aggregates: aggregates.to_vec(), exact: false }
}

fn edges(width: &str, start: i64, end: i64) -> Vec<Timestamp> {
    Buckets::new(width.parse().unwrap(), Tz::UTC).edges(Timestamp(start), Timestamp(end), 10_000)
}

/// Bucket, group and values of each row; NaN as `None`.
fn rows(slice: &Slice) -> Vec<(usize, usize, Vec<Option<f64>>)> {
    let shown = |v: &f64| Some(*v).filter(|v| !v.is_nan());
    slice.rows.iter().map(|r| (r.bucket, r.group, r.values.iter().map(shown).collect())).collect()
}

/// Ten days of two series with a reading each six hours: 0, 1, 2 .. and 100, 101, 102 .. .
fn ten_days() -> Fixture {
    let f = fixture();
    f.add_node(1, "hub", "n");
    f.add_series(1, 1, "a", None);
    f.add_series(2, 1, "it's b", None);
    for i in 0..40 {
        let at = JUNE + i * 6 * HOUR;
        let value = f64::from(i32::try_from(i).unwrap());
        f.insert(&[row(at, 1, value), row(at, 2, 100.0 + value)]);
    }
    f
}

#[test]
fn what_suffices_is_used() {
    let f = ten_days();
    let (hours, days) = (Timestamp(JUNE + 9 * DAY + 12 * HOUR), Timestamp(JUNE + 9 * DAY));
    f.roll(Tz::UTC, hours, days);
    let made = |aggregates: &[Aggregate], width: &str, days: (i64, i64), exact: bool| {
        let question = Question { exact, ..question(aggregates, Grouping::Series(vec![1, 2])) };
        let edges = edges(width, JUNE + days.0 * DAY, JUNE + days.1 * DAY);
        f.reader.slice(&question, Tz::UTC, &edges).unwrap().made_from.name()
    };
    let sums = [Aggregate::Count, Aggregate::Mean, Aggregate::First];
    assert_eq!(made(&sums, "1h", (0, 9), false), "hourly");
    assert_eq!(made(&sums, "6h", (0, 9), false), "hourly");
    assert_eq!(made(&sums, "1d", (0, 9), false), "daily");
    assert_eq!(made(&sums, "1mo", (0, 9), false), "mixed", "the month is not over");
    assert_eq!(made(&sums, "1d", (0, 10), false), "mixed");
    assert_eq!(made(&sums, "1d", (0, 9), true), "readings");
    assert_eq!(made(&sums, "15m", (0, 9), false), "readings");
    let percentiles = [Aggregate::P95];
    assert_eq!(made(&percentiles, "1h", (0, 9), false), "hourly");
    assert_eq!(made(&percentiles, "1d", (0, 9), false), "daily");
    assert_eq!(made(&percentiles, "2d", (1, 9), false), "readings");
    assert_eq!(made(&percentiles, "6h", (0, 9), false), "readings");
}

#[test]
fn a_rollup_is_read_and_not_the_readings() {
    let f = ten_days();
    f.roll(Tz::UTC, Timestamp(JUNE + 10 * DAY), Timestamp(JUNE + 10 * DAY));
    // Nobody else could know this value.
    f.root.execute_batch("UPDATE g.daily SET max = 1000 WHERE series = 1 AND bucket = '2025-06-03'").unwrap();
    f.root.execute_batch("UPDATE g.hourly SET p99 = 2000 WHERE series = 2 AND bucket = '2025-06-03 06:00'").unwrap();
    let asked = question(&[Aggregate::Max], Grouping::Series(vec![1]));
    let days = edges("1d", JUNE + DAY, JUNE + 4 * DAY);
    let slice = f.reader.slice(&asked, Tz::UTC, &days).unwrap();
    assert_eq!(rows(&slice), [(0, 0, vec![Some(7.0)]), (1, 0, vec![Some(1000.0)]), (2, 0, vec![Some(15.0)])]);
    let asked = question(&[Aggregate::P99, Aggregate::Count], Grouping::Series(vec![2]));
    let slice =
        f.reader.slice(&asked, Tz::UTC, &edges("1h", JUNE + 2 * DAY + 6 * HOUR, JUNE + 2 * DAY + 7 * HOUR)).unwrap();
    assert_eq!(rows(&slice), [(0, 0, vec![Some(2000.0), Some(1.0)])]);
    // Of a mark, the readings.
    f.root.execute_batch("INSERT INTO g.dirty_days VALUES (2, '2025-06-03')").unwrap();
    let asked = question(&[Aggregate::Max], Grouping::Series(vec![1, 2]));
    let slice = f.reader.slice(&asked, Tz::UTC, &edges("1d", JUNE + 2 * DAY, JUNE + 3 * DAY)).unwrap();
    assert_eq!(rows(&slice), [(0, 0, vec![Some(11.0)]), (0, 1, vec![Some(111.0)])]);
}

#[test]
fn groups_of_several_series() {
    let f = ten_days();
    f.roll(Tz::UTC, Timestamp(JUNE + 10 * DAY), Timestamp(JUNE + 10 * DAY));
    let aggregates =
        [Aggregate::Count, Aggregate::Min, Aggregate::Max, Aggregate::First, Aggregate::Last, Aggregate::P50];
    let day = edges("1d", JUNE, JUNE + DAY);
    let slice = f.reader.slice(&question(&aggregates, Grouping::Together), Tz::UTC, &day).unwrap();
    let all = vec![Some(8.0), Some(0.0), Some(103.0), Some(0.0), Some(103.0), Some(51.5)];
    assert_eq!(rows(&slice), [(0, 0, all.clone())]);
    assert_eq!(slice.made_from.name(), "readings", "the rollups do not say which series was first");
    let slice = f.reader.slice(&question(&aggregates, Grouping::Nodes(vec![7, 1])), Tz::UTC, &day).unwrap();
    assert_eq!(rows(&slice), [(0, 1, all)]);
    let metrics = Grouping::Metrics(vec!["it's b".into()]);
    let slice = f.reader.slice(&question(&[Aggregate::Sum], metrics), Tz::UTC, &day).unwrap();
    assert_eq!((rows(&slice), slice.made_from.name()), (vec![(0, 0, vec![Some(406.0)])], "daily"));
    let none = Question { selection: Selection::Series(vec![]), ..question(&aggregates, Grouping::Together) };
    assert_eq!(f.reader.slice(&none, Tz::UTC, &day), Ok(Slice::default()));
}

#[test]
fn what_is_gone_with_the_readings_is_said() {
    let f = ten_days();
    f.roll(Tz::UTC, Timestamp(JUNE + 10 * DAY), Timestamp(JUNE + 10 * DAY));
    f.expire(Timestamp(JUNE + 5 * DAY));
    let aggregates = [Aggregate::Count, Aggregate::P50];
    let pairs = edges("2d", JUNE + DAY, JUNE + 9 * DAY);
    let slice = f.reader.slice(&question(&aggregates, Grouping::Series(vec![1])), Tz::UTC, &pairs).unwrap();
    assert_eq!(slice.incomplete, [Aggregate::P50]);
    let eight = |p50: Option<f64>| vec![Some(8.0), p50];
    assert_eq!(
        rows(&slice),
        [(0, 0, eight(None)), (1, 0, eight(None)), (2, 0, eight(Some(23.5))), (3, 0, eight(Some(31.5)))]
    );
    // Half an hour of what is only known by the hour.
    let half = [Timestamp(JUNE), Timestamp(JUNE + 30 * 60 * SEC)];
    let slice = f.reader.slice(&question(&aggregates, Grouping::Series(vec![1])), Tz::UTC, &half).unwrap();
    assert!(slice.unknown);
    assert_eq!(rows(&slice), [(0, 0, vec![None, None])]);
    assert_eq!(slice.incomplete, aggregates);
}

#[test]
fn a_day_with_an_hour_out_of_date_is_out_of_date() {
    let f = ten_days();
    f.roll(Tz::UTC, Timestamp(JUNE + 10 * DAY), Timestamp(JUNE + 10 * DAY));
    f.insert(&[row(JUNE + DAY + HOUR, 1, 500.0)]);
    f.root.execute_batch("INSERT INTO g.dirty VALUES (1, '2025-06-02 01:00')").unwrap();
    let asked = question(&[Aggregate::Count, Aggregate::Max, Aggregate::P50], Grouping::Series(vec![1]));
    let slice = f.reader.slice(&asked, Tz::UTC, &edges("1d", JUNE + DAY, JUNE + 2 * DAY)).unwrap();
    assert_eq!(rows(&slice), [(0, 0, vec![Some(5.0), Some(500.0), Some(6.0)])]);
}

#[test]
fn days_of_the_zone_before_are_not_taken_for_others() {
    let f = ten_days();
    f.roll(Tz::UTC, Timestamp(JUNE + 10 * DAY), Timestamp(JUNE + 10 * DAY));
    f.expire(Timestamp(JUNE + 5 * DAY));
    // The gateway moves to Berlin: days that can be computed again are, and the others stay.
    f.root.execute_batch("DELETE FROM g.daily WHERE bucket >= '2025-06-06'").unwrap();
    f.note("timezone", "Europe/Berlin");
    let asked = question(&[Aggregate::Count, Aggregate::Sum, Aggregate::P50], Grouping::Series(vec![1]));
    let buckets = Buckets::new("1d".parse().unwrap(), Tz::Europe__Berlin);
    let days = buckets.edges(Timestamp(JUNE + 22 * HOUR), Timestamp(JUNE + 4 * DAY), 10);
    let slice = f.reader.slice(&asked, Tz::Europe__Berlin, &days).unwrap();
    assert_eq!(slice.made_from.name(), "hourly");
    // From 22:00 UTC on: the readings 4 to 7, and so on.
    let sum = |first: f64| vec![Some(4.0), Some(4.0 * first + 6.0), None];
    assert_eq!(rows(&slice), [(0, 0, sum(4.0)), (1, 0, sum(8.0)), (2, 0, sum(12.0)), (3, 0, sum(16.0))]);
    assert_eq!(slice.incomplete, [Aggregate::P50]);
}

#[test]
fn more_marks_than_are_looked_at_one_by_one() {
    let f = fixture();
    f.add_node(1, "hub", "n");
    f.add_series(1, 1, "a", None);
    f.root
        .execute_batch("INSERT INTO g.readings SELECT 1, make_timestamp(1748736000000000 + i * 600000000), i, 0 FROM range(6000) r(i)")
        .unwrap();
    f.roll(Tz::UTC, Timestamp(JUNE + 41 * DAY), Timestamp(JUNE + 41 * DAY));
    f.root
        .execute_batch(
            "INSERT INTO g.dirty SELECT 1, bucket FROM g.hourly; UPDATE g.hourly SET count = 0, min = 1e9;
             INSERT INTO g.dirty_days SELECT 1, bucket FROM g.daily; UPDATE g.daily SET count = 0",
        )
        .unwrap();
    let asked = question(&[Aggregate::Count, Aggregate::Min], Grouping::Series(vec![1]));
    let slice = f.reader.slice(&asked, Tz::UTC, &edges("1h", JUNE, JUNE + 41 * DAY)).unwrap();
    assert_eq!(slice.rows.len(), 41 * 24);
    for (i, (bucket, _, values)) in rows(&slice).into_iter().enumerate() {
        assert_eq!((bucket, values), (i, vec![Some(6.0), Some(6.0 * f64::from(u32::try_from(i).unwrap()))]));
    }
    assert_eq!(slice.made_from.name(), "readings");
}

#[test]
fn percentiles_over_more_values_than_fit_in_memory() {
    let f = fixture();
    f.add_node(1, "hub", "n");
    f.add_series(1, 1, "a", None);
    f.add_series(2, 1, "b", None);
    // All numbers from 0 to two million in a wild order, one a second, and a few elsewhere.
    f.root
        .execute_batch(
            "INSERT INTO g.readings SELECT 1, make_timestamp(1748736000000000 + i * 1000000), (i * 7919) % 2000003, 0
             FROM range(2000003) r(i);
             INSERT INTO g.readings SELECT 2, make_timestamp(1748736000000000 + i * 60000000), -i, 0 FROM range(1001) r(i)",
        )
        .unwrap();
    let whole = [Timestamp(JUNE), Timestamp(JUNE + 30 * DAY)];
    let percentiles = [Aggregate::Count, Aggregate::P50, Aggregate::P95, Aggregate::P99];
    let slice = f.reader.slice(&question(&percentiles, Grouping::Series(vec![2, 1])), Tz::UTC, &whole).unwrap();
    let near = |got: &[Option<f64>], expected: &[f64]| {
        got.iter().zip(expected).all(|(got, e)| (got.unwrap() - e).abs() <= 1e-9 * e.abs())
    };
    let found = rows(&slice);
    assert!(near(&found[0].2, &[1001.0, -500.0, -50.0, -10.0]), "{found:?}");
    assert!(near(&found[1].2, &[2_000_003.0, 1_000_001.0, 1_900_001.9, 1_980_001.98]), "{found:?}");
}

#[test]
fn values_of_any_size_are_narrowed_down() {
    let f = fixture();
    f.add_node(1, "hub", "n");
    f.add_series(1, 1, "a", None);
    let mut values =
        vec![f64::MAX, f64::MIN, -0.0, 0.0, f64::MIN_POSITIVE, 5e-324, -5e-324, 1e300, -1e300, 1.0, 1.0, 1.0];
    values.extend((0..90).map(|i| f64::from(i) * 1e-9));
    f.insert(&(0..).zip(&values).map(|(i, v)| row(JUNE + i, 1, *v)).collect::<Vec<_>>());
    let whole = [Timestamp(JUNE), Timestamp(JUNE + DAY)];
    let asked = question(&[Aggregate::P50, Aggregate::P95, Aggregate::P99], Grouping::Together);
    let expected = f.reader.slice(&asked, Tz::UTC, &whole).unwrap();
    let sql: Vec<f64> = f
        .root
        .query_row(
            "SELECT quantile_cont(value, 0.5), quantile_cont(value, 0.95), quantile_cont(value, 0.99) FROM g.readings",
            [],
            |r| Ok(vec![r.get(0)?, r.get(1)?, r.get(2)?]),
        )
        .unwrap();
    assert_eq!(expected.rows[0].values.to_vec(), sql);
    let lease = f.reader.inner.pool.lease(Limits::default()).unwrap();
    for most in [1, 2, 7, 50] {
        let narrowed = lease.snapshot(|c| aggregate::slice(c, &asked, Tz::UTC, &whole, most)).unwrap();
        assert_eq!(narrowed, expected, "{most}");
    }
}
