//! Publishers on the board: `mosquitto_pub` with QoS 1, a message for each line that it is fed from here.

use std::io::Write;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};

use crate::machine::Machine;

/// Readings of a message.
pub const READINGS: u64 = 5;

/// Publishers at work.
pub struct Publishers {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    threads: Vec<JoinHandle<anyhow::Result<Child>>>,
}

impl Publishers {
    /// Starts `nodes` publishers that send a message each `every`, `messages` each unless they are stopped before. With
    /// `timed` the messages say their time, and otherwise their arrival counts, below another topic.
    pub fn start(board: &Machine, nodes: u64, messages: u64, every: Duration, timed: bool) -> anyhow::Result<Self> {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut threads = Vec::new();
        for node in 0..nodes {
            let root = if timed { "sensors" } else { "live" };
            let mut child = board.feed(&format!("mosquitto_pub -V 5 -q 1 -l -t {root}/room-{node}"))?;
            let (stop, sent) = (stop.clone(), sent.clone());
            threads.push(thread::spawn(move || {
                let mut input = child.stdin.take().context("its input is a pipe")?;
                let mut next = Instant::now() + every * u32::try_from(node)? / u32::try_from(nodes)?;
                for number in 0..messages {
                    while Instant::now() < next && !stop.load(Ordering::SeqCst) {
                        thread::sleep(Duration::from_millis(20));
                    }
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    next += every;
                    // After a power cut nobody takes it any more.
                    if input.write_all(message(number, timed).as_bytes()).is_err() {
                        break;
                    }
                    sent.fetch_add(1, Ordering::SeqCst);
                }
                Ok(child)
            }));
        }
        Ok(Self { stop, sent, threads })
    }

    /// Messages that were given to the publishers so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// Waits until all has been sent and the broker has confirmed it; returns the number of messages.
    pub fn end(mut self) -> anyhow::Result<u64> {
        for thread in self.threads.drain(..) {
            let mut child = thread.join().expect("a publisher does not panic")?;
            let status = child.wait()?;
            ensure!(status.success(), "a publisher ended with {status}");
        }
        Ok(self.sent())
    }

    /// Stops sending, and waits as [`Publishers::end`] does.
    pub fn stop(self) -> anyhow::Result<u64> {
        self.stop.store(true, Ordering::SeqCst);
        self.end()
    }
}

impl Drop for Publishers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            if let Ok(Ok(mut child)) = thread.join() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

fn message(number: u64, timed: bool) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let time = if timed { format!("\"time\":{now},") } else { String::new() };
    format!(
        "{{{time}\"temperature\":{}.{},\"humidity\":{},\"pressure\":{}.5,\"battery\":{},\"linkquality\":{}}}\n",
        18 + number % 7,
        number % 10,
        40 + number % 23,
        990 + number % 31,
        100 - number / 100 % 60,
        90 + number % 120,
    )
}
