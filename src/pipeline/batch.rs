//! What one commit holds: envelopes by size or by age. Pure: the time is an argument.

use std::time::{Duration, Instant};

use super::intake::Carried;

/// Envelopes that wait for their commit.
#[derive(Debug)]
pub struct Batch {
    envelopes: Vec<Carried>,
    rows: usize,
    oldest: Option<Instant>,
    wanted: bool,
    limit: usize,
    age: Duration,
}

impl Batch {
    /// An empty batch that is due at `limit` rows, or when its oldest envelope is `age` old.
    pub fn new(limit: usize, age: Duration) -> Self {
        Self { envelopes: Vec::new(), rows: 0, oldest: None, wanted: false, limit, age }
    }

    /// From now on it is due when its oldest envelope is `age` old.
    pub fn set_age(&mut self, age: Duration) {
        self.age = age;
    }

    /// Adds an envelope that came out of the channel at `now`.
    pub fn push(&mut self, now: Instant, envelope: Carried) {
        self.oldest.get_or_insert(now);
        self.rows += envelope.content.rows();
        self.wanted |= envelope.waiting;
        self.envelopes.push(envelope);
    }

    /// Somebody waits: it is due as soon as nothing more is in the channel.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// No more is taken in.
    pub fn is_full(&self) -> bool {
        self.rows >= self.limit
    }

    /// Whether it has to be committed at `now`, once the channel is empty.
    pub fn is_due(&self, now: Instant) -> bool {
        !self.is_empty() && (self.is_full() || self.wanted || self.deadline().is_some_and(|d| now >= d))
    }

    /// When its oldest envelope reaches its age; `None` while it is empty.
    pub fn deadline(&self) -> Option<Instant> {
        self.oldest.map(|oldest| oldest + self.age)
    }

    /// Nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.envelopes.is_empty()
    }

    /// Rows that it holds, an empty envelope counting as one.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Its envelopes in the order of their arrival.
    pub fn envelopes(&self) -> &[Carried] {
        &self.envelopes
    }

    /// Takes all envelopes out, to be answered; the batch is empty after it.
    pub fn take(&mut self) -> std::vec::Drain<'_, Carried> {
        self.rows = 0;
        self.oldest = None;
        self.wanted = false;
        self.envelopes.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::metrics::Metrics;
    use crate::pipeline::intake::tests::envelope;
    use crate::pipeline::{Item, channel};
    use crate::reading::Receipt;

    const AGE: Duration = Duration::from_secs(5);

    fn carried(rows: u32, waiting: bool) -> Carried {
        let (intake, outlet) = channel(&crate::config::Intake::default(), Arc::new(Metrics::default()));
        intake.try_send(envelope(rows, waiting, Receipt::none())).unwrap();
        match outlet.items.try_recv().unwrap() {
            Item::Envelope(carried) => carried,
            Item::Notice(notice) => panic!("{notice:?}"),
        }
    }

    #[test]
    fn it_is_due_by_age_by_size_or_because_somebody_waits() {
        let t = Instant::now();
        let mut batch = Batch::new(10, AGE);
        assert!(!batch.is_due(t + AGE) && batch.deadline().is_none());
        batch.want();
        assert!(!batch.is_due(t), "an empty batch is never due");

        let mut batch = Batch::new(10, AGE);
        batch.push(t, carried(3, false));
        batch.push(t + AGE / 2, carried(3, false));
        assert_eq!(batch.deadline(), Some(t + AGE), "the oldest counts");
        assert!(!batch.is_due(t + Duration::from_nanos(4_999_999_999)));
        assert!(batch.is_due(t + AGE));
        batch.push(t, carried(4, false));
        assert!(batch.is_full() && batch.is_due(t));
        assert_eq!(batch.rows(), 10);

        batch.set_age(AGE * 2);
        assert_eq!(batch.deadline(), Some(t + AGE * 2), "also for what is in it");
        assert_eq!(batch.take().count(), 3);
        assert!(batch.is_empty() && !batch.is_full() && batch.deadline().is_none());
        batch.push(t, carried(0, true));
        assert_eq!(batch.rows(), 1, "an empty envelope counts as one");
        assert!(batch.is_due(t), "its sender waits");
        batch.take();
        batch.push(t, carried(1, false));
        assert!(!batch.is_due(t), "the wish went with the batch");
        batch.want();
        assert!(batch.is_due(t));
    }
}
