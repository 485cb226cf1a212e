//! The texts of the messages, the bounds, the variables, and the shipped example.

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::codec::modbus::{self, Decimal, Function, Na, Register, Scale, Unit};
use crate::codec::payload::Format;
use crate::codec::serial::crc::Checksum;
use crate::codec::serial::framing::{Counts, Covers};
use crate::codec::serial::layout::Layout;
use crate::codec::serial::pms::Model;
use crate::codec::serial::protocol::{Keys, Kind};
use crate::codec::serial::{self, Order, Protocol};
use crate::codec::topic::Pattern;

mod arbitrary;
mod messages;
mod ports;
mod variables;

/// The messages about `text`, one a line.
fn errors(text: &str) -> String {
    Config::parse(text, "gadwall.toml").unwrap_err().to_string()
}

fn parsed(text: &str) -> Config {
    Config::parse(text, "gadwall.toml").unwrap_or_else(|e| panic!("{e}"))
}

const SERIAL: &str = "[[serial]]\nname = \"hub\"\nport = \"/dev/hub\"\nformat = \"hub-lines\"\n";
const MQTT: &str = "[[mqtt]]\nname = \"home\"\nurl = \"mqtt://localhost\"\nsubscribe = [{ topic = \"s/{node}\" }]\n";

/// The example with the "#" removed where no space follows it, which is how it marks examples among its prose.
fn uncommented_example() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    EXAMPLE.lines().map(line).collect()
}

#[test]
fn the_example_equals_the_defaults() {
    assert_eq!(parsed(EXAMPLE), Config::default());
    assert_eq!(parsed(""), Config::default());
}

#[test]
fn the_example_shows_every_default() {
    let shown = EXAMPLE.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [
            "[store]",
            "path = \"/var/lib/gadwall/gadwall.duckdb\"",
            "memory-limit = \"24MB\"",
            "flush-interval = \"5s\"",
            "batch-rows = 5000",
            "write-budget = \"unlimited\"",
            "keep-readings = \"forever\"",
            "keep-hourly = \"forever\"",
            "keep-daily = \"forever\"",
            "max-size = \"unlimited\"",
            "max-nodes = 2000",
            "max-series = 10000",
            "min-free = \"32MB\"",
            "[intake]",
            "capacity = 20000",
            "max-bytes = \"8MB\"",
            "[clock]",
            "trust = \"auto\"",
            "patience = \"15m\"",
            "[http]",
            "listen = \"127.0.0.1:8080\"",
            "max-connections = 32",
            "[memory]",
            "limit = \"auto\"",
            "[log]",
            "level = \"info\"",
        ]
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "one value for each key")]
fn the_uncommented_example_holds_every_key() {
    let example = uncommented_example();
    let config = parsed(&example);
    let file = |name: &str| Some(PathBuf::from(format!("/etc/gadwall/{name}")));
    let mut expected = Config::default();
    expected.http.token_file = file("http.token");
    let hub =
        Serial { name: "hub".into(), port: "/dev/serial/by-id/usb-Raspberry_Pi_Pico-if00".into(), ..Serial::default() };
    let by_id = |name: &str| PathBuf::from(format!("/dev/serial/by-id/{name}"));
    let named = |name: &str, port, keys| {
        let protocol = Protocol::new(keys).unwrap();
        Serial { name: name.into(), port, protocol, ..Serial::default() }
    };
    let keys = |format: &str| Keys { format: serial::Format::named(format).unwrap(), ..Keys::default() };
    let text = |text: &str| Some(text.to_owned());
    // Defaults that are written down.
    let hub = Serial { protocol: Protocol::new(Keys { max_line: Some(4_096), ..keys("hub-lines") }).unwrap(), ..hub };
    let json = Keys { time: text("time"), node: text("node"), ..keys("json-lines") };
    let meter = named("meter", by_id("usb-FTDI_FT232R-if00-port0"), json);
    let meter = Serial { timezone: Some(Tz::Europe__Berlin), ..meter };
    let columns = Some(vec!["temperature".into(), "humidity [%]".into()]);
    let csv = Keys { columns, header: Some(false), separator: Some(b';'), ..keys("csv-lines") };
    let layout = |text| Some(Layout::parse(text).unwrap());
    let framed = Keys {
        framing: Some(Kind::LengthPrefixed),
        sync: Some(vec![0xAA, 0x55]),
        length_bytes: Some(1),
        length_order: Some(Order::Little),
        length_counts: Some(Counts::Payload),
        crc: Checksum::named("CRC-16/MODBUS"),
        crc_order: Some(Order::Little),
        crc_covers: Some(Covers::Payload),
        max_frame: Some(4_096),
        gap: Some(Duration::from_millis(250)),
        layout: layout("u16 node, i16 temperature * 0.01 degC, u16 humidity * 0.01 %"),
        ..keys("layout")
    };
    let fixed = Keys { framing: Some(Kind::Fixed), length: Some(8), ..keys("number") };
    let dust = named("dust", "/dev/serial0".into(), Keys { model: Some(Model::Plain), ..keys("pms") });
    expected.serial = vec![
        hub,
        meter,
        named("logger", by_id("usb-Arduino-if00"), csv),
        named("radio", by_id("usb-1a86_USB_Serial-if00-port0"), framed),
        named("scale", by_id("usb-Scale-if00"), fixed),
        Serial { uart: Uart { baud: 9_600, ..Uart::default() }, silence: Duration::from_secs(30), ..dust },
    ];
    let attic = named("attic", "/dev/ttyAMA0".into(), keys("mh-z19"));
    expected.serial.push(Serial { uart: Uart { baud: 9_600, ..Uart::default() }, ..attic });
    let register = |metric: &str, address, function, kind| Register {
        node: "meter".into(),
        metric: metric.into(),
        measure: String::new(),
        function,
        address,
        kind,
        order: modbus::Order::Abcd,
        scale: Scale::default(),
        na: None,
        interval: Duration::from_secs(10),
    };
    let (tenth, forty) = (Decimal::parse("0.1").unwrap(), Decimal::parse("-40").unwrap());
    let registers = vec![
        Register { measure: "V".into(), ..register("voltage", 0, Function::Input, modbus::Kind::F32) },
        Register {
            measure: "W".into(),
            interval: Duration::from_secs(1),
            ..register("power", 12, Function::Input, modbus::Kind::F32)
        },
        Register {
            scale: Scale::default().then('*', tenth).and_then(|scale| scale.then('+', forty)).unwrap(),
            na: Some(Na::Integer(0x8000)),
            ..register("temperature", 4, Function::Holding, modbus::Kind::I16)
        },
        Register { node: "alarms".into(), ..register("alarm", 9, Function::Holding, modbus::Kind::Bit(3)) },
    ];
    expected.modbus = vec![Modbus {
        name: "cellar".into(),
        port: "/dev/serial/by-id/usb-FTDI_FT232R-if01-port0".into(),
        units: vec![Unit { id: 1, gap: 0, registers }],
        ..Modbus::default()
    }];
    let subscription = |topic: &str, time: Option<&str>| Subscription {
        topic: Pattern::parse(topic).unwrap(),
        format: Format::Auto,
        time: time.map(Into::into),
        layout: None,
        timezone: time.map(|_| Tz::UTC),
        qos: 1,
    };
    expected.mqtt = vec![Mqtt {
        client_id: Some("gadwall-home".into()),
        username_file: file("home.username"),
        password_file: file("home.password"),
        ca_file: file("ca.pem"),
        cert_file: file("client.pem"),
        key_file: file("client.key"),
        subscribe: vec![
            subscription("zigbee2mqtt/{node}", None),
            Subscription {
                layout: layout("u16 battery_voltage mV, i16 temperature * 0.01 degC"),
                ..subscription("radio/{node}/up", None)
            },
            subscription("sensors/{node}/{metric}", Some("time")),
        ],
        ..Mqtt::new("home".into(), "mqtts://broker.example".parse().unwrap())
    }];
    expected.store.card_endurance = Some(10_000_000_000_000);
    expected.quality = vec![
        Quality {
            node: "kitchen".into(),
            metric: "temperature".into(),
            interval: Interval::Every(Duration::from_secs(30)),
            min: Some(-40.0),
            max: Some(85.0),
            stuck: Some(Duration::from_secs(6 * 3_600)),
        },
        Quality { node: "home/door*".into(), interval: Interval::Irregular, ..Quality::default() },
    ];
    expected.clock.synchronised_file = Some("/run/gps/synchronised".into());
    expected.clock.timezone = Some(Tz::Europe__Berlin);
    assert_eq!(config, expected);
    assert_eq!(config.warnings(), Vec::<String>::new());
}

#[test]
fn the_example_holds_every_key_that_a_message_lists() {
    let example = uncommented_example();
    for section in [
        "[store]",
        "[intake]",
        "[clock]",
        "[http]",
        "[memory]",
        "[log]",
        "[[serial]]",
        "[[mqtt]]",
        "[[mqtt.subscribe]]",
        "[[quality]]",
    ] {
        let parent = if section == "[[mqtt.subscribe]]" { "[[mqtt]]\n" } else { "" };
        let errors = errors(&format!("{parent}{section}\nx = 1\n"));
        let keys = errors.lines().find_map(|line| line.split_once(".x: unknown key, expected one of: ")).unwrap().1;
        // The lines of all sections of this name.
        let mut here = false;
        let lines: Vec<&str> = example
            .lines()
            .filter(|line| {
                here = if line.starts_with('[') { *line == section } else { here };
                here
            })
            .collect();
        for key in keys.split(", ").filter(|key| *key != "subscribe") {
            assert!(lines.iter().any(|line| line.starts_with(&format!("{key} = "))), "{section} lacks {key}");
        }
    }
}

#[test]
fn ten_lines_are_enough() {
    let config = parsed(&format!("{SERIAL}{MQTT}"));
    let hub = Serial { name: "hub".into(), port: "/dev/hub".into(), ..Serial::default() };
    assert_eq!(config.serial, [hub]);
    assert_eq!(config.mqtt[0].subscribe[0].qos, 1);
    assert_eq!(config.mqtt[0].subscribe[0].format, Format::Auto);
    assert_eq!(config.mqtt[0].subscribe[0].time, None);
    assert_eq!(Config { serial: vec![], mqtt: vec![], ..config }, Config::default());
}

#[test]
fn values_are_read_with_their_units() {
    let config = parsed(
        "store = { memory-limit = \"64MiB\", flush-interval = \"1m 30s\", batch-rows = 1_000 }\n\
         [clock]\ntrust = \"synchronised\"\n[log]\nlevel = \"trace\"\n[http]\nlisten = \"[::1]:0\"",
    );
    assert_eq!(config.store.memory_limit, 67_108_864);
    assert_eq!(config.store.flush_interval, Duration::from_secs(90));
    assert_eq!(config.store.batch_rows, 1_000);
    assert_eq!(config.clock.trust, Trust::Synchronised);
    assert_eq!(config.log.level, tracing::level_filters::LevelFilter::TRACE);
    assert_eq!(config.http.listen, "[::1]:0".parse().unwrap());
}

#[test]
fn relative_paths_start_from_the_folder_of_the_file() {
    let text = "[store]\npath = \"data/g.duckdb\"\n[http]\ntoken-file = \"/run/token\"\n";
    let config = Config::parse(text, "/etc/gadwall/gadwall.toml").unwrap();
    assert_eq!(config.store.path, PathBuf::from("/etc/gadwall/data/g.duckdb"));
    assert_eq!(config.http.token_file, Some("/run/token".into()));
    assert_eq!(parsed(text).store.path, PathBuf::from("data/g.duckdb"));
}

#[test]
fn a_broker_has_the_port_of_its_scheme() {
    for (url, host, port, tls, loopback) in [
        ("mqtt://localhost", "localhost", 1883, false, true),
        ("mqtts://broker.example", "broker.example", 8883, true, false),
        ("mqtts://broker.example:1884/", "broker.example", 1884, true, false),
        ("mqtt://[::1]", "::1", 1883, false, true),
        ("mqtt://127.0.0.9:99", "127.0.0.9", 99, false, true),
        ("mqtt://192.168.0.2", "192.168.0.2", 1883, false, false),
    ] {
        let config = parsed(&MQTT.replace("mqtt://localhost", url));
        let mqtt = &config.mqtt[0];
        assert_eq!((mqtt.host(), mqtt.port(), mqtt.is_tls(), mqtt.is_loopback()), (host, port, tls, loopback), "{url}");
    }
}

#[test]
fn bounds_are_inclusive() {
    for (section, key, fitting, beyond) in [
        ("[store]", "memory-limit", ["\"16MB\"", "\"4GB\""], ["\"15999999B\"", "\"4000000001B\""]),
        ("[store]", "flush-interval", ["\"100ms\"", "\"1h\""], ["\"99ms\"", "\"1h 1ms\""]),
        ("[store]", "max-nodes", ["1", "100000"], ["0", "100001"]),
        ("[store]", "max-series", ["1", "1000000"], ["0", "1000001"]),
        ("[store]", "min-free", ["\"1MB\"", "\"1TB\""], ["\"999999B\"", "\"1000000000001B\""]),
        ("[intake]", "capacity", ["10000", "1000000"], ["9999", "1000001"]),
        ("[intake]", "max-bytes", ["\"1MB\"", "\"256MB\""], ["\"999999B\"", "\"256000001B\""]),
        ("[http]", "max-connections", ["1", "1000"], ["0", "1001"]),
        (SERIAL, "baud", ["300", "4_000_000"], ["299", "4000001"]),
        (SERIAL, "silence", ["\"1s\"", "\"1d\""], ["\"999ms\"", "\"1d 1ms\""]),
        (SERIAL, "max-line", ["64", "65536"], ["63", "65537"]),
        (MQTT, "window", ["1", "65535"], ["0", "65536"]),
        (MQTT, "max-message", ["\"1KiB\"", "\"16MiB\""], ["\"1023B\"", "\"16777217B\""]),
        (MQTT, "session-expiry", ["\"1m\"", "\"365d\""], ["\"59s\"", "\"366d\""]),
        ("[[quality]]", "interval", ["\"100ms\"", "\"365d\""], ["\"99ms\"", "\"366d\""]),
        ("[[quality]]", "stuck", ["\"1s\"", "\"1000d\""], ["\"999ms\"", "\"1001d\""]),
    ] {
        for value in fitting {
            parsed(&format!("{section}\n{key} = {value}\n"));
        }
        for value in beyond {
            let errors = errors(&format!("{section}\n{key} = {value}\n"));
            assert!(errors.contains(&format!("{key} = {value}: expected ")), "{errors}");
            assert_eq!(errors.lines().count(), 1, "{errors}");
        }
    }
    parsed("[store]\nbatch-rows = 100000\n[intake]\ncapacity = 200000\n");
    parsed("[store]\nbatch-rows = 1\n[intake]\ncapacity = 2\n");
    parsed("[store]\nbatch-rows = 10000\n");
}

#[test]
fn warnings_name_what_is_likely_not_meant() {
    assert_eq!(
        Config::default().warnings(),
        ["no source is configured, so nothing will be received: add a [[serial]], a [[modbus]] or an [[mqtt]] section"]
    );
    assert_eq!(parsed(&format!("{SERIAL}{MQTT}")).warnings(), Vec::<String>::new());
    let text = format!(
        "[memory]\nlimit = \"64MB\"\n[http]\nlisten = \"0.0.0.0:80\"\ntoken-file = \"t\"\n{}{}username-file = \"u\"\npassword-file = \"p\"\n",
        SERIAL.replace("/dev/hub", "/dev/ttyUSB0"),
        MQTT.replace("localhost", "broker.example")
            .replace("[{", "[{ topic = \"s/1\" }, { topic = \"+/{node}\" }, {")
            .replace("s/{node}", "s/{metric}"),
    );
    assert_eq!(
        parsed(&text).warnings(),
        [
            "memory.limit = \"64MB\": the parts may need about 141MB together, and where they do, queries and then readings are \
             refused; make them smaller (gadwall check lists them), or the limit larger",
            "http.listen = \"0.0.0.0:80\": the token and all answers cross the network unencrypted; a proxy with TLS in \
             front of a loopback address is safer",
            "serial[0].port = \"/dev/ttyUSB0\": this number may go to another device after a restart or when it is plugged \
             in again; take the device's name below /dev/serial/by-id",
            "mqtt[0].url = \"mqtt://broker.example\": the password crosses the network unencrypted; use mqtts:// if the \
             broker can",
            "mqtt[0].subscribe[2].topic = \"s/{metric}\": subscribe[1] comes first and takes all its messages; put the \
             narrower topic first",
        ]
    );
    let password = format!("{MQTT}username-file = \"u\"\npassword-file = \"p\"\n");
    assert_eq!(parsed(&password).warnings(), Vec::<String>::new());
    let tls = password.replace("mqtt://localhost", "mqtts://broker.example");
    assert_eq!(parsed(&tls).warnings(), Vec::<String>::new());
}

#[test]
fn a_file_is_loaded_and_a_bad_one_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gadwall.toml");
    let load = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Config::load(&path, std::env::vars_os().filter(|_| false)).map_err(|e| {
            assert!(!e.is_not_found());
            e.to_string().replace(folder.path().to_str().unwrap(), "FOLDER")
        })
    };
    assert_eq!(load(b"[store]\npath = \"x\"\n").unwrap().store.path, folder.path().join("x"));
    assert_eq!(load(b"x = 1\n[\xff]\n"), Err("FOLDER/gadwall.toml:2: not UTF-8".into()));
    let long = vec![b'#'; usize::try_from(MAX_FILE).unwrap() + 1];
    assert_eq!(load(&long[1..]), Ok(Config::default()));
    assert_eq!(load(&long), Err("FOLDER/gadwall.toml: is longer than 1048576 bytes".into()));

    let none = Config::load("/nonexistent/gadwall.toml", Vec::<(String, String)>::new()).unwrap_err();
    assert!(none.is_not_found());
    let expected = "/nonexistent/gadwall.toml: cannot be read: No such file or directory (os error 2)";
    assert_eq!(none.to_string(), expected);
}
