//! What must hold over a run, beyond what the world checks after each step.

use std::time::Duration;

use noex_proto::{NodeDownReason, defaults};

use super::Fault;
use super::promises::MARGIN;
use super::run::Run;
use crate::Invariant;
use crate::world::Down;

impl Run<'_> {
    /// Looks at the whole: deaths that were not noticed, downs without a cause, sessions without the secret.
    pub(super) fn look(&mut self) {
        self.judge_deaths();
        self.judge_stops();
        self.judge_waits();
        if self.plan.is_calm() {
            // A twin ends when the core is healed, for those who met it before the original.
            let twins = self.plan.nodes.iter().any(|node| node.twin_of.is_some());
            let until = if twins { self.plan.heal_ms * 1_000_000 } else { u64::MAX };
            let wrong = |down: &&Down| down.reason != NodeDownReason::GracefulShutdown && down.at < until;
            let wrong = self.world.downs[self.judged_downs..].iter().find(wrong);
            if let Some(down) = wrong.cloned() {
                let at = Duration::from_nanos(down.at);
                let detail = format!("{} at {at:?}: {} without a cause", down.id, down.reason);
                self.world.violate(Some(down.host), Invariant::NoFalseDown, detail);
            }
        }
        self.judge_silence();
        self.judge_secrets();
        super::blame::look(self.plan, self.world);
        let contacts = self.world.take_contacts();
        self.dials.look(self.plan, self.world, &contacts);
        self.apart.look(self.plan, self.world, &contacts);
        self.questions.look(self.plan, self.world, false);
        self.judged_downs = self.world.downs.len();
    }

    /// Where pauses are the only trouble, nobody is silent but who was paused, and for long enough: a pause and a round trip of less
    /// than the interval times the threshold less one is nothing that a peer may notice.
    fn judge_silence(&mut self) {
        if !self.plan.is_calm_but(Some(Fault::Freeze)) {
            return;
        }
        let plan = self.plan;
        let now = self.world.now();
        let round_trip = 2 * plan.longest_latency();
        let millis = Duration::from_millis;
        let wrong = self.world.downs[self.judged_downs..].iter().find(|down| {
            let Some(peer) = (0..plan.nodes.len()).find(|node| plan.id(*node) == down.id.to_string()) else { return false };
            let (sender, threshold) = (plan.nodes[peer].heartbeat_ms, u64::from(plan.nodes[down.host].threshold));
            let harmless = millis(sender * (threshold - 1)).saturating_sub(round_trip);
            let noticed = millis(sender * (threshold + 3)) + Duration::from_secs(2) + round_trip;
            let paused = self.pauses[peer].is_some_and(|(since, until)| {
                until.is_none_or(|until| until + noticed >= now) && until.unwrap_or(now).saturating_sub(since) >= harmless
            });
            down.reason == NodeDownReason::HeartbeatTimeout && !paused
        });
        if let Some(down) = wrong.cloned() {
            let detail = format!("{} at {:?} by its silence, without a pause to match", down.id, Duration::from_nanos(down.at));
            self.world.violate(Some(down.host), Invariant::NoFalseDown, detail);
        }
    }

    /// Where nothing else goes on, a second process with an identity is found out: by those two, and by whom they meet.
    pub(super) fn judge_conflict(&mut self) {
        let plan = self.plan;
        let Some(twin) = plan.nodes.iter().position(|node| node.twin_of.is_some()) else { return };
        let simple = |fault: &Fault| {
            fault.is_calm()
                && !matches!(
                    fault,
                    Fault::Descriptors
                        | Fault::FewMembers
                        | Fault::FirstSecret
                        | Fault::Leave
                        | Fault::MixedSecrets
                        | Fault::Names
                        | Fault::NewSeeds
                        | Fault::OneWayDials
                )
        };
        let started = plan.nodes.iter().map(|node| node.start_ms).max().unwrap_or(0);
        let time = u64::try_from(plan.agreement_bound().as_millis()).unwrap_or(u64::MAX);
        if !plan.faults.iter().all(simple) || started + time > plan.heal_ms {
            return;
        }
        let original = plan.nodes[twin].twin_of.unwrap_or(0);
        let heard: Vec<usize> = (0..plan.nodes.len()).filter(|node| self.world.conflicts(*node) > 0).collect();
        if heard.len() < 2 || !heard.iter().any(|node| [twin, original].contains(node)) {
            let detail = format!("{twin} claims the identity of {original}, and {heard:?} heard of it");
            self.world.violate(None, Invariant::ConflictReported, detail);
        }
    }

    /// Who was told to stop is done in time.
    fn judge_stops(&mut self) {
        let world = &mut *self.world;
        self.stops.retain(|node, (process, _)| world.stopping(*node).is_some_and(|(stopping, _)| stopping == *process));
        let late = self.stops.iter().find(|(node, (_, until))| world.stopping(**node).is_some_and(|(_, now)| now > *until));
        if let Some((node, (_, until))) = late {
            let detail = format!("it was to be stopped at {until:?} of its time");
            world.violate(Some(*node), Invariant::StopInTime, detail);
        }
    }

    /// Where no clock and no process stands still or lags, nobody waits for a stranger, or for a dial to connect, for longer than promised,
    /// however long its intervals are, and however idle it was.
    fn judge_waits(&mut self) {
        let plan = self.plan;
        if [Fault::ClockRate, Fault::Freeze].iter().any(|fault| plan.faults.contains(fault)) {
            return;
        }
        for node in 0..plan.nodes.len() {
            if let Some((what, most)) = self.world.waits_too_long(node) {
                self.world.violate(Some(node), Invariant::Bounded, format!("{what} for more than {most:?}"));
            }
        }
    }

    /// Notes until when a node has to have stopped that is told so now.
    pub(super) fn expect_stop(&mut self, node: usize) {
        if let Some((process, now)) = self.world.running(node).filter(|_| !self.world.is_frozen(node)) {
            self.stops.insert(node, (process, now + defaults::STOP_TIMEOUT + MARGIN));
        }
    }
}
