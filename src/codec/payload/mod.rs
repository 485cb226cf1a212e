//! What publishers send over MQTT, each in its own shape, as readings and events with one vocabulary of names and units.
//!
//! Each format is a module of its own, pure, and decodes by the rules that its publisher documents. What they share:
//!
//! - The metric's name and unit are those of the [`vocabulary`]; the publisher's own name is kept beside where it differs.
//!   A name that the vocabulary does not know stays as it is.
//! - Numbers in quotes are numbers. Null, NaN, infinities, empty text and words such as `unavailable` are no readings
//!   ([`scalar`]). Booleans, ON and OFF are 1 and 0. Other texts are events, where the format says that something happened,
//!   and else nothing.
//! - Where a node is there or gone, an event of the kind [`AVAILABILITY_EVENT`](crate::reading::AVAILABILITY_EVENT).
//! - What cannot be decoded is a dead letter with what was expected and where; what else the message holds is kept.
//! - A message that is known and has nothing to store (`zigbee2mqtt/bridge/info`) gives an empty [`Decoded`].
//! - At most [`MAX_VALUES`] values of a message are looked at ([`found::Found`]).

use std::sync::Arc;

use super::time::Local;
use crate::reading::Decoded;

pub use super::leaves::MAX_VALUES;
pub use decoders::{Decoders, Output, Request};
pub use format::Format;

mod auto;
pub mod csv;
mod decoders;
pub mod esphome;
pub mod fields;
mod format;
pub mod found;
pub mod homie;
pub mod influx_line;
pub mod mac;
pub mod msgpack;
pub mod names;
pub mod number;
pub mod recent;
pub mod rtl_433;
pub mod ruuvi;
pub mod scalar;
pub mod senml;
pub mod shelly;
pub mod sparkplug_b;
pub mod tasmota;
pub mod texts;
pub mod the_things_stack;
pub mod theengs;
pub mod time_fields;
pub mod vocabulary;
pub mod zigbee2mqtt;

#[cfg(test)]
mod listed;
#[cfg(test)]
mod shown;

/// One message, as a format sees it.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The whole topic.
    pub topic: &'a str,
    /// The payload.
    pub payload: &'a [u8],
    /// The node that the topic's pattern names; `None` where the pattern has no name in braces.
    pub node: Option<&'a str>,
    /// The metric that the topic's pattern names.
    pub metric: Option<&'a str>,
    /// The configured field (a dotted path) that holds the time; formats that know where their time is ignore it.
    pub time: Option<&'a str>,
    /// How a time without a zone is read, and when the message arrived by a clock that can be trusted.
    pub local: Local,
    /// The broker had kept the message: it is old news. What has no time of its own is left out by the caller, except for
    /// events of availability, which are a state.
    pub retain: bool,
}

impl Message<'_> {
    /// The node that the pattern names, or else `by_format`, which the format takes from the topic, or else the topic.
    pub fn node_or(&self, by_format: Option<&str>) -> Arc<str> {
        Arc::from(self.node.or(by_format).unwrap_or(self.topic))
    }

    /// The payload as text without blanks at its ends; the error is the dead letter for bytes that are not UTF-8.
    ///
    /// # Errors
    /// Where the payload is not UTF-8.
    pub fn text(&self) -> Result<&str, Decoded> {
        std::str::from_utf8(self.payload).map(str::trim).map_err(|e| {
            found::refused(
                crate::reading::DeadReason::NotUtf8,
                format!("invalid UTF-8 at byte {}", e.valid_up_to()),
                self.payload,
            )
        })
    }

    /// The payload as JSON; the error is the dead letter for what is not, which names line and column.
    ///
    /// # Errors
    /// Where the payload is not UTF-8 or not JSON.
    pub fn json(&self) -> Result<serde_json::Value, Decoded> {
        let text = self.text()?;
        serde_json::from_str(text)
            .map_err(|e| found::refused(crate::reading::DeadReason::Malformed, e.to_string(), self.payload))
    }
}
