//! What can be read of a database with damaged blocks, copied into a new one. Runs in a child process: DuckDB may abort.
//!
//! Tables are copied in ranges of their row numbers. One that cannot be read is halved down to [`VECTOR`] rows, which DuckDB
//! reads at once, so that a damaged block takes with it what is in it and less than a vector on each side. Of readings, a damaged `lag` alone
//! costs that column: the time counts as not verified then.

mod rollups;

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use duckdb::Connection;
use serde::{Deserialize, Serialize};

use rollups::Rollups;

use super::verdict;
use crate::config;
use crate::store::open::{Access, OpenError, Root};
use crate::store::{last_batch, schema};

/// Rows that DuckDB reads at once; a block that one of them is in has to be sound.
const VECTOR: i64 = 2_048;
/// Rows that are copied at once: as many as a row group has.
const AT_ONCE: i64 = 122_880;
/// What is not copied by then is lost: a start must come to its end.
pub const TIME: Duration = Duration::from_secs(3_600);
/// Name of the source of nodes, and of the node of series, whose own names could not be read.
const NAMELESS: &str = "salvaged";

/// What was copied and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Readings in the new database.
    pub readings: i64,
    /// Readings that could not be read.
    pub lost: i64,
    /// Readings whose time counts as not verified, because only their lag could not be read.
    pub unverified: i64,
    /// Rows of the other tables that could not be read, by table.
    pub others: Vec<(String, i64)>,
    /// Nodes and series whose names could not be read.
    pub nameless: i64,
    /// Lost rollups that the daemon computes again, because their readings are there.
    pub again: usize,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} readings salvaged, {} lost", self.readings, self.readings + self.lost, self.lost)?;
        if self.unverified > 0 {
            write!(f, ", {} without the time of their arrival", self.unverified)?;
        }
        for (table, rows) in &self.others {
            write!(f, ", {rows} rows of {table} lost")?;
        }
        if self.again > 0 {
            write!(f, ", {} rollups to be computed again", self.again)?;
        }
        if self.nameless > 0 {
            write!(f, ", {} nodes and series without their names", self.nameless)?;
        }
        Ok(())
    }
}

/// Makes a new database at `to` with what can be read of that of `config`, whose WAL is replayed in memory; neither is
/// changed. Blocks for as long as it takes, at most about [`TIME`].
///
/// # Errors
/// [`OpenError::Database`] when the old one cannot be opened at all, or the new one not be written.
pub fn salvage(config: &config::Store, to: &Path) -> Result<Report, OpenError> {
    let remove = |path: &Path| match fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(OpenError::Folder { path: path.to_owned(), source })
        }
        _ => Ok(()),
    };
    remove(to)?;
    remove(&wal_of(to))?;
    let old = Root::open_as(config, Access::ReadOnly)?;
    let explain = |e| old.explain(e);
    // Tables that lost their version have the newest: a file of an older one was migrated at the start before.
    let version = match old.schema_version() {
        Ok(version) => version,
        Err(error) if verdict::is_damage(&error.to_string()) => i64::MAX,
        Err(error) => return Err(explain(error)),
    };
    let version = usize::try_from(version).unwrap_or(usize::MAX).min(schema::MIGRATIONS.len());
    {
        let new = Root::open(&config::Store { path: to.to_owned(), ..config.clone() })?;
        new.migrate_to(version)?;
        let written = new.connection.execute_batch("CHECKPOINT g").and_then(|()| new.detach());
        written.map_err(|e| new.explain(e))?;
    }
    let connection = &old.connection;
    old.attach_copy(to, Access::Write).map_err(explain)?;
    let report = Copy { connection, until: Instant::now() + TIME }.all(version).map_err(explain)?;
    connection.execute_batch("CHECKPOINT n; DETACH n").map_err(explain)?;
    Ok(report)
}

/// The WAL of a database at `path`.
pub fn wal_of(path: &Path) -> std::path::PathBuf {
    let mut wal = path.to_owned().into_os_string();
    wal.push(".wal");
    wal.into()
}

/// The old database is `g`, the new one `n`.
struct Copy<'a> {
    connection: &'a Connection,
    until: Instant,
}

/// Rows of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rows {
    copied: i64,
    /// Of those copied: without the column that could not be read.
    partly: i64,
}

impl Copy<'_> {
    fn all(&self, version: usize) -> duckdb::Result<Report> {
        let mut report = Report::default();
        for table in self.texts(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = 'n' AND table_name IN \
             (SELECT table_name FROM duckdb_tables() WHERE database_name = 'g') ORDER BY table_name",
        )? {
            let rows = self.table(&table)?;
            let all: i64 =
                self.connection.query_row(&format!("SELECT count(*) FROM g.main.\"{table}\""), [], |r| r.get(0))?;
            let lost = all - rows.copied;
            match table.as_str() {
                "readings" => (report.readings, report.lost, report.unverified) = (rows.copied, lost, rows.partly),
                _ if lost > 0 => report.others.push((table, lost)),
                _ => {}
            }
        }
        // The version is that of the new tables, and what tells one database from another is not copied.
        self.connection.execute_batch(&format!(
            "DELETE FROM n.meta WHERE key IN ('schema', '{}'); INSERT INTO n.meta VALUES ('schema', '{version}')",
            last_batch::KEY
        ))?;
        report.nameless = self.name_nameless()?;
        if let Some(rollups) = Rollups::of(self.connection)? {
            let lost = |table: &str| report.others.iter().any(|(of, _)| of == table);
            if lost("meta") {
                rollups.tell_meta()?;
            }
            if lost("hourly") {
                report.again += rollups.mark_hours()?;
            }
            if lost("daily") {
                report.again += rollups.mark_days()?;
            }
        }
        Ok(report)
    }

    fn table(&self, table: &str) -> duckdb::Result<Rows> {
        let columns = self.texts(&format!(
            "SELECT column_name FROM duckdb_columns() WHERE database_name = 'n' AND table_name = '{table}' \
             AND column_name IN (SELECT column_name FROM duckdb_columns() WHERE database_name = 'g' \
             AND table_name = '{table}') ORDER BY column_index"
        ))?;
        let columns: Vec<String> = columns.iter().map(|c| format!("\"{c}\"")).collect();
        let sql = format!("SELECT min(rowid), max(rowid) + 1 FROM g.main.\"{table}\"");
        let (first, end): (Option<i64>, Option<i64>) =
            self.connection.query_row(&sql, [], |r| Ok((r.get(0)?, r.get(1)?)))?;
        let mut rows = Rows::default();
        let (Some(mut from), Some(end)) = (first, end) else { return Ok(rows) };
        while from < end {
            let to = end.min(from + AT_ONCE);
            self.range(table, &columns, from..to, &mut rows)?;
            from = to;
        }
        Ok(rows)
    }

    /// Copies these rows, or as many of them as can be read.
    fn range(&self, table: &str, columns: &[String], ids: Range<i64>, rows: &mut Rows) -> duckdb::Result<()> {
        if Instant::now() >= self.until {
            return Ok(());
        }
        let Err(error) = self.insert(table, columns, &ids, rows) else { return Ok(()) };
        self.unreadable(error)?;
        if ids.end - ids.start > VECTOR {
            let middle = ids.start.midpoint(ids.end);
            self.range(table, columns, ids.start..middle, rows)?;
            return self.range(table, columns, middle..ids.end, rows);
        }
        let part = self.readable(table, columns, &ids)?;
        self.without_lag(table, columns, ids.start..part.start, rows)?;
        if !part.is_empty() {
            self.insert(table, columns, &part, rows)?;
        }
        self.without_lag(table, columns, part.end..ids.end, rows)
    }

    /// Of readings, copies what can be read without the lag.
    fn without_lag(&self, table: &str, columns: &[String], ids: Range<i64>, rows: &mut Rows) -> duckdb::Result<()> {
        if table != "readings" || ids.is_empty() {
            return Ok(());
        }
        let columns: Vec<String> = columns.iter().filter(|c| *c != "\"lag\"").cloned().collect();
        let part = self.readable(table, &columns, &ids)?;
        if !part.is_empty() {
            let before = rows.copied;
            self.insert(table, &columns, &part, rows)?;
            rows.partly += rows.copied - before;
        }
        Ok(())
    }

    /// The part of at most a vector's rows that can be read. They lie in two vectors at the most, so it is at the beginning or
    /// at the end; where a vector begins cannot be told from the numbers of the rows.
    fn readable(&self, table: &str, columns: &[String], ids: &Range<i64>) -> duckdb::Result<Range<i64>> {
        let can = |part: Range<i64>| self.can_read(table, columns, &part);
        if can(ids.clone())? {
            return Ok(ids.clone());
        }
        let (mut good, mut bad) = (ids.start, ids.end);
        if can(good..good + 1)? {
            while bad - good > 1 {
                let middle = good.midpoint(bad);
                if can(ids.start..middle)? { good = middle } else { bad = middle }
            }
            return Ok(ids.start..good);
        }
        let (mut bad, mut good) = (ids.start, ids.end);
        if can(good - 1..good)? {
            while good - bad > 1 {
                let middle = bad.midpoint(good);
                if can(middle..ids.end)? { good = middle } else { bad = middle }
            }
        }
        Ok(good..ids.end)
    }

    fn can_read(&self, table: &str, columns: &[String], ids: &Range<i64>) -> duckdb::Result<bool> {
        // Something of each value has to come out, or it would not be read.
        let sql = format!(
            "SELECT bit_xor(hash({})) FROM g.main.\"{table}\" WHERE rowid >= {} AND rowid < {}",
            columns.join(", "),
            ids.start,
            ids.end
        );
        match self.connection.query_row(&sql, [], |_| Ok(())) {
            Ok(()) => Ok(true),
            Err(error) => self.unreadable(error).map(|()| false),
        }
    }

    fn insert(&self, table: &str, columns: &[String], ids: &Range<i64>, rows: &mut Rows) -> duckdb::Result<()> {
        let columns = columns.join(", ");
        let sql = format!(
            "INSERT INTO n.main.\"{table}\" ({columns}) SELECT {columns} FROM g.main.\"{table}\" \
             WHERE rowid >= {} AND rowid < {}",
            ids.start, ids.end
        );
        rows.copied += i64::try_from(self.connection.execute(&sql, [])?).unwrap_or(0);
        Ok(())
    }

    /// Passes on what is no damage, so that a full disk is not taken for lost readings.
    fn unreadable(&self, error: duckdb::Error) -> duckdb::Result<()> {
        if verdict::is_damage(&error.to_string()) {
            // It was a transaction of its own and is over; that it cannot be rolled back then is no news.
            let _ = self.connection.execute_batch("ROLLBACK");
            Ok(())
        } else {
            Err(error)
        }
    }

    /// Gives a name to what lost its own, so that its rows can be found, and its number is not given to another.
    fn name_nameless(&self) -> duckdb::Result<i64> {
        let missing = |column: &str, names: &str| -> duckdb::Result<Vec<i32>> {
            let tables = self.texts(&format!(
                "SELECT table_name FROM duckdb_columns() WHERE database_name = 'n' AND column_name = '{column}' \
                 AND table_name <> '{names}' ORDER BY table_name"
            ))?;
            let all: Vec<String> =
                tables.iter().map(|t| format!("SELECT \"{column}\" AS id FROM n.main.\"{t}\"")).collect();
            let sql = format!(
                "SELECT DISTINCT id FROM ({}) WHERE id IS NOT NULL \
                 AND id NOT IN (SELECT \"{column}\" FROM n.main.\"{names}\") ORDER BY id",
                all.join(" UNION ALL ")
            );
            self.connection.prepare(&sql)?.query_map([], |r| r.get(0))?.collect()
        };
        let node = |id: i32, name: &str| {
            let sql = "INSERT INTO n.nodes(node, source, name, first_seen) VALUES (?, ?, ?, make_timestamp(0))";
            self.connection.execute(sql, duckdb::params![id, NAMELESS, name])
        };
        let mut nameless = 0;
        let series = missing("series", "series")?;
        for id in missing("node", "nodes")? {
            node(id, &format!("node-{id}"))?;
            nameless += 1;
        }
        if !series.is_empty() {
            let own = "SELECT max(node) FILTER (source = $1 AND name = $1), coalesce(max(node), 0) + 1 FROM n.nodes";
            let (own, next): (Option<i32>, i32) =
                self.connection.query_row(own, [NAMELESS], |r| Ok((r.get(0)?, r.get(1)?)))?;
            let id = own.unwrap_or(next);
            if own.is_none() {
                node(id, NAMELESS)?;
            }
            for one in series {
                let sql = "INSERT INTO n.series(series, node, metric, unit) VALUES (?, ?, ?, NULL)";
                self.connection.execute(sql, duckdb::params![one, id, format!("series-{one}")])?;
                nameless += 1;
            }
        }
        Ok(nameless)
    }

    fn texts(&self, sql: &str) -> duckdb::Result<Vec<String>> {
        self.connection.prepare(sql)?.query_map([], |r| r.get(0))?.collect()
    }
}
