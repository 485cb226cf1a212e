//! A value that is set, wherever it comes from.

use std::path::Path;

use toml::Spanned;
use toml::de::DeValue;

use super::Document;
use crate::codec::modbus::Decimal;
use crate::config::error::{ConfigError, Place};

/// Longest part of a value that a message shows, in characters.
const MAX_SHOWN: usize = 80;

/// A value that is set, and what is to be told about it if it is wrong.
pub(in crate::config) struct Entry<'d> {
    pub(super) doc: &'d Document<'d>,
    pub(super) place: Place,
    pub(super) path: String,
    pub(super) key: &'d str,
    pub(super) found: Found<'d>,
}

pub(super) enum Found<'d> {
    /// In the file.
    Value(&'d Spanned<DeValue<'d>>),
    /// In a variable; it has the type of its key.
    Variable(&'d str),
    /// In a variable that is not UTF-8.
    NotUtf8,
}

impl<'d> Entry<'d> {
    /// The value as text, if it is one.
    pub(in crate::config) fn text(&self) -> Option<&'d str> {
        match self.found {
            Found::Value(value) => value.get_ref().as_str(),
            Found::Variable(text) => Some(text),
            Found::NotUtf8 => None,
        }
    }

    /// The value as a whole number that is not negative, if it is one.
    pub(in crate::config) fn whole(&self) -> Option<u64> {
        match self.found {
            Found::Value(value) => {
                let number = value.get_ref().as_integer()?;
                u64::from_str_radix(number.as_str(), number.radix()).ok()
            }
            Found::Variable(text) => text.parse().ok(),
            Found::NotUtf8 => None,
        }
    }

    /// The value as a number, whole or not, if it is one.
    pub(in crate::config) fn number(&self) -> Option<f64> {
        match self.found {
            Found::Value(value) => match value.get_ref() {
                DeValue::Integer(number) =>
                {
                    #[expect(clippy::cast_precision_loss, reason = "a limit of values is as exact as the values")]
                    i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number as f64)
                }
                DeValue::Float(number) => number.as_str().parse().ok(),
                _ => None,
            },
            Found::Variable(text) => text.parse().ok(),
            Found::NotUtf8 => None,
        }
    }

    /// The value as an integer, negative or not, if it is one; in the environment also with `0x` in front.
    pub(in crate::config) fn integer(&self) -> Option<i128> {
        match self.found {
            Found::Value(value) => {
                let number = value.get_ref().as_integer()?;
                i128::from_str_radix(number.as_str(), number.radix()).ok()
            }
            Found::Variable(text) => match text.strip_prefix("0x") {
                Some(digits) => i128::from_str_radix(digits, 16).ok(),
                None => text.parse().ok(),
            },
            Found::NotUtf8 => None,
        }
    }

    /// The value as the decimal number that was written, if it is one.
    pub(in crate::config) fn decimal(&self) -> Option<Decimal> {
        if let Some(integer) = self.integer() {
            return Decimal::parse(&integer.to_string());
        }
        match self.found {
            Found::Value(value) => Decimal::parse(value.get_ref().as_float()?.as_str()),
            Found::Variable(text) => Decimal::parse(text),
            Found::NotUtf8 => None,
        }
    }

    /// The value as yes or no, if it is `true` or `false`.
    pub(in crate::config) fn flag(&self) -> Option<bool> {
        match self.found {
            Found::Value(value) => value.get_ref().as_bool(),
            Found::Variable(text) => text.parse().ok(),
            Found::NotUtf8 => None,
        }
    }

    /// The value as a list of texts, if it is one; in a variable with commas between them.
    pub(in crate::config) fn list(&self) -> Option<Vec<&'d str>> {
        match self.found {
            Found::Value(value) => match value.get_ref() {
                DeValue::Array(array) => array.iter().map(|value| value.get_ref().as_str()).collect(),
                _ => None,
            },
            Found::Variable(text) => Some(text.split(',').map(str::trim).collect()),
            Found::NotUtf8 => None,
        }
    }

    /// The folder that a relative path starts from: the file's for what stands in the file; for what stands in a
    /// variable the working directory, as for every other program.
    pub(in crate::config) fn base(&self) -> &'d Path {
        match self.found {
            Found::Value(_) => self.doc.file.parent().unwrap_or(Path::new("")),
            Found::Variable(_) | Found::NotUtf8 => Path::new(""),
        }
    }

    /// Folder of the unit's credentials.
    pub(in crate::config) fn credentials(&self) -> Option<&'d Path> {
        self.doc.variables.credentials()
    }

    pub(super) fn error(&self, reason: impl Into<String>) -> ConfigError {
        let found = match self.found {
            Found::Value(value) => self.doc.shown(self.key, value),
            Found::Variable(text) => quoted(self.key, text),
            Found::NotUtf8 => "(not UTF-8)".to_owned(),
        };
        self.doc.error(self.place.clone(), reason).of_key(self.path.clone()).with_found(found)
    }
}

/// Text in quotes, without the user name and password that somebody put into a URL.
pub(super) fn quoted(key: &str, text: &str) -> String {
    if key != "url" && !text.contains("://") {
        return format!("\"{}\"", cut(text));
    }
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (&text[..scheme.len() + 3], rest));
    let (user, rest) = rest.rsplit_once('@').map_or(("", rest), |(_, rest)| ("***@", rest));
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?***"));
    format!("\"{}\"", cut(&format!("{scheme}{user}{rest}{query}")))
}

/// Text on one line and not over [`MAX_SHOWN`].
pub(super) fn cut(text: &str) -> String {
    let mut shown = String::new();
    for (i, c) in text.chars().enumerate() {
        if i == MAX_SHOWN {
            shown.push_str("...");
            break;
        }
        if c.is_control() || c == '"' || c == '\\' { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}
