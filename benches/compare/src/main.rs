//! The store against SQLite and against DuckDB alone: the same readings, the same durability, in turn, in one run.
//!
//! `deploy/run-benchmarks` runs it. Each measurement of ingest is a process of its own, so that memory and bytes written
//! are those of one contender.

#[path = "../../common/mod.rs"]
#[expect(dead_code, reason = "the other benchmarks use what this one does not")]
mod common;

mod bare;
mod build;
mod daemon;
mod ingest;
mod ours;
mod queries;
mod report;
mod sqlite;
mod storage;

use anyhow::bail;

const USAGE: &str = "usage: compare ingest [CONTENDER...] | build | queries | storage DATABASE | report PAGE";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // As the daemon does; the others gain by it as well.
    gadwall::budget::heap::tame();
    match words.as_slice() {
        ["ingest", only @ ..] => ingest::run(only),
        ["one", rest @ ..] => ingest::one(rest),
        ["build"] => build::run(),
        ["queries"] => queries::run(),
        ["storage", file] => storage::run(file.as_ref()),
        ["report", file] => report::run(file.as_ref()),
        _ => bail!("{USAGE}"),
    }
}

/// Whether the run is to take minutes instead of as long as it needs.
fn quick() -> bool {
    std::env::var("BENCH_MODE").as_deref() != Ok("full")
}

/// A row as the contenders take it: series, microseconds since 1970, value.
type Row = (i32, i64, f64);

/// Somebody who stores readings.
trait Contender {
    /// Makes `rows` durable; returns when they are.
    fn commit(&mut self, rows: &Batch) -> anyhow::Result<std::time::Duration>;

    /// Ends it in order: nothing is left in a log.
    fn close(self: Box<Self>) -> anyhow::Result<()>;
}

/// The readings of one commit, made before the time is taken.
struct Batch {
    rows: Vec<Row>,
    content: Option<gadwall::reading::Decoded>,
}
