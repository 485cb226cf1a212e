//! Times as tables have them: what [`time::parse_text`] reads, and the shapes that spreadsheets and loggers write besides.

use std::borrow::Cow;

use crate::codec::time::{self, Local};
use crate::reading::{EARLIEST, LATEST, Timestamp};

/// A time of a row. `31.12.2025 23:59:59`, `2025/12/31 23:59` and a date alone are read too; `12/31/2025` may be two days and
/// is none.
pub(in crate::codec::payload) fn parse(text: &str, local: Local) -> Option<Timestamp> {
    let text = text.trim();
    time::parse_text(text, local).or_else(|| time::parse_text(&iso(text)?, local))
}

/// Whether this is a date with or without a time, whatever its zone.
pub(super) fn is_date(text: &str) -> bool {
    // Numbers are not dates here, and no date is longer.
    text.len() <= 40 && text.parse::<f64>().is_err() && parse(text, Local::UTC).is_some()
}

/// Whether a row's first cell is its time: a date, or a Unix time in whole seconds or milliseconds of the years 2015 to 2100.
pub(super) fn is_leading(cell: &str, local: Local) -> bool {
    if is_date(cell) {
        return true;
    }
    let whole = cell.split('.').next().unwrap_or_default();
    matches!(whole.len(), 10 | 13)
        && whole.bytes().all(|b| b.is_ascii_digit())
        && time::parse_text(cell, local).is_some_and(|ts| (EARLIEST..=LATEST).contains(&ts))
}

/// `YYYY-MM-DD HH:MM:SS...` of another order or with less.
fn iso(text: &str) -> Option<Cow<'_, str>> {
    let (day, clock) = match text.split_once([' ', 'T']) {
        Some((day, clock)) => (day, clock.trim()),
        None => (text, "00:00:00"),
    };
    let digits = |part: &str| (1..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = day.splitn(4, ['-', '/', '.']).collect();
    let [first, month, last] = parts[..] else { return None };
    if ![first, month, last].into_iter().all(digits) || month.len() > 2 {
        return None;
    }
    let (year, day_of_month) = match (first.len(), last.len()) {
        (4, 1 | 2) => (first, last),
        (1 | 2, 4) if day.contains('.') => (last, first),
        _ => return None,
    };
    // The time of day without seconds; behind it a fraction or a zone.
    let end = clock.find(['+', '-', 'Z', 'z', '.', ',']).unwrap_or(clock.len());
    let (clock, behind) = clock.split_at(end);
    let clock = clock.trim_end();
    let seconds = if clock.matches(':').count() == 1 { ":00" } else { "" };
    let pad = if clock.find(':') == Some(1) { "0" } else { "" };
    Some(Cow::Owned(format!("{year}-{month:0>2}-{day_of_month:0>2} {pad}{clock}{seconds}{behind}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shapes_of_spreadsheets_are_read() {
        for (text, iso) in [
            ("2025-12-31 23:59", "2025-12-31T23:59:00Z"),
            ("2025-12-31T23:59:58.5Z", "2025-12-31T23:59:58.500Z"),
            ("31.12.2025 23:59:58", "2025-12-31T23:59:58Z"),
            ("1.2.2025 7:05", "2025-02-01T07:05:00Z"),
            ("2025/12/31 23:59:58", "2025-12-31T23:59:58Z"),
            ("2025-12-31", "2025-12-31T00:00:00Z"),
            ("2025-12-31 23:59+01:00", "2025-12-31T22:59:00Z"),
            ("1767225599", "2025-12-31T23:59:59Z"),
            ("1767225599000", "2025-12-31T23:59:59Z"),
        ] {
            assert_eq!(parse(text, Local::UTC).map(|t| t.to_string()).as_deref(), Some(iso), "{text}");
        }
        for text in ["12/31/2025 23:59", "23:59:58", "yesterday", "", "1.2.3.4", "31.13.2025 00:00"] {
            assert_eq!(parse(text, Local::UTC), None, "{text}");
        }
        assert!(
            is_leading("1767225599", Local::UTC) && !is_leading("1013", Local::UTC) && !is_leading("21.5", Local::UTC)
        );
    }
}
