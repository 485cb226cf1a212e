//! A store with its writer and its channel, as the daemon has them, and a clock that runs as fast as the readings.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel as answers};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use gadwall::clock::Clock;
use gadwall::clock::stepped::Stepped;
use gadwall::config::{self, Trust};
use gadwall::metrics::Metrics;
use gadwall::pipeline::{Intake, Notice, channel};
use gadwall::reading::{Arrival, Decoded, Delivery, Digest, Envelope, Outcome, Receipt, Timestamp, When};
use gadwall::store::{Lock, Reader, WriterError};
use gadwall::zone;

/// An open store that takes readings.
pub struct Feed {
    intake: Intake,
    writer: JoinHandle<Result<(), WriterError>>,
    machine: Stepped,
    clock: Clock,
    packet: u16,
    unconfirmed: Vec<(u16, Digest)>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// Its reading half.
    pub reader: Reader,
    _lock: Lock,
}

impl Feed {
    /// Opens the database of `config` in a world where it is `now`.
    pub fn open(config: &config::Store, now: Timestamp) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::default());
        let machine = Stepped::new("bench", now).with_battery();
        let clock = machine.clock(Trust::Always, &metrics);
        let store = gadwall::store::open(config, &metrics)?;
        let writer = store.writer.under(clock.clone())?;
        let (intake, outlet) = channel(&config::Intake::default(), Arc::clone(&metrics));
        let writer = std::thread::Builder::new().name("writer".into()).spawn(move || writer.run(&outlet))?;
        Ok(Self {
            intake,
            writer,
            machine,
            clock,
            packet: 0,
            unconfirmed: Vec::new(),
            metrics,
            reader: store.reader,
            _lock: store.lock,
        })
    }

    /// A configuration with this database and the default limits.
    pub fn config(database: &Path) -> config::Store {
        config::Store { path: database.to_owned(), ..config::Store::default() }
    }

    /// Lets time pass until `at`; does nothing when that is over.
    pub fn pass_until(&self, at: Timestamp) {
        let now = self.clock.now().at;
        let micros = u64::try_from(at.micros().saturating_sub(now.micros())).unwrap_or(0);
        self.machine.pass(Duration::from_micros(micros));
        self.clock.refresh();
    }

    /// Sends readings as they come from live sensors, each when it is taken, and then asks for the commit of all of them.
    /// Time passes until the last of them. Returns how long all of it took.
    pub fn commit_live(&mut self, content: Decoded) -> anyhow::Result<Duration> {
        let (receipt, answer) = receipt();
        let mut receipt = Some(receipt);
        let mut readings = content.readings.into_iter().peekable();
        let asked = Instant::now();
        while let Some(first) = readings.next() {
            let when = first.when;
            let mut together = vec![first];
            while let Some(next) = readings.next_if(|r| r.when == when) {
                together.push(next);
            }
            if let When::Live(ts) = when {
                self.pass_until(ts);
            }
            let receipt = if readings.peek().is_none() { receipt.take() } else { None };
            let content = Decoded { readings: together, ..Decoded::default() };
            self.send(content, None, receipt.is_some(), receipt.unwrap_or_else(Receipt::none))?;
        }
        answered(&answer)?;
        Ok(asked.elapsed())
    }

    /// Sends each reading as a message of its own that its broker may send again, all for one commit, and returns how long
    /// the last waited for its answer. The broker is known to have the acknowledgements of those before.
    pub fn commit_messages(&mut self, content: Decoded) -> anyhow::Result<Duration> {
        let confirmed = std::mem::take(&mut self.unconfirmed);
        let asked = Instant::now();
        self.intake.notice(Notice::Confirmed("bench".into(), confirmed))?;
        let last = content.readings.len().saturating_sub(1);
        let (receipt, answer) = receipt();
        let mut receipt = Some(receipt);
        for (i, reading) in content.readings.into_iter().enumerate() {
            self.packet = self.packet % 60_000 + 1;
            let digest = u64::from(self.packet).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
            let delivery = Delivery { packet: self.packet, dup: false, digest, part: 0 };
            self.unconfirmed.push((self.packet, digest));
            self.machine.pass(Duration::from_micros(100));
            let content = Decoded { readings: vec![reading], ..Decoded::default() };
            let receipt = if i == last { receipt.take() } else { None };
            self.send(content, Some(delivery), receipt.is_some(), receipt.unwrap_or_else(Receipt::none))?;
        }
        answered(&answer)?;
        Ok(asked.elapsed())
    }

    fn send(
        &self,
        content: Decoded,
        delivery: Option<Delivery>,
        waiting: bool,
        receipt: Receipt,
    ) -> anyhow::Result<()> {
        let arrival = Arrival { trusted: true, ..self.clock.now() };
        let envelope = Envelope { source: "bench".into(), arrival, content, delivery, waiting, receipt };
        self.intake.try_send(envelope).context("the channel has no room")
    }

    /// Lets time pass until `at`, and waits until every rollup that is due by then is made.
    pub fn catch_up(&self, at: Timestamp) -> anyhow::Result<()> {
        // An hour closes a minute after its end, and it is looked for every few seconds.
        self.pass_until(Timestamp(at.micros() + 120_000_000));
        let deadline = Instant::now() + Duration::from_secs(600);
        let upkeep = &self.metrics.store.upkeep;
        let is_behind = || {
            let hour = at.micros().div_euclid(zone::HOUR) * zone::HOUR;
            let day = at.micros().div_euclid(zone::DAY) * zone::DAY;
            upkeep.rolled_hours.get() < hour || upkeep.rolled_days.get() < day || upkeep.dirty.get() > 0
        };
        while is_behind() {
            ensure!(Instant::now() < deadline, "the rollups are not made: {} hours are dirty", upkeep.dirty.get());
            std::thread::sleep(Duration::from_millis(20));
            self.pass_until(Timestamp(self.clock.now().at.micros() + 1_000_000));
        }
        Ok(())
    }

    /// Ends it as the daemon does: what is left is stored, a checkpoint made, the file closed.
    pub fn close(self) -> anyhow::Result<Arc<Metrics>> {
        let Self { intake, writer, metrics, reader, .. } = self;
        drop((intake, reader));
        writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?.context("the writer")?;
        Ok(metrics)
    }
}

/// A receipt, and where its answer arrives.
fn receipt() -> (Receipt, Receiver<Outcome>) {
    let (tx, rx) = answers();
    let receipt = Receipt::new(move |outcome| {
        // Whoever asked waits for it.
        let _ = tx.send(outcome);
    });
    (receipt, rx)
}

fn answered(answer: &Receiver<Outcome>) -> anyhow::Result<()> {
    let outcome = answer.recv().context("the writer is gone")?;
    ensure!(outcome == Outcome::Committed, "the store answered {outcome:?}");
    Ok(())
}
