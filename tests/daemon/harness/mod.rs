//! What the tests stand on: the daemon as a child process, a broker, a hub on a pseudo-terminal, and a reader of the file.

mod broker;
mod clock;
mod daemon;
mod devices;
mod hub;
mod mqtt;
mod shim;
mod stored;

pub use broker::{Broker, Settings};
pub use clock::FakeClock;
pub use daemon::{Daemon, Setup, gadwall};
pub use devices::{Devices, Manner, Slave, modbus_crc};
pub use hub::{Hub, Record, batch};
pub use mqtt::Client;
pub use shim::{Call, Shim};
pub use stored::{Expected, Stored, assert_between, assert_exactly, expected, open};

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Long enough for a slow machine that runs all tests at once.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Polls `done` until it holds; panics with `what` after [`DEADLINE`].
#[track_caller]
pub fn wait_for(what: &str, done: impl FnMut() -> bool) {
    wait_within(what, DEADLINE, done);
}

/// Polls `done` until it holds; panics with `what` after `deadline`.
#[track_caller]
pub fn wait_within(what: &str, deadline: Duration, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + deadline;
    while !done() {
        assert!(Instant::now() < end, "not seen within {deadline:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Microseconds since 1970 by the clock of this machine.
pub fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970");
    i64::try_from(since.as_micros()).expect("the clock is before the year 294000")
}

/// A whole second `ago` seconds before now, for readings whose time must be recent.
pub fn secs_ago(ago: i64) -> i64 {
    now_micros() / 1_000_000 - ago
}

/// Whether a test that fails keeps its folders, with the logs in them, instead of printing the logs.
pub fn keeps_folders() -> bool {
    std::env::var_os("TESTS_KEEP_FOLDERS").is_some()
}
