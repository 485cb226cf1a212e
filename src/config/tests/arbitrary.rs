//! Whatever stands in the file or the environment: no panic, and a message for each mistake.

use proptest::prelude::*;

use super::{Config, MQTT, SERIAL};

/// Asserts that the outcome is either good, or says what is wrong and where.
fn check(text: &str, variables: Vec<(String, String)>) {
    if let Err(errors) = Config::parse_with(text, "gadwall.toml", variables) {
        assert!(errors.iter().next().is_some());
        for line in errors.to_string().lines() {
            assert!(line.starts_with("gadwall.toml:") || line.starts_with("GADWALL_"), "{line:?}");
        }
    }
}

fn key() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "path",
        "memory-limit",
        "flush-interval",
        "batch-rows",
        "keep-readings",
        "capacity",
        "trust",
        "listen",
        "token-file",
        "level",
        "name",
        "port",
        "baud",
        "format",
        "silence",
        "time",
        "node",
        "url",
        "client-id",
        "password-file",
        "cert-file",
        "session-expiry",
        "window",
        "subscribe",
        "topic",
        "qos",
        "metric",
        "interval",
        "min",
        "stuck",
        "unit",
        "registers",
        "address",
        "function",
        "parity",
        "scale",
        "na",
        "other",
    ])
}

fn section() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "[store]",
        "[intake]",
        "[clock]",
        "[http]",
        "[log]",
        "[[serial]]",
        "[[mqtt]]",
        "[[mqtt.subscribe]]",
        "[[modbus]]",
        "[[modbus.unit]]",
        "[[quality]]",
        "[serial]",
        "[other]",
        SERIAL,
        MQTT,
    ])
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{1,22}( ?[a-zA-Z]{1,3})?( [0-9]{1,22}[a-z]{1,2})?".prop_map(|text| format!("\"{text}\"")),
        "(mqtts?|x)?(://)?[a-z:@\\[\\]./?#]{0,12}(:[0-9]{1,6})?".prop_map(|text| format!("\"{text}\"")),
        "\\PC{0,20}".prop_map(|text| format!("{text:?}")),
        "-?[0-9]{1,22}",
        "[\\[{][a-z = \"{}\\[\\],]{0,12}[\\]}]",
    ]
}

proptest! {
    #[test]
    fn any_text(text in "\\PC{0,200}") {
        check(&text, Vec::new());
    }

    #[test]
    fn any_values(lines in prop::collection::vec((section(), key(), value()), 0..6)) {
        let text: String = lines.iter().map(|(section, key, value)| format!("{section}\n{key} = {value}\n")).collect();
        check(&text, Vec::new());
    }

    #[test]
    fn any_variables(
        variables in prop::collection::vec(("[A-Z_]{0,8}", 0_u8..3, key(), "\\PC{0,20}"), 0..6),
        index in prop::sample::select(vec!["SERIAL__", "MQTT__", "MQTT__0__SUBSCRIBE__", "STORE__"]),
    ) {
        let variables = variables.into_iter().map(|(other, i, key, value)| {
            let key = super::super::env::name_of(key);
            let name = if other.is_empty() { format!("GADWALL_{index}{i}__{key}") } else { format!("GADWALL_{other}") };
            (name, value)
        });
        check(MQTT, variables.collect());
    }
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("[", "]"), ("{a=", "}")] {
        let text = format!("a = {}1{}", open.repeat(50_000), close.repeat(50_000));
        let error = Config::parse(&text, "gadwall.toml").unwrap_err().to_string();
        assert!(error.starts_with("gadwall.toml:1: "), "{error}");
        assert!(error.len() < 200, "{error}");
    }
    let text = format!("[{}a]\n", "a.".repeat(50_000));
    let error = Config::parse(&text, "gadwall.toml").unwrap_err().to_string();
    assert_eq!(error, "gadwall.toml:1: not TOML at column 1: recursion limit");
}
