//! Exact percentiles of readings with a bounded number of values in memory.
//!
//! DuckDB's `quantile_cont` keeps all values, and all series over a month are more than the store may use. So cells are
//! taken a few at a time. A cell that alone has too many values is narrowed down: a histogram tells in which of its bins
//! the wanted rank lies, and that bin is looked at the same way, until its values can be read.

use duckdb::Connection;

use super::aggregate::{Place, Work};
use super::cells::{Cell, real};

/// Values that one statement may hold: two megabytes, and as much again while a list grows.
pub(super) const MOST: u64 = 250_000;

/// Bins of a histogram.
const BINS: u32 = 1_024;

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
    let groups: Vec<(usize, &Cell)> =
        work.cells.range((cell, 0)..(cell + 1, 0)).map(|(place, cell)| (place.1, cell)).collect();
    let mut rest = &groups[..];
    while let Some((group, alone)) = rest.first() {
        let mut held = 0;
        let fit = rest.iter().take_while(|(_, cell)| {
            held += cell.count;
            held <= most
        });
        let fit = fit.count();
        if fit == 0 {
            let only = format!(" AND {key} = {}", grouping.literal(*group));
            let values = format!("{}{only}", work.readings(work.edges[cell], work.edges[cell + 1]));
            found.push(((cell, *group), narrow(work.connection, &values, alone, most)?));
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
         (SELECT k, c, quantile_cont(v, [{shares}]) AS q FROM ({readings}{only}) GROUP BY k, c)"
    );
    work.collect(&sql, |row| Ok([row.get(2)?, row.get(3)?, row.get(4)?]))
}

/// The percentiles of the column `v` of `values`, of which `cell` has the count and the extremes.
fn narrow(connection: &Connection, values: &str, cell: &Cell, most: u64) -> duckdb::Result<[f64; 3]> {
    let mut percentiles = [0.0; 3];
    for (percentile, share) in percentiles.iter_mut().zip(SHARES) {
        let (low, high, part) = ranks(cell.count, share);
        let all = Bin { below: 0, count: cell.count, min: cell.min, max: cell.max };
        let at_low = nth(connection, values, all, low, most)?;
        let at_high = if high == low { at_low } else { nth(connection, values, all, high, most)? };
        *percentile = at_low * (1.0 - part) + at_high * part;
    }
    Ok(percentiles)
}

/// Between which two of `count` sorted values the share lies, and how far behind the first.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank is less than the count")]
fn ranks(count: u64, share: f64) -> (u64, u64, f64) {
    let rank = real(count.saturating_sub(1)) * share;
    (rank.floor() as u64, rank.ceil() as u64, rank - rank.floor())
}

/// Neighbours among the sorted values.
#[derive(Clone, Copy, Debug)]
struct Bin {
    /// How many values are smaller than all of it.
    below: u64,
    count: u64,
    min: f64,
    max: f64,
}

/// The value with `rank`, counted from 0, of `bin`.
fn nth(connection: &Connection, values: &str, mut bin: Bin, rank: u64, most: u64) -> duckdb::Result<f64> {
    while bin.min < bin.max {
        let within = format!("{values} AND r.value >= {} AND r.value <= {}", number(bin.min), number(bin.max));
        if bin.count <= most {
            let sql = format!("SELECT v FROM ({within}) ORDER BY v LIMIT 1 OFFSET {}", rank - bin.below);
            return connection.query_row(&sql, [], |row| row.get(0));
        }
        bin = bin_of(connection, &within, bin, rank)?;
    }
    Ok(bin.min)
}

/// Which of the bins of a histogram of `bin` has the value with `rank`.
fn bin_of(connection: &Connection, within: &str, bin: Bin, rank: u64) -> duckdb::Result<Bin> {
    // Half of a range that is wider than a number can say.
    let scale = if (bin.max - bin.min).is_finite() { 1.0 } else { 0.5 };
    let (low, width) = (number(bin.min * scale), number(bin.max * scale - bin.min * scale));
    let last = BINS - 1;
    let number_of = format!("least({last}, floor((v * {} - {low}) / {width} * {BINS}))::INTEGER", number(scale));
    let sql = format!("SELECT {number_of} AS b, count(*), min(v), max(v) FROM ({within}) GROUP BY b ORDER BY b");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut below = bin.below;
    while let Some(row) = rows.next()? {
        let found = Bin { below, count: row.get(1)?, min: row.get(2)?, max: row.get(3)? };
        if rank < below + found.count {
            return Ok(found);
        }
        below += found.count;
    }
    // The counts are of the same transaction as the values.
    Err(duckdb::Error::QueryReturnedNoRows)
}

/// A number as an SQL literal that reads back as the same.
fn number(value: f64) -> String {
    format!("({value:e})::DOUBLE")
}
