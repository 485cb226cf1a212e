//! Variables over the file, and the credentials of systemd.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use super::{MQTT, SERIAL};
use crate::config::{Config, ConfigErrors};

fn with(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    Config::parse_with(text, "/etc/gadwall/gadwall.toml", variables.iter().copied())
}

/// The messages about `text` with these variables, one a line.
fn errors(text: &str, variables: &[(&str, &str)]) -> String {
    with(text, variables).unwrap_err().to_string()
}

#[test]
fn every_kind_of_key_can_be_overridden() {
    let json = SERIAL.replace("hub-lines", "json-lines");
    let config = with(
        &format!("[store]\npath = \"/from/file\"\nbatch-rows = 7\n{json}{MQTT}"),
        &[
            ("GADWALL_STORE__PATH", "/from/variable"),
            ("GADWALL_STORE__FLUSH_INTERVAL", "2s"),
            ("GADWALL_STORE__MEMORY_LIMIT", "32MB"),
            ("GADWALL_STORE__KEEP_READINGS", "30d"),
            ("GADWALL_HTTP__LISTEN", "127.0.0.1:0"),
            ("GADWALL_LOG__LEVEL", "debug"),
            ("GADWALL_SERIAL__0__PORT", "/dev/other"),
            ("GADWALL_SERIAL__0__BAUD", "9600"),
            ("GADWALL_MQTT__0__URL", "mqtt://other:99"),
            ("GADWALL_MQTT__0__SUBSCRIBE__0__QOS", "0"),
            ("GADWALL_MQTT__0__SUBSCRIBE__1__TOPIC", "more/{node}"),
            ("GADWALL_CONFIG", "/etc/gadwall/gadwall.toml"),
            ("PATH", "/bin"),
            ("XGADWALL_STORE__PATH", "/x"),
        ],
    )
    .unwrap();
    assert_eq!(config.store.path, PathBuf::from("/from/variable"));
    assert_eq!(config.store.flush_interval, Duration::from_secs(2));
    assert_eq!(config.store.memory_limit, 32_000_000);
    assert_eq!(config.store.batch_rows, 7);
    assert_eq!(config.store.keep_readings, Some(Duration::from_secs(30 * 86_400)));
    assert_eq!(config.http.listen, "127.0.0.1:0".parse().unwrap());
    assert_eq!(config.log.level, tracing::level_filters::LevelFilter::DEBUG);
    assert_eq!((config.serial.len(), config.serial[0].uart.baud), (1, 9_600));
    assert_eq!(config.serial[0].port, PathBuf::from("/dev/other"));
    assert_eq!(config.mqtt[0].url.as_str(), "mqtt://other:99");
    let qos: Vec<u8> = config.mqtt[0].subscribe.iter().map(|s| s.qos).collect();
    assert_eq!(qos, [0, 1]);
}

#[test]
fn variables_alone_make_sources() {
    let variables = [
        ("GADWALL_SERIAL__0__NAME", "hub"),
        ("GADWALL_SERIAL__0__PORT", "/dev/hub"),
        ("GADWALL_SERIAL__0__FORMAT", "hub-lines"),
        ("GADWALL_SERIAL__1__NAME", "meter"),
        ("GADWALL_SERIAL__1__PORT", "/dev/meter"),
        ("GADWALL_SERIAL__1__FORMAT", "json-lines"),
        ("GADWALL_MQTT__0__NAME", "home"),
        ("GADWALL_MQTT__0__URL", "mqtt://localhost"),
        ("GADWALL_MQTT__0__SUBSCRIBE__0__TOPIC", "s/{node}"),
    ];
    let meter = SERIAL.replace("hub\"", "meter\"").replace("hub-lines", "json-lines");
    assert_eq!(with("", &variables).unwrap(), super::parsed(&format!("{SERIAL}{meter}{MQTT}")));
    assert_eq!(with(SERIAL, &variables[1..]).unwrap(), with("", &variables).unwrap());
}

#[test]
fn a_variable_wins_over_a_wrong_value_in_the_file() {
    let config = with("[store]\nbatch-rows = \"x\"\n", &[("GADWALL_STORE__BATCH_ROWS", "10")]).unwrap();
    assert_eq!(config.store.batch_rows, 10);
}

#[test]
fn relative_paths_in_variables_start_from_the_working_directory() {
    let config = with("", &[("GADWALL_STORE__PATH", "here.duckdb")]).unwrap();
    assert_eq!(config.store.path, PathBuf::from("here.duckdb"));
}

#[test]
fn errors_name_the_variable() {
    assert_eq!(
        errors("[store]\nflush-interval = \"1s\"\n", &[("GADWALL_STORE__FLUSH_INTERVAL", "5")]),
        "GADWALL_STORE__FLUSH_INTERVAL: store.flush-interval = \"5\": expected a duration with its unit, such as \"5s\""
    );
    assert_eq!(
        errors(SERIAL, &[("GADWALL_SERIAL__0__BAUD", "fast")]),
        "GADWALL_SERIAL__0__BAUD: serial[0].baud = \"fast\": expected a whole number from 300 to 4000000"
    );
    assert_eq!(errors("", &[("GADWALL_STORE__PATH", "")]), "GADWALL_STORE__PATH: store.path = \"\": expected a path");
    assert_eq!(
        errors("", &[("GADWALL_STORE__BATCH_ROWS", "20000")]),
        "GADWALL_STORE__BATCH_ROWS: store.batch-rows = \"20000\": expected at most half of intake.capacity, which is 20000"
    );
    assert_eq!(
        errors("", &[("GADWALL_SERIAL__0__NAME", "hub"), ("GADWALL_SERIAL__0__FORMAT", "hub-lines")]),
        "GADWALL_SERIAL__0__PORT: serial[0].port: missing, expected the path of a device, such as \
         \"/dev/serial/by-id/usb-Raspberry_Pi_Pico-if00\""
    );
    assert_eq!(
        errors(MQTT, &[("GADWALL_MQTT__0__URL", "mqtt://me:hunter2@h")]),
        "GADWALL_MQTT__0__URL: mqtt[0].url = \"mqtt://***@h\": expected mqtt://host:port or mqtts://host:port without user \
         name and password, they belong into username-file and password-file"
    );
    let not_utf8 = [(OsString::from("GADWALL_STORE__PATH"), OsString::from_vec(vec![b'x', 0xff]))];
    assert_eq!(
        Config::parse_with("", "gadwall.toml", not_utf8).unwrap_err().to_string(),
        "GADWALL_STORE__PATH: store.path = (not UTF-8): expected UTF-8"
    );
}

#[test]
fn a_variable_that_names_no_key_is_an_error() {
    let sections = "known keys: store, intake, clock, http, memory, log, serial, modbus, mqtt, quality";
    let clock = "known keys of clock: trust, patience, synchronised-file, timezone";
    let serial = "known keys of serial[0]: name, port, format, baud, data-bits, \
         parity, stop-bits, interval, silence, max-line, framing, crc, crc-order, crc-covers, length, sync, length-bytes, \
         length-order, length-counts, gap, max-frame, layout, time, node, columns, header, separator, model, timezone";
    for (name, known) in [
        ("GADWALL_STROE__PATH", sections),
        ("GADWALL_CLOCK", sections),
        ("GADWALL_clock__trust", sections),
        ("GADWALL_", sections),
        ("GADWALL_CLOCK__TRUTS", clock),
        ("GADWALL_CLOCK__TRUST__X", clock),
        ("GADWALL_SERIAL__0__SPEED", serial),
        ("GADWALL_SERIAL__00__BAUD", sections),
        // One element is there, so that the next has the index 1.
        ("GADWALL_SERIAL__2__BAUD", sections),
    ] {
        let expected = format!("{name}: names no key of the configuration; {known}");
        assert_eq!(errors(SERIAL, &[(name, "hunter2")]), expected);
    }
}

#[test]
fn a_table_that_is_none_hides_its_variables_instead_of_calling_them_unknown() {
    assert_eq!(
        errors("serial = 5\n", &[("GADWALL_SERIAL__0__BAUD", "9600")]),
        "/etc/gadwall/gadwall.toml:1: serial = 5: expected tables, each written as [[serial]]"
    );
}

#[test]
fn credentials_are_files_in_the_folder_that_systemd_names() {
    let text = "[http]\ntoken-file = \"credential:http.token\"\n";
    let config = with(text, &[("CREDENTIALS_DIRECTORY", "/run/credentials/gadwall.service")]).unwrap();
    assert_eq!(config.http.token_file, Some("/run/credentials/gadwall.service/http.token".into()));
    let config = with("", &[("CREDENTIALS_DIRECTORY", "/run/c"), ("GADWALL_HTTP__TOKEN_FILE", "credential:token")]);
    assert_eq!(config.unwrap().http.token_file, Some("/run/c/token".into()));

    for variables in [&[][..], &[("CREDENTIALS_DIRECTORY", "")]] {
        assert_eq!(
            errors(text, variables),
            "/etc/gadwall/gadwall.toml:2: http.token-file = \"credential:http.token\": CREDENTIALS_DIRECTORY is not set, \
             expected systemd to set it for the service (LoadCredential=)"
        );
    }
    for name in ["", "a/b", ".", ".."] {
        let text = format!("[http]\ntoken-file = \"credential:{name}\"\n");
        assert_eq!(
            errors(&text, &[("CREDENTIALS_DIRECTORY", "/run/c")]),
            format!(
                "/etc/gadwall/gadwall.toml:2: http.token-file = \"credential:{name}\": expected the name of a systemd \
                 credential after \"credential:\""
            )
        );
    }
}
