//! The life of the process: start back to front, watch, stop front to back.
//!
//! The store is opened first, then the HTTP address is bound, and only then the sources start. On a stop the sources end
//! first; with the last of them the channel closes, the writer stores what is left and ends, and HTTP ends last, so that
//! the drain can be watched. A stage that ends by itself ends the process with an error.

pub mod journal;
mod notify;
mod signal;
mod stages;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, after, select};

use crate::budget::Written;
use crate::budget::memory::Keeper;
use crate::clock::Clock;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::store::recovery::Watch;
use crate::store::{OpenError, WriterError};
use notify::Notify;
use signal::Ask;
use stages::Stages;

/// What is left may take this long to be stored, once a stop was asked for.
const DRAIN: Duration = Duration::from_secs(12);
/// Everything has to have ended this long after a stop was asked for. Below the unit's `TimeoutStopSec`.
const STOP: Duration = Duration::from_secs(16);
/// How often the clock is looked at, the watchdog fed and the status told.
const TICK: Duration = Duration::from_secs(1);
/// How often it is looked at what was written: often enough to tell the days apart.
const LOOK: Duration = Duration::from_secs(10);
/// Name of the file beside the database that holds the bound HTTP address.
const ADDRESS_FILE: &str = "http.addr";

/// Why the daemon did not start or ended with an error.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The HTTP address cannot be bound, or its token not be read.
    #[error("{0}")]
    Http(io::Error),
    /// A thread, the runtime or the signal handlers cannot be made, or a file beside the database not be written.
    #[error("cannot start: {what}: {source}")]
    Start {
        /// What failed.
        what: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// A stage ended by itself.
    #[error("{stage} ended: {reason}")]
    Stage {
        /// Its name.
        stage: String,
        /// Its last words.
        reason: String,
    },
    /// Not everything was stored.
    #[error(transparent)]
    Writer(#[from] WriterError),
    /// Stages were still busy at the end of the stop's time.
    #[error("stopped without waiting longer for {0}")]
    Late(String),
    /// A second signal during the stop.
    #[error("stopped at once by a second signal; {0} rows were on their way to the store")]
    Impatient(i64),
}

impl ServiceError {
    /// Exit status for systemd: 78 (configuration) where a restart cannot help, else 1.
    pub const fn exit_status(&self) -> u8 {
        match self {
            Self::Store(OpenError::Newer { .. }) => 78,
            _ => 1,
        }
    }
}

/// Reads the configuration again; the error is a text for the log.
pub type Reread = Box<dyn Fn() -> Result<Config, String>>;

/// Runs the daemon until a signal or a failure ends it. Blocks the calling thread.
///
/// # Errors
/// [`ServiceError`] when it could not start, when a stage failed, or when not everything was stored.
pub fn run(config: Config, level: &journal::Level, reread: &Reread) -> Result<(), ServiceError> {
    let signals = signal::listen().map_err(|source| ServiceError::Start { what: "signal handlers", source })?;
    let metrics = Arc::new(Metrics::default());
    let clock = Clock::with(&config.clock, Arc::clone(&metrics));
    let mut notify = Notify::new();
    let store =
        match crate::store::start(&config.store, &metrics, &mut Starting { signals: &signals, notify: &mut notify }) {
            Err(OpenError::Stopped) => {
                tracing::info!("stopped before the store was open");
                return Ok(());
            }
            store => store?,
        };
    let address_file = AddressFile::new(&config.store.path);
    let written = Arc::new(Written::new(&config.store, clock.clone(), Arc::clone(&metrics)));
    let mut stages = Stages::start(&config, store, &clock, &metrics, &written)?;
    address_file
        .write(stages.address())
        .map_err(|source| ServiceError::Start { what: "the file http.addr beside the database", source })?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        http = %stages.address(),
        database = %config.store.path.display(),
        readings = metrics.store.readings.get(),
        series = metrics.store.series.get(),
        sources = metrics.sources().len(),
        "ready"
    );
    notify.ready(&metrics);

    let mut running = config;
    let mut failure: Option<ServiceError> = None;
    let mut stop_by: Option<Instant> = None;
    let mut looked = Instant::now();
    let mut memory = Keeper::new(&running, Arc::clone(&metrics));
    memory.look();
    while !stages.all_ended() {
        let mut stop = false;
        select! {
            recv(signals) -> ask => match ask {
                Ok(Ask::Reload) => reload(&mut running, level, reread),
                Ok(Ask::Stop) if stop_by.is_some() => {
                    return Err(ServiceError::Impatient(metrics.queue.depth.get()));
                }
                Ok(Ask::Stop) => {
                    tracing::info!("a stop was asked for");
                    stop = true;
                }
                Err(_) => {
                    failure.get_or_insert(ended("the signal thread", "it died"));
                    stop = true;
                }
            },
            recv(stages.ended()) -> stage => if let Ok(stage) = stage {
                // The writer's own failure says more than that of a source which found the channel closed.
                if let Some(error) = stages.note(stage, stop_by.is_some()) {
                    tracing::error!(%error, "a stage failed");
                    if failure.is_none() || matches!(error, ServiceError::Writer(_)) {
                        failure = Some(error);
                    }
                    stop = true;
                }
            },
            recv(after(TICK)) -> _ => {}
        }
        if stop && stop_by.is_none() {
            notify.stopping();
            stages.stop(DRAIN);
            stop_by = Some(Instant::now() + STOP);
        }
        if stop_by.is_some_and(|by| Instant::now() >= by) {
            return Err(failure.unwrap_or_else(|| ServiceError::Late(stages.busy())));
        }
        clock.refresh();
        memory.look();
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            written.look();
        }
        if stop_by.is_none() {
            notify.tick(&metrics, stages.io_alive_at());
        }
    }
    tracing::info!(committed = metrics.readings.committed.get(), "stopped");
    failure.map_or(Ok(()), Err)
}

fn ended(stage: &str, reason: &str) -> ServiceError {
    ServiceError::Stage { stage: stage.to_owned(), reason: reason.to_owned() }
}

/// What the store is opened under: a signal ends it, and the service manager learns that it goes on.
struct Starting<'a> {
    signals: &'a Receiver<Ask>,
    notify: &'a mut Notify,
}

impl Watch for Starting<'_> {
    fn go_on(&mut self, what: &str, pause: Duration) -> bool {
        self.notify.starting(what);
        let until = Instant::now() + pause;
        loop {
            match self.signals.recv_deadline(until) {
                Ok(Ask::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
                Ok(Ask::Reload) => tracing::info!("nothing to reload: the store is not open yet"),
                Err(RecvTimeoutError::Timeout) => return true,
            }
        }
    }
}

/// Takes over what can change while the daemon runs, and says what cannot.
fn reload(running: &mut Config, level: &journal::Level, reread: &Reread) {
    let new = match reread() {
        Ok(new) => new,
        Err(error) => {
            tracing::error!(%error, "the configuration was not reloaded; the old one stays in force");
            return;
        }
    };
    if new.log != running.log {
        match level.reload(new.log.level) {
            Ok(()) => tracing::info!(level = %new.log.level, "log.level is in force"),
            Err(error) => tracing::error!(%error, "log.level was not changed"),
        }
        running.log = new.log.clone();
    }
    let fixed = [
        ("[store]", new.store != running.store),
        ("[intake]", new.intake != running.intake),
        ("[clock]", new.clock != running.clock),
        ("[http]", new.http != running.http),
        ("[memory]", new.memory != running.memory),
        ("[[serial]]", new.serial != running.serial),
        ("[[modbus]]", new.modbus != running.modbus),
        ("[[mqtt]]", new.mqtt != running.mqtt),
        ("[[quality]]", new.quality != running.quality),
    ];
    let changed: Vec<&str> = fixed.iter().filter(|(_, changed)| *changed).map(|(name, _)| *name).collect();
    if changed.is_empty() {
        tracing::info!("the configuration was reloaded");
    } else {
        tracing::warn!(sections = changed.join(", "), "changed in the configuration, in force after a restart");
    }
}

/// `http.addr`: the bound address for scripts, since port 0 picks one. It goes with the daemon.
struct AddressFile(PathBuf);

impl AddressFile {
    fn new(database: &Path) -> Self {
        let file = Self(database.with_file_name(ADDRESS_FILE));
        // Left behind by a crash: nobody must ask the old address.
        let _ = std::fs::remove_file(&file.0);
        file
    }

    fn write(&self, address: std::net::SocketAddr) -> io::Result<()> {
        let new = self.0.with_extension("addr.new");
        std::fs::write(&new, format!("{address}\n"))?;
        std::fs::rename(new, &self.0)
    }
}

impl Drop for AddressFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_file_replaces_a_stale_one_and_goes_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(ADDRESS_FILE);
        std::fs::write(&path, "stale").unwrap();
        let file = AddressFile::new(&dir.path().join("g.duckdb"));
        assert!(!path.exists());
        file.write(([127, 0, 0, 1], 81).into()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "127.0.0.1:81\n");
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn only_a_newer_file_is_a_configuration_error() {
        let newer = OpenError::Newer { path: "x".into(), found: String::new(), known: String::new() };
        assert_eq!(ServiceError::from(newer).exit_status(), 78);
        assert_eq!(ended("x", "y").exit_status(), 1);
    }
}
