//! The side that accepted. It proves nothing to a peer that has proved nothing.

use alloc::boxed::Box;
use core::{mem, str};

use bytes::Bytes;
use hmac::Mac;

use super::frames::{self, Challenge, Hello};
use super::{Claimed, HandshakeFailure, Keyed, LocalHello, RejectCode};
use crate::wire::keys::{Root, Secrets, Transcript, TranscriptHash};
use crate::{NodeId, PeerFault};

/// What follows from a frame.
#[derive(Clone, Debug)]
pub(crate) enum ResponderStep {
    /// The initiator proved itself: send this frame; what follows it are records.
    Done(Bytes, Box<Keyed>),
    /// Send this frame.
    Send(Bytes),
}

/// A handshake of the side that accepted.
#[derive(Clone, Debug)]
pub(crate) struct Responder {
    said: Said,
    state: State,
}

/// The identities that the initiator's first frame names, before anything is proved: those that are in canonical form, and so bounded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    /// Who it claims to be.
    pub(crate) claimed: Option<NodeId>,
    /// Whom it wants, where that is another node.
    pub(crate) wanted: Option<NodeId>,
}

impl Said {
    fn of(local: &LocalHello<'_>, hello: &Hello<'_>) -> Self {
        let wanted = str::from_utf8(hello.target).ok().and_then(frames::canonical_id);
        Self { claimed: hello.from.node_id().ok(), wanted: wanted.filter(|wanted| wanted != local.id) }
    }
}

#[derive(Clone, Debug)]
enum State {
    AwaitingAuth { peer: Claimed, th: TranscriptHash },
    AwaitingHello { nonce: [u8; 32] },
    Ended,
}

impl Responder {
    pub(crate) fn new(nonce: [u8; 32]) -> Self {
        Self { said: Said::default(), state: State::AwaitingHello { nonce } }
    }

    /// Whether the initiator's first frame has come.
    pub(crate) fn is_half_done(&self) -> bool {
        matches!(self.state, State::AwaitingAuth { .. })
    }

    /// Whom the initiator has named.
    pub(crate) const fn said(&self) -> &Said {
        &self.said
    }

    /// Takes a frame, without its length prefix. After a failure or the last step every frame is a fault.
    pub(crate) fn on_frame(&mut self, local: &LocalHello<'_>, frame: &[u8]) -> Result<ResponderStep, HandshakeFailure> {
        match mem::replace(&mut self.state, State::Ended) {
            State::AwaitingAuth { peer, th } => {
                let proof = frames::parse_auth(frame)?;
                let root = proved(local.secrets, &th, &proof).ok_or(HandshakeFailure::Fault {
                    fault: PeerFault::AuthenticationFailed,
                    reject: Some(RejectCode::AuthenticationFailed),
                })?;
                let keys = root.session(&th);
                let auth_ok = frames::auth_ok_frame(keys.auth_ok().finalize().as_bytes());
                Ok(ResponderStep::Done(
                    auth_ok,
                    Box::new(peer.proved(root.clone(), keys.responder_data(), keys.initiator_data())),
                ))
            }
            State::AwaitingHello { nonce } => {
                let bad = |fault| HandshakeFailure::Fault { fault, reject: reject_code(fault) };
                let hello = Hello::parse(frame).map_err(bad)?;
                self.said = Said::of(local, &hello);
                let peer = check(local, &nonce, &hello).map_err(bad)?;
                let challenge = Challenge::encode(&local.announcement(nonce), peer.version);
                let mut transcript = Transcript::new(local.context);
                transcript.add(frame);
                transcript.add(frames::unprefixed(&challenge));
                self.state = State::AwaitingAuth { peer, th: transcript.finish() };
                Ok(ResponderStep::Send(challenge))
            }
            State::Ended => Err(PeerFault::UnexpectedMessage.into()),
        }
    }
}

fn check(local: &LocalHello<'_>, nonce: &[u8; 32], hello: &Hello<'_>) -> Result<Claimed, PeerFault> {
    let Hello { from, target, version } = hello;
    local.check_policy(from)?;
    let interval_ms = from.valid_interval_ms()?;
    let id = from.node_id()?;
    if !target.is_empty() && *target != local.id.as_str().as_bytes() {
        return Err(PeerFault::WrongTarget);
    }
    if from.nonce == *nonce {
        return Err(PeerFault::NonceReused);
    }
    Ok(Claimed { caps: from.caps, id, incarnation: from.incarnation, interval_ms, version: *version })
}

/// What the sender of a bad HELLO is told. Whatever has no code here is not answered.
fn reject_code(fault: PeerFault) -> Option<RejectCode> {
    match fault {
        PeerFault::AuthenticationMissing => Some(RejectCode::AuthenticationRequired),
        PeerFault::AuthenticationNotOffered => Some(RejectCode::AuthenticationNotOffered),
        PeerFault::VersionMismatch => Some(RejectCode::Version),
        PeerFault::WrongTarget => Some(RejectCode::WrongTarget),
        _ => None,
    }
}

/// The root that the proof was made with. All are tried, whichever fits, so that the time taken does not tell which.
fn proved<'a>(secrets: &'a Secrets, th: &TranscriptHash, proof: &[u8]) -> Option<&'a Root> {
    let mut found = None;
    for root in secrets.iter() {
        if root.session(th).auth().verify_slice(proof).is_ok() {
            found = found.or(Some(root));
        }
    }
    found
}
