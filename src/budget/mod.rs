//! What the process may use up, and what it does as it comes near: bytes written, which wear out an SD card, and memory.
//!
//! - [`Written`] counts the bytes written by day ([`days`]), on the device as well where it can be told ([`device`]), and
//!   lengthens the flush interval where a day has a budget ([`pace`]).
//! - [`memory`] adds up what each part may take, and has the process shed load in order above its limit ([`pressure`]); [`heap`]
//!   keeps the C library from holding on to what was freed.

pub mod days;
pub mod device;
pub mod heap;
pub mod memory;
pub mod pace;
pub mod pressure;
pub mod written;

pub use written::{Row, Written};
