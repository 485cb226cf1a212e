//! One JSON object a line, as a microcontroller prints them.

use std::sync::Arc;

use super::leaves::{self, Plan};
use super::payload::texts::Texts;
use super::time::Local;
use crate::reading::{DeadLetter, DeadReason, Decoded};

/// The field of the time where none is configured. Where a line does not have it, another with the name of a time counts.
pub const DEFAULT_TIME: &str = "time";

/// Decodes the lines of one source.
#[derive(Clone, Debug)]
pub struct JsonLines {
    source: Arc<str>,
    time: String,
    node: String,
    texts: Texts,
}

impl JsonLines {
    /// For the source of this name. `time` and `node` are the paths (`a.b`) of the fields that hold the time and name the
    /// node; an empty one means that there is no such field.
    pub fn new(source: &str, time: &str, node: &str) -> Self {
        Self { source: Arc::from(source), time: time.to_owned(), node: node.to_owned(), texts: Texts::default() }
    }

    /// Forgets which states were told: the last ones were not stored.
    pub fn forget_told(&mut self) {
        self.texts.forget();
    }

    /// Decodes one line, with or without its end; a blank line gives nothing at all. `local` is how a time without a zone
    /// is read.
    ///
    /// Leaves and time are those of [`super::json::decode`]. The node is named by its field, as text or as a number in its
    /// decimal digits; where the line does not have it, or has null there, the source's name is the node's. A
    /// boolean, array or object there makes the whole line a dead letter: its readings would go to the wrong node.
    pub fn line(&mut self, line: &[u8], local: Local) -> Decoded {
        let line = line.trim_ascii();
        match line.first() {
            None => return Decoded::default(),
            Some(b'{') => {}
            Some(first) => {
                let (reason, detail) = match std::str::from_utf8(line) {
                    Ok(_) => {
                        let found = first.escape_ascii();
                        (
                            DeadReason::Malformed,
                            format!("expected a JSON object, found a line that begins with `{found}`"),
                        )
                    }
                    Err(e) => (DeadReason::NotUtf8, format!("invalid UTF-8 at byte {}", e.valid_up_to())),
                };
                return Decoded { dead: vec![DeadLetter::new(reason, detail, line)], ..Decoded::default() };
            }
        }
        let field = |path| Some(path).filter(|path: &&str| !path.is_empty());
        let plan = Plan {
            node: Arc::clone(&self.source),
            metric: None,
            time: field(&self.time),
            // Only where nothing else was asked for.
            find_time: self.time == DEFAULT_TIME,
            local,
            node_field: field(&self.node),
        };
        let mut decoded = leaves::decode(line, plan);
        self.texts.leave_out_known(&mut decoded.events, |_| true);
        decoded
    }
}

#[cfg(test)]
mod tests;
