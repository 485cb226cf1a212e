//! The other way: what a device with this layout sends.

use std::collections::HashMap;

use super::{Constant, Field, Kind, Layout, Order, Usage};
use crate::reading::Timestamp;

impl Layout {
    /// A payload with these values by their metrics, in the units of the readings. What is missing is sent as not
    /// available, or else as 0; the optional tails are sent as far as there are values for them.
    ///
    /// # Errors
    /// A text that names the field whose value does not fit.
    pub fn encode(
        &self,
        node: Option<&str>,
        time: Option<Timestamp>,
        values: &HashMap<&str, f64>,
    ) -> Result<Vec<u8>, String> {
        let wanted = |field: &&Field| match &field.usage {
            Usage::Value { term, .. } => values.contains_key(&*term.metric),
            Usage::Node { .. } => node.is_some(),
            Usage::Time { .. } => time.is_some(),
            Usage::Expected(_) => false,
        };
        let level = self.fields.iter().filter(wanted).map(|field| field.level).max().unwrap_or(0);
        let mut payload = vec![0; self.ends[level]];
        for field in self.fields.iter().filter(|field| field.level <= level) {
            field.put(&mut payload, node, time, values)?;
        }
        Ok(payload)
    }
}

impl Field {
    fn put(
        &self,
        payload: &mut [u8],
        node: Option<&str>,
        time: Option<Timestamp>,
        values: &HashMap<&str, f64>,
    ) -> Result<(), String> {
        let absent = self.na.first().copied().unwrap_or(Constant::Integer(0));
        let (field, number) = match &self.usage {
            Usage::Expected(constant) => ("the constant", *constant),
            Usage::Node { hex } => {
                let id = node.map(|node| i128::from_str_radix(node, if *hex { 16 } else { 10 }));
                let id = id.transpose().map_err(|e| format!("the node is no number: {e}"))?;
                ("the node", id.map_or(absent, Constant::Integer))
            }
            Usage::Time { micros, name } => {
                let at = time.map(|ts| i128::from(ts.micros()).div_euclid(*micros));
                (*name, at.map_or(absent, Constant::Integer))
            }
            Usage::Value { term, scale } => {
                let value = values.get(&*term.metric);
                let raw = value.map(|value| Constant::Float(scale.back((value - term.offset) / term.factor)));
                (&*term.metric, raw.unwrap_or(absent))
            }
        };
        self.write(payload, number).ok_or_else(|| format!("`{field}` does not fit: {number}"))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "checked, or a float's own rounding"
    )]
    fn write(&self, payload: &mut [u8], number: Constant) -> Option<()> {
        let float = match number {
            Constant::Float(value) => value,
            Constant::Integer(n) => n as f64,
        };
        let (len, width, shift) = match (self.kind, self.bits) {
            (Kind::Single, _) => return self.or(payload, u64::from((float as f32).to_bits())),
            (Kind::Double, _) => return self.or(payload, float.to_bits()),
            (Kind::Unsigned(len) | Kind::Signed(len), None) => (len, 8 * len as u32, 0),
            (Kind::Unsigned(len) | Kind::Signed(len), Some((shift, width))) => (len, width, shift),
        };
        let whole = match number {
            Constant::Integer(n) => n,
            Constant::Float(value) if value.is_finite() && value.abs() < 1e30 => value.round() as i128,
            Constant::Float(_) => return None,
        };
        let all = (1_i128 << width) - 1;
        // Constants in hex mean the bits.
        let hex = matches!(number, Constant::Integer(n) if n >= 0);
        let (least, most) = match self.kind {
            Kind::Signed(_) => (-(1_i128 << (width - 1)), if hex { all } else { (1_i128 << (width - 1)) - 1 }),
            _ => (0, all),
        };
        // 2^64 is what the largest integer of 64 bits becomes as a float.
        let whole = if matches!(number, Constant::Float(_)) && len == 8 && whole == most + 1 { most } else { whole };
        if whole < least || whole > most {
            return None;
        }
        self.or(payload, u64::try_from(whole & all).ok()? << shift)
    }

    fn or(&self, payload: &mut [u8], bits: u64) -> Option<()> {
        let len = self.kind.len();
        let place = payload.get_mut(self.at..self.at + len)?;
        for (at, byte) in bits.to_le_bytes()[..len].iter().enumerate() {
            place[if self.order == Order::Little { at } else { len - 1 - at }] |= byte;
        }
        Some(())
    }
}
