//! Sessions and membership.
//!
//! A part is a struct that owns its state; none names another one. [`node`] alone knows all of them, and carries what one says to the others.
//! What is to happen elsewhere, in its order, is an [`effect`];
//! what the layers above are told is an [`event`].
//!
//! | part | what it decides |
//! |---|---|
//! | `links` | connections before and while they are authenticated: limits, handshakes, closing |
//! | `session` | one authenticated session: records in and out, credit |
//! | `pairing` | which session of a pair is used |
//! | `peers` | who is up, the digest of the view, how long the lost are remembered |
//! | `detector` | heartbeats, silence, the node's own pauses |
//! | `dialler` | whom to dial and when: seeds, lookups, slots, backoff |
//! | `gossip` | who asks whom for members, and what becomes of the answer |
//! | `reporter` | what the application is told of peers, and how often |

pub(crate) mod abstraction;
pub(crate) mod addresses;
mod close;
pub(crate) mod cx;
pub(crate) mod detector;
pub(crate) mod dialler;
pub(crate) mod effect;
pub(crate) mod event;
pub(crate) mod gossip;
pub(crate) mod host;
pub(crate) mod links;
pub(crate) mod lookups;
pub(crate) mod node;
pub(crate) mod pairing;
pub(crate) mod peers;
pub(crate) mod reporter;
pub(crate) mod reports;
pub(crate) mod send_queue;
pub(crate) mod session;
