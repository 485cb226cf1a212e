//! When which unit is asked for what. Pure: the time is an argument.
//!
//! Reads are due on a grid of their interval. A unit that misses an answer rests for a while, so that its late answer cannot
//! be taken for the one to the next request, and is asked for the same again. One that misses three in a row is dead: it is
//! tried seldom, and only where no other read is due meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::codec::modbus::plan::{self, Read};
use crate::codec::modbus::{Register, Unit};
use crate::source::backoff::Backoff;

/// Missed answers in a row that make a unit dead.
const DEAD: u32 = 3;
/// The shortest rest of a unit behind a missed answer.
const REST: Duration = Duration::from_secs(1);
/// How long a dead unit rests at most.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// A dead unit is tried after so long also where others have to wait for it.
const OVERDUE: Duration = Duration::from_secs(60);

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The read of this index.
    Ask(usize),
    /// Nothing, until then.
    Wait(Instant),
}

/// What has come of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// An answer, or an exception: the unit is there.
    Answer,
    /// Bytes that are no answer.
    Garbage,
    /// Nothing.
    Nothing,
}

/// What became of a unit by that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It has answered for the first time, or again after it was dead.
    Alive,
    /// It is dead from now on.
    Dead,
}

/// A read that is repeated.
#[derive(Clone, Debug)]
struct Slot {
    read: Read,
    interval: Duration,
    due: Instant,
}

/// What is known of a unit.
#[derive(Debug)]
struct Peer {
    config: Unit,
    // Missed answers in a row.
    missed: u32,
    // It is not asked before.
    rests_until: Instant,
    // It was heard of, and is not dead.
    alive: Option<bool>,
    backoff: Backoff,
}

/// The reads of a bus with their times, and what is known of its units.
#[derive(Debug)]
pub(super) struct Schedule {
    slots: Vec<Slot>,
    peers: BTreeMap<u8, Peer>,
    // How long a read takes whose answer does not come.
    cost: Duration,
}

impl Schedule {
    /// Everything is due at `now`. A read without an answer takes `cost`.
    pub(super) fn new(units: Vec<Unit>, cost: Duration, now: Instant) -> Self {
        let mut slots = Vec::new();
        let mut peers = BTreeMap::new();
        for unit in units {
            slots.extend(plan::reads(&unit).into_iter().map(|(interval, read)| Slot { read, interval, due: now }));
            let backoff = Backoff::new(rest(cost) * 2, LONGEST_REST);
            let peer = Peer { missed: 0, rests_until: now, alive: None, backoff, config: unit };
            peers.insert(peer.config.id, peer);
        }
        Self { slots, peers, cost }
    }

    /// The read of this index.
    pub(super) fn read(&self, index: usize) -> &Read {
        &self.slots[index].read
    }

    /// The registers of the unit that it is of.
    pub(super) fn registers(&self, index: usize) -> &[Register] {
        &self.peer(index).config.registers
    }

    /// The units.
    pub(super) fn units(&self) -> impl Iterator<Item = &Unit> {
        self.peers.values().map(|peer| &peer.config)
    }

    /// The unit of this address.
    pub(super) fn unit(&self, id: u8) -> Option<&Unit> {
        self.peers.get(&id).map(|peer| &peer.config)
    }

    /// Whether no unit answers, and not because none was asked yet.
    pub(super) fn all_dead(&self) -> bool {
        self.peers.values().all(|peer| peer.alive == Some(false))
    }

    fn peer(&self, index: usize) -> &Peer {
        &self.peers[&self.slots[index].read.unit]
    }

    /// What is to be done at `now`: of what is due that which was due first, dead units behind all others.
    pub(super) fn next(&self, now: Instant) -> Next {
        let (mut living, mut dead): (Vec<_>, Vec<_>) = (Vec::new(), Vec::new());
        for (index, slot) in self.slots.iter().enumerate() {
            let peer = self.peer(index);
            let at = slot.due.max(peer.rests_until);
            let reads = if peer.alive == Some(false) { &mut dead } else { &mut living };
            reads.push((at, slot.due, index));
        }
        // A read that waited for the rest of its unit keeps its place in the order.
        let due = |reads: &[(Instant, Instant, usize)]| {
            reads
                .iter()
                .filter(|(at, ..)| *at <= now)
                .min_by_key(|(_, due, _)| *due)
                .map(|(at, _, index)| (*at, *index))
        };
        if let Some((_, index)) = due(&living) {
            return Next::Ask(index);
        }
        let living_at = living.iter().map(|(at, ..)| *at).min();
        let fits = |at: Instant| living_at.is_none_or(|next| at + self.cost <= next);
        if let Some((at, index)) = due(&dead)
            && (fits(now) || now >= at + OVERDUE)
        {
            return Next::Ask(index);
        }
        let dead_at = dead.iter().map(|(at, ..)| if *at <= now { *at + OVERDUE } else { *at }).min();
        // There is a read in every configuration.
        Next::Wait([living_at, dead_at].into_iter().flatten().min().unwrap_or(now + LONGEST_REST))
    }

    /// Notes what came of a read at `now`. Also says how many of its times have passed without it.
    pub(super) fn done(&mut self, index: usize, came: Came, now: Instant) -> (Option<Change>, u64) {
        let rest = rest(self.cost);
        let slot = &mut self.slots[index];
        let Some(peer) = self.peers.get_mut(&slot.read.unit) else { return (None, 0) };
        if came == Came::Answer {
            let late = peer.missed > 0;
            let change = (peer.alive != Some(true)).then_some(Change::Alive);
            let was_dead = peer.alive == Some(false);
            (peer.missed, peer.alive) = (0, Some(true));
            peer.backoff.reset();
            // The answer may be the late one to the request before: another would come now.
            peer.rests_until = if late { now + rest } else { now };
            let passed = advance(slot, now);
            if was_dead {
                // That it was not there is told; its times are no misses of a unit that is.
                let unit = slot.read.unit;
                for other in self.slots.iter_mut().filter(|other| other.read.unit == unit) {
                    other.due = other.due.max(now);
                }
            }
            return (change, if was_dead { 0 } else { passed });
        }
        peer.missed = peer.missed.saturating_add(1);
        if came == Came::Garbage && peer.missed == 1 {
            // Noise: once more, at once.
            peer.rests_until = now;
            return (None, 0);
        }
        if peer.missed < DEAD {
            peer.rests_until = now + rest;
            return (None, 0);
        }
        peer.rests_until = now + peer.backoff.next();
        let change = (peer.alive != Some(false)).then_some(Change::Dead);
        peer.alive = Some(false);
        (change, 0)
    }

    /// The unit does not answer for these registers together: from now on each is asked for alone. Says whether there were
    /// several.
    pub(super) fn split(&mut self, index: usize) -> bool {
        let Slot { read, interval, due } = self.slots[index].clone();
        let Some(unit) = self.unit(read.unit) else { return false };
        if read.registers.len() < 2 {
            return false;
        }
        let single: Vec<Slot> = read.split(unit).into_iter().map(|read| Slot { read, interval, due }).collect();
        self.slots.splice(index..=index, single);
        true
    }
}

/// Long enough for an answer that is twice as late as it may be.
fn rest(cost: Duration) -> Duration {
    REST.max(2 * cost)
}

/// The next time on the grid that is not over; says how many were passed over.
fn advance(slot: &mut Slot, now: Instant) -> u64 {
    slot.due += slot.interval;
    let behind = now.saturating_duration_since(slot.due).as_nanos();
    let passed = u32::try_from(behind / slot.interval.as_nanos().max(1)).unwrap_or(u32::MAX);
    slot.due += slot.interval * passed;
    u64::from(passed)
}

#[cfg(test)]
mod tests;
