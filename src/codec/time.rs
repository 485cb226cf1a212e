//! Times as senders and people write them.
//!
//! Numbers are Unix times, and their magnitude tells the unit: below 1e11 seconds (up to the year 5138), below 1e14
//! milliseconds (from 1973 on), below 1e17 microseconds (from 1973 on), from there nanoseconds; the same with a sign.
//! They are read from their decimal text in integers: `1760000000.123456` is exact, and what is finer than a microsecond
//! is cut towards the past.
//!
//! Texts are numbers, or `2025-10-09T08:53:20` with `T`, `t` or a blank in the middle, an optional fraction, and a zone:
//! `Z`, `+02:00`, `+0200` or `+02`. A text without a zone is a [`Local`] time: of the sender's zone where a node sends it,
//! of UTC in a question. A leap second is the second after it.
//!
//! Every time lies in the years 0000 to 9999; others are no times.

use chrono::{NaiveDate, TimeDelta};

use crate::reading::Timestamp;
use crate::zone::{self, Tz};

/// How a text without a zone is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// Whose clocks it was read from.
    pub zone: Tz,
    /// When it was heard, by a clock that can be trusted: tells which of two is meant where clocks are set back
    /// ([`zone::instant_heard`]). Without it the first is.
    pub arrival: Option<Timestamp>,
}

impl Local {
    /// As UTC.
    pub const UTC: Self = Self { zone: Tz::UTC, arrival: None };

    /// As the clocks of `zone` show it at any time.
    pub const fn of(zone: Tz) -> Self {
        Self { zone, arrival: None }
    }
}

/// What a time in a message may look like, for events and errors.
pub const EXPECTED: &str = "a Unix time in s, ms, us or ns, or a text such as 2025-10-09T08:53:20Z";

/// 0000-01-01T00:00:00Z.
const EARLIEST: i64 = -62_167_219_200_000_000;
/// 9999-12-31T23:59:59.999999Z.
const LATEST: i64 = 253_402_300_799_999_999;

/// Longest piece of a bad time that an error shows, in characters.
const SHOWN: usize = 40;

/// A time within the years that RFC 3339 can write.
fn within(micros: i64) -> Option<Timestamp> {
    (EARLIEST..=LATEST).contains(&micros).then_some(Timestamp(micros))
}

/// A Unix time whose magnitude tells its unit; `None` outside of the years 0000 to 9999.
pub fn from_integer(number: i64) -> Option<Timestamp> {
    within(match number.unsigned_abs() {
        0..100_000_000_000 => number * 1_000_000,
        100_000_000_000..100_000_000_000_000 => number * 1_000,
        100_000_000_000_000..100_000_000_000_000_000 => number,
        _ => number.div_euclid(1_000),
    })
}

/// A decimal number such as `1760000000`, `-1.5` or `1.76e9` as a Unix time whose magnitude tells its unit; `None` for
/// what is not such a number, and outside of the years 0000 to 9999.
pub fn parse_number(text: &str) -> Option<Timestamp> {
    let decimal = Decimal::parse(text)?;
    let shift = match decimal.whole_digits {
        ..=11 => 6,
        12..=14 => 3,
        15..=17 => 0,
        _ => -3,
    };
    within(decimal.floor_shifted(shift)?)
}

/// A decimal number, digit by digit: 0.`significant` times ten to the power of `whole_digits`.
struct Decimal<'a> {
    negative: bool,
    /// Digits from the first that is not zero, with at most one decimal point among them; empty for zero.
    significant: &'a [u8],
    /// Digits before the decimal point once the exponent is applied; negative where zeros follow the point.
    whole_digits: i64,
}

impl<'a> Decimal<'a> {
    /// Reads `[+-]digits[.digits][e[+-]digits]`.
    fn parse(text: &'a str) -> Option<Self> {
        let (negative, text) = sign(text.as_bytes());
        let (mantissa, exponent) = match text.iter().position(|b| matches!(b, b'e' | b'E')) {
            Some(at) => (&text[..at], parse_exponent(&text[at + 1..])?),
            None => (text, 0),
        };
        let point = mantissa.iter().position(|&b| b == b'.');
        let (whole, fraction) = match point {
            Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
            None => (mantissa, &[b'0'][..]),
        };
        let all_digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
        if !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let start = mantissa.iter().position(|b| matches!(b, b'1'..=b'9')).unwrap_or(mantissa.len());
        let (start, point) = (i64::try_from(start).ok()?, i64::try_from(point.unwrap_or(mantissa.len())).ok()?);
        // Behind the point the point itself is between it and the digit.
        let before = if start < point { point - start } else { point + 1 - start };
        let significant = &mantissa[usize::try_from(start).ok()?..];
        let whole_digits = if significant.is_empty() { 0 } else { before.saturating_add(exponent) };
        Some(Self { negative, significant, whole_digits })
    }

    /// The number times ten to the power of `shift`, rounded towards the past; `None` where it has more than 18 digits.
    fn floor_shifted(&self, shift: i64) -> Option<i64> {
        let wanted = self.whole_digits.saturating_add(shift);
        if wanted > 18 && !self.significant.is_empty() {
            return None;
        }
        let mut digits = self.significant.iter().filter(|&&b| b != b'.').map(|b| i64::from(b - b'0'));
        let mut value = 0;
        for _ in 0..wanted {
            value = value * 10 + digits.next().unwrap_or(0);
        }
        let cut = digits.any(|digit| digit != 0);
        Some(if self.negative { -value - i64::from(cut) } else { value })
    }
}

/// Whether a number is negative, and what follows its sign.
fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    }
}

/// The digits behind `e`; exponents beyond all times are cut to one that is beyond all times too.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    const BEYOND: i64 = 1 << 40;
    let (negative, digits) = sign(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0, |value, b| (value * 10 + i64::from(b - b'0')).min(BEYOND));
    Some(if negative { -value } else { value })
}

/// A time from text: a number as in [`parse_number`], or a date with a time of day, without a zone that of `local`. Blanks
/// around it are ignored.
pub fn parse_text(text: &str, local: Local) -> Option<Timestamp> {
    let text = text.trim_ascii();
    parse_number(text).or_else(|| parse_date(text, local))
}

/// `YYYY-MM-DD`, `T` or a blank, `HH:MM:SS`, an optional fraction, and an optional zone.
fn parse_date(text: &str, local: Local) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let (date_time, mut rest) = bytes.split_at_checked(19)?;
    let number = |at: usize, len: usize| digits(&date_time[at..at + len]);
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(at, b)| date_time[at] != b) || !matches!(date_time[10], b'T' | b't' | b' ') {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(i32::try_from(number(0, 4)?).ok()?, number(5, 2)?, number(8, 2)?)?;
    let second = number(17, 2)?;
    let leap = u32::from(second == 60);
    let time = date.and_hms_opt(number(11, 2)?, number(14, 2)?, second - leap)?;

    let mut micros = 0;
    if let [b'.' | b',', fraction @ ..] = rest {
        let len = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        if len == 0 {
            return None;
        }
        micros = (0..6).fold(0, |m, at| m * 10 + if at < len { i64::from(fraction[at] - b'0') } else { 0 });
        rest = &fraction[len..];
    }
    let whole = if rest.is_empty() {
        match local.arrival {
            Some(arrival) => zone::instant_heard(time, local.zone, arrival),
            None => zone::instant_of(time, local.zone),
        }
    } else {
        Timestamp::from_secs(time.and_utc().timestamp() - parse_zone(rest)?)
    };
    within(whole.micros() + i64::from(leap) * 1_000_000 + micros)
}

/// Seconds that a zone is ahead of UTC.
fn parse_zone(zone: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match zone {
        [b'Z' | b'z'] => return Some(0),
        [sign, hours @ ..] if hours.len() == 2 => (sign, hours, &b"00"[..]),
        [sign, rest @ ..] if rest.len() == 4 => (sign, &rest[..2], &rest[2..]),
        [sign, rest @ ..] if rest.len() == 5 && rest[2] == b':' => (sign, &rest[..2], &rest[3..]),
        _ => return None,
    };
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let ahead = i64::from(hours * 3_600 + minutes * 60);
    match sign {
        b'+' => Some(ahead),
        b'-' => Some(-ahead),
        _ => None,
    }
}

/// A number of at most nine digits and nothing else.
fn digits(text: &[u8]) -> Option<u32> {
    let all = (1..=9).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    all.then(|| text.iter().fold(0, |n, b| n * 10 + u32::from(b - b'0')))
}

/// A time in a question that is none. The text names it, and what is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a time: expected RFC 3339 such as 2025-10-09T08:53:20Z, Unix seconds such as 1760000000 or \
     1760000000.5, a time back from now such as -24h (units s, m, h, d, w), or now"
)]
pub struct NotATime(String);

/// A time in a question: what [`parse_text`] takes, as UTC where it has no zone; `now`, or a time back from `now` such as `-24h` (`s`, `m`, `h`, `d`,
/// `w`).
///
/// # Errors
/// When it is none of these, or outside of the years 0000 to 9999.
pub fn parse_query(text: &str, now: Timestamp) -> Result<Timestamp, NotATime> {
    let trimmed = text.trim_ascii();
    let found = match trimmed {
        "now" => Some(now),
        _ => parse_back(trimmed, now)
            .or_else(|| parse_text(trimmed, Local::UTC))
            .or_else(|| parse_unescaped_plus(trimmed)),
    };
    found.ok_or_else(|| NotATime(text.chars().take(SHOWN).map(|c| if c.is_control() { '?' } else { c }).collect()))
}

/// `-24h`: a whole number of one unit before `now`.
fn parse_back(text: &str, now: Timestamp) -> Option<Timestamp> {
    let [b'-', number @ .., unit] = text.as_bytes() else { return None };
    let number = i64::from(digits(number)?);
    let back = match unit {
        b's' => TimeDelta::try_seconds(number),
        b'm' => TimeDelta::try_minutes(number),
        b'h' => TimeDelta::try_hours(number),
        b'd' => TimeDelta::try_days(number),
        b'w' => TimeDelta::try_weeks(number),
        _ => None,
    };
    within(now.micros().checked_sub(back?.num_microseconds()?)?)
}

/// `2025-10-09T10:53:20 02:00`: an unescaped `+` in the query of a URL arrives as a blank.
fn parse_unescaped_plus(text: &str) -> Option<Timestamp> {
    let (date_time, zone) = text.rsplit_once(' ')?;
    // A shorter head is a date, and the blank stands before the time of day.
    if date_time.len() < 19 { None } else { parse_date(&format!("{date_time}+{zone}"), Local::UTC) }
}

#[cfg(test)]
mod tests;
