//! The hub's messages as they stand on a line: parsed, and written again.

use std::fmt;
use std::str::FromStr;

use crate::reading::DeadReason;

/// Most characters of a wrong field that a detail shows.
const SHOWN: usize = 32;

/// The node that a message comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sender {
    /// Its address in the radio network; the hub gives it anew when a node registers.
    pub address: u16,
    /// Its device id, which stays; 0 as long as it has not registered.
    pub device: u64,
}

/// One message from the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// The hub has booted.
    HubReady,
    /// It asks for the time.
    GetDatetime,
    /// Status of a node.
    Heartbeat {
        /// The node.
        from: Sender,
        /// Charge of its battery, percent.
        battery: u16,
        /// Error flags, a bit set.
        errors: u32,
        /// Strength of its signal, dBm.
        rssi: i32,
        /// Seconds since it started.
        uptime: u32,
        /// Records that it still holds; old firmware does not say.
        pending: Option<u32>,
    },
    /// One live reading.
    SensorData {
        /// The node.
        from: Sender,
        /// The reading.
        value: Live<'a>,
    },
    /// A batch of stored records begins.
    SensorBatch {
        /// The node.
        from: Sender,
        /// Records that it will hold.
        count: u32,
    },
    /// One stored record.
    SensorRecord {
        /// The node.
        from: Sender,
        /// What was stored.
        record: Record,
    },
    /// A batch ends.
    BatchComplete {
        /// The node.
        from: Sender,
        /// Records that it held.
        count: u32,
    },
    /// A live event.
    Event {
        /// The node.
        from: Sender,
        /// What happened.
        code: u32,
        /// Hex bytes as they were sent, in groups with blanks between them; may be empty.
        hex: &'a str,
    },
    /// A stored event.
    EventLog {
        /// The node.
        from: Sender,
        /// Unix time, in seconds or milliseconds.
        time: i64,
        /// What happened.
        kind: &'a str,
        /// How bad it is.
        severity: &'a str,
        /// The rest of the line, blanks included; may be empty.
        detail: &'a str,
    },
    /// The answer to a command; no reading.
    Answer {
        /// Its keyword.
        keyword: &'static str,
        /// The rest of the line.
        text: &'a str,
    },
}

/// The value of a `SENSOR_DATA` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live<'a> {
    /// Temperature in 0.01 degC.
    Temp(i32),
    /// Relative humidity in 0.01 %.
    Hum(u32),
    /// Another type.
    Other {
        /// Its type code.
        code: u32,
        /// Hex bytes as they were sent, in groups with blanks between them; at least one byte.
        hex: &'a str,
    },
}

/// A stored record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// Unix time in seconds by the node's clock.
    pub time: i64,
    /// Temperature in 0.01 degC.
    pub temp: i32,
    /// Relative humidity in 0.01 %.
    pub hum: u32,
    /// Flags of the node.
    pub flags: u8,
}

/// Why a line is not a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The reason of its dead letter.
    pub reason: DeadReason,
    /// Keyword, field and what was expected.
    pub detail: String,
}

impl Fault {
    fn malformed(detail: String) -> Self {
        Self { reason: DeadReason::Malformed, detail }
    }
}

/// The answers to commands. The longer ones need no precedence: a keyword ends at a blank or with the line.
const ANSWERS: [&str; 7] = ["BATCH_ACK_SENT", "NODE", "NODE_LIST", "QUEUE", "QUEUED", "ERROR", "DELETED_NODE"];

impl<'a> Message<'a> {
    /// Parses a line without its end.
    ///
    /// # Errors
    /// [`Fault`] where it does not follow the protocol.
    pub fn parse(line: &'a [u8]) -> Result<Self, Fault> {
        let line = std::str::from_utf8(line).map_err(|e| Fault {
            reason: DeadReason::NotUtf8,
            detail: format!("byte {} of the line is not UTF-8", e.valid_up_to() + 1),
        })?;
        let (keyword, rest) = match line.split_once(' ') {
            Some((keyword, rest)) => (keyword, Some(rest)),
            None => (line, None),
        };
        let fields = |keyword| Fields { keyword, rest };
        match keyword {
            "HUB_READY" => fields("HUB_READY").end(Self::HubReady),
            "GET_DATETIME" => fields("GET_DATETIME").end(Self::GetDatetime),
            "HEARTBEAT" => heartbeat(fields("HEARTBEAT")),
            "SENSOR_DATA" => sensor_data(fields("SENSOR_DATA")),
            "SENSOR_BATCH" => {
                let mut f = fields("SENSOR_BATCH");
                let message = Self::SensorBatch { from: f.sender()?, count: f.number("count")? };
                f.end(message)
            }
            "SENSOR_RECORD" => {
                let mut f = fields("SENSOR_RECORD");
                let from = f.sender()?;
                let record = Record {
                    time: f.number("time")?,
                    temp: f.number("temperature")?,
                    hum: f.number("humidity")?,
                    flags: f.number("flags")?,
                };
                f.end(Self::SensorRecord { from, record })
            }
            "BATCH_COMPLETE" => {
                let mut f = fields("BATCH_COMPLETE");
                let message = Self::BatchComplete { from: f.sender()?, count: f.number("count")? };
                f.end(message)
            }
            "EVENT" => {
                let mut f = fields("EVENT");
                Ok(Self::Event { from: f.sender()?, code: f.number("code")?, hex: f.hex()? })
            }
            "EVENT_LOG" => {
                let mut f = fields("EVENT_LOG");
                Ok(Self::EventLog {
                    from: f.sender()?,
                    time: f.number("time")?,
                    kind: f.text("type")?,
                    severity: f.text("severity")?,
                    detail: f.rest.unwrap_or(""),
                })
            }
            other => match ANSWERS.into_iter().find(|k| *k == other) {
                Some(keyword) => Ok(Self::Answer { keyword, text: rest.unwrap_or("") }),
                None => Err(Fault::malformed(format!("{} is no known keyword", shown(other)))),
            },
        }
    }
}

fn heartbeat(mut f: Fields<'_>) -> Result<Message<'_>, Fault> {
    let message = Message::Heartbeat {
        from: f.sender()?,
        battery: f.number("battery")?,
        errors: f.number("errors")?,
        rssi: f.number("rssi")?,
        uptime: f.number("uptime")?,
        pending: if f.rest.is_some() { Some(f.number("pending")?) } else { None },
    };
    f.end(message)
}

fn sensor_data(mut f: Fields<'_>) -> Result<Message<'_>, Fault> {
    let from = f.sender()?;
    let value = match f.text("type")? {
        "TEMP" => Live::Temp(f.number("value")?),
        "HUM" => Live::Hum(f.number("value")?),
        code => {
            let code = f.parse("type", code, "TEMP, HUM or ")?;
            let hex = f.hex()?;
            if hex.is_empty() {
                return Err(Fault::malformed("SENSOR_DATA: field value is missing, expected hex bytes".into()));
            }
            Live::Other { code, hex }
        }
    };
    f.end(Message::SensorData { from, value })
}

/// The fields behind a keyword: separated by exactly one blank, so that a lost number shows as an empty field and does
/// not let the next one take its place.
struct Fields<'a> {
    keyword: &'static str,
    rest: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn take(&mut self) -> Option<&'a str> {
        let rest = self.rest.take()?;
        match rest.split_once(' ') {
            Some((field, rest)) => {
                self.rest = Some(rest);
                Some(field)
            }
            None => Some(rest),
        }
    }

    fn text(&mut self, name: &str) -> Result<&'a str, Fault> {
        match self.take() {
            None => Err(Fault::malformed(format!("{}: field {name} is missing", self.keyword))),
            Some("") => Err(Fault::malformed(format!("{}: field {name} is empty", self.keyword))),
            Some(field) => Ok(field),
        }
    }

    fn number<T: Number>(&mut self, name: &str) -> Result<T, Fault> {
        let field = self.text(name)?;
        self.parse(name, field, "")
    }

    fn parse<T: Number>(&self, name: &str, field: &str, or: &str) -> Result<T, Fault> {
        let digits = field.strip_prefix('-').unwrap_or(field);
        let decimal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if decimal && let Ok(number) = field.parse() {
            return Ok(number);
        }
        // What is a number, but not one that fits, is told apart from text.
        let number = decimal || field.parse::<f64>().is_ok_and(|v| !v.is_finite());
        Err(Fault {
            reason: if number { DeadReason::BadNumber } else { DeadReason::Malformed },
            detail: format!("{}: field {name} is {}, expected {or}{}", self.keyword, shown(field), T::RANGE),
        })
    }

    fn sender(&mut self) -> Result<Sender, Fault> {
        Ok(Sender { address: self.number("address")?, device: self.number("device")? })
    }

    /// All that is left, as hex bytes; empty where nothing is.
    fn hex(&mut self) -> Result<&'a str, Fault> {
        let rest = self.rest.take().unwrap_or("");
        let bytes = |group: &str| {
            !group.is_empty() && group.len().is_multiple_of(2) && group.bytes().all(|b| b.is_ascii_hexdigit())
        };
        if rest.is_empty() || rest.split(' ').all(bytes) {
            return Ok(rest);
        }
        Err(Fault::malformed(format!("{}: {} is not hex, expected pairs of hex digits", self.keyword, shown(rest))))
    }

    fn end(&self, message: Message<'a>) -> Result<Message<'a>, Fault> {
        match self.rest {
            None => Ok(message),
            Some(rest) => Err(Fault::malformed(format!(
                "{}: expected no field behind the last, got {}",
                self.keyword,
                shown(rest)
            ))),
        }
    }
}

fn shown(field: &str) -> String {
    match field.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &field[..end]),
        None => format!("{field:?}"),
    }
}

/// A whole number with the words for its range.
trait Number: FromStr {
    const RANGE: &'static str;
}

macro_rules! number {
    ($($type:ty: $range:literal),*) => { $(impl Number for $type { const RANGE: &'static str = $range; })* };
}

number!(
    u8: "a whole number from 0 to 255",
    u16: "a whole number from 0 to 65535",
    u32: "a whole number from 0 to 4294967295",
    u64: "a whole number from 0 to 18446744073709551615",
    i32: "a whole number from -2147483648 to 2147483647",
    i64: "a whole number from -9223372036854775808 to 9223372036854775807"
);

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.address, self.device)
    }
}

impl fmt::Display for Message<'_> {
    /// The line that the hub sends, without its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let behind = |f: &mut fmt::Formatter<'_>, text: &str| {
            if text.is_empty() { Ok(()) } else { write!(f, " {text}") }
        };
        match self {
            Self::HubReady => f.write_str("HUB_READY"),
            Self::GetDatetime => f.write_str("GET_DATETIME"),
            Self::Heartbeat { from, battery, errors, rssi, uptime, pending } => {
                write!(f, "HEARTBEAT {from} {battery} {errors} {rssi} {uptime}")?;
                pending.map_or(Ok(()), |pending| write!(f, " {pending}"))
            }
            Self::SensorData { from, value: Live::Temp(v) } => write!(f, "SENSOR_DATA {from} TEMP {v}"),
            Self::SensorData { from, value: Live::Hum(v) } => write!(f, "SENSOR_DATA {from} HUM {v}"),
            Self::SensorData { from, value: Live::Other { code, hex } } => write!(f, "SENSOR_DATA {from} {code} {hex}"),
            Self::SensorBatch { from, count } => write!(f, "SENSOR_BATCH {from} {count}"),
            Self::SensorRecord { from, record: Record { time, temp, hum, flags } } => {
                write!(f, "SENSOR_RECORD {from} {time} {temp} {hum} {flags}")
            }
            Self::BatchComplete { from, count } => write!(f, "BATCH_COMPLETE {from} {count}"),
            Self::Event { from, code, hex } => {
                write!(f, "EVENT {from} {code}")?;
                behind(f, hex)
            }
            Self::EventLog { from, time, kind, severity, detail } => {
                write!(f, "EVENT_LOG {from} {time} {kind} {severity}")?;
                behind(f, detail)
            }
            Self::Answer { keyword, text } => {
                f.write_str(keyword)?;
                behind(f, text)
            }
        }
    }
}
