//! Winsen MH-Z19, 19B, 19C (also MH-Z14, MH-Z16): carbon dioxide over a UART, 9600 baud 8N1, when asked.
//!
//! The answer to [`request`] has nine bytes: `FF 86`, the concentration in ppm with its high byte first, the temperature
//! in degrees with 40 added, three more bytes, and the sum (MH-Z19B user's manual 1.0). The temperature byte is not in the
//! manual; devices without it send 0 there, and then there is no temperature.
//!
//! The sum is the complement of the bytes between the first and the last: `FF - (their sum) + 1`.
//!
//! Node: the source. Metrics: `co2`, `temperature`.

use std::sync::Arc;

use super::resync::{Piece, Resync, Verdict};
use crate::codec::payload::found::{Found, refused};
use crate::codec::payload::vocabulary::Term;
use crate::reading::{DeadReason, Decoded, When};

/// Bytes of an answer.
const LEN: usize = 9;
const HEAD: [u8; 2] = [0xFF, 0x86];

/// What asks for the concentration. The answer takes some 10 ms on the line; nothing behind a second is to be waited for,
/// and asking more often than every 2 s gives nothing new.
pub const fn request() -> &'static [u8] {
    &[0xFF, 0x01, 0x86, 0x00, 0x00, 0x00, 0x00, 0x00, 0x79]
}

/// What the device answers.
#[derive(Clone, Debug)]
pub struct MhZ19 {
    node: Arc<str>,
    resync: Resync,
}

impl MhZ19 {
    /// Before the first byte; `source` names the node.
    pub fn new(source: &str) -> Self {
        Self { node: Arc::from(source), resync: Resync::default() }
    }

    /// Takes bytes; an answer with a wrong sum is a dead letter, other bytes are only counted.
    pub fn feed(&mut self, bytes: &[u8], each: &mut impl FnMut(Decoded)) {
        let Self { node, resync } = self;
        resync.feed(bytes, &mut |held| judge(held), &mut |piece| match piece {
            Piece::Whole(frame) => each(decode(frame, node)),
            Piece::Bad(detail, frame) => each(refused(DeadReason::Malformed, detail, frame)),
        });
    }

    /// Bytes of an answer that has not ended.
    pub fn pending(&self) -> usize {
        self.resync.pending()
    }

    /// Bytes so far that belong to no good answer.
    pub fn skipped(&self) -> u64 {
        self.resync.skipped()
    }

    /// Forgets the answer that has not ended: before the next request.
    pub fn forget(&mut self) {
        self.resync.forget();
    }
}

fn judge(held: &[u8]) -> Verdict<String> {
    let known = held.len().min(2);
    if held[..known] != HEAD[..known] {
        return Verdict::Not;
    }
    if held.len() < LEN {
        return Verdict::More;
    }
    let sum = held[1..LEN - 1].iter().fold(0, |sum: u8, byte| sum.wrapping_sub(*byte));
    if held[LEN - 1] == sum {
        return Verdict::Whole(LEN);
    }
    Verdict::Bad(format!("the sum in byte 8 is {:#04x}, expected {sum:#04x}", held[LEN - 1]), LEN)
}

fn decode(frame: &[u8], node: &Arc<str>) -> Decoded {
    let mut found = Found::new(frame);
    let ppm = u16::from_be_bytes([frame[2], frame[3]]);
    found.value(node, "co2", &Term::named("co2"), f64::from(ppm), When::Arrival);
    if frame[4] != 0 {
        found.value(node, "temperature", &Term::named("temperature"), f64::from(frame[4]) - 40.0, When::Arrival);
    }
    found.finish()
}

#[cfg(test)]
mod tests {
    use super::super::streams::{Stream, always_the_same, rows, survives_damage};
    use super::*;

    const REQUEST: &[u8] = include_bytes!("../../../tests/fixtures/serial/mhz19-read-request.bin");
    const REPLY: &[u8] = include_bytes!("../../../tests/fixtures/serial/mhz19-reply-800ppm.bin");
    /// The manual's example.
    const MANUAL: &[u8] = &[0xFF, 0x86, 0x02, 0x20, 0x00, 0x00, 0x00, 0x00, 0x58];

    fn all(bytes: &[u8]) -> (Vec<Decoded>, u64) {
        let (mut sensor, mut all) = (MhZ19::new("attic"), Vec::new());
        sensor.feed(bytes, &mut |decoded| all.push(decoded));
        (all, sensor.skipped())
    }

    #[test]
    fn the_request_and_the_answers_of_the_manual() {
        assert_eq!(request(), REQUEST);
        assert_eq!(all(MANUAL), (all(MANUAL).0, 0));
        assert_eq!(rows(&all(MANUAL).0), ["attic co2 544 ppm"]);
        // 0x0320 ppm; 0x12 - 40 degrees.
        assert_eq!(rows(&all(REPLY).0), ["attic co2 800 ppm", "attic temperature -22 degC"]);
    }

    #[test]
    fn a_wrong_sum_is_told_and_the_echo_of_the_request_is_none() {
        let (got, skipped) = all(&[0xFF, 0x86, 0x02, 0x21, 0x00, 0x00, 0x00, 0x00, 0x58]);
        assert_eq!((&*got[0].dead[0].detail, skipped), ("the sum in byte 8 is 0x58, expected 0x57", 9));
        let echoed = [request(), MANUAL].concat();
        assert_eq!((rows(&all(&echoed).0), all(&echoed).1), (vec!["attic co2 544 ppm".to_owned()], 9));
    }

    #[test]
    fn the_stream_heals() {
        let stream = || Box::new(MhZ19::new("attic")) as Box<dyn Stream>;
        always_the_same(&mut { stream }, &[MANUAL, REPLY, MANUAL]);
        survives_damage(&mut { stream }, &[MANUAL, REPLY, MANUAL, REPLY, MANUAL], 2);
    }
}
