//! Who a Bluetooth device is.

use serde_json::{Map, Value};

use crate::codec::payload::mac;

/// Who sent a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// A device with this name.
    Node(String),
    /// Somebody whose address is a random one that changes.
    Anonymous,
    /// The message names nobody.
    Missing,
}

/// Models whose addresses change, as Theengs Gateway lists them for what it does not announce.
fn changes(model_id: &str) -> bool {
    model_id.starts_with("APPLE") || matches!(model_id, "MS-CDP" | "GAEN" | "IBEACON")
}

/// An address or another id as it names a node.
pub(super) fn spelled(id: &str) -> String {
    mac::parse(id).map_or_else(|| id.to_owned(), mac::spelled)
}

/// The two highest bits of a random address tell whether it stays (11) or changes (01 resolvable, 00 not; Bluetooth Core,
/// Vol 6 Part B 1.3.2). Whether it is random is told by `mac_type`; where that is missing, only of models whose
/// addresses change, and only the resolvable ones, which they use, are taken for random.
fn is_private(address: [u8; 6], mac_type: Option<i64>, model_id: &str) -> bool {
    match (mac_type, address[0] >> 6) {
        (Some(0), _) | (_, 0b11 | 0b10) => false,
        (Some(_), _) => true,
        (None, bits) => bits == 0b01 && changes(model_id),
    }
}

/// Who sent this; `topic` is the address in the topic.
pub(super) fn of(fields: &Map<String, Value>, topic: &str) -> Identity {
    let text = |key: &str| fields.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    let model_id = text("model_id").unwrap_or_default();
    let mac_type = fields.get("mac_type").and_then(|value| match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_i64(),
    });
    let Some(id) = text("id").or_else(|| topic.rsplit('/').next().filter(|level| !level.is_empty())) else {
        return Identity::Missing;
    };
    let address = mac::parse(id);
    let private = address.is_some_and(|address| is_private(address, mac_type, model_id));
    let beacon = model_id == "IBEACON" && mac_type != Some(0);
    if let Some(uuid) = text("uuid").filter(|_| private || beacon) {
        let number = |key: &str| match fields.get(key) {
            Some(Value::Number(number)) => number.as_u64().unwrap_or_default(),
            _ => 0,
        };
        let uuid = uuid.to_ascii_lowercase().replace('-', "");
        return Identity::Node(match (number("major"), number("minor")) {
            (0, 0) => uuid,
            (major, minor) => format!("{uuid}/{major}/{minor}"),
        });
    }
    match (address, private) {
        (_, true) if model_id.is_empty() || changes(model_id) => Identity::Anonymous,
        (_, true) => Identity::Node(model_id.to_owned()),
        _ => Identity::Node(spelled(id)),
    }
}
