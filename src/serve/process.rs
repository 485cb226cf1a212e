//! What the kernel says about this process.

use std::fs;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::reading::Timestamp;

const DAY: i64 = 24 * 3600 * 1_000_000;

/// Memory of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Memory {
    /// Everything resident, mapped files included.
    pub(super) rss_bytes: Option<u64>,
    /// What no file backs.
    pub(super) anon_bytes: Option<u64>,
}

impl Memory {
    /// As it is now; `None` where the kernel does not say.
    pub(super) fn now() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/status").unwrap_or_default())
    }

    fn parse(status: &str) -> Self {
        let kilobytes = |name: &str| -> Option<u64> {
            let rest = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
            rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
        };
        Self { rss_bytes: kilobytes("VmRSS"), anon_bytes: kilobytes("RssAnon") }
    }
}

/// Bytes that the process caused to be written to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct WrittenBytes {
    /// Since the start.
    pub(super) bytes: Option<u64>,
    /// Since midnight UTC, or since the start where that is later.
    pub(super) today_bytes: Option<u64>,
}

/// Remembers what was written before today. It has to be asked soon after midnight, see [`super::listen::run`].
#[derive(Debug, Default)]
pub(super) struct Written(Mutex<Option<(i64, u64)>>);

impl Written {
    /// What the kernel has counted.
    pub(super) fn now(&self, now: Timestamp) -> WrittenBytes {
        let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
        let bytes = io.lines().find_map(|l| l.strip_prefix("write_bytes:")?.trim().parse().ok());
        WrittenBytes { bytes, today_bytes: bytes.map(|bytes| self.today(now, bytes)) }
    }

    fn today(&self, now: Timestamp, bytes: u64) -> u64 {
        let day = now.micros().div_euclid(DAY);
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *begun {
            Some((of, before)) if of == day => bytes.saturating_sub(before),
            // A clock that is set back to an earlier day counts from there as well.
            Some(_) => {
                *begun = Some((day, bytes));
                0
            }
            None => {
                *begun = Some((day, 0));
                bytes
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_kernels_text() {
        let status = "Name:\tgadwall\nVmRSS:\t   41236 kB\nRssAnon:\t   12000 kB\nRssFile:\t 1 kB\n";
        assert_eq!(Memory::parse(status), Memory { rss_bytes: Some(42_225_664), anon_bytes: Some(12_288_000) });
        assert_eq!(Memory::parse(""), Memory::default());
        assert!(Memory::now().rss_bytes.is_some_and(|b| b > 100_000));
    }

    #[test]
    fn today_begins_at_midnight_or_at_the_start() {
        let written = Written::default();
        assert_eq!(written.today(Timestamp(DAY + 5), 100), 100);
        assert_eq!(written.today(Timestamp(2 * DAY - 1), 250), 250);
        assert_eq!(written.today(Timestamp(2 * DAY), 260), 0);
        assert_eq!(written.today(Timestamp(2 * DAY + 7), 300), 40);
    }
}
