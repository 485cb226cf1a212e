//! How the flush interval follows a daily budget of bytes. Pure: the time is an argument.
//!
//! Each commit costs some kilobytes whatever it holds, so fewer of them write less. Every ten minutes the rate of writing of the
//! last hours is compared with the rate that is allowed: the budget spread over the day, corrected by what is behind or ahead
//! of that so far. The interval changes in that proportion, by no more than [`FASTER`] and [`SLOWER`] at once, and not for
//! less than [`DEADBAND`]. A checkpoint, which writes megabytes at once, hardly shows in a mean over hours.

use std::time::Duration;

/// Longest flush interval that a budget leads to: what nobody was told to be safe is lost for so long by a crash.
pub const LONGEST: Duration = Duration::from_secs(300);

/// Time between two looks.
pub const STEP: Duration = Duration::from_secs(600);

/// Part of the budget that is aimed at: the rest is for the checkpoint that falls behind the day's last look.
const AIM: f64 = 0.9;

/// The rate is a mean in which what was written so long ago counts 1/e.
const MEMORY: Duration = Duration::from_secs(6 * 3_600);

/// What is ahead of or behind the day's even course is made up for over so long.
const HORIZON: Duration = Duration::from_secs(6 * 3_600);

/// Part of the even rate that is allowed in any case.
const LEAST: f64 = 0.1;

/// By how much the rate has to differ from the one that is allowed.
const DEADBAND: f64 = 1.2;

/// By how much the interval grows at once, and shrinks, at the most.
const SLOWER: f64 = 2.0;
const FASTER: f64 = 1.5;

/// A moment of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayTime {
    /// How much of the day is over.
    pub over: Duration,
    /// How long it is in all: 23 to 25 hours.
    pub length: Duration,
}

/// The flush interval under a budget.
#[derive(Clone, Debug)]
pub struct Pace {
    budget: u64,
    base: Duration,
    longest: Duration,
    interval: Duration,
    /// When it was last looked, and what had been written then.
    looked: (Duration, u64),
    /// Bytes written and seconds passed, both with old ones forgotten: the rate is their quotient.
    bytes: f64,
    seconds: f64,
}

impl Pace {
    /// For `budget` bytes a day; `base` is the interval where they suffice. Where that is over [`LONGEST`] it stays. `now` is
    /// any clock that does not jump.
    pub fn new(budget: u64, base: Duration, now: Duration) -> Self {
        let longest = LONGEST.max(base);
        Self { budget, base, longest, interval: base, looked: (now, 0), bytes: 0.0, seconds: 0.0 }
    }

    /// The interval now.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// The interval that is configured.
    pub fn shortest(&self) -> Duration {
        self.base
    }

    /// The longest that there may be.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// Bytes a day.
    pub fn budget(&self) -> u64 {
        self.budget
    }

    /// Looks at what was written, if it is time to: `total` since the start, `today` since midnight. Returns the new interval
    /// where it changes.
    pub fn look(&mut self, total: u64, today: u64, day: DayTime, now: Duration) -> Option<Duration> {
        let passed = now.saturating_sub(self.looked.0);
        if passed < STEP {
            return None;
        }
        let kept = (-passed.as_secs_f64() / MEMORY.as_secs_f64()).exp();
        self.bytes = self.bytes * kept + float(total.saturating_sub(self.looked.1));
        self.seconds = self.seconds * kept + passed.as_secs_f64();
        self.looked = (now, total);

        let aim = float(self.budget) * AIM;
        let length = day.length.as_secs_f64().max(1.0);
        let even = aim / length;
        let ahead = even * day.over.as_secs_f64() - float(today);
        let allowed = (even + ahead / HORIZON.as_secs_f64()).max(even * LEAST);
        let excess = self.bytes / self.seconds / allowed;
        if (1.0 / DEADBAND..=DEADBAND).contains(&excess) {
            return None;
        }
        let next = self.interval.mul_f64(excess.clamp(1.0 / FASTER, SLOWER)).clamp(self.base, self.longest);
        if next == self.interval {
            return None;
        }
        // What was written at the old interval says what will be at the new one: as if all of it were for commits. Where
        // it is not, the next hours tell.
        self.bytes *= self.interval.as_secs_f64() / next.as_secs_f64();
        self.interval = next;
        Some(next)
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a day are far below 2^53")]
fn float(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;
    const MB: u64 = 1_000_000;
    const FIVE: Duration = Duration::from_secs(5);

    /// What a gateway writes: some bytes for each reading, half of them at once at the next checkpoint, and some for each
    /// commit.
    struct Gateway {
        readings_per_s: fn(u64) -> u64,
        per_reading: u64,
        per_commit: u64,
        now: u64,
        total: u64,
        unwritten: u64,
        waited: u64,
        changes: usize,
        intervals: Vec<Duration>,
    }

    impl Gateway {
        /// 6 readings a second: 17 MB a day for the readings, and at 5 s 126 MB for 17,280 commits.
        fn usual() -> Self {
            Self::with(|_| 6)
        }

        fn with(readings_per_s: fn(u64) -> u64) -> Self {
            let (per_reading, per_commit) = (33, 7_300);
            let intervals = Vec::new();
            Self {
                readings_per_s,
                per_reading,
                per_commit,
                now: 0,
                total: 0,
                unwritten: 0,
                waited: 0,
                changes: 0,
                intervals,
            }
        }

        /// Lives through a day of `length` seconds in steps of a minute; returns the bytes written on it.
        fn day(&mut self, pace: &mut Pace, length: u64) -> u64 {
            let before = self.total;
            for second in (0..length).step_by(60) {
                let readings = 60 * (self.readings_per_s)(second);
                let interval = pace.interval().as_secs();
                self.waited += 60;
                let commits = if readings > 0 { self.waited / interval } else { 0 };
                self.waited %= interval;
                let half = readings * self.per_reading / 2;
                self.total += half + commits * self.per_commit;
                self.unwritten += half;
                if self.unwritten > 4 * MB {
                    self.total += std::mem::take(&mut self.unwritten);
                }
                self.now += 60;
                let (over, length) = (Duration::from_secs(second + 60), Duration::from_secs(length));
                let now = Duration::from_secs(self.now);
                let change = pace.look(self.total, self.total - before, DayTime { over, length }, now);
                self.changes += usize::from(change.is_some());
                self.intervals.push(pace.interval());
            }
            self.total - before
        }

        fn days(&mut self, pace: &mut Pace, days: usize) -> Vec<u64> {
            (0..days).map(|_| self.day(pace, DAY)).collect()
        }
    }

    fn pace(budget: u64) -> Pace {
        Pace::new(budget, FIVE, Duration::ZERO)
    }

    #[test]
    fn a_budget_that_suffices_changes_nothing() {
        let mut gateway = Gateway::usual();
        let days = gateway.days(&mut pace(200 * MB), 5);
        assert!(days.iter().all(|written| (140 * MB..150 * MB).contains(written)), "{days:?}");
        assert_eq!(gateway.changes, 0);
    }

    #[test]
    fn a_budget_is_kept_day_after_day_and_used() {
        let night: fn(u64) -> u64 = |second| if second < 6 * 3_600 { 0 } else { 6 };
        for (traffic, budgets) in [((|_| 6) as fn(u64) -> u64, [120, 100, 60, 40]), (night, [90, 80, 60, 40])] {
            for budget in budgets {
                let days = Gateway::with(traffic).days(&mut pace(budget * MB), 10);
                // To within a checkpoint that falls behind the last look.
                assert!(days.iter().all(|written| *written <= budget * MB * 101 / 100), "{budget}: {days:?}");
                let mean = days.iter().sum::<u64>() / 10;
                assert!(mean >= budget * MB * 85 / 100, "{budget}: {mean} {days:?}");
            }
        }
    }

    #[test]
    fn days_of_23_and_25_hours_have_the_same_budget() {
        let (mut gateway, mut pace) = (Gateway::usual(), pace(60 * MB));
        let days: Vec<u64> = [24, 23, 24, 25, 24].map(|hours| gateway.day(&mut pace, hours * 3_600)).into();
        assert!(days.iter().all(|written| (50 * MB..=60 * MB).contains(written)), "{days:?}");
    }

    #[test]
    fn the_interval_does_not_waver() {
        let (mut gateway, mut pace) = (Gateway::usual(), pace(60 * MB));
        gateway.days(&mut pace, 1);
        gateway.intervals.clear();
        gateway.changes = 0;
        gateway.days(&mut pace, 9);
        let (least, most) = (gateway.intervals.iter().min().unwrap(), gateway.intervals.iter().max().unwrap());
        assert!(*least >= Duration::from_secs(12) && *most <= Duration::from_secs(30), "{least:?} to {most:?}");
        // It is looked 144 times a day.
        assert!(gateway.changes <= 90, "{}", gateway.changes);
    }

    #[test]
    fn a_budget_that_cannot_be_kept_ends_at_the_longest_interval_and_is_left_when_it_suffices() {
        let (mut gateway, mut pace) = (Gateway::usual(), pace(MB));
        let days = gateway.days(&mut pace, 2);
        assert_eq!(pace.interval(), LONGEST);
        // The readings alone are 17 MB.
        assert!(days[1] < 20 * MB, "{days:?}");
        gateway.readings_per_s = |_| 0;
        gateway.days(&mut pace, 2);
        assert_eq!(pace.interval(), FIVE);
    }

    #[test]
    fn a_flood_is_answered_within_the_hour() {
        let mut pace = pace(100 * MB);
        let mut total = 0;
        for minute in 1..=70 {
            total += 60 / pace.interval().as_secs().min(60) * 73_000;
            let over = Duration::from_secs(minute * 60);
            pace.look(total, total, DayTime { over, length: Duration::from_secs(DAY) }, over);
        }
        assert!(pace.interval() >= Duration::from_secs(120), "{:?}", pace.interval());
    }

    #[test]
    fn a_longer_interval_of_the_configuration_stays_as_it_is() {
        let day = DayTime { over: Duration::from_secs(3_600), length: Duration::from_secs(DAY) };
        let hour = Duration::from_secs(3_600);
        let mut pace = Pace::new(1, hour, Duration::ZERO);
        assert_eq!(pace.look(100, 100, day, hour), None);
        assert_eq!(pace.interval(), hour);
        // Doubled it would be over the longest.
        let mut pace = Pace::new(1, Duration::from_secs(200), Duration::ZERO);
        assert_eq!(pace.look(100, 100, day, Duration::from_secs(1)), None, "too early");
        assert_eq!(pace.look(100, 100, day, STEP), Some(LONGEST));
        assert_eq!(pace.look(100_000, 100_000, day, STEP * 2), None);
    }

    #[test]
    fn the_step_follows_the_excess_within_its_bounds() {
        // 864,000 bytes a day: 9 a second are aimed at, and after six hours nothing is ahead or behind.
        let day = DayTime { over: Duration::from_secs(21_600), length: Duration::from_secs(DAY) };
        let looked = |interval: u64, bytes: u64| {
            let mut pace = Pace::new(864_000, FIVE, Duration::ZERO);
            pace.interval = Duration::from_secs(interval);
            pace.look(bytes, 194_400, day, STEP).map(|next| next.as_secs_f64())
        };
        assert_eq!(looked(20, 5_400), None, "exactly even");
        assert_eq!(looked(20, 6_400), None, "not 20 % over");
        assert_eq!(looked(20, 8_100), Some(30.0));
        assert_eq!(looked(20, 540_000), Some(40.0));
        assert_eq!(looked(20, 4_320), Some(16.0));
        assert!(looked(20, 0).is_some_and(|next| (next - 13.333).abs() < 0.001));
        assert_eq!(looked(6, 0), Some(5.0));
        assert_eq!(looked(5, 0), None);
    }
}
