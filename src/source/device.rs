//! A serial port that devices are asked through: opened, and opened again after it was unplugged.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::backoff::Backoff;
use super::serial::port;
use super::serial::wire::Wire;
use crate::config::Uart;
use crate::metrics::{SourceState, SourceStatus};

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
        Self { path, uart, status, stop, backoff: Backoff::new(port::BACKOFF.0, port::BACKOFF.1) }
    }

    /// Opens the port, as often as it takes; `None` when the daemon stops.
    pub(super) async fn open(&mut self) -> Option<Wire> {
        loop {
            match port::open(&self.path, self.uart, &self.status, &mut self.stop).await? {
                Ok(wire) => {
                    self.status.connects.inc();
                    return Some(wire);
                }
                Err(reason) => port::down(&self.path, &self.status, &reason),
            }
            self.pause().await?;
        }
    }

    /// Closes a port that was lost, and waits until nobody holds it; `None` when the daemon stops.
    pub(super) async fn lose(&mut self, wire: Wire, error: &io::Error) -> Option<()> {
        port::down(&self.path, &self.status, &port::lost(error));
        port::lose(wire, &self.path, &self.status, &mut self.stop).await?;
        self.pause().await
    }

    /// Closes the port because the daemon stops.
    pub(super) async fn close(&self, wire: Wire) {
        port::close(wire).await;
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

    async fn pause(&mut self) -> Option<()> {
        port::pause(self.backoff.next(), &mut self.stop).await
    }
}
