//! A port and the thread that it is on. A driver may take seconds over any call, or not come back from one at all: then
//! this thread waits for it, and nothing else does. Whoever has the [`Wire`] learns of it after [`HANGS`].

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_serial::SerialStream;

use super::open;
use crate::config::Uart;

/// Bytes read at once, and bytes that may be on their way between the port and its source in each direction; what the
/// kernel holds for a port.
pub(in crate::source) const CHUNK: usize = 4_096;

/// How long a driver may take over one call before that is told.
pub(in crate::source) const HANGS: Duration = Duration::from_secs(10);

/// How often is looked whether it has.
const LOOK: Duration = Duration::from_secs(1);

/// What a driver is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Open,
    Read,
    Write,
    Close,
}

/// A driver has not come back from a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) struct Hangs(Call);

impl fmt::Display for Hangs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let call = match self.0 {
            Call::Open => "opening it",
            Call::Read => "reading it",
            Call::Write => "writing to it",
            Call::Close => "closing it",
        };
        write!(f, "its driver does not come back from {call}")
    }
}

impl std::error::Error for Hangs {}

/// What the thread and its source know of each other.
#[derive(Debug, Default)]
struct Shared {
    /// The call that the driver is in, and since when.
    call: Mutex<Option<(Call, Instant)>>,
    /// Why the connection has ended, if by an error.
    error: Mutex<Option<io::Error>>,
    /// What has not been written is of no use any more.
    discard: AtomicBool,
    discarded: Notify,
}

impl Shared {
    fn during<T>(&self, call: Call, work: impl FnOnce() -> T) -> T {
        *lock(&self.call) = Some((call, Instant::now()));
        let done = work();
        *lock(&self.call) = None;
        done
    }

    fn hangs(&self) -> Option<Hangs> {
        lock(&self.call).filter(|(_, since)| since.elapsed() >= HANGS).map(|(call, _)| Hangs(call))
    }
}

// A panic ends the process (see `service`), so a poisoned lock is never seen by code that goes on.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread of a port. Where it is dropped the thread goes on until the driver comes back, and ends with the process.
#[derive(Debug)]
pub(in crate::source) struct Thread {
    shared: Arc<Shared>,
    ended: oneshot::Receiver<()>,
}

impl Thread {
    /// What the driver does not come back from at present.
    pub(in crate::source) fn hangs(&self) -> Option<Hangs> {
        self.shared.hangs()
    }

    /// Ends when the thread has: nobody holds the device any more.
    pub(in crate::source) async fn ended(&mut self) {
        // It sends nothing: its end drops the sender.
        let _ = (&mut self.ended).await;
    }
}

/// A port that is being opened.
#[derive(Debug)]
pub(in crate::source) struct Opening {
    near: DuplexStream,
    opened: oneshot::Receiver<Result<(), String>>,
    pub(in crate::source) thread: Thread,
}

impl Opening {
    /// Starts a thread that opens the port for this process alone.
    ///
    /// # Errors
    /// Why there is no thread, in words for a person.
    pub(in crate::source) fn begin(path: PathBuf, uart: Uart) -> Result<Self, String> {
        let (near, far) = tokio::io::duplex(CHUNK);
        let shared = Arc::new(Shared::default());
        let (tell, opened) = oneshot::channel();
        let (alive, ended) = oneshot::channel::<()>();
        let thread = Thread { shared: Arc::clone(&shared), ended };
        std::thread::Builder::new()
            .name("port".into())
            .spawn(move || {
                let _alive = alive;
                carry(&path, uart, far, &shared, tell);
            })
            .map_err(|e| format!("there is no thread for it: {e}"))?;
        Ok(Self { near, opened, thread })
    }

    /// Ends when the driver has come back.
    pub(in crate::source) async fn opened(&mut self) -> Result<(), String> {
        match (&mut self.opened).await {
            Ok(result) => result,
            Err(_) => Err("opening it failed inside the gateway".into()),
        }
    }

    /// The open port, after [`Self::opened`].
    pub(in crate::source) fn wire(self) -> Wire {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Wire { near: self.near, look, thread: self.thread }
    }
}

/// An open port. Reading and writing fail with [`Hangs`] when its driver does not come back from a call.
#[derive(Debug)]
pub(in crate::source) struct Wire {
    near: DuplexStream,
    look: Interval,
    thread: Thread,
}

impl Wire {
    /// Lets the thread close the port. `discard` drops what has not been sent, or a dead device would hold the close for
    /// up to 30 s.
    pub(in crate::source) fn close(self, discard: bool) -> Thread {
        if discard {
            self.thread.shared.discard.store(true, Ordering::Release);
            self.thread.shared.discarded.notify_one();
        }
        self.thread
    }

    /// The connection has ended by this error, or without one.
    fn failed(&self) -> io::Result<()> {
        lock(&self.thread.shared.error).take().map_or(Ok(()), Err)
    }

    fn look(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.look.poll_tick(cx).is_ready() {}
        self.thread.hangs().map_or(Ok(()), |hangs| Err(io::Error::other(hangs)))
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.look(cx)?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.near).poll_read(cx, buf))?;
        Poll::Ready(if buf.filled().len() == before { self.failed() } else { Ok(()) })
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.look(cx)?;
        let written = ready!(Pin::new(&mut self.near).poll_write(cx, bytes));
        // Its other half is gone: the thread has said why, if there was an error.
        Poll::Ready(written.or_else(|_| self.failed().map(|()| 0)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.near).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.near).poll_shutdown(cx)
    }
}

/// The life of the thread: opens, carries bytes in both directions until the port or its source has ended, and closes.
fn carry(path: &Path, uart: Uart, far: DuplexStream, shared: &Shared, tell: oneshot::Sender<Result<(), String>>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            let _ = tell.send(Err(format!("its thread cannot wait for it: {e}")));
            return;
        }
    };
    runtime.block_on(async {
        let mut port = match shared.during(Call::Open, || open::open(path, uart)) {
            Ok(port) => port,
            Err(reason) => {
                let _ = tell.send(Err(reason));
                return;
            }
        };
        // Nobody waits for it any more where the daemon is stopping.
        let mut discard = tell.send(Ok(())).is_err();
        if !discard {
            let mut watched = Watched { port: &mut port, shared };
            tokio::select! {
                by = exchange(&mut watched, far, shared) => discard = by == By::Port,
                () = shared.discarded.notified() => {}
            }
        }
        discard |= shared.discard.load(Ordering::Acquire);
        shared.during(Call::Close, || open::close(port, discard));
    });
}

/// Who has ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Port,
    Source,
}

/// Until the port has ended, or the source has and all that it wanted to write is with the kernel.
async fn exchange(port: &mut Watched<'_>, far: DuplexStream, shared: &Shared) -> By {
    let (mut port_in, mut port_out) = tokio::io::split(port);
    let (mut from_source, mut to_source) = tokio::io::split(far);
    let reading = async {
        let mut chunk = vec![0; CHUNK];
        loop {
            match port_in.read(&mut chunk).await {
                Ok(0) => return Ok(By::Port),
                Ok(n) => {
                    if to_source.write_all(&chunk[..n]).await.is_err() {
                        // The source has ended; what it wanted to write is still to be written.
                        return std::future::pending().await;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    };
    let writing = async {
        let mut chunk = vec![0; CHUNK];
        loop {
            match from_source.read(&mut chunk).await {
                Ok(0) | Err(_) => return Ok(By::Source),
                Ok(n) => port_out.write_all(&chunk[..n]).await?,
            }
        }
    };
    let ended: io::Result<By> = tokio::select! {
        ended = reading => ended,
        ended = writing => ended,
    };
    // Before `far` goes: the source then asks why.
    ended.unwrap_or_else(|error| {
        *lock(&shared.error) = Some(error);
        By::Port
    })
}

/// A port whose calls are noted.
struct Watched<'a> {
    port: &'a mut SerialStream,
    shared: &'a Shared,
}

impl AsyncRead for Watched<'_> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.shared.during(Call::Read, || Pin::new(&mut *this.port).poll_read(cx, buf))
    }
}

impl AsyncWrite for Watched<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.shared.during(Call::Write, || Pin::new(&mut *this.port).poll_write(cx, bytes))
    }

    // Nothing is kept back that could be flushed, and waiting for the wire would hold the thread.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
