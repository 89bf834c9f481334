//! What is expected of two who know each other: nothing but a cause keeps them apart, and no longer than it can.

use std::collections::BTreeMap;
use std::time::Duration;

use super::promises::MARGIN;
use super::{Fault, NodePlan, Plan, Seed};
use crate::world::{Contact, Meeting};
use crate::{HostId, Invariant, World};

/// How long a dial that leads nowhere holds up the next one, or an admission on a dead connection all others: a connect, a handshake, and the
/// two messages of an admission.
const STUCK: Duration = Duration::from_secs(10 + 5 + 10 + 10);
/// One way, until both are up: three for a connect, four for a handshake, and at most three for an admission.
const WAYS: u32 = 10;
/// As many delays as lead to the longest one.
const ALL: u32 = 32;

/// What keeps each host from its peers. Times are those of the world, where no other clock is named.
#[derive(Debug, Default)]
pub(super) struct ApartJudge {
    ties: BTreeMap<(HostId, HostId), Tie>,
    /// How often each node has started.
    starts: BTreeMap<HostId, u32>,
    /// The core is healed, and who is not of it may be left with another secret.
    healed: bool,
}

/// What is known of a host's way to one peer.
#[derive(Clone, Copy, Debug)]
struct Tie {
    /// The process on the host.
    process: u32,
    /// Something in the world is in the way.
    hindered: bool,
    /// How many delays its backoff may have drawn since a session last held: by downs, and by dials that may have had a reason to fail.
    drawn: u32,
    /// Dials that have none, unless something comes in their way yet.
    fresh: u32,
    /// Since when it is up, by the host's own clock. Never, where a pause hides how long the session has held.
    up: Option<Duration>,
    /// Until when it is dialled again, by the host's own clock, where no dial has had a reason to fail.
    redial: Option<Duration>,
    apart: Option<Apart>,
}

#[derive(Clone, Copy, Debug)]
struct Apart {
    since: Duration,
    /// Until when it is up again; none while something is in the way.
    until: Option<Duration>,
    /// The session was lost, and nothing was in the way since.
    lost: bool,
}

impl ApartJudge {
    /// Nothing more is expected.
    pub(super) fn end(&mut self) {
        self.ties.clear();
    }

    /// From now on only the nodes of the core are expected to find each other.
    pub(super) fn healed(&mut self, plan: &Plan) {
        self.healed = true;
        self.ties.retain(|(host, peer), _| [host, peer].iter().all(|node| plan.core.contains(node)));
    }

    /// A node has started: it dials its seeds.
    pub(super) fn started(&mut self, plan: &Plan, world: &mut World, host: HostId) {
        self.ties.retain(|(of, _), _| *of != host);
        *self.starts.entry(host).or_default() += 1;
        let drawn = self.drawn_at_first(host);
        let Some((process, _)) = world.running(host).filter(|_| is_judged(plan, host)) else { return };
        for seed in &plan.nodes[host].seeds {
            if let Seed::Node(peer) = *seed
                && peer != host
                && plan.is_seed(host, *seed)
                && (!self.healed || plan.core.contains(&peer))
            {
                let apart = Some(Apart { since: world.now(), until: None, lost: false });
                // What is in the way is looked at next.
                let tie = Tie { process, hindered: true, drawn, fresh: 0, up: None, redial: None, apart };
                self.ties.insert((host, peer), tie);
            }
        }
        self.look_around(plan, world);
    }

    /// Something was done to the world: what is in whose way now?
    pub(super) fn look_around(&mut self, plan: &Plan, world: &mut World) {
        self.ties.retain(|(host, _), tie| world.running(*host).is_some_and(|(process, _)| process == tie.process));
        for ((host, peer), tie) in &mut self.ties {
            let hindered = is_hindered(plan, world, *host, *peer);
            if world.is_frozen(*host) {
                tie.up = tie.up.and(Some(Duration::MAX));
            }
            // Who is told that a node leaves waits for the longest time.
            if world.stopping(*peer).is_some() {
                tie.drawn = ALL;
            }
            if hindered || tie.hindered {
                tie.disturb(world.is_clear(*host, *peer));
            }
            match &mut tie.apart {
                Some(apart) if hindered => (apart.until, apart.lost) = (None, false),
                Some(_) if tie.hindered => {
                    tie.expect(plan, world.now(), (*host, *peer), world.is_clear(*host, *peer));
                    world.coverage.note("apart: for a cause");
                }
                _ => {}
            }
            tie.hindered = hindered;
        }
    }

    /// Something happened to the connections between two hosts, or to all where none are named.
    pub(super) fn disturb(&mut self, plan: &Plan, world: &World, between: Option<(HostId, HostId)>) {
        for ((host, peer), tie) in &mut self.ties {
            if between.is_some_and(|(one, other)| ![(one, other), (other, one)].contains(&(*host, *peer))) {
                continue;
            }
            tie.disturb(world.is_clear(*host, *peer));
            if let Some(apart) = &mut tie.apart
                && apart.until.is_some()
            {
                apart.lost = false;
                tie.expect(plan, world.now(), (*host, *peer), world.is_clear(*host, *peer));
            }
        }
    }

    /// Judges what has happened since the last look.
    pub(super) fn look(&mut self, plan: &Plan, world: &mut World, contacts: &[Contact]) {
        for contact in contacts {
            let known = [contact.host, contact.peer]
                .iter()
                .all(|node| *node < plan.nodes.len() && (!self.healed || plan.core.contains(node)));
            if known && is_judged(plan, contact.host) {
                self.meet(plan, world, contact);
            }
        }
        let (now, mut late) = (world.now(), None);
        for ((host, peer), tie) in &mut self.ties {
            if let Some(apart) = tie.apart
                && apart.until.is_some_and(|until| until < now)
            {
                late = Some((*host, *peer, apart));
            }
            let is_late = |until| world.running(*host).is_some_and(|(_, now)| until + dial_of_the_peer(plan) < now);
            if tie.redial.is_some_and(is_late) {
                return not_redialled(plan, world, (*host, *peer));
            }
        }
        if let Some((host, peer, apart)) = late {
            violate(plan, world, (host, peer), apart);
        }
    }

    /// How many delays a node may have drawn by the first session with a peer: that one may hold a session with its former run, and refuse
    /// it for that.
    fn drawn_at_first(&self, host: HostId) -> u32 {
        if self.starts.get(&host).is_some_and(|starts| *starts > 1) { ALL } else { 0 }
    }

    fn meet(&mut self, plan: &Plan, world: &mut World, contact: &Contact) {
        let pair = (contact.host, contact.peer);
        let hindered = is_hindered(plan, world, contact.host, contact.peer);
        let drawn = self.drawn_at_first(contact.host);
        let fresh = Tie { process: contact.process, hindered, drawn, fresh: 0, up: None, redial: None, apart: None };
        let tie = self.ties.entry(pair).or_insert(fresh);
        if tie.process != contact.process {
            *tie = fresh;
        }
        let redial = tie.redial.take_if(|_| !matches!(contact.what, Meeting::Down { .. }));
        let is_late = |until| match contact.what {
            Meeting::Dial => until < contact.local,
            _ => until + dial_of_the_peer(plan) < contact.local,
        };
        if redial.is_some_and(is_late) {
            return not_redialled(plan, world, pair);
        }
        match contact.what {
            // A bare connect asks a silent peer's port.
            Meeting::Dial if tie.up.is_some() => {}
            Meeting::Dial if tie.hindered => tie.drawn = (tie.drawn + 1).min(ALL),
            Meeting::Dial => tie.fresh += 1,
            Meeting::Up { .. } => {
                tie.up = Some(contact.local);
                // Of several dials one may have been refused for what was left of a former run, which leads to the longest delay.
                if tie.fresh > 1 {
                    (tie.drawn, tie.fresh) = (ALL, 1);
                }
                if let Some(apart) = tie.apart.take()
                    && apart.until.is_some_and(|until| until < contact.at)
                {
                    violate(plan, world, pair, apart);
                }
            }
            Meeting::Down { left, clear, .. } => {
                let interval = millis(plan.nodes[contact.host].heartbeat_ms);
                let held = tie.up.take().is_some_and(|since| contact.local.saturating_sub(since) > interval);
                if held {
                    (tie.drawn, tie.fresh) = (0, 0);
                }
                if left {
                    (tie.drawn, tie.apart) = (ALL, None);
                    return;
                }
                if clear && !tie.hindered && tie.drawn == 0 {
                    let delay = delay(&plan.nodes[contact.host], 0) + plan.on_any_clock(plan.lookup()) + MARGIN;
                    tie.redial = Some(contact.local + delay);
                }
                tie.apart = Some(Apart { since: contact.at, until: None, lost: clear && !tie.hindered });
                if !tie.hindered {
                    tie.expect(plan, contact.at, pair, clear);
                    world.coverage.note(if clear { "apart: lost" } else { "apart: for a cause" });
                }
                tie.drawn = (tie.drawn + 1).min(ALL);
            }
        }
    }
}

impl Tie {
    /// Dials that are under way have a reason to fail. Where a session is up and there are none, all have ended that had no reason.
    fn disturb(&mut self, clear: bool) {
        self.redial = None;
        let fresh = std::mem::take(&mut self.fresh);
        self.drawn = (self.drawn + if clear && self.up.is_some() { 0 } else { fresh }).min(ALL);
    }

    /// Until when it has to be up again, where nothing is in the way from now on.
    fn expect(&mut self, plan: &Plan, now: Duration, (host, peer): (HostId, HostId), clear: bool) {
        let Some(apart) = &mut self.apart else { return };
        let node = &plan.nodes[host];
        let dial = plan.time_to_meet(WAYS) + MARGIN;
        let stuck = if clear { Duration::ZERO } else { STUCK + delay(node, self.drawn + 1) };
        let until = now + delay(node, self.drawn) + stuck + dial;
        // Who is not a seed is forgotten some time.
        let remembered = plan.is_seed(host, Seed::Node(peer)) || plan.on_any_clock(until - apart.since) < millis(node.forget_ms);
        if remembered {
            apart.until = Some(until);
        } else {
            self.apart = None;
        }
    }
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// How much later than its own dial a node may be up again, by any clock: it waits for a dial of the peer that is under way.
fn dial_of_the_peer(plan: &Plan) -> Duration {
    plan.on_any_clock(plan.time_to_meet(WAYS))
}

/// The longest delay of a node after so many were drawn.
fn delay(node: &NodePlan, drawn: u32) -> Duration {
    millis(node.base_ms.saturating_mul(1 << drawn.min(ALL)).min(node.max_ms.max(node.base_ms)))
}

/// With limits at their minimum dials wait for each other, a second claim to an identity has its own delays, and while a first secret is given
/// some have it and some do not. A seed under another name is dialled at its own pace.
pub(super) fn is_judged(plan: &Plan, host: HostId) -> bool {
    let misnamed = plan.seeds_of(host).any(|seed| matches!(seed, Seed::Misnamed(_)));
    !misnamed && !plan.small_limits && !plan.has_first_secret() && plan.nodes.iter().all(|node| node.twin_of.is_none())
}

/// Whether a node may be another one than expected, refuse those that it has no room for, or have another secret.
fn is_odd(plan: &Plan, node: HostId) -> bool {
    let of = &plan.nodes[node];
    of.own_secret.is_some() || of.members.is_some() || plan.is_renamed(node)
}

pub(super) fn is_hindered(plan: &Plan, world: &World, host: HostId, peer: HostId) -> bool {
    let at_rest = |node: HostId| world.running(node).is_some() && !world.is_frozen(node) && world.clock_rate(node) == 1000;
    is_odd(plan, host)
        || is_odd(plan, peer)
        || !at_rest(host)
        || !at_rest(peer)
        || !world.is_open(host, peer)
        || plan.faults.contains(&Fault::Stall) && world.is_stalled(host, peer)
}

fn not_redialled(plan: &Plan, world: &mut World, (host, peer): (HostId, HostId)) {
    let detail =
        format!("{} was to be dialled again after the shortest delay: no dial of it had a reason to fail", plan.id(peer));
    world.violate(Some(host), Invariant::RedialInTime, detail);
}

fn violate(plan: &Plan, world: &mut World, (host, peer): (HostId, HostId), Apart { since, until, lost }: Apart) {
    let invariant = if lost { Invariant::ReplacedInTime } else { Invariant::ApartForACause };
    let until = until.unwrap_or(since);
    let detail = format!("it has not been up with {} since {since:?}, and had to be by {until:?}", plan.id(peer));
    world.violate(Some(host), invariant, detail);
}
