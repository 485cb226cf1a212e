//! Where readings come from: serial ports, buses and brokers. Each source is one task of a current-thread runtime; none blocks
//! it, and none of them knows the store, only the intake in front of it.

pub mod backoff;
pub mod dead_letters;
mod device;
pub mod modbus;
pub mod mqtt;
pub mod ports;
pub mod serial;
pub mod sniff;
