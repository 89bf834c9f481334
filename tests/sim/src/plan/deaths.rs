//! What is expected of those who were connected to a node that dies: each notices it as soon as what tells of it can have come.

use std::time::Duration;

use noex_proto::NodeId;

use super::promises::MARGIN;
use super::run::Run;
use super::{Fault, Seed};
use crate::world::Sign;
use crate::{HostId, Invariant, World};

/// How long a former instance may take to answer a probe, at least and at most.
const PROBE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(8));

/// A node that died, and who has to notice until when on its own clock.
#[derive(Clone, Debug)]
pub(super) struct Death {
    pub(super) observer: HostId,
    node: HostId,
    process: u32,
    id: NodeId,
    period: u64,
    deadline: Duration,
    /// The same where nothing but silence tells of it.
    silence: Duration,
}

impl Run<'_> {
    /// A node dies in this way, and starts again after `again` milliseconds, if that is given.
    pub(super) fn die(&mut self, node: HostId, again: Option<u64>, how: fn(&mut World, HostId)) {
        if self.world.is_alive(node) {
            how(self.world, node);
            self.expect_death(node);
        }
        if let Some(ms) = again {
            self.start_after(node, ms);
        }
    }

    /// Notes who has to notice that this node has just died.
    fn expect_death(&mut self, node: HostId) {
        self.leave_to_silence(node);
        // Of two processes with one identity the other one may live.
        let original = self.plan.nodes[node].twin_of.unwrap_or(node);
        if self.plan.nodes.iter().any(|other| other.twin_of == Some(original)) {
            return;
        }
        let Ok(id) = self.id(node).parse::<NodeId>() else { return };
        for observer in (0..self.plan.nodes.len()).filter(|observer| *observer != node) {
            if self.world.is_frozen(observer) {
                continue;
            }
            let Some((process, local)) = self.world.running(observer) else { continue };
            let Some(period) = self.world.period(observer, &id) else { continue };
            let Some(sign) = self.world.sign_of_end(observer, node) else { continue };
            let (within, silence) = self.time_to_notice(observer, node, sign);
            let (deadline, silence) = (local + within, local + silence);
            self.deaths.push(Death { observer, node, process, id: id.clone(), period, deadline, silence });
        }
    }

    /// How long the observer takes at most by its own clock to notice a death by such a sign, and by silence alone.
    fn time_to_notice(&mut self, observer: HostId, node: HostId, sign: Sign) -> (Duration, Duration) {
        let plan = self.plan;
        let own = &plan.nodes[observer];
        let [interval, own_interval] = [plan.nodes[node].heartbeat_ms, own.heartbeat_ms].map(Duration::from_millis);
        let latency = plan.longest_latency();
        let of_world = |time: Duration| plan.on_any_clock(time) + MARGIN;
        // After a pause of its own, nobody is judged for a quarter of an interval.
        let hold = if plan.faults.contains(&Fault::Freeze) { own_interval / 4 } else { Duration::ZERO };
        let (Sign::Underway(last) | Sign::Answer(last) | Sign::Port(last) | Sign::Silence(last)) = sign;
        let silence = of_world(last) + interval * own.threshold + interval / 2 + hold;
        let within = match sign {
            Sign::Underway(left) => {
                self.world.coverage.note("death: reset");
                of_world(left)
            }
            Sign::Answer(left) => own_interval + of_world(left + 2 * latency),
            Sign::Port(_) if self.can_ask(observer, node) => {
                self.world.coverage.note("death: port");
                // Asked after an interval of silence, and half of one later; before both it may have to wait while others are asked.
                silence.min(of_world(last + 4 * latency + 2 * plan.lookup()) + interval * 5 / 2 + hold)
            }
            Sign::Port(_) | Sign::Silence(_) => {
                self.world.coverage.note("death: silence");
                silence
            }
        };
        (within, silence)
    }

    /// Whether nothing keeps a node from learning what a dial of another one tells.
    fn can_ask(&self, from: HostId, to: HostId) -> bool {
        !self.plan.small_limits && !self.world.is_frozen(from) && self.world.can_dial(from, to)
    }

    /// Dials between these two, or of all where there are none, may fail from now on.
    pub(super) fn doubt_dials(&mut self, pair: Option<(HostId, HostId)>) {
        for death in &mut self.deaths {
            let of = [(death.observer, death.node), (death.node, death.observer)];
            if pair.is_none_or(|pair| of.contains(&pair)) {
                death.deadline = death.deadline.max(death.silence);
            }
        }
    }

    /// A node is there again, or dies again: its port tells nothing more of its former death.
    fn leave_to_silence(&mut self, node: HostId) {
        for death in self.deaths.iter_mut().filter(|death| death.node == node) {
            death.deadline = death.deadline.max(death.silence);
        }
    }

    /// A node starts. Whom it dials, and who still takes its former instance for alive, asks that one for a sign of life.
    pub(super) fn expect_probes(&mut self, node: HostId) {
        self.leave_to_silence(node);
        let (plan, id) = (self.plan, self.id(node));
        let latency = plan.longest_latency();
        let dial = plan.time_to_meet(8);
        let probe = (8 * latency).clamp(PROBE.0, PROBE.1);
        for place in 0..self.deaths.len() {
            let Death { observer, deadline, .. } = self.deaths[place];
            let welcome = [node, observer].iter().all(|node| {
                let node = &plan.nodes[*node];
                node.own_secret.is_none() && node.members.is_none()
            });
            let welcome = welcome && self.secured[node] == self.secured[observer] && self.deaths[place].id.to_string() == id;
            let dials = plan.is_seed(node, Seed::Node(observer)) && welcome && self.can_ask(node, observer);
            let Some((_, local)) = self.world.running(observer).filter(|_| dials && self.deaths[place].node == node) else {
                continue;
            };
            let by_probe = local + plan.on_any_clock(dial) + probe + MARGIN;
            if by_probe < deadline {
                self.world.coverage.note("death: probe");
                self.deaths[place].deadline = by_probe;
            }
        }
    }

    /// What passes between these two, in either direction, is held up from now on: nothing is promised.
    pub(super) fn hold_up(&mut self, one: HostId, other: HostId) {
        self.deaths.retain(|death| [(one, other), (other, one)].iter().all(|pair| *pair != (death.observer, death.node)));
    }

    /// Whether each death was told of in time, where its observer had no other concerns.
    pub(super) fn judge_deaths(&mut self) {
        let world = &mut *self.world;
        let mut late = None;
        let downs = &world.downs[self.judged_downs..];
        self.deaths.retain(|death| {
            if let Some(down) = downs.iter().find(|down| down.host == death.observer && down.id == death.id) {
                if down.local > death.deadline {
                    late = Some((death.clone(), down.local));
                }
                return false;
            }
            // One that stops tells of no downs any more: what it owes is its own end.
            let Some((process, local)) = world.running(death.observer) else { return false };
            if process != death.process || world.period(death.observer, &death.id) != Some(death.period) {
                return false;
            }
            if local > death.deadline {
                late = Some((death.clone(), local));
            }
            true
        });
        if let Some((Death { observer, id, deadline, .. }, until)) = late {
            let detail = format!("{id} died and is up until {until:?} of its time, which is later than {deadline:?}");
            self.world.violate(Some(observer), Invariant::DeathReported, detail);
        }
    }
}
