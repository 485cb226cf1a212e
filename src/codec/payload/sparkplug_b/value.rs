//! Values by their data types.

use super::proto::{Value, datatype};
use crate::codec::payload::scalar::of_f32;

/// What a metric's value means.
pub(super) enum Meaning<'a> {
    Switch(bool),
    Number(f64),
    Text(&'a str),
    Nothing,
    /// An integer whose sign depends on its type, which is not known.
    Untyped,
}

/// A value of a type; `None` where the type is not known.
pub(super) fn meaning(value: Option<&Value>, datatype: Option<u32>) -> Meaning<'_> {
    let (bits, wide) = match value {
        Some(Value::Int(bits)) => (u64::from(*bits), false),
        Some(Value::Long(bits)) => (*bits, true),
        Some(Value::Float(value)) => return Meaning::Number(of_f32(*value)),
        Some(Value::Double(value)) => return Meaning::Number(*value),
        Some(Value::Boolean(value)) => return Meaning::Switch(*value),
        Some(Value::Text(text)) => {
            let is_text = matches!(datatype, None | Some(datatype::STRING | datatype::TEXT));
            return if is_text { Meaning::Text(text) } else { Meaning::Nothing };
        }
        Some(Value::Binary(_) | Value::DataSet(_) | Value::Template(_)) | None => return Meaning::Nothing,
    };
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_wrap,
        clippy::cast_possible_truncation,
        reason = "signed integers travel as the lowest bits of unsigned ones, and every number is stored as a 64-bit float"
    )]
    Meaning::Number(match datatype {
        Some(datatype::INT8) => f64::from(bits as u8 as i8),
        Some(datatype::INT16) => f64::from(bits as u16 as i16),
        Some(datatype::INT32) => f64::from(bits as u32 as i32),
        Some(datatype::INT64) => bits as i64 as f64,
        Some(
            datatype::UINT8
            | datatype::UINT16
            | datatype::UINT32
            | datatype::UINT64
            | datatype::FLOAT
            | datatype::DOUBLE,
        ) => bits as f64,
        Some(datatype::BOOLEAN) => return Meaning::Switch(bits != 0),
        Some(datatype::DATE_TIME | datatype::STRING..=datatype::TEMPLATE) => return Meaning::Nothing,
        // Where no type of up to that many bits has its sign, the number is the same with and without one.
        None if !matches!(bits, 0x80..=0xff | 0x8000..=0xffff)
            && bits <= if wide { i64::MAX as u64 } else { 0x7fff_ffff } =>
        {
            bits as f64
        }
        _ => return Meaning::Untyped,
    })
}
