//! Properties of topic patterns.

use gadwall::codec::topic::{Pattern, covers};

/// Three lines: a pattern, another one, and a topic. A pattern parsed again from its text is the same, matches what a
/// plain reading of MQTT 4.7 says, and `covers` is right in both directions.
pub fn topic(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut lines = text.splitn(3, '\n');
    let mut next = || lines.next().unwrap_or_default();
    let (first, second, topic) = (next(), next(), next());
    let parsed = [Pattern::parse(first), Pattern::parse(second)].map(|pattern| match pattern {
        Ok(pattern) => Some(pattern),
        Err(e) => {
            assert!(e.column >= 1 && !e.reason.is_empty());
            None
        }
    });
    for pattern in parsed.iter().flatten() {
        check_one(pattern, topic);
    }
    if let [Some(a), Some(b)] = &parsed {
        check_two(a.filter(), b.filter(), topic);
    }
}

fn check_one(pattern: &Pattern, topic: &str) {
    assert_eq!(Pattern::parse(pattern.as_str()).as_ref(), Ok(pattern));
    let captures = pattern.captures(topic);
    assert_eq!(captures.is_some(), matches(pattern.filter(), topic), "{} {topic}", pattern.filter());
    let bare = Pattern::parse(pattern.filter()).expect("the filter of a pattern is a pattern");
    assert_eq!(bare.filter(), pattern.filter());
    assert_eq!(bare.captures(topic).map(|c| c.node), captures.as_ref().map(|_| topic.to_owned()));
    if let Some(captures) = captures {
        assert!(captures.node.len() <= topic.len());
        assert_eq!(captures.metric.is_some(), pattern.as_str().split('/').any(|level| level == "{metric}"));
    }
    assert!(covers(pattern.filter(), pattern.filter()));
    assert_eq!(covers("#", pattern.filter()), !pattern.filter().starts_with('$'));
}

fn check_two(broad: &str, narrow: &str, topic: &str) {
    if covers(broad, narrow) {
        assert!(!matches(narrow, topic) || matches(broad, topic), "{broad} {narrow} {topic}");
        return;
    }
    // A level that is in neither filter; topics made of it match `narrow`, and one of them shows the difference.
    let fresh = (0..).map(|n| format!("z{n}")).find(|z| !broad.split('/').any(|level| level == z)).expect("endless");
    let levels: Vec<&str> = narrow.split('/').map(|level| if level == "+" { &fresh } else { level }).collect();
    let shown = match levels.split_last() {
        Some((&"#", head)) => (0..3).any(|below| {
            let topic = [head, &vec![fresh.as_str(); below]].concat().join("/");
            !topic.is_empty() && matches(narrow, &topic) && !matches(broad, &topic)
        }),
        _ => !matches(broad, &levels.join("/")),
    };
    assert!(shown, "{broad} should cover {narrow}");
}

/// MQTT 4.7, word by word.
fn matches(filter: &str, topic: &str) -> bool {
    fn below(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            ([f, filter @ ..], [t, topic @ ..]) => (*f == "+" || f == t) && *f != "#" && below(filter, topic),
            _ => false,
        }
    }
    let filter: Vec<&str> = filter.split('/').collect();
    let levels: Vec<&str> = topic.split('/').collect();
    let hidden = topic.starts_with('$') && matches!(filter[0], "+" | "#");
    !topic.is_empty() && !hidden && below(&filter, &levels)
}
