//! Bytes written, by day. Pure.

use std::collections::BTreeMap;

use chrono::NaiveDate;

/// Days that are kept, in the database as well, the present one included.
pub const KEPT: usize = 31;

/// Most complete days that the mean is made of.
const MEAN_OVER: usize = 7;

/// Bytes written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// By this process, as the kernel counts it: what it caused to be sent to a disk.
    pub process: u64,
    /// By all programs to the device that holds the database, while this process ran; 0 where it cannot be told.
    pub device: u64,
}

impl std::ops::AddAssign for Bytes {
    fn add_assign(&mut self, other: Self) {
        self.process = self.process.saturating_add(other.process);
        self.device = self.device.saturating_add(other.device);
    }
}

/// The last days. What was written while the date was not known waits, and goes to the first day that is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Days {
    written: BTreeMap<NaiveDate, Bytes>,
    today: Option<NaiveDate>,
    waiting: Bytes,
}

impl Days {
    /// Notes what was written since the last time. `today` is `None` while the clock does not tell.
    ///
    /// At most [`KEPT`] days stay, and none that is further from today than that, before or behind it: a clock that was
    /// wrong must not take the place of days that were.
    pub fn add(&mut self, today: Option<NaiveDate>, bytes: Bytes) {
        self.waiting += bytes;
        self.today = today;
        let Some(today) = today else { return };
        let waiting = std::mem::take(&mut self.waiting);
        *self.written.entry(today).or_default() += waiting;
        let kept = i64::try_from(KEPT).unwrap_or(i64::MAX);
        self.written.retain(|date, _| (*date - today).num_days().abs() < kept);
        while self.written.len() > KEPT {
            self.written.pop_first();
        }
    }

    /// Adds what an earlier process has noted of a day.
    pub fn restore(&mut self, date: NaiveDate, bytes: Bytes) {
        *self.written.entry(date).or_default() += bytes;
        while self.written.len() > KEPT {
            self.written.pop_first();
        }
    }

    /// Today's bytes; while the date is not known, those that wait for it.
    pub fn today(&self) -> Bytes {
        self.today.map_or(self.waiting, |today| self.of(today))
    }

    /// Yesterday's bytes; `None` where nothing is known of it.
    pub fn yesterday(&self) -> Option<Bytes> {
        self.written.get(&self.today?.pred_opt()?).copied()
    }

    /// The bytes of a day.
    pub fn of(&self, date: NaiveDate) -> Bytes {
        self.written.get(&date).copied().unwrap_or_default()
    }

    /// The date of today, where it is known.
    pub fn date(&self) -> Option<NaiveDate> {
        self.today
    }

    /// All days, the oldest first.
    pub fn all(&self) -> impl Iterator<Item = (NaiveDate, Bytes)> {
        self.written.iter().map(|(date, bytes)| (*date, *bytes))
    }

    /// Mean of the last complete days, seven at the most, and how many they are; `None` while there is none. The first of
    /// all days counts as incomplete, because the process may have begun in the middle of it.
    pub fn mean(&self) -> Option<(Bytes, usize)> {
        let today = self.today?;
        let complete = self.written.iter().skip(1).rev().filter(|(date, _)| **date < today).take(MEAN_OVER);
        let (mut sum, mut count) = (Bytes::default(), 0);
        for (_, bytes) in complete {
            sum += *bytes;
            count += 1;
        }
        let days = u64::try_from(count).ok().filter(|days| *days > 0)?;
        Some((Bytes { process: sum.process / days, device: sum.device / days }, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2025, 10, 1).unwrap() + chrono::Days::new(u64::from(day) - 1)
    }

    fn bytes(process: u64, device: u64) -> Bytes {
        Bytes { process, device }
    }

    #[test]
    fn bytes_go_to_their_day() {
        let mut days = Days::default();
        days.add(Some(date(9)), bytes(10, 100));
        days.add(Some(date(9)), bytes(1, 2));
        assert_eq!((days.today(), days.yesterday()), (bytes(11, 102), None));
        days.add(Some(date(10)), bytes(5, 6));
        assert_eq!((days.today(), days.yesterday()), (bytes(5, 6), Some(bytes(11, 102))));
        assert_eq!(days.all().collect::<Vec<_>>(), [(date(9), bytes(11, 102)), (date(10), bytes(5, 6))]);
        // Nobody wrote on the 11th.
        days.add(Some(date(12)), bytes(7, 7));
        assert_eq!(days.yesterday(), None);
    }

    #[test]
    fn what_is_written_before_the_date_is_known_goes_to_the_first_day_that_is() {
        let mut days = Days::default();
        days.restore(date(9), bytes(1_000, 2_000));
        days.add(None, bytes(10, 20));
        days.add(None, bytes(10, 20));
        assert_eq!((days.today(), days.yesterday(), days.date()), (bytes(20, 40), None, None));
        days.add(Some(date(9)), bytes(1, 1));
        assert_eq!((days.today(), days.date()), (bytes(1_021, 2_041), Some(date(9))));
    }

    #[test]
    fn days_are_few_and_none_is_far_from_today() {
        let mut days = Days::default();
        for day in 1..=100 {
            days.add(Some(date(day)), bytes(u64::from(day), 0));
        }
        assert_eq!(days.all().count(), KEPT);
        assert_eq!(days.all().next(), Some((date(70), bytes(70, 0))));
        // The clock was a year ahead for a moment.
        days.add(Some(date(465)), bytes(1, 0));
        assert_eq!(days.all().count(), 1);
        let mut days = Days::default();
        days.add(Some(date(465)), bytes(1, 0));
        days.add(Some(date(100)), bytes(2, 0));
        assert_eq!(days.all().collect::<Vec<_>>(), [(date(100), bytes(2, 0))]);
        for day in 1..=100 {
            days.restore(date(day), bytes(1, 0));
        }
        assert_eq!(days.all().count(), KEPT);
        assert_eq!(days.today(), bytes(3, 0));
    }

    #[test]
    fn the_mean_is_of_complete_days() {
        let mut days = Days::default();
        assert_eq!(days.mean(), None);
        days.add(Some(date(1)), bytes(1_000, 1));
        days.add(Some(date(2)), bytes(10, 20));
        assert_eq!(days.mean(), None, "the first day may have begun in the middle");
        days.add(Some(date(3)), bytes(30, 60));
        assert_eq!(days.mean(), Some((bytes(10, 20), 1)));
        days.add(Some(date(4)), bytes(1, 1));
        assert_eq!(days.mean(), Some((bytes(20, 40), 2)));
        for day in 5..=20 {
            days.add(Some(date(day)), bytes(100, 0));
        }
        assert_eq!(days.mean(), Some((bytes(100, 0), 7)));
        days.add(None, bytes(1, 1));
        assert_eq!(days.mean(), None);
    }
}
