//! SIGTERM, SIGINT and SIGHUP as messages.

use std::io;

use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
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
