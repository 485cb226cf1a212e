//! Bytes in, readings out: no clock, no I/O.

pub mod topic;
