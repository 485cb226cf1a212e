//! One MessagePack item after the other, with the offset of what is wrong.

use rmp::Marker;
use rmp::decode;

use crate::codec::payload::scalar::of_f32;
use crate::reading::Timestamp;

/// Where bytes are not MessagePack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fault {
    pub offset: usize,
    pub expected: &'static str,
}

/// One item; maps and arrays come as their length, their elements follow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Item<'a> {
    Nil,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(&'a str),
    /// Binary data, an extension, or text that is not UTF-8.
    Opaque,
    /// A timestamp extension.
    Time(Timestamp),
    Array(u32),
    Map(u32),
}

/// Reads items from a message.
pub(super) struct Reader<'a> {
    len: usize,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { len: bytes.len(), rest: bytes }
    }

    /// Where the next item begins.
    pub fn offset(&self) -> usize {
        self.len - self.rest.len()
    }

    /// Nothing is left.
    pub fn end(&self) -> Result<(), Fault> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Fault { offset: self.offset(), expected: "the end of the message" })
        }
    }

    pub fn next(&mut self) -> Result<Item<'a>, Fault> {
        let start = Fault { offset: self.offset(), expected: "a MessagePack value of the length that it tells" };
        let cut = |_| start;
        let Some(&first) = self.rest.first() else { return Err(Fault { expected: "a value", ..start }) };
        let rd = &mut self.rest;
        match Marker::from_u8(first) {
            Marker::Null => decode::read_nil(rd).map(|()| Item::Nil).map_err(cut),
            Marker::True | Marker::False => decode::read_bool(rd).map(Item::Bool).map_err(cut),
            Marker::F32 => {
                let value = decode::read_f32(rd).map_err(cut)?;
                Ok(Item::Float(of_f32(value)))
            }
            Marker::F64 => decode::read_f64(rd).map(Item::Float).map_err(cut),
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
                let len = decode::read_str_len(rd).map_err(cut)?;
                let bytes = self.take(len).ok_or(start)?;
                Ok(std::str::from_utf8(bytes).map_or(Item::Opaque, Item::Text))
            }
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => {
                let len = decode::read_bin_len(rd).map_err(cut)?;
                self.take(len).map(|_| Item::Opaque).ok_or(start)
            }
            Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
                decode::read_array_len(rd).map(Item::Array).map_err(cut)
            }
            Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => decode::read_map_len(rd).map(Item::Map).map_err(cut),
            Marker::FixExt1
            | Marker::FixExt2
            | Marker::FixExt4
            | Marker::FixExt8
            | Marker::FixExt16
            | Marker::Ext8
            | Marker::Ext16
            | Marker::Ext32 => {
                let meta = decode::read_ext_meta(rd).map_err(cut)?;
                let bytes = self.take(meta.size).ok_or(start)?;
                Ok(if meta.typeid == -1 { timestamp(bytes).map_or(Item::Opaque, Item::Time) } else { Item::Opaque })
            }
            Marker::Reserved => Err(Fault { expected: "a MessagePack value: the byte 0xc1 begins none", ..start }),
            _ => decode::read_int::<i128, _>(rd).map(Item::Integer).map_err(|_| start),
        }
    }

    fn take(&mut self, len: u32) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(usize::try_from(len).ok()?)?;
        self.rest = rest;
        Some(taken)
    }
}

/// The timestamp extension: 32 bits of seconds; 30 bits of nanoseconds and 34 of seconds; or 32 bits of nanoseconds and 64 of
/// seconds with a sign.
fn timestamp(bytes: &[u8]) -> Option<Timestamp> {
    let (seconds, nanos) = match bytes.len() {
        4 => (i64::from(u32::from_be_bytes(bytes.try_into().ok()?)), 0),
        8 => {
            let packed = u64::from_be_bytes(bytes.try_into().ok()?);
            (i64::try_from(packed & 0x3_ffff_ffff).ok()?, i64::try_from(packed >> 34).ok()?)
        }
        12 => {
            let (nanos, seconds) = bytes.split_at(4);
            (i64::from_be_bytes(seconds.try_into().ok()?), i64::from(u32::from_be_bytes(nanos.try_into().ok()?)))
        }
        _ => return None,
    };
    let micros = seconds.checked_mul(1_000_000)?.checked_add(nanos / 1_000)?;
    // The years 0000 to 9999, as for every time.
    (nanos < 1_000_000_000 && (-62_167_219_200..253_402_300_800).contains(&seconds)).then_some(Timestamp(micros))
}
