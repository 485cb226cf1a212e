//! What is known of each device that a source asks.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use super::lock;

/// Whether a device answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnitState {
    /// It was not heard of yet.
    #[default]
    Starting,
    /// It answers.
    Up,
    /// It has missed several answers in a row, and is tried seldom.
    Dead,
}

impl UnitState {
    /// One word for `/stats`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Dead => "dead",
        }
    }
}

/// Counts and state of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitStatus {
    /// Its nodes.
    pub nodes: Vec<String>,
    /// Whether it answers.
    pub state: UnitState,
    /// Why it does not, for a person.
    pub reason: Option<String>,
    /// Its answers with data.
    pub answers: u64,
    /// Its exceptions by their names.
    pub exceptions: BTreeMap<String, u64>,
    /// Requests without an answer in time.
    pub unanswered: u64,
    /// Requests with bytes behind them that were no answer.
    pub garbled: u64,
    /// Answers that nobody waited for any more.
    pub late: u64,
    /// How many of them there were when it answered last.
    pub late_before: u64,
    /// Times of its intervals that passed without a request.
    pub passed_over: u64,
    /// When it answered last.
    pub answered_at: Option<Instant>,
}

/// The devices of a source by their addresses.
#[derive(Debug, Default)]
pub struct Units(Mutex<BTreeMap<u8, UnitStatus>>);

impl Units {
    /// Changes what is known of one, which is there from then on.
    pub fn note(&self, id: u8, change: impl FnOnce(&mut UnitStatus)) {
        change(lock(&self.0).entry(id).or_default());
    }

    /// All of them.
    pub fn all(&self) -> BTreeMap<u8, UnitStatus> {
        lock(&self.0).clone()
    }

    /// The addresses of those that are dead, and how many there are in all.
    pub fn dead(&self) -> (Vec<u8>, usize) {
        let units = lock(&self.0);
        (units.iter().filter(|(_, unit)| unit.state == UnitState::Dead).map(|(id, _)| *id).collect(), units.len())
    }
}
