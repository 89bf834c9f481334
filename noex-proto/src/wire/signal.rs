//! Signals: what processes of two nodes say to each other.
//!
//! A signal is a CBOR array, whose first item says which signal it is, and in some of them a body behind it, to the end of the message.
//! Its items are numbers and texts, written and read by hand like a heartbeat's.

use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use super::message::{ARRAY, NUMBER, TEXT, decode_head, encode_head};
use crate::PeerFault;
use crate::process::{ExitReason, NAME_MAX, ProcessName, ProtocolHash, REASON_MAX};

/// The longest head of a signal: that of a call to a name.
pub(crate) const HEAD_MAX: usize = 1 + 1 + 9 + (3 + NAME_MAX) + 9 + 5;
/// The longest head of a signal with a reason.
pub(crate) const REASON_HEAD_MAX: usize = 1 + 1 + (3 + NAME_MAX) + 1 + (3 + REASON_MAX);

/// The first item of a signal.
mod kind {
    pub(super) const CAST: u64 = 0;
    pub(super) const CALL: u64 = 1;
    pub(super) const ANSWER: u64 = 2;
    pub(super) const FAILURE: u64 = 3;
    pub(super) const CANCEL: u64 = 4;
    pub(super) const MONITOR: u64 = 5;
    pub(super) const DEMONITOR: u64 = 6;
    pub(super) const DOWN: u64 = 7;
    pub(super) const STOP: u64 = 8;
}

/// A process of the receiver.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum To {
    Name(ProcessName),
    Number(u64),
}

/// What a call failed of, by the word of the callee's node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Failure {
    NoProcess,
    Busy,
    WrongProtocol,
    NotUnderstood(Arc<str>),
    Dropped,
    AnswerDropped,
    Exited(ExitReason),
}

/// One signal. The numbers of calls and of monitors are given by the node that asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Signal {
    Cast {
        to: To,
        protocol: ProtocolHash,
        body: Bytes,
    },
    /// `left`: the time left to answer, in milliseconds.
    Call {
        number: u64,
        to: To,
        protocol: ProtocolHash,
        left: u32,
        body: Bytes,
    },
    Answer {
        number: u64,
        body: Bytes,
    },
    Failure {
        number: u64,
        failure: Failure,
    },
    Cancel {
        number: u64,
    },
    Monitor {
        number: u64,
        to: To,
    },
    Demonitor {
        number: u64,
    },
    Down {
        number: u64,
        reason: ExitReason,
    },
    Stop {
        to: To,
        reason: ExitReason,
    },
}

impl Signal {
    /// How many bytes are behind its head.
    pub(crate) const fn body_len(&self) -> usize {
        match self {
            Self::Cast { body, .. } | Self::Call { body, .. } | Self::Answer { body, .. } => body.len(),
            _ => 0,
        }
    }

    /// The bytes behind its head.
    pub(crate) fn into_body(self) -> Bytes {
        match self {
            Self::Cast { body, .. } | Self::Call { body, .. } | Self::Answer { body, .. } => body,
            _ => Bytes::new(),
        }
    }

    /// Appends its head.
    pub(crate) fn encode_head(&self, to: &mut Vec<u8>) {
        match self {
            Self::Cast { to: process, protocol, .. } => {
                begin(to, 3, kind::CAST);
                encode_process(to, process);
                encode_protocol(to, *protocol);
            }
            Self::Call { number, to: process, protocol, left, .. } => {
                begin(to, 5, kind::CALL);
                encode_head(to, NUMBER, *number);
                encode_process(to, process);
                encode_protocol(to, *protocol);
                encode_head(to, NUMBER, (*left).into());
            }
            Self::Answer { number, .. } => {
                begin(to, 2, kind::ANSWER);
                encode_head(to, NUMBER, *number);
            }
            Self::Failure { number, failure } => {
                begin(to, 4, kind::FAILURE);
                encode_head(to, NUMBER, *number);
                let (code, text) = failure.code();
                encode_head(to, NUMBER, code);
                encode_text(to, text);
            }
            Self::Cancel { number } => {
                begin(to, 2, kind::CANCEL);
                encode_head(to, NUMBER, *number);
            }
            Self::Monitor { number, to: process } => {
                begin(to, 3, kind::MONITOR);
                encode_head(to, NUMBER, *number);
                encode_process(to, process);
            }
            Self::Demonitor { number } => {
                begin(to, 2, kind::DEMONITOR);
                encode_head(to, NUMBER, *number);
            }
            Self::Down { number, reason } => {
                begin(to, 4, kind::DOWN);
                encode_head(to, NUMBER, *number);
                encode_reason(to, reason);
            }
            Self::Stop { to: process, reason } => {
                begin(to, 4, kind::STOP);
                encode_process(to, process);
                encode_reason(to, reason);
            }
        }
    }

    /// Reads a signal.
    pub(crate) fn decode(signal: &Bytes) -> Result<Self, PeerFault> {
        let mut rest: &[u8] = signal;
        let decoded = decode(&mut rest, signal).ok_or(PeerFault::MalformedBody)?;
        let has_body = matches!(decoded, Self::Cast { .. } | Self::Call { .. } | Self::Answer { .. });
        if rest.is_empty() || has_body { Ok(decoded) } else { Err(PeerFault::MalformedBody) }
    }
}

impl Failure {
    fn code(&self) -> (u64, &str) {
        match self {
            Self::NoProcess => (0, ""),
            Self::Busy => (1, ""),
            Self::WrongProtocol => (2, ""),
            Self::NotUnderstood(text) => (3, text),
            Self::Dropped => (4, ""),
            Self::AnswerDropped => (5, ""),
            // Those of a reason follow.
            Self::Exited(reason) => {
                let (code, text) = code(reason);
                (6 + code, text)
            }
        }
    }

    fn of(number: u64, text: Arc<str>) -> Option<Self> {
        Some(match number {
            3 => Self::NotUnderstood(text),
            0 if text.is_empty() => Self::NoProcess,
            1 if text.is_empty() => Self::Busy,
            2 if text.is_empty() => Self::WrongProtocol,
            4 if text.is_empty() => Self::Dropped,
            5 if text.is_empty() => Self::AnswerDropped,
            6.. => match reason(number - 6, text)? {
                // Such a process has not taken the call.
                ExitReason::NoProcess => return None,
                reason => Self::Exited(reason),
            },
            _ => return None,
        })
    }
}

/// The code of a reason, and its text.
fn code(reason: &ExitReason) -> (u64, &str) {
    match reason {
        ExitReason::Normal => (0, ""),
        ExitReason::Shutdown => (1, ""),
        ExitReason::Error(text) => (2, text),
        ExitReason::NoProcess => (3, ""),
        // Never sent: what a node says of its own processes it knows.
        ExitReason::NoConnection => (4, ""),
    }
}

fn reason(code: u64, text: Arc<str>) -> Option<ExitReason> {
    match code {
        0 if text.is_empty() => Some(ExitReason::Normal),
        1 if text.is_empty() => Some(ExitReason::Shutdown),
        2 => Some(ExitReason::Error(text)),
        3 if text.is_empty() => Some(ExitReason::NoProcess),
        _ => None,
    }
}

fn begin(to: &mut Vec<u8>, items: u64, kind: u64) {
    encode_head(to, ARRAY, items);
    encode_head(to, NUMBER, kind);
}

fn encode_process(to: &mut Vec<u8>, process: &To) {
    match process {
        To::Name(name) => encode_text(to, name.as_str()),
        To::Number(number) => encode_head(to, NUMBER, *number),
    }
}

pub(super) fn encode_protocol(to: &mut Vec<u8>, ProtocolHash(hash): ProtocolHash) {
    encode_head(to, NUMBER, u64::from_be_bytes(hash));
}

pub(super) fn encode_text(to: &mut Vec<u8>, text: &str) {
    encode_head(to, TEXT, text.len() as u64);
    to.extend_from_slice(text.as_bytes());
}

fn encode_reason(to: &mut Vec<u8>, reason: &ExitReason) {
    let (code, text) = code(reason);
    encode_head(to, NUMBER, code);
    encode_text(to, text);
}

fn decode(rest: &mut &[u8], signal: &Bytes) -> Option<Signal> {
    let items = decode_head(rest, ARRAY)?;
    let kind = decode_head(rest, NUMBER)?;
    let number = |rest: &mut &[u8]| decode_head(rest, NUMBER);
    Some(match (kind, items) {
        (kind::CAST, 3) => {
            let (to, protocol) = (decode_process(rest)?, decode_protocol(rest)?);
            Signal::Cast { to, protocol, body: signal.slice_ref(rest) }
        }
        (kind::CALL, 5) => {
            let (number, to, protocol) = (number(rest)?, decode_process(rest)?, decode_protocol(rest)?);
            let left = u32::try_from(decode_head(rest, NUMBER)?).ok()?;
            Signal::Call { number, to, protocol, left, body: signal.slice_ref(rest) }
        }
        (kind::ANSWER, 2) => {
            let number = number(rest)?;
            Signal::Answer { number, body: signal.slice_ref(rest) }
        }
        (kind::FAILURE, 4) => {
            let (number, code) = (number(rest)?, number(rest)?);
            Signal::Failure { number, failure: Failure::of(code, decode_text(rest, REASON_MAX)?.into())? }
        }
        (kind::CANCEL, 2) => Signal::Cancel { number: number(rest)? },
        (kind::MONITOR, 3) => Signal::Monitor { number: number(rest)?, to: decode_process(rest)? },
        (kind::DEMONITOR, 2) => Signal::Demonitor { number: number(rest)? },
        (kind::DOWN, 4) => Signal::Down { number: number(rest)?, reason: decode_reason(rest)? },
        (kind::STOP, 4) => {
            let to = decode_process(rest)?;
            // A process that was there cannot end as one that never was.
            let reason = decode_reason(rest).filter(|reason| *reason != ExitReason::NoProcess)?;
            Signal::Stop { to, reason }
        }
        _ => return None,
    })
}

fn decode_process(rest: &mut &[u8]) -> Option<To> {
    if rest.first()? >> 5 == TEXT >> 5 {
        return Some(To::Name(ProcessName::new(decode_text(rest, NAME_MAX)?).ok()?));
    }
    decode_head(rest, NUMBER).map(To::Number)
}

pub(super) fn decode_protocol(rest: &mut &[u8]) -> Option<ProtocolHash> {
    decode_head(rest, NUMBER).map(|hash| ProtocolHash(hash.to_be_bytes()))
}

pub(super) fn decode_text<'a>(rest: &mut &'a [u8], most: usize) -> Option<&'a str> {
    let len = usize::try_from(decode_head(rest, TEXT)?).ok().filter(|len| *len <= most)?;
    let (text, after) = rest.split_at_checked(len)?;
    *rest = after;
    core::str::from_utf8(text).ok()
}

fn decode_reason(rest: &mut &[u8]) -> Option<ExitReason> {
    let code = decode_head(rest, NUMBER)?;
    reason(code, decode_text(rest, REASON_MAX)?.into())
}

#[cfg(test)]
mod tests {
    use std::string::String;
    use std::vec;

    use proptest::prelude::*;

    use super::*;

    fn encoded(signal: &Signal) -> Bytes {
        let mut bytes = Vec::new();
        signal.encode_head(&mut bytes);
        bytes.extend_from_slice(&signal.clone().into_body());
        bytes.into()
    }

    /// The bytes of each signal, which docs/wire.md shows.
    #[test]
    fn signals_have_these_bytes() {
        let name = || To::Name(ProcessName::new("db").expect("valid"));
        let protocol = ProtocolHash([1, 2, 3, 4, 5, 6, 7, 8]);
        let body = Bytes::from_static(b"\xF6");
        let signals = [
            (Signal::Cast { to: To::Number(7), protocol, body: body.clone() }, "83 00 07 1b0102030405060708 f6"),
            (
                Signal::Call { number: 65_536, to: name(), protocol, left: 5000, body: body.clone() },
                "85 01 1a00010000 626462 1b0102030405060708 191388 f6",
            ),
            (Signal::Answer { number: 65_536, body }, "82 02 1a00010000 f6"),
            (Signal::Failure { number: 65_536, failure: Failure::Exited(ExitReason::Shutdown) }, "84 03 1a00010000 07 60"),
            (Signal::Cancel { number: 65_536 }, "82 04 1a00010000"),
            (Signal::Monitor { number: 65_537, to: name() }, "83 05 1a00010001 626462"),
            (Signal::Demonitor { number: 65_537 }, "82 06 1a00010001"),
            (Signal::Down { number: 65_537, reason: ExitReason::error("oh") }, "84 07 1a00010001 02 626f68"),
            (Signal::Stop { to: To::Number(7), reason: ExitReason::Normal }, "84 08 07 00 60"),
        ];
        for (signal, expected) in signals {
            let bytes = encoded(&signal);
            let hex: String = bytes.iter().map(|byte| std::format!("{byte:02x}")).collect();
            assert_eq!(hex, expected.replace(' ', ""), "{signal:?}");
            assert_eq!(Signal::decode(&bytes), Ok(signal));
        }
    }

    fn reasons() -> impl Strategy<Value = ExitReason> {
        prop_oneof![
            Just(ExitReason::Normal),
            Just(ExitReason::Shutdown),
            Just(ExitReason::NoProcess),
            "\\PC{0,80}".prop_map(ExitReason::error),
        ]
    }

    /// Those of a process that was there.
    fn own_reasons() -> impl Strategy<Value = ExitReason> {
        reasons().prop_filter("was there", |reason| *reason != ExitReason::NoProcess)
    }

    fn failures() -> impl Strategy<Value = Failure> {
        prop_oneof![
            Just(Failure::NoProcess),
            Just(Failure::Busy),
            Just(Failure::WrongProtocol),
            Just(Failure::Dropped),
            Just(Failure::AnswerDropped),
            "\\PC{0,60}".prop_map(|text| Failure::NotUnderstood(text.as_str().into())),
            own_reasons().prop_map(Failure::Exited),
        ]
    }

    fn targets() -> impl Strategy<Value = To> {
        prop_oneof![
            any::<u64>().prop_map(To::Number),
            "[a-zü ]{1,100}".prop_map(|name| To::Name(ProcessName::new(&name).expect("valid")))
        ]
    }

    fn signals() -> impl Strategy<Value = Signal> {
        let body = || prop::collection::vec(any::<u8>(), 0..50).prop_map(Bytes::from);
        let protocol = || any::<[u8; 8]>().prop_map(ProtocolHash);
        prop_oneof![
            (targets(), protocol(), body()).prop_map(|(to, protocol, body)| Signal::Cast { to, protocol, body }),
            (any::<u64>(), targets(), protocol(), any::<u32>(), body())
                .prop_map(|(number, to, protocol, left, body)| Signal::Call { number, to, protocol, left, body }),
            (any::<u64>(), body()).prop_map(|(number, body)| Signal::Answer { number, body }),
            (any::<u64>(), failures()).prop_map(|(number, failure)| Signal::Failure { number, failure }),
            any::<u64>().prop_map(|number| Signal::Cancel { number }),
            (any::<u64>(), targets()).prop_map(|(number, to)| Signal::Monitor { number, to }),
            any::<u64>().prop_map(|number| Signal::Demonitor { number }),
            (any::<u64>(), reasons()).prop_map(|(number, reason)| Signal::Down { number, reason }),
            (targets(), own_reasons()).prop_map(|(to, reason)| Signal::Stop { to, reason }),
        ]
    }

    proptest! {
        #[test]
        fn a_signal_is_read_as_it_was_written_and_its_head_is_bounded(signal in signals()) {
            let mut head = Vec::new();
            signal.encode_head(&mut head);
            prop_assert!(head.len() <= HEAD_MAX.max(REASON_HEAD_MAX));
            prop_assert_eq!(Signal::decode(&encoded(&signal)), Ok(signal));
        }

        #[test]
        fn no_bytes_make_the_reader_panic_and_what_it_reads_it_can_write(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(signal) = Signal::decode(&Bytes::from(bytes)) {
                prop_assert_eq!(Signal::decode(&encoded(&signal)), Ok(signal));
            }
        }
    }

    #[test]
    fn what_breaks_the_layout_is_a_fault() {
        let long = [b"\x84\x07\x01\x02\x79\x01\x01".as_slice(), &[b'x'; 257]].concat();
        for bytes in [
            b"".as_slice(),
            b"\x82\x04",                                                 // no number
            b"\x83\x04\x01\x00",                                         // an item too many
            b"\x82\x04\x01\x00",                                         // a body where there is none
            b"\x82\x09\x01",                                             // an unknown signal
            b"\x83\x05\x01\x60",                                         // an empty name
            b"\x83\x05\x01\x61\x07",                                     // a name with a control character
            b"\x83\x05\x01\x61\xff",                                     // a name that is no text
            b"\x84\x07\x01\x04\x60",                                     // a reason that only this node can know
            b"\x84\x07\x01\x00\x61\x61",                                 // a text where there is none
            b"\x84\x03\x01\x09\x60",                                     // a process that took a call and never was
            b"\x84\x08\x07\x03\x60",                                     // a process that is asked to end as if it never was
            b"\x85\x01\x01\x07\x00\x1b\x00\x00\x00\x01\x00\x00\x00\x00", // more time than fits
            &long,
        ] {
            assert_eq!(Signal::decode(&Bytes::copy_from_slice(bytes)), Err(PeerFault::MalformedBody), "{bytes:02x?}");
        }
        assert!(Signal::decode(&Bytes::from(vec![0x82, 0x04, 0x01])).is_ok());
    }
}
