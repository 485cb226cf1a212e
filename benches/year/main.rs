//! A year of fifty series every 30 s in as long as the store takes for it: 52 million readings with their own times, the
//! clock running along, rollups and retention at work. Each day is a line of `year.csv`; `plot.gnuplot` draws them.
//!
//! `deploy/run-benchmarks` runs it. What is measured is the store with its channel, its writer and its reader in this
//! process; the benchmark's own share is a few megabytes.

#![expect(clippy::print_stdout, reason = "its output is for a person")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "counts of a benchmark are far below the limits of their types"
)]

#[expect(dead_code, reason = "the other benchmarks use what this one does not")]
#[path = "../common/mod.rs"]
mod common;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use gadwall::config;
use gadwall::reading::Timestamp;

use common::data::{DAY, Names, START, Shape, reading};
use common::feed::Feed;
use common::machine;
use common::result::{Spread, folder, percentile, record};

/// Readings of a commit: ten minutes of all series.
const ROWS: usize = 1_000;
/// Days that readings are kept.
const KEEP: usize = 90;
/// How large the file may grow: a little less than ninety days with the rollups of a year need, so that this bound is met too.
const MAX_SIZE: u64 = 80_000_000;
/// Days of one mean in the table.
const MONTH: usize = 30;

fn main() -> anyhow::Result<()> {
    // `cargo bench` and `cargo test --benches` pass flags of the standard harness.
    let Some(target) = std::env::args().skip(1).find(|a| !a.starts_with("--")) else { return Ok(()) };
    let full = std::env::var("BENCH_MODE").as_deref() == Ok("full");
    gadwall::budget::heap::tame();
    run(if full { 365 } else { 120 }, &PathBuf::from(target))
}

/// What a day was like.
struct Day {
    anon: f64,
    rss: f64,
    file: f64,
    wal: f64,
    written: f64,
    p50: f64,
    p99: f64,
    longest: f64,
    query: f64,
    readings: i64,
}

fn run(days: usize, target: &Path) -> anyhow::Result<()> {
    let work = tempfile::tempdir_in(folder()?)?;
    let keep = Duration::from_secs(KEEP as u64 * 86_400);
    let database = work.path().join("gadwall.duckdb");
    let config = config::Store { keep_readings: Some(keep), max_size: Some(MAX_SIZE), ..Feed::config(&database) };
    let mut feed = Feed::open(&config, Timestamp::from_secs(START))?;
    let (names, begun) = (Names::new(), Instant::now());
    let mut all = Vec::with_capacity(days);
    let mut csv = String::from(
        "day,anonymous_mb,resident_mb,file_mb,wal_mb,written_mb,commit_p50_ms,commit_p99_ms,commit_longest_ms,query_ms,readings\n",
    );
    for day in 0..days {
        let today = one(&mut feed, &names, &database, day).with_context(|| format!("day {day}"))?;
        let Day { anon, rss, file, wal, written, p50, p99, longest, query, readings } = today;
        let _ = writeln!(
            csv,
            "{day},{anon:.2},{rss:.2},{file:.2},{wal:.2},{written:.2},{p50:.2},{p99:.2},{longest:.1},{query:.2},{readings}"
        );
        if day % 10 == 9 {
            println!(
                "day {:3} after {:5.0} s: anonymous {anon:.1} MB, file {file:.1} MB, written {written:.1} MB",
                day + 1,
                begun.elapsed().as_secs_f64()
            );
            std::fs::write(target, &csv)?;
        }
        all.push(today);
    }
    std::fs::write(target, &csv).with_context(|| target.display().to_string())?;
    let kept = feed.metrics.store.readings.get();
    let counts = feed.close()?;
    let sent = (days * DAY) as u64;
    let stored = counts.readings.committed.get();
    ensure!(stored == sent, "{stored} of {sent} readings were stored");
    ensure!(counts.store.failed.get() == 0, "{} commits failed", counts.store.failed.get());
    report(&all, sent, kept)
}

/// Sends the readings of a day and looks at what it has cost.
fn one(feed: &mut Feed, names: &Names, database: &Path, day: usize) -> anyhow::Result<Day> {
    let before = machine::written(None)?;
    let (mut waits, mut anon, mut rss) = (Vec::with_capacity(DAY / ROWS), 0, 0);
    for first in (day * DAY..(day + 1) * DAY).step_by(ROWS) {
        let content = names.readings(Shape::Mixed, first, ROWS, true);
        waits.push(feed.commit_live(content)?.as_secs_f64() * 1e3);
        let memory = machine::memory(None)?;
        (anon, rss) = (anon.max(memory.anon), rss.max(memory.rss));
    }
    let end = Timestamp(reading(Shape::Mixed, (day + 1) * DAY).1);
    let asked = Instant::now();
    feed.reader.statistics(1, Timestamp(end.micros() - 30 * 86_400_000_000), end)?;
    let query = asked.elapsed().as_secs_f64() * 1e3;
    waits.sort_unstable_by(f64::total_cmp);
    let mb = |file: &Path| std::fs::metadata(file).map_or(0.0, |m| m.len() as f64 / 1e6);
    Ok(Day {
        anon: anon as f64 / 1e6,
        rss: rss as f64 / 1e6,
        file: mb(database),
        wal: mb(&database.with_extension("duckdb.wal")),
        written: (machine::written(None)? - before) as f64 / 1e6,
        p50: percentile(&waits, 0.5),
        p99: percentile(&waits, 0.99),
        longest: percentile(&waits, 1.0),
        query,
        readings: feed.metrics.store.readings.get(),
    })
}

/// What is reported of a day.
type Figure = fn(&Day) -> f64;

/// The first month in which the oldest days go, and the last one.
fn report(days: &[Day], sent: u64, kept: i64) -> anyhow::Result<()> {
    let from = KEEP.min(days.len().saturating_sub(2 * MONTH));
    let months = [("first", &days[from..from + MONTH]), ("last", &days[days.len() - MONTH..])];
    let figures: [(&str, &str, Figure); 7] = [
        ("anon-mb", "MB", |d| d.anon),
        ("rss-mb", "MB", |d| d.rss),
        ("file-mb", "MB", |d| d.file),
        ("written-mb", "MB", |d| d.written),
        ("p50-ms", "ms", |d| d.p50),
        ("p99-ms", "ms", |d| d.p99),
        ("query-ms", "ms", |d| d.query),
    ];
    for (name, unit, value) in figures {
        let mut medians = Vec::new();
        for (month, days) in months {
            let runs: Vec<f64> = days.iter().map(value).collect();
            medians.push(Spread::of(&runs).median);
            record(&format!("year.{month}.{name}"), unit, &runs)?;
        }
        record(&format!("year.growth.{name}"), "", &[medians[1] / medians[0]])?;
    }
    record("year.sent", "readings", &[sent as f64])?;
    record("year.kept", "readings", &[kept as f64])
}
