//! The simulated LoRa hub behind the board's USB serial adapter: stored records of its nodes, batch by batch, each sent
//! again until it is acknowledged.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;

/// Records of a batch, and readings of a record.
pub const RECORDS: u64 = 20;
pub const READINGS: u64 = 3;
/// Nodes behind the hub.
const NODES: u64 = 5;
/// A batch that is not answered for so long is sent again: longer than an emulated board needs for a commit.
const AGAIN: Duration = Duration::from_secs(20);
/// The gateway is asked for the time this often, until it answers.
const ASK: Duration = Duration::from_secs(2);

/// What was acknowledged, over all pluggings.
#[derive(Clone, Default)]
pub struct Tally {
    acked: Arc<AtomicU64>,
    again: Arc<AtomicU64>,
}

impl Tally {
    /// Batches that the gateway has acknowledged.
    pub fn acked(&self) -> u64 {
        self.acked.load(Ordering::SeqCst)
    }

    /// Batches that were sent once more.
    pub fn again(&self) -> u64 {
        self.again.load(Ordering::SeqCst)
    }

    /// Readings that have to be stored for what was acknowledged.
    pub fn readings(&self) -> u64 {
        self.acked() * RECORDS * READINGS
    }
}

/// A hub that is plugged in; dropped, it is pulled out.
pub struct Hub {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Hub {
    /// Plugs the hub in. It begins with the first batch that `tally` does not have, ends behind batch `until`, and waits
    /// `every` between batches. The records' times count from `start`, Unix seconds.
    pub fn plug(usb: &Path, tally: &Tally, start: i64, until: u64, every: Duration) -> anyhow::Result<Self> {
        let port = UnixStream::connect(usb).context("the USB socket")?;
        port.set_read_timeout(Some(Duration::from_millis(100)))?;
        port.set_write_timeout(Some(Duration::from_millis(500)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (tally, stopped) = (tally.clone(), stop.clone());
        let thread = thread::spawn(move || {
            let mut talk = Talk { port, heard: Vec::new(), stop: stopped };
            // A port that is gone ends it: the board was switched off.
            let _ = talk.talk(&tally, start, until, every);
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Talk {
    port: UnixStream,
    heard: Vec<u8>,
    stop: Arc<AtomicBool>,
}

impl Talk {
    fn talk(&mut self, tally: &Tally, start: i64, until: u64, every: Duration) -> std::io::Result<()> {
        self.say("HUB_READY\n")?;
        loop {
            self.say("GET_DATETIME\n")?;
            if self.wait(ASK, |line| line.starts_with("DATETIME "))? {
                break;
            }
            if self.stopped() {
                return Ok(());
            }
        }
        while tally.acked() < until && !self.stopped() {
            let number = tally.acked();
            let begun = Instant::now();
            let (text, ack) = batch(number, start);
            self.say(&text)?;
            while !self.wait(AGAIN, |line| line == ack)? {
                if self.stopped() {
                    return Ok(());
                }
                tally.again.fetch_add(1, Ordering::SeqCst);
                self.say(&text)?;
            }
            tally.acked.fetch_add(1, Ordering::SeqCst);
            while begun.elapsed() < every && !self.stopped() {
                self.wait(Duration::from_millis(100), |_| false)?;
            }
        }
        // Still plugged in, and silent.
        while !self.stopped() {
            self.wait(Duration::from_millis(100), |_| false)?;
        }
        Ok(())
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn say(&mut self, text: &str) -> std::io::Result<()> {
        let mut bytes = text.as_bytes();
        while !bytes.is_empty() && !self.stopped() {
            match self.port.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                // The board does not read at present.
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Waits for a line that is `wanted`; `false` when none came in time, or the hub is pulled out.
    fn wait(&mut self, time: Duration, wanted: impl Fn(&str) -> bool) -> std::io::Result<bool> {
        let end = Instant::now() + time;
        loop {
            while let Some(newline) = self.heard.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=newline).collect();
                if wanted(String::from_utf8_lossy(&line).trim()) {
                    return Ok(true);
                }
            }
            if Instant::now() >= end || self.stopped() {
                return Ok(false);
            }
            let mut chunk = [0; 4096];
            match self.port.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.heard.extend_from_slice(&chunk[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// Batch `number` as the hub says it, always the same, and the line that acknowledges it.
fn batch(number: u64, start: i64) -> (String, String) {
    let address = 2 + number % NODES;
    let device = 0xA000_0000_0000_0000 + address;
    let first = start + i64::try_from(number / NODES * RECORDS).expect("few batches") * 30;
    let mut text = format!("SENSOR_BATCH {address} {device} {RECORDS}\n");
    for record in 0..RECORDS {
        let time = first + i64::try_from(record).expect("few records") * 30;
        let (temperature, humidity) =
            (2000 + (number * 7 + record * 3) % 900, 4000 + (number * 11 + record * 5) % 3000);
        text += &format!("SENSOR_RECORD {address} {device} {time} {temperature} {humidity} 0\n");
    }
    text += &format!("BATCH_COMPLETE {address} {device} {RECORDS}\n");
    (text, format!("BATCH_ACK {address} {RECORDS} 0"))
}
