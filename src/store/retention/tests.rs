use super::*;
use crate::store::reader::fixture::Fixture;
use crate::store::reader::{Limits, QueryError};
use crate::store::rolled::Rolled;
use crate::zone::DAY;

/// 2025-03-01T00:00:00Z
const START: i64 = 1_740_787_200_000_000;

fn retention(max_size: Option<u64>) -> Retention {
    Retention::new(&config::Store { max_size, ..config::Store::default() })
}

/// Days of 1,440 readings of each of `series` series from `START` on, closed and rolled up.
fn days(f: &Fixture, days: i64, series: i32) -> Rollups {
    let last = START + days * DAY;
    f.root
        .execute_batch(&format!(
            "INSERT INTO g.readings SELECT i % {series}, make_timestamp({START} + i // {series} * 60000000),
                i * 7919 % 100003 / 100, 0 FROM range({days} * 1440 * {series}) t(i); CHECKPOINT g;"
        ))
        .unwrap();
    let mut rollups = Rollups::new(Rolled::read(&f.root).unwrap(), Tz::UTC);
    rollups.settle_in(Tz::UTC, &f.root).unwrap();
    rollups.close_for_test(&f.root, Timestamp(last + 2 * HOUR));
    rollups
}

fn one<T: duckdb::types::FromSql>(f: &Fixture, sql: &str) -> T {
    f.root.query_row(sql, [], |r| r.get(0)).unwrap()
}

#[test]
fn days_over_their_time_go_one_by_one_and_their_rollups_stay() {
    let f = Fixture::new(Limits::default());
    let mut rollups = days(&f, 6, 2);
    let keep = |d: u64| Some(Duration::from_secs(d * 86_400));
    let mut retention = Retention::new(&config::Store { keep_readings: keep(3), ..config::Store::default() });
    let now = Some(Timestamp(START + 6 * DAY + 5 * HOUR));
    let mut steps = Vec::new();
    while let Some(step) = retention.step(&f.root, &mut rollups, now, Room::Ample).unwrap() {
        steps.push(step);
    }
    let day = |n| Removed::Readings { why: Why::Age, rows: 2_880, before: Timestamp(START + n * DAY) };
    assert_eq!(steps, [day(1), day(2), day(3)]);
    assert_eq!(one::<i64>(&f, "SELECT epoch_us(min(ts)) FROM g.readings"), START + 3 * DAY);
    assert_eq!(one::<i64>(&f, "SELECT count(*) FROM g.hourly"), 6 * 24 * 2);
    assert_eq!(one::<i64>(&f, "SELECT count(*) FROM g.daily"), 6 * 2);
    assert_eq!(rollups.rolled().expired, Some(Timestamp(START + 3 * DAY)));
    assert_eq!(Rolled::read(&f.root).unwrap().expired, Some(Timestamp(START + 3 * DAY)), "also after a restart");
    // The rollups' own time.
    let mut retention =
        Retention::new(&config::Store { keep_readings: keep(3), keep_hourly: keep(5), ..config::Store::default() });
    let step = retention.step(&f.root, &mut rollups, now, Room::Ample).unwrap();
    assert_eq!(step, Some(Removed::Rollups(24 * 2)));
    assert_eq!(retention.step(&f.root, &mut rollups, now, Room::Ample).unwrap(), None);
    assert_eq!(one::<i64>(&f, "SELECT count(*) FROM g.daily"), 6 * 2);
}

#[test]
fn nothing_goes_before_it_is_rolled_up_or_while_it_has_to_be_computed_again() {
    let f = Fixture::new(Limits::default());
    let mut rollups = days(&f, 4, 1);
    let keep_readings = Some(Duration::from_secs(86_400));
    let mut retention = Retention::new(&config::Store { keep_readings, ..config::Store::default() });
    let mark = rollups.rolled().mark_for(0, Timestamp(START + DAY + 1)).unwrap();
    rollups.marked([mark]);
    let now = Some(Timestamp(START + 400 * DAY));
    let mut gone = 0;
    while let Some(Removed::Readings { rows, .. }) = retention.step(&f.root, &mut rollups, now, Room::Ample).unwrap() {
        gone += rows;
    }
    assert_eq!(gone, 1_440, "the day before the mark");
    assert_eq!(
        retention.step(&f.root, &mut rollups, None, Room::Ample).unwrap(),
        None,
        "nothing by age without a clock"
    );
}

#[test]
fn the_file_stays_at_its_bound_and_nothing_goes_in_vain() {
    let f = Fixture::new(Limits::default());
    // Some 3 bytes a reading, 576,000 readings a day.
    let mut rollups = days(&f, 8, 400);
    let size = |f: &Fixture| std::fs::metadata(f.dir.path().join("t.duckdb")).unwrap().len();
    let reserve = retention(Some(1)).reserve([8 * 24 * 400, 8 * 400]);
    assert_eq!(rows_of_rollups(&f.root).unwrap(), [8 * 24 * 400, 8 * 400]);
    let max = super::blocks(&f.root).unwrap().total + reserve - 1;
    let mut retention = Retention::new(&config::Store { max_size: Some(max), ..config::Store::default() });
    let mut gone = 0;
    while let Some(Removed::Readings { why, rows, .. }) =
        retention.step(&f.root, &mut rollups, None, Room::Ample).unwrap()
    {
        assert_eq!((why, rows), (Why::Size, 576_000));
        gone += 1;
    }
    assert!((1..=3).contains(&gone), "{gone} days");
    assert!(!retention.is_over);
    let blocks = retention.blocks.unwrap();
    assert!(blocks.free + max >= blocks.total + reserve, "{blocks:?}");
    // What comes next finds its place.
    for part in 0..48 {
        f.root
            .execute_batch(&format!(
                "INSERT INTO g.readings SELECT i % 400, make_timestamp({START} + (8 * 1440 + i // 400) * 60000000),
                    i * 7919 % 100003 / 100, 0 FROM range({part} * 24000, ({part} + 1) * 24000) t(i); CHECKPOINT g;"
            ))
            .unwrap();
    }
    rollups.close_for_test(&f.root, Timestamp(START + 10 * DAY + 2 * HOUR));
    while retention.step(&f.root, &mut rollups, None, Room::Ample).unwrap().is_some() {}
    assert!(size(&f) <= max, "{} over {max}", size(&f));
    // A bound that the open day alone exceeds: it is told, and what is not closed stays.
    f.root
        .execute_batch(&format!(
            "INSERT INTO g.readings SELECT 1, make_timestamp({START} + 10 * {DAY} + 3 * {HOUR} + i), 1, 0 FROM range(500) t(i)"
        ))
        .unwrap();
    let mut tight = Retention::new(&config::Store { max_size: Some(RESERVE), ..config::Store::default() });
    while tight.step(&f.root, &mut rollups, None, Room::Ample).unwrap().is_some() {}
    assert!(tight.is_over);
    assert_eq!(one::<i64>(&f, "SELECT count(*) FROM g.readings"), 500);
}

#[test]
fn what_has_to_get_its_true_time_stays() {
    let f = Fixture::new(Limits::default());
    let mut rollups = days(&f, 6, 1);
    // The clock stood in 1970; a day later there is another, that another boot has stamped.
    f.root
        .execute_batch(
            "INSERT INTO g.readings VALUES (1, make_timestamp(1000), 5, NULL), (1, make_timestamp(90000000000), 6, NULL);
             INSERT INTO g.provisional VALUES (1, 'this', 7, make_timestamp(1000));",
        )
        .unwrap();
    let keep_readings = Some(Duration::from_secs(3 * 86_400));
    let mut retention = Retention::new(&config::Store { keep_readings, ..config::Store::default() });
    let now = Some(Timestamp(START + 6 * DAY + 5 * HOUR));
    let mut rows = Vec::new();
    while let Some(Removed::Readings { rows: n, .. }) = retention.step(&f.root, &mut rollups, now, Room::Ample).unwrap()
    {
        rows.push(n);
    }
    assert_eq!(rows, [1, 1_440, 1_440, 1_440]);
    assert_eq!(one::<i64>(&f, "SELECT epoch_us(min(ts)) FROM g.readings"), 1_000);
    assert_eq!(one::<i64>(&f, "SELECT count(*) FROM g.readings"), 1 + 3 * 1_440);
    // Nothing can tell its time any more.
    f.root.execute_batch("DELETE FROM g.provisional").unwrap();
    retention.step(&f.root, &mut rollups, now, Room::Ample).unwrap();
    assert_eq!(one::<i64>(&f, "SELECT epoch_us(min(ts)) FROM g.readings"), START + 3 * DAY);
    assert_eq!(rollups.rolled().expired, Some(Timestamp(START + 3 * DAY)));
}

#[test]
fn nothing_goes_by_age_right_after_the_clock_has_leapt() {
    let f = Fixture::new(Limits::default());
    days(&f, 6, 1);
    let keep_readings = Some(Duration::from_secs(3 * 86_400));
    let config = config::Store { keep_readings, ..config::Store::default() };
    let now = START + 6 * DAY + 3 * HOUR;
    for (ahead, gone) in [(400 * DAY, None), (DAY / 2, Some(1_440))] {
        // A start: the clock is not where it was.
        let mut rollups = Rollups::new(Rolled::read(&f.root).unwrap(), Tz::UTC);
        let now = Timestamp(now + ahead);
        rollups.close_for_test(&f.root, now);
        let removed = Retention::new(&config).step(&f.root, &mut rollups, Some(now), Room::Ample).unwrap();
        let rows = removed.map(|removed| match removed {
            Removed::Readings { rows, .. } => rows,
            Removed::Rollups(rows) => rows,
        });
        assert_eq!(rows, gone);
    }
}

#[test]
fn a_query_that_runs_does_not_keep_the_blocks_from_becoming_free() {
    let f = Fixture::new(Limits::default());
    let mut rollups = days(&f, 2, 400);
    let mut retention = retention(Some(RESERVE)).beside(f.reader.clone());
    let reader = f.reader.clone();
    let query = std::thread::spawn(move || {
        // Longer than it is waited for.
        reader.wait_for_test("SELECT count(*) FROM g.readings a, g.readings b WHERE a.value + b.value < 0")
    });
    while f.reader.is_idle_for_test() {
        std::thread::yield_now();
    }
    let before = super::blocks(&f.root).unwrap().free;
    let removed = retention.step(&f.root, &mut rollups, None, Room::Ample).unwrap();
    assert!(matches!(removed, Some(Removed::Readings { rows: 576_000, .. })), "{removed:?}");
    assert!(retention.blocks.unwrap().free > before + 1_000_000, "{before} {:?}", retention.blocks);
    assert_eq!(query.join().unwrap(), Err(QueryError::Busy));
}

#[test]
fn on_a_disk_that_fills_the_oldest_days_make_room_within_the_file() {
    let f = Fixture::new(Limits::default());
    let mut rollups = days(&f, 8, 400);
    let mut retention = Retention::new(&config::Store::default());
    let before = super::blocks(&f.root).unwrap();
    assert!(before.free < RESERVE, "{before:?}");
    assert_eq!(retention.step(&f.root, &mut rollups, None, Room::Ample).unwrap(), None);
    let mut gone = 0;
    while let Some(removed) = retention.step(&f.root, &mut rollups, None, Room::Low).unwrap() {
        gone += 1;
        let before = Timestamp(START + gone * DAY);
        assert_eq!(removed, Removed::Readings { why: Why::Space, rows: 576_000, before });
    }
    assert!((1..7).contains(&gone), "{gone} days");
    assert!(super::blocks(&f.root).unwrap().free >= RESERVE && !retention.is_over);
    assert_eq!(one::<i64>(&f, "SELECT count(*) FROM g.daily"), 8 * 400);
}

#[test]
fn something_has_to_go_when_less_than_the_reserve_is_left() {
    let blocks = |total, free| Blocks { total, free };
    let bounded = retention(Some(100_000_000));
    let lack = |retention: &Retention, blocks, room| retention.lack(blocks, retention.reserve([0, 0]), room);
    assert_eq!(lack(&bounded, blocks(94_000_000, 0), Room::Ample), None);
    assert_eq!(lack(&bounded, blocks(94_000_001, 0), Room::Ample), Some(Why::Size));
    assert_eq!(lack(&bounded, blocks(100_000_000, 6_000_000), Room::Ample), None);
    assert_eq!(lack(&bounded, blocks(100_000_000, 5_999_999), Room::Ample), Some(Why::Size));
    // Larger than its bound, because that was lowered: what is in it has to become so much smaller.
    assert_eq!(lack(&bounded, blocks(150_000_000, 55_999_999), Room::Ample), Some(Why::Size));
    assert_eq!(lack(&bounded, blocks(150_000_000, 56_000_000), Room::Ample), None);
    let free = retention(None);
    assert_eq!(lack(&free, blocks(1 << 40, 0), Room::Ample), None);
    assert_eq!(lack(&free, blocks(1 << 40, 0), Room::Low), Some(Why::Space));
    assert_eq!(lack(&free, blocks(1 << 40, RESERVE), Room::Low), None);
}

#[test]
fn a_reserve_is_kept_for_three_row_groups_of_each_rollup() {
    let bounded = retention(Some(80_000_000));
    assert_eq!(bounded.reserve([0, 0]), 6_000_000);
    assert_eq!(bounded.reserve([1_000, 40]), 6_000_000 + 1_040 * 76);
    assert_eq!(bounded.reserve([122_880, 0]), 15_338_880);
    assert_eq!(bounded.reserve([u64::MAX, 122_881]), 6_000_000 + 2 * 9_338_880, "never more than three of 40,960 rows");
    assert_eq!(retention(Some(511_999_999)).reserve([u64::MAX, 0]), 15_338_880);
    let large = retention(Some(512_000_000));
    assert_eq!(large.reserve([u64::MAX, 0]), 6_000_000 + 3 * 122_880 * 76);
    assert_eq!(retention(None).reserve([u64::MAX, 0]), 6_000_000 + 3 * 122_880 * 76);
    let reserve = bounded.reserve([122_880, 0]);
    let blocks = |total, free| Blocks { total, free };
    assert_eq!(bounded.lack(blocks(64_661_120, 0), reserve, Room::Ample), None);
    assert_eq!(bounded.lack(blocks(64_661_121, 0), reserve, Room::Ample), Some(Why::Size));
    assert_eq!(bounded.lack(blocks(10_000_000, 6_000_000), reserve, Room::Low), None, "the disk has its own mark");
}

#[test]
fn the_file_stays_at_its_bound_however_the_rollups_grow() {
    const MAX: u64 = 40_000_000;
    let f = Fixture::bounded(Limits::default(), Some(MAX));
    let file = f.dir.path().join("t.duckdb");
    let mut rollups = Rollups::new(Rolled::read(&f.root).unwrap(), Tz::UTC);
    rollups.settle_in(Tz::UTC, &f.root).unwrap();
    let mut retention = retention(Some(MAX));
    let (mut gone, mut largest) = (0, 0);
    // 400 series every 10 minutes: their hours fill three row groups in 13 days, and another each 4 days.
    for day in 0..30 {
        f.root
            .execute_batch(&format!(
                "INSERT INTO g.readings SELECT i % 400, make_timestamp({START} + {day} * {DAY} + i // 400 * 600000000),
                    ({day} * 57600 + i) * 2654435761 % 4294967291, 0 FROM range(57600) t(i); CHECKPOINT g;"
            ))
            .unwrap();
        rollups.close_for_test(&f.root, Timestamp(START + (day + 1) * DAY + HOUR / 2));
        while let Some(removed) = retention.step(&f.root, &mut rollups, None, Room::Ample).unwrap() {
            gone += 1;
            let before = Timestamp(START + gone * DAY);
            assert_eq!(removed, Removed::Readings { why: Why::Size, rows: 57_600, before });
        }
        f.root.execute_batch("CHECKPOINT g").unwrap();
        largest = largest.max(std::fs::metadata(&file).unwrap().len());
    }
    assert!((22_000_000..=MAX).contains(&largest), "{largest}");
    // The first hour of each further day may have been closed before its readings were put in, which no mark tells here.
    let hours = one::<i64>(&f, "SELECT count(*) FROM g.hourly");
    assert!([30 * 24 * 400, (30 * 24 - 29) * 400].contains(&hours), "{hours} hours");
    assert_eq!(one::<i64>(&f, "SELECT count(*) FROM g.readings"), (30 - gone) * 57_600);
    assert!((1..30).contains(&gone), "{gone} days");
}

/// The most bytes that a checkpoint needed at once, of days of hourly rollups of 50 series with a checkpoint every fourth.
fn merged(row_group: u32, days: u64) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let root = Connection::open_in_memory().unwrap();
    let file = dir.path().join("t.duckdb");
    let attach = format!("ATTACH '{}' AS g (BLOCK_SIZE 65536, ROW_GROUP_SIZE {row_group})", file.display());
    root.execute_batch(&attach).unwrap();
    for migration in crate::store::schema::MIGRATIONS {
        root.execute_batch(migration).unwrap();
    }
    let mut most = 0;
    for day in (0..days).step_by(4) {
        root.execute_batch(&format!(
            "INSERT INTO g.hourly SELECT i % 50, make_timestamp(({day} * 24 + i // 50) * {HOUR}), 120, r, r / 3, r / 7, r / 11,
                r / 13, r / 17, r / 19, r / 23, r / 29
             FROM (SELECT i, (({day} * 1200 + i) * 2654435761 % 4294967291)::DOUBLE AS r FROM range(4800) t(i))"
        ))
        .unwrap();
        let before = super::blocks(&root).unwrap();
        root.execute_batch("CHECKPOINT g").unwrap();
        let after = super::blocks(&root).unwrap();
        // A file grows when no block is free any more.
        let grown = after.total.saturating_sub(before.total);
        if grown > 0 {
            most = most.max(grown + before.free);
        }
    }
    assert_eq!(rows_of_rollups(&root).unwrap(), [1_200 * days, 0]);
    most
}

#[test]
fn a_checkpoint_that_merges_a_rollup_needs_no_more_than_is_kept_for_it() {
    // Three of 40,960 rows are full after 103 days.
    let bounded = retention(Some(80_000_000));
    let most = merged(row_group(Some(80_000_000)), 140);
    let kept = bounded.reserve([140 * 1_200, 0]) - RESERVE;
    assert!((kept / 2..=kept).contains(&most), "{most} of {kept}");
    // The usual row groups would need more.
    let most = merged(row_group(None), 212);
    assert!(most > kept, "{most} of {kept}");
}
