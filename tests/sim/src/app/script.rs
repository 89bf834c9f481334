//! What happens to an application from outside, as plain data: drawn from a seed, shrunk, printed, read.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::stage::Stage;
use super::{App, Host};
use crate::random::Random;
use crate::{Chunking, Dialling, Fault, HostId, Latency, Op, Plan, Step, timeline};

/// The streams of random numbers of scripts.
const KINDS: u64 = 1 << 33;
const FAULTS: u64 = KINDS + 1;
const PICKS: u64 = FAULTS + 1000;

/// A script of faults, and what was picked.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Script {
    pub(super) seed: u64,
    /// What [`App::pick`] gave.
    pub(super) picks: BTreeMap<String, u64>,
    /// The hosts, which steps name by their places here.
    pub(super) hosts: Vec<String>,
    pub(super) latency: Latency,
    pub(super) path_latencies: Vec<(usize, usize, Latency)>,
    pub(super) bytes_per_second: Option<u64>,
    pub(super) window_bytes: usize,
    pub(super) chunking: Chunking,
    pub(super) reset_cuts: bool,
    pub(super) steps: Vec<Step>,
}

/// What is to happen at a moment.
pub(super) enum Act {
    /// What the test asked for.
    App(Box<dyn FnOnce(&App)>),
    /// A host's program starts again.
    Restart(HostId),
    /// A step of the script.
    Step(usize),
    /// Something that does not last ends.
    Undo(Box<dyn FnOnce(&mut Stage)>),
}

impl Script {
    /// Nothing happens.
    pub(super) fn new(seed: u64) -> Self {
        let plain = Plan::of_hosts(seed, &[], 0);
        Self {
            seed,
            picks: BTreeMap::new(),
            hosts: Vec::new(),
            latency: plain.latency,
            path_latencies: Vec::new(),
            bytes_per_second: None,
            window_bytes: plain.window_bytes,
            chunking: plain.chunking,
            reset_cuts: false,
            steps: Vec::new(),
        }
    }

    /// Reads a script as it was written.
    ///
    /// # Errors
    /// Says what does not parse, or cannot be ordered of an application.
    pub(super) fn from_text(text: &str) -> Result<Self, String> {
        let script: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut steps = script.steps.iter().enumerate();
        let wrong = steps.find_map(|(place, step)| {
            let hosts = step.op.clone().nodes_mut().into_iter().all(|host| *host < script.hosts.len());
            (!is_for_applications(&step.op) || !hosts).then_some(place)
        });
        match wrong {
            Some(place) => Err(format!("step {place}, counted from 0, cannot happen to an application, or on none of its hosts")),
            None => Ok(script),
        }
    }

    /// The script as text: JSON, one step per line.
    pub(super) fn to_text(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        crate::plan::to_text(&value)
    }

    /// Draws what is asked for, among hosts of which all have names.
    pub(super) fn draw(&mut self, faults: &Faults, names: &[String]) {
        let among: Vec<HostId> = faults.among.clone().unwrap_or_else(|| (0..names.len()).collect());
        let until_ms = u64::try_from(faults.until.as_millis()).unwrap_or(u64::MAX).max(1);
        let of_among: Vec<String> = among.iter().map(|host| names[*host].clone()).collect();
        if among.len() < 2 {
            return;
        }
        let mut plan = Plan::of_hosts(self.seed, &of_among, until_ms);
        let mut kinds = Random::new(self.seed, KINDS);
        // Most seeds have about half of the kinds.
        let drawn: Vec<Fault> = faults.kinds.iter().copied().filter(|_| kinds.permille(600)).collect();
        let drawn = if drawn.is_empty() { faults.kinds.clone() } else { drawn };
        for fault in drawn {
            let stream = Fault::ALL.iter().position(|kind| *kind == fault).unwrap_or(0) as u64;
            plan.add_fault(fault, &mut Random::new(self.seed, FAULTS + stream));
        }
        let mut steps = plan.steps;
        steps.retain(|step| is_for_applications(&step.op));
        steps.iter_mut().flat_map(|step| step.op.nodes_mut()).for_each(|host| *host = among[*host]);
        steps.sort_by_key(|step| step.at_ms);
        self.hosts = names.to_vec();
        self.latency = plan.latency;
        self.path_latencies = plan.path_latencies.iter().map(|(from, to, of)| (among[*from], among[*to], *of)).collect();
        (self.bytes_per_second, self.window_bytes) = (plan.bytes_per_second, plan.window_bytes);
        (self.chunking, self.reset_cuts) = (plan.chunking, plan.reset_cuts);
        self.steps = steps;
    }

    /// Fits a script that was made for other hosts to these: what is about one that is not there any more does not happen.
    ///
    /// # Errors
    /// Names the hosts that are missing, where there are any and all have to be there.
    pub(super) fn fit(&mut self, names: &[String], all: bool) -> Result<(), String> {
        let missing: Vec<String> = self.hosts.iter().filter(|host| !names.contains(host)).cloned().collect();
        if all && !missing.is_empty() {
            let missing = missing.join(", ");
            return Err(format!("the plan names {missing}, which the test does not make: it makes {}", names.join(", ")));
        }
        for gone in missing {
            let Some(place) = self.hosts.iter().position(|host| *host == gone) else { continue };
            self.hosts.remove(place);
            self.steps.retain_mut(|step| step.op.forget(place));
            self.path_latencies.retain(|(from, to, _)| *from != place && *to != place);
            let moved = |host: &mut usize| *host -= usize::from(*host > place);
            self.path_latencies.iter_mut().for_each(|(from, to, _)| (moved(from), moved(to)).1);
        }
        let place = |host: usize| names.iter().position(|name| *name == self.hosts[host]).unwrap_or(host);
        let mut steps = std::mem::take(&mut self.steps);
        steps.iter_mut().flat_map(|step| step.op.nodes_mut()).for_each(|host| *host = place(*host));
        let paths = self.path_latencies.iter().map(|(from, to, of)| (place(*from), place(*to), *of)).collect();
        (self.steps, self.path_latencies) = (steps, paths);
        self.hosts = names.to_vec();
        Ok(())
    }

    /// A number for something that is picked.
    pub(super) fn pick(&mut self, name: &str, least: u64, most: u64) -> u64 {
        let drawn = Random::new(self.seed, PICKS + self.picks.len() as u64).within(least, most);
        let picked = self.picks.entry(name.to_owned()).or_insert(drawn);
        *picked = (*picked).clamp(least, most);
        *picked
    }

    /// What happens, in words.
    pub(super) fn words(&self) -> Vec<String> {
        let plan = Plan::of_hosts(self.seed, &self.hosts, 0);
        let words = self.steps.iter().filter_map(|step| {
            let (fault, ms) = timeline::fault(&plan, &step.op)?;
            // Of others the words say it.
            let lasts = matches!(step.op, Op::Cut { .. } | Op::Dials { .. } | Op::StallReader { .. } | Op::StallWriter { .. });
            let lasts = if lasts || matches!(step.op, Op::Clock { .. } | Op::Tamper { .. }) {
                format!(", for {}.{:03} s", ms / 1000, ms % 1000)
            } else {
                String::new()
            };
            Some(format!("at {}.{:03} s {}{lasts}", step.at_ms / 1000, step.at_ms % 1000, fault.text))
        });
        words.collect()
    }
}

/// Whether something can happen to an application, of which nothing is known but its hosts.
const fn is_for_applications(op: &Op) -> bool {
    matches!(
        op,
        Op::Clock { .. }
            | Op::Crash { .. }
            | Op::Cut { .. }
            | Op::Dials { .. }
            | Op::Freeze { .. }
            | Op::HalfOpen { .. }
            | Op::PowerOff { .. }
            | Op::Reset { .. }
            | Op::ResetOne { .. }
            | Op::StallReader { .. }
            | Op::StallWriter { .. }
            | Op::Tamper { .. }
            | Op::WallClock { .. }
    )
}

impl Stage {
    /// The script begins: its conditions hold from now on, its steps come in their time.
    pub(super) fn begin_script(&mut self) {
        let script = self.script.clone();
        self.world.set_latency(script.latency);
        self.world.set_transport(script.chunking, script.window_bytes, script.bytes_per_second);
        self.world.set_reset_cuts(script.reset_cuts);
        for (from, to, latency) in script.path_latencies {
            self.world.set_path_latency(from, to, latency);
        }
        for (place, step) in script.steps.iter().enumerate() {
            self.at(step.at_ms.saturating_mul(1_000_000), Act::Step(place));
        }
    }

    /// Lets a step happen.
    pub(super) fn order(&mut self, place: usize) {
        let op = self.script.steps[place].op.clone();
        let plan = Plan::of_hosts(0, &self.script.hosts, 0);
        let fault = timeline::fault(&plan, &op);
        let text = fault.as_ref().map_or_else(|| format!("{op:?}"), |(fault, _)| fault.text.clone());
        self.note(&text, fault);
        match op {
            Op::Clock { node, permille, ms } => {
                self.world.set_clock_rate(node, permille);
                self.undo(ms, move |stage| stage.world.set_clock_rate(node, 1000));
            }
            Op::Crash { node, ms } => {
                self.crash(node);
                ms.into_iter().for_each(|ms| self.after_ms(ms, Act::Restart(node)));
            }
            Op::PowerOff { node, ms } => {
                self.power_off(node);
                ms.into_iter().for_each(|ms| self.after_ms(ms, Act::Restart(node)));
            }
            Op::Cut { from, to, ms, reset } => {
                self.cut(&from, &to, reset);
                self.undo(ms, move |stage| stage.mend(&from, &to));
            }
            Op::Dials { from, to, how, ms } => {
                self.world.set_dialling(from, to, how);
                self.undo(ms, move |stage| stage.world.set_dialling(from, to, Dialling::Normal));
            }
            Op::Freeze { node, ms } => {
                self.freeze(node);
                self.undo(ms, move |stage| stage.thaw(node));
            }
            Op::HalfOpen { at, with, silent } => self.world.half_open(at, with, silent),
            Op::Reset { one, other } => self.world.reset(one, other),
            Op::ResetOne { one, other } => self.world.reset_one(one, other),
            Op::StallReader { reader, from, ms } => {
                self.world.stall_reader(reader, from, true);
                self.undo(ms, move |stage| stage.world.stall_reader(reader, from, false));
            }
            Op::StallWriter { from, to, ms } => {
                self.world.stall_writer(from, to, true);
                self.undo(ms, move |stage| stage.world.stall_writer(from, to, false));
            }
            Op::Tamper { one, other, how, permille, ms } => {
                self.world.tamper(one, other, Some(how), permille);
                self.undo(ms, move |stage| stage.world.tamper(one, other, None, 0));
            }
            Op::WallClock { node, ms } => self.world.jump_wall_clock(node, ms),
            other => unreachable!("{other:?} is for no application"),
        }
    }

    fn undo(&mut self, ms: u64, undo: impl FnOnce(&mut Self) + 'static) {
        self.after_ms(ms, Act::Undo(Box::new(undo)));
    }

    pub(super) fn cut(&mut self, from: &[HostId], to: &[HostId], reset: bool) {
        for (one, other) in pairs(from, to) {
            if reset {
                self.world.sever(one, other);
            }
            self.world.cut(one, other);
        }
    }

    pub(super) fn mend(&mut self, from: &[HostId], to: &[HostId]) {
        pairs(from, to).for_each(|(one, other)| self.world.mend(one, other));
    }
}

fn pairs(from: &[HostId], to: &[HostId]) -> impl Iterator<Item = (HostId, HostId)> {
    from.iter().flat_map(|one| to.iter().map(|other| (*one, *other)))
}

/// Which kinds of faults happen to an application, on which of its hosts, and until when: [`App::faults`].
#[derive(Clone, Debug)]
pub struct Faults {
    kinds: Vec<Fault>,
    among: Option<Vec<HostId>>,
    until: Duration,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident: $kind:ident;)*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name(self) -> Self {
                self.kind(Fault::$kind)
            }
        )*
    };
}

impl Faults {
    /// None yet: name kinds. Each is drawn in about half of the seeds, some times, at moments that are drawn too.
    #[must_use]
    pub const fn drawn() -> Self {
        Self { kinds: Vec::new(), among: None, until: Duration::from_secs(60) }
    }

    kinds! {
        /// Someone changes bytes on their way.
        adversaries: Adversary;
        /// Little bandwidth, and small buffers.
        bandwidth: Bandwidth;
        /// Clocks at half to twice the rate.
        clock_rates: ClockRate;
        /// Processes that crash, and mostly start again.
        crashes: Crash;
        /// Processes that crash again and again.
        crash_loops: CrashLoop;
        /// Dials that are refused, dropped, late, or find no route.
        dial_faults: DialFaults;
        /// Reads and writes of a few bytes.
        fragmentation: Fragmentation;
        /// Processes that stand still for some time.
        freezes: Freeze;
        /// Connections that only one end knows of.
        half_open: HalfOpen;
        /// Latencies with a tail, and other ones for single paths.
        latency: Latency;
        /// Partitions of any shape: halves, one way only, a bridge, a ring.
        partitions: Partition;
        /// Hosts that lose power: nobody is told.
        power_offs: PowerOff;
        /// Connections that are reset at any byte.
        resets: Reset;
        /// Readers and writers that stall.
        stalls: Stall;
        /// Wall clocks that jump.
        wall_clocks: WallClock;
    }

    fn kind(mut self, kind: Fault) -> Self {
        if !self.kinds.contains(&kind) {
            self.kinds.push(kind);
        }
        self
    }

    /// On these hosts alone, and between them. Without it, on all that there are by then.
    #[must_use]
    pub fn among<'a>(self, hosts: impl IntoIterator<Item = &'a Host>) -> Self {
        Self { among: Some(hosts.into_iter().map(|host| host.number).collect()), ..self }
    }

    /// No further one after this time, 60 s if it is not said.
    #[must_use]
    pub const fn until(mut self, until: Duration) -> Self {
        self.until = until;
        self
    }
}
