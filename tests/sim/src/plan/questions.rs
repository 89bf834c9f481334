//! What is expected of questions for members: each is answered while nothing is in the way.

use std::collections::BTreeMap;
use std::time::Duration;

use noex_proto::{Instant, NodeId};

use super::apart::{is_hindered, is_judged};
use super::promises::MARGIN;
use super::{Fault, Plan};
use crate::{HostId, Invariant, World};

/// When a kernel has sent again, at the latest, what was cut off before.
const SENT_AGAIN: Duration = Duration::from_secs(3);
/// More than what may be queued before an answer, and the answer.
const BYTES: usize = 256 << 10;

/// A question for members: whom a host asks, and since when on its own clock.
type Question = (NodeId, Instant);

/// Until when the question of each host has to be answered, in the world's time. None where something is, or was, in the way.
#[derive(Debug, Default)]
pub(super) struct QuestionJudge {
    open: BTreeMap<HostId, (Question, Option<Duration>)>,
}

impl QuestionJudge {
    /// Something happened to the connections between two hosts, or to all where none are named.
    pub(super) fn disturb(&mut self, between: Option<(HostId, HostId)>) {
        for (host, (_, until)) in &mut self.open {
            if between.is_none_or(|(one, other)| [one, other].contains(host)) {
                *until = None;
            }
        }
    }

    /// Time has passed, and something may have been `done` to the world: what was asked since the last look may have been asked before that.
    pub(super) fn look(&mut self, plan: &Plan, world: &mut World, done: bool) {
        let now = world.now();
        let within = (!done).then(|| bound(plan, now));
        for host in 0..plan.nodes.len() {
            let Some(question) = world.machine(host).question() else {
                self.open.remove(&host);
                continue;
            };
            let sound = is_sound(plan, world, host, &question.0);
            let (open, until) = self.open.entry(host).or_insert_with(|| (question.clone(), within));
            if *open != question {
                (*open, *until) = (question, within);
            }
            if !sound {
                *until = None;
            }
            if until.is_some_and(|until| until < now) {
                let detail =
                    format!("its question of {} for members had to be answered by {:?}", open.0, until.unwrap_or_default());
                world.violate(Some(host), Invariant::QuestionsAnswered, detail);
                return;
            }
        }
    }
}

fn bound(plan: &Plan, now: Duration) -> Duration {
    now + SENT_AGAIN + 2 * plan.longest_latency() + plan.time_to_pass(BYTES) + MARGIN
}

/// Whether both ends of the one connection between two hosts use it, and nothing holds up what they say. With a fast clock a node asks too
/// soon.
fn is_sound(plan: &Plan, world: &World, host: HostId, id: &NodeId) -> bool {
    let asked = (0..plan.nodes.len()).find(|node| plan.id(*node) == id.to_string());
    asked.is_some_and(|peer| {
        let own = plan.id(host).parse::<NodeId>().ok();
        is_judged(plan, host)
            && !plan.faults.contains(&Fault::ClockRate)
            && own.is_some_and(|own| world.period(peer, &own).is_some())
            && world.period(host, id).is_some()
            && world.is_clear(host, peer)
            && !world.is_tampered(host, peer)
            && !is_hindered(plan, world, host, peer)
    })
}
