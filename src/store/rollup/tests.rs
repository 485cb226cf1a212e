use proptest::prelude::*;

use super::*;
use crate::store::reader::fixture::{Fixture, row};
use crate::store::reader::{Limits, Row};

const SEC: i64 = 1_000_000;
/// 2025-03-28T00:00:00Z: two days before the clocks of Berlin go forward.
const START: i64 = 1_743_120_000 * SEC;
/// 2025-10-24T00:00:00Z: two days before they go back.
const AUTUMN: i64 = 1_761_264_000 * SEC;

struct Bench {
    f: Fixture,
    rollups: Rollups,
}

impl Bench {
    fn new(zone: Tz) -> Self {
        let f = Fixture::new(Limits::default());
        let mut rollups = Rollups::new(Rolled::read(&f.root).unwrap(), zone);
        rollups.settle_in(zone, &f.root).unwrap();
        Self { f, rollups }
    }

    /// As a commit does it: readings and their marks in one transaction.
    fn commit(&mut self, rows: &[Row]) {
        let marks: BTreeSet<Mark> =
            rows.iter().filter_map(|r| self.rollups.rolled().mark_for(r.series, r.ts)).collect();
        self.f.root.execute_batch("BEGIN TRANSACTION").unwrap();
        self.f.insert(rows);
        rolled::write(&self.f.root, "dirty", &marks).unwrap();
        self.f.root.execute_batch("COMMIT").unwrap();
        self.rollups.marked(marks);
    }

    /// Works off all there is at `now`, without waiting for more marks.
    fn work(&mut self, now: i64) -> Step {
        let mut all = Step::default();
        loop {
            self.rollups.settle = Duration::ZERO;
            let Some(step) = self.rollups.step(&self.f.root, Some(Timestamp(now))).unwrap() else { return all };
            all.hours += step.hours;
            all.days += step.days;
        }
    }

    /// The process ends and another one starts.
    fn restart(&mut self) {
        let zone = self.rollups.zone();
        self.rollups = Rollups::new(Rolled::read(&self.f.root).unwrap(), zone);
        self.rollups.settle_in(zone, &self.f.root).unwrap();
    }

    fn all(&self, sql: &str) -> Vec<String> {
        let mut q = self.f.root.prepare(sql).unwrap();
        q.query_map([], |r| r.get::<_, String>(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    /// Rows of the rollups that differ from plain SQL over the readings, where they are closed.
    fn differences(&self) -> Vec<String> {
        let rolled = self.rollups.rolled();
        let mut found = self.compare("hourly", "date_trunc('hour', ts)", rolled.hours);
        // ICU is not there to say where local days begin, so each is asked for by itself.
        let first = compute::first_reading(&self.f.root, Timestamp(i64::MIN)).unwrap();
        let mut day = day_of(first.unwrap_or(rolled.days), self.rollups.zone());
        let mut whens = String::new();
        while day < rolled.days {
            let next = next_day(day, self.rollups.zone());
            whens += &format!(" WHEN ts >= {} AND ts < {} THEN {}", literal(day), literal(next), literal(day));
            day = next;
        }
        if !whens.is_empty() {
            found.extend(self.compare("daily", &format!("CASE{whens} END"), rolled.days));
        }
        found
    }

    fn compare(&self, table: &str, bucket: &str, until: Timestamp) -> Vec<String> {
        let expected = format!(
            "SELECT series, {bucket} AS bucket, count(*) AS count, min(value) AS min, max(value) AS max, round(sum(value), 6) AS sum,
                round(sum(value * value), 4) AS sum_sq, arg_min(value, ts) AS first, arg_max(value, ts) AS last,
                round(quantile_cont(value, 0.5), 9) AS p50, round(quantile_cont(value, 0.95), 9) AS p95,
                round(quantile_cont(value, 0.99), 9) AS p99
             FROM g.readings GROUP BY series, bucket HAVING bucket < {}",
            literal(until)
        );
        let stored = format!(
            "SELECT series, bucket, count, min, max, round(sum, 6), round(sum_sq, 4), first, last, round(p50, 9), round(p95, 9), round(p99, 9)
             FROM g.{table}"
        );
        self.all(&format!(
            "SELECT 'missing ' || t::VARCHAR FROM (({expected}) EXCEPT ALL ({stored})) t
             UNION ALL SELECT 'wrong ' || t::VARCHAR FROM (({stored}) EXCEPT ALL ({expected})) t"
        ))
    }
}

fn minutes(series: i32, from: i64, count: i64) -> Vec<Row> {
    (0..count).map(|i| row(from + i * 60 * SEC, series, f64::from(i32::try_from(i % 97).unwrap()) * 0.5)).collect()
}

#[test]
fn an_hour_closes_a_minute_after_its_end_and_a_day_behind_its_last_hour() {
    let mut b = Bench::new(Tz::UTC);
    b.commit(&minutes(1, START, 180));
    assert_eq!(b.work(START + HOUR + GRACE - 1), Step::default());
    assert_eq!(b.work(START + HOUR + GRACE), Step { hours: 1, days: 0 });
    assert_eq!(b.all("SELECT epoch_us(bucket) || ' ' || count FROM g.hourly"), [format!("{START} 60")]);
    assert_eq!(b.work(START + 26 * HOUR), Step { hours: 2, days: 1 });
    assert_eq!(b.all("SELECT epoch_us(bucket) || ' ' || count FROM g.daily"), [format!("{START} 180")]);
    assert_eq!(b.work(START + 27 * HOUR), Step::default(), "nothing twice");
    assert_eq!(b.differences(), Vec::<String>::new());
}

#[test]
fn without_a_right_clock_nothing_closes_and_what_is_dirty_is_computed() {
    let mut b = Bench::new(Tz::UTC);
    b.commit(&minutes(1, START, 60));
    assert_eq!(b.rollups.step(&b.f.root, None).unwrap(), None);
    b.work(START + 2 * HOUR);
    b.commit(&[row(START + 1, 1, 500.0)]);
    assert!(!b.rollups.is_settled(), "it waits for others");
    b.rollups.settle = Duration::ZERO;
    assert_eq!(b.rollups.step(&b.f.root, None).unwrap(), Some(Step { hours: 1, days: 0 }));
    assert_eq!(b.all("SELECT max::VARCHAR FROM g.hourly"), ["500.0"]);
}

#[test]
fn a_late_reading_marks_its_hour_and_its_day_also_over_a_restart() {
    let mut b = Bench::new(Tz::Europe__Berlin);
    b.commit(&minutes(1, START, 3 * 24 * 60));
    b.commit(&minutes(2, START, 60));
    b.work(START + 3 * DAY);
    assert_eq!(b.differences(), Vec::<String>::new());
    b.commit(&[row(START + 5 * HOUR + 1, 1, -100.0), row(START + 5 * HOUR + 2, 1, -101.0)]);
    assert_eq!(b.all("SELECT count(*)::VARCHAR FROM g.dirty"), ["1"]);
    assert!(!b.differences().is_empty(), "it is not computed at once");
    b.restart();
    assert_eq!(b.rollups.rolled().dirty(), 1);
    assert_eq!(b.work(START + 3 * DAY), Step { hours: 1, days: 1 });
    assert_eq!(b.differences(), Vec::<String>::new());
    assert_eq!(b.all("SELECT count(*)::VARCHAR FROM g.dirty"), ["0"]);
    assert_eq!(b.all("SELECT count(*)::VARCHAR FROM g.dirty_days"), ["0"]);
}

#[test]
fn local_days_over_both_changes_of_the_clock() {
    for (start, hours) in [(START, ["24", "24", "23", "24"]), (AUTUMN, ["24", "24", "25", "24"])] {
        let mut b = Bench::new(Tz::Europe__Berlin);
        let from = day_of(Timestamp(start), Tz::Europe__Berlin).micros();
        b.commit(&minutes(1, from, 5 * 24 * 60));
        b.work(from + 5 * DAY);
        let counts = b.all("SELECT (count // 60)::VARCHAR FROM g.daily ORDER BY bucket LIMIT 4");
        assert_eq!(counts, hours);
        assert_eq!(b.differences(), Vec::<String>::new());
    }
}

#[test]
fn an_hour_of_a_zone_with_half_hours_makes_two_days_dirty() {
    let mut b = Bench::new(Tz::Asia__Kolkata);
    b.commit(&minutes(1, START, 3 * 24 * 60));
    b.work(START + 3 * DAY);
    // Midnight in Kolkata is at 18:30 UTC.
    b.commit(&[row(START + 18 * HOUR + 1, 1, 1_000.0)]);
    assert_eq!(b.work(START + 3 * DAY), Step { hours: 1, days: 2 });
    assert_eq!(b.differences(), Vec::<String>::new());
}

#[test]
fn another_zone_has_its_days_made_anew() {
    let mut b = Bench::new(Tz::UTC);
    b.commit(&minutes(1, START, 4 * 24 * 60));
    b.work(START + 4 * DAY + 2 * HOUR);
    b.rollups.settle_in(Tz::Europe__Berlin, &b.f.root).unwrap();
    b.work(START + 4 * DAY + 2 * HOUR);
    assert_eq!(b.differences(), Vec::<String>::new());
    let first = b.all("SELECT epoch_us(min(bucket))::VARCHAR FROM g.daily");
    assert_eq!(first, [(START - HOUR).to_string()]);
    b.restart();
    assert_eq!(b.work(START + 4 * DAY + 2 * HOUR), Step::default(), "and once only");
}

#[test]
fn what_an_older_version_stored_is_rolled_up_in_steps_and_empty_stretches_are_leapt_over() {
    let mut b = Bench::new(Tz::UTC);
    b.commit(&minutes(1, START - 400 * DAY, 90));
    b.commit(&minutes(1, START, 90));
    let mut steps = 0;
    while b.rollups.step(&b.f.root, Some(Timestamp(START + 2 * DAY))).unwrap().is_some() {
        steps += 1;
        assert!(steps < 20, "a step for each of 400 days");
    }
    assert_eq!(b.differences(), Vec::<String>::new());
    assert_eq!(b.all("SELECT count(*)::VARCHAR FROM g.hourly"), ["4"]);
    assert_eq!(b.all("SELECT count(*)::VARCHAR FROM g.daily"), ["2"]);
}

#[test]
fn an_hour_with_more_readings_than_a_step_is_worked_off_series_by_series() {
    let mut b = Bench::new(Tz::UTC);
    b.f.root
        .execute_batch(&format!(
            "INSERT INTO g.readings SELECT 1 + i % 3, make_timestamp({START} + i * 10000), (i * 7919) % 1000 / 8, 0
             FROM range(360000) t(i)"
        ))
        .unwrap();
    b.work(START + 2 * DAY);
    assert_eq!(b.all("SELECT count::VARCHAR FROM g.hourly ORDER BY series"), ["120000", "120000", "120000"]);
    assert_eq!(b.all("SELECT count::VARCHAR FROM g.daily ORDER BY series"), ["120000", "120000", "120000"]);
    for series in 1..=3 {
        let expected = b.all(&format!(
            "SELECT sum(value) || ' ' || quantile_cont(value, 0.5) || ' ' || arg_max(value, ts) FROM g.readings WHERE series = {series}"
        ));
        for table in ["hourly", "daily"] {
            let row = format!("SELECT sum || ' ' || p50 || ' ' || last FROM g.{table} WHERE series = {series}");
            assert_eq!(b.all(&row), expected);
        }
    }
}

#[test]
fn a_reading_that_lies_ahead_does_not_have_the_open_day_leapt_over() {
    let mut b = Bench::new(Tz::UTC);
    b.commit(&[row(START + 26 * HOUR, 1, 1.0)]);
    b.work(START + 5 * HOUR);
    b.commit(&minutes(2, START + 5 * HOUR, 300));
    b.work(START + 3 * DAY);
    assert_eq!(b.differences(), Vec::<String>::new());
    assert_eq!(b.all("SELECT count(*)::VARCHAR FROM g.daily"), ["2"]);
}

#[test]
fn days_that_were_leapt_over_stay_so_over_a_restart() {
    let mut b = Bench::new(Tz::UTC);
    b.commit(&minutes(1, START - 10 * DAY, 60));
    b.work(START - 9 * DAY + 2 * HOUR);
    // The gateway was off for nine days; then a node sends what it has kept of them.
    b.commit(&minutes(1, START + 4 * HOUR, 30));
    b.work(START + 5 * HOUR);
    b.commit(&minutes(1, START - 3 * DAY, 90));
    b.work(START + 6 * HOUR);
    assert_eq!(b.differences(), Vec::<String>::new());
    b.restart();
    b.work(START + 2 * DAY);
    assert_eq!(b.differences(), Vec::<String>::new());
}

#[test]
fn hours_that_a_clock_ahead_has_closed_are_open_again() {
    for zone in [Tz::UTC, Tz::Asia__Kolkata] {
        let mut b = Bench::new(zone);
        b.commit(&minutes(1, START, 130));
        b.work(START + 50 * HOUR);
        b.commit(&[row(START + HOUR + 1, 1, 3.0)]);
        // It is set back.
        let now = START + 2 * HOUR + 10 * 60 * SEC;
        b.work(now);
        assert_eq!(b.rollups.rolled().hours, Timestamp(START + 2 * HOUR));
        b.commit(&minutes(1, START + 130 * 60 * SEC, 120));
        assert_eq!(b.rollups.rolled().dirty(), 0, "what is open has no marks");
        b.restart();
        b.work(now);
        assert_eq!(b.differences(), Vec::<String>::new());
        b.work(START + 3 * DAY);
        assert_eq!(b.differences(), Vec::<String>::new());
    }
}

#[test]
fn no_hour_counts_twice_when_it_is_not_known_how_far_the_rollups_are() {
    let mut b = Bench::new(Tz::Europe__Berlin);
    b.commit(&minutes(1, START, 3 * 24 * 60));
    b.work(START + 3 * DAY);
    b.f.root.execute_batch("DELETE FROM g.meta").unwrap();
    b.restart();
    b.work(START + 3 * DAY);
    assert_eq!(b.differences(), Vec::<String>::new());
    assert_eq!(b.all("SELECT count(*)::VARCHAR FROM g.hourly"), ["71"]);
}

#[test]
fn a_clock_that_is_far_behind_opens_nothing() {
    let mut b = Bench::new(Tz::UTC);
    b.f.root
        .execute_batch(&format!(
            "INSERT INTO g.readings SELECT i % 30, make_timestamp({START} + i // 30 * {HOUR}), i, 0 FROM range(30 * 700) t(i)"
        ))
        .unwrap();
    assert_eq!(b.work(START + 701 * HOUR).hours, 21_000);
    assert_eq!(b.work(START - 365 * DAY), Step::default());
    assert_eq!(b.all("SELECT count(*)::VARCHAR FROM g.hourly"), ["21000"]);
    assert_eq!(b.differences(), Vec::<String>::new());
}

#[test]
fn a_day_whose_readings_are_gone_in_part_is_not_made_of_the_rest() {
    let mut b = Bench::new(Tz::Asia__Kolkata);
    b.commit(&minutes(1, START, 4 * 24 * 60));
    b.work(START + 4 * DAY);
    let before = Timestamp(START + 18 * HOUR + HOUR / 2);
    b.f.root
        .execute_batch(&format!(
            "DELETE FROM g.readings WHERE ts < {}; INSERT INTO g.meta VALUES ('expired-before', '{}')",
            literal(before),
            before.micros()
        ))
        .unwrap();
    b.restart();
    b.rollups.settle_in(Tz::UTC, &b.f.root).unwrap();
    b.work(START + 4 * DAY);
    b.commit(&[row(START + 20 * HOUR + 1, 1, 1_000.0)]);
    b.work(START + 4 * DAY);
    assert_eq!(b.all("SELECT max::VARCHAR FROM g.hourly ORDER BY max DESC LIMIT 1"), ["1000.0"]);
    assert_eq!(
        b.all(&format!("SELECT count::VARCHAR FROM g.daily WHERE bucket = {}", literal(Timestamp(START)))),
        Vec::<String>::new()
    );
}

#[test]
fn a_series_with_more_readings_than_a_step_is_worked_off_hour_by_hour() {
    let mut b = Bench::new(Tz::UTC);
    b.f.root
        .execute_batch(&format!(
            "INSERT INTO g.readings SELECT 1, make_timestamp({START} + i * 30000), i % 1000, 0 FROM range(360000) t(i)"
        ))
        .unwrap();
    let marks: Vec<Mark> = (0..4).map(|hour| (1, Timestamp(START + hour * HOUR))).collect();
    b.work(START + 4 * HOUR);
    rolled::write(&b.f.root, "dirty", &marks).unwrap();
    b.rollups.marked(marks);
    b.rollups.settle = Duration::ZERO;
    // 120,000 in each of the first three, none in the last.
    let mut steps = Vec::new();
    while b.rollups.rolled().dirty() > 0 {
        steps.push(b.rollups.step(&b.f.root, None).unwrap().unwrap().hours);
    }
    assert_eq!(steps, [1, 1, 1]);
    assert_eq!(b.all("SELECT count::VARCHAR FROM g.hourly ORDER BY bucket"), ["120000"; 3]);
}

#[test]
fn marks_that_keep_coming_wait_longer_each_time() {
    let mut b = Bench::new(Tz::UTC);
    b.commit(&minutes(1, START, 60));
    b.work(START + 2 * HOUR);
    let mut waited = Vec::new();
    for i in 1..=7 {
        b.commit(&[row(START + i, 1, 500.0)]);
        waited.push(b.rollups.settle.as_secs());
        let settle = b.rollups.settle;
        assert_eq!(b.work(START + 2 * HOUR), Step { hours: 1, days: 0 });
        b.rollups.settle = settle;
    }
    assert_eq!(waited, [10, 20, 40, 80, 160, 300, 300]);
    b.rollups.cleared = None;
    b.commit(&[row(START + 9, 1, 500.0)]);
    assert_eq!(b.rollups.settle, SETTLE, "after a rest");
}

#[test]
fn many_series_with_few_readings_each_fit_into_little_memory() {
    let mut b = Bench::new(Tz::UTC);
    b.f.root
        .execute_batch(&format!(
            "INSERT INTO g.readings SELECT 1 + i % 6000, make_timestamp({START} + i // 6000 * {HOUR}), i, 0 FROM range(144000) t(i);
             CHECKPOINT g"
        ))
        .unwrap();
    assert_eq!(b.work(START + 2 * DAY), Step { hours: 144_000, days: 6_000 });
    // All of it again.
    let marks: Vec<Mark> =
        (0..96_000).map(|i| (1 + i % 6_000, Timestamp(START + i64::from(i / 6_000) * HOUR))).collect();
    rolled::write(&b.f.root, "dirty", &marks).unwrap();
    b.rollups.marked(marks);
    assert_eq!(b.work(START + 2 * DAY), Step { hours: 96_000, days: 6_000 });
    assert_eq!(b.all("SELECT count(*)::VARCHAR FROM g.hourly"), ["144000"]);
}

#[derive(Clone, Debug)]
enum Move {
    /// Readings (series, minutes from the start, value).
    Commit(Vec<(i32, i64, i32)>),
    /// Hours pass.
    Pass(i64),
    /// One step, and the process ends.
    Crash,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let reading = (1_i32..4, -3_000_i64..4_000, -500_i32..500);
    prop::collection::vec(
        prop_oneof![
            4 => prop::collection::vec(reading, 1..60).prop_map(Move::Commit),
            3 => (1_i64..40).prop_map(Move::Pass),
            1 => Just(Move::Crash),
        ],
        1..14,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Late, early, over both changes of the clock, with crashes between: always what plain SQL says.
    #[test]
    fn rollups_are_plain_sql_over_the_readings(
        moves in moves(),
        autumn in any::<bool>(),
        zone in prop::sample::select(vec![Tz::Europe__Berlin, Tz::UTC, Tz::Asia__Kolkata, Tz::Australia__Lord_Howe]),
    ) {
        let start = if autumn { AUTUMN } else { START };
        let mut b = Bench::new(zone);
        let mut now = start;
        let mut taken = BTreeSet::new();
        for one in moves {
            match one {
                Move::Commit(readings) => {
                    let rows: Vec<Row> = readings
                        .into_iter()
                        .filter(|(series, minute, _)| taken.insert((*series, *minute)))
                        .map(|(series, minute, value)| row(start + minute * 60 * SEC, series, f64::from(value) / 8.0))
                        .collect();
                    b.commit(&rows);
                }
                Move::Pass(hours) => {
                    now += hours * HOUR;
                    b.work(now);
                    prop_assert_eq!(b.differences(), Vec::<String>::new());
                }
                Move::Crash => {
                    b.rollups.settle = Duration::ZERO;
                    b.rollups.step(&b.f.root, Some(Timestamp(now))).unwrap();
                    b.restart();
                }
            }
        }
        b.work(now + 10 * DAY);
        prop_assert_eq!(b.differences(), Vec::<String>::new());
        prop_assert_eq!(b.rollups.rolled().dirty(), 0);
    }
}
