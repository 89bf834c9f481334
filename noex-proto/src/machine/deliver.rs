//! From the mesh to the layers above it.

use super::Active;
use crate::app::publish;
use crate::mesh::host::Host;

impl Active {
    /// Hands what the mesh has found out to the layers above it, in the order in which it came about, until nothing is left.
    /// It is called after each settled frame and deadline, so that each layer hears of one thing before the next is looked at.
    #[inline]
    pub(super) fn deliver(host: &mut Host) {
        while let Some(event) = host.events.pop_front() {
            publish(host, event);
        }
    }
}
