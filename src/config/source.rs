//! `[[serial]]` and `[[mqtt]]`: where readings come from.

use std::path::PathBuf;
use std::time::Duration;

use crate::codec::payload;
use crate::codec::serial::layout::Layout;
use crate::codec::serial::{Format, Protocol};
use crate::zone::Tz;

/// `[[serial]]`: one serial port.
#[derive(Clone, Debug, PartialEq)]
pub struct Serial {
    /// `name`: the source's name, unique over all sources: 1 to 128 bytes without control characters and without `/`.
    /// Required.
    pub name: String,
    /// `port`: path of the device, best a stable one below `/dev/serial/by-id`. Required; each port once.
    pub port: PathBuf,
    /// How the line is set.
    pub uart: Uart,
    /// `format`, which is required, and the keys that go with it: how the bytes are read.
    pub protocol: Protocol,
    /// `silence`: silence after which the link counts as dead and is opened again. 1 s to 1 day.
    pub silence: Duration,
    /// `interval`: for formats of devices that only speak when they are asked, the time from one question to the next.
    /// 1 s to 8 hours, shorter than `silence`.
    pub interval: Duration,
    /// `timezone`: the zone of local times that the nodes send and the hub is told; `None` is that of
    /// [`Clock`](super::Clock), and for `dsmr-p1` that of Central Europe.
    pub timezone: Option<Tz>,
}

impl Default for Serial {
    fn default() -> Self {
        Self {
            name: String::new(),
            port: PathBuf::new(),
            uart: Uart::default(),
            protocol: Protocol::default(),
            silence: Format::default().silence(),
            interval: Duration::from_secs(10),
            timezone: None,
        }
    }
}

/// How a serial line is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uart {
    /// `baud`: bits a second. 300 to 4,000,000.
    pub baud: u32,
    /// `data-bits`: 7 or 8.
    pub data_bits: u8,
    /// `parity`
    pub parity: Parity,
    /// `stop-bits`: 1 or 2.
    pub stop_bits: u8,
}

impl Default for Uart {
    fn default() -> Self {
        Self { baud: Format::default().baud(), data_bits: 8, parity: Parity::None, stop_bits: 1 }
    }
}

/// The bit behind the data of each byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parity {
    /// `"none"`: there is none.
    #[default]
    None,
    /// `"even"`
    Even,
    /// `"odd"`
    Odd,
}

impl Parity {
    /// All with their names.
    pub const ALL: [(&'static str, Self); 3] = [("none", Self::None), ("even", Self::Even), ("odd", Self::Odd)];
}

/// `[[mqtt]]`: one broker.
#[derive(Clone, Debug, PartialEq)]
pub struct Mqtt {
    /// `name`: the source's name, unique over all sources, as that of [`Serial`]. Required.
    pub name: String,
    /// `url`: `mqtt://host[:1883]` or `mqtts://host[:8883]`; no user name, no password and no path in it.
    /// Required.
    pub url: url::Url,
    /// `client-id`: fixed, so that the broker keeps the session; by default made from `name` and the machine's id.
    /// 1 to 256 bytes.
    pub client_id: Option<String>,
    /// `username-file`: file whose first line is the user name.
    pub username_file: Option<PathBuf>,
    /// `password-file`: file whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// `ca-file`: PEM file of the authorities that may sign the broker's certificate; by default the system's.
    /// As the next two only with `mqtts`.
    pub ca_file: Option<PathBuf>,
    /// `cert-file`: PEM file of the client's certificate chain; only together with `key-file`.
    pub cert_file: Option<PathBuf>,
    /// `key-file`: PEM file of the client's private key.
    pub key_file: Option<PathBuf>,
    /// `session-expiry`: how long the broker keeps the session and its messages while the gateway is away.
    /// 1 minute to 365 days; MQTT counts whole seconds.
    pub session_expiry: Duration,
    /// `max-message`: longest packet in bytes that the broker may send. 1 KiB to 16 MiB.
    pub max_message: u32,
    /// `window`: QoS 1 messages that may wait for their acknowledgement. At least 1.
    pub window: u16,
    /// `subscribe`: what is asked of the broker; at least one. Where patterns overlap, the first match wins.
    pub subscribe: Vec<Subscription>,
}

impl Mqtt {
    /// The keys that have no default, and the defaults of the others.
    pub fn new(name: String, url: url::Url) -> Self {
        Self {
            name,
            url,
            client_id: None,
            username_file: None,
            password_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            session_expiry: Duration::from_secs(7 * 24 * 3600),
            max_message: 256 * 1024,
            window: 1_000,
            subscribe: Vec::new(),
        }
    }

    /// Whether the connection is encrypted: `mqtts`.
    pub fn is_tls(&self) -> bool {
        self.url.scheme() == "mqtts"
    }

    /// The broker's host, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    /// The broker's port: that of the url, or the scheme's.
    pub fn port(&self) -> u16 {
        self.url.port().unwrap_or(if self.is_tls() { 8883 } else { 1883 })
    }

    /// Whether the broker is on this machine, by its name or address.
    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        host.eq_ignore_ascii_case("localhost")
            || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.to_canonical().is_loopback())
    }
}

/// One element of `subscribe`.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// `topic`: the pattern, such as `sensors/{node}/{metric}`. Required.
    pub topic: crate::codec::topic::Pattern,
    /// `format`: how the messages are read; `auto` by default.
    pub format: payload::Format,
    /// `layout`, with `format = "layout"`: the messages are read by it and by no other format.
    pub layout: Option<Layout>,
    /// `time`: for `json`, the field (a dotted path) that holds the reading's time; without it the arrival counts.
    pub time: Option<String>,
    /// `timezone`: the zone of times that are sent without one; `None` is that of [`Clock`](super::Clock).
    pub timezone: Option<Tz>,
    /// `qos`: 0, or 1, the default. Publications of QoS 2 arrive as QoS 1.
    pub qos: u8,
}
