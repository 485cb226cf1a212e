//! Counters and gauges of the whole process, as atomics; no format and no I/O. `serve` shows them.

mod units;

pub use units::{UnitState, UnitStatus, Units};

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::reading::DeadReason;

/// A counter that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A value that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Sets it.
    pub fn set(&self, v: i64) {
        self.0.store(v, Ordering::Relaxed);
    }

    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why readings were dropped before they reached the store. Their senders were told, where they can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// A serial port had more than the channel's capacity or byte bound could take.
    IntakeFull,
    /// The daemon was stopping and could not store it in time.
    Stopping,
    /// A retained message without a time of its own: old news, not a reading.
    Retained,
    /// Memory was above its limit.
    Memory,
}

impl DropReason {
    /// All reasons, in the order of their index.
    pub const ALL: [Self; 4] = [Self::IntakeFull, Self::Stopping, Self::Retained, Self::Memory];

    /// The reason as it is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IntakeFull => "intake-full",
            Self::Stopping => "stopping",
            Self::Retained => "retained",
            Self::Memory => "memory",
        }
    }
}

/// Totals of readings since the start, by what became of them.
#[derive(Debug, Default)]
pub struct ReadingCounts {
    /// Decoded from frames and messages.
    pub received: Counter,
    /// Stored by a commit.
    pub committed: Counter,
    /// Known already, by series and time or as a redelivered message.
    pub duplicate: Counter,
    /// Another value is stored for their series and time.
    pub conflict: Counter,
    /// Older than what is kept.
    pub expired: Counter,
    /// Stored records kept aside for their impossible time.
    pub unsynced: Counter,
    dropped: [Counter; DropReason::ALL.len()],
    dead: [Counter; DeadReason::ALL.len()],
}

impl ReadingCounts {
    /// Readings dropped for `reason`.
    pub fn dropped(&self, reason: DropReason) -> &Counter {
        &self.dropped[reason as usize]
    }

    /// Frames, messages and readings that became dead letters for `reason`, those over the table's rate included.
    pub fn dead(&self, reason: DeadReason) -> &Counter {
        &self.dead[reason.index()]
    }

    /// Sum over all reasons.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().map(Counter::get).sum()
    }

    /// Sum over all reasons.
    pub fn dead_total(&self) -> u64 {
        self.dead.iter().map(Counter::get).sum()
    }
}

/// Commits and the store's file.
#[derive(Debug, Default)]
pub struct StoreCounts {
    /// Commits that were durable.
    pub commits: Counter,
    /// Attempts that failed; their batch was kept and written again.
    pub failed: Counter,
    /// Duration of the last commit, microseconds.
    pub last_commit_us: Gauge,
    /// The flush interval that is in force, microseconds.
    pub flush_interval_us: Gauge,
    /// CLOCK_BOOTTIME of the last commit in microseconds; 0 before the first.
    pub last_commit_at: Gauge,
    /// CLOCK_BOOTTIME of the writer's last sign of life in microseconds.
    pub writer_alive_at: Gauge,
    /// The store cannot commit at present.
    pub down: AtomicBool,
    /// Rows in `readings`.
    pub readings: Gauge,
    /// Known series.
    pub series: Gauge,
    /// Known nodes.
    pub nodes: Gauge,
    /// Events written since the start.
    pub events: Counter,
    /// Dead letters written since the start.
    pub dead_letters: Counter,
    /// Repairs at start: each cut of the WAL, and each time that files were put aside.
    pub recovered: Counter,
    /// Free bytes of the database's file system, as of the last look; 0 before the first.
    pub free_bytes: Gauge,
    /// Bytes that have to be free for a commit, as of the last look.
    pub min_free_bytes: Gauge,
    /// Less than twice [`Self::min_free_bytes`] is free.
    pub space_low: AtomicBool,
    /// Less than [`Self::min_free_bytes`] is free: nothing is committed.
    pub space_full: AtomicBool,
    /// Times that free space came to be low without being too little.
    pub space_low_times: Counter,
    /// Times that there came to be too little free space for a commit.
    pub space_full_times: Counter,
    /// What is being stored is noted, because the process ended badly several times.
    pub wary: AtomicBool,
    /// Envelopes that were put aside because they could not be stored or ended the process.
    pub poison: Counter,
    /// Times that the file was replaced by a smaller one.
    pub compactions: Counter,
    /// How much of the database is copied into a smaller file, in thousandths; 0 while it is not.
    pub compacting: Gauge,
    /// Times that a query, a commit or a checkpoint met damage of the file.
    pub damaged: Counter,
    /// The rollups, and what was removed.
    pub upkeep: UpkeepCounts,
    recovery: Mutex<Option<String>>,
    damage: Mutex<Option<String>>,
}

/// Rollups, retention and forgotten names.
#[derive(Debug, Default)]
pub struct UpkeepCounts {
    /// Rows of `hourly` computed since the start, those computed again included.
    pub hours: Counter,
    /// The same of `daily`.
    pub days: Counter,
    /// Hours of series that have to be computed again.
    pub dirty: Gauge,
    /// Hours before it are in the rollups, microseconds since 1970; 0 while none are.
    pub rolled_hours: Gauge,
    /// Days before it are in the rollups, microseconds since 1970; 0 while none are.
    pub rolled_days: Gauge,
    /// Readings removed since the start by `keep-readings`.
    pub removed_age: Counter,
    /// Readings removed since the start by `max-size`.
    pub removed_size: Counter,
    /// Readings removed since the start because the disk was filling.
    pub removed_space: Counter,
    /// Rows of the rollups removed since the start.
    pub removed_rollups: Counter,
    /// Readings before it were removed, microseconds since 1970; 0 while none were.
    pub expired_before: Gauge,
    /// The file is over its bound, and there is no day that may go.
    pub over_size: AtomicBool,
    /// Bytes of the file that hold nothing, as of the last look.
    pub reusable_bytes: Gauge,
    /// Series forgotten since the start.
    pub forgotten: Counter,
    /// Readings that went with names that were hardly ever heard of.
    pub forgotten_readings: Counter,
}

impl StoreCounts {
    /// Counts a repair at start, and keeps `text`, which says what was done.
    pub fn repaired(&self, text: String) {
        self.recovered.inc();
        *lock(&self.recovery) = Some(text);
    }

    /// Counts damage that was met, and keeps `text` if it is the first; says whether it is.
    pub fn damage_met(&self, text: String) -> bool {
        self.damaged.inc();
        let mut damage = lock(&self.damage);
        let first = damage.is_none();
        damage.get_or_insert(text);
        first
    }

    /// What met damage first, and the error; `None` where nothing did.
    pub fn damage(&self) -> Option<String> {
        lock(&self.damage).clone()
    }

    /// What the last repair at start did; `None` where there was none.
    pub fn recovery(&self) -> Option<String> {
        lock(&self.recovery).clone()
    }
}

/// HTTP connections.
#[derive(Debug, Default)]
pub struct HttpCounts {
    /// Those that are open.
    pub open: Gauge,
    /// Closed because others needed their places.
    pub closed_for_others: Counter,
    /// Requests refused because all places for questions for data, or for exports, were taken.
    pub refused: Counter,
}

/// The channel between sources and store.
#[derive(Debug, Default)]
pub struct QueueCounts {
    /// Permits in use: rows on their way to the store.
    pub depth: Gauge,
    /// All permits.
    pub capacity: Gauge,
    /// Bytes in use.
    pub bytes: Gauge,
}

/// The clock, as `[clock] trust` sees it.
#[derive(Debug, Default)]
pub struct ClockState {
    /// Its time is used without reservation.
    pub trusted: AtomicBool,
    /// The kernel or the time service says that it is synchronised.
    pub synchronised: AtomicBool,
    /// Questions for the time that were not answered because the clock was in doubt.
    pub withheld: Counter,
    /// Times that it was found to have jumped by more than a second, the first setting after a boot included.
    pub jumps: Counter,
    /// Readings of this boot without their right time: those that wait for it, and those shown without it meanwhile.
    pub unsynced: Gauge,
    /// The newest arrival that a trusted clock has stamped, microseconds since 1970; 0 before the first.
    pub floor: Gauge,
    /// It is before the floor, and nothing says that it is synchronised.
    pub before_floor: AtomicBool,
}

/// What is given up while memory is above its limit: each step includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shed {
    /// Memory is within its limit.
    #[default]
    Nothing,
    /// What is free in the heap is given back to the kernel.
    Trim,
    /// Queries are refused.
    Queries,
    /// Nothing more is read from brokers: they keep what they have.
    Brokers,
    /// Serial lines are dropped, and the hub's batches get status 1.
    Serial,
}

impl Shed {
    /// All steps, in their order.
    pub const ALL: [Self; 5] = [Self::Nothing, Self::Trim, Self::Queries, Self::Brokers, Self::Serial];

    /// The step as it is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Trim => "trim",
            Self::Queries => "queries",
            Self::Brokers => "brokers",
            Self::Serial => "serial",
        }
    }

    /// The next step; the last one stays.
    #[must_use]
    pub fn further(self) -> Self {
        Self::ALL[(self as usize + 1).min(Self::ALL.len() - 1)]
    }

    /// The step before; the first one stays.
    #[must_use]
    pub fn back(self) -> Self {
        Self::ALL[(self as usize).saturating_sub(1)]
    }
}

/// Memory against its limit.
#[derive(Debug, Default)]
pub struct MemoryState {
    /// The limit of anonymous memory, bytes; 0 before the first look.
    pub limit: Gauge,
    /// Times that the heap was given back.
    pub trims: Counter,
    /// Queries refused for lack of memory.
    pub refused: Counter,
    step: AtomicUsize,
    times: [Counter; Shed::ALL.len()],
}

impl MemoryState {
    /// What is given up at present.
    pub fn step(&self) -> Shed {
        Shed::ALL[self.step.load(Ordering::Relaxed).min(Shed::ALL.len() - 1)]
    }

    /// Sets it, and counts each step that is entered from the one before.
    pub fn set_step(&self, step: Shed) {
        if Shed::ALL[self.step.swap(step as usize, Ordering::Relaxed)] < step {
            self.times(step).inc();
        }
    }

    /// Whether this is given up at present.
    pub fn sheds(&self, what: Shed) -> bool {
        self.step() >= what
    }

    /// Times that this step was entered because memory was above its limit.
    pub fn times(&self, step: Shed) -> &Counter {
        &self.times[step as usize]
    }
}

/// State of one source as `/stats` and `/healthz` show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// Not connected or opened yet.
    Starting,
    /// Connected or open, and heard of within its silence limit.
    Up,
    /// Connected or open, and silent for longer than its limit.
    Silent,
    /// Not connected; the text says why, for a person.
    Down(String),
}

impl SourceState {
    /// One word for `/stats`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Silent => "silent",
            Self::Down(_) => "down",
        }
    }
}

/// Topics of a source whose format is shown; of others it is only known how many messages there were.
pub const SHOWN_TOPICS: usize = 100;
/// Longest topic that is shown, in bytes.
const SHOWN_TOPIC: usize = 256;

/// What the topics of a source were taken for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The format of each topic, at most [`SHOWN_TOPICS`].
    pub topics: BTreeMap<String, &'static str>,
    /// Messages of topics that had no room.
    pub others: u64,
}

/// Counters and state of one source.
#[derive(Debug)]
pub struct SourceStatus {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// `serial`, `modbus` or `mqtt`.
    pub kind: &'static str,
    /// Port or URL without secrets.
    pub address: String,
    /// How what comes is read, where it is all read alike.
    pub format: Option<&'static str>,
    started: Instant,
    state: Mutex<SourceState>,
    problems: Mutex<Vec<String>>,
    last_dead: Mutex<Option<(DeadReason, String, Instant)>>,
    taken: Mutex<Taken>,
    // Milliseconds after `started`, plus one; 0 means never.
    last_reading: AtomicU64,
    last_heard: AtomicU64,
    /// Bytes received.
    pub bytes: Counter,
    /// Frames or messages received.
    pub frames: Counter,
    /// Readings decoded.
    pub readings: Counter,
    /// Frames or messages, or parts of them, that became dead letters.
    pub dead: Counter,
    /// Bytes skipped to find the next frame.
    pub skipped_bytes: Counter,
    /// Times that it was opened or connected.
    pub connects: Counter,
    /// Acknowledgements sent: PUBACKs, or BATCH_ACKs with status 0.
    pub acked: Counter,
    /// Negative answers sent: BATCH_ACKs with another status.
    pub refused: Counter,
    /// Questions to a device without an answer in time.
    pub unanswered: Counter,
    /// The devices that it asks, where they have addresses.
    pub units: Units,
}

impl SourceStatus {
    /// A source that has not started.
    pub fn new(name: Arc<str>, kind: &'static str, address: String) -> Self {
        Self {
            name,
            kind,
            address,
            format: None,
            started: Instant::now(),
            state: Mutex::new(SourceState::Starting),
            problems: Mutex::default(),
            last_dead: Mutex::default(),
            taken: Mutex::default(),
            last_reading: AtomicU64::new(0),
            last_heard: AtomicU64::new(0),
            bytes: Counter::default(),
            frames: Counter::default(),
            readings: Counter::default(),
            dead: Counter::default(),
            skipped_bytes: Counter::default(),
            connects: Counter::default(),
            acked: Counter::default(),
            refused: Counter::default(),
            unanswered: Counter::default(),
            units: Units::default(),
        }
    }

    /// The same source, all of which is read by this format.
    #[must_use]
    pub fn reads(self, format: &'static str) -> Self {
        Self { format: Some(format), ..self }
    }

    /// The state now.
    pub fn state(&self) -> SourceState {
        lock(&self.state).clone()
    }

    /// Sets the state; returns whether it changed, so that the journal hears of it once.
    pub fn set_state(&self, state: SourceState) -> bool {
        let mut now = lock(&self.state);
        let changed = *now != state;
        *now = state;
        changed
    }

    /// Lasting problems that do not end the connection, such as a refused subscription.
    pub fn problems(&self) -> Vec<String> {
        lock(&self.problems).clone()
    }

    /// Replaces the lasting problems; returns whether they changed.
    pub fn set_problems(&self, problems: Vec<String>) -> bool {
        let mut now = lock(&self.problems);
        let changed = *now != problems;
        *now = problems;
        changed
    }

    /// Notes a dead letter that is stored, so that a person sees what was wrong without opening the file.
    pub fn note_dead(&self, reason: DeadReason, detail: &str) {
        *lock(&self.last_dead) = Some((reason, detail.to_owned(), Instant::now()));
    }

    /// The last dead letter that was stored: why, its detail, and its age in seconds.
    pub fn last_dead(&self) -> Option<(DeadReason, String, f64)> {
        lock(&self.last_dead).as_ref().map(|(reason, detail, at)| (*reason, detail.clone(), at.elapsed().as_secs_f64()))
    }

    /// Notes what the messages of `topic` were taken for.
    pub fn take_for(&self, topic: &str, format: &'static str) {
        let mut taken = lock(&self.taken);
        if let Some(known) = taken.topics.get_mut(topic) {
            *known = format;
        } else if taken.topics.len() < SHOWN_TOPICS && topic.len() <= SHOWN_TOPIC {
            taken.topics.insert(topic.to_owned(), format);
        } else {
            taken.others += 1;
        }
    }

    /// What the topics were taken for.
    pub fn taken(&self) -> Taken {
        lock(&self.taken).clone()
    }

    /// Notes that something was heard: bytes on a port, a packet from a broker.
    pub fn heard(&self) {
        self.last_heard.store(self.now_ms(), Ordering::Relaxed);
    }

    /// Notes `n` readings.
    pub fn read(&self, n: usize) {
        if n > 0 {
            self.readings.add(n as u64);
            self.last_reading.store(self.now_ms(), Ordering::Relaxed);
        }
    }

    /// Seconds since the last reading; `None` before the first.
    pub fn last_reading_age_s(&self) -> Option<f64> {
        self.age(&self.last_reading)
    }

    /// Seconds since anything was heard; `None` before the first.
    pub fn last_heard_age_s(&self) -> Option<f64> {
        self.age(&self.last_heard)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    #[expect(clippy::cast_precision_loss, reason = "an age in milliseconds is far below 2^53")]
    fn age(&self, at: &AtomicU64) -> Option<f64> {
        match at.load(Ordering::Relaxed) {
            0 => None,
            at => Some(self.now_ms().saturating_sub(at) as f64 / 1000.0),
        }
    }
}

/// Everything that is counted in this process.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Readings by what became of them.
    pub readings: ReadingCounts,
    /// Commits and the file.
    pub store: StoreCounts,
    /// The channel.
    pub queue: QueueCounts,
    /// The clock.
    pub clock: ClockState,
    /// Memory.
    pub memory: MemoryState,
    /// HTTP.
    pub http: HttpCounts,
    sources: Mutex<Vec<Arc<SourceStatus>>>,
}

impl Metrics {
    /// Registers a source; its status is shown from now on.
    pub fn add_source(&self, status: SourceStatus) -> Arc<SourceStatus> {
        let status = Arc::new(status);
        lock(&self.sources).push(Arc::clone(&status));
        status
    }

    /// All sources, in the order of their registration.
    pub fn sources(&self) -> Vec<Arc<SourceStatus>> {
        lock(&self.sources).clone()
    }
}

// A panic ends the process (see `service`), so a poisoned lock is never seen by code that goes on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_apart_and_summed() {
        let counts = ReadingCounts::default();
        counts.dead(DeadReason::Malformed).add(2);
        counts.dead(DeadReason::UnsyncedFull).inc();
        counts.dropped(DropReason::Retained).add(3);
        assert_eq!(counts.dead(DeadReason::Malformed).get(), 2);
        assert_eq!(counts.dead_total(), 3);
        assert_eq!(counts.dropped_total(), 3);
        assert_eq!(counts.dropped(DropReason::IntakeFull).get(), 0);
        for (i, reason) in DeadReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), i);
        }
    }

    #[test]
    fn steps_of_shedding_are_counted_when_they_are_entered() {
        let memory = MemoryState::default();
        assert_eq!((memory.step(), memory.sheds(Shed::Trim)), (Shed::Nothing, false));
        for step in
            [Shed::Trim, Shed::Queries, Shed::Queries, Shed::Brokers, Shed::Queries, Shed::Brokers, Shed::Queries]
        {
            memory.set_step(step);
        }
        assert!(memory.sheds(Shed::Trim) && memory.sheds(Shed::Queries) && !memory.sheds(Shed::Brokers));
        let times = Shed::ALL.map(|step| memory.times(step).get());
        assert_eq!(times, [0, 1, 1, 2, 0]);
        assert_eq!(
            (Shed::Serial.further(), Shed::Nothing.back(), Shed::Trim.back()),
            (Shed::Serial, Shed::Nothing, Shed::Nothing)
        );
    }

    #[test]
    fn topics_are_shown_with_what_they_were_taken_for_up_to_a_bound() {
        let status = SourceStatus::new("home".into(), "mqtt", "mqtt://localhost".into());
        for i in 0..SHOWN_TOPICS + 5 {
            status.take_for(&format!("t/{i:04}"), "json");
        }
        status.take_for("t/0000", "tasmota");
        status.take_for(&"x".repeat(SHOWN_TOPIC + 1), "json");
        let taken = status.taken();
        assert_eq!((taken.topics.len(), taken.others), (SHOWN_TOPICS, 6));
        assert_eq!((taken.topics["t/0000"], taken.topics["t/0001"]), ("tasmota", "json"));
    }

    #[test]
    fn a_state_change_is_told_once() {
        let status = SourceStatus::new("hub".into(), "serial", "/dev/null".into());
        assert!(status.set_state(SourceState::Up));
        assert!(!status.set_state(SourceState::Up));
        assert!(status.set_state(SourceState::Down("gone".into())));
        assert_eq!(status.last_reading_age_s(), None);
        status.read(1);
        assert!(status.last_reading_age_s().is_some_and(|age| age < 60.0));
    }
}
