//! What every driver relies on.

use std::collections::{BTreeMap, BTreeSet};

use noex_proto::{Action, ClusterEvent, ClusterStatus, ConnId, Input, LookupId, NodeId};

/// How many lookups may be under way.
pub(super) const LOOKUPS: usize = 2;

/// It, checked for each action of a machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) known: BTreeSet<ConnId>,
    pub(super) closed: BTreeSet<ConnId>,
    /// Dials that have neither led to a connection nor failed.
    pub(super) dialling: BTreeSet<ConnId>,
    /// Lookups that have no answer yet.
    pub(super) lookups: BTreeMap<LookupId, String>,
    pub(super) last_lookup: Option<LookupId>,
    pub(super) ups: BTreeSet<NodeId>,
    pub(super) status: ClusterStatus,
}

impl Rules {
    pub(super) fn input(&mut self, input: &Input, next: ConnId) {
        match input {
            Input::Accepted { conn, .. } if *conn == next => {
                self.known.insert(*conn);
            }
            Input::Connected { conn, .. } => {
                self.dialling.remove(conn);
            }
            // A dial that failed never was a connection: it needs no close, and gets none.
            Input::Resolved { lookup, .. } => {
                self.lookups.remove(lookup);
            }
            Input::DialFailed { conn, .. } if self.dialling.remove(conn) => {
                self.closed.insert(*conn);
            }
            _ => {}
        }
    }

    pub(super) fn check(&mut self, action: &Action) {
        match action {
            Action::Close { conn, .. } => {
                assert!(self.known.contains(conn), "close of the unknown {conn}");
                assert!(self.closed.insert(*conn), "a second close of {conn}");
                self.dialling.remove(conn);
            }
            Action::Connect { conn, .. } => {
                assert!(self.known.insert(*conn), "{conn} is used again");
                self.dialling.insert(*conn);
                assert!(
                    matches!(self.status, ClusterStatus::Running | ClusterStatus::Stopping),
                    "a dial while {:?}",
                    self.status
                );
            }
            Action::Resolve { host, lookup } => {
                assert_eq!(self.status, ClusterStatus::Running);
                assert!(self.lookups.values().all(|other| other != host), "{host} is looked up twice");
                assert!(self.last_lookup < Some(*lookup), "{lookup:?} is used again");
                self.last_lookup = Some(*lookup);
                self.lookups.insert(*lookup, host.clone());
                assert!(self.lookups.len() <= LOOKUPS, "{:?}", self.lookups);
            }
            Action::Transmit { conn, data } => {
                assert!(self.known.contains(conn) && !self.closed.contains(conn), "a send on {conn}, which is not open");
                assert!(!data.is_empty());
                assert_ne!(self.status, ClusterStatus::Stopped);
            }
            Action::Event(ClusterEvent::NodeUp(info)) => {
                assert_eq!(self.status, ClusterStatus::Running);
                assert!(self.ups.insert(info.id.clone()), "{} is up twice", info.id);
            }
            Action::Event(ClusterEvent::NodeDown { id, .. }) => {
                assert_eq!(self.status, ClusterStatus::Running);
                assert!(self.ups.remove(id), "{id} is down twice");
            }
            Action::Event(ClusterEvent::StatusChange(status)) => {
                assert_ne!(self.status, *status);
                self.status = *status;
                if *status == ClusterStatus::Stopped {
                    self.ups.clear();
                }
            }
            Action::Event(ClusterEvent::Error(_) | ClusterEvent::Lagged { .. }) | Action::Message => {}
            Action::Event(other) => unreachable!("{other:?} is new"),
            Action::Stopped => {
                assert_eq!(self.status, ClusterStatus::Stopped);
                assert_eq!(self.known, self.closed, "every connection is closed before the stop is complete");
            }
        }
    }
}
