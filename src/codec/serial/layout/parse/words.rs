//! The words of a layout: names, numbers, constants.

use super::super::scale::Decimal;
use super::super::{Constant, Kind, LayoutError};
use super::{Parsed, Parser};

impl Parser {
    /// A constant that the type can hold.
    pub(super) fn constant(&mut self, kind: Kind, width: Option<u32>) -> Parsed<Constant> {
        self.blanks();
        let start = self.at;
        let word = self.numeral();
        let hex = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
        let integer = match hex {
            Some(digits) if digits.len() <= 16 => i128::from_str_radix(digits, 16).ok().filter(|n| *n >= 0),
            Some(_) => None,
            None => Decimal::parse(&word).and_then(Decimal::integer),
        };
        let (len, signed) = match kind {
            Kind::Single | Kind::Double => {
                let value = match (hex, integer, Decimal::parse(&word)) {
                    (None, _, Some(decimal)) => decimal.value(),
                    _ => return fail_at(start, format!("`{word}` is no number")),
                };
                // As the four bytes hold it.
                #[expect(clippy::cast_possible_truncation, reason = "rounded as the device does")]
                let value = if kind == Kind::Single { f64::from(value as f32) } else { value };
                return Ok(Constant::Float(value));
            }
            Kind::Unsigned(len) => (len, false),
            Kind::Signed(len) => (len, true),
        };
        let width = width.unwrap_or(8 * u32::try_from(len).expect("at most 8 bytes"));
        let (least, most) =
            if signed { (-(1_i128 << (width - 1)), (1 << (width - 1)) - 1) } else { (0, (1 << width) - 1) };
        // Hex means the bits, also those of a negative number.
        let most = if hex.is_some() { (1 << width) - 1 } else { most };
        match integer {
            None => fail_at(start, format!("`{word}` is no integer: expected one such as 255 or 0xFF")),
            Some(n) if n < least || n > most => fail_at(start, format!("{word} does not fit into {width} bits")),
            Some(n) => Ok(Constant::Integer(n)),
        }
    }

    /// How many bits of the type a bit field has.
    pub(super) fn bits(&mut self, kind: Kind) -> Parsed<u32> {
        let start = self.at;
        let len = match kind {
            Kind::Unsigned(len) | Kind::Signed(len) => len,
            Kind::Single | Kind::Double => return fail_at(start, "a float has no bit fields"),
        };
        let bits = self.number(0, 8 * len)?;
        Ok(u32::try_from(bits).expect("at most 64"))
    }

    pub(super) fn number(&mut self, least: usize, most: usize) -> Parsed<usize> {
        self.blanks();
        let start = self.at;
        let word = self.numeral();
        match word.parse() {
            Ok(n) if (least..=most).contains(&n) => Ok(n),
            _ => fail_at(start, format!("`{word}`: expected a number from {least} to {most}")),
        }
    }

    /// Up to a blank or a character of the grammar.
    pub(super) fn word(&mut self) -> String {
        self.until(|c| matches!(c, '*'))
    }

    /// The same, up to an operator too: `battery/10`. A `-` belongs to the name.
    pub(super) fn name(&mut self) -> String {
        self.until(|c| matches!(c, '*' | '/' | '+' | '%'))
    }

    pub(super) fn until(&mut self, stops: impl Fn(char) -> bool) -> String {
        let ends = |c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']' | '=' | ':' | '"' | '!') || stops(c);
        let word: String = self.chars[self.at..].iter().take_while(|c| !ends(**c)).collect();
        self.at += word.chars().count();
        word
    }

    /// A number; what stands behind it is no part of it: `0.5%`.
    pub(super) fn numeral(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.peek() {
            let sign = matches!(c, '+' | '-') && (word.is_empty() || word.ends_with(['e', 'E']));
            if !(c.is_alphanumeric() || c == '.' || sign) {
                break;
            }
            word.push(c);
            self.at += 1;
        }
        word
    }

    pub(super) fn blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    pub(super) fn take(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        self.at += usize::from(there);
        there
    }

    pub(super) fn fail<T>(&self, reason: impl Into<String>) -> Parsed<T> {
        fail_at(self.at, reason)
    }
}

/// An error at a character, counted from 0.
pub(super) fn fail_at<T>(at: usize, reason: impl Into<String>) -> Parsed<T> {
    Err(LayoutError { column: at + 1, reason: reason.into() })
}
