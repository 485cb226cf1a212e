//! Topics of the convention.

/// What a topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// `$attribute` of a device, without the `$`.
    Device(&'a str),
    /// `$stats/NAME`
    Stats(&'a str),
    /// `$alert/ID`
    Alert(&'a str),
    /// `$log/LEVEL`
    Log(&'a str),
    /// `NODE/PROPERTY/$attribute`, without the `$`.
    Attribute(&'a str, &'a str, &'a str),
    /// `NODE/PROPERTY`
    Value(&'a str, &'a str),
    /// A wish, an attribute of a node, a broadcast, or below one of these.
    Other,
}

/// A topic, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Topic<'a> {
    /// Everything up to the device.
    pub key: &'a str,
    pub device: &'a str,
    pub version5: bool,
    pub place: Place<'a>,
}

impl<'a> Topic<'a> {
    /// Takes a topic apart. The base is what stands before a level `5` in version 5; before, one of `bases` or one level. `None` for
    /// what can be no topic of the convention.
    pub fn parse(topic: &'a str, bases: &[String]) -> Option<Self> {
        let levels = topic.match_indices('/').map(|(at, _)| at);
        // `BASE/5/DEVICE/...`
        for start in levels {
            if let Some(rest) = topic[start..].strip_prefix("/5/")
                && let Some(found) = Self::below(topic, start + 3, rest, true)
            {
                return Some(found);
            }
        }
        let base = bases
            .iter()
            .find(|base| topic.strip_prefix(base.as_str()).is_some_and(|rest| rest.starts_with('/')))
            .map(String::len)
            .or_else(|| topic.find('/'))?;
        // `$homie` tells the base of its device, however many levels that has.
        let base = match topic.strip_suffix("/$homie") {
            Some(device) => device.rfind('/')?,
            None => base,
        };
        Self::below(topic, base + 1, &topic[base + 1..], false)
    }

    /// The device's name begins at `start`.
    fn below(topic: &'a str, start: usize, rest: &'a str, version5: bool) -> Option<Self> {
        let (device, below) = rest.split_once('/')?;
        if device.is_empty() {
            return None;
        }
        let levels: Vec<&str> = below.splitn(5, '/').collect();
        let place = match levels[..] {
            _ if device.starts_with('$') => Place::Other,
            [attribute] if attribute.len() > 1 && attribute.starts_with('$') => Place::Device(&attribute[1..]),
            ["$stats", name] => Place::Stats(name),
            ["$alert", id] => Place::Alert(id),
            ["$log", level] => Place::Log(level),
            [attribute, ..] if attribute.starts_with('$') => Place::Other,
            [_] => return None,
            [node, property] if !property.starts_with('$') && !node.is_empty() && !property.is_empty() => {
                Place::Value(node, property)
            }
            [_, property] if property.starts_with('$') => Place::Other,
            [node, property, attribute] if attribute.starts_with('$') && !property.starts_with('$') => {
                Place::Attribute(node, property, &attribute[1..])
            }
            [_, _, "set"] | [_, _, _, ..] => Place::Other,
            _ => return None,
        };
        Some(Self { key: &topic[..start + device.len()], device, version5, place })
    }

    /// Whether the ids are such as the convention has them: a to z, 0 to 9, `-`; `_` for the arrays of version 2.
    pub fn is_valid(&self) -> bool {
        let id = |id: &str| {
            !id.is_empty()
                && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
        };
        match self.place {
            Place::Value(node, property) | Place::Attribute(node, property, _) => {
                id(self.device) && id(node) && id(property)
            }
            _ => id(self.device.trim_start_matches('$')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_taken_apart() {
        for (topic, key, device, version5, place) in [
            ("homie/5/car/engine/temp", "homie/5/car", "car", true, Place::Value("engine", "temp")),
            ("homie/car/engine/temp", "homie/car", "car", false, Place::Value("engine", "temp")),
            // A device `5` of version 4.
            ("homie/5/engine/temp", "homie/5", "5", false, Place::Value("engine", "temp")),
            ("house/a/5/car/$state", "house/a/5/car", "car", true, Place::Device("state")),
            ("homie/car/$stats/uptime", "homie/car", "car", false, Place::Stats("uptime")),
            ("homie/5/car/$alert/low", "homie/5/car", "car", true, Place::Alert("low")),
            ("homie/5/car/$log/warn", "homie/5/car", "car", true, Place::Log("warn")),
            ("homie/car/e/t/$unit", "homie/car", "car", false, Place::Attribute("e", "t", "unit")),
            ("homie/car/e/t/set", "homie/car", "car", false, Place::Other),
            ("homie/car/e/$name", "homie/car", "car", false, Place::Other),
            ("homie/car/$fw/name", "homie/car", "car", false, Place::Other),
            ("homie/$broadcast/alert", "homie/$broadcast", "$broadcast", false, Place::Other),
            ("a/b/car/$homie", "a/b/car", "car", false, Place::Device("homie")),
            ("a/b/car/e/t", "a/b/car", "car", false, Place::Value("e", "t")),
        ] {
            let found = Topic::parse(topic, &["a/b".into()]);
            assert_eq!(found, Some(Topic { key, device, version5, place }), "{topic}");
        }
        for topic in ["homie", "homie/car", "homie/car/engine", "", "/", "homie//a/b"] {
            assert_eq!(Topic::parse(topic, &[]), None, "{topic}");
        }
    }
}
