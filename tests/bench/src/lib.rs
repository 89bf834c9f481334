//! Work for the machine, to be measured: whole nodes in memory, on a network that takes no time.
//!
//! Each [`Work`] is set up once and then done by [`Ready::run`], so that instruction counts (`src/bin/count.rs`) and times
//! (`benches/`) are about the same thing.
#![forbid(unsafe_code)]

mod cluster;
mod work;

pub use cluster::Cluster;
pub use work::{Ready, Work};
