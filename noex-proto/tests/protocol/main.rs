//! The protocol by its public interface: one test program, so that a change is linked and tried once.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::duplicate_mod, reason = "some tests run in more than one condition")]

mod net;

// Some tests run in more than one condition: a module for each has them once more, and says in `condition` what it is.

/// Hosts are fresh, and those that watch a peer have its interval.
mod condition {
    pub(crate) use crate::net::conditions::{fresh as network, same as watching};
}

/// All hosts have thirty seconds of pauses behind them: what waits for a peer does not depend on pauses before.
#[path = "."]
mod worn {
    mod condition {
        pub(crate) use crate::net::conditions::{same as watching, worn as network};
    }

    #[path = "detection.rs"]
    mod detection;
    #[path = "gossip.rs"]
    mod gossip;
    #[path = "pauses.rs"]
    mod pauses;
    #[path = "sessions.rs"]
    mod sessions;
}

/// The interval of those that watch a peer is a twentieth of the peer's.
#[path = "."]
mod quick {
    mod condition {
        pub(crate) use crate::net::conditions::{fresh as network, quicker as watching};
    }

    #[path = "detection.rs"]
    mod detection;
}

/// The interval of those that watch a peer is twenty times the peer's, and all have pauses behind them.
#[path = "."]
mod slow {
    mod condition {
        pub(crate) use crate::net::conditions::{slower as watching, worn as network};
    }

    #[path = "detection.rs"]
    mod detection;
    #[path = "sessions.rs"]
    mod sessions;
}

mod abstraction;
mod advertising;
mod arrangements;
mod authentication;
mod cluster_names;
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
mod processes;
mod rates;
mod reading;
mod reconnection;
mod recording;
mod seeds;
mod sessions;
mod strangers;
mod subscriptions;
mod texts;
mod transience;
