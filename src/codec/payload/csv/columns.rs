//! What the columns of a table are for, by their names or, without any, by their place.

use crate::codec::payload::names;
use crate::codec::payload::scalar::{Scalar, of_text};
use crate::codec::time::Local;
use crate::reading::Unit;

use super::times;

/// What a column is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The time, or the time of day beside a date.
    Time,
    /// The date beside a time of day.
    Date,
    /// The node.
    Node,
    /// A value.
    Metric,
    /// Neither: the number of a row.
    Ignored,
}

/// One column.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    pub own: String,
    pub metric: String,
    pub unit: Option<Unit>,
    pub factor: f64,
    pub offset: f64,
    pub role: Role,
    /// Its name says that its times are UTC.
    pub utc: bool,
}

/// Names of columns with a time, the surest first.
const TIMES: [&str; 18] = [
    "timestamp",
    "datetime",
    "date_time",
    "date time",
    "time",
    "ts",
    "unix_time",
    "unixtime",
    "epoch",
    "created_at",
    "recorded_at",
    "measured_at",
    "time_utc",
    "utc",
    "utc_time",
    "local_time",
    "zeit",
    "date",
];

/// Names of columns with the node, the surest first.
const NODES: [&str; 15] = [
    "node",
    "node_id",
    "nodeid",
    "device",
    "device_id",
    "deviceid",
    "dev_eui",
    "sensor",
    "sensor_id",
    "sensorid",
    "station",
    "station_id",
    "host",
    "id",
    "name",
];

/// Names of columns that only count rows or frames.
const IGNORED: [&str; 8] = ["#", "no", "nr", "row", "seq", "index", "crc", "checksum"];

/// The columns by the names of a header; `time` and `node` are the configured ones.
pub(super) fn of(header: &[&str], time: Option<&str>, node: Option<&str>) -> Vec<Column> {
    let lower: Vec<String> = header.iter().map(|name| name.trim().to_lowercase()).collect();
    // `Time [UTC]`, `timestamp (ms)`: the name without what is in brackets.
    let bare = |name: &str| name.split(['[', '(']).next().unwrap_or_default().trim().to_owned();
    let place = |known: &[&str]| known.iter().find_map(|known| lower.iter().position(|name| bare(name) == *known));
    let exact = |name: &str| header.iter().position(|column| column.trim() == name);
    let day = place(&["date", "datum"]);
    let clock = place(&["time", "time_of_day", "uhrzeit"]);
    let time = match time {
        Some(name) => exact(name),
        None if day.is_some() && clock.is_some() => clock,
        None => place(&TIMES),
    };
    let day = day.filter(|day| time.is_some() && time == clock && Some(*day) != time);
    let node = match node {
        Some(name) => exact(name),
        None => place(&NODES),
    };
    let terms = names::terms(header);
    let columns = header.iter().zip(terms).zip(&lower).enumerate();
    columns
        .map(|(at, ((own, term), lower))| Column {
            own: own.trim().to_owned(),
            metric: term.metric.into_owned(),
            unit: term.unit,
            factor: term.factor,
            offset: term.offset,
            role: match Some(at) {
                at if at == time => Role::Time,
                at if at == day => Role::Date,
                at if at == node => Role::Node,
                _ if IGNORED.contains(&lower.as_str()) => Role::Ignored,
                _ => Role::Metric,
            },
            utc: lower.contains("utc") || lower.contains("gmt"),
        })
        .collect()
}

/// The columns of a row without a header.
pub(super) fn by_place(cells: &[&str], metric: Option<&str>, local: Local) -> Vec<Column> {
    let time = cells.first().filter(|cell| cells.len() > 1 && times::is_leading(cell, local)).map(|_| 0);
    let next = usize::from(time.is_some());
    // A text before the first number names the node; where all are texts, they tell what happened.
    let node = cells
        .get(next)
        .filter(|cell| {
            matches!(of_text(cell), Scalar::Text(text) if text.chars().any(char::is_alphabetic))
                && cells[next + 1..].iter().any(|cell| cell.starts_with(|c: char| c.is_ascii_digit() || c == '-'))
        })
        .map(|_| next);
    let alone = cells.len() - usize::from(time.is_some()) - usize::from(node.is_some()) == 1;
    (0..cells.len())
        .map(|at| {
            let own = match metric {
                Some(metric) if alone => metric.to_owned(),
                _ if cells.len() == 1 => "value".to_owned(),
                Some(metric) => format!("{metric}_{}", at + 1),
                None => format!("column_{}", at + 1),
            };
            let term = names::term(&own);
            let (metric, unit, factor, offset) = (term.metric.into_owned(), term.unit, term.factor, term.offset);
            let role = match Some(at) {
                at if at == time => Role::Time,
                at if at == node => Role::Node,
                _ => Role::Metric,
            };
            Column { own, metric, unit, factor, offset, role, utc: false }
        })
        .collect()
}
