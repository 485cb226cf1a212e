//! What is in the file, read by another DuckDB.

use std::collections::BTreeMap;
use std::path::Path;

use duckdb::{Config, Connection};

/// A row of `readings` with the names that its series stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub source: String,
    pub node: String,
    pub metric: String,
    pub unit: Option<String>,
    /// Microseconds since 1970.
    pub ts: i64,
    pub value: f64,
    pub lag: Option<i32>,
}

/// A row of `events`.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    pub source: String,
    pub node: String,
    pub ts: i64,
    pub kind: String,
    pub data: String,
}

/// A row of `dead_letters`.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadRow {
    pub ts: i64,
    pub source: String,
    /// The reason's word, and behind a colon the details.
    pub reason: String,
    pub excerpt: Vec<u8>,
}

/// A row of `unsynced` with the names that its series stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct UnsyncedRow {
    pub node: String,
    pub metric: String,
    /// Microseconds since 1970 by the node's clock.
    pub node_ts: Option<i64>,
    pub value: f64,
}

/// All that a file holds.
#[derive(Debug)]
pub struct Stored {
    pub rows: Vec<Row>,
    pub events: Vec<EventRow>,
    pub dead: Vec<DeadRow>,
    pub unsynced: Vec<UnsyncedRow>,
    pub commits: i64,
}

impl Stored {
    /// Copies the file and what belongs to it, and opens the copy: the next start of the daemon finds what it left.
    #[track_caller]
    pub fn read(database: &Path) -> Self {
        let copy = tempfile::tempdir().expect("a temporary directory");
        let name = database.file_name().and_then(|n| n.to_str()).expect("an UTF-8 name");
        let dir = std::fs::read_dir(database.parent().expect("a directory")).expect("reading the directory");
        for entry in dir {
            let entry = entry.expect("reading the directory");
            let beside = entry.file_name().into_string().expect("an UTF-8 name");
            if beside == name || beside.starts_with(&format!("{name}.wal")) {
                std::fs::copy(entry.path(), copy.path().join(beside)).expect("copying the database");
            }
        }
        let db = open(&copy.path().join(name));
        let all: i64 = db.query_row("SELECT count(*) FROM readings", [], |r| r.get(0)).expect("counting readings");
        let rows = query(
            &db,
            "SELECT n.source, n.name, s.metric, s.unit, epoch_us(r.ts), r.value, r.lag \
             FROM readings r JOIN series s USING (series) JOIN nodes n USING (node) ORDER BY r.ts, n.name, s.metric",
            |r| {
                Ok(Row {
                    source: r.get(0)?,
                    node: r.get(1)?,
                    metric: r.get(2)?,
                    unit: r.get(3)?,
                    ts: r.get(4)?,
                    value: r.get(5)?,
                    lag: r.get(6)?,
                })
            },
        );
        assert_eq!(rows.len() as i64, all, "each reading has exactly one series and each series one node");
        let events = query(
            &db,
            "SELECT n.source, n.name, epoch_us(e.ts), e.kind, e.data FROM events e JOIN nodes n USING (node) ORDER BY e.ts",
            |r| Ok(EventRow { source: r.get(0)?, node: r.get(1)?, ts: r.get(2)?, kind: r.get(3)?, data: r.get(4)? }),
        );
        let dead = query(&db, "SELECT epoch_us(ts), source, reason, excerpt FROM dead_letters ORDER BY ts", |r| {
            Ok(DeadRow { ts: r.get(0)?, source: r.get(1)?, reason: r.get(2)?, excerpt: r.get(3)? })
        });
        let unsynced = query(
            &db,
            "SELECT n.name, s.metric, u.node_ts, u.value FROM unsynced u JOIN series s USING (series) \
             JOIN nodes n USING (node) ORDER BY n.name, s.metric, u.node_ts",
            |r| Ok(UnsyncedRow { node: r.get(0)?, metric: r.get(1)?, node_ts: r.get(2)?, value: r.get(3)? }),
        );
        let commits = db.query_row("SELECT count(*) FROM commits", [], |r| r.get(0)).expect("counting commits");
        Self { rows, events, dead, unsynced, commits }
    }

    /// The dead letters for `reason`.
    pub fn dead_for(&self, reason: &str) -> Vec<&DeadRow> {
        self.dead.iter().filter(|d| d.reason.split(':').next() == Some(reason)).collect()
    }

    /// The rows of one node.
    pub fn of(&self, node: &str) -> Vec<&Row> {
        self.rows.iter().filter(|r| r.node == node).collect()
    }
}

/// Opens a database file for the test's own statements.
pub fn open(path: &Path) -> Connection {
    let config = Config::default()
        .threads(1)
        .and_then(|c| c.with("memory_limit", "256MB"))
        .expect("the options are known to DuckDB");
    Connection::open_with_flags(path, config).unwrap_or_else(|e| panic!("opening {} again: {e}", path.display()))
}

fn query<T>(db: &Connection, sql: &str, row: impl FnMut(&duckdb::Row<'_>) -> duckdb::Result<T>) -> Vec<T> {
    let mut statement = db.prepare(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    let rows = statement.query_map([], row).unwrap_or_else(|e| panic!("{sql}: {e}"));
    rows.map(|r| r.unwrap_or_else(|e| panic!("{sql}: {e}"))).collect()
}

/// A reading that must be stored exactly once.
#[derive(Clone, Debug)]
pub struct Expected {
    pub source: String,
    pub node: String,
    pub metric: String,
    /// Its time in microseconds since 1970; `None` where the gateway stamps it.
    pub ts: Option<i64>,
    pub value: f64,
}

/// A reading with its own time, in microseconds.
pub fn expected(source: &str, node: &str, metric: &str, ts: impl Into<Option<i64>>, value: f64) -> Expected {
    Expected { source: source.into(), node: node.into(), metric: metric.into(), ts: ts.into(), value }
}

type Key = (String, String, String, Option<i64>, u64);

/// Asserts that the file holds each of `must` once, and nothing that is not in `may`, each of those at most once. All have
/// their own time.
#[track_caller]
pub fn assert_between(stored: &Stored, must: &[Expected], may: &[Expected]) {
    let key = |e: &Expected| (e.source.clone(), e.node.clone(), e.metric.clone(), e.ts, e.value.to_bits());
    let mut seen = std::collections::BTreeSet::new();
    for r in &stored.rows {
        let row = (r.source.clone(), r.node.clone(), r.metric.clone(), Some(r.ts), r.value.to_bits());
        assert!(seen.insert(row), "stored twice: {r:?}");
    }
    let may: std::collections::BTreeSet<Key> = may.iter().map(key).collect();
    let strange: Vec<_> = seen.iter().filter(|k| !may.contains(k)).collect();
    assert!(strange.is_empty(), "{} stored and not sent, the first: {:?}", strange.len(), strange[0]);
    let lost: Vec<_> = must.iter().filter(|e| !seen.contains(&key(e))).collect();
    assert!(lost.is_empty(), "{} acknowledged and not stored, the first: {:?}", lost.len(), lost[0]);
}

/// Asserts that the file holds the expected readings, each once, and no other. Where no time is expected, each stored one
/// has to be unique in its series, between `since` and now, with a lag of 0.
#[track_caller]
pub fn assert_exactly(stored: &Stored, since: i64, expected: &[Expected]) {
    let until = super::now_micros();
    let mut counts: BTreeMap<Key, i64> = BTreeMap::new();
    let mut stamped: BTreeMap<(String, String, String, u64), i64> = BTreeMap::new();
    for e in expected {
        *counts.entry((e.source.clone(), e.node.clone(), e.metric.clone(), e.ts, e.value.to_bits())).or_default() += 1;
        if e.ts.is_none() {
            *stamped.entry((e.source.clone(), e.node.clone(), e.metric.clone(), e.value.to_bits())).or_default() += 1;
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    for r in &stored.rows {
        assert!(seen.insert((&r.source, &r.node, &r.metric, r.ts)), "a series has two readings of one time: {r:?}");
        let unknown_time = (r.source.clone(), r.node.clone(), r.metric.clone(), r.value.to_bits());
        let by_arrival = stamped.contains_key(&unknown_time)
            && !counts.contains_key(&(
                r.source.clone(),
                r.node.clone(),
                r.metric.clone(),
                Some(r.ts),
                r.value.to_bits(),
            ));
        if by_arrival {
            assert!(r.ts >= since && r.ts <= until, "stamped outside of [{since}, {until}]: {r:?}");
            assert_eq!(r.lag, Some(0), "stamped at arrival: {r:?}");
        } else {
            let lag = i64::from(r.lag.unwrap_or_else(|| panic!("lag is NULL with a trusted clock: {r:?}")));
            let (least, most) = ((since - r.ts).div_euclid(1_000_000), (until - r.ts).div_euclid(1_000_000));
            assert!((least..=most).contains(&lag), "lag outside of [{least}, {most}]: {r:?}");
        }
        let ts = if by_arrival { None } else { Some(r.ts) };
        *counts.entry((r.source.clone(), r.node.clone(), r.metric.clone(), ts, r.value.to_bits())).or_default() -= 1;
    }
    let wrong: Vec<String> = counts
        .iter()
        .filter(|(_, n)| **n != 0)
        .map(|((source, node, metric, ts, bits), n)| {
            let what = if *n > 0 { "missing" } else { "not sent, or once too often" };
            format!("{what} ({n}): {source}/{node} {metric} at {ts:?} = {}", f64::from_bits(*bits))
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} readings stored, {} expected; {} differences, the first of them:\n{}",
        stored.rows.len(),
        expected.len(),
        wrong.len(),
        wrong.iter().take(20).cloned().collect::<Vec<_>>().join("\n")
    );
}
