//! One name, which a process of each node may claim: who has it, and a judge of all of them.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use noex_proto::{ClaimId, ClaimOptions, ExitReason, MailboxItem, ProcessAction, ProcessName};

use super::call::PROTOCOL;
use super::state::{Checked, Move, State};
use crate::HostId;
use crate::safety::Invariant;

/// After this time, with nothing in the way, all claims are over and all withdrawals are known.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// What is known at each node.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Claiming {
    at: Vec<At>,
}

#[derive(Clone, Debug, Default)]
struct At {
    process: Option<u64>,
    claim: Option<ClaimId>,
    /// Its claim has settled, and is not lost.
    has: bool,
    /// Of which hosts it has been without a session at some time since its claim began.
    apart: u8,
}

impl Hash for At {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.process.is_some(), self.claim.is_some(), self.has, self.apart).hash(state);
    }
}

fn name() -> ProcessName {
    ProcessName::new("n").expect("a short name")
}

impl State {
    /// What may be done with the name, within the budget.
    pub(super) fn add_claims(&self, moves: &mut Vec<Move>) {
        for (place, at) in self.claiming.at.iter().enumerate() {
            if at.process.is_none() || !self.hosts[place].is_running() {
                continue;
            }
            if self.budget.claims > 0 && at.claim.is_none() && !at.has {
                moves.push(Move::Claim(place as u8));
            }
            if self.budget.exits > 0 && (at.claim.is_some() || at.has) {
                moves.push(Move::GiveUp(place as u8));
            }
        }
    }

    fn claiming_at(&mut self, host: HostId) -> &mut At {
        let hosts = self.hosts.len();
        self.claiming.at.resize(hosts, At::default());
        &mut self.claiming.at[host]
    }

    /// A node runs: it has a process.
    pub(super) fn open_claimant(&mut self, host: HostId) {
        let at = self.host_mut(host);
        let process = at.machine.open(at.now, PROTOCOL).ok();
        self.claiming_at(host).process = process.map(|process| process.number());
    }

    /// A node is gone at once.
    pub(super) fn claiming_crashed(&mut self, host: HostId) {
        *self.claiming_at(host) = At::default();
    }

    /// The process of a node claims the name.
    pub(super) fn claim(&mut self, host: HostId) -> Checked {
        let Some(process) = self.claiming.at[host].process else { return Ok(()) };
        let at = self.host_mut(host);
        let claimed = at.machine.claim(at.now, process, &name(), &ClaimOptions::default().keep_on_loss(true));
        self.line(Some(host), || format!("claims: {claimed:?}"));
        let at = self.claiming_at(host);
        (at.claim, at.apart) = (claimed.ok(), 0);
        self.drain(host)
    }

    /// The process of a node ends, with the name or its claim to it, and another one takes its place.
    pub(super) fn give_up(&mut self, host: HostId) -> Checked {
        let Some(process) = self.claiming.at[host].process else { return Ok(()) };
        let at = self.host_mut(host);
        at.machine.exit(at.now, process, ExitReason::Normal, usize::MAX);
        self.line(Some(host), || "its process ends".into());
        self.claiming_at(host).has = false;
        self.drain(host)?;
        *self.claiming_at(host) = At::default();
        self.open_claimant(host);
        self.drain(host)
    }

    /// What a machine asks for with names and their processes.
    pub(super) fn claim_action(&mut self, host: HostId, action: ProcessAction) -> Checked {
        self.line(Some(host), || format!("{action:?}"));
        match action {
            ProcessAction::ClaimEnded { claim, outcome } => {
                let known = self.claiming_at(host);
                if known.claim != Some(claim) {
                    let detail = "a claim has an outcome that is over".into();
                    return self.violate(host, Invariant::NamesAreTrue, detail);
                }
                known.claim = None;
                known.has = outcome.is_ok();
                if outcome.is_ok() {
                    let at = self.host_mut(host);
                    if !at.machine.claim_returned(at.now, claim) {
                        let detail = "a claim has settled, and does not return".into();
                        return self.violate(host, Invariant::NamesAreTrue, detail);
                    }
                }
            }
            ProcessAction::Mailbox(process) => {
                let at = self.host_mut(host);
                for item in at.machine.take(at.now, process, 8) {
                    let lost = matches!(item, MailboxItem::NameLost { .. });
                    if !lost || !std::mem::replace(&mut self.claiming_at(host).has, false) {
                        let detail = format!("{item:?}, and the name is not its own");
                        return self.violate(host, Invariant::NamesAreTrue, detail);
                    }
                }
            }
            ProcessAction::Ended(_) | ProcessAction::Stopping(_) | ProcessAction::NamesSynced => {}
            other => return self.violate(host, Invariant::NamesAreTrue, format!("{other:?}, which nobody asked for")),
        }
        Ok(())
    }

    /// After each move: who is apart, and that no two have the name that have been connected since the later claim began.
    pub(super) fn check_claims(&mut self) -> Checked {
        let hosts = self.claiming.at.len();
        for one in 0..hosts {
            for other in (0..hosts).filter(|other| *other != one) {
                if !self.sees(one, other) || !self.sees(other, one) {
                    self.claiming.at[one].apart |= 1 << other;
                }
            }
        }
        for one in 0..hosts {
            for other in 0..one {
                let (a, b) = (&self.claiming.at[one], &self.claiming.at[other]);
                if a.has && b.has && a.apart & 1 << other == 0 && b.apart & 1 << one == 0 {
                    let detail = format!("{one} and {other} have the name, and have been connected all the time");
                    return self.violate(one, Invariant::OneHolder, detail);
                }
            }
        }
        Ok(())
    }

    /// Once all see each other and have had time: no claim is open, and all see the one process that has the name.
    pub(super) fn judge_claims(&mut self) -> Checked {
        let holders: Vec<HostId> = (0..self.hosts.len()).filter(|host| self.claiming.at[*host].has).collect();
        for host in 0..self.hosts.len() {
            let seen = self.hosts[host].machine.whereis(&name()).map(|holder| holder.process.node().clone());
            let open = self.claiming.at[host].claim.is_some();
            if open || holders.len() > 1 || seen.as_ref() != holders.first().map(|holder| self.hosts[*holder].id()) {
                let detail = format!("{holders:?} have the name, and it sees {seen:?}; a claim is open: {open}");
                return self.violate(host, Invariant::NamesAgree, detail);
            }
        }
        Ok(())
    }
}

/// What is said of two nodes that have the name, and have been connected all the time.
#[cfg(test)]
pub(crate) fn two_holders() -> Option<Invariant> {
    let scenario = super::Scenario::named("claim-pair").expect("a scenario");
    let mut state = scenario.beginning(false).expect("nothing broken");
    for host in 0..2 {
        let at = state.claiming_at(host);
        (at.has, at.apart) = (true, 0);
    }
    let mut apart = state.clone();
    apart.claiming_at(1).apart = 1;
    assert_eq!(apart.check_claims(), Ok(()));
    state.check_claims().err().map(|violation| violation.invariant)
}
