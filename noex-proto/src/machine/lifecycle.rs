//! Start and stop.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::net::{IpAddr, SocketAddr};

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::node::{Ended, Node, Phase, Stage, Timer};
use super::{Machine, Outbox, State};
use crate::digest::member_digest;
use crate::message::Control;
use crate::reports::{LocalReports, PeerReports, ReportLimiter};
use crate::time::RunTime;
use crate::timers::{Queue, Timers};
use crate::{
    Action, Close, ClusterConfig, ClusterStatus, ConnId, LocalFault, LocalNetwork, NodeId, Refusal, WallTime, advertise,
};

/// How many of the machine's own addresses are remembered; a peer at another one is taken for one of another machine.
const OWN_ADDRESSES_MAX: usize = 1024;

impl Machine {
    /// `Stopped` to `Starting`. An invalid configuration changes nothing: [`Machine::start`] has reported it.
    pub(super) fn begin_start(&mut self, config: &ClusterConfig) {
        if let State::Idle { out, start } = &mut self.state
            && out.status == ClusterStatus::Stopped
            && let Ok(settings) = config.validate()
        {
            out.event_limit = settings.limits.events_per_subscriber;
            *start = Some(Box::new(settings));
            out.local_reports = LocalReports::default();
            out.set_status(ClusterStatus::Starting);
        }
    }

    /// `Starting` to `Running`.
    pub(super) fn listening(&mut self, entropy: [u8; 32], local: SocketAddr, network: &LocalNetwork) {
        let State::Idle { out, start } = &mut self.state else { return };
        // What would be known under a port that nobody can dial does not listen.
        if local.port() == 0 {
            return self.halt();
        }
        let Some(settings) = start.take() else { return };
        let out = core::mem::take(&mut **out);
        let mut node = Box::new(Node::new(out, *settings, entropy, local, network));
        node.run();
        self.state = State::Node(node);
    }

    /// Towards `Stopped`, which a start that does not listen yet reaches at once: there is nobody to tell.
    pub(super) fn begin_stop(&mut self) {
        match &mut self.state {
            State::Idle { .. } => self.halt(),
            State::Node(node) => node.begin_stop(),
        }
    }

    /// `Stopped` at once: nothing can be told to anyone any more.
    pub(super) fn halt(&mut self) {
        match &mut self.state {
            State::Idle { out, start } => {
                if start.take().is_some() {
                    out.set_status(ClusterStatus::Stopped);
                    out.actions.push_back(Action::Stopped);
                }
            }
            State::Node(node) => {
                node.abort_all();
                node.closing.clear();
                node.out.status = ClusterStatus::Stopping;
            }
        }
    }

    /// `Stopping` to `Stopped` once no session is left. Strangers cannot hold it up.
    pub(super) fn finish_if_stopped(&mut self) {
        if let State::Node(node) = &mut self.state
            && node.out.status == ClusterStatus::Stopping
            && node.session_count == 0
            && node.closing.is_empty()
        {
            node.abort_all();
            let mut out = core::mem::take(&mut node.out);
            out.lookups.abandon();
            out.set_status(ClusterStatus::Stopped);
            out.actions.push_back(Action::Stopped);
            self.state = State::Idle { out: Box::new(out), start: None };
        }
    }
}

impl Node {
    fn new(out: Outbox, settings: crate::config::Settings, entropy: [u8; 32], local: SocketAddr, network: &LocalNetwork) -> Self {
        let mut rng = ChaCha12Rng::from_seed(entropy);
        let mut instance = [0; 16];
        rng.fill_bytes(&mut instance);
        let listener = local.ip();
        let chosen = network.choose(settings.advertise_host.as_ref(), &settings.host, listener);
        let only_loopback = chosen.is_none();
        let host = chosen.unwrap_or_else(|| advertise::loopback(listener));
        let id = NodeId::from_parts(&settings.name, &host, settings.advertise_port.unwrap_or(local.port()))
            .expect("the name, the host and the advertised port were validated, and a bound port is not 0");
        // Where a port is translated, so is what else an identity says.
        let missed = settings.advertise_port.is_none() && network.misses(&host, listener);
        let now = out.now;
        let mut node = Self {
            closing_most: settings.limits.closing_connections,
            digest: member_digest(&instance, &id),
            pulse: settings.heartbeat_interval,
            dial_tokens: settings.limits.dials_per_second,
            dial_tokens_at: now,
            next_exchange: now,
            out,
            settings,
            id,
            instance,
            own_addresses: network.own.iter().map(IpAddr::to_canonical).take(OWN_ADDRESSES_MAX).collect(),
            rng,
            started: now,
            now,
            wall: (WallTime::default(), now),
            run: RunTime::START,
            held: None,
            timers: Timers::new(),
            dial_timers: Timers::new(),
            heartbeats: Queue::new(),
            waits: Timers::new(),
            looks: Queue::new(),
            conns: BTreeMap::new(),
            closing: BTreeSet::new(),
            half_open: BTreeMap::new(),
            half_open_count: 0,
            peers: BTreeMap::new(),
            up_count: 0,
            chosen_count: 0,
            session_count: 0,
            departed: BTreeMap::new(),
            admissions: 0,
            seeds: BTreeMap::new(),
            next_seed: 0,
            dials: BTreeMap::new(),
            dial_queue: BTreeMap::new(),
            hint_had_its_turn: false,
            dials_in_flight: 0,
            reaching: 0,
            seed_met: false,
            asked: None,
            told: VecDeque::new(),
            conflict_reported: None,
            peer_reports: PeerReports::default(),
            reports: ReportLimiter::default(),
        };
        node.out.set_status(ClusterStatus::Running);
        let loopback = listener.is_loopback();
        if only_loopback {
            node.out.report_local(LocalFault::LoopbackAdvertised);
        }
        if missed {
            node.out.report_local(LocalFault::AdvertisedElsewhere { advertised: alloc::format!("{host}"), listening: listener });
        }
        if !node.settings.secrets.required && !loopback {
            node.out.report_local(LocalFault::NoSecret);
        }
        node
    }

    /// Begins to dial the seeds.
    fn run(&mut self) {
        let seeds = core::mem::take(&mut self.settings.seeds);
        self.set_seeds(seeds);
    }

    /// Tells every peer, after what is queued for it, and gives up what is not a session yet.
    fn begin_stop(&mut self) {
        if self.out.status != ClusterStatus::Running {
            return;
        }
        self.advance_clocks();
        self.out.set_status(ClusterStatus::Stopping);
        self.timers.set(Timer::Stop, self.now + self.settings.stop_timeout);
        self.dials.clear();
        self.dial_queue.clear();
        self.out.lookups.abandon();
        self.dials_in_flight = self.reaching;
        // What was closed before has been told why, and the driver goes on to close it: nobody's stop waits for a stranger.
        self.closing.clear();
        // All of the sessions there are hear of it, whoever comes meanwhile.
        self.closing_most = self.settings.limits.closing_connections.saturating_add(self.session_count);
        let conns: alloc::vec::Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            match self.conns.get(&conn).map(|conn| &conn.phase) {
                Some(Phase::Session(session)) => match session.stage {
                    Stage::Last(_) => {}
                    Stage::Up => self.send_last(conn, Control::Goodbye),
                    _ => self.refuse(conn, Refusal::Leaving),
                },
                _ => self.end_conn(conn, Some(Close::Abort), Ended::Harmless),
            }
        }
    }

    /// The stop has taken as long as it may.
    pub(super) fn stop_deadline(&mut self) {
        self.abort_all();
        self.closing.clear();
    }

    fn abort_all(&mut self) {
        self.session_count = 0;
        while let Some((conn, _)) = self.conns.pop_first() {
            self.out.actions.push_back(Action::Close { conn, how: Close::Abort });
        }
    }
}
