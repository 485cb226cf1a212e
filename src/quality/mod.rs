//! Data quality of one series, as arithmetic: how often its readings come and which are missing, which values stand out,
//! and which stood still. Readings go in in the order of time, findings come out; no store, no clock.
//!
//! `docs/quality.md` has each number's formula and its source.

mod interval;
mod largest;
mod outliers;
mod rules;
mod series;
mod slots;
mod stuck;
#[cfg(test)]
mod tests;

pub use interval::{Differences, ENOUGH, Interval};
pub use largest::Listed;
pub use outliers::{Outlier, Test, Untested, Values};
pub use rules::Rules;
pub use series::{Coverage, Findings, Judge, Span};
pub use slots::Gap;
pub use stuck::{Stood, Stuck};
