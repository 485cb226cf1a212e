//! Where a frame begins and ends in a stream of bytes, and whether its checksum is right.
//!
//! | framing | ends | begins again after damage |
//! | --- | --- | --- |
//! | lines | at `\n` | at the next `\n` |
//! | cobs | at a zero byte | at the next zero byte |
//! | slip | at `C0` (RFC 1055) | at the next `C0` |
//! | length-prefixed | after the bytes that its length says | at the next sync bytes, or where a checksum is right; with neither of them when the line is silent |
//! | fixed | after n bytes | the same |
//! | idle-gap | when the line is silent | then |
//!
//! The checksum is at the end: of lines as hex digits, with or without a `*` in front, and else in binary.

mod encode;
mod known;
mod stuffing;

use known::{found, judge};
use stuffing::{END, cobs_decode, cobs_fault, slip_decode, slip_fault};

use super::Order;
use super::crc::Checksum;
use super::resync::Resync;
use crate::codec::lines::{Line, Lines, behind_noise};
use crate::reading::{DeadLetter, DeadReason};

/// Most bytes of a bad frame that are shown.
const HEAD: usize = 1024;

/// How frames are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Text lines; blanks at their end are cut, empty lines are none.
    Lines,
    /// Consistent overhead byte stuffing, a zero byte behind each frame; empty frames are none.
    Cobs,
    /// RFC 1055, `C0` behind each frame and perhaps before it; empty frames are none.
    Slip,
    /// A length in front.
    LengthPrefixed(Prefix),
    /// Always the same length in bytes: sync bytes, payload and checksum together.
    Fixed {
        /// The length.
        len: usize,
        /// Bytes that every frame begins with; they belong to the payload. May be empty.
        sync: Vec<u8>,
    },
    /// A frame ends when the line is silent: the caller says so with [`Frames::idle`].
    IdleGap,
}

/// The length in front of a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    /// Bytes that every frame begins with, before the length; they do not belong to the payload. May be empty.
    pub sync: Vec<u8>,
    /// The length has two bytes and not one.
    pub wide: bool,
    /// Their order.
    pub order: Order,
    /// What it counts.
    pub counts: Counts,
}

/// What a length counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Counts {
    /// The payload.
    #[default]
    Payload,
    /// Everything behind the length: payload and checksum.
    Rest,
    /// The whole frame: sync bytes, length, payload and checksum.
    Frame,
}

/// What a checksum is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Covers {
    /// The payload; of [`Framing::Fixed`] with the sync bytes, which belong to it.
    #[default]
    Payload,
    /// The length and the payload, without the sync bytes before them; of [`Framing::Fixed`] what is behind the sync bytes.
    Length,
    /// All that is before it: sync bytes, length and payload.
    Frame,
}

/// The checksum at the end of a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// Its algorithm.
    pub checksum: Checksum,
    /// Order of its bytes.
    pub order: Order,
    /// What it is over; for the framings with sync bytes or a length.
    pub covers: Covers,
}

/// A framing with its limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// How frames are told apart.
    pub framing: Framing,
    /// Their checksum.
    pub check: Option<Check>,
    /// Longest frame in bytes as it is sent, without what ends it.
    pub max: usize,
}

/// A piece of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The payload of a frame, never empty; its checksum was right.
    Whole(&'a [u8]),
    /// A frame that is none.
    Bad {
        /// What is wrong.
        reason: Fault,
        /// Its first bytes as they came, at most 1 KiB.
        head: &'a [u8],
        /// Its length in bytes as far as it is known.
        len: usize,
    },
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Over the limit.
    #[error("the frame is over the limit of {0} bytes")]
    TooLong(usize),
    /// Another checksum than that of its bytes.
    #[error("the checksum is {found:#x}, expected {expected:#x}")]
    Checksum {
        /// That of its bytes.
        expected: u32,
        /// What stands there.
        found: u32,
    },
    /// Shorter than its checksum.
    #[error("the frame is shorter than its checksum")]
    Short,
    /// A line without hex digits at its end.
    #[error("the line does not end with a checksum in hex digits")]
    NoChecksum,
    /// SLIP: an escape that is none.
    #[error("the escape at byte {0} is not followed by DC or DD")]
    Escape(usize),
    /// COBS: a code that leads behind the end.
    #[error("the COBS code at byte {0} leads beyond the frame")]
    Code(usize),
}

impl Fault {
    /// As a dead letter.
    pub fn dead(self, head: &[u8], len: usize) -> DeadLetter {
        let reason = if matches!(self, Self::TooLong(_)) { DeadReason::TooLong } else { DeadReason::Malformed };
        DeadLetter::new(reason, format!("a frame of {len} bytes: {self}"), head)
    }
}

/// The splitter. It holds at most [`Rules::max`] bytes.
#[derive(Clone, Debug)]
pub struct Frames {
    rules: Rules,
    inner: Inner,
    skipped: u64,
    // Of frames without sync bytes: that their checksum is wrong was said since the last good one.
    told: bool,
}

#[derive(Clone, Debug)]
enum Inner {
    Lines(Lines),
    Held(Held),
    Resync(Resync),
}

/// Bytes up to a delimiter.
#[derive(Clone, Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    // Length of the frame that is over the limit, `bytes` being its head; 0 while it is not.
    over: usize,
}

impl Frames {
    /// A splitter.
    ///
    /// # Errors
    /// A text that says which of the rules cannot be.
    pub fn new(rules: Rules) -> Result<Self, String> {
        let sum = rules.check.as_ref().map_or(0, |check| check.checksum.len());
        let (sync, least) = match &rules.framing {
            Framing::LengthPrefixed(prefix) => {
                (prefix.sync.len(), prefix.sync.len() + 1 + usize::from(prefix.wide) + sum + 1)
            }
            Framing::Fixed { len, sync } => {
                if *len > rules.max {
                    return Err(format!("a frame of {len} bytes is over the limit of {} bytes", rules.max));
                }
                if *len < sync.len() + sum + 1 {
                    let least = sync.len() + sum + 1;
                    return Err(format!(
                        "a frame of {len} bytes: expected at least {least} for sync bytes, payload and checksum"
                    ));
                }
                (sync.len(), *len)
            }
            _ => (0, sum + 1),
        };
        if sync > 16 {
            return Err(format!("{sync} sync bytes: expected at most 16"));
        }
        if rules.max < least {
            return Err(format!("the limit of {} bytes: expected at least {least}", rules.max));
        }
        let inner = match rules.framing {
            Framing::Lines => Inner::Lines(Lines::new(rules.max)),
            Framing::Cobs | Framing::Slip | Framing::IdleGap => Inner::Held(Held::default()),
            Framing::LengthPrefixed(_) | Framing::Fixed { .. } => Inner::Resync(Resync::default()),
        };
        Ok(Self { rules, inner, skipped: 0, told: false })
    }

    /// Takes bytes and calls `each` for every frame that ends in them. What it sees does not depend on how the bytes are
    /// cut.
    pub fn feed(&mut self, bytes: &[u8], each: &mut impl FnMut(Frame<'_>)) {
        let Self { rules, inner, skipped, told } = self;
        match inner {
            Inner::Lines(lines) => lines.feed(bytes, &mut |line| match line {
                Line::Whole(line) => {
                    let mut payload = line_checked(rules, line);
                    let behind = behind_noise(line);
                    if payload.is_err() && behind.len() < line.len() {
                        // The checksum tells whether it is a whole line.
                        payload = line_checked(rules, behind).or(payload);
                        *skipped += if payload.is_ok() { (line.len() - behind.len()) as u64 } else { 0 };
                    }
                    count(payload, line, skipped, each);
                }
                Line::TooLong { head, len } => {
                    *skipped += len as u64;
                    each(Frame::Bad { reason: Fault::TooLong(rules.max), head, len });
                }
            }),
            Inner::Held(held) => {
                let end = match rules.framing {
                    Framing::Cobs => 0,
                    Framing::Slip => END,
                    _ => return held.keep(bytes, rules.max),
                };
                let mut rest = bytes;
                while let Some(at) = rest.iter().position(|byte| *byte == end) {
                    held.keep(&rest[..at], rules.max);
                    rest = &rest[at + 1..];
                    held.close(rules, skipped, each);
                }
                held.keep(rest, rules.max);
            }
            Inner::Resync(resync) => {
                resync.feed(bytes, &mut |held| judge(rules, held), &mut |piece| found(rules, told, &piece, each));
            }
        }
    }

    /// The line was silent: a frame of [`Framing::IdleGap`] ends; what is held of a frame with a known length is none, and
    /// frames that are hidden in it are found. The others are not cut by silence.
    pub fn idle(&mut self, each: &mut impl FnMut(Frame<'_>)) {
        let Self { rules, inner, skipped, told } = self;
        match inner {
            Inner::Held(held) if rules.framing == Framing::IdleGap => held.close(rules, skipped, each),
            Inner::Resync(resync) => {
                resync.idle(&mut |held| judge(rules, held), &mut |piece| found(rules, told, &piece, each));
            }
            Inner::Held(_) | Inner::Lines(_) => {}
        }
    }

    /// Bytes of the frame that has not ended yet.
    pub fn pending(&self) -> usize {
        match &self.inner {
            Inner::Lines(lines) => lines.pending(),
            Inner::Held(held) => held.bytes.len().max(held.over),
            Inner::Resync(resync) => resync.pending(),
        }
    }

    /// Bytes so far that belong to no good frame.
    pub fn skipped(&self) -> u64 {
        let resync = if let Inner::Resync(resync) = &self.inner { resync.skipped() } else { 0 };
        self.skipped + resync
    }

    /// Forgets the frame that has not ended: the stream was interrupted.
    pub fn forget(&mut self) {
        match &mut self.inner {
            Inner::Lines(lines) => lines.forget(),
            Inner::Held(held) => held.forget(),
            Inner::Resync(resync) => resync.forget(),
        }
    }
}

impl Held {
    fn keep(&mut self, bytes: &[u8], max: usize) {
        if self.over > 0 {
            self.over = self.over.saturating_add(bytes.len());
            return;
        }
        let len = self.bytes.len() + bytes.len();
        if len <= max {
            if len > self.bytes.capacity() {
                // Doubling, but never over the limit.
                let capacity = len.max(self.bytes.capacity() * 2).min(max);
                self.bytes.reserve_exact(capacity - self.bytes.len());
            }
            self.bytes.extend_from_slice(bytes);
            return;
        }
        let head = HEAD.min(max);
        let missing = head.saturating_sub(self.bytes.len()).min(bytes.len());
        self.bytes.reserve_exact(missing);
        self.bytes.extend_from_slice(&bytes[..missing]);
        self.bytes.truncate(head);
        self.over = len;
    }

    /// The frame has ended.
    fn close(&mut self, rules: &Rules, skipped: &mut u64, each: &mut impl FnMut(Frame<'_>)) {
        if self.over > 0 {
            *skipped += self.over as u64;
            each(Frame::Bad { reason: Fault::TooLong(rules.max), head: &self.bytes, len: self.over });
        } else if !self.bytes.is_empty() {
            let fault = match rules.framing {
                Framing::Cobs => cobs_fault(&self.bytes),
                Framing::Slip => slip_fault(&self.bytes),
                _ => None,
            };
            if let Some(fault) = fault {
                count(Err(fault), &self.bytes, skipped, each);
            } else {
                let len = match rules.framing {
                    Framing::Cobs => cobs_decode(&mut self.bytes),
                    Framing::Slip => slip_decode(&mut self.bytes),
                    _ => self.bytes.len(),
                };
                let frame = &self.bytes[..len];
                count(checked(rules.check.as_ref(), frame), frame, skipped, each);
            }
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.bytes.clear();
        self.over = 0;
    }
}

/// Tells a frame that has ended, good or bad.
fn count(payload: Result<&[u8], Fault>, frame: &[u8], skipped: &mut u64, each: &mut impl FnMut(Frame<'_>)) {
    match payload {
        // A frame that is nothing but its checksum says nothing.
        Ok([]) => {}
        Ok(payload) => each(Frame::Whole(payload)),
        Err(reason) => {
            *skipped += frame.len() as u64;
            each(Frame::Bad { reason, head: &frame[..frame.len().min(HEAD)], len: frame.len() });
        }
    }
}

/// The payload of a frame whose checksum is right.
fn checked<'a>(check: Option<&Check>, frame: &'a [u8]) -> Result<&'a [u8], Fault> {
    let Some(Check { checksum, order, .. }) = check else { return Ok(frame) };
    let Some(len) = frame.len().checked_sub(checksum.len()) else { return Err(Fault::Short) };
    let (payload, sum) = frame.split_at(len);
    let (expected, found) = (checksum.of(payload), checksum.read(sum, *order));
    if expected == found { Ok(payload) } else { Err(Fault::Checksum { expected, found }) }
}

/// The same of a line.
fn line_checked<'a>(rules: &Rules, line: &'a [u8]) -> Result<&'a [u8], Fault> {
    let Some(Check { checksum, order, .. }) = &rules.check else { return Ok(line) };
    let Some(len) = line.len().checked_sub(2 * checksum.len()) else { return Err(Fault::Short) };
    let (payload, digits) = line.split_at(len);
    let payload = payload.strip_suffix(b"*").unwrap_or(payload);
    let digit = |digit: &u8| char::from(*digit).to_digit(16);
    let Some(found) = digits.iter().try_fold(0_u32, |sum, d| Some(sum << 4 | digit(d)?)) else {
        return Err(Fault::NoChecksum);
    };
    // The digits are written in the order of the bytes.
    let swapped = found.swap_bytes() >> (32 - 8 * checksum.len());
    let found = if *order == Order::Big { found } else { swapped };
    let expected = checksum.of(payload);
    if expected == found { Ok(payload) } else { Err(Fault::Checksum { expected, found }) }
}

#[cfg(test)]
mod tests;
