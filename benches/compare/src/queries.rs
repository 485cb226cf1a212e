//! Questions to databases of different sizes: the running daemon over HTTP, DuckDB alone on a copy of its file, and SQLite
//! by the better of two keys. Everybody's answers are compared before any time is taken.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use duckdb::Connection;
use serde_json::Value;

use crate::bare;
use crate::build::{end, ours, sizes, sqlite};
use crate::common::data::START;
use crate::common::result::{folder, record, record_with};
use crate::daemon::Daemon;
use crate::quick;
use crate::sqlite::{Key, Sqlite};

const NODE: &str = "node3";
const METRIC: &str = "temperature";
/// Number of the series in SQLite, which has no names.
const SERIES: i64 = 15;
const DAY: i64 = 86_400;

/// What is asked.
struct Question {
    name: &'static str,
    /// The daemon's route.
    route: String,
    /// DuckDB's statement, with `{series}` for the series' number.
    duckdb: String,
    /// SQLite's, and the key that suits it.
    sqlite: String,
    key: Key,
    /// The same for a SQLite that was built without its percentiles, as most are.
    plain: Option<String>,
    /// Where the daemon's answer has what the first column of each row sums up to, to see that all answer the same.
    check: fn(&Value) -> Option<f64>,
}

/// All sizes.
pub fn run() -> anyhow::Result<()> {
    let repeat = if quick() { 5 } else { 21 };
    for millions in sizes() {
        let database = ours(*millions)?;
        // One process alone may open the file: DuckDB gets a copy.
        let copy = folder()?.join("bare-copy").join("bare.duckdb");
        std::fs::create_dir_all(copy.parent().context("the copy is in a folder")?)?;
        std::fs::copy(&database, &copy)?;
        let bare = attach(&copy)?;
        let daemon = Daemon::start(&database)?;
        for question in questions(*millions) {
            ask(*millions, &question, &daemon, &bare, repeat)?;
        }
        latest(*millions, &daemon, repeat)?;
        daemon.stop()?;
        drop(bare);
        std::fs::remove_file(&copy)?;
    }
    Ok(())
}

fn attach(file: &Path) -> anyhow::Result<Connection> {
    let connection = bare::root(file.parent().unwrap_or(Path::new(".")))?;
    connection.execute_batch(&format!("ATTACH '{}' AS g (READ_ONLY)", file.display()))?;
    Ok(connection)
}

fn questions(millions: usize) -> Vec<Question> {
    // Whole hours, which rollups are made of.
    let end = end(millions) / 3_600 * 3_600;
    let month = (end - 30 * DAY).max(START);
    let day = end - DAY;
    let (from, to) = (month * 1_000_000, end * 1_000_000);
    let duck = |ts: i64| format!("make_timestamp({ts})");
    let node = format!("/api/v1/nodes/{NODE}");
    let one = |from: i64| {
        (
            format!("FROM g.readings WHERE series = {{series}} AND ts >= {} AND ts < {}", duck(from), duck(to)),
            format!("FROM readings WHERE series = {SERIES} AND ts >= {from} AND ts < {to}"),
        )
    };
    let (duck_month, lite_month) = one(from);
    let (duck_day, lite_day) = one(day * 1_000_000);
    let duck_values = "count(*), min(value), max(value), avg(value), quantile_cont(value, [0.5, 0.95, 0.99])::VARCHAR";
    let lite_values = "count(*), min(value), max(value), avg(value), percentile_cont(value, 0.5), \
                       percentile_cont(value, 0.95), percentile_cont(value, 0.99)";
    // Percentiles by window functions: each value counts as much as it is near to the place that is asked for.
    let plain = |hour: &str| {
        let at = |p: f64| format!("sum(value * max(0, 1 - abs(i - (n - 1) * {p})))");
        format!(
            "SELECT count(*), min(value), max(value), avg(value), {}, {}, {} FROM (SELECT {hour} AS h, value, \
             row_number() OVER (PARTITION BY {hour} ORDER BY value) - 1 AS i, count(*) OVER (PARTITION BY {hour}) AS n \
             {lite_month}) GROUP BY h",
            at(0.5),
            at(0.95),
            at(0.99)
        )
    };
    vec![
        Question {
            name: "hourly",
            route: format!("{node}/statistics/hourly?metric={METRIC}&start={month}&end={end}"),
            duckdb: format!("SELECT {duck_values} {duck_month} GROUP BY time_bucket(INTERVAL 1 hour, ts)"),
            sqlite: format!("SELECT {lite_values} {lite_month} GROUP BY ts / 3600000000"),
            key: Key::Series,
            plain: Some(plain("ts / 3600000000")),
            check: |answer| Some(counts(answer.get("rows")?)),
        },
        Question {
            name: "statistics",
            route: format!("{node}/statistics?metric={METRIC}&start={month}&end={end}"),
            duckdb: format!("SELECT {duck_values} {duck_month}"),
            sqlite: format!("SELECT {lite_values} {lite_month}"),
            key: Key::Series,
            plain: Some(plain("0")),
            check: |answer| answer.pointer("/metrics/0/count")?.as_f64(),
        },
        Question {
            name: "day",
            route: format!("/api/v1/readings?node={NODE}&metric={METRIC}&start={day}&end={end}&limit=10000"),
            duckdb: format!("SELECT 1, epoch_us(ts), value {duck_day} ORDER BY ts"),
            sqlite: format!("SELECT 1, ts, value {lite_day} ORDER BY ts"),
            key: Key::Series,
            plain: None,
            check: |answer| Some(answer.get("readings")?.as_array()?.len() as f64),
        },
        Question {
            name: "all",
            route: format!("/api/v1/statistics?start={day}&end={end}&bucket=1h&limit=10000"),
            duckdb: format!(
                "SELECT count(*), min(value), max(value), avg(value) FROM g.readings WHERE ts >= {} AND ts < {} \
                 GROUP BY series, time_bucket(INTERVAL 1 hour, ts)",
                duck(day * 1_000_000),
                duck(to)
            ),
            sqlite: format!(
                "SELECT count(*), min(value), max(value), avg(value) FROM readings \
                 WHERE ts >= {} AND ts < {to} GROUP BY series, ts / 3600000000",
                day * 1_000_000
            ),
            key: Key::Time,
            plain: None,
            check: |answer| Some(counts(answer.get("rows")?)),
        },
    ]
}

/// The readings that the rows of an answer are made of.
fn counts(rows: &Value) -> f64 {
    rows.as_array().into_iter().flatten().filter_map(|b| b["count"].as_f64()).sum()
}

fn ask(millions: usize, question: &Question, daemon: &Daemon, bare: &Connection, repeat: usize) -> anyhow::Result<()> {
    let id: i32 = bare.query_row(
        "SELECT s.series FROM g.series s JOIN g.nodes n USING (node) WHERE n.name = ? AND s.metric = ?",
        [NODE, METRIC],
        |row| row.get(0),
    )?;
    let mut statement = bare.prepare(&question.duckdb.replace("{series}", &id.to_string()))?;
    let lite = Sqlite::open(&sqlite(millions, question.key)?)?;
    let mut other = lite.prepare(&question.sqlite)?;
    let mut plain = question.plain.as_ref().map(|sql| lite.prepare(sql)).transpose()?;
    let mut duckdb = || -> anyhow::Result<f64> {
        let rows = statement.query_map([], |row| row.get::<_, i64>(0))?;
        Ok(rows.collect::<Result<Vec<i64>, _>>()?.iter().sum::<i64>() as f64)
    };
    let answer = daemon.json(&question.route)?;
    let ours = (question.check)(&answer).with_context(|| format!("{}: not as expected: {answer}", question.name))?;
    let (theirs, alone) = (read(&mut other)?, duckdb()?);
    ensure!(
        ours == theirs[0] && ours == alone && ours > 0.0,
        "{}: the daemon has {ours} readings, SQLite {theirs:?}, DuckDB {alone}",
        question.name
    );
    if let Some(plain) = &mut plain {
        let found = read(plain)?;
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-6 * a.abs().max(1.0);
        ensure!(theirs.iter().zip(&found).all(near), "{}: SQLite says {theirs:?} and {found:?}", question.name);
    }
    let mut times = [const { Vec::new() }; 4];
    for _ in 0..repeat {
        times[0].push(timed(|| daemon.get(&question.route).map(drop))?);
        times[1].push(timed(|| duckdb().map(drop))?);
        times[2].push(timed(|| read(&mut other).map(drop))?);
        if let Some(plain) = &mut plain {
            times[3].push(timed(|| read(plain).map(drop))?);
        }
    }
    for (who, runs) in ["ours", "bare", "sqlite", "plain"].iter().zip(&times).filter(|(_, runs)| !runs.is_empty()) {
        record(&format!("query.{millions}m.{}.{who}", question.name), "ms", runs)?;
    }
    Ok(())
}

/// Reads all rows of an answer: the sum of each column.
fn read(statement: &mut rusqlite::Statement<'_>) -> anyhow::Result<Vec<f64>> {
    let mut sums = vec![0.0; statement.column_count()];
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for (column, sum) in sums.iter_mut().enumerate() {
            *sum += row.get::<_, f64>(column)?;
        }
    }
    Ok(sums)
}

/// The newest values of one node: the daemon has them in memory.
fn latest(millions: usize, daemon: &Daemon, repeat: usize) -> anyhow::Result<()> {
    let lite = Sqlite::open(&sqlite(millions, Key::Series)?)?;
    let mut newest = lite.prepare("SELECT ts, value FROM readings WHERE series = ? ORDER BY ts DESC LIMIT 1")?;
    let route = format!("/api/v1/nodes/{NODE}/latest");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..repeat {
        ours.push(timed(|| daemon.get(&route).map(drop))?);
        theirs.push(timed(|| {
            for series in SERIES..SERIES + 5 {
                newest.query_row([series], |row| row.get::<_, f64>(1))?;
            }
            Ok(())
        })?);
    }
    record_with(&format!("query.{millions}m.latest.ours"), "ms", &ours, "out of memory")?;
    record(&format!("query.{millions}m.latest.sqlite"), "ms", &theirs)
}

/// How many milliseconds it takes.
fn timed(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let asked = Instant::now();
    work()?;
    Ok(asked.elapsed().as_secs_f64() * 1e3)
}
