//! A message of each format, for the benchmark of decoding.

use gadwall::codec::payload::Format;

/// A plug as Zigbee2MQTT publishes it: leaves that become readings, and texts.
pub const PLUG: &str = r#"{"current":0.16,"energy":18.43,"power":23.7,"voltage":231,"linkquality":132,"child_lock":false,
"countdown":0,"indicator":true,"power_outage_count":3,"device_temperature":31,"state":"ON","power_on_behavior":"previous",
"update":{"installed_version":537019939,"latest_version":587765297,"state":"available"}}"#;

/// A message of a captured one's topic and bytes.
macro_rules! captured {
    ($name:literal, $extension:literal) => {
        (
            include_str!(concat!("../../tests/fixtures/payloads/", $name, ".topic")),
            include_bytes!(concat!("../../tests/fixtures/payloads/", $name, ".", $extension)).as_slice(),
        )
    };
}

/// A format, a message of it as topic and payload, and how many readings are in it.
pub type Sample = (Format, (&'static str, &'static [u8]), usize);

/// One message of each format.
pub fn samples() -> [Sample; 16] {
    [
        (Format::Json, ("sensors/t1", br#"{"temperature":21.53,"humidity":48.7,"battery":97}"#), 3),
        (Format::Number, ("garden/t1/temperature", b"21.5"), 1),
        (
            Format::Csv,
            ("loggers/a", b"time;node;temperature [degC];pressure_pa\n2025-10-09 10:53:20;t1;21,5;101300\n"),
            2,
        ),
        (Format::Msgpack, ("boards/b1", b"\x82\xa2ts\xd6\xff\x68\xe7\x78\x00\xa3env\x81\xa2rh\x28"), 1),
        (Format::Zigbee2mqtt, ("zigbee2mqtt/kitchen", PLUG.as_bytes()), 11),
        (Format::Tasmota, captured!("tasmota/02-energy", "json"), 10),
        (Format::Esphome, captured!("esphome/01-number", "txt"), 1),
        (Format::Shelly, captured!("shelly/05-pro3em-status-em0", "json"), 18),
        (Format::Rtl433, captured!("rtl_433/05-tower-protocol-meta", "json"), 6),
        (Format::Theengs, captured!("theengs/01-tempodisc", "json"), 5),
        (Format::TheThingsStack, captured!("the-things-stack/02-dragino-lht65", "json"), 7),
        (Format::Homie, captured!("homie/01-temp", "txt"), 1),
        (Format::Senml, captured!("senml/04-relative-negative-t", "json"), 4),
        (Format::InfluxLine, captured!("influx-line-protocol/05-escaped-space", "txt"), 3),
        (Format::Ruuvi, captured!("ruuvi-gateway/01-timestamped", "json"), 10),
        (Format::SparkplugB, captured!("sparkplug-b/01-nbirth-wire", "bin"), 1),
    ]
}
