//! What must hold of a core at rest: what was sent has arrived, all know of each other what they say, and there is hardly any traffic; and of
//! one that leaves.

use std::time::Duration;

use noex_proto::{ClusterStatus, NodeDownReason, NodeId, WallTime};

use super::run::Run;
use super::{Fault, NodePlan, Seed};
use crate::{Invariant, Violation};

/// How many messages a node has for each other one when it leaves.
const MESSAGES: usize = 3;
/// The most bytes of messages in one record, and more than records add to the messages that are sent here.
const RECORD: usize = 64 << 10;
const OVERHEAD: usize = 1024;

/// What the nodes of a core have done so far: answers about members, and records.
pub(super) struct Traffic {
    since_ms: u64,
    done: Vec<(u64, u64)>,
}

impl Run<'_> {
    /// One leaves, then all the others: each in time, and as one who leaves.
    pub(super) fn leave(&mut self) -> Result<(), Violation> {
        self.world.draw_phase("all leave");
        let before = self.world.downs.len();
        let first = self.plan.roomy_core()[0];
        self.apart.end();
        let queued = self.queue_to_all(first);
        self.leave_pending();
        self.world.stop(first);
        self.run_to(self.now_ms() + 5500)?;
        self.judge_farewell(first, queued);
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
        for &node in self.plan.core.iter().filter(|node| **node != first) {
            self.world.stop(node);
        }
        self.run_to(self.now_ms() + 5500)?;
        for &node in &self.plan.core {
            let status = self.world.machine(node).status();
            if status != ClusterStatus::Stopped {
                self.world.violate(Some(node), Invariant::StopInTime, format!("{status} 5.5 s after the stop"));
            }
        }
        for host in 0..self.world.hosts() {
            self.world.check_nothing_left(host);
            self.world.note_counters(host);
        }
        self.world.violation().cloned().map_or(Ok(()), Err)
    }

    fn core_pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let core = self.plan.roomy_core();
        let others = core.clone();
        core.into_iter()
            .flat_map(move |one| others.clone().into_iter().filter(move |other| *other != one).map(move |other| (one, other)))
    }

    fn node_id(&self, node: usize) -> NodeId {
        self.plan.id(node).parse().expect("a plan's ids are valid")
    }

    /// Whether so many bytes at once are nothing that anybody minds: each record of them has passed before its sender could be taken for
    /// silent, and at the smallest limits no subscriber misses one.
    fn is_borne(&self, bytes: usize) -> bool {
        const SMALLEST: usize = 4000;
        // The last heartbeat may have come an interval ago.
        let least = |of: fn(&NodePlan) -> u64| self.plan.nodes.iter().map(of).min().unwrap_or(0);
        let (interval, threshold) = (least(|node| node.heartbeat_ms), least(|node| node.threshold.into()));
        let silence = if threshold > 1 { interval } else { interval / 2 };
        let in_time = self.plan.time_to_pass(bytes.min(RECORD) + OVERHEAD) < Duration::from_millis(silence);
        in_time && (!self.plan.small_limits || bytes <= SMALLEST)
    }

    /// Each node of the core sends each other one something, of several records too, and all together one message.
    pub(super) fn send_to_all(&mut self) {
        for &node in &self.plan.core {
            self.world.broadcast_checked(node, 32);
        }
        let most = if self.plan.is_many() { 32 } else { 300_000 };
        let sizes: Vec<usize> =
            [32, 3000, 300_000].into_iter().filter(|size| *size == 32 || *size <= most && self.is_borne(*size)).collect();
        for (one, other) in self.core_pairs() {
            let to = self.node_id(other);
            for size in &sizes {
                self.world.send_checked(one, &to, *size);
            }
        }
    }

    /// How long it takes at most until all has arrived that waits for, or is on its way to, any node of the core.
    pub(super) fn time_to_drain(&self) -> Duration {
        let waiting = self.core_pairs().map(|(one, other)| self.world.bytes_waiting(one, other)).max().unwrap_or(0);
        self.plan.time_to_pass(waiting)
    }

    /// A node of the core has much to send to each other one, though no more than passes while it leaves. What it took for each of them.
    pub(super) fn queue_to_all(&mut self, first: usize) -> Vec<(usize, u64)> {
        // All of it may be handed to the driver at once, which then sees to it for two seconds.
        const LINGERS: Duration = Duration::from_millis(1500);
        let passes = |size: &usize| {
            let all = MESSAGES * size;
            !self.plan.is_many() && self.is_borne(all) && self.plan.time_to_pass(all + OVERHEAD) < LINGERS
        };
        let size = [300_000, 30_000, 3000].into_iter().find(passes).unwrap_or(32);
        let others: Vec<usize> = self.plan.roomy_core().into_iter().filter(|other| *other != first).collect();
        let queue = |other| {
            let to = self.node_id(other);
            (0..MESSAGES).for_each(|_| self.world.send_checked(first, &to, size));
            (other, self.world.sent_to(first, &to))
        };
        others.into_iter().map(queue).collect()
    }

    pub(super) fn judge_farewell(&mut self, first: usize, queued: Vec<(usize, u64)>) {
        for (other, sent) in queued {
            let received = self.world.received_of(other, &self.node_id(first));
            if received != sent {
                let detail =
                    format!("{first} left, and of the {sent} messages that it had taken for {other}, {received} were received");
                self.world.violate(Some(other), Invariant::PayloadsArePrefixes, detail);
            }
        }
    }

    pub(super) fn traffic(&self) -> Traffic {
        let done = |node: &usize| (self.world.machine(*node).counters().member_answers, self.world.records_sent(*node));
        Traffic { since_ms: self.now_ms(), done: self.plan.core.iter().map(done).collect() }
    }

    /// At the end of the watch; `before` was taken at rest too.
    pub(super) fn judge_rest(&mut self, before: &Traffic) {
        for (one, other) in self.core_pairs() {
            self.judge_arrival(one, other);
            self.judge_view(one, other);
        }
        for place in 0..self.plan.core.len() {
            let node = self.plan.core[place];
            if let Some((what, most)) = self.world.waits_too_long(node) {
                self.world.violate(Some(node), Invariant::Bounded, format!("{what} for more than {most:?}"));
            }
            self.judge_traffic(node, before.done[place], self.now_ms() - before.since_ms);
            self.judge_room(node);
        }
    }

    /// Notes how many members each node has.
    pub(super) fn note_members(&mut self) {
        for (node, most) in self.most_members.iter_mut().enumerate() {
            *most = (*most).max(self.world.machine(node).connected_node_count().unwrap_or(0));
        }
    }

    /// A node that has no room for all has as many members as it may, since more of them want to be.
    fn judge_room(&mut self, node: usize) {
        let Some(limit) = self.plan.nodes[node].members else { return };
        let (most, want) = (self.most_members[node], self.plan.roomy_core().len());
        if most < limit.min(want) {
            let detail = format!("it has had {most} members at most, of {limit} that it may have and {want} that want to be");
            self.world.violate(Some(node), Invariant::Agreement, detail);
        }
    }

    fn judge_arrival(&mut self, from: usize, to: usize) {
        let sent = self.world.sent_to(from, &self.node_id(to));
        let received = self.world.received_of(to, &self.node_id(from));
        if sent != received {
            let detail = format!("{from} took {sent} messages for {to}, which has received {received} of them");
            self.world.violate(Some(to), Invariant::PayloadsArePrefixes, detail);
        }
    }

    /// What a node knows of another one is what that one says of itself, as of its last heartbeat.
    fn judge_view(&mut self, one: usize, other: usize) {
        let of = self.world.machine(other);
        let (Ok(own), Ok(Some(seen))) =
            (of.local_node_info(of.now(), WallTime::default()), self.world.machine(one).node(&self.node_id(other)))
        else {
            return;
        };
        let late = Duration::from_millis(2 * self.plan.nodes[other].heartbeat_ms + 1000) + 2 * self.plan.longest_latency();
        let fits = seen.process_count == own.process_count && seen.uptime <= own.uptime && own.uptime <= seen.uptime + late;
        if !fits {
            let (a, b) = ((seen.process_count, seen.uptime), (own.process_count, own.uptime));
            let detail = format!("{one} knows {a:?}, processes and uptime, of {other}, which says {b:?}");
            self.world.violate(Some(one), Invariant::EventsMatchView, detail);
        }
    }

    /// Where nobody is left out whom some try to reach: heartbeats, and no questions.
    fn judge_traffic(&mut self, node: usize, (answers, records): (u64, u64), ms: u64) {
        let plan = self.plan;
        let tries = [Fault::FewMembers, Fault::MixedSecrets, Fault::Names, Fault::Renames, Fault::Rogues, Fault::Seeds]
            .iter()
            .any(|fault| plan.faults.contains(fault));
        if tries || plan.core.len() < plan.nodes.len() || plan.nodes[node].seeds.contains(&Seed::Node(node)) {
            return;
        }
        let answers = self.world.machine(node).counters().member_answers - answers;
        let records = self.world.records_sent(node) - records;
        let peers = plan.core.len() as u64 - 1;
        // Heartbeats are a sixteenth early at most, and a few records begin or end the time.
        let most = peers * (ms * 10 / (9 * plan.nodes[node].heartbeat_ms) + 4);
        if answers > 0 || records > most {
            let detail =
                format!("{answers} answers about members and {records} records, of at most {most}, within {ms} ms at rest");
            self.world.violate(Some(node), Invariant::NoStorm, detail);
        }
    }
}
