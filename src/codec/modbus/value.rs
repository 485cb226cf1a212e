//! From the registers of an answer to readings.

use super::plan::Read;
use super::{Kind, Na, Order, Register};
use crate::codec::payload::found::Found;
use crate::codec::payload::scalar::of_f32;
use crate::codec::payload::vocabulary::Term;
use crate::reading::{DeadReason, Decoded, When};

/// What a unit has answered to a [`Read`]: its registers, or its bits.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// Of `holding` and `input`.
    Words(&'a [u16]),
    /// Of `coil` and `discrete`.
    Bits(&'a [bool]),
}

/// The readings of an answer. A value that is not available or not a number is none; one that is infinite, or that the answer
/// is too short for, is a dead letter.
pub fn decode(read: &Read, registers: &[Register], data: Data<'_>) -> Decoded {
    let payload: Vec<u8> = match data {
        Data::Words(words) => words.iter().flat_map(|word| word.to_be_bytes()).collect(),
        Data::Bits(bits) => bits.iter().map(|bit| u8::from(*bit)).collect(),
    };
    let mut found = Found::new(&payload);
    for register in read.registers.iter().filter_map(|index| registers.get(*index)) {
        let at = usize::from(register.address.saturating_sub(read.address));
        let value = match data {
            Data::Bits(bits) => bits.get(at).map(|bit| Some(f64::from(u8::from(*bit)))),
            Data::Words(words) => {
                words.get(at..at + usize::from(register.kind.width())).map(|words| value(register, words))
            }
        };
        match value {
            Some(Some(value)) => {
                let term = Term::in_unit(&register.metric, &register.measure);
                found.value(&register.node, &register.metric, &term, value, When::Arrival);
            }
            Some(None) => {}
            None => found.dead(
                DeadReason::Malformed,
                format!("{} {} is not in the answer", register.function, register.address),
            ),
        }
    }
    found.finish()
}

/// The value of a register's words, as they came; `None` where it is not available or not a number.
fn value(register: &Register, words: &[u16]) -> Option<f64> {
    let bits = ordered(register.order, words);
    let integer = match register.kind {
        Kind::Bool => return Some(f64::from(u8::from(bits != 0))),
        Kind::Bit(bit) => return Some(f64::from(u8::from(bits >> bit & 1 == 1))),
        Kind::F32 => {
            let low = u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default();
            return float(register, bits, f64::from(f32::from_bits(low)), of_f32(f32::from_bits(low)));
        }
        Kind::F64 => return float(register, bits, f64::from_bits(bits), f64::from_bits(bits)),
        Kind::U16 | Kind::U32 | Kind::U64 => i128::from(bits),
        Kind::I16 | Kind::I32 | Kind::I64 => signed(bits, register.kind.width()),
    };
    let missing = match register.na {
        Some(Na::Integer(na)) => na == integer || na == i128::from(bits),
        Some(Na::Float(_)) | None => false,
    };
    (!missing).then(|| register.scale.of_integer(integer))
}

/// `exact` is what the bits say, `value` what is stored.
fn float(register: &Register, bits: u64, exact: f64, value: f64) -> Option<f64> {
    let missing = match register.na {
        #[expect(clippy::cast_precision_loss, reason = "as exact as the float that it is compared with")]
        Some(Na::Integer(na)) => na == i128::from(bits) || na as f64 == exact,
        Some(Na::Float(na)) => na == exact || na == value,
        None => false,
    };
    if missing || exact.is_nan() {
        return None;
    }
    Some(if register.scale.is_one() { value } else { register.scale.of_float(value) })
}

fn signed(bits: u64, width: u16) -> i128 {
    let unused = 64 - 16 * u32::from(width);
    i128::from((bits << unused).cast_signed() >> unused)
}

/// The words as one number, the first that was sent being the highest unless the order says otherwise.
fn ordered(order: Order, words: &[u16]) -> u64 {
    let word = |word: &u16| match order {
        Order::Abcd | Order::Cdab => *word,
        Order::Badc | Order::Dcba => word.swap_bytes(),
    };
    let join = |sum: u64, word: u16| sum << 16 | u64::from(word);
    match order {
        Order::Abcd | Order::Badc => words.iter().map(word).fold(0, join),
        Order::Cdab | Order::Dcba => words.iter().rev().map(word).fold(0, join),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Decimal, Function, Scale};
    use super::*;

    fn register(kind: Kind, order: Order) -> Register {
        Register {
            node: "n".into(),
            metric: "m".into(),
            measure: String::new(),
            function: Function::Holding,
            address: 100,
            kind,
            order,
            scale: Scale::default(),
            na: None,
            interval: Duration::from_secs(1),
        }
    }

    fn scaled(kind: Kind, steps: &[(char, &str)]) -> Register {
        let one = Scale::default();
        let scale = steps.iter().fold(one, |scale, (op, by)| scale.then(*op, Decimal::parse(by).unwrap()).unwrap());
        Register { scale, ..register(kind, Order::Abcd) }
    }

    #[test]
    fn types_by_hand() {
        for (kind, words, expected) in [
            (Kind::U16, [0xFFFF].as_slice(), 65_535.0),
            (Kind::I16, &[0xFFFF], -1.0),
            (Kind::I16, &[0x8000], -32_768.0),
            (Kind::U32, &[0x0001, 0x0002], 65_538.0),
            (Kind::I32, &[0xFFFF, 0xFFFE], -2.0),
            (Kind::U64, &[0, 1, 0, 0], 4_294_967_296.0),
            (Kind::U64, &[0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF], 18_446_744_073_709_551_615.0),
            (Kind::I64, &[0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF], -1.0),
            (Kind::I64, &[0x8000, 0, 0, 0], -9_223_372_036_854_775_808.0),
            // 0x42F6E979 is 123.456 as closely as 32 bits can say it.
            (Kind::F32, &[0x42F6, 0xE979], 123.456),
            (Kind::F32, &[0xC020, 0x0000], -2.5),
            (Kind::F64, &[0x405E, 0xDD2F, 0x1A9F, 0xBE77], 123.456),
            (Kind::Bool, &[0], 0.0),
            (Kind::Bool, &[0x0100], 1.0),
            (Kind::Bit(0), &[0x0001], 1.0),
            (Kind::Bit(15), &[0x8000], 1.0),
            (Kind::Bit(14), &[0x8000], 0.0),
        ] {
            assert_eq!(value(&register(kind, Order::Abcd), words), Some(expected), "{kind:?}");
        }
    }

    #[test]
    fn the_four_orders_of_the_same_number() {
        for (order, words) in [
            (Order::Abcd, [0x0102, 0x0304]),
            (Order::Cdab, [0x0304, 0x0102]),
            (Order::Badc, [0x0201, 0x0403]),
            (Order::Dcba, [0x0403, 0x0201]),
        ] {
            assert_eq!(value(&register(Kind::U32, order), &words), Some(f64::from(0x0102_0304)), "{order:?}");
        }
        for (order, words) in [
            (Order::Abcd, [0x405E, 0xDD2F, 0x1A9F, 0xBE77]),
            (Order::Cdab, [0xBE77, 0x1A9F, 0xDD2F, 0x405E]),
            (Order::Badc, [0x5E40, 0x2FDD, 0x9F1A, 0x77BE]),
            (Order::Dcba, [0x77BE, 0x9F1A, 0x2FDD, 0x5E40]),
        ] {
            assert_eq!(value(&register(Kind::F64, order), &words), Some(123.456), "{order:?}");
        }
        assert_eq!(value(&register(Kind::I16, Order::Badc), &[0xFEFF]), Some(-2.0));
        assert_eq!(value(&register(Kind::I16, Order::Cdab), &[0xFFFE]), Some(-2.0));
    }

    #[test]
    fn scales_are_those_of_a_pocket_calculator() {
        assert_eq!(value(&scaled(Kind::U16, &[('*', "0.1")]), &[2301]), Some(230.1));
        assert_eq!(value(&scaled(Kind::I16, &[('*', "0.1"), ('+', "-40")]), &[613]), Some(21.3));
        assert_eq!(value(&scaled(Kind::U32, &[('*', "0.001")]), &[0x0001, 0xE240]), Some(123.456));
        assert_eq!(value(&scaled(Kind::F32, &[('*', "10")]), &[0x42F6, 0xE979]), Some(1234.56));
    }

    #[test]
    fn what_means_nothing_is_no_value() {
        let with = |kind, na| Register { na: Some(na), ..register(kind, Order::Abcd) };
        let none = |register: &Register, words: &[u16]| assert_eq!(value(register, words), None, "{register:?}");
        none(&with(Kind::I16, Na::Integer(0x8000)), &[0x8000]);
        none(&with(Kind::I16, Na::Integer(-32_768)), &[0x8000]);
        none(&with(Kind::U32, Na::Integer(0xFFFF_FFFF)), &[0xFFFF, 0xFFFF]);
        none(&with(Kind::F32, Na::Float(-9999.5)), &[0xC61C, 0x3E00]);
        none(&with(Kind::F32, Na::Integer(0)), &[0, 0]);
        none(&register(Kind::F32, Order::Abcd), &[0x7FC0, 0]);
        none(&register(Kind::F64, Order::Abcd), &[0x7FF8, 0, 0, 0]);
        assert_eq!(value(&with(Kind::I16, Na::Integer(0x8000)), &[0x7FFF]), Some(32_767.0));
    }

    #[test]
    fn an_answer_gives_the_readings_of_its_registers() {
        let mut registers = vec![register(Kind::U16, Order::Abcd), scaled(Kind::U32, &[('*', "0.01")])];
        registers[0].metric = "voltage".into();
        registers[1].metric = "energy".into();
        registers[1].measure = "kWh".into();
        registers[1].address = 101;
        let read = Read { unit: 1, function: Function::Holding, address: 100, count: 3, registers: vec![0, 1] };
        let decoded = decode(&read, &registers, Data::Words(&[230, 0x0001, 0x0000]));
        let got: Vec<_> = decoded.readings.iter().map(|r| (&*r.metric, r.unit.as_deref(), r.value)).collect();
        assert_eq!(got, [("voltage", Some("V"), 230.0), ("energy", Some("kWh"), 655.36)]);
        let decoded = decode(&read, &registers, Data::Words(&[230, 1]));
        assert_eq!(
            (decoded.readings.len(), &*decoded.dead[0].detail),
            (1, "holding register 101 is not in the answer")
        );
        let infinite = vec![register(Kind::F32, Order::Abcd)];
        let read = Read { registers: vec![0], count: 2, ..read };
        assert_eq!(decode(&read, &infinite, Data::Words(&[0x7F80, 0])).dead.len(), 1);
    }

    #[test]
    fn bits_are_zero_or_one() {
        let mut coil = register(Kind::Bool, Order::Abcd);
        coil.function = Function::Coil;
        coil.address = 11;
        let read = Read { unit: 1, function: Function::Coil, address: 10, count: 2, registers: vec![0] };
        assert_eq!(decode(&read, &[coil], Data::Bits(&[false, true])).readings[0].value, 1.0);
    }
}
