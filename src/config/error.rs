//! What is wrong with a configuration, in a form that a person can act on.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Where a mistake was made. Ordered as mistakes are listed: the file as a whole, its lines, then variables by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The file as a whole.
    File,
    /// A line of the file, counted from 1.
    Line(usize),
    /// A variable of the environment.
    Variable(String),
}

/// One mistake. Its text names the place, the key, the value found, and what was expected; never a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    file: PathBuf,
    place: Place,
    key: Option<String>,
    found: Option<String>,
    reason: String,
}

impl ConfigError {
    pub(super) fn new(file: &Path, place: Place, reason: impl Into<String>) -> Self {
        Self { file: file.to_owned(), place, key: None, found: None, reason: reason.into() }
    }

    /// The same error, about the key with this dotted path.
    pub(super) fn of_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same error, with the value as it is shown to a person.
    pub(super) fn with_found(mut self, found: impl Into<String>) -> Self {
        self.found = Some(found.into());
        self
    }

    /// Where the mistake was made.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Dotted path of the key that it is about, such as `serial[1].baud`; `None` where it is about no single key.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File => write!(f, "{}: ", self.file.display())?,
            Place::Line(line) => write!(f, "{}:{line}: ", self.file.display())?,
            Place::Variable(name) => write!(f, "{name}: ")?,
        }
        match (&self.key, &self.found) {
            (Some(key), Some(found)) => write!(f, "{key} = {found}: ")?,
            (Some(key), None) => write!(f, "{key}: ")?,
            (None, _) => {}
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for ConfigError {}

/// Everything that is wrong with a configuration, in the order of its lines; never empty. Its text has one line for
/// each mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    errors: Vec<ConfigError>,
    not_found: bool,
}

impl ConfigErrors {
    pub(super) fn new(mut errors: Vec<ConfigError>) -> Self {
        errors.sort_by(|a, b| a.place.cmp(&b.place));
        Self { errors, not_found: false }
    }

    /// The file could not be read.
    pub(super) fn unreadable(file: &Path, error: &io::Error) -> Self {
        let reason = format!("cannot be read: {error}");
        Self {
            errors: vec![ConfigError::new(file, Place::File, reason)],
            not_found: error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Whether all that is wrong is that there is no such file.
    pub fn is_not_found(&self) -> bool {
        self.not_found
    }

    /// The mistakes one by one.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.errors.iter()
    }
}

impl<'a> IntoIterator for &'a ConfigErrors {
    type Item = &'a ConfigError;
    type IntoIter = std::slice::Iter<'a, ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
