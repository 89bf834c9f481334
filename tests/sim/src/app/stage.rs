//! The stage of one run: the world, the processes on its hosts, and what is to happen when.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use noex_driver::sim::Port;
use noex_proto::{ClusterStatus, Machine};

use super::failure::{Failure, Key};
use super::panics::{self, Whose};
use super::process::{Process, Program};
use super::script::{Act, Script};
use super::view::Mark;
use super::watchdog::Watch;
use crate::timeline;
use crate::{HostId, World};

const MILLISECOND: u64 = 1_000_000;

/// Whether a panic with this message is none of the run's.
pub(super) type Tolerates = Box<dyn Fn(&str) -> bool>;

/// A host and the process on it.
pub(super) struct Place {
    pub(super) name: String,
    program: Program,
    process: Option<Process>,
    /// What the process's clock shows, in milliseconds of the host's: the next turn is then.
    clock_ms: u64,
    /// The program has ended by itself, and how.
    pub(super) finished: bool,
    /// It has crashed, and has not been started again.
    pub(super) crashed: bool,
    frozen: bool,
}

impl Place {
    pub(super) fn is_running(&self) -> bool {
        self.process.is_some()
    }
}

/// One run.
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) places: Vec<Place>,
    pub(super) marks: Vec<Mark>,
    pub(super) whose: Whose,
    pub(super) script: Script,
    acts: BTreeMap<(u64, u64), Act>,
    acts_made: u64,
    /// Panics for which this says so are none of the run's.
    pub(super) tolerated: Vec<Tolerates>,
    watch: Arc<Watch>,
}

impl Stage {
    pub(super) fn new(script: Script, whose: Whose, watch: Arc<Watch>) -> Self {
        let mut world = World::new(script.seed);
        world.set_recording(false);
        Self {
            world,
            places: Vec::new(),
            marks: Vec::new(),
            whose,
            script,
            acts: BTreeMap::new(),
            acts_made: 0,
            tolerated: Vec::new(),
            watch,
        }
    }

    // Hosts

    pub(super) fn add(&mut self, name: String, program: Program) -> HostId {
        let host = self.world.add_host();
        self.places.push(Place { name, program, process: None, clock_ms: 0, finished: false, crashed: false, frozen: false });
        self.begin(host);
        host
    }

    fn begin(&mut self, host: HostId) {
        self.world.begin_program(host);
        let whose = self.whose.host(host);
        let place = &mut self.places[host];
        let program = &mut place.program;
        place.process = Some(panics::within(&whose, || Process::begin(&whose, program)));
        place.clock_ms = nanos(self.world.local(host).since_start()).div_ceil(MILLISECOND);
        (place.finished, place.crashed, place.frozen) = (false, false, false);
    }

    /// The process on a host is gone: `end` is what becomes of the host.
    fn end(&mut self, host: HostId, end: impl FnOnce(&mut World)) {
        let Some(mut process) = self.places[host].process.take() else { return };
        let whose = self.whose.host(host);
        let before = self.whose.take();
        // Its destructors find the node as it was. What they ask it for comes to nothing.
        let (local, wall) = (self.world.local(host), self.world.wall(host));
        process.port.give(self.world.machine_mut(host), local, wall);
        let port = process.port.clone();
        let _panic = panics::within(&whose, || catch_unwind(AssertUnwindSafe(|| process.drop_tasks())));
        port.take(self.world.machine_mut(host));
        port.end();
        let _panic = panics::within(&whose, || catch_unwind(AssertUnwindSafe(|| drop(process))));
        // What destructors panic about while their process is torn down is nobody's affair.
        self.whose.take();
        self.whose.put(before);
        end(&mut self.world);
    }

    pub(super) fn crash(&mut self, host: HostId) {
        self.places[host].crashed |= self.places[host].process.is_some();
        self.end(host, |world| world.crash(host));
    }

    pub(super) fn power_off(&mut self, host: HostId) {
        self.places[host].crashed |= self.places[host].process.is_some();
        self.end(host, |world| world.power_off(host));
    }

    /// Starts the program of a host again, if it does not run.
    pub(super) fn restart(&mut self, host: HostId) {
        if self.places[host].process.is_none() {
            self.world.line(Some(host), "starts its program again");
            self.begin(host);
        }
    }

    pub(super) fn freeze(&mut self, host: HostId) {
        self.places[host].frozen = true;
        self.world.freeze(host);
    }

    pub(super) fn thaw(&mut self, host: HostId) {
        self.places[host].frozen = false;
        self.world.thaw(host);
    }

    // The machines between runs: the test may use handles that it was given.

    /// Gives all machines to their handles.
    pub(super) fn give_all(&mut self) {
        for host in 0..self.places.len() {
            let Some(process) = &self.places[host].process else { continue };
            let (local, wall) = (self.world.local(host), self.world.wall(host));
            process.port.give(self.world.machine_mut(host), local, wall);
        }
    }

    /// Takes them back, and performs what was asked of them.
    pub(super) fn take_all(&mut self) {
        for host in 0..self.places.len() {
            let Self { world, places, marks, .. } = self;
            let Some(process) = &places[host].process else { continue };
            let drives = process.port.take(world.machine_mut(host));
            if drives > 0 {
                carry(world, host, &process.port, drives, marks);
            }
        }
    }

    // What happens when

    pub(super) fn at(&mut self, nanos: u64, act: Act) {
        self.acts_made += 1;
        self.acts.insert((nanos, self.acts_made), act);
    }

    pub(super) fn after_ms(&mut self, ms: u64, act: Act) {
        let at = self.world.nanos().saturating_add(ms.saturating_mul(MILLISECOND));
        self.at(at, act);
    }

    /// Takes all that was to happen later.
    pub(super) fn take_acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.acts).into_values().collect()
    }

    /// Lets time pass until the next act, turn, or `until`. What is to be done then by somebody else.
    ///
    /// # Errors
    /// What fails the run.
    pub(super) fn step(&mut self, until: u64) -> Result<Option<Act>, Failure> {
        let act = self.acts.first_key_value().map(|((at, _), _)| *at);
        let turns = (0..self.places.len()).filter_map(|host| self.next_turn(host)).min();
        let next = [act, turns].into_iter().flatten().fold(until, u64::min).max(self.world.nanos());
        self.world.advance(next);
        self.sound()?;
        if act.is_some_and(|act| act <= next) {
            return Ok(self.acts.pop_first().map(|(_, act)| act));
        }
        for host in 0..self.places.len() {
            if self.next_turn(host).is_some_and(|turn| turn <= next) {
                self.turn(host)?;
            }
        }
        self.sound()?;
        Ok(None)
    }

    fn next_turn(&self, host: HostId) -> Option<u64> {
        let place = &self.places[host];
        (place.process.is_some() && !place.frozen).then(|| self.world.when(host, place.clock_ms * MILLISECOND))
    }

    /// A host's turn.
    fn turn(&mut self, host: HostId) -> Result<(), Failure> {
        let whose = self.whose.host(host);
        let Self { world, places, marks, watch, .. } = self;
        let place = &mut places[host];
        let Some(process) = &mut place.process else { return Ok(()) };
        let (local, wall) = (world.local(host), world.wall(host));
        watch.begins(host, world.nanos());
        let local_ms = nanos(local.since_start()) / MILLISECOND;
        let jump = Duration::from_millis(local_ms.saturating_sub(place.clock_ms));
        let port = process.port.clone();
        carry(world, host, &port, 0, marks);
        port.give(world.machine_mut(host), local, wall);
        let turn = panics::within(&whose, || {
            process.turn(jump, |port| {
                let drives = port.take(world.machine_mut(host));
                let news = panics::outside(|| carry(world, host, port, drives, marks));
                port.give(world.machine_mut(host), local, wall);
                watch.begins(host, world.nanos());
                news
            })
        });
        let drives = port.take(world.machine_mut(host));
        carry(world, host, &port, drives, marks);
        place.clock_ms = place.clock_ms.max(local_ms) + 1;
        let ended = process.ended();
        watch.ends();
        turn.map_err(|why| self.failure(Key::Busy, Some(host), why))?;
        self.panicked()?;
        if let Some(end) = ended {
            self.places[host].finished = true;
            self.world.line(Some(host), if end.is_ok() { "its program ends" } else { "its program fails" });
            self.end(host, |world| world.crash(host));
            if let Err(error) = end {
                let key = Key::Err(self.places[host].name.clone());
                return Err(self.failure(key, Some(host), format!("its program ended with an error: {error}")));
            }
        }
        Ok(())
    }

    /// Whether no task has panicked.
    pub(super) fn panicked(&self) -> Result<(), Failure> {
        let panics = self.whose.take();
        let tolerated = |message: &str| self.tolerated.iter().any(|tolerates| tolerates(message));
        match panics.into_iter().find(|panic| !tolerated(&panic.message)) {
            None => Ok(()),
            Some(panic) => {
                let message = format!("panicked at {}: {}", panic.place, panic.message);
                Err(self.failure(Key::Panic(panic.place), panic.host, message))
            }
        }
    }

    /// Whether all invariants of noex hold.
    fn sound(&self) -> Result<(), Failure> {
        match self.world.violation() {
            None => Ok(()),
            Some(violation) => {
                let key = Key::Invariant(violation.invariant);
                Err(self.failure(key, violation.host, format!("an invariant of noex is broken: {violation}")))
            }
        }
    }

    pub(super) fn failure(&self, key: Key, host: Option<HostId>, message: String) -> Failure {
        Failure { key, message, at: self.world.now(), host: host.map(|host| self.places[host].name.clone()) }
    }

    /// Draws and writes down what a script orders.
    pub(super) fn note(&mut self, text: &str, fault: Option<(timeline::Fault, u64)>) {
        self.world.line(None, text);
        if let Some((fault, ms)) = fault {
            self.world.draw_fault(ms, fault);
        }
    }

    /// The hosts whose node runs.
    pub(super) fn nodes(&self) -> Vec<HostId> {
        let runs = |host: &HostId| self.world.machine(*host).status() == ClusterStatus::Running;
        (0..self.places.len()).filter(runs).collect()
    }
}

/// Carries what a program and its node have for each other; the world has the machine. Whether there was anything for the program.
fn carry(world: &mut World, host: HostId, port: &Port, drives: u64, marks: &mut Vec<Mark>) -> bool {
    for (name, value) in port.take_marks() {
        world.note_mark(host, &name, &value);
        marks.push(Mark { at: world.now(), host, name, value });
    }
    if drives > 0 {
        world.drain(host, drives);
    }
    let mut started = false;
    while let Some(start) = port.next_start() {
        started = true;
        let running = world.machine(host).status() != ClusterStatus::Stopped;
        if !port.is_own(&start) {
            if running {
                start.impossible("a simulated host runs one node, and there is one already".into());
                continue;
            }
            let adopted: Option<Machine> = port.adopt(&start);
            let Some(machine) = adopted else {
                start.impossible(
                    "the node is one of another simulated host: has each host a handle of its own, and no static?".into(),
                );
                continue;
            };
            world.adopt(host, machine);
        }
        match world.start(host, start.config().clone()) {
            Ok(()) if world.machine(host).status() == ClusterStatus::Running => start.started(world.local(host)),
            Ok(()) => start.impossible("the node stopped while it started".into()),
            Err(error) => start.refused(error),
        }
    }
    if port.is_orphaned() && world.machine(host).status() == ClusterStatus::Running {
        world.stop(host);
    }
    let told = world.take_told(host);
    let news = started || !told.is_empty();
    let known = port.tell(world.machine(host), told);
    world.judge_program(host, known);
    if (news || drives > 0)
        && let Some(books) = port.books()
    {
        world.check_counts(host, books);
    }
    news
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
