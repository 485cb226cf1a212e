//! Where the log goes: the journal with its priorities under systemd, plain lines on stderr elsewhere.

use std::io::IsTerminal;
use std::os::linux::fs::MetadataExt;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

/// Changes the log's level while the daemon runs.
pub type Level = reload::Handle<LevelFilter, Registry>;

/// Starts logging at `level`. Call it once.
pub fn start(level: LevelFilter) -> Level {
    let (filter, handle) = reload::Layer::new(level);
    let journal = if stderr_is_journal() { tracing_journald::layer().ok() } else { None };
    let sink: Box<dyn Layer<_> + Send + Sync> = match journal {
        Some(journal) => Box::new(journal.with_syslog_identifier("gadwall".to_owned())),
        None => Box::new(
            fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(std::io::stderr().is_terminal()),
        ),
    };
    tracing_subscriber::registry().with(filter).with(sink).init();
    handle
}

/// systemd names the device and inode of the journal's stream in `JOURNAL_STREAM`; only if stderr is that stream do the
/// lines arrive there (see systemd.exec(5)).
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Some((device, inode)) = stream.split_once(':') else { return false };
    let Ok(stderr) = std::fs::metadata("/proc/self/fd/2") else { return false };
    device.parse() == Ok(stderr.st_dev()) && inode.parse() == Ok(stderr.st_ino())
}
