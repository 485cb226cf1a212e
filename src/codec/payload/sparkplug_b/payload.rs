//! A payload from the wire: protobuf, the same compressed, or the JSON of the specification's examples.

use std::io::Read as _;

use prost::Message as _;
use prost::bytes::Bytes;
use serde_json::Value as Json;

use super::proto::{self, Metric, Payload, PropertySet, PropertyValue, Value, datatype};

/// What a compressed payload may become.
pub const MAX_INFLATED: usize = 1 << 20;

/// The `uuid` of a payload whose body is another one, compressed.
const COMPRESSED: &str = "SPBV1.0_COMPRESSED";

/// Reads a payload; the error says what was expected.
pub(super) fn read(bytes: &[u8]) -> Result<Payload, String> {
    if bytes.first() == Some(&b'{') {
        return json(bytes);
    }
    let payload = protobuf(bytes)?;
    match (&payload.uuid, &payload.body) {
        (Some(uuid), Some(body)) if uuid == COMPRESSED => {
            let algorithm = payload.metrics.iter().find_map(|metric| {
                let metric = Metric::decode(metric.clone()).ok()?;
                match (metric.name.as_deref(), metric.value) {
                    (Some("algorithm"), Some(Value::Text(name))) => Some(name),
                    _ => None,
                }
            });
            let inner = protobuf(&inflate(body, algorithm.as_deref().unwrap_or("DEFLATE"))?)?;
            // The number is that of the envelope where the payload within has none.
            Ok(Payload { seq: inner.seq.or(payload.seq), timestamp: inner.timestamp.or(payload.timestamp), ..inner })
        }
        _ => Ok(payload),
    }
}

fn protobuf(bytes: &[u8]) -> Result<Payload, String> {
    Payload::decode(Bytes::copy_from_slice(bytes)).map_err(|e| format!("a Sparkplug B payload (protobuf): {e}"))
}

fn inflate(body: &[u8], algorithm: &str) -> Result<Vec<u8>, String> {
    let mut inflated = Vec::new();
    let limit = MAX_INFLATED as u64 + 1;
    let read = match algorithm {
        "GZIP" => flate2::read::GzDecoder::new(body).take(limit).read_to_end(&mut inflated),
        // Java's deflater, which Tahu uses, writes zlib.
        "DEFLATE" => flate2::read::ZlibDecoder::new(body).take(limit).read_to_end(&mut inflated),
        other => return Err(format!("the algorithm GZIP or DEFLATE: `{}`", crate::codec::leaves::shown(other))),
    };
    match read {
        Ok(len) if len <= MAX_INFLATED => Ok(inflated),
        Ok(_) => Err(format!("a payload of at most {MAX_INFLATED} bytes once it is inflated")),
        Err(e) => Err(format!("a body compressed by {algorithm}: {e}")),
    }
}

/// The rendering of the specification: `dataType` by name, `value` as it is.
fn json(bytes: &[u8]) -> Result<Payload, String> {
    let json: Json = serde_json::from_slice(bytes).map_err(|e| format!("a Sparkplug B payload as JSON: {e}"))?;
    let number = |value: &Json, key: &str| value.get(key).and_then(Json::as_u64);
    let metrics = match json.get("metrics") {
        Some(Json::Array(metrics)) => metrics.as_slice(),
        None => &[],
        Some(_) => return Err("an array in the field `metrics`".into()),
    };
    let metrics = metrics.iter().map(|metric| {
        let flag = |key: &str| metric.get(key).and_then(Json::as_bool);
        let datatype = match metric.get("dataType").or_else(|| metric.get("datatype")).or_else(|| metric.get("type")) {
            Some(Json::String(name)) => Some(datatype::of(name)),
            Some(index) => index.as_u64().and_then(|index| u32::try_from(index).ok()),
            None => None,
        };
        let properties = metric.get("properties").and_then(engineering_unit).map(|unit| PropertySet {
            keys: vec![Bytes::from_static(b"engUnit")],
            values: vec![PropertyValue { text: Some(unit) }.encode_to_vec().into()],
        });
        let value = metric.get("value").filter(|value| !value.is_null());
        Metric {
            name: metric.get("name").and_then(Json::as_str).map(str::to_owned),
            alias: number(metric, "alias"),
            timestamp: number(metric, "timestamp"),
            datatype,
            is_historical: flag("is_historical").or_else(|| flag("isHistorical")),
            is_transient: flag("is_transient").or_else(|| flag("isTransient")),
            is_null: Some(metric.get("value") == Some(&Json::Null)),
            properties,
            value: value.and_then(|value| json_value(value, datatype)),
        }
        .encode_to_vec()
        .into()
    });
    let metrics = metrics.collect();
    Ok(Payload { timestamp: number(&json, "timestamp"), metrics, seq: number(&json, "seq"), uuid: None, body: None })
}

fn engineering_unit(properties: &Json) -> Option<String> {
    let unit = properties.get("engUnit")?;
    unit.as_str().or_else(|| unit.get("value")?.as_str()).map(str::to_owned)
}

#[expect(clippy::cast_sign_loss, reason = "signed integers travel as the unsigned ones of the same bits")]
fn json_value(value: &Json, datatype: Option<u32>) -> Option<proto::Value> {
    Some(match value {
        Json::Bool(value) => Value::Boolean(*value),
        Json::String(text) => Value::Text(text.clone()),
        Json::Number(number) => match datatype {
            Some(datatype::FLOAT | datatype::DOUBLE) | None => Value::Double(number.as_f64()?),
            Some(_) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => Value::Long(value),
                (None, Some(value)) => Value::Long(value as u64),
                _ => Value::Double(number.as_f64()?),
            },
        },
        _ => return None,
    })
}

/// The payload of an NCMD that asks an edge node for its births; `at` is in milliseconds.
pub(super) fn rebirth(at: u64) -> Vec<u8> {
    let metric = Metric {
        name: Some("Node Control/Rebirth".into()),
        timestamp: Some(at),
        datatype: Some(datatype::BOOLEAN),
        value: Some(Value::Boolean(true)),
        ..Metric::default()
    };
    let metrics = vec![metric.encode_to_vec().into()];
    Payload { timestamp: Some(at), metrics, ..Payload::default() }.encode_to_vec()
}
