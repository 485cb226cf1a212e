//! NMEA 0183: sentences of satellite receivers and other instruments, `$GPGGA,...*76`, at 4800 baud 8N1 or faster.
//!
//! A sentence begins with `$` (or `!`) and ends with `*` and the exclusive or of the characters between them in two hex
//! digits. One without a checksum, with a wrong one, or that breaks off is a dead letter; a `$` begins a new one wherever it
//! stands. Any talker is taken (`GP`, `GN`, `GL`, `GA`, `GB`, `II`, `WI`...); proprietary sentences (`$P...`), those of ships
//! (`!AIVDM`) and kinds that hold no reading are passed over.
//!
//! - Node: the source; a receiver has no name.
//! - Time: the time of day of a sentence with the date of the last RMC (with a fix) or ZDA. Behind midnight the date goes on
//!   by itself. Until a date is known the arrival counts. Sentences without a time (VTG, GSA, GSV) belong to the time that
//!   came last. Dates before 2015 are those of a receiver that does not know better: they are not used, and an event says so
//!   once.
//! - Several sentences tell the same at the same time (GGA, RMC and GLL the position): the first counts.
//! - Without a valid fix there is no position, altitude, speed, course or precision, but the number of satellites, and
//!   `fix_quality` 0.

mod sentence;

use std::sync::Arc;

use chrono::{Days, NaiveDate};

use crate::codec::payload::found::{Found, refused};
use crate::reading::{CLOCK_EVENT, DeadReason, Decoded, Timestamp, When};

/// Longest sentence in bytes. The standard has 82; instruments exceed it.
pub const MAX: usize = 256;

/// Microseconds of a day.
const DAY: i64 = 86_400 * 1_000_000;

/// What instruments on a line say.
#[derive(Clone, Debug)]
pub struct Nmea {
    held: Vec<u8>,
    skipped: u64,
    memory: Memory,
}

/// What one sentence needs to know of those before.
#[derive(Clone, Debug)]
struct Memory {
    node: Arc<str>,
    /// The time of day that came last, in microseconds.
    clock: Option<i64>,
    /// The date at that time.
    date: Option<NaiveDate>,
    /// What was told for that time.
    given: Vec<&'static str>,
    /// It was said that the date is impossible.
    doubted: bool,
}

impl Nmea {
    /// Before the first byte; `source` names the node.
    pub fn new(source: &str) -> Self {
        let memory = Memory { node: Arc::from(source), clock: None, date: None, given: Vec::new(), doubted: false };
        Self { held: Vec::new(), skipped: 0, memory }
    }

    /// Takes bytes; each sentence is one call, with an empty [`Decoded`] where it holds no reading, and so is each bad one.
    pub fn feed(&mut self, bytes: &[u8], each: &mut impl FnMut(Decoded)) {
        for &byte in bytes {
            let begins = matches!(byte, b'$' | b'!');
            if self.held.is_empty() {
                if begins {
                    self.held.push(byte);
                } else if !matches!(byte, b'\r' | b'\n') {
                    self.skipped += 1;
                }
                continue;
            }
            if begins {
                self.reject(DeadReason::Malformed, "the sentence breaks off", each);
                self.held.push(byte);
                continue;
            }
            match byte {
                b'\r' | b'\n' => self.reject(DeadReason::Malformed, "the sentence has no checksum", each),
                b' '..=b'~' => {
                    self.held.push(byte);
                    if self.held.len() > 3 && self.held[self.held.len() - 3] == b'*' {
                        self.ended(each);
                    } else if self.held.len() >= MAX {
                        self.reject(DeadReason::TooLong, "the sentence is over the limit of 256 bytes", each);
                    }
                }
                _ => {
                    self.skipped += 1;
                    self.reject(DeadReason::Malformed, "a byte that is no ASCII text in a sentence", each);
                }
            }
        }
    }

    /// Bytes of a sentence that has not ended.
    pub fn pending(&self) -> usize {
        self.held.len()
    }

    /// Bytes so far that belong to no good sentence; ends of lines are not counted.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Forgets the sentence that has not ended, and the date: nobody knows how long the interruption was.
    pub fn forget(&mut self) {
        self.held.clear();
        self.memory.date = None;
        self.memory.clock = None;
        self.memory.given.clear();
    }

    /// Drops what is held. What is too short to have been a sentence is not worth a dead letter.
    fn reject(&mut self, reason: DeadReason, detail: &str, each: &mut impl FnMut(Decoded)) {
        self.skipped += self.held.len() as u64;
        if self.held.len() >= 6 && self.held[1..6].iter().all(u8::is_ascii_uppercase) {
            each(refused(reason, detail, &self.held));
        }
        self.held.clear();
    }

    /// A sentence with its checksum.
    fn ended(&mut self, each: &mut impl FnMut(Decoded)) {
        let body = &self.held[1..self.held.len() - 3];
        let digits = &self.held[self.held.len() - 2..];
        let expected = body.iter().fold(0, |sum, byte| sum ^ byte);
        let found = std::str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if found != Some(expected) || !digits[0].is_ascii_hexdigit() {
            let digits = String::from_utf8_lossy(digits);
            let detail = format!("the checksum is {digits}, expected {expected:02X}");
            self.reject(DeadReason::Malformed, &detail, each);
            return;
        }
        // Printable ASCII, as every byte that is held.
        let text = std::str::from_utf8(body).unwrap_or_default();
        let mut found = Found::new(&self.held);
        sentence::read(text, &mut self.memory, &mut found);
        each(found.finish());
        self.held.clear();
    }
}

impl Memory {
    /// When a sentence at the time that came last was true.
    fn when(&self) -> When {
        match (self.date, self.clock) {
            (Some(date), Some(clock)) => {
                let midnight = date.and_hms_opt(0, 0, 0).expect("every date has a midnight").and_utc().timestamp();
                When::Live(Timestamp(midnight * 1_000_000 + clock))
            }
            _ => When::Arrival,
        }
    }

    /// A sentence with a time of day, in microseconds.
    fn at(&mut self, clock: i64) {
        if self.clock == Some(clock) {
            return;
        }
        self.given.clear();
        // More than half a day from the last is another day.
        if let (Some(date), Some(last)) = (self.date, self.clock) {
            if clock + DAY / 2 < last {
                self.date = date.checked_add_days(Days::new(1));
            } else if clock > last + DAY / 2 {
                self.date = date.checked_sub_days(Days::new(1));
            }
        }
        self.clock = Some(clock);
    }

    /// The date at the time that came last.
    fn dated(&mut self, day: NaiveDate, found: &mut Found<'_>) {
        let earliest = NaiveDate::from_ymd_opt(2015, 1, 1).expect("a date");
        if day >= earliest {
            self.date = Some(day);
            self.doubted = false;
        } else if !std::mem::replace(&mut self.doubted, true) {
            let data = format!("the receiver says that it is {day}: the arrival counts");
            found.event(&self.node, CLOCK_EVENT, &data, When::Arrival);
        }
    }

    /// Whether this is the first of its kind for the time that came last.
    fn first(&mut self, metric: &'static str) -> bool {
        // Without a time nothing tells whether it was told already.
        if self.clock.is_none() {
            return true;
        }
        let first = !self.given.contains(&metric);
        if first {
            self.given.push(metric);
        }
        first
    }
}

#[cfg(test)]
mod tests;
