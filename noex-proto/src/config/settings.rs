//! A configuration in the form in which the machine trusts it, and the rules that it has passed.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;
use core::time::Duration;

use super::{ClusterConfig, InvalidClusterConfigError, Limits, Secret, bounds};
use crate::id::contact::Contact;
use crate::id::host::Host;
use crate::id::node_id::{check_name, excerpt};
use crate::wire::keys::Secrets;
use crate::{NodeIdFault, millis};

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

impl ClusterConfig {
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

#[cfg(test)]
mod tests {
    use super::super::defaults;
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
