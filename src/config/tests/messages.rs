//! What a person reads about each mistake, word for word.

use super::{MQTT, SERIAL, errors};
use crate::codec::topic::Pattern;
use crate::config::Place;

/// Asserts that `text` has exactly this one mistake.
#[track_caller]
fn says(text: &str, expected: &str) {
    assert_eq!(errors(text), format!("gadwall.toml:{expected}"));
}

/// The same for a line that follows the four lines of a `[[serial]]`.
#[track_caller]
fn serial_says(line: &str, expected: &str) {
    says(&format!("{SERIAL}{line}\n"), &format!("5: serial[0].{expected}"));
}

/// The same for a line that follows the four lines of an `[[mqtt]]`.
#[track_caller]
fn mqtt_says(line: &str, expected: &str) {
    says(&format!("{MQTT}{line}\n"), &format!("5: mqtt[0].{expected}"));
}

#[track_caller]
fn url_says(url: &str, shown: &str, reason: &str) {
    says(&MQTT.replace("mqtt://localhost", url), &format!("3: mqtt[0].url = \"{shown}\": {reason}"));
}

#[track_caller]
fn subscription_says(subscription: &str, expected: &str) {
    let text = format!("[[mqtt]]\nname = \"home\"\nurl = \"mqtt://localhost\"\n[[mqtt.subscribe]]\n{subscription}\n");
    says(&text, expected);
}

#[test]
fn text_that_is_not_toml() {
    says("[store\n", "1: not TOML at column 7: unclosed table, expected `]`");
    says("[store]\npath = 'a'\npath = 'b'\n", "3: not TOML at column 1: duplicate key");
    says("x = [1,\n2\n", "2: not TOML at column 2: unclosed array, expected `]`");
    says("[log]\nlevel = \"info\n", "2: not TOML at column 14: invalid basic string, expected `\"`");
    let expected = "not TOML: expected text, a duration or a size in quotes, or a number without";
    for value in ["info", "5s", "24MB", "127.0.0.1:8080", "mqtt://h", "/dev/x", "hub-lines", "1h 30m", ""] {
        says(&format!("[log]\nlevel = {value}\n"), &format!("2: level: {expected}"));
    }
}

#[test]
fn what_is_unknown() {
    says(
        "[store]\nbatch-rows = 10\nflush_interval = \"5s\"\n",
        "3: store.flush_interval: unknown key, expected one of: path, memory-limit, flush-interval, batch-rows, \
         keep-readings, keep-hourly, keep-daily, max-size, write-budget, card-endurance, \
         max-nodes, max-series, min-free",
    );
    says(
        "\n[sotre]\npath = \"x\"\n",
        "2: sotre: unknown section, expected one of: store, intake, clock, http, memory, log, serial, modbus, mqtt, quality",
    );
    says(
        "path = \"x\"\n",
        "1: path: unknown key, expected one of: store, intake, clock, http, memory, log, serial, modbus, mqtt, quality",
    );
    says(
        "[clock]\n\"trust me\\n\" = 1\n",
        "2: clock.\"trust me\\n\": unknown key, expected one of: trust, patience, synchronised-file, timezone",
    );
    says("[clock.trust]\nx = 1\n", "1: clock.trust = (a table): expected \"auto\", \"always\" or \"synchronised\"");
    serial_says(
        "timezone = 2",
        "timezone = 2: expected a time zone of the IANA database, such as \"Europe/Berlin\" or \"UTC\"",
    );
    serial_says(
        "speed = 9600",
        "speed: unknown key, expected one of: name, port, format, baud, data-bits, parity, stop-bits, interval, silence, \
         max-line, framing, crc, crc-order, crc-covers, length, sync, length-bytes, length-order, length-counts, gap, max-frame, \
         layout, time, node, columns, header, separator, model, timezone",
    );
    // The value of what looks like a password is not shown.
    mqtt_says(
        "password = \"hunter2\"",
        "password: unknown key, expected one of: name, url, client-id, username-file, password-file, ca-file, cert-file, \
         key-file, session-expiry, max-message, window, subscribe",
    );
    subscription_says(
        "topic = \"a\"\nQoS = 1",
        "6: mqtt[0].subscribe[0].QoS: unknown key, expected one of: topic, format, layout, time, timezone, qos",
    );
}

#[test]
fn what_has_the_wrong_shape() {
    says("store = 5\n", "1: store = 5: expected a table, written as [store]");
    says("[[store]]\n", "1: store = (an array): expected a table, written as [store]");
    says("[serial]\nname = \"x\"\n", "1: serial = (a table): expected tables, each written as [[serial]]");
    says(
        "serial = [\n{},\n\"/dev/hub\"]\n",
        "3: serial[1] = \"/dev/hub\": expected tables, each written as [[serial]]",
    );
    says(
        "mqtt = \"mqtt://me:hunter2@host\"\n",
        "1: mqtt = \"mqtt://***@host\": expected tables, each written as [[mqtt]]",
    );
    subscription_says(
        "topic = [\"a\"]",
        "5: mqtt[0].subscribe[0].topic = (an array): expected a topic pattern, such as \"sensors/{node}/{metric}\"",
    );
    says(
        "[[mqtt]]\nname = \"home\"\nurl = \"mqtt://localhost\"\nsubscribe = \"sensors/#\"\n",
        "4: mqtt[0].subscribe = \"sensors/#\": expected tables, each written as { key = value, ... }",
    );
}

#[test]
fn durations_and_sizes() {
    says(
        "# a comment\n[store]\nflush-interval = \"5\"\n",
        "3: store.flush-interval = \"5\": expected a duration with its unit, such as \"5s\"",
    );
    let plain = "2: store.flush-interval = 5: expected a duration with its unit, such as \"5s\"";
    says("[store]\nflush-interval = 5\n", plain);
    says(
        "[store]\nflush-interval = \"2h\"\n",
        "2: store.flush-interval = \"2h\": expected a duration from \"100ms\" to \"1h\"",
    );
    says(
        "[store]\nmemory-limit = 24000000\n",
        "2: store.memory-limit = 24000000: expected a size with its unit, such as \"24MB\"",
    );
    says(
        "[store]\nmemory-limit = \"8MB\"\n",
        "2: store.memory-limit = \"8MB\": expected a size from \"16MB\" to \"4GB\"",
    );
    mqtt_says("max-message = \"1GB\"", "max-message = \"1GB\": expected a size from \"1KiB\" to \"16MiB\"");
    mqtt_says("max-message = true", "max-message = true: expected a size with its unit, such as \"256KiB\"");
    mqtt_says("session-expiry = \"1s\"", "session-expiry = \"1s\": expected a duration from \"1m\" to \"365d\"");
    serial_says("interval = \"5s\"", "interval = \"5s\": expected none: with format = \"hub-lines\" nothing is asked");
    let asked = SERIAL.replace("hub-lines", "mh-z19");
    says(
        &format!("{asked}interval = \"9h\"\n"),
        "5: serial[0].interval = \"9h\": expected a duration from \"1s\" to \"8h\"",
    );
    let short = format!("{asked}interval = \"20s\"\nsilence = \"15s\"\n");
    says(&short, "6: serial[0].silence = \"15s\": expected more than interval");
    serial_says("silence = \"a while\"", "silence = \"a while\": expected a duration with its unit, such as \"1m\"");
}

#[test]
fn whole_numbers() {
    says("[store]\nbatch-rows = -1\n", "2: store.batch-rows = -1: expected a whole number from 1 to 100000");
    says("[store]\nbatch-rows = 1.5\n", "2: store.batch-rows = 1.5: expected a whole number from 1 to 100000");
    says(
        "[store]\nbatch-rows = \"5000\"\n",
        "2: store.batch-rows = \"5000\": expected a whole number from 1 to 100000",
    );
    serial_says(
        "baud = 99999999999999999999",
        "baud = 99999999999999999999: expected a whole number from 300 to 4000000",
    );
    serial_says("baud = 1979-05-27", "baud = 1979-05-27: expected a whole number from 300 to 4000000");
    mqtt_says("window = 0x1_0000", "window = 0x1_0000: expected a whole number from 1 to 65535");
}

#[test]
fn words() {
    says("[clock]\ntrust = \"ntp\"\n", "2: clock.trust = \"ntp\": expected \"auto\", \"always\" or \"synchronised\"");
    says(
        "[log]\nlevel = \"INFO\"\n",
        "2: log.level = \"INFO\": expected \"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
    );
    says(
        &SERIAL.replace("hub-lines", "nmea"),
        "4: serial[0].format = \"nmea\": unknown format, expected \"hub-lines\", \"json-lines\", \"csv-lines\", \"nmea-0183\", \"dsmr-p1\", \"sds011\", \"pms\", \"mh-z19\", \"senseair-s8\", \"layout\", \"auto\", \
         \"json\", \"number\", \"csv\", \"msgpack\", \"zigbee2mqtt\", \"tasmota\", \"shelly\", \"rtl_433\", \"theengs\", \
         \"the-things-stack\", \"senml\", \"influx-line\" or \"ruuvi\"",
    );
    subscription_says(
        "topic = \"a\"\nformat = \"tasmotta\"",
        "6: mqtt[0].subscribe[0].format = \"tasmotta\": unknown format, expected \"auto\", \"json\", \"number\", \"csv\", \
         \"msgpack\", \"zigbee2mqtt\", \"tasmota\", \"esphome\", \"shelly\", \"rtl_433\", \"theengs\", \"the-things-stack\", \
         \"homie\", \"senml\", \"influx-line\", \"ruuvi\", \"sparkplug-b\" or \"layout\"",
    );
}

#[test]
fn what_is_kept() {
    let config = super::parsed("[store]\nkeep-readings = \"90d\"\nkeep-hourly = \"730d\"\nmax-size = \"1GB\"\n");
    let day = |days: u64| Some(std::time::Duration::from_secs(days * 86_400));
    let kept = (config.store.keep_readings, config.store.keep_hourly, config.store.keep_daily, config.store.max_size);
    assert_eq!(kept, (day(90), day(730), None, Some(1_000_000_000)));
    says(
        "[store]\nkeep-readings = \"12h\"\n",
        "2: store.keep-readings = \"12h\": expected a duration from \"1d\" to \"36500d\", or \"forever\"",
    );
    says(
        "[store]\nkeep-readings = \"never\"\n",
        "2: store.keep-readings = \"never\": expected a duration with its unit, such as \"90d\", or \"forever\"",
    );
    says(
        "[store]\nkeep-readings = \"90d\"\nkeep-hourly = \"30d\"\n",
        "3: store.keep-hourly = \"30d\": expected at least keep-readings",
    );
    says("[store]\nkeep-daily = \"30d\"\n", "2: store.keep-daily = \"30d\": expected at least keep-hourly");
    says(
        "[store]\nmax-size = \"1MB\"\n",
        "2: store.max-size = \"1MB\": expected a size from \"16MB\" to \"1TB\", or \"unlimited\"",
    );
    says(
        "[store]\nwrite-budget = \"200kB\"\ncard-endurance = 10\n",
        "2: store.write-budget = \"200kB\": expected a size from \"1MB\" to \"1TB\", or \"unlimited\"\n\
         gadwall.toml:3: store.card-endurance = 10: expected a size with its unit, such as \"10TB\"",
    );
    says(
        "[clock]\ntimezone = \"Europe/Berln\"\n",
        "2: clock.timezone = \"Europe/Berln\": expected a time zone of the IANA database, such as \"Europe/Berlin\" or \"UTC\"",
    );
}

#[test]
fn names_and_paths() {
    let expected = "expected a name of 1 to 128 bytes without control characters and without \"/\"";
    for (name, shown) in [("", ""), ("a/b", "a/b"), ("a\\tb", "a\\tb")] {
        let text = SERIAL.replace("\"hub\"", &format!("\"{name}\""));
        says(&text, &format!("2: serial[0].name = \"{shown}\": {expected}"));
    }
    let (longest, longer) = ("\u{e4}".repeat(64), "\u{e4}".repeat(64) + "x");
    assert_eq!(super::parsed(&SERIAL.replace("\"hub\"", &format!("\"{longest}\""))).serial[0].name, longest);
    says(
        &SERIAL.replace("\"hub\"", &format!("\"{longer}\"")),
        &format!("2: serial[0].name = \"{longer}\": {expected}"),
    );
    // A long value is cut.
    let long = "x".repeat(257);
    mqtt_says(
        &format!("client-id = \"{long}\""),
        &format!("client-id = \"{}...\": expected text of 1 to 256 bytes without control characters", &long[..80]),
    );
    says("[store]\npath = \"\"\n", "2: store.path = \"\": expected a path");
    says("[http]\ntoken-file = \"\"\n", "2: http.token-file = \"\": expected a path, or \"credential:NAME\"");
    let field = "expected the name of a field, or a dotted path to it, such as \"data.time\"";
    let json = SERIAL.replace("hub-lines", "json-lines");
    says(&format!("{json}time = \"a..b\"\n"), &format!("5: serial[0].time = \"a..b\": {field}"));
    subscription_says("topic = \"a\"\ntime = \"\"", &format!("6: mqtt[0].subscribe[0].time = \"\": {field}"));
}

#[test]
fn what_is_missing() {
    assert_eq!(
        errors("[[serial]]\n\n[[mqtt]]\n[[mqtt.subscribe]]\n"),
        "gadwall.toml:1: serial[0].name: missing, expected a name for the source, such as \"home\"\n\
         gadwall.toml:1: serial[0].port: missing, expected the path of a device, such as \
         \"/dev/serial/by-id/usb-Raspberry_Pi_Pico-if00\"\n\
         gadwall.toml:1: serial[0].format: missing, expected how its bytes are read, such as \"json-lines\" or \
         \"nmea-0183\"\n\
         gadwall.toml:3: mqtt[0].name: missing, expected a name for the source, such as \"home\"\n\
         gadwall.toml:3: mqtt[0].url: missing, expected the broker's address, such as \"mqtt://localhost:1883\"\n\
         gadwall.toml:4: mqtt[0].subscribe[0].topic: missing, expected a topic pattern, such as \
         \"sensors/{node}/{metric}\""
    );
    let none = "expected at least one subscription, such as { topic = \"sensors/{node}\" }";
    let without = "[[mqtt]]\nname = \"home\"\nurl = \"mqtt://localhost\"\n";
    says(without, &format!("1: mqtt[0].subscribe: missing, {none}"));
    says(&format!("{without}subscribe = []\n"), &format!("4: mqtt[0].subscribe = (an array): {none}"));
}

#[test]
fn urls_of_brokers() {
    let expected = "expected mqtt://host:port or mqtts://host:port";
    for url in
        ["http://h", "h:1883", "localhost", "mqtt:h", "mqtt:///topic", "mqtt://h:0", "mqtt://h:99999", "mqtt://a b", ""]
    {
        url_says(url, url, expected);
    }
    url_says("mqtt://h/topic", "mqtt://h/topic", &format!("{expected} with nothing behind it"));
    url_says("mqtt://h#x", "mqtt://h#x", &format!("{expected} with nothing behind it"));
}

#[test]
fn secrets_are_never_shown() {
    let expected = "expected mqtt://host:port or mqtts://host:port";
    let user = format!("{expected} without user name and password, they belong into username-file and password-file");
    url_says("mqtt://me:hunter2@h:1883", "mqtt://***@h:1883", &user);
    url_says("mqtt://hunter2@h", "mqtt://***@h", &user);
    url_says("mqtt://me:h\\u0075nter2\\u0040h", "mqtt://***@h", &user);
    url_says("mqtt://h?password=hunter2", "mqtt://h?***", &format!("{expected} with nothing behind it"));
    // What is no URL may hold a password as well.
    url_says("me:hunter2@h", "***@h", expected);
    url_says("mqtt://me:hunter2@h:99999", "mqtt://***@h:99999", expected);
    url_says("mqtt://me:hun@ter2@[zz]", "mqtt://***@[zz]", expected);
    url_says("mqtt://me:hun/?ter2@h", "mqtt://***@h", expected);
    // The password where the name of its file belongs.
    let text = format!("{MQTT}username-file = \"u\"\npassword-file = 12345\n");
    says(&text, "6: mqtt[0].password-file = (a value of type integer): expected a path, or \"credential:NAME\"");
    says(
        &format!("{MQTT}password = hunter2\n"),
        "5: password: not TOML: expected text, a duration or a size in quotes, or a number without",
    );
    says("[http]\ntoken \"hunter2=\"\n", "2: not TOML at column 7: key with no value, expected `=`");
}

#[test]
fn topics_and_qos() {
    let expected = "expected a topic pattern, such as \"sensors/{node}/{metric}\"";
    let reason = Pattern::parse("sensors/{node").unwrap_err();
    subscription_says(
        "topic = \"sensors/{node\"",
        &format!("5: mqtt[0].subscribe[0].topic = \"sensors/{{node\": not a topic pattern: {reason}"),
    );
    subscription_says("topic = 5", &format!("5: mqtt[0].subscribe[0].topic = 5: {expected}"));
    subscription_says(
        "topic = \"a\"\nqos = 2",
        "6: mqtt[0].subscribe[0].qos = 2: expected 0 or 1: subscriptions ask for at most QoS 1, QoS 2 publications arrive \
         as QoS 1",
    );
    subscription_says("topic = \"a\"\nqos = 3", "6: mqtt[0].subscribe[0].qos = 3: expected 0 or 1");
    subscription_says(
        "topic = \"a\"\ntimezone = \"CEST\"",
        "6: mqtt[0].subscribe[0].timezone = \"CEST\": expected a time zone of the IANA database, such as \
         \"Europe/Berlin\" or \"UTC\"",
    );
}

#[test]
fn addresses() {
    let expected = "expected an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"";
    for address in ["localhost:8080", "127.0.0.1", "8080", "127.0.0.1:99999"] {
        says(&format!("[http]\nlisten = \"{address}\"\n"), &format!("2: http.listen = \"{address}\": {expected}"));
    }
    for address in ["0.0.0.0:8080", "[::]:8080", "192.168.0.2:0", "[::ffff:192.168.0.2]:1"] {
        says(
            &format!("[http]\nlisten = \"{address}\"\n"),
            &format!("2: http.listen = \"{address}\": expected a loopback address, or a token-file beside it"),
        );
        super::parsed(&format!("[http]\nlisten = \"{address}\"\ntoken-file = \"t\"\n"));
    }
    super::parsed("[http]\nlisten = \"[::ffff:127.0.0.1]:1\"\n");
}

#[test]
fn keys_that_depend_on_each_other() {
    says(
        "[store]\nbatch-rows = 20000\n",
        "2: store.batch-rows = 20000: expected at most half of intake.capacity, which is 20000",
    );
    says(
        "[intake]\ncapacity = 9999\n",
        "2: intake.capacity = 9999: expected at least twice store.batch-rows, which is 5000",
    );
    mqtt_says(
        "cert-file = \"c\"\nca-file = \"a\"",
        "cert-file = \"c\": expected a key-file beside it\n\
        gadwall.toml:5: mqtt[0].cert-file = \"c\": expected with an mqtts:// url only\n\
        gadwall.toml:6: mqtt[0].ca-file = \"a\": expected with an mqtts:// url only",
    );
    let tls = MQTT.replace("mqtt://", "mqtts://");
    says(&format!("{tls}key-file = \"k\"\n"), "5: mqtt[0].key-file = \"k\": expected a cert-file beside it");
    serial_says(
        "node = \"id\"",
        "node = \"id\": expected with format = \"json-lines\", \"csv-lines\", \"json\" or \"csv\" only",
    );
}

#[test]
fn what_is_known_of_series() {
    #[track_caller]
    fn quality_says(lines: &str, expected: &str) {
        says(&format!("[[quality]]\n{lines}\n"), expected);
    }
    let known = "expected one of: node, metric, interval, min, max, stuck";
    quality_says("min = 0\nMax = 1", &format!("3: quality[0].Max: unknown key, {known}"));
    let none = "missing, expected at least one of interval, min, max and stuck";
    quality_says("node = \"kitchen\"", &format!("1: quality[0].interval: {none}"));
    let interval = "expected a duration with its unit, such as \"30s\", or \"irregular\"";
    quality_says("interval = 30", &format!("2: quality[0].interval = 30: {interval}"));
    quality_says("interval = \"never\"", &format!("2: quality[0].interval = \"never\": {interval}"));
    let range = "expected a duration from \"100ms\" to \"365d\", or \"irregular\"";
    quality_says("interval = \"0s\"", &format!("2: quality[0].interval = \"0s\": {range}"));
    for value in ["inf", "nan", "-inf", "\"85\"", "[1]", "true"] {
        let shown = if value == "[1]" { "(an array)" } else { value };
        quality_says(&format!("max = {value}"), &format!("2: quality[0].max = {shown}: expected a number"));
    }
    quality_says("min = 5\nmax = 4.5", "3: quality[0].max = 4.5: expected at least min");
    let text = "expected text of 1 to 257 bytes without control characters";
    quality_says("node = \"\"\nmin = 0", &format!("2: quality[0].node = \"\": {text}"));
    quality_says("stuck = \"6\"", "2: quality[0].stuck = \"6\": expected a duration with its unit, such as \"6h\"");
    let section = "expected tables, each written as [[quality]]";
    says("[quality]\nmin = 0\n", &format!("1: quality = (a table): {section}"));
    let config = super::parsed("[[quality]]\nmin = 0x10\n[[quality]]\nmin = -1e3\nmax = -1_000\n");
    assert_eq!((config.quality[0].min, config.quality[1].max), (Some(16.0), Some(-1e3)));
}

#[test]
fn what_only_one_source_may_have() {
    let again = SERIAL.replace("/dev/hub", "/dev/other");
    says(
        &format!("{SERIAL}{again}"),
        "6: serial[1].name = \"hub\": serial[0] has this name, expected one that no other source has",
    );
    says(
        &format!("{SERIAL}{}", MQTT.replace("home", "hub")),
        "6: mqtt[0].name = \"hub\": serial[0] has this name, expected one that no other source has",
    );
    says(
        &format!("{SERIAL}{}", SERIAL.replace("\"hub\"", "\"other\"")),
        "7: serial[1].port = \"/dev/hub\": serial[0] reads this port, expected one that no other source reads",
    );
    let client = format!("{MQTT}client-id = \"c\"\n");
    says(
        &format!("{client}{}", client.replace("home", "other")),
        "10: mqtt[1].client-id = \"c\": mqtt[0] has this client-id on the same broker, which would disconnect one of the \
         two, expected another",
    );
}

#[test]
fn all_mistakes_are_reported_in_the_order_of_their_lines() {
    let text = "[log]\nlevel = 3\n[store]\nmax-nodes = 0\nx = 1\nbatch-rows = \"a\"\n[[mqtt]]\nname = \"/\"\nqos = 1\n";
    let errors = crate::config::Config::parse(text, "gadwall.toml").unwrap_err();
    let found: Vec<_> = errors.iter().map(|error| (error.place().clone(), error.key().unwrap())).collect();
    assert_eq!(
        found,
        [
            (Place::Line(2), "log.level"),
            (Place::Line(4), "store.max-nodes"),
            (Place::Line(5), "store.x"),
            (Place::Line(6), "store.batch-rows"),
            (Place::Line(7), "mqtt[0].url"),
            (Place::Line(7), "mqtt[0].subscribe"),
            (Place::Line(8), "mqtt[0].name"),
            (Place::Line(9), "mqtt[0].qos"),
        ]
    );
}
