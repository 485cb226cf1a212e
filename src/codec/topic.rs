//! Topic patterns: `zigbee2mqtt/{node}` becomes the filter `zigbee2mqtt/+`, and what stands at `{node}` the node's name.
//!
//! A pattern is an MQTT filter in which a level may also be a name in braces. Its levels are
//!
//! - literal: matches itself;
//! - `+`: matches one level, which is forgotten;
//! - `{name}`: matches one level, which is kept. `{metric}` is the metric; all others together, in the order of the
//!   pattern and joined by `/`, are the node's name, so that `{site}/{node}` gives `cellar/t1`;
//! - `#`, as the last one: matches the level before it and everything below.
//!
//! Without a capture other than `{metric}` the whole topic is the node's name.

/// Longest topic and longest filter that MQTT can carry, in bytes: its strings have a length of 16 bits.
const MAX_TOPIC: usize = 65_535;

/// A compiled topic pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    filter: String,
    levels: Vec<Level>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Literal(String),
    One,
    Node,
    Metric,
    Rest,
}

/// What a pattern takes out of a topic that it matches. Nothing is checked yet: a level may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captures {
    /// The node's name.
    pub node: String,
    /// The pattern names the node; else `node` is the whole topic.
    pub is_named: bool,
    /// What stands at `{metric}`; `None` where the pattern has none.
    pub metric: Option<String>,
}

impl Captures {
    fn new(topic: &str, node: Option<String>, metric: Option<String>) -> Self {
        Self { is_named: node.is_some(), node: node.unwrap_or_else(|| topic.to_owned()), metric }
    }
}

/// Why a text is not a topic pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {reason}")]
pub struct PatternError {
    /// Where in the pattern, in characters, counted from 1.
    pub column: usize,
    /// What is wrong there, and what was expected.
    pub reason: String,
}

impl PatternError {
    fn new(column: usize, reason: impl Into<String>) -> Self {
        Self { column, reason: reason.into() }
    }
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// When it is empty, longer than an MQTT string, has a control character, a brace or wildcard that is not a level
    /// of its own, a `#` that is not the last level, a bad or repeated name, or asks for a shared subscription.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::new(1, "the pattern is empty: expected a topic such as `sensors/{node}`"));
        }
        if text.len() > MAX_TOPIC {
            let fits = text.char_indices().take_while(|(at, c)| at + c.len_utf8() <= MAX_TOPIC).count();
            let reason = format!("the pattern has {} bytes: expected at most {MAX_TOPIC}", text.len());
            return Err(PatternError::new(fits + 1, reason));
        }
        if let Some((at, c)) = text.chars().enumerate().find(|(_, c)| c.is_control()) {
            let reason = format!("control character U+{:04X}: expected a printable one", u32::from(c));
            return Err(PatternError::new(at + 1, reason));
        }
        if text.split('/').next() == Some("$share") {
            let reason = "shared subscriptions (`$share/`) are not supported, since the broker would give a part of \
                          the messages to others: expected the filter alone";
            return Err(PatternError::new(1, reason));
        }

        let mut levels: Vec<Level> = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        let mut filter = String::with_capacity(text.len());
        let mut column = 1;
        for part in text.split('/') {
            if levels.last() == Some(&Level::Rest) {
                return Err(PatternError::new(column - 2, "expected `#` as the last level only"));
            }
            let level = parse_level(part, column)?;
            if let Level::Node | Level::Metric = level {
                let name = &part[1..part.len() - 1];
                if names.contains(&name) {
                    return Err(PatternError::new(column, format!("`{{{name}}}` is there twice: expected it once")));
                }
                names.push(name);
            }
            if !levels.is_empty() {
                filter.push('/');
            }
            filter.push_str(match &level {
                Level::Literal(literal) => literal,
                Level::One | Level::Node | Level::Metric => "+",
                Level::Rest => "#",
            });
            levels.push(level);
            column += part.chars().count() + 1;
        }
        Ok(Self { text: text.to_owned(), filter, levels })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The MQTT filter to subscribe to: each name in braces is a `+`.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// What the pattern takes out of `topic`; `None` where it does not match.
    ///
    /// As MQTT 4.7.2 has it, a topic that begins with `$` matches only patterns whose first level is literal.
    pub fn captures(&self, topic: &str) -> Option<Captures> {
        let first = self.levels.first()?;
        if topic.is_empty() || (topic.starts_with('$') && !matches!(first, Level::Literal(_))) {
            return None;
        }
        let mut found = topic.split('/');
        let mut node: Option<String> = None;
        let mut metric = None;
        for level in &self.levels {
            if *level == Level::Rest {
                return Some(Captures::new(topic, node, metric));
            }
            let part = found.next()?;
            match level {
                Level::Literal(literal) if literal != part => return None,
                Level::Literal(_) | Level::One | Level::Rest => {}
                Level::Metric => metric = Some(part.to_owned()),
                Level::Node => match &mut node {
                    None => node = Some(part.to_owned()),
                    Some(node) => {
                        node.push('/');
                        node.push_str(part);
                    }
                },
            }
        }
        match found.next() {
            Some(_) => None,
            None => Some(Captures::new(topic, node, metric)),
        }
    }
}

/// One level, which begins at `column` of the pattern.
fn parse_level(part: &str, column: usize) -> Result<Level, PatternError> {
    match part {
        "+" => return Ok(Level::One),
        "#" => return Ok(Level::Rest),
        _ => {}
    }
    if let Some(rest) = part.strip_prefix('{') {
        let Some((name, after)) = rest.split_once('}') else {
            let end = column + part.chars().count();
            return Err(PatternError::new(end, "the brace is not closed: expected `}` before the end of the level"));
        };
        check_name(name, column + 1)?;
        if !after.is_empty() {
            let at = column + name.chars().count() + 2;
            return Err(PatternError::new(
                at,
                format!("expected `/` or the end after `{{{name}}}`: it is a whole level"),
            ));
        }
        return Ok(if name == "metric" { Level::Metric } else { Level::Node });
    }
    match part.chars().enumerate().find(|(_, c)| matches!(c, '{' | '}' | '+' | '#')) {
        None => Ok(Level::Literal(part.to_owned())),
        Some((at, '}')) => {
            Err(PatternError::new(column + at, "`}` without `{`: expected a name in braces such as `{node}`"))
        }
        Some((at, '{')) => {
            Err(PatternError::new(column + at, "`{` inside a level: expected a name in braces to be a whole level"))
        }
        Some((at, c)) => Err(PatternError::new(column + at, format!("expected `{c}` to be a whole level"))),
    }
}

/// Names in braces: `[a-z][a-z0-9_-]*`.
fn check_name(name: &str, column: usize) -> Result<(), PatternError> {
    let allowed =
        |at: usize, c: char| c.is_ascii_lowercase() || (at > 0 && (c.is_ascii_digit() || c == '_' || c == '-'));
    let bad = name.chars().enumerate().find(|&(at, c)| !allowed(at, c));
    match bad {
        None if !name.is_empty() => Ok(()),
        _ => {
            let at = bad.map_or(0, |(at, _)| at);
            let reason = "expected a name that begins with a-z and goes on with a-z, 0-9, `_` or `-`";
            Err(PatternError::new(column + at, reason))
        }
    }
}

/// Whether every topic that matches the MQTT filter `narrow` also matches the MQTT filter `broad`.
///
/// A broker may send a message once for each overlapping subscription; a filter that another one covers is left out.
/// Both must be valid filters, such as [`Pattern::filter`] gives.
pub fn covers(broad: &str, narrow: &str) -> bool {
    // Wildcards at the first level do not match topics that begin with `$`.
    if narrow.starts_with('$') && matches!(broad.split('/').next(), Some("+" | "#")) {
        return false;
    }
    // No topic is empty: these two have no parent that they could match.
    match narrow {
        "#" => return matches!(broad, "#" | "+/#"),
        "/#" => return matches!(broad, "#" | "+/#" | "/#" | "+/+/#" | "/+/#"),
        _ => {}
    }
    let mut broad = broad.split('/');
    let mut narrow = narrow.split('/');
    loop {
        match (broad.next(), narrow.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(literal), Some(level)) if literal == level => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests;
