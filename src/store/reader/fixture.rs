//! A small store for tests, opened as the real one is: the file is attached to a root in memory.

use std::sync::{Arc, RwLock};

use duckdb::types::{TimeUnit, Value};
use duckdb::{Config, Connection, params};

use super::{Limits, Reader, Row, literal};
use crate::reading::Timestamp;
use crate::store::catalog::{Catalog, Newest, Node, Series};
use crate::store::open::row_group;
use crate::store::schema;
use crate::store::suspicion::Suspicion;
use crate::zone::{self, Tz};

pub(crate) struct Fixture {
    pub(crate) root: Connection,
    pub(crate) reader: Reader,
    pub(crate) catalog: Arc<RwLock<Catalog>>,
    pub(crate) dir: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new(limits: Limits) -> Self {
        Self::bounded(limits, None)
    }

    /// With the row groups of a file that may have `max_size` bytes.
    pub(crate) fn bounded(limits: Limits, max_size: Option<u64>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::default().with("threads", "1").unwrap().with("memory_limit", "24MB").unwrap();
        let root = Connection::open_in_memory_with_flags(config).unwrap();
        let file = dir.path().join("t.duckdb");
        let rows = row_group(max_size);
        root.execute_batch(&format!("ATTACH '{}' AS g (BLOCK_SIZE 65536, ROW_GROUP_SIZE {rows})", file.display()))
            .unwrap();
        for migration in schema::MIGRATIONS {
            root.execute_batch(migration).unwrap();
        }
        let catalog: Arc<RwLock<Catalog>> = Arc::default();
        let reader =
            Reader::with_limits(&root, Arc::clone(&catalog), Suspicion::new(&file, Arc::default()), limits).unwrap();
        Self { root, reader, catalog, dir }
    }

    pub(crate) fn add_node(&self, id: i32, source: &str, name: &str) {
        let node = Node {
            id,
            source: source.into(),
            name: name.into(),
            first_seen: Timestamp::from_secs(1_700_000_000),
            online: None,
            series: Vec::new(),
        };
        self.catalog.write().unwrap().add_node(node);
    }

    pub(crate) fn add_series(&self, id: i32, node: i32, metric: &str, unit: Option<&str>) {
        let series =
            Series { id, node, metric: metric.into(), own_name: None, unit: unit.map(Into::into), newest: None };
        self.catalog.write().unwrap().add_series(series);
        self.root.execute("INSERT INTO g.series VALUES (?, ?, ?, ?, NULL)", params![id, node, metric, unit]).unwrap();
    }

    /// Stores the rows in this order, and notes the newest of each series that the catalog knows.
    pub(crate) fn insert(&self, rows: &[Row]) {
        let mut appender = self.root.appender_to_catalog_and_db("readings", "g", "main").unwrap();
        for r in rows {
            let ts = Value::Timestamp(TimeUnit::Microsecond, r.ts.micros());
            appender.append_row(params![r.series, ts, r.value, r.lag]).unwrap();
        }
        appender.flush().unwrap();
        let mut catalog = self.catalog.write().unwrap();
        for r in rows {
            if let Some(series) = catalog.series_mut(r.series)
                && series.newest.is_none_or(|n| n.ts < r.ts)
            {
                series.newest = Some(Newest { ts: r.ts, value: r.value, lag: r.lag });
            }
        }
    }
}

/// What a rollup keeps of some readings, in plain SQL.
const ROLLUP: &str = "count(*), min(value), max(value), sum(value), sum(value * value), arg_min(value, ts),
    arg_max(value, ts), quantile_cont(value, 0.5), quantile_cont(value, 0.95), quantile_cont(value, 0.99)";

impl Fixture {
    /// Rolls up the readings before `hours` by the hour, and those before `days`, the beginning of a day of `zone`, by the
    /// day.
    pub(crate) fn roll(&self, zone: Tz, hours: Timestamp, days: Timestamp) {
        let sql = format!(
            "INSERT INTO g.hourly SELECT series, date_trunc('hour', ts) AS hour, {ROLLUP} FROM g.readings
             WHERE ts < {} GROUP BY series, hour",
            literal(hours)
        );
        self.root.execute_batch(&sql).unwrap();
        let first: Option<i64> =
            self.root.query_row("SELECT epoch_us(min(ts)) FROM g.readings", [], |r| r.get(0)).unwrap();
        let mut day = first.map_or(days, |first| zone::day_of(Timestamp(first), zone));
        while day < days {
            let next = zone::next_day(day, zone);
            let sql = format!(
                "INSERT INTO g.daily SELECT series, {}, {ROLLUP} FROM g.readings WHERE ts >= {} AND ts < {} GROUP BY series",
                literal(day),
                literal(day),
                literal(next)
            );
            self.root.execute_batch(&sql).unwrap();
            day = next;
        }
        self.note("rolled-hours", &hours.micros().to_string());
        self.note("rolled-days", &days.micros().to_string());
        self.note("timezone", zone.name());
    }

    /// Computes an hour of a series again.
    pub(crate) fn roll_hour(&self, series: i32, hour: Timestamp) {
        let of_hour = format!("series = {series} AND date_trunc('hour', ts) = {}", literal(hour));
        let sql = format!(
            "DELETE FROM g.hourly WHERE series = {series} AND bucket = {};
             INSERT INTO g.hourly SELECT series, {}, {ROLLUP} FROM g.readings WHERE {of_hour} GROUP BY series",
            literal(hour),
            literal(hour)
        );
        self.root.execute_batch(&sql).unwrap();
    }

    /// Removes the readings before `before`, as retention does.
    pub(crate) fn expire(&self, before: Timestamp) {
        self.root.execute_batch(&format!("DELETE FROM g.readings WHERE ts < {}", literal(before))).unwrap();
        self.note("expired-before", &before.micros().to_string());
    }

    pub(crate) fn note(&self, key: &str, value: &str) {
        self.root.execute("DELETE FROM g.meta WHERE key = ?", params![key]).unwrap();
        self.root.execute("INSERT INTO g.meta VALUES (?, ?)", params![key, value]).unwrap();
    }
}

pub(crate) fn row(ts: i64, series: i32, value: f64) -> Row {
    Row { ts: Timestamp(ts), series, value, lag: Some(0) }
}
