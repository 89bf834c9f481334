//! Start and stop.

use alloc::boxed::Box;
use core::net::{IpAddr, SocketAddr};

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::advertise;
use super::deliver::above;
use super::{Active, Machine, Run};
use crate::config::Settings;
use crate::id::incarnation::Incarnation;
use crate::mesh::cx::{CAPS, Cx, Local, Timer};
use crate::mesh::effect::Effects;
use crate::mesh::host::Host;
use crate::mesh::node::Node;
use crate::mesh::reporter::Reporter;
use crate::mesh::reports::LocalReports;
use crate::process::{Begin, Processes};
use crate::time::RunTime;
use crate::time::timers::Timers;
use crate::{Action, ClusterConfig, ClusterStatus, LocalFault, LocalNetwork, NodeId, WallTime};

/// How many of the machine's own addresses are remembered; a peer at another one is taken for one of another machine.
const OWN_ADDRESSES_MAX: usize = 1024;

impl Machine {
    /// `Stopped` to `Starting`. An invalid configuration changes nothing: [`Machine::start`] has reported it.
    pub(super) fn begin_start(&mut self, config: &ClusterConfig) {
        if let Run::Stopped = self.run
            && let Ok(settings) = config.validate()
        {
            self.host.event_limit = settings.limits.events_per_subscriber;
            self.host.message_limit = settings.limits.message_bytes_per_subscriber;
            self.host.local_reports = LocalReports::default();
            self.host.set_status(ClusterStatus::Starting);
            self.run = Run::Starting(Box::new(settings));
        }
    }

    /// `Starting` to `Running`.
    pub(super) fn listening(&mut self, entropy: [u8; 32], local: SocketAddr, network: &LocalNetwork) {
        if !matches!(self.run, Run::Starting(_)) {
            return;
        }
        // What would be known under a port that nobody can dial does not listen.
        if local.port() == 0 {
            return self.halt();
        }
        if let Run::Starting(settings) = core::mem::take(&mut self.run) {
            let mut active = Box::new(Active::new(&mut self.host, *settings, entropy, local, network));
            self.processes.start(Active::begin(&mut active.local));
            // What it runs as is told before what it does.
            active.deliver(&mut self.host, &mut self.processes);
            active.run(&mut self.host, &mut self.processes);
            self.run = Run::Active(active);
        }
    }

    /// Towards `Stopped`, which a start that does not listen yet reaches at once: there is nobody to tell.
    pub(super) fn begin_stop(&mut self) {
        match &mut self.run {
            Run::Stopped | Run::Starting(_) => self.halt(),
            Run::Active(active) => active.begin_stop(&mut self.host, &mut self.processes),
        }
    }

    /// `Stopped` at once: nothing can be told to anyone any more.
    pub(super) fn halt(&mut self) {
        match &mut self.run {
            Run::Stopped => {}
            Run::Starting(_) => self.stopped(),
            Run::Active(active) => {
                active.abort_all(&mut self.host);
                active.node.links.forget_closing();
                active.draining = None;
                self.host.status = ClusterStatus::Stopping;
            }
        }
    }

    /// The node leaves once the last process has ended.
    pub(super) fn leave_if_drained(&mut self) {
        if let Run::Active(active) = &mut self.run
            && active.draining.is_some()
            && self.processes.len() == 0
        {
            active.leave(&mut self.host, &mut self.processes);
        }
    }

    /// `Stopping` to `Stopped` once no session is left. Strangers cannot hold it up.
    pub(super) fn finish_if_stopped(&mut self) {
        if let Run::Active(active) = &mut self.run
            && self.host.status == ClusterStatus::Stopping
            && active.draining.is_none()
            && active.node.is_over()
        {
            active.abort_all(&mut self.host);
            self.host.lookups.abandon();
            self.stopped();
        }
    }

    fn stopped(&mut self) {
        let Self { host, processes, run } = self;
        if let Run::Active(active) = run {
            processes.stop(&mut above(host, &active.local));
        }
        self.run = Run::Stopped;
        self.host.set_status(ClusterStatus::Stopped);
        self.deliver();
        self.host.actions.push_back(Action::Stopped);
    }
}

impl Active {
    fn new(host: &mut Host, settings: Settings, entropy: [u8; 32], local: SocketAddr, network: &LocalNetwork) -> Self {
        let mut rng = ChaCha12Rng::from_seed(entropy);
        let mut incarnation = Incarnation::default();
        rng.fill_bytes(&mut incarnation.0);
        let listener = local.ip();
        let chosen = network.choose(settings.advertise_host.as_ref(), &settings.host, listener);
        let only_loopback = chosen.is_none();
        let advertised = chosen.unwrap_or_else(|| advertise::loopback(listener));
        let id = NodeId::from_parts(&settings.name, &advertised, settings.advertise_port.unwrap_or(local.port()))
            .expect("the name, the host and the advertised port were validated, and a bound port is not 0");
        // Where a port is translated, so is what else an identity says.
        let missed = settings.advertise_port.is_none() && network.misses(&advertised, listener);
        host.set_status(ClusterStatus::Running);
        if only_loopback {
            host.report_local(LocalFault::LoopbackAdvertised);
        }
        if missed {
            let advertised = alloc::format!("{advertised}");
            host.report_local(LocalFault::AdvertisedElsewhere { advertised, listening: listener });
        }
        if !settings.secrets.required && !listener.is_loopback() {
            host.report_local(LocalFault::NoSecret);
        }
        let now = host.now;
        let node = Node::new(&settings, &id, &incarnation, now);
        let local = Local {
            settings,
            id,
            incarnation,
            caps: CAPS,
            own_addresses: network.own.iter().map(IpAddr::to_canonical).take(OWN_ADDRESSES_MAX).collect(),
            rng,
            started: now,
            now,
            wall: (WallTime::default(), now),
            run: RunTime::START,
            timers: Timers::new(),
            waits: Timers::new(),
            admissions: 0,
            reporter: Reporter::default(),
            effects: Effects::default(),
        };
        Self { local, node, draining: None }
    }

    /// What the process layer begins with. Its randomness is the machine's, in a stream of its own.
    fn begin(local: &mut Local) -> Begin<'_> {
        let Local { id, incarnation, settings, rng, now, .. } = local;
        let (interval, has_seeds) = (settings.heartbeat_interval, !settings.seeds.is_empty());
        let mut random = rng.clone();
        random.set_stream(1);
        Begin { id, incarnation: *incarnation, interval, has_seeds, now: *now, random }
    }

    /// Begins to dial the seeds.
    fn run(&mut self, host: &mut Host, processes: &mut Processes) {
        let seeds = core::mem::take(&mut self.local.settings.seeds);
        self.node.begin(&mut Cx { host, local: &mut self.local, above: processes }, seeds);
    }

    /// Admits and dials nobody any more, and asks every process to stop: they have half of the time, and may speak meanwhile.
    fn begin_stop(&mut self, host: &mut Host, processes: &mut Processes) {
        if host.status != ClusterStatus::Running {
            return;
        }
        let mut cx = Cx { host, local: &mut self.local, above: processes };
        self.node.advance_clocks(&mut cx);
        cx.host.set_status(ClusterStatus::Stopping);
        let (now, timeout) = (cx.now(), cx.local.settings.stop_timeout);
        cx.local.timers.set(Timer::Stop, now + timeout);
        self.deliver(host, processes);
        self.node.drain(&mut Cx { host, local: &mut self.local, above: processes });
        self.draining = Some(now + timeout / 2);
        processes.drain(&mut above(host, &self.local));
    }

    /// The time of the processes is over: those that are left end.
    pub(super) fn drain_until(&mut self, host: &mut Host, processes: &mut Processes) {
        if self.draining.is_some_and(|until| until <= self.local.now) {
            processes.end_all(&mut above(host, &self.local));
        }
    }

    /// Says goodbye to every peer, behind what is queued for it.
    fn leave(&mut self, host: &mut Host, processes: &mut Processes) {
        self.draining = None;
        processes.leave(&mut above(host, &self.local));
        self.node.leave(&mut Cx { host, local: &mut self.local, above: processes });
        self.deliver(host, processes);
    }

    fn abort_all(&mut self, host: &mut Host) {
        self.node.links.abort(host);
    }
}
