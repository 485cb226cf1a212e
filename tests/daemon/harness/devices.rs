//! Devices on a pseudo-terminal that speak when they are asked, at the pace of a real line.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::hub::pseudo_terminal;

/// Bits of a character with its start and stop bit.
const BITS: u32 = 10;
/// What a device takes to begin its answer.
const TURNAROUND: Duration = Duration::from_millis(4);

/// What a device makes of the bytes that it has heard: how many it has understood, and what it answers to them after how long.
pub type Respond = Box<dyn FnMut(&[u8]) -> Option<(usize, Vec<(Duration, Vec<u8>)>)> + Send>;

/// A line with devices, at [`Devices::link`].
pub struct Devices {
    _dir: TempDir,
    link: PathBuf,
    baud: u32,
    respond: Arc<Mutex<Respond>>,
    port: Option<Port>,
    next: Option<(OwnedFd, PathBuf)>,
}

struct Port {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Devices {
    /// Plugs a line in, whose devices answer by `respond`.
    pub fn new(baud: u32, respond: Respond) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let link = dir.path().join("devices");
        let respond = Arc::new(Mutex::new(respond));
        let mut devices = Self { _dir: dir, link, baud, respond, port: None, next: None };
        devices.plug();
        devices
    }

    /// The stable name of the port.
    pub fn link(&self) -> &Path {
        &self.link
    }

    /// Pulls the line out.
    pub fn unplug(&mut self) {
        self.next = Some(pseudo_terminal());
        std::fs::remove_file(&self.link).expect("removing the link");
        self.port = None;
    }

    /// Plugs it in, after [`Devices::unplug`] under another name of the kernel.
    pub fn plug(&mut self) {
        let (master, path) = self.next.take().unwrap_or_else(pseudo_terminal);
        let _ = std::fs::remove_file(&self.link);
        symlink(&path, &self.link).expect("making the link");
        let stop = Arc::new(AtomicBool::new(false));
        let (ended, respond, baud) = (Arc::clone(&stop), Arc::clone(&self.respond), self.baud);
        let thread = thread::spawn(move || serve(&master, &ended, &respond, baud));
        self.port = Some(Port { stop, thread: Some(thread) });
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(master: &OwnedFd, stop: &AtomicBool, respond: &Mutex<Respond>, baud: u32) {
    let character = Duration::from_secs(1) * BITS / baud;
    let (mut held, mut waiting) = (Vec::new(), Vec::<(Instant, Vec<u8>)>::new());
    let mut chunk = [0; 512];
    while !stop.load(Ordering::Acquire) {
        match rustix::io::read(master, &mut chunk) {
            Ok(n) => held.extend_from_slice(&chunk[..n]),
            // Nothing is there, or nobody has it open.
            Err(_) => thread::sleep(Duration::from_micros(300)),
        }
        while let Some((taken, answers)) = respond.lock().expect("no panic holds the devices")(&held) {
            held.drain(..taken);
            // On a real line the last byte of the request arrives only now.
            let heard = Instant::now() + character * u32::try_from(taken).expect("a short request") + TURNAROUND;
            waiting.extend(answers.into_iter().map(|(after, bytes)| (heard + after, bytes)));
        }
        if let Some(at) = waiting.iter().position(|(due, _)| *due <= Instant::now()) {
            for byte in waiting.swap_remove(at).1 {
                thread::sleep(character);
                let _ = rustix::io::write(master, &[byte]);
            }
        }
    }
}

/// How a unit answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Rightly.
    Well,
    /// Not at all.
    Dead,
    /// Rightly, and after so long.
    Late(Duration),
    /// With a wrong CRC.
    WrongCrc,
    /// With this exception to everything.
    Refuses(u8),
    /// With exception 2 to whoever wants more than one register.
    OneByOne,
}

/// The units of a bus by their addresses, with what they hold by function and address, and what they were asked.
#[derive(Clone, Default)]
pub struct Slave(Arc<Mutex<State>>);

/// What a unit holds, by function and address.
type Registers = BTreeMap<(u8, u16), u16>;

#[derive(Default)]
struct State {
    units: BTreeMap<u8, (Manner, Registers)>,
    asked: Vec<[u8; 6]>,
}

impl Slave {
    /// Adds a unit that holds `words` from `address` on; bits are words of 0 and 1.
    pub fn hold(&self, unit: u8, function: u8, address: u16, words: &[u16]) -> &Self {
        let mut state = self.0.lock().expect("no panic holds the units");
        let registers = &mut state.units.entry(unit).or_insert((Manner::Well, BTreeMap::new())).1;
        registers.extend(words.iter().zip(address..).map(|(word, address)| ((function, address), *word)));
        drop(state);
        self
    }

    /// From now on the unit answers like this.
    pub fn answers(&self, unit: u8, manner: Manner) -> &Self {
        self.0.lock().expect("no panic holds the units").units.entry(unit).or_insert((manner, BTreeMap::new())).0 =
            manner;
        self
    }

    /// The requests so far, without their CRC.
    pub fn asked(&self) -> Vec<[u8; 6]> {
        self.0.lock().expect("no panic holds the units").asked.clone()
    }

    /// Its line, on which nothing else is to be heard.
    pub fn line(&self, baud: u32) -> Devices {
        self.lines(baud, true)
    }

    /// Its line, on which others may be asked.
    pub fn line_with_others(&self, baud: u32) -> Devices {
        self.lines(baud, false)
    }

    fn lines(&self, baud: u32, alone: bool) -> Devices {
        let state = Arc::clone(&self.0);
        let respond = move |held: &[u8]| {
            let request: [u8; 6] = held.get(..8)?[..6].try_into().ok()?;
            if modbus_crc(&request) != held[6..8] {
                assert!(!alone, "the CRC of {request:02X?}");
                return Some((1, Vec::new()));
            }
            let mut state = state.lock().expect("no panic holds the units");
            state.asked.push(request);
            Some((8, state.respond(request).into_iter().collect()))
        };
        Devices::new(baud, Box::new(respond))
    }
}

impl State {
    fn respond(&self, request: [u8; 6]) -> Option<(Duration, Vec<u8>)> {
        let [id, function, a, b, c, d] = request;
        let (address, count) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let (manner, registers) = self.units.get(&id)?;
        let words: Option<Vec<u16>> =
            (0..count).map(|i| registers.get(&(function, address.checked_add(i)?)).copied()).collect();
        let exception = |code| vec![id, function | 0x80, code];
        let mut frame = match (manner, words) {
            (Manner::Dead, _) => return None,
            (Manner::Refuses(code), _) => exception(*code),
            (_, None) => exception(2),
            (Manner::OneByOne, Some(words)) if words.len() > 1 => exception(2),
            (_, Some(words)) => {
                let data: Vec<u8> = if function < 3 {
                    words.chunks(8).map(|bits| bits.iter().rev().fold(0, |byte, bit| byte << 1 | *bit as u8)).collect()
                } else {
                    words.iter().flat_map(|word| word.to_be_bytes()).collect()
                };
                [&[id, function, data.len() as u8], &data[..]].concat()
            }
        };
        frame.extend(modbus_crc(&frame));
        let after = if let Manner::Late(after) = manner { *after } else { Duration::ZERO };
        if *manner == Manner::WrongCrc {
            *frame.last_mut().expect("a frame has a CRC") ^= 0x40;
        }
        Some((after, frame))
    }
}

/// CRC-16/MODBUS bit by bit, its low byte first.
pub fn modbus_crc(bytes: &[u8]) -> [u8; 2] {
    let mut crc = 0xFFFF_u16;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 };
        }
    }
    crc.to_le_bytes()
}
