//! `gadwall sniff`: what a broker or a serial port has to offer, what it would be taken for, and the lines for the
//! configuration.

pub mod listen;
pub mod port;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use crate::codec::payload::Format;
use crate::codec::topic::Pattern;
use crate::source::mqtt::sniff::Heard;

/// Longest topic and reason that are shown, in characters.
const SHOWN: usize = 80;

/// Writes what was heard on the broker of `url`, and the subscriptions that take it.
///
/// # Errors
/// That of writing.
pub fn print(heard: &Heard, url: &str, out: &mut impl Write) -> io::Result<()> {
    if heard.topics.is_empty() {
        return writeln!(
            out,
            "Nothing was published meanwhile: listen longer with --seconds, or look at another broker."
        );
    }
    let width = heard.topics.keys().map(|topic| shown(topic).chars().count()).max().unwrap_or(0).max(5);
    writeln!(out, "{:width$}  {:16}  {:>8}  {:>8}", "topic", "taken for", "messages", "readings")?;
    for (topic, of) in &heard.topics {
        let format = of.format.as_str();
        writeln!(out, "{:width$}  {format:16}  {:>8}  {:>8}", shown(topic), of.messages, of.readings)?;
        if let Some(why) = &of.dead {
            writeln!(out, "{:width$}  ^ {}", "", shown(why))?;
        }
    }
    if heard.others > 0 {
        writeln!(out, "and {} messages of more topics than are told apart", heard.others)?;
    }
    let with_readings = heard.topics.iter().filter(|(_, of)| of.readings > 0);
    let mut wanted = suggest(with_readings.map(|(topic, of)| (topic.as_str(), of.format)));
    let understood = heard.topics.iter().filter(|(_, of)| of.dead.is_none());
    leave_open(&mut wanted, understood.map(|(topic, of)| (topic.as_str(), of.format)));
    if wanted.is_empty() {
        return writeln!(out, "\nNone of it holds readings.");
    }
    writeln!(out, "\nFor the configuration:\n\n[[mqtt]]\nname = \"home\"\nurl = {}\nsubscribe = [", quoted(url))?;
    for (pattern, format) in wanted {
        writeln!(out, "    {{ topic = {}, format = \"{}\" }},", quoted(&pattern), format.as_str())?;
    }
    writeln!(out, "]")
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        short.push_str("...");
    }
    short
}

/// Patterns that take these topics, and the format of each. Where one pattern takes several formats, each message tells.
fn suggest<'a>(topics: impl Iterator<Item = (&'a str, Format)>) -> BTreeMap<String, Format> {
    let mut formats: BTreeMap<String, BTreeSet<Format>> = BTreeMap::new();
    for (topic, format) in topics {
        for pattern in patterns(topic, format) {
            formats.entry(pattern).or_default().insert(format);
        }
    }
    // A pattern that takes everything below a level takes what narrower ones would, and the first that matches counts.
    let broad: Vec<(String, String)> =
        formats.keys().filter_map(|pattern| Some((pattern.clone(), pattern.strip_suffix('#')?.to_owned()))).collect();
    for (pattern, below) in broad {
        let narrower: Vec<String> =
            formats.keys().filter(|other| **other != pattern && other.starts_with(&below)).cloned().collect();
        for other in narrower {
            let of_other = formats.remove(&other).unwrap_or_default();
            if let Some(of) = formats.get_mut(&pattern) {
                of.extend(of_other);
            }
        }
    }
    let one = |formats: BTreeSet<Format>| match (formats.first(), formats.len()) {
        (Some(format), 1) => *format,
        _ => Format::Auto,
    };
    formats.into_iter().map(|(pattern, formats)| (pattern, one(formats))).collect()
}

/// Leaves the format open where a pattern is the first that takes a topic of another one: `+/status/#` for Shelly devices
/// takes `attic/status` of an ESPHome node as well.
fn leave_open<'a>(wanted: &mut BTreeMap<String, Format>, topics: impl Iterator<Item = (&'a str, Format)>) {
    let mut patterns: Vec<(Pattern, &mut Format)> =
        wanted.iter_mut().filter_map(|(pattern, format)| Some((Pattern::parse(pattern).ok()?, format))).collect();
    for (topic, format) in topics {
        let first = patterns.iter_mut().find(|(pattern, _)| pattern.captures(topic).is_some());
        if let Some((_, of)) = first.filter(|(_, of)| **of != format) {
            **of = Format::Auto;
        }
    }
}

/// The patterns for a topic of a publisher.
fn patterns(topic: &str, format: Format) -> Vec<String> {
    // A level that would be read as a name cannot be written in a pattern.
    let levels: Vec<&str> =
        topic.split('/').map(|level| if level.contains(['{', '}']) { "+" } else { level }).collect();
    let below = |n: usize| vec![format!("{}/#", levels[..n.min(levels.len())].join("/"))];
    match format {
        Format::Tasmota if matches!(levels[0], "tele" | "stat") => vec!["tele/#".into(), "stat/#".into()],
        Format::Shelly if levels[0].starts_with("shelly") && levels.len() > 1 && levels[0] != "shellies" => {
            vec!["+/events/rpc".into(), "+/status/#".into(), "+/online".into()]
        }
        Format::Theengs if levels.len() > 2 => below(2),
        Format::Number if levels.len() > 1 => {
            let (node, above) = (levels.len() - 2, &levels[..levels.len() - 2]);
            let prefix = if node == 0 { String::new() } else { above.join("/") + "/" };
            vec![format!("{prefix}{{node}}/{{metric}}")]
        }
        Format::Json | Format::Csv | Format::Msgpack | Format::InfluxLine | Format::Senml if levels.len() > 1 => {
            vec![format!("{}/{{node}}", levels[..levels.len() - 1].join("/"))]
        }
        _ if levels.len() > 1 => below(1),
        _ => vec![levels.join("/")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::mqtt::sniff::Topic;

    fn suggested(topics: &[(&str, Format)]) -> Vec<(String, Format)> {
        let found: Vec<(String, Format)> = suggest(topics.iter().copied()).into_iter().collect();
        for (topic, _) in topics {
            let takes = |(pattern, _): &(String, Format)| Pattern::parse(pattern).unwrap().captures(topic).is_some();
            assert!(found.iter().any(takes), "{topic} is taken by none of {found:?}");
        }
        found
    }

    #[test]
    fn one_line_takes_all_of_a_publisher() {
        assert_eq!(
            suggested(&[
                ("zigbee2mqtt/0x01", Format::Zigbee2mqtt),
                ("zigbee2mqtt/kitchen/door", Format::Zigbee2mqtt),
                ("tele/plug/SENSOR", Format::Tasmota),
                ("home/OpenMQTTGateway/BTtoMQTT/AA", Format::Theengs),
                ("shelly1minig3-54320464a1d0/events/rpc", Format::Shelly),
            ]),
            [
                ("+/events/rpc".into(), Format::Shelly),
                ("+/online".into(), Format::Shelly),
                ("+/status/#".into(), Format::Shelly),
                ("home/OpenMQTTGateway/#".into(), Format::Theengs),
                ("stat/#".into(), Format::Tasmota),
                ("tele/#".into(), Format::Tasmota),
                ("zigbee2mqtt/#".into(), Format::Zigbee2mqtt),
            ]
        );
    }

    #[test]
    fn plain_values_are_named_by_their_topics_and_mixed_ones_are_left_to_auto() {
        assert_eq!(
            suggested(&[
                ("garden/t1/temperature", Format::Number),
                ("garden/t2/humidity", Format::Number),
                ("x/y", Format::Json)
            ]),
            [("garden/{node}/{metric}".into(), Format::Number), ("x/{node}".into(), Format::Json)]
        );
        assert_eq!(
            suggested(&[("room/a", Format::Json), ("room/sensor/x/state", Format::Esphome)]),
            [("room/#".into(), Format::Auto)]
        );
    }

    #[test]
    fn a_pattern_that_takes_anothers_topics_leaves_the_format_open() {
        let topics = [
            ("attic/sensor/t/state", Format::Esphome),
            ("shelly1minig3-1/events/rpc", Format::Shelly),
            ("shelly1minig3-1/status/switch:0", Format::Shelly),
        ];
        let mut wanted: BTreeMap<String, Format> = suggested(&topics).into_iter().collect();
        leave_open(&mut wanted, topics.into_iter().chain([("attic/status", Format::Esphome)]));
        let wanted: Vec<(&str, Format)> = wanted.iter().map(|(pattern, format)| (pattern.as_str(), *format)).collect();
        assert_eq!(
            wanted,
            [
                ("+/events/rpc", Format::Shelly),
                ("+/online", Format::Shelly),
                ("+/status/#", Format::Auto),
                ("attic/#", Format::Esphome),
            ]
        );
    }

    #[test]
    fn braces_in_topics_become_wildcards() {
        assert_eq!(
            suggested(&[("{a/b}/c", Format::Json), ("x}y", Format::Json), ("{z}/t/temp", Format::Number)]),
            [
                ("+".to_owned(), Format::Json),
                ("+/+/{node}".to_owned(), Format::Json),
                ("+/{node}/{metric}".to_owned(), Format::Number)
            ]
        );
    }

    #[test]
    fn the_lines_can_be_put_into_a_configuration() {
        let topic = Topic { format: Format::Zigbee2mqtt, messages: 2, readings: 6, dead: None };
        let heard = Heard { topics: [("zigbee2mqtt/a\"b".to_owned(), topic)].into(), others: 0 };
        let mut out = Vec::new();
        print(&heard, "mqtt://localhost:1883", &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let (_, lines) = text.split_once("For the configuration:\n\n").unwrap();
        let read: toml::Table = lines.parse().unwrap();
        assert_eq!(read["mqtt"][0]["subscribe"][0]["topic"].as_str(), Some("zigbee2mqtt/#"));
        assert_eq!(read["mqtt"][0]["url"].as_str(), Some("mqtt://localhost:1883"));
    }
}
