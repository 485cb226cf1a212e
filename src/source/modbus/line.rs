//! The line of a bus: one request at a time, the silence before it, and the answer among what comes.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::codec::modbus::frame::{Expected, LONGEST, REQUEST, Strays, answer_at};
use crate::config::{Parity, Uart};

/// Above this speed the silence between frames is [`SHORTEST`] ("MODBUS over Serial Line" 1.02, 2.5.1.1).
const FAST: u32 = 19_200;
const SHORTEST: Duration = Duration::from_micros(1_750);

/// Silence behind as many bytes as an answer has after which it will not become one. A converter on USB may keep bytes back
/// for 16 ms.
const BROKEN: Duration = Duration::from_millis(60);

/// Bytes that are looked through for an answer; more can only be noise.
const MAX_HELD: usize = 4 * LONGEST;

/// How long the line may take no bytes before it counts as gone.
const STALLED: Duration = Duration::from_secs(2);

/// Why there is no answer.
#[derive(Debug)]
pub(in crate::source) enum Missed {
    /// Nothing came in time.
    Silent,
    /// Bytes came, and no answer among them; whether there was a frame with a wrong CRC.
    Garbled { crc: bool },
    /// The port is lost.
    Gone(io::Error),
}

/// A port with a bus on it.
#[derive(Debug)]
pub(in crate::source) struct Line<P> {
    port: P,
    uart: Uart,
    timeout: Duration,
    // No byte is to be sent before it.
    quiet_at: Instant,
    /// What stood on the line beside answers, until it is taken away.
    pub(in crate::source) strays: Strays,
    /// Bytes received since the last look.
    pub(in crate::source) received: u64,
}

impl<P: AsyncRead + AsyncWrite + Unpin> Line<P> {
    /// A port that was just opened; a unit has `timeout` to begin its answer.
    pub(in crate::source) fn new(port: P, uart: Uart, timeout: Duration) -> Self {
        let mut line = Self { port, uart, timeout, quiet_at: Instant::now(), strays: Strays::default(), received: 0 };
        line.heard();
        line
    }

    /// The port, to be closed.
    pub(in crate::source) fn into_port(self) -> P {
        self.port
    }

    /// Sends a request and waits for its answer, or for the exception in its place. What stood on the line before is
    /// dropped, and no byte is sent before the line was silent for 3.5 characters.
    pub(in crate::source) async fn ask(
        &mut self,
        request: &[u8; REQUEST],
        expected: Expected,
    ) -> Result<Vec<u8>, Missed> {
        self.settle().await.map_err(Missed::Gone)?;
        let sent = timeout(STALLED, async {
            self.port.write_all(request).await?;
            self.port.flush().await
        });
        match sent.await {
            Ok(sent) => sent.map_err(Missed::Gone)?,
            Err(_) => return Err(Missed::Gone(io::Error::other("it takes no bytes"))),
        }
        let on_line = takes(self.uart, REQUEST);
        self.quiet_at = Instant::now() + on_line + silence(self.uart);
        let until = Instant::now() + on_line + self.timeout + takes(self.uart, expected.len());
        self.answer(request, expected, until).await
    }

    async fn answer(&mut self, request: &[u8], expected: Expected, until: Instant) -> Result<Vec<u8>, Missed> {
        let mut held: Vec<u8> = Vec::new();
        loop {
            let patience = if held.len() >= expected.len() { until.min(Instant::now() + BROKEN) } else { until };
            let mut chunk = [0; LONGEST];
            let Ok(read) = timeout_at(patience, self.read(&mut chunk)).await else { break };
            held.extend_from_slice(&chunk[..read.map_err(Missed::Gone)?]);
            if let Some(found) = expected.find(&held) {
                self.strays.note(&held[..found.start], Some(expected));
                self.strays.note(&held[found.end..], Some(expected));
                return Ok(held[found].to_vec());
            }
            // Some converters hear what they send; another unit may be late. The answer is still to come.
            if held.starts_with(request) {
                held.drain(..REQUEST);
            }
            while let Some(len) = answer_at(&held) {
                self.strays.note(&held[..len], None);
                held.drain(..len);
            }
            if held.len() > MAX_HELD {
                let rest = held.split_off(held.len() - LONGEST);
                self.strays.note(&held, Some(expected));
                held = rest;
            }
        }
        if held.is_empty() {
            return Err(Missed::Silent);
        }
        let before = self.strays.crc_errors;
        self.strays.note(&held, Some(expected));
        Err(Missed::Garbled { crc: self.strays.crc_errors > before })
    }

    /// Listens until `until`: what comes was not asked for.
    ///
    /// # Errors
    /// The port is lost.
    pub(in crate::source) async fn listen(&mut self, until: Instant) -> io::Result<()> {
        let mut held = Vec::new();
        let mut chunk = [0; LONGEST];
        loop {
            // What belongs together comes together.
            let patience = if held.is_empty() { until } else { until.min(Instant::now() + BROKEN) };
            if let Ok(read) = timeout_at(patience, self.read(&mut chunk)).await {
                held.extend_from_slice(&chunk[..read?]);
            } else {
                self.strays.note(&held, None);
                if Instant::now() >= until {
                    return Ok(());
                }
                held.clear();
            }
            if held.len() > MAX_HELD {
                self.strays.note(&std::mem::take(&mut held), None);
            }
        }
    }

    /// Waits until the line was silent for long enough; not longer than a unit has for its answer, or one that never is
    /// silent would hold everything.
    async fn settle(&mut self) -> io::Result<()> {
        let until = Instant::now() + self.timeout;
        let mut held = Vec::new();
        let mut chunk = [0; LONGEST];
        // Looked at once in any case: what waits in the kernel is older than the request.
        loop {
            match timeout_at(self.quiet_at.min(until), self.read(&mut chunk)).await {
                Ok(read) => held.extend_from_slice(&chunk[..read?]),
                Err(_) if Instant::now() >= self.quiet_at.min(until) => break,
                Err(_) => {}
            }
            if held.len() > MAX_HELD {
                self.strays.note(&std::mem::take(&mut held), None);
            }
        }
        self.strays.note(&held, None);
        Ok(())
    }

    async fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.port.read(chunk).await {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    self.received += n as u64;
                    self.heard();
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => sleep(Duration::ZERO).await,
                Err(e) => return Err(e),
            }
        }
    }

    fn heard(&mut self) {
        self.quiet_at = Instant::now() + silence(self.uart);
    }
}

/// How long `bytes` are on the line.
pub(in crate::source) fn takes(uart: Uart, bytes: usize) -> Duration {
    let parity = u32::from(uart.parity != Parity::None);
    let bits = u64::from(1 + u32::from(uart.data_bits) + parity + u32::from(uart.stop_bits)) * bytes as u64;
    Duration::from_nanos(bits * 1_000_000_000 / u64::from(uart.baud.max(1)))
}

/// The silence between two frames: 3.5 characters.
fn silence(uart: Uart) -> Duration {
    if uart.baud > FAST { SHORTEST } else { takes(uart, 7) / 2 }
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;

    use super::*;
    use crate::codec::modbus::Function;
    use crate::codec::modbus::frame::sealed;

    const UART: Uart = Uart { baud: 9_600, data_bits: 8, parity: Parity::None, stop_bits: 1 };

    fn on_runtime<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    fn line() -> (Line<DuplexStream>, DuplexStream) {
        let (near, far) = tokio::io::duplex(1_024);
        (Line::new(near, UART, Duration::from_millis(500)), far)
    }

    fn request() -> ([u8; REQUEST], Expected) {
        let request = sealed(&[2, 3, 0, 100, 0, 1]).try_into().unwrap();
        (request, Expected::new(2, Function::Holding, 1))
    }

    #[test]
    fn frames_are_parted_by_three_and_a_half_characters() {
        assert_eq!(silence(UART), Duration::from_nanos(3_645_833));
        assert_eq!(silence(Uart { parity: Parity::Even, ..UART }), Duration::from_nanos(4_010_416));
        assert_eq!(silence(Uart { baud: 115_200, ..UART }), SHORTEST);
        assert_eq!(takes(UART, 8), Duration::from_nanos(8_333_333));
    }

    #[test]
    fn an_answer_in_pieces_behind_an_echo_and_a_late_one_of_another_unit() {
        on_runtime(async {
            let (mut line, mut far) = line();
            let (request, expected) = request();
            let answer = sealed(&[2, 3, 2, 0, 7]);
            let device = async {
                let mut heard = [0; REQUEST];
                far.read_exact(&mut heard).await.unwrap();
                assert_eq!(heard, request);
                far.write_all(&request).await.unwrap();
                sleep(Duration::from_millis(100)).await;
                far.write_all(&sealed(&[9, 3, 2, 0, 1])).await.unwrap();
                sleep(Duration::from_millis(80)).await;
                for byte in &answer {
                    sleep(Duration::from_millis(10)).await;
                    far.write_all(&[*byte]).await.unwrap();
                }
            };
            let (got, ()) = tokio::join!(line.ask(&request, expected), device);
            assert_eq!(got.unwrap(), answer);
            assert_eq!(line.strays, Strays { answers: vec![9], ..Strays::default() });
        });
    }

    #[test]
    fn what_waits_on_the_line_is_older_than_the_request() {
        on_runtime(async {
            let (mut line, mut far) = line();
            let (request, expected) = request();
            // A late answer that looks like the one to the next request.
            far.write_all(&sealed(&[2, 3, 2, 0, 1])).await.unwrap();
            let began = Instant::now();
            let device = async {
                let mut heard = [0; REQUEST];
                far.read_exact(&mut heard).await.unwrap();
                assert!(began.elapsed() >= silence(UART), "sent after {:?}", began.elapsed());
                far.write_all(&sealed(&[2, 3, 2, 0, 2])).await.unwrap();
            };
            let (got, ()) = tokio::join!(line.ask(&request, expected), device);
            assert_eq!(got.unwrap()[4], 2);
            assert_eq!(line.strays.answers, [2]);
        });
    }

    #[test]
    fn a_silent_unit_costs_its_time_and_a_wrong_crc_less() {
        on_runtime(async {
            let (mut line, mut far) = line();
            let (request, expected) = request();
            let began = Instant::now();
            assert!(matches!(line.ask(&request, expected).await, Err(Missed::Silent)));
            let took = began.elapsed().as_millis();
            assert!(took >= 508, "{took} ms");
            let mut wrong = sealed(&[2, 3, 2, 0, 7]);
            wrong[4] = 8;
            let began = Instant::now();
            let device = async {
                let mut heard = [0; 2 * REQUEST];
                far.read_exact(&mut heard).await.unwrap();
                far.write_all(&wrong).await.unwrap();
            };
            let (got, ()) = tokio::join!(line.ask(&request, expected), device);
            assert!(matches!(got, Err(Missed::Garbled { crc: true })), "{got:?}");
            assert!(began.elapsed() < Duration::from_millis(450), "{:?}", began.elapsed());
            assert_eq!(line.strays, Strays { crc_errors: 1, ..Strays::default() });
        });
    }

    #[test]
    fn a_line_that_babbles_is_bounded_and_one_that_ends_is_gone() {
        on_runtime(async {
            let (mut line, mut far) = line();
            let (request, expected) = request();
            let babble = async {
                loop {
                    far.write_all(&[0x55; 64]).await.unwrap();
                    let mut heard = [0; 64];
                    let _ = timeout(Duration::from_millis(1), far.read(&mut heard)).await;
                }
            };
            let began = Instant::now();
            tokio::select! {
                got = line.ask(&request, expected) => assert!(matches!(got, Err(Missed::Garbled { crc: false }))),
                () = babble => {}
            }
            assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
            assert!(line.strays.skipped >= 64);
            drop(far);
            assert!(matches!(line.ask(&request, expected).await, Err(Missed::Gone(_))));
        });
    }
}
