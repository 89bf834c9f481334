//! The machine's state without what differs between runs that are alike, for whoever has to know a state again.

use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::mem::discriminant;
use core::time::Duration;

use super::cx::Local;
use super::node::{Admission, Conn, Dial, Node, Peer, PeerView, Phase, Session, Stage, Timer, Wait};
use super::{Active, Machine, Run};
use crate::{ConnId, Instant};

impl Machine {
    /// Writes an abstraction of the machine's state into a hasher: what decides what the machine will do next, and nothing that
    /// tells apart two runs that came to the same state. A search through all orders of events, which has to know a state
    /// again, hashes this.
    ///
    /// Left out are keys, nonces, record numbers and the position in the stream of randomness; absolute times; the numbers of
    /// connections, which are replaced by their order; counters, the numbers of up-periods and what stands in subscribers'
    /// queues; the configuration and the secrets, but for which of them a connection goes by; how much of the limits on rates is used
    /// up; when a node was last alive, and what its heartbeats said. What is left of a deadline, and the age of what becomes too old, are counted in units of
    /// `grain`, as a power of two: the order of deadlines is kept, but of their distances no more than that.
    ///
    /// So states with other jitter, or that reach a limit on a rate or forget a node at other times, may be taken for one.
    /// Instances are kept: whoever compares machines that were started apart gives equal starts equal entropy.
    pub fn hash_abstraction(&self, grain: Duration, state: &mut impl Hasher) {
        let host = &self.host;
        host.status.hash(state);
        host.actions.len().hash(state);
        host.process_count.hash(state);
        host.lookups.wanted().for_each(|lookup| lookup.hash(state));
        match &self.run {
            Run::Stopped => false.hash(state),
            Run::Starting(_) => true.hash(state),
            Run::Active(active) => Abstraction::new(active, grain, state).node(),
        }
    }
}

struct Abstraction<'a, H> {
    local: &'a Local,
    node: &'a Node,
    grain: u128,
    state: &'a mut H,
    /// All connections that the driver knows, in order.
    conns: Vec<ConnId>,
}

impl<'a, H: Hasher> Abstraction<'a, H> {
    fn new(Active { local, node }: &'a Active, grain: Duration, state: &'a mut H) -> Self {
        let mut conns: Vec<ConnId> = node.conns.keys().chain(&node.closing).copied().collect();
        conns.sort_unstable();
        Self { local, node, grain: grain.as_nanos().max(1), state, conns }
    }

    // Parts that need a translation

    fn write(&mut self, value: impl Hash) {
        value.hash(self.state);
    }

    /// A time span, coarsely.
    fn grains(&self, span: Duration) -> Option<u32> {
        (span.as_nanos() / self.grain).checked_ilog2()
    }

    fn age(&self, since: Instant) -> Option<u32> {
        self.grains(self.local.now - since)
    }

    /// A connection, by its place among those there are.
    fn place(&self, conn: ConnId) -> Option<usize> {
        self.conns.binary_search(&conn).ok()
    }

    // The tables

    fn node(&mut self) {
        // Every field is named, so that a new one has to be thought of here.
        let Local { settings: _, id, instance, own_addresses: _, rng: _, started: _, now, wall: _, run, timers, waits } =
            self.local;
        let Node {
            held,
            pulse,
            dial_timers,
            heartbeats,
            looks,
            conns,
            closing,
            closing_most: _,
            half_open: _,
            half_open_count,
            peers,
            up_count,
            chosen_count: _,
            session_count,
            digest,
            departed,
            admissions,
            seeds: _,
            next_seed: _,
            dials,
            dial_queue,
            hint_had_its_turn,
            dials_in_flight,
            reaching,
            dial_tokens,
            dial_tokens_at: _,
            seed_met: _,
            asked,
            told,
            next_exchange,
            conflict_reported,
            peer_reports: _,
            reports: _,
        } = self.node;
        self.write((id, instance, pulse, digest, admissions));
        self.write((half_open_count, up_count, session_count, dials_in_flight, reaching, (*dial_tokens).min(1)));
        self.write((held.is_some(), hint_had_its_turn));
        self.write(self.grains(*next_exchange - *now));
        self.write(conflict_reported.map(|at| self.age(at)));
        self.write(closing.len());
        for conn in closing {
            self.write(self.place(*conn));
        }
        for (timer, at) in timers.iter() {
            self.write(discriminant(timer));
            match timer {
                Timer::Steady(conn) => self.write(self.place(*conn)),
                Timer::DialRate | Timer::Forget | Timer::Reports | Timer::Settled | Timer::Stop | Timer::TakeIn => {}
            }
            self.write(self.grains(at - *now));
        }
        for (target, at) in dial_timers.iter() {
            self.write(target);
            self.write(self.grains(at - *now));
        }
        for (wait, at) in waits.iter() {
            self.write(discriminant(wait));
            match wait {
                Wait::Admission(conn) | Wait::Connect(conn) | Wait::Handshake(conn) | Wait::Probe(conn) => {
                    self.write(self.place(*conn))
                }
                Wait::Lookup(lookup) => self.write(lookup),
                Wait::Answer => {}
            }
            self.write(self.grains(at - *run));
        }
        for (conn, at) in heartbeats.iter() {
            self.write(self.place(*conn));
            self.write(self.grains(at - *now));
        }
        for (conn, at) in looks.iter() {
            self.write(self.place(*conn));
            self.write(self.grains(at - *run));
        }
        for (number, conn) in conns {
            self.write(self.place(*number));
            self.connection(conn);
        }
        for (id, peer) in peers {
            self.write(id);
            self.peer(peer);
        }
        self.write(departed.len());
        for (id, (instance, _)) in departed {
            self.write((id, instance));
        }
        for (target, dial) in dials {
            self.write(target);
            self.dial(dial);
        }
        for target in dial_queue.values() {
            self.write(target);
        }
        self.write(asked.as_ref().map(|asked| (asked.joining, asked.received)));
        self.write(asked.as_ref().map(|asked| self.place(asked.conn)));
        for told in told {
            self.write((told.joining, told.near, &told.members));
        }
    }

    fn connection(&mut self, conn: &Conn) {
        let Conn { target, remote, since: _, asked, frames, in_flight, phase } = conn;
        self.write((target, remote.map(|remote| remote.ip()), frames.buffered(), in_flight, discriminant(phase)));
        match phase {
            Phase::Dialling => {}
            Phase::Initiating(handshake) => {
                self.write(handshake.is_half_done());
                self.write(handshake.proved().map(|root| self.local.settings.secrets.use_of(root)));
                self.write(self.age(*asked));
            }
            Phase::Responding(handshake) => {
                self.write(handshake.is_half_done());
                self.write(self.age(*asked));
            }
            Phase::Reaching(session) => self.write(self.place(*session)),
            Phase::Session(session) => self.session(session),
        }
    }

    fn session(&mut self, session: &Session) {
        let Session {
            id,
            instance,
            interval_ms,
            root,
            sealer: _,
            opener: _,
            stage,
            heard,
            round_trip_ms,
            queue,
            assembler,
            answer,
            heartbeat_at: _,
            look_at: _,
            probing,
            reach,
            reach_at,
        } = session;
        self.write((id, instance, interval_ms, assembler.len(), discriminant(reach), discriminant(stage)));
        self.write(self.local.settings.secrets.use_of(root));
        self.write(self.grains(self.local.run - *heard));
        self.write(self.grains(Duration::from_millis((*round_trip_ms).into())));
        self.write((probing, reach_at.map(|at| self.grains(at - self.local.run))));
        self.write(answer.as_ref().map(|answer| (&answer.after, answer.digest)));
        queue.hash_abstraction(self.state);
        match stage {
            Stage::Introduced(introduced) => self.write((introduced.0.count, introduced.0.members)),
            Stage::Last(ended) => self.write(discriminant(ended)),
            Stage::Waiting { count, holds } => self.write((count, holds)),
            Stage::AwaitOffer | Stage::Chosen | Stage::Keyed | Stage::Offered | Stage::Up => {}
        }
    }

    fn peer(&mut self, peer: &Peer) {
        let Peer {
            status,
            process_count: _,
            uptime_ms: _,
            last_down: _,
            last_heartbeat_at: _,
            instance,
            session,
            up,
            alive_at: _,
            admission: Admission { chosen, named, instance: admitted_instance, admitted, accepted, sessions },
            conflict,
            view: PeerView { announced, differs, exchanged, ask_after, known_at: _, unanswered, answered },
        } = peer;
        self.write((status, instance, (*up).min(1), named, admitted_instance, admitted, accepted));
        self.write((conflict, announced, differs, unanswered));
        self.write(self.grains(*ask_after - self.local.now));
        self.write(session.map(|conn| self.place(conn)));
        self.write(chosen.map(|conn| self.place(conn)));
        self.write(sessions.len());
        for conn in sessions {
            self.write(self.place(*conn));
        }
        self.write(exchanged.as_ref().map(|exchanged| (exchanged.0, exchanged.1)));
        self.write(exchanged.as_ref().map(|exchanged| self.age(exchanged.2)));
        self.write(answered.map(|at| self.age(at)));
    }

    fn dial(&mut self, dial: &Dial) {
        // Which of its addresses was tried when, tells names with several of them which comes next, and no such name is explored.
        let Dial {
            addresses,
            backoff,
            began: _,
            conn,
            queued,
            looking,
            slow_lookup,
            lookup_reported,
            slow,
            reported,
            lost,
            displaced,
            found,
            mismatches,
        } = dial;
        self.write((backoff.delay(), queued.is_some(), looking, slow_lookup, slow, reported, found, mismatches));
        self.write((addresses.has_next(), lookup_reported, lost, displaced));
        self.write(conn.map(|conn| self.place(conn)));
    }
}
