//! Bytes in, readings out: no clock, no I/O.

pub mod json;
pub mod json_lines;
mod leaves;
pub mod time;
pub mod topic;
