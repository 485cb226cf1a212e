//! The readings of all benchmarks: fifty series every 30 s, values with two decimals, the same in every run.

use std::sync::Arc;

use gadwall::reading::{Decoded, Reading, Timestamp, When};

/// Series: ten nodes with five metrics each.
pub const SERIES: usize = 50;
/// Nodes.
pub const NODES: usize = 10;
/// Metrics of a node.
pub const METRICS: [&str; 5] = ["temperature", "humidity", "pressure", "co2", "battery"];
/// Seconds from a reading of a series to its next.
pub const STEP: i64 = 30;
/// The first reading: 2023-11-14T00:00:00Z.
pub const START: i64 = 1_699_920_000;
/// Readings of a day.
pub const DAY: usize = SERIES * 86_400 / STEP as usize;

/// What the values are like. Both cost bytes in the file; what real sensors send lies between them and nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// 0.00 to 29.99 without any order, and all series at the same second.
    Plain,
    /// Five metrics of different ranges with a daily course and noise, and each node at a second of its own.
    Mixed,
}

impl Shape {
    /// The shape by its name on a command line.
    pub fn parse(name: &str) -> anyhow::Result<Self> {
        match name {
            "plain" => Ok(Self::Plain),
            "mixed" => Ok(Self::Mixed),
            other => anyhow::bail!("`{other}` is no shape of data: plain or mixed"),
        }
    }
}

/// Reading number `n`: its series (0 to 49), its time in microseconds, and its value. Times never go back.
pub fn reading(shape: Shape, n: usize) -> (usize, i64, f64) {
    let (series, step) = (n % SERIES, (n / SERIES) as i64);
    let at = START + step * STEP;
    match shape {
        Shape::Plain => (series, at * 1_000_000, ((n * 7_919) % 3_000) as f64 / 100.0),
        Shape::Mixed => {
            let node = series / METRICS.len();
            let at = at + 3 * node as i64;
            (series, at * 1_000_000, climate(series, at, n))
        }
    }
}

fn climate(series: usize, at: i64, n: usize) -> f64 {
    let day = std::f64::consts::TAU * (at % 86_400) as f64 / 86_400.0;
    let year = std::f64::consts::TAU * (at % 31_557_600) as f64 / 31_557_600.0;
    let noise = (mix(n as u64) % 2_001) as f64 / 1_000.0 - 1.0;
    let node = (series / METRICS.len()) as f64;
    let value = match METRICS[series % METRICS.len()] {
        "temperature" => 12.0 + 9.0 * year.sin() + 5.0 * (day + node).sin() + 0.1 * noise,
        "humidity" => 60.0 - 15.0 * (day + node).sin() + 0.6 * noise,
        "pressure" => 1_013.0 + 8.0 * (7.3 * year).sin() + 0.05 * noise,
        "co2" => 600.0 + 180.0 * (day + node).cos() + 12.0 * noise,
        _ => 3.9 - 0.4 * (at % 7_776_000) as f64 / 7_776_000.0 + 0.01 * noise,
    };
    (value * 100.0).round() / 100.0
}

/// SplitMix64's last step: numbers without an order that are the same in every run.
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The names of the series, as the gateway knows them.
#[derive(Clone, Debug)]
pub struct Names(Vec<(Arc<str>, Arc<str>)>);

impl Names {
    /// All of them.
    pub fn new() -> Self {
        let metrics: Vec<Arc<str>> = METRICS.iter().map(|m| Arc::from(*m)).collect();
        Self((0..SERIES).map(|s| (node(s / METRICS.len()).into(), Arc::clone(&metrics[s % METRICS.len()]))).collect())
    }

    /// The readings `first` up to `first + rows`, with their own times or without.
    pub fn readings(&self, shape: Shape, first: usize, rows: usize, timed: bool) -> Decoded {
        let readings = (first..first + rows)
            .map(|n| {
                let (series, ts, value) = reading(shape, n);
                let (node, metric) = &self.0[series];
                let when = if timed { When::Live(Timestamp(ts)) } else { When::Arrival };
                Reading { node: Arc::clone(node), metric: Arc::clone(metric), own_name: None, unit: None, when, value }
            })
            .collect();
        Decoded { readings, ..Decoded::default() }
    }
}

/// Name of node `n`.
pub fn node(n: usize) -> String {
    format!("node{n}")
}
