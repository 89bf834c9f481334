//! Names of the cluster: what processes claim, and what holds of those who have them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use noex_proto::{ClaimError, ClaimId, ClaimOptions, ClusterStatus, ProcessId, ProcessName};

use super::{Claim, STALE, Task};
use crate::safety::{Check, Invariant};
use crate::world::{HostId, World};

/// The names that plans have.
pub(crate) const NAMES: usize = 2;

/// A claim that is to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    /// The place of its process.
    pub(crate) slot: usize,
    pub(crate) name: usize,
    /// Whether it stands by.
    pub(crate) when_free: bool,
    pub(crate) min_nodes: usize,
    pub(crate) keep_on_loss: bool,
    pub(crate) timeout: Duration,
    /// When its future is dropped.
    pub(crate) dropped: Option<Duration>,
}

/// What the applications on a host know of names.
#[derive(Clone, Debug, Default)]
pub(super) struct Desk {
    /// Claims whose futures have not returned.
    open: BTreeMap<ClaimId, Open>,
    /// The names that processes have, as they were told.
    held: BTreeMap<ProcessName, Held>,
    /// Who has each name, as the node said last.
    seen: BTreeMap<ProcessName, ProcessId>,
    /// When the node last saw another's process have a name.
    taken: BTreeMap<ProcessName, u64>,
}

#[derive(Clone, Debug)]
struct Open {
    number: u64,
    known: usize,
    name: ProcessName,
    wish: Wish,
    began: u64,
    /// When it may be over, on the clock of its host.
    deadline: Duration,
    is_released: bool,
}

#[derive(Clone, Debug)]
struct Held {
    number: u64,
    began: u64,
    min_nodes: usize,
}

/// What was claimed, and what settled, by any process of any node.
#[derive(Clone, Debug, Default)]
pub(super) struct Claimed {
    claimed: BTreeSet<(ProcessId, ProcessName)>,
    settled: BTreeSet<(ProcessId, ProcessName)>,
}

impl Desk {
    /// How many names the processes have, or want.
    fn len(&self) -> usize {
        self.open.len() + self.held.len()
    }

    /// A process has ended: it has no name any more. Its claims are told so.
    pub(super) fn process_ended(&mut self, number: u64) {
        self.held.retain(|_, held| held.number != number);
    }
}

impl World {
    // What applications do

    /// A process on a host claims a name, or stands by for it.
    pub(crate) fn claim_checked(&mut self, host: HostId, wish: Wish) {
        let owner = self.hosts[host].scripts.owner_at(wish.slot).map(|(number, owner)| (number, owner.known));
        let Some((number, known)) = owner.filter(|_| self.can_speak(host)) else { return };
        let name = name(wish.name);
        let options = ClaimOptions::default().min_nodes(wish.min_nodes).keep_on_loss(wish.keep_on_loss).timeout(wish.timeout);
        self.ledger.names.claimed.insert((self.ledger.processes[known].id.clone(), name.clone()));
        let at = &mut self.hosts[host];
        let now = at.local(self.now);
        let begun = if wish.when_free {
            at.machine.claim_when_free(now, number, &name, &options)
        } else {
            at.machine.claim(now, number, &name, &options)
        };
        let deadline = (now + wish.timeout).since_start();
        let open = Open { number, known, name, wish, began: self.now, deadline, is_released: false };
        match begun {
            Ok(claim) => {
                at.scripts.names.open.insert(claim, open);
                if let Some(dropped) = wish.dropped {
                    self.later(host, dropped, Task::DropClaim(claim));
                }
            }
            Err(error) => {
                let check = self.check_failure(host, &open, &error);
                self.judge(host, check);
            }
        }
        self.settle(host);
    }

    /// A process on a host gives a name back.
    pub(crate) fn release_checked(&mut self, host: HostId, slot: usize, of: usize) {
        let Some((number, _)) = self.hosts[host].scripts.owner_at(slot) else { return };
        if !self.can_speak(host) {
            return;
        }
        let name = name(of);
        let at = &mut self.hosts[host];
        let desk = &mut at.scripts.names;
        let mut has = desk.held.get(&name).is_some_and(|held| held.number == number);
        if has {
            desk.held.remove(&name);
        }
        for open in desk.open.values_mut().filter(|open| open.number == number && open.name == name) {
            open.is_released = true;
            has = true;
        }
        let now = at.local(self.now);
        let released = at.machine.release(now, number, &name);
        self.coverage.note("name: released");
        // It may have lost the name and not have been told yet.
        if released && !has {
            let detail = format!("{name} is released by process {number}, which neither has it nor claims it");
            self.violate(Some(host), Invariant::NamesAreTrue, detail);
        }
        self.settle(host);
    }

    /// The future of a claim is dropped.
    pub(super) fn drop_claim(&mut self, host: HostId, claim: ClaimId) {
        let at = &mut self.hosts[host];
        if at.scripts.names.open.remove(&claim).is_some() {
            let now = at.local(self.now);
            at.machine.drop_claim(now, claim);
            self.coverage.note("name: a claim dropped");
            self.settle(host);
        }
    }

    /// The future of a claim that has settled returns, unless the name is lost again.
    pub(super) fn claim_returns(&mut self, host: HostId, claim: ClaimId) {
        let at = &mut self.hosts[host];
        let Some(open) = at.scripts.names.open.get(&claim).cloned() else { return };
        let now = at.local(self.now);
        if at.machine.claim_returned(now, claim) {
            at.scripts.names.open.remove(&claim);
            if let Some(owner) = at.scripts.owners.get_mut(&open.number) {
                // A loss that its batch tells of is that of an earlier claim.
                owner.renewed.insert(open.name.clone());
            }
            let held = Held { number: open.number, began: open.began, min_nodes: open.wish.min_nodes };
            let before = at.scripts.names.held.insert(open.name.clone(), held);
            if let Some(before) = before.filter(|before| before.number != open.number && self.is_told_of_all(host, before.number))
            {
                let detail = format!("{} is given to process {}, and {} has it", open.name, open.number, before.number);
                self.violate(Some(host), Invariant::OneHolder, detail);
            }
        } else {
            self.coverage.note("name: lost before the claim returned");
        }
        self.settle(host);
    }

    /// Whether a process has looked at all that its mailbox held.
    fn is_told_of_all(&self, host: HostId, number: u64) -> bool {
        let owner = self.hosts[host].scripts.owners.get(&number);
        owner.is_some_and(|owner| owner.batch.is_empty() && !owner.has_turn)
    }

    /// The applications on a host watch all names.
    pub(super) fn watch_names(&mut self, host: HostId) {
        for of in 0..NAMES {
            let at = &mut self.hosts[host];
            let now = at.local(self.now);
            if let Err(error) = at.machine.watch_name(now, &name(of)) {
                self.violate(Some(host), Invariant::NamesAreTrue, format!("a name cannot be watched: {error}"));
            }
        }
        self.settle(host);
    }

    // What a machine tells

    /// Another process has a name, or none, as a host sees it.
    pub(super) fn name_changed(&mut self, host: HostId, name: &ProcessName) {
        let holder = self.holder(host, name);
        let text = holder.as_ref().map_or_else(|| "nobody".into(), ToString::to_string);
        self.trace.mix_bytes(text.as_bytes());
        let at = &mut self.hosts[host];
        let own = at.machine.local_node_id();
        if holder.as_ref().is_some_and(|holder| own.is_ok_and(|own| own != *holder.node())) {
            at.scripts.names.taken.insert(name.clone(), self.now);
        }
        self.line(Some(host), &format!("{name} is {text}"));
        let seen = &mut self.hosts[host].scripts.names.seen;
        let before = match &holder {
            Some(holder) => seen.insert(name.clone(), holder.clone()),
            None => seen.remove(name),
        };
        let is_late = |claim: &Claim, before: &ProcessId| matches!(claim, Claim::Ended(node, ..) if node == before.node());
        let runs = self.hosts[host].machine.status() == ClusterStatus::Running;
        let before = before.filter(|_| runs);
        if let Some(before) = before.filter(|before| self.hosts[host].scripts.claims.iter().any(|claim| is_late(claim, before))) {
            let detail = format!("{name} was {before} until after calls to that node, and monitors, had ended with its session");
            self.violate(Some(host), Invariant::NamesAreTrue, detail);
        }
        if let Some(holder) = holder
            && !self.ledger.names.claimed.contains(&(holder.clone(), name.clone()))
        {
            let detail = format!("{name} is {holder}, which has never claimed it");
            self.violate(Some(host), Invariant::NamesAreTrue, detail);
        }
    }

    /// A claim has its outcome, which is the last one unless it has settled.
    pub(super) fn claim_ended(&mut self, host: HostId, claim: ClaimId, outcome: Result<(), ClaimError>) {
        let text = outcome.as_ref().err().map_or_else(|| "settled".into(), ToString::to_string);
        self.trace.mix_bytes(text.as_bytes());
        let Some(open) = self.hosts[host].scripts.names.open.get(&claim).cloned() else {
            let detail = format!("{claim:?} has an outcome, and is over: {text}");
            return self.violate(Some(host), Invariant::NamesAreTrue, detail);
        };
        self.line(Some(host), &format!("the claim of process {} to {}: {text}", open.number, open.name));
        match outcome {
            Ok(()) => {
                self.coverage.note("name: settled");
                let id = self.ledger.processes[open.known].id.clone();
                self.ledger.names.settled.insert((id, open.name.clone()));
                let check = self.check_holders(host, &open);
                self.judge(host, check);
                let soon = if self.script_random.permille(800) { 0 } else { self.script_random.below(3_000_000) };
                self.later(host, Duration::from_nanos(soon), Task::ClaimReturns(claim));
            }
            Err(error) => {
                self.hosts[host].scripts.names.open.remove(&claim);
                let check = self.check_failure(host, &open, &error);
                self.judge(host, check);
            }
        }
    }

    /// A process is told that it has lost a name.
    pub(super) fn name_lost(&mut self, host: HostId, number: u64, name: &ProcessName, winner: Option<&ProcessId>) {
        self.coverage.note(if winner.is_some() { "name: lost to another" } else { "name: given up" });
        let desk = &mut self.hosts[host].scripts.names;
        let held = desk.held.get(name).filter(|held| held.number == number).cloned();
        let Some(held) = held else {
            let detail = format!("process {number} is told that it has lost {name}, which it does not have");
            return self.violate(Some(host), Invariant::NamesAreTrue, detail);
        };
        desk.held.remove(name);
        let settled = |winner: &ProcessId| self.ledger.names.settled.contains(&(winner.clone(), name.clone()));
        let holds = winner.map_or(held.min_nodes > 0, settled);
        if !holds {
            let detail = format!("process {number} has lost {name} to {winner:?}, which never had it");
            self.violate(Some(host), Invariant::NamesAreTrue, detail);
        }
    }

    /// Two settled claims have met.
    pub(in crate::world) fn check_conflict(&mut self, host: HostId, name: &ProcessName, winner: &ProcessId, loser: &ProcessId) {
        self.coverage.note("name: conflict");
        let settled = |process: &ProcessId| self.ledger.names.settled.contains(&(process.clone(), name.clone()));
        if winner == loser || !settled(winner) || !settled(loser) {
            let detail = format!("{winner} and {loser} are said to have had {name} both");
            self.violate(Some(host), Invariant::NamesAreTrue, detail);
        }
    }

    // What holds

    /// No two nodes that have been connected without a break since the later of their claims began have the same name.
    fn check_holders(&self, host: HostId, open: &Open) -> Check {
        let at = &self.hosts[host];
        // Whoever stands by has not tried while another one had the name.
        let began = open.began.max(at.scripts.names.taken.get(&open.name).copied().unwrap_or(0));
        for (other, to) in self.hosts.iter().enumerate().filter(|(other, to)| *other != host && to.alive && to.rogue.is_none()) {
            let (Ok(own), Ok(node)) = (at.machine.local_node_id(), to.machine.local_node_id()) else { continue };
            let Some(holder) = self.holder(other, &open.name).filter(|holder| *holder.node() == node && own != node) else {
                continue;
            };
            let held = to.scripts.names.held.get(&open.name).map_or(0, |held| held.began);
            let began = began.max(held);
            let since = |at: &crate::world::host::Host, of: &crate::world::host::Host, id| {
                let up = at.monitor.up.contains_key(id).then(|| at.scripts.ups.get(id).copied()).flatten();
                up.is_some_and(|up| up < began && up > of.since + STALE)
            };
            // Of a node whose identity another one claims nobody knows with whom its peers are connected.
            if since(at, to, &node) && since(to, at, &own) && !self.has_twin(host, &own) && !self.has_twin(other, &node) {
                let detail = format!(
                    "{} is process {} of host {host}, and {} of host {other}, and the two have been connected all the time",
                    open.name, open.number, holder
                );
                return Err((Invariant::OneHolder, detail));
            }
        }
        Ok(())
    }

    /// A claim that fails has a reason.
    fn check_failure(&mut self, host: HostId, open: &Open, error: &ClaimError) -> Check {
        self.coverage.note(match error {
            ClaimError::NotStarted(_) => "claim: not started",
            ClaimError::NoProcess => "claim: no process",
            ClaimError::TooMany { .. } => "claim: too many",
            ClaimError::Full { .. } => "claim: full",
            ClaimError::Taken { settled: true, .. } => "claim: taken",
            ClaimError::Taken { settled: false, .. } => "claim: taken by a claim",
            ClaimError::TooFew { .. } => "claim: too few",
            ClaimError::TimedOut { .. } => "claim: timed out",
            ClaimError::Released => "claim: released",
            ClaimError::Stopped => "claim: stopped",
            other => unreachable!("{other:?} is the driver's own"),
        });
        let at = &self.hosts[host];
        let running = at.monitor.status == ClusterStatus::Running;
        let runs = at.machine.status() == ClusterStatus::Running;
        let names = &self.ledger.names;
        let pair = |by: &ProcessId| (by.clone(), open.name.clone());
        let holds = match error {
            ClaimError::NotStarted(_) => !running,
            ClaimError::Stopped => !runs,
            // Of what has settled a stop says that its process ends with it.
            ClaimError::NoProcess => self.ledger.processes[open.known].end.is_some() || !runs,
            ClaimError::Taken { by, settled: true } => names.settled.contains(&pair(by)),
            ClaimError::Taken { by, settled: false } => names.claimed.contains(&pair(by)),
            ClaimError::TooFew { found, min_nodes } => found < min_nodes && *min_nodes == open.wish.min_nodes,
            ClaimError::TimedOut { .. } => at.local(self.now).since_start() >= open.deadline,
            ClaimError::Released => open.is_released,
            _ => true,
        };
        if holds {
            return Ok(());
        }
        Err((Invariant::NamesAreTrue, format!("the claim of process {} to {} fails: {error}", open.number, open.name)))
    }

    /// Of a process that is said to have ended no name is left, unless the node itself ends its sessions.
    pub(super) fn check_names_of(&mut self, host: HostId, process: usize) {
        if self.hosts[host].machine.status() != ClusterStatus::Running {
            return;
        }
        let id = &self.ledger.processes[process].id;
        let left = (0..NAMES).map(name).find(|name| self.holder(host, name).as_ref() == Some(id));
        if let Some(name) = left {
            let detail = format!("{id} is down, and still has {name}");
            self.violate(Some(host), Invariant::NamesAreTrue, detail);
        }
    }

    /// What is known of names is of nodes that are up.
    pub(super) fn check_names_of_downs(&mut self, host: HostId) {
        let at = &self.hosts[host];
        let Ok(own) = at.machine.local_node_id() else { return };
        let gone = at.machine.names().into_iter().find(|(_, holder)| {
            let node = holder.process.node();
            *node != own && !at.monitor.up.contains_key(node)
        });
        if let Some((name, holder)) = gone {
            let detail = format!("{name} is {}, whose node is down", holder.process);
            self.violate(Some(host), Invariant::NamesAreTrue, detail);
        }
    }

    /// A node has stopped: no claim is open.
    pub(super) fn check_names_stopped(&mut self, host: HostId) {
        let desk = std::mem::take(&mut self.hosts[host].scripts.names);
        if !desk.open.is_empty() {
            let detail = format!("it is stopped, and {} claims are open", desk.open.len());
            self.violate(Some(host), Invariant::NamesAreTrue, detail);
        }
    }

    /// These hosts see nobody but each other, at rest: each name has one holder, which all see, and who has it by its own account; and where
    /// somebody stands by, it has one.
    pub(crate) fn check_names_at_rest(&mut self, hosts: &[HostId]) {
        for of in 0..NAMES {
            let name = name(of);
            let seen = hosts.iter().map(|host| (*host, self.holder(*host, &name)));
            let seen: Vec<(HostId, Option<ProcessId>)> = seen.collect();
            let holder = seen[0].1.clone();
            if let Some((host, other)) = seen.iter().find(|(_, other)| *other != holder) {
                let detail = format!("{name} is {other:?}, and {holder:?} to host {}", seen[0].0);
                return self.violate(Some(*host), Invariant::NamesAgree, detail);
            }
            let holders = hosts.iter().filter_map(|host| {
                let held = self.hosts[*host].scripts.names.held.get(&name)?;
                Some(self.ledger.processes[self.hosts[*host].scripts.owners.get(&held.number)?.known].id.clone())
            });
            let holders: Vec<ProcessId> = holders.collect();
            if !holders.iter().eq(holder.as_ref()) {
                let detail = format!("{name} is {holder:?}, and by their own account these have it: {holders:?}");
                return self.violate(None, Invariant::NamesAgree, detail);
            }
            let waits = |open: &Open| open.name == name && open.wish.when_free && open.wish.min_nodes < hosts.len();
            let waiting = hosts.iter().find(|host| self.hosts[**host].scripts.names.open.values().any(waits));
            if let Some(host) = waiting.filter(|_| holder.is_none()) {
                let detail = format!("{name} is nobody's, though a process stands by for it");
                return self.violate(Some(*host), Invariant::NamesAgree, detail);
            }
        }
        for &host in hosts {
            let at = &self.hosts[host];
            let (counted, known) = (at.machine.usage().names, at.scripts.names.len());
            let late = at.scripts.names.open.values().find(|open| !open.wish.when_free);
            if counted != known || late.is_some() {
                let detail = format!("the machine counts {counted} names and claims, and {known} are known; {late:?} is open");
                return self.violate(Some(host), Invariant::NamesAgree, detail);
            }
        }
    }
}

/// A name of the cluster.
fn name(of: usize) -> ProcessName {
    ProcessName::new(&format!("n{of}")).expect("a short name")
}
