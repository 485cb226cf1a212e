//! `msgpack`: the leaves of a MessagePack value, named as those of the JSON format.
//!
//! - A leaf's name is its path: `{"env": {"temp": 21.5}}` is `env.temp`, the second element of an array `.1` behind the array's
//!   name. A bare value is `value`, or the pattern's metric, which stands before the names of an object's leaves.
//! - The outermost value may be an array of maps: each has its own time.
//! - Numbers and booleans are readings, and so is text that is a number or a switch; other texts are events as in JSON. Nil, NaN,
//!   binary data and extensions are nothing. A 32-bit float is the shortest decimal number that gives it: 21.1 and not 21.100000381.
//! - Time: the configured field as number, text or timestamp extension (type -1, in 4, 8 or 12 bytes); where none is
//!   configured, a field with the name of a time ([`time_fields`]) of the map that is the value.
//! - The node is what the pattern names, or else the topic.
//! - Not MessagePack, a key that is neither text nor a whole number, maps and arrays in each other beyond [`MAX_DEPTH`], or bytes
//!   behind the value: a dead letter with the offset.

use std::collections::HashSet;
use std::sync::Arc;

use super::found::{Found, refused};
use super::scalar::{Scalar, of_text};
use super::time_fields::{self, Told};
use super::{MAX_VALUES, Message, names, texts};
use crate::codec::leaves::shown;
use crate::codec::time::{self, Local};
use crate::reading::{DeadReason, Decoded, MAX_NAME, Timestamp, When};
use reader::{Fault, Item, Reader};

mod reader;

/// Maps and arrays in each other.
pub const MAX_DEPTH: usize = 64;

/// Whether this is a map, or an array of maps, with names as keys and a number in it, and nothing behind it.
pub fn recognises(message: &Message<'_>) -> bool {
    // The first byte of a map or an array of up to 15 elements, or of longer ones: none of them begins a text.
    if !matches!(message.payload.first(), Some(0x80..=0x9f | 0xdc..=0xdf)) {
        return false;
    }
    let mut walk = Walk::new(message, Found::new(message.payload));
    walk.whole().is_ok() && walk.named && walk.numbers > 0
}

/// Decodes one message.
pub fn decode(message: &Message<'_>) -> Decoded {
    let mut walk = Walk::new(message, Found::new(message.payload));
    match walk.whole() {
        Ok(()) if walk.nothing => walk.found.finish(),
        Ok(()) => walk.found.finish_expecting("a number, a boolean or the text of a state"),
        Err(Fault { offset, expected }) => {
            refused(DeadReason::Malformed, format!("byte {offset}: expected {expected}"), message.payload)
        }
    }
}

/// A leaf of the object in hand.
struct Leaf {
    path: String,
    value: Value,
    switch: bool,
}

/// What a leaf holds.
enum Value {
    Number(f64),
    TooLarge(String),
    /// A state, or something that happened.
    Word(String),
}

/// What the time's field of the object in hand says.
enum Time {
    Missing,
    At(Timestamp),
    Bad(String),
}

struct Walk<'a> {
    reader: Reader<'a>,
    found: Found<'a>,
    node: Arc<str>,
    metric: Option<&'a str>,
    time_field: Option<&'a str>,
    local: Local,
    path: String,
    /// The leaves of the object in hand; at most [`MAX_VALUES`] are kept of a message.
    leaves: Vec<Leaf>,
    values: usize,
    numbers: usize,
    time: Time,
    /// How sure the time is that was found by its field's name.
    rank: usize,
    /// There is a value that the sender does not know.
    nothing: bool,
    /// Where in `path` the path within the object begins; `None` outside of objects.
    object: Option<usize>,
    /// All keys are printable text, and there is a map.
    named: bool,
}

impl<'a> Walk<'a> {
    fn new(message: &Message<'a>, found: Found<'a>) -> Self {
        Self {
            reader: Reader::new(message.payload),
            found,
            node: message.node_or(None),
            metric: message.metric,
            time_field: message.time,
            local: message.local,
            path: String::new(),
            leaves: Vec::new(),
            values: 0,
            numbers: 0,
            time: Time::Missing,
            rank: usize::MAX,
            nothing: false,
            object: None,
            named: false,
        }
    }

    fn whole(&mut self) -> Result<(), Fault> {
        let bare = self.metric.unwrap_or("value");
        match self.reader.next()? {
            Item::Array(len) => {
                for index in 0..len {
                    let item = self.reader.next()?;
                    if let Item::Map(len) = item {
                        self.object(len, 2)?;
                    } else {
                        self.object = None;
                        bare.clone_into(&mut self.path);
                        self.push_index(index);
                        self.item(item, 1)?;
                        self.put();
                    }
                }
            }
            Item::Map(len) => self.object(len, 1)?,
            item => {
                bare.clone_into(&mut self.path);
                self.item(item, 0)?;
                self.put();
            }
        }
        self.reader.end()
    }

    /// A map whose leaves share a time.
    fn object(&mut self, len: u32, depth: usize) -> Result<(), Fault> {
        self.path.clear();
        if let Some(metric) = self.metric {
            self.path.push_str(metric);
            self.path.push('.');
        }
        self.object = Some(self.path.len());
        self.fields(len, depth)?;
        self.put();
        Ok(())
    }

    fn fields(&mut self, len: u32, depth: usize) -> Result<(), Fault> {
        let start = self.path.len();
        // The key of the object itself stands behind nothing, or behind the metric and its point.
        let point = Some(start) != self.object && start > 0;
        for _ in 0..len {
            let offset = self.reader.offset();
            match self.reader.next()? {
                Item::Text(key) => {
                    let plain = !key.is_empty() && key.chars().all(|c| !c.is_control());
                    self.named = plain && (self.named || self.values == 0);
                    self.push(point, key);
                }
                Item::Integer(key) => {
                    self.named = false;
                    self.push(point, &key.to_string());
                }
                _ => return Err(Fault { offset, expected: "a key that is text or a whole number" }),
            }
            let item = self.reader.next()?;
            self.item(item, depth)?;
            self.path.truncate(start);
        }
        Ok(())
    }

    fn push(&mut self, point: bool, key: &str) {
        if point {
            self.path.push('.');
        }
        self.path.push_str(key);
    }

    fn push_index(&mut self, index: u32) {
        self.path.push('.');
        self.path.push_str(&index.to_string());
    }

    fn item(&mut self, item: Item<'a>, depth: usize) -> Result<(), Fault> {
        let deeper = |reader: &Reader<'_>| {
            let expected = "at most 64 maps and arrays in each other";
            if depth < MAX_DEPTH { Ok(depth + 1) } else { Err(Fault { offset: reader.offset(), expected }) }
        };
        match item {
            Item::Map(len) => {
                let depth = deeper(&self.reader)?;
                self.fields(len, depth)
            }
            Item::Array(len) => {
                let depth = deeper(&self.reader)?;
                let start = self.path.len();
                for index in 0..len {
                    self.push_index(index);
                    let item = self.reader.next()?;
                    self.item(item, depth)?;
                    self.path.truncate(start);
                }
                Ok(())
            }
            leaf => {
                self.leaf(&leaf);
                Ok(())
            }
        }
    }

    fn leaf(&mut self, item: &Item<'_>) {
        if self.is_time(item) {
            return;
        }
        let last = self.path.rsplit('.').next().unwrap_or_default();
        let value = match item {
            Item::Bool(value) => Value::Number(f64::from(u8::from(*value))),
            #[expect(clippy::cast_precision_loss, reason = "every number is stored as a 64-bit float")]
            Item::Integer(value) => Value::Number(*value as f64),
            Item::Float(value) if value.is_finite() => Value::Number(*value),
            Item::Text(text) => match of_text(text) {
                Scalar::Value(value) => Value::Number(value),
                Scalar::TooLarge(text) => Value::TooLarge(shown(text)),
                // The elements of a list are no fields of which each could change.
                Scalar::Text(text) if !last.bytes().all(|b| b.is_ascii_digit()) && texts::tells(last, text) => {
                    Value::Word(super::found::cut_data(text).to_owned())
                }
                Scalar::Text(_) => return,
                Scalar::Nothing | Scalar::Compound => {
                    self.nothing = true;
                    return;
                }
            },
            _ => {
                self.nothing |= matches!(item, Item::Nil | Item::Float(_));
                return;
            }
        };
        self.values += 1;
        self.numbers += usize::from(matches!(value, Value::Number(_)));
        // One more than the bound is handed on, which counts and tells it.
        if self.values > MAX_VALUES + 1 {
            return;
        }
        // A path of 200 KB above 20,000 leaves must not be copied for each of them: it is too long either way.
        let mut end = self.path.len().min(MAX_NAME + 8);
        while !self.path.is_char_boundary(end) {
            end -= 1;
        }
        let switch = match item {
            Item::Bool(_) => true,
            Item::Text(text) => names::is_switch(text),
            _ => false,
        };
        self.leaves.push(Leaf { path: self.path[..end].to_owned(), value, switch });
    }

    /// Takes a leaf for the time of the object in hand: the configured field, or else one with the name of a time.
    fn is_time(&mut self, item: &Item<'_>) -> bool {
        let Some(field) = self.object.map(|start| &self.path[start..]) else { return false };
        if let Some(time) = self.time_field {
            if field != time {
                return false;
            }
            self.time = match item {
                Item::Nil | Item::Integer(0) => Time::Missing,
                Item::Time(at) => Time::At(*at),
                Item::Text(text) => time_of(time::parse_text(text, self.local), text),
                Item::Integer(number) => {
                    let text = number.to_string();
                    time_of(time::parse_number(&text), &text)
                }
                Item::Float(number) => {
                    let text = number.to_string();
                    time_of(time::parse_number(&text), &text)
                }
                _ => Time::Bad("neither number nor text nor timestamp".into()),
            };
            return true;
        }
        let Some(rank) = time_fields::rank(field) else { return false };
        let told = match item {
            Item::Time(at) => Told::At(*at),
            Item::Text(text) => time_fields::of_text(rank, text, self.local),
            Item::Integer(number) => time_fields::of_number(&number.to_string()),
            Item::Float(number) => time_fields::of_number(&number.to_string()),
            _ => return false,
        };
        match (told, item) {
            (Told::At(at), _) if rank < self.rank => {
                self.rank = rank;
                self.time = Time::At(at);
            }
            (Told::At(_) | Told::Nothing, _) => {}
            (Told::Other, Item::Text(text)) if matches!(of_text(text), Scalar::Text(_)) => {
                if self.rank == usize::MAX && !time_fields::is_date(rank) {
                    self.time = Time::Bad((*text).to_owned());
                }
            }
            (Told::Other, _) => return false,
        }
        true
    }

    /// The leaves of the object in hand are all known.
    fn put(&mut self) {
        self.rank = usize::MAX;
        let when = match std::mem::replace(&mut self.time, Time::Missing) {
            Time::Missing => When::Arrival,
            Time::At(at) => When::Live(at),
            Time::Bad(text) => {
                self.found.bad_time(&self.node, self.time_field.unwrap_or("time"), &text);
                When::Arrival
            }
        };
        let leaves = std::mem::take(&mut self.leaves);
        let paths: HashSet<&str> = leaves.iter().map(|leaf| &*leaf.path).collect();
        let mut taken: HashSet<String> = HashSet::new();
        for leaf in &leaves {
            let mut term = names::at_path(&leaf.path);
            if leaf.switch {
                term = names::of_switch(term);
            }
            // Two never become one: the later one keeps its own name.
            if *term.metric != *leaf.path
                && (paths.contains(&*term.metric) || !taken.insert(term.metric.clone().into_owned()))
            {
                term.metric = (&*leaf.path).into();
            }
            match &leaf.value {
                Value::Number(value) => self.found.value(&self.node, &leaf.path, &term, *value, when),
                Value::TooLarge(text) => {
                    self.found.scalar(&self.node, &leaf.path, &term, Scalar::TooLarge(text), when);
                }
                Value::Word(text) => self.found.event(&self.node, &leaf.path, text, when),
            }
        }
    }
}

fn time_of(time: Option<Timestamp>, text: &str) -> Time {
    time.map_or_else(|| Time::Bad(text.to_owned()), Time::At)
}

#[cfg(test)]
mod tests;
