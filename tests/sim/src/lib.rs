//! Deterministic simulation of noex clusters.
//!
//! A [`World`] holds hosts, a network and virtual time, and runs the very state machine that real nodes run
//! ([`noex_proto::Machine`]), over connections whose latency, cuts, resets and stalls a scenario orders. Nothing waits in real time,
//! and the same calls always lead to the same run. After every step the invariants of the protocol are checked ([`Invariant`]); the
//! first one that is broken ends the run.
//!
//! ```
//! use std::time::Duration;
//!
//! use noex_proto::{ClusterConfig, ClusterEvent};
//! use noex_sim::World;
//!
//! let mut world = World::new(7);
//! let seed = world.id("a", 0);
//! world.start(0, ClusterConfig::new("a").host("10.0.0.1"))?;
//! world.start(1, ClusterConfig::new("b").host("10.0.0.2").seeds([seed.to_string()]))?;
//! world.run_for(Duration::from_secs(1))?;
//! assert!(world.is_mesh(&[0, 1]));
//!
//! world.crash(0);
//! world.run_for(Duration::from_secs(1))?;
//! let (_, last) = &world.events(1)[world.events(1).len() - 1];
//! assert!(matches!(last, ClusterEvent::NodeDown { id, .. } if *id == seed), "{}", world.text());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Plan`] is such a scenario as plain data, drawn from a seed or read from a file; it can be run, shrunk and written down. The
//! program `noex-sim` does that for many seeds. `docs/simulation.md` in the repository is the guide.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

#[cfg(feature = "app")]
pub mod app;
mod baseline;
mod coverage;
mod explore;
mod frames;
mod plan;
mod random;
mod recording;
mod safety;
#[cfg(test)]
mod tests;
mod timeline;
mod trace;
mod world;

pub use baseline::{Baseline, Moved};
pub use coverage::Coverage;
pub use explore::{Budget, Exploration, Scenario};
pub use noex_proto;
pub use plan::{Addr, Fault, InvalidPlan, Matters, NamePlan, NodePlan, Op, Outcome, Plan, STEP_BOUND, Seed, Step};
pub use recording::{Replay, ReplayError};
pub use safety::{Invariant, Violation};
pub use trace::{Line, text};
pub use world::{Chunking, Dialling, HostId, Latency, Resolving, Rogue, Script, Tampering, World};
