//! The rows that a batch becomes.

use std::sync::Arc;

use crate::reading::{DeadLetter, Timestamp};

/// A row for `readings`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Its series.
    pub series: i32,
    /// Its time.
    pub ts: Timestamp,
    /// Its value.
    pub value: f64,
    /// Whole seconds from its time to its arrival; 0: stamped here; `None`: not verified.
    pub lag: Option<i32>,
    /// CLOCK_BOOTTIME of the arrival of a reading that a doubtful clock has stamped: it is noted, so that the reading can
    /// be corrected.
    pub noted: Option<i64>,
}

/// A reading that waits in `unsynced` for the clock to become right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeldRow {
    /// Its series.
    pub series: i32,
    /// CLOCK_BOOTTIME of its arrival; each reading of a series has one of its own.
    pub boottime: i64,
    /// What the real-time clock showed.
    pub stamp: Timestamp,
    /// Its value.
    pub value: f64,
}

/// A row that may be in the table already.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Late {
    /// The row.
    pub row: Row,
    /// The gateway stamped it: if its time is taken it moves to the next free one.
    pub stamped: bool,
    /// Which envelope it came in, for the dead letter of a conflict.
    pub envelope: usize,
}

/// A row for `events`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventRow {
    /// Its node.
    pub node: i32,
    /// Its time.
    pub ts: Timestamp,
    /// What kind of event.
    pub kind: Arc<str>,
    /// Its details.
    pub data: String,
    /// It has a time of its own, so it can be recognised when it is sent again.
    pub known_by_time: bool,
}

/// A row for `dead_letters`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadRow {
    /// When it arrived.
    pub ts: Timestamp,
    /// Its source.
    pub source: Arc<str>,
    /// What and why.
    pub letter: DeadLetter,
}

/// A row for `unsynced`: a stored record with an impossible time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnsyncedRow {
    /// Its series.
    pub series: i32,
    /// CLOCK_BOOTTIME of its arrival.
    pub boottime: i64,
    /// The node's time.
    pub node_ts: Timestamp,
    /// Its value.
    pub value: f64,
    /// Which envelope it came in, for the dead letter when the table is full.
    pub envelope: usize,
}
