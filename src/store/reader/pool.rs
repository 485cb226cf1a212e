//! The read connections: who has one, until when, and who has to give it back at once.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use duckdb::{Connection, InterruptHandle};

use super::{Limits, QueryError};
use crate::store::recovery::{gist, is_damage};

/// An interrupt that falls between two statements is lost, so it is repeated this often until the lease has ended.
const REPEAT: Duration = Duration::from_millis(10);

/// How often the end of a transaction is tried.
const ROLLBACKS: usize = 100;

/// The connections that are free, and the leases of the others.
pub(super) struct Pool {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    free: Vec<Connection>,
    leases: Vec<Entry>,
    last_id: u64,
    pauses: usize,
    closed: bool,
}

struct Entry {
    id: u64,
    deadline: Instant,
    interrupt: Arc<InterruptHandle>,
    stopped: Option<QueryError>,
}

impl Entry {
    fn stop(&mut self, why: QueryError) {
        self.stopped.get_or_insert(why);
        self.interrupt.interrupt();
    }
}

impl Pool {
    pub(super) fn new(free: Vec<Connection>) -> Self {
        let state = State { free, leases: Vec::new(), last_id: 0, pauses: 0, closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Waits for a connection; its time limit runs from now on.
    pub(super) fn lease(&self, limits: Limits) -> Result<Lease<'_>, QueryError> {
        let patience = Instant::now() + limits.wait;
        let mut state = self.lock();
        loop {
            if state.pauses == 0
                && let Some(connection) = state.free.pop()
            {
                state.last_id += 1;
                let id = state.last_id;
                let interrupt = connection.interrupt_handle();
                state.leases.push(Entry { id, deadline: Instant::now() + limits.time, interrupt, stopped: None });
                // The timer may have to wake earlier.
                self.changed.notify_all();
                return Ok(Lease { pool: self, connection: Some(connection), id });
            }
            let now = Instant::now();
            if now >= patience {
                return Err(QueryError::Busy);
            }
            state = self.wait(state, Some(patience - now));
        }
    }

    pub(super) fn pause(self: &Arc<Self>, patience: Duration) -> Paused {
        let patient_until = Instant::now() + patience;
        let mut state = self.lock();
        state.pauses += 1;
        while !state.leases.is_empty() {
            let left = patient_until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                for lease in &mut state.leases {
                    lease.stop(QueryError::Busy);
                }
            }
            state = self.wait(state, Some(left.max(REPEAT)));
        }
        drop(state);
        Paused { pool: Arc::clone(self) }
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.lock().leases.is_empty()
    }

    /// Interrupts the leases that are over their time, until the pool is closed.
    pub(super) fn watch(&self) {
        let mut state = self.lock();
        while !state.closed {
            let now = Instant::now();
            let mut next: Option<Duration> = None;
            for lease in &mut state.leases {
                let left = lease.deadline.saturating_duration_since(now);
                if left.is_zero() {
                    lease.stop(QueryError::TooLong);
                }
                let left = left.max(REPEAT);
                next = Some(next.map_or(left, |next| next.min(left)));
            }
            state = self.wait(state, next);
        }
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, most: Option<Duration>) -> MutexGuard<'a, State> {
        match most {
            Some(most) => self.changed.wait_timeout(state, most).unwrap_or_else(PoisonError::into_inner).0,
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
        }
    }

    // Nothing panics while it is held, so what a poisoned lock guards is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection for the statements of one query; given back on drop.
pub(super) struct Lease<'a> {
    pool: &'a Pool,
    connection: Option<Connection>,
    id: u64,
}

impl Lease<'_> {
    /// Runs one statement. Whatever `query` prepares must be dropped when it returns.
    pub(super) fn run<T>(&self, query: impl FnOnce(&Connection) -> duckdb::Result<T>) -> Result<T, QueryError> {
        if let Some(why) = self.stopped() {
            return Err(why);
        }
        let connection = self.connection.as_ref().expect("a lease has its connection until it is dropped");
        query(connection).map_err(|e| self.stopped().unwrap_or_else(|| classify(&e)))
    }

    /// Runs several statements that see the store as it is at one moment.
    pub(super) fn snapshot<T>(&self, query: impl FnOnce(&Connection) -> duckdb::Result<T>) -> Result<T, QueryError> {
        self.run(|connection| {
            connection.execute_batch("BEGIN TRANSACTION READ ONLY")?;
            let answer = query(connection);
            end(connection).and(answer)
        })
    }

    fn stopped(&self) -> Option<QueryError> {
        self.pool.lock().leases.iter().find(|l| l.id == self.id).and_then(|l| l.stopped.clone())
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.leases.retain(|l| l.id != self.id);
        state.free.extend(self.connection.take());
        drop(state);
        self.pool.changed.notify_all();
    }
}

/// Ends the transaction of a connection, whatever state it is in.
fn end(connection: &Connection) -> duckdb::Result<()> {
    let mut tries = 0;
    loop {
        // The interrupts of a lease whose time is over are repeated, and one of them may hit this as well.
        match connection.execute_batch("ROLLBACK") {
            Err(e) if e.to_string().contains("no transaction is active") => return Ok(()),
            Err(e) if tries == ROLLBACKS => return Err(e),
            Err(_) => tries += 1,
            Ok(()) => return Ok(()),
        }
    }
}

/// No query runs and none begins while it lives. See [`super::Reader::pause`].
pub struct Paused {
    pool: Arc<Pool>,
}

impl Drop for Paused {
    fn drop(&mut self) {
        self.pool.lock().pauses -= 1;
        self.pool.changed.notify_all();
    }
}

fn classify(error: &duckdb::Error) -> QueryError {
    let text = error.to_string();
    if text.starts_with("Out of Memory Error") {
        QueryError::TooLarge
    } else if is_damage(&text) && !text.contains("invalidated") {
        QueryError::Damaged(gist(&text).to_owned())
    } else {
        // Also what was invalidated by a damaged block: it is attached again in a moment.
        QueryError::Store(text)
    }
}
