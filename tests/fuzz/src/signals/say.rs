//! What a hostile member says, made of small numbers.

use arbitrary::Arbitrary;

use crate::processes::PROTOCOL;
use crate::signal::{Signal, To};
use crate::signals::application::Application;
use crate::signals::talk::Talk;

/// Local names: those that processes may have, and one that none has.
pub(crate) const NAMES: [&str; 4] = ["echo", "a", "b", "nobody"];

/// A process of the machine, or none.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Target {
    /// Any number.
    Any(u64),
    Named(u8),
    /// One that is there, if any is.
    Open(u8),
}

impl Target {
    pub(crate) fn to(self, application: &Application) -> To {
        match self {
            Self::Any(number) => To::Number(number),
            Self::Named(name) => To::Name(NAMES[usize::from(name) % NAMES.len()].into()),
            Self::Open(number) => {
                let count = application.processes().count().max(1);
                To::Number(application.processes().nth(usize::from(number) % count).unwrap_or_default())
            }
        }
    }
}

/// The number of a call or a monitor.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Number {
    Any(u64),
    /// One whose place is free.
    Free,
    /// Places and turns that soon meet again.
    Small {
        place: u8,
        turn: u8,
    },
}

impl Number {
    fn number(self, talk: &Talk) -> u64 {
        match self {
            Self::Any(number) => number,
            Self::Free => talk.free_number(),
            Self::Small { place, turn } => u64::from(turn % 4) << 16 | u64::from(place % 8),
        }
    }
}

/// The number of a call or a monitor of the machine's.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Heard {
    Lie(Number),
    /// One that was heard of, counted from the last.
    True(u8),
}

impl Heard {
    fn number(self, talk: &Talk, heard: impl Fn(u8) -> Option<u64>) -> u64 {
        match self {
            Self::Lie(number) => number.number(talk),
            Self::True(number) => heard(number).unwrap_or(1 << 16),
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Say {
    Answer { number: Heard, size: u8 },
    Call { foreign: bool, left: u16, number: Number, size: u8, to: Target },
    Cancel(Number),
    Cast { foreign: bool, size: u8, to: Target },
    Demonitor(Number),
    Down { number: Heard, reason: u8 },
    Failure { code: u8, number: Heard },
    Monitor { number: Number, to: Target },
    Stop { reason: u8, to: Target },
}

/// A body of about this size, which no other one equals.
pub(crate) fn body(unique: &mut u32, size: u8) -> Vec<u8> {
    *unique += 1;
    let mut body = unique.to_be_bytes().to_vec();
    body.resize(4 + usize::from(size) * 8, size);
    body
}

impl Say {
    /// The signal. `plus` is added to the number, for who says it again and again.
    pub(crate) fn signal(self, talk: &Talk, application: &Application, unique: &mut u32, plus: u8) -> Signal {
        let protocol = |foreign: bool| if foreign { 7 } else { PROTOCOL };
        let number = |number: Number| number.number(talk).wrapping_add(plus.into());
        let to = |target: Target| target.to(application);
        // Few codes are told with a text, and few texts with a code.
        let text = |tells: bool| if tells { "a reason".into() } else { String::new() };
        match self {
            Self::Answer { number, size } => {
                Signal::Answer { number: number.number(talk, |number| talk.call(number)), body: body(unique, size) }
            }
            Self::Call { foreign, left, number: call, size, to: target } => Signal::Call {
                number: number(call),
                to: to(target),
                protocol: protocol(foreign),
                left: left.into(),
                body: body(unique, size),
            },
            Self::Cancel(call) => Signal::Cancel { number: number(call) },
            Self::Cast { foreign, size, to: target } => {
                Signal::Cast { to: to(target), protocol: protocol(foreign), body: body(unique, size) }
            }
            Self::Demonitor(monitor) => Signal::Demonitor { number: number(monitor) },
            Self::Down { number, reason } => Signal::Down {
                number: number.number(talk, |number| talk.monitor(number)),
                reason: (reason % 5).into(),
                text: text(reason % 5 == 2 || reason > 250),
            },
            Self::Failure { code, number } => Signal::Failure {
                number: number.number(talk, |number| talk.call(number)),
                code: (code % 10).into(),
                text: text(matches!(code % 10, 3 | 8) || code > 250),
            },
            Self::Monitor { number: monitor, to: target } => Signal::Monitor { number: number(monitor), to: to(target) },
            Self::Stop { reason, to: target } => {
                Signal::Stop { to: to(target), reason: (reason % 4).into(), text: text(reason % 4 == 2) }
            }
        }
    }
}
