//! Rollups, retention and forgotten names, by the real binary on a real file.

use duckdb::Connection;

use crate::harness::{DEADLINE, Daemon, Hub, Record, Setup, now_micros, wait_for, wait_within};

const DEVICE: u64 = 11_529_215_046_068_469_763;
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// Rows of the rollups that are not what plain SQL says of the readings: `hourly` where hours are closed, and `daily` in the zone
/// that is UTC here.
const DIFFERENCES: &str = "
WITH until AS (SELECT key, make_timestamp(value::BIGINT) AS t FROM g.meta WHERE key LIKE 'rolled-%'),
expected AS (
    SELECT 'hourly' AS rollup, series, date_trunc('hour', ts) AS bucket, count(*) AS n, min(value) AS lo, max(value) AS hi,
        round(sum(value), 6) AS total, round(sum(value * value), 4) AS squares, arg_min(value, ts) AS head,
        arg_max(value, ts) AS tail, round(quantile_cont(value, 0.5), 9) AS a, round(quantile_cont(value, 0.95), 9) AS b,
        round(quantile_cont(value, 0.99), 9) AS c
    FROM g.readings GROUP BY series, date_trunc('hour', ts) HAVING bucket < (SELECT t FROM until WHERE key = 'rolled-hours')
    UNION ALL
    SELECT 'daily', series, date_trunc('day', ts) AS bucket, count(*), min(value), max(value), round(sum(value), 6),
        round(sum(value * value), 4), arg_min(value, ts), arg_max(value, ts), round(quantile_cont(value, 0.5), 9),
        round(quantile_cont(value, 0.95), 9), round(quantile_cont(value, 0.99), 9)
    FROM g.readings GROUP BY series, date_trunc('day', ts) HAVING bucket < (SELECT t FROM until WHERE key = 'rolled-days')),
stored AS (
    SELECT 'hourly' AS rollup, series, bucket, count, min, max, round(sum, 6), round(sum_sq, 4), first, last, round(p50, 9),
        round(p95, 9), round(p99, 9) FROM g.hourly
    UNION ALL
    SELECT 'daily', series, bucket, count, min, max, round(sum, 6), round(sum_sq, 4), first, last, round(p50, 9),
        round(p95, 9), round(p99, 9) FROM g.daily)
SELECT count(*) FROM ((FROM expected EXCEPT FROM stored) UNION ALL (FROM stored EXCEPT FROM expected))";

/// A copy of the file of a daemon that has ended, attached as the daemon does it: the next start finds what it left.
struct Copy {
    _dir: tempfile::TempDir,
    root: Connection,
}

impl std::ops::Deref for Copy {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        &self.root
    }
}

fn file(daemon: &Daemon) -> Copy {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let copy = dir.path().join("copy.duckdb");
    std::fs::copy(daemon.database(), &copy).expect("copying the database");
    let mut wal = daemon.database().as_os_str().to_owned();
    wal.push(".wal");
    if std::path::Path::new(&wal).exists() {
        std::fs::copy(wal, dir.path().join("copy.duckdb.wal")).expect("copying the log");
    }
    let root = Connection::open_in_memory().expect("a DuckDB");
    root.execute_batch(&format!("ATTACH '{}' AS g", copy.display())).expect("attaching the copy");
    Copy { _dir: dir, root }
}

fn number(db: &Connection, sql: &str) -> i64 {
    db.query_row(sql, [], |r| r.get(0)).unwrap_or_else(|e| panic!("{sql}: {e}"))
}

/// The beginning of the day (of UTC) that is `days` before today, in seconds.
fn day(days: i64) -> i64 {
    (now_micros() / 1_000_000).div_euclid(DAY) * DAY - days * DAY
}

/// A record each `step` seconds.
fn records(from: i64, count: i64, step: i64) -> Vec<Record> {
    (0..count)
        .map(|i| Record { time: from + i * step, temp: 2_000 + i * 37 % 900, hum: 4_000 + i * 11 % 3_000, flags: 0 })
        .collect()
}

#[track_caller]
fn send(hub: &mut Hub, records: &[Record]) {
    for batch in records.chunks(1_000) {
        hub.send_batch(3, DEVICE, batch);
        hub.expect_ack(&format!("BATCH_ACK 3 {} 0", batch.len()));
    }
}

fn start(hub: &Hub, store: &str) -> Daemon {
    let config = format!("[store]\n{store}\n[clock]\ntimezone = \"UTC\"\n{}", hub.section("hub-lines", ""));
    Setup::new(&config).start()
}

#[track_caller]
fn wait_closed(daemon: &Daemon, until: i64) {
    let shown = rfc3339(until);
    wait_within("yesterday to be closed", 2 * DEADLINE, || {
        daemon.stats()["rollups"]["days_until"].as_str().is_some_and(|t| t >= shown.as_str())
    });
}

/// RFC 3339 of a whole day, by DuckDB.
fn rfc3339(secs: i64) -> String {
    let db = Connection::open_in_memory().expect("a DuckDB");
    db.query_row("SELECT strftime(make_timestamp(? * 1000000), '%Y-%m-%dT%H:%M:%SZ')", [secs], |r| r.get(0))
        .expect("a time")
}

#[test]
fn closed_hours_and_days_are_rolled_up_and_late_records_have_them_made_again() {
    let mut hub = Hub::new();
    let mut daemon = start(&hub, "");
    hub.wait_answered();
    let from = day(3);
    send(&mut hub, &records(from, 3 * 24 * 20, 180));
    wait_closed(&daemon, day(0));
    assert_eq!(daemon.stat("/rollups/hours"), 3 * 24 * 3, "three metrics");
    assert_eq!(daemon.stat("/rollups/days"), 3 * 3);
    assert!(daemon.finish().rows.len() >= 3 * 24 * 20 * 3);
    {
        let db = file(&daemon);
        assert_eq!(number(&db, DIFFERENCES), 0);
        assert_eq!(number(&db, "SELECT count(*) FROM g.hourly"), 3 * 24 * 3);
        // Were nothing compared, nothing would differ.
        db.execute_batch("UPDATE g.hourly SET p95 = p95 + 1 WHERE bucket = (SELECT min(bucket) FROM g.hourly)")
            .unwrap();
        assert_eq!(number(&db, DIFFERENCES), 3 * 2, "what is missing and what is wrong");
        db.execute_batch("UPDATE g.hourly SET p95 = p95 - 1 WHERE bucket = (SELECT min(bucket) FROM g.hourly)")
            .unwrap();
    }
    daemon.restart();
    hub.wait_answered();
    send(&mut hub, &[Record { time: from + 90, temp: 9_999, hum: 1, flags: 3 }]);
    wait_within("the hour and its day to be made again", 2 * DEADLINE, || {
        daemon.stat("/rollups/hours") == 3 && daemon.stat("/rollups/days") == 3
    });
    assert_eq!(daemon.stat("/rollups/dirty"), 0);
    daemon.finish();
    let db = file(&daemon);
    assert_eq!(number(&db, DIFFERENCES), 0);
    assert_eq!(number(&db, "SELECT count(*) FROM g.daily WHERE max = 99.99"), 1);
}

#[test]
fn killed_in_the_middle_of_rolling_up_it_goes_on_and_nothing_is_wrong() {
    let mut hub = Hub::new();
    let mut daemon = start(&hub, "");
    hub.wait_answered();
    // Half a year of a record each three hours: a step for each day.
    send(&mut hub, &records(day(200), 200 * 8, 3 * HOUR));
    let mut seen = Vec::new();
    for round in 0..3_u32 {
        wait_within("rolling up to begin", 2 * DEADLINE, || daemon.stat("/rollups/hours") > u64::from(24 + round * 24));
        daemon.kill9();
        let db = file(&daemon);
        seen.push(number(&db, "SELECT count(*) FROM g.hourly"));
        drop(db);
        daemon.restart();
    }
    assert!(seen.windows(2).all(|w| w[0] < w[1]), "it goes on where it was: {seen:?}");
    assert!(seen[2] < 200 * 8 * 3, "fault not injected: it was done before the last kill");
    wait_closed(&daemon, day(0));
    daemon.finish();
    let db = file(&daemon);
    assert_eq!(number(&db, DIFFERENCES), 0);
    assert_eq!(number(&db, "SELECT count(*) FROM g.hourly"), 200 * 8 * 3);
    assert_eq!(number(&db, "SELECT count(*) FROM g.daily"), 200 * 3);
}

#[test]
fn readings_over_their_time_go_behind_their_rollups_and_stragglers_are_expired() {
    let mut hub = Hub::new();
    let mut daemon = start(&hub, "keep-readings = \"2d\"");
    hub.wait_answered();
    let old = records(day(6), 100, 600);
    send(&mut hub, &old);
    let kept = records(day(1), 50, 600);
    send(&mut hub, &kept);
    wait_within("the old readings to go", 3 * DEADLINE, || daemon.stat("/removed/readings") == 300);
    assert_eq!(daemon.stats()["removed"]["by_reason"]["age"], 300);
    assert_eq!(daemon.stat("/store/readings"), 150);
    // A node that never heard of its acknowledgement: it has nothing to send again.
    send(&mut hub, &old);
    assert_eq!(daemon.stat("/readings/expired"), 300);
    let stored = daemon.finish();
    assert_eq!(stored.of(&DEVICE.to_string()).len(), 150);
    let db = file(&daemon);
    assert_eq!(number(&db, "SELECT sum(count)::BIGINT FROM g.hourly"), 450);
    assert_eq!(
        number(&db, "SELECT sum(count)::BIGINT FROM g.daily WHERE bucket < (SELECT min(ts) FROM g.readings)"),
        300
    );
    assert_eq!(number(&db, "SELECT count(*) FROM g.dirty"), 0);
}

#[test]
fn a_bound_below_one_day_is_told_and_nothing_is_lost() {
    let mut hub = Hub::new();
    let mut daemon =
        start(&hub, "max-size = \"16MB\"\nkeep-readings = \"1d\"\nkeep-hourly = \"2d\"\nkeep-daily = \"3d\"");
    hub.wait_answered();
    let rows = records(day(0) - 2 * HOUR, 100, 60);
    send(&mut hub, &rows);
    wait_for("the size to be looked at", || daemon.stats()["store"]["size"] == "ok");
    let stored = daemon.finish();
    assert_eq!(stored.of(&DEVICE.to_string()).len(), 300);
    let status = crate::harness::gadwall()
        .arg("check")
        .arg(daemon.config())
        .env("GADWALL_STORE__MAX_SIZE", "1MB")
        .output()
        .expect("the binary under test starts");
    assert_eq!(status.status.code(), Some(78));
    let said = String::from_utf8_lossy(&status.stderr).into_owned();
    assert!(said.contains("expected a size from \"16MB\" to \"1TB\", or \"unlimited\""), "{said}");
}

#[test]
fn names_of_which_nothing_is_kept_are_forgotten() {
    let mut hub = Hub::new();
    let mut daemon = start(&hub, "keep-readings = \"1d\"\nkeep-hourly = \"1d\"\nkeep-daily = \"1d\"");
    hub.wait_answered();
    send(&mut hub, &records(day(9), 20, 60));
    hub.send_batch(4, 77, &records(day(0) - 60, 2, 1));
    hub.expect_ack("BATCH_ACK 4 2 0");
    wait_within("the old node to be forgotten", 4 * DEADLINE, || daemon.stat("/store/forgotten") == 3);
    assert_eq!(daemon.get(&format!("/api/v1/nodes/{DEVICE}")).status, 404);
    assert_eq!(daemon.get("/api/v1/nodes/77").status, 200);
    // It is taken again when it is heard of.
    send(&mut hub, &records(day(0) - 30, 1, 1));
    assert_eq!(daemon.get(&format!("/api/v1/nodes/{DEVICE}")).status, 200);
    daemon.finish();
    let db = file(&daemon);
    assert_eq!(number(&db, "SELECT count(*) FROM g.nodes"), 2);
    assert_eq!(number(&db, "SELECT count(*) FROM g.series"), 6);
}
