//! A machine and what every driver relies on: checked at each input and each action.

use std::collections::{BTreeMap, BTreeSet};

use noex_proto::{
    Action, Close, ClusterEvent, ClusterStatus, ConnId, Input, Instant, Limits, LookupId, Machine, NodeId, SubscriptionId,
};

use crate::victim;

/// The longest record, with its length prefix.
const RECORD_MAX: usize = 4 + 64 * 1024 + 64;

/// More actions than this from one input would be a storm: the limits of the targets are small.
const ACTIONS_MAX: usize = 400;

/// A connection, as the driver knows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    Closed,
    /// Closed gracefully, until the driver says that it is done.
    Closing,
    Dialling,
    Open,
}

#[derive(Clone, Debug)]
struct Conn {
    phase: Phase,
    /// Bytes that the machine has released and that were not reported as sent.
    in_flight: usize,
}

/// What a reader of events has been told.
#[derive(Clone, Debug)]
struct Reader {
    subscription: SubscriptionId,
    status: ClusterStatus,
    up: BTreeSet<NodeId>,
}

#[derive(Clone, Debug)]
pub(crate) struct Driven {
    pub(crate) machine: Machine,
    limits: Limits,
    /// The latest time that was handed in.
    now: Instant,
    conns: BTreeMap<ConnId, Conn>,
    lookups: BTreeMap<LookupId, String>,
    pub(crate) status: ClusterStatus,
    up: BTreeSet<NodeId>,
    reader: Option<Reader>,
}

/// What a resolver says: it differs from lookup to lookup.
pub(crate) fn resolved(lookup: LookupId) -> Input {
    let addrs = match lookup.0 % 4 {
        0 => Err("try again".into()),
        1 => Ok(Vec::new()),
        many => Ok((1..20 * many as u8).map(victim::address).collect()),
    };
    Input::Resolved { addrs, lookup }
}

impl Driven {
    /// A machine whose actions, since it was made, are all still to be taken.
    pub(crate) fn new(machine: Machine, limits: Limits) -> Self {
        let (conns, lookups, status, up) = Default::default();
        Self { machine, limits, now: Instant::START, conns, lookups, status, up, reader: None }
    }

    /// The latest time that was handed in.
    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// The connections in this phase.
    pub(crate) fn conns(&self, phase: Phase) -> impl Iterator<Item = ConnId> {
        self.conns.iter().filter(move |(_, conn)| conn.phase == phase).map(|(conn, _)| *conn)
    }

    pub(crate) fn is(&self, conn: ConnId, phase: Phase) -> bool {
        self.conns.get(&conn).is_some_and(|conn| conn.phase == phase)
    }

    /// Feeds an input and returns the actions.
    pub(crate) fn feed(&mut self, now: Instant, input: Input) -> Vec<Action> {
        self.note(&input);
        let tick = matches!(input, Input::Tick);
        self.machine.handle(now, input);
        self.drain(now, tick)
    }

    fn drain(&mut self, now: Instant, tick: bool) -> Vec<Action> {
        self.now = self.now.max(now);
        let mut actions = Vec::new();
        loop {
            let timeout = self.machine.poll_timeout();
            let Some(action) = self.machine.poll_action() else {
                assert!(!tick || timeout.is_none_or(|at| at > self.now), "a busy loop: {timeout:?} at {}", self.now);
                break;
            };
            assert!(timeout.is_some_and(|at| at <= self.now), "a lost wake-up: {timeout:?} at {}", self.now);
            self.check(&action);
            actions.push(action);
        }
        assert!(actions.len() <= ACTIONS_MAX, "{} actions from one input", actions.len());
        self.check_tables();
        actions
    }

    /// The actions that follow from a method of the machine. One that was refused has not told the machine the time.
    pub(crate) fn called(&mut self) -> Vec<Action> {
        self.drain(self.machine.now(), false)
    }

    fn note(&mut self, input: &Input) {
        match input {
            Input::Accepted { conn, .. } if *conn == self.machine.next_conn() => {
                self.conns.insert(*conn, Conn { phase: Phase::Open, in_flight: 0 });
            }
            Input::Closed { conn } => self.pass(*conn, Phase::Closing, Phase::Closed),
            Input::Resolved { lookup, .. } => {
                self.lookups.remove(lookup);
            }
            Input::Connected { conn, .. } => self.pass(*conn, Phase::Dialling, Phase::Open),
            // A dial that failed never was a connection: no close of it comes.
            Input::DialFailed { conn, .. } => self.pass(*conn, Phase::Dialling, Phase::Closed),
            Input::Transmitted { bytes, conn } => {
                if let Some(conn) = self.conns.get_mut(conn) {
                    conn.in_flight = conn.in_flight.saturating_sub(*bytes);
                }
            }
            _ => {}
        }
    }

    fn pass(&mut self, conn: ConnId, from: Phase, to: Phase) {
        if let Some(conn) = self.conns.get_mut(&conn)
            && conn.phase == from
        {
            conn.phase = to;
        }
    }

    fn check(&mut self, action: &Action) {
        match action {
            Action::Close { conn, how } => {
                let state = self.conns.get_mut(conn).expect("a close of a connection that is known");
                assert!(matches!(state.phase, Phase::Dialling | Phase::Open), "a close of {conn}, which is {:?}", state.phase);
                state.phase = if matches!(how, Close::Graceful { .. }) { Phase::Closing } else { Phase::Closed };
            }
            Action::Connect { conn, .. } => {
                assert_eq!(self.status, ClusterStatus::Running, "a dial");
                let known = self.conns.insert(*conn, Conn { phase: Phase::Dialling, in_flight: 0 });
                assert!(known.is_none(), "{conn} is used again");
            }
            Action::Transmit { conn, data } => {
                let state = self.conns.get_mut(conn).expect("a send on a connection that is known");
                assert_eq!(state.phase, Phase::Open, "a send on {conn}");
                assert!(!data.is_empty());
                state.in_flight += data.len();
                let most = self.limits.send_window_bytes + RECORD_MAX;
                assert!(state.in_flight <= most, "{} bytes are on their way on {conn}", state.in_flight);
            }
            Action::Event(event) => {
                let about_nodes = matches!(event, ClusterEvent::NodeDown { .. } | ClusterEvent::NodeUp(_));
                assert!(!about_nodes || self.status == ClusterStatus::Running, "{event} while {}", self.status);
                picture(&mut self.status, &mut self.up, event);
                assert!(!matches!(event, ClusterEvent::Lagged { .. }), "an action is never late");
            }
            Action::Message => assert_ne!(self.status, ClusterStatus::Stopped, "a message"),
            Action::Resolve { host, lookup } => {
                assert_eq!(self.status, ClusterStatus::Running, "a lookup");
                assert!(self.lookups.values().all(|other| other != host), "{host} is looked up twice");
                assert!(self.lookups.insert(*lookup, host.clone()).is_none(), "{lookup:?} is used again");
                assert!(self.lookups.len() <= self.limits.lookups_in_flight, "{:?}", self.lookups);
            }
            Action::Stopped => {
                assert_eq!(self.status, ClusterStatus::Stopped);
                for (conn, state) in &mut self.conns {
                    assert!(matches!(state.phase, Phase::Closed | Phase::Closing), "{conn} is {:?} after the stop", state.phase);
                    state.phase = Phase::Closed;
                }
            }
        }
    }

    fn check_tables(&self) {
        // Beside what peers ask for, a node has at most an offer, an INTRO, a heartbeat, a request and a probe to say.
        const OWN: usize = 8;
        let limits = &self.limits;
        assert_eq!(self.machine.status(), self.status);
        if let Ok(connected) = self.machine.connected_nodes() {
            let nodes = self.machine.node_ids().expect("running");
            let own = self.machine.local_node_id().expect("running");
            assert!(connected.iter().map(|info| &info.id).eq(&self.up), "what is told is what can be read");
            assert_eq!(self.machine.connected_node_count(), Ok(self.up.len()));
            assert!(nodes.len() <= limits.members + limits.disconnected_nodes, "{} nodes are known", nodes.len());
            assert!(self.up.len() <= limits.members, "{} nodes are up", self.up.len());
            assert!(!nodes.contains(&own), "a node knows itself");
        }
        let open = self.conns(Phase::Open).count() + self.conns(Phase::Dialling).count();
        let most = limits.half_open + limits.dials_in_flight + 2 * limits.members + 1;
        assert!(open <= most, "{open} connections, of at most {most}");
        assert!(self.conns(Phase::Dialling).count() <= limits.dials_in_flight, "too many dials");
        let closing = self.conns(Phase::Closing).count();
        assert!(self.status != ClusterStatus::Running || closing <= limits.closing_connections, "{closing} linger");
        let usage = self.machine.usage();
        assert!(usage.disconnected_nodes <= limits.disconnected_nodes, "{} nodes are lost", usage.disconnected_nodes);
        assert!(usage.departed_nodes <= limits.departed_nodes, "{} nodes left", usage.departed_nodes);
        assert!(usage.control_messages <= limits.control_messages + OWN, "{} messages of control wait", usage.control_messages);
    }

    /// A reader of events takes its place, begins to read if there was none, or goes away.
    pub(crate) fn subscribe(&mut self) {
        if let Some(reader) = self.reader.take() {
            self.machine.unsubscribe(reader.subscription);
        } else {
            let subscription = self.machine.subscribe_events();
            self.reader = Some(Reader { subscription, status: self.status, up: BTreeSet::new() });
        }
    }

    /// The reader takes at most this many events. Once it has all, it has the same picture as the machine.
    pub(crate) fn read(&mut self, most: usize) {
        let Some(reader) = &mut self.reader else { return };
        for _ in 0..most {
            let Some(event) = self.machine.poll_event(reader.subscription) else {
                assert_eq!(reader.status, self.status, "a reader that has all is up to date");
                // While the machine stops nobody goes down: who is gone may be missing from what a late reader is told.
                let agrees =
                    if self.status == ClusterStatus::Running { reader.up == self.up } else { reader.up.is_subset(&self.up) };
                assert!(agrees, "{:?} are up to a reader that has all, not {:?}", reader.up, self.up);
                return;
            };
            picture(&mut reader.status, &mut reader.up, &event);
        }
    }
}

/// What an event says, to who has heard all before it: up and down alternate, and statuses follow each other.
fn picture(status: &mut ClusterStatus, up: &mut BTreeSet<NodeId>, event: &ClusterEvent) {
    match event {
        ClusterEvent::Error(_) | ClusterEvent::Lagged { .. } => {}
        ClusterEvent::NodeDown { id, .. } => assert!(up.remove(id), "{id} is down and was not up"),
        ClusterEvent::NodeUp(info) => assert!(up.insert(info.id.clone()), "{} is up twice", info.id),
        ClusterEvent::StatusChange(next) => {
            *status = *next;
            if *next == ClusterStatus::Stopped {
                up.clear();
            }
        }
        other => unreachable!("{other:?} is new"),
    }
}
