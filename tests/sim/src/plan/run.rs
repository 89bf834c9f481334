//! Running a plan: its steps, the undoing of what does not last, the healing, and what must come true after it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use noex_proto::{ClusterStatus, NodeDownReason, NodeId, Secret};

use super::promises::name;
use super::{Fault, Op, Plan};
use crate::coverage::Coverage;
use crate::timeline;
use crate::{Dialling, Invariant, Violation, World};

/// How many inputs a run may take before it counts as endless.
pub const STEP_BOUND: u64 = 30_000_000;

/// The longest stretch of virtual time between two looks at the whole.
const SLICE_MS: u64 = 500;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// A hash over everything that happened.
    pub hash: u64,
    /// The first broken invariant.
    pub violation: Option<Violation>,
    /// The inputs fed to all machines.
    pub steps: u64,
    /// The virtual time that passed.
    pub time: Duration,
    /// The hosts that took part.
    pub hosts: usize,
    /// What occurred.
    pub coverage: Coverage,
    /// How long after the healing the core agreed.
    pub agreed_after: Option<Duration>,
    /// The last transitions as text; empty where all went well.
    pub text: String,
}

/// What happens at a moment beside the plan's steps: the undoing of one.
#[derive(Clone, Debug)]
enum Act {
    Clock(usize),
    Dials(usize, usize),
    Mend(Vec<usize>, Vec<usize>),
    Secrets(u8, Vec<u8>),
    Start(usize),
    Step(usize),
    Thaw(usize),
    Unstall { reader: bool, at: usize, with: usize },
    Untamper(usize, usize),
}

/// A node that died, and who has to notice until when on its own clock.
#[derive(Clone, Debug)]
struct Death {
    observer: usize,
    process: u32,
    id: NodeId,
    period: u64,
    deadline: Duration,
}

struct Run<'a> {
    plan: &'a Plan,
    world: &'a mut World,
    acts: BTreeMap<(u64, usize), Act>,
    acts_made: usize,
    secrets: (u8, Vec<u8>),
    deaths: Vec<Death>,
    judged_downs: usize,
    agreed_after: Option<Duration>,
    /// When each node was frozen last, or until when.
    frozen: Vec<Option<Duration>>,
}

impl Plan {
    /// Runs the plan.
    #[must_use]
    pub fn run(&self) -> Outcome {
        self.run_keeping(400)
    }

    /// Runs the plan and keeps this many of the last transitions.
    #[must_use]
    pub fn run_keeping(&self, lines: usize) -> Outcome {
        self.run_in(&mut World::new(self.seed), lines)
    }

    pub(super) fn run_in(&self, world: &mut World, lines: usize) -> Outcome {
        world.set_recording(false);
        world.keep_lines(lines);
        let mut agreed_after = None;
        let result = catch_unwind(AssertUnwindSafe(|| {
            let mut run = Run {
                plan: self,
                world: &mut *world,
                acts: BTreeMap::new(),
                acts_made: 0,
                secrets: (0, Vec::new()),
                deaths: Vec::new(),
                judged_downs: 0,
                agreed_after: None,
                frozen: vec![None; self.nodes.len()],
            };
            let result = run.all();
            agreed_after = run.agreed_after;
            result
        }));
        let violation = match result {
            Ok(result) => result.err(),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let detail = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default();
                world.violate(None, Invariant::NoPanic, detail);
                world.violation().cloned()
            }
        };
        for fault in &self.faults {
            world.coverage.note(name(*fault));
        }
        let text = if violation.is_some() { world.text() } else { String::new() };
        Outcome {
            hash: world.hash(),
            violation,
            steps: world.steps(),
            time: world.now(),
            hosts: world.hosts(),
            coverage: world.coverage.clone(),
            agreed_after,
            text,
        }
    }
}

/// The secret of this number.
fn secret(number: u8) -> Secret {
    Secret::from(format!("secret of simulation {number:03}"))
}

impl Run<'_> {
    fn all(&mut self) -> Result<(), Violation> {
        self.set_up();
        self.run_acts(self.plan.heal_ms)?;
        self.heal();
        self.agree()?;
        self.watch()?;
        self.leave()
    }

    fn set_up(&mut self) {
        let plan = self.plan;
        self.world.draw_phase("the nodes start, and things go wrong");
        for _ in 0..plan.nodes.len() {
            self.world.add_host();
        }
        for rogue in &plan.rogues {
            self.world.add_rogue(*rogue);
        }
        self.world.set_transport(plan.chunking, plan.window_bytes, plan.bytes_per_second);
        self.world.set_window_limit(if plan.small_limits { 1 } else { 256 << 10 });
        self.world.set_reset_cuts(plan.reset_cuts);
        self.world.set_latency(plan.latency);
        for (from, to, latency) in &plan.path_latencies {
            self.world.set_path_latency(*from, *to, *latency);
        }
        for (from, to) in &plan.undialable {
            self.world.set_dialling(*from, *to, Dialling::Dropped);
        }
        for (node, config) in plan.nodes.iter().enumerate() {
            self.at(config.start_ms, Act::Start(node));
        }
        for (place, step) in plan.steps.iter().enumerate() {
            self.at(step.at_ms, Act::Step(place));
        }
    }

    fn at(&mut self, ms: u64, act: Act) {
        self.acts_made += 1;
        self.acts.insert((ms, self.acts_made), act);
    }

    fn after(&mut self, ms: u64, act: Act) {
        let at = self.now_ms() + ms;
        self.at(at, act);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.world.now().as_millis()).unwrap_or(u64::MAX)
    }

    /// Runs all acts up to this time.
    fn run_acts(&mut self, until_ms: u64) -> Result<(), Violation> {
        loop {
            let next = self.acts.first_key_value().map(|((at, _), _)| *at);
            match next {
                Some(at) if at <= until_ms => {
                    self.run_to(at)?;
                    if let Some((_, act)) = self.acts.pop_first() {
                        self.act(act);
                    }
                }
                _ => return self.run_to(until_ms),
            }
        }
    }

    /// Lets time pass in slices, with a look at the whole after each.
    fn run_to(&mut self, until_ms: u64) -> Result<(), Violation> {
        loop {
            let slice = until_ms.min(self.now_ms() + SLICE_MS);
            let slice = Duration::from_millis(slice);
            while self.world.step(slice) {
                if self.world.steps() > STEP_BOUND {
                    let detail = format!("{STEP_BOUND} inputs, and no end");
                    self.world.violate(None, Invariant::StepBound, detail);
                }
            }
            self.world.run_until(slice)?;
            self.look();
            self.world.violation().cloned().map_or(Ok(()), Err)?;
            if self.now_ms() >= until_ms {
                return Ok(());
            }
        }
    }

    fn look(&mut self) {
        let world = &mut *self.world;
        let mut late = None;
        self.deaths.retain(|death| {
            let Some((process, local, period)) = world.view(death.observer, &death.id) else { return false };
            if process != death.process || period != Some(death.period) {
                return false;
            }
            if local > death.deadline {
                late = Some((death.observer, format!("{} died and is up until {local:?} of its time", death.id)));
            }
            true
        });
        if let Some((host, detail)) = late {
            self.world.violate(Some(host), Invariant::DeathReported, detail);
        }
        if self.plan.is_calm() {
            // A twin ends when the core is healed, for those who met it before the original.
            let twins = self.plan.nodes.iter().any(|node| node.twin_of.is_some());
            let until = if twins { self.plan.heal_ms * 1_000_000 } else { u64::MAX };
            let wrong = |down: &&crate::world::Down| down.reason != NodeDownReason::GracefulShutdown && down.at < until;
            let wrong = self.world.downs[self.judged_downs..].iter().find(wrong);
            if let Some(down) = wrong.cloned() {
                let at = Duration::from_nanos(down.at);
                let detail = format!("{} at {at:?}: {} without a cause", down.id, down.reason);
                self.world.violate(Some(down.host), Invariant::NoFalseDown, detail);
            }
        }
        self.judge_silence();
        self.judged_downs = self.world.downs.len();
    }

    /// Where pauses are the only trouble, nobody is silent but who was paused.
    fn judge_silence(&mut self) {
        let now = self.world.now();
        for (node, frozen) in self.frozen.iter_mut().enumerate() {
            if self.world.is_frozen(node) {
                *frozen = Some(now);
            }
        }
        if !self.plan.is_calm_but(Some(Fault::Freeze)) {
            return;
        }
        let detection = |node: &super::NodePlan| Duration::from_millis(node.heartbeat_ms * u64::from(node.threshold + 3));
        let window = self.plan.nodes.iter().map(detection).max().unwrap_or_default() + Duration::from_secs(2);
        let wrong = self.world.downs[self.judged_downs..].iter().find(|down| {
            let peer = (0..self.plan.nodes.len()).find(|node| self.plan.id(*node) == down.id.to_string());
            let paused = peer.and_then(|peer| self.frozen[peer]).is_some_and(|at| at + window >= now);
            down.reason == NodeDownReason::HeartbeatTimeout && !paused
        });
        if let Some(down) = wrong.cloned() {
            let detail = format!("{} at {:?} by its silence, and it was never paused", down.id, Duration::from_nanos(down.at));
            self.world.violate(Some(down.host), Invariant::NoFalseDown, detail);
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Clock(node) => self.world.set_clock_rate(node, 1000),
            Act::Dials(from, to) => self.world.set_dialling(from, to, Dialling::Normal),
            Act::Mend(from, to) => {
                for from in &from {
                    for to in &to {
                        self.world.mend(*from, *to);
                    }
                }
            }
            Act::Secrets(primary, accepted) => {
                self.secrets = (primary, accepted);
                for node in 0..self.plan.nodes.len() {
                    self.give_secrets(node);
                }
            }
            Act::Start(node) => self.start(node),
            Act::Step(place) => self.op(&self.plan.steps[place].op.clone()),
            Act::Thaw(node) => self.world.thaw(node),
            Act::Unstall { reader: true, at, with } => self.world.stall_reader(at, with, false),
            Act::Unstall { reader: false, at, with } => self.world.stall_writer(at, with, false),
            Act::Untamper(one, other) => self.world.tamper(one, other, None, 0),
        }
    }

    /// Gives a running node the cluster's present secrets.
    fn give_secrets(&mut self, node: usize) {
        let running = self.world.is_alive(node) && self.world.machine(node).status() == ClusterStatus::Running;
        if !self.plan.secret || self.plan.nodes[node].own_secret.is_some() || !running || self.world.is_frozen(node) {
            return;
        }
        let accepted = self.secrets.1.iter().map(|number| secret(*number)).collect();
        let given = self.world.set_secrets(node, secret(self.secrets.0), accepted);
        debug_assert!(given.is_ok(), "{given:?}");
    }

    /// Starts a node that does not run. One that is still leaving gets its time.
    fn start(&mut self, node: usize) {
        if self.world.is_alive(node) && self.world.is_frozen(node) {
            return;
        }
        match self.world.machine(node).status() {
            ClusterStatus::Stopped => {
                let mut config = self.plan.config(node);
                if self.plan.secret {
                    let own = self.plan.nodes[node].own_secret;
                    config = config.cluster_secret(secret(own.unwrap_or(self.secrets.0)));
                    if own.is_none() {
                        config = config.accepted_secrets(self.secrets.1.iter().map(|number| secret(*number)));
                    }
                }
                let started = self.world.start(node, config);
                debug_assert!(started.is_ok(), "{started:?}");
            }
            ClusterStatus::Stopping => self.after(200, Act::Start(node)),
            ClusterStatus::Running | ClusterStatus::Starting => {}
        }
    }

    fn op(&mut self, op: &Op) {
        self.world.line(None, &format!("{op:?}"));
        if let Some((fault, ms)) = timeline::fault(self.plan, op) {
            self.world.draw_fault(ms, fault);
        }
        match *op {
            Op::Clock { node, permille, ms } => {
                self.world.set_clock_rate(node, permille);
                self.after(ms, Act::Clock(node));
            }
            Op::Crash { node, ms } => self.die(node, ms, World::crash),
            Op::Cut { ref from, ref to, ms, reset } => {
                for one in from {
                    for other in to {
                        if reset {
                            self.world.reset(*one, *other);
                        }
                        self.world.cut(*one, *other);
                    }
                }
                self.after(ms, Act::Mend(from.clone(), to.clone()));
            }
            Op::Dials { from, to, how, ms } => {
                if !self.plan.undialable.contains(&(from, to)) {
                    self.world.set_dialling(from, to, how);
                    self.after(ms, Act::Dials(from, to));
                }
            }
            Op::Freeze { node, ms } => {
                self.world.freeze(node);
                self.deaths.retain(|death| death.observer != node);
                self.after(ms, Act::Thaw(node));
            }
            Op::HalfOpen { at, with, silent } => self.world.half_open(at, with, silent),
            Op::Leave { node, ms } => {
                self.world.stop(node);
                if let Some(ms) = ms {
                    self.after(ms, Act::Start(node));
                }
            }
            Op::Misuse { node } => self.world.misuse(node),
            Op::PowerOff { node, ms } => self.die(node, ms, World::power_off),
            Op::Processes { node, count } => self.world.set_process_count(node, count),
            Op::Reset { one, other } => self.world.reset(one, other),
            Op::RogueDials { rogue, node, count } => self.world.rogue_dials(self.plan.nodes.len() + rogue, node, count),
            Op::Rotate { to, ms } => {
                let from = self.secrets.0;
                self.act(Act::Secrets(from, vec![to]));
                self.after(ms, Act::Secrets(to, vec![from]));
                self.after(2 * ms, Act::Secrets(to, Vec::new()));
            }
            Op::Send { from, to, size, count } => {
                let to: Option<NodeId> = self.plan.id(to).parse().ok();
                for _ in 0..count {
                    if let Some(to) = &to {
                        self.world.send_checked(from, to, size);
                    }
                }
            }
            Op::StallReader { reader, from, ms } => {
                self.world.stall_reader(reader, from, true);
                self.after(ms, Act::Unstall { reader: true, at: reader, with: from });
            }
            Op::StallWriter { from, to, ms } => {
                self.world.stall_writer(from, to, true);
                self.after(ms, Act::Unstall { reader: false, at: from, with: to });
            }
            Op::Tamper { one, other, how, permille, ms } => {
                self.world.tamper(one, other, Some(how), permille);
                self.after(ms, Act::Untamper(one, other));
            }
            Op::WallClock { node, ms } => self.world.jump_wall_clock(node, ms),
        }
    }

    fn die(&mut self, node: usize, again: Option<u64>, how: fn(&mut World, usize)) {
        if self.world.is_alive(node) {
            self.expect_death(node);
            how(self.world, node);
        }
        if let Some(ms) = again {
            self.after(ms, Act::Start(node));
        }
    }

    /// Notes who has to notice that this node dies now. Where bytes of it may still arrive much later, nothing is promised.
    fn expect_death(&mut self, node: usize) {
        let plan = self.plan;
        let excused = |fault: &Fault| matches!(fault, Fault::Bandwidth | Fault::DuplicateId | Fault::Stall | Fault::Partition);
        if plan.faults.iter().any(excused) {
            return;
        }
        let Ok(id) = plan.id(node).parse::<NodeId>() else { return };
        for observer in 0..plan.nodes.len() {
            if observer == node || self.world.is_frozen(observer) {
                continue;
            }
            let Some((process, local, Some(period))) = self.world.view(observer, &id) else { continue };
            let (sender, own) = (plan.nodes[node].heartbeat_ms, &plan.nodes[observer]);
            let allowed = sender * u64::from(own.threshold) + 2 * sender.max(own.heartbeat_ms);
            let deadline = local + Duration::from_millis(allowed) + 4 * plan.latency.longest();
            let id = id.clone();
            self.deaths.push(Death { observer, process, id, period, deadline });
        }
    }

    /// Mends everything among the nodes of the core. The rest stays as it is.
    fn heal(&mut self) {
        let plan = self.plan;
        self.world.line(None, &format!("the core {:?} is healed", plan.core));
        let core: Vec<&str> = plan.core.iter().map(|node| plan.nodes[*node].name.as_str()).collect();
        let all = core.len() == plan.nodes.len();
        let who = if all { "all nodes".into() } else { core.join(", ") };
        self.world.draw_phase(&format!("{who} mended: must agree"));
        let rotated = self.acts.values().rev().find_map(|act| match act {
            Act::Secrets(primary, _) => Some(*primary),
            _ => None,
        });
        self.acts.clear();
        self.secrets = (rotated.unwrap_or(self.secrets.0), Vec::new());
        for (node, config) in plan.nodes.iter().enumerate() {
            if config.twin_of.is_some() && self.world.is_alive(node) {
                self.world.crash(node);
            }
        }
        for &one in &plan.core {
            for other in 0..self.world.hosts() {
                self.world.stall_reader(one, other, false);
                self.world.stall_reader(other, one, false);
                self.world.stall_writer(one, other, false);
                self.world.stall_writer(other, one, false);
                self.world.tamper(one, other, None, 0);
            }
            for &other in &plan.core {
                self.world.mend(one, other);
                if !plan.undialable.contains(&(one, other)) {
                    self.world.set_dialling(one, other, Dialling::Normal);
                }
            }
        }
        for &node in &plan.core {
            self.world.thaw(node);
            self.world.set_clock_rate(node, 1000);
            if self.world.is_alive(node) && self.world.machine(node).status() == ClusterStatus::Stopping {
                self.world.crash(node);
            }
            self.start(node);
            self.give_secrets(node);
        }
    }

    fn agree(&mut self) -> Result<(), Violation> {
        let healed = self.now_ms();
        let bound = u64::try_from(self.plan.agreement_bound().as_millis()).unwrap_or(u64::MAX);
        while !self.world.is_mesh(&self.plan.core) {
            let passed = self.now_ms() - healed;
            if passed >= bound {
                let detail = format!("{} after {bound} ms", self.world.missing(&self.plan.core));
                self.world.violate(None, Invariant::Agreement, detail);
                return self.world.violation().cloned().map_or(Ok(()), Err);
            }
            self.run_to(self.now_ms() + 100)?;
        }
        self.agreed_after = Some(Duration::from_millis(self.now_ms() - healed));
        self.run_to(healed + bound)
    }

    /// Nothing is broken any more: nobody of the core goes down, and each pair has one connection.
    fn watch(&mut self) -> Result<(), Violation> {
        let ids: Vec<Option<NodeId>> = self.plan.core.iter().map(|node| self.plan.id(*node).parse().ok()).collect();
        let before = self.world.downs.len();
        self.world.line(None, "the core is watched");
        self.world.draw_phase("must stay calm");
        self.run_to(self.now_ms() + self.plan.watch_ms)?;
        let of_core =
            |down: &&crate::world::Down| self.plan.core.contains(&down.host) && ids.iter().flatten().any(|id| *id == down.id);
        if let Some(down) = self.world.downs[before..].iter().find(of_core).cloned() {
            let detail =
                format!("{} at {:?}: {}, after everything was mended", down.id, Duration::from_nanos(down.at), down.reason);
            self.world.violate(Some(down.host), Invariant::NoFalseDown, detail);
        }
        if !self.world.is_mesh(&self.plan.core) {
            let detail = format!("{} after the watch", self.world.missing(&self.plan.core));
            self.world.violate(None, Invariant::Agreement, detail);
        }
        for (place, &one) in self.plan.core.iter().enumerate() {
            for &other in &self.plan.core[place + 1..] {
                let count = self.world.connections_between(one, other);
                if count != 1 {
                    let detail = format!("{count} connections between {one} and {other} at rest");
                    self.world.violate(None, Invariant::OneSession, detail);
                }
            }
        }
        self.world.violation().cloned().map_or(Ok(()), Err)
    }

    /// One leaves, then all the others: each in time, and as one who leaves.
    fn leave(&mut self) -> Result<(), Violation> {
        self.world.draw_phase("all leave");
        let before = self.world.downs.len();
        let first = self.plan.core[0];
        self.world.stop(first);
        self.run_to(self.now_ms() + 5500)?;
        let id: Option<NodeId> = self.plan.id(first).parse().ok();
        let wrong = self.world.downs[before..].iter().find(|down| {
            Some(&down.id) == id.as_ref()
                && self.plan.core.contains(&down.host)
                && down.reason != NodeDownReason::GracefulShutdown
        });
        if let Some(down) = wrong.cloned() {
            let detail = format!("{} left and is down by {}", down.id, down.reason);
            self.world.violate(Some(down.host), Invariant::NoFalseDown, detail);
        }
        for &node in &self.plan.core[1..] {
            self.world.stop(node);
        }
        self.run_to(self.now_ms() + 5500)?;
        for &node in &self.plan.core {
            let status = self.world.machine(node).status();
            if status != ClusterStatus::Stopped {
                self.world.violate(Some(node), Invariant::StopInTime, format!("{status} 5.5 s after the stop"));
            }
        }
        self.world.note_counters();
        self.world.violation().cloned().map_or(Ok(()), Err)
    }
}
