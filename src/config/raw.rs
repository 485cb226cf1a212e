//! The parsed text with its lines, and the variables over it: where each key's value comes from.
//!
//! A [`Section`] is asked key by key. What it was asked for are its known keys, so that a key needs one line of code to
//! be read, checked, overridden, and named in the message about an unknown one.

mod entry;

use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::env::{self, Variables};
use super::error::{ConfigError, Place};
pub(super) use entry::Entry;
use entry::{Found, cut, quoted};

/// The file, the variables, and the mistakes found so far.
pub(super) struct Document<'d> {
    file: &'d Path,
    text: &'d str,
    /// Offsets of the line ends, so that the line of a key is found without a walk through the text.
    line_ends: Vec<usize>,
    variables: &'d Variables,
    errors: RefCell<Vec<ConfigError>>,
    /// What the sections were asked for: beginning of their variables' names, dotted path, keys.
    asked: RefCell<Vec<(String, String, Vec<&'static str>)>>,
}

impl<'d> Document<'d> {
    pub(super) fn new(file: &'d Path, text: &'d str, variables: &'d Variables) -> Self {
        let line_ends = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(offset, _)| offset).collect();
        Self { file, text, line_ends, variables, errors: RefCell::default(), asked: RefCell::default() }
    }

    /// The section of the whole file.
    pub(super) fn root(&'d self, table: &'d DeTable<'d>) -> Section<'d> {
        let variable = env::PREFIX.to_owned();
        Section { doc: self, table: Some(table), line: None, path: String::new(), variable, known: Vec::new() }
    }

    /// Reports the variables that name no key, and gives out what was found to be wrong. Call it when all was read.
    pub(super) fn finish(self) -> Vec<ConfigError> {
        let mut errors = self.errors.into_inner();
        let asked = self.asked.into_inner();
        for name in self.variables.unused() {
            let nearest = asked.iter().filter(|(prefix, ..)| name.starts_with(prefix)).max_by_key(|(p, ..)| p.len());
            let known = nearest.map_or_else(String::new, |(_, path, keys)| {
                let of = if path.is_empty() { String::new() } else { format!(" of {path}") };
                format!("; known keys{of}: {}", keys.join(", "))
            });
            let reason = format!("names no key of the configuration{known}");
            errors.push(ConfigError::new(self.file, Place::Variable(name.to_owned()), reason));
        }
        errors
    }

    fn report(&self, error: ConfigError) {
        self.errors.borrow_mut().push(error);
    }

    fn error(&self, place: Place, reason: impl Into<String>) -> ConfigError {
        ConfigError::new(self.file, place, reason)
    }

    fn line(&self, span: &Range<usize>) -> Place {
        Place::Line(self.line_ends.partition_point(|end| *end < span.start) + 1)
    }

    /// A value as messages show it: one line, not too long, and without the secrets that are known to get there.
    fn shown(&self, key: &str, value: &Spanned<DeValue<'_>>) -> String {
        match value.get_ref() {
            DeValue::String(text) => quoted(key, text),
            DeValue::Array(_) => "(an array)".to_owned(),
            DeValue::Table(_) => "(a table)".to_owned(),
            // Somebody may have put the password itself where the name of its file belongs.
            other if key.ends_with("-file") => format!("(a value of type {})", other.type_str()),
            _ => cut(self.text.get(value.span()).unwrap_or_default()),
        }
    }
}

/// What the parser says, without the value: what stands there unquoted may be a password.
pub(super) fn syntax_error(file: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let start = error.span().map_or(0, |span| span.start).min(text.len());
    let place = Place::Line(line_after(&text.as_bytes()[..start]));
    let before = text.get(..start).and_then(|before| before.rsplit('\n').next()).unwrap_or_default();
    match before.split_once('=') {
        // The parser takes text without quotes for the beginning of a number or a date, and its message is about those.
        Some((key, value)) if is_bare(key.trim()) && !value.trim_start().starts_with(['"', '\'', '[', '{']) => {
            let reason = "not TOML: expected text, a duration or a size in quotes, or a number without";
            ConfigError::new(file, place, reason).of_key(cut(key.trim()))
        }
        _ => {
            let column = before.chars().count() + 1;
            ConfigError::new(file, place, format!("not TOML at column {column}: {}", error.message()))
        }
    }
}

/// Whether TOML needs no quotes around the key.
fn is_bare(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The line of what follows these bytes, counted from 1.
pub(super) fn line_after(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&b| b == b'\n').count() + 1
}

/// One table, or the place of one that is absent: all its keys then have their defaults or come from variables.
pub(super) struct Section<'d> {
    doc: &'d Document<'d>,
    table: Option<&'d DeTable<'d>>,
    line: Option<Place>,
    path: String,
    variable: String,
    known: Vec<&'static str>,
}

impl<'d> Section<'d> {
    #[expect(
        clippy::option_option,
        reason = "not set and wrong are different things, and only one of them is an error"
    )]
    /// The key's value: `Some(None)` if it is not set, `None` if it is wrong, which is then reported.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        kind: impl Fn(&Entry<'_>) -> Result<T, String>,
    ) -> Option<Option<T>> {
        self.known.push(key);
        let Some(entry) = self.find(key) else { return Some(None) };
        let result = match entry.found {
            Found::NotUtf8 => Err("expected UTF-8".to_owned()),
            _ => kind(&entry),
        };
        match result {
            Ok(value) => Some(Some(value)),
            Err(reason) => {
                self.doc.report(entry.error(reason));
                None
            }
        }
    }

    /// The key's value, or its default; `None` if it is wrong.
    pub(super) fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        kind: impl Fn(&Entry<'_>) -> Result<T, String>,
    ) -> Option<T> {
        Some(self.optional(key, kind)?.unwrap_or(default))
    }

    /// The key's value; `None` if it is wrong or not set. `expected` says what is missing.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        kind: impl Fn(&Entry<'_>) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.optional(key, kind)?;
        if value.is_none() {
            self.blame(key, format!("expected {expected}"));
        }
        value
    }

    /// The table of this name, which may be absent.
    pub(super) fn table(&mut self, key: &'static str) -> Section<'d> {
        self.known.push(key);
        let path = self.path_of(key);
        let mut section = Section {
            doc: self.doc,
            table: None,
            line: None,
            path,
            variable: format!("{}__", self.variable_of(key)),
            known: Vec::new(),
        };
        if let Some((name, value)) = self.table.and_then(|t| t.get_key_value(key)) {
            let line = self.doc.line(&name.span());
            match value.get_ref() {
                DeValue::Table(table) => section.table = Some(table),
                _ => self.doc.report(
                    self.doc
                        .error(line.clone(), format!("expected a table, written as [{}]", section.path))
                        .of_key(section.path.clone())
                        .with_found(self.doc.shown(key, value)),
                ),
            }
            section.line = Some(line);
        }
        section
    }

    /// The tables of the array of this name, then those that variables add; `None` if it is no array of tables.
    pub(super) fn tables(&mut self, key: &'static str) -> Option<Vec<Section<'d>>> {
        self.known.push(key);
        let (path, variable) = (self.path_of(key), format!("{}__", self.variable_of(key)));
        let section = |table, line, index: usize| Section {
            doc: self.doc,
            table,
            line,
            path: format!("{path}[{index}]"),
            variable: format!("{variable}{index}__"),
            known: Vec::new(),
        };
        let mut sections = Vec::new();
        let mut wrong = Vec::new();
        if let Some((name, value)) = self.table.and_then(|t| t.get_key_value(key)) {
            if let DeValue::Array(array) = value.get_ref() {
                for (index, value) in array.iter().enumerate() {
                    let line = self.doc.line(&value.span());
                    match value.get_ref() {
                        DeValue::Table(table) => sections.push(section(Some(table), Some(line), index)),
                        _ => wrong.push((line, format!("{path}[{index}]"), value)),
                    }
                }
            } else {
                wrong.push((self.doc.line(&name.span()), path.clone(), value));
            }
        }
        if wrong.is_empty() {
            while self.doc.variables.any_below(&format!("{variable}{}__", sections.len())) {
                sections.push(section(None, None, sections.len()));
            }
            return Some(sections);
        }
        let header = if self.path.is_empty() { format!("[[{key}]]") } else { "{ key = value, ... }".to_owned() };
        for (place, path, value) in wrong {
            let error = self.doc.error(place, format!("expected tables, each written as {header}")).of_key(path);
            self.doc.report(error.with_found(self.doc.shown(key, value)));
        }
        self.doc.variables.ignore_below(&variable);
        None
    }

    /// Reports what is wrong with a key in the light of others, at the key or, if it is not set, as missing in its section.
    pub(super) fn blame(&self, key: &'static str, reason: impl Into<String>) {
        let error = if let Some(entry) = self.find(key) {
            entry.error(reason)
        } else {
            let place = self.line.clone().unwrap_or_else(|| Place::Variable(self.variable_of(key)));
            self.doc.error(place, format!("missing, {}", reason.into())).of_key(self.path_of(key))
        };
        self.doc.report(error);
    }

    /// Whether the key is set, in the file or by a variable.
    pub(super) fn is_set(&self, key: &'static str) -> bool {
        self.find(key).is_some()
    }

    /// Dotted path of the section, such as `mqtt[0]`.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Reports the keys that the section was not asked for. Call it when all its keys were read.
    pub(super) fn finish(self) {
        for (name, value) in self.table.into_iter().flatten() {
            let key: &str = name.get_ref();
            if self.known.contains(&key) {
                continue;
            }
            let place = self.doc.line(&name.span());
            let what = if self.path.is_empty() && matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_)) {
                "unknown section"
            } else {
                "unknown key"
            };
            let reason = format!("{what}, expected one of: {}", self.known.join(", "));
            self.doc.report(self.doc.error(place, reason).of_key(self.path_of(key)));
        }
        self.doc.asked.borrow_mut().push((self.variable, self.path, self.known));
    }

    fn find(&self, key: &'static str) -> Option<Entry<'d>> {
        let variable = self.variable_of(key);
        let (place, found) = if let Some(value) = self.doc.variables.get(&variable) {
            (Place::Variable(variable), value.map_or(Found::NotUtf8, Found::Variable))
        } else {
            let (name, value) = self.table?.get_key_value(key)?;
            (self.doc.line(&name.span()), Found::Value(value))
        };
        Some(Entry { doc: self.doc, place, path: self.path_of(key), key, found })
    }

    fn path_of(&self, key: &str) -> String {
        let key = if is_bare(key) { cut(key) } else { format!("\"{}\"", cut(key)) };
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }

    fn variable_of(&self, key: &str) -> String {
        format!("{}{}", self.variable, env::name_of(key))
    }
}
