//! What systemd is told: READY, STATUS, WATCHDOG, STOPPING. Without systemd all of it does nothing.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::clock;
use crate::metrics::{Metrics, SourceState};

/// The writer and the I/O thread have to have shown a sign of life within this time for the watchdog to be fed: longer
/// than any checkpoint, shorter than the unit's `WatchdogSec`.
const ALIVE_WITHIN: i64 = 30_000_000;
/// The status line is told at most this often, unless a source changed.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// While the store is being opened systemd is asked for more time this often, and for so much: `TimeoutStartSec` need not
/// cover the replay of a WAL, the copy of a damaged file, or the wait for space.
const EXTEND_EVERY: Duration = Duration::from_secs(10);
const EXTEND_BY_US: u32 = 60_000_000;
/// What takes no longer than this is not told.
const EXTEND_AFTER: Duration = Duration::from_secs(1);

/// The connection to systemd.
#[derive(Debug)]
pub struct Notify {
    watchdog: Option<Duration>,
    fed: Option<Instant>,
    told: Option<Instant>,
    sources: String,
    began: Instant,
    extended: Option<Instant>,
}

impl Notify {
    /// Reads what systemd asked for in the environment.
    pub fn new() -> Self {
        Self {
            watchdog: sd_notify::watchdog_enabled(),
            fed: None,
            told: None,
            sources: String::new(),
            began: Instant::now(),
            extended: None,
        }
    }

    /// The start is not over yet: what it does at present, for a person. Asks for more time.
    pub fn starting(&mut self, what: &str) {
        let now = Instant::now();
        if now.duration_since(self.began) >= EXTEND_AFTER
            && self.extended.is_none_or(|told| now.duration_since(told) >= EXTEND_EVERY)
        {
            tell(&[NotifyState::ExtendTimeoutUsec(EXTEND_BY_US), NotifyState::Status(what)]);
            self.extended = Some(now);
        }
    }

    /// The start is over: readings can be taken.
    pub fn ready(&mut self, metrics: &Metrics) {
        tell(&[NotifyState::Ready]);
        self.tick(metrics, clock::boottime());
    }

    /// The stop has begun: no more is told after this.
    pub fn stopping(&mut self) {
        self.watchdog = None;
        tell(&[NotifyState::Stopping, NotifyState::Status("draining: storing what has been received")]);
    }

    /// Once a second: feeds the watchdog if the writer and the I/O thread (`io_alive_at`, CLOCK_BOOTTIME) live, and tells
    /// the status line.
    pub fn tick(&mut self, metrics: &Metrics, io_alive_at: i64) {
        let now = Instant::now();
        let oldest = metrics.store.writer_alive_at.get().min(io_alive_at);
        let alive = clock::boottime().saturating_sub(oldest) < ALIVE_WITHIN;
        if let Some(interval) = self.watchdog
            && alive
            && self.fed.is_none_or(|fed| now.duration_since(fed) >= interval / 4)
        {
            tell(&[NotifyState::Watchdog]);
            self.fed = Some(now);
        }
        let sources = sources(metrics);
        if self.told.is_none_or(|told| now.duration_since(told) >= STATUS_EVERY) || sources != self.sources {
            tell(&[NotifyState::Status(&status(metrics, &sources))]);
            self.told = Some(now);
            self.sources = sources;
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    // Without NOTIFY_SOCKET this does nothing. With one, a service manager that does not listen is not our failure.
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not told");
    }
}

fn status(metrics: &Metrics, sources: &str) -> String {
    let down = metrics.store.down.load(std::sync::atomic::Ordering::Relaxed);
    let store = if down { "store DOWN, " } else { "" };
    let disk = if metrics.store.space_full.load(std::sync::atomic::Ordering::Relaxed) {
        "disk FULL: nothing is stored, "
    } else {
        ""
    };
    let compacting = match metrics.store.compacting.get() {
        0 => String::new(),
        permille => format!("compacting the file, {} % copied, ", permille / 10),
    };
    format!(
        "{store}{disk}{compacting}{} readings committed, {} waiting; {sources}",
        metrics.readings.committed.get(),
        metrics.queue.depth.get()
    )
}

fn sources(metrics: &Metrics) -> String {
    let all: Vec<String> = metrics
        .sources()
        .iter()
        .map(|s| match s.state() {
            SourceState::Down(reason) => format!("{} down: {reason}", s.name),
            state => format!("{} {}", s.name, state.as_str()),
        })
        .collect();
    if all.is_empty() { "no source is configured".into() } else { all.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::SourceStatus;

    #[test]
    fn the_status_line_names_what_is_down() {
        let metrics = Metrics::default();
        assert_eq!(status(&metrics, &sources(&metrics)), "0 readings committed, 0 waiting; no source is configured");
        metrics.add_source(SourceStatus::new("hub".into(), "serial", "/dev/x".into())).set_state(SourceState::Up);
        let home = metrics.add_source(SourceStatus::new("home".into(), "mqtt", "mqtt://b".into()));
        home.set_state(SourceState::Down("connection refused".into()));
        metrics.readings.committed.add(12);
        metrics.store.down.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(
            status(&metrics, &sources(&metrics)),
            "store DOWN, 12 readings committed, 0 waiting; hub up, home down: connection refused"
        );
        metrics.store.down.store(false, std::sync::atomic::Ordering::Relaxed);
        metrics.store.compacting.set(437);
        assert!(status(&metrics, "").starts_with("compacting the file, 43 % copied, 12 readings committed"));
    }
}
