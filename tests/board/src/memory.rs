//! What the daemon takes of the board, as the board's kernel counts it.

use anyhow::Context;

use crate::machine::Machine;

/// The daemon's use of the board at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Anonymous memory, bytes.
    pub anonymous: u64,
    /// Resident memory, mapped pages of the program included, bytes.
    pub resident: u64,
    /// The most resident memory since the process began, bytes.
    pub resident_peak: u64,
    /// Processor time since it began, in milliseconds.
    pub processor: u64,
    /// What it had written to the card since it began, bytes.
    pub written: u64,
    /// The board's time since its start, in milliseconds.
    pub uptime: u64,
}

impl Usage {
    /// Of the daemon that runs.
    pub fn of(board: &Machine) -> anyhow::Result<Self> {
        let text = board.run(
            "p=$(systemctl show -P MainPID gadwall); cat /proc/$p/status /proc/$p/io; \
             sed 's/.*) //; s/^/stat: /' /proc/$p/stat; sed 's/^/uptime: /' /proc/uptime",
        )?;
        let words = |key: &str| -> anyhow::Result<Vec<&str>> {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            Ok(line.with_context(|| format!("{key} of /proc"))?.split_whitespace().collect())
        };
        let first = |key: &str| -> anyhow::Result<u64> { Ok(words(key)?.first().context("a number")?.parse()?) };
        // Fields 14 and 15 of the whole line, in hundredths of a second.
        let stat = words("stat")?;
        let ticks: u64 =
            stat.get(11).context("utime")?.parse::<u64>()? + stat.get(12).context("stime")?.parse::<u64>()?;
        let uptime: f64 = words("uptime")?.first().context("uptime")?.parse()?;
        Ok(Self {
            anonymous: first("RssAnon")? * 1024,
            resident: first("VmRSS")? * 1024,
            resident_peak: first("VmHWM")? * 1024,
            processor: ticks * 10,
            written: first("write_bytes")?,
            uptime: (uptime * 1000.0) as u64,
        })
    }
}

/// Bytes as people read them.
pub fn mb(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
