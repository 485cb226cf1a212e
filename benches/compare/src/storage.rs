//! Where the bytes of a database are: by table, column and the way in which DuckDB packs it.

use std::collections::BTreeMap;
use std::path::Path;

use crate::bare;

/// Bytes of a block of the gateway's files, and of them the header.
const BLOCK: i64 = 65_536 - 8;

/// Prints a line for each column and packing of `file`, which nobody may have open. A segment's bytes are those up to the
/// next one in its block, or up to the block's end.
#[expect(clippy::print_stdout, reason = "its output is for a person")]
pub fn run(file: &Path) -> anyhow::Result<()> {
    let connection = bare::root(file.parent().unwrap_or(Path::new(".")))?;
    connection.execute_batch(&format!("ATTACH '{}' AS g (READ_ONLY)", file.display()))?;
    let mut tables =
        connection.prepare("SELECT table_name FROM duckdb_tables() WHERE database_name = 'g' ORDER BY 1")?;
    let tables: Vec<String> = tables.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut segments = Vec::new();
    for table in &tables {
        let mut statement = connection.prepare(&format!(
            "SELECT column_name, segment_type, compression, count, block_id, block_offset \
             FROM pragma_storage_info('g.{table}') WHERE persistent AND block_id >= 0"
        ))?;
        let rows = statement.query_map([], |row| {
            let (column, kind): (String, String) = (row.get(0)?, row.get(1)?);
            let what = format!("{table}.{column} {}", if kind == "VALIDITY" { "nulls" } else { "values" });
            Ok((
                (row.get::<_, i64>(4)?, row.get::<_, i64>(5)?),
                (what, row.get::<_, String>(2)?, row.get::<_, i64>(3)?),
            ))
        })?;
        segments.extend(rows.collect::<Result<Vec<_>, _>>()?);
    }
    segments.sort();
    let mut totals: BTreeMap<(String, String), (i64, i64)> = BTreeMap::new();
    for (i, ((block, offset), (what, packing, count))) in segments.iter().enumerate() {
        let end = match segments.get(i + 1) {
            Some(((next, to), _)) if next == block => *to,
            _ => BLOCK,
        };
        let total = totals.entry((what.clone(), packing.clone())).or_default();
        *total = (total.0 + end - offset, total.1 + count);
    }
    println!("{:40} {:>14} {:>12} {:>12} {:>8}", "column", "packing", "values", "bytes", "a value");
    for ((what, packing), (bytes, count)) in &totals {
        println!("{what:40} {packing:>14} {count:>12} {bytes:>12} {:>8.2}", *bytes as f64 / *count as f64);
    }
    let blocks = "SELECT total_blocks, used_blocks, free_blocks FROM pragma_database_size() WHERE database_name = 'g'";
    let (total, used, free): (i64, i64, i64) =
        connection.query_row(blocks, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
    println!("{total} blocks, of them {used} used and {free} free");
    Ok(())
}
