mod charts;
mod groups;
mod random;

use std::collections::BTreeMap;
use std::sync::mpsc;

use proptest::prelude::*;

use super::fixture::{Fixture, row};
use super::*;

const SEC: i64 = 1_000_000;

fn fixture() -> Fixture {
    Fixture::new(Limits::default())
}

impl Fixture {
    fn all(&self, mut walk: Walk, page: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        while !walk.is_done() {
            let got = self.reader.page(&mut walk, page).unwrap().rows;
            assert!(got.len() <= page);
            rows.extend(got);
        }
        rows
    }
}

const ALWAYS: (Timestamp, Timestamp) = (Timestamp(i64::MIN), Timestamp(i64::MAX));

fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by_key(|r| (r.ts, r.series));
    rows
}

#[test]
fn statistics_are_those_of_the_values() {
    let f = fixture();
    let values = [4.0, 1.0, 3.0, 2.0, 10.0];
    let mut rows: Vec<Row> = (0..).zip(values).map(|(i, v)| row(i * SEC, 7, v)).collect();
    rows.push(row(2 * SEC, 8, 1e6));
    rows.push(row(5 * SEC, 7, 1e6));
    f.insert(&rows);
    let s = f.reader.statistics(7, Timestamp(0), Timestamp(5 * SEC)).unwrap();
    let mean = values.iter().sum::<f64>() / 5.0;
    let stddev = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 4.0).sqrt();
    assert_eq!((s.count, s.min, s.max, s.mean, s.p50), (5, Some(1.0), Some(10.0), Some(mean), Some(3.0)));
    assert!((s.stddev.unwrap() - stddev).abs() < 1e-12);
    // Sorted 1 2 3 4 10: rank 0.95 * 4 = 3.8 lies between 4 and 10, rank 3.96 as well.
    assert!((s.p95.unwrap() - (4.0 + 0.8 * 6.0)).abs() < 1e-12);
    assert!((s.p99.unwrap() - (4.0 + 0.96 * 6.0)).abs() < 1e-12);
    assert_eq!((s.first, s.last), (Some(Timestamp(0)), Some(Timestamp(4 * SEC))));
}

#[test]
fn statistics_of_no_value_one_value_and_huge_values_have_no_nan() {
    let f = fixture();
    f.insert(&[row(SEC, 1, -2.5), row(SEC, 2, f64::MAX), row(2 * SEC, 2, f64::MAX), row(3 * SEC, 2, -f64::MAX)]);
    assert_eq!(f.reader.statistics(9, Timestamp(0), Timestamp(SEC)).unwrap(), Statistics::default());
    let one = Statistics {
        count: 1,
        min: Some(-2.5),
        max: Some(-2.5),
        mean: Some(-2.5),
        stddev: None,
        p50: Some(-2.5),
        p95: Some(-2.5),
        p99: Some(-2.5),
        first: Some(Timestamp(SEC)),
        last: Some(Timestamp(SEC)),
    };
    assert_eq!(f.reader.statistics(1, Timestamp(SEC), Timestamp(SEC + 1)).unwrap(), one);
    let huge = f.reader.statistics(2, Timestamp(0), Timestamp(9 * SEC)).unwrap();
    assert_eq!((huge.count, huge.stddev, huge.p50), (3, None, Some(f64::MAX)));
}

#[test]
fn a_walk_keeps_to_its_range_and_series() {
    let f = fixture();
    f.insert(&[row(30, 1, 3.0), row(10, 2, 1.0), row(20, 1, 2.0), row(40, 1, 4.0), row(20, 3, 9.0), row(-5, 1, 0.0)]);
    let picked = f.all(Walk::new(Selection::Series(vec![1, 2]), Timestamp(10), Timestamp(40), None), 2);
    assert_eq!(picked, [row(10, 2, 1.0), row(20, 1, 2.0), row(30, 1, 3.0)]);
    let one = f.all(Walk::new(Selection::Series(vec![3]), ALWAYS.0, ALWAYS.1, None), 10);
    assert_eq!(one, [row(20, 3, 9.0)]);
    assert_eq!(f.all(Walk::new(Selection::Series(vec![]), ALWAYS.0, ALWAYS.1, None), 10), []);
    let all = f.all(Walk::new(Selection::All, ALWAYS.0, ALWAYS.1, None), 4);
    assert_eq!(all.len(), 6);
    assert_eq!(all[0], row(-5, 1, 0.0));
}

#[test]
fn one_instant_with_more_series_than_any_page_is_paged_exactly() {
    let f = fixture();
    let mut rows: Vec<Row> = (0..2_000).rev().map(|s| row(50 * SEC, s, f64::from(s))).collect();
    rows.extend((0..5).map(|s| row(50 * SEC + 1, s, 1.0)));
    rows.push(Row { lag: None, ..row(49 * SEC, 1, 1.0) });
    f.insert(&rows);
    for page in [1, 7, 333, 2_000] {
        if page > 1 {
            assert_eq!(f.all(Walk::new(Selection::All, ALWAYS.0, ALWAYS.1, None), page), sorted(rows.clone()));
        }
        let mut walk = Walk::new(Selection::All, Timestamp(50 * SEC), ALWAYS.1, None);
        let first = f.reader.page(&mut walk, page).unwrap().rows;
        assert_eq!(first, sorted(rows.clone())[1..=page]);
    }
}

#[test]
fn a_cursor_goes_on_behind_its_row() {
    let f = fixture();
    let rows: Vec<Row> = (0..1_000).flat_map(|i| [row(i * SEC, 1, 1.0), row(i * SEC, 2, 2.0)]).collect();
    f.insert(&rows);
    let mut got = Vec::new();
    let mut cursor: Option<Cursor> = None;
    loop {
        let again = cursor.map(|c| c.to_string().parse().unwrap());
        let mut walk = Walk::new(Selection::All, Timestamp(0), Timestamp(1_000 * SEC), again);
        let page = f.reader.page(&mut walk, 301).unwrap().rows;
        let Some(last) = page.last() else { break };
        cursor = Some(walk.cursor_behind(last));
        got.extend(page);
    }
    assert_eq!(got, rows);
}

#[test]
fn pages_that_ran_out_of_time_lose_nothing() {
    let f = fixture();
    let rows: Vec<Row> = (0..5_000).map(|i| row(i * SEC, 1, 1.0)).collect();
    f.insert(&rows);
    let lease = f.reader.inner.pool.lease(Limits::default()).unwrap();
    let mut walk = Walk::new(Selection::All, ALWAYS.0, ALWAYS.1, None);
    let mut got = Vec::new();
    let mut empty = 0;
    while !walk.is_done() {
        let page = walk.fill(&lease, 1_000, Duration::ZERO).unwrap().rows;
        empty += usize::from(page.is_empty());
        got.extend(page);
    }
    assert_eq!(got, rows);
    assert!(empty > 1, "the years before the data take more than one step");
}

#[test]
fn bad_cursors_are_refused() {
    for bad in ["", "1", "1_2", "1_2_3_4", "x_2_3", "1_2_0", "1_2_-3", "9223372036854775807_1_1", "1_99999999999_1"] {
        assert_eq!(bad.parse::<Cursor>(), Err(BadCursor), "{bad}");
    }
}

#[test]
fn a_gap_of_years_between_dense_readings_is_crossed() {
    let f = fixture();
    let old = 1_420_070_400 * SEC;
    let new = 1_760_000_000 * SEC;
    let mut rows = vec![row(old, 1, 1.0)];
    rows.extend((0..50_000).map(|i| row(new + i * SEC, 1, 2.0)));
    f.insert(&rows);
    let mut walk = Walk::new(Selection::All, ALWAYS.0, ALWAYS.1, None);
    let page = f.reader.page(&mut walk, 1_000).unwrap().rows;
    assert_eq!(page, rows[..1_000]);
    assert_eq!(f.all(Walk::new(Selection::All, ALWAYS.0, ALWAYS.1, None), 1_000), rows);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn paging_yields_the_sorted_rows_once(
        keys in prop::collection::btree_map((prop_oneof![0_i64..40, 0_i64..100_000_000_000, -50_i64..50], 0_i32..12), any::<i16>(), 0..600),
        order in any::<u64>(),
        page in 1_usize..300,
    ) {
        let f = fixture();
        let rows: Vec<Row> = keys.iter().map(|(&(ts, series), &v)| row(ts, series, f64::from(v))).collect();
        // Stored in another order than that of time.
        let mut shuffled: BTreeMap<u64, Row> = BTreeMap::new();
        for (i, r) in (0_u64..).zip(&rows) {
            shuffled.insert((i ^ order).wrapping_mul(0x9e37_79b9_7f4a_7c15), *r);
        }
        f.insert(&shuffled.into_values().collect::<Vec<_>>());
        prop_assert_eq!(&f.all(Walk::new(Selection::All, ALWAYS.0, ALWAYS.1, None), page), &rows);
        let half: Vec<Row> = rows.iter().copied().filter(|r| r.series < 6 && r.ts.0 >= 20).collect();
        let picked = Walk::new(Selection::Series((0..6).collect()), Timestamp(20), ALWAYS.1, None);
        prop_assert_eq!(f.all(picked, page), half);
    }
}

/// A query that never ends by itself.
fn endless(connection: &Connection) -> duckdb::Result<i64> {
    connection.query_row("SELECT count(*) FROM range(1000000000000) a", [], |r| r.get(0))
}

fn quick(connection: &Connection) -> duckdb::Result<i64> {
    connection.query_row("SELECT 1", [], |r| r.get(0))
}

#[test]
fn a_query_over_its_time_is_ended_and_its_connection_is_good_again() {
    let limits = Limits { wait: Duration::from_secs(5), time: Duration::from_millis(50) };
    let f = Fixture::new(limits);
    for _ in 0..3 {
        let lease = f.reader.inner.pool.lease(limits).unwrap();
        assert_eq!(lease.run(endless), Err(QueryError::TooLong));
        // The limit holds for the lease, not for each statement.
        assert_eq!(lease.run(quick), Err(QueryError::TooLong));
        drop(lease);
        assert_eq!(f.reader.inner.pool.lease(limits).unwrap().run(quick), Ok(1));
    }
}

#[test]
fn a_snapshot_over_its_time_leaves_no_transaction_behind() {
    let limits = Limits { wait: Duration::from_secs(5), time: Duration::from_millis(50) };
    let f = Fixture::new(limits);
    for _ in 0..3 {
        let lease = f.reader.inner.pool.lease(limits).unwrap();
        assert_eq!(lease.snapshot(endless), Err(QueryError::TooLong));
        drop(lease);
        let lease = f.reader.inner.pool.lease(Limits::default()).unwrap();
        assert_eq!(lease.snapshot(quick), Ok(1));
        assert!(matches!(lease.snapshot(|c| c.execute_batch("SELECT nothing")), Err(QueryError::Store(_))));
        assert_eq!(lease.snapshot(quick), Ok(1));
        assert!(matches!(
            lease.snapshot(|c| c.execute_batch("INSERT INTO g.meta VALUES ('a', 'b')")),
            Err(QueryError::Store(_))
        ));
    }
}

#[test]
fn a_snapshot_sees_one_moment() {
    let f = fixture();
    f.insert(&[row(1, 1, 1.0)]);
    let lease = f.reader.inner.pool.lease(Limits::default()).unwrap();
    let count = |c: &Connection| c.query_row("SELECT count(*) FROM g.readings", [], |r| r.get::<_, i64>(0));
    let seen = lease.snapshot(|c| {
        let before = count(c)?;
        f.insert(&[row(2, 1, 1.0)]);
        Ok((before, count(c)?))
    });
    assert_eq!(seen, Ok((1, 1)));
    assert_eq!(lease.run(count), Ok(2));
}

#[test]
fn a_third_query_waits_and_is_then_refused() {
    let limits = Limits { wait: Duration::from_millis(30), time: Duration::from_secs(60) };
    let f = Fixture::new(limits);
    let one = f.reader.inner.pool.lease(limits).unwrap();
    let _two = f.reader.inner.pool.lease(limits).unwrap();
    assert_eq!(f.reader.statistics(1, Timestamp(0), Timestamp(1)), Err(QueryError::Busy));
    drop(one);
    assert_eq!(f.reader.statistics(1, Timestamp(0), Timestamp(1)), Ok(Statistics::default()));
}

#[test]
fn a_pause_ends_what_runs_and_keeps_new_queries_out_until_it_is_over() {
    let limits = Limits { wait: Duration::from_millis(30), time: Duration::from_secs(60) };
    let f = Fixture::new(limits);
    let (started, starts) = mpsc::channel();
    let runs = std::thread::spawn({
        let reader = f.reader.clone();
        move || {
            let lease = reader.inner.pool.lease(limits).unwrap();
            started.send(()).unwrap();
            lease.run(endless)
        }
    });
    starts.recv().unwrap();
    let paused = f.reader.pause();
    assert_eq!(runs.join().unwrap(), Err(QueryError::Busy));
    assert_eq!(f.reader.statistics(1, Timestamp(0), Timestamp(1)), Err(QueryError::Busy));
    // What the pause is for.
    let file: String =
        f.root.query_row("SELECT path FROM duckdb_databases() WHERE database_name = 'g'", [], |r| r.get(0)).unwrap();
    f.root.execute_batch(&format!("DETACH g; ATTACH '{file}' AS g")).unwrap();
    drop(paused);
    assert_eq!(f.reader.statistics(1, Timestamp(0), Timestamp(1)), Ok(Statistics::default()));
}

#[test]
fn calm_lets_what_runs_end() {
    let limits = Limits { wait: Duration::from_millis(30), time: Duration::from_secs(60) };
    let f = Fixture::new(limits);
    let (started, starts) = mpsc::channel();
    let runs = std::thread::spawn({
        let reader = f.reader.clone();
        move || {
            let lease = reader.inner.pool.lease(limits).unwrap();
            started.send(()).unwrap();
            lease.run(|c| c.query_row("SELECT count(*) FROM range(100000)", [], |r| r.get::<_, i64>(0)))
        }
    });
    starts.recv().unwrap();
    let calm = f.reader.calm();
    assert_eq!(runs.join().unwrap(), Ok(100_000));
    assert_eq!(f.reader.statistics(1, Timestamp(0), Timestamp(1)), Err(QueryError::Busy));
    drop(calm);
    assert_eq!(f.reader.statistics(1, Timestamp(0), Timestamp(1)), Ok(Statistics::default()));
}

#[test]
fn running_out_of_memory_is_told_apart() {
    let f = fixture();
    f.root.execute_batch("SET memory_limit = '4MB'; SET max_temp_directory_size = '1MB'").unwrap();
    let lease = f.reader.inner.pool.lease(Limits::default()).unwrap();
    let big = |c: &Connection| {
        c.query_row("SELECT quantile_cont(i::DOUBLE, 0.5) FROM range(20000000) r(i)", [], |r| r.get::<_, f64>(0))
    };
    assert_eq!(lease.run(big), Err(QueryError::TooLarge));
    let bad = |c: &Connection| c.query_row("SELECT * FROM g.nothing", [], |r| r.get::<_, i64>(0));
    assert!(matches!(lease.run(bad), Err(QueryError::Store(text)) if text.contains("nothing")));
}

#[test]
fn only_the_blocks_of_the_range_are_read() {
    let f = fixture();
    f.root
        .execute_batch(
            "INSERT INTO g.readings SELECT i % 50, make_timestamp(i * 1000000), i, 0 FROM range(1000000) r(i); CHECKPOINT g",
        )
        .unwrap();
    let profile: String = f
        .root
        .query_row(
            &format!(
                "EXPLAIN ANALYZE SELECT ts, series, value, lag FROM g.readings WHERE ts >= {} AND ts < {} LIMIT 20001",
                literal(Timestamp(500_000 * SEC)),
                literal(Timestamp(500_100 * SEC))
            ),
            [],
            |r| r.get(1),
        )
        .unwrap();
    assert!(profile.contains("Row Groups Scanned: 1 / 9"), "{profile}");
    assert_eq!(f.all(Walk::new(Selection::All, ALWAYS.0, ALWAYS.1, None), 10_000).len(), 1_000_000);
    assert_eq!(f.all(Walk::new(Selection::Series(vec![3]), ALWAYS.0, ALWAYS.1, None), 1_000).len(), 20_000);
}
