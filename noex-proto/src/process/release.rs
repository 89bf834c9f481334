//! Signals on their way to the wire.

use bytes::Bytes;

use super::outbox::{Cast, Owed};
use super::peers::{Call, CallState, MonitorState, RequestState, WatchedState};
use super::slots::place;
use super::{CallError, CallId, Cx, ProcessAction, Processes};
use crate::mesh::cx::{Above, Outward};
use crate::mesh::event::PeerKey;
use crate::time::RunTime;
use crate::wire::record::RecordBuilder;
use crate::wire::signal::Signal;
use crate::{ConnId, millis};

impl Above for Processes {
    fn waits(&self, PeerKey(peer): PeerKey) -> usize {
        self.peers.get(peer).map_or(0, |row| row.outbox.waits())
    }

    fn is_in_transit(&self, PeerKey(peer): PeerKey) -> bool {
        self.peers.get(peer).is_some_and(|row| row.outbox.is_in_transit())
    }

    fn names_wait(&self, PeerKey(peer): PeerKey) -> bool {
        self.names.waits(peer)
    }

    fn write_names(&mut self, PeerKey(peer): PeerKey, run: RunTime, record: &mut RecordBuilder) -> bool {
        self.names.fill_record(peer, run, record)
    }

    fn write_next(&mut self, to: &mut Outward<'_>, PeerKey(peer): PeerKey, record: &mut RecordBuilder) -> bool {
        let cx = &mut Cx { host: to.host, limits: to.limits, now: to.now, find: &|_| None };
        self.write(cx, peer, record)
    }
}

impl Processes {
    /// Adds the next signal for a peer to a record, or the next piece of one.
    pub(super) fn write(&mut self, cx: &mut Cx<'_>, peer: ConnId, record: &mut RecordBuilder) -> bool {
        while let Some(row) = self.peers.get_mut(peer) {
            if row.outbox.is_in_transit() {
                return row.outbox.write_piece(record);
            }
            // No process is said to have ended before its names are said to be free.
            if !row.outbox.is_next_for(record) || row.outbox.is_down_next() && self.names.owes_withdrawals(peer) {
                return false;
            }
            // What was given up meanwhile is no signal any more.
            if let Some(signal) = self.release_one(cx, peer)
                && let Some(row) = self.peers.get_mut(peer)
            {
                row.outbox.write(record, signal);
                return true;
            }
        }
        false
    }

    /// Takes the next signal for a peer.
    pub(super) fn release(&mut self, cx: &mut Cx<'_>, peer: ConnId) -> Option<Signal> {
        while !self.peers.get(peer)?.outbox.is_empty() {
            if let Some(signal) = self.release_one(cx, peer) {
                return Some(signal);
            }
        }
        None
    }

    /// Takes the next of what waits for a peer: a signal, unless that was given up. What is owed counts no longer from here on, and a call
    /// may have run.
    fn release_one(&mut self, cx: &mut Cx<'_>, peer: ConnId) -> Option<Signal> {
        let owed = self.peers.get_mut(peer)?.outbox.pop()?;
        let signal = self.released(cx, peer, owed);
        self.readmit(cx, peer);
        signal
    }

    fn released(&mut self, cx: &mut Cx<'_>, peer: ConnId, owed: Owed) -> Option<Signal> {
        let row = self.peers.get_mut(peer)?;
        match owed {
            Owed::Cast(cast) => {
                let Cast { to, protocol, body } = *cast;
                Some(Signal::Cast { to, protocol, body })
            }
            Owed::Stop(stop) => {
                let (to, reason) = *stop;
                Some(Signal::Stop { to, reason })
            }
            Owed::Call(number) => {
                let Call { deadline, state } = row.calls.get_mut(number)?;
                let CallState::Queued(queued) = &mut *state else { return None };
                let ticket = queued.ticket;
                if *deadline <= cx.now {
                    row.calls.remove(number);
                    self.deadlines.remove(ticket);
                    self.ended(cx, CallId { peer: peer.0, number }, Err(CallError::Expired));
                    return None;
                }
                let left = u32::try_from(millis::count_up(*deadline - cx.now)).unwrap_or(u32::MAX);
                let body = core::mem::take(&mut queued.body);
                let (to, protocol) = (queued.to.clone(), queued.protocol);
                *state = CallState::Sent(ticket);
                Some(Signal::Call { number, to, protocol, left, body })
            }
            Owed::Cancel(number) => {
                row.calls.remove(number)?;
                Some(Signal::Cancel { number })
            }
            Owed::Answer(number) => match row.requests.remove(&place(number))?.state {
                RequestState::Answered { body, .. } => Some(Signal::Answer { number, body }),
                _ => None,
            },
            Owed::Failure(number) => match row.requests.remove(&place(number))?.state {
                RequestState::Failed { failure, .. } => Some(Signal::Failure { number, failure: *failure }),
                _ => None,
            },
            Owed::Monitor(number) => {
                let monitor = row.monitors.get_mut(number)?;
                match core::mem::replace(&mut monitor.state, MonitorState::Sent) {
                    MonitorState::Queued { to, .. } => Some(Signal::Monitor { number, to: *to }),
                    _ => None,
                }
            }
            Owed::Demonitor(number) => {
                row.monitors.remove(number)?;
                Some(Signal::Demonitor { number })
            }
            Owed::Down(number) => match row.watched.remove(&place(number))?.state {
                WatchedState::Ended { reason, .. } => Some(Signal::Down { number, reason }),
                WatchedState::Alive(_) => None,
            },
        }
    }

    /// Lets the next one that waits for room for its answer try again.
    fn readmit(&mut self, cx: &mut Cx<'_>, peer: ConnId) {
        let limit = cx.limits.send_queue_bytes;
        let Some(row) = self.peers.get_mut(peer) else { return };
        let Some(request) = row.outbox.readmit(limit) else { return };
        if let Some(entry) = row.requests.get_mut(&place(request.number))
            && let RequestState::Taken { refused, .. } = &mut entry.state
        {
            *refused = None;
            cx.act(ProcessAction::AnswerRoom(request));
        }
    }

    /// The outcome of a call is decided.
    pub(super) fn ended(&self, cx: &mut Cx<'_>, call: CallId, outcome: Result<Bytes, CallError>) {
        let counters = &mut cx.host.counters;
        match &outcome {
            Ok(_) => counters.calls_answered += 1,
            Err(CallError::TimedOut | CallError::Expired) => counters.calls_timed_out += 1,
            Err(_) => counters.calls_failed += 1,
        }
        cx.act(ProcessAction::CallEnded { call, outcome });
    }
}
