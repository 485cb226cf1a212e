//! The real binary under load: its memory, how long senders wait for their answers, how much it takes in, how it starts.
//!
//! `deploy/run-benchmarks` runs it. It needs mosquitto, and for `memory` and `start` the databases of `compare build`.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "counts of a benchmark are far below the limits of their types"
)]

mod broker;
mod cgroup;
mod hub;
mod memory;
mod mqtt;
mod start;

#[expect(dead_code, reason = "the other benchmarks use what this one does not")]
#[path = "../common/mod.rs"]
mod common;

#[expect(dead_code, unused_imports, reason = "the black-box tests use what this one does not")]
#[expect(clippy::print_stderr, reason = "a test's tools fail by panicking and show their logs")]
#[path = "../../tests/daemon/harness/mod.rs"]
mod harness;

use std::path::PathBuf;

use anyhow::{Context, bail};

const USAGE: &str = "usage: daemon hub | memory MILLIONS | mqtt | start MILLIONS";

fn main() -> anyhow::Result<()> {
    // `cargo bench` and `cargo test --benches` pass flags of the standard harness.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["hub"] => hub::run(),
        ["memory", millions] => memory::run(millions.parse().context(USAGE)?),
        ["mqtt"] => mqtt::run(),
        ["start", millions] => start::run(millions.parse().context(USAGE)?),
        [] => Ok(()),
        _ => bail!("{USAGE}"),
    }
}

/// Whether the run is to take minutes instead of as long as it needs.
fn quick() -> bool {
    std::env::var("BENCH_MODE").as_deref() != Ok("full")
}

/// A database of `compare build` with so many million readings, copied to where the daemon may change it.
fn copy(millions: usize) -> anyhow::Result<(tempfile::TempDir, PathBuf)> {
    let folder = common::result::folder()?;
    let source = folder.join(format!("ours-{millions}m")).join("gadwall.duckdb");
    let copy = tempfile::tempdir_in(&folder)?;
    let target = copy.path().join("gadwall.duckdb");
    std::fs::copy(&source, &target).with_context(|| format!("{}: `compare build` makes it", source.display()))?;
    Ok((copy, target))
}

/// p50, p99, p99.9 and the longest of some waits in milliseconds, as figures below `key`.
fn record_waits(key: &str, waits: &mut [f64]) -> anyhow::Result<()> {
    use common::result::{percentile, record};
    waits.sort_unstable_by(f64::total_cmp);
    for (name, p) in [("p50-ms", 0.5), ("p99-ms", 0.99), ("p999-ms", 0.999), ("max-ms", 1.0)] {
        record(&format!("{key}.{name}"), "ms", &[percentile(waits, p)])?;
    }
    Ok(())
}
