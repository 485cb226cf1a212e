//! `GET /stats`: counters and state as one JSON object.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State as Shared;
use serde::Serialize;

use super::State;
use super::names::Text;
use super::process::{Memory, WrittenBytes};
use crate::metrics::{DropReason, Gauge, Metrics, SourceState, SourceStatus, UnitStatus, UpkeepCounts};
use crate::reading::{DeadReason, Timestamp};

/// Everything that is shown, at one moment. `/metrics` is made from it as well.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Stats {
    pub(super) version: &'static str,
    pub(super) uptime_s: u64,
    pub(super) readings: Readings,
    pub(super) queue: Queue,
    pub(super) commits: Commits,
    pub(super) store: Store,
    pub(super) rollups: Rollups,
    pub(super) removed: Removed,
    pub(super) written: WrittenBytes,
    pub(super) memory: Memory,
    pub(super) clock: Clock,
    pub(super) http: Http,
    pub(super) sources: Vec<Source>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Readings {
    pub(super) received: u64,
    pub(super) committed: u64,
    pub(super) duplicate: u64,
    pub(super) conflict: u64,
    pub(super) expired: u64,
    pub(super) unsynced: u64,
    pub(super) dropped: u64,
    pub(super) dead: u64,
    pub(super) dropped_by_reason: BTreeMap<&'static str, u64>,
    pub(super) dead_by_reason: BTreeMap<&'static str, u64>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Queue {
    pub(super) depth: i64,
    pub(super) capacity: i64,
    pub(super) bytes: i64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Commits {
    pub(super) count: u64,
    pub(super) last_ms: f64,
    pub(super) failed: u64,
    pub(super) flush_interval_s: f64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Store {
    pub(super) up: bool,
    pub(super) file_bytes: u64,
    pub(super) wal_bytes: u64,
    pub(super) readings: i64,
    pub(super) nodes: i64,
    pub(super) series: i64,
    pub(super) recovered: u64,
    pub(super) recovery: Option<String>,
    pub(super) damaged: u64,
    pub(super) damage: Option<String>,
    pub(super) events: u64,
    pub(super) dead_letters: u64,
    pub(super) free_bytes: i64,
    pub(super) min_free_bytes: i64,
    pub(super) space: &'static str,
    pub(super) space_low: u64,
    pub(super) space_full: u64,
    pub(super) poison: u64,
    pub(super) compactions: u64,
    pub(super) reusable_bytes: i64,
    pub(super) size: &'static str,
    pub(super) forgotten: u64,
    pub(super) forgotten_readings: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Rollups {
    pub(super) hours: u64,
    pub(super) days: u64,
    pub(super) dirty: i64,
    pub(super) hours_until: Option<String>,
    pub(super) days_until: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Removed {
    pub(super) readings: u64,
    pub(super) by_reason: BTreeMap<&'static str, u64>,
    pub(super) rollups: u64,
    pub(super) before: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Clock {
    pub(super) trusted: bool,
    pub(super) synchronised: bool,
    pub(super) withheld: u64,
    pub(super) jumps: u64,
    pub(super) unsynced: i64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Http {
    pub(super) open: i64,
    pub(super) closed_for_others: u64,
    pub(super) refused: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Source {
    pub(super) name: Text,
    pub(super) kind: &'static str,
    pub(super) address: String,
    /// How what comes is read; of a broker each subscription says it.
    pub(super) format: Option<&'static str>,
    pub(super) state: &'static str,
    pub(super) reason: Option<String>,
    pub(super) problems: Vec<String>,
    pub(super) last_reading_age_s: Option<f64>,
    pub(super) last_heard_age_s: Option<f64>,
    pub(super) bytes: u64,
    pub(super) frames: u64,
    pub(super) readings: u64,
    pub(super) dead: u64,
    pub(super) skipped_bytes: u64,
    pub(super) connects: u64,
    pub(super) acked: u64,
    pub(super) refused: u64,
    pub(super) unanswered: u64,
    pub(super) last_dead: Option<LastDead>,
    /// What topics were taken for, by topic; only where a subscription leaves that open.
    pub(super) formats: BTreeMap<String, &'static str>,
    /// Messages of topics that are not among them, because the list is full.
    pub(super) formats_others: u64,
    /// The devices that it asks, by their addresses.
    pub(super) units: Vec<Asked>,
}

/// A device of a bus.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Asked {
    pub(super) unit: u8,
    pub(super) nodes: Vec<String>,
    pub(super) state: &'static str,
    pub(super) reason: Option<String>,
    pub(super) last_answer_age_s: Option<f64>,
    pub(super) answers: u64,
    pub(super) exceptions: BTreeMap<String, u64>,
    pub(super) unanswered: u64,
    pub(super) garbled: u64,
    pub(super) late: u64,
    pub(super) passed_over: u64,
}

/// The last dead letter of a source that was stored.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LastDead {
    pub(super) reason: &'static str,
    pub(super) detail: String,
    pub(super) age_s: f64,
}

/// The route.
pub(super) async fn stats(Shared(state): Shared<Arc<State>>) -> Json<Stats> {
    Json(Stats::now(&state))
}

impl Stats {
    /// As it is now. Reads a few small files of `/proc`, and the sizes of the database files.
    pub(super) fn now(state: &State) -> Self {
        let metrics = &*state.metrics;
        let mut wal = state.store_path.clone().into_os_string();
        wal.push(".wal");
        let size = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |m| m.len());
        let store = &metrics.store;
        Self {
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: state.started.elapsed().as_secs(),
            readings: Readings::now(metrics),
            queue: Queue {
                depth: metrics.queue.depth.get(),
                capacity: metrics.queue.capacity.get(),
                bytes: metrics.queue.bytes.get(),
            },
            commits: Commits {
                count: store.commits.get(),
                last_ms: milliseconds(store.last_commit_us.get()),
                failed: store.failed.get(),
                flush_interval_s: milliseconds(store.flush_interval_us.get()) / 1000.0,
            },
            store: Store {
                up: !store.down.load(Ordering::Relaxed) && !store.space_full.load(Ordering::Relaxed),
                file_bytes: size(&state.store_path),
                wal_bytes: size(wal.as_ref()),
                readings: store.readings.get(),
                nodes: store.nodes.get(),
                series: store.series.get(),
                recovered: store.recovered.get(),
                recovery: store.recovery(),
                damaged: store.damaged.get(),
                damage: store.damage(),
                events: store.events.get(),
                dead_letters: store.dead_letters.get(),
                free_bytes: store.free_bytes.get(),
                min_free_bytes: store.min_free_bytes.get(),
                space: if store.space_full.load(Ordering::Relaxed) {
                    "full"
                } else if store.space_low.load(Ordering::Relaxed) {
                    "low"
                } else {
                    "ok"
                },
                space_low: store.space_low_times.get(),
                space_full: store.space_full_times.get(),
                poison: store.poison.get(),
                compactions: store.compactions.get(),
                reusable_bytes: store.upkeep.reusable_bytes.get(),
                size: if store.upkeep.over_size.load(Ordering::Relaxed) { "over" } else { "ok" },
                forgotten: store.upkeep.forgotten.get(),
                forgotten_readings: store.upkeep.forgotten_readings.get(),
            },
            rollups: Rollups::now(&store.upkeep),
            removed: Removed::now(&store.upkeep),
            written: WrittenBytes::now(&state.written),
            memory: Memory::now(&metrics.memory),
            clock: Clock {
                trusted: metrics.clock.trusted.load(Ordering::Relaxed),
                synchronised: metrics.clock.synchronised.load(Ordering::Relaxed),
                withheld: metrics.clock.withheld.get(),
                jumps: metrics.clock.jumps.get(),
                unsynced: metrics.clock.unsynced.get(),
            },
            http: Http {
                open: metrics.http.open.get(),
                closed_for_others: metrics.http.closed_for_others.get(),
                refused: metrics.http.refused.get(),
            },
            sources: metrics.sources().iter().map(|s| Source::now(s)).collect(),
        }
    }
}

impl Rollups {
    fn now(upkeep: &UpkeepCounts) -> Self {
        Self {
            hours: upkeep.hours.get(),
            days: upkeep.days.get(),
            dirty: upkeep.dirty.get(),
            hours_until: time(&upkeep.rolled_hours),
            days_until: time(&upkeep.rolled_days),
        }
    }
}

impl Removed {
    fn now(upkeep: &UpkeepCounts) -> Self {
        let by_reason = BTreeMap::from([
            ("age", upkeep.removed_age.get()),
            ("size", upkeep.removed_size.get()),
            ("space", upkeep.removed_space.get()),
        ]);
        Self {
            readings: by_reason.values().sum(),
            by_reason,
            rollups: upkeep.removed_rollups.get(),
            before: time(&upkeep.expired_before),
        }
    }
}

/// A time that is kept as microseconds, where it is set.
fn time(gauge: &Gauge) -> Option<String> {
    Some(gauge.get()).filter(|micros| *micros != 0).map(|micros| Timestamp(micros).to_string())
}

impl Readings {
    fn now(metrics: &Metrics) -> Self {
        let counts = &metrics.readings;
        Self {
            received: counts.received.get(),
            committed: counts.committed.get(),
            duplicate: counts.duplicate.get(),
            conflict: counts.conflict.get(),
            expired: counts.expired.get(),
            unsynced: counts.unsynced.get(),
            dropped: counts.dropped_total(),
            dead: counts.dead_total(),
            dropped_by_reason: DropReason::ALL.iter().map(|r| (r.as_str(), counts.dropped(*r).get())).collect(),
            dead_by_reason: DeadReason::ALL.iter().map(|r| (r.as_str(), counts.dead(*r).get())).collect(),
        }
    }
}

impl Source {
    fn now(source: &SourceStatus) -> Self {
        let state = source.state();
        let taken = source.taken();
        Self {
            formats: taken.topics,
            formats_others: taken.others,
            name: (&source.name).into(),
            kind: source.kind,
            address: source.address.clone(),
            format: source.format,
            state: state.as_str(),
            reason: match state {
                SourceState::Down(why) => Some(why),
                _ => None,
            },
            problems: source.problems(),
            last_dead: source.last_dead().map(|(reason, detail, age_s)| LastDead {
                reason: reason.as_str(),
                detail,
                age_s,
            }),
            last_reading_age_s: source.last_reading_age_s(),
            last_heard_age_s: source.last_heard_age_s(),
            bytes: source.bytes.get(),
            frames: source.frames.get(),
            readings: source.readings.get(),
            dead: source.dead.get(),
            skipped_bytes: source.skipped_bytes.get(),
            connects: source.connects.get(),
            acked: source.acked.get(),
            refused: source.refused.get(),
            unanswered: source.unanswered.get(),
            units: source.units.all().into_iter().map(|(id, unit)| Asked::now(id, unit)).collect(),
        }
    }
}

impl Asked {
    fn now(id: u8, unit: UnitStatus) -> Self {
        Self {
            unit: id,
            nodes: unit.nodes,
            state: unit.state.as_str(),
            reason: unit.reason,
            last_answer_age_s: unit.answered_at.map(|at| at.elapsed().as_secs_f64()),
            answers: unit.answers,
            exceptions: unit.exceptions,
            unanswered: unit.unanswered,
            garbled: unit.garbled,
            late: unit.late,
            passed_over: unit.passed_over,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a duration is far below 2^53 microseconds")]
fn milliseconds(micros: i64) -> f64 {
    micros as f64 / 1000.0
}
