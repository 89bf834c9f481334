//! What a frame on its way says: for traces, for counts, and for knowing a state again. Records are signed, not encrypted.

use std::fmt::Write;
use std::hash::Hash;

/// A frame's length prefix, and a record's tag.
const LENGTH: usize = 4;
const TAG: usize = 16;

const HEARTBEAT: u8 = 0x10;
const MEMBERS: u8 = 0x11;
const INTRO: u8 = 0x16;
const PING: u8 = 0x13;

/// The messages that a record may hold, and the frames of a handshake, by their first bytes.
const MESSAGES: [(u8, &str); 13] = [
    (HEARTBEAT, "message HEARTBEAT"),
    (MEMBERS, "message MEMBERS"),
    (0x12, "message MEMBERS_REQUEST"),
    (PING, "message PING"),
    (0x14, "message PONG"),
    (0x15, "message OFFER"),
    (INTRO, "message INTRO"),
    (0x17, "message NAMES"),
    (0x18, "message NAMES_ACK"),
    (0x1d, "message REFUSED"),
    (0x1f, "message GOODBYE"),
    (0x20, "message PAYLOAD"),
    (0x21, "message SIGNAL"),
];
const FRAMES: [(u8, &str); 5] =
    [(1, "message HELLO"), (2, "message CHALLENGE"), (3, "message AUTH"), (4, "message AUTH_OK"), (5, "message REJECT")];
/// Set on every piece of a payload but the last.
const MORE: u8 = 0x80;

fn find(of: &[(u8, &'static str)], kind: u8) -> Option<&'static str> {
    of.iter().find(|(known, _)| *known == kind).map(|(_, name)| *name)
}

fn message_name(kind: u8) -> &'static str {
    find(&MESSAGES, kind & !MORE).map_or("MESSAGE", |name| name.trim_start_matches("message "))
}

/// The names of all messages and frames.
pub(crate) fn all_names() -> impl Iterator<Item = &'static str> {
    MESSAGES.iter().chain(&FRAMES).map(|(_, name)| *name)
}

/// The names of those that a frame holds.
pub(crate) fn names_of(frame: &[u8]) -> Vec<&'static str> {
    let messages = messages(frame);
    if messages.is_empty() {
        return frame.get(LENGTH).and_then(|kind| find(&FRAMES, *kind)).into_iter().collect();
    }
    messages.iter().filter_map(|(kind, _)| find(&MESSAGES, kind & !MORE)).collect()
}

/// The messages of a record: kind and body. None where the frame belongs to a handshake.
fn messages(frame: &[u8]) -> Vec<(u8, &[u8])> {
    let mut rest = frame.get(LENGTH..frame.len().saturating_sub(TAG)).unwrap_or_default();
    let mut messages = Vec::new();
    while let [kind, a, b, c, d, after @ ..] = rest
        && *kind >= HEARTBEAT
    {
        let size = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX).min(after.len());
        let (body, next) = after.split_at(size);
        messages.push((*kind, body));
        rest = next;
    }
    messages
}

/// The names of what a frame holds.
pub(crate) fn name(frame: &[u8]) -> String {
    let mut text = String::new();
    for (kind, body) in messages(frame) {
        let plus = if text.is_empty() { "" } else { " + " };
        let _infallible = write!(text, "{plus}{}", message_name(kind));
        // The counts of OFFER and INTRO are what admission is about.
        match (kind, body) {
            (0x15, [_, n @ .., holds]) => {
                let _infallible = write!(text, " {n:?}{}", if *holds == 0xf5 { " holds" } else { "" });
            }
            (INTRO, [_, _, _, count, ..]) => {
                let _infallible = write!(text, " [{count}]");
            }
            _ => {}
        }
    }
    if text.is_empty() {
        let name = frame.get(LENGTH).and_then(|kind| find(&FRAMES, *kind));
        text = name.map_or("a frame", |name| name.trim_start_matches("message ")).into();
    }
    text
}

/// Whether a frame tells of members, and others follow on a further page.
pub(crate) fn has_next_page(frame: &[u8]) -> bool {
    // The flag is the second of three entries, behind the digest.
    let follows = |body: &[u8]| body[..body.len().min(16)].windows(3).any(|entry| entry == [0x61, b'l', 0xf4]);
    messages(frame).iter().any(|(kind, body)| *kind == MEMBERS && follows(body))
}

/// Writes what a frame says, without nonces, proofs, tags and times.
pub(crate) fn hash_abstraction(frame: &[u8], state: &mut impl std::hash::Hasher) {
    let messages = messages(frame);
    if messages.is_empty() {
        frame.get(LENGTH).hash(state);
    }
    for (kind, body) in messages {
        let told = match kind {
            // The digest is last, behind the time.
            HEARTBEAT => &body[body.len().saturating_sub(8)..],
            // The time is last, behind its key.
            INTRO => &body[..body.windows(2).rposition(|key| key == b"au").unwrap_or(body.len())],
            // A number that nothing depends on.
            PING => &[],
            _ => body,
        };
        (kind, told).hash(state);
    }
}
