//! Exact percentiles of readings with a bounded number of values in memory.
//!
//! DuckDB's `quantile_cont` keeps all values, and all series over a month are more than the store may use. So cells are
//! taken a few at a time, and what alone has too many values is narrowed down in several passes.

use super::aggregate::{Place, Work};
use crate::store::percentile::Values;

/// Values that one statement may hold: two megabytes, and as much again while a list grows.
pub(super) const MOST: u64 = 250_000;

/// Values that are sorted at once when there are too many.
const SORTED: u64 = 100_000;

/// The shares that p50, p95 and p99 stand for.
const SHARES: [f64; 3] = [0.5, 0.95, 0.99];

type Found = Vec<(Place, [f64; 3])>;

/// p50, p95 and p99 of the `wanted` cells, whose counts are known, out of at most `most` values at once.
pub(super) fn of_cells(work: &Work<'_>, wanted: &[bool], most: u64) -> duckdb::Result<Found> {
    let mut counts = vec![0; wanted.len()];
    for (&(cell, _), found) in &work.cells {
        counts[cell] += if wanted[cell] { found.count } else { 0 };
    }
    let mut found = Vec::new();
    let mut first = 0;
    while first < counts.len() {
        if counts[first] > most {
            of_groups(work, first, most, &mut found)?;
            first += 1;
            continue;
        }
        let mut end = first;
        let mut held = 0;
        while end < counts.len() && wanted[end] == wanted[first] && held + counts[end] <= most {
            held += counts[end];
            end += 1;
        }
        if held > 0 {
            found.extend(quantiles(work, first, end, "")?);
        }
        first = end;
    }
    Ok(found)
}

/// Those of one cell, a few groups at a time.
fn of_groups(work: &Work<'_>, cell: usize, most: u64, found: &mut Found) -> duckdb::Result<()> {
    let grouping = &work.question.grouping;
    let key = grouping.sql().key;
    let groups: Vec<(usize, u64)> =
        work.cells.range((cell, 0)..(cell + 1, 0)).map(|(place, cell)| (place.1, cell.count)).collect();
    let mut rest = &groups[..];
    while let Some((group, _)) = rest.first() {
        let mut held = 0;
        let fit = rest.iter().take_while(|(_, count)| {
            held += count;
            held <= most
        });
        let fit = fit.count();
        if fit == 0 {
            let readings = work.readings(work.edges[cell], work.edges[cell + 1]);
            let rows = format!("FROM ({readings} AND {key} = {}) WHERE true", grouping.literal(*group));
            let sorted = i64::try_from(most.min(SORTED)).unwrap_or(i64::MAX);
            let values = Values { connection: work.connection, rows, sorted };
            let [p50, p95, p99] = SHARES;
            let alone = [values.percentile(p50)?, values.percentile(p95)?, values.percentile(p99)?];
            found.push(((cell, *group), alone));
        } else {
            let keys: Vec<String> = rest[..fit].iter().map(|(group, _)| grouping.literal(*group)).collect();
            found.extend(quantiles(work, cell, cell + 1, &format!(" AND {key} IN ({})", keys.join(",")))?);
        }
        rest = &rest[fit.max(1)..];
    }
    Ok(())
}

fn quantiles(work: &Work<'_>, first: usize, end: usize, only: &str) -> duckdb::Result<Found> {
    let readings = work.readings(work.edges[first], work.edges[end]);
    let shares = SHARES.map(|share| share.to_string()).join(", ");
    // One list of shares holds one copy of the values.
    let sql = format!(
        "SELECT k::VARCHAR, c, q[1], q[2], q[3] FROM \
         (SELECT k, c, quantile_cont(value, [{shares}]) AS q FROM ({readings}{only}) GROUP BY k, c)"
    );
    work.collect(&sql, |row| Ok([row.get(2)?, row.get(3)?, row.get(4)?]))
}
