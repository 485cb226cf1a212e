//! Opening the database: an in-memory root with all limits set, the file attached to it as `g`, the migrations, and what
//! is kept in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use duckdb::{Config, Connection};

use super::catalog::{Catalog, Newest, Node, Series};
use super::lock::LockError;
use super::redelivery::Unconfirmed;
use super::schema;
use crate::config;
use crate::reading::{AVAILABILITY_EVENT, ONLINE, Timestamp};

/// Bytes of WAL that start a checkpoint. Small, because a WAL is replayed under the memory limit after a crash.
const CHECKPOINT_THRESHOLD: &str = "4MB";
/// Bytes of one block of the file. The smallest size that keeps integer compression.
pub const BLOCK_SIZE: u32 = 65_536;
/// Rows of a row group where nothing else is said.
const ROW_GROUP: u32 = 122_880;
/// Rows of a row group of a file with a bound below [`LARGE_BOUND`]. A checkpoint may write three full row groups of a rollup anew
/// before it gives the old ones back, and retention keeps so much free. Fewer rows cost more than they save: with 20,480 and 30,720
/// the readings of some data took 25 and 10 % more blocks, with 40,960 2 %.
const SMALL_ROW_GROUP: u32 = 40_960;
/// From this bound on the room for three row groups of the usual size is little beside it.
const LARGE_BOUND: u64 = 512_000_000;
/// Bytes that a query may spill to disk before it fails.
const MAX_TEMP: &str = "128MB";

/// Rows of a row group of a file that may have `max_size` bytes.
pub fn row_group(max_size: Option<u64>) -> u32 {
    if max_size.is_some_and(|max| max < LARGE_BOUND) { SMALL_ROW_GROUP } else { ROW_GROUP }
}

/// Why the store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon has the database.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The file is of a newer version than this program.
    #[error(
        "{path} was written by a newer version of gadwall ({found}); this one knows up to {known}: install the newer version"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// What the file says.
        found: String,
        /// What this program writes.
        known: String,
    },
    /// The folder cannot be made or written.
    #[error("cannot use the folder {path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// DuckDB refused.
    #[error("cannot open {path}: {source}")]
    Database {
        /// The database.
        path: PathBuf,
        /// DuckDB's words.
        source: duckdb::Error,
    },
    /// A stop was asked for before the store was open.
    #[error("stopped before the store was open")]
    Stopped,
}

/// What the file is attached for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading and writing.
    Write,
    /// Reading alone: the WAL is replayed in memory, and no file is changed.
    ReadOnly,
}

/// The root connection, and how to attach the file to it.
#[derive(Debug)]
pub struct Root {
    /// The writer's connection. The file is `g` in it.
    pub connection: Connection,
    path: PathBuf,
    row_group: u32,
}

impl Root {
    /// Opens the root with the limits of `config`, and attaches the file. Blocks while a WAL is replayed.
    ///
    /// # Errors
    /// [`OpenError::Newer`] or [`OpenError::Database`].
    pub fn open(config: &config::Store) -> Result<Self, OpenError> {
        Self::open_as(config, Access::Write)
    }

    /// The same, for `access`.
    ///
    /// # Errors
    /// [`OpenError::Newer`] or [`OpenError::Database`].
    pub fn open_as(config: &config::Store, access: Access) -> Result<Self, OpenError> {
        let path = config.path.clone();
        let dir = path.parent().unwrap_or(Path::new("."));
        let connection =
            limited_root(config, dir).map_err(|source| OpenError::Database { path: path.clone(), source })?;
        let root = Self { connection, path, row_group: row_group(config.max_size) };
        match access {
            Access::Write => root.attach(),
            Access::ReadOnly => {
                let path = quoted(&root.path.to_string_lossy());
                root.connection.execute_batch(&format!("ATTACH {path} AS g (READ_ONLY)"))
            }
        }
        .map_err(|e| root.explain(e))?;
        Ok(root)
    }

    /// Attaches the file as `g`; replays its WAL.
    ///
    /// # Errors
    /// Whatever DuckDB reports; nothing is attached then.
    pub fn attach(&self) -> duckdb::Result<()> {
        let path = quoted(&self.path.to_string_lossy());
        self.connection.execute_batch(&format!("ATTACH {path} AS g ({})", self.layout()))
    }

    /// How a file is written. What is in it already keeps its row groups.
    fn layout(&self) -> String {
        format!("BLOCK_SIZE {BLOCK_SIZE}, ROW_GROUP_SIZE {}", self.row_group)
    }

    /// Lets go of the file. Fails while nothing is attached, which is what a failed [`Root::attach`] leaves behind.
    ///
    /// # Errors
    /// Whatever DuckDB reports.
    pub fn detach(&self) -> duckdb::Result<()> {
        self.connection.execute_batch("DETACH g")
    }

    /// Attaches the file `copy` as `n`, a new one unless it is there; for [`Access::ReadOnly`] it has to be.
    ///
    /// # Errors
    /// Whatever DuckDB reports; nothing is attached then.
    pub fn attach_copy(&self, copy: &Path, access: Access) -> duckdb::Result<()> {
        let options = match access {
            Access::Write => self.layout(),
            Access::ReadOnly => "READ_ONLY".to_owned(),
        };
        self.connection.execute_batch(&format!("ATTACH {} AS n ({options})", quoted(&copy.to_string_lossy())))
    }

    /// Lets go of `n`. Fails while it is not attached.
    ///
    /// # Errors
    /// Whatever DuckDB reports.
    pub fn detach_copy(&self) -> duckdb::Result<()> {
        self.connection.execute_batch("DETACH n")
    }

    /// Whether the file is attached.
    ///
    /// # Errors
    /// Whatever DuckDB reports.
    pub fn is_attached(&self) -> duckdb::Result<bool> {
        self.connection.query_row("SELECT count(*) FROM duckdb_databases() WHERE database_name = 'g'", [], |r| {
            r.get::<_, i64>(0).map(|n| n > 0)
        })
    }

    /// Brings the schema to the version of this program, in one transaction.
    ///
    /// # Errors
    /// [`OpenError::Newer`] for a file from a newer version, which is left as it is.
    pub fn migrate(&self) -> Result<(), OpenError> {
        self.migrate_to(schema::MIGRATIONS.len())
    }

    /// The same, for another version than the newest.
    ///
    /// # Errors
    /// [`OpenError::Newer`] for a file from a newer version, which is left as it is.
    pub fn migrate_to(&self, version: usize) -> Result<(), OpenError> {
        let found = self.schema_version().map_err(|e| self.explain(e))?;
        let Some(missing) = usize::try_from(found).ok().and_then(|v| schema::MIGRATIONS.get(v..version)) else {
            return Err(self.newer(found));
        };
        if missing.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "BEGIN TRANSACTION; {} DELETE FROM g.meta WHERE key = 'schema'; \
             INSERT INTO g.meta VALUES ('schema', '{version}'); COMMIT;",
            missing.concat()
        );
        self.connection.execute_batch(&sql).map_err(|e| self.explain(e))?;
        tracing::info!(from = found, to = version, path = %self.path.display(), "the schema is up to date");
        Ok(())
    }

    /// The error for a file of schema `found`, which this program does not know.
    pub fn newer(&self, found: i64) -> OpenError {
        OpenError::Newer {
            path: self.path.clone(),
            found: format!("schema {found}"),
            known: format!("schema {}", schema::MIGRATIONS.len()),
        }
    }

    /// Version of the file's schema; 0 for one without tables.
    ///
    /// # Errors
    /// Whatever DuckDB reports.
    pub fn schema_version(&self) -> duckdb::Result<i64> {
        let exists: i64 = self.connection.query_row(
            "SELECT count(*) FROM duckdb_tables() WHERE database_name = 'g' AND table_name = 'meta'",
            [],
            |r| r.get(0),
        )?;
        if exists == 0 {
            return Ok(0);
        }
        self.connection.query_row(
            "SELECT coalesce(max(try_cast(value AS BIGINT)), 0) FROM g.meta WHERE key = 'schema'",
            [],
            |r| r.get(0),
        )
    }

    /// Reads what is kept in memory: nodes, series, and the newest reading of each series (one scan of two columns).
    ///
    /// # Errors
    /// Whatever DuckDB reports.
    pub fn load_catalog(&self) -> duckdb::Result<Catalog> {
        let mut catalog = Catalog::default();
        let mut nodes =
            self.connection.prepare("SELECT node, source, name, epoch_us(first_seen) FROM g.nodes ORDER BY node")?;
        let rows = nodes.query_map([], |r| {
            Ok(Node {
                id: r.get(0)?,
                source: Arc::from(r.get::<_, String>(1)?),
                name: Arc::from(r.get::<_, String>(2)?),
                first_seen: Timestamp(r.get(3)?),
                online: None,
                series: Vec::new(),
            })
        })?;
        for node in rows {
            catalog.add_node(node?);
        }
        let mut series =
            self.connection.prepare("SELECT series, node, metric, unit, own_name FROM g.series ORDER BY series")?;
        let rows = series.query_map([], |r| {
            Ok(Series {
                id: r.get(0)?,
                node: r.get(1)?,
                metric: Arc::from(r.get::<_, String>(2)?),
                unit: r.get::<_, Option<String>>(3)?.map(Arc::from),
                own_name: r.get::<_, Option<String>>(4)?.map(Arc::from),
                newest: None,
            })
        })?;
        for one in rows {
            catalog.add_series(one?);
        }
        let mut online = self.connection.prepare(
            "SELECT node, epoch_us(max(ts)), arg_max(data = ?, ts) FROM g.events WHERE kind = ? GROUP BY node",
        )?;
        let rows =
            online.query_map([ONLINE, AVAILABILITY_EVENT], |r| Ok((r.get(0)?, Timestamp(r.get(1)?), r.get(2)?)))?;
        for row in rows {
            let (node, ts, online) = row?;
            catalog.set_online(node, ts, online);
        }
        let mut newest = self.connection.prepare(
            "SELECT series, epoch_us(max(ts)), arg_max(value, ts), arg_max_null(lag, ts) FROM g.readings GROUP BY series",
        )?;
        let rows = newest.query_map([], |r| {
            Ok((r.get::<_, i32>(0)?, Newest { ts: Timestamp(r.get(1)?), value: r.get(2)?, lag: r.get(3)? }))
        })?;
        for row in rows {
            let (id, newest) = row?;
            if let Some(series) = catalog.series_mut(id) {
                series.newest = Some(newest);
            }
        }
        Ok(catalog)
    }

    /// The number of the last batch, and what its broker may send again.
    ///
    /// # Errors
    /// Whatever DuckDB reports.
    pub fn load_commits(&self) -> duckdb::Result<(i64, Unconfirmed)> {
        let mut last = 0;
        let mut unconfirmed = Unconfirmed::default();
        let mut commits = self.connection.prepare("SELECT batch, unconfirmed FROM g.commits ORDER BY batch")?;
        let rows = commits.query_map([], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, Option<Vec<u8>>>(1)?)))?;
        for row in rows {
            let (batch, blob) = row?;
            last = batch;
            unconfirmed.load(blob.as_deref().unwrap_or_default());
        }
        Ok((last, unconfirmed))
    }

    /// Number of rows of one of our tables.
    ///
    /// # Errors
    /// Whatever DuckDB reports.
    pub fn count(&self, table: &str) -> duckdb::Result<i64> {
        self.connection.query_row(&format!("SELECT count(*) FROM g.{table}"), [], |r| r.get(0))
    }

    /// Reads every column of every table, to find out whether that is possible.
    ///
    /// # Errors
    /// Whatever DuckDB reports.
    pub fn read_all(&self) -> duckdb::Result<()> {
        let mut tables = self
            .connection
            .prepare("SELECT table_name FROM duckdb_tables() WHERE database_name = 'g' ORDER BY table_name")?;
        let tables: Vec<String> = tables.query_map([], |r| r.get(0))?.collect::<duckdb::Result<_>>()?;
        for table in tables {
            // Something of each value has to come out, or it would not be read.
            let sql = format!("SELECT bit_xor(hash(t)) FROM g.main.\"{table}\" t");
            self.connection.query_row(&sql, [], |_| Ok(()))?;
        }
        Ok(())
    }

    /// Time of the last commit as text in UTC, where there was one.
    ///
    /// # Errors
    /// Whatever DuckDB reports.
    pub fn last_commit(&self) -> duckdb::Result<Option<String>> {
        self.connection.query_row("SELECT strftime(max(\"at\"), '%Y-%m-%dT%H:%M:%SZ') FROM g.commits", [], |r| r.get(0))
    }

    /// Names the file in DuckDB's error; a file of a newer DuckDB is told from a damaged one.
    pub fn explain(&self, source: duckdb::Error) -> OpenError {
        let text = source.to_string();
        // Not "a newer version of this database", which is said of a WAL that belongs to another state of the file.
        if text.contains("storage version number") || text.contains("newer version of DuckDB") {
            return OpenError::Newer {
                path: self.path.clone(),
                found: text.lines().next().unwrap_or_default().to_owned(),
                known: format!("schema {}", schema::MIGRATIONS.len()),
            };
        }
        OpenError::Database { path: self.path.clone(), source }
    }
}

fn limited_root(config: &config::Store, dir: &Path) -> duckdb::Result<Connection> {
    let flags = Config::default()
        .with("memory_limit", format!("{}B", config.memory_limit))?
        .with("threads", "1")?
        .with("async_threads", "1")?
        .with("checkpoint_threshold", CHECKPOINT_THRESHOLD)?
        // Only where there is room for it, and that is known to the writer alone.
        .with("checkpoint_on_detach", "disabled")?
        .with("temp_directory", dir.join("gadwall.tmp").to_string_lossy())?
        .with("max_temp_directory_size", MAX_TEMP)?
        .with("autoinstall_known_extensions", "false")?
        .with("autoload_known_extensions", "false")?;
    let root = Connection::open_in_memory_with_flags(flags)?;
    // The order matters: the folder has to be allowed before everything else is forbidden, and that before it is locked. The
    // writer has DuckDB drop what it keeps by a memory limit that cannot be reached.
    root.execute_batch(&format!(
        "PRAGMA disable_checkpoint_on_shutdown; SET allowed_directories = [{}]; SET enable_external_access = false; \
         SET allowed_configs = ['memory_limit']; SET lock_configuration = true;",
        quoted(&dir.to_string_lossy())
    ))?;
    Ok(root)
}

/// A root with the default limits that files in `dir` can be attached to.
#[cfg(test)]
pub(super) fn limited_root_for_test(dir: &Path) -> Connection {
    limited_root(&config::Store::default(), dir).expect("DuckDB opens a database in memory")
}

/// A text as an SQL literal.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
