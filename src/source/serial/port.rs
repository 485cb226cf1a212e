//! What everybody does who holds a port, whoever talks first on it: waiting for its driver, and saying what is wrong.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::wire::{Hangs, Opening, Thread, Wire};
use crate::config::Uart;
use crate::metrics::{SourceState, SourceStatus};

/// Delays before a port is opened again.
pub(in crate::source) const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// How often is looked whether a driver has come back from a call.
const LOOK: Duration = Duration::from_secs(1);
/// How long a stop waits for the port to be closed, and with it for the last bytes to leave the kernel's buffer.
const CLOSE: Duration = Duration::from_secs(1);

/// Opens a port, however long its driver takes; what is wrong meanwhile is in `status`. `None` when the daemon stops.
pub(in crate::source) async fn open(
    path: &Path,
    uart: Uart,
    status: &SourceStatus,
    stop: &mut watch::Receiver<bool>,
) -> Option<Result<Wire, String>> {
    let mut opening = match Opening::begin(path.to_owned(), uart) {
        Ok(opening) => opening,
        Err(reason) => return Some(Err(reason)),
    };
    loop {
        tokio::select! {
            opened = opening.opened() => return Some(opened.map(|()| opening.wire())),
            () = stopped(stop) => return None,
            () = sleep(LOOK) => hangs(path, status, opening.thread.hangs()),
        }
    }
}

/// Closes a port that was lost, and waits until nobody holds the device any more, so that there is one thread for it at the
/// most. `None` when the daemon stops.
pub(in crate::source) async fn lose(
    wire: Wire,
    path: &Path,
    status: &SourceStatus,
    stop: &mut watch::Receiver<bool>,
) -> Option<()> {
    let mut thread: Thread = wire.close(true);
    loop {
        tokio::select! {
            () = thread.ended() => return Some(()),
            () = stopped(stop) => return None,
            () = sleep(LOOK) => hangs(path, status, thread.hangs()),
        }
    }
}

/// Closes a port because the daemon stops.
pub(in crate::source) async fn close(wire: Wire) {
    let _ = timeout(CLOSE, wire.close(false).ended()).await;
}

/// Waits before the next attempt; `None` when the daemon stops.
pub(in crate::source) async fn pause(delay: Duration, stop: &mut watch::Receiver<bool>) -> Option<()> {
    tokio::select! {
        () = sleep(delay) => Some(()),
        () = stopped(stop) => None,
    }
}

/// The port does not work. The journal hears of each change once.
pub(in crate::source) fn down(path: &Path, status: &SourceStatus, reason: &str) {
    if status.set_state(SourceState::Down(reason.to_owned())) {
        tracing::warn!(source = %status.name, port = %path.display(), "the port is down: {reason}");
    }
}

fn hangs(path: &Path, status: &SourceStatus, hangs: Option<Hangs>) {
    if let Some(hangs) = hangs {
        down(path, status, &hangs.to_string());
    }
}

/// Why a port cannot be read or written any more, for a person.
pub(in crate::source) fn lost(error: &io::Error) -> String {
    // EIO is what the kernel says of a device that is not there any more.
    if error.raw_os_error() == Some(libc::EIO) || error.kind() == io::ErrorKind::UnexpectedEof {
        "it was unplugged, or its other end was closed".into()
    } else if let Some(hangs) = error.get_ref().and_then(|e| e.downcast_ref::<Hangs>()) {
        hangs.to_string()
    } else {
        format!("it cannot be used any more: {error}")
    }
}

/// Ends when the daemon stops.
pub(in crate::source) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it whoever could say stop.
    let _ = stop.wait_for(|stop| *stop).await;
}
