//! What travels between the stages: a reading, an event, a dead letter, and the envelope that carries those of one
//! frame or message together with the receipt of its sender.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Longest name of a source, node or metric, in bytes. Longer names become a dead letter.
pub const MAX_NAME: usize = 128;

/// Longest excerpt of a dead letter, in bytes; what is longer is cut.
pub const MAX_EXCERPT: usize = 1024;

/// Kind of the event that tells of a node's clock: its time was impossible, or could not be read.
pub const CLOCK_EVENT: &str = "clock";

/// Kind of the event that tells whether a node is there. Its data is [`ONLINE`] or [`OFFLINE`].
pub const AVAILABILITY_EVENT: &str = "availability";
/// The node says, or its broker's will for it, that it is there.
pub const ONLINE: &str = "online";
/// The node has gone.
pub const OFFLINE: &str = "offline";

/// Earliest time of a node that is believed: 2015-01-01T00:00:00Z.
pub const EARLIEST: Timestamp = Timestamp::from_secs(1_420_070_400);
/// Latest time that is believed while our own clock is in doubt: 2100-01-01T00:00:00Z.
pub const LATEST: Timestamp = Timestamp::from_secs(4_102_444_800);
/// How far ahead of the arrival a node's time is believed, in microseconds.
const AHEAD: i64 = 86_400 * 1_000_000;

/// A point in time: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// From whole seconds since 1970, saturating at the ends of the range.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since 1970.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds from `earlier` to `self`, rounded towards the past and kept within `i32`.
    pub fn secs_since(self, earlier: Self) -> i32 {
        let secs = self.0.saturating_sub(earlier.0).div_euclid(1_000_000);
        i32::try_from(secs).unwrap_or(if secs < 0 { i32::MIN } else { i32::MAX })
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, with microseconds where they are not zero; `invalid` outside of what chrono can show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match chrono::DateTime::from_timestamp_micros(self.0) {
            Some(t) => f.write_str(&t.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)),
            None => f.write_str("invalid"),
        }
    }
}

/// When a reading was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The sender gave no time: the arrival counts.
    Arrival,
    /// A live value with the sender's time. Where that time is impossible, the arrival counts and an event says so.
    Live(Timestamp),
    /// A value that the sender had stored, with its time. Where that time is impossible, it is kept beside the readings
    /// under the sender's own time, so that it is known when it is sent again.
    Stored(Timestamp),
}

/// A unit of measure: one that is known beforehand, or one that the publisher has told.
pub type Unit = Cow<'static, str>;

/// One value of one metric of one node.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Name of the sensor node; numeric ids in decimal.
    pub node: Arc<str>,
    /// Name of the metric, such as `temperature`.
    pub metric: Arc<str>,
    /// The publisher's own name of the metric, where it has another (`Temperature` for `temperature`).
    pub own_name: Option<Arc<str>>,
    /// Unit of the value, such as `degC`; `None` where the format does not say.
    pub unit: Option<Unit>,
    /// When it was taken.
    pub when: When,
    /// The value; always finite. Booleans are 0 and 1.
    pub value: f64,
}

/// Something that happened at a node, with text instead of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Name of the sensor node.
    pub node: Arc<str>,
    /// What kind of event, such as `event` or `clock`.
    pub kind: Arc<str>,
    /// When it happened.
    pub when: When,
    /// Its details as text.
    pub data: String,
}

/// Why a frame, a message or a reading was put aside as a dead letter. The text is what `/stats`, `/metrics` and the
/// table `dead_letters` show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeadReason {
    /// The bytes do not follow the format.
    Malformed,
    /// The line or message is longer than its limit.
    TooLong,
    /// The text is not UTF-8.
    NotUtf8,
    /// A number does not fit, or is not finite.
    BadNumber,
    /// A node, metric or event kind is empty or over [`MAX_NAME`].
    BadName,
    /// The topic matches none of the configured patterns.
    UnmatchedTopic,
    /// It was decoded and holds no reading.
    NoReading,
    /// The node has not registered with its hub (device id 0).
    Unregistered,
    /// More values in one message than its limit.
    TooManyValues,
    /// `max-nodes` is reached.
    TooManyNodes,
    /// `max-series` is reached, or the source's share of it.
    TooManySeries,
    /// The source uses more than half of its share of nodes or series, and brings new ones too fast.
    TooManyNew,
    /// Another value is stored for the same series and time.
    Conflict,
    /// The table of readings with impossible times is full.
    UnsyncedFull,
    /// It cannot be stored although the store is sound, or the process ended each time that it was about to be stored.
    Poison,
}

impl DeadReason {
    /// All reasons, in the order of [`DeadReason::index`].
    pub const ALL: [Self; 15] = [
        Self::Malformed,
        Self::TooLong,
        Self::NotUtf8,
        Self::BadNumber,
        Self::BadName,
        Self::UnmatchedTopic,
        Self::NoReading,
        Self::Unregistered,
        Self::TooManyValues,
        Self::TooManyNodes,
        Self::TooManySeries,
        Self::TooManyNew,
        Self::Conflict,
        Self::UnsyncedFull,
        Self::Poison,
    ];

    /// The reason as it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLong => "too-long",
            Self::NotUtf8 => "not-utf8",
            Self::BadNumber => "bad-number",
            Self::BadName => "bad-name",
            Self::UnmatchedTopic => "unmatched-topic",
            Self::NoReading => "no-reading",
            Self::Unregistered => "unregistered",
            Self::TooManyValues => "too-many-values",
            Self::TooManyNodes => "too-many-nodes",
            Self::TooManySeries => "too-many-series",
            Self::TooManyNew => "too-many-new",
            Self::Conflict => "conflict",
            Self::UnsyncedFull => "unsynced-full",
            Self::Poison => "poison",
        }
    }

    /// Position in [`DeadReason::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A frame, message or reading that could not be stored as it is, with an excerpt of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Why.
    pub reason: DeadReason,
    /// Details for a person: what was expected, and where. Stored behind the reason.
    pub detail: String,
    /// The first bytes of what was received, at most [`MAX_EXCERPT`].
    pub excerpt: Vec<u8>,
}

impl DeadLetter {
    /// A dead letter with `bytes` cut to [`MAX_EXCERPT`].
    pub fn new(reason: DeadReason, detail: impl Into<String>, bytes: &[u8]) -> Self {
        Self { reason, detail: detail.into(), excerpt: bytes[..bytes.len().min(MAX_EXCERPT)].to_vec() }
    }
}

/// What a decoder makes of one frame or message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// Its readings.
    pub readings: Vec<Reading>,
    /// Its events.
    pub events: Vec<Event>,
    /// What of it could not be stored.
    pub dead: Vec<DeadLetter>,
}

impl Decoded {
    /// Rows that it takes in the store, and permits that it takes in the channel: at least one.
    pub fn rows(&self) -> usize {
        (self.readings.len() + self.events.len() + self.dead.len()).max(1)
    }

    /// Takes what another holds, behind its own.
    pub fn append(&mut self, other: Self) {
        self.readings.extend(other.readings);
        self.events.extend(other.events);
        self.dead.extend(other.dead);
    }

    /// Whether it holds nothing at all.
    pub fn is_empty(&self) -> bool {
        self.readings.is_empty() && self.events.is_empty() && self.dead.is_empty()
    }
}

/// When and under which clock a frame or message arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// CLOCK_REALTIME.
    pub at: Timestamp,
    /// CLOCK_BOOTTIME, microseconds since this boot: never jumps.
    pub boottime: i64,
    /// Whether the real-time clock could be trusted at that moment (`[clock] trust`).
    pub trusted: bool,
}

impl Arrival {
    /// Whether a node's time can be right: from 2015 until one day ahead of this arrival. While our own clock is in doubt
    /// the upper end is no more than a sanity check.
    pub fn believes(&self, ts: Timestamp) -> bool {
        let latest = if self.trusted { Timestamp(self.at.micros().saturating_add(AHEAD)) } else { LATEST };
        ts >= EARLIEST && ts <= latest
    }
}

/// First 8 bytes of the SHA-256 over topic, a zero byte and payload. It is compared among messages of one packet id only,
/// and each of them is written with a commit: more bytes would cost more than they tell.
pub type Digest = [u8; 8];

/// What makes a redelivered MQTT message recognisable (design 4, "Redelivery").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Packet id that the broker gave it; ids recur, so it proves nothing alone.
    pub packet: u16,
    /// The broker marked it as sent before (DUP = 1).
    pub dup: bool,
    /// That of its topic and payload.
    pub digest: Digest,
    /// Which part of the message, when it was too large for one envelope; else 0.
    pub part: u16,
}

/// The answer to a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything in the envelope is durable, or was already.
    Committed,
    /// What could be stored of it is durable; some of it exceeds a bound of the store (`max-nodes`, `max-series`, ...) and
    /// was counted and put to the dead letters. Sent again it would fare no better, for as long as the bound is reached.
    Refused,
    /// It is not stored; the sender may send it again.
    Failed,
}

type Answer = Box<dyn FnOnce(Outcome) + Send>;

/// The sender's claim to an answer. It is answered exactly once; one that is dropped answers [`Outcome::Failed`].
///
/// The answer runs on the writer's thread: it must not block (send into a channel, set a flag).
pub struct Receipt(Option<Answer>);

impl Receipt {
    /// A receipt that calls `answer` once.
    pub fn new(answer: impl FnOnce(Outcome) + Send + 'static) -> Self {
        Self(Some(Box::new(answer)))
    }

    /// For senders that cannot be answered.
    pub const fn none() -> Self {
        Self(None)
    }

    /// Answers it.
    pub fn answer(mut self, outcome: Outcome) {
        if let Some(answer) = self.0.take() {
            answer(outcome);
        }
    }

    /// `parts` receipts that together answer this one, with the worst of their answers.
    pub fn split(self, parts: usize) -> Vec<Self> {
        struct Shared {
            left: AtomicUsize,
            refused: AtomicBool,
            failed: AtomicBool,
            whole: std::sync::Mutex<Option<Receipt>>,
        }
        let shared = Arc::new(Shared {
            left: AtomicUsize::new(parts),
            refused: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            whole: std::sync::Mutex::new(Some(self)),
        });
        (0..parts)
            .map(|_| {
                let shared = Arc::clone(&shared);
                Self::new(move |outcome| {
                    match outcome {
                        Outcome::Committed => {}
                        Outcome::Refused => shared.refused.store(true, Ordering::Release),
                        Outcome::Failed => shared.failed.store(true, Ordering::Release),
                    }
                    if shared.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                        let whole = shared.whole.lock().ok().and_then(|mut w| w.take());
                        if let Some(whole) = whole {
                            whole.answer(if shared.failed.load(Ordering::Acquire) {
                                Outcome::Failed
                            } else if shared.refused.load(Ordering::Acquire) {
                                Outcome::Refused
                            } else {
                                Outcome::Committed
                            });
                        }
                    }
                })
            })
            .collect()
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(answer) = self.0.take() {
            answer(Outcome::Failed);
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Receipt(open)" } else { "Receipt(none)" })
    }
}

/// The readings, events and dead letters of one frame or message on their way to the store.
#[derive(Debug)]
pub struct Envelope {
    /// Name of the source that it came through.
    pub source: Arc<str>,
    /// When it arrived.
    pub arrival: Arrival,
    /// Its contents.
    pub content: Decoded,
    /// Set for QoS 1 messages whose readings have no time of their own.
    pub delivery: Option<Delivery>,
    /// Its sender is waiting for the answer right now: commit as soon as possible.
    pub waiting: bool,
    /// Its sender's claim to an answer.
    pub receipt: Receipt,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn recording() -> (Receipt, Arc<Mutex<Vec<Outcome>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&seen);
        (Receipt::new(move |o| into.lock().unwrap().push(o)), seen)
    }

    #[test]
    fn a_dropped_receipt_fails_and_an_answered_one_answers_once() {
        let (receipt, seen) = recording();
        drop(receipt);
        assert_eq!(*seen.lock().unwrap(), [Outcome::Failed]);
        let (receipt, seen) = recording();
        receipt.answer(Outcome::Committed);
        assert_eq!(*seen.lock().unwrap(), [Outcome::Committed]);
    }

    #[test]
    fn a_split_receipt_is_committed_only_when_all_parts_are() {
        let (receipt, seen) = recording();
        let mut parts = receipt.split(3);
        parts.pop().unwrap().answer(Outcome::Committed);
        parts.pop().unwrap().answer(Outcome::Committed);
        assert!(seen.lock().unwrap().is_empty());
        parts.pop().unwrap().answer(Outcome::Committed);
        assert_eq!(*seen.lock().unwrap(), [Outcome::Committed]);

        let (receipt, seen) = recording();
        let mut parts = receipt.split(2);
        drop(parts.pop());
        parts.pop().unwrap().answer(Outcome::Refused);
        assert_eq!(*seen.lock().unwrap(), [Outcome::Failed]);

        let (receipt, seen) = recording();
        let mut parts = receipt.split(2);
        parts.pop().unwrap().answer(Outcome::Refused);
        parts.pop().unwrap().answer(Outcome::Committed);
        assert_eq!(*seen.lock().unwrap(), [Outcome::Refused]);
    }

    #[test]
    fn lag_is_rounded_towards_the_past_and_saturates() {
        assert_eq!(Timestamp(2_500_000).secs_since(Timestamp(1_000_000)), 1);
        assert_eq!(Timestamp(0).secs_since(Timestamp(1)), -1);
        assert_eq!(Timestamp(i64::MAX).secs_since(Timestamp(0)), i32::MAX);
    }
}
