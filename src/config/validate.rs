//! From sections to the structs: every key with its kind, its bounds and its default, and what keys ask of each other.
//!
//! All keys of a section are read before the first missing value ends it, so that every mistake is reported.

mod serial;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use url::Url;

use super::raw::{Entry, Section};
use super::{
    Clock, Config, Http, Intake, Interval, Log, Memory, Mqtt, Quality, Store, Subscription, Trust, modbus, value,
};
use crate::codec::payload::Format;
use crate::codec::topic::Pattern;
use crate::zone::Tz;

pub(super) const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAYS_1000: Duration = Duration::from_secs(86_400_000);
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// Longest pattern of names in bytes: that of a source and a node with the slash between.
const MAX_PATTERN: usize = 257;

const TRUST: &[(&str, Trust)] =
    &[("auto", Trust::Auto), ("always", Trust::Always), ("synchronised", Trust::Synchronised)];

const LEVELS: &[(&str, LevelFilter)] = &[
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// Everything; `None` if something is wrong, which is then reported.
pub(super) fn config(mut root: Section<'_>) -> Option<Config> {
    let mut store_section = root.table("store");
    let mut intake_section = root.table("intake");
    let store = store(&mut store_section);
    let intake = intake(&mut intake_section);
    if let (Some(store), Some(intake)) = (&store, &intake)
        && intake.capacity < 2 * store.batch_rows
    {
        let (rows, capacity) = (store.batch_rows, intake.capacity);
        if intake_section.is_set("capacity") {
            intake_section.blame("capacity", format!("expected at least twice store.batch-rows, which is {rows}"));
        } else {
            let reason = format!("expected at most half of intake.capacity, which is {capacity}");
            store_section.blame("batch-rows", reason);
        }
    }
    store_section.finish();
    intake_section.finish();
    let clock = clock(root.table("clock"));
    let http = http(root.table("http"));
    let memory = memory(root.table("memory"));
    let log = log(root.table("log"));
    let (serial_sections, modbus_sections) = (root.tables("serial"), root.tables("modbus"));
    let mqtt_sections = root.tables("mqtt");
    let quality = all(root.tables("quality"), quality);
    root.finish();
    let mut taken = Taken::default();
    let serial = all(serial_sections, |section| serial::serial(section, &mut taken));
    let modbus = all(modbus_sections, |section| modbus::modbus(section, &mut taken));
    let mqtt = all(mqtt_sections, |section| mqtt(section, &mut taken));
    Some(Config {
        store: store?,
        intake: intake?,
        clock: clock?,
        http: http?,
        memory: memory?,
        log: log?,
        serial: serial?,
        modbus: modbus?,
        mqtt: mqtt?,
        quality: quality?,
    })
}

/// Reads every section, also behind one that is wrong.
pub(super) fn all<'d, T>(
    sections: Option<Vec<Section<'d>>>,
    read: impl FnMut(Section<'d>) -> Option<T>,
) -> Option<Vec<T>> {
    let read: Vec<Option<T>> = sections?.into_iter().map(read).collect();
    read.into_iter().collect()
}

fn store(section: &mut Section<'_>) -> Option<Store> {
    let default = Store::default();
    let path = section.or("path", default.path, value::path);
    let memory_limit = default.memory_limit;
    let memory_limit = section.or("memory-limit", memory_limit, value::size(16_000_000..=4_000_000_000, memory_limit));
    let flush_interval = default.flush_interval;
    let flush_interval = section.or(
        "flush-interval",
        flush_interval,
        value::duration(Duration::from_millis(100)..=HOUR, flush_interval),
    );
    let batch_rows = section.or("batch-rows", default.batch_rows, value::whole(1..=100_000));
    let keep_readings = section.or("keep-readings", None, keep);
    let keep_hourly = section.or("keep-hourly", None, keep);
    let keep_daily = section.or("keep-daily", None, keep);
    let order = [
        ("keep-hourly", keep_hourly, "keep-readings", keep_readings),
        ("keep-daily", keep_daily, "keep-hourly", keep_hourly),
    ];
    for (key, longer, other, shorter) in order {
        // What outlives nothing would be made in vain, and statistics would have holes.
        if let (Some(Some(longer)), Some(shorter)) = (longer, shorter)
            && shorter.is_none_or(|shorter| longer < shorter)
        {
            section.blame(key, format!("expected at least {other}"));
        }
    }
    let size = value::size(16_000_000..=1_000_000_000_000, 500_000_000);
    let max_size = section.or("max-size", None, value::unless("unlimited", size));
    let size = value::size(1_000_000..=1_000_000_000_000, 200_000_000);
    let write_budget = section.or("write-budget", None, value::unless("unlimited", size));
    let endurance = value::size(1_000_000_000..=100_000_000_000_000_000, 10_000_000_000_000);
    let card_endurance = section.optional("card-endurance", endurance);
    let max_nodes = section.or("max-nodes", default.max_nodes, value::whole(1..=100_000));
    let max_series = section.or("max-series", default.max_series, value::whole(1..=1_000_000));
    let min_free = default.min_free;
    let min_free = section.or("min-free", min_free, value::size(1_000_000..=1_000_000_000_000, min_free));
    Some(Store {
        path: path?,
        memory_limit: memory_limit?,
        flush_interval: flush_interval?,
        batch_rows: batch_rows?,
        max_nodes: max_nodes?,
        max_series: max_series?,
        min_free: min_free?,
        keep_readings: keep_readings?,
        keep_hourly: keep_hourly?,
        keep_daily: keep_daily?,
        max_size: max_size?,
        write_budget: write_budget?,
        card_endurance: card_endurance?,
    })
}

fn keep(entry: &Entry<'_>) -> Result<Option<Duration>, String> {
    value::unless("forever", value::duration(DAY..=36_500 * DAY, 90 * DAY))(entry)
}

fn zone(entry: &Entry<'_>) -> Result<Tz, String> {
    let zone = entry.text().and_then(|text| text.parse().ok());
    zone.ok_or_else(|| "expected a time zone of the IANA database, such as \"Europe/Berlin\" or \"UTC\"".to_owned())
}

fn intake(section: &mut Section<'_>) -> Option<Intake> {
    let default = Intake::default();
    let capacity = section.or("capacity", default.capacity, value::whole(2..=1_000_000));
    let max_bytes = default.max_bytes;
    let max_bytes = section.or("max-bytes", max_bytes, value::size(1_000_000..=256_000_000, max_bytes));
    Some(Intake { capacity: capacity?, max_bytes: max_bytes? })
}

fn clock(mut section: Section<'_>) -> Option<Clock> {
    let default = Clock::default();
    let trust = section.or("trust", default.trust, value::choice(TRUST));
    let patience =
        section.or("patience", default.patience, value::duration(Duration::ZERO..=DAYS_1000, default.patience));
    let synchronised_file = section.optional("synchronised-file", value::path);
    let timezone = section.optional("timezone", zone);
    section.finish();
    Some(Clock { trust: trust?, patience: patience?, synchronised_file: synchronised_file?, timezone: timezone? })
}

fn http(mut section: Section<'_>) -> Option<Http> {
    let default = Http::default();
    let listen = section.or("listen", default.listen, address);
    let token_file = section.optional("token-file", value::secret_path);
    let max_connections = section.or("max-connections", default.max_connections, value::whole(1..=1_000));
    if let (Some(listen), Some(None)) = (listen, &token_file)
        && !listen.ip().to_canonical().is_loopback()
    {
        section.blame("listen", "expected a loopback address, or a token-file beside it");
    }
    section.finish();
    Some(Http { listen: listen?, token_file: token_file?, max_connections: max_connections? })
}

fn address(entry: &Entry<'_>) -> Result<SocketAddr, String> {
    let address = entry.text().and_then(|text| text.parse().ok());
    address.ok_or_else(|| "expected an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"".to_owned())
}

fn memory(mut section: Section<'_>) -> Option<Memory> {
    let size = value::size(1_000_000..=64_000_000_000, 96_000_000);
    let limit = section.or("limit", None, value::unless("auto", size));
    section.finish();
    Some(Memory { limit: limit? })
}

fn log(mut section: Section<'_>) -> Option<Log> {
    let level = section.or("level", Log::default().level, value::choice(LEVELS));
    section.finish();
    Some(Log { level: level? })
}

/// What only one source may have, with the dotted path of the one that has it.
#[derive(Default)]
pub(super) struct Taken {
    names: HashMap<String, String>,
    ports: HashMap<PathBuf, String>,
    clients: HashMap<(String, String), String>,
}

impl Taken {
    pub(super) fn name(&mut self, section: &mut Section<'_>) -> Option<String> {
        let name = section.required("name", "a name for the source, such as \"home\"", value::name)?;
        if let Some(other) = self.names.insert(name.clone(), section.path().to_owned()) {
            section.blame("name", format!("{other} has this name, expected one that no other source has"));
        }
        Some(name)
    }

    pub(super) fn port(&mut self, section: &mut Section<'_>) -> Option<PathBuf> {
        let expected = "the path of a device, such as \"/dev/serial/by-id/usb-Raspberry_Pi_Pico-if00\"";
        let port = section.required("port", expected, value::path)?;
        if let Some(other) = self.ports.insert(port.clone(), section.path().to_owned()) {
            section.blame("port", format!("{other} reads this port, expected one that no other source reads"));
        }
        Some(port)
    }
}

fn mqtt(mut section: Section<'_>, taken: &mut Taken) -> Option<Mqtt> {
    let name = taken.name(&mut section);
    let url = section.required("url", "the broker's address, such as \"mqtt://localhost:1883\"", broker);
    // The defaults depend on neither; they are there so that the others are read when one of these is wrong.
    let placeholder = Url::parse("mqtt://localhost").ok()?;
    let default = Mqtt::new(name.clone().unwrap_or_default(), url.clone().unwrap_or(placeholder));
    let client_id = section.optional("client-id", value::text(256));
    let username_file = section.optional("username-file", value::secret_path);
    let password_file = section.optional("password-file", value::secret_path);
    let ca_file = section.optional("ca-file", value::secret_path);
    let cert_file = section.optional("cert-file", value::secret_path);
    let key_file = section.optional("key-file", value::secret_path);
    let expiry = value::duration(60 * SECOND..=365 * DAY, default.session_expiry);
    let session_expiry = section.or("session-expiry", default.session_expiry, expiry);
    let size = value::size(1_024..=16 * 1_024 * 1_024, u64::from(default.max_message));
    let max_message = section.or("max-message", default.max_message, size);
    let window = section.or("window", default.window, value::whole(1..=65_535));
    let subscribe_sections = section.tables("subscribe");
    if subscribe_sections.as_ref().is_some_and(Vec::is_empty) {
        section.blame("subscribe", "expected at least one subscription, such as { topic = \"sensors/{node}\" }");
    }

    for (key, partner) in [("cert-file", "key-file"), ("key-file", "cert-file")] {
        if section.is_set(key) && !section.is_set(partner) {
            section.blame(key, format!("expected a {partner} beside it"));
        }
    }
    if url.as_ref().is_some_and(|url| url.scheme() == "mqtt") {
        for key in ["ca-file", "cert-file", "key-file"] {
            if section.is_set(key) {
                section.blame(key, "expected with an mqtts:// url only");
            }
        }
    }
    if let (Some(Some(client)), Some(url)) = (&client_id, &url)
        && let Some(other) = taken.clients.insert((client.clone(), url.to_string()), section.path().to_owned())
    {
        let reason = format!("{other} has this client-id on the same broker, which would disconnect one of the two");
        section.blame("client-id", format!("{reason}, expected another"));
    }
    section.finish();
    let subscribe = all(subscribe_sections, subscription);
    Some(Mqtt {
        name: name?,
        url: url?,
        client_id: client_id?,
        username_file: username_file?,
        password_file: password_file?,
        ca_file: ca_file?,
        cert_file: cert_file?,
        key_file: key_file?,
        session_expiry: session_expiry?,
        max_message: max_message?,
        window: window?,
        subscribe: subscribe?,
    })
}

fn broker(entry: &Entry<'_>) -> Result<Url, String> {
    let expected = "expected mqtt://host:port or mqtts://host:port";
    let url = entry.text().and_then(|text| Url::parse(text).ok()).ok_or(expected)?;
    if !matches!(url.scheme(), "mqtt" | "mqtts") || url.host_str().is_none_or(str::is_empty) || url.port() == Some(0) {
        return Err(expected.to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!(
            "{expected} without user name and password, they belong into username-file and password-file"
        ));
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{expected} with nothing behind it"));
    }
    Ok(url)
}

fn subscription(mut section: Section<'_>) -> Option<Subscription> {
    let topic = section.required("topic", "a topic pattern, such as \"sensors/{node}/{metric}\"", topic);
    // A layout is of no publisher: it is not among the formats that are told by topic and payload.
    let formats = Format::ALL.map(|format| (format.as_str(), Some(format)));
    let formats: Vec<_> = formats.into_iter().chain([("layout", None)]).collect();
    let format = section.or("format", Some(Format::Auto), value::format(&formats));
    let layout = section.optional("layout", value::layout);
    match (format, &layout) {
        (Some(None), Some(None)) => section.blame("layout", value::LAYOUT),
        (Some(Some(_)), Some(Some(_))) => section.blame("layout", "expected with format = \"layout\" only"),
        _ => {}
    }
    let time = section.optional("time", value::field);
    if format == Some(None) && section.is_set("time") {
        section.blame("time", "expected none with format = \"layout\": the field `unix_time` of a layout is the time");
    }
    let timezone = section.optional("timezone", zone);
    let qos = section.or("qos", 1, qos);
    section.finish();
    let (format, layout) = (format?, layout?);
    let (topic, time, timezone, qos) = (topic?, time?, timezone?, qos?);
    Some(Subscription { topic, format: format.unwrap_or_default(), layout, time, timezone, qos })
}

fn topic(entry: &Entry<'_>) -> Result<Pattern, String> {
    let expected = "expected a topic pattern, such as \"sensors/{node}/{metric}\"";
    let text = entry.text().ok_or(expected)?;
    Pattern::parse(text).map_err(|error| format!("not a topic pattern: {error}"))
}

fn qos(entry: &Entry<'_>) -> Result<u8, String> {
    if entry.whole() == Some(2) {
        return Err(
            "expected 0 or 1: subscriptions ask for at most QoS 1, QoS 2 publications arrive as QoS 1".to_owned()
        );
    }
    value::whole(0..=1)(entry).map_err(|_| "expected 0 or 1".to_owned())
}

fn quality(mut section: Section<'_>) -> Option<Quality> {
    let default = Quality::default();
    let node = section.or("node", default.node, value::text(MAX_PATTERN));
    let metric = section.or("metric", default.metric, value::text(MAX_PATTERN));
    let interval = section.or("interval", default.interval, interval);
    let min = section.optional("min", value::number);
    let max = section.optional("max", value::number);
    if let (Some(Some(min)), Some(Some(max))) = (min, max)
        && max < min
    {
        section.blame("max", "expected at least min");
    }
    let stuck = section.optional("stuck", value::duration(SECOND..=DAYS_1000, 6 * HOUR));
    let says = ["interval", "min", "max", "stuck"];
    if !says.iter().any(|key| section.is_set(key)) {
        section.blame("interval", "expected at least one of interval, min, max and stuck");
    }
    section.finish();
    Some(Quality { node: node?, metric: metric?, interval: interval?, min: min?, max: max?, stuck: stuck? })
}

fn interval(entry: &Entry<'_>) -> Result<Interval, String> {
    let every = value::duration(Duration::from_millis(100)..=365 * DAY, 30 * SECOND);
    value::unless("irregular", every)(entry).map(|every| every.map_or(Interval::Irregular, Interval::Every))
}
