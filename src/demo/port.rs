//! The simulated hub on a pseudo-terminal: one end is the hub's, the other a serial port for the daemon.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use rustix::fs::{Mode, OFlags, fcntl_setfl, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::hub::{Hub, HubCounts};
use super::unix;

/// Pause when there is nothing to read and nothing to say.
const PAUSE: Duration = Duration::from_millis(10);
/// Longest line that the gateway may send.
const MAX_LINE: usize = 4_096;

/// The hub at work in a thread of its own. It stops when this is dropped.
#[derive(Debug)]
pub(super) struct Port {
    path: PathBuf,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    counts: Mutex<HubCounts>,
    stopping: AtomicBool,
    quiet: AtomicBool,
    ended: AtomicBool,
}

impl Port {
    /// Opens the pseudo-terminal and lets the hub talk.
    pub(super) fn open() -> anyhow::Result<Self> {
        let (near, far, path) = pair().context("cannot open a pseudo-terminal for the simulated hub")?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        // The far end stays open here too, so that a daemon that opens the port anew is not the end of it.
        let run = move || run(near, &theirs).map(|()| drop(far));
        let thread = std::thread::Builder::new().name("demo-hub".into()).spawn(run)?;
        Ok(Self { path, thread: Some(thread), shared })
    }

    /// Path of the serial port.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What the hub has said so far.
    pub(super) fn counts(&self) -> HubCounts {
        *self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing new is sent from now on; what was not acknowledged still is sent again.
    pub(super) fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
    }

    /// Whether it was stopped and everything that it sent is written to the port and acknowledged.
    pub(super) fn is_quiet(&self) -> bool {
        self.shared.quiet.load(Ordering::Acquire)
    }

    /// Fails when the hub has ended.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        match self.thread.take_if(|thread| thread.is_finished()).map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(Err(e))) => Err(e.context("the simulated hub has ended")),
            Some(_) => Err(anyhow!("the simulated hub has ended")),
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // Its error was shown by `check`, or came after the end.
            let _ = thread.join();
        }
    }
}

/// Both ends of a new pseudo-terminal without echo and line editing, the near one not blocking, and the far one's path.
fn pair() -> anyhow::Result<(File, OwnedFd, PathBuf)> {
    let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&near)?;
    unlockpt(&near)?;
    let path = ptsname(&near, Vec::new())?.into_string()?;
    let far = open(&path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    let mut settings = tcgetattr(&far)?;
    settings.make_raw();
    tcsetattr(&far, OptionalActions::Now, &settings)?;
    fcntl_setfl(&near, OFlags::NONBLOCK)?;
    Ok((near.into(), far, path.into()))
}

fn run(mut port: File, shared: &Shared) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut hub = Hub::new(unix());
    let mut heard = Vec::new();
    let mut buffer = [0; 4_096];
    while !shared.ended.load(Ordering::Acquire) {
        let stopping = shared.stopping.load(Ordering::Acquire);
        hub.tick(begun.elapsed(), unix(), stopping);
        let mut idle = true;
        if !hub.unsent().is_empty() {
            match port.write(hub.unsent()) {
                Ok(n) => {
                    hub.sent(n);
                    idle = false;
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(e) => return Err(e).context("cannot write to the pseudo-terminal"),
            }
        }
        match port.read(&mut buffer) {
            Ok(n) => {
                heard.extend_from_slice(&buffer[..n]);
                idle &= n == 0;
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(e) => return Err(e).context("cannot read from the pseudo-terminal"),
        }
        while let Some(end) = heard.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = heard.drain(..=end).collect();
            hub.hear(&String::from_utf8_lossy(&line), begun.elapsed());
        }
        if heard.len() > MAX_LINE {
            heard.clear();
        }
        let counts = hub.counts();
        *shared.counts.lock().unwrap_or_else(PoisonError::into_inner) = counts;
        shared.quiet.store(stopping && !counts.busy, Ordering::Release);
        if idle {
            std::thread::sleep(PAUSE);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};

    /// Plays the gateway at the far end until the hub has nothing left to send.
    #[test]
    fn talks_to_whoever_opens_the_port() {
        let mut port = Port::open().unwrap();
        let gateway = File::options().read(true).write(true).open(port.path()).unwrap();
        let mut batches = 0;
        let mut questions = 0;
        for line in BufReader::new(&gateway).lines() {
            let line = line.unwrap();
            let words: Vec<&str> = line.split(' ').collect();
            match words[0] {
                "GET_DATETIME" => {
                    questions += 1;
                    (&gateway).write_all(b"DATETIME 2026-11-20 12:00:00 5\n").unwrap();
                }
                "BATCH_COMPLETE" => {
                    batches += 1;
                    assert_eq!(words[3], "20");
                    let answer = format!("BATCH_ACK {} 20 0\r\n", words[1]);
                    (&gateway).write_all(answer.as_bytes()).unwrap();
                    if batches == 2 {
                        break;
                    }
                }
                _ => {}
            }
        }
        assert!(questions >= 1);
        port.stop();
        let deadline = Instant::now() + Duration::from_secs(30);
        while port.counts().acked < 2 {
            port.check().unwrap();
            assert!(Instant::now() < deadline, "{:?}", port.counts());
            std::thread::sleep(Duration::from_millis(5));
        }
        let counts = port.counts();
        assert_eq!((counts.refused, counts.resent), (0, 0));
    }
}
