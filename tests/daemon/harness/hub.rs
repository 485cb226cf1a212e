//! The LoRa hub on a pseudo-terminal.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tempfile::TempDir;

use super::{DEADLINE, Expected, expected};

/// A stored record of a node.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Unix time in seconds.
    pub time: i64,
    /// 0.01 degC
    pub temp: i64,
    /// 0.01 %RH
    pub hum: i64,
    pub flags: u8,
}

impl Record {
    /// The readings that it has to become.
    pub fn expected(&self, source: &str, device: u64) -> [Expected; 3] {
        let (node, ts) = (device.to_string(), self.time * 1_000_000);
        [
            expected(source, &node, "temperature", ts, self.temp as f64 / 100.0),
            expected(source, &node, "humidity", ts, self.hum as f64 / 100.0),
            expected(source, &node, "flags", ts, f64::from(self.flags)),
        ]
    }
}

struct Port {
    master: Arc<OwnedFd>,
    path: PathBuf,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

/// A hub: its port is found at [`Hub::link`].
pub struct Hub {
    _dir: TempDir,
    link: PathBuf,
    port: Option<Port>,
    next: Option<Port>,
    lines: Receiver<String>,
    tx: Sender<String>,
    seen: VecDeque<String>,
}

impl Hub {
    /// Plugs a hub in.
    pub fn new() -> Self {
        let mut hub = Self::absent();
        hub.plug();
        hub
    }

    /// A hub that is not plugged in yet: its link does not exist.
    pub fn absent() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let link = dir.path().join("hub");
        let (tx, lines) = channel();
        Self { _dir: dir, link, port: None, next: None, lines, tx, seen: VecDeque::new() }
    }

    /// The stable name of its port.
    pub fn link(&self) -> &Path {
        &self.link
    }

    /// What the kernel calls its port at present.
    pub fn port_name(&self) -> PathBuf {
        self.port.as_ref().expect("plugged in").path.clone()
    }

    /// A `[[serial]]` section for it, named `hub`, with `more` keys.
    pub fn section(&self, format: &str, more: &str) -> String {
        format!("[[serial]]\nname = \"hub\"\nport = \"{}\"\nformat = \"{format}\"\n{more}\n", self.link.display())
    }

    /// Plugs it in, with the same link; after [`Hub::unplug`] under another name of the kernel.
    pub fn plug(&mut self) {
        let port = self.next.take().unwrap_or_else(|| Port::open(self.tx.clone()));
        let _ = std::fs::remove_file(&self.link);
        symlink(&port.path, &self.link).expect("making the link");
        self.port = Some(port);
    }

    /// Pulls it out.
    pub fn unplug(&mut self) {
        // Opened while the old one is still there, so that the kernel gives it another name.
        self.next = Some(Port::open(self.tx.clone()));
        std::fs::remove_file(&self.link).expect("removing the link");
        self.port = None;
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        assert!(self.try_send_bytes(bytes, DEADLINE), "nobody reads the port");
    }

    /// Sends bytes as they are; returns whether all were taken in time.
    pub fn try_send_bytes(&mut self, mut bytes: &[u8], within: Duration) -> bool {
        let master = &self.port.as_ref().expect("plugged in").master;
        let end = Instant::now() + within;
        while !bytes.is_empty() {
            match rustix::io::write(&**master, bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(rustix::io::Errno::AGAIN) => {
                    if Instant::now() > end {
                        return false;
                    }
                    thread::sleep(Duration::from_micros(200));
                }
                Err(e) => panic!("writing to the pseudo-terminal: {e}"),
            }
        }
        true
    }

    /// Sends a line.
    #[track_caller]
    pub fn send(&mut self, line: &str) {
        self.send_bytes(format!("{line}\n").as_bytes());
    }

    /// Sends a whole batch.
    #[track_caller]
    pub fn send_batch(&mut self, addr: u16, device: u64, records: &[Record]) {
        self.send_bytes(batch(addr, device, records).as_bytes());
    }

    /// Asks for the time until it is answered: from then on nothing that is sent gets lost.
    #[track_caller]
    pub fn wait_answered(&mut self) {
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            self.send("GET_DATETIME");
            if self.next_line(Duration::from_millis(300), "DATETIME ").is_some() {
                return;
            }
        }
        panic!("nobody answers GET_DATETIME within {DEADLINE:?}");
    }

    /// The next line that begins with `prefix`; others are skipped.
    pub fn next_line(&mut self, within: Duration, prefix: &str) -> Option<String> {
        let end = Instant::now() + within;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push_back(line.clone());
                    if line.starts_with(prefix) {
                        return Some(line);
                    }
                }
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => unreachable!("the hub holds a sender"),
            }
        }
    }

    /// Forgets what was received so far.
    pub fn clear(&mut self) {
        while self.lines.try_recv().is_ok() {}
    }

    /// Waits for the next `BATCH_ACK` and compares it.
    #[track_caller]
    pub fn expect_ack(&mut self, ack: &str) {
        match self.next_line(DEADLINE, "BATCH_ACK") {
            Some(line) => assert_eq!(line, ack),
            None => panic!("no BATCH_ACK within {DEADLINE:?}; expected {ack}; heard {:?}", self.seen),
        }
    }

    /// Whether a `BATCH_ACK` has come; does not wait.
    pub fn has_ack(&mut self) -> bool {
        self.next_line(Duration::ZERO, "BATCH_ACK").is_some()
    }
}

/// The lines of a whole batch.
pub fn batch(addr: u16, device: u64, records: &[Record]) -> String {
    let n = records.len();
    let mut text = format!("SENSOR_BATCH {addr} {device} {n}\n");
    for r in records {
        text += &format!("SENSOR_RECORD {addr} {device} {} {} {} {}\n", r.time, r.temp, r.hum, r.flags);
    }
    text + &format!("BATCH_COMPLETE {addr} {device} {n}\n")
}

/// The master of a raw pseudo-terminal, which does not block, and the path of its slave.
pub(super) fn pseudo_terminal() -> (OwnedFd, PathBuf) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pseudo-terminal");
    grantpt(&master).expect("granting the pseudo-terminal");
    unlockpt(&master).expect("unlocking the pseudo-terminal");
    let path = PathBuf::from(ptsname(&master, Vec::new()).expect("its name").into_string().expect("UTF-8"));
    let slave = rustix::fs::open(&path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
        .expect("opening the pseudo-terminal");
    let mut settings = tcgetattr(&slave).expect("its settings");
    settings.make_raw();
    tcsetattr(&slave, OptionalActions::Now, &settings).expect("making it raw");
    drop(slave);
    fcntl_setfl(&master, OFlags::RDWR | OFlags::NONBLOCK).expect("making it non-blocking");
    (master, path)
}

impl Port {
    fn open(lines: Sender<String>) -> Self {
        let (master, path) = pseudo_terminal();
        let (master, stop) = (Arc::new(master), Arc::new(AtomicBool::new(false)));
        let reader = {
            let (master, stop) = (Arc::clone(&master), Arc::clone(&stop));
            thread::spawn(move || read_lines(&master, &stop, &lines))
        };
        Self { master, path, stop, reader: Some(reader) }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn read_lines(master: &OwnedFd, stop: &AtomicBool, lines: &Sender<String>) {
    let mut pending = Vec::new();
    let mut chunk = [0; 4096];
    while !stop.load(Ordering::Acquire) {
        match rustix::io::read(master, &mut chunk) {
            Ok(n) => pending.extend_from_slice(&chunk[..n]),
            // Nothing is there, or nobody has it open.
            Err(_) => thread::sleep(Duration::from_micros(200)),
        }
        while let Some(end) = pending.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let _ = lines.send(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
    }
}
