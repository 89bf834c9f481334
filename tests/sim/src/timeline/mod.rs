//! What is drawn of a run: who lives, how each node sees each other one, sessions, faults, and what applications were told.
//!
//! It is collected at the machines' two sides, so that a simulated world and a replayed recording are drawn alike.

mod explain;
mod page;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use noex_proto::{Action, ClusterEvent, ClusterStatus, ConnId, Input, Machine, NodeDownReason, NodeId, NodeStatus};

pub(crate) use explain::fault;
pub(crate) use page::Page;

use crate::HostId;

/// How much is kept of one row; what is older is not drawn.
const KEEP: usize = 2000;

/// What is drawn of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    faults: VecDeque<Span<Fault>>,
    lanes: Vec<Lane>,
    phases: Vec<(u64, String)>,
}

/// A stretch of time, in nanoseconds.
#[derive(Clone, Debug)]
struct Span<T> {
    from: u64,
    until: u64,
    what: T,
}

/// Something that is one thing at a time.
#[derive(Clone, Debug)]
struct Track<T> {
    open: Option<(u64, T)>,
    spans: VecDeque<Span<T>>,
}

/// Something that the plan did.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// The name of its colour.
    pub(crate) kind: &'static str,
    /// What was done, in words.
    pub(crate) text: String,
}

/// What a node's process does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Life {
    Crashed,
    Frozen,
    Leaving,
    Off,
    Running,
    Stopped,
}

impl From<ClusterStatus> for Life {
    fn from(status: ClusterStatus) -> Self {
        match status {
            ClusterStatus::Running | ClusterStatus::Starting => Self::Running,
            ClusterStatus::Stopped => Self::Stopped,
            ClusterStatus::Stopping => Self::Leaving,
            other => unreachable!("{other:?} is new"),
        }
    }
}

/// A node, or a stranger.
#[derive(Clone, Debug, Default)]
struct Lane {
    /// Connections that did not become sessions, from their beginning to their end.
    attempts: VecDeque<Span<String>>,
    conns: BTreeMap<ConnId, Conn>,
    life: Track<Life>,
    marks: VecDeque<Mark>,
    /// The node's identity, once it is known.
    name: Option<String>,
    peers: BTreeMap<NodeId, Peer>,
}

/// How a node sees another one.
#[derive(Clone, Debug, Default)]
struct Peer {
    /// Why it went down last.
    reason: Option<NodeDownReason>,
    sessions: Track<Session>,
    status: Track<(NodeStatus, Option<NodeDownReason>)>,
}

#[derive(Clone, Debug, PartialEq)]
struct Session {
    conn: ConnId,
    text: String,
}

#[derive(Clone, Debug)]
struct Conn {
    is_session: bool,
    since: u64,
    text: String,
}

/// Something that happened at one moment.
#[derive(Clone, Debug)]
struct Mark {
    at: u64,
    kind: Kind,
    text: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Down,
    Error,
    Status,
    Up,
}

impl<T> Default for Track<T> {
    fn default() -> Self {
        Self { open: None, spans: VecDeque::new() }
    }
}

impl<T: Clone + PartialEq> Track<T> {
    fn set(&mut self, at: u64, what: Option<T>) {
        if self.now() == what.as_ref() {
            return;
        }
        if let Some((from, what)) = self.open.take() {
            keep(&mut self.spans, Span { from, until: at, what });
        }
        self.open = what.map(|what| (at, what));
    }

    fn now(&self) -> Option<&T> {
        self.open.as_ref().map(|(_, what)| what)
    }

    /// All spans, the present one up to the end.
    fn until(&self, end: u64) -> impl Iterator<Item = Span<&T>> {
        let closed = self.spans.iter().map(|span| Span { from: span.from, until: span.until, what: &span.what });
        closed.chain(self.open.iter().map(move |(from, what)| Span { from: *from, until: end, what }))
    }
}

fn keep<T>(queue: &mut VecDeque<T>, new: T) {
    if queue.len() == KEEP {
        queue.pop_front();
    }
    queue.push_back(new);
}

impl Timeline {
    fn lane(&mut self, host: HostId) -> &mut Lane {
        if self.lanes.len() <= host {
            self.lanes.resize_with(host + 1, Lane::default);
        }
        &mut self.lanes[host]
    }

    /// A stranger is on this host.
    pub(crate) fn stranger(&mut self, host: HostId, what: &str) {
        self.lane(host).name = Some(format!("stranger: {what}"));
    }

    /// The machine is about to be fed.
    pub(crate) fn input(&mut self, host: HostId, at: u64, input: &Input) {
        let lane = self.lane(host);
        match input {
            Input::Accepted { conn, remote } => lane.open(*conn, at, format!("accepted from {remote}")),
            Input::Connected { conn, remote } => lane.dialled(*conn, *remote),
            Input::DialFailed { conn, error } => lane.close(*conn, at, &format!("failed: {error}")),
            Input::Closed { conn } => {
                if let Some(conn) = lane.conns.get_mut(conn).filter(|conn| !conn.is_session) {
                    conn.text.push_str(", closed by the other side");
                }
            }
            _ => {}
        }
    }

    /// The machine has asked for this.
    pub(crate) fn action(&mut self, host: HostId, at: u64, action: &Action) {
        let lane = self.lane(host);
        match action {
            Action::Close { conn, .. } => lane.close(*conn, at, "closed"),
            Action::Connect { conn, remote } => lane.open(*conn, at, format!("dialled {remote}")),
            Action::Event(event) => lane.event(at, event),
            Action::Message | Action::Process(_) | Action::Resolve { .. } | Action::Transmit { .. } | Action::Stopped => {}
        }
    }

    /// What the machine shows after an input.
    pub(crate) fn view(&mut self, host: HostId, at: u64, machine: &Machine) {
        let lane = self.lane(host);
        if let Ok(id) = machine.local_node_id()
            && lane.name.as_deref() != Some(id.as_str())
        {
            lane.name = Some(id.to_string());
        }
        let nodes = machine.nodes().unwrap_or_default();
        for info in &nodes {
            let peer = lane.peers.entry(info.id.clone()).or_default();
            let reason = peer.reason.filter(|_| info.status == NodeStatus::Disconnected);
            peer.status.set(at, Some((info.status, reason)));
            let conn = machine.session(&info.id).ok().flatten();
            if peer.sessions.now().map(|session| session.conn) != conn {
                let session = conn.and_then(|id| {
                    let conn = lane.conns.get_mut(&id)?;
                    conn.is_session = true;
                    Some(Session { conn: id, text: conn.text.clone() })
                });
                peer.sessions.set(at, session);
            }
        }
        for (id, peer) in &mut lane.peers {
            if nodes.binary_search_by(|info| info.id.cmp(id)).is_err() {
                peer.status.set(at, None);
                peer.sessions.set(at, None);
            }
        }
    }

    /// What becomes of a node's process.
    pub(crate) fn life(&mut self, host: HostId, at: u64, life: Life) {
        let lane = self.lane(host);
        if matches!(life, Life::Crashed | Life::Off) {
            for peer in lane.peers.values_mut() {
                peer.status.set(at, None);
                peer.sessions.set(at, None);
            }
            let open: Vec<ConnId> = lane.conns.keys().copied().collect();
            open.into_iter().for_each(|conn| lane.close(conn, at, "gone with the process"));
        }
        lane.life.set(at, Some(life));
    }

    /// Something is done to the cluster, up to a time.
    pub(crate) fn fault(&mut self, from: u64, until: u64, fault: Fault) {
        keep(&mut self.faults, Span { from, until, what: fault });
    }

    /// A part of the run begins.
    pub(crate) fn phase(&mut self, at: u64, what: &str) {
        // What the plan still did is undone where the next part begins.
        for fault in &mut self.faults {
            fault.until = fault.until.min(at).max(fault.from);
        }
        self.phases.push((at, what.into()));
    }
}

impl Lane {
    fn open(&mut self, conn: ConnId, at: u64, text: String) {
        self.conns.insert(conn, Conn { is_session: false, since: at, text });
    }

    fn dialled(&mut self, conn: ConnId, remote: SocketAddr) {
        if let Some(conn) = self.conns.get_mut(&conn) {
            let remote = remote.to_string();
            if !conn.text.ends_with(&remote) {
                conn.text.push_str(&format!(" ({remote})"));
            }
        }
    }

    fn close(&mut self, conn: ConnId, at: u64, how: &str) {
        if let Some(Conn { is_session: false, since, text }) = self.conns.remove(&conn) {
            keep(&mut self.attempts, Span { from: since, until: at, what: format!("{conn} {text}, {how}") });
        }
    }

    fn event(&mut self, at: u64, event: &ClusterEvent) {
        let kind = match event {
            ClusterEvent::Error(_) | ClusterEvent::Lagged { .. } | ClusterEvent::NameConflict { .. } => Kind::Error,
            ClusterEvent::NodeDown { id, reason } => {
                self.peers.entry(id.clone()).or_default().reason = Some(*reason);
                Kind::Down
            }
            ClusterEvent::NodeUp(_) => Kind::Up,
            ClusterEvent::StatusChange(status) => {
                self.life.set(at, Some(Life::from(*status)));
                Kind::Status
            }
            other => unreachable!("{other:?} is new"),
        };
        keep(&mut self.marks, Mark { at, kind, text: event.to_string() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_keeps_its_last_spans() {
        let mut track = Track::default();
        for at in 0..6 * KEEP as u64 {
            track.set(at, Some(at / 2));
        }
        assert_eq!(track.spans.len(), KEEP);
        let last = track.until(u64::MAX).last().expect("a span");
        assert_eq!((last.from, last.until, *last.what), (6 * KEEP as u64 - 2, u64::MAX, 3 * KEEP as u64 - 1));
        track.set(u64::MAX, None);
        assert_eq!(track.spans.len(), KEEP);
    }
}
