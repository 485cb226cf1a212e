//! What is remembered of devices: states, nodes, and of each property its datatype and unit.
//!
//! At most [`MAX_DEVICES`] devices and [`MAX_PROPERTIES`] properties and nodes of all of them: about 1 MiB. Where it is full, a
//! device that was not heard for longest among those that are offline makes room; where none is, the new one is not
//! remembered: its values are decoded as those of a device without a description.

use std::collections::HashMap;

use serde_json::Value;

use super::topic::Topic;
use crate::reading::MAX_NAME;

/// Devices that are remembered.
pub const MAX_DEVICES: usize = 512;
/// Properties and nodes that are remembered of all devices together.
pub const MAX_PROPERTIES: usize = 8_192;
/// Longest unit.
const MAX_UNIT: usize = 32;
/// Bases other than one level.
const MAX_BASES: usize = 16;

/// What a property's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// integer, float
    Number,
    Boolean,
    /// string, color, json
    Text,
    /// enum: readings where its values are numbers or switches.
    Enum,
    DateTime,
    Duration,
}

impl Type {
    fn of(name: &str) -> Option<Self> {
        match name.trim() {
            "integer" | "float" => Some(Self::Number),
            "boolean" => Some(Self::Boolean),
            "string" | "color" | "json" => Some(Self::Text),
            "enum" => Some(Self::Enum),
            "datetime" => Some(Self::DateTime),
            "duration" => Some(Self::Duration),
            _ => None,
        }
    }
}

/// What a description says of a property.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Property {
    pub datatype: Option<Type>,
    /// Empty where there is none.
    pub unit: String,
}

#[derive(Debug, Default)]
struct Device {
    name: String,
    /// What it says of itself.
    online: Option<bool>,
    /// The device at the root of its tree, where that is another.
    root: Option<String>,
    nodes: HashMap<String, HashMap<String, Property>>,
    heard: u64,
}

impl Device {
    fn size(&self) -> usize {
        self.nodes.values().map(|properties| properties.len() + 1).sum()
    }
}

/// All devices, by their topics.
#[derive(Debug, Default)]
pub(super) struct Devices {
    known: HashMap<String, Device>,
    /// Nodes and properties of all devices.
    size: usize,
    messages: u64,
    bases: Vec<String>,
}

impl Devices {
    /// Bases of more than one level.
    pub fn bases(&self) -> &[String] {
        &self.bases
    }

    /// The topic of a device's `$homie`, which tells its base.
    pub fn learn_base(&mut self, topic: &Topic<'_>, whole: &str) {
        let Some(base) = topic.key.strip_suffix(topic.device).and_then(|base| base.strip_suffix('/')) else { return };
        let known = !base.contains('/') || self.bases.iter().any(|known| known == base);
        if !topic.version5 && !known && self.bases.len() < MAX_BASES && whole.len() <= 2 * MAX_NAME {
            self.bases.push(base.to_owned());
        }
    }

    /// The device of a topic, which is remembered from now on; `None` where there is no room.
    fn device(&mut self, topic: &Topic<'_>) -> Option<&mut Device> {
        self.messages += 1;
        let heard = self.messages;
        if !self.known.contains_key(topic.key) {
            if topic.key.len() > 2 * MAX_NAME || (self.known.len() >= MAX_DEVICES && !self.make_room(topic.key)) {
                return None;
            }
            let device = Device { name: topic.device.to_owned(), ..Device::default() };
            self.known.insert(topic.key.to_owned(), device);
        }
        let device = self.known.get_mut(topic.key)?;
        device.heard = heard;
        Some(device)
    }

    /// Forgets the offline device that was not heard for longest; `but` stays.
    fn make_room(&mut self, but: &str) -> bool {
        let offline = self.known.iter().filter(|(key, device)| device.online == Some(false) && *key != but);
        let Some(key) = offline.min_by_key(|(_, device)| device.heard).map(|(key, _)| key.clone()) else {
            return false;
        };
        self.forget(&key);
        true
    }

    /// The device is no more: its retained messages were deleted.
    pub fn forget(&mut self, key: &str) {
        if let Some(device) = self.known.remove(key) {
            self.size -= device.size();
        }
    }

    /// Room for one more node or property.
    fn admit(&mut self, key: &str) -> bool {
        self.size < MAX_PROPERTIES || (self.make_room(key) && self.size < MAX_PROPERTIES)
    }

    /// A node of the device exists. Says whether that is news.
    fn node(&mut self, topic: &Topic<'_>, node: &str) -> bool {
        let Some(device) = self.device(topic) else { return false };
        if node.is_empty() || node.len() > MAX_NAME || device.nodes.contains_key(node) || !self.admit(topic.key) {
            return false;
        }
        let Some(device) = self.known.get_mut(topic.key) else { return false };
        device.nodes.insert(node.to_owned(), HashMap::new());
        self.size += 1;
        true
    }

    /// The property's description, which may be changed; `None` where there is no room.
    fn property_mut(&mut self, topic: &Topic<'_>, node: &str, property: &str) -> Option<&mut Property> {
        self.node(topic, node);
        let known = self.known.get(topic.key)?.nodes.get(node)?.contains_key(property);
        if !known {
            if property.is_empty() || property.len() > MAX_NAME || !self.admit(topic.key) {
                return None;
            }
            self.size += 1;
        }
        let properties = self.known.get_mut(topic.key)?.nodes.get_mut(node)?;
        Some(properties.entry(property.to_owned()).or_default())
    }

    /// A value of the node was heard. Gives the node where it was not known.
    pub fn heard(&mut self, topic: &Topic<'_>, node: &str) -> Vec<String> {
        if self.node(topic, node) { vec![node.to_owned()] } else { Vec::new() }
    }

    /// `$nodes` of versions 2 to 4. Gives those that were not known.
    pub fn nodes(&mut self, topic: &Topic<'_>, list: &str) -> Vec<String> {
        let ids = list.split(',').map(|id| id.trim().trim_end_matches("[]")).take(MAX_PROPERTIES);
        // Version 2 has `id:type`.
        let ids = ids.map(|id| id.split(':').next().unwrap_or_default());
        ids.filter(|id| self.node(topic, id)).map(str::to_owned).collect()
    }

    /// `$datatype` or `$unit` of a property of versions 3 and 4.
    pub fn attribute(&mut self, topic: &Topic<'_>, node: &str, property: &str, attribute: &str, text: &str) {
        if let Some(property) = self.property_mut(topic, node, property) {
            set(property, attribute, text);
        }
    }

    /// `$description` of version 5, which replaces what was known. Gives the nodes that are new.
    pub fn describe(&mut self, topic: &Topic<'_>, json: &Value) -> Vec<String> {
        let Some(device) = self.device(topic) else { return Vec::new() };
        let before: Vec<String> = device.nodes.keys().cloned().collect();
        let size = device.size();
        device.nodes.clear();
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        device.root = text(json, "root").or_else(|| text(json, "parent")).filter(|root| root.len() <= MAX_NAME);
        self.size -= size;
        let mut fresh = Vec::new();
        for (node, described) in members(json.get("nodes")) {
            if self.node(topic, &node) && !before.contains(&node) {
                fresh.push(node.clone());
            }
            for (id, described) in members(described.get("properties")) {
                let Some(property) = self.property_mut(topic, &node, &id) else { continue };
                for attribute in ["datatype", "unit"] {
                    set(property, attribute, described.get(attribute).and_then(Value::as_str).unwrap_or_default());
                }
            }
        }
        fresh
    }

    /// What is known of a property.
    pub fn property(&self, key: &str, node: &str, property: &str) -> Option<&Property> {
        self.known.get(key)?.nodes.get(node)?.get(property)
    }

    /// The device says that it is there, or gone. Gives the devices and nodes of which that is true now: its own, and those of
    /// its children, which are gone with it.
    pub fn state(&mut self, topic: &Topic<'_>, online: bool) -> Vec<(String, Option<String>, bool)> {
        if let Some(device) = self.device(topic) {
            device.online = Some(online);
        }
        let mut told = vec![(topic.device.to_owned(), None, self.online(topic.key).unwrap_or(online))];
        let base = topic.key.strip_suffix(topic.device).unwrap_or_default();
        let mut keys: Vec<&String> = self.known.keys().filter(|key| key.starts_with(base)).collect();
        keys.sort_unstable();
        for key in keys {
            let device = &self.known[key];
            let child = device.root.as_deref() == Some(topic.device) && key.as_str() != topic.key;
            let Some(online) = self.online(key).filter(|_| child || key.as_str() == topic.key) else { continue };
            if child {
                told.push((device.name.clone(), None, online));
            }
            let mut nodes: Vec<&String> = device.nodes.keys().collect();
            nodes.sort_unstable();
            told.extend(nodes.into_iter().map(|node| (device.name.clone(), Some(node.clone()), online)));
        }
        told
    }

    /// Whether the device is there: by its own word and, where it is the child of another, by that one's.
    pub fn online(&self, key: &str) -> Option<bool> {
        let device = self.known.get(key)?;
        let own = device.online?;
        let root = device.root.as_ref().and_then(|root| {
            let base = key.strip_suffix(device.name.as_str())?;
            self.known.get(&format!("{base}{root}"))?.online
        });
        Some(own && root != Some(false))
    }

    #[cfg(test)]
    pub fn sizes(&self) -> (usize, usize) {
        let size: usize = self.known.values().map(Device::size).sum();
        assert_eq!(size, self.size, "the count of what is known");
        (self.known.len(), self.size)
    }
}

fn set(property: &mut Property, attribute: &str, text: &str) {
    match attribute {
        "datatype" => property.datatype = Type::of(text),
        // Ids and counts have `#`, which is no unit of measure.
        _ => property.unit = if text.len() <= MAX_UNIT && text != "#" { text.to_owned() } else { String::new() },
    }
}

/// The members of an object by their keys; early drafts of version 5 had arrays of objects with an `id`.
fn members(value: Option<&Value>) -> Vec<(String, &Value)> {
    match value {
        Some(Value::Object(members)) => members.iter().map(|(id, value)| (id.clone(), value)).collect(),
        Some(Value::Array(members)) => {
            members.iter().filter_map(|value| Some((value.get("id")?.as_str()?.to_owned(), value))).collect()
        }
        _ => Vec::new(),
    }
}
