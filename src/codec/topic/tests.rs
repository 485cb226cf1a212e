use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

fn error(text: &str) -> String {
    Pattern::parse(text).unwrap_err().to_string()
}

/// Node and metric that `pattern` takes out of `topic`.
fn taken(pattern: &str, topic: &str) -> Option<(String, Option<String>)> {
    parse(pattern).captures(topic).map(|c| (c.node, c.metric))
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with what `taken` returns")]
fn node(name: &str) -> Option<(String, Option<String>)> {
    Some((name.to_owned(), None))
}

#[test]
fn names_in_braces_become_wildcards() {
    let pattern = parse("site/{site}/{node}/+/{metric}/#");
    assert_eq!(pattern.as_str(), "site/{site}/{node}/+/{metric}/#");
    assert_eq!(pattern.filter(), "site/+/+/+/+/#");
    assert_eq!(parse("/a//b/").filter(), "/a//b/");
    assert_eq!(parse("{n0-a_}").filter(), "+");
}

#[test]
fn the_node_is_made_of_all_captures_but_the_metric() {
    assert_eq!(taken("zigbee2mqtt/{node}", "zigbee2mqtt/0x00158d0001234567"), node("0x00158d0001234567"));
    assert_eq!(taken("s/{site}/{node}", "s/cellar/t1"), node("cellar/t1"));
    assert_eq!(taken("s/{node}/{site}", "s/t1/cellar"), node("t1/cellar"));
    assert_eq!(
        taken("{site}/{metric}/{node}", "cellar/temperature/t1"),
        Some(("cellar/t1".into(), Some("temperature".into())))
    );
    assert_eq!(taken("s/{metric}", "s/humidity"), Some(("s/humidity".into(), Some("humidity".into()))));
    assert_eq!(taken("a/+/c", "a/b/c"), node("a/b/c"));
    assert_eq!(taken("tele/+/{node}/#", "tele/x/plug/SENSOR/1"), node("plug"));
    assert_eq!(taken("{node}", "Wohnzimmer Süd"), node("Wohnzimmer Süd"));
}

#[test]
fn levels_match_one_to_one_and_empty_levels_count() {
    assert_eq!(taken("a/{node}", "a"), None);
    assert_eq!(taken("a/{node}", "a/b/c"), None);
    assert_eq!(taken("a/{node}", "b/a"), None);
    assert_eq!(taken("a/{node}", "a/"), node(""));
    assert_eq!(taken("{site}/{node}", "/"), node("/"));
    assert_eq!(taken("{node}", "/"), None);
    assert_eq!(taken("A/{node}", "a/x"), None);
    assert_eq!(taken("#", ""), None);
}

#[test]
fn a_hash_matches_its_parent_and_everything_below() {
    for topic in ["a", "a/", "a/b", "a/b/c"] {
        assert_eq!(taken("a/#", topic), node(topic));
    }
    assert_eq!(taken("a/#", "ab"), None);
    assert_eq!(taken("#", "x/y"), node("x/y"));
    assert_eq!(taken("{node}/#", "x"), node("x"));
}

#[test]
fn topics_that_begin_with_a_dollar_need_a_literal_first_level() {
    for pattern in ["#", "+/broker", "{node}/broker", "{metric}/#"] {
        assert_eq!(taken(pattern, "$SYS/broker"), None, "{pattern}");
    }
    assert_eq!(taken("$SYS/{node}", "$SYS/broker"), node("broker"));
    assert_eq!(taken("a/{node}", "a/$SYS"), node("$SYS"));
}

#[test]
fn errors_name_the_column_and_what_was_expected() {
    let name = "expected a name that begins with a-z and goes on with a-z, 0-9, `_` or `-`";
    let hash = "expected `#` as the last level only";
    let inside = "`{` inside a level: expected a name in braces to be a whole level";
    for (pattern, expected) in [
        ("", "column 1: the pattern is empty: expected a topic such as `sensors/{node}`".to_owned()),
        ("a/x{node}", format!("column 4: {inside}")),
        ("ä/ö{node}", format!("column 4: {inside}")),
        ("a/{node", "column 8: the brace is not closed: expected `}` before the end of the level".to_owned()),
        ("a/{no/de}", "column 6: the brace is not closed: expected `}` before the end of the level".to_owned()),
        ("a/{node}x", "column 9: expected `/` or the end after `{node}`: it is a whole level".to_owned()),
        ("a/{node}{metric}", "column 9: expected `/` or the end after `{node}`: it is a whole level".to_owned()),
        ("a/b}", "column 4: `}` without `{`: expected a name in braces such as `{node}`".to_owned()),
        ("a/#/b", format!("column 3: {hash}")),
        ("#/#", format!("column 1: {hash}")),
        ("a/b#", "column 4: expected `#` to be a whole level".to_owned()),
        ("a+/b", "column 2: expected `+` to be a whole level".to_owned()),
        ("a/{}", format!("column 4: {name}")),
        ("a/{Node}", format!("column 4: {name}")),
        ("a/{1}", format!("column 4: {name}")),
        ("a/{no de}", format!("column 6: {name}")),
        ("{node}/{node}", "column 8: `{node}` is there twice: expected it once".to_owned()),
        ("a/{metric}/{metric}", "column 12: `{metric}` is there twice: expected it once".to_owned()),
        ("a/\0b", "column 3: control character U+0000: expected a printable one".to_owned()),
        ("a\n", "column 2: control character U+000A: expected a printable one".to_owned()),
    ] {
        assert_eq!(error(pattern), expected, "{pattern:?}");
    }
    assert_eq!(
        error("$share/group/a/{node}"),
        "column 1: shared subscriptions (`$share/`) are not supported, since the broker would give a part of the \
         messages to others: expected the filter alone"
    );
    assert_eq!(parse("$shared/a").filter(), "$shared/a");
}

#[test]
fn a_pattern_is_at_most_as_long_as_an_mqtt_string() {
    assert_eq!(parse(&"a".repeat(65_535)).filter().len(), 65_535);
    assert_eq!(error(&"a".repeat(65_536)), "column 65536: the pattern has 65536 bytes: expected at most 65535");
    assert_eq!(error(&"ä".repeat(32_768)), "column 32768: the pattern has 65536 bytes: expected at most 65535");
}

#[test]
fn filters_that_cover_others() {
    for (broad, narrow) in [
        ("a/b", "a/b"),
        ("a/+", "a/b"),
        ("a/+", "a/+"),
        ("a/#", "a"),
        ("a/#", "a/#"),
        ("a/#", "a/+/c"),
        ("a/#", "a/b/#"),
        ("+/#", "#"),
        ("#", "+/#"),
        ("#", "/"),
        ("+/+", "/"),
        ("$SYS/#", "$SYS/broker"),
        ("+/+/#", "a/b/#"),
        ("/+/#", "/#"),
        ("+/+/#", "/#"),
    ] {
        assert!(covers(broad, narrow), "{broad} covers {narrow}");
    }
    for (broad, narrow) in [
        ("a/b", "a/+"),
        ("a/b", "a/c"),
        ("a/b", "a/b/c"),
        ("a/b/c", "a/b"),
        ("a/+", "a/#"),
        ("a/+", "a"),
        ("a/+/#", "a/#"),
        ("+", "#"),
        ("+/+/#", "#"),
        ("#", "$SYS/broker"),
        ("+/broker", "$SYS/broker"),
        ("#", "$SYS/#"),
        ("a/#", "#"),
        ("a/#", "+/#"),
        ("/+", "/#"),
        ("+/+/+/#", "/#"),
    ] {
        assert!(!covers(broad, narrow), "{broad} does not cover {narrow}");
    }
}

/// A filter of few different levels, so that two of them often have to do with each other.
fn filters() -> impl Strategy<Value = String> {
    let level = prop_oneof![Just("a"), Just("b"), Just(""), Just("$s"), Just("+")];
    (proptest::collection::vec(level, 0..4), any::<bool>()).prop_filter_map("not empty", |(mut levels, rest)| {
        if rest {
            levels.push("#");
        }
        let filter = levels.join("/");
        (!filter.is_empty()).then_some(filter)
    })
}

fn topics() -> impl Strategy<Value = String> {
    let level = prop_oneof![Just("a"), Just("b"), Just(""), Just("$s"), Just("c")];
    proptest::collection::vec(level, 1..5).prop_map(|levels| levels.join("/"))
}

/// Topics that match `filter` and as few other filters as possible: where another filter does not cover it, one of them
/// shows it.
fn witnesses(filter: &str) -> Vec<String> {
    let fresh = filter.replace('+', "zz");
    match fresh.strip_suffix('#') {
        None => vec![fresh],
        Some("") => vec!["zz".into(), "zz/zz".into()],
        Some(head) => vec![head[..head.len() - 1].into(), format!("{head}zz"), format!("{head}zz/zz")],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn covers_agrees_with_matching(broad in filters(), narrow in filters(), topic in topics()) {
        let (b, n) = (parse(&broad), parse(&narrow));
        if covers(&broad, &narrow) {
            prop_assert!(n.captures(&topic).is_none() || b.captures(&topic).is_some(), "{broad} {narrow} {topic}");
        } else {
            let shown = witnesses(&narrow).iter().any(|t| n.captures(t).is_some() && b.captures(t).is_none());
            prop_assert!(shown, "{broad} {narrow}");
        }
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "[a-c+#{}/$ä\n-]{0,12}", topic in topics()) {
        if let Ok(pattern) = Pattern::parse(&text) {
            prop_assert_eq!(pattern.as_str(), &text);
            prop_assert_eq!(&parse(pattern.as_str()), &pattern);
            let filter = parse(pattern.filter());
            prop_assert_eq!(filter.filter(), pattern.filter());
            prop_assert_eq!(filter.captures(&topic).is_some(), pattern.captures(&topic).is_some());
        }
    }
}
