//! Requests and answers in Modbus' own terms: tokio-modbus writes and reads the frames, and the line carries them. Between the
//! two stands a pair of buffers, so that the client never sees a byte that is not of the answer it waits for.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio_modbus::client::{Client as _, Context, rtu};
use tokio_modbus::slave::SlaveContext as _;
use tokio_modbus::{Request, Response, Slave};

use super::line::{Line, Missed};
use crate::codec::modbus::Function;
use crate::codec::modbus::frame::{Expected, LONGEST, REQUEST};
use crate::codec::modbus::plan::Read;

/// What a unit has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Words(Vec<u16>),
    Bits(Vec<bool>),
    /// An exception, by its code.
    Exception(u8),
}

/// The client of one connection. It is of no use any more when an exchange was given up by its caller.
pub(super) struct Client {
    context: Context,
    far: DuplexStream,
}

impl Client {
    pub(super) fn new() -> Self {
        let (near, far) = duplex(2 * LONGEST);
        Self { context: rtu::attach(near), far }
    }

    /// Asks a unit, and waits for its answer.
    pub(super) async fn exchange<P: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        line: &mut Line<P>,
        read: &Read,
    ) -> Result<Answer, Missed> {
        let Self { context, far } = self;
        context.set_slave(Slave(read.unit));
        let call = context.call(match read.function {
            Function::Coil => Request::ReadCoils(read.address, read.count),
            Function::Discrete => Request::ReadDiscreteInputs(read.address, read.count),
            Function::Holding => Request::ReadHoldingRegisters(read.address, read.count),
            Function::Input => Request::ReadInputRegisters(read.address, read.count),
        });
        let carry = async {
            let mut request = [0; REQUEST];
            far.read_exact(&mut request).await.map_err(Missed::Gone)?;
            let expected = Expected::new(read.unit, read.function, read.count);
            let answer = line.ask(&request, expected).await?;
            far.write_all(&answer).await.map_err(Missed::Gone)?;
            // The client has it, and ends this.
            std::future::pending::<Result<(), Missed>>().await
        };
        tokio::select! {
            answer = call => match answer {
                Ok(Ok(Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits))) => Ok(Answer::Bits(bits)),
                Ok(Ok(Response::ReadHoldingRegisters(words) | Response::ReadInputRegisters(words))) => {
                    Ok(Answer::Words(words))
                }
                Ok(Err(exception)) => Ok(Answer::Exception(exception.into())),
                // The line has looked at the frame: this does not happen.
                Ok(Ok(_)) | Err(_) => Err(Missed::Garbled { crc: false }),
            },
            missed = carry => Err(missed.err().unwrap_or(Missed::Silent)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::codec::modbus::frame::sealed;
    use crate::config::Uart;

    fn read(unit: u8, function: Function, address: u16, count: u16) -> Read {
        Read { unit, function, address, count, registers: vec![0] }
    }

    #[test]
    fn requests_and_answers_byte_for_byte() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (near, mut far) = duplex(1_024);
            let mut line = Line::new(near, Uart::default(), Duration::from_millis(100));
            let mut client = Client::new();
            for (read, request, answer, expected) in [
                // The examples of the application protocol's 6.1 to 6.4.
                (
                    read(17, Function::Coil, 0x13, 0x13),
                    &[17, 1, 0, 0x13, 0, 0x13][..],
                    &[17, 1, 3, 0xCD, 0x6B, 0x05][..],
                    Answer::Bits((0..19).map(|i| [0xCD, 0x6B, 0x05][i / 8] >> (i % 8) & 1 == 1).collect()),
                ),
                (
                    read(17, Function::Discrete, 0xC4, 3),
                    &[17, 2, 0, 0xC4, 0, 3],
                    &[17, 2, 1, 0x05],
                    Answer::Bits(vec![true, false, true]),
                ),
                (
                    read(17, Function::Holding, 0x6B, 3),
                    &[17, 3, 0, 0x6B, 0, 3],
                    &[17, 3, 6, 0x02, 0x2B, 0, 0, 0, 0x64],
                    Answer::Words(vec![555, 0, 100]),
                ),
                (read(17, Function::Input, 8, 1), &[17, 4, 0, 8, 0, 1], &[17, 4, 2, 0, 10], Answer::Words(vec![10])),
                (read(2, Function::Holding, 9, 2), &[2, 3, 0, 9, 0, 2], &[2, 0x83, 2], Answer::Exception(2)),
                (read(2, Function::Holding, 9, 2), &[2, 3, 0, 9, 0, 2], &[2, 0x83, 77], Answer::Exception(77)),
            ] {
                let device = async {
                    let mut heard = [0; REQUEST];
                    far.read_exact(&mut heard).await.unwrap();
                    assert_eq!(heard[..], sealed(request));
                    far.write_all(&sealed(answer)).await.unwrap();
                };
                let (got, ()) = tokio::join!(client.exchange(&mut line, &read), device);
                let got = match (got.unwrap(), &expected) {
                    // Bits come by the byte.
                    (Answer::Bits(mut got), Answer::Bits(expected)) => {
                        got.truncate(expected.len());
                        Answer::Bits(got)
                    }
                    (got, _) => got,
                };
                assert_eq!(got, expected);
                // One that is not answered leaves nothing behind.
                assert!(matches!(client.exchange(&mut line, &read).await, Err(Missed::Silent)));
                let mut heard = [0; REQUEST];
                far.read_exact(&mut heard).await.unwrap();
            }
        });
    }
}
