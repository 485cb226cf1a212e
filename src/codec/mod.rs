//! Bytes in, readings out: no clock, no I/O.

pub mod hub_lines;
pub mod json;
pub mod json_lines;
mod leaves;
pub mod lines;
pub mod modbus;
pub mod payload;
pub mod serial;
pub mod time;
pub mod topic;
