//! Getting a batch stored, whatever is in the way: a full disk, a store that has to be attached again, or the batch itself.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::commit::Done;
use super::super::plan::Plan;
use super::super::poison::{self, GROUP, Name};
use super::super::space::Room;
use super::{Writer, WriterError};
use crate::pipeline::Carried;
use crate::reading::Outcome;

/// First and longest pause between attempts to commit.
pub(super) const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How often a full disk is looked at.
const ROOM_EVERY: Duration = Duration::from_millis(500);
/// How often a pause looks whether the stop's time is over, and shows that the writer lives.
const SLICE: Duration = Duration::from_millis(100);
/// Times that a batch may fail for its content before its envelopes are committed one by one.
const TRIES: u32 = 5;
/// Times that an envelope alone may fail for its content before it is put aside.
const TRIES_ALONE: u32 = 3;

/// What became of a batch whose commit failed, once the file is attached again.
pub(super) enum Back {
    /// The commit had been durable.
    Durable,
    /// It had not. `at_once`: the file could be attached without waiting.
    Lost { at_once: bool },
}

impl Writer {
    /// Gets the batch in hand stored, however long it takes, and answers its senders.
    pub(super) fn commit(&mut self) -> Result<(), WriterError> {
        let wary = self.poison.is_wary();
        if !wary && self.settle(TRIES)?.is_ok() {
            return Ok(());
        }
        // What failed for its content comes here as well: then each envelope is on its own.
        let mut apart = !wary;
        let mut rest: VecDeque<(Name, Carried)> = self.batch.take().map(|e| (poison::name(&e), e)).collect();
        while !rest.is_empty() {
            let like = rest.iter().take(GROUP).take_while(|(name, _)| !apart && !self.poison.is_suspect(name)).count();
            let group: Vec<(Name, Carried)> = rest.drain(..like.max(1)).collect();
            let names: Vec<Name> = group.iter().map(|(name, _)| *name).collect();
            let noted = poison::worth_noting(group.iter().map(|(name, envelope)| (name, &**envelope)));
            for (_, envelope) in group {
                self.batch.push(Instant::now(), envelope);
            }
            if wary {
                self.poison.note(&noted);
            }
            if let [name] = names[..] {
                self.single(&name)?;
            } else if self.settle(TRIES)?.is_err() {
                apart = true;
                for (name, envelope) in names.into_iter().zip(self.batch.take()).rev() {
                    rest.push_front((name, envelope));
                }
                continue;
            }
            if wary {
                self.poison.passed(&names);
            }
        }
        Ok(())
    }

    /// Stores the one envelope in hand, or puts it aside.
    fn single(&mut self, name: &Name) -> Result<(), WriterError> {
        if self.poison.is_wary() && self.poison.is_poison(name) {
            self.put_aside("the process ended three times while it was being stored".to_owned())
        } else if let Err(reason) = self.settle(TRIES_ALONE)? {
            self.put_aside(format!("it cannot be stored: {}", reason.lines().next().unwrap_or_default()))
        } else {
            Ok(())
        }
    }

    fn put_aside(&mut self, why: String) -> Result<(), WriterError> {
        let source = self.batch.envelopes().first().map(|e| e.source.to_string()).unwrap_or_default();
        tracing::error!(source, why, "a message is put aside as a dead letter");
        self.aside = Some(why);
        let settled = self.settle(TRIES_ALONE);
        self.aside = None;
        if let Err(reason) = settled? {
            tracing::error!(source, reason, "not even its dead letter can be stored");
            self.count_poison(self.batch.envelopes().len() as u64);
            for envelope in self.batch.take() {
                envelope.answer(Outcome::Refused);
            }
        }
        Ok(())
    }

    /// Commits the batch in hand, however often it takes, and answers its senders. The inner error is the reason why it
    /// cannot be committed although the store is sound, `tries` times in a row; the batch is kept then.
    fn settle(&mut self, tries: u32) -> Result<Result<(), String>, WriterError> {
        let number = self.number + 1;
        let mut pause = RETRY.0;
        let mut blamed = 0;
        loop {
            self.wait_for_room()?;
            let started = Instant::now();
            let mut plan = self.plan();
            let planned = (plan.fast.len() + plan.late.len() + plan.held.len()) as u64;
            let rate = self.dead_rate.clone();
            let error = match self.write(&mut plan, number) {
                Ok(done) => {
                    self.durable(number, plan, done, started.elapsed());
                    return Ok(Ok(()));
                }
                Err(error) => error.to_string(),
            };
            self.metrics.store.failed.inc();
            if !self.metrics.store.down.swap(true, Ordering::AcqRel) {
                tracing::error!(error, rows = self.batch.rows(), "a commit failed; its batch is kept");
            }
            self.strike("a commit", &error);
            let at_once = match self.recover(number, &error, &mut pause)? {
                Back::Durable => {
                    // It failed after it was durable. What became of each late row is not known any more, so all count as
                    // committed; the catalog is read from the file.
                    tracing::info!(number, "the commit that failed had been durable: it is answered and not repeated");
                    let done = Done { committed: planned, ..Done::default() };
                    self.reload(&mut plan, planned);
                    self.durable(number, plan, done, started.elapsed());
                    return Ok(Ok(()));
                }
                Back::Lost { at_once } => at_once,
            };
            self.bear_damage()?;
            // The dead letters of the attempt were not written: they have not used their rate up.
            self.dead_rate = rate;
            let apart_helps = is_out_of_memory(&error) && self.batch.envelopes().len() > 1;
            if at_once && (is_about_content(&error) || apart_helps) && self.commits_something(number) {
                blamed += 1;
                if blamed >= tries {
                    return Ok(Err(error));
                }
            } else {
                blamed = 0;
            }
            self.nap(pause, &error)?;
            pause = (pause * 2).min(RETRY.1);
        }
    }

    /// Waits at the hard mark. Readers go on meanwhile.
    fn wait_for_room(&mut self) -> Result<(), WriterError> {
        while self.space.look() == Room::None {
            self.nap(ROOM_EVERY, "there is no room on the disk")?;
        }
        Ok(())
    }

    /// Pauses, but not beyond the end of a stop's time.
    fn nap(&mut self, pause: Duration, reason: &str) -> Result<(), WriterError> {
        let end = Instant::now() + pause;
        loop {
            self.alive();
            if self.stop_by.passed() {
                return Err(WriterError::Unflushed { rows: self.rows_left(), reason: reason.to_owned() });
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(SLICE));
        }
    }

    /// Brings the store back after an error, and finds out what became of batch `number`.
    pub(super) fn recover(&mut self, number: i64, reason: &str, pause: &mut Duration) -> Result<Back, WriterError> {
        // Readers are stopped for as long as it takes: an open cursor makes ATTACH fail.
        let _paused = self.reader.pause();
        let mut at_once = true;
        loop {
            match self.reattach(number) {
                Ok(true) => return Ok(Back::Durable),
                Ok(false) => return Ok(Back::Lost { at_once }),
                Err(error) => {
                    tracing::debug!(%error, "the store is not back yet");
                    self.strike("attaching the file again", &error.to_string());
                }
            }
            self.bear_damage()?;
            if self.is_broken() {
                return Err(WriterError::Broken { rows: self.rows_left(), reason: reason.to_owned() });
            }
            at_once = false;
            self.nap(*pause, reason)?;
            *pause = (*pause * 2).min(RETRY.1);
        }
    }

    /// Whether DuckDB has given up the whole process: an internal error invalidates what the file is attached to, and nothing
    /// but a new start helps.
    fn is_broken(&self) -> bool {
        self.root.connection.execute_batch("SELECT 1").is_err_and(|e| e.to_string().contains("invalidated"))
    }

    pub(super) fn rows_left(&self) -> usize {
        usize::try_from(self.metrics.queue.depth.get()).unwrap_or(0)
    }

    /// Attaches the file again after a failure that no commit is waiting for; one that fails is left to the next commit.
    pub(super) fn refresh(&mut self) {
        let _paused = self.reader.pause();
        if let Err(error) = self.reattach(self.number) {
            tracing::debug!(%error, "the store is not back yet");
        }
    }

    fn reattach(&self, number: i64) -> duckdb::Result<bool> {
        // The transaction may be over already; that it cannot be rolled back then is no news.
        let _ = self.root.connection.execute_batch("ROLLBACK");
        if self.root.is_attached()? {
            self.root.detach()?;
        }
        self.root.attach()?;
        let found: i64 =
            self.root.connection.query_row("SELECT count(*) FROM g.commits WHERE batch = ?", [number], |r| r.get(0))?;
        Ok(found > 0)
    }

    /// Whether the store commits at all: a row that is gone again before anybody can see it.
    fn commits_something(&self, number: i64) -> bool {
        let sql = format!(
            "BEGIN TRANSACTION; INSERT INTO g.meta VALUES ('probe', '{number}'); COMMIT; \
             DELETE FROM g.meta WHERE key = 'probe';"
        );
        let commits = self.root.connection.execute_batch(&sql);
        if let Err(error) = &commits {
            tracing::debug!(%error, "the store commits nothing at all");
            let _ = self.root.connection.execute_batch("ROLLBACK");
        }
        commits.is_ok()
    }

    /// After a commit whose answer was lost the catalog is read from the file: late rows may have been stored or not.
    /// `counted` readings of it are going to be added to the number of rows, which has them already.
    pub(super) fn reload(&mut self, plan: &mut Plan, counted: u64) {
        self.count_unsynced();
        match (self.root.load_catalog(), self.root.count("readings")) {
            (Ok(mut catalog), Ok(rows)) => {
                let mut current = self.catalog.write().unwrap_or_else(PoisonError::into_inner);
                catalog.follow(&current);
                catalog.ledger = std::mem::take(&mut current.ledger);
                *current = catalog;
                drop(current);
                plan.nodes.clear();
                plan.series.clear();
                plan.newest.clear();
                plan.fresh.clear();
                self.metrics.store.readings.set(rows - i64::try_from(counted).unwrap_or(0));
            }
            (Err(error), _) | (_, Err(error)) => tracing::warn!(%error, "the catalog was not read again"),
        }
        self.look_at_rollups_again();
    }
}

/// Whether DuckDB's words for a failed commit blame what was to be stored. What may be the doing of the disk, of memory or of
/// the file is never blamed on a message: it would be put aside although it is sound.
fn is_about_content(error: &str) -> bool {
    // The Appender leaves the kind of its error out.
    const CONTENT: [&str; 11] = [
        "constraint failed on table",
        "Could not convert",
        "assertion failure within DuckDB",
        "Constraint Error",
        "Conversion Error",
        "Invalid Input Error",
        "Invalid Type Error",
        "Mismatch Type Error",
        "Not implemented Error",
        "Out of Range Error",
        "INTERNAL Error",
    ];
    const STORE: [&str; 9] = [
        "IO Error",
        "FATAL Error",
        "Out of Memory",
        "No space left",
        "invalidated",
        "could not write",
        "could not read",
        "corrupt",
        "checkpoint",
    ];
    let lower = error.to_lowercase();
    CONTENT.iter().any(|c| error.contains(c)) && !STORE.iter().any(|s| lower.contains(&s.to_lowercase()))
}

/// Whether memory was short: for a batch, smaller commits may do.
fn is_out_of_memory(error: &str) -> bool {
    error.contains("Out of Memory Error")
}

#[cfg(test)]
mod tests {
    use super::is_about_content;

    #[test]
    fn a_message_is_blamed_only_for_its_content() {
        assert!(is_about_content("Constraint Error: CHECK constraint failed"));
        assert!(is_about_content("Failed to append: CHECK constraint failed on table \"readings\""));
        assert!(is_about_content("TransactionContext Error: Failed to commit: Conversion Error: out of range"));
        for store in [
            "TransactionContext Error: Failed to commit: Could not write all bytes to file",
            "IO Error: Could not write file \"g.duckdb.wal\": No space left on device",
            "FATAL Error: Failed: database has been invalidated because of INTERNAL Error",
            "Out of Memory Error: could not allocate block of size 64.0 KiB",
            "INTERNAL Error: checkpoint failed",
            "Failed to append: Could not write file: No space left on device",
            "Something else",
        ] {
            assert!(!is_about_content(store), "{store}");
        }
    }
}
