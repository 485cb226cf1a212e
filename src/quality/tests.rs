//! Series made by hand, whose quality is known, and laws that hold for all.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the tests choose their numbers, and they are small"
)]

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::reading::Timestamp;

const SEC: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SEC;
/// 2025-10-09T00:00:00Z
const T0: i64 = 1_759_968_000 * SEC;

fn at(micros: i64) -> Timestamp {
    Timestamp(T0 + micros)
}

fn hours(n: i64) -> Span {
    Span { start: at(0), end: at(n * HOUR) }
}

/// Every `interval` from `first` until before `end`.
fn every(interval: i64, first: i64, end: i64) -> Vec<i64> {
    (0..(end - first + interval - 1) / interval).map(|i| first + i * interval).collect()
}

fn learn(times: &[i64]) -> Interval {
    let mut differences = Differences::default();
    for t in times {
        differences.push(at(*t));
    }
    differences.learn()
}

fn learnt(seconds: f64, spread: f64) -> Interval {
    Interval::Learnt { micros: (seconds * 1e6).round() as i64, spread }
}

/// From -n to n, in an order without a rule.
fn noise(i: i64, n: i64) -> i64 {
    let mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33) as i64 % (2 * n + 1) - n
}

/// What DuckDB would say of the values.
fn values(of: &[f64]) -> Values {
    let median = |mut v: Vec<f64>| {
        v.sort_by(f64::total_cmp);
        let n = v.len();
        (n > 0).then(|| f64::midpoint(v[(n - 1) / 2], v[n / 2]))
    };
    let middle = median(of.to_vec());
    let deviations: Vec<f64> = of.iter().map(|v| (v - middle.unwrap_or(0.0)).abs()).collect();
    Values {
        count: of.len() as u64,
        median: middle,
        mean_deviation: (!of.is_empty()).then(|| deviations.iter().sum::<f64>() / of.len() as f64),
        mad: median(deviations),
        states: of.iter().all(|v| *v == 0.0 || *v == 1.0),
        ..Values::default()
    }
}

/// The findings about readings at these times (microseconds behind `T0`) with these values.
fn judge_with(rules: &Rules, interval: Interval, span: Span, readings: &[(i64, f64)]) -> Findings {
    let of: Vec<f64> = readings.iter().map(|(_, v)| *v).collect();
    let mut judge = Judge::new(rules, interval, values(&of), span, 50);
    for (t, value) in readings {
        judge.push(at(*t), *value);
    }
    judge.finish()
}

/// The same with the interval that they teach, and values that do not matter.
fn judge(span: Span, times: &[i64]) -> Findings {
    let readings: Vec<(i64, f64)> = times.iter().zip([20.0, 20.1].iter().cycle()).map(|(t, v)| (*t, *v)).collect();
    judge_with(&Rules::default(), learn(times), span, &readings)
}

fn counts(findings: &Findings) -> (u64, u64, u64) {
    let coverage = findings.coverage.expect("there is an interval");
    (coverage.present, coverage.missing, findings.gaps.count)
}

fn gap(from: i64, to: i64, missing: u64) -> Gap {
    Gap { from: at(from), to: at(to), missing }
}

#[test]
fn a_regular_series_is_complete() {
    let times = every(30 * SEC, 0, 24 * HOUR);
    let found = judge(hours(24), &times);
    assert_eq!(found.interval, learnt(30.0, 0.0));
    assert_eq!(counts(&found), (2_880, 0, 0));
    assert_eq!(found.coverage.unwrap().part(), Some(1.0));
    assert_eq!(found.score(), Some(1.0));
    assert_eq!(found.readings, 2_880);
}

#[test]
fn what_is_missing_is_counted_where_it_is_missing() {
    let mut times = every(30 * SEC, 0, HOUR);
    // One alone, three in a row, and both ends.
    times.retain(|t| ![300 * SEC, 600 * SEC, 630 * SEC, 660 * SEC].contains(t));
    times.retain(|t| (60 * SEC..HOUR - 90 * SEC).contains(t));
    let found = judge(hours(1), &times);
    assert_eq!(found.interval, learnt(30.0, 0.0));
    assert_eq!(
        found.gaps,
        Listed {
            count: 4,
            listed: vec![
                gap(0, 60 * SEC, 1),
                gap(270 * SEC, 330 * SEC, 1),
                gap(570 * SEC, 690 * SEC, 3),
                gap(HOUR - 120 * SEC, HOUR, 3),
            ]
        }
    );
    // At 0 one is expected that lies as near to the edge as could be outside; it is not counted.
    assert_eq!(counts(&found), (111, 8, 4));
    assert_eq!(found.coverage.unwrap().part(), Some(111.0 / 119.0));
    assert_eq!(found.score(), Some(111.0 / 119.0));
}

#[test]
fn only_the_longest_gaps_are_listed() {
    let times: Vec<i64> =
        every(SEC, 0, HOUR).into_iter().filter(|t| t / SEC % 10 != 5 && !(1_000..1_020).contains(&(t / SEC))).collect();
    let mut judge = Judge::new(&Rules::default(), learn(&times), Values::default(), hours(1), 2);
    for t in &times {
        judge.push(at(*t), 1.0);
    }
    let found = judge.finish();
    assert_eq!(counts(&found), (3_600 - 358 - 20, 378, 359));
    assert_eq!(found.gaps.listed, [gap(4 * SEC, 6 * SEC, 1), gap(999 * SEC, 1_020 * SEC, 20)]);
}

#[test]
fn jitter_makes_no_gaps() {
    // Up to a quarter of the interval early or late.
    let times: Vec<i64> = (0..1_440).map(|i| (i * 60 + 30) * SEC + noise(i, 15) * SEC).collect();
    let found = judge(hours(24), &times);
    let Interval::Learnt { micros, spread } = found.interval else { panic!("{:?}", found.interval) };
    assert!((58 * SEC..=62 * SEC).contains(&micros) && spread > 0.1, "{:?}", found.interval);
    assert_eq!(counts(&found), (1_440, 0, 0));
}

#[test]
fn a_clock_that_drifts_makes_no_gaps() {
    let rules = Rules::default();
    for (real, said) in [(30_600, 30_000), (29_400, 30_000), (31_800, 30_000), (28_200, 30_000)] {
        let readings: Vec<(i64, f64)> = every(real * 1_000, 0, 24 * HOUR).into_iter().map(|t| (t, 1.0)).collect();
        let found = judge_with(&rules, Interval::Configured(said * 1_000), hours(24), &readings);
        assert_eq!(counts(&found), (readings.len() as u64, 0, 0), "{real} ms for {said} ms");
    }
    // Learnt, the interval is that of the drifting clock.
    let found = judge(hours(24), &every(30_013_000, 0, 24 * HOUR));
    assert_eq!(found.interval, learnt(30.013, 0.0));
    assert_eq!(counts(&found), (2_879, 0, 0));
}

#[test]
fn batches_that_were_sent_again_with_a_stamp_of_their_own_are_no_surplus() {
    // Every hundredth message comes three times within two seconds.
    let mut times = every(60 * SEC, 0, 24 * HOUR);
    for i in (0..times.len()).step_by(100) {
        times.extend([times[i] + SEC, times[i] + 2 * SEC]);
    }
    times.sort_unstable();
    let found = judge(hours(24), &times);
    assert_eq!(found.interval, learnt(60.0, 0.0));
    assert_eq!(counts(&found), (1_440, 0, 0));
    assert_eq!(found.readings, 1_470);
}

#[test]
fn values_of_one_moment_are_one() {
    // Five frames of one read, which the gateway stamped a microsecond apart.
    let times: Vec<i64> = every(10 * SEC, 0, HOUR).into_iter().flat_map(|t| (0..5).map(move |i| t + i)).collect();
    let found = judge(hours(1), &times);
    assert_eq!(found.interval, learnt(10.0, 0.0));
    assert_eq!(counts(&found), (360, 0, 0));
    assert_eq!(found.readings, 1_800);
}

#[test]
fn the_grid_begins_anew_behind_a_gap() {
    // Off for a while, and back with another phase and a jitter of a fifth.
    let jitter = |i: i64| noise(i, 12) * SEC;
    let mut times: Vec<i64> = (0..100).map(|i| i * 60 * SEC + jitter(i) + 30 * SEC).collect();
    times.extend((0..100).map(|i| 2 * HOUR + 59 * SEC + i * 60 * SEC + jitter(i)));
    let found = judge(Span { start: at(0), end: at(2 * HOUR + 6_029 * SEC) }, &times);
    assert_eq!((found.gaps.count, found.coverage.unwrap().present), (1, 200), "{:?}", found.gaps);
    assert!((19..=21).contains(&found.gaps.listed[0].missing), "{:?}", found.gaps);
}

#[test]
fn a_day_has_as_many_readings_as_it_is_long_when_the_clocks_change() {
    use crate::zone::{Tz, day_of, next_day};
    for (noon, slots) in [(1_743_332_400, 23 * 120), (1_761_476_400, 25 * 120), (1_748_779_200, 24 * 120)] {
        let start = day_of(Timestamp::from_secs(noon), Tz::Europe__Berlin);
        let span = Span { start, end: next_day(start, Tz::Europe__Berlin) };
        let mut judge = Judge::new(&Rules::default(), Interval::Configured(30 * SEC), Values::default(), span, 9);
        for i in 0..slots {
            judge.push(Timestamp(start.0 + i * 30 * SEC), 1.0);
        }
        let found = judge.finish();
        assert_eq!(counts(&found), (slots as u64, 0, 0), "{start}");
    }
}

#[test]
fn a_node_that_takes_local_time_for_utc_has_an_hour_of_nothing_and_one_twice() {
    // Clocks forward: the times jump by an hour.
    let mut spring = every(30 * SEC, 0, 2 * HOUR);
    spring.extend(every(30 * SEC, 3 * HOUR, 6 * HOUR));
    let found = judge(hours(6), &spring);
    assert_eq!(found.gaps.listed, [gap(2 * HOUR - 30 * SEC, 3 * HOUR, 120)]);
    assert_eq!(counts(&found), (600, 120, 1));
    // Clocks back: an hour has twice as many, off by a third of an interval.
    let mut autumn = every(30 * SEC, 0, 6 * HOUR);
    autumn.extend(every(30 * SEC, 2 * HOUR + 10 * SEC, 3 * HOUR));
    autumn.sort_unstable();
    let found = judge(hours(6), &autumn);
    assert_eq!(found.interval, learnt(30.0, 0.0));
    assert_eq!((counts(&found), found.readings), ((720, 0, 0), 840));
}

#[test]
fn what_has_no_interval_has_no_gaps() {
    // A door: exponential differences, by the quantiles of the distribution in an order without a rule.
    let mut t = 0.0;
    let door: Vec<i64> = (0..200)
        .map(|i| {
            let part = (f64::from(i * 67 % 200) + 0.5) / 200.0;
            t += -(1.0 - part).ln() * 400.0;
            (t * 1e6) as i64
        })
        .collect();
    let found = judge(hours(24), &door);
    let Interval::Irregular { median, spread } = found.interval else { panic!("{:?}", found.interval) };
    // ln 2 of the mean, and the median deviation of an exponential distribution is 0.4812 of the mean.
    assert!((median as f64 / 1e6 - 400.0 * std::f64::consts::LN_2).abs() < 5.0, "{median}");
    assert!((spread - 0.4812 / std::f64::consts::LN_2).abs() < 0.02, "{spread}");
    assert_eq!((found.coverage, found.gaps.count, found.score()), (None, 0, Some(1.0)));
    // Ten values a tenth of a second apart, once an hour.
    let bursts: Vec<i64> = (0..24).flat_map(|h| (0..10).map(move |i| h * HOUR + i * SEC / 10)).collect();
    let Interval::Bursts { median, pauses } = judge(hours(24), &bursts).interval else { panic!() };
    assert_eq!((median, pauses), (100_000, 23.0 / 239.0));
    // A person has said so.
    let found = judge_with(&Rules::default(), Interval::ConfiguredIrregular, hours(1), &[(0, 1.0)]);
    assert_eq!((found.coverage, found.gaps.count), (None, 0));
}

#[test]
fn few_readings_teach_nothing() {
    assert_eq!(learn(&[]), Interval::TooFew { differences: 0 });
    assert_eq!(learn(&[5]), Interval::TooFew { differences: 0 });
    assert_eq!(learn(&[5, 7]), Interval::TooFew { differences: 0 }, "of one moment");
    assert_eq!(learn(&[5, 30 * SEC]), Interval::TooFew { differences: 1 });
    assert_eq!(learn(&every(SEC, 0, 10 * SEC)), Interval::TooFew { differences: 9 });
    assert_eq!(learn(&every(SEC, 0, 11 * SEC)), learnt(1.0, 0.0));
    let found = judge(hours(1), &[0, 30 * SEC]);
    assert_eq!((found.coverage, found.readings, found.gaps.count), (None, 2, 0));
    assert_eq!(found.test, Test::None(Untested::TooFew));
    let found = judge(hours(1), &[]);
    assert_eq!((found.coverage, found.readings, found.score()), (None, 0, None));
}

#[test]
fn without_any_reading_everything_is_missing() {
    let found = judge_with(&Rules::default(), Interval::Configured(30 * SEC), hours(1), &[]);
    assert_eq!(found.gaps.listed, [gap(0, HOUR, 120)]);
    assert_eq!((counts(&found), found.score()), ((0, 120, 1), Some(0.0)));
    // A range shorter than the interval expects nothing.
    let found = judge_with(&Rules::default(), Interval::Configured(2 * HOUR), hours(1), &[]);
    assert_eq!((counts(&found), found.score()), ((0, 0, 0), None));
    // So does one that ends before it begins: the node came later.
    let backwards = Span { start: at(HOUR), end: at(0) };
    assert_eq!(counts(&judge_with(&Rules::default(), Interval::Configured(SEC), backwards, &[])), (0, 0, 0));
}

#[test]
fn the_differences_of_separate_stretches_are_learnt_together() {
    let mut differences = Differences::default();
    for t in every(10 * SEC, 0, 60 * SEC) {
        differences.push(at(t));
    }
    differences.cut();
    for t in every(10 * SEC, HOUR, HOUR + 60 * SEC) {
        differences.push(at(t));
    }
    assert_eq!(differences.len(), 10);
    assert_eq!(differences.learn(), learnt(10.0, 0.0));
}

#[test]
fn more_differences_than_fit_are_sampled() {
    let mut differences = Differences::default();
    let mut t = 0;
    for i in 0..600_000 {
        // Every other one is a tenth longer; a sample by every other place would see one kind alone.
        t += if i % 2 == 0 { 10 * SEC } else { 11 * SEC };
        differences.push(at(t));
    }
    assert_eq!(differences.len(), 250_000);
    let Interval::Learnt { micros, spread } = differences.learn() else { panic!() };
    assert!(micros == 10 * SEC || micros == 11 * SEC || micros == 10 * SEC + SEC / 2, "{micros}");
    assert!(spread <= 0.1, "{spread}");
}

#[test]
fn readings_are_expected_from_when_a_series_began_until_they_can_have_arrived() {
    let now = at(10 * HOUR);
    let span = Span { start: at(0), end: at(24 * HOUR) };
    assert_eq!(span.expected(at(-HOUR), now, None), Span { start: at(0), end: now });
    assert_eq!(span.expected(at(HOUR), now, Some(0.0)), Span { start: at(HOUR), end: now });
    // Batches of an hour: their median delay is half an hour.
    assert_eq!(span.expected(at(0), now, Some(1_800.0)).end, at(9 * HOUR));
    assert_eq!(span.expected(at(0), now, Some(-5.0)).end, now);
    assert_eq!(span.expected(at(0), at(48 * HOUR), Some(1_800.0)), span);
    assert_eq!(span.expected(at(0), now, Some(1e300)).end, at(-14 * HOUR), "a day at the most");
    // Records from before the node was first heard of count.
    let late = Span { start: at(HOUR), end: at(2 * HOUR) };
    let readings: Vec<(i64, f64)> = every(60 * SEC, 0, 2 * HOUR).into_iter().map(|t| (t, 1.0)).collect();
    let found = judge_with(&Rules::default(), Interval::Configured(60 * SEC), late, &readings);
    assert_eq!(found.coverage, Some(Coverage { span: Span { start: at(0), ..late }, present: 120, missing: 0 }));
}

fn with_values(of: &[f64]) -> Vec<(i64, f64)> {
    (0..).zip(of).map(|(i, v)| (i * 60 * SEC, *v)).collect()
}

fn outliers(rules: &Rules, of: &[f64]) -> (Test, Vec<f64>) {
    let found = judge_with(rules, Interval::Configured(60 * SEC), hours(1), &with_values(of));
    (found.test, found.outliers.listed.iter().map(|o| o.value).collect())
}

#[test]
fn outliers_by_the_modified_z_score() {
    // Median 5.5 of 1..=10, deviations 4.5 3.5 .. 0.5 twice each: MAD 2.5. From 5.5 + 3.5 * 2.5 / 0.6745 = 18.47 on.
    let plain: Vec<f64> = (1..=10).map(f64::from).collect();
    let score = |median: f64, mad: f64| Test::Score { median, deviation: mad / 0.6745, by_mean: false };
    assert_eq!(outliers(&Rules::default(), &plain), (score(5.5, 2.5), vec![]));
    // Median 6 of eleven, MAD 3: 99 has 0.6745 * 93 / 3 = 20.9.
    let mut one = plain.clone();
    one.push(99.0);
    let found = judge_with(&Rules::default(), Interval::Configured(60 * SEC), hours(1), &with_values(&one));
    assert_eq!(found.test, score(6.0, 3.0));
    assert_eq!((found.outliers.count, found.outliers.listed[0].ts), (1, at(600 * SEC)));
    assert!((found.outliers.listed[0].score.unwrap() - 0.6745 * 93.0 / 3.0).abs() < 1e-12);
    let (lower, upper) = found.test.bounds();
    assert!((lower.unwrap() - (6.0 - 3.5 * 3.0 / 0.6745)).abs() < 1e-12, "{lower:?}");
    assert!((upper.unwrap() - (6.0 + 3.5 * 3.0 / 0.6745)).abs() < 1e-12, "{upper:?}");
    assert_eq!(found.score(), Some(11.0 / 60.0 * (1.0 - 1.0 / 11.0)));
}

#[test]
fn a_constant_has_no_outliers_and_one_other_value_is_one() {
    let constant = vec![20.0; 20];
    assert_eq!(outliers(&Rules::default(), &constant), (Test::None(Untested::Constant), vec![]));
    let mut one = constant;
    one[7] = 20.5;
    // MAD 0; the mean deviation is 0.5 / 20, and the score 0.5 / (1.253314 * 0.025) = 15.96.
    let found = judge_with(&Rules::default(), Interval::Configured(60 * SEC), hours(1), &with_values(&one));
    assert_eq!(found.test, Test::Score { median: 20.0, deviation: 0.025 * 1.253_314, by_mean: true });
    assert_eq!(
        found.outliers.listed,
        [Outlier { ts: at(420 * SEC), value: 20.5, score: Some(0.5 / (0.025 * 1.253_314)) }]
    );
    // More than half are equal: the MAD is 0, and nothing stands out of what is left.
    let most: Vec<f64> = (0..20).map(|i| if i < 11 { 20.0 } else { 19.0 + f64::from(i % 2) * 2.0 }).collect();
    let (test, found) = outliers(&Rules::default(), &most);
    assert!(matches!(test, Test::Score { by_mean: true, .. }), "{test:?}");
    assert_eq!(found, [] as [f64; 0]);
}

#[test]
fn states_and_few_values_are_not_tested_and_huge_ones_do_no_harm() {
    let mut door = vec![0.0; 30];
    door[3] = 1.0;
    assert_eq!(outliers(&Rules::default(), &door), (Test::None(Untested::States), vec![]));
    assert_eq!(outliers(&Rules::default(), &[1.5, 2.0, 90.0]), (Test::None(Untested::TooFew), vec![]));
    let huge: Vec<f64> = (0..20).map(|i| if i % 2 == 0 { f64::MAX } else { -f64::MAX }).collect();
    assert_eq!(outliers(&Rules::default(), &huge), (Test::None(Untested::TooLarge), vec![]));
    let wide: Vec<f64> = (0..20).map(|i| if i == 9 { f64::MAX } else { f64::from(i) }).collect();
    assert_eq!(outliers(&Rules::default(), &wide).1, [f64::MAX]);
}

#[test]
fn limits_take_the_place_of_the_score() {
    let rules = Rules { min: Some(-40.0), max: Some(85.0), ..Rules::default() };
    let of = [-127.0, 20.0, 85.0, -40.0, 85.1, 20.0];
    let (test, found) = outliers(&rules, &of);
    assert_eq!(test, Test::Limits { min: Some(-40.0), max: Some(85.0) });
    assert_eq!(found, [-127.0, 85.1]);
    assert_eq!(outliers(&Rules { max: Some(0.5), ..Rules::default() }, &[0.0, 1.0]).1, [1.0]);
    assert_eq!(outliers(&Rules { min: Some(0.5), ..Rules::default() }, &[0.0, 1.0]).1, [0.0]);
    let found = judge_with(&rules, Interval::Configured(60 * SEC), hours(1), &with_values(&of));
    assert!(found.outliers.listed.iter().all(|o| o.score.is_none()));
}

/// Ten values that change with each reading, then one for `stands`, then ten that change.
fn with_a_run(value: f64, stands: i64) -> Vec<(i64, f64)> {
    let moving = |i: i64| if i % 2 == 0 { 20.0 } else { 20.5 };
    let n = stands / (60 * SEC) + 1;
    (0..10)
        .map(|i| (i, moving(i)))
        .chain((10..10 + n).map(|i| (i, value)))
        .chain((10 + n..20 + n).map(|i| (i, moving(i + n))))
        .map(|(i, v)| (i * 60 * SEC, v))
        .collect()
}

fn stood(rules: &Rules, readings: &[(i64, f64)]) -> Stood {
    judge_with(rules, Interval::Configured(60 * SEC), hours(24), readings).stood
}

#[test]
fn a_value_that_stands_for_hours_among_others_that_move_is_stuck() {
    let found = stood(&Rules::default(), &with_a_run(21.25, 6 * HOUR));
    let run = Stuck { from: at(600 * SEC), to: at(600 * SEC + 6 * HOUR), value: 21.25, readings: 361 };
    assert_eq!(found.found, Listed { count: 1, listed: vec![run] });
    assert_eq!((found.readings, found.after, found.configured), (361, 6 * HOUR, false));
    assert_eq!(stood(&Rules::default(), &with_a_run(21.25, 6 * HOUR - 60 * SEC)).found.count, 0);
    assert_eq!(stood(&Rules::default(), &with_a_run(0.0, 12 * HOUR)).found.count, 0, "light, rain and power");
    // It counts against the score.
    let readings = with_a_run(21.25, 6 * HOUR);
    let limits = Rules { max: Some(85.0), ..Rules::default() };
    let found = judge_with(&limits, Interval::ConfiguredIrregular, hours(24), &readings);
    assert_eq!(found.score(), Some(1.0 - 361.0 / 381.0));
}

#[test]
fn values_that_usually_stand_are_not_stuck() {
    // A battery's percentage, one a minute, that changes every eight hours.
    let battery: Vec<(i64, f64)> = (0..20 * 1_440).map(|i| (i * 60 * SEC, 90.0 - (i / 480) as f64)).collect();
    assert_eq!(stood(&Rules::default(), &battery).found.count, 0);
    // A door that stood open for a night.
    let mut door = with_a_run(1.0, 12 * HOUR);
    for (_, v) in &mut door {
        *v = if *v == 20.0 || *v == 1.0 { 1.0 } else { 0.0 };
    }
    assert_eq!(stood(&Rules::default(), &door).found.count, 0);
    // Always the same: nobody knows whether it ever moves.
    let constant: Vec<(i64, f64)> = (0..1_440).map(|i| (i * 60 * SEC, 7.5)).collect();
    let found = stood(&Rules::default(), &constant);
    assert_eq!((found.found.count, found.constant), (0, true));
    assert!(!stood(&Rules::default(), &constant[..1]).constant, "one reading is not constant");
    assert!(!stood(&Rules::default(), &battery).constant);
}

#[test]
fn a_rule_says_what_is_stuck() {
    let rules = Rules { stuck: Some(Duration::from_secs(3_600)), ..Rules::default() };
    let constant: Vec<(i64, f64)> = (0..62).map(|i| (i * 60 * SEC, 0.0)).collect();
    let found = stood(&rules, &constant);
    let run = Stuck { from: at(0), to: at(61 * 60 * SEC), value: 0.0, readings: 62 };
    assert_eq!(found.found, Listed { count: 1, listed: vec![run] });
    assert!(found.configured && found.constant);
    assert_eq!(stood(&rules, &constant[..60]).found.count, 0);
    // The sensor was away for longer, and came back with the same value: nobody knows.
    let away = [(0, 7.5), (60 * SEC, 7.5), (2 * HOUR, 7.5), (2 * HOUR + 60 * SEC, 7.5)];
    assert_eq!(stood(&rules, &away).found.count, 0);
    // What stands out already counts once: the fault value of a thermometer.
    let rules = Rules { min: Some(-40.0), ..rules };
    let fault: Vec<(i64, f64)> = (0..120).map(|i| (i * 60 * SEC, if i < 60 { i as f64 } else { -127.0 })).collect();
    let found = judge_with(&rules, Interval::ConfiguredIrregular, hours(2), &fault);
    assert_eq!((found.outliers.count, found.stood.readings), (60, 0), "not an hour");
    let fault: Vec<(i64, f64)> = (0..121).map(|i| (i * 60 * SEC, if i < 60 { i as f64 } else { -127.0 })).collect();
    let found = judge_with(&rules, Interval::ConfiguredIrregular, hours(3), &fault);
    assert_eq!((found.outliers.count, found.stood.readings, found.stood.inconspicuous), (61, 61, 0));
    assert_eq!(found.score(), Some(1.0 - 61.0 / 121.0));
}

proptest! {
    /// A grid of moments with jitter, of which some are left out: what is there and what is missing add up to all of them,
    /// and the gaps are where something was left out.
    #[test]
    fn readings_and_gaps_add_up_to_the_moments(
        interval in 1_000_000_i64..1_000_000_000,
        kept in prop::collection::vec(prop::bool::weighted(0.8), 1..400),
        jitter in prop::collection::vec(-20_i64..=20, 400),
    ) {
        let moments = kept.len() as i64;
        let span = Span { start: at(0), end: at(moments * interval) };
        let times: Vec<i64> = (0..moments)
            .filter(|i| kept[*i as usize])
            .map(|i| i * interval + interval / 2 + interval / 100 * jitter[i as usize])
            .collect();
        let mut judge = Judge::new(&Rules::default(), Interval::Configured(interval), Values::default(), span, 1_000);
        for t in &times {
            judge.push(at(*t), 1.0);
        }
        let found = judge.finish();
        let coverage = found.coverage.unwrap();
        prop_assert_eq!(coverage.present, times.len() as u64);
        prop_assert_eq!(coverage.missing, moments as u64 - times.len() as u64);
        let runs = kept.split(|k| *k).filter(|run| !run.is_empty());
        let expected: Vec<u64> = runs.map(|run| run.len() as u64).collect();
        let gaps: Vec<u64> = found.gaps.listed.iter().map(|g| g.missing).collect();
        prop_assert_eq!(gaps, expected);
    }

    /// Whatever the times are: counts add up, no gap is outside of the range or of no length, and nothing panics.
    #[test]
    fn any_times_at_all(
        mut times in prop::collection::vec(prop_oneof![0_i64..100_000_000, -5_000_000_000_i64..50_000_000_000, Just(7)], 0..200),
        values_of in prop::collection::vec(prop_oneof![any::<f64>().prop_filter("finite", |v| v.is_finite()), Just(1.0), Just(0.0)], 200),
        interval in prop_oneof![1_i64..1_000, 1_000_000_i64..10_000_000_000, Just(i64::from(u32::MAX) * 1_000_000)],
        end in 0_i64..40_000_000_000,
    ) {
        times.sort_unstable();
        let readings: Vec<(i64, f64)> = times.iter().copied().zip(values_of).collect();
        let span = Span { start: at(0), end: at(end) };
        for interval in [Interval::Configured(interval), learn(&times)] {
            let found = judge_with(&Rules::default(), interval, span, &readings);
            prop_assert_eq!(found.readings, times.len() as u64);
            prop_assert!(found.score().is_none_or(|s| (0.0..=1.0).contains(&s)));
            let listed: u64 = found.gaps.listed.iter().map(|g| g.missing).sum();
            let Some(coverage) = found.coverage else {
                prop_assert_eq!(found.gaps.count, 0);
                continue;
            };
            prop_assert!(coverage.present <= found.readings);
            prop_assert!(listed <= coverage.missing);
            prop_assert_eq!(found.gaps.count <= 50, listed == coverage.missing);
            prop_assert!(found.gaps.listed.iter().all(|g| g.from < g.to && g.missing > 0), "{:?}", found.gaps);
            prop_assert!(found.gaps.listed.windows(2).all(|g| g[0].to <= g[1].from), "{:?}", found.gaps);
        }
    }
}
