//! A small blocking MQTT 5 client of the tests' own: it shares no code with the daemon's.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::DEADLINE;

/// A message from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub dup: bool,
    pub packet: u16,
}

/// A connection to a broker.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// The broker's answer to CONNECT said that it has a session of this client.
    pub session_present: bool,
    receive_maximum: usize,
    next_packet: u16,
    unacknowledged: usize,
    received: VecDeque<Message>,
}

fn text(out: &mut Vec<u8>, s: &str) {
    let len = u16::try_from(s.len()).expect("a text of MQTT is below 64 KB");
    out.extend(len.to_be_bytes());
    out.extend(s.as_bytes());
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut left = body.len();
    loop {
        let byte = u8::try_from(left % 128).expect("below 128");
        left /= 128;
        out.push(if left > 0 { byte | 0x80 } else { byte });
        if left == 0 {
            break;
        }
    }
    out.extend(body);
    out
}

impl Client {
    /// Connects. An empty `id` lets the broker choose one; unless `clean`, the session lasts an hour.
    #[track_caller]
    pub fn connect(port: u16, id: &str, clean: bool, login: Option<(&str, &str)>) -> Self {
        let stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), DEADLINE)
            .unwrap_or_else(|e| panic!("connecting to the broker on port {port}: {e}"));
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let mut body = Vec::new();
        text(&mut body, "MQTT");
        let flags = if clean { 0x02 } else { 0 } | if login.is_some() { 0xc0 } else { 0 };
        // Version 5, flags, no keep-alive.
        body.extend([5, flags, 0, 0]);
        if clean {
            body.push(0);
        } else {
            body.extend([5, 0x11, 0, 0, 0x0e, 0x10]);
        }
        text(&mut body, id);
        if let Some((name, password)) = login {
            text(&mut body, name);
            text(&mut body, password);
        }
        let mut client = Self {
            stream,
            buffer: Vec::new(),
            session_present: false,
            receive_maximum: 65_535,
            next_packet: 0,
            unacknowledged: 0,
            received: VecDeque::new(),
        };
        client.write(&packet(0x10, &body));
        let (first, answer) = client.read(DEADLINE).expect("the broker answers CONNECT");
        assert_eq!(first, 0x20, "CONNACK comes first");
        assert_eq!(answer[1], 0, "the broker refuses the connection");
        client.session_present = answer[0] == 1;
        client.receive_maximum = receive_maximum(&answer[3..]).unwrap_or(65_535);
        client
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("writing to the broker");
    }

    /// The next packet: its first byte, and what follows the length.
    fn read(&mut self, within: Duration) -> Option<(u8, Vec<u8>)> {
        let end = Instant::now() + within;
        loop {
            if let Some(found) = self.take_packet() {
                return Some(found);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.stream.set_read_timeout(Some(left)).expect("a timeout");
            let mut chunk = [0; 16_384];
            match self.stream.read(&mut chunk) {
                Ok(0) => panic!("the broker closed the connection of a test's client"),
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
                Err(e) => panic!("reading from the broker: {e}"),
            }
        }
    }

    fn take_packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut len = 0;
        let mut at = 1;
        loop {
            let byte = usize::from(*self.buffer.get(at)?);
            len |= (byte & 0x7f) << (7 * (at - 1));
            at += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        if self.buffer.len() < at + len {
            return None;
        }
        let rest = self.buffer.split_off(at + len);
        let found = std::mem::replace(&mut self.buffer, rest);
        Some((found[0], found[at..].to_vec()))
    }

    /// Takes what has come: acknowledgements are counted, messages kept.
    fn pump(&mut self, within: Duration) -> bool {
        let Some((first, body)) = self.read(within) else { return false };
        match first >> 4 {
            3 => self.received.push_back(message(first, &body)),
            4 => {
                let reason = body.get(2).copied().unwrap_or(0);
                assert!(matches!(reason, 0 | 0x10), "the broker refuses a message with reason {reason:#x}");
                self.unacknowledged -= 1;
            }
            9 | 13 => {}
            14 => panic!("the broker disconnects a test's client: {body:?}"),
            other => panic!("an unexpected packet of type {other}: {body:?}"),
        }
        true
    }

    /// Publishes without waiting for the broker, other than for room in its window.
    #[track_caller]
    pub fn send(&mut self, topic: &str, payload: impl AsRef<[u8]>, qos: u8, retain: bool) {
        while qos > 0 && self.unacknowledged >= self.receive_maximum.min(1_000) {
            assert!(self.pump(DEADLINE), "the broker does not acknowledge");
        }
        let mut body = Vec::new();
        text(&mut body, topic);
        if qos > 0 {
            self.next_packet = self.next_packet % 65_535 + 1;
            body.extend(self.next_packet.to_be_bytes());
            self.unacknowledged += 1;
        }
        body.push(0);
        body.extend(payload.as_ref());
        self.write(&packet(0x30 | qos << 1 | u8::from(retain), &body));
    }

    /// Waits until the broker has acknowledged everything that was sent with QoS 1, and with it has all sent before.
    #[track_caller]
    pub fn flush(&mut self) {
        self.send("tests/flushed", "", 1, false);
        self.settle();
    }

    /// Waits until the broker has acknowledged everything that was sent with QoS 1, without a message of its own.
    #[track_caller]
    pub fn settle(&mut self) {
        while self.unacknowledged > 0 {
            assert!(self.pump(DEADLINE), "the broker does not acknowledge");
        }
    }

    /// Publishes with QoS 1 and waits for the broker's acknowledgement.
    #[track_caller]
    pub fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>) {
        self.send(topic, payload, 1, false);
        self.flush();
    }

    /// Subscribes with QoS 1.
    #[track_caller]
    pub fn subscribe(&mut self, filter: &str) {
        self.next_packet = self.next_packet % 65_535 + 1;
        let mut body = self.next_packet.to_be_bytes().to_vec();
        body.push(0);
        text(&mut body, filter);
        body.push(1);
        self.write(&packet(0x82, &body));
        let (first, _) = self.read(DEADLINE).expect("the broker answers SUBSCRIBE");
        assert_eq!(first, 0x90, "SUBACK");
    }

    /// The next message, which is not acknowledged.
    pub fn next(&mut self, within: Duration) -> Option<Message> {
        let end = Instant::now() + within;
        loop {
            if let Some(message) = self.received.pop_front() {
                return Some(message);
            }
            if !self.pump(end.saturating_duration_since(Instant::now())) {
                return None;
            }
        }
    }
}

/// The receive maximum among the properties of a CONNACK.
fn receive_maximum(mut properties: &[u8]) -> Option<usize> {
    while let [id, rest @ ..] = properties {
        let len = match id {
            0x21 => return Some(usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]))),
            0x24 | 0x25 | 0x28 | 0x29 | 0x2a => 1,
            0x13 | 0x22 => 2,
            0x11 | 0x27 => 4,
            0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => {
                2 + usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]))
            }
            _ => return None,
        };
        properties = rest.get(len..)?;
    }
    None
}

fn message(first: u8, body: &[u8]) -> Message {
    let len = usize::from(u16::from_be_bytes([body[0], body[1]]));
    let topic = String::from_utf8(body[2..2 + len].to_vec()).expect("a topic is UTF-8");
    let mut at = 2 + len;
    let mut packet = 0;
    if first & 0x06 != 0 {
        packet = u16::from_be_bytes([body[at], body[at + 1]]);
        at += 2;
    }
    // The properties of the tests' messages are few: their length is one byte.
    at += 1 + usize::from(body[at]);
    Message { topic, payload: body[at..].to_vec(), dup: first & 0x08 != 0, packet }
}
