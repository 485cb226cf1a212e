//! The formats of a serial port by their names.

use std::time::Duration;

use crate::codec::payload;

/// How the bytes of a port are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `"hub-lines"`: the LoRa hub's line protocol, both directions.
    #[default]
    HubLines,
    /// `"json-lines"`: one JSON object a line.
    JsonLines,
    /// `"csv-lines"`: one row a line, with or without a header.
    CsvLines,
    /// `"nmea-0183"`
    Nmea0183,
    /// `"dsmr-p1"`
    DsmrP1,
    /// `"sds011"`
    Sds011,
    /// `"pms"`
    Pms,
    /// `"mh-z19"`: asked.
    MhZ19,
    /// `"senseair-s8"`: asked.
    SenseairS8,
    /// `"layout"`: a binary layout in a framing.
    Layout,
    /// A format of payloads in a framing, which is `lines` where none is named.
    Payload(payload::Format),
}

/// What there is besides the formats of payloads.
const OWN: [Format; 10] = [
    Format::HubLines,
    Format::JsonLines,
    Format::CsvLines,
    Format::Nmea0183,
    Format::DsmrP1,
    Format::Sds011,
    Format::Pms,
    Format::MhZ19,
    Format::SenseairS8,
    Format::Layout,
];

/// How a format's frames are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frames {
    /// The format says it itself.
    Own,
    /// They are lines of text.
    Lines,
    /// Text in any framing; lines where none is named.
    Text,
    /// Bytes in any framing but lines.
    Bytes,
}

impl Format {
    /// All, as the documentation lists them. Formats of payloads that are told by their topics are none of a port.
    pub fn all() -> impl Iterator<Item = Self> {
        let payloads = payload::Format::ALL.into_iter().filter(|format| {
            !matches!(format, payload::Format::Homie | payload::Format::SparkplugB | payload::Format::Esphome)
        });
        OWN.into_iter().chain(payloads.map(Self::Payload))
    }

    /// The name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HubLines => "hub-lines",
            Self::JsonLines => "json-lines",
            Self::CsvLines => "csv-lines",
            Self::Nmea0183 => "nmea-0183",
            Self::DsmrP1 => "dsmr-p1",
            Self::Sds011 => "sds011",
            Self::Pms => "pms",
            Self::MhZ19 => "mh-z19",
            Self::SenseairS8 => "senseair-s8",
            Self::Layout => "layout",
            Self::Payload(format) => format.as_str(),
        }
    }

    /// The format of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|format| format.as_str() == name)
    }

    /// How its frames are told apart.
    pub const fn frames(self) -> Frames {
        match self {
            Self::Nmea0183 | Self::DsmrP1 | Self::Sds011 | Self::Pms | Self::MhZ19 | Self::SenseairS8 => Frames::Own,
            Self::HubLines | Self::JsonLines | Self::CsvLines => Frames::Lines,
            Self::Layout | Self::Payload(payload::Format::Msgpack) => Frames::Bytes,
            Self::Payload(_) => Frames::Text,
        }
    }

    /// The device says nothing unless it is asked.
    pub const fn is_asked(self) -> bool {
        matches!(self, Self::MhZ19 | Self::SenseairS8)
    }

    /// Bits a second of most devices with this format.
    pub const fn baud(self) -> u32 {
        match self {
            Self::Nmea0183 | Self::Sds011 | Self::Pms | Self::MhZ19 | Self::SenseairS8 => 9_600,
            _ => 115_200,
        }
    }

    /// Silence after which such a device is not there any more: what talks every second or two is missed sooner.
    pub const fn silence(self) -> Duration {
        Duration::from_secs(match self {
            Self::Nmea0183 | Self::Sds011 | Self::Pms => 30,
            _ => 60,
        })
    }

    /// Objects of JSON, whose fields may name the time and the node.
    pub const fn is_json(self) -> bool {
        matches!(self, Self::JsonLines | Self::Payload(payload::Format::Json))
    }

    /// Rows of a table.
    pub const fn is_csv(self) -> bool {
        matches!(self, Self::CsvLines | Self::Payload(payload::Format::Csv))
    }

    /// Whether its messages may have times without a zone, or it tells the local time.
    pub const fn has_local_times(self) -> bool {
        !matches!(self, Self::Nmea0183 | Self::Sds011 | Self::Pms | Self::MhZ19 | Self::SenseairS8 | Self::Layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_found_by_its_name_and_none_twice() {
        let names: Vec<&str> = Format::all().map(Format::as_str).collect();
        for (at, name) in names.iter().enumerate() {
            assert!(!names[..at].contains(name), "{name}");
            assert_eq!(Format::named(name).map(Format::as_str), Some(*name));
        }
        for name in ["nmea", "homie", "sparkplug-b", "esphome", "modbus", ""] {
            assert_eq!(Format::named(name), None, "{name}");
        }
    }
}
