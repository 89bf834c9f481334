//! The processes of this node, and their local names.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};

use super::id::{MonitorId, ProcessName, ProtocolHash, RequestId};
use super::line::Place;
use super::mailbox::{Mailbox, Room};
use crate::{ConnId, Limits};

/// The processes of this node.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    // A row is boxed: the nodes of a tree are half empty.
    rows: BTreeMap<u64, Box<Process>>,
    names: BTreeMap<ProcessName, u64>,
    /// The number of the last process of all runs.
    last: u64,
    /// What all mailboxes hold.
    bytes: usize,
    /// The names of the cluster that processes have lost and have not heard of.
    lost: usize,
}

/// A process of this node. What other parts keep for each process is kept here.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) protocol: ProtocolHash,
    mailbox: Mailbox,
    names: BTreeSet<ProcessName>,
    /// Who watches it: the number of the monitor, and whose number that is.
    pub(super) watchers: BTreeSet<(ConnId, u64)>,
    /// The monitors that it has set, until it has taken their notice: the place of that in its mailbox, where it waits.
    pub(super) monitors: BTreeMap<MonitorId, Option<Place>>,
    /// The calls that it was handed and has not answered.
    pub(super) requests: BTreeSet<RequestId>,
}

/// Why a process did not get a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NotNamed {
    NoProcess,
    Taken(u64),
    TooMany,
}

impl Process {
    pub(super) const fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn get(&self, number: u64) -> Option<&Process> {
        self.rows.get(&number).map(|row| &**row)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Process> {
        self.rows.get_mut(&number).map(|row| &mut **row)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Process)> {
        self.rows.iter().map(|(number, row)| (*number, &**row))
    }

    /// How many local names there are.
    pub(super) fn names(&self) -> usize {
        self.names.len()
    }

    /// What all mailboxes hold, in bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The names of the cluster that processes have lost and have not heard of.
    pub(super) const fn lost(&self) -> usize {
        self.lost
    }

    /// The process with this local name.
    pub(super) fn named(&self, name: &ProcessName) -> Option<u64> {
        self.names.get(name).copied()
    }

    pub(super) fn open(&mut self, protocol: ProtocolHash) -> u64 {
        self.last += 1;
        let process = Process {
            protocol,
            mailbox: Mailbox::default(),
            names: BTreeSet::new(),
            watchers: BTreeSet::new(),
            monitors: BTreeMap::new(),
            requests: BTreeSet::new(),
        };
        self.rows.insert(self.last, Box::new(process));
        self.last
    }

    /// Takes a process out, with its names.
    pub(super) fn close(&mut self, number: u64) -> Option<Box<Process>> {
        let process = self.rows.remove(&number)?;
        self.bytes -= process.mailbox.bytes();
        self.lost -= process.mailbox.lost();
        for name in &process.names {
            self.names.remove(name);
        }
        Some(process)
    }

    /// Works on the mailbox of a process.
    pub(super) fn mailbox<T>(&mut self, number: u64, work: impl FnOnce(&mut Mailbox) -> T) -> Option<T> {
        let mailbox = &mut self.rows.get_mut(&number)?.mailbox;
        let (bytes, lost) = (mailbox.bytes(), mailbox.lost());
        let done = work(mailbox);
        self.bytes = self.bytes - bytes + mailbox.bytes();
        self.lost = self.lost - lost + mailbox.lost();
        Some(done)
    }

    /// A process has nothing to do: what its tables keep room for is given back, since there may be many like it.
    pub(super) fn rest(&mut self, number: u64) {
        let Some(process) = self.get_mut(number) else { return };
        process.mailbox.rest();
        if process.requests.is_empty() {
            process.requests = BTreeSet::new();
        }
        if process.monitors.is_empty() {
            process.monitors = BTreeMap::new();
        }
        if process.watchers.is_empty() {
            process.watchers = BTreeSet::new();
        }
    }

    /// What a mailbox may take.
    pub(super) const fn room(&self, limits: &Limits) -> Room {
        Room {
            messages: limits.mailbox_messages,
            bytes: limits.mailbox_bytes,
            // The first of all messages finds room, however large it may be.
            in_all: if self.bytes == 0 { usize::MAX } else { limits.mailboxes_bytes.saturating_sub(self.bytes) },
        }
    }

    // Names

    pub(super) fn register(&mut self, number: u64, name: &ProcessName, limit: usize) -> Result<(), NotNamed> {
        let row = self.rows.get_mut(&number).ok_or(NotNamed::NoProcess)?;
        match self.names.get(name) {
            Some(holder) if *holder == number => return Ok(()),
            Some(holder) => return Err(NotNamed::Taken(*holder)),
            None if self.names.len() >= limit => return Err(NotNamed::TooMany),
            None => {}
        }
        self.names.insert(name.clone(), number);
        row.names.insert(name.clone());
        Ok(())
    }

    pub(super) fn unregister(&mut self, name: &ProcessName) {
        if let Some(row) = self.names.remove(name).and_then(|holder| self.rows.get_mut(&holder)) {
            row.names.remove(name);
        }
    }

    /// Panics where what is remembered is not what is there.
    #[cfg(debug_assertions)]
    pub(super) fn audit(&self) {
        assert_eq!(self.bytes, self.iter().map(|(_, process)| process.mailbox.bytes()).sum::<usize>(), "bytes of mailboxes");
        assert_eq!(self.lost, self.iter().map(|(_, process)| process.mailbox.lost()).sum::<usize>(), "names lost");
        assert_eq!(self.names.len(), self.iter().map(|(_, process)| process.names.len()).sum::<usize>(), "names");
        for (number, process) in self.iter() {
            process.mailbox.audit();
            assert!(process.names.iter().all(|name| self.named(name) == Some(number)), "a name of another process");
        }
    }
}
