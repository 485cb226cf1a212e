//! Plantower PMS: fine dust over a UART, 9600 baud 8N1, every 0.2 to 2.3 seconds by itself.
//!
//! A frame is `42 4D`, the length of what follows, 16-bit numbers, and the sum of all bytes before it; all numbers have
//! their high byte first (data sheets of the PMS1003, 3003, 5003, 7003, A003, 5003S, 5003T and 5003ST):
//!
//! | length | devices | numbers |
//! | --- | --- | --- |
//! | 20 | PMS3003 | 6 masses, 3 reserved |
//! | 28 | PMS1003, 5003, 7003, A003, 9003M | 6 masses, 6 counts, 1 reserved (version and error) |
//! | 28 | PMS5003S | the same with formaldehyde in the last |
//! | 28 | PMS5003T | 6 masses, 4 counts, temperature, humidity, 1 reserved |
//! | 36 | PMS5003ST | 6 masses, 6 counts, formaldehyde, temperature, humidity, 2 reserved |
//! | 4 | all | the answer to a command: no reading |
//!
//! The first three masses are those "under standard particles" (CF=1, for the factory), the next three those "under
//! atmospheric environment". The latter are what the air holds: `pm1`, `pm2_5`, `pm10`. The former are kept as
//! `pm1_standard`, `pm2_5_standard`, `pm10_standard`. Counts are of particles beyond a diameter in 0.1 litres:
//! `particles_0_3` to `particles_10` in `1/dL`.
//!
//! The device says neither its model nor an id: the node is the source, and the model is configured where it matters.

use std::sync::Arc;

use super::resync::{Piece, Resync, Verdict};
use crate::codec::payload::found::{Found, refused};
use crate::codec::payload::vocabulary::Term;
use crate::reading::{DeadReason, Decoded, When};

const HEAD: [u8; 2] = [0x42, 0x4D];

/// What the frames of 28 bytes hold behind the masses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Model {
    /// Six counts: PMS1003, 5003, 7003, A003, 9003M; 3003 and 5003ST tell themselves by their length.
    #[default]
    Plain,
    /// Six counts and formaldehyde: PMS5003S.
    S,
    /// Four counts, temperature and humidity: PMS5003T.
    T,
}

/// What the device says.
#[derive(Clone, Debug)]
pub struct Pms {
    node: Arc<str>,
    model: Model,
    resync: Resync,
}

impl Pms {
    /// Before the first byte; `source` names the node.
    pub fn new(source: &str, model: Model) -> Self {
        Self { node: Arc::from(source), model, resync: Resync::default() }
    }

    /// Takes bytes; a frame without a reading gives an empty [`Decoded`], one with a wrong sum a dead letter; other bytes
    /// outside of frames are only counted.
    pub fn feed(&mut self, bytes: &[u8], each: &mut impl FnMut(Decoded)) {
        let Self { node, model, resync } = self;
        resync.feed(bytes, &mut |held| judge(held), &mut |piece| match piece {
            Piece::Whole(frame) if frame.len() > 8 => each(decode(frame, node, *model)),
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
    let known = held.len().min(2);
    if held[..known] != HEAD[..known] || held.get(2).is_some_and(|high| *high != 0) {
        return Verdict::Not;
    }
    let Some(said) = held.get(3) else { return Verdict::More };
    if !matches!(said, 4 | 20 | 28 | 36) {
        return Verdict::Not;
    }
    let len = 4 + usize::from(*said);
    if held.len() < len {
        return Verdict::More;
    }
    let sum = held[..len - 2].iter().fold(0, |sum: u16, byte| sum.wrapping_add(u16::from(*byte)));
    let found = number(held, len - 2);
    if found == sum {
        return Verdict::Whole(len);
    }
    Verdict::Bad(format!("the sum in byte {} is {found:#06x}, expected {sum:#06x}", len - 2), len)
}

fn number(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

fn decode(frame: &[u8], node: &Arc<str>, model: Model) -> Decoded {
    let mut found = Found::new(frame);
    // The data sheets count from 1.
    let data = |n: usize| number(frame, 2 + 2 * n);
    let mut masses = |from: usize, suffix: &str| {
        for (at, size) in ["pm1", "pm2_5", "pm10"].into_iter().enumerate() {
            let metric = format!("{size}{suffix}");
            let term = Term { unit: Term::named(size).unit, ..Term::unknown(&metric) };
            found.value(node, &metric, &term, f64::from(data(from + at)), When::Arrival);
        }
    };
    masses(4, "");
    masses(1, "_standard");
    let (counts, formaldehyde, climate) = match (frame.len(), model) {
        (24, _) => (0, None, None),
        (32, Model::Plain) => (6, None, None),
        (32, Model::S) => (6, Some(13), None),
        (32, Model::T) => (4, None, Some(11)),
        _ => (6, Some(13), Some(14)),
    };
    for (at, size) in ["0_3", "0_5", "1", "2_5", "5", "10"].into_iter().enumerate().take(counts) {
        let metric = format!("particles_{size}");
        let term = Term { unit: Some("1/dL".into()), ..Term::unknown(&metric) };
        found.value(node, &metric, &term, f64::from(data(7 + at)), When::Arrival);
    }
    if let Some(at) = formaldehyde {
        // In ug/m3; the vocabulary has mg/m3.
        found.value(node, "formaldehyde", &Term::named("formaldehyde"), f64::from(data(at)) / 1000.0, When::Arrival);
    }
    if let Some(at) = climate {
        let tenths = f64::from(data(at).cast_signed()) / 10.0;
        found.value(node, "temperature", &Term::named("temperature"), tenths, When::Arrival);
        found.value(node, "humidity", &Term::named("humidity"), f64::from(data(at + 1)) / 10.0, When::Arrival);
    }
    found.finish()
}

#[cfg(test)]
mod tests {
    use super::super::streams::{Stream, always_the_same, rows, survives_damage};
    use super::*;

    const GOLDEN: &[u8] = include_bytes!("../../../tests/fixtures/serial/pms5003-golden.bin");
    const MID_STREAM: &[u8] = include_bytes!("../../../tests/fixtures/serial/pms5003-mid-stream-start.bin");
    const ZERO: &[u8] = include_bytes!("../../../tests/fixtures/serial/pms7003-real-zero.bin");
    /// A PMS5003T's, as a reader of these sensors documents it.
    const T: &[u8] = &[
        0x42, 0x4D, 0x00, 0x1C, 0x00, 0x17, 0x00, 0x27, 0x00, 0x29, 0x00, 0x16, 0x00, 0x23, 0x00, 0x29, 0x10, 0x08,
        0x04, 0xA9, 0x01, 0x16, 0x00, 0x0C, 0x00, 0xD4, 0x00, 0xE0, 0x9A, 0x00, 0x04, 0xAA,
    ];
    /// A PMS3003's, from the same place.
    const PMS3003: &[u8] = &[
        0x42, 0x4D, 0x00, 0x14, 0x00, 0x01, 0x00, 0x01, 0x00, 0x01, 0x00, 0x01, 0x00, 0x01, 0x00, 0x01, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x51, 0x00, 0xFA,
    ];

    fn all(bytes: &[u8], model: Model) -> (Vec<Decoded>, u64) {
        let (mut sensor, mut all) = (Pms::new("air", model), Vec::new());
        sensor.feed(bytes, &mut |decoded| all.push(decoded));
        (all, sensor.skipped())
    }

    #[test]
    fn a_pms5003_has_masses_and_counts() {
        let (got, skipped) = all(GOLDEN, Model::Plain);
        assert_eq!(
            rows(&got),
            [
                "air pm1 3 ug/m3",
                "air pm2_5 4 ug/m3",
                "air pm10 7 ug/m3",
                "air pm1_standard 3 ug/m3",
                "air pm2_5_standard 4 ug/m3",
                "air pm10_standard 7 ug/m3",
                "air particles_0_3 720 1/dL",
                "air particles_0_5 184 1/dL",
                "air particles_1 25 1/dL",
                "air particles_2_5 8 1/dL",
                "air particles_5 4 1/dL",
                "air particles_10 2 1/dL",
            ]
        );
        assert_eq!(skipped, 0);
    }

    #[test]
    fn a_start_in_the_middle_and_clean_air() {
        // Masses A, E, E; counts 7B6, 257, 50, 5, 0, 0.
        let (got, skipped) = all(MID_STREAM, Model::Plain);
        assert_eq!(
            rows(&got)[..8],
            [
                "air pm1 10 ug/m3",
                "air pm2_5 14 ug/m3",
                "air pm10 14 ug/m3",
                "air pm1_standard 10 ug/m3",
                "air pm2_5_standard 14 ug/m3",
                "air pm10_standard 14 ug/m3",
                "air particles_0_3 1974 1/dL",
                "air particles_0_5 599 1/dL",
            ]
        );
        assert_eq!((got.len(), skipped), (1, 8));
        let got = rows(&all(ZERO, Model::Plain).0);
        assert_eq!((&*got[1], &*got[6]), ("air pm2_5 0 ug/m3", "air particles_0_3 36 1/dL"));
    }

    #[test]
    fn atmospheric_masses_are_the_metrics() {
        // CF=1: 17, 27, 29; atmospheric: 16, 23, 29; four counts, 0xD4 tenths of a degree, 0xE0 tenths of a percent.
        assert_eq!(
            rows(&all(T, Model::T).0),
            [
                "air pm1 22 ug/m3",
                "air pm2_5 35 ug/m3",
                "air pm10 41 ug/m3",
                "air pm1_standard 23 ug/m3",
                "air pm2_5_standard 39 ug/m3",
                "air pm10_standard 41 ug/m3",
                "air particles_0_3 4104 1/dL",
                "air particles_0_5 1193 1/dL",
                "air particles_1 278 1/dL",
                "air particles_2_5 12 1/dL",
                "air temperature 21.2 degC",
                "air humidity 22.4 %",
            ]
        );
        assert_eq!(rows(&all(PMS3003, Model::Plain).0).len(), 6);
    }

    #[test]
    fn a_pms5003st_has_formaldehyde_and_climate_below_zero_too() {
        let mut frame = vec![0x42, 0x4D, 0x00, 0x24];
        for data in [1_u16, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 25, 0xFFF6, 456, 0, 0x9100] {
            frame.extend(data.to_be_bytes());
        }
        let sum: u16 = frame.iter().map(|byte| u16::from(*byte)).sum();
        frame.extend(sum.to_be_bytes());
        let got = rows(&all(&frame, Model::Plain).0);
        assert_eq!(got[12..], ["air formaldehyde 0.025 mg/m3", "air temperature -1 degC", "air humidity 45.6 %"]);
        frame[12] = 1;
        let (got, skipped) = all(&frame, Model::Plain);
        assert!(got[0].dead[0].detail.starts_with("the sum in byte 38 is "), "{got:?}");
        assert_eq!(skipped, 40);
    }

    #[test]
    fn answers_to_commands_are_no_readings() {
        // To "active mode" and to "passive mode".
        assert_eq!(all(&[0x42, 0x4D, 0x00, 0x04, 0xE1, 0x01, 0x01, 0x75], Model::Plain), (vec![Decoded::default()], 0));
        assert_eq!(all(&[0x42, 0x4D, 0x00, 0x04, 0xE1, 0x00, 0x01, 0x74], Model::Plain), (vec![Decoded::default()], 0));
    }

    #[test]
    fn the_stream_heals() {
        let stream = || Box::new(Pms::new("air", Model::Plain)) as Box<dyn Stream>;
        always_the_same(&mut { stream }, &[GOLDEN, ZERO, PMS3003, GOLDEN]);
        survives_damage(&mut { stream }, &[GOLDEN, ZERO, GOLDEN, ZERO, GOLDEN], 2);
    }
}
