//! The bounded channel from the sources to the store. What bounds it is permits: an envelope takes one for each of its
//! rows, and its bytes from a second bound, and gives them back when it has been answered.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::sleep;

use crate::config;
use crate::metrics::{Metrics, Shed};
use crate::reading::{Decoded, Delivery, Digest, Envelope, Outcome};

/// Bytes that a reading, an event or a dead letter is counted with, beside its text.
const ROW_BYTES: usize = 96;
/// Bytes that an envelope is counted with, beside its rows.
const ENVELOPE_BYTES: usize = 256;
/// The part of both bounds that senders who can wait leave free: one of so many. Who must not wait finds room there,
/// however much the others have.
const KEPT_FREE: u32 = 4;

/// How often it is looked whether memory is below its limit again.
const MEMORY_PAUSE: Duration = Duration::from_millis(200);

/// The store takes no more: the daemon is stopping. The envelope's receipt has answered `Failed`.
#[derive(Debug, thiserror::Error)]
#[error("the store takes no more envelopes")]
pub struct Closed;

/// Why [`Intake::try_send`] did not take an envelope. Its receipt has answered `Failed`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The capacity or the byte bound is used up; the writer was asked to commit.
    #[error("the channel to the store is full")]
    Full,
    /// Memory is above its limit; the writer was asked to commit.
    #[error("memory is above its limit")]
    Memory,
    /// The daemon is stopping.
    #[error("the store takes no more envelopes")]
    Closed,
}

/// Something a source tells the store beside its envelopes, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The broker of this source has every acknowledgement sent so far for these packet ids and digests.
    Confirmed(Arc<str>, Vec<(u16, Digest)>),
    /// The broker of this source has forgotten the session: its packet ids start anew.
    SessionLost(Arc<str>),
    /// The broker of this source has sent again, in this process, whatever it had no acknowledgement for from before.
    Resumed(Arc<str>),
}

/// An envelope in the channel together with its permits; both go when it is answered or dropped.
#[derive(Debug)]
pub struct Carried {
    envelope: Envelope,
    _permits: Vec<OwnedSemaphorePermit>,
    cost: Cost,
    metrics: Arc<Metrics>,
}

impl Carried {
    /// Answers the sender and gives the permits back.
    pub fn answer(mut self, outcome: Outcome) {
        let receipt = std::mem::replace(&mut self.envelope.receipt, crate::reading::Receipt::none());
        drop(self);
        receipt.answer(outcome);
    }
}

impl Deref for Carried {
    type Target = Envelope;
    fn deref(&self) -> &Envelope {
        &self.envelope
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.metrics.queue.depth.add(-i64::from(self.cost.rows));
        self.metrics.queue.bytes.add(-i64::from(self.cost.bytes));
    }
}

/// What the sources push into. Cheap to clone; when all are gone the outlet ends.
#[derive(Clone, Debug)]
pub struct Intake {
    tx: Sender<Item>,
    nudge: Sender<()>,
    rows: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    // What of them senders who wait may have.
    patient_rows: Arc<Semaphore>,
    patient_bytes: Arc<Semaphore>,
    max_rows: u32,
    max_bytes: u32,
    metrics: Arc<Metrics>,
}

/// What the store takes from.
#[derive(Debug)]
pub struct Outlet {
    /// Envelopes and notices in the order of their sending.
    pub items: Receiver<Item>,
    /// Somebody waits for a commit.
    pub nudges: Receiver<()>,
}

/// One element of the channel.
#[derive(Debug)]
pub enum Item {
    /// An envelope with its permits.
    Envelope(Carried),
    /// Word from a source.
    Notice(Notice),
}

#[derive(Clone, Copy, Debug)]
struct Cost {
    rows: u32,
    bytes: u32,
}

/// The channel with the bounds of `config`.
pub fn channel(config: &config::Intake, metrics: Arc<Metrics>) -> (Intake, Outlet) {
    let max_rows = u32::try_from(config.capacity).unwrap_or(u32::MAX).clamp(4, 1 << 28);
    let max_bytes = u32::try_from(config.max_bytes).unwrap_or(u32::MAX).clamp(4096, 1 << 28);
    metrics.queue.capacity.set(i64::from(max_rows));
    // Each envelope holds at least one permit and notices are few (one for each broker and keep-alive), so the permits
    // bound the channel: a send never blocks the runtime.
    let (tx, items) = unbounded();
    let (nudge, nudges) = bounded(1);
    let semaphore = |permits: u32| Arc::new(Semaphore::new(permits as usize));
    let intake = Intake {
        tx,
        nudge,
        rows: semaphore(max_rows),
        bytes: semaphore(max_bytes),
        patient_rows: semaphore(max_rows - max_rows / KEPT_FREE),
        patient_bytes: semaphore(max_bytes - max_bytes / KEPT_FREE),
        max_rows,
        max_bytes,
        metrics,
    };
    (intake, Outlet { items, nudges })
}

impl Intake {
    /// Hands an envelope over; waits for permits, and for memory to come back below its limit, and asks the writer to commit
    /// while it does. A quarter of the capacity and of the byte bound is left to those who must not wait.
    ///
    /// # Errors
    /// [`Closed`] when the store takes no more.
    pub async fn send(&self, envelope: Envelope) -> Result<(), Closed> {
        while self.metrics.memory.sheds(Shed::Brokers) {
            self.commit_soon();
            sleep(MEMORY_PAUSE).await;
        }
        for part in self.split(envelope) {
            let cost = self.cost(&part);
            let most = self.max_bytes - self.max_bytes / KEPT_FREE;
            let permits = vec![
                self.wait(&self.patient_rows, cost.rows).await?,
                self.wait(&self.rows, cost.rows).await?,
                self.wait(&self.patient_bytes, cost.bytes.min(most)).await?,
                self.wait(&self.bytes, cost.bytes).await?,
            ];
            self.carry(part, permits, cost).map_err(|_| Closed)?;
        }
        Ok(())
    }

    async fn wait(&self, of: &Arc<Semaphore>, permits: u32) -> Result<OwnedSemaphorePermit, Closed> {
        match Arc::clone(of).try_acquire_many_owned(permits) {
            Ok(permit) => Ok(permit),
            Err(TryAcquireError::Closed) => Err(Closed),
            Err(TryAcquireError::NoPermits) => {
                self.commit_soon();
                Arc::clone(of).acquire_many_owned(permits).await.map_err(|_| Closed)
            }
        }
    }

    /// Hands an envelope over if there are permits; for sources that must not wait.
    ///
    /// # Errors
    /// [`Refused`] when it was not taken; nothing of it was stored, unless it was large and split.
    pub fn try_send(&self, envelope: Envelope) -> Result<(), Refused> {
        if self.metrics.memory.sheds(Shed::Serial) {
            self.commit_soon();
            return Err(Refused::Memory);
        }
        let refuse = |e| {
            self.commit_soon();
            match e {
                TryAcquireError::Closed => Refused::Closed,
                TryAcquireError::NoPermits => Refused::Full,
            }
        };
        for part in self.split(envelope) {
            let cost = self.cost(&part);
            let rows = Arc::clone(&self.rows).try_acquire_many_owned(cost.rows).map_err(refuse)?;
            let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(cost.bytes).map_err(refuse)?;
            self.carry(part, vec![rows, bytes], cost).map_err(|_| Refused::Closed)?;
        }
        Ok(())
    }

    /// Asks the writer for a commit of what was sent so far. Never blocks.
    pub fn commit_soon(&self) {
        // Full means that a request is waiting already; disconnected, that the next send will say so.
        let _ = self.nudge.try_send(());
    }

    /// Sends word to the store, behind everything sent so far. Never blocks.
    ///
    /// # Errors
    /// [`Closed`] when the store takes no more.
    pub fn notice(&self, notice: Notice) -> Result<(), Closed> {
        self.tx.send(Item::Notice(notice)).map_err(|_| Closed)
    }

    fn carry(&self, envelope: Envelope, permits: Vec<OwnedSemaphorePermit>, cost: Cost) -> Result<(), Closed> {
        self.metrics.queue.depth.add(i64::from(cost.rows));
        self.metrics.queue.bytes.add(i64::from(cost.bytes));
        let carried = Carried { envelope, _permits: permits, cost, metrics: Arc::clone(&self.metrics) };
        // The rejected item is dropped here, and with it its receipt answers `Failed`.
        self.tx.send(Item::Envelope(carried)).map_err(|_| Closed)
    }

    fn cost(&self, envelope: &Envelope) -> Cost {
        let rows = u32::try_from(envelope.content.rows()).unwrap_or(u32::MAX).min(self.max_rows);
        let bytes = u32::try_from(bytes_of(&envelope.content)).unwrap_or(u32::MAX).min(self.max_bytes);
        Cost { rows, bytes }
    }

    /// An envelope over a quarter of the capacity becomes several under one receipt, so that no single sender can fill
    /// the channel, and none can ask for more permits than there are.
    fn split(&self, mut envelope: Envelope) -> Vec<Envelope> {
        let most = (self.max_rows as usize / 4).max(1);
        if envelope.content.rows() <= most {
            return vec![envelope];
        }
        let content = std::mem::take(&mut envelope.content);
        let mut parts: Vec<Decoded> = Vec::new();
        let mut left = 0;
        let mut room = |parts: &mut Vec<Decoded>| {
            if left == 0 {
                parts.push(Decoded::default());
                left = most;
            }
            left -= 1;
        };
        for reading in content.readings {
            room(&mut parts);
            if let Some(part) = parts.last_mut() {
                part.readings.push(reading);
            }
        }
        for event in content.events {
            room(&mut parts);
            if let Some(part) = parts.last_mut() {
                part.events.push(event);
            }
        }
        for dead in content.dead {
            room(&mut parts);
            if let Some(part) = parts.last_mut() {
                part.dead.push(dead);
            }
        }
        let receipts = envelope.receipt.split(parts.len());
        parts
            .into_iter()
            .zip(receipts)
            .zip(0..)
            .map(|((content, receipt), part)| Envelope {
                source: Arc::clone(&envelope.source),
                arrival: envelope.arrival,
                content,
                delivery: envelope.delivery.map(|d| Delivery { part, ..d }),
                waiting: envelope.waiting,
                receipt,
            })
            .collect()
    }
}

fn bytes_of(content: &Decoded) -> usize {
    let text: usize = content.readings.iter().map(|r| r.node.len() + r.metric.len()).sum::<usize>()
        + content.events.iter().map(|e| e.node.len() + e.kind.len() + e.data.len()).sum::<usize>()
        + content.dead.iter().map(|d| d.detail.len() + d.excerpt.len()).sum::<usize>();
    ENVELOPE_BYTES + content.rows() * ROW_BYTES + text
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::reading::{Arrival, Reading, Receipt, Timestamp, When};

    pub fn envelope(rows: u32, waiting: bool, receipt: Receipt) -> Envelope {
        let reading = |i: u32| Reading {
            node: "n".into(),
            metric: "m".into(),
            own_name: None,
            unit: None,
            when: When::Arrival,
            value: f64::from(i),
        };
        Envelope {
            source: "s".into(),
            arrival: Arrival { at: Timestamp(0), boottime: 0, trusted: true },
            content: Decoded { readings: (0..rows).map(reading).collect(), ..Decoded::default() },
            delivery: None,
            waiting,
            receipt,
        }
    }

    fn small() -> (Intake, Outlet, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::default());
        let (intake, outlet) = channel(&config::Intake { capacity: 8, max_bytes: 100_000 }, Arc::clone(&metrics));
        (intake, outlet, metrics)
    }

    fn next(outlet: &Outlet) -> Carried {
        match outlet.items.try_recv().unwrap() {
            Item::Envelope(carried) => carried,
            Item::Notice(notice) => panic!("{notice:?}"),
        }
    }

    #[test]
    fn without_memory_ports_are_refused_and_brokers_wait() {
        let (intake, outlet, metrics) = small();
        metrics.memory.set_step(Shed::Brokers);
        intake.try_send(envelope(1, false, Receipt::none())).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let sent = intake.send(envelope(1, false, Receipt::none()));
            tokio::pin!(sent);
            assert!(tokio::time::timeout(MEMORY_PAUSE * 2, &mut sent).await.is_err(), "it waits");
            assert_eq!(outlet.nudges.try_recv(), Ok(()), "a commit is asked for meanwhile");
            metrics.memory.set_step(Shed::Queries);
            sent.await.unwrap();
        });
        metrics.memory.set_step(Shed::Serial);
        let failed = Arc::new(Mutex::new(None));
        let into = Arc::clone(&failed);
        let receipt = Receipt::new(move |o| *into.lock().unwrap() = Some(o));
        assert_eq!(intake.try_send(envelope(1, true, receipt)), Err(Refused::Memory));
        assert_eq!(*failed.lock().unwrap(), Some(Outcome::Failed));
        metrics.memory.set_step(Shed::Nothing);
        intake.try_send(envelope(1, false, Receipt::none())).unwrap();
        assert_eq!(metrics.queue.depth.get(), 3);
    }

    #[test]
    fn permits_bound_the_channel_and_come_back_with_the_answer() {
        let (intake, outlet, metrics) = small();
        for _ in 0..4 {
            intake.try_send(envelope(2, false, Receipt::none())).unwrap();
        }
        assert_eq!(metrics.queue.depth.get(), 8);
        assert!(outlet.nudges.is_empty());
        let failed = Arc::new(Mutex::new(None));
        let into = Arc::clone(&failed);
        let receipt = Receipt::new(move |o| *into.lock().unwrap() = Some(o));
        assert_eq!(intake.try_send(envelope(1, false, receipt)), Err(Refused::Full));
        assert_eq!(*failed.lock().unwrap(), Some(Outcome::Failed));
        assert_eq!(outlet.nudges.len(), 1, "permits that run out ask for a commit");
        next(&outlet).answer(Outcome::Committed);
        intake.try_send(envelope(1, false, Receipt::none())).unwrap();
        assert_eq!(metrics.queue.depth.get(), 7);
        drop(outlet);
        assert_eq!(intake.try_send(envelope(1, false, Receipt::none())), Err(Refused::Closed));
        assert_eq!(metrics.queue.depth.get(), 0);
        assert_eq!(metrics.queue.bytes.get(), 0);
    }

    #[test]
    fn bytes_have_a_bound_of_their_own() {
        let metrics = Arc::new(Metrics::default());
        let (intake, outlet) = channel(&config::Intake { capacity: 1_000, max_bytes: 4_096 }, Arc::clone(&metrics));
        let mut taken = 0;
        while intake.try_send(envelope(5, false, Receipt::none())).is_ok() {
            taken += 1;
        }
        // 256 for the envelope, 96 and two letters for each row: 746 bytes each.
        assert_eq!((taken, metrics.queue.bytes.get()), (5, 5 * 746));
        assert_eq!(outlet.nudges.len(), 1);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_sender_that_waits_goes_on_when_permits_come_back() {
        let (intake, outlet, _) = small();
        for _ in 0..3 {
            intake.send(envelope(2, false, Receipt::none())).await.unwrap();
        }
        let waiting = tokio::spawn({
            let intake = intake.clone();
            async move { intake.send(envelope(2, false, Receipt::none())).await.is_ok() }
        });
        while outlet.nudges.is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished());
        // What is left is for those who must not wait, though another stands in line.
        intake.try_send(envelope(2, false, Receipt::none())).unwrap();
        assert_eq!(intake.try_send(envelope(1, false, Receipt::none())), Err(Refused::Full));
        next(&outlet).answer(Outcome::Committed);
        assert!(waiting.await.unwrap());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_message_of_more_bytes_than_those_who_wait_may_have_is_taken_all_the_same() {
        let metrics = Arc::new(Metrics::default());
        let (intake, outlet) = channel(&config::Intake { capacity: 1_000, max_bytes: 4_096 }, Arc::clone(&metrics));
        intake.send(envelope(200, false, Receipt::none())).await.unwrap();
        assert_eq!(metrics.queue.bytes.get(), 4_096);
        next(&outlet).answer(Outcome::Committed);
        assert_eq!(metrics.queue.bytes.get(), 0);
    }

    #[test]
    fn a_large_envelope_is_split_under_one_receipt() {
        let (intake, outlet, _) = small();
        let answers = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&answers);
        let mut large = envelope(5, true, Receipt::new(move |o| into.lock().unwrap().push(o)));
        large.delivery = Some(Delivery { packet: 3, dup: true, digest: [1; 8], part: 0 });
        intake.try_send(large).unwrap();
        let parts: Vec<Carried> = (0..3).map(|_| next(&outlet)).collect();
        let values: Vec<Vec<f64>> =
            parts.iter().map(|p| p.content.readings.iter().map(|r| r.value).collect()).collect();
        assert_eq!(values, [vec![0.0, 1.0], vec![2.0, 3.0], vec![4.0]]);
        assert_eq!(parts.iter().map(|p| p.delivery.unwrap().part).collect::<Vec<_>>(), [0, 1, 2]);
        for (i, part) in parts.into_iter().enumerate() {
            assert_eq!(answers.lock().unwrap().len(), 0, "before part {i} is answered");
            part.answer(Outcome::Committed);
        }
        assert_eq!(*answers.lock().unwrap(), [Outcome::Committed]);
    }
}
