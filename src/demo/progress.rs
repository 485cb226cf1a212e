//! What the demo prints while it runs and at its end. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::bail;
use serde_json::Value;

use super::hub::HubCounts;
use super::publishers::PublishCounts;
use crate::status::{grouped, size, span};

/// The daemon's numbers at one moment; `None` where it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) received: Option<u64>,
    pub(super) committed: Option<u64>,
    pub(super) duplicate: Option<u64>,
    pub(super) dead: Option<u64>,
    pub(super) queue: Option<u64>,
    pub(super) memory: Option<u64>,
    pub(super) file: Option<u64>,
}

impl Figures {
    /// From the answer of `/stats`.
    pub(super) fn read(stats: &Value) -> Self {
        let at = |path: &str| stats.pointer(path).and_then(Value::as_u64);
        Self {
            received: at("/readings/received"),
            committed: at("/readings/committed"),
            duplicate: at("/readings/duplicate"),
            dead: at("/readings/dead"),
            queue: at("/queue/depth"),
            memory: at("/memory/rss_bytes"),
            file: at("/store/file_bytes"),
        }
    }
}

/// The line of one second.
pub(super) fn line(elapsed: Duration, figures: &Figures) -> String {
    format!(
        "{:>5} s   in {:>9}   committed {:>9}   queue {:>6}   memory {:>8}   file {:>8}",
        elapsed.as_secs(),
        shown(figures.received, grouped),
        shown(figures.committed, grouped),
        shown(figures.queue, grouped),
        shown(figures.memory, size),
        shown(figures.file, size),
    )
}

fn shown(value: Option<u64>, show: impl FnOnce(u64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

/// The account of the whole demo.
#[derive(Clone, Copy, Debug)]
pub(super) struct Summary {
    /// How long the senders were at work.
    pub(super) elapsed: Duration,
    /// What the hub sent.
    pub(super) hub: HubCounts,
    /// What was published; `None` without a broker.
    pub(super) mqtt: Option<PublishCounts>,
    /// Rows that the daemon had stored at the end.
    pub(super) stored: u64,
    /// The daemon's numbers at the end.
    pub(super) figures: Figures,
}

impl Summary {
    /// Readings that were sent, each of which has to be stored once.
    pub(super) fn sent(&self) -> u64 {
        self.hub.readings + self.mqtt.map_or(0, |mqtt| mqtt.readings)
    }

    /// The account as lines.
    pub(super) fn text(&self) -> String {
        let Self { hub, stored, figures, .. } = self;
        let mut text = String::new();
        let mut row = |label: &str, value: &str, note: &str| {
            let note = if note.is_empty() { String::new() } else { format!("   {note}") };
            writeln!(text, "  {label:<13} {value:>11}{note}").expect("a String takes every text");
        };
        let (batches, acked, resent) = (grouped(hub.batches), grouped(hub.acked), grouped(hub.resent));
        let note = format!("{batches} batches, {acked} of them acknowledged, {resent} sent again; and live readings");
        row("sent by hub", &grouped(hub.readings), &note);
        match self.mqtt {
            Some(mqtt) => {
                let note = format!("{} messages, each acknowledged", grouped(mqtt.messages));
                row("sent by MQTT", &grouped(mqtt.readings), &note);
            }
            None => row("sent by MQTT", "0", "there was no broker"),
        }
        row("stored", &grouped(*stored), "rows of /api/v1/readings");
        row("duplicates", &shown(figures.duplicate, grouped), "not stored again");
        row("dead letters", &shown(figures.dead, grouped), "");
        format!("Summary of {}:\n{text}", span(self.elapsed.as_secs_f64()))
    }

    /// The sentence that all is well.
    ///
    /// # Errors
    /// When it is not: with what differs.
    pub(super) fn verdict(&self) -> anyhow::Result<String> {
        let (sent, stored) = (self.sent(), self.stored);
        let unacked = self.hub.batches - self.hub.acked;
        let unpublished = self.mqtt.map_or(0, |mqtt| mqtt.unacked);
        if sent != stored {
            let difference = grouped(sent.abs_diff(stored));
            let way = if stored < sent { "too few" } else { "too many" };
            bail!("sent and stored differ: {} sent, {} stored, {difference} {way}", grouped(sent), grouped(stored));
        }
        if unacked > 0 || unpublished > 0 {
            bail!("{unacked} batches and {unpublished} messages were never acknowledged");
        }
        Ok(format!("Sent equals stored: {} readings, each of them once.", grouped(sent)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn figures() -> Figures {
        Figures::read(&json!({
            "readings": {"received": 12_345, "committed": 12_000, "duplicate": 60, "dead": 0},
            "queue": {"depth": 345}, "memory": {"rss_bytes": 41_250_000}, "store": {"file_bytes": 1_310_720},
        }))
    }

    fn summary() -> Summary {
        Summary {
            elapsed: Duration::from_secs(63),
            hub: HubCounts { readings: 4_711, batches: 75, acked: 75, resent: 1, refused: 1, busy: false },
            mqtt: Some(PublishCounts { messages: 300, readings: 1_450, unacked: 0, unheard: 2 }),
            stored: 6_161,
            figures: figures(),
        }
    }

    #[test]
    fn a_line_has_all_figures_or_dashes() {
        assert_eq!(
            line(Duration::from_millis(12_900), &figures()),
            "   12 s   in    12,345   committed    12,000   queue    345   memory  41.2 MB   file   1.3 MB"
        );
        assert_eq!(
            line(Duration::ZERO, &Figures::read(&json!({"queue": 3}))),
            "    0 s   in         -   committed         -   queue      -   memory        -   file        -"
        );
    }

    #[test]
    fn the_summary_accounts_for_everything() {
        let expected = "\
Summary of 1 min 3 s:
  sent by hub         4,711   75 batches, 75 of them acknowledged, 1 sent again; and live readings
  sent by MQTT        1,450   300 messages, each acknowledged
  stored              6,161   rows of /api/v1/readings
  duplicates             60   not stored again
  dead letters            0
";
        assert_eq!(summary().text(), expected);
        assert_eq!(summary().verdict().unwrap(), "Sent equals stored: 6,161 readings, each of them once.");
        let alone = Summary { mqtt: None, stored: 4_711, ..summary() };
        assert!(alone.text().contains("\n  sent by MQTT            0   there was no broker\n"));
        assert_eq!(alone.verdict().unwrap(), "Sent equals stored: 4,711 readings, each of them once.");
    }

    #[test]
    fn a_difference_and_a_missing_acknowledgement_are_errors() {
        let verdict = |summary: Summary| summary.verdict().unwrap_err().to_string();
        assert_eq!(
            verdict(Summary { stored: 6_160, ..summary() }),
            "sent and stored differ: 6,161 sent, 6,160 stored, 1 too few"
        );
        assert_eq!(
            verdict(Summary { stored: 7_161, ..summary() }),
            "sent and stored differ: 6,161 sent, 7,161 stored, 1,000 too many"
        );
        let hub = HubCounts { acked: 74, ..summary().hub };
        assert_eq!(verdict(Summary { hub, ..summary() }), "1 batches and 0 messages were never acknowledged");
    }
}
