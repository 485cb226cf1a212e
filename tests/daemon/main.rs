//! Black-box tests: the real binary against a real mosquitto, a real pseudo-terminal and a real DuckDB file.
//!
//! They are one test binary, because each one links DuckDB. What they need and do not find (mosquitto) makes them fail.

mod durability;
mod harness;
mod http;
mod hub;
mod json_lines;
mod life;
mod mqtt;
