//! Topics: `spBv1.0/GROUP/TYPE/EDGE_NODE[/DEVICE]`.

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    NodeBirth,
    NodeData,
    NodeDeath,
    DeviceBirth,
    DeviceData,
    DeviceDeath,
    /// Commands and states of hosts.
    Other,
}

/// A topic, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Topic<'a> {
    pub group: &'a str,
    pub kind: Kind,
    pub edge: &'a str,
    pub device: Option<&'a str>,
}

impl<'a> Topic<'a> {
    /// `None` for what is no topic of the specification.
    pub fn parse(topic: &'a str) -> Option<Self> {
        let other = Self { group: "", kind: Kind::Other, edge: "", device: None };
        // Version 2.2 has the states of hosts outside of the namespace.
        if topic.starts_with("STATE/") {
            return Some(other);
        }
        let levels: Vec<&str> = topic.split('/').collect();
        let (&namespace, rest) = levels.split_first()?;
        if namespace != "spBv1.0" || rest.iter().any(|level| level.is_empty()) {
            return None;
        }
        let (group, kind, edge, device) = match *rest {
            ["STATE", _] => return Some(other),
            [group, kind, edge] => (group, kind, edge, None),
            [group, kind, edge, device] => (group, kind, edge, Some(device)),
            _ => return None,
        };
        let kind = match (kind, device) {
            ("NBIRTH", None) => Kind::NodeBirth,
            ("NDATA", None) => Kind::NodeData,
            ("NDEATH", None) => Kind::NodeDeath,
            ("DBIRTH", Some(_)) => Kind::DeviceBirth,
            ("DDATA", Some(_)) => Kind::DeviceData,
            ("DDEATH", Some(_)) => Kind::DeviceDeath,
            ("NCMD", None) | ("DCMD", Some(_)) => Kind::Other,
            _ => return None,
        };
        Some(Self { group, kind, edge, device })
    }
}
