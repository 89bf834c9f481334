//! What must hold after every step, and the memory that it takes to check it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use noex_proto::testing::Rule;
use noex_proto::{
    Action, ClusterError, ClusterEvent, ClusterStatus, ConnId, Contact, Counters, Limits, NodeId, Unreached, Usage,
};
use serde::{Deserialize, Serialize};

use crate::HostId;
use crate::world::SECOND;

/// A rule that every run keeps.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Invariant {
    /// No action concerns a connection that is not open, and each is closed once.
    ActionsOnOpenConnections,
    /// Of `n` addresses of a name each is tried within `ceil(n / 16)` dials.
    AddressesTried,
    /// The healed nodes that should see each other do, in time.
    Agreement,
    /// Two who know each other are apart for no longer than what was in their way takes to be got over.
    ApartForACause,
    /// An answer is of the process that was called, in the up-period in which it was, and that has answered.
    AnswersAreTrue,
    /// Of nodes and seeds is said what the network or a resolver said, and nothing for a fault of the own system.
    BlameIsTrue,
    /// What the machine counts is what its driver knows: equal, after each input.
    BooksBalance,
    /// What is queued and every table stay within their limits.
    Bounded,
    /// A call that is open ends by its deadline, and with its session.
    CallsEndInTime,
    /// A call has one outcome, and none after it was cancelled.
    CallsEndOnce,
    /// Any chunking of a stream gives the same actions.
    ChunkingIsIrrelevant,
    /// Two running processes with one identity: both report it.
    ConflictReported,
    /// Counters never go back.
    CountersGrow,
    /// A node that is dead is reported in time.
    DeathReported,
    /// A process that is said to be down by some reason is.
    DownsAreTrue,
    /// Who left is not dialled, unless it is a seed or has started again.
    DepartedStayAway,
    /// Ups and downs alternate per node.
    EventsAlternate,
    /// What was told by events is what can be read.
    EventsMatchView,
    /// Each handshake has nonces of its own.
    FreshNonces,
    /// A call is handled once at most, by the process that was called, before its deadline; where it is said that it was not, never.
    HandledAsSaid,
    /// The messages of a node to a process come in order; a cast is missing only where the process is told so, and a process is down after its
    /// last.
    MessagesInOrder,
    /// A monitor fires once, in time, and not after it was removed.
    MonitorsFireOnce,
    /// At rest all nodes see one holder of a name, or none and nobody stands by for it, and the processes that have names know of it.
    NamesAgree,
    /// What is said of names is so: who has one claimed it, and its node is up; who loses one had it; a claim fails for the reason that it gives.
    NamesAreTrue,
    /// Nobody's number of ticks, dials or messages explodes.
    NoStorm,
    /// Nobody goes down without a cause.
    NoFalseDown,
    /// No list of nodes names one twice.
    NoDuplicate,
    /// No panic.
    NoPanic,
    /// No node is its own member.
    NoSelf,
    /// At rest nothing is left of calls, and of a node that is stopped no process.
    NothingIsLeft,
    /// No dial follows the call to stop, and no action its end, when no connection and no deadline is left.
    NothingAfterStop,
    /// No two nodes have one name that have been connected without a break since the later of their claims began.
    OneHolder,
    /// At rest, a pair of nodes has one connection.
    OneSession,
    /// What is said of a call, cast or monitor that fails is so.
    OutcomesAreTrue,
    /// What is received is a prefix of what was sent in one up-period, in order, once.
    PayloadsArePrefixes,
    /// At rest, a call comes to what its process does.
    ProcessesServe,
    /// Who is asked for members over a session that nothing disturbs answers.
    QuestionsAnswered,
    /// Once nothing fails any more, all see each other again by dials and their deadlines; no silence has to last for it.
    RecoveryWithoutSilence,
    /// A peer that is lost after its session has held is dialled again after the base delay.
    RedialInTime,
    /// A session that is lost, with nothing in the way, is replaced within the delay and the time of a dial.
    ReplacedInTime,
    /// A subscriber that reads late is told the same in the end.
    SlowSubscriber,
    /// An up has an authenticated session with that very node behind it.
    SessionBeforeUp,
    /// A run has an end.
    StepBound,
    /// A stop takes as long as it may, and no longer.
    StopInTime,
    /// What strangers send changes nothing but counters and the table of strangers.
    StrangersChangeNothing,
    /// `poll_timeout` neither loses a wake-up nor asks for one again and again.
    Timers,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string(self).unwrap_or_default();
        f.write_str(text.trim_matches('"'))
    }
}

/// A broken invariant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// When.
    pub at: Duration,
    /// What was found.
    pub detail: String,
    /// Where, if at one host.
    pub host: Option<HostId>,
    /// Which.
    pub invariant: Invariant,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:.6}s", self.invariant, self.at.as_secs_f64())?;
        if let Some(host) = self.host {
            write!(f, " on host {host}")?;
        }
        write!(f, ": {}", self.detail)
    }
}

impl std::error::Error for Violation {}

/// What was told and sent in one up-period of a peer.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Up {
    /// The number of this up-period at this host.
    pub(crate) period: u64,
    /// Payloads that were taken for the peer.
    pub(crate) sent: u64,
    /// The process and the up-period at the peer whose payloads come.
    source: Option<(u64, u64)>,
    pub(crate) received: u64,
    /// The subscriber lost messages: the next one may be later.
    gap: bool,
}

/// What a host's application has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Monitor {
    pub(crate) status: ClusterStatus,
    pub(crate) up: BTreeMap<NodeId, Up>,
    sources: BTreeSet<(u64, u64)>,
    periods: u64,
    /// The second in which these were counted.
    window: u64,
    ticks: u32,
    sends: u32,
    /// When the last ones took place, as far as that is less than a second ago.
    dials: VecDeque<u64>,
    reports: VecDeque<u64>,
    /// All that was sent.
    pub(crate) records: u64,
    /// How many payloads had come from each node in its last up-period that is over.
    pub(crate) ended: BTreeMap<NodeId, u64>,
    /// Seeds that were reported as unreachable, and why: need not be again for the same reason.
    unreachable: BTreeMap<String, Unreached>,
}

/// Payloads of the simulator begin with this, the process, its up-period and a number.
const MAGIC: u64 = 0x6e6f_6578_2d73_696d;
/// Those for all nodes with this, the process, and the number of those that are up.
const MAGIC_FOR_ALL: u64 = 0x6e6f_6578_2d61_6c6c;
const FILL_FOR_ALL: u8 = 0xa5;
/// The shortest payload that can be checked.
pub(crate) const PAYLOAD_MIN: usize = 32;

/// A payload that says where it comes from.
pub(crate) fn payload(origin: u64, period: u64, number: u64, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size.max(PAYLOAD_MIN));
    for part in [MAGIC, origin, period, number] {
        bytes.extend_from_slice(&part.to_be_bytes());
    }
    let fill = u8::try_from(number & 0xff).expect("masked");
    bytes.resize(size.max(PAYLOAD_MIN), fill);
    bytes
}

/// A payload for all that are up, which says so for each of them, by a digest of its identity.
pub(crate) fn broadcast(origin: u64, up: &BTreeMap<NodeId, Up>, size: usize) -> Vec<u8> {
    let head = [MAGIC_FOR_ALL, origin, up.len() as u64, 0];
    let each = up.iter().flat_map(|(to, up)| [digest(to), up.period, up.sent]);
    let mut bytes: Vec<u8> = head.into_iter().chain(each).flat_map(u64::to_be_bytes).collect();
    bytes.resize(size.max(bytes.len()), FILL_FOR_ALL);
    bytes
}

fn digest(id: &NodeId) -> u64 {
    id.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, |digest, byte| (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What a payload says.
struct Payload<'a> {
    /// The sender's run, and its up-period with the receiver.
    source: (u64, u64),
    number: u64,
    /// The bytes that follow, and what each of them is.
    rest: &'a [u8],
    fill: u8,
}

/// Reads a payload that this node was sent. None where it is none that can be checked.
fn read_payload<'a>(own: Option<&NodeId>, payload: &'a [u8]) -> Option<Result<Payload<'a>, String>> {
    let parts = |bytes: &'a [u8]| bytes.as_chunks::<8>().0.iter().map(|part| u64::from_be_bytes(*part));
    let (head, rest) = payload.split_at_checked(PAYLOAD_MIN)?;
    let head: Vec<u64> = parts(head).collect();
    match head[..] {
        [MAGIC, origin, period, number] => {
            let fill = u8::try_from(number & 0xff).expect("masked");
            Some(Ok(Payload { source: (origin, period), number, rest, fill }))
        }
        [MAGIC_FOR_ALL, origin, count, _] => {
            let size = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(24);
            let Some((each, rest)) = rest.split_at_checked(size) else { return Some(Err("one for all is cut off".into())) };
            let each: Vec<u64> = parts(each).collect();
            let own = own.map(digest);
            Some(match each.as_chunks::<3>().0.iter().find(|[to, ..]| Some(*to) == own) {
                Some([_, period, number]) => Ok(Payload { source: (origin, *period), number: *number, rest, fill: FILL_FOR_ALL }),
                None => Err("one for all that were up, which this node was not".into()),
            })
        }
        _ => None,
    }
}

/// What an event means for the picture of the cluster, or how it does not fit.
pub(crate) type Check = Result<(), (Invariant, String)>;

/// A rule of a driver's contract, as an invariant.
impl From<Rule> for Invariant {
    fn from(rule: Rule) -> Self {
        match rule {
            Rule::ActionsOnOpenConnections => Self::ActionsOnOpenConnections,
            Rule::BooksBalance => Self::BooksBalance,
            Rule::Bounded => Self::Bounded,
            Rule::CountersGrow => Self::CountersGrow,
            Rule::EventsAlternate => Self::EventsAlternate,
            Rule::EventsMatchView => Self::EventsMatchView,
            Rule::NoDuplicate => Self::NoDuplicate,
            Rule::NoSelf => Self::NoSelf,
            Rule::NothingAfterStop => Self::NothingAfterStop,
            Rule::Timers => Self::Timers,
        }
    }
}

fn broken(invariant: Invariant, detail: String) -> Check {
    Err((invariant, detail))
}

impl Monitor {
    /// The next event, of which the contract says whether it fits.
    pub(crate) fn event(&mut self, event: &ClusterEvent) -> Check {
        match event {
            ClusterEvent::NodeUp(info) => {
                self.periods += 1;
                self.unreachable.clear();
                self.up.insert(info.id.clone(), Up { period: self.periods, ..Up::default() });
            }
            ClusterEvent::NodeDown { id, .. } => {
                if let Some(up) = self.up.remove(id) {
                    self.ended.insert(id.clone(), up.received);
                }
                self.unreachable.clear();
            }
            ClusterEvent::StatusChange(status) => {
                self.status = *status;
                if *status == ClusterStatus::Starting {
                    // Rates are those of one run of a node.
                    (self.ticks, self.sends) = (0, 0);
                    self.dials.clear();
                    self.reports.clear();
                }
                if *status == ClusterStatus::Stopped {
                    self.unreachable.clear();
                    self.up.clear();
                }
            }
            ClusterEvent::Error(ClusterError::SeedUnreachable { seed, why }) => {
                if self.unreachable.insert(seed.to_string(), *why) == Some(*why) {
                    return broken(Invariant::NoStorm, format!("{seed} is reported once more as unreachable: {why:?}"));
                }
            }
            ClusterEvent::Error(ClusterError::SeedMismatch { .. }) => self.unreachable.clear(),
            ClusterEvent::Error(_) | ClusterEvent::Lagged { .. } | ClusterEvent::NameConflict { .. } => {}
            other => unreachable!("{other:?} is new"),
        }
        Ok(())
    }

    /// The node has these seeds from now on: what is new among them has not been reported.
    pub(crate) fn seeds_changed(&mut self, seeds: &[String]) {
        let seeds: Vec<String> = seeds.iter().filter_map(|seed| Some(seed.parse::<Contact>().ok()?.to_string())).collect();
        self.unreachable.retain(|seed, _| seeds.contains(seed));
    }

    /// Writes what later checks depend on, but for what is counted.
    pub(crate) fn hash_abstraction(&self, state: &mut impl Hasher) {
        (self.status, &self.up, &self.sources).hash(state);
    }

    /// A payload came.
    pub(crate) fn received(&mut self, own: Option<&NodeId>, from: &NodeId, payload: &[u8]) -> Check {
        let wrong = |detail: String| broken(Invariant::PayloadsArePrefixes, detail);
        let Some(read) = read_payload(own, payload) else { return Ok(()) };
        let Payload { source, number, rest, fill } = match read {
            Ok(read) => read,
            Err(detail) => return wrong(format!("{detail}, from {from}")),
        };
        let Some(up) = self.up.get_mut(from) else {
            return wrong(format!("{number} of {source:?} from {from}, which is not up"));
        };
        match up.source {
            None => {
                if !self.sources.insert(source) {
                    return wrong(format!("{number} of {source:?} from {from} in a second up-period"));
                }
                up.source = Some(source);
            }
            Some(first) if first != source => return wrong(format!("{source:?} from {from} after {first:?} in one up-period")),
            Some(_) => {}
        }
        if number != up.received && !(up.gap && number > up.received) {
            return wrong(format!("{number} of {source:?} from {from} in place of {}", up.received));
        }
        up.gap = false;
        up.received = number + 1;
        if rest.iter().any(|byte| *byte != fill) {
            return wrong(format!("{number} of {source:?} from {from} has other bytes"));
        }
        Ok(())
    }

    pub(crate) fn lagged(&mut self) {
        for up in self.up.values_mut() {
            up.gap = true;
        }
    }

    /// Counts what a host does within a second of its time: for rates in any second, of which two windows of a rate lie in one at most.
    pub(crate) fn count(&mut self, now: u64, what: Activity, hosts: usize, limits: Option<&Limits>) -> Check {
        let window = now / SECOND;
        if window != self.window {
            (self.window, self.ticks, self.sends) = (window, 0, 0);
        }
        self.records += u64::from(what == Activity::Send);
        let twice = |rate: fn(&Limits) -> usize| limits.map_or(usize::MAX, |limits| rate(limits).saturating_mul(2));
        let (count, limit) = match what {
            Activity::Tick => (counted(&mut self.ticks), 1000 + 100 * hosts),
            Activity::Dial => (counted_at(&mut self.dials, now), twice(|limits| limits.dials_per_second)),
            Activity::Report => (counted_at(&mut self.reports, now), twice(|limits| limits.error_reports_per_second)),
            Activity::Send => (counted(&mut self.sends), 5000 + 200 * hosts),
        };
        if count > limit {
            return broken(Invariant::NoStorm, format!("more than {limit} of {what:?} within a second"));
        }
        Ok(())
    }
}

fn counted(count: &mut u32) -> usize {
    *count += 1;
    *count as usize
}

/// How many there were within a second with one more now.
fn counted_at(times: &mut VecDeque<u64>, now: u64) -> usize {
    while times.front().is_some_and(|at| now - at >= SECOND) {
        times.pop_front();
    }
    times.push_back(now);
    times.len()
}

/// What a stranger on a connection must not change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Picture {
    counters: Counters,
    nodes: Vec<(NodeId, noex_proto::NodeStatus, u64)>,
    status: ClusterStatus,
    usage: Usage,
}

impl Picture {
    pub(crate) fn of(machine: &noex_proto::Machine) -> Self {
        let nodes = machine.nodes().unwrap_or_default();
        let (mut counters, mut usage) = (machine.counters(), machine.usage());
        // What a stranger, and the dial that its end makes room for, may change.
        for changed in [
            &mut counters.dial_failures,
            &mut counters.dials,
            &mut counters.evicted,
            &mut counters.faults,
            &mut counters.reports_held_back,
        ] {
            *changed = 0;
        }
        for changed in [
            &mut usage.closing_connections,
            &mut usage.connections,
            &mut usage.dials_in_flight,
            &mut usage.events_per_subscriber,
            &mut usage.half_open,
            &mut usage.half_open_per_address,
        ] {
            *changed = 0;
        }
        Self {
            counters,
            nodes: nodes.into_iter().map(|info| (info.id, info.status, info.process_count)).collect(),
            status: machine.status(),
            usage,
        }
    }

    /// The same after the stranger's bytes.
    pub(crate) fn check(&self, after: &Self) -> Check {
        if self == after {
            return Ok(());
        }
        broken(Invariant::StrangersChangeNothing, format!("{self:?} became {after:?}"))
    }
}

/// What a node may do about the bytes of a stranger: answer or close its connection, report it, and dial on in place of it.
pub(crate) fn check_answer(conn: ConnId, action: &Action) -> Check {
    match action {
        Action::Close { conn: of, .. } | Action::Transmit { conn: of, .. } if *of == conn => Ok(()),
        Action::Connect { .. } | Action::Event(ClusterEvent::Error(_)) | Action::Resolve { .. } => Ok(()),
        action => broken(Invariant::StrangersChangeNothing, format!("bytes of a stranger on {conn} lead to {action:?}")),
    }
}

/// What is counted against storms.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Activity {
    Dial,
    /// Of what strangers and peers can cause.
    Report,
    Send,
    Tick,
}
