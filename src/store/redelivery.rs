//! Which committed messages their broker may send again, because it is not known to have their acknowledgement.
//!
//! A message without a time of its own cannot be told from a later equal one by its contents. It is known again by its
//! packet id together with a digest, and only while it is marked as sent before (DUP = 1). Pure.
//!
//! Each commit writes what it adds to the memory; now and then one writes all of it, so that older rows can go.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::reading::Delivery;

/// Most messages that are remembered: as many as one session has packet ids. Above it the oldest are forgotten.
pub const MAX: usize = 65_535;

/// Bytes of one entry behind its source's name: packet id, part, digest.
const ENTRY: usize = 2 + 2 + 16;

/// First byte of a blob: what a commit adds.
const ADDED: u8 = 0;
/// First byte of a blob: all that is remembered; what older commits say is void.
const ALL: u8 = 1;

/// Messages that the tables keep room for in any case.
const SPARE: usize = 1024;

type Key = (Arc<str>, u16, u16);

#[derive(Debug)]
struct Entry {
    digest: [u8; 16],
    // Position in the order of remembering.
    number: u64,
    // From an earlier process: its confirmation may have been lost with that.
    loaded: bool,
}

/// The committed messages without a confirmed acknowledgement.
#[derive(Debug, Default)]
pub struct Unconfirmed {
    entries: HashMap<Key, Entry>,
    // Oldest first; what was forgotten or replaced since is skipped, and swept out when it is most of it.
    order: VecDeque<(Key, u64)>,
    next: u64,
}

impl Unconfirmed {
    /// Whether this delivery repeats a committed message.
    pub fn repeats(&self, source: &Arc<str>, delivery: &Delivery) -> bool {
        delivery.dup
            && self
                .entries
                .get(&(Arc::clone(source), delivery.packet, delivery.part))
                .is_some_and(|entry| entry.digest == delivery.digest)
    }

    /// A commit has found that this delivery repeats a committed message: the broker still has it.
    pub fn repeated(&mut self, source: &Arc<str>, delivery: &Delivery) {
        if let Some(entry) = self.entries.get_mut(&(Arc::clone(source), delivery.packet, delivery.part)) {
            entry.loaded = false;
        }
    }

    /// Remembers what was committed. A packet id that was remembered with another message is free again at the broker, so
    /// the new message replaces it.
    pub fn committed(&mut self, deliveries: impl IntoIterator<Item = (Arc<str>, Delivery)>) {
        self.remember(deliveries, false);
    }

    /// Takes over what `commits.unconfirmed` of the next row says; rows go from the oldest to the newest.
    pub fn load(&mut self, blob: &[u8]) {
        let Some((kind, entries)) = blob.split_first() else { return };
        if *kind == ALL {
            *self = Self::default();
        }
        self.remember(decode(entries), true);
    }

    fn remember(&mut self, deliveries: impl IntoIterator<Item = (Arc<str>, Delivery)>, loaded: bool) {
        for (source, d) in deliveries {
            let key = (source, d.packet, d.part);
            let number = self.next;
            self.next += 1;
            self.entries.insert(key.clone(), Entry { digest: d.digest, number, loaded });
            self.order.push_back((key, number));
        }
        while self.entries.len() > MAX {
            let Some((key, number)) = self.order.pop_front() else { break };
            if self.entries.get(&key).is_some_and(|entry| entry.number == number) {
                self.entries.remove(&key);
            }
        }
        self.sweep();
    }

    /// Forgets the order of what is gone once it is most of it, and gives back the room that a burst has left behind.
    fn sweep(&mut self) {
        let room = 2 * self.entries.len() + SPARE;
        if self.order.len() > room {
            let entries = &self.entries;
            self.order.retain(|(key, number)| entries.get(key).is_some_and(|entry| entry.number == *number));
        }
        if self.order.capacity() > 4 * room {
            self.order.shrink_to(room);
        }
        if self.entries.capacity() > 4 * room {
            self.entries.shrink_to(room);
        }
    }

    /// The broker has the acknowledgements of these packets.
    pub fn confirmed(&mut self, source: &Arc<str>, packets: &[(u16, [u8; 16])]) {
        for (packet, digest) in packets {
            for part in 0.. {
                let key = (Arc::clone(source), *packet, part);
                if self.entries.get(&key).is_none_or(|entry| entry.digest != *digest) {
                    break;
                }
                self.entries.remove(&key);
            }
        }
        self.sweep();
    }

    /// The session is gone, and with it everything that the broker could send again.
    pub fn session_lost(&mut self, source: &Arc<str>) {
        self.entries.retain(|(s, _, _), _| s != source);
        self.sweep();
    }

    /// The broker has sent again what it would: what an earlier process left behind and did not come is acknowledged.
    pub fn resumed(&mut self, source: &Arc<str>) {
        self.entries.retain(|(s, _, _), entry| s != source || !entry.loaded);
        self.sweep();
    }

    /// Forgets sources that are no longer configured: nothing of them can come again.
    pub fn keep_sources(&mut self, sources: &[Arc<str>]) {
        self.entries.retain(|(s, _, _), _| sources.contains(s));
    }

    /// `commits.unconfirmed` of a commit that adds `added` and says everything else that is remembered as well.
    pub fn all_with(&self, added: &[(Arc<str>, Delivery)]) -> Vec<u8> {
        // The entries are not copied: there may be tens of thousands. Of equal keys the last to be added counts.
        let latest: HashMap<(&str, u16, u16), &[u8; 16]> =
            added.iter().map(|(source, d)| ((&**source, d.packet, d.part), &d.digest)).collect();
        let kept =
            self.entries.iter().map(|((source, packet, part), entry)| ((&**source, *packet, *part), &entry.digest));
        let kept = kept.filter(|(key, _)| !latest.contains_key(key));
        written(ALL, kept.chain(latest.iter().map(|(key, digest)| (*key, *digest))))
    }
}

/// `commits.unconfirmed` of a commit that adds these; `None` when there are none.
pub fn added(deliveries: &[(Arc<str>, Delivery)]) -> Option<Vec<u8>> {
    (!deliveries.is_empty()).then(|| encode(ADDED, deliveries))
}

/// The kind; then for each source the length of its name, its name, the number of its entries (u32), and the entries;
/// numbers are little-endian.
pub fn encode(kind: u8, deliveries: &[(Arc<str>, Delivery)]) -> Vec<u8> {
    written(kind, deliveries.iter().map(|(source, d)| ((&**source, d.packet, d.part), &d.digest)))
}

/// Packet id, part and digest.
type Written<'a> = (u16, u16, &'a [u8; 16]);

fn written<'a>(kind: u8, entries: impl Iterator<Item = ((&'a str, u16, u16), &'a [u8; 16])>) -> Vec<u8> {
    let mut by_source: BTreeMap<&str, Vec<Written<'_>>> = BTreeMap::new();
    let mut count = 0;
    for ((source, packet, part), digest) in entries {
        by_source.entry(source).or_default().push((packet, part, digest));
        count += 1;
    }
    let mut out = Vec::with_capacity(count * ENTRY + 64);
    out.push(kind);
    for (source, entries) in by_source {
        // Both fit: names have at most 128 bytes, and a batch has fewer messages than u32 has numbers.
        out.push(u8::try_from(source.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(&source.as_bytes()[..source.len().min(usize::from(u8::MAX))]);
        out.extend_from_slice(&u32::try_from(entries.len()).unwrap_or(u32::MAX).to_le_bytes());
        for (packet, part, digest) in entries {
            out.extend_from_slice(&packet.to_le_bytes());
            out.extend_from_slice(&part.to_le_bytes());
            out.extend_from_slice(digest);
        }
    }
    out
}

/// The deliveries of a blob behind its kind; what cannot be read ends it, since a wrong memory would be worse than none.
pub fn decode(mut bytes: &[u8]) -> Vec<(Arc<str>, Delivery)> {
    let mut out = Vec::new();
    while let Some((source, count, rest)) = header(bytes) {
        bytes = rest;
        for _ in 0..count {
            let Some((entry, rest)) = bytes.split_at_checked(ENTRY) else { return out };
            bytes = rest;
            let mut digest = [0; 16];
            digest.copy_from_slice(&entry[4..]);
            let packet = u16::from_le_bytes([entry[0], entry[1]]);
            let part = u16::from_le_bytes([entry[2], entry[3]]);
            out.push((Arc::clone(&source), Delivery { packet, dup: false, digest, part }));
        }
    }
    out
}

fn header(bytes: &[u8]) -> Option<(Arc<str>, u32, &[u8])> {
    let (&len, bytes) = bytes.split_first()?;
    let (name, bytes) = bytes.split_at_checked(usize::from(len))?;
    let (count, bytes) = bytes.split_first_chunk::<4>()?;
    Some((Arc::from(std::str::from_utf8(name).ok()?), u32::from_le_bytes(*count), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(packet: u16, dup: bool, digest: u8) -> Delivery {
        Delivery { packet, dup, digest: [digest; 16], part: 0 }
    }

    fn home() -> Arc<str> {
        Arc::from("home")
    }

    fn other() -> Arc<str> {
        Arc::from("other")
    }

    #[test]
    fn only_a_marked_message_with_the_same_id_and_contents_repeats() {
        let mut u = Unconfirmed::default();
        u.committed([(home(), delivery(7, false, 1))]);
        assert!(u.repeats(&home(), &delivery(7, true, 1)));
        assert!(!u.repeats(&home(), &delivery(7, false, 1)), "an equal new message is another reading");
        assert!(!u.repeats(&home(), &delivery(7, true, 2)), "ids recur");
        assert!(!u.repeats(&home(), &delivery(8, true, 1)));
        assert!(!u.repeats(&other(), &delivery(7, true, 1)));
        u.committed([(home(), delivery(7, false, 3))]);
        assert!(!u.repeats(&home(), &delivery(7, true, 1)), "the id was used again");
    }

    #[test]
    fn a_confirmed_message_a_lost_session_and_a_removed_source_are_forgotten() {
        let mut u = Unconfirmed::default();
        u.committed([(home(), delivery(7, false, 1)), (other(), delivery(7, false, 1))]);
        u.committed([(home(), delivery(8, false, 2))]);
        u.confirmed(&home(), &[(7, [1; 16]), (8, [9; 16])]);
        assert!(!u.repeats(&home(), &delivery(7, true, 1)));
        assert!(u.repeats(&home(), &delivery(8, true, 2)), "another digest does not confirm it");
        u.session_lost(&home());
        assert!(!u.repeats(&home(), &delivery(8, true, 2)));
        assert!(u.repeats(&other(), &delivery(7, true, 1)));
        u.keep_sources(&[home()]);
        assert!(!u.repeats(&other(), &delivery(7, true, 1)));
    }

    #[test]
    fn what_an_earlier_process_left_is_forgotten_unless_it_comes_again() {
        let mut u = Unconfirmed::default();
        u.load(&added(&[(home(), delivery(1, false, 1)), (home(), delivery(2, false, 2))]).unwrap());
        u.committed([(home(), delivery(3, false, 3))]);
        u.repeated(&home(), &delivery(2, true, 2));
        u.resumed(&home());
        assert!(!u.repeats(&home(), &delivery(1, true, 1)));
        assert!(u.repeats(&home(), &delivery(2, true, 2)));
        assert!(u.repeats(&home(), &delivery(3, true, 3)));
    }

    #[test]
    fn the_oldest_are_forgotten_above_the_bound_and_the_order_stays_small() {
        let mut u = Unconfirmed::default();
        u.committed([(home(), delivery(0, false, 1))]);
        u.committed((1..=u16::MAX).map(|p| (home(), delivery(p, false, 1))));
        assert!(!u.repeats(&home(), &delivery(0, true, 1)));
        assert!(u.repeats(&home(), &delivery(1, true, 1)));
        u.session_lost(&home());
        for round in 0..10_000 {
            u.committed([(home(), delivery(round % 10, false, 1))]);
        }
        assert_eq!(u.entries.len(), 10);
        assert!(u.order.len() <= 2 * 10 + 1024, "{}", u.order.len());
    }

    #[test]
    fn the_whole_memory_has_the_last_message_of_each_id_and_a_burst_leaves_no_room_behind() {
        let mut u = Unconfirmed::default();
        u.committed((0..u16::MAX).map(|p| (home(), delivery(p, false, 1))));
        let (entries, order) = (u.entries.capacity(), u.order.capacity());
        let known: Vec<(u16, [u8; 16])> = (1..u16::MAX).map(|p| (p, [1; 16])).collect();
        u.confirmed(&home(), &known);
        assert!(u.entries.capacity() < entries / 8 && u.order.capacity() < order / 8);
        let whole = u.all_with(&[
            (home(), delivery(0, false, 2)),
            (home(), delivery(3, false, 4)),
            (home(), delivery(3, false, 5)),
        ]);
        let mut found = decode(&whole[1..]);
        found.sort_by_key(|(_, d)| d.packet);
        assert_eq!(found, [(home(), delivery(0, false, 2)), (home(), delivery(3, false, 5))]);
        assert!(u.repeats(&home(), &delivery(0, true, 1)), "it was asked and not changed");
    }

    #[test]
    fn what_is_written_is_read_again_and_the_whole_memory_replaces_older_rows() {
        let all = vec![
            (home(), delivery(1, false, 3)),
            (home(), Delivery { part: 2, ..delivery(65_535, false, 4) }),
            (Arc::from("z"), delivery(2, false, 5)),
        ];
        let bytes = added(&all).unwrap();
        assert_eq!(decode(&bytes[1..]), all);
        assert_eq!(decode(&bytes[1..bytes.len() - 1]), all[..2]);
        assert_eq!(added(&[]), None);
        assert_eq!(decode(&[]), []);

        let mut u = Unconfirmed::default();
        u.load(&bytes);
        u.confirmed(&home(), &[(1, [3; 16])]);
        let whole = u.all_with(&[(home(), delivery(9, false, 9))]);
        let mut v = Unconfirmed::default();
        v.load(&bytes);
        v.load(&whole);
        assert!(!v.repeats(&home(), &delivery(1, true, 3)), "confirmed before the whole memory was written");
        assert!(v.repeats(&home(), &Delivery { part: 2, ..delivery(65_535, true, 4) }));
        assert!(v.repeats(&home(), &delivery(9, true, 9)));
        assert_eq!(v.entries.len(), 3);
    }
}
