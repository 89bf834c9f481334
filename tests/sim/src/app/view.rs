//! What a test sees of a simulation.

use std::time::Duration;

use noex_proto::{ClusterStatus, NodeId};

use super::Host;
use super::stage::{Place, Stage};
use crate::World;

/// A mark that a program made by `noex_tokio::mark!`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mark {
    /// When.
    pub at: Duration,
    /// The number of the host, in the order in which they were made.
    pub host: usize,
    /// Its name.
    pub name: String,
    /// Its value, as text.
    pub value: String,
}

/// A simulation at one moment, for conditions.
#[derive(Clone, Copy)]
pub struct View<'a> {
    world: &'a World,
    places: &'a [Place],
    marks: &'a [Mark],
}

impl<'a> View<'a> {
    pub(super) fn of(stage: &'a Stage) -> Self {
        Self { world: &stage.world, places: &stage.places, marks: &stage.marks }
    }

    /// Whether all that have not ended run, and all nodes see each other.
    pub(super) fn is_whole(&self) -> bool {
        let runs = |host: &usize| self.world.machine(*host).status() == ClusterStatus::Running;
        let nodes: Vec<usize> = (0..self.places.len()).filter(runs).collect();
        self.places.iter().all(|place| place.finished || place.is_running()) && self.world.is_mesh(&nodes)
    }

    /// The virtual time.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.world.now()
    }

    /// The marks with this name, in their order.
    pub fn marks(&self, name: &str) -> impl DoubleEndedIterator<Item = &'a Mark> {
        self.marks.iter().filter(move |mark| mark.name == name)
    }

    /// The nodes that the node on a host has a session with; none where none runs.
    #[must_use]
    pub fn members(&self, host: &Host) -> Vec<NodeId> {
        let nodes = self.world.machine(host.number).connected_nodes().unwrap_or_default();
        nodes.into_iter().map(|node| node.id).collect()
    }

    /// Whether a process runs on a host.
    #[must_use]
    pub fn is_alive(&self, host: &Host) -> bool {
        self.places[host.number].is_running()
    }

    /// Whether the program of a host has come to its end.
    #[must_use]
    pub fn is_finished(&self, host: &Host) -> bool {
        self.places[host.number].finished
    }
}

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("now", &self.now()).finish_non_exhaustive()
    }
}
