//! Copying the tables of the attached database `g` into the attached database `n`, a row group at a time, and proving that
//! the copy is equal.
//!
//! Each part is a range of row numbers, noted with its number of rows and the sum of their hashes. It is compared three
//! times: with the copy, once its blocks come from the file; with the database once more, when everything is copied; and at
//! the end, when nothing is written, all sums together with that of the table. In a table of millions of rows the last one
//! would take too long: there the number of rows and two parts have to do.

use std::path::Path;

use duckdb::Connection;

use super::{At, CompactError, Stage};
use crate::store::open::{Access, Root};

/// Rows of one part where all columns have a fixed width: DuckDB's row group. It goes to the file compressed at once; smaller
/// parts go through the write-ahead log as they are, and are rewritten by the next checkpoints.
const PART: i64 = 122_880;
/// Rows of one part where there are texts or blobs, which have up to a kilobyte each.
const WIDE_PART: i64 = 8_192;
/// Rows of one part at the least, where memory is short.
const LEAST_PART: i64 = 2_048;
/// A table with no more rows is copied while nothing is written: it may change at any time, and it does not take long.
const SMALL: i64 = 10_000;
/// A table with more rows is not summed up while nothing is written, which takes about 20 ms for a million on a fast machine.
/// Whoever writes to `g` sees to it that rows of such a table are only added once [`Copying::is_proving`] holds.
const LARGE: i64 = if cfg!(test) { 200_000 } else { 1_000_000 };

/// Number of rows, and sum of their hashes: of any two sets of rows only equal ones have the same, but for a chance of one in
/// 2^64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    rows: i64,
    hash: i128,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.hash = self.hash.wrapping_add(other.hash);
    }

    fn differs(self, found: Self, table: &str) -> CompactError {
        let show = |sum: Self| format!("{} rows with the sum {:x}", sum.rows, sum.hash);
        CompactError::Differs { table: table.to_owned(), expected: show(self), found: show(found) }
    }
}

/// A part that was copied.
#[derive(Clone, Copy, Debug)]
struct Part {
    table: usize,
    /// Its row numbers in the database, both included.
    rows: (i64, i64),
    /// Its first row number in the copy; they count up from 0 there.
    at: i64,
    sum: Sum,
}

impl Part {
    fn of_database(&self) -> String {
        format!("WHERE rowid BETWEEN {} AND {}", self.rows.0, self.rows.1)
    }

    fn of_copy(&self) -> String {
        format!("WHERE rowid BETWEEN {} AND {}", self.at, self.at + self.sum.rows - 1)
    }
}

/// What is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// A part of this table is copied.
    Copy(usize),
    /// The parts that were not yet are compared with the copy.
    Compare,
    /// The part of this number is compared with the database.
    Prove(usize),
}

/// What is left once everything has been copied and compared with the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// So many rows have come since.
    Rows(u64),
    /// A large table has not only grown.
    Astray,
}

/// How a table was before a part of it was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// All of it had been copied.
    Nothing,
    /// The part had all that was left.
    Little,
    /// There may be more.
    Much,
}

#[derive(Debug)]
struct Table {
    /// Schema and name, quoted.
    name: String,
    /// Rows of the next part.
    part: i64,
    /// Row number of the database from which on nothing is copied.
    next: i64,
    /// What was copied.
    sum: Sum,
    /// Nothing of it is copied before the pause.
    small: bool,
}

impl Table {
    fn is_large(&self) -> bool {
        self.sum.rows > LARGE
    }
}

/// Tables on their way.
#[derive(Debug)]
pub(super) struct Copying {
    tables: Vec<Table>,
    parts: Vec<Part>,
    /// Parts that were compared with the copy.
    compared: usize,
    next: Next,
    /// All parts of large tables were compared with the database.
    proven: bool,
    total: i64,
}

impl Copying {
    /// Attaches a new file at `copy` as `n`, and makes in it what is in the schema of `g`.
    ///
    /// # Errors
    /// Whatever DuckDB reports.
    pub(super) fn begin(root: &Root, copy: &Path) -> duckdb::Result<Self> {
        root.attach_copy(copy, Access::Write)?;
        let connection = &root.connection;
        connection.execute_batch("COPY FROM DATABASE g TO n (SCHEMA)")?;
        let mut select = connection.prepare(
            "SELECT format('\"{}\".\"{}\"', replace(t.schema_name, '\"', '\"\"'), replace(t.table_name, '\"', '\"\"')), \
             (SELECT count(*) FROM duckdb_columns() c WHERE c.database_name = 'g' AND c.table_oid = t.table_oid \
              AND c.data_type NOT IN ('BOOLEAN', 'INTEGER', 'BIGINT', 'DOUBLE', 'TIMESTAMP')) \
             FROM duckdb_tables() t WHERE t.database_name = 'g' AND NOT t.internal ORDER BY t.table_oid",
        )?;
        let rows = select.query_map([], |r| {
            let part = if r.get::<_, i64>(1)? == 0 { PART } else { WIDE_PART };
            Ok(Table { name: r.get(0)?, part, next: 0, sum: Sum::default(), small: false })
        })?;
        let mut tables: Vec<Table> = rows.collect::<duckdb::Result<_>>()?;
        let mut total = 0;
        for table in &mut tables {
            let rows = count(connection, "g", &table.name)?;
            table.small = rows <= SMALL;
            total += rows;
        }
        Ok(Self { tables, parts: Vec::new(), compared: 0, next: Next::Copy(0), proven: false, total })
    }

    /// Rows that the database had at the beginning.
    pub(super) fn total(&self) -> u64 {
        unsigned(self.total)
    }

    /// Rows that were copied.
    pub(super) fn done(&self) -> u64 {
        unsigned(self.tables.iter().map(|t| t.sum.rows).sum())
    }

    /// Whether rows are compared, and not copied.
    pub(super) fn is_comparing(&self) -> bool {
        !matches!(self.next, Next::Copy(_))
    }

    /// Whether rows of large tables may only be added from now on.
    #[cfg(test)]
    pub(super) fn is_proving(&self) -> bool {
        matches!(self.next, Next::Prove(_))
    }

    /// Copies or compares one part; `false` when there is none.
    ///
    /// # Errors
    /// [`CompactError::Database`] and [`CompactError::Differs`].
    pub(super) fn step(&mut self, connection: &Connection) -> Result<bool, CompactError> {
        while let Next::Copy(at) = self.next {
            let Some(table) = self.tables.get(at) else {
                self.next = Next::Compare;
                break;
            };
            let left = if table.small { Left::Nothing } else { self.copy_part(connection, at)? };
            if left != Left::Much {
                // New rows come all the time: a table whose end was reached has its turn again in the next pass.
                self.next = Next::Copy(at + 1);
            }
            if left != Left::Nothing {
                return Ok(true);
            }
        }
        self.compare_part(connection)
    }

    /// Begins another pass over what has come since.
    pub(super) fn again(&mut self) {
        self.next = Next::Copy(0);
    }

    /// What is left of the tables that are not small.
    ///
    /// # Errors
    /// Whatever DuckDB reports.
    pub(super) fn rest(&self, connection: &Connection) -> duckdb::Result<Rest> {
        let mut all = 0;
        for table in self.tables.iter().filter(|t| !t.small) {
            let sql = format!("SELECT count(*) FROM g.{} WHERE rowid >= {}", table.name, table.next);
            let rest: i64 = connection.query_row(&sql, [], |r| r.get(0))?;
            if table.is_large() && count(connection, "g", &table.name)? != table.sum.rows + rest {
                return Ok(Rest::Astray);
            }
            all += rest;
        }
        Ok(Rest::Rows(unsigned(all)))
    }

    /// Compares one part of a large table with the database; `None` when there is none, otherwise whether it is still equal.
    ///
    /// # Errors
    /// Whatever DuckDB reports.
    pub(super) fn prove(&mut self, connection: &Connection) -> duckdb::Result<Option<bool>> {
        let mut at = if let Next::Prove(at) = self.next { at } else { 0 };
        let part = loop {
            self.next = Next::Prove(at + 1);
            match self.parts.get(at) {
                Some(part) if self.tables[part.table].is_large() => break part,
                Some(_) => at += 1,
                None => {
                    self.proven = true;
                    return Ok(None);
                }
            }
        };
        self.is_unchanged(connection, part).map(Some)
    }

    /// Copies what is left and proves that each table is equal. Nothing may be written to `g` meanwhile. `watch` is asked
    /// between two parts.
    ///
    /// # Errors
    /// [`CompactError`]
    pub(super) fn finish(
        &mut self,
        connection: &Connection,
        watch: &mut dyn FnMut(At) -> Result<(), CompactError>,
    ) -> Result<(), CompactError> {
        for i in 0..self.tables.len() {
            while self.copy_part(connection, i)? != Left::Nothing {
                watch(self.finishing())?;
            }
        }
        while self.compare_part(connection)? {
            watch(self.finishing())?;
        }
        for i in 0..self.tables.len() {
            watch(self.finishing())?;
            if self.is_equal(connection, i)? {
                continue;
            }
            // Rows were changed or removed while it was copied. The parts do not tell which.
            let name = &self.tables[i].name;
            tracing::debug!(table = name, "it is copied anew");
            connection.execute_batch(&format!("DELETE FROM n.{name}"))?;
            let table = &mut self.tables[i];
            (table.next, table.sum) = (0, Sum::default());
            while self.copy_part(connection, i)? != Left::Nothing {
                watch(self.finishing())?;
            }
            // Row numbers of the copy do not count up from 0 any more: it is compared as a whole.
            self.compared = self.parts.len();
            let table = &self.tables[i];
            let expected = sum(connection, "g", &table.name, "")?;
            watch(self.finishing())?;
            let copied = sum(connection, "n", &table.name, "")?;
            if copied != expected || table.sum != expected {
                return Err(expected.differs(copied, &table.name));
            }
        }
        Ok(())
    }

    /// Whether a table that was copied to its end is what was copied of it.
    fn is_equal(&self, connection: &Connection, index: usize) -> duckdb::Result<bool> {
        let table = &self.tables[index];
        if !(self.proven && table.is_large()) {
            return Ok(sum(connection, "g", &table.name, "")? == table.sum);
        }
        if count(connection, "g", &table.name)? != table.sum.rows {
            return Ok(false);
        }
        let mut parts = self.parts.iter().filter(|p| p.table == index);
        for part in [parts.next(), parts.next_back()].into_iter().flatten() {
            if !self.is_unchanged(connection, part)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_unchanged(&self, connection: &Connection, part: &Part) -> duckdb::Result<bool> {
        Ok(sum(connection, "g", &self.tables[part.table].name, &part.of_database())? == part.sum)
    }

    /// Compares the numbers of rows with those of the attached copy.
    ///
    /// # Errors
    /// [`CompactError::Database`] and [`CompactError::Differs`].
    pub(super) fn count(&self, connection: &Connection) -> Result<(), CompactError> {
        for table in &self.tables {
            let rows = count(connection, "n", &table.name)?;
            if rows != table.sum.rows {
                return Err(table.sum.differs(Sum { rows, hash: 0 }, &table.name));
            }
        }
        Ok(())
    }

    fn finishing(&self) -> At {
        let done = self.done();
        At { stage: Stage::Finishing, done, total: self.total().max(done) }
    }

    /// Copies the next part of a table.
    fn copy_part(&mut self, connection: &Connection, index: usize) -> Result<Left, CompactError> {
        let table = &mut self.tables[index];
        let name = &table.name;
        let sql = format!(
            "SELECT count(*), coalesce(max(rowid), 0) FROM (SELECT rowid FROM g.{name} WHERE rowid >= {} LIMIT {})",
            table.next, table.part
        );
        let (rows, last): (i64, i64) = connection.query_row(&sql, [], |r| Ok((r.get(0)?, r.get(1)?)))?;
        if rows == 0 {
            return Ok(Left::Nothing);
        }
        let mut part = Part { table: index, rows: (table.next, last), at: table.sum.rows, sum: Sum::default() };
        let range = part.of_database();
        if let Err(error) = connection.execute(&format!("INSERT INTO n.{name} SELECT * FROM g.{name} {range}"), []) {
            if table.part > LEAST_PART && error.to_string().contains("Out of Memory Error") {
                table.part = (table.part / 2).max(LEAST_PART);
                tracing::debug!(table = name, rows = table.part, "short of memory: smaller parts are copied");
                return Ok(Left::Much);
            }
            return Err(error.into());
        }
        part.sum = sum(connection, "g", name, &range)?;
        if part.sum.rows != rows {
            return Err(Sum { rows, hash: part.sum.hash }.differs(part.sum, name));
        }
        table.next = last + 1;
        table.sum.add(part.sum);
        self.parts.push(part);
        Ok(if rows < table.part { Left::Little } else { Left::Much })
    }

    /// Compares a part with the copy; `false` when there is none that was not.
    fn compare_part(&mut self, connection: &Connection) -> Result<bool, CompactError> {
        let Some(part) = self.parts.get(self.compared) else { return Ok(false) };
        self.compared += 1;
        let name = &self.tables[part.table].name;
        let found = sum(connection, "n", name, &part.of_copy())?;
        if found == part.sum { Ok(true) } else { Err(part.sum.differs(found, name)) }
    }
}

fn count(connection: &Connection, database: &str, table: &str) -> duckdb::Result<i64> {
    connection.query_row(&format!("SELECT count(*) FROM {database}.{table}"), [], |r| r.get(0))
}

fn sum(connection: &Connection, database: &str, table: &str, range: &str) -> duckdb::Result<Sum> {
    let sql = format!("SELECT count(*), coalesce(sum(hash(*COLUMNS(*))), 0) FROM {database}.{table} {range}");
    connection.query_row(&sql, [], |r| Ok(Sum { rows: r.get(0)?, hash: r.get(1)? }))
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
