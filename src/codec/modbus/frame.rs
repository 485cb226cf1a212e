//! The answer to a request among the bytes of a line: late answers of other units, echoes and noise may stand before it.

use std::ops::Range;

use crc::{CRC_16_MODBUS, Crc};

use super::Function;

/// Bytes of a request that reads.
pub const REQUEST: usize = 8;
/// Longest frame of a serial line.
pub const LONGEST: usize = 256;
/// Bytes around the data of an answer: unit, function, length, CRC.
const AROUND: usize = 5;
/// What a function's code has added in an exception.
const EXCEPTION: u8 = 0x80;

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_MODBUS);

/// What the answer to a request has to look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    unit: u8,
    function: u8,
    bytes: u8,
}

impl Expected {
    /// The answer to this request for `count` registers or bits.
    pub fn new(unit: u8, function: Function, count: u16) -> Self {
        Self { unit, function: function.code(), bytes: u8::try_from(function.bytes(count)).unwrap_or(u8::MAX) }
    }

    /// Bytes of the whole answer, if it is no exception.
    pub fn len(self) -> usize {
        usize::from(self.bytes) + AROUND
    }

    /// Never: it has a CRC at least.
    pub const fn is_empty(self) -> bool {
        false
    }

    /// Where the answer, or the exception in its place, stands in `held`: whole, with a right CRC, from the unit and for the
    /// function that was asked, and as long as was asked for.
    pub fn find(self, held: &[u8]) -> Option<Range<usize>> {
        (0..held.len()).find_map(|start| {
            let len = self.len_at(&held[start..])?;
            let frame = held.get(start..start + len)?;
            is_sound(frame).then_some(start..start + len)
        })
    }

    /// How long a frame would be that begins as this answer or its exception does.
    fn len_at(self, bytes: &[u8]) -> Option<usize> {
        match bytes {
            [unit, function, bytes, ..] if *unit == self.unit && *function == self.function && *bytes == self.bytes => {
                Some(self.len())
            }
            [unit, function, ..] if *unit == self.unit && *function == self.function | EXCEPTION => Some(AROUND),
            _ => None,
        }
    }
}

/// What stood on the line beside the answers that were waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strays {
    /// The units of answers that nobody waited for, or that were not what was asked for.
    pub answers: Vec<u8>,
    /// Frames that begin as the answer does and whose CRC is wrong.
    pub crc_errors: u64,
    /// Other bytes.
    pub skipped: u64,
}

impl Strays {
    /// Looks through `bytes`, in which no answer was found that was waited for.
    pub fn note(&mut self, bytes: &[u8], expected: Option<Expected>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = if let Some(len) = answer_at(rest) {
                self.answers.push(rest[0]);
                len
            } else if let Some(len) = expected.and_then(|e| e.len_at(rest)).filter(|len| *len <= rest.len()) {
                // Noise may begin like it, too: an answer inside of it is none of its data.
                if let Some(noise) = (1..len).find(|at| answer_at(&rest[*at..]).is_some()) {
                    self.skipped += noise as u64;
                    noise
                } else {
                    self.crc_errors += 1;
                    len
                }
            } else {
                self.skipped += 1;
                1
            };
            rest = &rest[taken..];
        }
    }
}

/// The length of a whole answer with a right CRC at the beginning of `bytes`, whoever sent it.
pub fn answer_at(bytes: &[u8]) -> Option<usize> {
    let len = match bytes {
        [1..=super::MAX_UNIT, 1..=4, count, ..] if *count > 0 => usize::from(*count) + AROUND,
        [1..=super::MAX_UNIT, 0x81..=0x84, ..] => AROUND,
        _ => return None,
    };
    bytes.get(..len).filter(|frame| is_sound(frame)).map(<[u8]>::len)
}

/// Whether the CRC at the end of a frame is right; its low byte comes first.
pub fn is_sound(frame: &[u8]) -> bool {
    match frame.split_last_chunk::<2>() {
        Some((body, crc)) => !body.is_empty() && CRC.checksum(body) == u16::from_le_bytes(*crc),
        None => false,
    }
}

/// A frame of `body` with its CRC.
pub fn sealed(body: &[u8]) -> Vec<u8> {
    [body, &CRC.checksum(body).to_le_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST_HOLDING: &[u8] = include_bytes!("../../../tests/fixtures/serial/modbus-rtu-req-holding.bin");
    const ANSWER_HOLDING: &[u8] = include_bytes!("../../../tests/fixtures/serial/modbus-rtu-rsp-holding.bin");
    const REQUEST_ONE: &[u8] = include_bytes!("../../../tests/fixtures/serial/modbus-rtu-req-1reg.bin");

    /// Three registers of unit 2.
    fn three() -> (Expected, Vec<u8>) {
        (Expected::new(2, Function::Holding, 3), sealed(&[2, 3, 6, 0, 1, 0, 2, 0, 3]))
    }

    #[test]
    fn the_fixtures_are_sound() {
        for frame in [REQUEST_HOLDING, ANSWER_HOLDING, REQUEST_ONE] {
            assert!(is_sound(frame), "{frame:02X?}");
            assert_eq!(sealed(&frame[..frame.len() - 2]), frame);
        }
        let [unit, 3, bytes, ..] = ANSWER_HOLDING else { panic!("not of function 3") };
        let expected = Expected::new(*unit, Function::Holding, u16::from(*bytes / 2));
        assert_eq!((expected.len(), expected.find(ANSWER_HOLDING)), (11, Some(0..11)));
        assert_eq!(expected.find(REQUEST_HOLDING), None);
    }

    #[test]
    fn an_answer_is_found_behind_noise_an_echo_and_the_answers_of_others() {
        let (expected, answer) = three();
        let other = sealed(&[7, 3, 6, 0, 9, 0, 9, 0, 9]);
        let request = sealed(&[2, 3, 0, 100, 0, 3]);
        let line = [&[0xFF, 2, 3, 6][..], &other, &request, &answer].concat();
        let found = expected.find(&line).unwrap();
        assert_eq!(&line[found.clone()], answer);
        let mut strays = Strays::default();
        strays.note(&line[..found.start], Some(expected));
        assert_eq!(strays, Strays { answers: vec![7], crc_errors: 0, skipped: 4 + 8 });
    }

    #[test]
    fn exceptions_count_and_answers_of_another_unit_function_or_length_do_not() {
        let (expected, answer) = three();
        assert_eq!(expected.find(&sealed(&[2, 0x83, 2])), Some(0..5));
        for other in [
            sealed(&[3, 3, 6, 0, 1, 0, 2, 0, 3]),
            sealed(&[2, 4, 6, 0, 1, 0, 2, 0, 3]),
            sealed(&[2, 3, 4, 0, 1, 0, 2]),
            sealed(&[2, 0x84, 2]),
        ] {
            assert_eq!(expected.find(&other), None, "{other:02X?}");
            let mut strays = Strays::default();
            strays.note(&other, Some(expected));
            assert_eq!(strays, Strays { answers: vec![other[0]], ..Strays::default() });
        }
        for cut in 0..answer.len() {
            assert_eq!(expected.find(&answer[..cut]), None);
        }
    }

    #[test]
    fn a_wrong_crc_is_one_error_and_no_answer() {
        let (expected, answer) = three();
        for bit in 0..answer.len() * 8 {
            let mut wrong = answer.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(expected.find(&wrong), None, "bit {bit}");
        }
        let mut wrong = answer.clone();
        wrong[5] ^= 0x10;
        let mut strays = Strays::default();
        strays.note(&wrong, Some(expected));
        assert_eq!(strays, Strays { crc_errors: 1, ..Strays::default() });
        // What follows a broken frame is found all the same.
        let both = [wrong, answer].concat();
        assert_eq!(expected.find(&both), Some(11..22));
    }
}
