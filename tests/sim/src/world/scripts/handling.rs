//! What a process does with what it has taken from its mailbox.

use std::time::Duration;

use bytes::Bytes;
use noex_proto::{AnswerError, ExitReason, Instant, MailboxItem, RequestFailure, RequestId};

use super::ledger::Word;
use super::{LATE, Script, Task, body, nanos, serial};
use crate::safety::Invariant;
use crate::world::{HostId, World};

impl World {
    /// A process looks at an item. For how long it is busy, where it is.
    pub(super) fn look_at(&mut self, host: HostId, number: u64, item: MailboxItem) -> Option<Duration> {
        let owner = self.hosts[host].scripts.owners.get_mut(&number)?;
        let known = owner.known;
        match item {
            MailboxItem::Call { body, deadline, request } => self.called(host, number, &body, deadline, request),
            MailboxItem::Cast { body } => {
                let check = serial(&body).map_or(Ok(()), |serial| self.ledger.cast_came(known, serial));
                self.judge(host, check);
                None
            }
            MailboxItem::Down { monitor, reason } => {
                if !owner.removed.contains(&monitor) {
                    self.fired(host, monitor, &reason);
                }
                None
            }
            MailboxItem::NameLost { name, .. } if owner.renewed.contains(&name) => None,
            MailboxItem::NameLost { name, winner } => {
                self.name_lost(host, number, &name, winner.as_ref());
                None
            }
            MailboxItem::Overrun { missed } => {
                self.coverage.note("process: casts missed");
                self.ledger.overrun(known, missed);
                None
            }
            MailboxItem::Stop(reason) => {
                self.coverage.note("process: asked to stop");
                let again = Duration::from_millis(self.script_random.within(0, 500));
                self.end_script(host, number, reason, again);
                None
            }
            other => unreachable!("{other:?} is new"),
        }
    }

    /// A process looks at a call.
    fn called(&mut self, host: HostId, number: u64, body: &Bytes, deadline: Instant, request: RequestId) -> Option<Duration> {
        let at = &mut self.hosts[host];
        let now = at.local(self.now);
        let owner = at.scripts.owners.get_mut(&number)?;
        if owner.over.remove(&request) {
            self.coverage.note("process: a call over in its batch");
            return None;
        }
        if deadline <= now {
            self.coverage.note("process: a call expired in its batch");
            return None;
        }
        let Some(serial) = serial(body) else {
            self.violate(Some(host), Invariant::HandledAsSaid, format!("{request:?} has a body that nobody sent"));
            return None;
        };
        if owner.script == Script::Misreads {
            if let Some(call) = self.ledger.call_mut(serial) {
                call.word = Some(Word::NotUnderstood);
            }
            at.scripts.requests.remove(&request);
            at.machine.fail(now, request, RequestFailure::NotUnderstood("misread".into()));
            self.settle(host);
            return None;
        }
        let (script, known) = (owner.script, owner.known);
        owner.held.insert(request, serial);
        let check = self.ledger.handled(known, serial);
        self.judge(host, check);
        match script {
            Script::CallsBack => self.call_back(host, number, request, serial, deadline),
            Script::Drops => self.drop_port(host, number, request),
            Script::Echo => self.answer(host, number, request),
            Script::Exits => {
                let again = Duration::from_millis(self.script_random.within(0, 500));
                self.end_script(host, number, ExitReason::error(format!("at call {serial}")), again);
            }
            Script::Late => {
                let left = self.hosts[host].clock.when(nanos(deadline)).saturating_sub(self.now);
                self.later(host, Duration::from_nanos(left) + LATE, Task::Answer(number, request));
            }
            Script::Misreads | Script::Silent => {}
            Script::Slow { ms } => {
                self.later(host, Duration::from_millis(ms), Task::Answer(number, request));
                return Some(Duration::from_millis(ms));
            }
        }
        None
    }

    fn drop_port(&mut self, host: HostId, number: u64, request: RequestId) {
        let at = &mut self.hosts[host];
        let now = at.local(self.now);
        let Some(serial) = at.scripts.owners.get_mut(&number).and_then(|owner| owner.held.remove(&request)) else { return };
        at.scripts.requests.remove(&request);
        if let Some(call) = self.ledger.call_mut(serial) {
            call.word = Some(Word::Dropped);
        }
        at.machine.fail(now, request, RequestFailure::Dropped);
        self.settle(host);
    }

    /// A process answers a call that it has, or finds that nobody waits any more.
    pub(super) fn answer(&mut self, host: HostId, number: u64, request: RequestId) {
        let at = &mut self.hosts[host];
        let now = at.local(self.now);
        let Some(owner) = at.scripts.owners.get_mut(&number) else { return };
        let Some(serial) = owner.held.get(&request).copied() else { return };
        let known = owner.known;
        let size = self.ledger.get_call(serial).map_or(0, |call| call.answer);
        let body = body(serial as u64, known as u64, size);
        let or_wait = serial.is_multiple_of(2);
        let answered = at.machine.answer(now, request, body, or_wait);
        let open = at.scripts.requests.contains_key(&request);
        match &answered {
            Err(AnswerError::Full) => self.coverage.note("process: an answer waits for room"),
            _ => {
                owner.held.remove(&request);
                at.scripts.requests.remove(&request);
                let word = match answered {
                    Ok(()) => Some(Word::Answered),
                    Err(AnswerError::Dropped) => Some(Word::AnswerDropped),
                    Err(_) => None,
                };
                if let Some(call) = self.ledger.call_mut(serial) {
                    call.word = word;
                }
            }
        }
        // What the owner was not told of is open, and what it was told of is not.
        if (answered == Err(AnswerError::Over)) == open {
            let detail = format!("the answer to call {serial}: {answered:?}; the owner thinks it open: {open}");
            self.violate(Some(host), Invariant::HandledAsSaid, detail);
        }
        self.settle(host);
    }
}
