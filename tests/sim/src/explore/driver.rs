//! What a driver, an application and a judge of both do with each input of a machine and with its answers.

use std::collections::VecDeque;

use bytes::Bytes;
use noex_proto::testing::{self, Told};
use noex_proto::{
    Action, Close, ClusterError, ClusterEvent, ConnId, ConnectError, Input, NodeDownReason, NodeId, PeerFault, SendError,
};

use super::link::{End, EndState, Link};
use super::state::{Checked, State, Watched, address};
use crate::HostId;
use crate::safety::{Activity, Invariant, PAYLOAD_MIN, payload};

impl State {
    /// Feeds an input, performs what the machine asks for, tells it that all bytes were taken, and sends a payload to whoever came
    /// up.
    pub(super) fn feed(&mut self, host: HostId, input: Input) -> Checked {
        self.told = false;
        self.feed_all(host, VecDeque::from([input]), Vec::new())
    }

    /// Performs what the machine asks for where an application has asked for something.
    pub(super) fn drain(&mut self, host: HostId) -> Checked {
        let (mut inputs, mut ups) = (VecDeque::new(), Vec::new());
        self.told = false;
        let at = self.host_mut(host);
        let actions = at.contract.drain(&mut at.machine);
        self.perform(host, actions, &mut inputs, &mut ups)?;
        self.feed_all(host, inputs, ups)
    }

    fn feed_all(&mut self, host: HostId, mut inputs: VecDeque<Input>, mut ups: Vec<NodeId>) -> Checked {
        loop {
            while let Some(input) = inputs.pop_front() {
                self.feed_one(host, input, &mut inputs, &mut ups)?;
            }
            let Some(id) = ups.pop() else { break };
            self.greet(host, &id)?;
            self.feed_one(host, Input::Tick, &mut inputs, &mut ups)?;
        }
        if self.told { self.read_late(host) } else { Ok(()) }
    }

    fn feed_one(&mut self, host: HostId, input: Input, inputs: &mut VecDeque<Input>, ups: &mut Vec<NodeId>) -> Checked {
        let tick = matches!(input, Input::Tick);
        let pieces = self.feed_pieces(host, &input);
        self.closed.clear();
        self.sessions = self.hosts[host].sessions();
        let at = self.host_mut(host);
        let now = at.now;
        let fed = at.contract.feed(&mut at.machine, now, input);
        if let (Some(other), Ok(actions)) = (pieces, &fed)
            && other != *actions
        {
            return self.violate(host, Invariant::ChunkingIsIrrelevant, "the same bytes in pieces lead to other actions".into());
        }
        if tick {
            self.count(host, Activity::Tick)?;
        }
        self.perform(host, fed, inputs, ups)
    }

    fn perform(
        &mut self,
        host: HostId,
        asked: Result<Vec<Action>, testing::Violation>,
        inputs: &mut VecDeque<Input>,
        ups: &mut Vec<NodeId>,
    ) -> Checked {
        let actions = asked.or_else(|broken| self.violate(host, broken.rule.into(), broken.detail).map(|()| Vec::new()))?;
        self.acted |= !actions.is_empty();
        for action in actions {
            self.act(host, action, inputs, ups)?;
        }
        Ok(())
    }

    /// What a twin of the machine does with received bytes that come in three pieces.
    fn feed_pieces(&self, host: HostId, input: &Input) -> Option<Vec<Action>> {
        let Input::Received { conn, data, wall } = input else { return None };
        let at = &self.hosts[host];
        let mut twin = at.machine.clone();
        let mut rest = data.clone();
        for size in [1, data.len() / 2, usize::MAX] {
            let data = rest.split_to(size.min(rest.len()));
            twin.handle(at.now, Input::Received { conn: *conn, data, wall: *wall });
        }
        Some(std::iter::from_fn(|| twin.poll_action()).collect())
    }

    fn act(&mut self, host: HostId, action: Action, inputs: &mut VecDeque<Input>, ups: &mut Vec<NodeId>) -> Checked {
        match action {
            Action::Connect { conn, remote } => {
                self.count(host, Activity::Dial)?;
                let Some(to) = (0..self.hosts.len()).find(|to| remote == address(*to, remote.port())) else {
                    inputs.push_back(Input::DialFailed { conn, error: ConnectError::Unreachable });
                    return Ok(());
                };
                self.links_made += 1;
                let number = self.links_made;
                self.links.push(Link::new(number, host, conn, to));
                self.line(Some(host), || format!("dials {to}: {number}"));
                Ok(())
            }
            Action::Close { conn, how } => self.close(host, conn, how),
            Action::Event(event) => {
                self.line(Some(host), || event.to_string());
                self.event(host, &event)?;
                if let ClusterEvent::NodeUp(info) = event {
                    ups.push(info.id);
                }
                Ok(())
            }
            Action::Message => self.read_messages(host),
            Action::Process(action) => self.process_action(host, action),
            Action::Resolve { lookup, .. } => {
                inputs.push_back(Input::Resolved { addrs: Ok(Vec::new()), lookup });
                Ok(())
            }
            Action::Transmit { conn, data } => {
                self.count(host, Activity::Send)?;
                let Some((place, end)) = self.place(host, conn) else { return Ok(()) };
                self.check_nonce(host, &data)?;
                let bytes = data.len();
                if !self.links[place].send(end, data) || !self.rules.small_buffers {
                    inputs.push_back(Input::Transmitted { bytes, conn });
                }
                Ok(())
            }
            Action::Stopped => {
                self.line(Some(host), || "stopped".into());
                for link in &mut self.links {
                    for end in 0..2 {
                        if link.ends[end].host == host && link.ends[end].state == EndState::Lingering {
                            link.abort(end);
                        }
                    }
                }
                Ok(())
            }
        }
    }

    /// The connection of this number at this host, unless it was closed.
    fn place(&self, host: HostId, conn: ConnId) -> Option<(usize, usize)> {
        let ends = self.links.iter().enumerate().flat_map(|(place, link)| [(place, 0, &link.ends[0]), (place, 1, &link.ends[1])]);
        let is_open = |end: &End| matches!(end.state, EndState::Open | EndState::Pending);
        let mut own = ends.filter(|(_, _, end)| end.host == host && end.conn == conn && is_open(end));
        own.next().map(|(place, end, _)| (place, end))
    }

    fn close(&mut self, host: HostId, conn: ConnId, how: Close) -> Checked {
        let Some((place, end)) = self.place(host, conn) else { return Ok(()) };
        let link = &mut self.links[place];
        let (number, other) = (link.number, link.ends[1 - end]);
        let dead = link.cut || other.state != EndState::Open || !self.hosts[other.host].is_running();
        self.closed.push((conn, other.host, dead));
        match how {
            Close::Graceful { .. } if link.ends[end].state == EndState::Open => {
                link.finish(end);
                self.line(Some(host), || format!("closes {number}"));
            }
            Close::Graceful { .. } | Close::Abort => {
                link.abort(end);
                self.line(Some(host), || format!("aborts {number}"));
            }
        }
        Ok(())
    }

    // The application

    pub(super) fn event(&mut self, host: HostId, event: &ClusterEvent) -> Checked {
        self.told = true;
        let at = self.host_mut(host);
        let check = at.monitor.event(event);
        self.judge(host, check)?;
        match event {
            ClusterEvent::NodeUp(info) => {
                let met = self.links.iter().any(|link| {
                    let own = link.ends.iter().position(|end| end.host == host && end.state == EndState::Open);
                    own.is_some_and(|end| self.hosts[link.ends[1 - end].host].id() == &info.id)
                });
                // What came up by this input may have ended by it, too.
                if !met && !self.closed.iter().any(|(_, to, _)| self.hosts[*to].id() == &info.id) {
                    return self.violate(
                        host,
                        Invariant::SessionBeforeUp,
                        format!("{} is up without a connection to it", info.id),
                    );
                }
            }
            ClusterEvent::NodeDown { id, reason } => return self.judge_down(host, id, *reason),
            ClusterEvent::Error(ClusterError::Peer { fault, .. }) => return self.judge_fault(host, *fault),
            _ => {}
        }
        Ok(())
    }

    /// Whether the end of the session that a down is about, or what else has happened, is a cause for it.
    fn judge_down(&mut self, host: HostId, id: &NodeId, reason: NodeDownReason) -> Checked {
        // One that came up by the same input has no connection that was known before. What ended it is what was closed first: what that input
        // refuses is closed behind it, once that has been said.
        let known = self.sessions.iter().find(|(of, _)| of == id).map(|(_, conn)| *conn);
        let is_of = |(conn, to, _): &(ConnId, HostId, bool)| match known {
            Some(known) => *conn == known,
            None => self.hosts[*to].id() == id,
        };
        let detail = match (self.closed.iter().find(|closed| is_of(closed)), reason, self.watched) {
            (None, ..) => "its session was not closed",
            // No other fault brings a session down while both of its ends believe in it.
            (Some((_, _, false)), NodeDownReason::ConnectionClosed | NodeDownReason::GracefulShutdown, _) => {
                "its session was in use"
            }
            _ if !self.disturbed => "nothing has happened but deliveries, pauses and calls of the application",
            (_, _, Watched::All) => "nothing fails any more",
            (_, NodeDownReason::HeartbeatTimeout | NodeDownReason::ConnectionRefused, Watched::Woken(woken)) if woken == host => {
                "this node itself was paused"
            }
            _ => return Ok(()),
        };
        self.violate(host, Invariant::NoFalseDown, format!("{id} is down ({reason:?}), and {detail}"))
    }

    /// All nodes are honest: what one is reported for is that it was not heard in time, or that it is another than who was wanted.
    fn judge_fault(&mut self, host: HostId, fault: PeerFault) -> Checked {
        // Whoever proves itself by the secret of one phase may be read by a node that is two phases on by then.
        let rotated_away = fault == PeerFault::AuthenticationFailed && self.hosts[host].phase == 3;
        if rotated_away || matches!(fault, PeerFault::HandshakeTimeout | PeerFault::WrongTarget) {
            return Ok(());
        }
        self.violate(host, Invariant::BlameIsTrue, format!("a peer is blamed for {fault:?}, and keeps all rules"))
    }

    /// Sends a payload to each node that is up.
    pub(super) fn send_to_all(&mut self, host: HostId) -> Checked {
        let ids: Vec<NodeId> = self.hosts[host].monitor.up.keys().cloned().collect();
        ids.iter().try_for_each(|id| self.greet(host, id))?;
        // What the machine asks for is performed as after any input.
        self.feed(host, Input::Tick)
    }

    /// Sends a payload to a node that has come up.
    fn greet(&mut self, host: HostId, id: &NodeId) -> Checked {
        let at = self.host_mut(host);
        let Some(up) = at.monitor.up.get_mut(id) else { return Ok(()) };
        let origin = u64::from(at.starts) * 16 + host as u64;
        let bytes = payload(origin, up.period, up.sent, PAYLOAD_MIN);
        up.sent += 1;
        match at.machine.send(at.now, id, Bytes::from(bytes)) {
            Ok(()) | Err(SendError::NotStarted(_)) => Ok(()),
            Err(error) => self.violate(host, Invariant::EventsMatchView, format!("{id} is up: {error}")),
        }
    }

    fn read_messages(&mut self, host: HostId) -> Checked {
        loop {
            let at = self.host_mut(host);
            let Some(Ok(message)) = at.machine.poll_message(at.messages_of) else { return Ok(()) };
            let check = at.monitor.received(None, &message.from, &message.payload);
            self.judge(host, check)?;
        }
    }

    /// What a subscriber is told that reads for the first time now: it has to come to the same picture.
    fn read_late(&mut self, host: HostId) -> Checked {
        let at = &self.hosts[host];
        if !at.is_running() {
            return Ok(());
        }
        let mut machine = at.machine.clone();
        let mut told = Told::default();
        while let Some(event) = machine.poll_event(at.late) {
            if let Err(broken) = told.read(&event) {
                return self.violate(host, Invariant::SlowSubscriber, broken.detail);
            }
        }
        if !told.up.iter().eq(at.monitor.up.keys()) {
            let detail = format!("told {:?}, up are {:?}", told.up, at.monitor.up.keys());
            return self.violate(host, Invariant::SlowSubscriber, detail);
        }
        Ok(())
    }

    // Judgement

    fn check_nonce(&mut self, host: HostId, data: &[u8]) -> Checked {
        let nonce = data.get(13..21).and_then(|nonce| nonce.first_chunk::<8>());
        if data.get(5..9) != Some(b"NOEX") {
            return Ok(());
        }
        if let Some(nonce) = nonce.map(|nonce| u64::from_le_bytes(*nonce)) {
            if self.nonces.contains(&nonce) {
                return self.violate(host, Invariant::FreshNonces, "the nonce of a handshake was used before".into());
            }
            self.nonces.push(nonce);
        }
        Ok(())
    }

    fn count(&mut self, host: HostId, what: Activity) -> Checked {
        let hosts = self.hosts.len();
        let at = self.host_mut(host);
        let now = u64::try_from(at.now.since_start().as_nanos()).unwrap_or(u64::MAX);
        let check = at.monitor.count(now, what, hosts, None);
        self.judge(host, check)
    }

    fn judge(&mut self, host: HostId, check: crate::safety::Check) -> Checked {
        check.or_else(|(invariant, detail)| self.violate(host, invariant, detail))
    }
}
