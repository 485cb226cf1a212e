//! Read-only queries, on two connections that are clones of the store's root. Every query has a limit in time and in
//! rows, and no cursor outlives the call that opened it. All methods block: asynchronous callers use `spawn_blocking`.

mod aggregate;
mod buckets;
mod cells;
mod downsample;
mod fill;
mod pages;
mod percentiles;
mod pieces;
mod pool;
mod quality;
mod question;
mod statistics;

pub use buckets::{BadWidth, Buckets, Width};
pub use cells::{Aggregate, UnknownAggregate};
pub use downsample::{Chart, MAX_POINTS, MOST_POINTS, Method, Point, UnknownMethod};
pub use fill::{Fill, UnknownFill, fill};
pub use pages::{BadCursor, Cursor, MAX_PAGE, Page, Row, Selection, Walk};
pub use pieces::{MadeFrom, Marks, Table};
pub use pool::Paused;
pub use quality::{Scope, Subject, Survey, Surveyed};
pub use question::{Found, Grouping, Question, Slice};
pub use statistics::Statistics;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use duckdb::Connection;

use super::catalog::Catalog;
use super::suspicion::Suspicion;
use crate::reading::Timestamp;
use crate::zone::Tz;
use pool::Pool;

/// Read connections, and so queries that run at once.
pub const CONNECTIONS: usize = 2;

/// How long queries may go on when the writer needs them out of the way but not at once.
const CALM: Duration = Duration::from_secs(2);

/// Why a query gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// No connection became free in time, or the store needed the connections for itself: try again.
    #[error("the store is busy with other queries; try again in a moment")]
    Busy,
    /// It ran into its time limit.
    #[error("the query took longer than its time limit; ask for a shorter range")]
    TooLong,
    /// It needed more memory than the store may use.
    #[error("the query needs more memory than the store may use; ask for a shorter range")]
    TooLarge,
    /// A block that it needs is damaged; the text is DuckDB's.
    #[error("what this needs to read is damaged on the disk: {0}; other ranges can be read")]
    Damaged(String),
    /// The store failed; the text is DuckDB's.
    #[error("the store cannot answer: {0}")]
    Store(String),
}

/// How long a query may wait and run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest wait for a connection; [`QueryError::Busy`] after it.
    pub wait: Duration,
    /// Longest time that one statement, or the statements of one page, may take; [`QueryError::TooLong`] after it.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { wait: Duration::from_secs(5), time: Duration::from_secs(10) }
    }
}

/// The reading side of the store. Cheap to clone; the connections close with the last clone.
#[derive(Clone)]
pub struct Reader {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Arc<Pool>,
    catalog: Arc<RwLock<Catalog>>,
    limits: Limits,
    suspicion: Suspicion,
    timer: Option<JoinHandle<()>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.pool.close();
        if let Some(timer) = self.timer.take() {
            // It only fails when the timer panicked, and that has ended the process.
            let _ = timer.join();
        }
    }
}

impl Reader {
    /// Clones the connections from `root`, to which the file is attached as `g`, with the default [`Limits`]. What of
    /// the file is damaged is noted by `suspicion`.
    ///
    /// # Errors
    /// DuckDB's, when it refuses another connection or the thread `query-timer` cannot be started.
    pub fn new(root: &Connection, catalog: Arc<RwLock<Catalog>>, suspicion: Suspicion) -> duckdb::Result<Self> {
        Self::with_limits(root, catalog, suspicion, Limits::default())
    }

    /// As [`Reader::new`], with other limits.
    ///
    /// # Errors
    /// As [`Reader::new`].
    pub fn with_limits(
        root: &Connection,
        catalog: Arc<RwLock<Catalog>>,
        suspicion: Suspicion,
        limits: Limits,
    ) -> duckdb::Result<Self> {
        let mut connections = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            connections.push(root.try_clone()?);
        }
        let pool = Arc::new(Pool::new(connections));
        let timer = std::thread::Builder::new()
            .name("query-timer".into())
            .spawn({
                let pool = Arc::clone(&pool);
                move || pool.watch()
            })
            .map_err(|e| duckdb::Error::ToSqlConversionFailure(Box::new(e)))?;
        Ok(Self { inner: Arc::new(Inner { pool, catalog, limits, suspicion, timer: Some(timer) }) })
    }

    /// The nodes and series. Clone what you need and let go of it: the writer waits for this lock after each commit.
    pub fn catalog(&self) -> RwLockReadGuard<'_, Catalog> {
        self.inner.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The limits of its queries.
    pub fn limits(&self) -> Limits {
        self.inner.limits
    }

    /// Interrupts all queries, waits until no connection has a statement or a result, and keeps new queries out until
    /// the answer is dropped. Interrupted queries end with [`QueryError::Busy`]; new ones wait up to their limit.
    ///
    /// The writer needs it before it attaches the file again: an open cursor makes ATTACH fail.
    #[must_use = "queries go on when it is dropped"]
    pub fn pause(&self) -> Paused {
        self.inner.pool.pause(Duration::ZERO)
    }

    /// As [`Reader::pause`], but running queries have two seconds to end by themselves.
    ///
    /// The writer needs it before a checkpoint that has to give blocks back: while any query runs, none is.
    #[must_use = "queries go on when it is dropped"]
    pub fn calm(&self) -> Paused {
        self.inner.pool.pause(CALM)
    }

    /// Statistics of one series over `start <= ts < end`. Holds its values in memory for the exact percentiles, so it is
    /// one series at a time.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn statistics(&self, series: i32, start: Timestamp, end: Timestamp) -> Result<Statistics, QueryError> {
        let lease = self.inner.pool.lease(self.inner.limits)?;
        self.noted(lease.run(|connection| statistics::query(connection, series, start, end)))
    }

    #[cfg(test)]
    pub(crate) fn wait_for_test(&self, sql: &str) -> Result<i64, QueryError> {
        let lease = self.inner.pool.lease(self.inner.limits)?;
        lease.run(|connection| connection.query_row(sql, [], |r| r.get(0)))
    }

    #[cfg(test)]
    pub(crate) fn is_idle_for_test(&self) -> bool {
        self.inner.pool.is_idle()
    }

    /// Takes a survey of the quality of series on by one step; says whether it is done. After an error it cannot go on.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn survey(&self, survey: &mut Survey) -> Result<bool, QueryError> {
        let lease = self.inner.pool.lease(self.inner.limits)?;
        self.noted(survey.step(&lease, self.inner.limits.time / 2))
    }

    /// How far the rollups reach, and what was removed.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn marks(&self) -> Result<Marks, QueryError> {
        let lease = self.inner.pool.lease(self.inner.limits)?;
        self.noted(lease.run(aggregate::marks))
    }

    /// The numbers of each group in the buckets between `edges`, with local days of `zone`: of the rollups where they
    /// suffice and are up to date, of the readings elsewhere, all of one moment. Holds about 200 bytes for each group and
    /// bucket, and a bounded number of values for percentiles.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn slice(&self, question: &Question, zone: Tz, edges: &[Timestamp]) -> Result<Slice, QueryError> {
        let lease = self.inner.pool.lease(self.inner.limits)?;
        self.noted(lease.snapshot(|connection| aggregate::slice(connection, question, zone, edges, percentiles::MOST)))
    }

    /// Up to `points` readings, themselves at most [`MAX_POINTS`], that look like all those of a series over
    /// `start <= ts < end`. Holds at most [`MOST_POINTS`] in memory.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn chart(
        &self,
        series: i32,
        range: (Timestamp, Timestamp),
        method: Method,
        points: usize,
    ) -> Result<Chart, QueryError> {
        let lease = self.inner.pool.lease(self.inner.limits)?;
        self.noted(lease.snapshot(|connection| downsample::chart(connection, series, range, method, points)))
    }

    /// The next page of a walk in order of (ts, series): at most `limit` rows, itself at most [`MAX_PAGE`]. A page can
    /// be shorter than that, even empty, before the walk is done: it ends when its time is half used up, too.
    ///
    /// # Errors
    /// See [`QueryError`]; the walk stays where it was and the page can be asked for again.
    pub fn page(&self, walk: &mut Walk, limit: usize) -> Result<Page, QueryError> {
        if walk.is_done() {
            return Ok(Page::default());
        }
        let lease = self.inner.pool.lease(self.inner.limits)?;
        let mut next = walk.clone();
        let page = self.noted(next.fill(&lease, limit.clamp(1, MAX_PAGE), self.inner.limits.time / 2))?;
        *walk = next;
        Ok(page)
    }

    fn noted<T>(&self, answer: Result<T, QueryError>) -> Result<T, QueryError> {
        if let Err(QueryError::Damaged(text)) = &answer {
            self.inner.suspicion.met("a query", text);
        }
        answer
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("limits", &self.inner.limits).finish_non_exhaustive()
    }
}

/// A time as an SQL literal, so that DuckDB knows it while it plans and skips the blocks outside of the range.
fn literal(ts: Timestamp) -> String {
    format!("make_timestamp(({})::BIGINT)", ts.micros())
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
