//! What a driver knows of its connections, kept apart from what the machine counts.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::{Books, Close, ConnId, Input};

/// How a connection stands, as far as its driver knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Nobody has it any more.
    Closed,
    /// Closed gracefully, until the driver says that this is done.
    Closing,
    /// A dial without an answer.
    Dialling,
    /// Bytes pass.
    Open,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Connections {
    /// All that there ever were, by their numbers.
    entries: Vec<Entry>,
    counts: Counts,
    /// How many accepted connections of each origin are not authenticated.
    half_open: BTreeMap<Origin, usize>,
    /// The handshakes that the machine had completed when it was last asked.
    handshakes: u64,
    /// The stops that have begun or ended. The machine waits for no close that is older.
    stops: u32,
    /// The connections on which bytes were handed over or reported as sent by the present input.
    touched: Vec<ConnId>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    stage: Stage,
    /// Where it was accepted from.
    from: Origin,
    /// Bytes handed over and not reported as sent.
    unsent: usize,
}

/// An address, or the first half of one with IPv6, and whether it is one.
type Origin = (bool, u64);

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Accepted,
    Closed,
    Closing {
        stops: u32,
    },
    /// Dialled, with an answer.
    Connected,
    Dialling,
    /// Authenticated.
    Session {
        dialled: bool,
    },
    /// The session of a node that is up.
    Up,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    closing: usize,
    connections: usize,
    /// The dials that are under way, and those that may be: whether a session that is not up was still wanted, the driver cannot tell.
    dials: (usize, usize),
    half_open: usize,
    sessions: usize,
}

impl Counts {
    /// The counts that a connection belongs to.
    fn of(&mut self, stage: Stage, stops: u32) -> [Option<&mut usize>; 3] {
        match stage {
            Stage::Accepted => [Some(&mut self.connections), Some(&mut self.half_open), None],
            Stage::Closing { stops: since } => [(since == stops).then_some(&mut self.closing), None, None],
            Stage::Connected | Stage::Dialling => [Some(&mut self.connections), Some(&mut self.dials.0), Some(&mut self.dials.1)],
            Stage::Closed => [None, None, None],
            Stage::Session { dialled } => {
                [Some(&mut self.connections), Some(&mut self.sessions), dialled.then_some(&mut self.dials.1)]
            }
            Stage::Up => [Some(&mut self.connections), Some(&mut self.sessions), None],
        }
    }
}

impl Connections {
    fn place(conn: ConnId) -> Option<usize> {
        usize::try_from(conn.0).ok()?.checked_sub(1)
    }

    fn entry(&self, conn: ConnId) -> Option<&Entry> {
        self.entries.get(Self::place(conn)?)
    }

    fn entry_mut(&mut self, conn: ConnId) -> Option<&mut Entry> {
        self.entries.get_mut(Self::place(conn)?)
    }

    pub(super) fn phase(&self, conn: ConnId) -> Option<Phase> {
        self.entry(conn).map(Entry::phase)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (ConnId, Phase)> {
        (1..).map(ConnId).zip(self.entries.iter().map(Entry::phase))
    }

    pub(super) const fn open(&self) -> usize {
        self.counts.connections
    }

    /// Adds a connection, if it has the next number.
    fn add(&mut self, conn: ConnId, stage: Stage, from: Origin) -> bool {
        let next = Self::place(conn) == Some(self.entries.len());
        if next {
            self.entries.push(Entry { stage: Stage::Closed, from, unsent: 0 });
            self.change(conn, |_| stage);
        }
        next
    }

    fn change(&mut self, conn: ConnId, to: impl FnOnce(Stage) -> Stage) {
        let stops = self.stops;
        let Some(entry) = self.entry_mut(conn) else { return };
        let (before, from) = (entry.stage, entry.from);
        entry.stage = to(before);
        let after = entry.stage;
        if before == after {
            return;
        }
        self.counts.of(before, stops).into_iter().flatten().for_each(|count| *count -= 1);
        self.counts.of(after, stops).into_iter().flatten().for_each(|count| *count += 1);
        if before == Stage::Accepted {
            let of_origin = self.half_open.entry(from).or_default();
            *of_origin -= 1;
            if *of_origin == 0 {
                self.half_open.remove(&from);
            }
        }
        if after == Stage::Accepted {
            *self.half_open.entry(from).or_default() += 1;
        }
    }

    /// Whether an input is about a connection that was closed, or never was.
    pub(super) fn is_stale(&self, input: &Input) -> bool {
        match input {
            Input::Accepted { conn, .. } => Self::place(*conn) != Some(self.entries.len()),
            Input::Closed { conn } => matches!(self.phase(*conn), None | Some(Phase::Closed)),
            Input::Connected { conn, .. }
            | Input::DialFailed { conn, .. }
            | Input::Received { conn, .. }
            | Input::Transmitted { conn, .. } => matches!(self.phase(*conn), None | Some(Phase::Closed | Phase::Closing)),
            _ => false,
        }
    }

    pub(super) fn input(&mut self, input: &Input) {
        match input {
            Input::Accepted { conn, remote } => {
                self.add(*conn, Stage::Accepted, origin(remote.ip()));
            }
            Input::Closed { conn } => {
                self.change(*conn, |stage| if matches!(stage, Stage::Closing { .. }) { Stage::Closed } else { stage });
            }
            Input::Connected { conn, .. } => {
                self.change(*conn, |stage| if stage == Stage::Dialling { Stage::Connected } else { stage });
            }
            // A dial that failed never was a connection: no close of it comes.
            Input::DialFailed { conn, .. } => {
                self.change(*conn, |stage| if stage == Stage::Dialling { Stage::Closed } else { stage });
            }
            Input::Transmitted { bytes, conn } => {
                if let Some(entry) = self.entry_mut(*conn) {
                    entry.unsent = entry.unsent.saturating_sub(*bytes);
                    self.touched.push(*conn);
                }
            }
            _ => {}
        }
    }

    /// The machine got bytes: a handshake that it completed is this connection's.
    pub(super) fn received(&mut self, conn: ConnId, handshakes: u64) {
        if !self.entry(conn).is_some_and(|entry| matches!(entry.stage, Stage::Accepted | Stage::Connected | Stage::Dialling)) {
            return;
        }
        if core::mem::replace(&mut self.handshakes, handshakes) < handshakes {
            self.change(conn, |stage| Stage::Session { dialled: stage != Stage::Accepted });
        }
    }

    pub(super) fn dial(&mut self, conn: ConnId) -> bool {
        self.add(conn, Stage::Dialling, (false, 0))
    }

    pub(super) fn close(&mut self, conn: ConnId, how: Close) {
        let stops = self.stops;
        let to = if matches!(how, Close::Abort) { Stage::Closed } else { Stage::Closing { stops } };
        self.change(conn, |_| to);
    }

    pub(super) fn up(&mut self, conn: ConnId) {
        self.change(conn, |stage| if let Stage::Session { .. } = stage { Stage::Up } else { stage });
    }

    /// Hands bytes over. How many wait then.
    pub(super) fn transmit(&mut self, conn: ConnId, bytes: usize) -> usize {
        let Some(entry) = self.entry_mut(conn) else { return 0 };
        entry.unsent += bytes;
        let unsent = entry.unsent;
        if self.touched.last() != Some(&conn) {
            self.touched.push(conn);
        }
        unsent
    }

    /// The machine waits no more for what it closed before.
    pub(super) const fn forget_closing(&mut self) {
        self.stops += 1;
        self.counts.closing = 0;
    }

    /// The driver waits no more for what the machine closed.
    pub(super) fn stopped(&mut self) {
        self.forget_closing();
        self.entries.iter_mut().for_each(|entry| entry.stage = Stage::Closed);
    }

    pub(super) fn settled(&mut self) {
        self.touched.clear();
    }

    /// The bytes of each connection that the present input concerns; `None` where it is closed.
    pub(super) fn touched(&self) -> impl Iterator<Item = (ConnId, Option<usize>)> {
        self.touched.iter().map(|conn| {
            let open = self.entry(*conn).filter(|entry| !matches!(entry.phase(), Phase::Closed | Phase::Closing));
            (*conn, open.map(|entry| entry.unsent))
        })
    }

    /// The most accepted connections of one origin that are not authenticated.
    pub(super) fn half_open_per_address(&self) -> usize {
        self.half_open.values().copied().max().unwrap_or(0)
    }

    /// What a machine's counts have to be, which says that they are `counted`.
    pub(super) fn expected(&self, counted: Books, lookups: usize) -> Books {
        let Counts { closing, connections, dials: (least, most), half_open, sessions } = self.counts;
        Books { closing, connections, dials: counted.dials.clamp(least, most), half_open, lookups, sessions }
    }
}

impl Entry {
    const fn phase(&self) -> Phase {
        match self.stage {
            Stage::Closed => Phase::Closed,
            Stage::Closing { .. } => Phase::Closing,
            Stage::Dialling => Phase::Dialling,
            Stage::Accepted | Stage::Connected | Stage::Session { .. } | Stage::Up => Phase::Open,
        }
    }
}

fn origin(address: IpAddr) -> Origin {
    match address.to_canonical() {
        IpAddr::V4(address) => (false, u64::from(address.to_bits())),
        IpAddr::V6(address) => (true, (address.to_bits() >> 64) as u64),
    }
}
