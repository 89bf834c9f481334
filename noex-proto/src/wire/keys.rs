//! The key schedule: from a secret and a transcript to the keys of one session.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::iter;

use hmac::digest::CtOutput;
use hmac::digest::block_api::{Buffer, CoreProxy};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::{Secret, SecretUse};

/// HMAC-SHA256. Its state is wiped when it is dropped.
pub(crate) type HmacSha256 = Hmac<Sha256>;

/// A key that is prepared for any number of tags: the states of HMAC that it leads to. They are wiped when it is dropped.
#[derive(Clone)]
pub(crate) struct TagKey(<HmacSha256 as CoreProxy>::Core);

impl TagKey {
    pub(crate) fn new(key: HmacSha256) -> Self {
        Self(key.decompose().0)
    }

    /// A tag, to be fed.
    pub(crate) fn tag(&self) -> HmacSha256 {
        HmacSha256::compose(self.0.clone(), Buffer::<<HmacSha256 as CoreProxy>::Core>::default())
    }
}

/// The transcript hash: what both sides of a handshake said, under their cluster's name.
pub(crate) type TranscriptHash = [u8; 32];

/// The size of a handshake proof.
pub(crate) const PROOF_LEN: usize = 32;

const AUTH_LABEL: &[u8] = b"noex/1 AUTH\0";
const AUTH_OK_LABEL: &[u8] = b"noex/1 AUTH_OK\0";

/// HMAC-SHA256 with this key, prepared.
pub(crate) fn hmac(key: &[u8]) -> HmacSha256 {
    HmacSha256::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// What a secret becomes before it is used. It is wiped when the last of its clones is dropped, compared in constant time and not shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Root(Arc<CtOutput<HmacSha256>>);

impl Root {
    /// The root of a cluster without a secret. It is public, and keeps accidents out, not attackers.
    pub(crate) fn open() -> Self {
        Self::derive(b"noex/1 open")
    }

    /// The root of a secret.
    pub(crate) fn from_secret(secret: &Secret) -> Self {
        Self::derive(secret.as_bytes())
    }

    fn derive(secret: &[u8]) -> Self {
        Self(Arc::new(hmac(b"noex/1 psk").chain_update(secret).finalize()))
    }

    /// The keys of the session with this transcript.
    pub(crate) fn session(&self, th: &TranscriptHash) -> SessionKeys {
        SessionKeys { prk: hmac(self.0.as_bytes()).chain_update(b"noex/1 session\0").chain_update(th).finalize(), th: *th }
    }
}

/// What a node proves itself with, and what it accepts.
#[derive(Clone, Debug)]
pub(crate) struct Secrets {
    /// Further roots that a peer may prove.
    pub(crate) accepted: Vec<Root>,
    /// The root that this node proves itself with, and accepts.
    pub(crate) primary: Root,
    /// Whether they are secret at all. Where not, peers that require a proof are not talked to, nor the other way round.
    pub(crate) required: bool,
}

impl Secrets {
    /// Those of a configuration; without a primary secret, those of a node without any.
    pub(crate) fn new(primary: Option<&Secret>, accepted: &[Secret]) -> Self {
        match primary {
            Some(primary) => Self {
                accepted: accepted.iter().map(Root::from_secret).collect(),
                primary: Root::from_secret(primary),
                required: true,
            },
            None => Self::open(),
        }
    }

    /// What a root is to this node now.
    pub(crate) fn use_of(&self, root: &Root) -> SecretUse {
        if *root == Root::open() {
            SecretUse::Open
        } else if *root == self.primary {
            SecretUse::Primary
        } else {
            self.accepted.iter().position(|accepted| accepted == root).map_or(SecretUse::Retired, SecretUse::Accepted)
        }
    }

    /// Those of a node without a secret.
    pub(crate) fn open() -> Self {
        Self { accepted: Vec::new(), primary: Root::open(), required: false }
    }

    /// Every root that a peer may prove, the primary one first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Root> {
        iter::once(&self.primary).chain(&self.accepted)
    }
}

/// The transcript hash in the making: it takes frames as they come, so that no frame needs to be kept.
#[derive(Clone, Debug)]
pub(crate) struct Transcript(Sha256);

impl Transcript {
    pub(crate) fn new(context: &str) -> Self {
        let mut transcript = Self(Sha256::new_with_prefix(b"noex/1 transcript\0"));
        transcript.add(context.as_bytes());
        transcript
    }

    /// Adds a frame, from its type on.
    pub(crate) fn add(&mut self, part: &[u8]) {
        let len = u32::try_from(part.len()).expect("names and handshake frames are short");
        self.0.update(len.to_be_bytes());
        self.0.update(part);
    }

    pub(crate) fn finish(self) -> TranscriptHash {
        self.0.finalize().into()
    }
}

/// The keys of one session. They are wiped when dropped.
#[derive(Clone, Debug)]
pub(crate) struct SessionKeys {
    prk: CtOutput<HmacSha256>,
    th: TranscriptHash,
}

impl SessionKeys {
    /// The initiator's proof.
    pub(crate) fn auth(&self) -> HmacSha256 {
        self.key(b"noex/1 auth i").chain_update(AUTH_LABEL).chain_update(self.th)
    }

    /// The responder's proof.
    pub(crate) fn auth_ok(&self) -> HmacSha256 {
        self.key(b"noex/1 auth r").chain_update(AUTH_OK_LABEL).chain_update(self.th).chain_update([0])
    }

    /// What records from the initiator are tagged with.
    pub(crate) fn initiator_data(&self) -> HmacSha256 {
        self.key(b"noex/1 data i>r")
    }

    /// What records from the responder are tagged with.
    pub(crate) fn responder_data(&self) -> HmacSha256 {
        self.key(b"noex/1 data r>i")
    }

    fn key(&self, label: &[u8]) -> HmacSha256 {
        hmac(hmac(self.prk.as_bytes()).chain_update(label).chain_update([1]).finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    #[test]
    fn the_known_root() {
        let root = Root::from_secret(&Secret::from("correct horse battery staple 0123"));
        let known = [
            0xa4, 0xc9, 0xcf, 0xb0, 0x94, 0x60, 0x5f, 0x84, 0x9d, 0x6f, 0x9a, 0xe9, 0xb5, 0xe5, 0xa4, 0x69, 0x2f, 0xa3, 0xb3,
            0x6e, 0xfe, 0x51, 0xa7, 0xc3, 0x8a, 0xbb, 0xe6, 0x13, 0x15, 0x91, 0xbe, 0x4e,
        ];
        assert_eq!(root.0.as_bytes()[..], known);
    }

    #[test]
    fn keys_are_not_shown() {
        let root = Root::open();
        let shown = format!("{root:?} {:?}", root.session(&[0; 32]).prk);
        assert_eq!(shown, "Root(CtOutput { ... }) CtOutput { ... }");
    }

    #[test]
    fn roots_differ_by_their_secret() {
        assert_eq!(Root::open(), Root::from_secret(&Secret::from("noex/1 open")));
        assert_ne!(Root::open(), Root::from_secret(&Secret::from("noex/1 closed")));
    }
}
