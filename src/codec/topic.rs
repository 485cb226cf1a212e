//! Topic patterns: `zigbee2mqtt/{node}` becomes the filter `zigbee2mqtt/+`, and what stands at `{node}` the node's name.

/// A compiled topic pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {}
