//! Surveys of a real file, against what was put into it.

#![expect(clippy::cast_precision_loss, reason = "the tests choose their numbers, and they are small")]

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::quality::{Gap, Test, Untested};
use crate::store::reader::fixture::{Fixture, row};
use crate::store::reader::{Limits, Row};

const SEC: i64 = 1_000_000;
const HOUR: i64 = zone::HOUR;
const DAY: i64 = zone::DAY;
/// 2025-10-09T00:00:00Z
const T0: i64 = 1_759_968_000 * SEC;

fn at(micros: i64) -> Timestamp {
    Timestamp(T0 + micros)
}

fn scope(start: i64, end: i64) -> Scope {
    Scope { start: at(start), end: at(end), now: at(100 * DAY), listed: 10 }
}

fn subject(series: i32) -> Subject {
    Subject { series, rules: Rules::default(), since: Timestamp(0) }
}

/// Every `interval` from `start` until before `end`; values swing by a degree.
fn regular(series: i32, interval: i64, start: i64, end: i64) -> Vec<Row> {
    let value = |i: i64| 20.0 + (i % 11) as f64 / 10.0;
    (0..(end - start + interval - 1) / interval).map(|i| row(T0 + start + i * interval, series, value(i))).collect()
}

impl Fixture {
    fn survey(&self, scope: Scope, subjects: Vec<Subject>) -> HashMap<i32, Surveyed> {
        let mut survey = Survey::new(scope, subjects);
        while !self.reader.survey(&mut survey).unwrap() {}
        survey.into_found().into_iter().map(|f| (f.series, f)).collect()
    }
}

fn missing(found: &Surveyed) -> Option<(u64, u64)> {
    found.findings.coverage.map(|c| (c.present, c.missing))
}

#[test]
fn series_are_told_apart_and_silent_ones_found() {
    let f = Fixture::new(Limits::default());
    let mut rows = regular(1, 30 * SEC, 0, DAY);
    rows.retain(|r| !(T0 + 6 * HOUR..T0 + 7 * HOUR).contains(&r.ts.micros()));
    rows.extend(regular(2, 60 * SEC, 0, DAY));
    // Of the week before only, and of before that.
    rows.extend(regular(3, 60 * SEC, -HOUR, 0));
    rows.extend(regular(4, 60 * SEC, -30 * DAY, -30 * DAY + HOUR));
    // Two in the range, enough in the days before.
    rows.extend(regular(5, 6 * HOUR, -4 * DAY, 12 * HOUR));
    rows.extend([row(T0 + 5, 6, 1.0), row(T0 + 6 * HOUR, 6, 0.0)]);
    rows.sort_by_key(|r| r.ts);
    f.insert(&rows);
    let found = f.survey(scope(0, DAY), (1..=7).map(subject).collect());
    assert_eq!(found.len(), 7);
    assert_eq!(missing(&found[&1]), Some((23 * 120, 120)));
    let gap = Gap { from: at(6 * HOUR - 30 * SEC), to: at(7 * HOUR), missing: 120 };
    assert_eq!(found[&1].findings.gaps.listed, [gap]);
    assert_eq!(missing(&found[&2]), Some((1_440, 0)));
    assert_eq!(found[&2].findings.interval, Interval::Learnt { micros: 60 * SEC, spread: 0.0 });
    assert_eq!((missing(&found[&3]), found[&3].findings.score()), (Some((0, 1_440)), Some(0.0)));
    assert_eq!(found[&4].findings.interval, Interval::TooFew { differences: 0 });
    assert_eq!((missing(&found[&4]), found[&4].findings.readings), (None, 0));
    assert_eq!(missing(&found[&5]), Some((2, 2)), "every six hours: at 12 and at 18 nothing came");
    assert_eq!(found[&6].findings.interval, Interval::TooFew { differences: 1 });
    assert_eq!(found[&6].findings.test, Test::None(Untested::TooFew));
    assert_eq!(found[&7].findings.readings, 0);
}

#[test]
fn the_values_are_those_of_duckdb() {
    let f = Fixture::new(Limits::default());
    // Median 6 of 1..=10 and 99, MAD 3, and the mean deviation 11 of 121/11.
    let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 99.0];
    let mut rows: Vec<Row> = (0..).zip(values).map(|(i, v)| row(T0 + i * 60 * SEC, 1, v)).collect();
    // Late, ahead, not verified.
    for (i, lag) in [(0, Some(5)), (1, Some(-2)), (2, Some(-1)), (3, None), (4, Some(100))] {
        rows[i].lag = lag;
    }
    rows.extend((0..20).map(|i| row(T0 + i * 60 * SEC, 2, f64::from(u8::from(i == 3)))));
    rows.extend((0..20).map(|i| row(T0 + i * 60 * SEC, 3, if i % 2 == 0 { f64::MAX } else { -f64::MAX })));
    rows.extend((0..20).map(|i| row(T0 + i * 60 * SEC, 4, if i == 7 { -0.1 } else { 1.0e-300 })));
    f.insert(&rows);
    let limited = Subject { rules: Rules { max: Some(5.0), ..Rules::default() }, ..subject(1) };
    let found = f.survey(scope(0, HOUR), (1..=4).map(subject).collect());
    let v = found[&1].findings.values;
    assert_eq!((v.count, v.median, v.mad), (11, Some(6.0), Some(3.0)));
    assert!((v.mean_deviation.unwrap() - 118.0 / 11.0).abs() < 1e-12, "{v:?}");
    assert_eq!((v.delay_s, v.unverified, v.ahead, v.states), (Some(0.0), 1, 1, false));
    assert_eq!(found[&1].findings.outliers.count, 1);
    assert!(found[&2].findings.values.states);
    assert_eq!(found[&2].findings.test, Test::None(Untested::States));
    assert_eq!(found[&3].findings.test, Test::None(Untested::TooLarge));
    assert_eq!(found[&4].findings.values.median, Some(1.0e-300));
    assert_eq!(found[&4].findings.outliers.listed[0].value, -0.1);
    let found = f.survey(scope(0, HOUR), vec![limited]);
    assert_eq!(found[&1].findings.outliers.count, 6);
    assert_eq!(found[&1].findings.values.mad, None, "nobody asked for it");
}

#[test]
fn what_a_person_knows_is_taken() {
    let f = Fixture::new(Limits::default());
    f.insert(&[row(T0, 1, 1.0), row(T0 + 60 * SEC, 1, 1.0), row(T0 + 60 * SEC, 2, 1.0)]);
    let with = |series, interval| Subject { rules: Rules { interval, ..Rules::default() }, ..subject(series) };
    let minute = config::Interval::Every(Duration::from_secs(60));
    let found = f.survey(
        scope(0, HOUR),
        vec![
            with(1, minute),
            with(2, config::Interval::Irregular),
            with(3, minute),
            with(4, config::Interval::Irregular),
        ],
    );
    assert_eq!(missing(&found[&1]), Some((2, 58)));
    assert_eq!(missing(&found[&2]), None);
    assert_eq!(missing(&found[&3]), Some((0, 60)));
    assert_eq!((missing(&found[&4]), found[&4].findings.score()), (None, None));
}

#[test]
fn nothing_is_expected_of_what_cannot_be_there() {
    let f = Fixture::new(Limits::default());
    let mut rows = regular(1, 60 * SEC, 6 * HOUR, 12 * HOUR);
    // Records that come in batches of an hour.
    rows.extend(regular(2, 60 * SEC, 0, 11 * HOUR));
    for r in rows.iter_mut().filter(|r| r.series == 2) {
        let behind = (r.ts.micros() - T0).rem_euclid(HOUR);
        r.lag = Some(i32::try_from((HOUR - behind) / SEC).unwrap());
    }
    rows.extend(regular(3, 60 * SEC, 0, 11 * HOUR));
    f.insert(&rows);
    let mut now = scope(0, DAY);
    now.now = at(12 * HOUR);
    let late = Subject { since: at(6 * HOUR), ..subject(1) };
    let found = f.survey(now, vec![late.clone(), subject(2), subject(3)]);
    assert_eq!(missing(&found[&1]), Some((360, 0)), "its node came at six");
    assert_eq!(missing(&found[&2]), Some((660, 0)), "the batch of the last hour is still to come");
    assert_eq!(missing(&found[&3]), Some((660, 60)), "it is live, and silent for an hour");
    // What was removed is not missing.
    f.root.execute_batch(&format!("INSERT INTO g.meta VALUES ('expired-before', '{}')", T0 + 9 * HOUR)).unwrap();
    f.root.execute_batch(&format!("DELETE FROM g.readings WHERE ts < {}", literal(at(9 * HOUR)))).unwrap();
    let found = f.survey(now, vec![late]);
    assert_eq!(missing(&found[&1]), Some((180, 0)));
}

#[test]
fn counts_of_the_hours_of_the_range_are_added_up() {
    let f = Fixture::new(Limits::default());
    let hour = |n: i64| literal(at(n * HOUR));
    f.root
        .execute_batch(&format!(
            "INSERT INTO g.quality VALUES (1, {0}, 1, 10, 100), (1, {1}, 2, 20, 200), (1, {1}, 4, 40, 400), \
             (1, {2}, 8, 80, 800), (2, {1}, 16, 0, 0)",
            hour(0),
            hour(1),
            hour(2)
        ))
        .unwrap();
    let counts = |start, end| f.survey(scope(start, end), vec![subject(1), subject(3)])[&1].counts;
    assert_eq!(counts(HOUR + HOUR / 2, 2 * HOUR), Counts { duplicates: 6, conflicts: 60, clock_errors: 600 });
    assert_eq!(counts(0, 3 * HOUR), Counts { duplicates: 15, conflicts: 150, clock_errors: 1_500 });
    assert_eq!(counts(3 * HOUR, 4 * HOUR), Counts::default());
}

#[test]
fn groups_hold_no_more_than_fits() {
    let big = HashMap::from([(1, 249_000), (2, 1_000), (3, 1), (4, 9_000_000), (5, 7), (9, 0)]);
    assert_eq!(
        groups(vec![9, 5, 4, 3, 2, 1, 8], &big),
        [vec![5, 8, 9], vec![4], vec![3], vec![1, 2]],
        "the last one is taken first"
    );
    let many = groups((0..450).collect(), &HashMap::new());
    assert_eq!(many.iter().map(Vec::len).collect::<Vec<_>>(), [50, 200, 200]);
    assert_eq!(groups(vec![], &HashMap::new()), [] as [Vec<i32>; 0]);
}

#[test]
fn more_series_than_a_group_and_more_than_a_statement_names() {
    let f = Fixture::new(Limits::default());
    f.root
        .execute_batch(&format!(
            "INSERT INTO g.readings SELECT s, make_timestamp({T0} + i * 60000000), (i + s) % 7, 0 \
             FROM range(20) b(i), range(1200) a(s) WHERE s % 3 <> 0 OR i < 10 OR i >= 12 ORDER BY i, s"
        ))
        .unwrap();
    let found = f.survey(scope(0, 20 * 60 * SEC), (0..1_250).map(subject).collect());
    assert_eq!(found.len(), 1_250);
    for (id, found) in &found {
        match id {
            1_200.. => assert_eq!(found.findings.readings, 0),
            id if id % 3 == 0 => assert_eq!(missing(found), Some((18, 2)), "{id}"),
            _ => assert_eq!(missing(found), Some((20, 0)), "{id}"),
        }
    }
}

#[test]
fn a_survey_ends_with_the_error_of_a_step() {
    let f = Fixture::new(Limits { wait: Duration::from_millis(30), time: Duration::from_secs(60) });
    let paused = f.reader.pause();
    let mut survey = Survey::new(scope(0, DAY), vec![subject(1)]);
    assert_eq!(f.reader.survey(&mut survey), Err(QueryError::Busy));
    drop(paused);
    assert!(!f.reader.survey(&mut survey).unwrap(), "it had not begun");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    /// Whatever is stored in whatever order, a survey finds what the arithmetic finds of the sorted readings.
    #[test]
    fn a_survey_is_the_arithmetic_over_the_sorted_readings(
        keys in prop::collection::btree_map((0_i64..20_000_000_000, 0_i32..4), -50_i16..50, 0..400),
        order in any::<u64>(),
        start in 0_i64..10_000_000_000,
    ) {
        let f = Fixture::new(Limits::default());
        let rows: Vec<Row> = keys.iter().map(|((ts, series), v)| row(T0 + ts, *series, f64::from(*v))).collect();
        let mut shuffled = rows.clone();
        shuffled.sort_by_key(|r| (r.ts.micros().cast_unsigned() ^ order).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        f.insert(&shuffled);
        let end = 15_000_000_000;
        let found = f.survey(scope(start, end), (0..4).map(subject).collect());
        for series in 0..4 {
            let mine: Vec<&Row> = rows.iter().filter(|r| r.series == series).collect();
            let within: Vec<&&Row> = mine.iter().filter(|r| (at(start)..at(end)).contains(&r.ts)).collect();
            let mut differences = Differences::default();
            for r in &within {
                differences.push(r.ts);
            }
            if differences.len() < ENOUGH {
                differences.cut();
                for r in mine.iter().filter(|r| r.ts < at(start)) {
                    differences.push(r.ts);
                }
            }
            let interval = differences.learn();
            let findings = &found[&series].findings;
            prop_assert_eq!(findings.interval, interval);
            let span = Span { start: at(start), end: at(end) };
            let mut judge = Judge::new(&Rules::default(), interval, findings.values, span, 10);
            for r in &within {
                judge.push(r.ts, r.value);
            }
            prop_assert_eq!(findings, &judge.finish());
            let mut sorted: Vec<f64> = within.iter().map(|r| r.value).collect();
            sorted.sort_by(f64::total_cmp);
            let n = sorted.len();
            let median = (n > 0).then(|| f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2]));
            prop_assert_eq!(findings.values.median, median);
        }
    }
}
