//! Buckets of time: how wide, where each begins, and how SQL finds the bucket of a row. Pure.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike, Days, NaiveDate};

use super::literal;
use crate::reading::Timestamp;
use crate::zone::{self, DAY, HOUR, Tz};

/// Widest bucket: a hundred years.
const WIDEST_DAYS: u32 = 36_525;

/// Stretches of buckets of one width that one SQL expression tells apart.
const MAX_RUNS: usize = 64;

/// How wide buckets are, and with that where they begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Microseconds, a whole number of seconds. Buckets are counted from Monday, 2000-01-03T00:00:00Z, so those of an
    /// hour begin with the hours of UTC.
    Fixed(i64),
    /// Local days, 23 to 25 hours long where clocks change; counted from Monday, 2000-01-03, so those of seven days are
    /// weeks from Monday.
    Days(u32),
    /// Local months, counted from January 2000, so those of three months are quarters.
    Months(u32),
}

/// The text is not a width. The message says what is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a number and a unit (s, m, h, d, w, mo, y) from 1s to 100y, such as 15m, 1h, 1d, 7d or 1mo")]
pub struct BadWidth;

impl FromStr for Width {
    type Err = BadWidth;

    fn from_str(text: &str) -> Result<Self, BadWidth> {
        let (digits, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
        let n: u32 = if digits.len() <= 10 { digits.parse().map_err(|_| BadWidth)? } else { return Err(BadWidth) };
        let fixed = |seconds: i64| Self::Fixed(i64::from(n) * seconds * 1_000_000);
        let (width, days) = match unit {
            "s" => (fixed(1), n.div_ceil(86_400)),
            "m" => (fixed(60), n.div_ceil(1_440)),
            "h" => (fixed(3_600), n.div_ceil(24)),
            "d" => (Self::Days(n), n),
            "w" => (Self::Days(n.saturating_mul(7)), n.saturating_mul(7)),
            "mo" => (Self::Months(n), n.saturating_mul(365) / 12),
            "y" => (Self::Months(n.saturating_mul(12)), n.saturating_mul(365)),
            _ => return Err(BadWidth),
        };
        if n == 0 || days > WIDEST_DAYS { Err(BadWidth) } else { Ok(width) }
    }
}

impl fmt::Display for Width {
    /// In the largest unit that fits; reads back as the same width.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Fixed(micros) if micros % HOUR == 0 => write!(f, "{}h", micros / HOUR),
            Self::Fixed(micros) if micros % 60_000_000 == 0 => write!(f, "{}m", micros / 60_000_000),
            Self::Fixed(micros) => write!(f, "{}s", micros / 1_000_000),
            Self::Days(days) => write!(f, "{days}d"),
            Self::Months(months) if months % 12 == 0 => write!(f, "{}y", months / 12),
            Self::Months(months) => write!(f, "{months}mo"),
        }
    }
}

/// Buckets of one width in one time zone: they follow each other without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buckets {
    width: Width,
    zone: Tz,
}

impl Buckets {
    /// Buckets of `width`; `zone` is where their days and months are, and of no matter to fixed widths.
    pub fn new(width: Width, zone: Tz) -> Self {
        Self { width, zone }
    }

    /// Their width.
    pub fn width(&self) -> Width {
        self.width
    }

    /// Their time zone.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The beginning of the bucket that holds `ts`.
    pub fn begin_of(&self, ts: Timestamp) -> Timestamp {
        self.begin(self.index(ts))
    }

    /// The end of the bucket that holds `ts`, which is the beginning of the next one.
    pub fn end_of(&self, ts: Timestamp) -> Timestamp {
        let mut index = self.index(ts) + 1;
        let mut end = self.begin(index);
        // A day that a zone has left out has no length.
        while end <= ts {
            index += 1;
            end = self.begin(index);
        }
        end
    }

    /// How many buckets hold some of `start <= ts < end`.
    pub fn count(&self, start: Timestamp, end: Timestamp) -> u64 {
        if start >= end {
            return 0;
        }
        let last = self.index(Timestamp(end.micros() - 1));
        u64::try_from(last - self.index(start) + 1).unwrap_or(0)
    }

    /// The beginnings of up to `most` buckets from the one that begins at `begin` on, and the end of the last; none that
    /// begins at `end` or later. Fewer than `most` where their lengths vary so much that [`cell_of`] would get long.
    pub fn edges(&self, begin: Timestamp, end: Timestamp, most: usize) -> Vec<Timestamp> {
        let mut edges = vec![begin];
        let mut runs = 0;
        let mut length = 0;
        let mut at = begin;
        while at < end && edges.len() <= most {
            let next = self.end_of(at);
            if next.micros() - at.micros() != length {
                length = next.micros() - at.micros();
                runs += 1;
                if runs > MAX_RUNS {
                    break;
                }
            }
            edges.push(next);
            at = next;
        }
        edges
    }

    /// The local date on which a bucket of days or months begins; `None` for fixed widths.
    pub fn date_of(&self, begin: Timestamp) -> Option<NaiveDate> {
        match self.width {
            Width::Fixed(_) => None,
            Width::Days(_) | Width::Months(_) => zone::local(begin, self.zone).map(|local| local.date_naive()),
        }
    }

    fn index(&self, ts: Timestamp) -> i64 {
        let mut index = match self.width {
            Width::Fixed(width) => return (ts.micros() - fixed_origin()).div_euclid(width),
            Width::Days(days) => {
                let date = zone::local(ts, self.zone).map(|local| local.date_naive());
                let since = date.map_or((ts.micros() - fixed_origin()).div_euclid(DAY), |date| {
                    date.signed_duration_since(monday()).num_days()
                });
                since.div_euclid(i64::from(days))
            }
            Width::Months(months) => {
                let date = zone::local(ts, self.zone).map_or_else(monday, |local| local.date_naive());
                let since = (i64::from(date.year()) - 2000) * 12 + i64::from(date.month0());
                since.div_euclid(i64::from(months))
            }
        };
        // Where clocks are set back over midnight, a date comes again after the next one has begun.
        while self.begin(index + 1) <= ts {
            index += 1;
        }
        index
    }

    fn begin(&self, index: i64) -> Timestamp {
        let date = match self.width {
            Width::Fixed(width) => return Timestamp(fixed_origin() + index * width),
            Width::Days(days) => plus_days(monday(), index * i64::from(days)),
            Width::Months(months) => {
                let months = index * i64::from(months);
                i32::try_from(2000 + months.div_euclid(12)).ok().and_then(|year| {
                    let of_year = u32::try_from(months.rem_euclid(12)).unwrap_or(0);
                    NaiveDate::from_ymd_opt(year, of_year + 1, 1)
                })
            }
        };
        match date {
            Some(date) => zone::begin_of(date, self.zone),
            // Beyond what chrono can say, which is beyond all times that can be asked for.
            None => Timestamp(if index < 0 { i64::MIN } else { i64::MAX }),
        }
    }
}

/// Where the buckets of days and of fixed widths are counted from, as DuckDB's `time_bucket` does.
fn monday() -> NaiveDate {
    NaiveDate::from_ymd_opt(2000, 1, 3).expect("it is a date")
}

const fn fixed_origin() -> i64 {
    946_857_600_000_000
}

fn plus_days(date: NaiveDate, days: i64) -> Option<NaiveDate> {
    let by = Days::new(days.unsigned_abs());
    if days < 0 { date.checked_sub_days(by) } else { date.checked_add_days(by) }
}

/// An SQL expression for the number of the cell that holds the time `column`, which must lie within `edges`: cell i goes
/// from `edges[i]` to `edges[i + 1]`.
pub(super) fn cell_of(edges: &[Timestamp], column: &str) -> String {
    let mut runs: Vec<Run> = Vec::new();
    for (cell, pair) in edges.windows(2).enumerate() {
        let length = pair[1].micros() - pair[0].micros();
        match runs.last_mut() {
            Some(run) if run.length == length => run.cells += 1,
            _ => runs.push(Run { cell, begin: pair[0], length, cells: 1 }),
        }
    }
    choose(&runs, column)
}

/// Neighbouring cells of one length.
struct Run {
    cell: usize,
    begin: Timestamp,
    length: i64,
    cells: usize,
}

/// Halves the runs until one is left: its cell follows from a division.
fn choose(runs: &[Run], column: &str) -> String {
    match runs {
        [] => "0".into(),
        [Run { cell, cells: 1, .. }] => cell.to_string(),
        [Run { cell, begin, length, .. }] => {
            format!("({cell} + (epoch_us({column}) - ({})) // {length})", begin.micros())
        }
        _ => {
            let (left, right) = runs.split_at(runs.len() / 2);
            let (before, behind) = (choose(left, column), choose(right, column));
            format!("CASE WHEN {column} < {} THEN {before} ELSE {behind} END", literal(right[0].begin))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: i64 = 1_000_000;

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp_micros())
    }

    fn berlin(width: &str) -> Buckets {
        Buckets::new(width.parse().unwrap(), Tz::Europe__Berlin)
    }

    #[test]
    fn widths_are_read_and_shown() {
        for (text, width, shown) in [
            ("1s", Width::Fixed(SEC), "1s"),
            ("90s", Width::Fixed(90 * SEC), "90s"),
            ("15m", Width::Fixed(900 * SEC), "15m"),
            ("60m", Width::Fixed(HOUR), "1h"),
            ("24h", Width::Fixed(24 * HOUR), "24h"),
            ("1d", Width::Days(1), "1d"),
            ("2w", Width::Days(14), "14d"),
            ("1mo", Width::Months(1), "1mo"),
            ("24mo", Width::Months(24), "2y"),
            ("100y", Width::Months(1200), "100y"),
            ("36525d", Width::Days(36_525), "36525d"),
        ] {
            assert_eq!(text.parse(), Ok(width), "{text}");
            assert_eq!(width.to_string(), shown);
            assert_eq!(shown.parse(), Ok(width));
        }
        for bad in [
            "",
            "0s",
            "0d",
            "1",
            "h",
            "-1h",
            "+1h",
            "1.5h",
            "1H",
            "1 h",
            "1min",
            "101y",
            "36526d",
            "1201mo",
            "3155760001s",
            "4294967296s",
            "99999999999999999999d",
            "1d1h",
            "٣d",
        ] {
            assert_eq!(bad.parse::<Width>(), Err(BadWidth), "{bad}");
        }
    }

    #[test]
    fn local_days_over_both_clock_changes() {
        let days = berlin("1d");
        let edges = days.edges(at("2025-03-28T23:00:00Z"), at("2025-03-31T22:00:00Z"), 100);
        let expected = ["2025-03-28T23:00:00Z", "2025-03-29T23:00:00Z", "2025-03-30T22:00:00Z", "2025-03-31T22:00:00Z"];
        assert_eq!(edges, expected.map(at));
        assert_eq!(days.count(edges[0], edges[3]), 3);
        assert_eq!(days.count(Timestamp(edges[0].0 - 1), Timestamp(edges[3].0 + 1)), 5);
        assert_eq!(days.begin_of(at("2025-10-26T22:59:59Z")), at("2025-10-25T22:00:00Z"));
        assert_eq!(days.end_of(at("2025-10-26T22:59:59Z")), at("2025-10-26T23:00:00Z"));
        assert_eq!(days.date_of(at("2025-10-25T22:00:00Z")).unwrap().to_string(), "2025-10-26");
    }

    #[test]
    fn weeks_begin_on_monday_quarters_in_january() {
        let weeks = berlin("7d");
        // 2025-03-31 is a Monday, and the day before it the clocks were set forward.
        assert_eq!(weeks.begin_of(at("2025-03-30T21:59:59Z")), at("2025-03-23T23:00:00Z"));
        assert_eq!(weeks.end_of(at("2025-03-30T21:59:59Z")), at("2025-03-30T22:00:00Z"));
        assert_eq!(weeks.begin_of(at("1999-12-30T00:00:00Z")), at("1999-12-26T23:00:00Z"));
        let quarters = berlin("3mo");
        assert_eq!(quarters.begin_of(at("2025-06-30T21:59:59Z")), at("2025-03-31T22:00:00Z"));
        assert_eq!(quarters.end_of(at("2025-06-30T21:59:59Z")), at("2025-06-30T22:00:00Z"));
        assert_eq!(berlin("1y").begin_of(at("1969-07-20T00:00:00Z")), at("1968-12-31T23:00:00Z"));
        assert_eq!(berlin("1mo").count(at("2024-12-31T23:00:00Z"), at("2025-12-31T23:00:00Z")), 12);
    }

    #[test]
    fn fixed_widths_are_counted_from_a_monday() {
        let seven = berlin("7h");
        assert_eq!(seven.begin_of(at("2000-01-03T06:59:59.999999Z")), at("2000-01-03T00:00:00Z"));
        assert_eq!(seven.begin_of(at("2000-01-02T23:00:00Z")), at("2000-01-02T17:00:00Z"));
        assert_eq!(berlin("1h").begin_of(at("1965-01-01T10:20:30Z")), at("1965-01-01T10:00:00Z"));
        assert_eq!(berlin("1s").count(at("1925-01-01T00:00:00Z"), at("2025-01-01T00:00:00Z")), 3_155_760_000);
        assert_eq!(berlin("1h").count(at("2025-01-01T00:00:00Z"), at("2025-01-01T00:00:00Z")), 0);
    }

    #[test]
    fn buckets_follow_each_other_in_every_zone() {
        for zone in [
            Tz::Europe__Berlin,
            Tz::America__St_Johns,
            Tz::America__Havana,
            Tz::Asia__Beirut,
            Tz::Asia__Kolkata,
            Tz::Pacific__Apia,
            Tz::Australia__Lord_Howe,
        ] {
            for width in [Width::Days(1), Width::Days(2), Width::Months(1), Width::Fixed(50 * HOUR)] {
                let buckets = Buckets::new(width, zone);
                let mut begin = buckets.begin_of(at("2011-02-27T12:00:00Z"));
                while begin < at("2012-01-03T00:00:00Z") {
                    let end = buckets.end_of(begin);
                    assert!(end > begin, "{zone} {width} {begin}");
                    for inside in [begin.0, begin.0 + (end.0 - begin.0) / 2, end.0 - 1] {
                        assert_eq!(buckets.begin_of(Timestamp(inside)), begin, "{zone} {width} {begin}");
                        assert_eq!(buckets.end_of(Timestamp(inside)), end, "{zone} {width} {begin}");
                    }
                    begin = end;
                }
            }
        }
    }

    #[test]
    fn edges_stop_at_the_end_the_limit_and_before_the_expression_gets_long() {
        let hours = berlin("1h");
        let begin = at("2025-01-01T00:00:00Z");
        assert_eq!(hours.edges(begin, at("2025-01-01T02:00:01Z"), 100).len(), 4);
        assert_eq!(hours.edges(begin, at("2026-01-01T00:00:00Z"), 100).len(), 101);
        assert_eq!(hours.edges(begin, begin, 100), [begin]);
        let months = berlin("1mo").edges(at("1999-12-31T23:00:00Z"), at("2099-12-31T23:00:00Z"), 1_000);
        assert!((60..200).contains(&months.len()), "{}", months.len());
    }

    #[test]
    fn the_expression_divides_within_runs_and_chooses_between_them() {
        let edges: Vec<Timestamp> = [0, 10, 20, 30, 37, 47].map(Timestamp).to_vec();
        assert_eq!(
            cell_of(&edges, "ts"),
            "CASE WHEN ts < make_timestamp((30)::BIGINT) THEN (0 + (epoch_us(ts) - (0)) // 10) ELSE \
             CASE WHEN ts < make_timestamp((37)::BIGINT) THEN 3 ELSE 4 END END"
        );
        assert_eq!(cell_of(&edges[..2], "ts"), "0");
        assert_eq!(cell_of(&edges[..4], "b"), "(0 + (epoch_us(b) - (0)) // 10)");
    }
}
