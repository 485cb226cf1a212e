//! Black-box tests: the real binary against a real mosquitto, a real pseudo-terminal and a real DuckDB file.
//!
//! They are one test binary, because each one links DuckDB. What they need and do not find (mosquitto) makes them fail.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the tests choose their numbers, and they are small"
)]
#![expect(clippy::print_stderr, reason = "a test that fails shows the logs of the processes that it started")]

mod compact;
mod damage;
mod documents;
mod durability;
#[expect(dead_code, reason = "the fault suite uses more of it")]
mod harness;
mod http;
mod hub;
mod invariants;
mod json_lines;
mod life;
mod memory;
mod modbus;
mod mqtt;
mod polled;
mod ports;
mod publishers;
mod quality;
mod recovery;
mod rollups;
mod serial_formats;
mod sniff_port;
mod space;
mod statistics;
mod time;
mod written;
