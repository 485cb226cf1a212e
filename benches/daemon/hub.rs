//! A hub on a pseudo-terminal: how long a node waits for the answer to its batch, and how many records get through.

use std::time::Instant;

use anyhow::{Context, ensure};

use crate::common::result::record;
use crate::harness::{DEADLINE, Daemon, Hub, Record, Setup, batch};
use crate::{copy, quick, record_waits};

/// Records of a batch.
pub const RECORDS: usize = 100;
/// The first node's address and device id; the next nodes follow.
const ADDRESS: u16 = 2;
const DEVICE: u64 = 0xA000_0000_0000_0002;
/// Time of the first record. The records' hours are long over: each batch makes rollups necessary again.
const START: i64 = 1_760_000_000;

/// One node alone, then five at once.
pub fn run() -> anyhow::Result<()> {
    let (_folder, database) = copy(if quick() { 1 } else { 10 })?;
    let mut hub = Hub::new();
    let section = hub.section("hub-lines", "");
    let config = format!("{section}\n[store]\npath = \"{}\"\n[log]\nlevel = \"warn\"\n", database.display());
    let mut daemon = Setup::new(&config).start();
    hub.wait_answered();
    let mut nodes = Nodes::new(1);
    let (mut waits, batches) = (Vec::new(), if quick() { 200 } else { 5_000 });
    // The first commits make the series.
    for _ in 0..10 {
        nodes.round(&mut hub, &mut Vec::new())?;
    }
    let begun = Instant::now();
    for _ in 0..batches {
        nodes.round(&mut hub, &mut waits)?;
    }
    let rate = (batches * RECORDS) as f64 / begun.elapsed().as_secs_f64();
    record_waits("hub.lone", &mut waits)?;
    record("hub.lone.rate", "records/s", &[rate])?;
    all_at_once(&mut hub)?;
    stored_all(&daemon)?;
    ensure!(daemon.terminate().success(), "the daemon does not end in order: {}", daemon.log());
    Ok(())
}

/// Five nodes of their own at once, each with its next batch as soon as all are answered.
fn all_at_once(hub: &mut Hub) -> anyhow::Result<()> {
    let mut nodes = Nodes::from(100, 5);
    let rounds = if quick() { 20 } else { 200 };
    nodes.round(hub, &mut Vec::new())?;
    let mut rates = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        for _ in 0..rounds {
            nodes.round(hub, &mut Vec::new())?;
        }
        rates.push((rounds * 5 * RECORDS) as f64 / begun.elapsed().as_secs_f64());
    }
    record("serial.rate", "records/s", &rates)
}

/// Nothing may have been dropped or refused, or the figures are of something else.
fn stored_all(daemon: &Daemon) -> anyhow::Result<()> {
    let stats = daemon.stats();
    for count in ["/readings/dropped", "/readings/conflict", "/readings/dead", "/commits/failed"] {
        let found = stats.pointer(count).and_then(serde_json::Value::as_u64);
        ensure!(found == Some(0), "{count} is {found:?}: {stats}");
    }
    Ok(())
}

/// The nodes behind the hub, with their next records.
pub struct Nodes {
    first: u16,
    next: Vec<i64>,
}

impl Nodes {
    /// So many nodes.
    pub fn new(count: usize) -> Self {
        Self::from(ADDRESS, count)
    }

    /// So many, from address `first` on.
    pub fn from(first: u16, count: usize) -> Self {
        Self { first, next: vec![0; count] }
    }

    /// Each node sends its next batch, and waits for its answer: milliseconds from the last byte's writing on.
    pub fn round(&mut self, hub: &mut Hub, waits: &mut Vec<f64>) -> anyhow::Result<()> {
        let mut asked = Vec::with_capacity(self.next.len());
        for node in 0..self.next.len() {
            let text = self.batch(node);
            ensure!(hub.try_send_bytes(text.as_bytes(), DEADLINE), "nobody reads the port");
            asked.push(Instant::now());
        }
        for _ in 0..self.next.len() {
            let line = hub.next_line(DEADLINE, "BATCH_ACK ").context("a batch is not answered")?;
            let now = Instant::now();
            let mut words = line.split(' ').skip(1).map(str::parse::<usize>);
            let (Some(Ok(address)), Some(Ok(RECORDS)), Some(Ok(0))) = (words.next(), words.next(), words.next()) else {
                anyhow::bail!("an answer that was not expected: {line}");
            };
            let node = address.checked_sub(usize::from(self.first)).and_then(|at| asked.get(at));
            let asked = node.with_context(|| format!("an answer to nobody: {line}"))?;
            waits.push((now - *asked).as_secs_f64() * 1e3);
        }
        Ok(())
    }

    fn batch(&mut self, node: usize) -> String {
        let records: Vec<Record> = (0..RECORDS as i64)
            .map(|i| {
                let n = self.next[node] + i;
                let (temp, hum) = (2_000 + (n * 7) % 900, 4_000 + (n * 11) % 3_000);
                Record { time: START + 30 * n, temp, hum, flags: 0 }
            })
            .collect();
        self.next[node] += RECORDS as i64;
        batch(self.first + node as u16, DEVICE + u64::from(self.first) + node as u64, &records)
    }
}
