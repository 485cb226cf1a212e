//! `csv`: rows of values, with or without a header, as one message or row by row from a serial port.
//!
//! - **Separator**: the first of `;`, tab and `,` that the first row has outside of quotes. With `;` and tab a comma stands for the
//!   decimal point (`21,5`). Fields may be quoted (RFC 4180).
//! - **Header**: a row without any number, time or empty cell, whose cells are all different; a `#` before it is dropped. Other rows that
//!   begin with `#` are comments. A later row that is a header and shares a name with the one before replaces it: the sender has
//!   started again. Without a header the columns are `column_1`, `column_2`..., counted over all cells; `value` where there is one.
//! - **Time**: the configured column, or else the first named `time`, `timestamp`, `datetime`, `ts`, `date` and the like
//!   ([`columns`]); `date` and `time` beside each other are one. Also `31.12.2025 23:59`, `2025/12/31` and times without seconds are read.
//!   Without a header the first cell where it is a date with a time, or a Unix time of the years 2015 to 2100.
//! - **Node**: a column named `node`, `device`, `sensor`, `station`, `host` and the like, behind the pattern's node where there
//!   are both; without a header a first cell (behind the time) that is text. Else the pattern's node, or the topic.
//! - **Metrics and units** by the header's names ([`names`]): `temperature [degC]`, `temp_c`.
//! - Numbers and switches are readings, empty cells and words such as `NaN` nothing, other texts events of their column's kind.
//! - Rows without a time have the arrival, a microsecond apart in their order.
//! - A row with more or fewer cells than the header is a dead letter, empty cells at its end aside: a row that was cut would be
//!   stored wrong. After [`MAX_UNFIT`] such rows in turn the header is forgotten.

use std::sync::Arc;

use ::csv::{ReaderBuilder, StringRecord, Trim};

use super::Message;
use super::found::Found;
use super::names;
use super::number::{Comma, with_comma};
use super::scalar::{Scalar, of_text};
use super::vocabulary::Term;
use crate::codec::leaves::MAX_VALUES;
use crate::codec::time::Local;
use crate::reading::{DeadLetter, DeadReason, Decoded, When};
use columns::{Column, Role};
use shape::{is_header, looks_like_header, separator_of, single_blanks};

mod columns;
mod shape;
pub(super) mod times;

/// Cells of a row; a longer row is a dead letter.
pub const MAX_COLUMNS: usize = 256;
/// Rows in turn that do not fit the header, after which it is forgotten.
pub const MAX_UNFIT: usize = 3;
/// Bad rows of a message that become dead letters of their own; one more tells how many others there were.
pub const MAX_BAD_ROWS: usize = 20;

/// What is said about the rows beforehand.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The node of rows that have no column for it: what the pattern names, the topic, or the port's name.
    pub node: String,
    /// `node` is named by the pattern or the configuration: it stands before a node that the row names.
    pub named: bool,
    /// The metric of the only column of rows without a header.
    pub metric: Option<String>,
    /// Name of the column that holds the time.
    pub time: Option<String>,
    /// Name of the column that names the node.
    pub node_column: Option<String>,
    /// The columns, where the sender sends no header.
    pub columns: Option<Vec<String>>,
    /// Whether there is a header: rows before it are dead letters, or no row is one; found out where it is `None`.
    pub header: Option<bool>,
    /// The separator; found out where it is `None`. Between blanks there are no empty cells.
    pub separator: Option<u8>,
}

/// Reads rows one by one, and remembers their header: at most [`MAX_COLUMNS`] names of at most 128 bytes.
#[derive(Clone, Debug)]
pub struct Rows {
    options: Options,
    separator: Option<u8>,
    header: Option<Vec<Column>>,
    unfit: usize,
}

/// Whether this is a table: a header and a row that fits with a number, or rows of numbers behind a time.
pub fn recognises(message: &Message<'_>) -> bool {
    let Ok(text) = message.text() else { return false };
    if text.is_empty() || text.starts_with(['{', '[', '<']) || message.topic.contains('$') {
        return false;
    }
    let mut rows = Rows::new(options(message));
    let mut width = None;
    let mut values = 0;
    let well_formed = rows.each_record(text, |rows, record, _| {
        let cells = cells_of(record);
        let same = *width.get_or_insert(cells.len()) == cells.len();
        let header = rows.header.is_none() && width.is_some() && rows.take_header(&cells);
        if !header {
            values += cells.iter().filter(|cell| matches!(value_of(cell, rows.separator), Scalar::Value(_))).count();
        }
        let timed = rows.header.is_some() || cells.first().is_some_and(|cell| times::is_leading(cell, message.local));
        cells.len() >= 2 && same && timed
    });
    well_formed && values > 0
}

/// Decodes one message: a table with or without a header.
pub fn decode(message: &Message<'_>) -> Decoded {
    let text = match message.text() {
        Ok(text) => text,
        Err(refused) => return refused,
    };
    Rows::new(options(message)).text(text, message.local)
}

fn options(message: &Message<'_>) -> Options {
    Options {
        node: message.node.unwrap_or(message.topic).to_owned(),
        named: message.node.is_some(),
        metric: message.metric.map(str::to_owned),
        time: message.time.map(str::to_owned),
        ..Options::default()
    }
}

impl Rows {
    /// No header yet, unless the options have the columns.
    pub fn new(options: Options) -> Self {
        let header = options.columns.as_ref().map(|names| {
            let names: Vec<&str> = names.iter().map(String::as_str).take(MAX_COLUMNS).collect();
            columns::of(&names, options.time.as_deref(), options.node_column.as_deref())
        });
        Self { separator: options.separator, options, header, unfit: 0 }
    }

    /// Forgets the header that was read: the port was opened again.
    pub fn forget(&mut self) {
        *self = Self::new(std::mem::take(&mut self.options));
    }

    /// The next row; a header gives nothing.
    pub fn line(&mut self, line: &str, local: Local) -> Decoded {
        self.text(line, local)
    }

    /// Rows.
    fn text(&mut self, text: &str, local: Local) -> Decoded {
        let mut found = Found::new(text.as_bytes());
        let mut bad: Vec<DeadLetter> = Vec::new();
        let mut faults = 0_usize;
        let mut rows = 0_usize;
        let whole = self.each_record(text, |rows_, record, line| {
            rows += 1;
            found.next_row();
            if let Err((reason, detail)) = rows_.row(record, local, &mut found) {
                faults += 1;
                if faults <= MAX_BAD_ROWS {
                    let cells: Vec<&str> = record.iter().take(MAX_COLUMNS).collect();
                    bad.push(DeadLetter::new(reason, format!("line {line}: {detail}"), cells.join(",").as_bytes()));
                }
            }
            true
        });
        if !whole {
            found.dead(DeadReason::Malformed, "expected text in rows");
        }
        if faults > MAX_BAD_ROWS {
            found.dead(DeadReason::Malformed, format!("{} more rows do not fit", faults - MAX_BAD_ROWS));
        }
        if rows == 0 {
            found.dead(DeadReason::NoReading, "expected a row of values");
        }
        let mut decoded = found.finish();
        decoded.dead.append(&mut bad);
        decoded
    }

    /// Calls `each` with every row that is not blank and no comment, and its line; it says whether to go on.
    fn each_record(&mut self, text: &str, mut each: impl FnMut(&mut Self, &StringRecord, u64) -> bool) -> bool {
        let text = text.trim_start_matches('\u{feff}');
        let (text, commented) = match text.trim_start().strip_prefix('#') {
            // `# time,temperature`: many loggers write their header so.
            Some(rest) if self.header.is_none() && looks_like_header(rest) => (rest, true),
            _ => (text, false),
        };
        let first = text.lines().find(|line| commented || !(line.trim().is_empty() || line.starts_with('#')));
        let Some(first) = first else { return true };
        let separator = *self.separator.get_or_insert_with(|| separator_of(first));
        let words;
        let text = if separator == b' ' {
            words = single_blanks(text);
            &words
        } else {
            text
        };
        let comments = !commented || text.contains('\n');
        // Without quotes a row is what is between separators. To build the automaton of the library takes longer than to
        // read a hundred rows.
        if !text.contains('"') {
            return self.each_plain(text, separator, comments, &mut each);
        }
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .trim(Trim::All)
            .comment(comments.then_some(b'#'))
            .delimiter(separator)
            .buffer_capacity(text.len().clamp(64, 8_192))
            .from_reader(text.as_bytes());
        let mut record = StringRecord::new();
        loop {
            match reader.read_record(&mut record) {
                Ok(true) => {
                    let line = record.position().map_or(1, ::csv::Position::line);
                    if !each(self, &record, line) {
                        return false;
                    }
                }
                Ok(false) => return true,
                Err(_) => return false,
            }
        }
    }

    /// The same for a text without quotes.
    fn each_plain(
        &mut self,
        text: &str,
        separator: u8,
        comments: bool,
        each: &mut impl FnMut(&mut Self, &StringRecord, u64) -> bool,
    ) -> bool {
        let mut record = StringRecord::new();
        let mut number = 1;
        for line in text.split_inclusive(['\n', '\r']) {
            let row = line.trim_end_matches(['\n', '\r']);
            if !(row.is_empty() || (comments && row.starts_with('#'))) {
                record.clear();
                row.split(char::from(separator)).for_each(|cell| record.push_field(cell.trim()));
                if !each(self, &record, number) {
                    return false;
                }
            }
            number += u64::from(line.ends_with('\n'));
        }
        true
    }

    /// Takes a row as the header, where it is one.
    fn take_header(&mut self, cells: &[&str]) -> bool {
        if !is_header(cells) || self.options.header == Some(false) {
            return false;
        }
        if self.options.columns.is_some() {
            // Said by the configuration and by the sender too: it is no row of texts.
            let mut known = self.header.iter().flatten();
            return known.any(|column| cells.iter().any(|cell| cell.eq_ignore_ascii_case(&column.own)));
        }
        if let Some(known) = &self.header
            && self.options.header.is_none()
            && !known.iter().any(|column| cells.contains(&&*column.own))
        {
            return false;
        }
        let (time, node) = (self.options.time.as_deref(), self.options.node_column.as_deref());
        self.header = Some(columns::of(cells, time, node));
        self.unfit = 0;
        true
    }

    /// One row. The error says why it is none.
    fn row(&mut self, record: &StringRecord, local: Local, found: &mut Found<'_>) -> Result<(), (DeadReason, String)> {
        let cells = cells_of(record);
        if cells.len() > MAX_COLUMNS {
            return Err((DeadReason::TooManyValues, format!("{} cells: expected at most {MAX_COLUMNS}", cells.len())));
        }
        if cells.is_empty() || self.take_header(&cells) {
            return Ok(());
        }
        let by_place;
        let columns = match &self.header {
            Some(header) if header.len() == cells.len() || fits(header, &cells) => {
                self.unfit = 0;
                header
            }
            Some(header) => {
                let detail = format!("{} cells: expected {} as in the header", cells.len(), header.len());
                self.unfit += 1;
                if self.unfit >= MAX_UNFIT && self.options.columns.is_none() && self.options.header.is_none() {
                    self.header = None;
                    self.unfit = 0;
                }
                return Err((DeadReason::Malformed, detail));
            }
            None if self.options.header == Some(true) => {
                return Err((DeadReason::Malformed, "expected a header before the first row".to_owned()));
            }
            None => {
                by_place = columns::by_place(&cells, self.options.metric.as_deref(), local);
                &by_place
            }
        };
        put(&self.options, self.separator, columns, &cells, local, found);
        Ok(())
    }
}

/// The readings and events of one row.
fn put(
    options: &Options,
    separator: Option<u8>,
    columns: &[Column],
    cells: &[&str],
    local: Local,
    found: &mut Found<'_>,
) {
    let cell = |role: Role| columns.iter().zip(cells).find(|(column, _)| column.role == role).map(|(_, cell)| *cell);
    let own = cell(Role::Node).filter(|node| !node.is_empty());
    let node: Arc<str> = match own {
        None => Arc::from(&*options.node),
        Some(own) if options.named && own != options.node => Arc::from(format!("{}/{own}", options.node)),
        Some(own) => Arc::from(own),
    };
    let mut when = When::Arrival;
    let (day, clock) = (cell(Role::Date), cell(Role::Time));
    let text = match (day, clock) {
        (Some(day), Some(clock)) => format!("{day} {clock}"),
        (one, other) => one.or(other).unwrap_or_default().to_owned(),
    };
    let nothing = text.trim().is_empty() || matches!(of_text(&text), Scalar::Nothing | Scalar::Value(0.0));
    if !nothing {
        let utc = columns.iter().any(|column| column.utc && matches!(column.role, Role::Time | Role::Date));
        if let Some(ts) = times::parse(&text, if utc { Local::UTC } else { local }) {
            when = When::Live(ts);
        } else {
            let field = columns.iter().find(|column| matches!(column.role, Role::Time | Role::Date));
            found.bad_time(&node, field.map_or("time", |column| &*column.own), &text);
        }
    }
    for (column, cell) in columns.iter().zip(cells).filter(|(column, _)| column.role == Role::Metric) {
        match value_of(cell, separator) {
            Scalar::Text(text) => match names::with_unit(text) {
                Some((number, unit)) => {
                    let term = names::in_unit(&column.own, unit);
                    found.scalar(&node, &column.own, &term, value_of(number, separator), when);
                }
                None => found.event(&node, &column.metric, text, when),
            },
            scalar => {
                let term = Term {
                    metric: (&*column.metric).into(),
                    unit: column.unit.clone(),
                    factor: column.factor,
                    offset: column.offset,
                };
                let term = if names::is_switch(cell) { names::of_switch(term) } else { term };
                found.scalar(&node, &column.own, &term, scalar, when);
            }
        }
    }
}

/// Whether a row fits a header but for cells that the row leaves out or has too many at its end, all of them empty.
fn fits(header: &[Column], cells: &[&str]) -> bool {
    cells.len() > header.len() && cells[header.len()..].iter().all(|cell| cell.is_empty())
}

fn cells_of(record: &StringRecord) -> Vec<&str> {
    if record.len() == 1 && record.get(0) == Some("") {
        return Vec::new();
    }
    // One more than the bound, so that it is noticed.
    record.iter().take(MAX_VALUES).collect()
}

/// What a cell means; with another separator than the comma, a comma stands for the point.
fn value_of(cell: &str, separator: Option<u8>) -> Scalar<'_> {
    match of_text(cell) {
        Scalar::Text(text) if separator != Some(b',') => match with_comma(text) {
            // Behind `;` nobody writes commas for thousands.
            Some(Comma::Decimal(value)) => Scalar::Value(value),
            Some(Comma::Thousands) => match text.replace(',', ".").parse() {
                Ok(value) => Scalar::Value(value),
                Err(_) => Scalar::Text(text),
            },
            None => Scalar::Text(text),
        },
        scalar => scalar,
    }
}

#[cfg(test)]
mod tests;
