//! `[[serial]]` and `[[mqtt]]`: where readings come from.

use std::path::PathBuf;
use std::time::Duration;

/// `[[serial]]`: one serial port.
#[derive(Clone, Debug, PartialEq)]
pub struct Serial {
    /// `name`: the source's name, unique over all sources.
    pub name: String,
    /// `port`: path of the device, best a stable one below `/dev/serial/by-id`.
    pub port: PathBuf,
    /// `baud`: bits a second; 8 data bits, no parity, 1 stop bit.
    pub baud: u32,
    /// `format`
    pub format: SerialFormat,
    /// `silence`: silence after which the link counts as dead and is opened again.
    pub silence: Duration,
    /// `max-line`: longest line in bytes; what is longer is skipped up to the next line's start.
    pub max_line: usize,
    /// `time`: for `json-lines`, the field (a dotted path) that holds the reading's time.
    pub time: String,
    /// `node`: for `json-lines`, the field (a dotted path) that names the node; where a line has none, the source's
    /// name is the node's.
    pub node: String,
}

impl Default for Serial {
    fn default() -> Self {
        Self {
            name: String::new(),
            port: PathBuf::new(),
            baud: 115_200,
            format: SerialFormat::HubLines,
            silence: Duration::from_secs(60),
            max_line: 4_096,
            time: "time".into(),
            node: "node".into(),
        }
    }
}

/// `[[serial]] format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SerialFormat {
    /// `"hub-lines"`: the LoRa hub's line protocol, both directions.
    HubLines,
    /// `"json-lines"`: one JSON object a line.
    JsonLines,
}

/// `[[mqtt]]`: one broker.
#[derive(Clone, Debug, PartialEq)]
pub struct Mqtt {
    /// `name`: the source's name, unique over all sources.
    pub name: String,
    /// `url`: `mqtt://host[:1883]` or `mqtts://host[:8883]`; no user name and no password in it.
    pub url: url::Url,
    /// `client-id`: fixed, so that the broker keeps the session; by default made from `name` and the machine's id.
    pub client_id: Option<String>,
    /// `username-file`: file whose first line is the user name.
    pub username_file: Option<PathBuf>,
    /// `password-file`: file whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// `ca-file`: PEM file of the authorities that may sign the broker's certificate; by default the system's.
    pub ca_file: Option<PathBuf>,
    /// `cert-file`: PEM file of the client's certificate chain.
    pub cert_file: Option<PathBuf>,
    /// `key-file`: PEM file of the client's private key.
    pub key_file: Option<PathBuf>,
    /// `session-expiry`: how long the broker keeps the session and its messages while the gateway is away.
    pub session_expiry: Duration,
    /// `max-message`: longest packet in bytes that the broker may send.
    pub max_message: u32,
    /// `window`: QoS 1 messages that may wait for their acknowledgement.
    pub window: u16,
    /// `subscribe`
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
}

/// One element of `subscribe`.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// `topic`: the pattern, such as `sensors/{node}/{metric}`.
    pub topic: crate::codec::topic::Pattern,
    /// `format`
    pub format: MqttFormat,
    /// `time`: for `json`, the field (a dotted path) that holds the reading's time; without it the arrival counts.
    pub time: Option<String>,
    /// `qos`: 0 or 1.
    pub qos: u8,
}

/// `subscribe[].format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MqttFormat {
    /// `"json"`: every numeric or boolean leaf of an object is a metric named by its path; a bare number is one reading.
    Json,
}
