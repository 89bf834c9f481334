//! From the mesh to the layers above it, and back.

use super::Active;
use crate::PeerFault;
use crate::app::publish;
use crate::mesh::cx::{Cx, Local};
use crate::mesh::event::{MeshEvent, PeerKey, Up};
use crate::mesh::host::Host;
use crate::process::{self, Newcomer, Processes};

/// What the process layer is handed while the mesh is at work.
pub(super) fn above<'a>(host: &'a mut Host, local: &'a Local) -> process::Cx<'a> {
    process::Cx { host, limits: &local.settings.limits, now: local.now, find: &|_| None }
}

impl Active {
    /// Hands what the mesh has found out to the layers above it, in the order in which it came about, and what they want to send to the
    /// mesh, until nothing is left. It is called after each settled frame and deadline, so that each layer hears of one thing before the
    /// next is looked at.
    #[inline]
    pub(super) fn deliver(&mut self, host: &mut Host, processes: &mut Processes) {
        if !host.events.is_empty() || processes.is_dirty() {
            self.deliver_all(host, processes);
        }
    }

    fn deliver_all(&mut self, host: &mut Host, processes: &mut Processes) {
        loop {
            while let Some(event) = host.events.pop_front() {
                self.tell_processes(host, processes, &event);
                publish(host, event);
            }
            if !processes.is_dirty() {
                return;
            }
            let Self { local, node, .. } = self;
            for peer in processes.take_dirty() {
                node.send_signals(&mut Cx { host, local, above: processes }, PeerKey(peer));
            }
            for (peer, until) in processes.take_rewaited() {
                node.wait_for(local, PeerKey(peer), until);
            }
        }
    }

    /// The process layer hears of an event before subscribers do.
    fn tell_processes(&mut self, host: &mut Host, processes: &mut Processes, event: &MeshEvent) {
        let Self { local, node, .. } = self;
        match event {
            MeshEvent::Down { peer, id, reason } => processes.down(&mut above(host, local), peer.0, id, *reason),
            MeshEvent::Signal { peer, bytes, since } => {
                if let Err(fault) = processes.received(&mut above(host, local), peer.0, bytes, *since) {
                    node.blame(&mut Cx { host, local, above: processes }, *peer, fault);
                }
            }
            MeshEvent::Names { peer, kind, bytes } => {
                if let Err(fault) = processes.names_told(&mut above(host, local), peer.0, *kind, bytes) {
                    node.blame(&mut Cx { host, local, above: processes }, *peer, fault);
                }
            }
            MeshEvent::Up { session, silence, info, .. } => {
                let Up { peer, incarnation, capable } = *session;
                let newcomer = Newcomer { peer, id: &info.id, incarnation, capable, silence: *silence };
                processes.up(&mut above(host, local), &newcomer);
            }
            MeshEvent::WaitedFor { peer } => {
                if processes.is_overdue(peer.0, local.run) {
                    node.blame(&mut Cx { host, local, above: processes }, *peer, PeerFault::ClaimNotAcknowledged);
                }
            }
            MeshEvent::Above(_) | MeshEvent::Payload { .. } | MeshEvent::Status(_) | MeshEvent::Error(_) => {}
        }
    }
}
