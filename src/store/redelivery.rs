//! Which committed messages their broker may send again, because it is not known to have their acknowledgement.
//!
//! A message without a time of its own cannot be told from a later equal one by its contents. It is known again by its
//! packet id together with a digest, and only while it is marked as sent before (DUP = 1). Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::reading::Delivery;

/// Most messages that are remembered: as many as one session has packet ids. Above it the oldest are forgotten.
pub const MAX: usize = 65_535;

/// Bytes of one entry behind its source's name: packet id, part, digest.
const ENTRY: usize = 2 + 2 + 16;

type Key = (Arc<str>, u16, u16);

/// The committed messages without a confirmed acknowledgement.
#[derive(Debug, Default)]
pub struct Unconfirmed {
    entries: HashMap<Key, ([u8; 16], i64)>,
    // Keys by the batch that committed them, so that the oldest can be forgotten and old rows deleted.
    by_batch: BTreeMap<i64, Vec<Key>>,
}

impl Unconfirmed {
    /// Whether this delivery repeats a committed message.
    pub fn repeats(&self, source: &Arc<str>, delivery: &Delivery) -> bool {
        delivery.dup
            && self
                .entries
                .get(&(Arc::clone(source), delivery.packet, delivery.part))
                .is_some_and(|(digest, _)| *digest == delivery.digest)
    }

    /// Remembers what `batch` has committed. A packet id that was remembered with another message is free again at the
    /// broker, so the new message replaces it.
    pub fn committed(&mut self, batch: i64, deliveries: impl IntoIterator<Item = (Arc<str>, Delivery)>) {
        for (source, d) in deliveries {
            let key = (source, d.packet, d.part);
            self.entries.insert(key.clone(), (d.digest, batch));
            self.by_batch.entry(batch).or_default().push(key);
        }
        while self.entries.len() > MAX {
            let Some((oldest, keys)) = self.by_batch.pop_first() else { break };
            for key in keys {
                self.forget_if(&key, |_, batch| batch == oldest);
            }
        }
    }

    /// The broker has the acknowledgements of these packets.
    pub fn confirmed(&mut self, source: &Arc<str>, packets: &[(u16, [u8; 16])]) {
        for (packet, digest) in packets {
            let mut part = 0;
            while self.forget_if(&(Arc::clone(source), *packet, part), |d, _| d == digest) {
                part += 1;
            }
        }
    }

    /// The session is gone, and with it everything that the broker could send again.
    pub fn session_lost(&mut self, source: &Arc<str>) {
        self.entries.retain(|(s, _, _), _| s != source);
    }

    /// The oldest batch that is still needed; `None` when nothing is remembered.
    pub fn oldest_batch(&mut self) -> Option<i64> {
        while let Some(mut first) = self.by_batch.first_entry() {
            let batch = *first.key();
            first.get_mut().retain(|key| self.entries.get(key).is_some_and(|(_, b)| *b == batch));
            if !first.get().is_empty() {
                return Some(batch);
            }
            first.remove();
        }
        None
    }

    fn forget_if(&mut self, key: &Key, matches: impl Fn(&[u8; 16], i64) -> bool) -> bool {
        let found = self.entries.get(key).is_some_and(|(digest, batch)| matches(digest, *batch));
        if found {
            self.entries.remove(key);
        }
        found
    }
}

/// `commits.unconfirmed` for these deliveries; `None` when there are none. For each source: length of its name, name,
/// number of entries (u32), entries; numbers are little-endian.
pub fn encode(deliveries: &[(Arc<str>, Delivery)]) -> Option<Vec<u8>> {
    if deliveries.is_empty() {
        return None;
    }
    let mut by_source: BTreeMap<&str, Vec<&Delivery>> = BTreeMap::new();
    for (source, d) in deliveries {
        by_source.entry(source).or_default().push(d);
    }
    let mut out = Vec::with_capacity(deliveries.len() * ENTRY + 64);
    for (source, entries) in by_source {
        // Both fit: names have at most 128 bytes, and a batch has fewer messages than u32 has numbers.
        out.push(u8::try_from(source.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(&source.as_bytes()[..source.len().min(usize::from(u8::MAX))]);
        out.extend_from_slice(&u32::try_from(entries.len()).unwrap_or(u32::MAX).to_le_bytes());
        for d in entries {
            out.extend_from_slice(&d.packet.to_le_bytes());
            out.extend_from_slice(&d.part.to_le_bytes());
            out.extend_from_slice(&d.digest);
        }
    }
    Some(out)
}

/// The deliveries of a `commits.unconfirmed`; what cannot be read ends it, since a wrong memory would be worse than none.
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

    #[test]
    fn only_a_marked_message_with_the_same_id_and_contents_repeats() {
        let mut u = Unconfirmed::default();
        u.committed(1, [(home(), delivery(7, false, 1))]);
        assert!(u.repeats(&home(), &delivery(7, true, 1)));
        assert!(!u.repeats(&home(), &delivery(7, false, 1)), "an equal new message is another reading");
        assert!(!u.repeats(&home(), &delivery(7, true, 2)), "ids recur");
        assert!(!u.repeats(&home(), &delivery(8, true, 1)));
        assert!(!u.repeats(&Arc::from("other"), &delivery(7, true, 1)));
    }

    #[test]
    fn a_confirmed_message_and_a_lost_session_are_forgotten() {
        let mut u = Unconfirmed::default();
        u.committed(1, [(home(), delivery(7, false, 1)), (Arc::from("b"), delivery(7, false, 1))]);
        u.committed(2, [(home(), delivery(8, false, 2))]);
        assert_eq!(u.oldest_batch(), Some(1));
        u.confirmed(&home(), &[(7, [1; 16]), (8, [9; 16])]);
        assert!(!u.repeats(&home(), &delivery(7, true, 1)));
        assert!(u.repeats(&home(), &delivery(8, true, 2)), "another digest does not confirm it");
        u.session_lost(&Arc::from("b"));
        assert_eq!(u.oldest_batch(), Some(2));
        u.session_lost(&home());
        assert_eq!(u.oldest_batch(), None);
    }

    #[test]
    fn the_oldest_are_forgotten_above_the_bound() {
        let mut u = Unconfirmed::default();
        u.committed(1, [(home(), delivery(0, false, 1))]);
        u.committed(2, (1..=u16::MAX).map(|p| (home(), delivery(p, false, 1))));
        assert_eq!(u.oldest_batch(), Some(2));
        assert!(!u.repeats(&home(), &delivery(0, true, 1)));
        assert!(u.repeats(&home(), &delivery(1, true, 1)));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let all = vec![
            (home(), delivery(1, false, 3)),
            (home(), Delivery { part: 2, ..delivery(65_535, false, 4) }),
            (Arc::from("z"), delivery(2, false, 5)),
        ];
        let bytes = encode(&all).unwrap();
        assert_eq!(decode(&bytes), all);
        assert_eq!(decode(&bytes[..bytes.len() - 1]), all[..2]);
        assert_eq!(encode(&[]), None);
        assert_eq!(decode(&[]), []);
    }
}
