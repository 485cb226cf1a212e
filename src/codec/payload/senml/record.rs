//! The records of a SenML pack, from JSON or from CBOR, as they are written.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use minicbor::data::Type;
use minicbor::decode::Error;
use minicbor::{Decoder, data::Tag};
use serde_json::Value;

/// SenML's fields with their labels in CBOR (RFC 8428, table 4).
const LABELS: [(i64, &str); 15] = [
    (-1, "bver"),
    (-2, "bn"),
    (-3, "bt"),
    (-4, "bu"),
    (-5, "bv"),
    (-6, "bs"),
    (0, "n"),
    (1, "u"),
    (2, "v"),
    (3, "vs"),
    (4, "vb"),
    (5, "s"),
    (6, "t"),
    (7, "ut"),
    (8, "vd"),
];

/// The tag that says that what follows is CBOR (RFC 8949, 3.4.6).
const SELF_DESCRIBED: u64 = 55_799;
/// The tag of a decimal fraction: an array of exponent and mantissa (RFC 8949, 3.4.4).
const DECIMAL: u64 = 4;

/// What a field holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A finite number.
    Number(f64),
    /// A number that does not fit into a 64-bit float.
    TooLarge,
    /// Text.
    Text(String),
    /// `true` or `false`.
    Bool(bool),
    /// Bytes, in base64url.
    Data(String),
    /// Something else.
    Other,
}

/// A record: its known fields, and the names of the others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    fields: Vec<(&'static str, Item)>,
    /// Fields that are none of SenML's.
    pub unknown: Vec<String>,
}

impl Record {
    fn get(&self, name: &str) -> Option<&Item> {
        self.fields.iter().rfind(|(field, _)| *field == name).map(|(_, item)| item)
    }

    /// Whether the field is there.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The number in a field.
    pub fn number(&self, name: &str) -> Option<f64> {
        match self.get(name)? {
            Item::Number(value) => Some(*value),
            _ => None,
        }
    }

    /// The text in a field.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Item::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value, of whatever type.
    pub fn value(&self) -> Option<&Item> {
        ["v", "vs", "vb", "vd"].iter().find_map(|name| self.get(name))
    }

    /// Whether there is a value.
    pub fn has_value(&self) -> bool {
        self.value().is_some()
    }

    /// What is wrong with the base fields.
    pub fn base_fault(&self) -> Option<String> {
        self.fault_of(&["bver", "bn", "bt", "bu", "bv", "bs"])
    }

    /// What is wrong with the other fields.
    pub fn fault(&self) -> Option<String> {
        let values = ["v", "vs", "vb", "vd"].iter().filter(|name| self.has(name)).count();
        self.fault_of(&["n", "u", "v", "vs", "vb", "vd", "s", "t", "ut"])
            .or_else(|| (values > 1).then(|| format!("{values} values: expected one of `v`, `vs`, `vb`, `vd`")))
    }

    fn fault_of(&self, names: &[&str]) -> Option<String> {
        self.fields.iter().filter(|(name, _)| names.contains(name)).find_map(|(name, item)| {
            let expected = match *name {
                "bn" | "bu" | "n" | "u" | "vs" => "text",
                "vb" => "a boolean",
                "vd" => "data in base64url",
                _ => "a number",
            };
            let fits = match (expected, item) {
                (_, Item::TooLarge) => {
                    return Some(format!("the field `{name}` does not fit into a 64-bit float"));
                }
                ("text", Item::Text(_)) | ("a boolean", Item::Bool(_)) | ("a number", Item::Number(_)) => true,
                ("data in base64url", item) => matches!(item, Item::Text(_) | Item::Data(_)),
                _ => false,
            };
            (!fits).then(|| format!("the field `{name}`: expected {expected}"))
        })
    }

    fn push(&mut self, name: &str, item: Item) {
        match LABELS.iter().find(|(_, known)| *known == name) {
            Some((_, known)) => self.fields.push((known, item)),
            None => self.unknown.push(name.to_owned()),
        }
    }
}

/// The records of a payload: CBOR where it begins with a CBOR array, else JSON.
///
/// # Errors
/// What is not such a list, with the place and what was expected.
pub fn read(payload: &[u8]) -> Result<Vec<Record>, String> {
    match payload.first() {
        Some(0x80..=0x9F | 0xD9) => {
            let mut decoder = Decoder::new(payload);
            cbor(&mut decoder).map_err(|e| {
                let at = e.position().unwrap_or_else(|| decoder.position());
                format!("byte {at} of the CBOR: {e}")
            })
        }
        _ => json(payload),
    }
}

fn json(payload: &[u8]) -> Result<Vec<Record>, String> {
    let text = std::str::from_utf8(payload).map_err(|e| format!("invalid UTF-8 at byte {}", e.valid_up_to()))?;
    let value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let Value::Array(elements) = value else { return Err("expected an array of records".to_owned()) };
    let mut records = Vec::with_capacity(elements.len());
    for (n, element) in elements.into_iter().enumerate() {
        let Value::Object(fields) = element else {
            return Err(format!("record {}: expected an object", n + 1));
        };
        let mut record = Record::default();
        for (name, value) in fields {
            let item = match value {
                Value::Number(number) => {
                    number.as_f64().filter(|value| value.is_finite()).map_or(Item::TooLarge, Item::Number)
                }
                Value::String(text) => Item::Text(text),
                Value::Bool(value) => Item::Bool(value),
                Value::Null | Value::Array(_) | Value::Object(_) => Item::Other,
            };
            record.push(&name, item);
        }
        records.push(record);
    }
    Ok(records)
}

fn cbor(decoder: &mut Decoder<'_>) -> Result<Vec<Record>, Error> {
    if decoder.datatype()? == Type::Tag {
        let at = decoder.position();
        if decoder.tag()? != Tag::new(SELF_DESCRIBED) {
            return Err(Error::message("expected an array of records").at(at));
        }
    }
    let mut records = Vec::new();
    let mut left = decoder.array()?;
    while more(decoder, &mut left)? {
        let mut record = Record::default();
        let mut fields = decoder.map()?;
        while more(decoder, &mut fields)? {
            match decoder.datatype()? {
                Type::String | Type::StringIndef => {
                    let name = text(decoder)?;
                    let item = item(decoder)?;
                    record.push(&name, item);
                }
                _ => {
                    let label = decoder.i64()?;
                    let item = item(decoder)?;
                    match LABELS.iter().find(|(known, _)| *known == label) {
                        Some((_, name)) => record.fields.push((name, item)),
                        None => record.unknown.push(label.to_string()),
                    }
                }
            }
        }
        records.push(record);
    }
    if decoder.position() < decoder.input().len() {
        return Err(Error::message("expected the end behind the array").at(decoder.position()));
    }
    Ok(records)
}

/// Whether an array or map has another element; one without a length ends with a break.
fn more(decoder: &mut Decoder<'_>, left: &mut Option<u64>) -> Result<bool, Error> {
    match left {
        Some(0) => Ok(false),
        Some(left) => {
            *left -= 1;
            Ok(true)
        }
        None if decoder.datatype()? == Type::Break => {
            decoder.skip()?;
            Ok(false)
        }
        None => Ok(true),
    }
}

fn text(decoder: &mut Decoder<'_>) -> Result<String, Error> {
    decoder.str_iter()?.collect()
}

fn number(value: f64) -> Item {
    if value.is_finite() { Item::Number(value) } else { Item::Other }
}

/// A value of a field.
fn item(decoder: &mut Decoder<'_>) -> Result<Item, Error> {
    Ok(match decoder.datatype()? {
        Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => {
            // Beyond 2^53 the nearest float, as with JSON.
            #[expect(clippy::cast_precision_loss, reason = "the nearest float is meant")]
            Item::Number(i128::from(decoder.int()?) as f64)
        }
        Type::F16 => number(f64::from(decoder.f16()?)),
        Type::F32 => number(f64::from(decoder.f32()?)),
        Type::F64 => number(decoder.f64()?),
        Type::Bool => Item::Bool(decoder.bool()?),
        Type::String | Type::StringIndef => Item::Text(text(decoder)?),
        Type::Bytes | Type::BytesIndef => {
            let parts: Result<Vec<&[u8]>, Error> = decoder.bytes_iter()?.collect();
            Item::Data(URL_SAFE_NO_PAD.encode(parts?.concat()))
        }
        Type::Tag => tagged(decoder)?,
        _ => {
            decoder.skip()?;
            Item::Other
        }
    })
}

/// A decimal fraction; other tags are nothing that SenML has.
fn tagged(decoder: &mut Decoder<'_>) -> Result<Item, Error> {
    let mut ahead = decoder.clone();
    if ahead.tag()? == Tag::new(DECIMAL) && matches!(ahead.array(), Ok(Some(2))) {
        let parts = ahead.i64().ok().zip(ahead.i64().ok());
        if let Some((exponent, mantissa)) = parts {
            decoder.set_position(ahead.position());
            // Written out and read again it is the nearest float.
            let value = format!("{mantissa}e{exponent}").parse().unwrap_or(f64::INFINITY);
            return Ok(if f64::is_finite(value) { Item::Number(value) } else { Item::TooLarge });
        }
    }
    decoder.skip()?;
    Ok(Item::Other)
}
