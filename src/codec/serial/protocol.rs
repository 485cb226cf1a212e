//! What is said about a port's bytes, and which of it fits together.

use std::time::Duration;

use super::crc::Checksum;
use super::format::{Format, Frames};
use super::framing::{self, Check, Counts, Covers, Framing, Prefix, Rules};
use super::layout::Layout;
use super::pms::Model;
use super::{Order, dsmr, nmea};
use crate::codec::payload::csv::MAX_COLUMNS;
use crate::reading::MAX_NAME;

/// Longest line in bytes where nothing is said.
pub const MAX_LINE: usize = 4_096;
/// Longest frame in bytes where nothing is said.
pub const MAX_FRAME: usize = 4_096;
/// Silence behind a frame of [`Kind::IdleGap`] where nothing is said: longer than a USB adapter keeps bytes back (16 ms).
pub const GAP: Duration = Duration::from_millis(50);
/// Silence after which bytes that wait for more are no frame: longer than any device pauses within one.
pub const BROKEN_OFF: Duration = Duration::from_millis(250);

/// `framing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `"lines"`
    Lines,
    /// `"cobs"`
    Cobs,
    /// `"slip"`
    Slip,
    /// `"length-prefixed"`
    LengthPrefixed,
    /// `"fixed"`
    Fixed,
    /// `"idle-gap"`
    IdleGap,
}

impl Kind {
    /// All with their names.
    pub const ALL: [(&'static str, Self); 6] = [
        ("lines", Self::Lines),
        ("cobs", Self::Cobs),
        ("slip", Self::Slip),
        ("length-prefixed", Self::LengthPrefixed),
        ("fixed", Self::Fixed),
        ("idle-gap", Self::IdleGap),
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// Words for the order of bytes.
pub const ORDERS: [(&str, Order); 2] = [("little", Order::Little), ("big", Order::Big)];
/// Words for what a checksum is over.
pub const COVERS: [(&str, Covers); 3] =
    [("payload", Covers::Payload), ("length", Covers::Length), ("frame", Covers::Frame)];
/// Words for what a length counts.
pub const COUNTS: [(&str, Counts); 3] =
    [("payload", Counts::Payload), ("rest", Counts::Rest), ("frame", Counts::Frame)];
/// The devices of `pms`.
pub const MODELS: [(&str, Model); 9] = [
    ("pms5003", Model::Plain),
    ("pms7003", Model::Plain),
    ("pmsa003", Model::Plain),
    ("pms1003", Model::Plain),
    ("pms3003", Model::Plain),
    ("pms9003m", Model::Plain),
    ("pms5003st", Model::Plain),
    ("pms5003s", Model::S),
    ("pms5003t", Model::T),
];

/// Most sync bytes.
pub const MAX_SYNC: usize = 16;

/// What is expected of `crc`.
pub const EXPECTED_CRC: &str =
    "expected a name of the CRC catalogue with 8, 16 or 32 bits, such as \"CRC-16/MODBUS\" or \"CRC-8/MAXIM-DOW\"";
/// What is expected of `sync`.
pub const EXPECTED_SYNC: &str = "expected 1 to 16 bytes in hex, such as \"AA 55\"";
/// What is expected of `separator`.
pub const EXPECTED_SEPARATOR: &str = "expected one character that is no letter, digit or quote, \"tab\" or \"space\"";
/// What is expected of `columns`.
pub const EXPECTED_COLUMNS: &str =
    "expected the names of 1 to 256 columns, each once and of 1 to 128 bytes, such as [\"time\", \"temperature\"]";

/// What stands between columns: one ASCII character, or `tab` or `space`.
pub fn separator(text: &str) -> Option<u8> {
    match (text, text.as_bytes()) {
        ("tab", _) | (_, [b'\t']) => Some(b'\t'),
        ("space", _) | (_, [b' ']) => Some(b' '),
        (_, [b'"' | b'\'' | b'#' | b'-' | b'+' | b'.']) => None,
        (_, [byte]) if byte.is_ascii_punctuation() => Some(*byte),
        _ => None,
    }
}

/// Names of columns that can be told apart.
pub fn columns(names: &[&str]) -> Option<Vec<String>> {
    let names: Vec<String> = names.iter().map(|name| name.trim().to_owned()).collect();
    let fits = |(at, name): (usize, &String)| {
        (1..=MAX_NAME).contains(&name.len()) && !name.contains(char::is_control) && !names[..at].contains(name)
    };
    ((1..=MAX_COLUMNS).contains(&names.len()) && names.iter().enumerate().all(fits)).then_some(names)
}

/// What the keys of the configuration or the options of a command say; `None` is not said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Keys {
    /// `format`
    pub format: Format,
    /// `framing`
    pub framing: Option<Kind>,
    /// `crc`
    pub crc: Option<Checksum>,
    /// `crc-order`: little without it, but big for the hex digits of lines.
    pub crc_order: Option<Order>,
    /// `crc-covers`: the payload without it.
    pub crc_covers: Option<Covers>,
    /// `length`: of a fixed frame in bytes; without it that of the layout with the checksum.
    pub length: Option<usize>,
    /// `sync`: bytes that every frame begins with.
    pub sync: Option<Vec<u8>>,
    /// `length-bytes`: 1 without it, or 2.
    pub length_bytes: Option<u8>,
    /// `length-order`: little without it.
    pub length_order: Option<Order>,
    /// `length-counts`: the payload without it.
    pub length_counts: Option<Counts>,
    /// `gap`: silence that ends a frame.
    pub gap: Option<Duration>,
    /// `max-line`
    pub max_line: Option<usize>,
    /// `max-frame`
    pub max_frame: Option<usize>,
    /// `layout`
    pub layout: Option<Layout>,
    /// `time`: the field or column with the time.
    pub time: Option<String>,
    /// `node`: the field or column with the node's name.
    pub node: Option<String>,
    /// `columns`: the names of the columns of rows without a header.
    pub columns: Option<Vec<String>>,
    /// `header`: whether there is one; found out without it.
    pub header: Option<bool>,
    /// `separator` of columns; found out without it.
    pub separator: Option<u8>,
    /// `model` of a `pms`.
    pub model: Option<Model>,
}

/// A key, and what is wrong with it beside the others.
pub type Misfit = (&'static str, String);

/// Keys that fit together.
#[derive(Clone, Debug, PartialEq)]
pub struct Protocol {
    keys: Keys,
    rules: Option<Rules>,
}

impl Default for Protocol {
    fn default() -> Self {
        Self::of(Format::default())
    }
}

impl Protocol {
    /// The format alone, for those that need nothing else.
    ///
    /// # Panics
    /// For formats that need a framing or a layout.
    pub fn of(format: Format) -> Self {
        Self::new(Keys { format, ..Keys::default() }).expect("a format that needs nothing else")
    }

    /// Checks the keys.
    ///
    /// # Errors
    /// Every key that does not fit; for one that is missing the text says what was expected.
    pub fn new(keys: Keys) -> Result<Self, Vec<Misfit>> {
        let mut misfits = keys.misfits();
        let kind = keys.kind();
        let rules = match kind {
            Some(kind) if misfits.is_empty() => match keys.rules(kind) {
                Ok(rules) => Some(rules),
                Err(misfit) => {
                    misfits.push(misfit);
                    None
                }
            },
            _ => None,
        };
        if misfits.is_empty() { Ok(Self { keys, rules }) } else { Err(misfits) }
    }

    /// What was said.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The framing; `None` for formats that have their own.
    pub fn rules(&self) -> Option<&Rules> {
        self.rules.as_ref()
    }

    /// Silence after which a frame has ended, or is none; `None` where silence means nothing.
    pub fn gap(&self) -> Option<Duration> {
        let default = match self.rules.as_ref()?.framing {
            Framing::IdleGap => GAP,
            Framing::LengthPrefixed(_) | Framing::Fixed { .. } => BROKEN_OFF,
            _ => return None,
        };
        Some(self.keys.gap.unwrap_or(default))
    }

    /// Most bytes of a frame that are held.
    pub fn max_held(&self) -> usize {
        match (&self.rules, self.keys.format) {
            (Some(rules), _) => rules.max,
            (None, Format::DsmrP1) => dsmr::MAX,
            (None, _) => nmea::MAX,
        }
    }
}

/// Which framings a key belongs to.
const OF_FRAMINGS: [(&str, &[Kind]); 8] = [
    ("length", &[Kind::Fixed]),
    ("sync", &[Kind::Fixed, Kind::LengthPrefixed]),
    ("length-bytes", &[Kind::LengthPrefixed]),
    ("length-order", &[Kind::LengthPrefixed]),
    ("length-counts", &[Kind::LengthPrefixed]),
    ("gap", &[Kind::IdleGap, Kind::LengthPrefixed, Kind::Fixed]),
    ("max-line", &[Kind::Lines]),
    ("max-frame", &[Kind::Cobs, Kind::Slip, Kind::LengthPrefixed, Kind::IdleGap]),
];

impl Keys {
    /// The framing that is meant.
    fn kind(&self) -> Option<Kind> {
        match self.format.frames() {
            Frames::Own => None,
            Frames::Lines | Frames::Text => Some(self.framing.unwrap_or(Kind::Lines)),
            Frames::Bytes => self.framing,
        }
    }

    fn misfits(&self) -> Vec<Misfit> {
        let mut misfits = Vec::new();
        let format = self.format.as_str();
        let set = |key| match key {
            "length" => self.length.is_some(),
            "sync" => self.sync.is_some(),
            "length-bytes" => self.length_bytes.is_some(),
            "length-order" => self.length_order.is_some(),
            "length-counts" => self.length_counts.is_some(),
            "gap" => self.gap.is_some(),
            "max-line" => self.max_line.is_some(),
            "max-frame" => self.max_frame.is_some(),
            _ => false,
        };
        let others = "\"lines\", \"cobs\", \"slip\", \"length-prefixed\", \"fixed\" or \"idle-gap\"";
        match (self.format.frames(), self.framing) {
            (Frames::Own, Some(_)) => misfits.push((
                "framing",
                format!("expected none: format = \"{format}\" has a framing of its own; framings are for payloads such as \"json\" or \"layout\""),
            )),
            (Frames::Lines, Some(kind)) if kind != Kind::Lines => {
                let fits = match self.format {
                    Format::JsonLines => "; \"json\" goes with every framing",
                    Format::CsvLines => "; \"csv\" goes with every framing",
                    _ => "",
                };
                misfits.push(("framing", format!("expected \"lines\" with format = \"{format}\"{fits}")));
            }
            (Frames::Lines, Some(_)) if self.format == Format::HubLines => {
                misfits.push(("framing", format!("expected none with format = \"{format}\"")));
            }
            (Frames::Bytes, None) => {
                let others = others.trim_start_matches("\"lines\", ");
                misfits.push(("framing", format!("expected {others}: format = \"{format}\" is of bytes")));
            }
            (Frames::Bytes, Some(Kind::Lines)) => {
                let others = others.trim_start_matches("\"lines\", ");
                misfits.push((
                    "framing",
                    format!("expected {others}: the bytes of format = \"{format}\" may hold the end of a line"),
                ));
            }
            _ => {}
        }
        let own = self.format.frames() == Frames::Own;
        if self.crc.is_some() && (own || self.format == Format::HubLines) {
            misfits.push(("crc", format!("expected none: format = \"{format}\" has its own rules")));
        }
        let kind = self.kind();
        for (key, kinds) in OF_FRAMINGS.into_iter().filter(|(key, _)| set(key)) {
            // What is wrong with the framing itself is told already.
            let fits = kind.map_or(!own, |kind| kinds.contains(&kind));
            if !fits {
                let names: Vec<String> = kinds.iter().map(|kind| format!("\"{}\"", kind.as_str())).collect();
                misfits.push((key, format!("expected with framing = {} only", names.join(" or "))));
            }
        }
        for (key, set) in [("crc-order", self.crc_order.is_some()), ("crc-covers", self.crc_covers.is_some())] {
            if set && self.crc.is_none() {
                misfits.push((key, "expected a crc beside it".to_owned()));
            }
        }
        if self.crc_covers.is_some() && !matches!(kind, None | Some(Kind::LengthPrefixed | Kind::Fixed)) {
            misfits.push(("crc-covers", "expected with framing = \"length-prefixed\" or \"fixed\" only".to_owned()));
        }
        match (self.format, &self.layout) {
            (Format::Layout, None) => {
                misfits.push((
                    "layout",
                    "expected the fields of the payload, such as \"u16 node, i16 temperature * 0.01 degC\"".to_owned(),
                ));
            }
            (Format::Layout, Some(_)) | (_, None) => {}
            _ => misfits.push(("layout", "expected with format = \"layout\" only".to_owned())),
        }
        let json_or_csv = self.format.is_json() || self.format.is_csv();
        for (key, set, fits, of) in [
            ("time", self.time.is_some(), json_or_csv, "\"json-lines\", \"csv-lines\", \"json\" or \"csv\""),
            ("node", self.node.is_some(), json_or_csv, "\"json-lines\", \"csv-lines\", \"json\" or \"csv\""),
            ("columns", self.columns.is_some(), self.format.is_csv(), "\"csv-lines\" or \"csv\""),
            ("header", self.header.is_some(), self.format.is_csv(), "\"csv-lines\" or \"csv\""),
            ("separator", self.separator.is_some(), self.format.is_csv(), "\"csv-lines\" or \"csv\""),
            ("model", self.model.is_some(), self.format == Format::Pms, "\"pms\""),
        ] {
            if set && !fits {
                misfits.push((key, format!("expected with format = {of} only")));
            }
        }
        if self.header == Some(true) && self.columns.is_some() {
            misfits.push(("columns", "expected without header = true: the header names the columns".to_owned()));
        }
        misfits
    }

    /// The framing, where all keys fit.
    fn rules(&self, kind: Kind) -> Result<Rules, Misfit> {
        let sum = self.crc.as_ref().map_or(0, Checksum::len);
        let max = match kind {
            Kind::Lines => self.max_line.unwrap_or(MAX_LINE),
            _ => self.max_frame.unwrap_or(MAX_FRAME),
        };
        let sync = self.sync.clone().unwrap_or_default();
        let framing = match kind {
            Kind::Lines => Framing::Lines,
            Kind::Cobs => Framing::Cobs,
            Kind::Slip => Framing::Slip,
            Kind::IdleGap => Framing::IdleGap,
            Kind::LengthPrefixed => Framing::LengthPrefixed(Prefix {
                sync,
                wide: self.length_bytes == Some(2),
                order: self.length_order.unwrap_or_default(),
                counts: self.length_counts.unwrap_or_default(),
            }),
            Kind::Fixed => Framing::Fixed { len: self.fixed(sum)?, sync },
        };
        let max = if let Framing::Fixed { len, .. } = framing { len } else { max };
        let order = self.crc_order.unwrap_or(if kind == Kind::Lines { Order::Big } else { Order::Little });
        let covers = self.crc_covers.unwrap_or_default();
        let check = self.crc.clone().map(|checksum| Check { checksum, order, covers });
        let rules = Rules { framing, check, max };
        let key = match kind {
            Kind::Lines => "max-line",
            Kind::Fixed => "length",
            _ => "max-frame",
        };
        framing::Frames::new(rules.clone()).map_err(|reason| (key, reason))?;
        Ok(rules)
    }

    /// The length of a fixed frame with a checksum of `sum` bytes.
    fn fixed(&self, sum: usize) -> Result<usize, Misfit> {
        let (lengths, open) = match &self.layout {
            Some(layout) => (layout.lengths(), layout.is_open()),
            None => ([].as_slice(), true),
        };
        match (self.length, lengths) {
            (Some(length), _) if open || lengths.iter().any(|payload| payload + sum == length) => Ok(length),
            (Some(_), lengths) => {
                let lengths: Vec<String> = lengths.iter().map(|payload| (payload + sum).to_string()).collect();
                let with = if sum > 0 { " with its checksum" } else { "" };
                Err(("length", format!("expected {}, the length of the layout{with}", lengths.join(" or "))))
            }
            (None, [payload]) if !open => Ok(payload + sum),
            (None, _) => Err(("length", "expected the length of a frame in bytes, with its checksum".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests;
