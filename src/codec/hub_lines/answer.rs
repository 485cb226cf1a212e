//! The lines from the gateway to the hub.

use std::fmt;

use chrono::{Datelike, NaiveDateTime};

/// A line to the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The local time.
    Datetime(NaiveDateTime),
    /// What became of a batch.
    BatchAck {
        /// Address of the node.
        address: u16,
        /// Records that `BATCH_COMPLETE` announced.
        count: u32,
        /// 0: all of them are durable. 1: the node has to send them again.
        status: u8,
    },
}

impl fmt::Display for Answer {
    /// The line without its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Datetime(local) => {
                let weekday = local.weekday().num_days_from_sunday();
                write!(f, "DATETIME {} {weekday}", local.format("%Y-%m-%d %H:%M:%S"))
            }
            Self::BatchAck { address, count, status } => write!(f, "BATCH_ACK {address} {count} {status}"),
        }
    }
}

impl Answer {
    /// Parses a line without its end, as the hub does; `None` where it is no such line, or the day of the week is not
    /// that of the date.
    pub fn parse(line: &str) -> Option<Self> {
        if let Some(rest) = line.strip_prefix("DATETIME ") {
            let (local, weekday) = rest.rsplit_once(' ')?;
            let local = NaiveDateTime::parse_from_str(local, "%Y-%m-%d %H:%M:%S").ok()?;
            return (weekday.parse() == Ok(local.weekday().num_days_from_sunday())).then_some(Self::Datetime(local));
        }
        let mut fields = line.strip_prefix("BATCH_ACK ")?.split(' ');
        let answer = Self::BatchAck {
            address: fields.next()?.parse().ok()?,
            count: fields.next()?.parse().ok()?,
            status: fields.next()?.parse().ok()?,
        };
        fields.next().is_none().then_some(answer)
    }
}

/// `DATETIME YYYY-MM-DD HH:MM:SS W` with its `\n`; `W` is the day of the week, 0 for Sunday.
pub fn datetime_line(local: NaiveDateTime) -> String {
    format!("{}\n", Answer::Datetime(local))
}

/// `BATCH_ACK address count status` with its `\n`.
pub fn batch_ack_line(address: u16, count: u32, status: u8) -> String {
    format!("{}\n", Answer::BatchAck { address, count, status })
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;
    use proptest::prelude::*;

    use super::*;

    fn at(y: i32, m: u32, d: u32, h: u32, min: u32, s: u32) -> NaiveDateTime {
        NaiveDate::from_ymd_opt(y, m, d).unwrap().and_hms_opt(h, min, s).unwrap()
    }

    #[test]
    fn the_lines_are_exact() {
        assert_eq!(datetime_line(at(2025, 10, 12, 8, 5, 9)), "DATETIME 2025-10-12 08:05:09 0\n");
        assert_eq!(datetime_line(at(2024, 2, 29, 23, 59, 59)), "DATETIME 2024-02-29 23:59:59 4\n");
        assert_eq!(datetime_line(at(2026, 1, 3, 0, 0, 0)), "DATETIME 2026-01-03 00:00:00 6\n");
        assert_eq!(batch_ack_line(3, 2, 0), "BATCH_ACK 3 2 0\n");
        assert_eq!(batch_ack_line(u16::MAX, u32::MAX, 1), "BATCH_ACK 65535 4294967295 1\n");
    }

    #[test]
    fn what_is_no_answer_is_not_parsed() {
        for line in ["", "BATCH_ACK 3 2", "BATCH_ACK 3 2 0 1", "BATCH_ACK 70000 2 0", "DATETIME 2025-10-12 08:05:09 1"]
        {
            assert_eq!(Answer::parse(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn a_written_line_is_read_back(secs in 0_i64..7_258_118_400, address: u16, count: u32, status in 0_u8..2) {
            let local = chrono::DateTime::from_timestamp(secs, 0).unwrap().naive_utc();
            prop_assert_eq!(Answer::parse(datetime_line(local).trim_end()), Some(Answer::Datetime(local)));
            let ack = Answer::BatchAck { address, count, status };
            prop_assert_eq!(Answer::parse(batch_ack_line(address, count, status).trim_end()), Some(ack));
        }
    }
}
