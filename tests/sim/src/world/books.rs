//! A machine's counts against those of its driver, and what is left of both.

use noex_proto::{Books, ClusterStatus, NodeId, OpenWith, ProcessId, ProcessName};

use super::{HostId, World};
use crate::safety::Invariant;

impl World {
    /// The machine's counts are those of its driver.
    pub(super) fn check_books(&mut self, host: HostId) {
        if self.is_bent() {
            return;
        }
        let at = &self.hosts[host];
        let counted = self.bent_books(at.machine.books());
        let check = at.contract.balance(counted, |conn| self.bent_in_flight(at.machine.bytes_in_flight(conn)));
        self.kept(host, check);
    }

    /// Whether drivers are asked for what no machine has asked for, so that the counts of the two differ.
    pub(super) fn is_bent(&self) -> bool {
        #[cfg(test)]
        let bent = self.bend.action.is_some();
        #[cfg(not(test))]
        let bent = false;
        bent
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

    /// The machine counts as many processes, calls, and calls that processes have, as its driver knows of.
    pub(crate) fn check_counts(&mut self, host: HostId, known: (usize, usize, usize)) {
        let open = self.open_with(host, None);
        let counted = (self.hosts[host].machine.process_count(), open.calls, open.handed);
        if counted != known {
            let detail =
                format!("processes, calls and calls that they have: the machine counts {counted:?}, and its driver {known:?}");
            self.violate(Some(host), Invariant::BooksBalance, detail);
        }
    }

    /// The process that has a name, as a host sees it.
    pub(super) fn holder(&self, host: HostId, name: &ProcessName) -> Option<ProcessId> {
        let holder = self.hosts[host].machine.whereis(name).map(|holder| holder.process);
        #[cfg(test)]
        let holder = self.bend.holder.map_or(holder.clone(), |bend| bend(host, holder));
        holder
    }

    /// What is open between the processes of a host and those of a node, or of all.
    pub(super) fn open_with(&self, host: HostId, node: Option<&NodeId>) -> OpenWith {
        let open = self.hosts[host].machine.open_with(node);
        #[cfg(test)]
        let open = self.bend.open.map_or(open, |bend| bend(open));
        open
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
        let left = (at.contract.open(), at.credits.len(), held);
        if unread != (0, 0) || left != (0, 0, 0) {
            let detail = format!(
                "it is stopped, and for subscribers {unread:?} events and bytes are left, for its driver {left:?} connections, \
                 credits and bytes"
            );
            self.violate(Some(host), Invariant::BooksBalance, detail);
        }
    }
}
