//! SIGTERM, SIGINT and SIGHUP as messages, and SIGXFSZ as nothing.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// Signals from now on, received by a thread of their own. The thread lives as long as the process.
///
/// # Errors
/// When the handlers or the thread cannot be made.
pub fn listen() -> io::Result<Receiver<Ask>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    // A write beyond a file-size limit fails as one to a full disk does, and is treated like it; the signal that comes with
    // it must not end the process. A handler that only sets a flag is the safe way to have it ignored.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    let (tx, rx) = bounded(8);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            let ask = if signal == SIGHUP { Ask::Reload } else { Ask::Stop };
            // With eight unread requests waiting, one more says nothing new.
            if tx.try_send(ask).is_err_and(|e| e.is_disconnected()) {
                return;
            }
        }
    })?;
    Ok(rx)
}
