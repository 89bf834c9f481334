//! What has happened, and who sees whom: written by the script and by the nodes' events, read by the view.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_lite::{StreamExt, future, stream};
use noex_driver::{Cluster, ClusterError, ClusterEvent, ExitReason, Message, NodeDownReason, NodeId, NodeStatus, Runtime};

/// The nodes, by their place.
pub(super) const NAMES: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];

/// What happened, when, counted from the beginning.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) at: Duration,
    pub(super) what: What,
}

/// What happened. Nodes are given by their place in [`NAMES`].
#[derive(Clone, Debug)]
pub(super) enum What {
    /// The script did this to a node.
    Deed { node: usize, text: &'static str },
    /// All is over, well or not.
    Ended(String),
    /// A node reported this.
    Heard { node: usize, report: Report },
    /// What a step is about was seen.
    Seen(String),
    /// A step began.
    Step { number: usize, title: &'static str, about: &'static str },
}

/// What a node reported.
#[derive(Clone, Debug)]
pub(super) enum Report {
    /// The process of another node answered.
    Answer {
        from: usize,
        text: String,
    },
    Down {
        who: usize,
        reason: NodeDownReason,
    },
    /// The process of another node ended.
    Ended {
        who: usize,
        reason: ExitReason,
    },
    Error(ClusterError),
    Message {
        from: usize,
        text: String,
    },
    Up {
        who: usize,
    },
}

/// What the script has made of a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mood {
    Absent,
    Frozen,
    Killed,
    Left,
    Running,
}

/// How one node sees another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sight {
    /// The last session ended by a failure, or there was none yet.
    Down,
    /// The other one said that it leaves.
    Left,
    /// A session is up.
    Up,
    /// Never heard of.
    Unknown,
}

pub(super) struct Board<R: Runtime> {
    began: Instant,
    clusters: Vec<Cluster<R>>,
    quit: AtomicBool,
    state: Mutex<State>,
}

struct State {
    ids: [Option<NodeId>; NAMES.len()],
    log: Vec<Entry>,
    moods: [Mood; NAMES.len()],
}

impl<R: Runtime> Board<R> {
    pub(super) fn new() -> Self {
        let state = State { ids: [const { None }; NAMES.len()], log: Vec::new(), moods: [Mood::Absent; NAMES.len()] };
        Self {
            began: Instant::now(),
            clusters: NAMES.iter().map(|_| Cluster::new()).collect(),
            quit: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    pub(super) fn cluster(&self, node: usize) -> &Cluster<R> {
        &self.clusters[node]
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The entries from a place in the log on.
    pub(super) fn entries(&self, from: usize) -> Vec<Entry> {
        self.state().log[from..].to_vec()
    }

    pub(super) fn id(&self, node: usize) -> Option<NodeId> {
        self.state().ids[node].clone()
    }

    /// Records what the nodes report, for ever.
    pub(super) fn listen(&self) {
        let mut reports = stream::pending().boxed();
        for (node, cluster) in self.clusters.iter().enumerate() {
            let events = cluster.events().filter_map(Report::of_event);
            let messages = cluster.messages().filter_map(|message| message.ok().and_then(Report::of_message));
            let all = stream::or(events, messages).map(move |report| (node, report));
            reports = stream::or(reports, all).boxed();
        }
        while let Some((node, report)) = future::block_on(reports.next()) {
            self.write(What::Heard { node, report });
        }
    }

    pub(super) fn log_len(&self) -> usize {
        self.state().log.len()
    }

    pub(super) fn mood(&self, node: usize) -> Mood {
        self.state().moods[node]
    }

    pub(super) fn quit(&self) {
        self.quit.store(true, Ordering::Relaxed);
    }

    pub(super) fn quits(&self) -> bool {
        self.quit.load(Ordering::Relaxed)
    }

    pub(super) fn set_id(&self, node: usize, id: NodeId) {
        self.state().ids[node] = Some(id);
    }

    pub(super) fn set_mood(&self, node: usize, mood: Mood, text: &'static str) {
        self.state().moods[node] = mood;
        self.write(What::Deed { node, text });
    }

    /// How a node sees another; `None` if it sees nothing, or if they are the same.
    pub(super) fn sight(&self, node: usize, other: usize) -> Option<Sight> {
        if node == other || !matches!(self.mood(node), Mood::Frozen | Mood::Running) {
            return None;
        }
        let Some(id) = self.id(other) else { return Some(Sight::Unknown) };
        Some(match self.clusters[node].node(&id).ok()? {
            None => Sight::Unknown,
            Some(seen) if seen.status == NodeStatus::Connected => Sight::Up,
            Some(_) if self.said_goodbye(node, other) => Sight::Left,
            Some(_) => Sight::Down,
        })
    }

    pub(super) fn write(&self, what: What) {
        let mut state = self.state();
        let at = self.began.elapsed();
        state.log.push(Entry { at, what });
    }

    /// Whether the last that a node reported about another is that it left.
    fn said_goodbye(&self, node: usize, other: usize) -> bool {
        let state = self.state();
        let last = state.log.iter().rev().find_map(|entry| match &entry.what {
            What::Heard { node: by, report: Report::Down { who, reason } } if (*by, *who) == (node, other) => Some(*reason),
            _ => None,
        });
        last == Some(NodeDownReason::GracefulShutdown)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report {
    fn of_event(event: ClusterEvent) -> Option<Self> {
        Some(match event {
            ClusterEvent::Error(error) => Self::Error(error),
            ClusterEvent::NodeDown { id, reason } => Self::Down { who: place(&id)?, reason },
            ClusterEvent::NodeUp(node) => Self::Up { who: place(&node.id)? },
            _ => return None,
        })
    }

    fn of_message(message: Message) -> Option<Self> {
        let text = String::from_utf8_lossy(&message.payload).into_owned();
        Some(Self::Message { from: place(&message.from)?, text })
    }
}

fn place(id: &NodeId) -> Option<usize> {
    NAMES.iter().position(|name| *name == id.name())
}
