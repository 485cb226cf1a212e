//! What is asked of groups of series, and what the answer looks like.

use std::collections::HashMap;
use std::sync::Arc;

use super::Selection;
use super::cells::Aggregate;
use super::pieces::MadeFrom;

/// Which series make a group. The order is that of the groups in answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// Each of these series.
    Series(Vec<i32>),
    /// All series of each of these nodes.
    Nodes(Vec<i32>),
    /// All series of each of these metrics.
    Metrics(Vec<Arc<str>>),
    /// All of them together.
    Together,
}

impl Grouping {
    /// Number of groups.
    pub fn groups(&self) -> usize {
        match self {
            Self::Series(ids) | Self::Nodes(ids) => ids.len(),
            Self::Metrics(names) => names.len(),
            Self::Together => 1,
        }
    }

    /// What tells groups apart, in SQL: a column of the table `r`, or of `s`, which is then joined.
    pub(super) fn sql(&self) -> GroupBy {
        let series = " JOIN g.series s ON s.series = r.series";
        match self {
            Self::Series(_) => GroupBy { key: "r.series", join: "" },
            Self::Nodes(_) => GroupBy { key: "s.node", join: series },
            Self::Metrics(_) => GroupBy { key: "s.metric", join: series },
            Self::Together => GroupBy { key: "0", join: "" },
        }
    }

    /// The key of a group as an SQL literal.
    pub(super) fn literal(&self, group: usize) -> String {
        match self {
            Self::Series(ids) | Self::Nodes(ids) => ids[group].to_string(),
            Self::Metrics(names) => format!("'{}'", names[group].replace('\'', "''")),
            Self::Together => "0".into(),
        }
    }

    /// The groups by the texts of their keys.
    pub(super) fn texts(&self) -> HashMap<String, usize> {
        let texts: Vec<String> = match self {
            Self::Series(ids) | Self::Nodes(ids) => ids.iter().map(i32::to_string).collect(),
            Self::Metrics(names) => names.iter().map(ToString::to_string).collect(),
            Self::Together => vec!["0".into()],
        };
        texts.into_iter().zip(0..).collect()
    }
}

/// A grouping in SQL.
pub(super) struct GroupBy {
    pub(super) key: &'static str,
    pub(super) join: &'static str,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Which series.
    pub selection: Selection,
    /// How they are put together.
    pub grouping: Grouping,
    /// Which numbers, in the order of [`Found::values`].
    pub aggregates: Vec<Aggregate>,
    /// Only the readings will do.
    pub exact: bool,
}

impl Question {
    /// Some of the wanted aggregates are such.
    pub(super) fn wants(&self, which: fn(Aggregate) -> bool) -> bool {
        self.aggregates.iter().any(|a| which(*a))
    }

    /// Each group is one series.
    pub(super) fn is_single(&self) -> bool {
        matches!(self.grouping, Grouping::Series(_))
    }
}

/// The numbers of one group in one bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Which bucket, counted from the first that was asked for.
    pub bucket: usize,
    /// Which group.
    pub group: usize,
    /// One for each aggregate; NaN where there is none. The count is 0 where there is no value, and NaN where nobody knows
    /// any more.
    pub values: Box<[f64]>,
}

/// The answer for some buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slice {
    /// In order of bucket and group; groups without a value in a bucket are left out.
    pub rows: Vec<Found>,
    /// Which tables it was made from.
    pub made_from: MadeFrom,
    /// What some of the rows do not have, because it needs readings that were removed.
    pub incomplete: Vec<Aggregate>,
    /// Of some of the buckets nobody knows anything any more.
    pub unknown: bool,
}
