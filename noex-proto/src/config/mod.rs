//! What an application says before it starts a node, and the form in which the machine trusts it.

pub mod bounds;
pub mod defaults;
mod env;
mod error;
mod limits;
mod listen_on;
mod read;
mod secret;
mod settings;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use serde::{Deserialize, Serialize};

pub use env::FromEnvError;
pub use error::InvalidClusterConfigError;
pub use limits::Limits;
pub use listen_on::ListenOn;
pub use secret::{IntoSecret, Secret};
pub(crate) use settings::{Settings, check_secrets, parse_seeds};

use crate::id::contact::Contact;
use crate::id::host::{Host, is_loopback_ip};
use crate::machine::advertise::serves;
use crate::millis;

/// How a node takes part in a cluster. Only its name is required; [`defaults`] says what holds otherwise.
///
/// Values are checked by [`check`](Self::check), and by the start. Durations count in whole milliseconds.
///
/// ```
/// use noex_proto::ClusterConfig;
///
/// let config = ClusterConfig::new("app1")
///     .seeds(["app2@192.168.1.2:4369"])
///     .cluster_secret("correct horse battery staple");
/// assert!(config.check().is_ok());
/// ```
///
/// A configuration can be read with serde, from `snake_case` keys, or the original's `camelCase` ones where it has the field.
/// Durations are milliseconds, in keys that end in `_ms`, such as `heartbeat_interval_ms`. Unknown keys are refused. Secrets are never written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterConfig {
    #[serde(alias = "nodeName")]
    node_name: String,
    #[serde(default = "read::default_host")]
    host: String,
    #[serde(default = "read::default_port")]
    port: u16,
    #[serde(default)]
    advertise_host: Option<String>,
    #[serde(default, deserialize_with = "read::advertised_port")]
    advertise_port: Option<u16>,
    #[serde(default)]
    seeds: Vec<String>,
    #[serde(default = "read::default_cluster_name")]
    cluster_name: String,
    #[serde(default, alias = "clusterSecret", deserialize_with = "read::given_secret", skip_serializing)]
    cluster_secret: Option<Secret>,
    #[serde(default, deserialize_with = "read::secret_list", skip_serializing)]
    accepted_secrets: Vec<Secret>,
    #[serde(
        default = "read::default_heartbeat_interval",
        rename = "heartbeat_interval_ms",
        alias = "heartbeatIntervalMs",
        with = "millis"
    )]
    heartbeat_interval: Duration,
    #[serde(default = "read::default_heartbeat_miss_threshold", alias = "heartbeatMissThreshold")]
    heartbeat_miss_threshold: u32,
    #[serde(
        default = "read::default_reconnect_base_delay",
        rename = "reconnect_base_delay_ms",
        alias = "reconnectBaseDelayMs",
        with = "millis"
    )]
    reconnect_base_delay: Duration,
    #[serde(
        default = "read::default_reconnect_max_delay",
        rename = "reconnect_max_delay_ms",
        alias = "reconnectMaxDelayMs",
        with = "millis"
    )]
    reconnect_max_delay: Duration,
    #[serde(default = "read::default_forget_after", rename = "forget_after_ms", with = "millis")]
    forget_after: Duration,
    #[serde(default = "read::default_start_timeout", rename = "start_timeout_ms", with = "millis")]
    start_timeout: Duration,
    #[serde(default = "read::default_stop_timeout", rename = "stop_timeout_ms", with = "millis")]
    stop_timeout: Duration,
    #[serde(default)]
    limits: Limits,
}

impl ClusterConfig {
    /// A node with this name, and the defaults for everything else.
    ///
    /// A name is a letter or digit and then letters, digits, `_` and `-`, at most 64 in all; it is what stands before the first dot of a
    /// longer hostname, say.
    #[must_use]
    pub fn new(node_name: impl Into<String>) -> Self {
        Self {
            node_name: node_name.into(),
            host: defaults::HOST.into(),
            port: defaults::PORT,
            advertise_host: None,
            advertise_port: None,
            seeds: Vec::new(),
            cluster_name: defaults::CLUSTER_NAME.into(),
            cluster_secret: None,
            accepted_secrets: Vec::new(),
            heartbeat_interval: defaults::HEARTBEAT_INTERVAL,
            heartbeat_miss_threshold: defaults::HEARTBEAT_MISS_THRESHOLD,
            reconnect_base_delay: defaults::RECONNECT_BASE_DELAY,
            reconnect_max_delay: defaults::RECONNECT_MAX_DELAY,
            forget_after: defaults::FORGET_AFTER,
            start_timeout: defaults::START_TIMEOUT,
            stop_timeout: defaults::STOP_TIMEOUT,
            limits: Limits::default(),
        }
    }

    /// The address or name to listen on; every IPv4 interface by default. `::` is every interface, of both families where the system allows.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }

    /// The TCP port to listen on; 0 for one that the system chooses. The node's identity carries the real one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The address or name under which the others reach this node.
    ///
    /// By default it is the host, where that is a specific one; else the local address that routes to the first seed given as an
    /// address beyond loopback; else the source address of the machine's default route; else the first address, neither loopback nor
    /// link-local, of an interface that is up and has a carrier; else loopback, with a warning. Behind a translation of addresses, or where
    /// the others resolve this node by name, it must be set.
    #[must_use]
    pub fn advertise_host(mut self, host: impl Into<String>) -> Self {
        self.advertise_host = Some(host.into());
        self
    }

    /// The port under which the others reach this node, 1 to 65535; by default the one that is listened on.
    ///
    /// Behind a translation of ports, such as a container's published one that differs from the inner one, it must be set. Where it is,
    /// no warning tells that the node does not listen where others are told.
    #[must_use]
    pub fn advertise_port(mut self, port: u16) -> Self {
        self.advertise_port = Some(port);
        self
    }

    /// Where to look for the cluster, instead of what was set before: contact addresses, each as `name@host:port`, `host:port`, or `host`
    /// with the default port ([`Contact`]).
    ///
    /// The nodes there need not run at the start, and are retried for ever. At most [`Limits::members`]; repetitions do not count.
    #[must_use]
    pub fn seeds(mut self, seeds: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.seeds = seeds.into_iter().map(|seed| seed.as_ref().into()).collect();
        self
    }

    /// The name of the cluster, 1 to 255 bytes. Nodes of clusters with different names do not join each other.
    #[must_use]
    pub fn cluster_name(mut self, name: impl Into<String>) -> Self {
        self.cluster_name = name.into();
        self
    }

    /// The secret that all members share, or `None` for a cluster that anyone can join.
    ///
    /// With it, every session is mutually authenticated and every record protected against forgery and replay, but not encrypted. A
    /// secret has 16 to 1024 bytes; an empty one is an error and does not mean `None`. A weak one can be guessed by whoever is dialled,
    /// so draw it at random.
    #[must_use]
    pub fn cluster_secret(mut self, secret: impl IntoSecret) -> Self {
        self.cluster_secret = secret.into_secret();
        self
    }

    /// Further secrets that a peer may prove, at most 8, instead of those that were set before. This node proves itself with none of them.
    ///
    /// To change the secret of a cluster one node after the other, first let every node accept the new one, then make it the primary one
    /// of every node, then no longer accept the old one.
    #[must_use]
    pub fn accepted_secrets(mut self, secrets: impl IntoIterator<Item = impl Into<Secret>>) -> Self {
        self.accepted_secrets = secrets.into_iter().map(Into::into).collect();
        self
    }

    /// The time between two heartbeats, 100 ms to 10 min. It is announced to the peers, which may have another.
    #[must_use]
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.heartbeat_interval = interval;
        self
    }

    /// How many heartbeats in a row a peer may miss, 1 to 1000. It is down after this many of its intervals and a half.
    #[must_use]
    pub fn heartbeat_miss_threshold(mut self, threshold: u32) -> Self {
        self.heartbeat_miss_threshold = threshold;
        self
    }

    /// The delay before the first new try to reach a node, 1 ms or more; it doubles with each further try, and each is shortened at random
    /// to no less than a half.
    #[must_use]
    pub fn reconnect_base_delay(mut self, delay: Duration) -> Self {
        self.reconnect_base_delay = delay;
        self
    }

    /// The longest delay between two tries, at least the base delay, at most 1 h.
    #[must_use]
    pub fn reconnect_max_delay(mut self, delay: Duration) -> Self {
        self.reconnect_max_delay = delay;
        self
    }

    /// How long a disconnected node is kept and tried, 1 s to 30 days, unless a live peer still lists it. A live peer may until it has shown
    /// that it does not, by a heartbeat or an answer: where its interval is longer than this time, the node is kept for so long.
    #[must_use]
    pub fn forget_after(mut self, time: Duration) -> Self {
        self.forget_after = time;
        self
    }

    /// The most time that looking up the name in `host` takes at the start, and that a node with seeds beyond loopback waits for an address to
    /// tell them, 100 ms to 10 min.
    ///
    /// A lookup that takes longer is the driver's `StartError::Bind`; without an address the node then tells a loopback one,
    /// with a warning.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// The most time that a stop takes, whatever the peers do, 100 ms to 10 min.
    #[must_use]
    pub fn stop_timeout(mut self, timeout: Duration) -> Self {
        self.stop_timeout = timeout;
        self
    }

    /// How much the node keeps and does at most.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The address that the driver finds the local route to, for the advertised host: the first seed that is given as an address beyond
    /// loopback, of a family that the node listens on. `None` where the configuration names the advertised host.
    #[must_use]
    pub fn route_target(&self) -> Option<SocketAddr> {
        let Ok(Host::Ip(listener)) = self.host.parse() else { return None };
        if self.advertise_host.is_some() || !listener.to_canonical().is_unspecified() {
            return None;
        }
        self.seeds.iter().find_map(|seed| {
            let seed: Contact = seed.parse().ok()?;
            let ip = seed.host_ip().filter(|&ip| !is_loopback_ip(ip) && serves(listener, ip))?;
            Some(SocketAddr::new(ip, seed.port()))
        })
    }

    /// Whether a node can start with this configuration.
    ///
    /// # Errors
    ///
    /// Names the first field that breaks its rule, and the rule.
    pub fn check(&self) -> Result<(), InvalidClusterConfigError> {
        self.validate().map(drop)
    }

    /// The host as a resolver is to be asked for it: with the dot at its end where it was written so.
    pub(crate) fn host_to_look_up(&self, host: &Host) -> String {
        let dot = if self.host.ends_with('.') { "." } else { "" };
        format!("{host}{dot}")
    }

    /// How many secrets it holds.
    pub(crate) fn secrets(&self) -> usize {
        usize::from(self.cluster_secret.is_some()) + self.accepted_secrets.len()
    }
}
