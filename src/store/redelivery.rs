//! Which committed messages their broker may send again, because it is not known to have their acknowledgement.
//!
//! A message without a time of its own cannot be told from a later equal one by its contents. It is known again by its
//! packet id together with a digest, and only while it is marked as sent before (DUP = 1). Pure.
//!
//! Each commit writes what it adds to the memory; now and then one writes all of it, so that older rows can go.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::reading::{Delivery, Digest};

/// Most messages that are remembered: as many as one session has packet ids. Above it the oldest are forgotten.
pub const MAX: usize = 65_535;

/// Bytes of a digest.
const DIGEST: usize = 8;
/// Bytes of a digest in the blobs of the first version, of which the first [`DIGEST`] count.
const LONG_DIGEST: usize = 16;

/// Messages that the tables keep room for in any case.
const SPARE: usize = 1024;

/// What a blob says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What a commit adds.
    Added,
    /// All that is remembered; what older commits say is void.
    All,
}

/// Messages with the name of the source that they came through.
pub type Entries = Vec<(Arc<str>, Delivery)>;

type Key = (Arc<str>, u16, u16);

#[derive(Debug)]
struct Entry {
    digest: Digest,
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
        let Some((kind, entries)) = decode(blob) else { return };
        if kind == Kind::All {
            *self = Self::default();
        }
        self.remember(entries, true);
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
    pub fn confirmed(&mut self, source: &Arc<str>, packets: &[(u16, Digest)]) {
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

    /// The session is gone, and with it everything that the broker could send again. Returns whether there was something.
    pub fn session_lost(&mut self, source: &Arc<str>) -> bool {
        self.forget(|(s, _, _), _| s == source)
    }

    /// The broker has sent again what it would: what an earlier process left behind and did not come is acknowledged. Returns
    /// whether there was something.
    pub fn resumed(&mut self, source: &Arc<str>) -> bool {
        self.forget(|(s, _, _), entry| s == source && entry.loaded)
    }

    fn forget(&mut self, is_gone: impl Fn(&Key, &Entry) -> bool) -> bool {
        let before = self.entries.len();
        self.entries.retain(|key, entry| !is_gone(key, entry));
        self.sweep();
        self.entries.len() < before
    }

    /// `commits.unconfirmed` of a row that says all that is remembered.
    pub fn all(&self) -> Vec<u8> {
        self.all_with(&[])
    }

    /// Forgets sources that are no longer configured: nothing of them can come again.
    pub fn keep_sources(&mut self, sources: &[Arc<str>]) {
        self.entries.retain(|(s, _, _), _| sources.contains(s));
    }

    /// `commits.unconfirmed` of a commit that adds `added` and says everything else that is remembered as well.
    pub fn all_with(&self, added: &[(Arc<str>, Delivery)]) -> Vec<u8> {
        // The entries are not copied: there may be tens of thousands. Of equal keys the last to be added counts.
        let latest: HashMap<(&str, u16, u16), &Digest> =
            added.iter().map(|(source, d)| ((&**source, d.packet, d.part), &d.digest)).collect();
        let kept =
            self.entries.iter().map(|((source, packet, part), entry)| ((&**source, *packet, *part), &entry.digest));
        let kept = kept.filter(|(key, _)| !latest.contains_key(key));
        written(Kind::All, kept.chain(latest.iter().map(|(key, digest)| (*key, *digest))))
    }
}

/// `commits.unconfirmed` of a commit that adds these; `None` when there are none.
pub fn added(deliveries: &[(Arc<str>, Delivery)]) -> Option<Vec<u8>> {
    (!deliveries.is_empty()).then(|| encode(Kind::Added, deliveries))
}

/// The kind: 4 for what is added, 5 for all. Then for each source the length of its name, its name, the number of its runs
/// (u32) and of its further parts (u32), the runs (first packet id, messages less one, their digests), and the parts (packet
/// id, part, digest); numbers are little-endian. Brokers count packet ids up, so that most messages are in few runs.
///
/// Earlier versions wrote the kinds 2 and 3, whose runs are single messages without their number, and 0 and 1, whose entries
/// are packet id, part and 16 bytes of the digest, without a number of parts.
pub fn encode(kind: Kind, deliveries: &[(Arc<str>, Delivery)]) -> Vec<u8> {
    written(kind, deliveries.iter().map(|(source, d)| ((&**source, d.packet, d.part), &d.digest)))
}

/// Packet id, part and digest.
type Written<'a> = (u16, u16, &'a Digest);

fn written<'a>(kind: Kind, entries: impl Iterator<Item = ((&'a str, u16, u16), &'a Digest)>) -> Vec<u8> {
    let mut by_source: BTreeMap<&str, [Vec<Written<'_>>; 2]> = BTreeMap::new();
    let mut count = 0;
    for ((source, packet, part), digest) in entries {
        by_source.entry(source).or_default()[usize::from(part > 0)].push((packet, part, digest));
        count += 1;
    }
    let mut out = Vec::with_capacity(count * DIGEST + 64);
    out.push(match kind {
        Kind::Added => 4,
        Kind::All => 5,
    });
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes();
    for (source, [mut messages, parts]) in by_source {
        // All fit: names have at most 128 bytes, and a batch has fewer messages than u32 has numbers.
        out.push(u8::try_from(source.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(&source.as_bytes()[..source.len().min(usize::from(u8::MAX))]);
        // Stable: of equal ids the last still counts.
        messages.sort_by_key(|(packet, ..)| *packet);
        let runs = || messages.chunk_by(|(one, ..), (next, ..)| one.checked_add(1) == Some(*next));
        out.extend_from_slice(&number(runs().count()));
        out.extend_from_slice(&number(parts.len()));
        for run in runs() {
            out.extend_from_slice(&run[0].0.to_le_bytes());
            // A run ends at the last id at the latest.
            out.extend_from_slice(&u16::try_from(run.len() - 1).unwrap_or(u16::MAX).to_le_bytes());
            out.extend(run.iter().flat_map(|(.., digest)| *digest));
        }
        for (packet, part, digest) in parts {
            out.extend_from_slice(&packet.to_le_bytes());
            out.extend_from_slice(&part.to_le_bytes());
            out.extend_from_slice(digest);
        }
    }
    out
}

/// What a blob says; `None` where it is of no known kind. What cannot be read ends it, since a wrong memory would be worse
/// than none.
pub fn decode(blob: &[u8]) -> Option<(Kind, Entries)> {
    let (&number, mut bytes) = blob.split_first()?;
    let kind = if number % 2 == 0 { Kind::Added } else { Kind::All };
    let version = Version::of(number)?;
    let mut out = Vec::new();
    while let Some((source, count, rest)) = header(bytes) {
        bytes = rest;
        if entries(version, &source, count, &mut bytes, &mut out).is_none() {
            break;
        }
    }
    Some((kind, out))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    LongDigests,
    SingleMessages,
    Runs,
}

impl Version {
    fn of(kind: u8) -> Option<Self> {
        match kind {
            0 | 1 => Some(Self::LongDigests),
            2 | 3 => Some(Self::SingleMessages),
            4 | 5 => Some(Self::Runs),
            _ => None,
        }
    }
}

/// The entries of one source; `None` when the blob ends before them.
fn entries(version: Version, source: &Arc<str>, count: u32, bytes: &mut &[u8], out: &mut Entries) -> Option<()> {
    let mut push = |packet, part, digest| {
        out.push((Arc::clone(source), Delivery { packet, dup: false, part, digest }));
    };
    let (runs, parts) = match version {
        Version::LongDigests => (0, count),
        Version::SingleMessages | Version::Runs => (count, u32::from_le_bytes(take(bytes)?)),
    };
    for _ in 0..runs {
        let first = u16::from_le_bytes(take(bytes)?);
        let more = if version == Version::Runs { u16::from_le_bytes(take(bytes)?) } else { 0 };
        for packet in first..=first.checked_add(more)? {
            push(packet, 0, take(bytes)?);
        }
    }
    for _ in 0..parts {
        let packet = u16::from_le_bytes(take(bytes)?);
        let part = u16::from_le_bytes(take(bytes)?);
        let digest = take(bytes)?;
        if version == Version::LongDigests {
            take::<{ LONG_DIGEST - DIGEST }>(bytes)?;
        }
        push(packet, part, digest);
    }
    Some(())
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
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
        Delivery { packet, dup, digest: [digest; 8], part: 0 }
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
        u.confirmed(&home(), &[(7, [1; 8]), (8, [9; 8])]);
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
        let known: Vec<(u16, Digest)> = (1..u16::MAX).map(|p| (p, [1; 8])).collect();
        u.confirmed(&home(), &known);
        assert!(u.entries.capacity() < entries / 8 && u.order.capacity() < order / 8);
        let whole = u.all_with(&[
            (home(), delivery(0, false, 2)),
            (home(), delivery(3, false, 4)),
            (home(), delivery(3, false, 5)),
        ]);
        let known = vec![(home(), delivery(0, false, 2)), (home(), delivery(3, false, 5))];
        assert_eq!(decode(&whole), Some((Kind::All, known)));
        assert!(u.repeats(&home(), &delivery(0, true, 1)), "it was asked and not changed");
    }

    #[test]
    fn what_earlier_versions_wrote_is_read() {
        let entry = |packet: u8, part: u8| [[packet, 0, part, 0].to_vec(), (1..=16).collect()].concat();
        let blob = [b"\x01\x04home\x02\0\0\0".to_vec(), entry(7, 0), entry(8, 3)].concat();
        let known = |packet, part| (home(), Delivery { packet, dup: false, digest: [1, 2, 3, 4, 5, 6, 7, 8], part });
        assert_eq!(decode(&blob), Some((Kind::All, vec![known(7, 0), known(8, 3)])));
        assert_eq!(decode(&blob[..blob.len() - 1]), Some((Kind::All, vec![known(7, 0)])));

        let blob = b"\x02\x04home\x01\0\0\0\x01\0\0\0\x07\0\x01\x02\x03\x04\x05\x06\x07\x08\x08\0\x03\0\x01\x02\x03\x04\x05\x06\x07\x08";
        assert_eq!(decode(blob), Some((Kind::Added, vec![known(7, 0), known(8, 3)])));
    }

    #[test]
    fn messages_with_ids_in_a_row_take_eight_bytes_each() {
        let ids = [65_534, 65_535, 1, 2, 3, 7, 2];
        let all: Vec<_> = ids.iter().zip(1..).map(|(id, digest)| (home(), delivery(*id, false, digest))).collect();
        let bytes = added(&all).unwrap();
        assert_eq!(bytes.len(), 1 + (1 + 4 + 8) + 4 * 4 + 7 * 8);
        let mut u = Unconfirmed::default();
        u.load(&bytes);
        for (id, digest) in [(65_534, 1), (65_535, 2), (1, 3), (2, 7), (3, 5), (7, 6)] {
            assert!(u.repeats(&home(), &delivery(id, true, digest)), "{id}");
        }
        assert_eq!(u.entries.len(), 6);
        // Every cut keeps what is whole before it.
        for cut in 1..bytes.len() {
            let (_, found) = decode(&bytes[..cut]).unwrap();
            assert!(found.len() < all.len());
        }
        // A run beyond the last id is no run.
        let beyond = b"\x04\x01a\x01\0\0\0\0\0\0\0\xff\xff\x01\0\x01\x02\x03\x04\x05\x06\x07\x08\x01\x02\x03\x04\x05\x06\x07\x08";
        assert_eq!(decode(beyond), Some((Kind::Added, Vec::new())));
    }

    #[test]
    fn what_is_written_is_read_again_and_the_whole_memory_replaces_older_rows() {
        let all = vec![
            (home(), delivery(1, false, 3)),
            (home(), Delivery { part: 2, ..delivery(65_535, false, 4) }),
            (Arc::from("z"), delivery(2, false, 5)),
        ];
        let bytes = added(&all).unwrap();
        assert_eq!(decode(&bytes), Some((Kind::Added, all.clone())));
        assert_eq!(decode(&bytes[..bytes.len() - 1]), Some((Kind::Added, all[..2].to_vec())));
        assert_eq!(bytes.len(), 1 + (1 + 4 + 8 + 12 + 12) + (1 + 1 + 8 + 12));
        assert_eq!((added(&[]), decode(&[]), decode(&[6])), (None, None, None));

        let mut u = Unconfirmed::default();
        u.load(&bytes);
        u.confirmed(&home(), &[(1, [3; 8])]);
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
