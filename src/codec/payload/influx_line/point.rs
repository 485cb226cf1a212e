//! The grammar of one line, by InfluxData's line protocol reference.
//!
//! - A blank that no backslash precedes ends the measurement with its tags, and the fields. Several blanks are one.
//! - In a measurement `\,` and `\ ` stand for comma and blank; in keys and tag values also `\=`. A backslash before anything else
//!   is itself. A tag value may not be empty.
//! - A field's value is a float (`1`, `1.5`, `-1e3`), an integer with `i`, an unsigned one with `u`, a boolean (`t`, `T`, `true`,
//!   `True`, `TRUE` and the same for false), or text in double quotes, in which `\"` and `\\` are escapes.
//! - The timestamp is an integer.
//!
//! A line feed within a quoted text is not supported, as the reference says.

use std::borrow::Cow;

/// A piece of a line with its escapes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Text<'a> {
    raw: &'a str,
    escapes: &'static [char],
}

impl<'a> Text<'a> {
    /// As it stands in the line.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// Without escapes.
    pub fn plain(&self) -> Cow<'a, str> {
        if !self.raw.contains('\\') {
            return Cow::Borrowed(self.raw);
        }
        let mut plain = String::with_capacity(self.raw.len());
        let mut chars = self.raw.chars().peekable();
        while let Some(c) = chars.next() {
            if c == '\\'
                && let Some(escaped) = chars.next_if(|next| self.escapes.contains(next))
            {
                plain.push(escaped);
            } else {
                plain.push(c);
            }
        }
        Cow::Owned(plain)
    }
}

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// A number.
    Number(f64),
    /// A boolean.
    Switch(bool),
    /// A number that does not fit into a 64-bit float.
    TooLarge(&'a str),
    /// What stands in quotes.
    Text(Text<'a>),
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Point<'a> {
    pub measurement: Text<'a>,
    pub tags: Vec<(Text<'a>, Text<'a>)>,
    pub fields: Vec<(Text<'a>, Value<'a>)>,
    pub timestamp: Option<i64>,
}

/// Where a line is not a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fault {
    /// In characters, counted from 1.
    pub column: usize,
    /// What should be there.
    pub expected: &'static str,
}

const MEASUREMENT: &[char] = &[',', ' '];
const KEY: &[char] = &[',', '=', ' '];
const QUOTED: &[char] = &['"', '\\'];

struct Cursor<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn fault(&self, expected: &'static str) -> Fault {
        Fault { column: self.line[..self.at].chars().count() + 1, expected }
    }

    fn peek(&self) -> Option<u8> {
        self.line.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
    }

    /// The text up to one of `ends` that no backslash escapes.
    fn until(&mut self, ends: &[u8], escapes: &'static [char]) -> Text<'a> {
        let bytes = self.line.as_bytes();
        let start = self.at;
        while let Some(&b) = bytes.get(self.at) {
            let escaped = b == b'\\' && bytes.get(self.at + 1).is_some_and(|next| escapes.contains(&char::from(*next)));
            if escaped {
                self.at += 2;
            } else if ends.contains(&b) {
                break;
            } else {
                self.at += 1;
            }
        }
        Text { raw: &self.line[start..self.at], escapes }
    }

    /// `key=`
    fn key(&mut self, expected: &'static str) -> Result<Text<'a>, Fault> {
        let start = self.at;
        let key = self.until(b"=, ", KEY);
        if key.raw.is_empty() {
            self.at = start;
            return Err(self.fault(expected));
        }
        if self.peek() != Some(b'=') {
            return Err(self.fault("`=` behind the key"));
        }
        self.at += 1;
        Ok(key)
    }

    fn value(&mut self) -> Result<Value<'a>, Fault> {
        if self.peek() == Some(b'"') {
            let start = self.at;
            self.at += 1;
            let text = self.until(b"\"", QUOTED);
            if self.peek() != Some(b'"') {
                self.at = start;
                return Err(self.fault("the text's closing quote in the same line"));
            }
            self.at += 1;
            return Ok(Value::Text(text));
        }
        let start = self.at;
        let word = self.until(b", ", &[]).raw;
        number(word).ok_or_else(|| {
            self.at = start;
            self.fault("a value: a number, a number with i or u, true, false, or text in double quotes")
        })
    }
}

/// A value that stands without quotes.
fn number(word: &str) -> Option<Value<'_>> {
    match word {
        "t" | "T" | "true" | "True" | "TRUE" => return Some(Value::Switch(true)),
        "f" | "F" | "false" | "False" | "FALSE" => return Some(Value::Switch(false)),
        _ => {}
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if let Some(whole) = word.strip_suffix('i') {
        if !digits(whole.strip_prefix(['-', '+']).unwrap_or(whole)) {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "every number is stored as a 64-bit float")]
        return Some(whole.parse::<i64>().map_or(Value::TooLarge(word), |value| Value::Number(value as f64)));
    }
    if let Some(whole) = word.strip_suffix('u') {
        if !digits(whole) {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "every number is stored as a 64-bit float")]
        return Some(whole.parse::<u64>().map_or(Value::TooLarge(word), |value| Value::Number(value as f64)));
    }
    match super::of_text(word) {
        super::Scalar::Value(value) if !word.eq_ignore_ascii_case("on") && !word.eq_ignore_ascii_case("off") => {
            Some(Value::Number(value))
        }
        super::Scalar::TooLarge(text) => Some(Value::TooLarge(text)),
        _ => None,
    }
}

impl<'a> Point<'a> {
    /// Reads a line that is not blank and no comment.
    pub fn parse(line: &'a str) -> Result<Self, Fault> {
        let line = line.trim_end();
        let mut cursor = Cursor { line, at: 0 };
        cursor.skip_blanks();
        let measurement = cursor.until(b", ", MEASUREMENT);
        if measurement.raw.is_empty() {
            return Err(cursor.fault("a measurement's name"));
        }
        let mut tags = Vec::new();
        while cursor.peek() == Some(b',') {
            cursor.at += 1;
            let key = cursor.key("a tag's key")?;
            let value = cursor.until(b"=, ", KEY);
            if value.raw.is_empty() {
                return Err(cursor.fault("a tag's value"));
            }
            if cursor.peek() == Some(b'=') {
                return Err(cursor.fault("`,` or a blank behind the tag's value; `=` in it as `\\=`"));
            }
            tags.push((key, value));
        }
        if cursor.peek().is_none() {
            return Err(cursor.fault("a blank and a field such as `temperature=21.5`"));
        }
        cursor.skip_blanks();
        let mut fields = Vec::new();
        loop {
            let key = cursor.key("a field such as `temperature=21.5`")?;
            fields.push((key, cursor.value()?));
            match cursor.peek() {
                Some(b',') => cursor.at += 1,
                Some(b' ') | None => break,
                Some(_) => return Err(cursor.fault("`,`, a blank or the end behind the field's value")),
            }
        }
        cursor.skip_blanks();
        let timestamp = match &line[cursor.at..] {
            "" => None,
            digits => Some(digits.parse().map_err(|_| cursor.fault("a timestamp in integers, or the end"))?),
        };
        Ok(Self { measurement, tags, fields, timestamp })
    }
}
