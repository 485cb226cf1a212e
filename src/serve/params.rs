//! The query string: strict, so that a misspelt parameter is not an answer to another question.

use std::fmt::Display;
use std::str::FromStr;

use super::error::ApiError;
use crate::codec::time;
use crate::reading::Timestamp;

const TIME: &str = "RFC 3339 such as 2026-01-31T12:00:00Z, Unix seconds, now, or relative to now such as -24h";

/// A range where no start is given: a day.
const DEFAULT_RANGE: i64 = 24 * 3600 * 1_000_000;

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

    /// All words of a parameter that may repeat, and whose values are words with commas between them.
    pub(super) fn words(&self, name: &str) -> Vec<&str> {
        self.all(name).into_iter().flat_map(|value| value.split(',')).collect()
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
        self.number(name, 1, most)
    }

    /// A number from `least` to `most`.
    pub(super) fn number(&self, name: &str, least: usize, most: usize) -> Result<Option<usize>, ApiError> {
        let Some(value) = self.one(name)? else { return Ok(None) };
        match value.parse() {
            Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(ApiError::parameter(name, value, &format!("a number from {least} to {most}"))),
        }
    }

    /// A value that is read from its text, with its own words for what was expected.
    pub(super) fn value<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(value) = self.one(name)? else { return Ok(None) };
        value.parse().map(Some).map_err(|expected: T::Err| ApiError::parameter(name, value, &expected.to_string()))
    }

    /// `true` or `false`, which is what it is where it is not said.
    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.one(name)? {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(ApiError::parameter(name, other, "true or false")),
        }
    }

    /// The range that is asked for, by default the last day before `now`.
    pub(super) fn range(&self, now: Timestamp) -> Result<(Timestamp, Timestamp), ApiError> {
        self.range_of(now, DEFAULT_RANGE)
    }

    /// The range that is asked for, by default so many microseconds up to `now`.
    pub(super) fn range_of(&self, now: Timestamp, default: i64) -> Result<(Timestamp, Timestamp), ApiError> {
        let end = self.time("end", now)?.unwrap_or(now);
        let start = self.time("start", now)?.unwrap_or(Timestamp(end.micros().saturating_sub(default)));
        check_range(start, end)?;
        Ok((start, end))
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
