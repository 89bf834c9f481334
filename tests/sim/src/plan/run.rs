//! Running a plan: its steps, the undoing of what does not last, the healing, and what must come true after it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use noex_proto::{ClusterStatus, NodeId};

use super::Plan;
use super::apart::ApartJudge;
use super::deaths::Death;
use super::dials::DialJudge;
use super::questions::QuestionJudge;
use crate::coverage::Coverage;
use crate::world::network;
use crate::{Dialling, Invariant, Resolving, Violation, World};

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
pub(super) enum Act {
    Clock(usize),
    Descriptors(usize),
    Dials(usize, usize),
    Mend(Vec<usize>, Vec<usize>),
    Resolver(usize),
    LateCloses(usize),
    Secrets(u8, Vec<u8>),
    Secure(usize),
    Start(usize),
    Step(usize),
    Thaw(usize),
    Unsubscribe(usize),
    Unstall { reader: bool, at: usize, with: usize },
    Untamper(usize, usize),
}

pub(super) struct Run<'a> {
    pub(super) plan: &'a Plan,
    /// How many inputs the run may take.
    steps: u64,
    pub(super) world: &'a mut World,
    acts: BTreeMap<(u64, usize), Act>,
    acts_made: usize,
    pub(super) secrets: (u8, Vec<u8>),
    pub(super) deaths: Vec<Death>,
    /// Nodes that were told to stop, by process, and until when on their own clocks they have to be done.
    pub(super) stops: BTreeMap<usize, (u32, Duration)>,
    pub(super) dials: DialJudge,
    pub(super) apart: ApartJudge,
    pub(super) questions: QuestionJudge,
    pub(super) judged_downs: usize,
    agreed_after: Option<Duration>,
    /// The last pause of each node that its peers may have noticed: from when, and until when if it is over.
    pub(super) pauses: Vec<Option<(Duration, Option<Duration>)>>,
    /// The core was told the end of a rotation before its time, and the other nodes were not.
    pub(super) cut_short: bool,
    /// The secrets that the cluster had once, and when it dropped them.
    pub(super) dropped: BTreeMap<u8, Duration>,
    /// The up-periods between a node with a secret of its own and the others, by observer and observed.
    pub(super) foreign: BTreeMap<(usize, usize), u64>,
    /// The nodes of a cluster without a secret that have one by now, and since when each process has had it and runs.
    pub(super) secured: Vec<bool>,
    pub(super) secured_at: Vec<Option<Duration>>,
    /// The hosts whose node has another name than its own.
    pub(super) renamed: Vec<bool>,
    /// The most members that each node has had since the watch began.
    pub(super) most_members: Vec<usize>,
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
        self.run_within(lines, STEP_BOUND)
    }

    /// Runs the plan, keeps this many of the last transitions, and gives it up as endless after this many inputs.
    #[must_use]
    pub fn run_within(&self, lines: usize, steps: u64) -> Outcome {
        let mut world = World::new(self.seed);
        world.set_recording(false);
        world.keep_lines(lines);
        self.run_in(&mut world, steps)
    }

    pub(crate) fn run_in(&self, world: &mut World, steps: u64) -> Outcome {
        world.note_contacts();
        let mut agreed_after = None;
        let result = catch_unwind(AssertUnwindSafe(|| {
            let mut run = Run {
                plan: self,
                steps,
                world: &mut *world,
                acts: BTreeMap::new(),
                acts_made: 0,
                secrets: (0, Vec::new()),
                deaths: Vec::new(),
                stops: BTreeMap::new(),
                dials: DialJudge::default(),
                apart: ApartJudge::default(),
                questions: QuestionJudge::default(),
                judged_downs: 0,
                agreed_after: None,
                pauses: vec![None; self.nodes.len()],
                cut_short: false,
                dropped: BTreeMap::new(),
                foreign: BTreeMap::new(),
                secured: vec![false; self.nodes.len()],
                secured_at: vec![None; self.nodes.len()],
                renamed: vec![false; self.nodes.len()],
                most_members: vec![0; self.nodes.len()],
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
        for fault in self.faults.iter().filter(|fault| self.orders(**fault)) {
            world.coverage.note(fault.name());
        }
        world.coverage.add("records", world.records());
        if let Some(after) = agreed_after {
            world.coverage.add("milliseconds to agree", u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
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

/// The other name of a node, or the identity with it.
fn renamed(name: &str) -> String {
    format!("re-{name}")
}

impl Run<'_> {
    fn all(&mut self) -> Result<(), Violation> {
        self.set_up();
        self.run_acts(self.plan.heal_ms)?;
        self.judge_conflict();
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
        for (node, of) in plan.nodes.iter().enumerate() {
            self.world.set_scripts(node, &of.processes);
        }
        for rogue in &plan.rogues {
            self.world.add_rogue(*rogue);
        }
        self.world.set_transport(plan.chunking, plan.window_bytes, plan.bytes_per_second);
        self.world.set_reset_cuts(plan.reset_cuts);
        self.world.set_latency(plan.latency);
        for (from, to, latency) in &plan.path_latencies {
            self.world.set_path_latency(*from, *to, *latency);
        }
        for number in 0..plan.names.len() {
            plan.set_name(self.world, number);
        }
        for node in (0..plan.nodes.len()).filter(|_| plan.long_names) {
            self.world.set_name(&network::long_name(node), &[node]);
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

    pub(super) fn at(&mut self, ms: u64, act: Act) {
        self.acts_made += 1;
        self.acts.insert((ms, self.acts_made), act);
    }

    pub(super) fn after(&mut self, ms: u64, act: Act) {
        let at = self.now_ms() + ms;
        self.at(at, act);
    }

    /// Starts a node after so many milliseconds.
    pub(super) fn start_after(&mut self, node: usize, ms: u64) {
        self.after(ms, Act::Start(node));
    }

    /// The identity that a node has at present.
    pub(super) fn id(&self, node: usize) -> String {
        let id = self.plan.id(node);
        if self.renamed[node] { renamed(&id) } else { id }
    }

    pub(super) fn now_ms(&self) -> u64 {
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
                        self.apart.look_around(self.plan, self.world);
                        self.questions.look(self.plan, self.world, true);
                    }
                }
                _ => return self.run_to(until_ms),
            }
        }
    }

    /// Lets time pass in slices, with a look at the whole after each.
    pub(super) fn run_to(&mut self, until_ms: u64) -> Result<(), Violation> {
        loop {
            let slice = until_ms.min(self.now_ms() + SLICE_MS);
            let slice = Duration::from_millis(slice);
            while self.world.step(slice) {
                if self.world.steps() > self.steps {
                    let detail = format!("{} inputs, and no end", self.steps);
                    self.world.violate(None, Invariant::StepBound, detail);
                }
            }
            self.world.run_until(slice)?;
            self.look();
            (0..self.plan.nodes.len()).for_each(|node| self.world.check_calls(node));
            self.note_members();
            self.world.violation().cloned().map_or(Ok(()), Err)?;
            if self.now_ms() >= until_ms {
                return Ok(());
            }
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Clock(node) => self.world.set_clock_rate(node, 1000),
            Act::Descriptors(node) => self.world.set_exhausted(node, false),
            Act::Dials(from, to) => self.world.set_dialling(from, to, Dialling::Normal),
            Act::LateCloses(node) => self.world.set_late_closes(node, Duration::ZERO),
            Act::Mend(from, to) => {
                for from in &from {
                    for to in &to {
                        self.world.mend(*from, *to);
                    }
                }
            }
            Act::Resolver(node) => self.world.set_resolving(node, Resolving::Normal),
            Act::Secrets(primary, accepted) => self.set_secrets(primary, accepted),
            Act::Secure(node) => self.secure(node),
            Act::Start(node) => self.start(node),
            Act::Step(place) => self.order(&self.plan.steps[place].op.clone()),
            Act::Thaw(node) => {
                self.world.thaw(node);
                self.note_pause(node);
                self.give_secrets_late(node);
            }
            Act::Unsubscribe(node) => self.world.unsubscribe(node),
            Act::Unstall { reader: true, at, with } => self.world.stall_reader(at, with, false),
            Act::Unstall { reader: false, at, with } => self.world.stall_writer(at, with, false),
            Act::Untamper(one, other) => self.world.tamper(one, other, None, 0),
        }
    }

    /// Notes that a node stands still, or goes on.
    pub(super) fn note_pause(&mut self, node: usize) {
        let now = self.world.now();
        let pause = &mut self.pauses[node];
        match pause {
            Some((_, until @ None)) if !self.world.is_frozen(node) => *until = Some(now),
            Some((_, None)) => {}
            _ if self.world.is_frozen(node) => *pause = Some((now, None)),
            _ => {}
        }
    }

    /// Starts a node that does not run. One that is still leaving gets its time.
    pub(super) fn start(&mut self, node: usize) {
        if self.world.is_alive(node) && self.world.is_frozen(node) {
            return;
        }
        match self.world.machine(node).status() {
            ClusterStatus::Stopped => {
                let config = if self.renamed[node] {
                    self.plan.config_as(node, &renamed(&self.plan.nodes[node].name))
                } else {
                    self.plan.config(node)
                };
                self.expect_probes(node);
                let config = self.with_secrets(node, config);
                let started = self.world.start(node, config);
                debug_assert!(started.is_ok(), "{started:?}");
                self.dials.started(node);
                self.apart.started(self.plan, self.world, node);
            }
            ClusterStatus::Stopping => self.after(200, Act::Start(node)),
            ClusterStatus::Running | ClusterStatus::Starting => {}
            other => unreachable!("{other:?} is new"),
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
        self.cut_short |= rotated.is_some();
        self.secrets = (rotated.unwrap_or(self.secrets.0), Vec::new());
        let secured = self.secured.contains(&true);
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
            self.note_pause(node);
            self.world.set_clock_rate(node, 1000);
            self.world.set_resolving(node, Resolving::Normal);
            self.world.set_exhausted(node, false);
            self.world.set_late_closes(node, Duration::ZERO);
            let stopping = self.world.machine(node).status() == ClusterStatus::Stopping;
            if self.world.is_alive(node) && (stopping || self.renamed[node]) {
                self.world.crash(node);
            }
            self.renamed[node] = false;
            self.secured[node] |= secured;
            self.start(node);
            self.give_secrets(node);
            if plan.has_new_seeds(node) {
                self.set_seeds(node, &plan.nodes[node].seeds);
            }
        }
        self.halve_rotation();
        // Who is left out may be left with other secrets.
        self.disturb(None);
        self.apart.healed(plan);
        self.apart.look_around(plan, self.world);
    }

    /// Something happens to all that is under way between two nodes, or between all where none are named.
    pub(super) fn disturb(&mut self, pair: Option<(usize, usize)>) {
        self.doubt_dials(pair);
        self.apart.disturb(self.plan, self.world, pair);
        self.questions.disturb(pair);
    }

    fn agree(&mut self) -> Result<(), Violation> {
        let healed = self.now_ms();
        let bound = u64::try_from(self.plan.agreement_bound().as_millis()).unwrap_or(u64::MAX);
        let roomy = self.plan.roomy_core();
        while !self.world.is_mesh(&roomy) {
            let passed = self.now_ms() - healed;
            if passed >= bound {
                let detail = format!("{} after {bound} ms", self.world.missing(&roomy));
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
        self.most_members.fill(0);
        self.world.line(None, "the core is watched");
        self.world.draw_phase("must stay calm");
        self.send_to_all();
        let asked = self.ask_all();
        self.stand_by();
        let drained = u64::try_from(self.time_to_drain().max(asked).as_millis()).unwrap_or(u64::MAX);
        self.run_to(self.now_ms() + drained + self.plan.watch_ms / 2)?;
        let traffic = self.traffic();
        self.run_to(self.now_ms() + self.plan.watch_ms.div_ceil(2))?;
        self.judge_rest(&traffic);
        self.judge_processes();
        self.judge_names();
        let of_core =
            |down: &&crate::world::Down| self.plan.core.contains(&down.host) && ids.iter().flatten().any(|id| *id == down.id);
        if let Some(down) = self.world.downs[before..].iter().find(of_core).cloned() {
            let detail =
                format!("{} at {:?}: {}, after everything was mended", down.id, Duration::from_nanos(down.at), down.reason);
            self.world.violate(Some(down.host), Invariant::NoFalseDown, detail);
        }
        let roomy = self.plan.roomy_core();
        if !self.world.is_mesh(&roomy) {
            let detail = format!("{} after the watch", self.world.missing(&roomy));
            self.world.violate(None, Invariant::Agreement, detail);
        }
        for (place, &one) in roomy.iter().enumerate() {
            for &other in &roomy[place + 1..] {
                let count = self.world.connections_left(one, other);
                // Either may be dialling the name that the other once had.
                let most = 1 + [one, other].iter().filter(|node| self.plan.is_renamed(**node)).count();
                if !(1..=most).contains(&count) {
                    let detail = format!("{count} connections between {one} and {other} at rest");
                    self.world.violate(None, Invariant::OneSession, detail);
                }
            }
        }
        self.world.violation().cloned().map_or(Ok(()), Err)
    }
}
