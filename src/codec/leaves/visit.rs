//! What `serde_json` calls while it reads: values and keys, handed to the walk.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::Walk;

/// Where a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is the whole text.
    Top,
    /// It is this element of the outermost array.
    Element(usize),
    /// Further inside: its path is known.
    Inside,
}

/// Reads one value at a place.
pub(super) struct Value<'w, 'a> {
    walk: &'w mut Walk<'a>,
    place: Place,
}

impl<'w, 'a> Value<'w, 'a> {
    /// The whole text.
    pub fn whole(walk: &'w mut Walk<'a>) -> Self {
        Self { walk, place: Place::Top }
    }

    /// Names a value that is not a field or below one.
    fn name(&mut self) {
        match self.place {
            Place::Top => self.walk.name_bare(None),
            Place::Element(index) => self.walk.name_bare(Some(index)),
            Place::Inside => {}
        }
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(mut self) -> Result<(), E> {
        self.name();
        self.walk.null();
        Ok(())
    }

    fn visit_str<E>(mut self, text: &str) -> Result<(), E> {
        self.name();
        self.walk.text(text);
        Ok(())
    }

    fn visit_bool<E>(mut self, value: bool) -> Result<(), E> {
        self.name();
        self.walk.boolean(value);
        Ok(())
    }

    fn visit_u64<E>(mut self, number: u64) -> Result<(), E> {
        self.name();
        self.walk.number(&number.to_string());
        Ok(())
    }

    fn visit_i64<E>(mut self, number: i64) -> Result<(), E> {
        self.name();
        self.walk.number(&number.to_string());
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        let outermost = self.place == Place::Top;
        if !outermost {
            self.name();
            self.walk.unfit(self.walk.role(), "an array");
        }
        let len = self.walk.path.len();
        for index in 0.. {
            let place = if outermost {
                Place::Element(index)
            } else {
                self.walk.push_index(index);
                Place::Inside
            };
            let element = elements.next_element_seed(Value { walk: &mut *self.walk, place })?;
            if !outermost {
                self.walk.path.truncate(len);
            }
            if element.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<(), A::Error> {
        // An object within an array of arrays is far from any sender's idea of a message: its leaves are named by their
        // whole path, and it has no time of its own.
        let root = self.place != Place::Inside;
        if root {
            self.walk.begin_object();
        }
        let role = self.walk.role();
        let len = self.walk.path.len();
        let mut key = fields.next_key_seed(Key { walk: &mut *self.walk, root })?;
        if key == Some(Found::Number) {
            let text: String = fields.next_value()?;
            self.name();
            self.walk.number(&text);
            return Ok(());
        }
        if !root {
            self.walk.unfit(role, "an object");
        }
        while key.is_some() {
            fields.next_value_seed(Value { walk: &mut *self.walk, place: Place::Inside })?;
            self.walk.path.truncate(len);
            key = fields.next_key_seed(Key { walk: &mut *self.walk, root })?;
        }
        if root {
            self.walk.end_object();
        }
        Ok(())
    }
}

/// What a key turned out to be.
#[derive(PartialEq, Eq)]
enum Found {
    /// A field of an object; the path names it now.
    Field,
    /// No field: the map is a number, and its text the value.
    Number,
}

/// Reads a key into the path.
struct Key<'w, 'a> {
    walk: &'w mut Walk<'a>,
    root: bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Key<'_, '_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    /// With `arbitrary_precision` `serde_json` hands a number that is no 64-bit integer over as a map with one key, a
    /// constant of its own. A sender can write the same key; what is borrowed from the text is the sender's.
    fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<Found, E> {
        if self.walk.text.as_bytes().as_ptr_range().contains(&key.as_ptr()) {
            self.visit_str(key)
        } else {
            Ok(Found::Number)
        }
    }

    fn visit_str<E>(self, key: &str) -> Result<Found, E> {
        if !self.root {
            self.walk.path.push('.');
        }
        self.walk.path.push_str(key);
        Ok(Found::Field)
    }
}
