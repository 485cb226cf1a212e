//! Frames whose length is known before they end.

use super::super::Order;
use super::super::resync::{Piece, Verdict};
use super::{Counts, Covers, Fault, Frame, Framing, HEAD, Rules, checked};

/// Whether a frame of known length begins here.
pub fn judge(rules: &Rules, held: &[u8]) -> Verdict<Fault> {
    let sum = rules.check.as_ref().map_or(0, |check| check.checksum.len());
    let (sync, len, header) = match &rules.framing {
        Framing::Fixed { len, sync } => (sync, *len, 0),
        Framing::LengthPrefixed(prefix) => {
            let before = prefix.sync.len();
            let header = before + 1 + usize::from(prefix.wide);
            let known = before.min(held.len());
            if held[..known] != prefix.sync[..known] {
                return Verdict::Not;
            }
            if held.len() < header {
                return Verdict::More;
            }
            let said = match (prefix.wide, prefix.order) {
                (false, _) => usize::from(held[before]),
                (true, Order::Little) => usize::from(u16::from_le_bytes([held[before], held[before + 1]])),
                (true, Order::Big) => usize::from(u16::from_be_bytes([held[before], held[before + 1]])),
            };
            let len = match prefix.counts {
                Counts::Payload => header + said + sum,
                Counts::Rest => header + said,
                Counts::Frame => said,
            };
            // A frame without a payload says nothing, and a zero is a common noise.
            if len <= header + sum {
                return Verdict::Not;
            }
            if len > rules.max {
                return Verdict::Bad(Fault::TooLong(rules.max), header);
            }
            (&prefix.sync, len, header)
        }
        _ => return Verdict::Not,
    };
    let known = sync.len().min(held.len());
    if held[..known] != sync[..known] {
        return Verdict::Not;
    }
    if held.len() < len {
        return Verdict::More;
    }
    let from = match (rules.check.as_ref().map(|check| check.covers), header) {
        (Some(Covers::Frame), _) | (Some(Covers::Payload), 0) => 0,
        (Some(Covers::Length), _) => sync.len(),
        _ => header,
    };
    match checked(rules.check.as_ref(), &held[from..len]) {
        Ok(_) => Verdict::Whole(len),
        Err(fault) => Verdict::Bad(fault, len),
    }
}

/// Tells what was found among frames of known length.
pub fn found(rules: &Rules, told: &mut bool, piece: &Piece<'_, Fault>, each: &mut impl FnMut(Frame<'_>)) {
    let (header, sync) = match &rules.framing {
        Framing::LengthPrefixed(prefix) => (prefix.sync.len() + 1 + usize::from(prefix.wide), !prefix.sync.is_empty()),
        Framing::Fixed { sync, .. } => (0, !sync.is_empty()),
        _ => (0, false),
    };
    match piece {
        Piece::Whole(frame) => {
            *told = false;
            let sum = rules.check.as_ref().map_or(0, |check| check.checksum.len());
            each(Frame::Whole(&frame[header..frame.len() - sum]));
        }
        // Without sync bytes every byte could begin a frame: one bad one for each damage is enough.
        Piece::Bad(..) if *told && !sync => {}
        Piece::Bad(reason, frame) => {
            *told = true;
            each(Frame::Bad { reason: *reason, head: &frame[..frame.len().min(HEAD)], len: frame.len() });
        }
    }
}
