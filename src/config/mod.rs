//! The configuration: one struct for each TOML table, strict, with defaults that are enough for a small gateway.

mod source;

pub use source::{Mqtt, MqttFormat, Serial, SerialFormat, Subscription};

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

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
    /// `[log]`
    pub log: Log,
    /// `[[serial]]`
    pub serial: Vec<Serial>,
    /// `[[mqtt]]`
    pub mqtt: Vec<Mqtt>,
}

/// `[store]`: the DuckDB file.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// `path`: the database file. Its folder also holds `gadwall.lock`, `http.addr` and DuckDB's temporary files.
    pub path: PathBuf,
    /// `memory-limit`: DuckDB's buffer pool in bytes; the process needs about 30 MB more. At least 16 MB.
    pub memory_limit: u64,
    /// `flush-interval`: oldest age of a reading that waits for its commit, when nobody waits for an answer.
    pub flush_interval: Duration,
    /// `batch-rows`: rows that make a commit at once.
    pub batch_rows: usize,
    /// `max-nodes`: nodes that are accepted; a new one above becomes a dead letter.
    pub max_nodes: usize,
    /// `max-series`: series that are accepted, of which one source may use 80 %.
    pub max_series: usize,
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
        }
    }
}

/// `[intake]`: the channel between the sources and the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Intake {
    /// `capacity`: rows that may be on their way to the store; at least twice `batch-rows`.
    pub capacity: usize,
    /// `max-bytes`: bytes that may be on their way to the store.
    pub max_bytes: u64,
}

impl Default for Intake {
    fn default() -> Self {
        Self { capacity: 20_000, max_bytes: 8_000_000 }
    }
}

/// `[clock]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clock {
    /// `trust`
    pub trust: Trust,
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
    /// `max-connections`: open connections; one above waits in the kernel's backlog.
    pub max_connections: usize,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8080)), token_file: None, max_connections: 32 }
    }
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
