//! How much is open, and how full everything is that has a limit.

use super::Processes;
use super::peers::Peer;
#[cfg(feature = "testing")]
use super::peers::RequestState;
use crate::Usage;

impl Processes {
    /// How much of each limit is in use. Of calls that came, those count that are not decided.
    pub(crate) fn usage(&self) -> Usage {
        let rows = || self.peers.iter().map(|(_, row)| row);
        let most = |of: fn(&Peer) -> usize| rows().map(of).max().unwrap_or(0);
        let (names_of_others, watched_names) = self.names.kept_and_watched();
        let processes = || self.table.iter().map(|(_, process)| process);
        Usage {
            calls_per_peer: most(|row| row.calls.len()),
            calls_served_per_peer: most(|row| row.requests.values().filter(|request| request.state.is_open()).count()),
            local_names: self.table.names(),
            mailbox_bytes: processes().map(|process| process.mailbox().bytes()).max().unwrap_or(0),
            mailbox_messages: processes().map(|process| process.mailbox().messages()).max().unwrap_or(0),
            mailboxes_bytes: self.table.bytes(),
            monitors_per_process: processes().map(|process| process.monitors.len()).max().unwrap_or(0),
            names: self.names.used() + self.table.lost(),
            names_of_others,
            processes: self.table.len(),
            signal_bytes: most(|row| row.outbox.fullest()),
            watched_names,
            ..Usage::default()
        }
    }

    /// What is open with all peers, or with one.
    #[cfg(feature = "testing")]
    pub(crate) fn open_with(&self, peer: Option<crate::ConnId>) -> crate::OpenWith {
        let rows = self.peers.iter().filter(|(of, _)| peer.is_none_or(|peer| *of == peer));
        rows.fold(crate::OpenWith::default(), |sum, (_, row)| crate::OpenWith {
            calls: sum.calls + row.calls.iter().filter(|(_, call)| call.is_open()).count(),
            cancelled: sum.cancelled + row.calls.iter().filter(|(_, call)| !call.is_open()).count(),
            handed: sum.handed
                + row.requests.values().filter(|request| matches!(request.state, RequestState::Taken { .. })).count(),
            monitors: sum.monitors + row.monitors.iter().filter(|(_, monitor)| monitor.state.is_open()).count(),
            owed: sum.owed + row.outbox.len() + usize::from(row.outbox.is_in_transit()),
            requests: sum.requests + row.requests.values().filter(|request| request.state.is_open()).count(),
            watched: sum.watched + row.watched.len(),
        })
    }
}
