//! The other way: what a device sends.

use super::super::Order;
use super::stuffing::{END, cobs_encode, slip_encode};
use super::{Counts, Covers, Framing, Prefix, Rules};

impl Rules {
    /// The bytes of a frame with this payload; `None` where there is none: an empty payload, one that the framing cannot
    /// carry (another length than the fixed one, other sync bytes, a line break or blanks at the end of a line), or a
    /// frame over the limit.
    pub fn encode(&self, payload: &[u8]) -> Option<Vec<u8>> {
        if payload.is_empty() {
            return None;
        }
        let mut frame = payload.to_vec();
        if let Framing::LengthPrefixed(prefix) = &self.framing {
            let sum = self.check.as_ref().map_or(0, |check| check.checksum.len());
            let header = prefix.sync.len() + 1 + usize::from(prefix.wide);
            let said = match prefix.counts {
                Counts::Payload => payload.len(),
                Counts::Rest => payload.len() + sum,
                Counts::Frame => header + payload.len() + sum,
            };
            frame.clone_from(&prefix.sync);
            match (prefix.wide, prefix.order) {
                (false, _) => frame.push(u8::try_from(said).ok()?),
                (true, Order::Little) => frame.extend(u16::try_from(said).ok()?.to_le_bytes()),
                (true, Order::Big) => frame.extend(u16::try_from(said).ok()?.to_be_bytes()),
            }
            frame.extend_from_slice(payload);
        }
        if let Some(check) = &self.check {
            let sync = match &self.framing {
                Framing::LengthPrefixed(Prefix { sync, .. }) | Framing::Fixed { sync, .. } => sync.len(),
                _ => 0,
            };
            let over = match check.covers {
                Covers::Payload => payload.to_vec(),
                // A payload that is shorter than its sync bytes is none.
                Covers::Length => frame.get(sync..)?.to_vec(),
                Covers::Frame => frame.clone(),
            };
            if self.framing == Framing::Lines {
                let mut sum = Vec::new();
                check.checksum.append(&over, check.order, &mut sum);
                frame.push(b'*');
                frame.extend(sum.iter().flat_map(|byte| format!("{byte:02X}").into_bytes()));
            } else {
                check.checksum.append(&over, check.order, &mut frame);
            }
        }
        let (frame, end) = match &self.framing {
            Framing::Lines => {
                if frame.contains(&b'\n') || frame.trim_ascii_end().len() != frame.len() {
                    return None;
                }
                (frame, Some(b'\n'))
            }
            Framing::Cobs => (cobs_encode(&frame), Some(0)),
            Framing::Slip => (slip_encode(&frame), Some(END)),
            Framing::Fixed { len, sync } if frame.len() != *len || !frame.starts_with(sync) => return None,
            Framing::Fixed { .. } | Framing::LengthPrefixed(_) | Framing::IdleGap => (frame, None),
        };
        if frame.len() > self.max {
            return None;
        }
        Some(frame.into_iter().chain(end).collect())
    }
}
