//! Bytes in, readings out: no clock, no I/O.

pub mod hub_lines;
pub mod lines;
pub mod topic;
