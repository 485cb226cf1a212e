//! A small store for tests, opened as the real one is: the file is attached to a root in memory.

use std::sync::{Arc, RwLock};

use duckdb::types::{TimeUnit, Value};
use duckdb::{Config, Connection, params};

use super::{Limits, Reader, Row};
use crate::reading::Timestamp;
use crate::store::catalog::{Catalog, Newest, Node, Series};
use crate::store::schema;
use crate::store::suspicion::Suspicion;

pub(crate) struct Fixture {
    pub(crate) root: Connection,
    pub(crate) reader: Reader,
    pub(crate) catalog: Arc<RwLock<Catalog>>,
    pub(crate) dir: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::default().with("threads", "1").unwrap().with("memory_limit", "24MB").unwrap();
        let root = Connection::open_in_memory_with_flags(config).unwrap();
        let file = dir.path().join("t.duckdb");
        root.execute_batch(&format!("ATTACH '{}' AS g (BLOCK_SIZE 65536)", file.display())).unwrap();
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
            series: Vec::new(),
        };
        self.catalog.write().unwrap().add_node(node);
    }

    pub(crate) fn add_series(&self, id: i32, node: i32, metric: &str, unit: Option<&str>) {
        let series = Series { id, node, metric: metric.into(), unit: unit.map(Into::into), newest: None };
        self.catalog.write().unwrap().add_series(series);
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

pub(crate) fn row(ts: i64, series: i32, value: f64) -> Row {
    Row { ts: Timestamp(ts), series, value, lag: Some(0) }
}
