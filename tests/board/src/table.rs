//! What was looked at, expected and found.

use std::fmt::Write;

/// The rows so far. Each is printed when it is known, and all of them at the end.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
}

struct Row {
    part: String,
    what: String,
    expected: String,
    found: String,
    good: bool,
}

/// What fits into one cell.
fn cell(value: &impl ToString) -> String {
    value.to_string().trim().replace('\n', " ").replace('|', "/")
}

impl Table {
    /// A thing that is as it should be or not.
    pub fn check(&mut self, part: &str, what: &str, expected: impl ToString, found: impl ToString, good: bool) {
        let row =
            Row { part: part.to_owned(), what: what.to_owned(), expected: cell(&expected), found: cell(&found), good };
        let mark = if row.good { "ok  " } else { "FAIL" };
        println!("{mark}  {:10} {}: {} (expected {})", row.part, row.what, row.found, row.expected);
        self.rows.push(row);
    }

    /// A thing that has to be equal to what is expected.
    pub fn equal<T: PartialEq + ToString>(&mut self, part: &str, what: &str, expected: T, found: T) {
        let good = expected == found;
        self.check(part, what, expected.to_string(), found.to_string(), good);
    }

    /// A figure that nothing is expected of.
    pub fn figure(&mut self, part: &str, what: &str, found: impl ToString) {
        self.check(part, what, "-", found, true);
    }

    /// Rows that are not as they should be.
    pub fn failed(&self) -> usize {
        self.rows.iter().filter(|row| !row.good).count()
    }

    /// All rows for docs/raspberry-pi.md.
    pub fn markdown(&self) -> String {
        let mut text = "| part | what | expected | found |\n| --- | --- | --- | --- |\n".to_owned();
        for row in &self.rows {
            let found = if row.good { row.found.clone() } else { format!("**{}**", row.found) };
            let _ = writeln!(text, "| {} | {} | {} | {found} |", row.part, row.what, row.expected);
        }
        text
    }
}
