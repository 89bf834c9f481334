//! What goes to `tracing`, where that feature is on; otherwise nothing does.
#![cfg_attr(not(feature = "tracing"), expect(unused_variables, reason = "without the feature nothing is logged"))]

use std::net::IpAddr;

use noex_proto::{ClusterEvent, ConnId};

/// Errors that need somebody, heard by a subscriber or not, at warn; those that pass by themselves and transitions at info.
pub(crate) fn event(event: &ClusterEvent) {
    #[cfg(feature = "tracing")]
    match event {
        ClusterEvent::Error(error) if !error.is_transient() => tracing::warn!("{error}"),
        event => tracing::info!("{event}"),
    }
}

/// Of which addresses the node's host is the first, where there are several.
pub(crate) fn candidates(candidates: &[IpAddr]) {
    #[cfg(feature = "tracing")]
    if let [host, _, ..] = candidates {
        tracing::info!(
            "peers are told {host}, the first of this machine's addresses {candidates:?}; advertise_host names another"
        );
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

#[cfg(all(test, feature = "tracing"))]
mod tests {
    use std::fmt;
    use std::sync::{Arc, Mutex};

    use noex_proto::{ClusterError, ClusterStatus, DialError, LocalFault, Unreached};
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Level, Metadata, Subscriber};

    use super::*;

    /// What was logged, as level and text.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<(Level, String)>>>);

    impl Subscriber for Log {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            let mut text = Text::default();
            event.record(&mut text);
            self.0.lock().expect("no test panics").push((*event.metadata().level(), text.0));
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[derive(Default)]
    struct Text(String);

    impl Visit for Text {
        fn record_debug(&mut self, _: &Field, value: &dyn fmt::Debug) {
            self.0 = format!("{value:?}");
        }
    }

    #[test]
    fn what_passes_by_itself_is_logged_at_info() {
        let log = Log::default();
        let seed = "s@10.0.0.9:4369".parse().expect("an id");
        let why = Unreached::Dial(DialError::Refused);
        tracing::subscriber::with_default(log.clone(), || {
            event(&ClusterEvent::Error(ClusterError::SeedUnreachable { seed, why }));
            event(&ClusterEvent::Error(ClusterError::Local(LocalFault::NoSecret)));
            event(&ClusterEvent::StatusChange(ClusterStatus::Running));
        });
        let logged = log.0.lock().expect("no test panics");
        let levels: Vec<Level> = logged.iter().map(|(level, _)| *level).collect();
        assert_eq!(levels, [Level::INFO, Level::WARN, Level::INFO], "{logged:?}");
        assert!(logged[0].1.contains("connection refused"), "{logged:?}");
    }

    #[test]
    fn where_there_was_a_choice_the_log_says_what_was_taken_and_from_what() {
        let log = Log::default();
        let [taken, other] = [[10, 77, 0, 1].into(), [172, 17, 0, 1].into()];
        tracing::subscriber::with_default(log.clone(), || {
            candidates(&[]);
            candidates(&[taken]);
            candidates(&[taken, other]);
        });
        let logged = log.0.lock().expect("no test panics");
        let [(Level::INFO, text)] = &logged[..] else { panic!("{logged:?}") };
        assert!(text.contains("told 10.77.0.1,") && text.contains("[10.77.0.1, 172.17.0.1]"), "{text}");
    }
}
