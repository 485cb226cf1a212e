//! `[[quality]]`: what is known of series, for the questions about the quality of their readings.

use std::time::Duration;

/// `[[quality]]`: what a person knows of some series. Of each key the first section that sets it counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Quality {
    /// `node`: the node's name, or `source/name`; `*` stands for any text. All nodes by default.
    pub node: String,
    /// `metric`: the metric; `*` stands for any text. All metrics by default.
    pub metric: String,
    /// `interval`: the time from one reading to the next. 100 ms to 365 days.
    pub interval: Interval,
    /// `min`: values below are outliers.
    pub min: Option<f64>,
    /// `max`: values above are outliers; not below `min`.
    pub max: Option<f64>,
    /// `stuck`: a value that does not change for so long is stuck. 1 s to 1,000 days.
    pub stuck: Option<Duration>,
}

impl Default for Quality {
    fn default() -> Self {
        Self { node: "*".into(), metric: "*".into(), interval: Interval::Learnt, min: None, max: None, stuck: None }
    }
}

/// `[[quality]] interval`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interval {
    /// Not set: it is learnt from the readings.
    #[default]
    Learnt,
    /// Readings come so far apart.
    Every(Duration),
    /// `"irregular"`: readings come when something happens, so none is missing.
    Irregular,
}
