//! Where figures go: one line of JSON for each, behind those of earlier runs. `compare report` makes the tables of
//! docs/performance.md of the newest line of each key.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;

use super::machine;

/// The folder of results and databases: `BENCH_DIR`, which `deploy/run-benchmarks` sets.
pub fn folder() -> anyhow::Result<PathBuf> {
    let folder = std::env::var_os("BENCH_DIR")
        .context("BENCH_DIR names the folder for databases and results; deploy/run-benchmarks sets it")?;
    let folder = PathBuf::from(folder);
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}

/// Notes the values of one figure, one for each run, and prints their median and range.
///
/// `key` names it for good, such as `memory.10m.anon-mb`.
pub fn record(key: &str, unit: &str, runs: &[f64]) -> anyhow::Result<()> {
    record_with(key, unit, runs, "")
}

/// The same with a word about how it was measured, which the table shows.
#[expect(clippy::print_stdout, reason = "its output is for a person")]
pub fn record_with(key: &str, unit: &str, runs: &[f64], note: &str) -> anyhow::Result<()> {
    let env = |name: &str| std::env::var(name).unwrap_or_default();
    let line = json!({
        "key": key,
        "unit": unit,
        "runs": runs,
        "note": note,
        "load": machine::load(),
        "at": chrono::Utc::now().format("%Y-%m-%d %H:%M").to_string(),
        "commit": env("BENCH_COMMIT"),
        "mode": env("BENCH_MODE"),
    });
    let file = folder()?.join("results.jsonl");
    let mut file =
        OpenOptions::new().create(true).append(true).open(&file).with_context(|| file.display().to_string())?;
    file.write_all(format!("{line}\n").as_bytes())?;
    let spread = Spread::of(runs);
    println!("{key:44} {:>12} {unit}  {}", short(spread.median), spread.range());
    Ok(())
}

/// Median and range of some runs.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// Half of the runs are below it.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of `runs`, which are not empty.
    pub fn of(runs: &[f64]) -> Self {
        let mut runs = runs.to_vec();
        runs.sort_unstable_by(f64::total_cmp);
        let (half, len) = (runs.len() / 2, runs.len());
        let median = if len % 2 == 0 { f64::midpoint(runs[half - 1], runs[half]) } else { runs[half] };
        Self { median, min: runs[0], max: runs[len - 1] }
    }

    /// `[min .. max]`, empty where there is one run only.
    pub fn range(&self) -> String {
        if self.min == self.max { String::new() } else { format!("[{} .. {}]", short(self.min), short(self.max)) }
    }
}

/// Percentile `p` (0 to 1) of sorted `values` by the nearest rank.
pub fn percentile(values: &[f64], p: f64) -> f64 {
    let rank = (p * values.len() as f64).ceil() as usize;
    values[rank.clamp(1, values.len()) - 1]
}

/// A number with three digits that count, and commas between thousands.
pub fn short(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        v if v >= 0.9995 || v == 0.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), String::new()), |(w, r)| (w, format!(".{r}")));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |w| ("-", w));
    let mut grouped = String::new();
    for (i, c) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(c);
    }
    format!("{sign}{grouped}{rest}")
}
