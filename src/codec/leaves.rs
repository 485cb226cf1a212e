//! The leaves of a JSON text, named by their paths, without a tree in between: what both JSON formats share.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use serde::de::DeserializeSeed;

use super::payload::{names, scalar, texts};
use super::time;
use crate::reading::{AVAILABILITY_EVENT, DeadLetter, DeadReason, Decoded, Event, MAX_NAME, Reading, When};
use object::Object;
use scalar::Scalar;
use visit::Value;

mod object;
mod visit;

/// Values of one message that are looked at. A device has tens of them; the bound keeps one message of 256 KiB, which
/// could hold 100,000, from filling the channel to the store.
pub const MAX_VALUES: usize = 1_000;

/// Longest piece of a bad name or value that a text for a person shows, in characters.
const SHOWN: usize = 40;

/// What to make of the leaves.
pub(super) struct Plan<'a> {
    /// The node of all readings, unless a field names it.
    pub node: Arc<str>,
    /// Stands before the names of an object's leaves, and is the name of a bare value, which is `value` without it.
    pub metric: Option<&'a str>,
    /// Path of the field that holds the time.
    pub time: Option<&'a str>,
    /// Where the object has no such field, its time is in another that has the name of one.
    pub find_time: bool,
    /// How a time without a zone is read.
    pub local: time::Local,
    /// Path of the field that names the node.
    pub node_field: Option<&'a str>,
}

/// What is wrong with a name of a node or metric; `None` where nothing is.
pub(super) fn name_fault(name: &str) -> Option<String> {
    if name.is_empty() {
        Some("is empty".into())
    } else if name.len() > MAX_NAME {
        Some(format!("has {} bytes, expected at most {MAX_NAME}: `{}`", name.len(), shown(name)))
    } else {
        name.chars().any(char::is_control).then(|| format!("has a control character: `{}`", shown(name)))
    }
}

/// The beginning of `text` without control characters, for a person.
pub(super) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        short.push_str("...");
    }
    short
}

/// Decodes a JSON text. Gives nothing at all only where all that it has are values that its sender does not know.
pub(super) fn decode(payload: &[u8], plan: Plan<'_>) -> Decoded {
    let refused =
        |reason, detail: String| Decoded { dead: vec![DeadLetter::new(reason, detail, payload)], ..Decoded::default() };
    let text = match std::str::from_utf8(payload) {
        Ok(text) => text,
        Err(e) => return refused(DeadReason::NotUtf8, format!("invalid UTF-8 at byte {}", e.valid_up_to())),
    };
    let mut walk = Walk::new(text, plan);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Value::whole(&mut walk);
    if let Err(e) = value.deserialize(&mut deserializer).and_then(|()| deserializer.end()) {
        return refused(DeadReason::Malformed, e.to_string());
    }
    match walk.finish() {
        Ok(decoded) => decoded,
        Err(fault) => refused(DeadReason::BadName, fault),
    }
}

/// What the field that names the node says.
enum Named {
    Missing,
    As(String),
    Bad(&'static str),
}

/// What a leaf is for.
#[derive(Clone, Copy)]
enum Role {
    Time,
    Node,
    Metric,
}

/// State of the walk through one text.
struct Walk<'a> {
    text: &'a str,
    plan: Plan<'a>,
    /// Name of the leaf in hand, with the metric of the plan before it.
    path: String,
    /// The object in hand, whose leaves share a time; `None` outside of objects.
    object: Option<Object>,
    /// Where the readings of the object in hand are, so that the last of two equal paths wins.
    known: HashMap<Arc<str>, usize>,
    /// The event of the first time that could not be read, and how many there were.
    bad_time: Option<usize>,
    bad_times: usize,
    named: Named,
    values: usize,
    /// Something was there that is no reading: an event, or a value that the sender does not know.
    told: bool,
    decoded: Decoded,
}

impl<'a> Walk<'a> {
    fn new(text: &'a str, plan: Plan<'a>) -> Self {
        Self {
            text,
            plan,
            path: String::with_capacity(MAX_NAME),
            object: None,
            known: HashMap::new(),
            bad_time: None,
            bad_times: 0,
            named: Named::Missing,
            values: 0,
            told: false,
            decoded: Decoded::default(),
        }
    }

    /// An object begins whose leaves share a time: the text itself, or an element of its outermost array.
    fn begin_object(&mut self) {
        self.path.clear();
        if let Some(metric) = self.plan.metric {
            self.path.push_str(metric);
            self.path.push('.');
        }
        self.object = Some(Object::new(self.path.len(), &self.decoded));
    }

    /// The name of a value that is in no object; `element` is its place in the outermost array.
    fn name_bare(&mut self, element: Option<usize>) {
        self.object = None;
        self.path.clear();
        self.path.push_str(self.plan.metric.unwrap_or("value"));
        if let Some(index) = element {
            self.push_index(index);
        }
    }

    fn push_index(&mut self, index: usize) {
        // Writing to a String cannot fail.
        let _: fmt::Result = write!(self.path, ".{index}");
    }

    /// What the leaf in hand is for.
    fn role(&self) -> Role {
        let Some(object) = &self.object else { return Role::Metric };
        let path = Some(&self.path[object.start..]);
        if path == self.plan.time {
            Role::Time
        } else if path == self.plan.node_field {
            Role::Node
        } else {
            Role::Metric
        }
    }

    /// A number, as its text.
    fn number(&mut self, text: &str) {
        match self.role() {
            Role::Time => self.time_found(time::parse_number(text), text),
            Role::Node => self.named = Named::As(text.to_owned()),
            Role::Metric if self.is_own_time(text, false) => {}
            Role::Metric => self.value(text.parse().unwrap_or(f64::NAN), text, false),
        }
    }

    /// Text: a time, a node, a value in quotes, or something that has happened.
    fn text(&mut self, text: &str) {
        match self.role() {
            Role::Time => self.time_found(time::parse_text(text, self.plan.local), text),
            Role::Node => self.named = Named::As(text.to_owned()),
            Role::Metric if self.is_own_time(text, true) => {}
            Role::Metric => match scalar::of_text(text) {
                Scalar::Value(value) => self.value(value, text, names::is_switch(text)),
                Scalar::TooLarge(digits) => self.value(f64::INFINITY, digits, false),
                Scalar::Text(text) => self.word(text),
                Scalar::Nothing | Scalar::Compound => self.told = true,
            },
        }
    }

    fn boolean(&mut self, value: bool) {
        match self.role() {
            Role::Metric => self.value(f64::from(u8::from(value)), if value { "true" } else { "false" }, true),
            role => self.unfit(role, "a boolean"),
        }
    }

    /// The sender has no value here.
    fn null(&mut self) {
        self.told |= matches!(self.role(), Role::Metric);
    }

    /// Text that is no value: whether the node is there, the unit of a value beside it, or an event.
    fn word(&mut self, text: &str) {
        let start = self.object.as_ref().map_or(0, |object| object.start);
        let field = &self.path[start..];
        let online = super::payload::number::online(field, text).filter(|_| self.object.is_some());
        let (kind, data) = match online {
            Some(online) => (AVAILABILITY_EVENT, if online { crate::reading::ONLINE } else { crate::reading::OFFLINE }),
            None => (&*self.path, text),
        };
        if let Some(object) = &mut self.object
            && object.is_unit(&self.path, text)
        {
            return;
        }
        // The elements of a list are no fields of which each could change.
        let last = field.rsplit('.').next().unwrap_or_default();
        let listed = !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit());
        if listed || !texts::tells(last, text) || name_fault(kind).is_some() {
            return;
        }
        self.values += 1;
        if self.values > MAX_VALUES {
            return;
        }
        self.told = true;
        let (node, kind) = (Arc::clone(&self.plan.node), Arc::from(kind));
        let data = super::payload::found::cut_data(data).to_owned();
        self.decoded.events.push(Event { node, kind, when: When::Arrival, data });
    }

    /// Where a time or a node's name was expected there is something else.
    fn unfit(&mut self, role: Role, what: &'static str) {
        match role {
            Role::Time => self.time_unfit(what),
            Role::Node => self.named = Named::Bad(what),
            Role::Metric => {}
        }
    }

    /// A value; `text` is what it is made of, and `switch` says that it is one and no quantity.
    fn value(&mut self, value: f64, text: &str, switch: bool) {
        // A path of 200 KB above 20,000 leaves must not be hashed for each of them.
        if value.is_finite()
            && self.path.len() <= MAX_NAME
            && let Some(&at) = self.known.get(self.path.as_str())
        {
            self.decoded.readings[at].value = value;
            self.note_switch(at, switch);
            return;
        }
        self.values += 1;
        if self.values > MAX_VALUES {
            return;
        }
        if let Some(letter) = self.value_fault(value, text) {
            self.decoded.dead.push(letter);
            return;
        }
        let metric: Arc<str> = Arc::from(self.path.as_str());
        let at = self.decoded.readings.len();
        let node = Arc::clone(&self.plan.node);
        let (own_name, unit, when) = (None, None, When::Arrival);
        self.decoded.readings.push(Reading { node, metric: Arc::clone(&metric), own_name, unit, when, value });
        if self.object.is_some() {
            self.known.insert(metric, at);
            self.note_switch(at, switch);
        } else {
            let term = names::at_path(&metric);
            object::describe(&mut self.decoded.readings[at], if switch { names::of_switch(term) } else { term });
        }
    }

    /// Why the value in hand cannot be a reading.
    fn value_fault(&self, value: f64, text: &str) -> Option<DeadLetter> {
        if value.is_finite() {
            let detail = format!("the metric's name {}", name_fault(&self.path)?);
            return Some(DeadLetter::new(DeadReason::BadName, detail, self.text.as_bytes()));
        }
        let detail = format!("`{}` does not fit into a 64-bit float: `{}`", shown(&self.path), shown(text));
        Some(DeadLetter::new(DeadReason::BadNumber, detail, self.text.as_bytes()))
    }

    /// What the whole text gives; the error says what is wrong with its node.
    fn finish(mut self) -> Result<Decoded, String> {
        let named: Option<Arc<str>> = match self.named {
            Named::Missing => None,
            Named::As(name) => Some(Arc::from(name)),
            Named::Bad(what) => {
                let field = shown(self.plan.node_field.unwrap_or_default());
                return Err(format!("the field `{field}` is {what}: expected the node's name as text or number"));
            }
        };
        if let Some(fault) = name_fault(named.as_ref().unwrap_or(&self.plan.node)) {
            return Err(format!("the node's name {fault}"));
        }
        let Decoded { readings, events, dead } = &mut self.decoded;
        if let Some(node) = named {
            for reading in readings.iter_mut() {
                reading.node = Arc::clone(&node);
            }
            for event in events.iter_mut() {
                event.node = Arc::clone(&node);
            }
        }
        if let (Some(event), 2..) = (self.bad_time, self.bad_times) {
            let _: fmt::Result = write!(events[event].data, " (and {} more of its objects)", self.bad_times - 1);
        }
        if self.values > MAX_VALUES {
            let detail = format!("{} values: expected at most {MAX_VALUES}, the others are not stored", self.values);
            dead.push(DeadLetter::new(DeadReason::TooManyValues, detail, self.text.as_bytes()));
        }
        if readings.is_empty() && dead.is_empty() && !self.told {
            let detail = "expected a number, a boolean or the text of a state";
            dead.push(DeadLetter::new(DeadReason::NoReading, detail, self.text.as_bytes()));
        }
        Ok(self.decoded)
    }
}
