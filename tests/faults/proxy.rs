//! A TCP proxy between the daemon and its broker: the network that a round can cut.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const TICK: Duration = Duration::from_millis(10);

/// What the network does at present with every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Network {
    /// Passes everything on.
    Up,
    /// Passes nothing on and closes nothing.
    Stalled,
    /// Accepts connections, and nobody is behind it: CONNECT is never answered.
    Mute,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum State {
    Open,
    /// Passes on all but the end of what comes next to the daemon, and then nothing.
    Tear,
    /// Passes nothing on any more, whatever the network does.
    Dead,
    Closed,
}

struct Connection {
    daemon: TcpStream,
    broker: TcpStream,
    state: AtomicU8,
}

impl Connection {
    fn is(&self, state: State) -> bool {
        self.state.load(Ordering::Acquire) == state as u8
    }

    fn close(&self) {
        self.state.store(State::Closed as u8, Ordering::Release);
        let _ = self.daemon.shutdown(Shutdown::Both);
        let _ = self.broker.shutdown(Shutdown::Both);
    }
}

struct Shared {
    network: AtomicU8,
    to: u16,
    stop: AtomicBool,
    accepted: AtomicUsize,
    to_daemon: AtomicU64,
    torn: AtomicBool,
    connections: Mutex<Vec<Arc<Connection>>>,
    mute: Mutex<Vec<TcpStream>>,
}

/// The proxy. Its connections end with it.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// A proxy to a port of this machine.
    pub fn new(to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port for the proxy");
        let port = listener.local_addr().expect("its address").port();
        listener.set_nonblocking(true).expect("a listener that does not block");
        let shared = Arc::new(Shared {
            network: AtomicU8::new(Network::Up as u8),
            to,
            stop: AtomicBool::new(false),
            accepted: AtomicUsize::new(0),
            to_daemon: AtomicU64::new(0),
            torn: AtomicBool::new(false),
            connections: Mutex::default(),
            mute: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Self { port, shared }
    }

    /// Where the daemon connects to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes the network.
    pub fn set(&self, network: Network) {
        self.shared.network.store(network as u8, Ordering::Release);
        if network != Network::Mute {
            self.shared.mute.lock().expect("no panic holds it").clear();
        }
    }

    /// Closes all connections; returns how many there were.
    pub fn cut(&self) -> usize {
        let connections = std::mem::take(&mut *self.shared.connections.lock().expect("no panic holds it"));
        connections.iter().filter(|c| !c.is(State::Closed)).map(|c| c.close()).count()
    }

    /// Closes the broker's side of all connections and leaves the daemon's open, as when a host goes away without a word;
    /// new connections are good. Returns how many there were.
    pub fn half_open(&self) -> usize {
        let connections = self.shared.connections.lock().expect("no panic holds it");
        let open = connections.iter().filter(|c| !c.is(State::Closed));
        open.map(|c| {
            c.state.store(State::Dead as u8, Ordering::Release);
            let _ = c.broker.shutdown(Shutdown::Both);
        })
        .count()
    }

    /// All present connections stop in the middle of the next packet to the daemon; new ones are good.
    pub fn tear(&self) {
        for c in &*self.shared.connections.lock().expect("no panic holds it") {
            if !c.is(State::Closed) {
                c.state.store(State::Tear as u8, Ordering::Release);
            }
        }
    }

    /// Whether a packet was torn.
    pub fn torn(&self) -> bool {
        self.shared.torn.load(Ordering::Acquire)
    }

    /// Connections that were accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Acquire)
    }

    /// Bytes that were passed on to the daemon so far.
    pub fn to_daemon(&self) -> u64 {
        self.shared.to_daemon.load(Ordering::Acquire)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.cut();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.stop.load(Ordering::Acquire) {
        let Ok((daemon, _)) = listener.accept() else {
            thread::sleep(TICK);
            continue;
        };
        shared.accepted.fetch_add(1, Ordering::AcqRel);
        if shared.network.load(Ordering::Acquire) == Network::Mute as u8 {
            shared.mute.lock().expect("no panic holds it").push(daemon);
            continue;
        }
        // Without a broker the daemon's connection is closed, as it would be by the kernel behind a port without a listener.
        let Ok(broker) = TcpStream::connect(("127.0.0.1", shared.to)) else { continue };
        for stream in [&daemon, &broker] {
            stream.set_nonblocking(false).expect("a stream that blocks");
            stream.set_nodelay(true).expect("TCP_NODELAY");
            stream.set_read_timeout(Some(TICK)).expect("a timeout");
            stream.set_write_timeout(Some(TICK)).expect("a timeout");
        }
        let connection = Arc::new(Connection { daemon, broker, state: AtomicU8::new(State::Open as u8) });
        shared.connections.lock().expect("no panic holds it").push(Arc::clone(&connection));
        for to_daemon in [true, false] {
            let (shared, connection) = (Arc::clone(shared), Arc::clone(&connection));
            thread::spawn(move || pump(&shared, &connection, to_daemon));
        }
    }
}

fn pump(shared: &Shared, connection: &Connection, to_daemon: bool) {
    let (mut from, mut to) =
        if to_daemon { (&connection.broker, &connection.daemon) } else { (&connection.daemon, &connection.broker) };
    let mut chunk = [0; 16_384];
    let mut waiting = Vec::new();
    while !connection.is(State::Closed) {
        if shared.network.load(Ordering::Acquire) != Network::Up as u8 || connection.is(State::Dead) {
            thread::sleep(TICK);
            continue;
        }
        if waiting.is_empty() {
            let mut n = match from.read(&mut chunk) {
                Ok(0) => return end(connection),
                Ok(n) => n,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(_) => return end(connection),
            };
            // Chunks end where packets end, so one without its last bytes ends inside of a packet.
            if to_daemon && n > 10 && connection.is(State::Tear) {
                n -= 3;
                let _ = to.write_all(&chunk[..n]);
                connection.state.store(State::Dead as u8, Ordering::Release);
                shared.torn.store(true, Ordering::Release);
                continue;
            }
            waiting.extend_from_slice(&chunk[..n]);
        }
        match to.write(&waiting) {
            Ok(n) => {
                waiting.drain(..n);
                if to_daemon {
                    shared.to_daemon.fetch_add(n as u64, Ordering::AcqRel);
                }
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return end(connection),
        }
    }
}

/// One side is gone: the other follows, unless the connection is dead, which nobody may notice.
fn end(connection: &Connection) {
    if !connection.is(State::Dead) {
        connection.close();
    }
}
