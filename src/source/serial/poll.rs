//! Devices that only speak when they are asked: what is written to them, and when. Pure: the time is an argument.

use std::time::Duration;

use tokio::time::Instant;

use crate::codec::serial::{Format, mh_z19, senseair_s8};

/// How long a device takes to wake up.
const WAKE: Duration = Duration::from_millis(5);

/// What a device is asked, and when it is the next time.
#[derive(Debug)]
pub(super) struct Poll {
    wake: &'static [u8],
    request: &'static [u8],
    interval: Duration,
    // When it is asked next, and when to write the next bytes: a request follows its waking by a moment.
    due: Instant,
    at: Instant,
    awake: bool,
    // Readings so far when it was asked last; `None` before that.
    asked: Option<u64>,
}

/// What is to be done when the time has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// These bytes are to be written.
    pub(super) bytes: &'static [u8],
    /// They begin a question: what is held of an answer belongs to the one before.
    pub(super) begins: bool,
    /// The question before has got no reading.
    pub(super) missed: bool,
}

impl Poll {
    /// For formats of devices that have to be asked, every `interval` from now on.
    pub(super) fn new(format: Format, interval: Duration, now: Instant) -> Option<Self> {
        let (wake, request): (&[u8], _) = match format {
            Format::MhZ19 => (&[], mh_z19::request()),
            Format::SenseairS8 => (senseair_s8::WAKE, senseair_s8::request()),
            _ => return None,
        };
        Some(Self { wake, request, interval, due: now, at: now, awake: false, asked: None })
    }

    /// A new connection: nothing is asked, and what was due meanwhile is due now.
    pub(super) fn connected(&mut self, now: Instant) {
        self.due = self.due.max(now);
        (self.at, self.awake, self.asked) = (self.due, false, None);
    }

    /// When it is the next turn.
    pub(super) fn at(&self) -> Instant {
        self.at
    }

    /// It is the turn; `readings` is how many there are so far.
    pub(super) fn turn(&mut self, readings: u64, now: Instant) -> Turn {
        if !self.awake && !self.wake.is_empty() {
            (self.awake, self.at) = (true, now + WAKE);
            return Turn { bytes: self.wake, begins: true, missed: self.missed(readings) };
        }
        let begins = !self.awake;
        let missed = begins && self.missed(readings);
        self.asked = Some(readings);
        self.pass(now);
        Turn { bytes: self.request, begins, missed }
    }

    /// Its turn passes.
    pub(super) fn pass(&mut self, now: Instant) {
        // On a grid: a turn that comes late does not move the others.
        while self.due <= now {
            self.due += self.interval;
        }
        (self.at, self.awake) = (self.due, false);
    }

    fn missed(&self, readings: u64) -> bool {
        self.asked.is_some_and(|before| before == readings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_device_is_asked_on_a_grid_and_misses_are_seen_at_the_next_turn() {
        let start = Instant::now();
        let mut poll = Poll::new(Format::MhZ19, 10 * SECOND, start).unwrap();
        let turn = |begins, missed| Turn { bytes: mh_z19::request(), begins, missed };
        assert_eq!((poll.at(), poll.turn(0, start)), (start, turn(true, false)));
        assert_eq!(poll.at(), start + 10 * SECOND);
        // An answer in time, a turn that comes late, and none at all.
        assert_eq!(poll.turn(1, start + 12 * SECOND), turn(true, false));
        assert_eq!(poll.at(), start + 20 * SECOND);
        assert_eq!(poll.turn(1, start + 20 * SECOND), turn(true, true));
        poll.pass(start + 45 * SECOND);
        assert_eq!(poll.at(), start + 50 * SECOND);
        poll.connected(start + 47 * SECOND);
        assert_eq!((poll.at(), poll.turn(1, start + 50 * SECOND)), (start + 50 * SECOND, turn(true, false)));
        poll.connected(start + 90 * SECOND);
        assert_eq!(poll.at(), start + 90 * SECOND);
    }

    #[test]
    fn a_sleeping_device_is_woken_first() {
        let start = Instant::now();
        let mut poll = Poll::new(Format::SenseairS8, 10 * SECOND, start).unwrap();
        assert_eq!(poll.turn(0, start), Turn { bytes: &[0], begins: true, missed: false });
        assert_eq!(poll.at(), start + WAKE);
        let asked = Turn { bytes: senseair_s8::request(), begins: false, missed: false };
        assert_eq!(poll.turn(0, start + WAKE), asked);
        assert_eq!(poll.at(), start + 10 * SECOND);
        assert_eq!(poll.turn(0, start + 10 * SECOND), Turn { bytes: &[0], begins: true, missed: true });
        assert!(Poll::new(Format::Sds011, SECOND, start).is_none());
    }
}
