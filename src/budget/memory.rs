//! How much memory the process may need, and what is done when it has more.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::heap;
use super::pressure::Pressure;
use crate::config::Config;
use crate::metrics::{Metrics, Shed};

/// The heap is trimmed at most this often while memory is above its limit.
const TRIM_EVERY: Duration = Duration::from_secs(10);
/// And this often after a peak: when there is [`PEAK`] more than was left by the last trim. Often enough that the holes of
/// one peak are gone before the next.
const TRIM_AFTER_PEAK: Duration = Duration::from_secs(10);
const PEAK: u64 = 4 * MB;

const KB: u64 = 1_000;
const MB: u64 = 1_000_000;

/// Beside its buffers, whose bound is `memory-limit`: DuckDB's catalog, appenders, transactions and parsers, and what the heap
/// holds between them; half of it are its queues of blocks to evict, which grow with the work up to a bound (docs/memory.md).
const BESIDE_BUFFERS: u64 = 24 * MB;
/// What DuckDB keeps of a million stored readings, whatever its limit.
pub const OF_A_MILLION: u64 = 300 * KB;
/// The program's own data, its threads' stacks and the runtime.
const PROGRAM: u64 = 4 * MB;
/// A row of a batch while it is made ready for its commit.
const OF_A_ROW: u64 = 160;
/// Hours that have to be computed again: their bound, and what one takes in a table that doubles as it grows.
const MARKS: u64 = 100_000 * 50;
/// A node, and a series with its newest value, with names of common length.
const OF_A_NODE: u64 = 500;
const OF_A_SERIES: u64 = 350;
/// A message that may come again, in the store and at its source, in tables that double as they grow.
const OF_A_MESSAGE: u64 = 220;
/// An HTTP connection with its buffers, and the largest answer that one may hold: 10,000 rows of CSV or of statistics.
const OF_A_CONNECTION: u64 = 50 * KB;
const OF_AN_ANSWER: u64 = 1_150 * KB;
/// Connections beyond `max-connections`, for health and counters.
const MORE_CONNECTIONS: u64 = 8;
/// Queries at once, and what one may gather: 250,000 readings or differences, sorted.
const QUERIES: u64 = 2;
const OF_A_QUERY: u64 = 6 * MB;
/// Packets of a broker that the client may have read and not given out.
const PACKETS: u64 = 12;
/// A broker's connection beside them: TLS, requests, acknowledgements.
const OF_A_BROKER: u64 = 500 * KB;
/// A serial port beside its lines: chunk, answers, what failed.
const OF_A_PORT: u64 = 100 * KB;
/// A register of a bus, with its names and its place in the schedule, and a bus beside them.
const OF_A_REGISTER: u64 = 500;
/// What of the program's file is mapped at the most; the kernel takes it back when it needs the memory.
pub const PAGES: u64 = 60 * MB;

/// One consumer of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub what: &'static str,
    /// Which keys bound it; empty where it is fixed.
    pub keys: &'static str,
    /// The most that it takes, in bytes.
    pub bytes: u64,
}

/// Every consumer of anonymous memory with its bound under `config`. Their sum is what the process needs at the most, beside
/// [`OF_A_MILLION`] for each million readings stored; the figures that are not bounds of the configuration are measured
/// (docs/memory.md).
pub fn parts(config: &Config) -> Vec<Part> {
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let rows = number(config.store.batch_rows) + number(config.intake.capacity) / 4;
    let messages = if config.mqtt.is_empty() { 0 } else { u64::from(u16::MAX) * OF_A_MESSAGE };
    let brokers = config.mqtt.iter().map(|m| PACKETS * u64::from(m.max_message) + OF_A_BROKER).sum();
    let ports = config.serial.iter().map(|s| 2 * number(s.protocol.max_held()) + OF_A_PORT).sum();
    let registers =
        |bus: &crate::config::Modbus| bus.units.iter().map(|unit| number(unit.registers.len())).sum::<u64>();
    let buses = config.modbus.iter().map(|bus| registers(bus) * OF_A_REGISTER + OF_A_PORT).sum();
    let names = number(config.store.max_nodes) * OF_A_NODE + number(config.store.max_series) * OF_A_SERIES;
    let connections = number(config.http.max_connections);
    let http = (connections + MORE_CONNECTIONS) * OF_A_CONNECTION + connections * OF_AN_ANSWER;
    let part = |what, keys, bytes| Part { what, keys, bytes };
    [
        part("the database's buffers", "[store] memory-limit", config.store.memory_limit),
        part("the database beside them", "", BESIDE_BUFFERS),
        part("the program, threads", "", PROGRAM),
        part("rows on their way", "[intake] max-bytes", config.intake.max_bytes),
        part("rows of a commit", "[store] batch-rows, [intake] capacity", rows * OF_A_ROW),
        part("names, newest values", "[store] max-nodes, max-series", names),
        part("hours to compute again", "", MARKS),
        part("messages that may come again", "", messages),
        part("queries at work", "", QUERIES * OF_A_QUERY),
        part("connections and answers", "[http] max-connections", http),
        part("brokers", "[[mqtt]] max-message", brokers),
        part("serial ports", "[[serial]] max-line, max-frame", ports),
        part("buses", "[[modbus.unit]] registers", buses),
    ]
    .into_iter()
    .filter(|part| part.bytes > 0)
    .collect()
}

/// The sum of all [`parts`].
pub fn sum(config: &Config) -> u64 {
    parts(config).iter().fold(0, |sum, part| sum.saturating_add(part.bytes))
}

/// What `gadwall check` says about memory: the sum, and what it is made of.
pub fn table(config: &Config) -> String {
    let mb = |bytes: u64| {
        let tenths = bytes.div_ceil(MB / 10);
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    let sum = sum(config);
    let mut text = format!(
        "memory: at most about {} MB, and {} MB more for each million readings stored\n",
        sum.div_ceil(MB),
        mb(OF_A_MILLION)
    );
    for Part { what, keys, bytes } in parts(config) {
        text.push_str(format!("  {what:<29}{:>7} MB  {keys}", mb(bytes)).trim_end());
        text.push('\n');
    }
    text.push_str(&match config.memory.limit {
        None => "  above that sum it sheds ([memory] limit)\n".to_owned(),
        Some(limit) => format!("  above {} MB it sheds ([memory] limit)\n", mb(limit)),
    });
    text
}

/// Anonymous memory of this process in bytes: what no file backs, and so what a kernel without swap cannot take back.
pub fn anonymous() -> Option<u64> {
    Memory::now().anon
}

/// Memory of this process, in bytes; `None` where the kernel does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Everything resident, mapped files included.
    pub rss: Option<u64>,
    /// What no file backs.
    pub anon: Option<u64>,
}

impl Memory {
    /// As it is now.
    pub fn now() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    fn parse(status: &str) -> Self {
        let bytes = |name: &str| -> Option<u64> {
            let rest = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
            rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
        };
        Self { rss: bytes("VmRSS"), anon: bytes("RssAnon") }
    }
}

/// Holds the process to its limit. Belongs to the service, which looks once a second.
#[derive(Debug)]
pub struct Keeper {
    limit: u64,
    grows: bool,
    pressure: Pressure,
    trimmed: Instant,
    /// What was left by the last trim.
    left: u64,
    metrics: Arc<Metrics>,
}

impl Keeper {
    /// With the limit of `config`, or else the sum of all parts, which grows with the readings stored.
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        let limit = config.memory.limit.unwrap_or_else(|| sum(config));
        let grows = config.memory.limit.is_none();
        let left = anonymous().unwrap_or(0);
        Self { limit, grows, pressure: Pressure::default(), trimmed: Instant::now(), left, metrics }
    }

    /// Looks once, and does what is due.
    pub fn look(&mut self) {
        let limit = self.limit.saturating_add(if self.grows { self.of_readings() } else { 0 });
        self.metrics.memory.limit.set(i64::try_from(limit).unwrap_or(i64::MAX));
        // Where the kernel does not say there is no limit.
        let Some(anon) = anonymous() else { return };
        let before = self.metrics.memory.step();
        let step = self.pressure.look(anon, limit);
        if step != before {
            self.metrics.memory.set_step(step);
            tell(before, step, anon, limit);
        }
        if self.is_due(anon, (before, step), self.trimmed.elapsed()) {
            heap::trim();
            self.metrics.memory.trims.inc();
            self.trimmed = Instant::now();
            self.left = anonymous().unwrap_or(anon);
        }
    }

    /// Whether the heap is to be trimmed, `since` after the last time, when it went from one step to another.
    fn is_due(&self, anon: u64, (before, step): (Shed, Shed), since: Duration) -> bool {
        if step > Shed::Nothing {
            before == Shed::Nothing || since >= TRIM_EVERY
        } else {
            since >= TRIM_AFTER_PEAK && anon >= self.left + PEAK
        }
    }

    fn of_readings(&self) -> u64 {
        let readings = u64::try_from(self.metrics.store.readings.get()).unwrap_or(0);
        readings.saturating_mul(OF_A_MILLION) / 1_000_000
    }
}

/// Says a change once.
fn tell(before: Shed, step: Shed, anon: u64, limit: u64) {
    if step > before {
        let what = match step {
            Shed::Nothing => "nothing",
            Shed::Trim => "what is free in the heap is given back",
            Shed::Queries => "queries are refused",
            Shed::Brokers => "brokers have to wait",
            Shed::Serial => "serial lines are dropped and batches refused",
        };
        tracing::warn!(anon, limit, step = step.as_str(), "memory is above its limit: {what}");
    } else if step == Shed::Nothing {
        tracing::info!(anon, limit, "memory is within its limit again");
    } else {
        tracing::info!(anon, limit, step = step.as_str(), "memory is below its limit: one step back");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_kernels_text() {
        let status = "Name:\tgadwall\nVmRSS:\t   41236 kB\nRssAnon:\t   12000 kB\nRssFile:\t 1 kB\n";
        assert_eq!(Memory::parse(status), Memory { rss: Some(42_225_664), anon: Some(12_288_000) });
        assert_eq!(Memory::parse(""), Memory::default());
        assert!(Memory::now().rss.is_some_and(|b| b > 100_000));
    }

    #[test]
    fn the_parts_of_the_defaults_with_a_port_and_a_broker() {
        let text = "[[serial]]\nname = \"hub\"\nport = \"/dev/hub\"\nformat = \"hub-lines\"\n\
                    [[mqtt]]\nname = \"home\"\nurl = \"mqtt://localhost\"\nsubscribe = [{ topic = \"s/{node}\" }]\n";
        let config = Config::parse(text, "x").unwrap();
        assert_eq!(
            table(&config),
            "\
memory: at most about 141 MB, and 0.3 MB more for each million readings stored
  the database's buffers          24.0 MB  [store] memory-limit
  the database beside them        24.0 MB
  the program, threads             4.0 MB
  rows on their way                8.0 MB  [intake] max-bytes
  rows of a commit                 1.6 MB  [store] batch-rows, [intake] capacity
  names, newest values             4.5 MB  [store] max-nodes, max-series
  hours to compute again           5.0 MB
  messages that may come again    14.5 MB
  queries at work                 12.0 MB
  connections and answers         38.8 MB  [http] max-connections
  brokers                          3.7 MB  [[mqtt]] max-message
  serial ports                     0.2 MB  [[serial]] max-line, max-frame
  above that sum it sheds ([memory] limit)
"
        );
        // Without sources their parts are left out.
        assert_eq!(parts(&Config::default()).len(), 9);
        let mut larger = config.clone();
        larger.store.memory_limit += 10 * MB;
        larger.intake.max_bytes += MB;
        larger.mqtt[0].max_message += 1_000_000;
        assert_eq!(sum(&larger), sum(&config) + 23 * MB);
        larger.memory.limit = Some(64 * MB);
        assert!(table(&larger).ends_with("  above 64.0 MB it sheds ([memory] limit)\n"));
    }

    #[test]
    fn it_sheds_above_its_limit_and_the_limit_grows_with_the_readings() {
        let mut config = Config::default();
        config.memory.limit = Some(1);
        let metrics = Arc::new(Metrics::default());
        let mut keeper = Keeper::new(&config, Arc::clone(&metrics));
        let steps: Vec<Shed> = (0..5)
            .map(|_| {
                keeper.look();
                metrics.memory.step()
            })
            .collect();
        assert_eq!(steps, [Shed::Trim, Shed::Queries, Shed::Brokers, Shed::Serial, Shed::Serial]);
        assert_eq!((metrics.memory.limit.get(), metrics.memory.trims.get()), (1, 1));
        assert_eq!(metrics.memory.times(Shed::Brokers).get(), 1);

        let metrics = Arc::new(Metrics::default());
        metrics.store.readings.set(10_000_000);
        let mut keeper = Keeper::new(&Config::default(), Arc::clone(&metrics));
        keeper.look();
        keeper.left = 10 * MB;
        let second = Duration::from_secs(1);
        let quiet = (Shed::Nothing, Shed::Nothing);
        assert!(keeper.is_due(14 * MB, quiet, TRIM_AFTER_PEAK));
        assert!(!keeper.is_due(14 * MB - 1, quiet, TRIM_AFTER_PEAK), "no peak");
        assert!(!keeper.is_due(14 * MB, quiet, TRIM_AFTER_PEAK.saturating_sub(second)), "not yet");
        assert!(keeper.is_due(0, (Shed::Nothing, Shed::Trim), second), "at once above the limit");
        assert!(!keeper.is_due(0, (Shed::Trim, Shed::Queries), TRIM_EVERY.saturating_sub(second)));
        assert!(keeper.is_due(0, (Shed::Queries, Shed::Trim), TRIM_EVERY));
        let sum = i64::try_from(sum(&Config::default())).unwrap();
        assert_eq!(metrics.memory.limit.get(), sum + 3_000_000);
        assert_eq!((metrics.memory.step(), metrics.memory.trims.get()), (Shed::Nothing, 0));
    }
}
