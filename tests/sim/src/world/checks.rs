//! What is checked of a machine around each input and action.

use std::time::Duration;

use noex_proto::{Action, ConnId, Input, NodeInfo, WallTime, testing};

use super::wire::EndState;
use super::{HostId, World};
use crate::safety::{Activity, Invariant};

impl World {
    /// What holds of a machine after each input.
    pub(super) fn check_machine(&mut self, host: HostId, tick: bool, acted: bool) {
        self.check_books(host);
        self.check_scripts(host);
        // To look at all tables takes long. Where nothing was asked for, hardly any has changed.
        let often = if self.hosts.len() <= 16 { 8 } else { 1024 };
        let tables = (acted && self.hosts.len() <= 16) || self.steps.is_multiple_of(often);
        let at = &self.hosts[host];
        if tables || at.machine.limits().is_none() {
            let usage = self.bent_usage(at.machine.usage());
            let tables = at.contract.tables(&usage, at.machine.limits());
            let origins = if self.is_bent() { Ok(()) } else { at.contract.origins(&usage) };
            self.kept(host, tables.and(origins));
        }
        let at = &mut self.hosts[host];
        let before = at.contract.counters().dials;
        let settled = at.contract.settled(&at.machine);
        self.kept(host, settled);
        if tick {
            self.count(host, Activity::Tick);
        }
        if !acted {
            return;
        }
        // A dial is counted for each address that it tries, and its rate is that of dials.
        let further = std::mem::take(&mut self.hosts[host].inquiry.further);
        for _ in before..self.hosts[host].contract.counters().dials.saturating_sub(further) {
            self.count(host, Activity::Dial);
        }
    }

    /// What a check of the contract gives, unless it has found a violation.
    pub(crate) fn kept<T>(&mut self, host: HostId, checked: Result<T, testing::Violation>) -> Option<T> {
        checked.map_err(|testing::Violation { rule, detail }| self.violate(Some(host), rule.into(), detail)).ok()
    }

    /// The connection, where these are bytes of a stranger.
    pub(super) fn stranger(&self, host: HostId, input: &Input) -> Option<ConnId> {
        let Input::Received { conn, .. } = input else { return None };
        let (place, end) = self.hosts[host].conn(*conn)?;
        self.hosts[self.conns[place].ends[1 - end].host].rogue.map(|_| *conn)
    }

    #[cfg(test)]
    pub(super) fn bent_action(&self, host: HostId, action: Action) -> Vec<Action> {
        self.bend.action.map_or_else(|| vec![action.clone()], |bend| bend(self, host, action.clone()))
    }

    #[cfg(not(test))]
    pub(super) fn bent_action(&self, _: HostId, action: Action) -> [Action; 1] {
        [action]
    }

    #[cfg(test)]
    pub(super) fn bent_usage(&self, mut usage: noex_proto::Usage) -> noex_proto::Usage {
        if let Some(bend) = self.bend.usage {
            bend(&mut usage);
        }
        usage
    }

    #[cfg(not(test))]
    pub(super) fn bent_usage(&self, usage: noex_proto::Usage) -> noex_proto::Usage {
        usage
    }

    pub(super) fn count(&mut self, host: HostId, what: Activity) {
        let hosts = self.hosts.len();
        let at = &mut self.hosts[host];
        let check = at.monitor.count(at.clock.at(self.now), what, hosts, at.machine.limits());
        #[cfg(feature = "app")]
        if what == Activity::Send && self.has_program(host) {
            return;
        }
        self.judge(host, check);
    }

    /// Now and then: what the machine would do with the same bytes in pieces.
    pub(super) fn split_check(&mut self, host: HostId, input: &Input) -> Option<(Vec<Action>, String)> {
        let Input::Received { conn, data, wall } = input else { return None };
        if data.len() < 2 || self.chunk_random.below(256) != 0 {
            return None;
        }
        let mut twin = self.hosts[host].machine.clone();
        let now = self.hosts[host].local(self.now);
        let mut rest = data.clone();
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let size = 1 + self.chunk_random.index(rest.len());
            pieces.push(size);
            let data = rest.split_to(size);
            twin.handle(now, Input::Received { conn: *conn, data, wall: *wall });
        }
        #[cfg_attr(not(test), expect(unused_mut, reason = "a test changes them"))]
        let mut actions = std::iter::from_fn(|| twin.poll_action()).collect();
        #[cfg(test)]
        if let Some(bend) = self.bend.twin {
            bend(&mut actions);
        }
        Some((actions, format!("{} bytes on {conn} in pieces of {pieces:?} lead to other actions", data.len())))
    }

    /// The first frame of each side has a nonce that no handshake had before.
    pub(super) fn check_nonce(&mut self, host: HostId, place: usize, end: usize, data: &[u8]) {
        let pipe = &self.conns[place].pipes[end];
        let nonce = data.get(13..45).and_then(|nonce| nonce.first_chunk::<32>());
        let hello = pipe.taken == 0 && pipe.out.is_empty() && data.get(5..9) == Some(b"NOEX");
        if hello
            && let Some(nonce) = nonce
            && !self.nonces.insert(*nonce)
        {
            self.violate(Some(host), Invariant::FreshNonces, "the nonce of a handshake was used before".into());
        }
    }

    /// There is a connection between this host and a process that has the identity, or had it, and that said over it how long it runs. It was
    /// open until this input.
    pub(super) fn check_up(&mut self, host: HostId, info: &NodeInfo) {
        let id = &info.id;
        let met = self.hosts[host].ends().filter(|(place, end)| {
            let (own, peer) = (&self.conns[*place].ends[*end], &self.conns[*place].ends[1 - end]);
            let ids = &self.hosts[peer.host].ids;
            let open = own.state == EndState::Open || self.hosts[host].closed.contains(&(*place, *end));
            open && ids.get(peer.process as usize).is_some_and(|known| known.as_ref() == Some(id))
        });
        let met: Vec<(usize, usize)> = met.collect();
        if met.is_empty() {
            return self.violate(Some(host), Invariant::SessionBeforeUp, format!("{id} is up without a connection to it"));
        }
        if !met.iter().any(|(place, end)| self.said_uptime(*place, 1 - end, info.uptime)) {
            let detail = format!("{id} is said to be up for {:?}", info.uptime);
            self.violate(Some(host), Invariant::EventsMatchView, detail);
        }
    }

    /// Whether an end can have said over its connection that its node runs for so long. One that is no more, or has started again, can have said
    /// anything.
    fn said_uptime(&self, place: usize, end: usize, uptime: Duration) -> bool {
        let conn = &self.conns[place];
        let at = &self.hosts[conn.ends[end].host];
        let own = at.machine.local_node_info(at.machine.now(), WallTime::default());
        let Some(own) = own.ok().filter(|_| at.alive && at.process == conn.ends[end].process && at.since <= conn.begun) else {
            return true;
        };
        let since = Duration::from_nanos((self.now - conn.opened[end]) * at.clock.fastest / 1000) + Duration::from_millis(1);
        uptime <= own.uptime && own.uptime <= uptime + since
    }
}
