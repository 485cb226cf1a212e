//! Which table answers for which stretch of time: the rollups where they are up to date, the readings elsewhere. Pure.

use super::buckets::{Buckets, Width};
use crate::reading::Timestamp;
use crate::zone::{self, HOUR, Tz};

/// How far the rollups reach, as `meta` says it; `None` where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Hours before it are in `hourly`, but for those in `dirty`.
    pub rolled_hours: Option<Timestamp>,
    /// Days before it are in `daily`, but for those in `dirty_days`.
    pub rolled_days: Option<Timestamp>,
    /// Readings before it were removed by retention.
    pub expired_before: Option<Timestamp>,
    /// The same for `hourly`.
    pub hourly_before: Option<Timestamp>,
    /// The same for `daily`.
    pub daily_before: Option<Timestamp>,
    /// The zone that the days of `daily` are of.
    pub timezone: Option<String>,
}

impl Marks {
    /// The beginning of the first of `buckets` of which everything is known; `None` where nothing that they need was
    /// removed. With `exact`, only readings count.
    pub fn known_from(&self, buckets: &Buckets, exact: bool) -> Option<Timestamp> {
        let whole = |from: Timestamp| match buckets.begin_of(from) {
            begin if begin == from => from,
            _ => buckets.end_of(from),
        };
        let readings = self.expired_before?;
        if exact {
            return Some(whole(readings));
        }
        let mut from = Some(readings);
        let hours = match buckets.width() {
            Width::Fixed(width) => width % HOUR == 0,
            // Where days begin at half past, hours belong to two of them.
            Width::Days(_) | Width::Months(_) => whole(readings).micros() % HOUR == 0,
        };
        if hours && self.rolled_hours.is_some_and(|rolled| rolled >= readings) {
            from = from.min(self.hourly_before);
        }
        let days = matches!(buckets.width(), Width::Days(_) | Width::Months(_)) && self.has_days_of(buckets.zone());
        if days && let (Some(rolled), Some(known)) = (self.rolled_days, from) {
            // The day that the limit cuts is in `daily` as a whole.
            if rolled >= ceil_day(known, buckets.zone()) {
                from = from.min(self.daily_before);
            }
        }
        from.map(whole)
    }

    fn has_days_of(&self, zone: Tz) -> bool {
        self.rolled_days.is_some() && self.timezone.as_deref().is_none_or(|name| name == zone.name())
    }
}

/// Where numbers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// The daily rollups.
    Daily,
    /// The hourly rollups.
    Hourly,
    /// The readings.
    Readings,
}

/// Which tables an answer was made from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MadeFrom {
    daily: bool,
    hourly: bool,
    readings: bool,
}

impl MadeFrom {
    pub(super) fn add(&mut self, table: Table) {
        match table {
            Table::Daily => self.daily = true,
            Table::Hourly => self.hourly = true,
            Table::Readings => self.readings = true,
        }
    }

    /// Those of another part of the answer as well.
    pub fn merge(&mut self, other: Self) {
        self.daily |= other.daily;
        self.hourly |= other.hourly;
        self.readings |= other.readings;
    }

    /// `daily`, `hourly`, `readings`, or `mixed` for several of them.
    pub fn name(self) -> &'static str {
        match (self.daily, self.hourly, self.readings) {
            (true, false, false) => "daily",
            (false, true, false) => "hourly",
            (false, false, _) => "readings",
            _ => "mixed",
        }
    }
}

/// What the numbers that are asked for need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// They can be put together of those of parts.
    Sums,
    /// Percentiles of cells that are one hour each: a row of `hourly` has them.
    Hours,
    /// The same for local days and `daily`.
    Days,
    /// The readings, where they are.
    Readings,
}

/// A stretch of time that one table answers for; `None`: nobody knows any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) from: Option<Table>,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

/// What the choice depends on.
#[derive(Debug)]
pub(super) struct Sources<'a> {
    pub(super) marks: &'a Marks,
    pub(super) zone: Tz,
    /// Beginnings of hours whose row is out of date for some of the series, in order.
    pub(super) dirty_hours: &'a [Timestamp],
    /// The same for days.
    pub(super) dirty_days: &'a [Timestamp],
}

impl Sources<'_> {
    /// Cuts the cells between `edges` into pieces, in order and without a gap.
    pub(super) fn pieces(&self, edges: &[Timestamp], need: Need) -> Vec<Piece> {
        let (Some(&start), Some(&end)) = (edges.first(), edges.last()) else { return Vec::new() };
        let inner = &edges[1..edges.len() - 1];
        let mut cut = Cut {
            sources: self,
            need,
            hours: self.marks.rolled_hours.is_some() && inner.iter().all(|at| at.micros() % HOUR == 0),
            days: self.marks.has_days_of(self.zone) && inner.iter().all(|at| zone::day_of(*at, self.zone) == *at),
            pieces: Vec::new(),
        };
        if need == Need::Readings {
            // Whole cells of readings where that is possible.
            let known = match self.marks.expired_before {
                Some(expired) => edges.iter().copied().find(|edge| *edge >= expired).unwrap_or(end),
                None => start,
            };
            cut.by_days(start, known);
            cut.by_readings(known, end);
        } else {
            cut.by_days(start, end);
        }
        cut.pieces
    }
}

struct Cut<'a> {
    sources: &'a Sources<'a>,
    need: Need,
    /// No hour, and no day, belongs to two cells.
    hours: bool,
    days: bool,
    pieces: Vec<Piece>,
}

impl Cut<'_> {
    fn by_days(&mut self, start: Timestamp, end: Timestamp) {
        let Sources { marks, zone, dirty_days, .. } = *self.sources;
        let expired = marks.expired_before;
        let first = ceil_day(marks.daily_before.map_or(start, |before| before.max(start)), zone);
        let last = marks.rolled_days.map_or(start, |rolled| rolled.min(zone::day_of(end, zone)));
        if !self.days || self.need == Need::Hours || first >= last {
            return self.by_hours_or_whole(start, end);
        }
        self.by_hours_or_whole(start, first);
        let mut from = first;
        for &day in dirty_days.iter().filter(|day| (first..last).contains(*day)) {
            let next = zone::next_day(day, zone);
            // Without its readings it stays what it is.
            if day < from || expired.is_some_and(|expired| next <= expired) {
                continue;
            }
            self.add(Some(Table::Daily), from, day);
            self.by_hours_or_whole(day, next);
            from = next;
        }
        self.add(Some(Table::Daily), from, last);
        self.by_hours_or_whole(last, end);
    }

    /// What `daily` does not have: a percentile of a day needs all of its readings.
    fn by_hours_or_whole(&mut self, start: Timestamp, end: Timestamp) {
        match self.sources.marks.expired_before {
            _ if self.need != Need::Days => self.by_hours(start, end),
            None => self.by_readings(start, end),
            Some(expired) => {
                // The day that the limit cuts has only some of its readings.
                let whole = ceil_day(expired, self.sources.zone).clamp(start, end);
                self.by_hours(start, whole);
                self.by_readings(whole, end);
            }
        }
    }

    fn by_hours(&mut self, start: Timestamp, end: Timestamp) {
        if start >= end {
            return;
        }
        let Sources { marks, dirty_hours, .. } = *self.sources;
        let expired = marks.expired_before;
        let first = ceil_hour(marks.hourly_before.map_or(start, |before| before.max(start)));
        let last = marks.rolled_hours.map_or(start, |rolled| rolled.min(zone::hour_of(end)));
        if !self.hours || first >= last {
            return self.by_readings(start, end);
        }
        self.by_readings(start, first);
        let mut from = first;
        for &hour in dirty_hours.iter().filter(|hour| (first..last).contains(*hour)) {
            let next = Timestamp(hour.micros() + HOUR);
            if hour < from || expired.is_some_and(|expired| hour < expired) {
                continue;
            }
            self.add(Some(Table::Hourly), from, hour);
            self.by_readings(hour, next);
            from = next;
        }
        self.add(Some(Table::Hourly), from, last);
        self.by_readings(last, end);
    }

    fn by_readings(&mut self, start: Timestamp, end: Timestamp) {
        let known = self.sources.marks.expired_before.map_or(start, |expired| expired.clamp(start, end.max(start)));
        self.add(None, start, known);
        self.add(Some(Table::Readings), known, end);
    }

    fn add(&mut self, from: Option<Table>, start: Timestamp, end: Timestamp) {
        if start >= end {
            return;
        }
        match self.pieces.last_mut() {
            Some(last) if last.from == from && last.end == start => last.end = end,
            _ => self.pieces.push(Piece { from, start, end }),
        }
    }
}

/// The beginning of the first day that begins at `ts` or later.
fn ceil_day(ts: Timestamp, zone: Tz) -> Timestamp {
    let day = zone::day_of(ts, zone);
    if day == ts { day } else { zone::next_day(day, zone) }
}

fn ceil_hour(ts: Timestamp) -> Timestamp {
    let hour = zone::hour_of(ts);
    if hour == ts { hour } else { Timestamp(hour.micros() + HOUR) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let text = if text.len() == 10 { format!("{text}T00:00:00Z") } else { format!("{text}:00Z") };
        Timestamp(text.parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp_micros())
    }

    /// Everything is rolled up to 20 June 10:00 UTC, in the zone of Berlin.
    fn marks() -> Marks {
        Marks {
            rolled_hours: Some(at("2025-06-20T10:00")),
            rolled_days: Some(at("2025-06-19T22:00")),
            timezone: Some("Europe/Berlin".into()),
            ..Marks::default()
        }
    }

    fn removed(readings: &str, hourly: Option<&str>, daily: Option<&str>) -> Marks {
        Marks {
            expired_before: Some(at(readings)),
            hourly_before: hourly.map(at),
            daily_before: daily.map(at),
            ..marks()
        }
    }

    fn buckets(width: &str) -> Buckets {
        Buckets::new(width.parse().unwrap(), Tz::Europe__Berlin)
    }

    /// `D`, `H`, `R` or `-` and the end of each piece.
    fn cut(marks: &Marks, dirty: (&[&str], &[&str]), edges: &[Timestamp], need: Need) -> String {
        let times = |texts: &[&str]| texts.iter().map(|t| at(t)).collect::<Vec<_>>();
        let (hours, days) = (times(dirty.0), times(dirty.1));
        let sources = Sources { marks, zone: Tz::Europe__Berlin, dirty_hours: &hours, dirty_days: &days };
        let pieces = sources.pieces(edges, need);
        let mut from = edges[0];
        let mut text = Vec::new();
        for piece in &pieces {
            assert_eq!(piece.start, from, "{pieces:?}");
            from = piece.end;
            let letter = match piece.from {
                Some(Table::Daily) => 'D',
                Some(Table::Hourly) => 'H',
                Some(Table::Readings) => 'R',
                None => '-',
            };
            let end = piece.end.to_string();
            text.push(format!("{letter} {}", &end[5..16]));
        }
        assert_eq!(Some(&from), edges.last(), "{pieces:?}");
        text.join(", ")
    }

    fn edges(width: &str, start: &str, end: &str) -> Vec<Timestamp> {
        let buckets = buckets(width);
        buckets.edges(buckets.begin_of(at(start)), at(end), 10_000)
    }

    #[test]
    fn the_open_hour_and_the_open_day_come_from_what_is_finer() {
        let clean = (&[][..], &[][..]);
        let hours = edges("1h", "2025-06-20T08:00", "2025-06-20T11:00");
        assert_eq!(cut(&marks(), clean, &hours, Need::Sums), "H 06-20T10:00, R 06-20T11:00");
        assert_eq!(cut(&marks(), clean, &hours, Need::Hours), "H 06-20T10:00, R 06-20T11:00");
        assert_eq!(cut(&marks(), clean, &hours, Need::Readings), "R 06-20T11:00");
        let days = edges("1d", "2025-06-17", "2025-06-20T11:00");
        assert_eq!(cut(&marks(), clean, &days, Need::Sums), "D 06-19T22:00, H 06-20T10:00, R 06-20T22:00");
        assert_eq!(cut(&marks(), clean, &days, Need::Days), "D 06-19T22:00, R 06-20T22:00");
        let quarters = edges("15m", "2025-06-20T08:00", "2025-06-20T11:00");
        assert_eq!(cut(&marks(), clean, &quarters, Need::Sums), "R 06-20T11:00");
        // One cell that begins and ends somewhere.
        let whole = [at("2025-06-17T10:20"), at("2025-06-20T10:20")];
        assert_eq!(
            cut(&marks(), clean, &whole, Need::Sums),
            "R 06-17T11:00, H 06-17T22:00, D 06-19T22:00, H 06-20T10:00, R 06-20T10:20"
        );
        assert_eq!(cut(&Marks::default(), clean, &days, Need::Days), "R 06-20T22:00");
        let short = [at("2025-06-17T10:20"), at("2025-06-17T10:40")];
        assert_eq!(cut(&marks(), clean, &short, Need::Sums), "R 06-17T10:40");
    }

    #[test]
    fn dirty_buckets_come_from_what_is_finer() {
        let hours = edges("1h", "2025-06-20T06:00", "2025-06-20T10:00");
        let dirty = (&["2025-06-20T07:00", "2025-06-20T09:00"][..], &["2025-06-17T22:00"][..]);
        assert_eq!(
            cut(&marks(), dirty, &hours, Need::Hours),
            "H 06-20T07:00, R 06-20T08:00, H 06-20T09:00, R 06-20T10:00"
        );
        let days = edges("1d", "2025-06-17", "2025-06-19T21:00");
        assert_eq!(cut(&marks(), dirty, &days, Need::Sums), "D 06-17T22:00, H 06-18T22:00, D 06-19T22:00");
        assert_eq!(cut(&marks(), dirty, &days, Need::Days), "D 06-17T22:00, R 06-18T22:00, D 06-19T22:00");
    }

    #[test]
    fn days_of_another_zone_and_hours_of_two_days_are_not_used() {
        let clean = (&[][..], &[][..]);
        let days = edges("1d", "2025-06-17", "2025-06-19T21:00");
        let other = Marks { timezone: Some("Asia/Tokyo".into()), ..marks() };
        assert_eq!(cut(&other, clean, &days, Need::Sums), "H 06-19T22:00");
        let kolkata = Buckets::new("1d".parse().unwrap(), Tz::Asia__Kolkata);
        let days = kolkata.edges(kolkata.begin_of(at("2025-06-17")), at("2025-06-18T23:00"), 10);
        let sources = Sources { marks: &marks(), zone: Tz::Asia__Kolkata, dirty_hours: &[], dirty_days: &[] };
        let pieces = sources.pieces(&days, Need::Sums);
        assert_eq!(pieces, [Piece { from: Some(Table::Readings), start: days[0], end: days[3] }]);
    }

    #[test]
    fn where_readings_are_gone_the_rollups_stay() {
        let old = removed("2025-06-18", None, None);
        let clean = (&[][..], &[][..]);
        let hours = edges("1h", "2025-06-17T23:00", "2025-06-18T01:00");
        assert_eq!(cut(&old, clean, &hours, Need::Hours), "H 06-18T01:00");
        assert_eq!(cut(&old, clean, &hours, Need::Readings), "H 06-18T00:00, R 06-18T01:00");
        // Gone with the readings: what would be needed to compute it again.
        let dirty = (&["2025-06-17T23:00"][..], &["2025-06-15T22:00", "2025-06-17T22:00"][..]);
        assert_eq!(cut(&old, dirty, &hours, Need::Hours), "H 06-18T01:00");
        let days = edges("1d", "2025-06-16", "2025-06-19");
        assert_eq!(cut(&old, dirty, &days, Need::Sums), "D 06-17T22:00, H 06-18T22:00, D 06-19T22:00");
        assert_eq!(cut(&old, dirty, &days, Need::Days), "D 06-17T22:00, H 06-18T22:00, D 06-19T22:00");
        assert_eq!(cut(&old, clean, &days, Need::Readings), "D 06-18T22:00, R 06-19T22:00");
        let quarters = edges("15m", "2025-06-17T23:30", "2025-06-18T00:30");
        assert_eq!(cut(&old, clean, &quarters, Need::Sums), "- 06-18T00:00, R 06-18T00:30");
        let whole = [at("2025-06-17T10:20"), at("2025-06-18T10:20")];
        assert_eq!(cut(&old, clean, &whole, Need::Sums), "- 06-17T11:00, H 06-18T10:00, R 06-18T10:20");
        let hourly_gone = removed("2025-06-18", Some("2025-06-17"), None);
        let whole = [at("2025-06-15T22:00"), at("2025-06-18T10:00")];
        assert_eq!(cut(&hourly_gone, clean, &whole, Need::Sums), "D 06-17T22:00, H 06-18T10:00");
        let shorter = removed("2025-06-16", Some("2025-06-18"), None);
        let hours = edges("1h", "2025-06-17T23:00", "2025-06-18T01:00");
        assert_eq!(cut(&shorter, clean, &hours, Need::Hours), "R 06-18T00:00, H 06-18T01:00");
    }

    #[test]
    fn the_first_bucket_that_is_known() {
        let known = |marks: &Marks, width: &str, exact: bool| {
            marks.known_from(&buckets(width), exact).map_or_else(|| "all".into(), |t| t.to_string()[5..16].to_owned())
        };
        assert_eq!(known(&marks(), "15m", true), "all");
        let old = removed("2025-06-18", None, None);
        assert_eq!(known(&old, "15m", false), "06-18T00:00");
        assert_eq!(known(&old, "7m", false), "06-18T00:04");
        assert_eq!(known(&old, "1h", false), "all");
        assert_eq!(known(&old, "1h", true), "06-18T00:00");
        assert_eq!(known(&old, "1d", true), "06-18T22:00");
        assert_eq!(known(&old, "1mo", false), "all");
        let older = removed("2025-06-18", Some("2025-06-10"), Some("2025-05-31T22:00"));
        assert_eq!(known(&older, "1h", false), "06-10T00:00");
        assert_eq!(known(&older, "1d", false), "05-31T22:00");
        assert_eq!(known(&older, "7d", false), "06-01T22:00");
        assert_eq!(known(&older, "2d", false), "06-01T22:00");
        let hours_gone_first = removed("2025-06-10", Some("2025-06-18"), None);
        assert_eq!(known(&hours_gone_first, "1h", false), "06-10T00:00");
        assert_eq!(known(&hours_gone_first, "1d", false), "all");
    }

    #[test]
    fn what_an_answer_was_made_from() {
        let mut made = MadeFrom::default();
        assert_eq!(made.name(), "readings");
        made.add(Table::Daily);
        assert_eq!(made.name(), "daily");
        made.merge(MadeFrom { hourly: true, ..MadeFrom::default() });
        assert_eq!(made.name(), "mixed");
    }
}
