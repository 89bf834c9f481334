//! The side that dialled. It proves itself first.

use alloc::boxed::Box;
use core::mem;

use bytes::Bytes;
use hmac::Mac;

use super::frames::{self, Challenge, Hello};
use super::{Claimed, HandshakeFailure, Keyed, LocalHello};
use crate::wire::keys::{Root, SessionKeys, Transcript};
use crate::{NodeId, PeerFault};

/// What follows from a frame.
#[derive(Clone, Debug)]
pub(crate) enum InitiatorStep {
    /// The responder proved itself.
    Done(Box<Keyed>),
    /// Send this frame.
    Send(Bytes),
}

/// A handshake of the side that dialled.
#[derive(Clone, Debug)]
pub(crate) struct Initiator(State);

#[derive(Clone, Debug)]
enum State {
    AwaitingAuthOk { keys: SessionKeys, peer: Claimed, root: Root },
    AwaitingChallenge { nonce: [u8; 32], target: Option<NodeId>, transcript: Transcript },
    Ended,
}

impl Initiator {
    /// Begins a handshake with the node `target`, or with any where that is not known, by the frame that is to be sent.
    pub(crate) fn start(local: &LocalHello<'_>, nonce: [u8; 32], target: Option<&NodeId>) -> (Self, Bytes) {
        let hello = Hello::encode(&local.announcement(nonce), target.map_or("", NodeId::as_str));
        let mut transcript = Transcript::new(local.context);
        transcript.add(frames::unprefixed(&hello));
        (Self(State::AwaitingChallenge { nonce, target: target.cloned(), transcript }), hello)
    }

    /// Whether the responder's first frame has come.
    pub(crate) fn is_half_done(&self) -> bool {
        matches!(self.0, State::AwaitingAuthOk { .. })
    }

    /// By which root this side has proved itself, once it has.
    pub(crate) const fn proved(&self) -> Option<&Root> {
        match &self.0 {
            State::AwaitingAuthOk { root, .. } => Some(root),
            State::AwaitingChallenge { .. } | State::Ended => None,
        }
    }

    /// Takes a frame, without its length prefix. After a failure or the last step every frame is a fault.
    pub(crate) fn on_frame(&mut self, local: &LocalHello<'_>, frame: &[u8]) -> Result<InitiatorStep, HandshakeFailure> {
        let state = mem::replace(&mut self.0, State::Ended);
        if !matches!(state, State::Ended)
            && let Some(refusal) = frames::parse_reject(frame)?
        {
            return Err(HandshakeFailure::Refused(refusal));
        }
        match state {
            State::AwaitingAuthOk { keys, peer, root } => {
                let proof = frames::parse_auth_ok(frame)?;
                keys.auth_ok().verify_slice(&proof).map_err(|_| PeerFault::AuthenticationFailed)?;
                Ok(InitiatorStep::Done(Box::new(peer.proved(root, keys.initiator_data(), keys.responder_data()))))
            }
            State::AwaitingChallenge { nonce, target, mut transcript } => {
                let peer = check(local, &nonce, target.as_ref(), frame)?;
                transcript.add(frame);
                let root = local.secrets.primary.clone();
                let keys = root.session(&transcript.finish());
                let auth = frames::auth_frame(keys.auth().finalize().as_bytes());
                self.0 = State::AwaitingAuthOk { keys, peer, root };
                Ok(InitiatorStep::Send(auth))
            }
            State::Ended => Err(PeerFault::UnexpectedMessage.into()),
        }
    }
}

fn check(local: &LocalHello<'_>, nonce: &[u8; 32], target: Option<&NodeId>, frame: &[u8]) -> Result<Claimed, PeerFault> {
    let Challenge { from, version } = Challenge::parse(frame)?;
    local.check_policy(&from)?;
    let interval_ms = from.valid_interval_ms()?;
    let id = from.node_id()?;
    if target.is_some_and(|target| *target != id) {
        return Err(PeerFault::WrongTarget);
    }
    if from.nonce == *nonce {
        return Err(PeerFault::NonceReused);
    }
    Ok(Claimed { caps: from.caps, id, incarnation: from.incarnation, interval_ms, version })
}
