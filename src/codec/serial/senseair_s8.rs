//! Senseair S8 (also S88, K30 in Modbus mode): carbon dioxide by Modbus over a UART, 9600 baud 8N1, when asked.
//!
//! The device answers to any address with `FE`. [`request`] reads its input registers 1 to 4 (function 4): status, alarm
//! status, output status, concentration in ppm; numbers have their high byte first, and the CRC-16/MODBUS behind them its
//! low byte (Modbus on Senseair S8, TDE2067). An answer with one register is the concentration alone, as other programs ask
//! for it.
//!
//! Node: the source. Metrics: `co2`; `status`, the register's bits as a number. Where one of them is set, an event
//! `status` names them, once for each change. There is no concentration while the device says that it has a fatal error, and
//! none that is 0 while any error is set.

use std::sync::Arc;

use super::Order;
use super::crc::Checksum;
use super::resync::{Piece, Resync, Verdict};
use crate::codec::payload::found::{Found, refused};
use crate::codec::payload::vocabulary::Term;
use crate::reading::{DeadReason, Decoded, When};

/// Any device.
const ADDRESS: u8 = 0xFE;
const READ_INPUT: u8 = 0x04;
const EXCEPTION: u8 = 0x84;

/// The bits of the status, from the lowest.
const ERRORS: [&str; 7] = [
    "fatal error",
    "offset regulation error",
    "algorithm error",
    "output error",
    "self diagnostic error",
    "out of range",
    "memory error",
];

/// What asks for status and concentration. Some models sleep until they hear a first byte: a [`WAKE`] 5 ms before does no
/// harm to the others. The answer comes within 180 ms; asking more often than every 2 s gives nothing new.
pub const fn request() -> &'static [u8] {
    &[0xFE, 0x04, 0x00, 0x00, 0x00, 0x04, 0xE5, 0xC6]
}

/// What wakes a sleeping device.
pub const WAKE: &[u8] = &[0x00];

/// What the device answers.
#[derive(Clone, Debug)]
pub struct SenseairS8 {
    node: Arc<str>,
    crc: Checksum,
    resync: Resync,
    // The status that was told last.
    status: u16,
}

impl SenseairS8 {
    /// Before the first byte; `source` names the node.
    pub fn new(source: &str) -> Self {
        let crc = Checksum::named("CRC-16/MODBUS").expect("the catalogue has it");
        Self { node: Arc::from(source), crc, resync: Resync::default(), status: 0 }
    }

    /// Takes bytes; an answer with a wrong checksum and an exception are dead letters, other bytes are only counted.
    pub fn feed(&mut self, bytes: &[u8], each: &mut impl FnMut(Decoded)) {
        let Self { node, crc, resync, status } = self;
        resync.feed(bytes, &mut |held| judge(held, crc), &mut |piece| match piece {
            Piece::Whole(frame) => each(decode(frame, node, status)),
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

fn judge(held: &[u8], crc: &Checksum) -> Verdict<String> {
    let body = match held {
        [ADDRESS] | [ADDRESS, READ_INPUT] => return Verdict::More,
        [ADDRESS, READ_INPUT, count @ (2 | 8), ..] => 3 + usize::from(*count),
        [ADDRESS, EXCEPTION, ..] => 3,
        _ => return Verdict::Not,
    };
    if held.len() < body + 2 {
        return Verdict::More;
    }
    let (expected, found) = (crc.of(&held[..body]), crc.read(&held[body..], Order::Little));
    if expected == found {
        return Verdict::Whole(body + 2);
    }
    Verdict::Bad(format!("the checksum is {found:#06x}, expected {expected:#06x}"), body + 2)
}

fn decode(frame: &[u8], node: &Arc<str>, told: &mut u16) -> Decoded {
    if frame[1] == EXCEPTION {
        let name = match frame[2] {
            1 => "illegal function",
            2 => "illegal data address",
            3 => "illegal data value",
            4 => "slave device failure",
            6 => "slave device busy",
            _ => "unknown",
        };
        return refused(DeadReason::Malformed, format!("Modbus exception {}: {name}", frame[2]), frame);
    }
    let register = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let mut found = Found::new(frame);
    let mut errors = 0;
    let ppm = if frame[2] == 8 {
        let status = register(3);
        found.value(node, "status", &Term::unknown("status"), f64::from(status), When::Arrival);
        errors = status & 0x7F;
        if errors != *told {
            let names: Vec<&str> =
                ERRORS.iter().enumerate().filter(|(bit, _)| errors >> bit & 1 == 1).map(|(_, name)| *name).collect();
            let data = if names.is_empty() { "ok".to_owned() } else { names.join(", ") };
            found.event(node, "status", &data, When::Arrival);
            *told = errors;
        }
        register(9)
    } else {
        register(3)
    };
    if errors & 1 == 0 && (ppm != 0 || errors == 0) {
        found.value(node, "co2", &Term::named("co2"), f64::from(ppm), When::Arrival);
    }
    found.finish()
}

#[cfg(test)]
mod tests {
    use super::super::streams::{Stream, always_the_same, rows, survives_damage};
    use super::*;

    const ONE_REGISTER: &[u8] = include_bytes!("../../../tests/fixtures/serial/senseair-s8-co2-req.bin");
    /// The answer in "Modbus on Senseair S8": 0x0190 = 400 ppm.
    const ANSWER: &[u8] = &[0xFE, 0x04, 0x02, 0x01, 0x90, 0xAC, 0xD8];

    fn answer(body: &[u8]) -> Vec<u8> {
        let mut frame = body.to_vec();
        Checksum::named("modbus").unwrap().append(body, Order::Little, &mut frame);
        frame
    }

    fn full(status: u16, ppm: u16) -> Vec<u8> {
        let [a, b] = status.to_be_bytes();
        let [c, d] = ppm.to_be_bytes();
        answer(&[0xFE, 0x04, 0x08, a, b, 0, 0, 0, 0, c, d])
    }

    fn all(bytes: &[u8]) -> Vec<Decoded> {
        let (mut sensor, mut all) = (SenseairS8::new("office"), Vec::new());
        sensor.feed(bytes, &mut |decoded| all.push(decoded));
        all
    }

    #[test]
    fn requests_have_their_checksum() {
        assert_eq!(answer(&request()[..6]), request());
        assert_eq!(answer(&ONE_REGISTER[..6]), ONE_REGISTER);
    }

    #[test]
    fn answers_with_one_and_with_four_registers() {
        assert_eq!(answer(&ANSWER[..5]), ANSWER);
        assert_eq!(rows(&all(ANSWER)), ["office co2 400 ppm"]);
        assert_eq!(rows(&all(&full(0, 1200))), ["office status 0", "office co2 1200 ppm"]);
    }

    #[test]
    fn errors_are_named_once_and_a_value_with_them_is_kept_unless_it_is_none() {
        let got = all(&[full(0x20, 0), full(0x20, 10_000), full(0x41, 500), full(0x80, 500)].concat());
        assert_eq!(
            rows(&got),
            [
                "office status 32",
                "office ! status: out of range",
                "office status 32",
                "office co2 10000 ppm",
                "office status 65",
                "office ! status: fatal error, memory error",
                "office status 128",
                "office co2 500 ppm",
                "office ! status: ok",
            ]
        );
    }

    #[test]
    fn exceptions_and_wrong_checksums_are_told() {
        let got = all(&answer(&[0xFE, 0x84, 0x02]));
        assert_eq!(got[0].dead[0].detail, "Modbus exception 2: illegal data address");
        let mut flipped = ANSWER.to_vec();
        flipped[4] ^= 1;
        assert!(all(&flipped)[0].dead[0].detail.starts_with("the checksum is 0xd8ac, expected 0x"));
    }

    #[test]
    fn the_stream_heals() {
        let stream = || Box::new(SenseairS8::new("office")) as Box<dyn Stream>;
        let (one, two) = (full(0, 417), full(0, 418));
        always_the_same(&mut { stream }, &[&one, ANSWER, &two]);
        survives_damage(&mut { stream }, &[&one, &two, ANSWER, &one, &two, ANSWER], 2);
    }
}
