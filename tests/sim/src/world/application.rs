//! The applications on hosts: what they send, and their subscribers.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use noex_proto::testing::Told;
use noex_proto::{
    Broadcast, ClusterEvent, ClusterStatus, Input, Machine, Message, MessagesLagged, NodeId, SendError, SubscriptionId,
};

use super::{HostId, World};
use crate::safety::{Invariant, Monitor, PAYLOAD_MIN};

/// A subscriber that reads rarely, and what it was told.
#[derive(Clone, Debug)]
pub(super) struct Subscriber {
    events: SubscriptionId,
    told: Told,
    /// The events that it has read or been told to have missed.
    heard: u64,
    /// The up-periods that there were when it last read.
    periods: BTreeMap<NodeId, u64>,
    /// Its messages, and what came of them.
    messages: Option<(SubscriptionId, Delivered)>,
}

/// The messages that a subscriber was given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Delivered {
    /// How many, with those that it was told to have missed.
    count: u64,
    /// A digest of them, unless one was missed.
    digest: Option<u64>,
}

impl Delivered {
    pub(super) const fn new() -> Self {
        Self { count: 0, digest: Some(0) }
    }

    fn note(&mut self, message: &Result<Message, MessagesLagged>) {
        match message {
            Ok(Message { from, payload, .. }) => {
                self.count += 1;
                let head = from.as_str().bytes().chain(payload.iter().copied().take(PAYLOAD_MIN));
                let digest =
                    head.fold(payload.len() as u64, |digest, byte| (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
                self.digest = self.digest.map(|before| before.rotate_left(1) ^ digest);
            }
            Err(lagged) => (self.count, self.digest) = (self.count + lagged.missed, None),
        }
    }
}

impl Subscriber {
    /// One who is there before the node has started.
    pub(super) fn new(machine: &mut Machine) -> Self {
        let (told, periods) = (Told::default(), BTreeMap::new());
        Self { events: machine.subscribe_events(), told, heard: 0, periods, messages: None }
    }

    /// Reads all there is, and compares with what happened: as many events, and the members that there are. Whether it had missed any
    /// events, and any messages.
    fn read(&mut self, machine: &mut Machine, emitted: u64, own: &Monitor, delivered: Delivered) -> Result<(bool, bool), String> {
        let (mut told_up, mut lagged, mut missed) = (BTreeSet::new(), false, false);
        while let Some(event) = machine.poll_event(self.events) {
            self.heard += if let ClusterEvent::Lagged { missed } = event { missed } else { 1 };
            lagged |= matches!(event, ClusterEvent::Lagged { .. });
            // What a status was in between is lost with what was dropped.
            self.told.read(&event).map_err(|violation| violation.detail)?;
            if let ClusterEvent::NodeUp(info) = event {
                told_up.insert(info.id);
            }
        }
        if self.heard < emitted {
            return Err(format!("of {emitted} events it was told {}, with those that it missed", self.heard));
        }
        let running = own.status == ClusterStatus::Running;
        if running && !self.told.up.iter().eq(own.up.keys()) {
            return Err(format!("told {:?}, up are {:?}", self.told.up, own.up.keys()));
        }
        let periods: BTreeMap<_, _> = own.up.iter().map(|(id, up)| (id.clone(), up.period)).collect();
        let before = std::mem::replace(&mut self.periods, periods);
        // Whoever is up in another period than at the last read has been told to be up again, and nobody else.
        let wrong = self.periods.iter().find(|(id, period)| (before.get(id) != Some(period)) != told_up.contains(id));
        if running && let Some((id, period)) = wrong {
            let (before, told) = (before.get(id), told_up.contains(id));
            return Err(format!("{id} is up in period {period}, and was in {before:?}; told to be up: {told}"));
        }
        if let Some((of, given)) = &mut self.messages {
            while let Some(message) = machine.poll_message(*of) {
                missed |= message.is_err();
                given.note(&message);
            }
            let same = given.digest.is_none() || delivered.digest.is_none() || given.digest == delivered.digest;
            if given.count != delivered.count || !same {
                return Err(format!("of the messages {delivered:?} it was given {given:?}, with those that it missed"));
            }
        }
        Ok((lagged, missed))
    }
}

impl World {
    // Subscribers

    /// The subscribers that read rarely read all there is, and compare.
    pub(super) fn read_slowly(&mut self, host: HostId) {
        let at = &mut self.hosts[host];
        let mut wrong = None;
        for subscriber in at.later.iter_mut().chain([&mut at.slow]) {
            match subscriber.read(&mut at.machine, at.emitted, &at.monitor, at.delivered) {
                Ok((lagged, missed)) => {
                    if self.change.is_some() {
                        self.trace.mix(u64::from(lagged) << 1 | u64::from(missed));
                    }
                    if lagged {
                        self.coverage.note("slow subscriber lagged");
                    }
                    if missed {
                        self.coverage.note("slow subscriber missed messages");
                    }
                }
                Err(detail) => wrong = Some(detail),
            }
        }
        if let Some(detail) = wrong {
            self.violate(Some(host), Invariant::SlowSubscriber, detail);
        }
    }

    /// The application on a host subscribes once more, to events and to messages, and reads rarely.
    pub fn subscribe(&mut self, host: HostId) {
        let at = &mut self.hosts[host];
        if !at.alive || at.frozen || at.monitor.status != ClusterStatus::Running {
            return;
        }
        let mut subscriber = Subscriber::new(&mut at.machine);
        // It begins with the members that are up, beside all that is emitted from now on; one that goes down before it reads is never told.
        subscriber.heard = at.emitted;
        subscriber.messages = Some((at.machine.subscribe_messages(), at.delivered));
        at.later.push_back(subscriber);
        self.line(Some(host), "has one more subscriber");
    }

    /// The first of those that subscribed later has read all there is, and ends its subscriptions.
    pub fn unsubscribe(&mut self, host: HostId) {
        if !self.hosts[host].alive || self.hosts[host].frozen || self.hosts[host].later.is_empty() {
            return;
        }
        self.read_slowly(host);
        let at = &mut self.hosts[host];
        let Some(Subscriber { events, messages, .. }) = at.later.pop_front() else { return };
        for subscription in messages.map(|(messages, _)| messages).into_iter().chain([events]) {
            at.machine.unsubscribe(subscription);
        }
        self.line(Some(host), "has one subscriber less");
    }

    /// The machine on a host forgets the subscriber that reads rarely.
    #[cfg(test)]
    pub(crate) fn forget_slow_subscriber(&mut self, host: HostId) {
        let at = &mut self.hosts[host];
        at.machine.unsubscribe(at.slow.events);
    }

    /// Somebody else takes a message of the subscriber that came last.
    #[cfg(test)]
    pub(crate) fn steal_message(&mut self, host: HostId) {
        let at = &mut self.hosts[host];
        let (of, _) = at.later.back().and_then(|last| last.messages).expect("a later subscriber");
        at.machine.poll_message(of).expect("a message").expect("not lagged");
    }

    pub(super) fn read_messages(&mut self, host: HostId) {
        let at = &mut self.hosts[host];
        let own = at.ids.last().and_then(Option::as_ref);
        while let Some(message) = at.machine.poll_message(at.messages_of) {
            at.delivered.note(&message);
            let check = match message {
                Ok(message) => {
                    let check = at.monitor.received(own, &message.from, &message.payload);
                    if self.recording {
                        at.messages.push((message.from, message.payload));
                    }
                    check
                }
                Err(_) => {
                    at.monitor.lagged();
                    Ok(())
                }
            };
            if let Err((invariant, detail)) = check {
                return self.violate(Some(host), invariant, detail);
            }
        }
    }

    // Sending

    /// Whether the application on a host can send anything at present.
    fn can_send(&self, host: HostId) -> bool {
        self.is_alive(host) && !self.is_frozen(host) && !self.is_withheld("input Send")
    }

    /// Sends a payload that its receiver can check. A refusal has to fit the view.
    pub fn send_checked(&mut self, from: HostId, to: &NodeId, size: usize) {
        if !self.can_send(from) {
            return;
        }
        let at = &mut self.hosts[from];
        let now = at.local(self.now);
        let (period, number) = at.monitor.up.get(to).map_or((0, 0), |up| (up.period, up.sent));
        let payload = crate::safety::payload(at.origin, period, number, size);
        let running = at.monitor.status == ClusterStatus::Running;
        let refused = match at.machine.send(now, to, Bytes::from(payload)) {
            Ok(()) => {
                match at.monitor.up.get_mut(to) {
                    Some(up) => up.sent += 1,
                    None => {
                        let detail = format!("a message to {to}, which is not up, was taken");
                        return self.violate(Some(from), Invariant::EventsMatchView, detail);
                    }
                }
                false
            }
            Err(SendError::NotConnected { .. } | SendError::ToSelf) => period != 0,
            Err(SendError::NotStarted(_)) => running,
            Err(SendError::QueueFull { .. }) => {
                self.coverage.note("full queue");
                false
            }
            Err(SendError::TooLarge { limit, size }) => size <= limit,
            Err(other) => unreachable!("{other:?} is new"),
        };
        if refused {
            self.violate(Some(from), Invariant::EventsMatchView, format!("a message to {to}, which is up, was refused"));
        }
        self.feed(from, Input::Tick);
    }

    /// Sends a payload to all that each receiver can check. It is taken for each node that is up, but where the queue for one is full.
    pub fn broadcast_checked(&mut self, from: HostId, size: usize) {
        if !self.can_send(from) {
            return;
        }
        let at = &mut self.hosts[from];
        let now = at.local(self.now);
        let payload = crate::safety::broadcast(at.origin, &at.monitor.up, size);
        let running = at.monitor.status == ClusterStatus::Running;
        let sent = at.machine.broadcast(now, Bytes::from(payload));
        let fits = match &sent {
            Ok(Broadcast { queued, refused, .. }) => {
                let full = |to: &NodeId| refused.iter().any(|(refused, _)| refused == to);
                at.monitor.up.iter_mut().filter(|(to, _)| !full(to)).for_each(|(_, up)| up.sent += 1);
                let known = |(to, error): &(NodeId, SendError)| {
                    at.monitor.up.contains_key(to) && matches!(error, SendError::QueueFull { .. })
                };
                running && queued + refused.len() == at.monitor.up.len() && refused.iter().all(known)
            }
            Err(SendError::NotStarted(_)) => !running,
            Err(SendError::TooLarge { limit, size }) => size > limit,
            Err(SendError::NotConnected { .. } | SendError::QueueFull { .. } | SendError::ToSelf) => false,
            Err(other) => unreachable!("{other:?} is new"),
        };
        if !fits {
            self.violate(Some(from), Invariant::EventsMatchView, format!("a message to all that are up: {sent:?}"));
        }
        self.feed(from, Input::Tick);
    }
}
