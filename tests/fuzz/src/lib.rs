//! What the fuzz targets do with an input: one function each, with all that they assert.
//!
//! The targets themselves, in `fuzz/` at the top of the repository, are one line each. The functions live here, so that an
//! ordinary test replays the committed corpus through them on a stable toolchain. `docs/fuzzing.md` says what each asserts.
#![forbid(unsafe_code)]

mod bodies;
mod driven;
mod frames;
mod handshake;
mod link;
mod machine;
mod member;
mod names;
mod node_ids;
mod peer;
mod processes;
mod replay;
mod signal;
mod signals;
mod tampering;
mod victim;

use arbitrary::{Arbitrary, Unstructured};

/// A function that takes an input of the fuzzer; it panics on a finding.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("bodies", bodies),
    ("frames", frames),
    ("handshake_initiator", handshake_initiator),
    ("handshake_responder", handshake_responder),
    ("link", link),
    ("machine", machine),
    ("names", names),
    ("node_ids", node_ids),
    ("replay", replay),
    ("signals", signals),
    ("tampering", tampering),
];

/// The bodies of messages, well signed.
pub fn bodies(data: &[u8]) {
    let _too_short = bodies::run(data);
}

/// The frame decoder.
pub fn frames(data: &[u8]) {
    let _too_short = frames::run(data);
}

/// Handshakes that a machine began.
pub fn handshake_initiator(data: &[u8]) {
    let _too_short = handshake::run(data, handshake::Role::Initiator);
}

/// Handshakes with a machine that was dialled.
pub fn handshake_responder(data: &[u8]) {
    let _too_short = handshake::run(data, handshake::Role::Responder);
}

/// Two machines and the network between them.
pub fn link(data: &[u8]) {
    let _too_short = link::run(data);
}

/// Arbitrary operations on a machine.
pub fn machine(data: &[u8]) {
    let _too_short = machine::run(data);
}

/// A member that lies of names.
pub fn names(data: &[u8]) {
    let _too_short = names::run(data);
}

/// Identities.
pub fn node_ids(data: &[u8]) {
    let _too_short = node_ids::run(data);
}

/// Recordings.
pub fn replay(data: &[u8]) {
    replay::run(data);
}

/// A hostile member among processes.
pub fn signals(data: &[u8]) {
    let _too_short = signals::run(data);
}

/// A recorded session, changed on its way.
pub fn tampering(data: &[u8]) {
    let _too_short = tampering::run(data);
}

/// Bytes of an input: their number in one byte, then as many, or as there are.
#[derive(Debug)]
struct Taken<'a>(&'a [u8]);

impl<'a> Arbitrary<'a> for Taken<'a> {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let len = usize::from(input.arbitrary::<u8>()?).min(input.len());
        input.bytes(len).map(Self)
    }
}
