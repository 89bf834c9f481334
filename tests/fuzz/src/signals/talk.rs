//! What was said between the machine and one peer in one session, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use noex_proto::{Instant, PeerFault};

use crate::peer::kind;
use crate::signal::Signal;

/// What the next signal of a peer may lead to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// The session goes on.
    Good,
    /// The session ends by this fault, or goes on: it depends on what only the machine knows.
    Doubtful(PeerFault),
    /// The session ends by this fault.
    Bad(PeerFault),
}

/// A call of the peer.
#[derive(Clone, Copy, Debug)]
struct Asked {
    number: u64,
    /// The machine has not forgotten it before; none where it never does.
    until: Option<Instant>,
    /// The record that it came in.
    record: u64,
}

/// The calls, or the monitors, that the machine asked the peer for.
#[derive(Debug, Default)]
struct Heard {
    all: BTreeSet<u64>,
    open: BTreeMap<u16, u64>,
    /// Those that the peer has ended: what gives them up may cross that.
    ended: BTreeSet<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Talk {
    calls: Heard,
    monitors: Heard,
    /// By the place of their number.
    requests: BTreeMap<u16, Asked>,
    watches: BTreeMap<u16, Asked>,
    /// How many records the peer has sent.
    records: u64,
    /// The pieces so far of a signal of the machine.
    pieces: Vec<u8>,
}

fn place(number: u64) -> u16 {
    (number & 0xFFFF) as u16
}

impl Heard {
    fn add(&mut self, number: u64) {
        assert!(self.all.insert(number), "{number:#x} is given twice");
        let before = self.open.insert(place(number), number);
        assert_eq!(before, None, "{number:#x} has the place of one that is open");
    }

    /// The machine says that it waits no more.
    fn give_up(&mut self, number: u64) {
        if !self.ended.remove(&number) {
            let open = self.open.remove(&place(number));
            assert_eq!(open, Some(number), "{number:#x} was over, or never asked for");
        }
    }

    /// The peer says how one ended. The machine gives its numbers in turns, so that none is far above those that were heard.
    fn end(&mut self, number: u64, given: u64) -> Verdict {
        if self.all.contains(&number) {
            if self.open.get(&place(number)) == Some(&number) {
                self.open.remove(&place(number));
                self.ended.insert(number);
            }
            return Verdict::Good;
        }
        let certain = number >> 16 == 0 || number >> 16 > given;
        if certain { Verdict::Bad(PeerFault::NeverAsked) } else { Verdict::Doubtful(PeerFault::NeverAsked) }
    }

    fn pick(&self, number: u8) -> Option<u64> {
        self.all.iter().rev().nth(usize::from(number)).copied()
    }
}

impl Talk {
    /// A call of the machine's that the peer has heard of, counted from the last one.
    pub(crate) fn call(&self, number: u8) -> Option<u64> {
        self.calls.pick(number)
    }

    /// The same of a monitor.
    pub(crate) fn monitor(&self, number: u8) -> Option<u64> {
        self.monitors.pick(number)
    }

    /// A number of the peer's whose place is free.
    pub(crate) fn free_number(&self) -> u64 {
        let place = (0..=u16::MAX).find(|place| !self.requests.contains_key(place)).expect("few are open");
        (self.records + 1) << 16 | u64::from(place)
    }

    /// The peer begins a record.
    pub(crate) fn begin_record(&mut self) {
        self.records += 1;
    }

    /// The peer says this now, in a record with what it said since the record began. `given`: more calls and monitors the machine's
    /// application has not begun.
    pub(crate) fn said(&mut self, signal: &[u8], now: Instant, given: u64) -> Verdict {
        let record = self.records;
        let asked = |number, until| Asked { number, until, record };
        let Some(signal) = Signal::decode(signal) else { return Verdict::Bad(PeerFault::MalformedBody) };
        let (table, asked) = match signal {
            Signal::Call { number, left, .. } => (&mut self.requests, asked(number, Some(now + Duration::from_millis(left)))),
            Signal::Monitor { number, .. } => (&mut self.watches, asked(number, None)),
            Signal::Answer { number, .. } | Signal::Failure { number, .. } => return self.calls.end(number, given),
            Signal::Down { number, .. } => return self.monitors.end(number, given),
            Signal::Cancel { number } | Signal::Demonitor { number } => {
                let table = if let Signal::Cancel { .. } = signal { &mut self.requests } else { &mut self.watches };
                if table.get(&place(number)).is_some_and(|asked| asked.number == number) {
                    table.remove(&place(number));
                }
                return Verdict::Good;
            }
            Signal::Cast { .. } | Signal::Stop { .. } => return Verdict::Good,
        };
        match table.insert(place(asked.number), asked) {
            None => Verdict::Good,
            // Its end may have left between two messages of a record.
            Some(before) if before.until.is_none_or(|until| until > now) && before.record != record => {
                Verdict::Bad(PeerFault::NumberInUse)
            }
            Some(_) => Verdict::Doubtful(PeerFault::NumberInUse),
        }
    }

    /// The machine says this. What it says has the layout, and breaks no rule. A whole signal, where this is its end.
    pub(crate) fn heard(&mut self, message: u8, piece: &[u8]) -> Option<Signal> {
        if !matches!(message, kind::SIGNAL | kind::SIGNAL_PIECE) {
            assert!(self.pieces.is_empty() || !matches!(message, kind::PAYLOAD | kind::PIECE), "a payload between pieces");
            return None;
        }
        if self.pieces.is_empty() {
            self.began(piece);
        }
        self.pieces.extend_from_slice(piece);
        if message == kind::SIGNAL_PIECE {
            return None;
        }
        let whole = std::mem::take(&mut self.pieces);
        Some(Signal::decode(&whole).unwrap_or_else(|| panic!("no signal: {whole:02x?}")))
    }

    /// The first piece of a signal has left the machine.
    fn began(&mut self, piece: &[u8]) {
        let (kind, number) = Signal::kind_and_number(piece).expect("a head fits the first piece");
        let number = number.unwrap_or_default();
        match kind {
            1 => self.calls.add(number),
            2 | 3 => {
                let asked = self.requests.remove(&place(number)).map(|asked| asked.number);
                assert_eq!(asked, Some(number), "an outcome of what is over, or was never asked for");
            }
            4 => self.calls.give_up(number),
            5 => self.monitors.add(number),
            6 => self.monitors.give_up(number),
            7 => {
                let asked = self.watches.remove(&place(number)).map(|asked| asked.number);
                assert_eq!(asked, Some(number), "the end of what is not watched");
            }
            _ => {}
        }
    }
}
