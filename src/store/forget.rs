//! Names that are forgotten: series that nothing is kept of, and, where room for names runs short, those that were hardly ever
//! heard of. Without it a flood of random names would fill the tables for good.

use std::collections::{BTreeSet, HashMap};

use duckdb::Connection;

use super::catalog::{Catalog, Series};
use super::plan::Limits;
use crate::reading::Timestamp;
use crate::zone::DAY;

/// Series that are looked at in one step.
const STEP: usize = 2_000;
/// A name that was heard of no more often than this may be forgotten with its readings, where room runs short.
const HARDLY: i64 = 3;
/// And only when it has been silent for so long.
const SILENT: i64 = 7 * DAY;

/// What a step has forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Series.
    pub series: Vec<i32>,
    /// Nodes that have no series and no event any more.
    pub nodes: Vec<i32>,
    /// Readings that went with them.
    pub readings: usize,
}

/// Forgets series of which nothing is kept: no reading, no rollup, no record. Blocks for a scan of one column.
///
/// # Errors
/// Whatever DuckDB reports. What became of the step shows in the tables.
pub fn empty(connection: &Connection, catalog: &Catalog, expired: Option<Timestamp>) -> duckdb::Result<Forgotten> {
    let candidates: Vec<i32> = catalog
        .all_series()
        .filter(|s| s.newest.is_none_or(|newest| expired.is_some_and(|before| newest.ts < before)))
        .map(|s| s.id)
        .take(STEP)
        .collect();
    if candidates.is_empty() {
        return Ok(Forgotten::default());
    }
    let kept = ["readings", "hourly", "daily", "unsynced", "dirty", "dirty_days"].map(|table| {
        format!("AND series NOT IN (SELECT DISTINCT series FROM g.{table} WHERE series IN ({}))", list(&candidates))
    });
    let sql = format!(
        "SELECT series FROM g.series WHERE series IN ({}) {} ORDER BY series",
        list(&candidates),
        kept.join(" ")
    );
    let series: Vec<i32> = connection.prepare(&sql)?.query_map([], |r| r.get(0))?.collect::<duckdb::Result<_>>()?;
    remove(connection, catalog, series)
}

/// Where a source has used up three quarters of its part of the names: forgets those of it that were hardly ever heard of, and
/// not for a week. Their readings go as well. Blocks for a scan of one column.
///
/// # Errors
/// Whatever DuckDB reports. What became of the step shows in the tables.
pub fn strays(connection: &Connection, catalog: &Catalog, limits: Limits, now: Timestamp) -> duckdb::Result<Forgotten> {
    let mut of_source: HashMap<&str, (usize, Vec<&Series>)> = HashMap::new();
    for node in catalog.all_nodes() {
        let (nodes, series) = of_source.entry(&node.source).or_default();
        *nodes += 1;
        series.extend(node.series.iter().filter_map(|id| catalog.series(*id)));
    }
    let before = Timestamp(now.micros().saturating_sub(SILENT));
    let crowded = |nodes: usize, series: usize| {
        nodes >= limits.nodes_of_source() * 3 / 4 || series >= limits.series_of_source() * 3 / 4
    };
    let candidates: Vec<i32> = of_source
        .values()
        .filter(|(nodes, series)| crowded(*nodes, series.len()))
        .flat_map(|(_, series)| series)
        .filter(|s| s.newest.is_none_or(|newest| newest.ts < before))
        .map(|s| s.id)
        .take(STEP)
        .collect();
    if candidates.is_empty() {
        return Ok(Forgotten::default());
    }
    let sql = format!(
        "SELECT series FROM g.series WHERE series IN ({0})
            AND series NOT IN (SELECT series FROM g.readings WHERE series IN ({0}) GROUP BY series HAVING count(*) > {HARDLY})
            AND series NOT IN (SELECT series FROM g.hourly WHERE series IN ({0}) GROUP BY series HAVING sum(count) > {HARDLY})
            AND series NOT IN (SELECT series FROM g.unsynced WHERE series IN ({0})) ORDER BY series",
        list(&candidates)
    );
    let series: Vec<i32> = connection.prepare(&sql)?.query_map([], |r| r.get(0))?.collect::<duckdb::Result<_>>()?;
    remove(connection, catalog, series)
}

/// Removes the series with all that is kept of them, and the nodes that are left without anything.
fn remove(connection: &Connection, catalog: &Catalog, series: Vec<i32>) -> duckdb::Result<Forgotten> {
    if series.is_empty() {
        return Ok(Forgotten::default());
    }
    let ids = list(&series);
    connection.execute_batch("BEGIN TRANSACTION")?;
    let readings = connection.execute(&format!("DELETE FROM g.readings WHERE series IN ({ids})"), [])?;
    for table in ["hourly", "daily", "dirty", "dirty_days", "provisional", "series"] {
        connection.execute(&format!("DELETE FROM g.{table} WHERE series IN ({ids})"), [])?;
    }
    let nodes: BTreeSet<i32> = series.iter().filter_map(|id| Some(catalog.series(*id)?.node)).collect();
    let nodes: Vec<i32> = nodes.into_iter().collect();
    let sql = format!(
        "DELETE FROM g.nodes WHERE node IN ({}) AND node NOT IN (SELECT node FROM g.series) \
         AND node NOT IN (SELECT node FROM g.events) RETURNING node",
        list(&nodes)
    );
    let mut gone: Vec<i32> = connection.prepare(&sql)?.query_map([], |r| r.get(0))?.collect::<duckdb::Result<_>>()?;
    gone.sort_unstable();
    connection.execute_batch("COMMIT")?;
    Ok(Forgotten { series, nodes: gone, readings })
}

fn list(ids: &[i32]) -> String {
    let ids: Vec<String> = ids.iter().map(i32::to_string).collect();
    ids.join(",")
}
