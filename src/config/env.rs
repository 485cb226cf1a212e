//! The environment: variables that override keys, and where systemd put the credentials.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What the names of all variables that override keys begin with.
pub(super) const PREFIX: &str = "GADWALL_";

/// Variables with the prefix that are no keys: `GADWALL_CONFIG` is the path of the configuration file.
const RESERVED: &[&str] = &["GADWALL_CONFIG"];

/// systemd names the folder of the unit's credentials here.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// The part of the environment that the configuration looks at, and which variables a key has asked for.
#[derive(Debug, Default)]
pub(super) struct Variables {
    values: BTreeMap<String, OsString>,
    used: RefCell<BTreeSet<String>>,
    credentials: Option<PathBuf>,
}

impl Variables {
    /// Keeps what matters of `env`.
    pub(super) fn new<K: Into<OsString>, V: Into<OsString>>(env: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut this = Self::default();
        for (name, value) in env {
            // A name that is not UTF-8 keeps its prefix and matches no key, so that it is reported as unknown.
            let name = name.into().to_string_lossy().into_owned();
            if name == CREDENTIALS {
                this.credentials = Some(value.into().into()).filter(|path: &PathBuf| !path.as_os_str().is_empty());
            } else if name.starts_with(PREFIX) && !RESERVED.contains(&name.as_str()) {
                this.values.insert(name, value.into());
            }
        }
        this
    }

    /// Folder of the unit's credentials; `None` where systemd gave none.
    pub(super) fn credentials(&self) -> Option<&Path> {
        self.credentials.as_deref()
    }

    /// The variable's value: `None` if it is not set, `Some(Err)` if it is not UTF-8. It counts as used from now on.
    pub(super) fn get(&self, name: &str) -> Option<Result<&str, ()>> {
        let value = self.values.get(name)?;
        self.used.borrow_mut().insert(name.to_owned());
        Some(value.to_str().ok_or(()))
    }

    /// Whether a variable's name begins with `prefix`.
    pub(super) fn any_below(&self, prefix: &str) -> bool {
        self.values.range(prefix.to_owned()..).next().is_some_and(|(name, _)| name.starts_with(prefix))
    }

    /// Counts all variables whose name begins with `prefix` as used: what they belong to is reported already.
    pub(super) fn ignore_below(&self, prefix: &str) {
        self.used.borrow_mut().extend(self.values.keys().filter(|name| name.starts_with(prefix)).cloned());
    }

    /// Names of the variables that no key has asked for.
    pub(super) fn unused(&self) -> Vec<&str> {
        let used = self.used.borrow();
        self.values.keys().filter(|name| !used.contains(*name)).map(String::as_str).collect()
    }
}

/// The part of a variable's name that stands for a key: `flush-interval` is `FLUSH_INTERVAL`.
pub(super) fn name_of(key: &str) -> String {
    key.replace('-', "_").to_ascii_uppercase()
}
