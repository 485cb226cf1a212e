//! What it costs to make readings durable, for commits of different sizes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use crate::bare::Bare;
use crate::common::data::{Names, Shape, reading};
use crate::common::machine;
use crate::common::result::{folder, percentile, record};
use crate::ours::Ours;
use crate::sqlite::{Key, Sqlite};
use crate::{Batch, Contender, quick};

/// What is measured of each run: the key in results, the unit, and the field of a run's report.
const FIGURES: [(&str, &str); 8] = [
    ("rate", "readings/s"),
    ("cpu-us", "us/reading"),
    ("p50-ms", "ms"),
    ("p99-ms", "ms"),
    ("p999-ms", "ms"),
    ("written", "bytes/reading"),
    ("file", "bytes/reading"),
    ("anon-mb", "MB"),
];

/// A size of commits, and how many of them are made in a full run and in a quick one.
const SIZES: [(usize, usize, usize); 4] =
    [(10, 20_000, 1_000), (100, 10_000, 1_000), (1_000, 1_000, 200), (5_000, 200, 40)];

/// Who runs at each size: the store with times from the sender, without, with mixed values, SQLite, DuckDB alone.
const CONTENDERS: [&str; 5] = ["ours", "ours-stamped", "ours-mixed", "sqlite", "bare"];

/// All sizes and contenders in turn, several rounds; only some contenders where they are named.
pub fn run(only: &[&str]) -> anyhow::Result<()> {
    if let Some(nobody) = only.iter().find(|name| !CONTENDERS.contains(name)) {
        bail!("nobody is called `{nobody}`: {}", CONTENDERS.join(", "));
    }
    let contenders: Vec<&str> = CONTENDERS.into_iter().filter(|c| only.is_empty() || only.contains(c)).collect();
    let rounds = if quick() { 2 } else { 3 };
    for (rows, full, few) in SIZES {
        let commits = if quick() { few } else { full };
        let mut reports: Vec<Vec<Value>> = vec![Vec::new(); contenders.len()];
        for round in 0..rounds {
            for turn in 0..contenders.len() {
                // Another one begins each round, so that none always runs behind the same.
                let at = (turn + round) % contenders.len();
                reports[at].push(child(contenders[at], rows, commits)?);
            }
        }
        for (contender, reports) in contenders.iter().zip(&reports) {
            for (figure, unit) in FIGURES {
                let runs: Option<Vec<f64>> = reports.iter().map(|r| r[figure].as_f64()).collect();
                let runs = runs.with_context(|| format!("a run of {contender} says nothing about {figure}"))?;
                record(&format!("ingest.{rows}.{contender}.{figure}"), unit, &runs)?;
            }
        }
    }
    Ok(())
}

fn child(contender: &str, rows: usize, commits: usize) -> anyhow::Result<Value> {
    let output = Command::new(std::env::current_exe()?)
        .args(["one", contender, &rows.to_string(), &commits.to_string()])
        .stderr(std::process::Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the run of {contender} ended with {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// One run in this process; its report is one line of JSON.
pub fn one(arguments: &[&str]) -> anyhow::Result<()> {
    let [contender, rows, commits] = arguments else { bail!("usage: compare one CONTENDER ROWS COMMITS") };
    let (rows, commits): (usize, usize) = (rows.parse()?, commits.parse()?);
    let folder = tempfile::tempdir_in(folder()?)?;
    let file = folder.path().join("bench.db");
    let shape = if *contender == "ours-mixed" { Shape::Mixed } else { Shape::Plain };
    let before = machine::written(None)?;
    let taker = create(contender, &file)?;
    let run = Run { shape, timed: *contender != "ours-stamped", ours: contender.starts_with("ours"), rows, commits };
    let mut report = run.measure(taker)?;
    let readings = (rows * commits) as f64;
    report["written"] = json!((machine::written(None)? - before) as f64 / readings);
    report["file"] = json!(std::fs::metadata(&file)?.len() as f64 / readings);
    print(&report);
    Ok(())
}

fn create(contender: &str, file: &Path) -> anyhow::Result<Box<dyn Contender>> {
    Ok(match contender {
        "ours" | "ours-mixed" => Box::new(Ours::create(file, true)?),
        "ours-stamped" => Box::new(Ours::create(file, false)?),
        "sqlite" => Box::new(Sqlite::create(file, Key::Series)?),
        "bare" => Box::new(Bare::create(file)?),
        other => bail!("nobody is called `{other}`"),
    })
}

struct Run {
    shape: Shape,
    timed: bool,
    ours: bool,
    rows: usize,
    commits: usize,
}

impl Run {
    fn measure(&self, mut taker: Box<dyn Contender>) -> anyhow::Result<Value> {
        let names = Names::new();
        let (mut times, mut cpu, mut anon) = (Vec::with_capacity(self.commits), Duration::ZERO, 0);
        for i in 0..self.commits {
            let batch = self.batch(&names, i * self.rows);
            let before = machine::cpu();
            times.push(taker.commit(&batch)?.as_secs_f64() * 1e3);
            cpu += machine::cpu() - before;
            if i % 16 == 0 {
                anon = anon.max(machine::memory(None)?.anon);
            }
        }
        taker.close()?;
        let readings = (self.rows * self.commits) as f64;
        let total: f64 = times.iter().sum();
        times.sort_unstable_by(f64::total_cmp);
        Ok(json!({
            "rate": readings / total * 1e3,
            "cpu-us": cpu.as_secs_f64() * 1e6 / readings,
            "p50-ms": percentile(&times, 0.5),
            "p99-ms": percentile(&times, 0.99),
            "p999-ms": percentile(&times, 0.999),
            "anon-mb": anon as f64 / 1e6,
        }))
    }

    fn batch(&self, names: &Names, first: usize) -> Batch {
        let rows = (first..first + self.rows)
            .map(|n| {
                let (series, ts, value) = reading(self.shape, n);
                (i32::try_from(series).unwrap_or(i32::MAX), ts, value)
            })
            .collect();
        let content = self.ours.then(|| names.readings(self.shape, first, self.rows, self.timed));
        Batch { rows, content }
    }
}

#[expect(clippy::print_stdout, reason = "the parent reads it")]
fn print(report: &Value) {
    println!("{report}");
}
