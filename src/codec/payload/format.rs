//! The formats by their names.

/// How the messages of a subscription are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// `"auto"`: one of the others, told by topic and payload.
    #[default]
    Auto,
    /// `"json"`: every numeric or boolean leaf of an object is a metric named by its path; a bare number is one reading.
    Json,
    /// `"number"`: a bare number, switch or word.
    Number,
    /// `"csv"`: rows of values, with or without a header.
    Csv,
    /// `"msgpack"`: as JSON, in MessagePack.
    Msgpack,
    /// `"zigbee2mqtt"`
    Zigbee2mqtt,
    /// `"tasmota"`
    Tasmota,
    /// `"esphome"`
    Esphome,
    /// `"shelly"`
    Shelly,
    /// `"rtl_433"`
    Rtl433,
    /// `"theengs"`: Theengs Gateway and OpenMQTTGateway.
    Theengs,
    /// `"the-things-stack"`: uplinks of version 3.
    TheThingsStack,
    /// `"homie"`: conventions 4 and 5.
    Homie,
    /// `"senml"`: RFC 8428, JSON and CBOR.
    Senml,
    /// `"influx-line"`
    InfluxLine,
    /// `"ruuvi"`: messages of the Ruuvi gateway.
    Ruuvi,
    /// `"sparkplug-b"`
    SparkplugB,
}

impl Format {
    /// All, as the documentation lists them.
    pub const ALL: [Self; 17] = [
        Self::Auto,
        Self::Json,
        Self::Number,
        Self::Csv,
        Self::Msgpack,
        Self::Zigbee2mqtt,
        Self::Tasmota,
        Self::Esphome,
        Self::Shelly,
        Self::Rtl433,
        Self::Theengs,
        Self::TheThingsStack,
        Self::Homie,
        Self::Senml,
        Self::InfluxLine,
        Self::Ruuvi,
        Self::SparkplugB,
    ];

    /// The name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Json => "json",
            Self::Number => "number",
            Self::Csv => "csv",
            Self::Msgpack => "msgpack",
            Self::Zigbee2mqtt => "zigbee2mqtt",
            Self::Tasmota => "tasmota",
            Self::Esphome => "esphome",
            Self::Shelly => "shelly",
            Self::Rtl433 => "rtl_433",
            Self::Theengs => "theengs",
            Self::TheThingsStack => "the-things-stack",
            Self::Homie => "homie",
            Self::Senml => "senml",
            Self::InfluxLine => "influx-line",
            Self::Ruuvi => "ruuvi",
            Self::SparkplugB => "sparkplug-b",
        }
    }

    /// Whether a time that a message of it is given may depend on when the message arrived, or on what came just before it:
    /// when the broker sends it again, it may be given another.
    pub const fn dates_by_arrival(self) -> bool {
        // Relative times; the `time` topic of its own beside the values'.
        matches!(self, Self::Senml | Self::Rtl433)
    }

    /// Whether what it takes for the repeat of a frame is left out.
    pub const fn leaves_out_repeats(self) -> bool {
        matches!(self, Self::Rtl433 | Self::Theengs | Self::Ruuvi | Self::TheThingsStack)
    }

    /// The format of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }
}
