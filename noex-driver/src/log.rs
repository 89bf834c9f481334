//! What goes to `tracing`, where that feature is on; otherwise nothing does.
#![cfg_attr(not(feature = "tracing"), expect(unused_variables, reason = "without the feature nothing is logged"))]

use noex_proto::{ClusterEvent, ConnId};

/// Faults, heard by a subscriber or not, at warn; transitions at info.
pub(crate) fn event(event: &ClusterEvent) {
    #[cfg(feature = "tracing")]
    match event {
        ClusterEvent::Error(error) => tracing::warn!("{error}"),
        event => tracing::info!("{event}"),
    }
}

/// Bytes that were read or written.
pub(crate) fn bytes(what: &'static str, conn: ConnId, bytes: usize) {
    #[cfg(feature = "tracing")]
    tracing::trace!(%conn, bytes, "{what}");
}

/// What cannot be told by an error event.
pub(crate) fn warning(message: &str) {
    #[cfg(feature = "tracing")]
    tracing::warn!("{message}");
}
