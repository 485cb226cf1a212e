//! What the kernel says about this process, as `/stats` shows it.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::Serialize;

use crate::budget::days::Bytes;
use crate::budget::written::{Card, Shown};
use crate::budget::{Written, memory};
use crate::metrics::{MemoryState, Shed};

/// Memory of the process against its limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Memory {
    /// Everything resident, mapped files included; `None` where the kernel does not say.
    pub(super) rss_bytes: Option<u64>,
    /// What no file backs.
    pub(super) anon_bytes: Option<u64>,
    /// `[memory] limit` of the anonymous memory, or the sum of all bounds; 0 before the first look.
    pub(super) limit_bytes: i64,
    /// What is given up at present.
    pub(super) shed: &'static str,
    /// Times that each step was entered.
    pub(super) shed_times: BTreeMap<&'static str, u64>,
    /// Queries that were refused.
    pub(super) refused_queries: u64,
    /// Times that the heap was given back.
    pub(super) trims: u64,
}

impl Memory {
    /// As it is now.
    pub(super) fn now(state: &MemoryState) -> Self {
        let memory = memory::Memory::now();
        let times = |step: Shed| (step.as_str(), state.times(step).get());
        Self {
            rss_bytes: memory.rss,
            anon_bytes: memory.anon,
            limit_bytes: state.limit.get(),
            shed: state.step().as_str(),
            shed_times: Shed::ALL[1..].iter().map(|step| times(*step)).collect(),
            refused_queries: state.refused.get(),
            trims: state.trims.get(),
        }
    }
}

/// Bytes that the process caused to be written to a disk, and all programs to the disk that holds the database. Days are
/// those of `[clock] timezone`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct WrittenBytes {
    /// By the process since its start.
    pub(super) bytes: Option<u64>,
    /// By this process and those before it today.
    pub(super) today_bytes: Option<u64>,
    /// The same of yesterday; `None` where nothing is known of it.
    pub(super) yesterday_bytes: Option<u64>,
    /// Name of the disk; `None` where it cannot be told.
    pub(super) device: Option<String>,
    /// To the disk since the start of the process.
    pub(super) device_bytes: Option<u64>,
    /// The last days, the oldest first.
    pub(super) days: Vec<Day>,
    /// `[store] write-budget`
    pub(super) budget_bytes: Option<u64>,
    /// More than that was written today.
    pub(super) over_budget: bool,
    /// How long a card of `[store] card-endurance` lasts.
    pub(super) card: Option<CardLife>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Day {
    pub(super) date: String,
    pub(super) bytes: u64,
    pub(super) device_bytes: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct CardLife {
    pub(super) endurance_bytes: u64,
    /// Mean of `of_days` complete days, or what was written so far made up to a day, where that is 0.
    pub(super) bytes_a_day: Option<u64>,
    pub(super) of_days: usize,
    pub(super) life_days: Option<u64>,
}

impl WrittenBytes {
    /// As it is now.
    pub(super) fn now(written: &Written) -> Self {
        written.shown().into()
    }
}

impl From<Shown> for WrittenBytes {
    fn from(shown: Shown) -> Self {
        let known = shown.device.is_some();
        let day = |(date, bytes): (NaiveDate, Bytes)| Day {
            date: date.to_string(),
            bytes: bytes.process,
            device_bytes: known.then_some(bytes.device),
        };
        Self {
            bytes: shown.bytes,
            today_bytes: shown.bytes.map(|_| shown.today.process),
            yesterday_bytes: shown.yesterday.map(|bytes| bytes.process),
            device: shown.device,
            device_bytes: shown.device_bytes,
            days: shown.days.into_iter().map(day).collect(),
            budget_bytes: shown.budget,
            over_budget: shown.over_budget,
            card: shown.card.map(CardLife::from),
        }
    }
}

impl From<Card> for CardLife {
    fn from(card: Card) -> Self {
        Self {
            endurance_bytes: card.endurance,
            bytes_a_day: card.a_day,
            of_days: card.of_days,
            life_days: card.life_days(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shed_is_shown_by_step() {
        let state = MemoryState::default();
        state.limit.set(64_000_000);
        state.set_step(Shed::Trim);
        state.set_step(Shed::Queries);
        state.refused.add(7);
        let memory = Memory::now(&state);
        assert!(memory.rss_bytes.is_some_and(|bytes| bytes > 100_000));
        let expected = BTreeMap::from([("trim", 1), ("queries", 1), ("brokers", 0), ("serial", 0)]);
        assert_eq!((memory.limit_bytes, memory.shed, memory.shed_times), (64_000_000, "queries", expected));
        assert_eq!((memory.refused_queries, memory.trims), (7, 0));
    }

    #[test]
    fn what_is_not_known_is_null() {
        let date: NaiveDate = "2025-10-09".parse().unwrap();
        let shown = Shown {
            bytes: Some(5),
            device: None,
            device_bytes: None,
            today: Bytes { process: 4, device: 0 },
            yesterday: None,
            days: vec![(date, Bytes { process: 4, device: 0 })],
            budget: Some(3),
            over_budget: true,
            card: Some(Card { endurance: 10_000, a_day: Some(100), of_days: 7 }),
        };
        assert_eq!(
            serde_json::to_value(WrittenBytes::from(shown)).unwrap(),
            serde_json::json!({
                "bytes": 5, "today_bytes": 4, "yesterday_bytes": null, "device": null, "device_bytes": null,
                "days": [{"date": "2025-10-09", "bytes": 4, "device_bytes": null}],
                "budget_bytes": 3, "over_budget": true,
                "card": {"endurance_bytes": 10_000, "bytes_a_day": 100, "of_days": 7, "life_days": 100},
            })
        );
    }
}
