//! From events of the mesh to what subscribers and the driver are told.

use crate::mesh::event::MeshEvent;
use crate::mesh::host::Host;
use crate::{Action, ClusterEvent, ClusterStatus, Message};

/// Tells the subscribers, and the driver, of an event. Of downs nobody hears while this node stops: they are its own doing.
pub(crate) fn publish(host: &mut Host, event: MeshEvent) {
    match event {
        MeshEvent::Up { info, up, .. } => tell(host, ClusterEvent::NodeUp(*info), up),
        MeshEvent::Down { id, reason, .. } => {
            if host.status == ClusterStatus::Running {
                tell(host, ClusterEvent::NodeDown { id, reason }, 0);
            }
        }
        MeshEvent::Payload { from, bytes } => {
            host.subscriptions.push_message(&Message { from, payload: bytes }, host.message_limit);
            if host.actions.back() != Some(&Action::Message) {
                host.actions.push_back(Action::Message);
            }
        }
        MeshEvent::Above(event) => tell(host, *event, 0),
        MeshEvent::Names { .. } | MeshEvent::Signal { .. } | MeshEvent::WaitedFor { .. } => {}
        MeshEvent::Status(status) => tell(host, ClusterEvent::StatusChange(status), 0),
        MeshEvent::Error(error) => tell(host, ClusterEvent::Error(*error), 0),
    }
}

/// `up` numbers the up-period that a node up begins.
fn tell(host: &mut Host, event: ClusterEvent, up: u64) {
    host.subscriptions.push_event(&event, up, host.event_limit);
    host.actions.push_back(Action::Event(event));
}
