//! Binary payloads by a declarative layout: `u16 node, u32 unix_time, i16 temperature * 0.01 degC, u8 flags`. The grammar
//! is in `docs/formats/layout.md`.
//!
//! Every field stands at a fixed place, so a layout is a list of places; decoding looks at no byte twice and needs no
//! memory but for what it finds.

mod encode;
mod parse;
pub mod scale;

use std::fmt;
use std::sync::Arc;

use scale::Scale;

use super::Order;
use crate::codec::payload::found::{Found, refused};
use crate::codec::payload::vocabulary::Term;
use crate::reading::{DeadReason, Decoded, Timestamp, When};

/// Longest layout's payload in bytes.
pub const MAX_LEN: usize = 65_535;

/// Longest text of a layout in characters.
pub const MAX_TEXT: usize = 16_384;

/// Why a text is no layout, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {reason}")]
pub struct LayoutError {
    /// The character, counted from 1.
    pub column: usize,
    /// What is wrong, and what was expected.
    pub reason: String,
}

/// A layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    fields: Vec<Field>,
    /// Lengths that a payload may have: the first without any tail, the last with all of them.
    ends: Vec<usize>,
    /// Bytes behind the last field are ignored.
    open: bool,
}

/// A place with what is read there.
#[derive(Clone, Debug, PartialEq)]
struct Field {
    /// Its first byte.
    at: usize,
    kind: Kind,
    order: Order,
    /// Of a bit field: how far to shift to the right, and how many bits.
    bits: Option<(u32, u32)>,
    /// Which of [`Layout::ends`] it belongs to.
    level: usize,
    /// Values that mean that there is none.
    na: Vec<Constant>,
    usage: Usage,
}

/// How bytes are a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// So many bytes.
    Unsigned(usize),
    /// The same in two's complement.
    Signed(usize),
    /// IEEE 754 with 4 bytes.
    Single,
    /// IEEE 754 with 8 bytes.
    Double,
}

/// A number that is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Constant {
    Integer(i128),
    Float(f64),
}

/// A number that was read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Raw {
    /// The number, and its bits without a sign.
    Integer(i128, u128),
    Float(f64),
}

#[derive(Clone, Debug, PartialEq)]
enum Usage {
    /// It has to be this.
    Expected(Constant),
    /// It names the node, in decimal or in hex with all its digits.
    Node { hex: bool },
    /// The time in so many microseconds since 1970.
    Time { micros: i128, name: &'static str },
    /// A reading.
    Value { term: Term<'static>, scale: Scale },
}

impl Kind {
    const fn len(self) -> usize {
        match self {
            Self::Unsigned(len) | Self::Signed(len) => len,
            Self::Single => 4,
            Self::Double => 8,
        }
    }
}

impl Layout {
    /// Reads a layout.
    ///
    /// # Errors
    /// With the column and what was expected there.
    pub fn parse(text: &str) -> Result<Self, LayoutError> {
        parse::parse(text)
    }

    /// Lengths in bytes that a payload may have, ascending.
    pub fn lengths(&self) -> &[usize] {
        &self.ends
    }

    /// Whether a payload may be longer than the last of [`Layout::lengths`].
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Decodes a payload; `default_node` is the node where the layout has none, or where that is not available or 0.
    ///
    /// A payload of another length, or without the expected constants, is one dead letter. A time that is 0 or not
    /// available means the arrival.
    pub fn decode(&self, payload: &[u8], default_node: &Arc<str>) -> Decoded {
        let level = match self.level(payload) {
            Ok(level) => level,
            Err(detail) => return refused(DeadReason::Malformed, detail, payload),
        };
        let fields = || self.fields.iter().filter(|field| field.level <= level);
        let mut node = Arc::clone(default_node);
        let mut time = None;
        for field in fields() {
            let raw = field.raw(payload);
            let available = !field.not_available(raw);
            match (&field.usage, raw) {
                (Usage::Expected(constant), _) if !raw.is(*constant) => {
                    let detail = format!("byte {}: found {}, expected {}", field.at, raw.shown(), constant);
                    return refused(DeadReason::Malformed, detail, payload);
                }
                (Usage::Node { hex }, Raw::Integer(id, bits)) if available && id != 0 => {
                    let digits = 2 * field.kind.len();
                    node = if *hex { Arc::from(format!("{bits:0digits$x}")) } else { Arc::from(id.to_string()) };
                }
                (Usage::Time { micros, name }, _) if available && !raw.is(Constant::Integer(0)) => {
                    time = Some((*name, raw, raw.time(*micros)));
                }
                _ => {}
            }
        }
        let mut found = Found::new(payload);
        let when = match time {
            None => When::Arrival,
            Some((_, _, Some(ts))) => When::Live(ts),
            Some((name, raw, None)) => {
                found.bad_time(&node, name, &raw.to_string());
                When::Arrival
            }
        };
        for field in fields() {
            let Usage::Value { term, scale } = &field.usage else { continue };
            let raw = field.raw(payload);
            if field.not_available(raw) {
                continue;
            }
            let value = match raw {
                Raw::Integer(raw, _) => scale.of_integer(raw),
                // Not a number is a float's own way to say that there is none.
                Raw::Float(raw) if raw.is_nan() => continue,
                Raw::Float(raw) if scale.is_one() => raw,
                Raw::Float(raw) => scale.of_float(raw),
            };
            found.value(&node, &term.metric, term, value, when);
        }
        found.finish()
    }

    /// How much of the layout a payload has.
    fn level(&self, payload: &[u8]) -> Result<usize, String> {
        let len = payload.len();
        let found = if self.open {
            self.ends.iter().rposition(|end| *end <= len)
        } else {
            self.ends.iter().position(|end| *end == len)
        };
        found.ok_or_else(|| {
            let ends: Vec<String> = self.ends.iter().map(ToString::to_string).collect();
            let expected = if self.open { format!("{} or more", ends[0]) } else { ends.join(" or ") };
            format!("a payload of {len} bytes, expected {expected}")
        })
    }
}

impl Field {
    fn raw(&self, payload: &[u8]) -> Raw {
        let bytes = &payload[self.at..self.at + self.kind.len()];
        let join = |bits: u128, byte: &u8| bits << 8 | u128::from(*byte);
        let bits = match self.order {
            Order::Little => bytes.iter().rev().fold(0, join),
            Order::Big => bytes.iter().fold(0, join),
        };
        let (signed, width) = match self.kind {
            Kind::Single => return Raw::Float(f64::from(f32::from_bits(u32::try_from(bits).expect("of four bytes")))),
            Kind::Double => return Raw::Float(f64::from_bits(u64::try_from(bits).expect("of eight bytes"))),
            Kind::Unsigned(len) => (false, 8 * len),
            Kind::Signed(len) => (true, 8 * len),
        };
        let (bits, width) = match self.bits {
            Some((shift, width)) => (bits >> shift & ((1 << width) - 1), width),
            None => (bits, u32::try_from(width).expect("at most 64")),
        };
        let number = i128::try_from(bits).expect("of at most 64 bits");
        let negative = signed && bits >> (width - 1) == 1;
        Raw::Integer(if negative { number - (1 << width) } else { number }, bits)
    }

    fn not_available(&self, raw: Raw) -> bool {
        self.na.iter().any(|constant| raw.is(*constant))
    }
}

impl Raw {
    fn is(self, constant: Constant) -> bool {
        match (self, constant) {
            // 0xFFFF is -1 as well: what is written in hex means the bits.
            (Self::Integer(number, bits), Constant::Integer(constant)) => {
                number == constant || u128::try_from(constant).is_ok_and(|constant| bits == constant)
            }
            (Self::Float(number), Constant::Float(constant)) => number == constant,
            (Self::Float(number), Constant::Integer(0)) => number == 0.0,
            _ => false,
        }
    }

    /// As an error shows it: integers in hex.
    fn shown(self) -> String {
        match self {
            Self::Integer(_, bits) => format!("{bits:#x}"),
            Self::Float(value) => value.to_string(),
        }
    }

    /// The time in units of so many microseconds.
    fn time(self, micros: i128) -> Option<Timestamp> {
        let at = match self {
            Self::Integer(number, _) => number * micros,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                reason = "a float within its range"
            )]
            Self::Float(number) => {
                let at = (number * micros as f64).floor();
                // False for what is not a number, too.
                if at.abs() < 9e18 { at as i128 } else { return None }
            }
        };
        i64::try_from(at).ok().map(Timestamp)
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number, _) => number.fmt(f),
            Self::Float(number) => number.fmt(f),
        }
    }
}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) if *number >= 0 => write!(f, "{number:#x}"),
            Self::Integer(number) => number.fmt(f),
            Self::Float(number) => number.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
