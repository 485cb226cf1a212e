//! What waits to be written: lines for the hub, questions to a device.

use chrono::NaiveDateTime;

use crate::codec::hub_lines;

/// Bytes that may wait. Answers above are dropped: a hub that takes none asks again.
const MAX_WAITING: usize = 64 * 1024;

/// Questions for the time that wait for their answer; more at once is noise.
const MAX_ASKED: u32 = 16;

/// Answers in the order of their writing.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
    asked: u32,
}

impl Outgoing {
    /// The hub wants to know the time.
    pub(super) fn ask_time(&mut self) {
        self.asked = (self.asked + 1).min(MAX_ASKED);
    }

    /// Tells the time where it was asked for, and nothing is before it: `now` is called then, so that it is the local time
    /// of the writing.
    pub(super) fn tell_time(&mut self, now: impl FnOnce() -> NaiveDateTime) {
        if self.asked > 0 && self.is_empty() {
            let line = hub_lines::datetime_line(now());
            for _ in 0..std::mem::take(&mut self.asked) {
                self.bytes.extend_from_slice(line.as_bytes());
            }
        }
    }

    /// Answers a batch; returns whether there was room.
    pub(super) fn batch_ack(&mut self, address: u16, count: u32, status: u8) -> bool {
        let line = hub_lines::batch_ack_line(address, count, status);
        let room = self.bytes.len() + line.len() <= MAX_WAITING;
        if room {
            self.bytes.extend_from_slice(line.as_bytes());
        }
        room
    }

    /// Asks a device; nothing where it has not taken what it was asked before.
    pub(super) fn ask(&mut self, request: &[u8]) {
        if self.bytes.len() + request.len() <= MAX_WAITING {
            self.bytes.extend_from_slice(request);
        }
    }

    /// What is to be written next.
    pub(super) fn waiting(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Nothing is to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting().is_empty()
    }

    /// The first `n` bytes of [`Outgoing::waiting`] were written.
    pub(super) fn wrote(&mut self, n: usize) {
        self.written += n;
        if self.is_empty() {
            self.bytes.clear();
            self.written = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> NaiveDateTime {
        "2025-10-26T02:30:00".parse().unwrap()
    }

    #[test]
    fn lines_wait_in_order_and_the_time_is_told_last() {
        let mut out = Outgoing::default();
        out.ask_time();
        out.ask_time();
        assert!(out.batch_ack(3, 2, 0));
        out.tell_time(|| unreachable!("something else waits"));
        assert_eq!(out.waiting(), b"BATCH_ACK 3 2 0\n");
        out.wrote(10);
        assert_eq!(out.waiting(), b"3 2 0\n");
        out.wrote(6);
        assert!(out.is_empty());
        out.tell_time(now);
        assert_eq!(String::from_utf8_lossy(out.waiting()), "DATETIME 2025-10-26 02:30:00 0\n".repeat(2));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut out = Outgoing::default();
        let taken = (0..10_000).filter(|_| out.batch_ack(65_535, 4_294_967_295, 1)).count();
        assert_eq!(taken, MAX_WAITING / "BATCH_ACK 65535 4294967295 1\n".len());
        out.wrote(out.waiting().len());
        (0..100).for_each(|_| out.ask_time());
        out.tell_time(now);
        assert_eq!(String::from_utf8_lossy(out.waiting()).lines().count(), 16);
    }
}
