//! Counts the bytes written, by day, and sets the flush interval by what is left of the day's budget.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::NaiveDate;

use super::days::{Bytes, Days};
use super::device::Device;
use super::pace::{DayTime, Pace};
use crate::clock::{self, Clock, Standing};
use crate::config;
use crate::metrics::Metrics;
use crate::reading::Timestamp;
use crate::zone::{self, Tz};

/// How often the days are noted in the database, with a commit that happens anyway: a crash loses the count of so long.
const NOTE_EVERY: i64 = 3_600 * 1_000_000;
/// A rate that is made of less than this, in microseconds, says nothing about a day.
const RATE_FROM: i64 = 3_600 * 1_000_000;
/// A day in microseconds, for rates.
const DAY: i64 = zone::DAY;

/// One day as the database keeps it: a row of `meta`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The day.
    pub date: NaiveDate,
    /// What was written on it.
    pub bytes: Bytes,
}

/// Counts what is written. Shared by the service, which looks regularly, the writer, which keeps the days in the database
/// and goes by the flush interval, and HTTP, which shows it.
#[derive(Debug)]
pub struct Written {
    clock: Clock,
    metrics: Arc<Metrics>,
    device: Option<Device>,
    endurance: Option<u64>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What the kernel's counters showed last.
    process: Option<u64>,
    device: Option<u64>,
    total: Bytes,
    days: Days,
    pace: Option<Pace>,
    since: i64,
    noted_at: i64,
    changed: BTreeSet<NaiveDate>,
    over_on: Option<NaiveDate>,
}

/// What is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// Since the start; `None` where the kernel does not say.
    pub bytes: Option<u64>,
    /// Name of the disk that holds the database; `None` where it cannot be told.
    pub device: Option<String>,
    /// By all programs to the disk, since the start of this one.
    pub device_bytes: Option<u64>,
    /// Today.
    pub today: Bytes,
    /// Yesterday.
    pub yesterday: Option<Bytes>,
    /// The last days, the oldest first.
    pub days: Vec<(NaiveDate, Bytes)>,
    /// `[store] write-budget`
    pub budget: Option<u64>,
    /// More than that was written today.
    pub over_budget: bool,
    /// Where the card's endurance is configured: how long it lasts.
    pub card: Option<Card>,
}

/// How long a card lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Card {
    /// `[store] card-endurance`: bytes that can be written to it in all.
    pub endurance: u64,
    /// Bytes a day: the mean of the last complete days, or before there is one what was written so far, made up to a day; to
    /// the disk where that is known, else by this process. `None` in the first hour.
    pub a_day: Option<u64>,
    /// Complete days that the mean is made of; 0 where it is made up.
    pub of_days: usize,
}

impl Card {
    /// Days that a new card of this endurance lasts at this rate; `None` while the rate is not known, or nothing is written.
    pub fn life_days(&self) -> Option<u64> {
        self.endurance.checked_div(self.a_day?)
    }
}

impl Written {
    /// Begins to count. Looks for the disk once: `config.path` need not exist yet, its folder does.
    pub fn new(config: &config::Store, clock: Clock, metrics: Arc<Metrics>) -> Self {
        let folder = config.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let device = Device::of(folder);
        if device.is_none() {
            tracing::debug!(folder = %folder.display(), "the disk below the database cannot be told: its bytes are not counted");
        }
        let now = clock::boottime();
        let pace = config.write_budget.map(|budget| Pace::new(budget, config.flush_interval, boottime()));
        show_interval(&metrics, config.flush_interval);
        let state = State {
            process: None,
            device: device.as_ref().and_then(Device::written),
            total: Bytes::default(),
            days: Days::default(),
            pace,
            since: now,
            noted_at: now,
            changed: BTreeSet::new(),
            over_on: None,
        };
        let written = Self { clock, metrics, device, endurance: config.card_endurance, state: Mutex::new(state) };
        written.look();
        written
    }

    /// Adds the days that an earlier process has noted.
    pub fn restore(&self, rows: impl IntoIterator<Item = Row>) {
        let mut state = self.state();
        for Row { date, bytes } in rows {
            state.days.restore(date, bytes);
        }
    }

    /// Reads the kernel's counters, and sets the flush interval where there is a budget. Reads two small files.
    pub fn look(&self) {
        let process = process_bytes();
        let device = self.device.as_ref().and_then(Device::written);
        // While the clock is in doubt and may yet become right, the date is not known.
        let now = match self.clock.standing() {
            Standing::Right(_) | Standing::Doubtful => Some(self.clock.now().at),
            Standing::Fresh | Standing::Waiting => None,
        };
        self.count(process, device, now);
    }

    fn count(&self, process: Option<u64>, device: Option<u64>, now: Option<Timestamp>) {
        let zone = self.clock.zone();
        let today = now.and_then(|now| zone::local(now, zone)).map(|local| local.date_naive());
        let mut state = self.state();
        let new = Bytes {
            // Its counter begins with the process; the disk's does not.
            process: process.map_or(0, |now| now.saturating_sub(state.process.unwrap_or(0))),
            // One that has fallen belongs to another disk now.
            device: device.zip(state.device).map_or(0, |(now, before)| now.saturating_sub(before)),
        };
        (state.process, state.device) = (process.or(state.process), device.or(state.device));
        state.total += new;
        state.days.add(today, new);
        state.changed.extend(today);
        let State { pace: Some(pace), days, total, over_on, .. } = &mut *state else { return };
        let (Some(now), Some(today)) = (now, today) else { return };
        let (written, budget, before) = (days.today().process, pace.budget(), pace.interval());
        if let Some(interval) = pace.look(total.process, written, day_time(now, zone), boottime()) {
            show_interval(&self.metrics, interval);
            let (interval, shortest, longest) = (interval, pace.shortest(), pace.longest());
            let seconds = interval.as_secs();
            if before == shortest {
                tracing::info!(
                    seconds,
                    written,
                    budget,
                    "the flush interval becomes longer, to keep to the write budget"
                );
            } else if interval == shortest {
                tracing::info!(seconds, written, budget, "the flush interval is the configured one again");
            } else if interval == longest {
                tracing::warn!(
                    seconds,
                    written,
                    budget,
                    "the flush interval is at its longest: the write budget may be too small"
                );
            } else {
                tracing::debug!(seconds, written, budget, "the flush interval follows the write budget");
            }
        }
        if written > budget && *over_on != Some(today) {
            *over_on = Some(today);
            tracing::warn!(written, budget, "more was written today than [store] write-budget");
        }
    }

    /// The flush interval that is in force.
    pub fn flush_interval(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.metrics.store.flush_interval_us.get()).unwrap_or(0))
    }

    /// The days that are to be noted with the next commit; mostly none. With `anyway` those that have changed at all.
    pub fn due(&self, anyway: bool) -> Vec<Row> {
        let state = self.state();
        if !anyway && clock::boottime() - state.noted_at < NOTE_EVERY {
            return Vec::new();
        }
        state.changed.iter().map(|date| Row { date: *date, bytes: state.days.of(*date) }).collect()
    }

    /// These days are durable.
    pub fn noted(&self, rows: &[Row]) {
        let mut state = self.state();
        state.noted_at = clock::boottime();
        for row in rows {
            state.changed.remove(&row.date);
        }
    }

    /// Everything, as of now.
    pub fn shown(&self) -> Shown {
        self.look();
        let state = self.state();
        let today = state.days.today();
        let budget = state.pace.as_ref().map(Pace::budget);
        Shown {
            bytes: state.process,
            device: self.device.as_ref().map(|d| d.name().to_owned()),
            device_bytes: self.device.as_ref().map(|_| state.total.device),
            today,
            yesterday: state.days.yesterday(),
            days: state.days.all().collect(),
            budget,
            over_budget: budget.is_some_and(|budget| today.process > budget),
            card: self.endurance.map(|endurance| self.card(&state, endurance)),
        }
    }

    fn card(&self, state: &State, endurance: u64) -> Card {
        let of = |bytes: Bytes| if self.device.is_some() { bytes.device } else { bytes.process };
        if let Some((mean, of_days)) = state.days.mean() {
            return Card { endurance, a_day: Some(of(mean)), of_days };
        }
        let counted = clock::boottime() - state.since;
        let made_up = (counted >= RATE_FROM)
            .then(|| u64::try_from(i128::from(of(state.total)) * i128::from(DAY) / i128::from(counted)).ok());
        Card { endurance, a_day: made_up.flatten(), of_days: 0 }
    }

    // A panic ends the process, so a poisoned lock is never seen by code that goes on.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the kernel has counted for this process.
fn process_bytes() -> Option<u64> {
    let io = fs::read_to_string("/proc/self/io").ok()?;
    io.lines().find_map(|l| l.strip_prefix("write_bytes:")?.trim().parse().ok())
}

fn show_interval(metrics: &Metrics, interval: Duration) {
    metrics.store.flush_interval_us.set(i64::try_from(interval.as_micros()).unwrap_or(i64::MAX));
}

fn boottime() -> Duration {
    Duration::from_micros(u64::try_from(clock::boottime()).unwrap_or(0))
}

fn day_time(now: Timestamp, zone: Tz) -> DayTime {
    let (begin, end) = (zone::day_of(now, zone), zone::next_day(now, zone));
    let between = |from: Timestamp, to: Timestamp| {
        Duration::from_micros(u64::try_from(to.micros().saturating_sub(from.micros())).unwrap_or(0))
    };
    DayTime { over: between(begin, now), length: between(begin, end) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::stepped::Stepped;
    use crate::config::Trust;

    const NOON: Timestamp = Timestamp::from_secs(1_760_011_200);

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    struct Bench {
        machine: Stepped,
        clock: Clock,
        written: Written,
        _dir: tempfile::TempDir,
    }

    fn bench(change: impl FnOnce(&mut config::Store)) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config::Store { path: dir.path().join("g.duckdb"), ..config::Store::default() };
        change(&mut config);
        let machine = Stepped::new("boot", NOON);
        let metrics = Arc::default();
        let clock = machine.clock(Trust::Synchronised, &metrics);
        let written = Written::new(&config, clock.clone(), metrics);
        // What the test's own process has written is not counted.
        written.state().total = Bytes::default();
        written.state().days = Days::default();
        (written.state().process, written.state().device) = (None, Some(0));
        Bench { machine, clock, written, _dir: dir }
    }

    impl Bench {
        fn synchronise(&self) {
            self.machine.synchronise(true);
            self.clock.refresh();
            self.machine.pass(Duration::from_secs(2));
        }

        fn now(&self) -> Timestamp {
            self.clock.now().at
        }
    }

    #[test]
    fn a_new_counter_counts_its_own_process_and_shows_the_disk() {
        let b = bench(|_| ());
        b.synchronise();
        b.written.look();
        let shown = b.written.shown();
        assert!(shown.bytes.is_some(), "this machine has /proc/self/io");
        assert_eq!(shown.device.is_some(), shown.device_bytes.is_some());
        assert_eq!((shown.budget, shown.over_budget, shown.card), (None, false, None));
        assert_eq!(b.written.flush_interval(), Duration::from_secs(5));
        assert_eq!(shown.days.len(), 1);
        assert_eq!(shown.days[0].0, date("2025-10-09"));
    }

    #[test]
    fn what_is_written_before_the_clock_is_right_is_of_the_first_right_day() {
        let b = bench(|_| ());
        b.written.count(Some(100), Some(1_000), None);
        assert_eq!(b.written.state().days.today(), Bytes { process: 100, device: 1_000 });
        assert_eq!(b.written.due(true), []);
        b.written.count(Some(150), Some(1_100), Some(NOON));
        b.written.count(Some(150), Some(1_100), Some(Timestamp(NOON.micros() + DAY)));
        b.written.count(Some(160), Some(5), Some(Timestamp(NOON.micros() + DAY)));
        let rows = [
            Row { date: date("2025-10-09"), bytes: Bytes { process: 150, device: 1_100 } },
            Row { date: date("2025-10-10"), bytes: Bytes { process: 10, device: 0 } },
        ];
        assert_eq!(b.written.due(true), rows, "a counter that falls is of another device");
        assert_eq!(b.written.due(false), [], "an hour has not passed");
        b.written.noted(&rows);
        assert_eq!(b.written.due(true), []);
        // The next process goes on from there.
        let next = bench(|_| ());
        next.written.restore(rows);
        next.written.count(Some(7), Some(3), Some(Timestamp(NOON.micros() + DAY)));
        let state = next.written.state();
        assert_eq!(state.days.today(), Bytes { process: 17, device: 3 });
        assert_eq!(state.days.yesterday(), Some(Bytes { process: 150, device: 1_100 }));
    }

    #[test]
    fn days_are_those_of_the_gateways_zone() {
        let zone = Tz::Europe__Berlin;
        let at = |text: &str| Timestamp(text.parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp_micros());
        // 23:00 and 00:00 of the next day in Berlin, on the day with 25 hours.
        let late = day_time(at("2025-10-26T22:00:00Z"), zone);
        assert_eq!((late.over, late.length), (Duration::from_secs(24 * 3_600), Duration::from_secs(25 * 3_600)));
        assert_eq!(day_time(at("2025-10-26T23:00:00Z"), zone).over, Duration::ZERO);
    }

    #[test]
    fn over_its_budget_it_makes_the_flush_interval_longer() {
        let b = bench(|config| config.write_budget = Some(1_000_000));
        b.synchronise();
        // The pace goes by this machine's own time since boot: it was looked at ten minutes ago.
        let ago = boottime().saturating_sub(crate::budget::pace::STEP);
        b.written.state().pace = Some(Pace::new(1_000_000, Duration::from_secs(5), ago));
        assert_eq!(b.written.flush_interval(), Duration::from_secs(5));
        b.written.count(Some(900_000), None, Some(b.now()));
        assert_eq!(b.written.flush_interval(), Duration::from_secs(10));
        b.written.count(Some(1_000_001), None, Some(b.now()));
        assert_eq!(b.written.flush_interval(), Duration::from_secs(10), "ten minutes have to pass");
        let shown = b.written.shown();
        assert_eq!((shown.budget, shown.over_budget), (Some(1_000_000), true));
    }

    #[test]
    fn the_life_of_a_card_is_its_endurance_over_the_mean_of_the_days() {
        let b = bench(|config| config.card_endurance = Some(10_000_000_000_000));
        b.synchronise();
        let card = b.written.shown().card.unwrap();
        assert_eq!((card.endurance, card.a_day, card.of_days), (10_000_000_000_000, None, 0));
        assert_eq!(card.life_days(), None);
        for day in 0..4 {
            b.written.restore([Row {
                date: date("2025-10-05") + chrono::Days::new(day),
                bytes: Bytes { process: 1_000_000_000, device: 1_000_000_000 },
            }]);
        }
        let card = b.written.shown().card.unwrap();
        assert_eq!((card.a_day, card.of_days, card.life_days()), (Some(1_000_000_000), 3, Some(10_000)));
        b.written.state().days = Days::default();
        b.written.state().since -= 2 * RATE_FROM;
        b.written.state().total = Bytes { process: 1_000_000, device: 1_000_000 };
        let made_up = b.written.card(&b.written.state(), 24_000_000).a_day.unwrap();
        assert!((11_900_000..=12_000_000).contains(&made_up), "{made_up}");
        assert_eq!(Card { endurance: 1, a_day: Some(0), of_days: 1 }.life_days(), None);
    }
}
