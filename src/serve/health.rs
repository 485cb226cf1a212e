//! `GET /healthz`: whether readings are being committed, and if not, what is in the way.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use serde::Serialize;

use super::State;
use crate::metrics::{Metrics, Shed, SourceState, SourceStatus};
use crate::reading::Timestamp;

/// Microseconds without a sign of life after which the writer counts as stuck.
const WRITER_SILENCE: i64 = 30_000_000;

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Health {
    status: &'static str,
    checks: Vec<Check>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Check {
    name: String,
    ok: bool,
    detail: String,
}

/// The route.
pub(super) async fn healthz(Shared(state): Shared<Arc<State>>) -> (StatusCode, Json<Health>) {
    let checks = checks(&state.metrics, state.clock.now().boottime);
    if checks.iter().all(|c| c.ok) {
        (StatusCode::OK, Json(Health { status: "ok", checks }))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "failing", checks }))
    }
}

fn checks(metrics: &Metrics, boottime: i64) -> Vec<Check> {
    let mut checks = vec![store(metrics, boottime), space(metrics), queue(metrics), memory(metrics), clock(metrics)];
    checks.extend(metrics.sources().iter().map(|s| source(s)));
    checks
}

fn check(name: impl Into<String>, result: Result<String, String>) -> Check {
    let ok = result.is_ok();
    let (Ok(detail) | Err(detail)) = result;
    Check { name: name.into(), ok, detail }
}

fn store(metrics: &Metrics, boottime: i64) -> Check {
    let store = &metrics.store;
    let alive = store.writer_alive_at.get();
    let silent = (boottime - alive) / 1_000_000;
    check(
        "store",
        if store.down.load(Ordering::Relaxed) {
            Err("the store cannot commit at present".into())
        } else if alive == 0 {
            Err("the writer has not begun".into())
        } else if boottime - alive > WRITER_SILENCE {
            Err(format!("the writer has given no sign of life for {silent} s"))
        } else if store.wary.load(Ordering::Relaxed) {
            Ok(format!("{} commits, noted one by one after several bad ends", store.commits.get()))
        } else {
            let repaired = store.recovery().map_or_else(String::new, |text| format!("; repaired at start: {text}"));
            let damaged =
                store.damage().map_or_else(String::new, |text| format!("; DAMAGED, a restart repairs it: {text}"));
            Ok(format!("{} commits{damaged}{repaired}", store.commits.get()))
        },
    )
}

fn space(metrics: &Metrics) -> Check {
    let store = &metrics.store;
    let (free, needed) = (megabytes(store.free_bytes.get()), megabytes(store.min_free_bytes.get()));
    check(
        "space",
        if store.space_full.load(Ordering::Relaxed) {
            Err(format!("{free} free on the disk, {needed} needed: nothing is stored until there is room"))
        } else if store.upkeep.over_size.load(Ordering::Relaxed) {
            Ok(format!(
                "{free} free on the disk; the database is over its bound, and no closed day of readings is left to remove"
            ))
        } else if store.space_low.load(Ordering::Relaxed) {
            Ok(format!("low: {free} free on the disk; nothing is stored below {needed}"))
        } else if store.min_free_bytes.get() == 0 {
            Ok("not looked at yet".into())
        } else {
            Ok(format!("{free} free on the disk"))
        },
    )
}

fn megabytes(bytes: i64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
}

fn queue(metrics: &Metrics) -> Check {
    let (depth, capacity) = (metrics.queue.depth.get(), metrics.queue.capacity.get());
    let detail = format!("{depth} of {capacity} rows wait for their commit");
    check("queue", if capacity > 0 && depth >= capacity { Err(detail) } else { Ok(detail) })
}

fn memory(metrics: &Metrics) -> Check {
    let memory = &metrics.memory;
    let limit = megabytes(memory.limit.get());
    check(
        "memory",
        match memory.step() {
            Shed::Nothing => Ok(format!("within its limit of {limit}")),
            Shed::Trim => Ok(format!("above its limit of {limit}: the heap is given back")),
            Shed::Queries => Ok(format!("above its limit of {limit}: queries are refused")),
            Shed::Brokers => Err(format!("above its limit of {limit}: nothing is read from brokers")),
            Shed::Serial => Err(format!("above its limit of {limit}: nothing is taken in")),
        },
    )
}

fn clock(metrics: &Metrics) -> Check {
    let trusted = metrics.clock.trusted.load(Ordering::Relaxed);
    let synchronised = metrics.clock.synchronised.load(Ordering::Relaxed);
    check(
        "clock",
        match (trusted, synchronised) {
            (false, _) if metrics.clock.before_floor.load(Ordering::Relaxed) => {
                Err(format!("the clock is before the newest reading of {}", Timestamp(metrics.clock.floor.get())))
            }
            (false, _) => Err("the clock cannot be trusted: it is not synchronised".into()),
            (true, true) => Ok("synchronised".into()),
            (true, false) => Ok("trusted, not synchronised".into()),
        },
    )
}

fn source(source: &SourceStatus) -> Check {
    let problems = source.problems();
    let mut failing = match source.state() {
        SourceState::Starting | SourceState::Up => None,
        SourceState::Silent => Some("connected, and silent for longer than its limit".to_owned()),
        // The reason of a broker names it; that of a port is told beside its path.
        SourceState::Down(why) if source.kind != "mqtt" => Some(format!("{}: {why}", source.address)),
        SourceState::Down(why) => Some(why),
    };
    for problem in problems {
        failing = Some(failing.map_or_else(|| problem.clone(), |all| format!("{all}; {problem}")));
    }
    let mut state = source.state().as_str().to_owned();
    // A unit may be switched off: an inverter is by night.
    if let (dead, all) = source.units.dead()
        && !dead.is_empty()
    {
        let dead: Vec<String> = dead.iter().map(ToString::to_string).collect();
        state.push_str(&format!("; {} of {all} units do not answer: {}", dead.len(), dead.join(", ")));
    }
    check(format!("source {}", source.name), failing.map_or(Ok(state), Err))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Metrics {
        let metrics = Metrics::default();
        metrics.store.writer_alive_at.set(100_000_000);
        metrics.queue.capacity.set(20);
        metrics.clock.trusted.store(true, Ordering::Relaxed);
        metrics
    }

    fn failing(metrics: &Metrics, boottime: i64) -> Vec<(String, String)> {
        checks(metrics, boottime).into_iter().filter(|c| !c.ok).map(|c| (c.name, c.detail)).collect()
    }

    #[test]
    fn no_source_and_a_live_writer_are_healthy() {
        assert_eq!(failing(&healthy(), 130_000_000), []);
    }

    #[test]
    fn a_stuck_writer_a_store_that_is_down_a_full_queue_and_a_wrong_clock_fail() {
        let metrics = healthy();
        let one = |name: &str, detail: &str| vec![(name.to_owned(), detail.to_owned())];
        assert_eq!(failing(&metrics, 141_000_000), one("store", "the writer has given no sign of life for 41 s"));
        metrics.store.down.store(true, Ordering::Relaxed);
        assert_eq!(failing(&metrics, 100_000_000), one("store", "the store cannot commit at present"));
        metrics.store.down.store(false, Ordering::Relaxed);
        metrics.queue.depth.set(20);
        assert_eq!(failing(&metrics, 100_000_000), one("queue", "20 of 20 rows wait for their commit"));
        metrics.queue.depth.set(19);
        metrics.clock.trusted.store(false, Ordering::Relaxed);
        assert_eq!(failing(&metrics, 100_000_000), one("clock", "the clock cannot be trusted: it is not synchronised"));
        metrics.clock.before_floor.store(true, Ordering::Relaxed);
        metrics.clock.floor.set(1_760_000_000_000_000);
        let floor = "the clock is before the newest reading of 2025-10-09T08:53:20Z";
        assert_eq!(failing(&metrics, 100_000_000), one("clock", floor));
        metrics.store.writer_alive_at.set(0);
        assert_eq!(failing(&metrics, 1)[0].1, "the writer has not begun");
    }

    #[test]
    fn damage_that_was_met_is_told_while_readings_are_committed() {
        let metrics = healthy();
        metrics.store.commits.add(7);
        metrics.store.repaired("cut the WAL".into());
        metrics.store.damage_met("a query met it: Corrupt database file".into());
        metrics.store.damage_met("a commit met it: another".into());
        assert_eq!(failing(&metrics, 100_000_000), []);
        assert_eq!(
            checks(&metrics, 100_000_000)[0].detail,
            "7 commits; DAMAGED, a restart repairs it: a query met it: Corrupt database file; \
             repaired at start: cut the WAL"
        );
    }

    #[test]
    fn too_little_space_fails_and_low_space_is_told() {
        let metrics = healthy();
        let detail = || checks(&metrics, 100_000_000).into_iter().find(|c| c.name == "space").unwrap().detail;
        assert_eq!(detail(), "not looked at yet");
        metrics.store.free_bytes.set(1_234_567_890);
        metrics.store.min_free_bytes.set(32_000_000);
        assert_eq!(detail(), "1234.5 MB free on the disk");
        metrics.store.free_bytes.set(60_000_000);
        metrics.store.space_low.store(true, Ordering::Relaxed);
        assert_eq!(detail(), "low: 60.0 MB free on the disk; nothing is stored below 32.0 MB");
        assert_eq!(failing(&metrics, 100_000_000), []);
        metrics.store.free_bytes.set(31_950_000);
        metrics.store.space_full.store(true, Ordering::Relaxed);
        assert_eq!(
            failing(&metrics, 100_000_000),
            [(
                "space".to_owned(),
                "31.9 MB free on the disk, 32.0 MB needed: nothing is stored until there is room".to_owned()
            )]
        );
    }

    #[test]
    fn shed_queries_are_told_and_readings_that_are_not_taken_in_fail() {
        let metrics = healthy();
        metrics.memory.limit.set(64_000_000);
        metrics.memory.set_step(Shed::Queries);
        let detail = checks(&metrics, 100_000_000).into_iter().find(|c| c.name == "memory").unwrap().detail;
        assert_eq!(detail, "above its limit of 64.0 MB: queries are refused");
        assert_eq!(failing(&metrics, 100_000_000), []);
        metrics.memory.set_step(Shed::Brokers);
        let failed = ("memory".to_owned(), "above its limit of 64.0 MB: nothing is read from brokers".to_owned());
        assert_eq!(failing(&metrics, 100_000_000), [failed]);
    }

    #[test]
    fn sources_fail_with_their_reason() {
        let metrics = healthy();
        let hub = metrics.add_source(SourceStatus::new("hub".into(), "serial", "/dev/ttyX".into()));
        let home = metrics.add_source(SourceStatus::new("home".into(), "mqtt", "mqtt://localhost".into()));
        hub.set_state(SourceState::Up);
        assert_eq!(failing(&metrics, 100_000_000), []);
        hub.set_state(SourceState::Down("it does not exist".into()));
        home.set_state(SourceState::Silent);
        home.set_problems(vec!["the broker refused `a/#`".into(), "the broker refused `b/#`".into()]);
        assert_eq!(
            failing(&metrics, 100_000_000),
            [
                ("source hub".to_owned(), "/dev/ttyX: it does not exist".to_owned()),
                (
                    "source home".to_owned(),
                    "connected, and silent for longer than its limit; the broker refused `a/#`; the broker refused `b/#`"
                        .to_owned()
                ),
            ]
        );
    }
}
