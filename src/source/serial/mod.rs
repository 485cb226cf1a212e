//! A serial port: opened, read, and opened again after it was unplugged, renumbered or silent for too long.

/// For benchmarks, which count what a record costs.
#[doc(hidden)]
pub mod feed;
mod open;
mod outgoing;
mod poll;
pub(super) mod port;
pub(super) mod wire;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use feed::{Feed, Word};
use poll::Poll;
use port::{lost, stopped};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use wire::CHUNK;

use super::backoff::Backoff;
use crate::clock::Clock;
use crate::config;
use crate::metrics::{Metrics, SourceState, SourceStatus};
use crate::pipeline::{Closed, Intake};

/// How long a write may make no progress before the link counts as gone.
const STALLED: Duration = Duration::from_secs(2);

/// How often is looked whether the store has caught up, while it has not.
const LOOK: Duration = Duration::from_secs(1);

/// How long a stop waits for the answers to batches that are on their way to the store.
const DRAIN: Duration = Duration::from_secs(5);

/// Runs one port until `stop` is true or its sender is gone. It never blocks the runtime: the port is opened, read, written
/// and closed on a thread of its own. On a stop it reads no more, waits up to 5 s until the batches that are on their way are
/// answered, and closes the port. A driver that does not come back from a call is told after 10 s; the port is opened again
/// when it has, and a stop does not wait for it.
///
/// # Errors
/// [`Closed`] when the store takes no more though nobody has asked for a stop.
pub async fn run(
    config: config::Serial,
    intake: Intake,
    clock: Clock,
    metrics: Arc<Metrics>,
    status: Arc<SourceStatus>,
    stop: watch::Receiver<bool>,
) -> Result<(), Closed> {
    let mut port = Port::new(&config, intake, clock, metrics, status, stop);
    loop {
        let Some(opened) = port::open(&port.path, config.uart, &port.status, &mut port.stop).await else {
            return Ok(());
        };
        match opened {
            Ok(mut wire) => {
                port.opened();
                match port.talk(&mut wire).await? {
                    Gone::Stop => {
                        port::close(wire).await;
                        return Ok(());
                    }
                    gone => port.has_ended(gone),
                }
                if port::lose(wire, &port.path, &port.status, &mut port.stop).await.is_none() {
                    return Ok(());
                }
            }
            Err(reason) => port.has_ended(Gone::Closed(reason)),
        }
        if port::pause(port.backoff.next(), &mut port.stop).await.is_none() {
            return Ok(());
        }
    }
}

/// Why a connection has ended.
#[derive(Debug, PartialEq, Eq)]
enum Gone {
    /// The daemon stops.
    Stop,
    /// Nothing was heard for too long.
    Silent,
    /// It cannot be opened, read or written; the text says why.
    Closed(String),
}

struct Port {
    path: PathBuf,
    silence: Duration,
    // How long a stop waits; shorter in tests.
    drain: Duration,
    feed: Feed,
    // Of a device that has to be asked.
    poll: Option<Poll>,
    words: UnboundedReceiver<Word>,
    status: Arc<SourceStatus>,
    stop: watch::Receiver<bool>,
    backoff: Backoff,
    // It was silent for too long and has not been heard since, whatever became of the port.
    silent: bool,
}

impl Port {
    fn new(
        config: &config::Serial,
        intake: Intake,
        clock: Clock,
        metrics: Arc<Metrics>,
        status: Arc<SourceStatus>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let (tx, words) = unbounded_channel();
        Self {
            path: config.port.clone(),
            silence: config.silence,
            drain: DRAIN,
            poll: Poll::new(config.protocol.keys().format, config.interval, Instant::now()),
            feed: Feed::new(config, intake, clock, metrics, Arc::clone(&status), tx),
            words,
            status,
            stop,
            backoff: Backoff::new(port::BACKOFF.0, port::BACKOFF.1),
            silent: false,
        }
    }

    fn opened(&mut self) {
        self.status.connects.inc();
        let state = if self.silent { SourceState::Silent } else { SourceState::Up };
        if self.status.set_state(state) {
            tracing::info!(source = %self.status.name, port = %self.path.display(), "the port is open");
        }
    }

    fn heard(&mut self, bytes: usize) {
        self.status.heard();
        self.status.bytes.add(bytes as u64);
        self.backoff.reset();
        if self.silent {
            self.silent = false;
            self.status.set_state(SourceState::Up);
            tracing::info!(source = %self.status.name, port = %self.path.display(), "the port is heard again");
        }
    }

    /// Notes why a connection has ended.
    fn has_ended(&mut self, gone: Gone) {
        match gone {
            Gone::Stop => {}
            Gone::Silent => {
                self.silent = true;
                if self.status.set_state(SourceState::Silent) {
                    let silence = humantime::format_duration(self.silence);
                    tracing::warn!(source = %self.status.name, port = %self.path.display(), "nothing was heard for {silence}");
                }
            }
            Gone::Closed(reason) => port::down(&self.path, &self.status, &reason),
        }
    }

    /// Reads, decodes and answers until the connection ends.
    async fn talk<P: AsyncRead + AsyncWrite + Unpin>(&mut self, port: &mut P) -> Result<Gone, Closed> {
        let (mut reader, mut writer) = tokio::io::split(port);
        let mut chunk = vec![0; CHUNK];
        let mut silent_at = after(self.silence);
        let mut stalled_at = None;
        let mut drained_by = None;
        self.feed.connected();
        if let Some(poll) = &mut self.poll {
            poll.connected(Instant::now());
        }
        loop {
            self.feed.tell_time();
            if drained_by.is_some() && self.feed.is_answered() {
                return Ok(Gone::Stop);
            }
            let writing = !self.feed.out().is_empty();
            let idle_at = self.feed.idle_at().map(Instant::from_std);
            let ask_at = self.poll.as_ref().map(Poll::at);
            let stalled = if writing { *stalled_at.get_or_insert_with(|| after(STALLED)) } else { silent_at };
            tokio::select! {
                biased;
                () = stopped(&mut self.stop), if drained_by.is_none() => drained_by = Some(after(self.drain)),
                () = sleep_until(drained_by.unwrap_or(silent_at)), if drained_by.is_some() => {
                    tracing::warn!(source = %self.status.name, "stopped before every batch was answered; it is sent again");
                    return Ok(Gone::Stop);
                }
                written = writer.write(self.feed.out().waiting()), if writing => match written {
                    Ok(0) => return Ok(self.gone("it takes no more bytes".into())),
                    Ok(n) => {
                        self.feed.out().wrote(n);
                        stalled_at = None;
                    }
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Ok(self.gone(lost(&e))),
                },
                () = sleep_until(stalled), if writing => {
                    return Ok(self.gone("it takes no bytes: the device does not read".into()));
                }
                // The feed holds a sender, so there is always one.
                Some(word) = self.words.recv() => self.feed.hear(word),
                read = reader.read(&mut chunk), if drained_by.is_none() => match read {
                    Ok(0) => return Ok(self.gone("it was unplugged, or its other end was closed".into())),
                    Ok(n) => {
                        self.heard(n);
                        silent_at = after(self.silence);
                        match self.feed.read(&chunk[..n]) {
                            Err(Closed) if !*self.stop.borrow() => return Err(Closed),
                            _ => {}
                        }
                    }
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Ok(self.gone(lost(&e))),
                },
                // Behind the reading: what has come already was no silence.
                () = sleep_until(idle_at.unwrap_or(silent_at)), if idle_at.is_some() => match self.feed.idle() {
                    Err(Closed) if !*self.stop.borrow() => return Err(Closed),
                    _ => {}
                },
                () = sleep_until(ask_at.unwrap_or(silent_at)), if ask_at.is_some() && drained_by.is_none() => self.ask(),
                () = sleep_until(silent_at), if drained_by.is_none() => return Ok(Gone::Silent),
                () = sleep(LOOK), if self.feed.is_dropping() => self.feed.look(),
            }
        }
    }

    /// It is time to ask the device, unless what it says would have to be dropped.
    fn ask(&mut self) {
        let Some(poll) = &mut self.poll else { return };
        if self.feed.is_dropping() {
            poll.pass(Instant::now());
            return;
        }
        let turn = poll.turn(self.status.readings.get(), Instant::now());
        if turn.begins {
            self.feed.forget();
        }
        if turn.missed {
            self.status.unanswered.inc();
        }
        self.feed.out().ask(turn.bytes);
    }

    /// The port is lost, which in the middle of a stop does not matter any more.
    fn gone(&self, reason: String) -> Gone {
        if *self.stop.borrow() { Gone::Stop } else { Gone::Closed(reason) }
    }
}

/// The instant after `delay`; a delay beyond what the clock can hold is a year.
fn after(delay: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(delay).unwrap_or(now + Duration::from_secs(365 * 24 * 3600))
}

#[cfg(test)]
mod tests;
