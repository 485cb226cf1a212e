//! Opens and closes a port, on its own thread: a driver may take seconds over either.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use tokio_serial::{ClearBuffer, DataBits, ErrorKind, FlowControl, Parity, SerialPort, SerialStream, StopBits};

use crate::config::{self, Uart};

/// Opens the port for this process alone. Blocks for as long as the driver
/// likes; inside of the runtime that is to read it.
///
/// # Errors
/// Why it cannot be opened, in words for a person.
pub(super) fn open(path: &Path, uart: Uart) -> Result<SerialStream, String> {
    let Some(name) = path.to_str() else {
        return Err("its path is not UTF-8".to_owned());
    };
    let parity = match uart.parity {
        config::Parity::None => Parity::None,
        config::Parity::Even => Parity::Even,
        config::Parity::Odd => Parity::Odd,
    };
    let builder = tokio_serial::new(name, uart.baud)
        .data_bits(if uart.data_bits == 7 { DataBits::Seven } else { DataBits::Eight })
        .parity(parity)
        .stop_bits(if uart.stop_bits == 2 { StopBits::Two } else { StopBits::One })
        .flow_control(FlowControl::None)
        .exclusive(true);
    SerialStream::open(&builder).map_err(|e| reason(path, &e))
}

/// Closes the port, and blocks until the kernel has: it gives a device that comes back the same name only once nobody
/// holds the old one. `discard` drops what has not been sent.
pub(super) fn close(port: SerialStream, discard: bool) {
    if discard {
        // A device that is gone cannot be flushed, and has nothing to hold the close for.
        let _ = port.clear(ClearBuffer::Output);
    }
    drop(port);
}

fn reason(path: &Path, error: &tokio_serial::Error) -> String {
    let kind = match std::fs::metadata(path) {
        Ok(meta) => Some(meta.file_type()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return "it does not exist; is the device plugged in?".into();
        }
        Err(_) => None,
    };
    match error.kind() {
        ErrorKind::Io(std::io::ErrorKind::NotFound) => "it does not exist; is the device plugged in?".into(),
        ErrorKind::Io(std::io::ErrorKind::PermissionDenied) => {
            "permission denied; add the gateway's user to the group that owns the port, usually dialout".into()
        }
        _ if kind.is_some_and(|k| !k.is_char_device()) => "it is not a serial port".into(),
        // The library calls a second open of an exclusive port "no device".
        ErrorKind::NoDevice => "it is in use by another program".into(),
        _ => format!("it cannot be opened: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_runtime<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn what_cannot_be_opened_is_explained() {
        on_runtime(async {
            let folder = tempfile::tempdir().unwrap();
            let missing = open(&folder.path().join("ttyNONE"), Uart::default()).unwrap_err();
            assert_eq!(missing, "it does not exist; is the device plugged in?");
            let file = folder.path().join("file");
            std::fs::write(&file, "").unwrap();
            assert_eq!(open(&file, Uart::default()).unwrap_err(), "it is not a serial port");
        });
    }

    #[test]
    fn a_port_in_use_is_told_apart_from_a_missing_one_and_free_after_its_close() {
        on_runtime(async {
            let pty = super::super::tests::Pty::new();
            let first = open(&pty.slave(), Uart::default()).unwrap();
            assert_eq!(open(&pty.slave(), Uart::default()).unwrap_err(), "it is in use by another program");
            close(first, true);
            open(&pty.slave(), Uart::default()).unwrap();
        });
    }

    #[test]
    fn a_denied_port_names_the_group() {
        let error = tokio_serial::Error::new(ErrorKind::Io(std::io::ErrorKind::PermissionDenied), "Permission denied");
        assert_eq!(
            reason(Path::new("/dev/null"), &error),
            "permission denied; add the gateway's user to the group that owns the port, usually dialout"
        );
    }
}
