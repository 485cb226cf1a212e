//! `GET /metrics`: what `/stats` shows, in the OpenMetrics text format.

use std::fmt;
use std::sync::Arc;

use axum::extract::State as Shared;
use axum::http::header;
use axum::response::IntoResponse;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::State;
use super::stats::{Source, Stats};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The route.
pub(super) async fn metrics(Shared(state): Shared<Arc<State>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], render(Stats::now(&state)))
}

fn render(stats: Stats) -> String {
    let mut registry = Registry::with_prefix("gadwall");
    registry.register_collector(Box::new(stats));
    let mut out = String::new();
    text::encode(&mut out, &registry).expect("a text is written into memory");
    out
}

impl Collector for Stats {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        out.process(self)?;
        out.readings(self)?;
        out.store(self)?;
        out.sources(&self.sources)
    }
}

struct Out<'a>(DescriptorEncoder<'a>);

type Counters<'a> = &'a [(&'a str, &'a str, u64)];
type Gauges<'a> = &'a [(&'a str, &'a str, Option<Unit>, f64)];

#[expect(clippy::cast_precision_loss, reason = "a gauge is a double; bytes and rows stay far below 2^53")]
impl Out<'_> {
    fn process(&mut self, s: &Stats) -> fmt::Result {
        let mut info = self.0.encode_descriptor("build", "Version of the daemon", None, MetricType::Info)?;
        info.encode_info(&[("version", s.version)])?;
        self.gauges(&[
            ("uptime", "Time since the start", Some(Unit::Seconds), s.uptime_s as f64),
            ("queue_depth_rows", "Rows that wait for their commit", None, s.queue.depth as f64),
            ("queue_capacity_rows", "Rows that may wait for their commit", None, s.queue.capacity as f64),
            ("queue", "Size of what waits for its commit", Some(Unit::Bytes), s.queue.bytes as f64),
            ("clock_trusted", "1 while the clock is trusted", None, f64::from(u8::from(s.clock.trusted))),
            ("clock_synchronised", "1 while it is synchronised", None, f64::from(u8::from(s.clock.synchronised))),
            ("http_open", "Open HTTP connections", None, s.http.open as f64),
        ])?;
        self.counters(&[
            ("clock_withheld", "Questions for the time that were not answered", s.clock.withheld),
            ("http_closed_for_others", "HTTP connections closed because others needed them", s.http.closed_for_others),
            ("http_refused", "HTTP requests refused because too many were being answered", s.http.refused),
        ])?;
        if let Some(rss) = s.memory.rss_bytes {
            self.gauges(&[("memory_rss", "Resident memory", Some(Unit::Bytes), rss as f64)])?;
        }
        if let Some(anon) = s.memory.anon_bytes {
            self.gauges(&[("memory_anon", "Anonymous memory", Some(Unit::Bytes), anon as f64)])?;
        }
        let m = &s.memory;
        self.gauges(&[
            ("memory_limit", "Anonymous memory above which load is shed", Some(Unit::Bytes), m.limit_bytes as f64),
            ("memory_shedding", "1 while load is shed", None, f64::from(u8::from(m.shed != "nothing"))),
        ])?;
        let times: Vec<_> = m.shed_times.iter().map(|(step, times)| (*step, *times)).collect();
        self.labelled("memory_shed", "Times that memory was above its limit, by step", None, "step", &times)?;
        self.counters(&[
            ("memory_refused_queries", "Queries refused for lack of memory", m.refused_queries),
            ("memory_trims", "Times that the heap was given back", m.trims),
        ])?;
        self.written(s)
    }

    fn written(&mut self, s: &Stats) -> fmt::Result {
        let w = &s.written;
        let bytes = Some(&Unit::Bytes);
        if let Some(written) = w.bytes {
            self.counter("written", "Bytes that the process caused to be written", bytes, written)?;
        }
        if let Some(written) = w.device_bytes {
            self.counter(
                "device_written",
                "Bytes written to the disk of the database since the start",
                bytes,
                written,
            )?;
        }
        let of_day = [
            ("written_today", "Bytes written today, also before this start", w.today_bytes),
            ("write_budget", "Bytes that may be written a day", w.budget_bytes),
        ];
        for (name, help, value) in of_day {
            if let Some(value) = value {
                self.gauges(&[(name, help, Some(Unit::Bytes), value as f64)])?;
            }
        }
        if let Some(days) = w.card.and_then(|card| card.life_days) {
            let help = "How long a new card of the configured endurance lasts at this rate";
            self.gauges(&[("card_life", help, Some(Unit::Seconds), days as f64 * 86_400.0)])?;
        }
        let interval = s.commits.flush_interval_s;
        self.gauges(&[("flush_interval", "Oldest age of what waits for its commit", Some(Unit::Seconds), interval)])
    }

    fn readings(&mut self, s: &Stats) -> fmt::Result {
        let r = &s.readings;
        self.counters(&[
            ("readings_received", "Readings decoded", r.received),
            ("readings_committed", "Readings stored", r.committed),
            ("readings_duplicate", "Readings that were known already", r.duplicate),
            ("readings_conflict", "Readings with another value than the stored one", r.conflict),
            ("readings_expired", "Readings older than what is kept", r.expired),
            ("readings_unsynced", "Stored records kept aside for their impossible time", r.unsynced),
        ])?;
        let dropped: Vec<_> = r.dropped_by_reason.iter().map(|(reason, n)| (*reason, *n)).collect();
        self.labelled("readings_dropped", "Readings dropped before the store", None, "reason", &dropped)?;
        let dead: Vec<_> = r.dead_by_reason.iter().map(|(reason, n)| (*reason, *n)).collect();
        self.labelled("dead_letters", "What became a dead letter", None, "reason", &dead)
    }

    fn store(&mut self, s: &Stats) -> fmt::Result {
        self.counters(&[
            ("commits", "Durable commits", s.commits.count),
            ("commits_failed", "Commits that failed and were tried again", s.commits.failed),
            ("store_recovered", "Repairs of the database at start", s.store.recovered),
            ("store_damaged", "Times that a query or a commit met damage of the database", s.store.damaged),
            ("store_events", "Events written", s.store.events),
            ("store_dead_letters", "Dead letters written", s.store.dead_letters),
            ("store_space_low", "Times that free space came to be low", s.store.space_low),
            ("store_space_full", "Times that there came to be too little free space to commit", s.store.space_full),
            ("store_poison", "Messages put aside because they could not be stored", s.store.poison),
            ("store_compactions", "Times that the file was replaced by a smaller one", s.store.compactions),
            (
                "store_forgotten",
                "Series forgotten because nothing or next to nothing is kept of them",
                s.store.forgotten,
            ),
            ("rollups_hourly", "Hourly rollups computed", s.rollups.hours),
            ("rollups_daily", "Daily rollups computed", s.rollups.days),
            ("rollups_removed", "Rollups removed", s.removed.rollups),
        ])?;
        let removed: Vec<_> = s.removed.by_reason.iter().map(|(reason, n)| (*reason, *n)).collect();
        self.labelled("readings_removed", "Readings removed behind their rollups", None, "reason", &removed)?;
        self.gauges(&[
            ("commit_last", "Duration of the last commit", Some(Unit::Seconds), s.commits.last_ms / 1000.0),
            ("store_up", "1 while the store can commit", None, f64::from(u8::from(s.store.up))),
            ("store_file", "Size of the database file", Some(Unit::Bytes), s.store.file_bytes as f64),
            ("store_reusable", "Space in it that holds nothing", Some(Unit::Bytes), s.store.reusable_bytes as f64),
            ("rollups_dirty", "Hours that have to be computed again", None, s.rollups.dirty as f64),
            ("store_wal", "Size of its write-ahead log", Some(Unit::Bytes), s.store.wal_bytes as f64),
            ("store_free", "Free space beside the database", Some(Unit::Bytes), s.store.free_bytes as f64),
            ("store_min_free", "Free space that a commit needs", Some(Unit::Bytes), s.store.min_free_bytes as f64),
            ("store_readings", "Readings stored", None, s.store.readings as f64),
            ("store_nodes", "Nodes known", None, s.store.nodes as f64),
            ("store_series", "Series known", None, s.store.series as f64),
        ])
    }

    fn sources(&mut self, sources: &[Source]) -> fmt::Result {
        if sources.is_empty() {
            return Ok(());
        }
        let up = |s: &Source| Some(f64::from(u8::from(s.state == "up")));
        self.source_gauge("source_up", "1 while the source is connected and heard of", None, sources, up)?;
        let age = |s: &Source| s.last_reading_age_s;
        self.source_gauge("source_reading_age", "Age of the last reading", Some(&Unit::Seconds), sources, age)?;
        let mut each = |name, help, unit: Option<&Unit>, value: fn(&Source) -> u64| {
            let values: Vec<_> = sources.iter().map(|s| (&*s.name, value(s))).collect();
            self.labelled(name, help, unit, "source", &values)
        };
        each("source_received", "Bytes received", Some(&Unit::Bytes), |s| s.bytes)?;
        each("source_skipped", "Bytes skipped to find the next frame", Some(&Unit::Bytes), |s| s.skipped_bytes)?;
        each("source_frames", "Frames or messages received", None, |s| s.frames)?;
        each("source_readings", "Readings decoded", None, |s| s.readings)?;
        each("source_dead_letters", "What became a dead letter", None, |s| s.dead)?;
        each("source_connects", "Times that it was opened or connected", None, |s| s.connects)?;
        each("source_acked", "Acknowledgements sent", None, |s| s.acked)?;
        each("source_refused", "Negative answers sent", None, |s| s.refused)?;
        each("source_unanswered", "Questions to a device without an answer in time", None, |s| s.unanswered)
    }

    fn counters(&mut self, counters: Counters<'_>) -> fmt::Result {
        counters.iter().try_for_each(|(name, help, value)| self.counter(name, help, None, *value))
    }

    fn counter(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: u64) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)
    }

    fn gauges(&mut self, gauges: Gauges<'_>) -> fmt::Result {
        for (name, help, unit, value) in gauges {
            let metric = self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
            ConstGauge::new(*value).encode(metric)?;
        }
        Ok(())
    }

    fn labelled(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        label: &str,
        values: &[(&str, u64)],
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (of, value) in values {
            ConstCounter::new(*value).encode(family.encode_family(&[(label, *of)])?)?;
        }
        Ok(())
    }

    fn source_gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        sources: &[Source],
        value: impl Fn(&Source) -> Option<f64>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for source in sources {
            if let Some(value) = value(source) {
                ConstGauge::new(value).encode(family.encode_family(&[("source", &*source.name)])?)?;
            }
        }
        Ok(())
    }
}
