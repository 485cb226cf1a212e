//! Fields that hold the time of a message where none is configured, by their names.

use super::csv::times;
use crate::codec::time::{self, Local};
use crate::reading::{EARLIEST, LATEST, Timestamp};

/// Names of such fields, the surest first; in lower case and without `_`, `-` and blanks.
const NAMES: [&str; 27] = [
    "timestamp",
    "datetime",
    "time",
    "ts",
    "timestampms",
    "tsms",
    "timestamputc",
    "timeutc",
    "utctime",
    "utc",
    "dateutc",
    "unixtime",
    "unixtimestamp",
    "epoch",
    "epochms",
    "epochtime",
    "measuredat",
    "measurementtime",
    "measuretime",
    "sampledat",
    "sampletime",
    "recordedat",
    "readingtime",
    "eventtime",
    "localtime",
    "lastseen",
    "date",
];

/// Longest name that is looked up.
const LONGEST: usize = 20;

/// How sure it is that a field of this name holds the time; the smaller, the surer. `None` for other names.
pub fn rank(name: &str) -> Option<usize> {
    if !(2..=LONGEST).contains(&name.len()) {
        return None;
    }
    // Nearly all names end here.
    if !matches!(name.as_bytes()[0] | 0x20, b't' | b'd' | b'u' | b'e' | b'm' | b's' | b'r' | b'l') {
        return None;
    }
    let mut squeezed = [0; LONGEST];
    let mut len = 0;
    for b in name.bytes().filter(|b| !matches!(b, b'_' | b'-' | b' ')) {
        squeezed[len] = b.to_ascii_lowercase();
        len += 1;
    }
    NAMES.iter().position(|known| known.as_bytes() == &squeezed[..len])
}

/// Whether the field of this rank is a date, which may have the time of day beside it.
pub fn is_date(rank: usize) -> bool {
    NAMES[rank] == "date"
}

/// What a field with such a name holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// A time.
    At(Timestamp),
    /// The sender says that it has none: 0.
    Nothing,
    /// Something else: a number that is a value, or a text that is no time.
    Other,
}

/// A number: a time where it is one of the years 2015 to 2100, since seconds since a start or hours of a day go by the
/// same names.
pub fn of_number(text: &str) -> Told {
    match time::parse_number(text) {
        Some(Timestamp(0)) => Told::Nothing,
        Some(at) if (EARLIEST..=LATEST).contains(&at) => Told::At(at),
        _ => Told::Other,
    }
}

/// A text: a number as above, or a date with a time of day, also as tables have it; a zone that the name says counts.
pub fn of_text(rank: usize, text: &str, local: Local) -> Told {
    if super::scalar::is_number(text.trim()) {
        return of_number(text.trim());
    }
    let local = if NAMES[rank].contains("utc") { Local::UTC } else { local };
    match times::parse(text, local) {
        // A date alone is none: of an installation, or beside the time of day.
        Some(at) if text.trim().len() > 10 => Told::At(at),
        _ => Told::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_however_they_are_written() {
        for (name, sure) in [("timestamp", 0), ("Timestamp", 0), ("time_stamp", 0), ("timeStamp", 0), ("Time", 2)] {
            assert_eq!(rank(name), Some(sure), "{name}");
        }
        for name in ["last_seen", "lastSeen", "unix_time", "measured-at", "epoch_ms", "date"] {
            assert!(rank(name).is_some(), "{name}");
        }
        for name in ["t", "temperature", "uptime", "time_on", "timeout", "update", "runtime", "times", ""] {
            assert_eq!(rank(name), None, "{name}");
        }
    }

    #[test]
    fn only_plausible_values_are_times() {
        let at = Told::At(Timestamp(1_760_000_000_000_000));
        for text in ["1760000000", "1760000000000", "1.76e9"] {
            assert_eq!(of_number(text), at, "{text}");
        }
        for text in ["12.5", "123456", "99999999999", "-1760000000"] {
            assert_eq!(of_number(text), Told::Other, "{text}");
        }
        assert_eq!(of_number("0"), Told::Nothing);
        for text in ["2025-10-09T08:53:20Z", "2025-10-09 08:53:20", "9.10.2025 08:53:20", " 1760000000 "] {
            assert_eq!(of_text(0, text, Local::UTC), at, "{text}");
        }
        for text in ["08:53:20", "2025-10-09", "never", "12"] {
            assert_eq!(of_text(0, text, Local::UTC), Told::Other, "{text}");
        }
        let berlin = Local::of(crate::zone::Tz::Europe__Berlin);
        let utc = rank("time_utc").unwrap();
        assert_eq!(of_text(utc, "2025-10-09 08:53:20", berlin), at);
        assert_eq!(of_text(0, "2025-10-09 10:53:20", berlin), at);
    }
}
