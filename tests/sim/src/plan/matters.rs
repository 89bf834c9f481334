//! What matters: what of a plan, a configuration, a machine's inputs and limits changes what nodes do, taken out or changed, and which
//! messages are sent.

use std::collections::BTreeMap;
use std::time::Duration;

use noex_proto::{ClusterConfig, Input, Limits, Secret};

use super::shrink::remove_fault;
use super::{Fault, Op, Plan};
use crate::{World, frames};

/// A part of a plan, and how it is changed.
type Part = (&'static str, fn(&mut Plan));

/// How a configuration is changed.
type Config = fn(ClusterConfig) -> ClusterConfig;

/// What is changed of all nodes of a run. Its hash covers what they do, and what subscribers miss, and not what they are fed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Config(Config),
    /// No machine is fed this input.
    Input(&'static str),
    /// A limit is doubled, or halved where it may not be greater than another.
    Limit(&'static str),
    Nothing,
}

/// The fields of a configuration that are no limits, and another value for each.
const CONFIG: [(&str, Config); 15] = [
    ("config accepted_secrets", |config| config.accepted_secrets([] as [Secret; 0])),
    ("config advertise_host", |config| config.advertise_host("elsewhere.example")),
    ("config advertise_port", |config| config.advertise_port(4370)),
    ("config cluster_name", |config| config.cluster_name("another")),
    ("config cluster_secret", |config| config.cluster_secret("another secret, of all nodes")),
    ("config forget_after", |config| {
        let time = millis(&config, "forget_after_ms");
        config.forget_after(time * 2)
    }),
    ("config heartbeat_interval", |config| {
        let time = millis(&config, "heartbeat_interval_ms");
        config.heartbeat_interval(Duration::from_secs(600).min(time * 2))
    }),
    ("config heartbeat_miss_threshold", |config| {
        let threshold = number(&config, "heartbeat_miss_threshold");
        config.heartbeat_miss_threshold(u32::try_from(threshold).unwrap_or(0) + 1)
    }),
    ("config host", |config| config.host("0.0.0.0")),
    ("config port", |config| config.port(4370)),
    ("config reconnect_base_delay", |config| {
        let time = millis(&config, "reconnect_base_delay_ms");
        config.reconnect_base_delay(time.div_f64(2.0).max(Duration::from_millis(1)))
    }),
    ("config reconnect_max_delay", |config| {
        let time = millis(&config, "reconnect_max_delay_ms");
        config.reconnect_max_delay(time * 2)
    }),
    ("config seeds", |config| config.seeds([] as [&str; 0])),
    ("config start_timeout", |config| config.start_timeout(Duration::from_secs(60))),
    ("config stop_timeout", |config| config.stop_timeout(Duration::from_secs(1))),
];

const INPUTS: [&str; 18] = [
    "input Accepted",
    "input Closed",
    "input Connected",
    "input DialFailed",
    "input Halt",
    "input Listening",
    "input Process",
    "input Received",
    "input Report",
    "input Resolved",
    "input Send",
    "input SetProcessCount",
    "input SetSecrets",
    "input SetSeeds",
    "input Start",
    "input Stop",
    "input Tick",
    "input Transmitted",
];

const LIMITS: [&str; 27] = [
    "limit calls_per_peer",
    "limit calls_served_per_peer",
    "limit closing_connections",
    "limit control_messages",
    "limit departed_nodes",
    "limit dials_in_flight",
    "limit dials_per_second",
    "limit disconnected_nodes",
    "limit error_reports_per_second",
    "limit events_per_subscriber",
    "limit half_open",
    "limit half_open_per_address",
    "limit local_names",
    "limit lookups_in_flight",
    "limit mailbox_bytes",
    "limit mailbox_messages",
    "limit mailboxes_bytes",
    "limit members",
    "limit message_bytes",
    "limit message_bytes_per_subscriber",
    "limit monitors_per_process",
    "limit names",
    "limit names_of_others",
    "limit processes",
    "limit send_queue_bytes",
    "limit send_window_bytes",
    "limit watched_names",
];

/// What belongs to plans alone, or cannot be changed in a configuration.
const PARTS: [Part; 3] = [
    ("config node_name", |plan| plan.nodes.iter_mut().for_each(|node| node.name.insert(0, 'z'))),
    ("messages to all", |plan| plan.steps.retain(|step| !matches!(step.op, Op::Broadcast { .. }))),
    ("further subscribers", |plan| plan.steps.retain(|step| !matches!(step.op, Op::Subscribe { .. }))),
];

/// What matters in no seed, and why that is so.
const HOLES: [(&str, &str); 12] = [
    ("config host", "a simulated host has one address, and its driver listens there whatever is configured"),
    ("config start_timeout", "a simulated listener is there, or is not, at once"),
    (
        "limit control_messages",
        "only a member that breaks the protocol reaches it, and the strangers of plans prove no secret; fuzzing has such members",
    ),
    ("limit departed_nodes", "it takes two that leave, and one that was cut off meanwhile and still tells of the first"),
    ("limit half_open", "the strangers of a plan have few addresses, and reach the limit of an address first"),
    ("limit local_names", "a process of a plan has one name, and no plan opens more processes than a node may have"),
    ("limit mailboxes_bytes", "a node of a plan has few processes, of which hardly ever two have full mailboxes"),
    ("limit monitors_per_process", "a plan has few monitors, and hardly ever two of one process at a time"),
    ("limit names", "hardly ever do the processes of a node want more than three names at a time"),
    (
        "limit names_of_others",
        "a plan has two names, and its nodes have room for more; fuzzing has members that claim without end",
    ),
    ("limit processes", "no plan opens more processes than a node may have"),
    ("limit watched_names", "each node of a plan watches its two names, and has room for them"),
];

/// In how many of some seeds each thing matters.
#[derive(Clone, Debug, Default)]
pub struct Matters {
    seeds: u64,
    counts: BTreeMap<&'static str, u64>,
}

impl Matters {
    /// All that is looked at, in the order of the table.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let faults = Fault::ALL.into_iter().map(Fault::name);
        let config = CONFIG.into_iter().map(|(name, _)| name).chain(PARTS.into_iter().map(|(name, _)| name));
        let mut names: Vec<&str> = faults.chain(config).chain(INPUTS).chain(LIMITS).chain(frames::all_names()).collect();
        names.sort_unstable();
        names.into_iter()
    }

    /// Why something matters nowhere, if that is known.
    #[must_use]
    pub fn hole(name: &str) -> Option<&'static str> {
        HOLES.iter().find(|(of, _)| *of == name).map(|(_, why)| *why)
    }

    /// Adds what matters in the plan of one more seed.
    pub fn add(&mut self, what: impl IntoIterator<Item = &'static str>) {
        self.seeds += 1;
        what.into_iter().for_each(|what| *self.counts.entry(what).or_default() += 1);
    }

    /// The table as text, a line for each.
    #[must_use]
    pub fn to_text(&self) -> String {
        let line = |name| {
            let share = self.counts.get(name).copied().unwrap_or(0) as f64 * 100.0 / self.seeds.max(1) as f64;
            let why = Self::hole(name).map(|why| format!(": a hole: {why}")).unwrap_or_default();
            format!("{share:>5.1} %  {name}{why}\n")
        };
        Self::names().map(line).collect()
    }
}

impl Plan {
    /// What matters in the run of this plan: without it, or with it changed, nodes do something else, subscribers miss something else, or an
    /// invariant is broken. Of messages: what any node sends.
    #[must_use]
    pub fn what_matters(&self) -> Vec<&'static str> {
        let (whole, steps, sent) = self.run_changed(Change::Nothing, super::STEP_BOUND);
        let most = 3 * steps + 100_000;
        let differs = |plan: &Self, change| plan.run_changed(change, most).0 != whole;
        let faults = self.faults.iter().filter(|fault| self.orders(**fault)).filter_map(|fault| {
            let mut plan = self.clone();
            remove_fault(&mut plan, *fault);
            (plan.check().is_ok() && differs(&plan, Change::Nothing)).then(|| fault.name())
        });
        let parts = PARTS.iter().filter_map(|(name, change)| {
            let mut plan = self.clone();
            change(&mut plan);
            (plan != *self && plan.check().is_ok() && differs(&plan, Change::Nothing)).then_some(*name)
        });
        let inputs = INPUTS.map(|name| (name, Change::Input(name))).into_iter();
        let changes = inputs
            .chain(LIMITS.map(|name| (name, Change::Limit(name))))
            .chain(CONFIG.map(|(name, change)| (name, Change::Config(change))));
        let changes = changes.filter(|(_, change)| differs(self, *change)).map(|(name, _)| name);
        faults.chain(parts).chain(changes).chain(sent).collect()
    }

    /// What nodes do in a changed run, or none where it breaks an invariant; the inputs; and which messages were sent.
    fn run_changed(&self, change: Change, steps: u64) -> (Option<u64>, u64, Vec<&'static str>) {
        let mut world = World::new(self.seed);
        world.set_recording(false);
        world.keep_lines(0);
        world.change = Some(change);
        let outcome = self.run_in(&mut world, steps);
        let hash = outcome.violation.is_none().then_some(outcome.hash);
        (hash, outcome.steps, world.sent.into_iter().collect())
    }
}

impl Change {
    /// Whether an input is kept from machines.
    pub(crate) fn withholds(self, input: &str) -> bool {
        matches!(self, Self::Input(name) if name == input)
    }

    /// The configuration of a node.
    pub(crate) fn config(self, config: ClusterConfig) -> ClusterConfig {
        match self {
            Self::Config(change) => change(config),
            Self::Limit(name) => change_limit(config, name.trim_start_matches("limit ")),
            Self::Input(_) | Self::Nothing => config,
        }
    }
}

/// The name of an input.
pub(crate) const fn input_name(input: &Input) -> &'static str {
    match input {
        Input::Accepted { .. } => "input Accepted",
        Input::Closed { .. } => "input Closed",
        Input::Connected { .. } => "input Connected",
        Input::DialFailed { .. } => "input DialFailed",
        Input::Halt => "input Halt",
        Input::Listening { .. } => "input Listening",
        Input::Process(_) => "input Process",
        Input::Received { .. } => "input Received",
        Input::Report(_) => "input Report",
        Input::Resolved { .. } => "input Resolved",
        Input::Send { .. } => "input Send",
        Input::Transmitted { .. } => "input Transmitted",
        Input::SetProcessCount(_) => "input SetProcessCount",
        Input::SetSecrets { .. } => "input SetSecrets",
        Input::SetSeeds(_) => "input SetSeeds",
        Input::Start(_) => "input Start",
        Input::Stop => "input Stop",
        Input::Tick => "input Tick",
    }
}

/// A value of a configuration, by its key.
fn value(config: &ClusterConfig, key: &str) -> serde_json::Value {
    serde_json::to_value(config).map(|mut config| config[key].take()).unwrap_or_default()
}

fn number(config: &ClusterConfig, key: &str) -> u64 {
    value(config, key).as_u64().unwrap_or(0)
}

fn millis(config: &ClusterConfig, key: &str) -> Duration {
    Duration::from_millis(number(config, key))
}

fn change_limit(config: ClusterConfig, name: &str) -> ClusterConfig {
    let limits = value(&config, "limits");
    let with = |change: fn(u64) -> u64| {
        let mut limits = limits.clone();
        limits[name] = change(limits[name].as_u64().unwrap_or(0)).into();
        config.clone().limits(serde_json::from_value::<Limits>(limits).unwrap_or_default())
    };
    let doubled = with(|limit| limit * 2);
    if doubled.check().is_ok() { doubled } else { with(|limit| limit / 2) }
}
