//! What kernels and the network do: connections are made, bytes travel, ends are told.

use bytes::{Bytes, BytesMut};
use noex_proto::{ConnId, Input};
use std::net::SocketAddr;

use super::host::Waiting;
use super::network::{self, Dialling};
use super::queue::Happening;
use super::resolver::Failing;
use super::wire::{Chunking, DialStep, EndState, Item, Tampering};
use super::{HostId, SECOND, World};

/// The first bytes of a direction, which are cut as finely as can be.
const FINE: u64 = 4096;
/// How many of the writes of others an adversary knows.
const CAPTURED: usize = 16;

impl World {
    pub(super) fn latency(&mut self, from: HostId, to: HostId) -> u64 {
        let latency = self.network.path(from, to).latency;
        latency.draw(&mut self.latency_random)
    }

    fn is_cut(&self, from: HostId, to: HostId) -> bool {
        self.network.path(from, to).cut
    }

    // Dials

    /// A dial takes its next step.
    pub(super) fn dial_step(&mut self, place: usize) {
        let conn = &self.conns[place];
        let (from, to) = (conn.ends[0].host, conn.ends[1].host);
        match conn.step {
            DialStep::Request => {
                let dialling = self.network.path(from, to).dialling;
                if self.is_cut(from, to) || dialling == Dialling::Dropped || !self.hosts[to].powered {
                    return self.retry_dial(place);
                }
                let refused = self.hosts[to].listening != Some(conn.remote.port()) || dialling == Dialling::Refused;
                let fail = match dialling {
                    Dialling::Unreachable => Some(Failing::Unreachable),
                    _ if refused => Some(Failing::Refused),
                    _ => None,
                };
                let late = if dialling == Dialling::Late { self.latency_random.within(SECOND, 12 * SECOND) } else { 0 };
                let step = fail.map_or(DialStep::Answer, DialStep::Fail);
                self.next_dial_step(place, (to, from), step, late);
            }
            DialStep::Answer => {
                if self.is_cut(to, from) {
                    return self.retry_dial(place);
                }
                // The driver that gave the dial up hears nothing, and the other side never accepts.
                if conn.ends[0].state != EndState::Pending {
                    self.conns[place].step = DialStep::Done;
                    return;
                }
                self.next_dial_step(place, (from, to), DialStep::Confirm, 0);
                if self.hosts[from].frozen {
                    self.hosts[from].waiting.push_back(Waiting::Connected(place as u32));
                } else {
                    self.connected(place);
                }
            }
            DialStep::Confirm => {
                if self.is_cut(from, to) {
                    return self.retry_dial(place);
                }
                self.conns[place].step = DialStep::Done;
                self.accept(place);
            }
            DialStep::Done => {}
            DialStep::Lost => self.retry_dial(place),
            DialStep::Fail(error) => {
                if from != to && error != Failing::Local && self.is_cut(to, from) {
                    return self.retry_dial(place);
                }
                if self.hosts[from].frozen {
                    self.hosts[from].waiting.push_back(Waiting::Failed(place as u32, error));
                } else {
                    self.dial_failed(place, error);
                }
            }
        }
    }

    fn next_dial_step(&mut self, place: usize, (from, to): (HostId, HostId), step: DialStep, more: u64) {
        self.conns[place].step = step;
        let delay = self.latency(from, to) + more;
        if step == DialStep::Confirm {
            // Data of the dialler cannot overtake the confirmation.
            self.conns[place].pipes[0].last_arrival = self.now + delay;
        }
        self.queue.push(self.now + delay, Happening::Dial(place as u32));
    }

    /// A packet was lost: kernels try again, ever more rarely, and give up in the end.
    fn retry_dial(&mut self, place: usize) {
        let conn = &mut self.conns[place];
        if conn.retries == 7 {
            if conn.ends[0].state == EndState::Pending {
                self.dial_failed(place, Failing::TimedOut);
            }
            return;
        }
        let delay = SECOND << conn.retries;
        conn.retries += 1;
        self.queue.push(self.now + delay, Happening::Dial(place as u32));
    }

    pub(super) fn connected(&mut self, place: usize) {
        let conn = &mut self.conns[place];
        let (host, id) = (conn.ends[0].host, conn.ends[0].id);
        if conn.ends[0].state != EndState::Pending || !self.is_own(place, 0) {
            return;
        }
        self.conns[place].ends[0].state = EndState::Open;
        self.conns[place].opened[0] = self.now;
        let to = self.conns[place].ends[1].host;
        let remote = SocketAddr::new(network::ip(to), self.conns[place].remote.port());
        self.hosts[host].inquiry.connected(remote.ip());
        self.feed(host, Input::Connected { conn: id, remote });
        if self.conns[place].step == DialStep::Done && matches!(self.conns[place].ends[1].state, EndState::Gone { .. }) {
            self.answer_by_reset(place, 1);
        }
    }

    pub(super) fn dial_failed(&mut self, place: usize, error: Failing) {
        let end = &mut self.conns[place].ends[0];
        if end.state != EndState::Pending {
            return;
        }
        end.state = EndState::Gone { silent: false };
        let (host, conn) = (end.host, end.id);
        self.conns[place].step = DialStep::Done;
        if self.is_own(place, 0) {
            let addr = self.conns[place].remote.ip();
            self.hosts[host].inquiry.failed(addr, error);
            if error == Failing::Refused {
                let to = self.conns[place].ends[1].host;
                let [last, before] = self.hosts[host].refusals.entry(to).or_default();
                (*before, *last) = (*last, self.now);
            }
            let error = error.into();
            self.feed(host, Input::DialFailed { conn, error });
        }
    }

    /// The connection is there for the acceptor's kernel.
    pub(super) fn accept(&mut self, place: usize) {
        let to = self.conns[place].ends[1].host;
        if self.hosts[to].listening != Some(self.conns[place].remote.port()) {
            self.conns[place].ends[1].state = EndState::Gone { silent: false };
            return self.answer_by_reset(place, 1);
        }
        if self.hosts[to].frozen {
            // The process may be another one when the host goes on; that is found out then.
            self.conns[place].ends[1].process = self.hosts[to].process;
            self.hosts[to].waiting.push_back(Waiting::Accept(place as u32));
        } else {
            self.accepted(place);
        }
    }

    pub(super) fn accepted(&mut self, place: usize) {
        let (from, to) = (self.conns[place].ends[0].host, self.conns[place].ends[1].host);
        let at = &mut self.hosts[to];
        let id = if at.rogue.is_some() { ConnId(at.conns.len() as u64 + 1) } else { at.machine.next_conn() };
        at.conns.push((place << 1 | 1) as u32);
        let end = &mut self.conns[place].ends[1];
        (end.id, end.process, end.state) = (id, at.process, EndState::Open);
        self.conns[place].opened[1] = self.now;
        let peer = &mut self.hosts[from];
        peer.next_port = peer.next_port.checked_add(1).unwrap_or(49_152);
        let remote = SocketAddr::new(network::ip(from), peer.next_port);
        self.feed(to, Input::Accepted { conn: id, remote });
        self.read(place, 0);
    }

    /// Whether the process that owned this end still runs.
    pub(super) fn is_own(&self, place: usize, end: usize) -> bool {
        let end = &self.conns[place].ends[end];
        let host = &self.hosts[end.host];
        host.alive && host.process == end.process
    }

    // Writing

    /// The kernel takes what it has room for.
    pub(super) fn pump(&mut self, place: usize, end: usize) {
        let (from, to) = (self.conns[place].ends[end].host, self.conns[place].ends[1 - end].host);
        let latency = self.network.path(from, to).latency;
        let conn = &mut self.conns[place];
        let writer = conn.ends[end].clone();
        if !matches!(writer.state, EndState::Open | EndState::Lingering) {
            return;
        }
        let tampering = conn.tampering;
        let pipe = &mut conn.pipes[end];
        if pipe.writer_stalled {
            return;
        }
        let mut taken = 0;
        while let Some(front) = pipe.out.front_mut() {
            let room = self.window.saturating_sub(pipe.unread);
            let most = match self.chunking {
                Chunking::Pieces { most } if pipe.taken < FINE => self.chunk_random.within(1, most as u64) as usize,
                Chunking::Pieces { most } => most.max(512),
                Chunking::Coalesced | Chunking::Whole => usize::MAX,
            };
            let size = front.len().min(room).min(most);
            if size == 0 {
                break;
            }
            let data = front.split_to(size);
            if front.is_empty() {
                pipe.out.pop_front();
            }
            pipe.out_bytes -= size;
            pipe.taken += size as u64;
            taken += size;
            let delay = latency.draw(&mut self.latency_random) + size as u64 * self.network.byte_time;
            let at = (self.now + delay).max(pipe.last_arrival);
            pipe.last_arrival = at;
            let data = match tampering {
                Some((how, permille)) if self.wire_random.permille(permille.into()) => {
                    self.coverage.note("tampered bytes");
                    let foreign = self.captured.iter().filter(|(at, by, _)| match how {
                        Tampering::Reflect => *at == place && *by != end,
                        _ => *at != place,
                    });
                    let foreign = foreign.last().map(|(_, _, bytes)| bytes.clone());
                    tamper(how, data, foreign, &mut self.wire_random)
                }
                _ => data,
            };
            if self.captured.len() < CAPTURED || self.wire_random.permille(20) {
                self.captured.push((place, end, data.clone()));
                if self.captured.len() > CAPTURED {
                    self.captured.remove(0);
                }
            }
            pipe.unread += data.len();
            pipe.flight.push_back((at, Item::Data(data)));
        }
        if pipe.out.is_empty() && writer.state == EndState::Lingering && !pipe.ended {
            pipe.ended = true;
            let at = (self.now + latency.draw(&mut self.latency_random)).max(pipe.last_arrival);
            pipe.last_arrival = at;
            pipe.flight.push_back((at, Item::Fin));
        }
        if taken > 0 && writer.state == EndState::Open {
            self.hosts[from].credits.push_back((writer.id, taken));
        }
        self.schedule(place, end);
    }

    /// The kernel has room again, or the writer is no longer stalled.
    pub(super) fn pump_later(&mut self, place: usize, end: usize) {
        let host = self.conns[place].ends[end].host;
        if !self.is_own(place, end) || self.hosts[host].frozen {
            return;
        }
        self.pump(place, end);
        while let Some((conn, bytes)) = self.hosts[host].credits.pop_front() {
            self.feed(host, Input::Transmitted { bytes, conn });
        }
    }

    /// Sees to it that the next arrival is in the queue.
    pub(super) fn schedule(&mut self, place: usize, end: usize) {
        let pipe = &mut self.conns[place].pipes[end];
        if !pipe.scheduled
            && let Some((at, _)) = pipe.flight.front()
        {
            pipe.scheduled = true;
            self.queue.push((*at).max(self.now), Happening::Arrive(place as u32, end as u8));
        }
    }

    // Arriving

    /// What is due arrives at the other kernel, unless the path is cut: then it waits for the path.
    pub(super) fn arrive(&mut self, place: usize, end: usize) {
        let conn = &mut self.conns[place];
        conn.pipes[end].scheduled = false;
        let (from, to) = (conn.ends[end].host, conn.ends[1 - end].host);
        if self.is_cut(from, to) {
            return;
        }
        let conn = &mut self.conns[place];
        let pipe = &mut conn.pipes[end];
        while let Some((at, _)) = pipe.flight.front() {
            if *at > self.now {
                break;
            }
            let Some((_, item)) = pipe.flight.pop_front() else { break };
            if self.hosts[to].powered {
                pipe.inbox.push_back(item);
            } else if let Item::Data(data) = item {
                pipe.unread -= data.len();
            }
        }
        if !pipe.inbox.is_empty() {
            if conn.step == DialStep::Confirm {
                conn.step = DialStep::Done;
                self.accept(place);
            }
            self.read(place, end);
        }
        self.schedule(place, end);
    }

    /// The reader of what this end sent reads what is there.
    pub(super) fn read(&mut self, place: usize, end: usize) {
        while !self.conns[place].pipes[end].inbox.is_empty() && self.violation.is_none() {
            let reader = self.conns[place].ends[1 - end].clone();
            let pipe = &mut self.conns[place].pipes[end];
            match reader.state {
                EndState::Pending => return,
                EndState::Gone { silent } => {
                    let reset = pipe.inbox.iter().any(|item| matches!(item, Item::Reset));
                    pipe.inbox.clear();
                    pipe.unread =
                        pipe.flight.iter().map(|(_, item)| if let Item::Data(data) = item { data.len() } else { 0 }).sum();
                    if !silent && !reset {
                        self.answer_by_reset(place, 1 - end);
                    }
                    return;
                }
                EndState::Open | EndState::Lingering => {}
            }
            if self.hosts[reader.host].frozen {
                if !pipe.noted {
                    pipe.noted = true;
                    self.hosts[reader.host].waiting.push_back(Waiting::Read(place as u32, end as u8));
                }
                return;
            }
            if pipe.reader_stalled {
                return;
            }
            match self.next_read(place, end) {
                Item::Data(data) => {
                    let wall = self.wall(reader.host);
                    if !self.conns[place].pipes[end].out.is_empty() {
                        let back = self.latency(reader.host, self.conns[place].ends[end].host);
                        self.queue.push(self.now + back, Happening::Pump(place as u32, end as u8));
                    }
                    if self.conns[place].pipes[end].reads(data.len()) {
                        self.conns[place].heard[1 - end] = self.now;
                    }
                    if reader.state == EndState::Lingering {
                        let room = &mut self.conns[place].lingering[1 - end];
                        match room.checked_sub(data.len()) {
                            Some(rest) => *room = rest,
                            None => self.linger_over(place, 1 - end),
                        }
                        continue;
                    }
                    self.feed(reader.host, Input::Received { conn: reader.id, data, wall });
                }
                Item::Fin | Item::Reset => self.ended(place, 1 - end),
            }
        }
    }

    /// What one read gives.
    fn next_read(&mut self, place: usize, end: usize) -> Item {
        let pipe = &mut self.conns[place].pipes[end];
        let Some(Item::Data(mut data)) = pipe.inbox.pop_front() else { return Item::Fin };
        match self.chunking {
            Chunking::Whole => {}
            Chunking::Coalesced => {
                if let Some(Item::Data(_)) = pipe.inbox.front() {
                    let mut all = BytesMut::from(data.as_ref());
                    while let Some(Item::Data(more)) = pipe.inbox.front() {
                        all.extend_from_slice(more);
                        pipe.inbox.pop_front();
                    }
                    data = all.freeze();
                }
            }
            Chunking::Pieces { most } => {
                let most = if pipe.taken < FINE { self.chunk_random.within(1, most as u64) as usize } else { most.max(512) };
                if data.len() > most {
                    let rest = data.split_off(most);
                    pipe.inbox.push_front(Item::Data(rest));
                }
            }
        }
        pipe.unread -= data.len();
        Item::Data(data)
    }

    /// The driver of this end meets the end of the stream.
    fn ended(&mut self, place: usize, end: usize) {
        let own = self.is_own(place, end);
        let at = &mut self.conns[place].ends[end];
        let (host, conn, state) = (at.host, at.id, at.state);
        if state == EndState::Lingering {
            at.state = EndState::Gone { silent: false };
            self.conns[place].pipes[end].drop_unsent();
            self.confirm_later(place, end);
        } else if own {
            self.feed(host, Input::Closed { conn });
            if state == EndState::Open && self.conns[place].ends[end].state == EndState::Open && self.violation.is_none() {
                let detail = format!("{conn} ended and was not closed");
                self.violate(Some(host), crate::Invariant::ActionsOnOpenConnections, detail);
            }
        }
    }

    // Ends

    /// The owner of an end is done with it, or gone: the peer's kernel is told by a reset, behind what is on its way.
    pub(super) fn reset_end(&mut self, place: usize, end: usize, silent: bool) {
        let conn = &mut self.conns[place];
        conn.ends[end].state = EndState::Gone { silent };
        conn.pipes[end].drop_unsent();
        if silent {
            return;
        }
        if conn.step == DialStep::Request || (conn.step == DialStep::Answer && end == 0) {
            return;
        }
        if self.reset_cuts && self.wire_random.permille(500) {
            let pipe = &mut self.conns[place].pipes[end];
            let flying = pipe.flight.iter().map(|(_, item)| if let Item::Data(data) = item { data.len() } else { 0 }).sum();
            // Mostly at the edges: nothing, all but a byte, a length prefix.
            let keep = match self.wire_random.below(5) {
                0 => 0,
                1 => 4,
                2 => usize::saturating_sub(flying, 1),
                _ => self.wire_random.index(flying + 1),
            };
            pipe.truncate_flight(keep);
            self.coverage.note("reset within a frame");
        }
        self.answer_by_reset(place, end);
    }

    /// A reset goes from this end to the other one.
    pub(super) fn answer_by_reset(&mut self, place: usize, end: usize) {
        let (from, to) = (self.conns[place].ends[end].host, self.conns[place].ends[1 - end].host);
        if matches!(self.conns[place].ends[1 - end].state, EndState::Gone { .. }) {
            return;
        }
        let delay = self.latency(from, to);
        let pipe = &mut self.conns[place].pipes[end];
        if matches!(pipe.flight.back(), Some((_, Item::Reset))) {
            return;
        }
        pipe.ended = true;
        let at = (self.now + delay).max(pipe.last_arrival);
        pipe.last_arrival = at;
        pipe.flight.push_back((at, Item::Reset));
        self.schedule(place, end);
    }

    /// A graceful close has taken as long as it may.
    pub(super) fn linger_over(&mut self, place: usize, end: usize) {
        if self.conns[place].ends[end].state != EndState::Lingering || !self.is_own(place, end) {
            return;
        }
        let host = self.conns[place].ends[end].host;
        if self.hosts[host].frozen {
            self.hosts[host].waiting.push_back(Waiting::Linger(place as u32, end as u8));
            return;
        }
        self.reset_end(place, end, false);
        self.confirm_later(place, end);
    }

    /// A graceful close is done: the driver says so, at once unless it is a late one.
    fn confirm_later(&mut self, place: usize, end: usize) {
        match self.hosts[self.conns[place].ends[end].host].late_closes {
            0 => self.confirm(place, end),
            late => self.queue.push(self.now + late, Happening::Confirm(place as u32, end as u8)),
        }
    }

    /// The driver says that a graceful close is done, unless its process is gone.
    pub(super) fn confirm(&mut self, place: usize, end: usize) {
        let (host, conn) = (self.conns[place].ends[end].host, self.conns[place].ends[end].id);
        if !self.is_own(place, end) {
            return;
        }
        if self.hosts[host].frozen {
            self.hosts[host].waiting.push_back(Waiting::Confirm(place as u32, end as u8));
            return;
        }
        self.feed(host, Input::Closed { conn });
    }

    /// A driver that is stopped lets go of what still lingers.
    pub(super) fn abandon_lingering(&mut self, host: HostId) {
        for index in 0..self.hosts[host].conns.len() {
            let place = self.hosts[host].conns[index];
            let (place, end) = ((place >> 1) as usize, (place & 1) as usize);
            if self.conns[place].ends[end].state == EndState::Lingering {
                self.reset_end(place, end, false);
            }
        }
    }
}

fn tamper(how: Tampering, data: Bytes, foreign: Option<Bytes>, random: &mut crate::random::Random) -> Bytes {
    let mut bytes = data.to_vec();
    let place = random.index(bytes.len());
    match how {
        Tampering::Flip => bytes[place] ^= 1 << random.below(8),
        Tampering::Drop => {
            let end = (place + 1 + random.index(8)).min(bytes.len());
            bytes.drain(place..end);
        }
        Tampering::Insert => {
            let byte = random.below(256) as u8;
            bytes.insert(place, byte);
        }
        Tampering::Reflect | Tampering::Splice => return foreign.unwrap_or(data),
        Tampering::Replay => {
            let copy = bytes.clone();
            bytes.extend_from_slice(&copy);
        }
        Tampering::Truncate => bytes.truncate(place),
    }
    bytes.into()
}
