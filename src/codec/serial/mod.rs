//! What sensors say on a serial line in bytes: framings around a payload, declarative layouts of binary payloads, and the
//! formats that have a framing of their own.
//!
//! All of it is pure. A stream is fed with bytes however they were cut, and what it finds does not depend on the cut. It
//! may begin in the middle of a frame; bytes may be lost, doubled or flipped: the next whole frame is found, and what was
//! passed over is counted (`skipped`). A stream holds no more than its longest frame. When the line was interrupted, the
//! caller adds `pending` bytes to what it counts and calls `forget`.
//!
//! - [`framing`]: lines, COBS, SLIP, a length in front, a fixed length, ended by silence; each with an optional CRC.
//! - [`layout`]: the fields of a binary payload, written down as text.
//! - [`nmea`], [`dsmr`], [`sds011`], [`pms`]: devices that talk by themselves.
//! - [`mh_z19`], [`senseair_s8`]: devices that are asked.
//! - [`mod@format`], [`protocol`], [`stream`]: all of these by the names of the configuration, as one stream of readings.

pub mod crc;
pub mod dsmr;
pub mod format;
pub mod framing;
pub mod hex;
pub mod layout;
pub mod mh_z19;
pub mod nmea;
pub mod pms;
pub mod protocol;
mod resync;
pub mod sds011;
pub mod senseair_s8;
pub mod stream;

pub use format::Format;
pub use protocol::{Keys, Protocol};
pub use stream::Stream;

#[cfg(test)]
mod streams;

/// Which byte of a number comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The least significant.
    #[default]
    Little,
    /// The most significant.
    Big,
}
