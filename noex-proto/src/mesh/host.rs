//! What outlives a run: what leaves the machine, and what is counted and numbered over all runs.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use crate::app::subscription::Subscriptions;
use crate::mesh::dialler::target::Target;
use crate::mesh::event::MeshEvent;
use crate::mesh::lookups::Lookups;
use crate::mesh::reports::LocalReports;
use crate::recording::Recorder;
use crate::{Action, ClusterError, ClusterStatus, ConnId, Counters, Input, Instant, Limits, LocalFault};

/// What outlives a run.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) actions: VecDeque<Action>,
    pub(crate) counters: Counters,
    /// The bound of each event queue, of the last start.
    pub(crate) event_limit: usize,
    /// What the mesh has found out and the layers above were not told yet. There is nothing between two inputs.
    pub(crate) events: VecDeque<MeshEvent>,
    /// The number of the last connection.
    pub(crate) last_conn: u64,
    pub(crate) local_reports: LocalReports,
    /// The latest moment seen.
    pub(crate) now: Instant,
    pub(crate) lookups: Lookups<Target>,
    /// The bound of each message queue, in bytes, of the last start.
    pub(crate) message_limit: usize,
    /// What the application said of its processes, before the start or later.
    pub(crate) process_count: u64,
    /// The processes that are open.
    pub(crate) open_processes: u64,
    pub(crate) recorder: Option<Recorder>,
    pub(crate) status: ClusterStatus,
    pub(crate) subscriptions: Subscriptions,
    /// The inputs since the last audit.
    #[cfg(debug_assertions)]
    pub(crate) unaudited: usize,
    /// The number of the last up-period.
    pub(crate) ups: u64,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            actions: VecDeque::new(),
            counters: Counters::default(),
            event_limit: Limits::default().events_per_subscriber,
            events: VecDeque::new(),
            last_conn: 0,
            lookups: Lookups::default(),
            local_reports: LocalReports::default(),
            message_limit: Limits::default().message_bytes_per_subscriber,
            now: Instant::START,
            process_count: 0,
            open_processes: 0,
            recorder: None,
            status: ClusterStatus::default(),
            subscriptions: Subscriptions::default(),
            #[cfg(debug_assertions)]
            unaudited: 0,
            ups: 0,
        }
    }
}

impl Host {
    /// Tells the layers above, once the present step is over.
    pub(crate) fn tell(&mut self, event: MeshEvent) {
        self.events.push_back(event);
    }

    /// Tells of an error.
    pub(crate) fn report(&mut self, error: ClusterError) {
        self.tell(MeshEvent::Error(Box::new(error)));
    }

    /// Reports a fault of the local system, unless the same was reported within the last minute.
    pub(crate) fn report_local(&mut self, fault: LocalFault) {
        if self.local_reports.admit(self.now, &fault) {
            self.report(ClusterError::Local(fault));
        } else {
            self.counters.reports_held_back += 1;
        }
    }

    pub(crate) fn set_status(&mut self, status: ClusterStatus) {
        self.status = status;
        self.tell(MeshEvent::Status(status));
    }

    /// The processes of this node, those that are open here and those that the application told of.
    pub(crate) const fn process_count(&self) -> u64 {
        self.process_count.saturating_add(self.open_processes)
    }

    // The recording

    /// Notes an input before it is handled, so that one that the machine does not survive is there.
    pub(crate) fn note_input(&mut self, now: Instant, input: &Input) {
        if let Some(recorder) = &mut self.recorder {
            recorder.note_input(now, input);
        }
    }

    /// Notes how many actions it led to, beside those that were queued before.
    pub(crate) fn note_actions(&mut self, queued: usize) {
        if let Some(recorder) = &mut self.recorder {
            recorder.note_actions(self.actions.len() - queued);
        }
    }

    /// Numbers a new connection.
    pub(crate) const fn new_conn(&mut self) -> ConnId {
        self.last_conn += 1;
        ConnId(self.last_conn)
    }
}
