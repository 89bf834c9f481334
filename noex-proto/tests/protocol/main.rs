//! The protocol by its public interface: one test program, so that a change is linked and tried once.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod net;

mod abstraction;
mod advertising;
mod arrangements;
mod authentication;
mod config;
mod detection;
mod environment;
mod faults;
mod formation;
mod gossip;
mod laws;
mod leaving;
mod limits;
mod names;
mod node_id;
mod pauses;
mod payloads;
mod reading;
mod reconnection;
mod recording;
mod seeds;
mod sessions;
mod strangers;
mod subscriptions;
mod texts;
mod transience;
