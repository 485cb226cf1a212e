//! `gadwall sniff --port`: the speeds one after the other, until what comes makes sense.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;

use super::port::{Heard, better, judge, print};
use crate::config::{Parity, Uart};
use crate::source::sniff::{self, Answered};

/// Speeds, the commoner ones first.
const SPEEDS: [u32; 9] = [9_600, 115_200, 19_200, 38_400, 57_600, 4_800, 2_400, 230_400, 460_800];
/// Settings of buses, the commoner ones first.
const BUSES: [(u32, Parity); 4] =
    [(9_600, Parity::None), (19_200, Parity::Even), (19_200, Parity::None), (9_600, Parity::Even)];
/// As many bytes as this that make no sense will not make any.
const HOPELESS: u64 = 4_096;

/// What is to be looked at.
#[derive(Clone, Debug)]
pub struct Options {
    /// The port.
    pub port: PathBuf,
    /// The only speed to be tried.
    pub baud: Option<u32>,
    /// How long to listen at each speed.
    pub time: Duration,
    /// Write requests, where nothing comes by itself.
    pub ask: bool,
}

/// Listens, asks where that is allowed, and writes what was found to `out` and what is being done to `err`. Blocks for as long
/// as that takes.
///
/// # Errors
/// When the port cannot be opened or read, and those of writing.
pub async fn run(options: &Options, out: &mut impl Write, err: &mut impl Write) -> anyhow::Result<()> {
    let port = options.port.display().to_string();
    let why = |reason: String| {
        let hint = if reason.contains("in use") { ": is it a running gadwall? Stop it first" } else { "" };
        anyhow!("{port}: {reason}{hint}")
    };
    let speeds = options.baud.map_or_else(|| SPEEDS.to_vec(), |baud| vec![baud]);
    let (mut all, mut found) = (Vec::new(), None);
    for baud in speeds {
        let uart = Uart { baud, ..Uart::default() };
        writeln!(err, "listening to {port} at {baud} baud for up to {} s", options.time.as_secs())?;
        let mut enough = |pieces: &sniff::Pieces| {
            let heard = Heard { uart, pieces: pieces.clone() };
            judge(&heard).map_or(heard.bytes() >= HOPELESS, |found| found.is_certain())
        };
        let pieces = sniff::listen(&options.port, uart, options.time, &mut enough).await.map_err(why)?;
        let heard = Heard { uart, pieces };
        found = better(found, judge(&heard));
        let silent = heard.pieces.is_empty();
        all.push(heard);
        // A line that is silent at one speed is so at all of them.
        if silent || found.as_ref().is_some_and(super::port::Found::is_certain) {
            break;
        }
    }
    if options.ask && all.iter().all(|heard| heard.pieces.is_empty()) {
        return ask(options, &port, out, err).await;
    }
    Ok(print(&port, &all, found.as_ref(), out)?)
}

async fn ask(options: &Options, port: &str, out: &mut impl Write, err: &mut impl Write) -> anyhow::Result<()> {
    let settings: Vec<Uart> = match options.baud {
        Some(baud) => vec![Uart { baud, ..Uart::default() }, Uart { baud, parity: Parity::Even, ..Uart::default() }],
        None => BUSES.iter().map(|(baud, parity)| Uart { baud: *baud, parity: *parity, ..Uart::default() }).collect(),
    };
    let mut told = Ok(());
    let mut tell = |text: &str| {
        if told.is_ok() {
            told = writeln!(err, "{text}");
        }
    };
    let answered = sniff::ask(&options.port, &settings, &mut tell).await;
    told?;
    let quoted = super::quoted(port);
    match answered.map_err(|reason| anyhow!("{port}: {reason}"))? {
        None => writeln!(out, "Nothing came from {port}, and nobody there has answered.")?,
        Some(Answered::Sensor(format)) => {
            let baud = crate::codec::serial::Format::named(format).map_or(9_600, crate::codec::serial::Format::baud);
            writeln!(out, "It answers as \"{format}\" does, at {baud} baud.\n\nFor the configuration:\n")?;
            writeln!(out, "[[serial]]\nname = \"port\"\nport = {quoted}\nformat = \"{format}\"")?;
        }
        Some(Answered::Units(uart, units)) => {
            let shown: Vec<String> = units.iter().map(ToString::to_string).collect();
            writeln!(out, "Modbus units answer: {}.\n\nFor the configuration:\n", shown.join(", "))?;
            writeln!(out, "[[modbus]]\nname = \"bus\"\nport = {quoted}\nbaud = {}", uart.baud)?;
            if uart.parity == Parity::Even {
                writeln!(out, "parity = \"even\"")?;
            }
            for unit in units {
                writeln!(out, "\n[[modbus.unit]]\nid = {unit}")?;
                writeln!(out, "# Its registers are in its manual (docs/formats/modbus.md).")?;
                writeln!(out, "registers = [{{ metric = \"register_0\", address = 0 }}]")?;
            }
        }
    }
    Ok(())
}
