//! An object whose leaves share a time: which time that is, and what its leaves are called once all of them are known.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Walk, shown};
use crate::codec::payload::time_fields::{self, Told};
use crate::codec::payload::vocabulary::Term;
use crate::codec::payload::{names, scalar};
use crate::codec::time;
use crate::reading::{CLOCK_EVENT, Decoded, Event, MAX_NAME, Reading, Timestamp, When};

/// Objects within one that have a time of their own; the times of further ones are left out.
const MAX_TIMES: usize = 32;
/// Values of one object whose unit stands beside them; further units are left out.
const MAX_UNITS: usize = 64;

/// What the field that holds the time says about the object in hand.
enum Time {
    Missing,
    At(Timestamp),
    Bad(String),
}

/// A time that was found by its field's name: that of all leaves below a path.
struct Own {
    below: String,
    rank: usize,
    at: Timestamp,
}

/// What is known so far of the object in hand.
pub(super) struct Object {
    /// Where in the walk's path the path within the object begins.
    pub start: usize,
    /// Its first reading and event.
    first: usize,
    first_event: usize,
    /// Its readings that are switches.
    switches: Vec<usize>,
    time: Time,
    own: Vec<Own>,
    /// A date and a time of day beside each other, and the field of the latter.
    date: Option<String>,
    clock: Option<(String, String)>,
    /// Units by the path above them.
    units: Vec<(String, String)>,
}

impl Object {
    pub fn new(start: usize, decoded: &Decoded) -> Self {
        Self {
            start,
            first: decoded.readings.len(),
            first_event: decoded.events.len(),
            switches: Vec::new(),
            time: Time::Missing,
            own: Vec::new(),
            date: None,
            clock: None,
            units: Vec::new(),
        }
    }

    /// Takes the text of `a.unit` for the unit of `a.value`.
    pub fn is_unit(&mut self, path: &str, text: &str) -> bool {
        let Some((above, "unit" | "units" | "unit_of_measurement" | "uom")) = path.rsplit_once('.') else {
            return false;
        };
        if above.len() <= MAX_NAME && text.len() <= 16 && self.units.len() < MAX_UNITS {
            self.units.push((above.to_owned(), text.to_owned()));
        }
        true
    }

    /// The time of the leaf of this path: that of the nearest object around it that has one.
    fn time_of(&self, path: &str, whole: Option<Timestamp>) -> Option<Timestamp> {
        let near = self.own.iter().filter(|own| path.starts_with(&own.below));
        let nearest = near.max_by_key(|own| (own.below.len(), std::cmp::Reverse(own.rank)));
        // The configured field is the time of all.
        whole.or_else(|| nearest.map(|own| own.at))
    }

    /// The unit that stands beside the value of this path.
    fn unit_of(&self, path: &str) -> Option<&str> {
        let above = path.strip_suffix(".value").or_else(|| path.strip_suffix(".Value"))?;
        self.units.iter().find(|(of, _)| of == above).map(|(_, unit)| &**unit)
    }
}

impl Walk<'_> {
    /// Whether the leaf in hand is a time that is found by its field's name.
    pub(super) fn is_own_time(&mut self, text: &str, quoted: bool) -> bool {
        let Some(object) = self.object.as_mut().filter(|_| self.plan.find_time) else { return false };
        let key = self.path[object.start..].rfind('.').map_or(object.start, |at| object.start + at + 1);
        let Some(rank) = time_fields::rank(&self.path[key..]) else { return false };
        let told =
            if quoted { time_fields::of_text(rank, text, self.plan.local) } else { time_fields::of_number(text) };
        match told {
            Told::At(at) if object.own.len() < MAX_TIMES && key <= MAX_NAME => {
                object.own.push(Own { below: self.path[..key].to_owned(), rank, at });
            }
            Told::At(_) | Told::Nothing => {}
            Told::Other if !quoted || scalar::is_number(text.trim()) => return false,
            Told::Other => {
                let nothing = matches!(scalar::of_text(text), scalar::Scalar::Nothing);
                if key == object.start && !nothing {
                    if time_fields::is_date(rank) {
                        object.date = Some(text.to_owned());
                    } else {
                        object.clock = Some((self.path[key..].to_owned(), text.to_owned()));
                    }
                }
            }
        }
        true
    }

    pub(super) fn note_switch(&mut self, at: usize, switch: bool) {
        let Some(object) = &mut self.object else { return };
        if switch {
            object.switches.push(at);
        } else if !object.switches.is_empty() {
            object.switches.retain(|other| *other != at);
        }
    }

    /// What the configured field says.
    pub(super) fn time_found(&mut self, time: Option<Timestamp>, text: &str) {
        if let Some(object) = &mut self.object {
            object.time = time.map_or_else(|| Time::Bad(format!("`{}`", shown(text))), Time::At);
        }
    }

    /// The configured field is no scalar.
    pub(super) fn time_unfit(&mut self, what: &str) {
        if let Some(object) = &mut self.object {
            object.time = Time::Bad(what.to_owned());
        }
    }

    /// All leaves of the object in hand are known now: they get their time, their names and their units.
    pub(super) fn end_object(&mut self) {
        let Some(mut object) = self.object.take() else { return };
        let whole = match std::mem::replace(&mut object.time, Time::Missing) {
            Time::At(at) => Some(at),
            Time::Missing => None,
            Time::Bad(found) => {
                let field = self.plan.time.unwrap_or_default().to_owned();
                self.tell_bad_time(&field, &found);
                None
            }
        };
        let (date, clock) = (object.date.take(), object.clock.take());
        if let Some((field, clock)) =
            clock.filter(|_| whole.is_none() && !object.own.iter().any(|own| own.below.len() == object.start))
        {
            let text = date.map_or_else(|| clock.clone(), |date| format!("{} {}", date.trim(), clock.trim()));
            match time_fields::of_text(0, &text, self.plan.local) {
                Told::At(at) => object.own.push(Own { below: self.path[..object.start].to_owned(), rank: 0, at }),
                Told::Nothing => {}
                Told::Other if object.own.is_empty() => self.tell_bad_time(&field, &format!("`{}`", shown(&text))),
                Told::Other => {}
            }
        }
        let live = |at: Option<Timestamp>| at.map_or(When::Arrival, When::Live);
        if whole.is_some() || !object.own.is_empty() {
            for reading in &mut self.decoded.readings[object.first..] {
                reading.when = live(object.time_of(&reading.metric, whole));
            }
            for event in &mut self.decoded.events[object.first_event..] {
                if *event.kind != *CLOCK_EVENT {
                    event.when = live(object.time_of(&event.kind, whole));
                }
            }
        }
        self.name_readings(&object);
        self.known.clear();
    }

    /// Gives the readings of an object their names and units. Two never become one: the later one keeps its own name.
    fn name_readings(&mut self, object: &Object) {
        let mut taken: HashSet<String> = HashSet::new();
        for at in object.first..self.decoded.readings.len() {
            let reading = &mut self.decoded.readings[at];
            let path = Arc::clone(&reading.metric);
            let mut term = match object.unit_of(&path) {
                Some(unit) => names::at_path_in(&path, unit),
                None => names::at_path(&path),
            };
            if object.switches.contains(&at) {
                term = names::of_switch(term);
            }
            if *term.metric != *path
                && (self.known.contains_key(&*term.metric) || !taken.insert(term.metric.clone().into_owned()))
            {
                term.metric = (&*path).into();
            }
            describe(reading, term);
        }
    }

    /// One event a message: an array of 20,000 objects must not become as many rows.
    fn tell_bad_time(&mut self, field: &str, found: &str) {
        self.bad_times += 1;
        if self.bad_times == 1 {
            let data = format!("the field `{}` is {found}: expected {}", shown(field), time::EXPECTED);
            let (node, kind) = (Arc::clone(&self.plan.node), Arc::from(CLOCK_EVENT));
            self.bad_time = Some(self.decoded.events.len());
            self.decoded.events.push(Event { node, kind, when: When::Arrival, data });
        }
    }
}

/// Gives a reading that is named by its path the name and unit of `term`, and keeps the path as its own name.
pub(super) fn describe(reading: &mut Reading, term: Term<'_>) {
    let value = term.converted(reading.value);
    // What no longer fits once it is converted stays as it was sent.
    if !value.is_finite() || term.metric.len() > MAX_NAME {
        return;
    }
    reading.value = value;
    reading.unit = term.unit;
    if *term.metric != *reading.metric {
        reading.own_name = Some(std::mem::replace(&mut reading.metric, Arc::from(&*term.metric)));
    }
}
