//! `format = "auto"`: which publisher's message this is, by topic and payload.
//!
//! Those whose topics say so come first, then those whose payloads do, then plain values. What nobody recognises is JSON where
//! it may be, and else a value or a word; what is neither becomes a dead letter that says why.

use super::{
    Format, Message, csv, esphome, homie, influx_line, msgpack, number, rtl_433, ruuvi, senml, shelly, sparkplug_b,
    tasmota, the_things_stack, theengs, zigbee2mqtt,
};

/// Whether a message is one of a publisher.
type Recognises = fn(&Message<'_>) -> bool;

/// Who is asked, in this order.
const ORDER: &[(Format, Recognises)] = &[
    (Format::SparkplugB, sparkplug_b::recognises),
    (Format::Homie, homie::recognises),
    (Format::TheThingsStack, the_things_stack::recognises),
    (Format::Ruuvi, ruuvi::recognises),
    (Format::Rtl433, rtl_433::recognises),
    (Format::Theengs, theengs::recognises),
    (Format::Zigbee2mqtt, zigbee2mqtt::recognises),
    (Format::Tasmota, tasmota::recognises),
    (Format::Shelly, shelly::recognises),
    (Format::Esphome, esphome::recognises),
    (Format::Senml, senml::recognises),
    (Format::Msgpack, msgpack::recognises),
    (Format::Number, number::recognises),
    (Format::InfluxLine, influx_line::recognises),
    (Format::Csv, csv::recognises),
];

/// The format that a message is taken for; never [`Format::Auto`].
pub fn recognise(message: &Message<'_>) -> Format {
    let known = ORDER.iter().find(|(_, recognises)| recognises(message)).map(|(format, _)| *format);
    known.unwrap_or_else(|| match message.text() {
        Ok(text) if !text.is_empty() && !text.starts_with(['{', '[', '"']) => Format::Number,
        _ => Format::Json,
    })
}
