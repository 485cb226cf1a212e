//! What must hold for every format with a framing of its own, for their tests.

use std::fmt::Write as _;

use crate::reading::{Decoded, When};

/// A format, fed with bytes.
pub trait Stream {
    /// Takes bytes; what was found goes to `all`.
    fn take(&mut self, bytes: &[u8], all: &mut Vec<Decoded>);
    /// Bytes that belong to no good frame.
    fn lost(&self) -> u64;
}

macro_rules! streams {
    ($($name:ty),*) => {
        $(impl Stream for $name {
            fn take(&mut self, bytes: &[u8], all: &mut Vec<Decoded>) {
                self.feed(bytes, &mut |decoded| all.push(decoded));
            }

            fn lost(&self) -> u64 {
                self.skipped()
            }
        })*
    };
}

streams!(
    super::sds011::Sds011,
    super::pms::Pms,
    super::mh_z19::MhZ19,
    super::senseair_s8::SenseairS8,
    super::nmea::Nmea,
    super::dsmr::Dsmr
);

/// Readings as `node metric value unit @time`, events as `node ! kind: data`, dead letters as `dead: detail`.
pub fn rows(all: &[Decoded]) -> Vec<String> {
    let at = |when: When| match when {
        When::Arrival => String::new(),
        When::Live(ts) => format!(" @{ts}"),
        When::Stored(ts) => format!(" stored@{ts}"),
    };
    let mut rows = Vec::new();
    for decoded in all {
        for r in &decoded.readings {
            let mut row = format!("{} {} {}", r.node, r.metric, r.value);
            if let Some(unit) = &r.unit {
                let _ = write!(row, " {unit}");
            }
            rows.push(row + &at(r.when));
        }
        rows.extend(decoded.events.iter().map(|e| format!("{} ! {}: {}{}", e.node, e.kind, e.data, at(e.when))));
        rows.extend(decoded.dead.iter().map(|d| format!("dead: {}", d.detail)));
    }
    rows
}

/// A small generator of numbers: the tests are the same every time.
fn random(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*state >> 40).unwrap()
}

fn fed<'a>(new: &mut dyn FnMut() -> Box<dyn Stream>, chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, u64) {
    let (mut stream, mut all) = (new(), Vec::new());
    for chunk in chunks {
        stream.take(chunk, &mut all);
    }
    (rows(&all), stream.lost())
}

/// Byte by byte and in random chunks the frames give the same; noise before, between and behind them is counted and
/// changes nothing, and neither does a start in the middle of the first.
pub fn always_the_same(new: &mut dyn FnMut() -> Box<dyn Stream>, frames: &[&[u8]]) {
    let bytes = frames.concat();
    let (at_once, skipped) = fed(new, [bytes.as_slice()]);
    assert_eq!(skipped, 0);
    assert!(!at_once.is_empty());
    assert_eq!(fed(new, bytes.chunks(1)), (at_once.clone(), 0));
    let mut state = 7;
    for _ in 0..50 {
        let mut chunks = Vec::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at((random(&mut state) % 40 + 1).min(rest.len()));
            chunks.push(chunk);
            rest = behind;
        }
        assert_eq!(fed(new, chunks), (at_once.clone(), 0));
    }
    for _ in 0..50 {
        let mut bytes = Vec::new();
        let mut noise = 0;
        for frame in frames.iter().copied().chain([[].as_slice()]) {
            // Bytes with which no frame begins, and no line ends.
            let more: Vec<u8> =
                (0..random(&mut state) % 20).map(|_| [0x00, 0x11, 0x97, b'x'][random(&mut state) % 4]).collect();
            noise += more.len() as u64;
            bytes.extend(more);
            bytes.extend_from_slice(frame);
        }
        assert_eq!(fed(new, [bytes.as_slice()]), (at_once.clone(), noise));
        assert_eq!(fed(new, bytes.chunks(1)), (at_once.clone(), noise));
    }
    let (all_but_first, _) = fed(new, [frames[1..].concat().as_slice()]);
    for cut in 1..frames[0].len() {
        let (got, _) = fed(new, [&bytes[cut..]]);
        let readings: Vec<&String> = got.iter().filter(|row| !row.starts_with("dead: ")).collect();
        assert_eq!(readings, all_but_first.iter().collect::<Vec<_>>(), "started at {cut}");
    }
}

/// Whatever happens to one byte of the frame at `at`, what follows is found: a byte lost, doubled or flipped costs that
/// frame and no other.
pub fn survives_damage(new: &mut dyn FnMut() -> Box<dyn Stream>, frames: &[&[u8]], at: usize) {
    let before = frames[..at].concat();
    let behind = frames[at + 1..].concat();
    let (others, _) = fed(new, [before.as_slice(), &behind]);
    let (all, _) = fed(new, [frames.concat().as_slice()]);
    for byte in 0..frames[at].len() {
        let mut damaged = Vec::new();
        for kind in 0..10 {
            let mut frame = frames[at].to_vec();
            match kind {
                0 => drop(frame.remove(byte)),
                1 => frame.insert(byte, frame[byte]),
                bit => frame[byte] ^= 1 << (bit - 2),
            }
            damaged.push(frame);
        }
        for frame in damaged {
            let (got, _) = fed(new, [[before.as_slice(), &frame, &behind].concat().as_slice()]);
            let readings: Vec<String> = got.into_iter().filter(|row| !row.starts_with("dead: ")).collect();
            // Doubling a byte that stands between frames damages none.
            assert!(readings == others || readings == all, "byte {byte}: {frame:02X?}: {readings:?}");
        }
    }
}
