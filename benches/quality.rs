//! What questions about the quality of readings cost: time and memory, for one series and for all, over a day and a month.
//!
//! `cargo bench --bench quality` makes a file of 10 million readings (50 series every 30 seconds; a fiftieth missing, some
//! outliers) and prints a row for each question. Processor time is that of the whole process, which does nothing else: on a
//! busy machine it says more than the clock. Memory is the anonymous memory of the process behind the question.
#![expect(clippy::print_stdout, reason = "its output is a table for a person")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of a benchmark are far below the limits of their types"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gadwall::config;
use gadwall::metrics::Metrics;
use gadwall::quality::Rules;
use gadwall::reading::Timestamp;
use gadwall::store::Reader;
use gadwall::store::reader::{Scope, Subject, Survey, Surveyed};

const SERIES: i64 = 50;
const START: i64 = 1_700_000_000;
const INTERVAL: i64 = 30;
const RUNS: usize = 3;

fn main() {
    let quick = std::env::args().any(|a| a == "--test");
    let readings: i64 = if quick { 300_000 } else { 10_000_000 };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = config::Store { path: dir.path().join("bench.duckdb"), ..config::Store::default() };
    drop(gadwall::store::open(&config, &Arc::new(Metrics::default())).expect("the store opens"));
    fill(&config.path, readings / SERIES);
    let store = gadwall::store::open(&config, &Arc::new(Metrics::default())).expect("the store opens");
    let end = START + readings / SERIES * INTERVAL;
    println!("{readings} readings of {SERIES} series; memory before {:.1} MB", anonymous_mb());
    println!("question              readings  processor ms  clock ms  longest step ms  anon MB");
    let day = 86_400;
    for (name, series, range) in [
        ("one series, a day", 1, day),
        ("one series, 30 days", 1, 30 * day),
        ("one series, all", 1, end - START),
        ("all series, a day", SERIES, day),
        ("all series, 7 days", SERIES, 7 * day),
        ("all series, 30 days", SERIES, 30 * day),
    ] {
        ask(&store.reader, name, series as i32, end - range, end);
    }
}

fn fill(path: &Path, each: i64) {
    let c = duckdb::Connection::open(path).expect("the file opens");
    c.execute_batch(&format!(
        "SET threads = 1; INSERT INTO nodes VALUES (1, 'bench', 'n', make_timestamp(0));
         INSERT INTO series SELECT s + 1, 1, 'm' || s, NULL, NULL FROM range({SERIES}) t(s);
         INSERT INTO readings SELECT s + 1, make_timestamp((({START} + i * {INTERVAL}) * 1000000 + hash(i, s) % 200000)::BIGINT),
            CASE WHEN hash(s, i) % 5000 = 0 THEN 99.0 ELSE round(20 + 5 * sin(i / 458.0) + (hash(i + s) % 100) / 100.0, 2) END, 0
         FROM range({each}) a(i), range({SERIES}) b(s) WHERE hash(i * 50 + s) % 50 <> 0 ORDER BY i;
         CHECKPOINT;"
    ))
    .expect("the readings are stored");
}

fn ask(reader: &Reader, name: &str, series: i32, start: i64, end: i64) {
    let scope = Scope {
        start: Timestamp::from_secs(start),
        end: Timestamp::from_secs(end),
        now: Timestamp::from_secs(end),
        listed: 20,
    };
    let mut took = Vec::new();
    let mut longest = Duration::ZERO;
    let mut found: Vec<Surveyed> = Vec::new();
    for _ in 0..RUNS {
        let subjects = (1..=series).map(|series| Subject { series, rules: Rules::default(), since: Timestamp(0) });
        let mut survey = Survey::new(scope, subjects.collect());
        let begun = (processor(), Instant::now());
        loop {
            let step = Instant::now();
            let done = reader.survey(&mut survey).expect("the store answers");
            longest = longest.max(step.elapsed());
            if done {
                break;
            }
        }
        took.push((processor().saturating_sub(begun.0), begun.1.elapsed()));
        found = survey.into_found();
    }
    took.sort_unstable();
    let readings: u64 = found.iter().map(|f| f.findings.readings).sum();
    assert!(found.iter().all(|f| f.findings.coverage.is_some_and(|c| c.missing > 0)), "a fiftieth is missing");
    println!(
        "{name:20} {readings:9} {:13.1} {:9.1} {:16.1} {:8.1}",
        ms(took[RUNS / 2].0),
        ms(took[RUNS / 2].1),
        ms(longest),
        anonymous_mb()
    );
}

fn processor() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

fn anonymous_mb() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = text.lines().find_map(|l| l.strip_prefix("RssAnon:")).expect("the kernel counts it");
    line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).expect("a number") as f64 * 1024.0 / 1e6
}
