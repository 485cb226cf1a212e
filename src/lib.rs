//! Gadwall reads the frames of sensor nodes, commits them in batches into one DuckDB file, and answers questions.
//!
//! The modules, in the direction of the data:
//!
//! - [`config`]: what the user wants
//! - [`reading`]: what travels between the stages
//! - [`zone`]: local time; pure
//! - [`metrics`], [`clock`]: what is counted, and what time it is
//! - [`budget`]: bytes written and memory, what of them may be used, and what is done about it
//! - [`codec`]: bytes to readings; pure
//! - [`source`]: serial ports and brokers
//! - [`pipeline`]: the bounded channel and the batch
//! - [`quality`]: how complete and how plausible the readings of a series are; pure
//! - `store`: the DuckDB file, one writer and few readers
//! - `serve`: HTTP
//! - `service`: the life of the process
//! - `cli`: the command line
//! - [`demo`], [`status`]: commands that run and ask a daemon
//! - [`decode`], [`sniff`]: what the daemon would make of some bytes, and of what a broker has
//! - `doctor`, `compact`: commands that repair a database and make its file smaller

pub mod budget;
#[cfg(feature = "store")]
pub mod cli;
pub mod clock;
pub mod codec;
#[cfg(feature = "store")]
pub mod compact;
pub mod config;
pub mod decode;
pub mod demo;
#[cfg(feature = "store")]
pub mod doctor;
pub mod metrics;
pub mod pipeline;
pub mod quality;
pub mod reading;
#[cfg(feature = "store")]
pub mod serve;
#[cfg(feature = "store")]
pub mod service;
pub mod sniff;
pub mod source;
pub mod status;
#[cfg(feature = "store")]
pub mod store;
// Without DuckDB, what of the store decodes bytes and needs none: for the fuzz targets.
#[cfg(not(feature = "store"))]
#[path = "store/pure.rs"]
pub mod store;
pub mod zone;
