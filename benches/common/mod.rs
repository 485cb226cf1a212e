//! What the benchmarks share: the readings that they store, a store without a daemon around it, what the machine counts,
//! and where results go.

pub mod data;
pub mod feed;
pub mod machine;
pub mod result;
