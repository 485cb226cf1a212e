//! The query string: strict, so that a misspelt parameter is not an answer to another question.

use super::error::ApiError;
use crate::codec::time;
use crate::reading::Timestamp;

const TIME: &str = "RFC 3339 such as 2026-01-31T12:00:00Z, Unix seconds, now, or relative to now such as -24h";

/// Parameters of one request.
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Takes the query string apart; every name must be one of `known`, and no value empty.
    pub(super) fn parse(query: Option<&str>, known: &[&str]) -> Result<Self, ApiError> {
        let mut params = Vec::new();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !known.contains(&&*name) {
                return Err(ApiError::unknown_parameter(&name, known));
            }
            if value.is_empty() {
                return Err(ApiError::parameter(&name, "", "a value"));
            }
            params.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(params))
    }

    /// All values of a parameter that may repeat.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect()
    }

    /// The value of a parameter that may not.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, ApiError> {
        match self.all(name)[..] {
            [] => Ok(None),
            [value] => Ok(Some(value)),
            [_, second, ..] => Err(ApiError::parameter(name, second, "it only once")),
        }
    }

    /// A number of rows from 1 to `most`.
    pub(super) fn rows(&self, name: &str, most: usize) -> Result<Option<usize>, ApiError> {
        let Some(value) = self.one(name)? else { return Ok(None) };
        match value.parse() {
            Ok(rows) if (1..=most).contains(&rows) => Ok(Some(rows)),
            _ => Err(ApiError::parameter(name, value, &format!("a number from 1 to {most}"))),
        }
    }

    /// A time.
    pub(super) fn time(&self, name: &str, now: Timestamp) -> Result<Option<Timestamp>, ApiError> {
        let Some(value) = self.one(name)? else { return Ok(None) };
        time::parse_query(value, now).map(Some).map_err(|_| ApiError::parameter(name, value, TIME))
    }
}

/// Refuses a range that holds no time.
pub(super) fn check_range(start: Timestamp, end: Timestamp) -> Result<(), ApiError> {
    if start < end {
        return Ok(());
    }
    Err(ApiError::range(format!("start ({start}) has to be before end ({end})")))
}
