//! What a driver knows of its machine's connections, kept apart from what the machine counts. After each input the two are equal.

use std::collections::BTreeMap;

use noex_proto::{Action, Books, Close, ClusterEvent, ClusterStatus, ConnId, Input, Machine};

use super::{HostId, World, network};
use crate::safety::Invariant;

/// A driver's own counts of one machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    /// All connections there ever were, by their numbers.
    entries: Vec<Entry>,
    counts: Counts,
    /// Of how many connections that each host dialled nobody is authenticated.
    half_open: BTreeMap<HostId, usize>,
    /// The handshakes that the machine had completed when it was last asked.
    handshakes: u64,
    /// The connections on which bytes were handed over or reported as sent by the present input.
    touched: Vec<ConnId>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    stage: Stage,
    /// The host that dialled, where it was accepted.
    from: HostId,
    /// Bytes handed over and not reported as sent.
    unsent: usize,
}

/// How far a connection has come, as far as its driver can tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Accepted,
    /// Closed gracefully, and not reported as closed.
    Closing,
    /// Dialled, whether there was an answer or not.
    Dialled,
    Over,
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
    fn of(&mut self, stage: Stage) -> [Option<&mut usize>; 3] {
        match stage {
            Stage::Accepted => [Some(&mut self.connections), Some(&mut self.half_open), None],
            Stage::Closing => [Some(&mut self.closing), None, None],
            Stage::Dialled => [Some(&mut self.connections), Some(&mut self.dials.0), Some(&mut self.dials.1)],
            Stage::Over => [None, None, None],
            Stage::Session { dialled } => {
                [Some(&mut self.connections), Some(&mut self.sessions), dialled.then_some(&mut self.dials.1)]
            }
            Stage::Up => [Some(&mut self.connections), Some(&mut self.sessions), None],
        }
    }
}

impl Ledger {
    fn entry(&mut self, conn: ConnId) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(conn.0).ok()?.checked_sub(1)?)
    }

    /// The bytes of a connection that is not closed.
    fn unsent(&self, conn: ConnId) -> Option<usize> {
        let entry = self.entries.get(usize::try_from(conn.0).ok()?.checked_sub(1)?)?;
        (!matches!(entry.stage, Stage::Closing | Stage::Over)).then_some(entry.unsent)
    }

    fn add(&mut self, stage: Stage, from: HostId) {
        self.entries.push(Entry { stage: Stage::Over, from, unsent: 0 });
        self.change(ConnId(self.entries.len() as u64), |_| stage);
    }

    fn change(&mut self, conn: ConnId, to: impl FnOnce(Stage) -> Stage) {
        let Some(entry) = self.entry(conn) else { return };
        let (before, from) = (entry.stage, entry.from);
        entry.stage = to(before);
        let after = entry.stage;
        if before == after {
            return;
        }
        self.counts.of(before).into_iter().flatten().for_each(|count| *count -= 1);
        self.counts.of(after).into_iter().flatten().for_each(|count| *count += 1);
        if before == Stage::Accepted {
            let of_host = self.half_open.entry(from).or_default();
            *of_host -= 1;
            if *of_host == 0 {
                self.half_open.remove(&from);
            }
        }
        if after == Stage::Accepted {
            *self.half_open.entry(from).or_default() += 1;
        }
    }

    /// Before the machine gets an input.
    pub(super) fn note_input(&mut self, input: &Input) {
        self.touched.clear();
        match input {
            Input::Accepted { conn, remote } if conn.0 == self.entries.len() as u64 + 1 => {
                self.add(Stage::Accepted, network::host_at(*remote).unwrap_or(HostId::MAX));
            }
            Input::Closed { conn } => self.change(*conn, |stage| if stage == Stage::Closing { Stage::Over } else { stage }),
            Input::DialFailed { conn, .. } => {
                self.change(*conn, |stage| if stage == Stage::Dialled { Stage::Over } else { stage });
            }
            Input::Transmitted { bytes, conn } => {
                if let Some(entry) = self.entry(*conn) {
                    entry.unsent = entry.unsent.saturating_sub(*bytes);
                    self.touched.push(*conn);
                }
            }
            _ => {}
        }
    }

    /// After the machine got bytes: a handshake that it completed is this connection's.
    pub(super) fn note_received(&mut self, conn: ConnId, machine: &Machine) {
        if !self.entry(conn).is_some_and(|entry| matches!(entry.stage, Stage::Accepted | Stage::Dialled)) {
            return;
        }
        let handshakes = machine.counters().handshakes;
        if std::mem::replace(&mut self.handshakes, handshakes) < handshakes {
            self.change(conn, |stage| Stage::Session { dialled: stage == Stage::Dialled });
        }
    }

    /// The machine asks for an action.
    pub(super) fn note_action(&mut self, action: &Action, machine: &Machine) {
        match action {
            Action::Close { conn, how } => {
                let to = if matches!(how, Close::Abort) { Stage::Over } else { Stage::Closing };
                self.change(*conn, |_| to);
            }
            Action::Connect { .. } => self.add(Stage::Dialled, HostId::MAX),
            Action::Event(ClusterEvent::NodeUp(info)) => {
                if let Ok(Some(conn)) = machine.session(&info.id) {
                    self.change(conn, |stage| if let Stage::Session { .. } = stage { Stage::Up } else { stage });
                }
            }
            // The machine waits no more for what it closed before.
            Action::Event(ClusterEvent::StatusChange(ClusterStatus::Stopping | ClusterStatus::Stopped)) => {
                for number in 1..=self.entries.len() as u64 {
                    self.change(ConnId(number), |stage| if stage == Stage::Closing { Stage::Over } else { stage });
                }
            }
            Action::Transmit { conn, data } => {
                if let Some(entry) = self.entry(*conn) {
                    entry.unsent += data.len();
                    if self.touched.last() != Some(conn) {
                        self.touched.push(*conn);
                    }
                }
            }
            Action::Event(_) | Action::Message | Action::Resolve { .. } | Action::Stopped => {}
        }
    }

    /// The most half-open connections that one host has dialled.
    pub(super) fn half_open_per_address(&self) -> usize {
        self.half_open.values().copied().max().unwrap_or(0)
    }

    /// What a machine's counts have to be, which says that they are `counted`.
    fn expected(&self, counted: Books, lookups: usize) -> Books {
        let Counts { closing, connections, dials: (least, most), half_open, sessions } = self.counts;
        Books { closing, connections, dials: counted.dials.clamp(least, most), half_open, lookups, sessions }
    }
}

impl World {
    /// The machine's counts are those of its driver.
    pub(super) fn check_books(&mut self, host: HostId) {
        let at = &self.hosts[host];
        let counted = self.bent_books(at.machine.books());
        let known = at.ledger.expected(counted, at.inquiry.under_way());
        if counted != known {
            let detail = format!("the machine counts {counted:?}, and its driver {known:?}");
            return self.violate(Some(host), Invariant::BooksBalance, detail);
        }
        let differs = at.ledger.touched.iter().find_map(|conn| {
            let (counted, known) = (self.bent_in_flight(at.machine.bytes_in_flight(*conn)), at.ledger.unsent(*conn));
            (counted != known).then_some((*conn, counted, known))
        });
        if let Some((conn, counted, known)) = differs {
            let detail = format!("of {conn} the machine counts {counted:?} bytes in flight, and its driver {known:?}");
            self.violate(Some(host), Invariant::BooksBalance, detail);
        }
    }

    fn bent_books(&self, books: Books) -> Books {
        #[cfg(test)]
        let books = self.bend.books.map_or(books, |bend| bend(books));
        books
    }

    fn bent_in_flight(&self, bytes: Option<usize>) -> Option<usize> {
        #[cfg(test)]
        let bytes = self.bend.in_flight.map_or(bytes, |bend| bend(bytes));
        bytes
    }

    /// Where a node is stopped, nothing is left of it: neither in its machine, once all subscribers have read, nor in its driver.
    pub(crate) fn check_nothing_left(&mut self, host: HostId) {
        if self.hosts[host].rogue.is_some() || self.hosts[host].machine.status() != ClusterStatus::Stopped {
            return;
        }
        self.read_slowly(host);
        let at = &self.hosts[host];
        let usage = self.bent_usage(at.machine.usage());
        let unread = (usage.events_per_subscriber, usage.message_bytes_per_subscriber);
        let held: usize = at.ends().map(|(place, end)| self.conns[place].pipes[end].out_bytes).sum();
        let left = (at.open, at.credits.len(), held);
        if unread != (0, 0) || left != (0, 0, 0) {
            let detail = format!(
                "it is stopped, and for subscribers {unread:?} events and bytes are left, for its driver {left:?} connections, \
                 credits and bytes"
            );
            self.violate(Some(host), Invariant::BooksBalance, detail);
        }
    }
}
