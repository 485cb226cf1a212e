//! The comparison: what was acknowledged against what is stored.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::RangeInclusive;

use crate::harness::Stored;
use crate::load::{self, DEVICE, Kind, Ledger, STUCK, T0};
use crate::rig::{Plan, Rig, Round};

/// What the broker's log tells of its deliveries to the gateway.
#[derive(Debug, Default)]
pub struct Deliveries {
    /// How often each topic's messages were sent as new ones (DUP = 0).
    new: HashMap<String, usize>,
    /// How often they were acknowledged by the gateway.
    acknowledged: HashMap<String, usize>,
}

impl Deliveries {
    /// Out of the log of a broker that logs each packet.
    pub fn read(log: &str, client: &str) -> Self {
        let (sent, answered) =
            (format!("Sending PUBLISH to {client} ("), format!("Received PUBACK from {client} (Mid: "));
        let mut topics: HashMap<&str, &str> = HashMap::new();
        let mut found = Self::default();
        for line in log.lines() {
            if let Some((_, rest)) = line.split_once(&sent) {
                // d0, q1, r0, m7, 'topic', ... (5 bytes))
                let mut fields = rest.split(", ");
                let (dup, packet) = (fields.next(), fields.nth(2).and_then(|m| m.strip_prefix('m')));
                let (Some(dup), Some(packet), Some(topic)) = (dup, packet, rest.split('\'').nth(1)) else { continue };
                topics.insert(packet, topic);
                if dup == "d0" {
                    *found.new.entry(topic.to_owned()).or_default() += 1;
                }
            } else if let Some((_, rest)) = line.split_once(&answered)
                && let Some(topic) = rest.split([',', ')']).next().and_then(|packet| topics.get(packet))
            {
                *found.acknowledged.entry((*topic).to_owned()).or_default() += 1;
            }
        }
        found
    }
}

/// The counts of a round.
#[derive(Debug, Default)]
pub struct Counts {
    published: usize,
    pubacks: usize,
    /// Messages of the publisher in the file, each counted once.
    stored: usize,
    records: usize,
    acked: usize,
    /// Records of the hub in the file, each counted once.
    stored_records: usize,
    lost: usize,
    twice: usize,
    /// Stored, and nobody has sent it so.
    strange: usize,
    /// Acknowledged by the broker, and gone with the broker before the gateway had it.
    lost_by_broker: usize,
    /// Sent by the broker as new more than once.
    twice_by_broker: usize,
    again: (usize, usize),
    first: Option<String>,
}

impl Counts {
    /// Nothing lost, nothing twice, nothing else.
    pub fn good(&self) -> bool {
        self.lost == 0 && self.twice == 0 && self.strange == 0
    }

    fn wrong(&mut self, what: impl FnOnce(&mut Self) -> &mut usize, n: usize, text: impl FnOnce() -> String) {
        if n > 0 {
            *what(self) += n;
            if self.first.is_none() {
                self.first = Some(text());
            }
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "mqtt {} sent {} acked {} stored, hub {} sent {} acked {} stored, lost {}, twice {}",
            self.published,
            self.pubacks,
            self.stored,
            self.records,
            self.acked,
            self.stored_records,
            self.lost,
            self.twice
        )?;
        if self.strange > 0 {
            write!(f, ", never sent {}", self.strange)?;
        }
        if self.again != (0, 0) {
            write!(f, ", sent again {} messages {} batches", self.again.0, self.again.1)?;
        }
        if (self.lost_by_broker, self.twice_by_broker) != (0, 0) {
            write!(f, ", the broker's own: {} lost {} twice", self.lost_by_broker, self.twice_by_broker)?;
        }
        if let Some(first) = &self.first {
            write!(f, "; the first: {first}")?;
        }
        Ok(())
    }
}

/// Compares. What the gateway stamps lies within `times`. `broker`, where the broker itself was killed, excuses what is its doing: a message that the gateway never
/// acknowledged to it, and one that it sent as new more than once (with a time of its own it is stored once all the same).
pub fn compare(ledger: &Ledger, stored: &Stored, times: &RangeInclusive<i64>, broker: Option<&Deliveries>) -> Counts {
    let mut counts = Counts {
        published: ledger.messages.len(),
        pubacks: ledger.pubacks(),
        records: ledger.records.len(),
        acked: ledger.records.iter().filter(|r| r.1).count(),
        again: (ledger.messages_again, ledger.batches_again),
        ..Counts::default()
    };
    messages(&mut counts, ledger, stored, times, broker);
    records(&mut counts, ledger, stored);
    counts
}

fn messages(
    counts: &mut Counts,
    ledger: &Ledger,
    stored: &Stored,
    times: &RangeInclusive<i64>,
    broker: Option<&Deliveries>,
) {
    let mut copies: BTreeMap<usize, usize> = BTreeMap::new();
    let mut stuck = 0;
    for row in stored.rows.iter().filter(|r| r.source == "home") {
        if row.node == "end" || row.metric.starts_with("other") {
            continue;
        }
        let i = row.value as usize;
        let fits = match (row.node.as_str(), row.metric.as_str()) {
            ("s", "value") if row.value == STUCK => {
                stuck += 1;
                continue;
            }
            (node, metric) if i < ledger.messages.len() && node == load::node(i) => match load::kind(i) {
                Kind::Timed => metric == "v" && row.ts == (T0 + i as i64) * 1_000_000,
                Kind::Bare => metric == "value" && times.contains(&row.ts) && row.lag == Some(0),
                Kind::Stuck => false,
            },
            // Another sender's.
            (node, _) if node.starts_with('x') => continue,
            _ => false,
        };
        counts.wrong(|c| &mut c.strange, usize::from(!fits), || format!("never sent: {row:?}"));
        *copies.entry(i).or_default() += 1;
    }
    counts.stored = copies.len();
    let (mut stuck_sent, mut stuck_acked) = (0, 0);
    for (i, acknowledged) in ledger.messages.iter().enumerate() {
        if load::kind(i) == Kind::Stuck {
            stuck_sent += 1;
            stuck_acked += usize::from(*acknowledged);
            continue;
        }
        let topic = load::topic(i);
        let found = copies.get(&i).copied().unwrap_or(0);
        if found == 0 {
            let has = broker.is_none_or(|b| b.acknowledged.contains_key(&topic));
            if has {
                counts.wrong(|c| &mut c.lost, usize::from(*acknowledged), || format!("lost: {topic}"));
            } else {
                counts.lost_by_broker += usize::from(*acknowledged);
            }
        }
        let sent = broker.and_then(|b| b.new.get(&topic)).copied().unwrap_or(1);
        let may = if load::kind(i) == Kind::Timed { 1 } else { sent.max(1) };
        counts.twice_by_broker += found.min(may).saturating_sub(1);
        counts.wrong(|c| &mut c.twice, found.saturating_sub(may), || format!("{found} times: {topic}"));
    }
    // They are all equal, so only their number can be right.
    counts.stored += stuck.min(stuck_sent);
    match broker {
        None => {
            let text = || format!("{stuck} of {stuck_sent} equal messages, {stuck_acked} of them acknowledged");
            counts.wrong(|c| &mut c.lost, stuck_acked.saturating_sub(stuck), text);
            counts.wrong(|c| &mut c.twice, stuck.saturating_sub(stuck_sent), text);
        }
        Some(b) => {
            let sent = b.new.get("stuck/s").copied().unwrap_or(0);
            counts.wrong(
                |c| &mut c.twice,
                stuck.saturating_sub(sent),
                || format!("{stuck} equal messages, and the broker sent {sent}"),
            );
            counts.lost_by_broker += stuck_sent.saturating_sub(stuck);
            counts.twice_by_broker += stuck.saturating_sub(stuck_sent);
        }
    }
}

fn records(counts: &mut Counts, ledger: &Ledger, stored: &Stored) {
    const METRICS: [&str; 3] = ["temperature", "humidity", "flags"];
    let mut copies: BTreeMap<(i64, &str), usize> = BTreeMap::new();
    let mut heartbeats: BTreeMap<i64, usize> = BTreeMap::new();
    let devices = [DEVICE.to_string(), (DEVICE + 1).to_string()];
    for row in stored.rows.iter().filter(|r| r.source == "hub" && devices.contains(&r.node)) {
        if row.metric == "uptime" {
            *heartbeats.entry(row.value as i64).or_default() += 1;
        }
        let Some(metric) = METRICS.into_iter().find(|m| *m == row.metric) else { continue };
        let j = row.ts / 1_000_000 - T0;
        let sent = usize::try_from(j).ok().and_then(|j| ledger.records.get(j));
        let must = load::record(j.max(0));
        let value = match metric {
            "temperature" => must.temp as f64 / 100.0,
            "humidity" => must.hum as f64 / 100.0,
            _ => f64::from(must.flags),
        };
        let fits = sent.is_some_and(|s| s.0.to_string() == row.node) && row.ts % 1_000_000 == 0 && row.value == value;
        counts.wrong(|c| &mut c.strange, usize::from(!fits), || format!("never sent: {row:?}"));
        *copies.entry((j, metric)).or_default() += 1;
    }
    for (j, (_, acked)) in ledger.records.iter().enumerate() {
        let found = METRICS.map(|m| copies.get(&(j as i64, m)).copied().unwrap_or(0));
        counts.stored_records += usize::from(found.iter().all(|n| *n > 0));
        if *acked {
            counts.wrong(|c| &mut c.lost, usize::from(found.contains(&0)), || format!("lost: record {j}"));
        }
        let twice = found.iter().map(|n| n.saturating_sub(1)).max().unwrap_or(0);
        counts.wrong(|c| &mut c.twice, twice, || format!("{found:?} times: record {j}"));
    }
    for (number, found) in heartbeats {
        counts.wrong(|c| &mut c.twice, found - 1, || format!("{found} times: heartbeat {number}"));
        let sent = (1..=ledger.heartbeats).contains(&number);
        counts.wrong(|c| &mut c.strange, usize::from(!sent), || format!("never sent: heartbeat {number}"));
    }
}

/// No fault: a good file is changed here in every way that the comparison has to see.
pub fn detects(_: &mut Round) -> String {
    let mut rig = Rig::start(&Plan::default());
    rig.wait_progress();
    assert!(rig.load.finish(crate::rig::PATIENCE), "not everything is acknowledged");
    rig.settle();
    let mut stored = rig.daemon.finish();
    let (ledger, times) = (rig.load.ledger(), rig.times());
    let count = |stored: &Stored| {
        let counts = compare(&ledger, stored, &times, None);
        (counts.lost, counts.twice, counts.strange)
    };
    assert_eq!(count(&stored), (0, 0, 0), "{}", compare(&ledger, &stored, &times, None));
    for (node, metric) in [("n0", "v"), ("n0", "value"), ("s", "value"), (&DEVICE.to_string(), "humidity")] {
        let at = stored.rows.iter().position(|r| r.node == node && r.metric == metric).expect("one of each kind");
        let row = stored.rows.remove(at);
        assert_eq!(count(&stored), (1, 0, 0), "{row:?} is gone");
        stored.rows.insert(0, row.clone());
        stored.rows.insert(0, row.clone());
        assert_eq!(count(&stored), (0, 1, 0), "{row:?} is there twice");
        stored.rows[0].value += 0.25 + ledger.messages.len() as f64;
        let strange = count(&stored);
        assert_eq!((strange.0, strange.2), (0, 1), "{:?} was never sent", stored.rows[0]);
        stored.rows.remove(0);
    }
    compare(&ledger, &stored, &times, None).to_string()
}
