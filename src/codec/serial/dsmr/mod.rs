//! DSMR P1: what smart meters of the Netherlands (DSMR 2.1 to 5.0), Belgium (eMUCS), Luxembourg, Sweden, Hungary,
//! Lithuania and others say on their customer port; 115200 baud 8N1, versions 2 and 3 9600 baud 7E1.
//!
//! A telegram begins with `/` and ends with `!` at the beginning of a line, and with the CRC-16/ARC of everything from `/`
//! to `!` in four hex digits; versions before 4 have none. One that says version 4 or later, or that comes from a stream
//! that had checksums before, is not believed without. `telegram` has the lines and what they mean.

mod obis;
mod telegram;

use std::sync::Arc;

use super::crc::Checksum;
use crate::codec::payload::found::refused;
use crate::reading::{DeadReason, Decoded};
use crate::zone::Tz;

/// Longest telegram in bytes: messages for the customer have up to five times 2048 digits.
pub const MAX: usize = 16_384;

/// How far behind a slash the identification of a telegram is looked for; it has some 30 characters.
const MAX_FIRST_LINE: usize = 256;

/// What a meter says.
#[derive(Clone, Debug)]
pub struct Dsmr {
    source: Arc<str>,
    zone: Tz,
    crc: Checksum,
    held: Vec<u8>,
    /// Where the `!` stands.
    end: Option<usize>,
    skipped: u64,
    /// The meter sends checksums.
    checked: bool,
}

impl Dsmr {
    /// Before the first byte. `source` names the node of a meter without an id; its times are those of Central Europe.
    pub fn new(source: &str) -> Self {
        Self::in_zone(source, Tz::Europe__Amsterdam)
    }

    /// The same for a meter in another zone, such as one in Lithuania.
    pub fn in_zone(source: &str, zone: Tz) -> Self {
        Self {
            source: Arc::from(source),
            zone,
            crc: Checksum::named("CRC-16/ARC").expect("the catalogue has it"),
            held: Vec::new(),
            end: None,
            skipped: 0,
            checked: false,
        }
    }

    /// Takes bytes; each telegram, good or bad, is one call.
    pub fn feed(&mut self, bytes: &[u8], each: &mut impl FnMut(Decoded)) {
        for &byte in bytes {
            self.byte(byte, each);
        }
    }

    fn byte(&mut self, byte: u8, each: &mut impl FnMut(Decoded)) {
        if let Some(end) = self.end {
            // Four digits, or the end of the line for a telegram without.
            if byte.is_ascii_hexdigit() {
                self.held.push(byte);
                if self.held.len() == end + 5 {
                    self.ended(end, each);
                }
                return;
            }
            self.ended(end, each);
        }
        let line_begins = self.held.last() == Some(&b'\n');
        match byte {
            b'/' if self.held.is_empty() => self.held.push(byte),
            _ if self.held.is_empty() => self.skipped += u64::from(!matches!(byte, b'\r' | b'\n')),
            b'/' if line_begins => {
                self.reject(DeadReason::Malformed, "the telegram breaks off", each);
                self.held.push(byte);
            }
            b'!' if line_begins => {
                self.end = Some(self.held.len());
                self.held.push(byte);
            }
            _ => {
                self.held.push(byte);
                if self.held.len() >= MAX {
                    self.reject(DeadReason::TooLong, "the telegram is over the limit of 16384 bytes", each);
                }
            }
        }
    }

    /// Bytes of a telegram that has not ended.
    pub fn pending(&self) -> usize {
        self.held.len()
    }

    /// Bytes so far that belong to no good telegram; ends of lines between telegrams are not counted.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Forgets the telegram that has not ended.
    pub fn forget(&mut self) {
        self.held.clear();
        self.end = None;
    }

    fn reject(&mut self, reason: DeadReason, detail: &str, each: &mut impl FnMut(Decoded)) {
        self.skipped += self.held.len() as u64;
        // A slash in noise is nothing to tell.
        if self.held.contains(&b'\n') {
            each(refused(reason, detail, &self.held));
        }
        self.forget();
    }

    /// Where the telegram begins: noise on the line of its identification may hold a slash too, and then the checksum tells.
    fn begin(&self, end: usize) -> usize {
        let Ok(digits) = std::str::from_utf8(&self.held[end + 1..]) else { return 0 };
        let Ok(said) = u32::from_str_radix(digits, 16) else { return 0 };
        let line = self.held.iter().take(MAX_FIRST_LINE).take_while(|byte| **byte != b'\n').enumerate();
        let mut slashes = line.filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        slashes.find(|at| self.crc.of(&self.held[*at..=end]) == said).unwrap_or(0)
    }

    /// Everything up to the `!`, and the digits that came behind it.
    fn ended(&mut self, end: usize, each: &mut impl FnMut(Decoded)) {
        let from = self.begin(end);
        let (telegram, digits) = (&self.held[from..=end], &self.held[end + 1..]);
        let said = std::str::from_utf8(digits).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let fault = match (digits.len(), said) {
            (0, _) if !self.checked && !telegram::has_checksum(telegram) => None,
            (4, Some(said)) => {
                let expected = self.crc.of(telegram);
                (said != expected).then(|| format!("the checksum is {said:04X}, expected {expected:04X}"))
            }
            (len, _) => Some(format!("the checksum has {len} digits, expected 4")),
        };
        if let Some(detail) = fault {
            self.reject(DeadReason::Malformed, &detail, each);
            return;
        }
        self.checked = !digits.is_empty();
        self.skipped += from as u64;
        each(telegram::decode(telegram, &self.source, self.zone));
        self.forget();
    }
}

#[cfg(test)]
mod tests;
