//! The state of processes without what differs between runs that are alike.

use core::hash::Hasher;
use core::mem::discriminant;

use super::mailbox::Waiting;
use super::peers::{CallState, MonitorState, Peer, RequestState, WatchedState};
use super::slots::place;
use super::table::Process;
use super::{Phase, Processes};
use crate::mesh::abstraction::{Abstract, Abstraction};

impl Abstract for Processes {
    fn write(&self, to: &mut Abstraction<'_, impl Hasher>) {
        // Deadlines are written with what they are of; who has something to send is told before the next input.
        let Self { phase, own: _, table, peers, deadlines: _, names, cast_reports: _, dirty: _ } = self;
        to.part(names);
        to.write((*phase == Phase::Running, *phase == Phase::Stopped, table.len()));
        for (place, (_, process)) in table.iter().enumerate() {
            to.write(place);
            to.part(process);
        }
        for (peer, row) in peers.iter() {
            to.write(to.place(peer));
            to.part(row);
        }
    }
}

impl Abstract for Process {
    fn write(&self, to: &mut Abstraction<'_, impl Hasher>) {
        to.write((self.protocol, self.watchers.len(), self.monitors.len(), self.requests.len()));
        to.write((self.mailbox().stage(), self.mailbox().batch().len(), self.mailbox().messages(), self.mailbox().lost()));
        for waiting in self.mailbox().waiting() {
            to.write(discriminant(waiting));
            match waiting {
                Waiting::Call(request, cost) => to.write((place(request.number), cost)),
                Waiting::Cast(body) => to.write(body.len()),
                Waiting::Down(_, reason) | Waiting::Stop(reason) => to.write(reason),
                Waiting::NameLost(lost) => to.write(&lost.0),
                Waiting::Overrun(missed) => to.write(missed),
            }
        }
    }
}

impl Abstract for Peer {
    fn write(&self, to: &mut Abstraction<'_, impl Hasher>) {
        let Self { calls, requests, monitors, watched, outbox } = self;
        to.write(outbox.waits());
        for kind in outbox.kinds() {
            to.write(kind);
        }
        for (number, call) in calls.iter() {
            to.write((place(number), discriminant(&call.state), to.until(call.deadline)));
            match &call.state {
                CallState::Queued(queued) => to.write((queued.protocol, queued.body.len())),
                CallState::Sent(_) | CallState::Cancelled => {}
            }
        }
        for (place, request) in requests {
            to.write((place, discriminant(&request.state)));
            match &request.state {
                RequestState::Waiting { deadline, .. } => to.write(to.until(*deadline)),
                RequestState::Taken { refused, .. } => to.write(refused.is_some()),
                RequestState::Answered { body, .. } => to.write(body.len()),
                RequestState::Failed { failure, .. } => to.write(discriminant(&**failure)),
            }
        }
        for (number, monitor) in monitors.iter() {
            to.write((place(number), monitor.watcher.is_some(), discriminant::<MonitorState>(&monitor.state)));
        }
        for (place, watched) in watched {
            let ended = if let WatchedState::Ended { reason, .. } = &watched.state { Some(reason) } else { None };
            to.write((place, ended));
        }
    }
}
