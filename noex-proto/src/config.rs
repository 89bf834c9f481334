//! What an application says before it starts a node, and the form in which the machine trusts it.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;
use core::net::SocketAddr;
use core::ops::RangeInclusive;
use core::time::Duration;

use serde::de::{self, Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::advertise::serves;
use crate::id::host::{Host, is_loopback_ip};
use crate::id::node_id::{check_name, excerpt};
use crate::millis;
use crate::wire::keys::Secrets;
use crate::{Cause, Contact, IntoSecret, Limits, NodeIdFault, Secret, bounds, defaults};

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
    #[serde(default = "default_host")]
    host: String,
    #[serde(default = "default_port")]
    port: u16,
    #[serde(default)]
    advertise_host: Option<String>,
    #[serde(default, deserialize_with = "advertised_port")]
    advertise_port: Option<u16>,
    #[serde(default)]
    seeds: Vec<String>,
    #[serde(default = "default_cluster_name")]
    cluster_name: String,
    #[serde(default, alias = "clusterSecret", deserialize_with = "given_secret", skip_serializing)]
    cluster_secret: Option<Secret>,
    #[serde(default, deserialize_with = "secret_list", skip_serializing)]
    accepted_secrets: Vec<Secret>,
    #[serde(
        default = "default_heartbeat_interval",
        rename = "heartbeat_interval_ms",
        alias = "heartbeatIntervalMs",
        with = "millis"
    )]
    heartbeat_interval: Duration,
    #[serde(default = "default_heartbeat_miss_threshold", alias = "heartbeatMissThreshold")]
    heartbeat_miss_threshold: u32,
    #[serde(
        default = "default_reconnect_base_delay",
        rename = "reconnect_base_delay_ms",
        alias = "reconnectBaseDelayMs",
        with = "millis"
    )]
    reconnect_base_delay: Duration,
    #[serde(
        default = "default_reconnect_max_delay",
        rename = "reconnect_max_delay_ms",
        alias = "reconnectMaxDelayMs",
        with = "millis"
    )]
    reconnect_max_delay: Duration,
    #[serde(default = "default_forget_after", rename = "forget_after_ms", with = "millis")]
    forget_after: Duration,
    #[serde(default = "default_start_timeout", rename = "start_timeout_ms", with = "millis")]
    start_timeout: Duration,
    #[serde(default = "default_stop_timeout", rename = "stop_timeout_ms", with = "millis")]
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
            host: default_host(),
            port: default_port(),
            advertise_host: None,
            advertise_port: None,
            seeds: Vec::new(),
            cluster_name: default_cluster_name(),
            cluster_secret: None,
            accepted_secrets: Vec::new(),
            heartbeat_interval: default_heartbeat_interval(),
            heartbeat_miss_threshold: default_heartbeat_miss_threshold(),
            reconnect_base_delay: default_reconnect_base_delay(),
            reconnect_max_delay: default_reconnect_max_delay(),
            forget_after: default_forget_after(),
            start_timeout: default_start_timeout(),
            stop_timeout: default_stop_timeout(),
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

    /// The configuration in the form that the machine works with.
    pub(crate) fn validate(&self) -> Result<Settings, InvalidClusterConfigError> {
        check_name(&self.node_name).map_err(|fault| invalid_text("node_name", &self.node_name, fault))?;
        let host = parse_host("host", &self.host)?;
        let advertise_host = self.advertise_host.as_deref().map(|host| parse_host("advertise_host", host)).transpose()?;
        if let Some(host) = advertise_host.as_ref().filter(|host| host.is_unspecified()) {
            let rule = format!("must be an address or name that others can reach, not {host}");
            return Err(InvalidClusterConfigError::new("advertise_host", &rule));
        }
        if self.advertise_port == Some(0) {
            return Err(InvalidClusterConfigError::new("advertise_port", "must be 1 to 65535, not 0"));
        }
        self.limits.check()?;
        if !bounds::CLUSTER_NAME_BYTES.contains(&self.cluster_name.len()) {
            return Err(InvalidClusterConfigError::new(
                "cluster_name",
                &format!("must have 1 to 255 bytes, not {}", self.cluster_name.len()),
            ));
        }
        match &self.cluster_secret {
            Some(primary) if primary.as_bytes().is_empty() => {
                let rule = "must have 16 to 1024 bytes, not none: leave it out for a cluster that anyone can join";
                return Err(InvalidClusterConfigError::new("cluster_secret", rule));
            }
            Some(primary) => check_secrets(("cluster_secret", primary), ("accepted_secrets", &self.accepted_secrets))?,
            None if self.accepted_secrets.is_empty() => {}
            None => return Err(InvalidClusterConfigError::new("accepted_secrets", "must be empty without a cluster_secret")),
        }
        within("heartbeat_interval", &self.heartbeat_interval, &bounds::HEARTBEAT_INTERVAL)?;
        within("heartbeat_miss_threshold", &self.heartbeat_miss_threshold, &bounds::HEARTBEAT_MISS_THRESHOLD)?;
        within("reconnect_base_delay", &self.reconnect_base_delay, &bounds::RECONNECT_DELAY)?;
        within("reconnect_max_delay", &self.reconnect_max_delay, &bounds::RECONNECT_DELAY)?;
        if self.reconnect_base_delay > self.reconnect_max_delay {
            let rule = format!(
                "must be at most reconnect_max_delay ({:?}), not {:?}",
                self.reconnect_max_delay, self.reconnect_base_delay
            );
            return Err(InvalidClusterConfigError::new("reconnect_base_delay", &rule));
        }
        within("forget_after", &self.forget_after, &bounds::FORGET_AFTER)?;
        within("start_timeout", &self.start_timeout, &bounds::START_TIMEOUT)?;
        within("stop_timeout", &self.stop_timeout, &bounds::STOP_TIMEOUT)?;
        Ok(Settings {
            name: self.node_name.clone(),
            host,
            port: self.port,
            advertise_host,
            advertise_port: self.advertise_port,
            seeds: parse_seeds(&self.seeds, self.limits.members)?,
            cluster_name: self.cluster_name.clone(),
            secrets: Secrets::new(self.cluster_secret.as_ref(), &self.accepted_secrets),
            heartbeat_interval: millis::whole(self.heartbeat_interval),
            heartbeat_miss_threshold: self.heartbeat_miss_threshold,
            reconnect_base_delay: millis::whole(self.reconnect_base_delay),
            reconnect_max_delay: millis::whole(self.reconnect_max_delay),
            forget_after: millis::whole(self.forget_after),
            start_timeout: millis::whole(self.start_timeout),
            stop_timeout: millis::whole(self.stop_timeout),
            limits: self.limits.clone(),
        })
    }
}

/// A configuration that was found valid. Each field is that of [`ClusterConfig`], parsed.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) advertise_host: Option<Host>,
    pub(crate) advertise_port: Option<u16>,
    /// In the order given, each once.
    pub(crate) seeds: Vec<Contact>,
    pub(crate) cluster_name: String,
    pub(crate) secrets: Secrets,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) heartbeat_miss_threshold: u32,
    pub(crate) reconnect_base_delay: Duration,
    pub(crate) reconnect_max_delay: Duration,
    pub(crate) forget_after: Duration,
    pub(crate) start_timeout: Duration,
    pub(crate) stop_timeout: Duration,
    pub(crate) limits: Limits,
}

/// A configuration that no node can start with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidClusterConfigError {
    /// What a value that is read from a text says of it.
    cause: Option<Cause>,
    field: &'static str,
    reason: String,
}

impl InvalidClusterConfigError {
    /// `rule` continues a sentence that begins with the field's name.
    pub(crate) fn new(field: &'static str, rule: &str) -> Self {
        Self { cause: None, field, reason: format!("{field} {rule}") }
    }

    /// The same, because of another error.
    fn caused_by(self, cause: impl Error + Send + Sync + 'static) -> Self {
        Self { cause: Some(Cause::new(cause)), ..self }
    }

    /// The field at fault, as its builder method is called; one of [`Limits`] as `limits.` and its name.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// The field, the rule that it breaks, and its value unless that is a secret.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for InvalidClusterConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid cluster configuration: {}", self.reason)
    }
}

impl Error for InvalidClusterConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| cause.get_ref() as _)
    }
}

/// The rule for the secrets of a node, each beside the name that the caller knows it by.
pub(crate) fn check_secrets(
    (primary_name, primary): (&'static str, &Secret),
    (accepted_name, accepted): (&'static str, &[Secret]),
) -> Result<(), InvalidClusterConfigError> {
    let bad = |secret: &Secret| Some(secret.as_bytes().len()).filter(|len| !bounds::SECRET_BYTES.contains(len));
    if let Some(len) = bad(primary) {
        return Err(InvalidClusterConfigError::new(primary_name, &format!("must have 16 to 1024 bytes, not {len}")));
    }
    if accepted.len() > bounds::ACCEPTED_SECRETS {
        return Err(InvalidClusterConfigError::new(accepted_name, &format!("must be at most 8, not {}", accepted.len())));
    }
    for (place, secret) in accepted.iter().enumerate() {
        if let Some(len) = bad(secret) {
            let rule = format!("must have 16 to 1024 bytes each; number {} has {len}", place + 1);
            return Err(InvalidClusterConfigError::new(accepted_name, &rule));
        }
    }
    Ok(())
}

/// A key that is there means a secret: `null`, which a template may write for want of one, would open the cluster without a word.
fn given_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    let rule = "cluster_secret must not be null: leave the key out for a cluster that anyone can join";
    Option::deserialize(deserializer)?.map(Some).ok_or_else(|| D::Error::custom(rule))
}

/// An error of a secret's place says what is due there, and nothing of what was found.
fn secret_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Secret>, D::Error> {
    Vec::deserialize(deserializer).map_err(|_| D::Error::custom("accepted_secrets must be a list of texts"))
}

/// An error names the field and the number, whatever the format says of numbers that are too large.
fn advertised_port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    struct Port;

    impl<'de> Visitor<'de> for Port {
        type Value = Option<u16>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a port in advertise_port")
        }

        fn visit_i64<E: de::Error>(self, port: i64) -> Result<Option<u16>, E> {
            let valid = u16::try_from(port).map(Some);
            valid.map_err(|_| E::custom(format_args!("advertise_port must be 1 to 65535, not {port}")))
        }

        fn visit_none<E: de::Error>(self) -> Result<Option<u16>, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<u16>, D::Error> {
            deserializer.deserialize_u16(self)
        }

        fn visit_u64<E: de::Error>(self, port: u64) -> Result<Option<u16>, E> {
            self.visit_i64(i64::try_from(port).unwrap_or(i64::MAX))
        }

        fn visit_unit<E: de::Error>(self) -> Result<Option<u16>, E> {
            Ok(None)
        }
    }

    deserializer.deserialize_option(Port)
}

/// The rule for a value that has bounds.
pub(crate) fn within<T: fmt::Debug + PartialOrd>(
    field: &'static str,
    value: &T,
    bounds: &RangeInclusive<T>,
) -> Result<(), InvalidClusterConfigError> {
    if bounds.contains(value) {
        return Ok(());
    }
    let rule = format!("must be {:?} to {:?}, not {value:?}", bounds.start(), bounds.end());
    Err(InvalidClusterConfigError::new(field, &rule))
}

fn invalid_text(field: &'static str, value: &str, fault: NodeIdFault) -> InvalidClusterConfigError {
    InvalidClusterConfigError::new(field, &format!("{:?} is invalid: {fault}", excerpt(value))).caused_by(fault)
}

fn parse_host(field: &'static str, host: &str) -> Result<Host, InvalidClusterConfigError> {
    host.parse().map_err(|fault| invalid_text(field, host, fault))
}

/// The rule for the seeds: each once, in the order given.
pub(crate) fn parse_seeds(texts: &[String], limit: usize) -> Result<Vec<Contact>, InvalidClusterConfigError> {
    let mut seeds = Vec::new();
    let mut known = BTreeSet::new();
    for text in texts {
        let seed: Contact = text
            .parse()
            .map_err(|error| InvalidClusterConfigError::new("seeds", &format!("hold an {error}")).caused_by(error))?;
        if known.insert(seed.to_string()) {
            seeds.push(seed);
        }
    }
    if seeds.len() > limit {
        let rule = format!("must be at most limits.members ({limit}), not {}", seeds.len());
        return Err(InvalidClusterConfigError::new("seeds", &rule));
    }
    Ok(seeds)
}

fn default_cluster_name() -> String {
    defaults::CLUSTER_NAME.into()
}

fn default_forget_after() -> Duration {
    defaults::FORGET_AFTER
}

fn default_heartbeat_interval() -> Duration {
    defaults::HEARTBEAT_INTERVAL
}

fn default_heartbeat_miss_threshold() -> u32 {
    defaults::HEARTBEAT_MISS_THRESHOLD
}

fn default_host() -> String {
    defaults::HOST.into()
}

fn default_port() -> u16 {
    defaults::PORT
}

fn default_reconnect_base_delay() -> Duration {
    defaults::RECONNECT_BASE_DELAY
}

fn default_reconnect_max_delay() -> Duration {
    defaults::RECONNECT_MAX_DELAY
}

fn default_start_timeout() -> Duration {
    defaults::START_TIMEOUT
}

fn default_stop_timeout() -> Duration {
    defaults::STOP_TIMEOUT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::keys::Root;

    #[test]
    fn settings_hold_what_was_said() {
        let config = ClusterConfig::new("app1")
            .host("[::1]")
            .port(0)
            .advertise_host("DB.example.org")
            .advertise_port(4369)
            .seeds(["b@h:1", "a@h:1", "B@H:1", "b@H:1"])
            .cluster_secret(Some("correct horse battery"))
            .accepted_secrets(["staple staple staple"]);
        let settings = config.validate().expect("valid");
        assert_eq!(settings.name, "app1");
        assert_eq!(settings.host.to_string(), "::1");
        assert_eq!(settings.port, 0);
        assert_eq!(settings.advertise_host.expect("set").to_string(), "db.example.org");
        assert_eq!(settings.seeds.iter().map(ToString::to_string).collect::<Vec<_>>(), ["b@h:1", "a@h:1", "B@h:1"]);
        assert_eq!(settings.advertise_port, Some(4369));
        assert_eq!(settings.cluster_name, defaults::CLUSTER_NAME);
        let roots = ["correct horse battery", "staple staple staple"].map(|secret| Root::from_secret(&secret.into()));
        assert_eq!(settings.secrets.iter().cloned().collect::<Vec<_>>(), roots);
        assert_eq!(settings.heartbeat_interval, defaults::HEARTBEAT_INTERVAL);
        assert_eq!(settings.heartbeat_miss_threshold, defaults::HEARTBEAT_MISS_THRESHOLD);
        assert_eq!(settings.reconnect_base_delay, defaults::RECONNECT_BASE_DELAY);
        assert_eq!(settings.reconnect_max_delay, defaults::RECONNECT_MAX_DELAY);
        assert_eq!(settings.forget_after, defaults::FORGET_AFTER);
        assert_eq!(settings.start_timeout, defaults::START_TIMEOUT);
        assert_eq!(settings.stop_timeout, defaults::STOP_TIMEOUT);
        assert_eq!(settings.limits, Limits::default());
    }
}
