//! The text of a layout.

mod words;

use std::borrow::Cow;
use std::collections::HashSet;

use words::fail_at;

use super::scale::{Decimal, Scale};
use super::{Constant, Field, Kind, Layout, LayoutError, MAX_LEN, MAX_TEXT, Order, Usage};
use crate::codec::payload::MAX_VALUES;
use crate::codec::payload::vocabulary::Term;
use crate::reading::MAX_NAME;

/// Most optional tails within each other.
const MAX_TAILS: usize = 16;

struct Parser {
    chars: Vec<char>,
    at: usize,
    /// Bytes so far.
    len: usize,
    /// Order of the fields that do not say theirs.
    order: Order,
    fields: Vec<Field>,
    ends: Vec<usize>,
    open: bool,
    names: HashSet<String>,
    values: usize,
    /// The container of the bit fields that came last.
    container: Option<Container>,
}

#[derive(Clone, Copy)]
struct Container {
    at: usize,
    len: usize,
    order: Order,
    used: u32,
}

/// What stands behind a type.
#[derive(Default)]
struct Modifiers {
    scale: Scale,
    na: Vec<Constant>,
    unit: Option<String>,
    hex: bool,
}

type Parsed<T> = Result<T, LayoutError>;

pub fn parse(text: &str) -> Parsed<Layout> {
    let chars: Vec<char> = text.chars().collect();
    let mut parser = Parser {
        at: 0,
        len: 0,
        order: Order::Little,
        fields: Vec::new(),
        ends: Vec::new(),
        open: false,
        names: HashSet::new(),
        values: 0,
        container: None,
        chars,
    };
    if parser.chars.len() > MAX_TEXT {
        return fail_at(MAX_TEXT, format!("the layout is longer than {MAX_TEXT} characters"));
    }
    let mut tails = 0;
    loop {
        // Between fields.
        parser.blanks();
        if parser.take('[') {
            if parser.len == 0 {
                return fail_at(parser.at - 1, "expected a field in front of the optional tail");
            }
            parser.end_level()?;
            tails += 1;
            if tails > MAX_TAILS {
                return fail_at(parser.at - 1, format!("expected at most {MAX_TAILS} optional tails"));
            }
            parser.blanks();
            parser.take(',');
            parser.blanks();
        }
        parser.item()?;
        parser.blanks();
        while tails > 0 && parser.take(']') {
            tails -= 1;
            parser.blanks();
            // Only the end follows the end of a tail.
            if !matches!(parser.peek(), None | Some(']')) {
                return parser.fail("expected the end: an optional tail is the last of a layout");
            }
        }
        match parser.peek() {
            None if tails == 0 => break,
            None => return parser.fail("expected `]`"),
            Some(',') if parser.open => return parser.fail("expected the end behind `...`"),
            Some(',') => parser.at += 1,
            Some('[') if parser.open => return parser.fail("expected the end behind `...`"),
            Some('[') => {}
            Some(other) => return parser.fail(format!("found `{other}`, expected `,` or the end")),
        }
    }
    parser.finish()
}

impl Parser {
    fn finish(mut self) -> Parsed<Layout> {
        if !self.fields.iter().any(|field| matches!(field.usage, Usage::Value { .. })) {
            return fail_at(0, "expected at least one field that is a reading");
        }
        self.end_level()?;
        Ok(Layout { fields: self.fields, ends: self.ends, open: self.open })
    }

    /// What came so far may be all of a payload.
    fn end_level(&mut self) -> Parsed<()> {
        self.container = None;
        if self.ends.last() == Some(&self.len) {
            return self.fail("expected a field in front of the end of the optional tail");
        }
        self.ends.push(self.len);
        Ok(())
    }

    /// A field, or one of the words that stand for themselves.
    fn item(&mut self) -> Parsed<()> {
        let start = self.at;
        if self.chars[self.at..].starts_with(&['.', '.', '.']) {
            self.at += 3;
            self.open = true;
            return Ok(());
        }
        let mut word = self.word();
        let mut order = None;
        while let Some(said) = order_of(&word) {
            self.blanks();
            if self.take(':') {
                self.order = said;
                // The first field follows at once.
                self.blanks();
            } else if matches!(self.peek(), None | Some(',')) {
                self.order = said;
                return Ok(());
            } else if order.replace(said).is_some() {
                return fail_at(start, "expected one of `be` and `le`");
            }
            word = self.word();
        }
        if word == "skip" {
            let len = self.number(1, MAX_LEN)?;
            self.container = None;
            return self.advance(start, len);
        }
        let (kind, suffix) = match type_of(&word) {
            Some(found) => found,
            None if word.is_empty() => return fail_at(start, "expected a field such as `u16 temperature`"),
            None => {
                let known = "u8 to u64, i8 to i64 (by 8), f32, f64, with `be` or `le` behind, or `skip`";
                return fail_at(start, format!("`{word}` is no type: expected {known}"));
            }
        };
        let order = suffix.or(order).unwrap_or(self.order);
        let width = if self.take(':') { Some(self.bits(kind)?) } else { None };
        self.field(start, kind, order, width)
    }

    fn field(&mut self, start: usize, kind: Kind, order: Order, width: Option<u32>) -> Parsed<()> {
        self.blanks();
        let name_at = self.at;
        let name = if self.peek() == Some('=') { String::new() } else { self.name() };
        if name.is_empty() && self.peek() != Some('=') {
            if width == Some(0) {
                self.container = None;
                return Ok(());
            }
            return fail_at(name_at, "expected a name, `_` or `=` with a constant");
        }
        if width == Some(0) {
            return fail_at(name_at, "expected `,`: a bit field of 0 bits has no name, it ends its byte");
        }
        let count = if self.take('[') {
            let count = self.number(1, MAX_VALUES)?;
            if !self.take(']') {
                return self.fail("expected `]`");
            }
            Some(count)
        } else {
            None
        };
        self.blanks();
        if self.take('=') {
            if count.is_some() {
                return fail_at(name_at, "an array has no constant");
            }
            let constant = self.constant(kind, width)?;
            return self.place(start, kind, order, width, vec![], Some(Usage::Expected(constant)));
        }
        let modifiers = self.modifiers(kind, width, &name)?;
        self.named(start, name_at, &name, count, (kind, order, width), modifiers)
    }

    /// A field that is not a constant.
    fn named(
        &mut self,
        start: usize,
        name_at: usize,
        name: &str,
        count: Option<usize>,
        (kind, order, width): (Kind, Order, Option<u32>),
        modifiers: Modifiers,
    ) -> Parsed<()> {
        let special = match name {
            "node" => Some(Usage::Node { hex: modifiers.hex }),
            "unix_time" => Some(Usage::Time { micros: 1_000_000, name: "unix_time" }),
            "unix_time_ms" => Some(Usage::Time { micros: 1_000, name: "unix_time_ms" }),
            "unix_time_us" => Some(Usage::Time { micros: 1, name: "unix_time_us" }),
            _ => None,
        };
        if special.is_some() {
            if count.is_some() || modifiers.unit.is_some() || !modifiers.scale.is_one() {
                return fail_at(name_at, format!("`{name}` has no scale, no unit and is no array"));
            }
            if matches!((&special, kind), (Some(Usage::Node { .. }), Kind::Single | Kind::Double)) {
                return fail_at(start, "expected an integer for the node");
            }
            if matches!((&special, kind), (Some(Usage::Time { .. }), Kind::Single)) {
                return fail_at(start, "expected an integer or f64 for the time: f32 cannot hold it");
            }
            let kind_of_name = if name == "node" { "node" } else { "unix_time" };
            if !self.names.insert(kind_of_name.to_owned()) {
                return fail_at(name_at, format!("a second field for `{kind_of_name}`"));
            }
            return self.place(start, kind, order, width, modifiers.na, special);
        }
        if name != "_" && !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.')) {
            return fail_at(name_at, format!("`{name}` is no name: expected letters, digits, `_`, `-` and `.`"));
        }
        for index in 0..count.unwrap_or(1) {
            if name == "_" {
                self.place(start, kind, order, width, vec![], None)?;
                continue;
            }
            let metric = if count.is_some() { format!("{name}_{index}") } else { name.to_owned() };
            if metric.len() > MAX_NAME {
                return fail_at(name_at, format!("a name of {} bytes: expected at most {MAX_NAME}", metric.len()));
            }
            if !self.names.insert(metric.clone()) {
                return fail_at(name_at, format!("a second field `{metric}`"));
            }
            self.values += 1;
            if self.values > MAX_VALUES {
                return fail_at(start, format!("expected at most {MAX_VALUES} readings"));
            }
            // The unit of an array is that of its name without the number.
            let term = Term::in_unit(name, modifiers.unit.as_deref().unwrap_or(""));
            let term = Term { metric: Cow::Owned(metric), unit: term.unit, factor: term.factor, offset: term.offset };
            let usage = Usage::Value { term, scale: modifiers.scale };
            self.place(start, kind, order, width, modifiers.na.clone(), Some(usage))?;
        }
        Ok(())
    }

    /// Puts a field, or a gap, behind what came so far.
    fn place(
        &mut self,
        start: usize,
        kind: Kind,
        order: Order,
        width: Option<u32>,
        na: Vec<Constant>,
        usage: Option<Usage>,
    ) -> Parsed<()> {
        let (at, bits) = match width {
            None => {
                self.container = None;
                let at = self.len;
                self.advance(start, kind.len())?;
                (at, None)
            }
            Some(width) => {
                let (at, shift) = self.place_bits(start, kind, order, width)?;
                (at, Some((shift, width)))
            }
        };
        if let Some(usage) = usage {
            self.fields.push(Field { at, kind, order, bits, level: self.ends.len(), na, usage });
        }
        Ok(())
    }

    /// Bits behind those of the same container, or in a new one.
    fn place_bits(&mut self, start: usize, kind: Kind, order: Order, width: u32) -> Parsed<(usize, u32)> {
        let len = kind.len();
        let all = 8 * u32::try_from(len).expect("at most 8 bytes");
        let mut container = match self.container {
            Some(container) if container.len == len && container.order == order && container.used < all => container,
            _ => {
                let at = self.len;
                self.advance(start, len)?;
                Container { at, len, order, used: 0 }
            }
        };
        let left = all - container.used;
        if width > left {
            let reason = format!("{width} bits, but {left} of {all} are left: a bit field of 0 bits begins anew");
            return fail_at(start, reason);
        }
        let shift = match order {
            Order::Little => container.used,
            Order::Big => left - width,
        };
        container.used += width;
        self.container = Some(container);
        Ok((container.at, shift))
    }

    fn advance(&mut self, start: usize, len: usize) -> Parsed<()> {
        self.len += len;
        if self.len > MAX_LEN {
            return fail_at(start, format!("expected at most {MAX_LEN} bytes in all"));
        }
        Ok(())
    }

    fn modifiers(&mut self, kind: Kind, width: Option<u32>, name: &str) -> Parsed<Modifiers> {
        let mut found = Modifiers::default();
        loop {
            self.blanks();
            let start = self.at;
            match self.peek() {
                None | Some(',' | ']' | '[') => return Ok(found),
                Some(operator @ ('*' | '/' | '+' | '-')) => {
                    self.at += 1;
                    self.blanks();
                    let at = self.at;
                    let word = self.numeral();
                    let Some(by) = Decimal::parse(&word) else {
                        return fail_at(at, format!("`{word}` is no number: expected one behind `{operator}`"));
                    };
                    found.scale = match found.scale.then(operator, by) {
                        Some(scale) => scale,
                        None if by.value() == 0.0 => return fail_at(at, "expected another factor than 0"),
                        None => return fail_at(at, "the scale has more digits than can be kept"),
                    };
                }
                Some('!') if self.chars.get(start + 1) == Some(&'=') => {
                    self.at += 2;
                    found.na.push(self.constant(kind, width)?);
                }
                Some('"') => {
                    self.at += 1;
                    let unit: String = self.chars[self.at..].iter().take_while(|c| **c != '"').collect();
                    self.at += unit.chars().count();
                    if !self.take('"') {
                        return fail_at(start, "expected `\"` behind the unit");
                    }
                    set_unit(&mut found, start, unit)?;
                }
                Some(_) => match self.word().as_str() {
                    "na" => found.na.push(self.constant(kind, width)?),
                    "hex" if name == "node" => found.hex = true,
                    "" => {
                        let other = self.chars[self.at];
                        return self.fail(format!("found `{other}`, expected a scale, a unit, `na` or `,`"));
                    }
                    unit => set_unit(&mut found, start, unit.to_owned())?,
                },
            }
        }
    }
}

/// A unit, of which there may be one.
fn set_unit(found: &mut Modifiers, start: usize, unit: String) -> Parsed<()> {
    if let Some(first) = &found.unit {
        let reason = format!("`{unit}` behind the unit `{first}`: expected `,`, a scale, or `na` with a number");
        return fail_at(start, reason);
    }
    if unit.len() > 32 || unit.is_empty() || unit.chars().any(char::is_control) {
        return fail_at(start, "expected a unit of 1 to 32 bytes");
    }
    found.unit = Some(unit);
    Ok(())
}

fn order_of(word: &str) -> Option<Order> {
    match word {
        "be" => Some(Order::Big),
        "le" => Some(Order::Little),
        _ => None,
    }
}

/// `u16`, `i24be`, `f32`.
fn type_of(word: &str) -> Option<(Kind, Option<Order>)> {
    let (plain, order) = match word.get(word.len().saturating_sub(2)..).and_then(order_of) {
        Some(order) => (&word[..word.len() - 2], Some(order)),
        None => (word, None),
    };
    let kind = match plain {
        "f32" => Kind::Single,
        "f64" => Kind::Double,
        _ => {
            let bits: usize = plain.get(1..)?.parse().ok()?;
            if bits == 0
                || bits > 64
                || !bits.is_multiple_of(8)
                || plain.len() > 3
                || !matches!(plain.as_bytes()[1], b'1'..=b'9')
            {
                return None;
            }
            match plain.as_bytes()[0] {
                b'u' => Kind::Unsigned(bits / 8),
                b'i' => Kind::Signed(bits / 8),
                _ => return None,
            }
        }
    };
    Some((kind, order))
}
