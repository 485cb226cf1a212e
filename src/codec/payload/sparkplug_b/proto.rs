//! The messages of Eclipse Tahu's `sparkplug_b.proto` (proto2, package `org.eclipse.tahu.protobuf`), as far as they are read; field
//! numbers are those of that file. What is unknown is skipped.
//!
//! A repeated message stays bytes until it is its turn: a metric takes two bytes on the wire and hundreds in memory.

use prost::bytes::Bytes;

/// `Payload`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Payload {
    #[prost(uint64, optional, tag = "1")]
    pub timestamp: Option<u64>,
    /// Each a [`Metric`].
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub metrics: Vec<Bytes>,
    #[prost(uint64, optional, tag = "3")]
    pub seq: Option<u64>,
    #[prost(string, optional, tag = "4")]
    pub uuid: Option<String>,
    #[prost(bytes = "bytes", optional, tag = "5")]
    pub body: Option<Bytes>,
}

/// `Payload.Metric`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Metric {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(uint64, optional, tag = "2")]
    pub alias: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "4")]
    pub datatype: Option<u32>,
    #[prost(bool, optional, tag = "5")]
    pub is_historical: Option<bool>,
    #[prost(bool, optional, tag = "6")]
    pub is_transient: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    pub is_null: Option<bool>,
    #[prost(message, optional, tag = "9")]
    pub properties: Option<PropertySet>,
    #[prost(oneof = "Value", tags = "10, 11, 12, 13, 14, 15, 16, 17, 18")]
    pub value: Option<Value>,
}

/// `Payload.Metric.value`
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Value {
    #[prost(uint32, tag = "10")]
    Int(u32),
    #[prost(uint64, tag = "11")]
    Long(u64),
    #[prost(float, tag = "12")]
    Float(f32),
    #[prost(double, tag = "13")]
    Double(f64),
    #[prost(bool, tag = "14")]
    Boolean(bool),
    #[prost(string, tag = "15")]
    Text(String),
    #[prost(bytes = "bytes", tag = "16")]
    Binary(Bytes),
    /// A `DataSet`, which is not read.
    #[prost(bytes = "bytes", tag = "17")]
    DataSet(Bytes),
    /// A [`Template`].
    #[prost(bytes = "bytes", tag = "18")]
    Template(Bytes),
}

/// `Payload.Template`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Template {
    /// Each a [`Metric`].
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub metrics: Vec<Bytes>,
    #[prost(bool, optional, tag = "5")]
    pub is_definition: Option<bool>,
}

/// `Payload.PropertySet`
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PropertySet {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub keys: Vec<Bytes>,
    /// Each a [`PropertyValue`].
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub values: Vec<Bytes>,
}

/// `Payload.PropertyValue`, as far as it is text.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PropertyValue {
    #[prost(string, optional, tag = "8")]
    pub text: Option<String>,
}

/// Indexes of data types.
pub(super) mod datatype {
    pub const INT8: u32 = 1;
    pub const INT16: u32 = 2;
    pub const INT32: u32 = 3;
    pub const INT64: u32 = 4;
    pub const UINT8: u32 = 5;
    pub const UINT16: u32 = 6;
    pub const UINT32: u32 = 7;
    pub const UINT64: u32 = 8;
    pub const FLOAT: u32 = 9;
    pub const DOUBLE: u32 = 10;
    pub const BOOLEAN: u32 = 11;
    pub const STRING: u32 = 12;
    pub const DATE_TIME: u32 = 13;
    pub const TEXT: u32 = 14;
    pub const TEMPLATE: u32 = 19;

    /// By its name, as renderings in JSON have it.
    pub fn of(name: &str) -> u32 {
        const NAMES: [&str; 20] = [
            "Unknown", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float", "Double",
            "Boolean", "String", "DateTime", "Text", "UUID", "DataSet", "Bytes", "File", "Template",
        ];
        let at = NAMES.iter().position(|known| known.eq_ignore_ascii_case(name)).unwrap_or(0);
        u32::try_from(at).unwrap_or(0)
    }
}

impl PropertySet {
    /// The text of a property.
    pub fn text(&self, key: &str) -> Option<String> {
        use prost::Message as _;
        let at = self.keys.iter().position(|known| known.eq_ignore_ascii_case(key.as_bytes()))?;
        PropertyValue::decode(self.values.get(at)?.clone()).ok()?.text
    }
}
