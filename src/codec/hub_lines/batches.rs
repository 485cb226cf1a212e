//! Which batches are whole: the count of their records against what `BATCH_COMPLETE` announces.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hasher};

use super::message::{Record, Sender};

/// Batches that may be open at once; the oldest makes room for a new one and will not be whole.
pub const MAX_OPEN: usize = 256;

/// Records in one batch; one with more is not whole.
pub const MAX_RECORDS: usize = 65_536;

/// Records in all open batches together. It bounds the memory at about 2.5 MB; the oldest batch makes room.
pub const MAX_RECORDS_OPEN: usize = 2 * MAX_RECORDS;

/// Refused batches with repeated records that are remembered.
const MAX_REFUSED: usize = 256;

/// The open batches by node.
///
/// A line can be doubled on the wire, and a doubled record must not make up for a lost one: so only distinct records are
/// counted. But a node whose clock was never set may truly hold the same record twice. Such a batch is refused once, and
/// accepted when the node sends the very same sequence again: noise does not strike twice in the same place.
#[derive(Debug, Default)]
pub struct Batches {
    open: HashMap<Sender, Open>,
    refused: HashMap<Sender, Refused>,
    // Records in `open`.
    records: usize,
    // Counts the openings and refusals, to find the oldest.
    turn: u64,
}

#[derive(Debug)]
struct Open {
    // Hashes of the records. Two records with equal hashes count as one, which can only refuse a batch.
    distinct: HashSet<u64>,
    total: usize,
    sequence: DefaultHasher,
    overflown: bool,
    opened: u64,
    tag: u64,
}

#[derive(Debug)]
struct Refused {
    sequence: u64,
    at: u64,
}

impl Batches {
    /// A batch begins: what was open for this node is forgotten.
    pub fn begin(&mut self, from: Sender, tag: u64) {
        self.forget(from);
        self.open_for(from, tag);
    }

    /// A record arrives, with or without a batch that was begun.
    pub fn record(&mut self, from: Sender, record: Record, tag: u64) {
        if self.records >= MAX_RECORDS_OPEN
            && let Some(oldest) = self.oldest(from)
        {
            self.forget(oldest);
        }
        let batch = self.open_for(from, tag);
        if batch.overflown {
            return;
        }
        batch.total += 1;
        if batch.total > MAX_RECORDS {
            batch.overflown = true;
            let freed = std::mem::take(&mut batch.distinct).len();
            self.records -= freed;
            return;
        }
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(record);
        batch.sequence.write_u64(hash);
        if batch.distinct.insert(hash) {
            self.records += 1;
        }
    }

    /// A batch ends and is closed. Returns whether it is whole, and the tag that it was opened with.
    pub fn complete(&mut self, from: Sender, count: u32, tag: u64) -> (bool, u64) {
        let count = count as usize;
        let Some(batch) = self.close(from) else {
            return (count == 0, tag);
        };
        let whole = if batch.overflown {
            false
        } else if batch.distinct.len() == count {
            self.refused.remove(&from);
            true
        } else {
            batch.total == count && self.same_again(from, batch.sequence.finish())
        };
        (whole, batch.tag)
    }

    /// The link was interrupted: no open batch can become whole.
    pub fn interrupt(&mut self) {
        self.open.clear();
        self.records = 0;
    }

    fn open_for(&mut self, from: Sender, tag: u64) -> &mut Open {
        if self.open.len() >= MAX_OPEN
            && !self.open.contains_key(&from)
            && let Some(oldest) = self.oldest(from)
        {
            self.forget(oldest);
        }
        self.turn += 1;
        let opened = self.turn;
        self.open.entry(from).or_insert_with(|| Open {
            distinct: HashSet::new(),
            total: 0,
            sequence: DefaultHasher::new(),
            overflown: false,
            opened,
            tag,
        })
    }

    fn oldest(&self, but: Sender) -> Option<Sender> {
        self.open.iter().filter(|(from, _)| **from != but).min_by_key(|(_, batch)| batch.opened).map(|(from, _)| *from)
    }

    fn close(&mut self, from: Sender) -> Option<Open> {
        let batch = self.open.remove(&from)?;
        self.records -= batch.distinct.len();
        Some(batch)
    }

    fn forget(&mut self, from: Sender) {
        // Its batch is not needed any more.
        drop(self.close(from));
    }

    /// Whether the same sequence was refused before; if not, it is remembered. It stays remembered when it is accepted:
    /// the answer may get lost, and the node sends it a third time.
    fn same_again(&mut self, from: Sender, sequence: u64) -> bool {
        self.turn += 1;
        if self.refused.len() >= MAX_REFUSED
            && !self.refused.contains_key(&from)
            && let Some(oldest) = self.refused.iter().min_by_key(|(_, r)| r.at).map(|(from, _)| *from)
        {
            self.refused.remove(&oldest);
        }
        let before = self.refused.insert(from, Refused { sequence, at: self.turn });
        before.is_some_and(|before| before.sequence == sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u16) -> Sender {
        Sender { address: n, device: u64::from(n) + 1_000 }
    }

    fn rec(time: i64) -> Record {
        Record { time, temp: 2_150, hum: 4_875, flags: 0 }
    }

    #[test]
    fn only_the_announced_number_is_whole_and_the_batch_is_closed_after_it() {
        let mut b = Batches::default();
        b.begin(node(1), 7);
        b.record(node(1), rec(1), 8);
        b.record(node(1), rec(2), 8);
        assert_eq!(b.complete(node(1), 2, 9), (true, 7));
        assert_eq!(b.complete(node(1), 2, 9), (false, 9));
        b.record(node(1), rec(1), 10);
        assert_eq!(b.complete(node(1), 2, 11), (false, 10));
        for t in 0..3 {
            b.record(node(1), rec(t), 0);
        }
        assert_eq!(b.complete(node(1), 2, 0), (false, 0));
        b.begin(node(1), 0);
        assert_eq!(b.complete(node(1), 0, 0), (true, 0));
        assert_eq!(b.complete(node(1), 0, 0), (true, 0));
        assert_eq!(b.records, 0);
    }

    #[test]
    fn a_new_batch_forgets_the_open_one_of_its_node_only() {
        let mut b = Batches::default();
        b.begin(node(1), 0);
        b.record(node(1), rec(1), 0);
        b.record(node(2), rec(1), 0);
        b.begin(node(1), 0);
        b.record(node(1), rec(2), 0);
        assert_eq!(b.complete(node(1), 2, 0), (false, 0));
        assert_eq!(b.complete(node(2), 1, 0), (true, 0));
        // The same address with another device is another node.
        b.record(Sender { address: 1, device: 5 }, rec(1), 0);
        b.record(Sender { address: 1, device: 6 }, rec(2), 0);
        assert_eq!(b.complete(Sender { address: 1, device: 5 }, 2, 0), (false, 0));
    }

    #[test]
    fn a_doubled_line_neither_harms_nor_makes_up_for_a_lost_one() {
        let mut b = Batches::default();
        for t in [1, 2, 2, 3] {
            b.record(node(1), rec(t), 0);
        }
        assert!(b.complete(node(1), 3, 0).0);
        for t in [1, 2, 2] {
            b.record(node(1), rec(t), 0);
        }
        assert!(!b.complete(node(1), 3, 0).0);
        for t in [1, 2, 3] {
            b.record(node(1), rec(t), 0);
        }
        assert!(b.complete(node(1), 3, 0).0);
    }

    #[test]
    fn truly_repeated_records_are_accepted_when_the_same_sequence_comes_again() {
        let mut b = Batches::default();
        let send = |b: &mut Batches, times: &[i64]| {
            b.begin(node(1), 0);
            for t in times {
                b.record(node(1), rec(*t), 0);
            }
            b.complete(node(1), 3, 0).0
        };
        assert!(!send(&mut b, &[0, 0, 5]));
        assert!(!send(&mut b, &[0, 5, 5]));
        assert!(!send(&mut b, &[0, 0, 5]));
        assert!(send(&mut b, &[0, 0, 5]));
        assert!(send(&mut b, &[0, 0, 5]), "its answer was lost");
        assert!(send(&mut b, &[1, 2, 3]));
        assert!(!send(&mut b, &[0, 0, 5]), "a whole batch in between ends the memory");
    }

    #[test]
    fn bounds_hold_and_what_exceeds_them_is_not_whole() {
        let mut b = Batches::default();
        for n in 0..=256 {
            b.begin(node(n), 0);
            b.record(node(n), rec(1), 0);
        }
        assert_eq!(b.open.len(), MAX_OPEN);
        assert!(!b.complete(node(0), 1, 0).0);
        assert!(b.complete(node(1), 1, 0).0);
        assert!(b.complete(node(256), 1, 0).0);

        b.interrupt();
        for t in 0..=65_536 {
            b.record(node(1), rec(t), 0);
        }
        assert_eq!(b.records, 0, "what cannot become whole takes no memory");
        assert!(!b.complete(node(1), 65_537, 0).0);
        for t in 0..65_536 {
            b.record(node(1), rec(t), 0);
        }
        assert!(b.complete(node(1), 65_536, 0).0);

        for n in 1..=3 {
            for t in 0..60_000 {
                b.record(node(n), rec(t), 0);
            }
            assert!(b.records <= MAX_RECORDS_OPEN);
        }
        assert!(!b.complete(node(1), 60_000, 0).0);
        assert!(b.complete(node(2), 60_000, 0).0);
        assert!(b.complete(node(3), 60_000, 0).0);
        assert_eq!(b.records, 0);

        for n in 0..=256 {
            b.record(node(n), rec(1), 0);
            b.record(node(n), rec(1), 0);
            assert!(!b.complete(node(n), 2, 0).0);
        }
        assert_eq!(b.refused.len(), MAX_REFUSED);
    }

    #[test]
    fn an_interrupted_batch_is_not_whole() {
        let mut b = Batches::default();
        b.begin(node(1), 0);
        b.record(node(1), rec(1), 0);
        b.interrupt();
        b.record(node(1), rec(2), 0);
        assert!(!b.complete(node(1), 2, 0).0);
    }
}
