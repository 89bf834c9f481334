//! A peer of the harness's own: handshake and records as `docs/wire.md` has them. It shares no code with the machine, so that
//! each is a check of the other.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

type HmacSha256 = Hmac<Sha256>;

/// The secret of the cluster that the targets attack.
pub(crate) const SECRET: &str = "correct horse battery staple";
/// A secret that is not accepted there.
pub(crate) const OTHER_SECRET: &str = "a quite different secret";

pub(crate) const HELLO: u8 = 1;
pub(crate) const CHALLENGE: u8 = 2;
const TAG_LEN: usize = 16;
/// Kind and size of a message.
const HEAD_LEN: usize = 5;
/// The longest body that one record can carry.
pub(crate) const BODY_MAX: usize = 64 * 1024 + 64 - TAG_LEN - HEAD_LEN;

/// Kinds of messages.
pub(crate) mod kind {
    pub(crate) const HEARTBEAT: u8 = 0x10;
    pub(crate) const MEMBERS: u8 = 0x11;
    pub(crate) const MEMBERS_REQUEST: u8 = 0x12;
    pub(crate) const PING: u8 = 0x13;
    pub(crate) const PONG: u8 = 0x14;
    pub(crate) const OFFER: u8 = 0x15;
    pub(crate) const INTRO: u8 = 0x16;
    pub(crate) const NAMES: u8 = 0x17;
    pub(crate) const NAMES_ACK: u8 = 0x18;
    pub(crate) const REFUSED: u8 = 0x1D;
    pub(crate) const GOODBYE: u8 = 0x1F;
    pub(crate) const PAYLOAD: u8 = 0x20;
    pub(crate) const PIECE: u8 = 0xA0;
    pub(crate) const SIGNAL: u8 = 0x21;
    pub(crate) const SIGNAL_PIECE: u8 = 0xA1;
}

/// What a HELLO or a CHALLENGE says of its sender.
#[derive(Clone, Debug)]
pub(crate) struct Announcement<'a> {
    /// Capabilities: bit 0 for processes.
    pub(crate) caps: u64,
    pub(crate) flags: u8,
    pub(crate) id: &'a str,
    pub(crate) instance: [u8; 16],
    pub(crate) interval_ms: u32,
    pub(crate) nonce: [u8; 32],
}

impl<'a> Announcement<'a> {
    pub(crate) fn new(id: &'a str, instance: u8, nonce: u8) -> Self {
        Self { caps: 1, flags: 1, id, instance: [instance; 16], interval_ms: 1000, nonce: [nonce; 32] }
    }

    /// A HELLO, from its type on.
    pub(crate) fn hello(&self, target: &str) -> Vec<u8> {
        let mut frame = vec![HELLO];
        frame.extend_from_slice(b"NOEX\x01\x01");
        frame.extend_from_slice(&[self.flags, 0]);
        self.encode_into(&mut frame);
        field(&mut frame, target.as_bytes());
        field(&mut frame, b"");
        frame
    }

    /// A CHALLENGE, from its type on.
    pub(crate) fn challenge(&self) -> Vec<u8> {
        let mut frame = vec![CHALLENGE];
        frame.extend_from_slice(b"NOEX\x01\x01\x01");
        frame.push(self.flags);
        self.encode_into(&mut frame);
        field(&mut frame, b"");
        frame
    }

    fn encode_into(&self, frame: &mut Vec<u8>) {
        frame.extend_from_slice(&self.nonce);
        frame.extend_from_slice(&self.instance);
        frame.extend_from_slice(&self.caps.to_be_bytes());
        frame.extend_from_slice(&self.interval_ms.to_be_bytes());
        field(frame, self.id.as_bytes());
    }
}

fn field(frame: &mut Vec<u8>, bytes: &[u8]) {
    frame.extend_from_slice(&u16::try_from(bytes.len()).expect("short").to_be_bytes());
    frame.extend_from_slice(bytes);
}

/// A handshake frame with its length prefix.
pub(crate) fn framed(frame: &[u8]) -> Vec<u8> {
    let mut framed = u32::try_from(frame.len()).expect("short").to_be_bytes().to_vec();
    framed.extend_from_slice(frame);
    framed
}

/// The frames, without length prefixes, in bytes that a machine has sent.
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk() {
        let (frame, rest) = rest.split_at(usize::try_from(u32::from_be_bytes(*len)).expect("32 bits"));
        frames.push(frame);
        bytes = rest;
    }
    assert!(bytes.is_empty(), "a machine sends whole frames");
    frames
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = HmacSha256::new_from_slice(key).expect("any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// The proofs and the keys of one handshake.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    /// The AUTH frame that proves the secret, from its type on.
    pub(crate) auth: Vec<u8>,
    /// The AUTH_OK frame that proves it back.
    pub(crate) auth_ok: Vec<u8>,
    prk: [u8; 32],
}

impl Keys {
    /// Those of these two frames, from their types on; without a secret, those of a cluster that has none.
    pub(crate) fn new(secret: Option<&str>, hello: &[u8], challenge: &[u8]) -> Self {
        let mut th = Sha256::new_with_prefix(b"noex/1 transcript\0");
        for part in [&b"noex"[..], hello, challenge] {
            th.update(u32::try_from(part.len()).expect("short").to_be_bytes());
            th.update(part);
        }
        let th = th.finalize();
        let root = hmac(b"noex/1 psk", &[secret.unwrap_or("noex/1 open").as_bytes()]);
        let prk = hmac(&root, &[b"noex/1 session\0", &th]);
        let proof = |label: &[u8], parts: &[&[u8]]| hmac(&hmac(&prk, &[label, &[1]]), parts);
        let auth = proof(b"noex/1 auth i", &[b"noex/1 AUTH\0", &th]);
        let auth_ok = proof(b"noex/1 auth r", &[b"noex/1 AUTH_OK\0", &th, &[0]]);
        Self { auth: [&[3][..], &auth].concat(), auth_ok: [&[4, 0][..], &auth_ok].concat(), prk }
    }

    /// The session of these keys, as its initiator or its responder sees it.
    pub(crate) fn session(&self, initiator: bool) -> Session {
        let direction = |label: &[u8]| Direction {
            key: HmacSha256::new_from_slice(&hmac(&self.prk, &[label, &[1]])).expect("any length"),
            seq: 0,
        };
        let (out, back) = (direction(b"noex/1 data i>r"), direction(b"noex/1 data r>i"));
        if initiator { Session { sent: out, received: back } } else { Session { sent: back, received: out } }
    }
}

#[derive(Clone, Debug)]
struct Direction {
    key: HmacSha256,
    seq: u64,
}

impl Direction {
    fn tag(&mut self, len: [u8; 4], messages: &[u8]) -> [u8; 32] {
        let tag = self.key.clone().chain_update(self.seq.to_be_bytes()).chain_update(len).chain_update(messages);
        self.seq += 1;
        tag.finalize().into_bytes().into()
    }
}

/// An authenticated session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    sent: Direction,
    received: Direction,
}

impl Session {
    /// The record of these messages, with its length prefix and its tag.
    pub(crate) fn seal(&mut self, messages: &[u8]) -> Vec<u8> {
        let len = u32::try_from(messages.len() + TAG_LEN).expect("short").to_be_bytes();
        let tag = self.sent.tag(len, messages);
        [&len[..], messages, &tag[..TAG_LEN]].concat()
    }

    /// The messages of the next record of the machine, given without its length prefix.
    pub(crate) fn open<'a>(&mut self, record: &'a [u8]) -> Vec<(u8, &'a [u8])> {
        let (mut messages, tag) = record.split_at(record.len() - TAG_LEN);
        let len = u32::try_from(record.len()).expect("short").to_be_bytes();
        assert_eq!(self.received.tag(len, messages)[..TAG_LEN], *tag, "the machine's records have right tags");
        let mut opened = Vec::new();
        while let Some(([kind, a, b, c, d], rest)) = messages.split_first_chunk() {
            let (body, rest) = rest.split_at(usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).expect("32 bits"));
            opened.push((*kind, body));
            messages = rest;
        }
        opened
    }
}

/// A message with its head.
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len()).expect("short").to_be_bytes();
    [&[kind][..], &size, body].concat()
}

/// Bodies of control messages, in CBOR.
pub(crate) mod body {
    fn head(body: &mut Vec<u8>, major: u8, value: u64) {
        let major = major << 5;
        match value {
            0..24 => body.push(major | value as u8),
            24..=0xFF => body.extend_from_slice(&[major | 24, value as u8]),
            _ => {
                body.push(major | 27);
                body.extend_from_slice(&value.to_be_bytes());
            }
        }
    }

    fn bool(body: &mut Vec<u8>, value: bool) {
        body.push(0xF4 + u8::from(value));
    }

    /// An array of numbers, and of a flag behind them where there is one.
    pub(crate) fn array(numbers: &[u64], flag: Option<bool>) -> Vec<u8> {
        let mut body = Vec::new();
        head(&mut body, 4, numbers.len() as u64 + u64::from(flag.is_some()));
        numbers.iter().for_each(|number| head(&mut body, 0, *number));
        flag.into_iter().for_each(|flag| bool(&mut body, flag));
        body
    }

    /// A map of numbers.
    pub(crate) fn map(entries: &[(u8, u64)]) -> Vec<u8> {
        let mut body = Vec::new();
        head(&mut body, 5, entries.len() as u64);
        for (key, value) in entries {
            body.extend_from_slice(&[0x61, *key]);
            head(&mut body, 0, *value);
        }
        body
    }

    /// A page of members.
    pub(crate) fn members(digest: u64, last: bool, members: &[(String, u8)]) -> Vec<u8> {
        let mut body = vec![0xA3, 0x61, b'd'];
        head(&mut body, 0, digest);
        body.extend_from_slice(&[0x61, b'l']);
        bool(&mut body, last);
        body.extend_from_slice(&[0x61, b'm']);
        head(&mut body, 4, members.len() as u64);
        for (id, instance) in members {
            body.push(0x82);
            head(&mut body, 3, id.len() as u64);
            body.extend_from_slice(id.as_bytes());
            head(&mut body, 2, 16);
            body.extend_from_slice(&[*instance; 16]);
        }
        body
    }
}
