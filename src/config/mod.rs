//! The configuration: one struct for each TOML table, strict, with defaults that are enough for a small gateway.
//!
//! [`Config::load`] reads the file, parses it, lets the environment override its keys, and validates the outcome. Every
//! mistake is reported with its line or variable, key, value, and what was expected.
//!
//! **Paths**: a relative path in the file starts from the file's folder, one in a variable from the working directory.
//! Those of secrets may also be `credential:NAME`: the systemd credential of that name.
//!
//! **Environment**: `GADWALL_STORE__FLUSH_INTERVAL` is `store.flush-interval`, `GADWALL_SERIAL__0__PORT` is the port of
//! the first `[[serial]]`; the index behind the last makes a new element. Another variable that begins with `GADWALL_` is
//! an error, so that a typing mistake is noticed; `GADWALL_CONFIG` alone is kept for the path of the file.

mod env;
mod error;
mod modbus;
mod quality;
mod raw;
pub mod secret;
mod source;
#[cfg(test)]
mod tests;
mod validate;
mod value;
mod warnings;

pub use error::{ConfigError, ConfigErrors, Place};
pub use modbus::Modbus;
pub use quality::{Interval, Quality};
pub use source::{Mqtt, Parity, Serial, Subscription, Uart};

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use crate::zone::Tz;
use env::Variables;
use raw::Document;

/// The documented example: every section and key with its default, the sources commented out. It equals
/// [`Config::default`].
pub const EXAMPLE: &str = include_str!("../../deploy/gadwall.toml");

/// Longest configuration file in bytes.
pub const MAX_FILE: u64 = 1 << 20;

/// The whole configuration. Each stage gets its own section only.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// `[store]`
    pub store: Store,
    /// `[intake]`
    pub intake: Intake,
    /// `[clock]`
    pub clock: Clock,
    /// `[http]`
    pub http: Http,
    /// `[memory]`
    pub memory: Memory,
    /// `[log]`
    pub log: Log,
    /// `[[serial]]`
    pub serial: Vec<Serial>,
    /// `[[modbus]]`
    pub modbus: Vec<Modbus>,
    /// `[[mqtt]]`
    pub mqtt: Vec<Mqtt>,
    /// `[[quality]]`
    pub quality: Vec<Quality>,
}

impl Config {
    /// Reads the file and lets `env` override its keys; pass [`std::env::vars_os`]. Blocks on the file.
    ///
    /// # Errors
    /// Everything that is wrong with the file or the variables; with [`ConfigErrors::is_not_found`] if there is no file.
    pub fn load<K, V>(path: impl AsRef<Path>, env: impl IntoIterator<Item = (K, V)>) -> Result<Self, ConfigErrors>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let path = path.as_ref();
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
            .map_err(|error| ConfigErrors::unreadable(path, &error))?;
        if bytes.len() as u64 > MAX_FILE {
            let reason = format!("is longer than {MAX_FILE} bytes");
            return Err(ConfigErrors::new(vec![ConfigError::new(path, Place::File, reason)]));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let line = raw::line_after(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
            ConfigErrors::new(vec![ConfigError::new(path, Place::Line(line), "not UTF-8")])
        })?;
        Self::parse_with(&text, path, env)
    }

    /// Parses the text of a file without any environment. `file` is named in errors, and its folder is where relative
    /// paths start; it is not opened.
    ///
    /// # Errors
    /// Everything that is wrong with the text.
    pub fn parse(text: &str, file: impl AsRef<Path>) -> Result<Self, ConfigErrors> {
        Self::parse_with(text, file, std::iter::empty::<(OsString, OsString)>())
    }

    /// Parses the text of a file, with variables over it.
    ///
    /// # Errors
    /// Everything that is wrong with the text or the variables; of text that is not TOML the first mistake only.
    pub fn parse_with<K, V>(
        text: &str,
        file: impl AsRef<Path>,
        env: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ConfigErrors>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let file = file.as_ref();
        let table =
            DeTable::parse(text).map_err(|error| ConfigErrors::new(vec![raw::syntax_error(file, text, &error)]))?;
        let variables = Variables::new(env);
        let document = Document::new(file, text, &variables);
        let config = validate::config(document.root(table.get_ref()));
        let errors = document.finish();
        match config {
            Some(config) if errors.is_empty() => Ok(config),
            _ => Err(ConfigErrors::new(errors)),
        }
    }
}

/// `[store]`: the DuckDB file.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// `path`: the database file. Its folder also holds `gadwall.lock`, `http.addr`,
    /// `gadwall.starts`, at times `gadwall.inprogress`, and DuckDB's temporary files.
    pub path: PathBuf,
    /// `memory-limit`: DuckDB's buffer pool in bytes; what the process needs beside it is added up in
    /// [`crate::budget::memory`]. 16 MB to 4 GB.
    pub memory_limit: u64,
    /// `flush-interval`: oldest age of a reading that waits for its commit, when nobody waits for an answer.
    /// 100 ms to 1 hour.
    pub flush_interval: Duration,
    /// `batch-rows`: rows that make a commit at once. 1 to 100,000.
    pub batch_rows: usize,
    /// `max-nodes`: nodes that are accepted; what comes from another becomes a dead letter. 1 to 100,000.
    pub max_nodes: usize,
    /// `max-series`: series that are accepted, of which one source may use 80 %. 1 to 1,000,000.
    pub max_series: usize,
    /// `min-free`: bytes that have to be free on the file system of `path` for a commit; below, nothing is stored until
    /// there is room again, and below twice as many a warning is given. 1 MB to 1 TB.
    pub min_free: u64,
    /// `keep-readings`: days that readings are kept, as whole days of UTC, once they are in the rollups; `None`
    /// (`"forever"`) keeps them. 1 day to 100 years.
    pub keep_readings: Option<Duration>,
    /// `keep-hourly`: the same for the hourly rollups; not shorter than `keep_readings`.
    pub keep_hourly: Option<Duration>,
    /// `keep-daily`: the same for the daily rollups; not shorter than `keep_hourly`.
    pub keep_daily: Option<Duration>,
    /// `max-size`: bytes that the database file may have; above, the oldest days of readings go once they are in the rollups.
    /// `None` (`"unlimited"`) sets no bound. 16 MB to 1 TB.
    pub max_size: Option<u64>,
    /// `write-budget`: bytes that the process may write a day (of the time zone); where it would be more, the flush interval
    /// becomes longer, up to [`crate::budget::pace::LONGEST`]. `None` (`"unlimited"`) leaves it as it is. 1 MB to 1 TB.
    pub write_budget: Option<u64>,
    /// `card-endurance`: bytes that can be written to the card that holds the database until it is worn out; only for the
    /// estimate of its life. 1 GB to 100,000 TB.
    pub card_endurance: Option<u64>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            path: PathBuf::from("/var/lib/gadwall/gadwall.duckdb"),
            memory_limit: 24_000_000,
            flush_interval: Duration::from_secs(5),
            batch_rows: 5_000,
            max_nodes: 2_000,
            max_series: 10_000,
            min_free: 32_000_000,
            keep_readings: None,
            keep_hourly: None,
            keep_daily: None,
            max_size: None,
            write_budget: None,
            card_endurance: None,
        }
    }
}

/// `[intake]`: the channel between the sources and the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Intake {
    /// `capacity`: rows that may be on their way to the store; at least twice `batch-rows`, at most
    /// 1,000,000.
    pub capacity: usize,
    /// `max-bytes`: bytes that may be on their way to the store. 1 MB to 256 MB.
    pub max_bytes: u64,
}

impl Default for Intake {
    fn default() -> Self {
        Self { capacity: 20_000, max_bytes: 8_000_000 }
    }
}

/// `[clock]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Clock {
    /// `trust`
    pub trust: Trust,
    /// `patience`: readings that need the clock wait so long for it to become right, and are then stored as they are.
    /// Up to 1,000 days; zero never waits.
    pub patience: Duration,
    /// `synchronised-file`: the file whose existence says that the clock is synchronised, instead of what the kernel and
    /// systemd-timesyncd say.
    pub synchronised_file: Option<PathBuf>,
    /// `timezone`: where days begin (daily rollups), and the zone of local times that nodes send and ask for where their source
    /// has none of its own; a name of the IANA database. `None` is the machine's zone at the start.
    pub timezone: Option<Tz>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { trust: Trust::default(), patience: Duration::from_secs(900), synchronised_file: None, timezone: None }
    }
}

/// When the real-time clock is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// `"auto"`: a board without a real-time clock must be synchronised, other machines are trusted.
    #[default]
    Auto,
    /// `"always"`
    Always,
    /// `"synchronised"`: only when the kernel or the time service says that it is synchronised.
    Synchronised,
}

/// `[http]`: the endpoint for people and programs that ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// `listen`: address and port; port 0 picks one. Another address than loopback needs `token-file`.
    pub listen: SocketAddr,
    /// `token-file`: file whose first line is the bearer token that every request must carry.
    pub token_file: Option<PathBuf>,
    /// `max-connections`: requests for data that are answered at once; a few more connections stay open. 1 to 1,000.
    pub max_connections: usize,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8080)), token_file: None, max_connections: 32 }
    }
}

/// `[memory]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// `limit`: bytes of anonymous memory above which the process sheds load; `None` (`"auto"`) is the sum of all bounds, which
    /// `gadwall check` prints. 1 MB to 64 GB.
    pub limit: Option<u64>,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// `level`: `error`, `warn`, `info`, `debug` or `trace`.
    pub level: tracing::level_filters::LevelFilter,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: tracing::level_filters::LevelFilter::INFO }
    }
}
