//! What a person has said about a series.

use std::time::Duration;

use crate::config;

/// What is known of a series beforehand; everything else is learnt from its readings.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rules {
    /// How often its readings come.
    pub interval: config::Interval,
    /// Values below stand out.
    pub min: Option<f64>,
    /// Values above stand out.
    pub max: Option<f64>,
    /// A value that does not change for so long is stuck.
    pub stuck: Option<Duration>,
}

impl Rules {
    /// Whether a person has set limits of its values.
    pub const fn has_limits(&self) -> bool {
        self.min.is_some() || self.max.is_some()
    }

    /// The rules for a series: of each key the first of `sections` that sets it and matches counts. A section's `node`
    /// matches the node's name, or `source/name`.
    pub fn of(sections: &[config::Quality], source: &str, node: &str, metric: &str) -> Self {
        let full = format!("{source}/{node}");
        let here: Vec<&config::Quality> = sections
            .iter()
            .filter(|s| (matches(&s.node, node) || matches(&s.node, &full)) && matches(&s.metric, metric))
            .collect();
        Self {
            interval: here.iter().map(|s| s.interval).find(|i| *i != config::Interval::Learnt).unwrap_or_default(),
            min: here.iter().find_map(|s| s.min),
            max: here.iter().find_map(|s| s.max),
            stuck: here.iter().find_map(|s| s.stuck),
        }
    }
}

/// Whether `text` is what `pattern` says, in which each `*` stands for any text, also for none. Takes at most
/// `pattern.len() * text.len()` steps.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Behind the last star, and where the text that it stands for ends for now.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(byte) if *byte == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((behind, end)) = star else { return false };
                star = Some((behind, end + 1));
                (p, t) = (behind, end + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Interval, Quality};

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "kitchen"),
            ("kitchen", "kitchen"),
            ("k*n", "kitchen"),
            ("*chen", "kitchen"),
            ("kit*", "kit"),
            ("**t**", "t"),
            ("*/t*1", "hub/attic/t11"),
            ("a*b*c", "a_b_b_c"),
            ("\u{e4}*", "\u{e4}\u{df}"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("", "x"), ("kitchen", "Kitchen"), ("k*n", "kitchens"), ("*x", "kitchen"), ("a*b*c", "a_c_b"), ("t", "")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
        assert!(!matches(&"*a".repeat(60), &"a".repeat(59)), "many stars take no time");
    }

    #[test]
    fn of_each_key_the_first_section_that_sets_it_counts() {
        let section =
            |node: &str, metric: &str| Quality { node: node.into(), metric: metric.into(), ..Quality::default() };
        let every = |secs| Interval::Every(Duration::from_secs(secs));
        let sections = [
            Quality { interval: every(30), ..section("kitchen", "*") },
            Quality { min: Some(-40.0), max: Some(85.0), interval: every(60), ..section("*", "temperature") },
            Quality { interval: Interval::Irregular, min: Some(0.0), ..section("hub/door*", "*") },
            Quality { max: Some(1.0), stuck: Some(Duration::from_secs(5)), ..section("*", "*") },
        ];
        let rules = |source, node, metric| Rules::of(&sections, source, node, metric);
        assert_eq!(
            rules("hub", "kitchen", "temperature"),
            Rules { interval: every(30), min: Some(-40.0), max: Some(85.0), stuck: Some(Duration::from_secs(5)) }
        );
        let door = rules("hub", "door 2", "open");
        assert_eq!((door.interval, door.min, door.max), (Interval::Irregular, Some(0.0), Some(1.0)));
        assert_eq!(rules("home", "door 2", "open").interval, Interval::Learnt, "it is the hub's doors that are meant");
        assert_eq!(Rules::of(&[], "hub", "kitchen", "temperature"), Rules::default());
    }
}
