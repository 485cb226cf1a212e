//! As much of an MQTT 5 broker as it takes to see when each message is acknowledged.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// Packets by the upper half of their first byte.
const CONNECT: u8 = 1;
const PUBACK: u8 = 4;
const SUBSCRIBE: u8 = 8;
const PINGREQ: u8 = 12;
const DISCONNECT: u8 = 14;

/// Waits of the messages that are answered, and when those were sent that are not.
#[derive(Default)]
struct Ledger {
    open: HashMap<u16, Instant>,
    waits: Vec<f64>,
}

/// A listening broker for one client.
pub struct Broker(TcpListener);

/// The client, connected and subscribed.
pub struct Peer {
    stream: TcpStream,
    ledger: Arc<Mutex<Ledger>>,
    reader: JoinHandle<anyhow::Result<()>>,
    packet: u16,
}

impl Broker {
    /// On a port of its own.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(TcpListener::bind(("127.0.0.1", 0))?))
    }

    /// The URL for the daemon.
    pub fn url(&self) -> anyhow::Result<String> {
        Ok(format!("mqtt://{}", self.0.local_addr()?))
    }

    /// Waits for the client and its subscription.
    pub fn accept(&self) -> anyhow::Result<Peer> {
        let (mut stream, _) = self.0.accept()?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let (kind, _) = read(&mut stream)?;
        ensure!(kind == CONNECT, "a connection begins with CONNECT, not with a packet of type {kind}");
        stream.write_all(&[0x20, 3, 0, 0, 0])?;
        loop {
            let (kind, body) = read(&mut stream)?;
            if kind == SUBSCRIBE {
                suback(&mut stream, &body)?;
                break;
            }
        }
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let (from, into) = (stream.try_clone()?, Arc::clone(&ledger));
        let reader = std::thread::spawn(move || listen(from, &into));
        Ok(Peer { stream, ledger, reader, packet: 0 })
    }
}

impl Peer {
    /// Publishes with QoS 1.
    pub fn publish(&mut self, topic: &str, payload: &str) -> anyhow::Result<()> {
        self.packet = self.packet % 65_535 + 1;
        let mut body = u16::try_from(topic.len())?.to_be_bytes().to_vec();
        body.extend(topic.as_bytes());
        body.extend(self.packet.to_be_bytes());
        body.push(0);
        body.extend(payload.as_bytes());
        ensure!(body.len() < 128, "a message of this benchmark is short");
        let mut bytes = vec![0x32, body.len() as u8];
        bytes.extend(body);
        let taken = lock(&self.ledger).open.insert(self.packet, Instant::now());
        ensure!(taken.is_none(), "the gateway has not acknowledged a message for 65,535 others");
        self.stream.write_all(&bytes)?;
        Ok(())
    }

    /// Waits until everything is acknowledged, and returns how long each message waited, in milliseconds.
    pub fn finish(self) -> anyhow::Result<Vec<f64>> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !lock(&self.ledger).open.is_empty() {
            ensure!(Instant::now() < deadline, "messages are not acknowledged");
            ensure!(!self.reader.is_finished(), "the client has gone");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.stream.shutdown(std::net::Shutdown::Both)?;
        // It ends with the connection, and whatever it says then.
        let _ = self.reader.join();
        Ok(std::mem::take(&mut lock(&self.ledger).waits))
    }
}

fn lock(ledger: &Mutex<Ledger>) -> std::sync::MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(mut stream: TcpStream, ledger: &Mutex<Ledger>) -> anyhow::Result<()> {
    loop {
        let (kind, body) = read(&mut stream)?;
        match kind {
            PUBACK => {
                let now = Instant::now();
                let [high, low, ..] = body[..] else { bail!("a PUBACK without a packet id") };
                let mut ledger = lock(ledger);
                let sent = ledger.open.remove(&u16::from_be_bytes([high, low])).context("a PUBACK for nothing")?;
                ledger.waits.push((now - sent).as_secs_f64() * 1e3);
            }
            SUBSCRIBE => suback(&mut stream, &body)?,
            PINGREQ => stream.write_all(&[0xd0, 0])?,
            DISCONNECT => return Ok(()),
            other => bail!("a packet of type {other}"),
        }
    }
}

/// Grants every filter of a SUBSCRIBE with QoS 1.
fn suback(stream: &mut TcpStream, body: &[u8]) -> anyhow::Result<()> {
    let mut filters = 0;
    // Packet id, and properties whose length is below 128.
    let mut at = 3 + usize::from(*body.get(2).context("a SUBSCRIBE without properties")?);
    while let [high, low, ..] = body[at..] {
        at += 2 + usize::from(u16::from_be_bytes([high, low])) + 1;
        filters += 1;
    }
    let mut answer = vec![0x90, 3 + filters, body[0], body[1], 0];
    answer.extend((0..filters).map(|_| 1));
    stream.write_all(&answer)?;
    Ok(())
}

/// The next packet: its type, and what follows its length.
fn read(stream: &mut TcpStream) -> anyhow::Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    let kind = byte[0] >> 4;
    let (mut len, mut shift) = (0_usize, 0);
    loop {
        stream.read_exact(&mut byte)?;
        len |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
        ensure!(shift < 28, "a length of more than four bytes");
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body)?;
    Ok((kind, body))
}
