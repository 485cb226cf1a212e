//! The one thread that writes: takes envelopes from the channel, makes batches, commits them, and answers.

mod compact;
mod leftovers;
mod settle;
mod time;
mod upkeep;
pub(super) mod written;

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{TryRecvError, select_biased};

use super::admission::{Admission, Admissions};
use super::bounds::{DeadRate, Trim};
use super::catalog::Catalog;
use super::commit::{self, Done};
use super::last_batch::LastBatch;
use super::ledger;
use super::open::Root;
use super::plan::{DeadRow, Fresh, Limits, Plan, Planner};
use super::poison::{self, Poison};
use super::reader::Reader;
use super::recovery::gist;
use super::redelivery::Unconfirmed;
use super::retention::Retention;
use super::rolled::Rolled;
use super::rollup::Rollups;
use super::space::{Room, Space};
use super::suspicion::Suspicion;
use super::timekeeper::Timekeeper;
use crate::budget::Written;
use crate::clock;
use crate::config;
use crate::metrics::Metrics;
use crate::pipeline::{Batch, Item, Notice, Outlet};
use crate::reading::{AVAILABILITY_EVENT, DeadLetter, DeadReason, ONLINE, Outcome};
use crate::zone::Tz;

/// How often the writer shows that it lives while nothing comes.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// Times that damage may keep this process from a commit or a checkpoint, before the next start is to repair it.
const STRIKES: u32 = 3;

/// Why the writer ended without having stored everything.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// The stop's deadline passed while the store could not commit.
    #[error("{rows} rows were not stored before the stop: their senders have no acknowledgement ({reason})")]
    Unflushed {
        /// Rows of the batch in hand, and of what waits behind it.
        rows: usize,
        /// Why the last attempt failed.
        reason: String,
    },
    /// The file is damaged where a commit or a checkpoint needs it; the next start repairs it.
    #[error(
        "the database is damaged, and a new start repairs it; {rows} rows were not stored: their senders have no acknowledgement ({reason})"
    )]
    Damaged {
        /// Rows of the batch in hand, and of what waits behind it.
        rows: usize,
        /// What DuckDB said.
        reason: String,
    },
    /// DuckDB does nothing more in this process.
    #[error(
        "the database engine needs a new start; {rows} rows were not stored: their senders have no acknowledgement ({reason})"
    )]
    Broken {
        /// Rows of the batch in hand, and of what waits behind it.
        rows: usize,
        /// Why the last commit failed.
        reason: String,
    },
}

/// When a stop must be over; set once by the service.
#[derive(Debug, Default)]
pub struct StopBy(AtomicI64);

impl StopBy {
    /// Gives what is stored until then `within` from now.
    pub fn set(&self, within: Duration) {
        let micros = i64::try_from(within.as_micros()).unwrap_or(i64::MAX);
        self.0.store(clock::boottime().saturating_add(micros), Ordering::Release);
    }

    fn passed(&self) -> bool {
        let by = self.0.load(Ordering::Acquire);
        by != 0 && clock::boottime() >= by
    }

    fn is_asked(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }
}

/// What the file says of the writer's work so far.
#[derive(Debug)]
pub(super) struct Known {
    /// The number of the last batch, and what its broker may send again.
    pub commits: (i64, Unconfirmed),
    /// Rows of the tables that are cut to a bound.
    pub trim: Trim,
    /// How far the rollups are.
    pub rolled: Rolled,
    /// Where the number of the last batch is kept outside of the database.
    pub last_batch: LastBatch,
}

/// The store's writing half. It owns the writing connection and is moved to its thread.
pub struct Writer {
    root: Root,
    reader: Reader,
    catalog: Arc<RwLock<Catalog>>,
    metrics: Arc<Metrics>,
    limits: Limits,
    batch: Batch,
    number: i64,
    unconfirmed: Unconfirmed,
    /// Something was forgotten that the file still has.
    forgotten: bool,
    dead_rate: DeadRate,
    trim: Trim,
    time: Timekeeper,
    rollups: Rollups,
    retention: Retention,
    admission: Admissions,
    /// Counts what is written, and says how long a batch may wait.
    written: Option<Arc<Written>>,
    /// Something was removed since names were last looked through.
    removed: bool,
    /// When names may be looked through next.
    names_at: Instant,
    strays_at: Option<Instant>,
    stop_by: Arc<StopBy>,
    space: Space,
    poison: Poison,
    compacting: compact::Compacting,
    /// The batch in hand is to be put aside, and this is why.
    aside: Option<String>,
    last_batch: LastBatch,
    leftovers: leftovers::Leftovers,
    suspicion: Suspicion,
    /// How often damage was in the way, and what it was the last time.
    strikes: (u32, String),
}

impl Writer {
    /// A writer behind an opened `root`, whose last batch was `number`.
    pub(super) fn new(
        root: Root,
        reader: Reader,
        catalog: Arc<RwLock<Catalog>>,
        metrics: Arc<Metrics>,
        config: &config::Store,
        Known { commits: (number, unconfirmed), trim, rolled, last_batch }: Known,
    ) -> Self {
        let limits = Limits { nodes: config.max_nodes, series: config.max_series };
        let dir = config.path.parent().unwrap_or(Path::new("."));
        Self {
            space: Space::new(&config.path, config.min_free, Arc::clone(&metrics)),
            poison: Poison::new(dir),
            compacting: compact::Compacting::new(config),
            aside: None,
            last_batch,
            leftovers: leftovers::Leftovers::new(&config.path, config.memory_limit),
            suspicion: Suspicion::new(&config.path, Arc::clone(&metrics)),
            strikes: (0, String::new()),
            root,
            catalog,
            metrics,
            limits,
            batch: Batch::new(config.batch_rows, config.flush_interval),
            number,
            unconfirmed,
            forgotten: false,
            dead_rate: DeadRate::default(),
            trim,
            time: Timekeeper::new(&config.path),
            rollups: Rollups::new(rolled, Tz::UTC),
            retention: Retention::new(config).beside(reader.clone()),
            reader,
            admission: Admissions {
                nodes: Admission::new(limits.nodes_of_source()),
                series: Admission::new(limits.series_of_source()),
            },
            written: None,
            removed: true,
            names_at: Instant::now() + upkeep::NAMES_FIRST,
            strays_at: None,
            stop_by: Arc::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn catalog_for_test(&self) -> Arc<RwLock<Catalog>> {
        Arc::clone(&self.catalog)
    }

    /// Forgets what brokers that are not among `sources` might send again. Call it before [`Writer::run`].
    pub fn keep_sources(&mut self, sources: &[Arc<str>]) {
        self.unconfirmed.keep_sources(sources);
    }

    /// The stop's deadline, to be set from outside.
    pub fn stop_by(&self) -> Arc<StopBy> {
        Arc::clone(&self.stop_by)
    }

    /// Writes until all senders of `outlet` are gone and everything is stored; then checkpoints. Blocks its thread.
    ///
    /// # Errors
    /// [`WriterError::Unflushed`] when the store could not commit before the stop's deadline, [`WriterError::Broken`] when
    /// only a new process can commit, [`WriterError::Damaged`] when only a repaired file can take commits.
    pub fn run(mut self, outlet: &Outlet) -> Result<(), WriterError> {
        self.poison.begin(&poison::boot_id(), clock::boottime(), clock::realtime());
        self.metrics.store.wary.store(self.poison.is_wary(), Ordering::Relaxed);
        let result = self.work(outlet);
        self.stop_compacting();
        if result.is_ok() {
            self.close();
        }
        // The database engine that gave up may have done so for a message: that is no end by our own decision.
        if !matches!(result, Err(WriterError::Broken { .. })) {
            self.poison.end();
        }
        result
    }

    fn work(&mut self, outlet: &Outlet) -> Result<(), WriterError> {
        let mut open = true;
        let mut nudged = false;
        while open || !self.batch.is_empty() {
            self.alive();
            self.bear_damage()?;
            // While rows are copied none is changed or removed, however long that takes.
            let busy = self.compact()? || (self.keep_time()? | self.keep_up()?);
            if open && !nudged && !self.batch.is_due(Instant::now()) {
                let wait = self
                    .batch
                    .deadline()
                    .map_or(HEARTBEAT, |d| d.saturating_duration_since(Instant::now()).min(HEARTBEAT));
                let wait = if busy { Duration::ZERO } else { wait };
                select_biased! {
                    recv(outlet.nudges) -> nudge => nudged = nudge.is_ok(),
                    recv(outlet.items) -> item => match item {
                        Ok(item) => self.take(item)?,
                        Err(_) => open = false,
                    },
                    default(wait) => {}
                }
            }
            // A request to commit covers everything that was sent before it: it is taken out first, and then the
            // channel is emptied. It stays in force while a full batch has to go first.
            nudged |= outlet.nudges.try_recv().is_ok();
            while open && !self.batch.is_full() {
                match outlet.items.try_recv() {
                    Ok(item) => self.take(item)?,
                    Err(TryRecvError::Empty) => {
                        if std::mem::take(&mut nudged) && !self.batch.is_empty() {
                            self.batch.want();
                        }
                        break;
                    }
                    Err(TryRecvError::Disconnected) => open = false,
                }
            }
            if !open && !self.batch.is_empty() {
                self.batch.want();
            }
            if self.batch.is_due(Instant::now()) {
                self.commit()?;
            }
        }
        Ok(())
    }

    fn take(&mut self, item: Item) -> Result<(), WriterError> {
        let notice = match item {
            Item::Envelope(envelope) => {
                self.batch.push(Instant::now(), envelope);
                return Ok(());
            }
            Item::Notice(notice) => notice,
        };
        // It says something about everything that was sent before it, so that has to be committed first. A confirmation
        // speaks of what was answered: that is.
        if !matches!(notice, Notice::Confirmed(..)) && !self.batch.is_empty() {
            self.commit()?;
        }
        match notice {
            Notice::Confirmed(source, packets) => self.unconfirmed.confirmed(&source, &packets),
            Notice::SessionLost(source) => self.forgotten |= self.unconfirmed.session_lost(&source),
            Notice::Resumed(source) => self.forgotten |= self.unconfirmed.resumed(&source),
        }
        // The broker gives the packet ids out anew from now on: a process after a crash that still knew the old ones would take
        // a new message for an old one. What fails here is made up for by the next commit.
        if self.forgotten {
            match commit::remember(&self.root.connection, self.number, &self.unconfirmed) {
                Ok(()) => self.forgotten = false,
                Err(error) => {
                    tracing::debug!(%error, "what was forgotten is forgotten in the file with the next commit");
                }
            }
        }
        Ok(())
    }

    /// Notes that `error` kept the writer from `what`, if it is damage of the file. Call [`Writer::bear_damage`] when what is
    /// in hand is settled.
    pub(super) fn strike(&mut self, what: &str, error: &str) {
        if self.suspicion.met(what, error) {
            self.strikes = (self.strikes.0 + 1, gist(error).to_owned());
        }
    }

    /// Ends the writer once damage was in the way too often: it does not go away by itself, and the next start can repair it.
    pub(super) fn bear_damage(&self) -> Result<(), WriterError> {
        match &self.strikes {
            (STRIKES.., reason) => Err(WriterError::Damaged { rows: self.rows_left(), reason: reason.clone() }),
            _ => Ok(()),
        }
    }

    fn alive(&mut self) {
        self.space.watch();
        self.keep_pace();
        self.leftovers.look(&self.root.connection);
        self.metrics.store.writer_alive_at.set(clock::boottime());
    }

    fn plan(&self) -> Plan {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let mut planner = Planner::new(&catalog, &self.unconfirmed, self.limits)
            .under(self.time.standing(), self.time.boot())
            .behind(self.rollups.rolled())
            .admitting(&self.admission, Instant::now());
        for (index, envelope) in self.batch.envelopes().iter().enumerate() {
            match &self.aside {
                None => planner.add(index, envelope),
                Some(why) => {
                    let letter =
                        DeadLetter::new(DeadReason::Poison, why.as_str(), poison::excerpt(envelope).as_bytes());
                    planner.put_aside(index, envelope, letter);
                }
            }
        }
        let mut plan = planner.finish();
        plan.page = catalog.ledger.due(plan.at);
        plan.floor = self.time.floor_due(plan.newest_arrival);
        plan.written = self.days_due();
        plan
    }

    fn write(&mut self, plan: &mut Plan, number: i64) -> duckdb::Result<Done> {
        let now = Instant::now();
        let (batch, dead_rate) = (&self.batch, &mut self.dead_rate);
        // What came in an envelope was limited by its source; what the store makes itself is limited here.
        plan.dead.retain(|row| match row.letter.reason {
            DeadReason::TooManyNodes | DeadReason::TooManySeries | DeadReason::TooManyNew | DeadReason::Poison => {
                dead_rate.allows(&row.source, row.letter.reason, now)
            }
            _ => true,
        });
        let memory = (&self.unconfirmed, self.forgotten);
        commit::write(&self.root.connection, plan, number, clock::realtime(), memory, |index, letter| {
            let envelope = batch.envelopes().get(index)?;
            let source = Arc::clone(&envelope.source);
            dead_rate.allows(&source, letter.reason, now).then_some(DeadRow { ts: envelope.arrival.at, source, letter })
        })
    }

    /// Everything of batch `number` is in the file: learn, count, answer.
    fn durable(&mut self, number: i64, plan: Plan, done: Done, took: Duration) {
        self.number = number;
        self.last_batch.write(number, Instant::now(), false);
        for (source, delivery) in &plan.repeated {
            self.unconfirmed.repeated(source, delivery);
        }
        self.metrics.clock.unsynced.add(self.time.committed(&plan, &done));
        self.unconfirmed.committed(plan.deliveries);
        self.forgotten = false;
        self.days_noted(&plan.written);
        drop(plan.rolled);
        self.rollups.marked(done.marks.iter().copied());
        {
            let mut catalog = self.catalog.write().unwrap_or_else(PoisonError::into_inner);
            for node in plan.nodes {
                catalog.add_node(node);
            }
            for series in plan.series {
                catalog.add_series(series);
            }
            time::learn(&mut catalog, plan.newest);
            let now = Instant::now();
            for (source, Fresh { nodes, series }) in &plan.fresh {
                self.admission.nodes.admitted(source, *nodes, catalog.nodes_of_source(source), now);
                self.admission.series.admitted(source, *series, catalog.series_of_source(source), now);
            }
            for event in plan.events.iter().filter(|event| *event.kind == *AVAILABILITY_EVENT) {
                catalog.set_online(event.node, event.ts, event.data == ONLINE);
            }
            catalog.ledger.committed(plan.at, &plan.page, [plan.tally, done.tally], plan.clock_told);
            self.metrics.store.nodes.set(gauge(catalog.node_count()));
            self.metrics.store.series.set(gauge(catalog.series_count()));
        }
        let readings = &self.metrics.readings;
        readings.committed.add(done.committed + done.held);
        readings.duplicate.add(done.duplicate + plan.redelivered);
        readings.conflict.add(done.conflict);
        readings.dead(DeadReason::Conflict).add(done.conflict);
        readings.unsynced.add(done.unsynced);
        readings.dead(DeadReason::UnsyncedFull).add(done.unsynced_full);
        if self.aside.is_some() {
            self.count_poison(plan.refused.len() as u64);
        }
        readings.dead(DeadReason::TooManyNodes).add(plan.too_many_nodes);
        readings.dead(DeadReason::TooManySeries).add(plan.too_many_series);
        readings.dead(DeadReason::TooManyNew).add(plan.too_many_new);
        readings.expired.add(plan.expired);
        let store = &self.metrics.store;
        store.readings.add(i64::try_from(done.committed).unwrap_or(0));
        store.events.add(done.events);
        store.dead_letters.add(done.dead_letters);
        store.commits.inc();
        store.last_commit_us.set(i64::try_from(took.as_micros()).unwrap_or(i64::MAX));
        store.last_commit_at.set(clock::boottime());
        if store.down.swap(false, Ordering::AcqRel) {
            tracing::info!("the store commits again");
        }
        for (index, envelope) in self.batch.take().enumerate() {
            let refused = plan.refused.contains(&index);
            envelope.answer(if refused { Outcome::Refused } else { Outcome::Committed });
        }
        // Not part of the batch's transaction: a cut that fails must not make a durable batch look failed.
        if let Err(error) = self.trim.wrote(&self.root.connection, done.dead_letters, done.events) {
            tracing::warn!(%error, "a table over its bound was not cut; it will be tried again");
            self.strike("cutting a table", &error.to_string());
            // It may have taken the database with it, and nobody could read until a commit finds that out.
            self.refresh();
        }
    }

    fn count_poison(&self, envelopes: u64) {
        self.metrics.readings.dead(DeadReason::Poison).add(envelopes);
        self.metrics.store.poison.add(envelopes);
    }

    fn close(&mut self) {
        self.time.close();
        self.last_batch.write(self.number, Instant::now(), true);
        let _paused = self.reader.pause();
        if self.space.look() == Room::None {
            tracing::warn!("no checkpoint at the end for lack of space; the next start replays the WAL");
        } else {
            let page = self.catalog.read().unwrap_or_else(PoisonError::into_inner).ledger.page();
            if let Err(error) = ledger::write_alone(&self.root.connection, &page) {
                tracing::warn!(%error, "duplicates, conflicts and clock errors of the last hour are not in the file");
            }
            self.close_days();
            if let Err(error) = self.root.connection.execute_batch("CHECKPOINT g") {
                // It loses nothing: the WAL stays and is replayed at the next start.
                tracing::warn!(%error, "no checkpoint at the end; the next start replays the WAL");
                self.suspicion.met("the last checkpoint", &error.to_string());
            } else {
                self.suspicion.closed();
            }
        }
        if let Err(error) = self.root.detach() {
            tracing::warn!(%error, "the database was not closed cleanly");
        }
    }
}

fn gauge(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
