//! The writer's part in compacting the file: it looks for a request, copies between two commits, and pauses for the rest.

use std::time::Instant;

use super::settle::{Back, RETRY};
use super::{Room, StopBy, Writer, WriterError};
use crate::clock;
use crate::config;
use crate::metrics::Metrics;
use crate::store::compact::{Asked, At, CompactError, Compaction, Requests, Stage, State, Step, Watch};
use crate::store::space::Space;

/// The compaction of this store, if one is under way.
pub(super) struct Compacting {
    config: config::Store,
    requests: Requests,
    running: Option<Running>,
}

struct Running {
    asked: Asked,
    compaction: Compaction,
    /// Commits that had failed when it began: with another one the file was attached anew.
    failed: u64,
}

impl Compacting {
    pub(super) fn new(config: &config::Store) -> Self {
        Self { requests: Requests::beside(&config.path), config: config.clone(), running: None }
    }
}

/// What is asked between two steps.
struct Waiting<'a> {
    asked: &'a mut Asked,
    space: &'a mut Space,
    stop_by: &'a StopBy,
    metrics: &'a Metrics,
}

impl Watch for Waiting<'_> {
    fn go_on(&mut self, at: &At) -> Result<(), String> {
        self.asked.tell(*at);
        let store = &self.metrics.store;
        store.compacting.set(i64::try_from(at.permille()).unwrap_or(0));
        store.writer_alive_at.set(clock::boottime());
        if self.stop_by.is_asked() {
            return Err("the daemon stops".to_owned());
        }
        if self.asked.is_withdrawn() {
            return Err("nobody waits for it any more".to_owned());
        }
        if self.space.look() == Room::None {
            return Err("there is too little free space for commits".to_owned());
        }
        Ok(())
    }
}

impl Writer {
    /// Does one step of a compaction that was asked for; says whether it did. Whatever else would change or remove rows waits
    /// until it is over: then only new ones come, and nothing has to be copied twice.
    pub(super) fn compact(&mut self) -> Result<bool, WriterError> {
        let Some(mut running) = self.compacting.running.take() else {
            return Ok(self.begin_compaction());
        };
        let at = running.compaction.at(running.compaction.stage());
        let step = match self.waiting(&mut running.asked).go_on(&at) {
            Err(why) => Err(CompactError::GivenUp(why)),
            Ok(()) if self.metrics.store.failed.get() != running.failed => {
                Err(CompactError::GivenUp("a commit has failed meanwhile".to_owned()))
            }
            Ok(()) if self.rollups.is_overfull() => {
                Err(CompactError::GivenUp("too many rollups have to be computed first".to_owned()))
            }
            Ok(()) => running.compaction.step(&self.root),
        };
        match step {
            Ok(Step::More) => self.compacting.running = Some(running),
            Ok(Step::Ready) => self.finish_compaction(running)?,
            Err(error) => self.give_up(running, &error),
        }
        Ok(true)
    }

    /// Gives up the compaction that is under way, if one is.
    pub(super) fn stop_compacting(&mut self) {
        if let Some(running) = self.compacting.running.take() {
            self.give_up(running, &CompactError::GivenUp("the daemon stops".to_owned()));
        }
    }

    fn begin_compaction(&mut self) -> bool {
        let Some(mut asked) = self.compacting.requests.look() else { return false };
        let at = At { stage: Stage::Copying, done: 0, total: 0 };
        if let Err(why) = self.waiting(&mut asked).go_on(&at) {
            asked.finish(State::Failed(CompactError::GivenUp(why).to_string()));
            return false;
        }
        // What was deleted is taken out of the row groups first, because rows get other numbers by it. Beside a query that
        // would not happen.
        let calm = self.reader.calm();
        let begun = match self.root.connection.execute_batch("CHECKPOINT g") {
            Ok(()) => Compaction::begin(&self.root, &self.compacting.config),
            Err(error) => {
                self.refresh();
                Err(error.into())
            }
        };
        drop(calm);
        match begun {
            Ok(compaction) => {
                let rows = compaction.at(compaction.stage()).total;
                tracing::info!(rows, "the database is being compacted");
                let failed = self.metrics.store.failed.get();
                self.compacting.running = Some(Running { asked, compaction, failed });
                true
            }
            Err(error) => {
                self.metrics.store.compacting.set(0);
                tracing::warn!(%error, "the database is not compacted");
                asked.finish(State::Failed(error.to_string()));
                false
            }
        }
    }

    /// The pause: what is left is copied, and the file replaced. The file is attached in any case when it returns.
    fn finish_compaction(&mut self, running: Running) -> Result<(), WriterError> {
        let Running { mut asked, mut compaction, failed } = running;
        let paused = Instant::now();
        // Everything has to be in the file, so that no write-ahead log is lost with the old one. It is, but for what queries
        // are in the way of.
        if let Err(error) = self.root.connection.execute_batch("CHECKPOINT g") {
            self.give_up(Running { asked, compaction, failed }, &error.into());
            self.refresh();
            return Ok(());
        }
        let Self { root, space, stop_by, metrics, reader, .. } = self;
        let mut waiting = Waiting { asked: &mut asked, space, stop_by, metrics };
        if let Err(error) = compaction.finish(root, &mut waiting) {
            self.give_up(Running { asked, compaction, failed }, &error);
            return Ok(());
        }
        // From here on there are no readers: a cursor would keep the old file.
        let _paused = reader.pause();
        let replaced = compaction.replace(root, &mut waiting);
        let mut pause = RETRY.0;
        let back = self.recover(self.number, "the database is attached again after a compaction", &mut pause)?;
        if let Err(error) = replaced {
            self.give_up(Running { asked, compaction, failed }, &error);
            return Ok(());
        }
        if self.number > 0 && matches!(back, Back::Lost { .. }) {
            tracing::error!(batch = self.number, "the last batch is not in the new file");
        }
        let report = compaction.report(paused.elapsed());
        self.metrics.store.compactions.inc();
        self.metrics.store.compacting.set(0);
        tracing::info!(
            before = report.before,
            after = report.after,
            rows = report.rows,
            took_ms = report.took.as_millis(),
            paused_ms = report.paused.as_millis(),
            "the database was compacted"
        );
        asked.finish(report.into());
        Ok(())
    }

    fn give_up(&mut self, running: Running, error: &CompactError) {
        self.suspicion.met("a compaction", &error.to_string());
        self.metrics.store.compacting.set(0);
        tracing::warn!(%error, "the database is not compacted; it is as it was");
        running.compaction.discard(&self.root);
        running.asked.finish(State::Failed(error.to_string()));
    }

    fn waiting<'a>(&'a mut self, asked: &'a mut Asked) -> Waiting<'a> {
        Waiting { asked, space: &mut self.space, stop_by: &self.stop_by, metrics: &self.metrics }
    }
}
