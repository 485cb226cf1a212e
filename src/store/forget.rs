//! Names that are forgotten: series that nothing is kept of, and, where room for names runs short, those that were hardly ever
//! heard of. Without it a flood of random names would fill the tables for good.

use std::collections::{BTreeSet, HashMap};

use duckdb::Connection;

use super::catalog::{Catalog, Series};
use super::plan::Limits;
use crate::reading::Timestamp;
use crate::zone::DAY;

/// Series that one step forgets.
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
    let mut candidates: BTreeSet<i32> = catalog
        .all_series()
        .filter(|s| s.newest.is_none_or(|newest| expired.is_some_and(|before| newest.ts < before)))
        .map(|s| s.id)
        .collect();
    // The small tables first: what they hold need not be looked for in the large one, and often nothing is left.
    for table in ["daily", "hourly", "dirty", "dirty_days", "unsynced", "readings"] {
        keep(connection, &mut candidates, &format!("SELECT DISTINCT series FROM g.{table}"))?;
    }
    remove(connection, catalog, candidates.into_iter().take(STEP).collect())
}

/// Takes the series that `sql` names out of `candidates`; asks only where there are any.
fn keep(connection: &Connection, candidates: &mut BTreeSet<i32>, sql: &str) -> duckdb::Result<()> {
    if candidates.is_empty() {
        return Ok(());
    }
    for series in connection.prepare(sql)?.query_map([], |r| r.get::<_, i32>(0))? {
        candidates.remove(&series?);
    }
    Ok(())
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
    let mut candidates: BTreeSet<i32> = of_source
        .values()
        .filter(|(nodes, series)| crowded(*nodes, series.len()))
        .flat_map(|(_, series)| series)
        .filter(|s| s.newest.is_none_or(|newest| newest.ts < before))
        .map(|s| s.id)
        .collect();
    for table in ["daily", "hourly"] {
        let sql = format!("SELECT series FROM g.{table} GROUP BY series HAVING sum(count) > {HARDLY}");
        keep(connection, &mut candidates, &sql)?;
    }
    keep(connection, &mut candidates, "SELECT DISTINCT series FROM g.unsynced")?;
    let sql = format!("SELECT series FROM g.readings GROUP BY series HAVING count(*) > {HARDLY}");
    keep(connection, &mut candidates, &sql)?;
    remove(connection, catalog, candidates.into_iter().take(STEP).collect())
}

/// Removes the series with all that is kept of them, and the nodes that are left without anything.
fn remove(connection: &Connection, catalog: &Catalog, series: Vec<i32>) -> duckdb::Result<Forgotten> {
    if series.is_empty() {
        return Ok(Forgotten::default());
    }
    let ids = list(&series);
    connection.execute_batch("BEGIN TRANSACTION")?;
    let readings = connection.execute(&format!("DELETE FROM g.readings WHERE series IN ({ids})"), [])?;
    for table in ["hourly", "daily", "dirty", "dirty_days", "provisional", "quality", "series"] {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::reader::Limits as ReaderLimits;
    use crate::store::reader::fixture::{Fixture, row};

    /// Series 1 to `series`, each with a node of its own.
    fn fixture(series: i32) -> Fixture {
        let f = Fixture::new(ReaderLimits::default());
        for id in 1..=series {
            f.add_node(id, "home", &format!("n{id}"));
            f.add_series(id, id, "t", None);
        }
        f.root
            .execute_batch(&format!(
                "INSERT INTO g.nodes SELECT i, 'home', 'n' || i, make_timestamp(0) FROM range(1, {series} + 1) t(i)"
            ))
            .unwrap();
        f
    }

    fn rollup(f: &Fixture, table: &str, series: i32, count: i64) {
        let sql =
            format!("INSERT INTO g.{table} VALUES ({series}, make_timestamp(0), {count}, 1, 1, 1, 1, 1, 1, 1, 1, 1)");
        f.root.execute_batch(&sql).unwrap();
    }

    #[test]
    fn series_of_which_nothing_is_kept_go_and_their_nodes_without_events() {
        let f = fixture(9);
        f.insert(&[row(5, 1, 1.0)]);
        rollup(&f, "hourly", 2, 1);
        rollup(&f, "daily", 3, 1);
        f.root
            .execute_batch(
                "INSERT INTO g.unsynced VALUES (4, 'b', 1, NULL, 1, NULL); INSERT INTO g.dirty VALUES (5, make_timestamp(0));
                 INSERT INTO g.dirty_days VALUES (6, make_timestamp(0)); INSERT INTO g.events VALUES (7, make_timestamp(0), 'k', 'd');
                 INSERT INTO g.provisional VALUES (8, 'b', 1, make_timestamp(0));",
            )
            .unwrap();
        let catalog = f.catalog.read().unwrap();
        let forgotten = empty(&f.root, &catalog, None).unwrap();
        assert_eq!(forgotten, Forgotten { series: vec![7, 8, 9], nodes: vec![8, 9], readings: 0 });
        let left = |table: &str| -> i64 {
            f.root.query_row(&format!("SELECT count(*) FROM g.{table}"), [], |r| r.get(0)).unwrap()
        };
        assert_eq!((left("series"), left("nodes"), left("provisional"), left("readings")), (6, 7, 0, 1));
    }

    #[test]
    fn a_series_that_only_its_days_are_left_of_is_no_stray() {
        let f = fixture(4);
        let limits = Limits { nodes: 4, series: 5 };
        f.insert(&[row(5, 1, 1.0), row(5, 4, 1.0), row(6, 4, 1.0), row(7, 4, 1.0), row(8, 4, 1.0)]);
        rollup(&f, "daily", 2, 5_000);
        rollup(&f, "daily", 3, 3);
        let catalog = f.catalog.read().unwrap();
        let forgotten = strays(&f.root, &catalog, limits, Timestamp(8 * DAY)).unwrap();
        assert_eq!(forgotten, Forgotten { series: vec![1, 3], nodes: vec![1, 3], readings: 1 });
    }

    #[test]
    fn names_behind_many_that_have_to_stay_are_reached() {
        let many = i32::try_from(STEP).unwrap() + 500;
        let f = fixture(many);
        f.root
            .execute_batch(&format!(
                "INSERT INTO g.daily SELECT i, make_timestamp(0), 100, 1, 1, 1, 1, 1, 1, 1, 1, 1 FROM range(1, {many} - 2) t(i)"
            ))
            .unwrap();
        let catalog = f.catalog.read().unwrap();
        let limits = Limits { nodes: 3_000, series: 3_000 };
        let last = vec![many - 2, many - 1, many];
        assert_eq!(strays(&f.root, &catalog, limits, Timestamp(8 * DAY)).unwrap().series, last);
    }
}
