//! A serial port that devices are asked through: opened, and opened again after it was unplugged.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::backoff::Backoff;
use super::serial::wire::{Hangs, Opening, Thread, Wire};
use super::serial::{lost, stopped};
use crate::config::Uart;
use crate::metrics::{SourceState, SourceStatus};

/// How often is looked whether a driver has come back from a call.
const LOOK: Duration = Duration::from_secs(1);
/// How long a stop waits for the port to be closed.
const CLOSE: Duration = Duration::from_secs(1);
/// Delays before the port is opened again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// A port with its state in `/stats` and `/healthz`.
#[derive(Debug)]
pub(super) struct Device {
    path: PathBuf,
    uart: Uart,
    pub(super) status: Arc<SourceStatus>,
    pub(super) stop: watch::Receiver<bool>,
    backoff: Backoff,
}

impl Device {
    pub(super) fn new(path: PathBuf, uart: Uart, status: Arc<SourceStatus>, stop: watch::Receiver<bool>) -> Self {
        Self { path, uart, status, stop, backoff: Backoff::new(BACKOFF.0, BACKOFF.1) }
    }

    /// Opens the port, as often as it takes; `None` when the daemon stops.
    pub(super) async fn open(&mut self) -> Option<Wire> {
        loop {
            match self.attempt().await? {
                Ok(wire) => {
                    self.status.connects.inc();
                    return Some(wire);
                }
                Err(reason) => self.down(&reason),
            }
            self.pause().await?;
        }
    }

    async fn attempt(&mut self) -> Option<Result<Wire, String>> {
        let mut opening = match Opening::begin(self.path.clone(), self.uart) {
            Ok(opening) => opening,
            Err(reason) => return Some(Err(reason)),
        };
        loop {
            tokio::select! {
                opened = opening.opened() => return Some(opened.map(|()| opening.wire())),
                () = stopped(&mut self.stop) => return None,
                () = sleep(LOOK) => self.hangs(opening.thread.hangs()),
            }
        }
    }

    /// Closes a port that was lost, and waits until nobody holds it; `None` when the daemon stops.
    pub(super) async fn lose(&mut self, wire: Wire, error: &io::Error) -> Option<()> {
        self.down(&lost(error));
        let mut thread: Thread = wire.close(true);
        loop {
            tokio::select! {
                () = thread.ended() => break,
                () = stopped(&mut self.stop) => return None,
                () = sleep(LOOK) => self.hangs(thread.hangs()),
            }
        }
        self.pause().await
    }

    /// Closes the port because the daemon stops.
    pub(super) async fn close(&self, wire: Wire) {
        let _ = timeout(CLOSE, wire.close(false).ended()).await;
    }

    /// The port works, or does in part: `state` says it. The journal hears of each change once.
    pub(super) fn works(&mut self, state: SourceState) {
        let text = match state {
            SourceState::Silent => "nobody answers on the port",
            _ => "the port is open",
        };
        if self.status.set_state(state) {
            tracing::info!(source = %self.status.name, port = %self.path.display(), "{text}");
        }
    }

    /// Something was heard: the next time that the port is lost it is opened again at once.
    pub(super) fn heard(&mut self, bytes: u64) {
        if bytes > 0 {
            self.status.heard();
            self.status.bytes.add(bytes);
            self.backoff.reset();
        }
    }

    fn down(&self, reason: &str) {
        if self.status.set_state(SourceState::Down(reason.to_owned())) {
            tracing::warn!(source = %self.status.name, port = %self.path.display(), "the port is down: {reason}");
        }
    }

    fn hangs(&self, hangs: Option<Hangs>) {
        if let Some(hangs) = hangs {
            self.down(&hangs.to_string());
        }
    }

    async fn pause(&mut self) -> Option<()> {
        let delay = self.backoff.next();
        tokio::select! {
            () = sleep(delay) => Some(()),
            () = stopped(&mut self.stop) => None,
        }
    }
}
