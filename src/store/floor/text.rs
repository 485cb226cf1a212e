//! The text of the file that keeps the floor of time.

use crate::reading::{EARLIEST, LATEST, Timestamp};

/// Whether a floor can be believed.
pub fn sensible(floor: Timestamp) -> bool {
    (EARLIEST..=LATEST).contains(&floor)
}

/// The same time twice, for the program and for a person; where they differ the file is damaged.
pub fn show(floor: Timestamp) -> String {
    format!("{} {floor}\n", floor.micros())
}

/// The floor in a file; `None` where it is damaged in any way.
pub fn parse(text: &str) -> Option<Timestamp> {
    let floor = Timestamp(text.split(' ').next()?.parse().ok()?);
    (sensible(floor) && show(floor) == text).then_some(floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_760_000_000_123_456);

    #[test]
    fn a_damaged_file_is_ignored() {
        assert_eq!(show(NOW), "1760000000123456 2025-10-09T08:53:20.123456Z\n");
        assert_eq!(parse(&show(NOW)), Some(NOW));
        for bad in [
            "",
            "1",
            "1760000000123457 2025-10-09T08:53:20.123456Z\n",
            "4760000000123456 2120-11-02T06:13:20.123456Z\n",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse(show(NOW).trim_end()), None, "cut");
    }
}
