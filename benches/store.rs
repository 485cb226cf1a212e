//! What a commit costs: time, bytes written and memory for each reading, from the channel to the durable file.
//!
//! `cargo bench --bench store` prints one row for each size of commit. Bytes are those of this process (`write_bytes` in
//! /proc/self/io), checkpoints and book-keeping included; memory is that of the whole process so far.
#![expect(clippy::print_stdout, reason = "its output is a table for a person")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "counts of a benchmark are far below the limits of their types"
)]

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use gadwall::config;
use gadwall::metrics::Metrics;
use gadwall::pipeline::{Intake, channel};
use gadwall::reading::{Arrival, Decoded, Delivery, Envelope, Reading, Receipt, Timestamp, When};

const SERIES: usize = 50;
const START: i64 = 1_700_000_000;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// The sender gives the time.
    Timed,
    /// The gateway stamps; each commit is one message that its broker may send again.
    Stamped,
    /// Every second commit is sent a second time.
    Resent,
}

fn main() {
    // `cargo test --benches` and `cargo bench` pass flags of the standard harness; there is nothing to filter.
    let quick = std::env::args().any(|a| a == "--test");
    println!("commit  kind      readings   p50 ms   p99 ms   readings/s  written B/reading  file B/reading  anon MB");
    for kind in [Kind::Timed, Kind::Stamped, Kind::Resent] {
        for (rows, commits) in [(100, 2_000), (1_000, 500), (5_000, 100)] {
            run(kind, rows, if quick { 3 } else { commits });
        }
    }
}

fn run(kind: Kind, rows: usize, commits: usize) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = config::Store { path: dir.path().join("bench.duckdb"), ..config::Store::default() };
    let metrics = Arc::new(Metrics::default());
    let store = gadwall::store::open(&config, &metrics).expect("the store opens");
    let (intake, outlet) = channel(&config::Intake::default(), Arc::clone(&metrics));
    let writer = store.writer;
    let thread = std::thread::spawn(move || writer.run(&outlet));
    let names: Vec<(Arc<str>, Arc<str>)> =
        (0..SERIES).map(|i| (format!("node{}", i / 5).into(), format!("metric{}", i % 5).into())).collect();

    let before = written();
    let mut times = Vec::with_capacity(commits);
    let started = Instant::now();
    for i in 0..commits {
        let i = if kind == Kind::Resent { i / 2 } else { i };
        let content = batch(kind, &names, i * rows, rows);
        let asked = Instant::now();
        commit(&intake, i, kind, content);
        times.push(asked.elapsed());
    }
    let took = started.elapsed();
    drop(intake);
    thread.join().expect("the writer does not panic").expect("everything is stored");
    times.sort_unstable();
    let readings = (rows * commits) as f64;
    let stored = metrics.readings.committed.get() as f64;
    let size = std::fs::metadata(&config.path).expect("the file is there").len() as f64;
    println!(
        "{rows:6}  {:8} {readings:9.0} {:8.2} {:8.2} {:12.0} {:18.1} {:15.2} {:8.1}",
        match kind {
            Kind::Timed => "timed",
            Kind::Stamped => "stamped",
            Kind::Resent => "resent",
        },
        ms(times[times.len() / 2]),
        ms(times[times.len() * 99 / 100]),
        readings / took.as_secs_f64(),
        (written() - before) as f64 / stored,
        size / stored,
        anonymous_mb(),
    );
}

/// Fifty series every 30 s, values with two decimals.
fn batch(kind: Kind, names: &[(Arc<str>, Arc<str>)], first: usize, rows: usize) -> Decoded {
    let readings = (first..first + rows)
        .map(|n| {
            let (node, metric) = &names[n % SERIES];
            let at = START + (n / SERIES) as i64 * 30;
            let when = if kind == Kind::Stamped { When::Arrival } else { When::Live(Timestamp::from_secs(at)) };
            let value = ((n * 7919) % 3_000) as f64 / 100.0;
            Reading { node: Arc::clone(node), metric: Arc::clone(metric), unit: None, when, value }
        })
        .collect();
    Decoded { readings, ..Decoded::default() }
}

fn commit(intake: &Intake, i: usize, kind: Kind, content: Decoded) {
    let (tx, rx) = mpsc::channel();
    let delivery = (kind == Kind::Stamped).then(|| Delivery {
        packet: (i % 60_000) as u16 + 1,
        dup: false,
        digest: [i as u8; 16],
        part: 0,
    });
    let at = Timestamp::from_secs(START + 200_000_000 + i as i64 * 60);
    let envelope = Envelope {
        source: "bench".into(),
        arrival: Arrival { at, boottime: 0, trusted: true },
        content,
        delivery,
        waiting: true,
        receipt: Receipt::new(move |outcome| {
            let _ = tx.send(outcome);
        }),
    };
    intake.try_send(envelope).expect("the channel has room");
    rx.recv().expect("the writer answers");
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

fn written() -> u64 {
    number("/proc/self/io", "write_bytes:")
}

fn anonymous_mb() -> f64 {
    number("/proc/self/status", "RssAnon:") as f64 * 1024.0 / 1e6
}

fn number(file: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(file).expect("/proc is mounted");
    let line = text.lines().find_map(|l| l.strip_prefix(key)).expect("the kernel counts it");
    line.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number")
}
