//! What is on the wire: frames, handshakes, records and messages, as bytes.

pub(crate) mod digest;
pub(crate) mod frame;
pub(crate) mod handshake;
pub(crate) mod keys;
pub(crate) mod message;
pub(crate) mod names;
pub(crate) mod record;
pub(crate) mod refuse_code;
pub(crate) mod signal;
