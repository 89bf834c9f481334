//! What a run does where its plan orders something.

use std::time::Duration;

use noex_proto::NodeId;

use super::run::{Act, Run};
use super::{Op, Seed};
use crate::World;
use crate::timeline;
use crate::world::scripts::{Address, Ask, Wish};

impl Run<'_> {
    /// Lets something happen that the plan orders.
    pub(super) fn order(&mut self, op: &Op) {
        self.world.line(None, &format!("{op:?}"));
        if let Some((fault, ms)) = timeline::fault(self.plan, op) {
            self.world.draw_fault(ms, fault);
        }
        match *op {
            Op::Broadcast { from, size, count } => {
                for _ in 0..count {
                    self.world.broadcast_checked(from, size);
                }
            }
            Op::Call { from, to: host, process: slot, named, foreign, size, answer, count, timeout_ms, cancel_ms } => {
                let (timeout, cancel) = (Duration::from_millis(timeout_ms), cancel_ms.map(Duration::from_millis));
                let ask = Ask { size, answer, timeout, cancel, foreign, at_rest: false };
                for _ in 0..count {
                    self.world.call_checked(from, Address { host, slot, named }, ask);
                }
            }
            Op::Cast { from, to: host, process: slot, named, size, count } => {
                for _ in 0..count {
                    self.world.cast_checked(from, Address { host, slot, named }, size);
                }
            }
            Op::Claim { node, process: slot, name, when_free, min_nodes, keep, timeout_ms, drop_ms } => {
                let (timeout, dropped) = (Duration::from_millis(timeout_ms), drop_ms.map(Duration::from_millis));
                self.world.claim_checked(node, Wish { slot, name, when_free, min_nodes, keep_on_loss: keep, timeout, dropped });
            }
            Op::Clock { node, permille, ms } => {
                self.world.set_clock_rate(node, permille);
                self.after(ms, Act::Clock(node));
            }
            Op::Crash { node, ms } => self.die(node, ms, World::crash),
            Op::Cut { ref from, ref to, ms, reset } => {
                for one in from {
                    for other in to {
                        if reset {
                            self.world.sever(*one, *other);
                        }
                        self.world.cut(*one, *other);
                        self.hold_up(*one, *other);
                    }
                }
                self.after(ms, Act::Mend(from.clone(), to.clone()));
            }
            Op::Descriptors { node, ms } => {
                self.world.coverage.note("no descriptors");
                self.world.set_exhausted(node, true);
                self.doubt_dials(None);
                self.after(ms, Act::Descriptors(node));
            }
            Op::Dials { from, to, how, ms } => {
                if !self.plan.undialable.contains(&(from, to)) {
                    self.world.set_dialling(from, to, how);
                    self.doubt_dials(Some((from, to)));
                    self.after(ms, Act::Dials(from, to));
                }
            }
            Op::Release { node, process, name } => self.world.release_checked(node, process, name),
            Op::Exit { node, process, ms } => self.world.exit_checked(node, process, Duration::from_millis(ms)),
            Op::FirstSecret { ms, without } => self.first_secret(ms, without),
            Op::Freeze { node, ms } => {
                self.world.freeze(node);
                self.doubt_dials(None);
                self.note_pause(node);
                self.deaths.retain(|death| death.observer != node);
                self.stops.remove(&node);
                self.dials.frozen(node);
                self.after(ms, Act::Thaw(node));
            }
            Op::Halt { node, ms } if !self.world.is_frozen(node) => self.die(node, ms, World::halt),
            Op::Halt { .. } => {}
            Op::HalfOpen { at, with, silent } => {
                self.world.half_open(at, with, silent);
                self.disturb(Some((at, with)));
            }
            Op::LateCloses { node, by_ms, ms } => {
                self.world.set_late_closes(node, Duration::from_millis(by_ms));
                self.after(ms, Act::LateCloses(node));
            }
            Op::Leave { node, ms } => {
                self.expect_stop(node);
                self.world.stop(node);
                if let Some(ms) = ms {
                    self.after(ms, Act::Start(node));
                }
            }
            Op::Misuse { node } => self.world.misuse(node),
            Op::Monitor { from, by, to: host, process: slot, named, ms } => {
                self.world.monitor_checked(from, by, Address { host, slot, named }, ms.map(Duration::from_millis));
            }
            Op::PowerOff { node, ms } => self.die(node, ms, World::power_off),
            Op::Processes { node, count } => self.world.set_process_count(node, count),
            Op::Rename { node, ms } => {
                self.die(node, Some(ms), World::crash);
                self.renamed[node] = !self.renamed[node];
            }
            Op::Resolver { node, how, ms } => {
                self.world.set_resolving(node, how);
                self.after(ms, Act::Resolver(node));
            }
            Op::RequestStop { from, to: host, process: slot } => {
                self.world.request_stop_checked(from, Address { host, slot, named: false });
            }
            Op::Reset { one, other } => {
                self.world.reset(one, other);
                self.disturb(Some((one, other)));
            }
            Op::ResetOne { one, other } => {
                self.world.reset_one(one, other);
                self.disturb(Some((one, other)));
            }
            Op::RogueDials { rogue, node, count } => self.world.rogue_dials(self.plan.nodes.len() + rogue, node, count),
            Op::Rotate { to, ms, ref more } => self.rotate(to, ms, more),
            Op::Send { from, to, size, count } => {
                let to: Option<NodeId> = self.id(to).parse().ok();
                for _ in 0..count {
                    if let Some(to) = &to {
                        self.world.send_checked(from, to, size);
                    }
                }
            }
            Op::SetSeeds { node, ref seeds, keep } => {
                let mut all = if keep { self.plan.nodes[node].seeds.clone() } else { Vec::new() };
                for seed in seeds {
                    if !all.contains(seed) {
                        all.push(*seed);
                    }
                }
                self.set_seeds(node, &all);
            }
            Op::StallReader { reader, from, ms } => {
                self.world.stall_reader(reader, from, true);
                self.hold_up(reader, from);
                self.after(ms, Act::Unstall { reader: true, at: reader, with: from });
            }
            Op::StallWriter { from, to, ms } => {
                self.world.stall_writer(from, to, true);
                self.hold_up(from, to);
                self.after(ms, Act::Unstall { reader: false, at: from, with: to });
            }
            Op::Subscribe { node, ms } => {
                self.world.subscribe(node);
                self.after(ms, Act::Unsubscribe(node));
            }
            Op::Tamper { one, other, how, permille, ms } => {
                self.world.tamper(one, other, Some(how), permille);
                self.disturb(Some((one, other)));
                self.after(ms, Act::Untamper(one, other));
            }
            Op::WallClock { node, ms } => self.world.jump_wall_clock(node, ms),
        }
    }

    /// A running node has other seeds from now on.
    pub(super) fn set_seeds(&mut self, node: usize, seeds: &[Seed]) {
        let seeds: Vec<String> = seeds.iter().map(|seed| self.plan.seed(node, seed)).collect();
        let given = self.world.set_seeds(node, &seeds);
        debug_assert!(given.is_ok() || seeds.len() > self.plan.most_seeds(node), "{given:?}");
    }
}
