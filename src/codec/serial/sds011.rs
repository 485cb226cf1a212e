//! Nova Fitness SDS011 (also SDS018, SDS021): fine dust over a UART, 9600 baud 8N1, once a second by itself.
//!
//! A frame has ten bytes: `AA`, a command, six bytes of data, their sum modulo 256, `AB`. `C0` are measurements: PM2.5 and
//! PM10 in tenths of a microgram per cubic metre, each with its low byte first, and the device's id in two bytes (Laser Dust
//! Sensor Control Protocol V1.3). Other commands (`C5`) answer to settings and hold no reading.
//!
//! Node: `sds011-` with the id in hex, as in `sds011-A160`. Metrics: `pm2_5`, `pm10`. The device has no clock.
//!
//! A zero is a value like others: the protocol has none for "not measuring".

use std::sync::Arc;

use super::resync::{Piece, Resync, Verdict};
use crate::codec::payload::found::{Found, refused};
use crate::codec::payload::vocabulary::Term;
use crate::reading::{DeadReason, Decoded, When};

/// Bytes of a frame.
const LEN: usize = 10;
const HEAD: u8 = 0xAA;
const TAIL: u8 = 0xAB;
const MEASUREMENT: u8 = 0xC0;
const ANSWER: u8 = 0xC5;

/// What the device says.
#[derive(Clone, Debug, Default)]
pub struct Sds011 {
    resync: Resync,
}

impl Sds011 {
    /// Before the first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes; a frame without a reading gives an empty [`Decoded`], one with a wrong sum a dead letter; other bytes
    /// outside of frames are only counted.
    pub fn feed(&mut self, bytes: &[u8], each: &mut impl FnMut(Decoded)) {
        self.resync.feed(bytes, &mut |held| judge(held), &mut |piece| match piece {
            Piece::Whole(frame) if frame[1] == MEASUREMENT => each(decode(frame)),
            Piece::Whole(_) => each(Decoded::default()),
            Piece::Bad(detail, frame) => each(refused(DeadReason::Malformed, detail, frame)),
        });
    }

    /// Bytes of a frame that has not ended.
    pub fn pending(&self) -> usize {
        self.resync.pending()
    }

    /// Bytes so far that belong to no good frame.
    pub fn skipped(&self) -> u64 {
        self.resync.skipped()
    }

    /// Forgets the frame that has not ended.
    pub fn forget(&mut self) {
        self.resync.forget();
    }
}

fn judge(held: &[u8]) -> Verdict<String> {
    if held[0] != HEAD || held.get(1).is_some_and(|command| !matches!(*command, MEASUREMENT | ANSWER)) {
        return Verdict::Not;
    }
    if held.len() < LEN {
        return Verdict::More;
    }
    if held[LEN - 1] != TAIL {
        return Verdict::Not;
    }
    let sum = sum(held);
    if held[8] == sum {
        return Verdict::Whole(LEN);
    }
    Verdict::Bad(format!("the sum in byte 8 is {:#04x}, expected {sum:#04x}", held[8]), LEN)
}

fn sum(frame: &[u8]) -> u8 {
    frame[2..8].iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte))
}

fn decode(frame: &[u8]) -> Decoded {
    let node = Arc::from(format!("sds011-{:02X}{:02X}", frame[6], frame[7]));
    let tenths = |at: usize| f64::from(u16::from_le_bytes([frame[at], frame[at + 1]])) / 10.0;
    let mut found = Found::new(frame);
    found.value(&node, "pm2_5", &Term::named("pm2_5"), tenths(2), When::Arrival);
    found.value(&node, "pm10", &Term::named("pm10"), tenths(4), When::Arrival);
    found.finish()
}

#[cfg(test)]
mod tests {
    use super::super::streams::{Stream, always_the_same, rows, survives_damage};
    use super::*;

    const SPEC: &[u8] = include_bytes!("../../../tests/fixtures/serial/sds011-spec-123.6-261.8.bin");
    const ZERO: &[u8] = include_bytes!("../../../tests/fixtures/serial/sds011-zero.bin");

    fn stream() -> impl FnMut() -> Box<dyn Stream> {
        || Box::new(Sds011::new())
    }

    fn all(bytes: &[u8]) -> (Vec<Decoded>, u64) {
        let (mut sensor, mut all) = (Sds011::new(), Vec::new());
        sensor.feed(bytes, &mut |decoded| all.push(decoded));
        (all, sensor.skipped())
    }

    #[test]
    fn the_example_of_the_protocol() {
        // AA C0 D4 04 3A 0A A1 60 1D AB: PM2.5 = 0x04D4 / 10, PM10 = 0x0A3A / 10.
        let (got, skipped) = all(SPEC);
        assert_eq!(rows(&got), ["sds011-A160 pm2_5 123.6 ug/m3", "sds011-A160 pm10 261.8 ug/m3"]);
        assert_eq!(skipped, 0);
        assert_eq!(rows(&all(ZERO).0), ["sds011-546F pm2_5 0 ug/m3", "sds011-546F pm10 0 ug/m3"]);
    }

    #[test]
    fn a_wrong_sum_is_told_and_answers_to_settings_are_no_readings() {
        let mut flipped = SPEC.to_vec();
        flipped[2] ^= 0x80;
        let (got, skipped) = all(&flipped);
        assert_eq!((got.len(), skipped), (1, 10));
        assert_eq!(got[0].dead[0].detail, "the sum in byte 8 is 0x1d, expected 0x9d");
        // The answer to "report by query" in the protocol's example.
        assert_eq!(all(&[0xAA, 0xC5, 0x02, 0x01, 0x00, 0x00, 0xA1, 0x60, 0x04, 0xAB]), (vec![Decoded::default()], 0));
    }

    #[test]
    fn the_stream_heals() {
        always_the_same(&mut stream(), &[SPEC, ZERO, SPEC]);
        survives_damage(&mut stream(), &[SPEC, ZERO, SPEC, ZERO, SPEC], 2);
    }
}
