//! The kinds of values: how each is written, and what is said about one that is not.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::{GB, GIB, KB, KIB, MB, MIB, TB, TIB};

use super::raw::Entry;
use crate::codec::serial::crc::Checksum;
use crate::codec::serial::layout::Layout;
use crate::codec::serial::{hex, protocol};

/// Longest path in bytes, as Linux has it.
const MAX_PATH: usize = 4095;

/// Longest name of a source in bytes; the same limit holds for the names of nodes and metrics.
const MAX_NAME: usize = 128;

/// Longest dotted path of a field in bytes.
const MAX_FIELD: usize = 256;

/// Text of 1 to `max` bytes without control characters.
pub(super) fn text(max: usize) -> impl Fn(&Entry<'_>) -> Result<String, String> {
    move |entry| match entry.text() {
        Some(text) if is_plain(text, max) => Ok(text.to_owned()),
        _ => Err(format!("expected text of 1 to {max} bytes without control characters")),
    }
}

/// Name of a source: it is part of addresses such as `source/node`.
pub(super) fn name(entry: &Entry<'_>) -> Result<String, String> {
    match entry.text() {
        Some(text) if is_plain(text, MAX_NAME) && !text.contains('/') => Ok(text.to_owned()),
        _ => Err(format!("expected a name of 1 to {MAX_NAME} bytes without control characters and without \"/\"")),
    }
}

/// Dotted path of a field in a JSON object.
pub(super) fn field(entry: &Entry<'_>) -> Result<String, String> {
    match entry.text() {
        Some(text) if is_plain(text, MAX_FIELD) && text.split('.').all(|part| !part.is_empty()) => Ok(text.to_owned()),
        _ => Err("expected the name of a field, or a dotted path to it, such as \"data.time\"".to_owned()),
    }
}

/// One of several words.
pub(super) fn choice<T: Copy>(choices: &[(&str, T)]) -> impl Fn(&Entry<'_>) -> Result<T, String> {
    move |entry| {
        let chosen = entry.text().and_then(|text| choices.iter().find(|(word, _)| *word == text));
        chosen.map(|(_, value)| *value).ok_or_else(|| format!("expected {}", any_of(choices)))
    }
}

/// One of several formats.
pub(super) fn format<T: Copy>(choices: &[(&str, T)]) -> impl Fn(&Entry<'_>) -> Result<T, String> {
    move |entry| choice(choices)(entry).map_err(|expected| format!("unknown format, {expected}"))
}

/// `None` for the word that says there is no limit, else what `kind` reads.
pub(super) fn unless<T>(
    word: &'static str,
    kind: impl Fn(&Entry<'_>) -> Result<T, String>,
) -> impl Fn(&Entry<'_>) -> Result<Option<T>, String> {
    move |entry| match entry.text() {
        Some(text) if text == word => Ok(None),
        _ => kind(entry).map(Some).map_err(|expected| format!("{expected}, or \"{word}\"")),
    }
}

/// A whole number in a range that fits `T`.
pub(super) fn whole<T: TryFrom<u64>>(range: RangeInclusive<u64>) -> impl Fn(&Entry<'_>) -> Result<T, String> {
    move |entry| {
        let number = entry.whole().filter(|number| range.contains(number)).and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| format!("expected a whole number from {} to {}", range.start(), range.end()))
    }
}

/// A number, whole or not.
pub(super) fn number(entry: &Entry<'_>) -> Result<f64, String> {
    entry.number().filter(|number| number.is_finite()).ok_or_else(|| "expected a number".to_owned())
}

/// `true` or `false`.
pub(super) fn flag(entry: &Entry<'_>) -> Result<bool, String> {
    entry.flag().ok_or_else(|| "expected true or false".to_owned())
}

/// What is expected where there is no layout.
pub(super) const LAYOUT: &str = "expected the fields of the payload, such as \"u16 node, i16 temperature * 0.01 degC\"";

/// A binary layout.
pub(super) fn layout(entry: &Entry<'_>) -> Result<Layout, String> {
    Layout::parse(entry.text().ok_or(LAYOUT)?).map_err(|error| error.to_string())
}

/// A checksum by its name.
pub(super) fn crc(entry: &Entry<'_>) -> Result<Checksum, String> {
    entry.text().and_then(Checksum::named).ok_or_else(|| format!("unknown checksum, {}", protocol::EXPECTED_CRC))
}

/// Bytes in hex digits, as many as a frame may begin with.
pub(super) fn sync(entry: &Entry<'_>) -> Result<Vec<u8>, String> {
    let bytes = entry.text().and_then(hex::parse).filter(|bytes| (1..=protocol::MAX_SYNC).contains(&bytes.len()));
    bytes.ok_or_else(|| protocol::EXPECTED_SYNC.to_owned())
}

/// What stands between columns.
pub(super) fn separator(entry: &Entry<'_>) -> Result<u8, String> {
    entry.text().and_then(protocol::separator).ok_or_else(|| protocol::EXPECTED_SEPARATOR.to_owned())
}

/// Names of columns, each once.
pub(super) fn columns(entry: &Entry<'_>) -> Result<Vec<String>, String> {
    let names = entry.list().and_then(|names| protocol::columns(&names));
    names.ok_or_else(|| protocol::EXPECTED_COLUMNS.to_owned())
}

/// A duration in a range, written with its unit. `example` is shown to who left out the unit.
pub(super) fn duration(
    range: RangeInclusive<Duration>,
    example: Duration,
) -> impl Fn(&Entry<'_>) -> Result<Duration, String> {
    move |entry| match entry.text().and_then(parse_duration) {
        Some(duration) if range.contains(&duration) => Ok(duration),
        Some(_) => {
            let (min, max) = (show_duration(*range.start()), show_duration(*range.end()));
            Err(format!("expected a duration from \"{min}\" to \"{max}\""))
        }
        None => Err(format!("expected a duration with its unit, such as \"{}\"", show_duration(example))),
    }
}

/// A number of bytes in a range that fits `T`, written with its unit. `example` is shown to who left out the unit.
pub(super) fn size<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
    example: u64,
) -> impl Fn(&Entry<'_>) -> Result<T, String> {
    move |entry| {
        let Some(size) = entry.text().and_then(parse_size) else {
            return Err(format!("expected a size with its unit, such as \"{}\"", show_size(example)));
        };
        let fitting = Some(size).filter(|size| range.contains(size)).and_then(|size| T::try_from(size).ok());
        fitting.ok_or_else(|| {
            format!("expected a size from \"{}\" to \"{}\"", show_size(*range.start()), show_size(*range.end()))
        })
    }
}

/// A path, resolved.
pub(super) fn path(entry: &Entry<'_>) -> Result<PathBuf, String> {
    match entry.text() {
        Some(text) if is_plain(text, MAX_PATH) => Ok(entry.base().join(text)),
        _ => Err("expected a path".to_owned()),
    }
}

/// A path, or `credential:NAME`, resolved.
pub(super) fn secret_path(entry: &Entry<'_>) -> Result<PathBuf, String> {
    let Some(name) = entry.text().and_then(|text| text.strip_prefix("credential:")) else {
        return path(entry).map_err(|expected| format!("{expected}, or \"credential:NAME\""));
    };
    // systemd allows a file's name and nothing else.
    if !is_plain(name, 255) || name.contains('/') || name == "." || name == ".." {
        return Err("expected the name of a systemd credential after \"credential:\"".to_owned());
    }
    match entry.credentials() {
        Some(folder) => Ok(folder.join(name)),
        None => {
            Err("CREDENTIALS_DIRECTORY is not set, expected systemd to set it for the service (LoadCredential=)"
                .to_owned())
        }
    }
}

fn is_plain(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn any_of<T>(choices: &[(&str, T)]) -> String {
    let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// Reads `5s` or `1h 30m`. Numbers of over nine digits and texts of over 64 bytes are refused: no sensible duration needs
/// them, and so the sum cannot leave the range of [`Duration`], where the parser would panic.
fn parse_duration(text: &str) -> Option<Duration> {
    let longest = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
    if text.len() > 64 || longest > Some(9) {
        return None;
    }
    humantime::parse_duration(text).ok()
}

/// Reads `24MB` or `64KiB`; a number without a unit is refused.
fn parse_size(text: &str) -> Option<u64> {
    if !text.ends_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    text.parse::<bytesize::ByteSize>().ok().map(|size| size.as_u64())
}

/// In the largest unit that divides it.
fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    match units.iter().find(|(_, unit)| millis > 0 && millis.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    }
}

/// In the largest unit that divides it.
pub(super) fn show_size(bytes: u64) -> String {
    let units =
        [("TiB", TIB), ("TB", TB), ("GiB", GIB), ("GB", GB), ("MiB", MIB), ("MB", MB), ("KiB", KIB), ("KB", KB)];
    match units.iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("5s"), Some(Duration::from_secs(5)));
        assert_eq!(parse_duration("1h 30m"), Some(Duration::from_secs(5_400)));
        assert_eq!(parse_duration("100ms"), Some(Duration::from_millis(100)));
        assert_eq!(parse_duration("1.5s"), Some(Duration::from_millis(1_500)));
        for wrong in ["", "5", "5 5", "s", "-5s", "5x", "five s", "1e3s"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_duration_at_the_end_of_the_range_is_refused_without_a_panic() {
        assert_eq!(parse_duration("18446744073709551615s 1000ms"), None);
        assert_eq!(parse_duration("18446744073709551615s 1000000000ns"), None);
        assert_eq!(parse_duration(&"1s".repeat(33)), None);
        assert_eq!(parse_duration("999999999y"), Some(Duration::from_secs(999_999_999 * 31_557_600)));
    }

    #[test]
    fn sizes_need_a_unit() {
        assert_eq!(parse_size("24MB"), Some(24_000_000));
        assert_eq!(parse_size("64KiB"), Some(65_536));
        assert_eq!(parse_size("1.5 GB"), Some(1_500_000_000));
        assert_eq!(parse_size("512B"), Some(512));
        for wrong in ["", "24", "MB", "-1MB", "24XB", "NaNMB", "1e3MB"] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
        assert_eq!(parse_size("99999999999999999999GB"), Some(u64::MAX));
    }

    #[test]
    fn values_are_shown_in_the_largest_unit_that_divides_them() {
        let durations =
            [(86_400_000, "1d"), (3_600_000, "1h"), (60_000, "1m"), (90_000, "90s"), (100, "100ms"), (0, "0ms")];
        for (millis, shown) in durations {
            assert_eq!(show_duration(Duration::from_millis(millis)), shown);
        }
        let sizes = [
            (2 * TB, "2TB"),
            (4 * GB, "4GB"),
            (24 * MB, "24MB"),
            (16 * MIB, "16MiB"),
            (262_144, "256KiB"),
            (1_001, "1001B"),
            (0, "0B"),
        ];
        for (bytes, shown) in sizes {
            assert_eq!(show_size(bytes), shown);
        }
    }
}
