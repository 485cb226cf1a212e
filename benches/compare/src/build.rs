//! The databases that are asked: the same readings in the gateway's file and in SQLite by either key, at each size.

use std::path::{Path, PathBuf};

use anyhow::Context;
use gadwall::reading::Timestamp;

use crate::common::data::{Names, SERIES, START, STEP, Shape, reading};
use crate::common::feed::Feed;
use crate::common::result::{folder, record};
use crate::sqlite::{Key, Sqlite};
use crate::{Contender as _, quick};

/// The values of all sizes.
const SHAPE: Shape = Shape::Mixed;
/// Readings of a commit; of one of SQLite, which is not measured here.
const ROWS: usize = 5_000;
const SQLITE_ROWS: usize = 100_000;

/// Millions of readings of the databases, each the beginning of the next.
pub fn sizes() -> &'static [usize] {
    if quick() { &[1] } else { &[1, 10, 50] }
}

/// The gateway's file with so many million readings, in a folder of its own.
pub fn ours(millions: usize) -> anyhow::Result<PathBuf> {
    Ok(folder()?.join(format!("ours-{millions}m")).join("gadwall.duckdb"))
}

/// SQLite's.
pub fn sqlite(millions: usize, key: Key) -> anyhow::Result<PathBuf> {
    let key = if key == Key::Series { "series" } else { "time" };
    Ok(folder()?.join(format!("sqlite-{millions}m-{key}.db")))
}

/// The time behind the last reading.
pub fn end(millions: usize) -> i64 {
    START + (millions * 1_000_000 / SERIES) as i64 * STEP
}

/// Makes those that are not there yet, and measures how large one of plain readings gets.
pub fn run() -> anyhow::Result<()> {
    make_ours()?;
    measure_plain(sizes()[sizes().len() / 2])?;
    make_sqlite(Key::Series)?;
    make_sqlite(Key::Time)
}

fn make_ours() -> anyhow::Result<()> {
    let work = folder()?.join("ours-work");
    let missing: Vec<usize> = sizes().iter().copied().filter(|m| !ours(*m).is_ok_and(|f| f.exists())).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let _ = std::fs::remove_dir_all(&work);
    std::fs::create_dir_all(&work)?;
    let file = work.join("gadwall.duckdb");
    let names = Names::new();
    let mut at = 0;
    for millions in sizes() {
        let mut feed = Feed::open(&Feed::config(&file), Timestamp(reading(SHAPE, at).1))?;
        while at < millions * 1_000_000 {
            let content = names.readings(SHAPE, at, ROWS, true);
            at += ROWS;
            feed.commit_live(content)?;
        }
        feed.catch_up(Timestamp::from_secs(end(*millions)))?;
        feed.close()?;
        let target = ours(*millions)?;
        std::fs::create_dir_all(target.parent().context("the database is in a folder")?)?;
        std::fs::copy(&file, &target)?;
        report(*millions, "ours", &target)?;
    }
    std::fs::remove_dir_all(&work)?;
    Ok(())
}

/// The file with readings of all series at the same second, as the loop of DuckDB's Appender alone has them.
fn measure_plain(millions: usize) -> anyhow::Result<()> {
    let work = tempfile::tempdir_in(folder()?)?;
    let file = work.path().join("gadwall.duckdb");
    let names = Names::new();
    let mut feed = Feed::open(&Feed::config(&file), Timestamp(reading(Shape::Plain, 0).1))?;
    for at in (0..millions * 1_000_000).step_by(ROWS) {
        feed.commit_live(names.readings(Shape::Plain, at, ROWS, true))?;
    }
    feed.catch_up(Timestamp::from_secs(end(millions)))?;
    feed.close()?;
    report(millions, "plain", &file)
}

fn make_sqlite(key: Key) -> anyhow::Result<()> {
    for millions in sizes() {
        let file = sqlite(*millions, key)?;
        if file.exists() {
            continue;
        }
        let unfinished = file.with_extension("unfinished");
        for left in [unfinished.clone(), with_suffix(&unfinished, "-wal"), with_suffix(&unfinished, "-shm")] {
            let _ = std::fs::remove_file(left);
        }
        let mut sqlite = Box::new(Sqlite::create(&unfinished, key)?);
        sqlite.hurry()?;
        for first in (0..millions * 1_000_000).step_by(SQLITE_ROWS) {
            let rows = (first..first + SQLITE_ROWS)
                .map(|n| {
                    let (series, ts, value) = reading(SHAPE, n);
                    (i32::try_from(series).unwrap_or(i32::MAX), ts, value)
                })
                .collect();
            sqlite.commit(&crate::Batch { rows, content: None })?;
        }
        sqlite.close()?;
        std::fs::rename(&unfinished, &file)?;
        report(*millions, if key == Key::Series { "sqlite-series" } else { "sqlite-time" }, &file)?;
    }
    Ok(())
}

fn report(millions: usize, who: &str, file: &Path) -> anyhow::Result<()> {
    let bytes = std::fs::metadata(file)?.len() as f64;
    record(&format!("size.{millions}m.{who}"), "bytes/reading", &[bytes / (millions as f64 * 1e6)])
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
