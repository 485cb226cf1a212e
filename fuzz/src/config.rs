//! Properties of the configuration.

use std::path::Path;
use std::time::Duration;

use gadwall::codec::modbus::{Kind, Na, Order, Register};
use gadwall::codec::serial::protocol::{COUNTS, COVERS, Keys, MODELS, ORDERS};
use gadwall::config::{Config, ConfigErrors, Interval, Modbus, Parity, Place, Trust};

/// Longest line that a person is shown about one mistake, in bytes; the name of a variable comes on top.
const MAX_MESSAGE: usize = 2_000;

/// Separates the variables, one `NAME=VALUE` a line, from the text of the file. Without it all of it is the file.
const SEPARATOR: &str = "\n---\n";

const FILE: &str = "/g/gadwall.toml";

/// Variables and a file: a mistake is told on one line that names the file's line or the variable, and the key; what is
/// right, printed and parsed again, is the same, in a file as in variables.
pub fn config(input: &[u8]) {
    let Ok(input) = std::str::from_utf8(input) else { return };
    let (variables, text) = input.split_once(SEPARATOR).unwrap_or(("", input));
    let variables: Vec<(&str, &str)> = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| name.bytes().all(|b| b.is_ascii_graphic()))
        .collect();
    match Config::parse_with(text, FILE, variables.iter().copied()) {
        Ok(config) => right(&config),
        Err(errors) => wrong(text, &variables, &errors),
    }
    if variables.is_empty() {
        assert_eq!(Config::parse(text, FILE), Config::parse_with(text, FILE, variables));
    }
}

fn wrong(text: &str, variables: &[(&str, &str)], errors: &ConfigErrors) {
    assert!(errors.iter().next().is_some() && !errors.is_not_found());
    assert!(errors.iter().map(|e| e.place()).is_sorted());
    for error in errors {
        let shown = error.to_string();
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
        match error.place() {
            Place::File => panic!("it was not read from a file: {shown}"),
            Place::Line(line) => {
                assert!((1..=text.matches('\n').count() + 1).contains(line), "{shown}");
                assert!(shown.starts_with(&format!("{FILE}:{line}: ")), "{shown}");
                assert!(shown.len() <= MAX_MESSAGE, "{} bytes: {shown}", shown.len());
                // Of text that is no TOML the key is not always known.
                assert!(error.key().is_some() || shown.contains("not TOML"), "{shown}");
            }
            Place::Variable(name) => {
                assert!(shown.starts_with(&format!("{name}: ")), "{shown}");
                assert!(shown.len() <= name.len() + MAX_MESSAGE, "{} bytes: {shown}", shown.len());
                let missing = shown.contains("missing");
                assert!(missing || variables.iter().any(|(set, _)| set == name), "{shown}");
                assert!(error.key().is_some() || shown.contains("names no key"), "{shown}");
            }
        }
    }
}

fn right(config: &Config) {
    for warning in config.warnings() {
        assert!(!warning.is_empty() && !warning.chars().any(char::is_control), "{warning:?}");
    }
    let printed = Printed::of(config);
    if !printed.again {
        return;
    }
    let variables = printed.variables();
    assert_eq!(Config::parse_with("", FILE, variables.clone()).as_ref(), Ok(config), "{variables:?}");
    if printed.absolute {
        let text = printed.text();
        assert_eq!(Config::parse(&text, FILE).as_ref(), Ok(config), "{text}");
    }
}

/// Every key with its value.
struct Printed {
    /// The section's header, the beginning of its variables' names, and its keys with text or a number.
    sections: Vec<(String, String, Vec<(&'static str, Value)>)>,
    /// Paths are the same wherever they are read.
    absolute: bool,
    /// It can be written down again: a path below the folder of the credentials may be too long for that, hold control
    /// characters, or look like the name of a credential.
    again: bool,
}

#[derive(Clone)]
enum Value {
    Text(String),
    Whole(u64),
    Number(f64),
    Flag(bool),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Whole(number as u64)
    }
}

impl Printed {
    fn of(config: &Config) -> Self {
        let mut this = Self { sections: Vec::new(), absolute: true, again: true };
        let c = config;
        let path = this.path(&c.store.path);
        let mut keys = vec![
            ("path", path),
            ("memory-limit", bytes(c.store.memory_limit)),
            ("flush-interval", duration(c.store.flush_interval)),
            ("batch-rows", c.store.batch_rows.into()),
            ("max-nodes", c.store.max_nodes.into()),
            ("max-series", c.store.max_series.into()),
            ("min-free", bytes(c.store.min_free)),
            ("max-size", c.store.max_size.map_or("unlimited".into(), bytes)),
            ("write-budget", c.store.write_budget.map_or("unlimited".into(), bytes)),
        ];
        keys.extend(c.store.card_endurance.map(|n| ("card-endurance", bytes(n))));
        for (key, kept) in [
            ("keep-readings", c.store.keep_readings),
            ("keep-hourly", c.store.keep_hourly),
            ("keep-daily", c.store.keep_daily),
        ] {
            keys.push((key, kept.map_or("forever".into(), duration)));
        }
        this.section("[store]", "STORE__", keys);
        this.section(
            "[intake]",
            "INTAKE__",
            vec![("capacity", c.intake.capacity.into()), ("max-bytes", bytes(c.intake.max_bytes))],
        );
        let trust = match c.clock.trust {
            Trust::Auto => "auto",
            Trust::Always => "always",
            Trust::Synchronised => "synchronised",
        };
        let mut keys = vec![("trust", trust.into()), ("patience", duration(c.clock.patience))];
        keys.extend(this.optional("synchronised-file", c.clock.synchronised_file.as_deref()));
        keys.extend(c.clock.timezone.map(|zone| ("timezone", zone.name().into())));
        this.section("[clock]", "CLOCK__", keys);
        let mut keys =
            vec![("listen", c.http.listen.to_string().into()), ("max-connections", c.http.max_connections.into())];
        keys.extend(this.optional("token-file", c.http.token_file.as_deref()));
        this.section("[http]", "HTTP__", keys);
        this.section("[memory]", "MEMORY__", vec![("limit", c.memory.limit.map_or("auto".into(), bytes))]);
        this.section("[log]", "LOG__", vec![("level", c.log.level.to_string().into())]);
        for (i, s) in c.serial.iter().enumerate() {
            let mut keys = vec![
                ("name", s.name.as_str().into()),
                ("port", this.path(&s.port)),
                ("baud", (s.uart.baud as usize).into()),
                ("data-bits", usize::from(s.uart.data_bits).into()),
                ("parity", word(&Parity::ALL, s.uart.parity)),
                ("stop-bits", usize::from(s.uart.stop_bits).into()),
                ("silence", duration(s.silence)),
            ];
            if s.protocol.keys().format.is_asked() {
                keys.push(("interval", duration(s.interval)));
            }
            keys.extend(protocol(s.protocol.keys()));
            // A layout does not remember its text; a list is written otherwise in a variable.
            this.again &= s.protocol.keys().layout.is_none() && s.protocol.keys().columns.is_none();
            keys.extend(s.timezone.map(|zone| ("timezone", zone.name().into())));
            this.section("[[serial]]", &format!("SERIAL__{i}__"), keys);
        }
        for (i, bus) in c.modbus.iter().enumerate() {
            this.bus(i, bus);
        }
        for (i, m) in c.mqtt.iter().enumerate() {
            let mut keys = vec![
                ("name", m.name.as_str().into()),
                ("url", m.url.as_str().into()),
                ("session-expiry", duration(m.session_expiry)),
                ("max-message", bytes(m.max_message.into())),
                ("window", usize::from(m.window).into()),
            ];
            keys.extend(m.client_id.as_deref().map(|id| ("client-id", id.into())));
            for (key, file) in [
                ("username-file", &m.username_file),
                ("password-file", &m.password_file),
                ("ca-file", &m.ca_file),
                ("cert-file", &m.cert_file),
                ("key-file", &m.key_file),
            ] {
                keys.extend(this.optional(key, file.as_deref()));
            }
            this.section("[[mqtt]]", &format!("MQTT__{i}__"), keys);
            for (j, s) in m.subscribe.iter().enumerate() {
                let mut keys = vec![
                    ("topic", s.topic.as_str().into()),
                    ("format", s.format.as_str().into()),
                    ("qos", usize::from(s.qos).into()),
                ];
                this.again &= s.layout.is_none();
                keys.extend(s.time.as_deref().map(|time| ("time", time.into())));
                keys.extend(s.timezone.map(|zone| ("timezone", zone.name().into())));
                this.section("[[mqtt.subscribe]]", &format!("MQTT__{i}__SUBSCRIBE__{j}__"), keys);
            }
        }
        for (i, q) in c.quality.iter().enumerate() {
            let mut keys = vec![("node", q.node.as_str().into()), ("metric", q.metric.as_str().into())];
            keys.extend(match q.interval {
                Interval::Learnt => None,
                Interval::Every(every) => Some(("interval", duration(every))),
                Interval::Irregular => Some(("interval", "irregular".into())),
            });
            keys.extend(q.min.map(|n| ("min", n.into())));
            keys.extend(q.max.map(|n| ("max", n.into())));
            keys.extend(q.stuck.map(|time| ("stuck", duration(time))));
            this.section("[[quality]]", &format!("QUALITY__{i}__"), keys);
        }
        this
    }

    fn bus(&mut self, i: usize, bus: &Modbus) {
        let parity = Parity::ALL.iter().find(|(_, parity)| *parity == bus.uart.parity).expect("it has a name").0;
        let keys = vec![
            ("name", bus.name.as_str().into()),
            ("port", self.path(&bus.port)),
            ("baud", (bus.uart.baud as usize).into()),
            ("parity", parity.into()),
            ("stop-bits", usize::from(bus.uart.stop_bits).into()),
            ("timeout", duration(bus.timeout)),
        ];
        self.section("[[modbus]]", &format!("MODBUS__{i}__"), keys);
        for (j, unit) in bus.units.iter().enumerate() {
            let keys = vec![("id", usize::from(unit.id).into()), ("gap", usize::from(unit.gap).into())];
            let variable = format!("MODBUS__{i}__UNIT__{j}__");
            self.section("[[modbus.unit]]", &variable, keys);
            for (k, register) in unit.registers.iter().enumerate() {
                let keys = self.register(register);
                self.section("[[modbus.unit.registers]]", &format!("{variable}REGISTERS__{k}__"), keys);
            }
        }
    }

    fn register(&mut self, register: &Register) -> Vec<(&'static str, Value)> {
        let mut keys = vec![
            ("node", (*register.node).into()),
            ("metric", register.metric.as_str().into()),
            ("address", usize::from(register.address).into()),
            ("function", register.function.as_str().into()),
            ("interval", duration(register.interval)),
        ];
        let order = Order::NAMED.iter().find(|(_, order)| *order == register.order).expect("it has a name").0;
        keys.push(("order", order.into()));
        match (register.kind, Kind::NAMED.iter().find(|(_, kind)| *kind == register.kind)) {
            (Kind::Bit(bit), _) => keys.push(("bit", usize::from(bit).into())),
            (_, named) => keys.push(("type", named.expect("it has a name").0.into())),
        }
        if !register.measure.is_empty() {
            keys.push(("unit", register.measure.as_str().into()));
        }
        match register.na {
            None => {}
            Some(Na::Float(na)) => keys.push(("na", na.into())),
            Some(Na::Integer(na)) => match u64::try_from(na) {
                Ok(na) => keys.push(("na", Value::Whole(na))),
                Err(_) => self.again = false,
            },
        }
        // Of a fraction of integers it is not known how it was written.
        self.again &= register.scale.is_one();
        keys
    }

    fn section(&mut self, header: &str, variable: &str, keys: Vec<(&'static str, Value)>) {
        self.sections.push((header.to_owned(), variable.to_owned(), keys));
    }

    fn path(&mut self, path: &Path) -> Value {
        let text = path.to_str().expect("what is read is UTF-8");
        self.absolute &= path.is_absolute();
        let strange = text.starts_with("credential:") || text.chars().any(char::is_control);
        self.again &= text.len() <= 4_095 && !strange;
        text.into()
    }

    fn optional(&mut self, key: &'static str, path: Option<&Path>) -> Option<(&'static str, Value)> {
        path.map(|path| (key, self.path(path)))
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (header, _, keys) in &self.sections {
            text += &format!("{header}\n");
            for (key, value) in keys {
                let value = match value {
                    // JSON escapes what TOML wants escaped, but for one character.
                    Value::Text(text) => {
                        serde_json::to_string(text).expect("text is JSON").replace('\u{7f}', "\\u007f")
                    }
                    Value::Whole(number) => number.to_string(),
                    Value::Number(number) => format!("{number:e}"),
                    Value::Flag(flag) => flag.to_string(),
                };
                text += &format!("{key} = {value}\n");
            }
        }
        text
    }

    fn variables(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for (_, variable, keys) in &self.sections {
            for (key, value) in keys {
                let name = format!("GADWALL_{variable}{}", key.replace('-', "_").to_uppercase());
                let value = match value {
                    Value::Text(text) => text.clone(),
                    Value::Whole(number) => number.to_string(),
                    Value::Number(number) => format!("{number:e}"),
                    Value::Flag(flag) => flag.to_string(),
                };
                all.push((name, value));
            }
        }
        all
    }
}

/// The keys that say how a port is read, but for the layout, the columns and what is no text or whole number.
fn protocol(keys: &Keys) -> Vec<(&'static str, Value)> {
    let mut all: Vec<(&'static str, Value)> = vec![("format", keys.format.as_str().into())];
    all.extend(keys.framing.map(|kind| ("framing", kind.as_str().into())));
    all.extend(keys.crc.as_ref().map(|crc| ("crc", crc.name().into())));
    all.extend(keys.crc_order.map(|order| ("crc-order", word(&ORDERS, order))));
    all.extend(keys.crc_covers.map(|covers| ("crc-covers", word(&COVERS, covers))));
    all.extend(keys.length.map(|length| ("length", length.into())));
    let hex = |sync: &[u8]| sync.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    all.extend(keys.sync.as_deref().map(|sync| ("sync", hex(sync).into())));
    all.extend(keys.length_bytes.map(|n| ("length-bytes", usize::from(n).into())));
    all.extend(keys.length_order.map(|order| ("length-order", word(&ORDERS, order))));
    all.extend(keys.length_counts.map(|counts| ("length-counts", word(&COUNTS, counts))));
    all.extend(keys.gap.map(|gap| ("gap", duration(gap))));
    all.extend(keys.max_line.map(|max| ("max-line", max.into())));
    all.extend(keys.max_frame.map(|max| ("max-frame", max.into())));
    all.extend(keys.time.as_deref().map(|time| ("time", time.into())));
    all.extend(keys.node.as_deref().map(|node| ("node", node.into())));
    all.extend(keys.header.map(|header| ("header", Value::Flag(header))));
    all.extend(keys.separator.map(|byte| ("separator", char::from(byte).to_string().into())));
    all.extend(keys.model.map(|model| ("model", word(&MODELS, model))));
    all
}

/// The first word with this meaning.
fn word<T: Copy + PartialEq>(words: &[(&'static str, T)], meant: T) -> Value {
    words.iter().find(|(_, word)| *word == meant).expect("every meaning has a word").0.into()
}

fn bytes(n: u64) -> Value {
    format!("{n}B").into()
}

fn duration(d: Duration) -> Value {
    format!("{}s {}ns", d.as_secs(), d.subsec_nanos()).into()
}
