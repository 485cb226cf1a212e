//! What rows look like before anything is known of them: a header, and what stands between cells.

use super::{MAX_COLUMNS, times};
use crate::codec::payload::names;
use crate::codec::payload::scalar::{Scalar, of_text};

/// A row of names: no numbers, times, switches or empty cells, and no cell twice.
pub(super) fn is_header(cells: &[&str]) -> bool {
    let mut seen = std::collections::HashSet::with_capacity(cells.len());
    // A single word is a state, unless it is a name that is known.
    (cells.len() > 1 || cells.iter().all(|cell| names::metric_of(cell).is_some()))
        && cells.len() <= MAX_COLUMNS
        && cells.iter().all(|cell| {
            cell.len() <= crate::reading::MAX_NAME
                && cell.chars().any(char::is_alphabetic)
                && matches!(of_text(cell), Scalar::Text(_))
                && names::with_unit(cell).is_none()
                && !times::is_date(cell)
                && seen.insert(*cell)
        })
}

/// Whether the first line of a text, behind its `#`, is a header of two columns or more.
pub(super) fn looks_like_header(text: &str) -> bool {
    let line = text.lines().next().unwrap_or_default();
    let separator = char::from(separator_of(line));
    let cells: Vec<&str> = line.split(separator).map(|cell| cell.trim().trim_matches('"')).collect();
    cells.len() > 1 && is_header(&cells)
}

/// Rows with one blank between words.
pub(super) fn single_blanks(text: &str) -> String {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

/// The separator of a row: the first of `;`, tab and `,` that it has outside of quotes.
pub(super) fn separator_of(line: &str) -> u8 {
    let mut quoted = false;
    let mut has = [false; 2];
    for b in line.bytes() {
        match b {
            b'"' => quoted = !quoted,
            b';' if !quoted => has[0] = true,
            b'\t' if !quoted => has[1] = true,
            _ => {}
        }
    }
    match has {
        [true, _] => b';',
        [_, true] => b'\t',
        _ => b',',
    }
}
