//! Listens to a serial port, and asks on it, for a person who does not know what is connected.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout_at};

use super::modbus::line::{Line, Missed};
use super::serial::port::lost;
use super::serial::wire::{Opening, Wire};
use crate::codec::modbus::frame::{Expected, REQUEST, sealed};
use crate::codec::modbus::{Function, MAX_UNIT};
use crate::codec::serial::mh_z19::{self, MhZ19};
use crate::codec::serial::senseair_s8::{self, SenseairS8};
use crate::config::{Parity, Uart};
use crate::reading::Decoded;

/// Bytes that are heard at one setting at most.
const MAX_HEARD: usize = 64 * 1024;
/// Silence behind which a piece has ended: what belongs together comes together.
const PIECE: Duration = Duration::from_millis(20);
/// How often is looked whether it is enough.
const LOOK: Duration = Duration::from_secs(1);
/// How long a sensor may take to answer.
const ANSWER: Duration = Duration::from_secs(1);
/// How long a unit may take that is only tried: there are 247 of them.
const TRY: Duration = Duration::from_millis(60);
/// What a device needs to wake up.
const WAKE: Duration = Duration::from_millis(5);

/// Pieces of bytes, each with its time since the beginning.
pub type Pieces = Vec<(Duration, Vec<u8>)>;

/// Who has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// A sensor, by the name of its format.
    Sensor(&'static str),
    /// Units of a bus, with this setting.
    Units(Uart, Vec<u8>),
}

/// Hears what comes within `time`, or until `enough` says so, which is asked at most once a second.
///
/// # Errors
/// Why the port cannot be opened or read, in words for a person.
pub async fn listen(
    path: &Path,
    uart: Uart,
    time: Duration,
    enough: &mut impl FnMut(&Pieces) -> bool,
) -> Result<Pieces, String> {
    let mut wire = open(path, uart).await?;
    let (began, mut pieces, mut heard) = (Instant::now(), Pieces::new(), 0);
    let (mut last, mut looked, mut new) = (None, began, false);
    let mut chunk = [0; 1_024];
    while heard < MAX_HEARD {
        let look = looked + LOOK;
        if new && Instant::now() >= look {
            (looked, new) = (Instant::now(), false);
            if enough(&pieces) {
                break;
            }
            continue;
        }
        let until = if new { look.min(began + time) } else { began + time };
        match timeout_at(until, wire.read(&mut chunk)).await {
            Err(_) if Instant::now() >= began + time => break,
            Err(_) => {}
            Ok(Ok(0)) => return Err("it was unplugged, or its other end was closed".into()),
            Ok(Ok(n)) => {
                let at = began.elapsed();
                heard += n;
                new = true;
                match (pieces.last_mut(), last) {
                    (Some((_, piece)), Some(last)) if at < last + PIECE => piece.extend_from_slice(&chunk[..n]),
                    _ => pieces.push((at, chunk[..n].to_vec())),
                }
                last = Some(at);
            }
            Ok(Err(error)) => return Err(lost(&error)),
        }
    }
    close(wire).await;
    Ok(pieces)
}

/// Asks as the sensors that have to be asked are, and then every unit of a bus at each of `settings` until one answers.
/// Nothing is written but requests to read.
///
/// # Errors
/// As [`listen`].
pub async fn ask(path: &Path, settings: &[Uart], tell: &mut impl FnMut(&str)) -> Result<Option<Answered>, String> {
    let mut wire = open(path, Uart { baud: 9_600, ..Uart::default() }).await?;
    tell("asking for an MH-Z19");
    let mut sensor = MhZ19::new("port");
    if answers(&mut wire, &[], mh_z19::request(), |bytes, each| sensor.feed(bytes, &mut |d| each(d))).await? {
        close(wire).await;
        return Ok(Some(Answered::Sensor("mh-z19")));
    }
    tell("asking for a Senseair S8");
    let mut sensor = SenseairS8::new("port");
    let request = senseair_s8::request();
    if answers(&mut wire, senseair_s8::WAKE, request, |bytes, each| sensor.feed(bytes, &mut |d| each(d))).await? {
        close(wire).await;
        return Ok(Some(Answered::Sensor("senseair-s8")));
    }
    close(wire).await;
    for uart in settings {
        let parity = if uart.parity == Parity::None { "no" } else { "even" };
        tell(&format!("asking Modbus units 1 to {MAX_UNIT} at {} baud, {parity} parity", uart.baud));
        let mut line = Line::new(open(path, *uart).await?, *uart, TRY);
        let mut units = Vec::new();
        for unit in 1..=MAX_UNIT {
            let body = [unit, Function::Holding.code(), 0, 0, 0, 1];
            let request: [u8; REQUEST] = sealed(&body).try_into().expect("six bytes and a CRC");
            match line.ask(&request, Expected::new(unit, Function::Holding, 1)).await {
                // An exception is an answer as well.
                Ok(_) => units.push(unit),
                Err(Missed::Gone(error)) => return Err(lost(&error)),
                Err(Missed::Silent | Missed::Garbled { .. }) => {}
            }
        }
        close(line.into_port()).await;
        if !units.is_empty() {
            return Ok(Some(Answered::Units(*uart, units)));
        }
    }
    Ok(None)
}

/// Sends a request, and looks whether an answer with a reading comes.
async fn answers(
    wire: &mut Wire,
    wake: &[u8],
    request: &[u8],
    mut feed: impl FnMut(&[u8], &mut dyn FnMut(Decoded)),
) -> Result<bool, String> {
    if !wake.is_empty() {
        wire.write_all(wake).await.map_err(|e| lost(&e))?;
        sleep(WAKE).await;
    }
    wire.write_all(request).await.map_err(|e| lost(&e))?;
    let until = Instant::now() + ANSWER;
    let mut chunk = [0; 256];
    let mut found = false;
    while !found {
        match timeout_at(until, wire.read(&mut chunk)).await {
            Err(_) => return Ok(false),
            Ok(Ok(0)) => return Err("it was unplugged, or its other end was closed".into()),
            Ok(Ok(n)) => feed(&chunk[..n], &mut |decoded| found |= !decoded.readings.is_empty()),
            Ok(Err(error)) => return Err(lost(&error)),
        }
    }
    Ok(true)
}

async fn open(path: &Path, uart: Uart) -> Result<Wire, String> {
    let mut opening = Opening::begin(path.to_owned(), uart)?;
    let opened = timeout_at(Instant::now() + 10 * ANSWER, opening.opened()).await;
    opened.map_err(|_| "its driver does not come back from opening it".to_owned())??;
    Ok(opening.wire())
}

/// Waits until the port is free for the next setting.
async fn close(wire: Wire) {
    let mut thread = wire.close(true);
    let _ = timeout_at(Instant::now() + 10 * ANSWER, thread.ended()).await;
}
