//! What a driver is told when a node starts.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use crate::config::Settings;
use crate::{ClusterConfig, LocalNetwork};

/// Where a starting node has to listen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListenOn {
    /// An address or a name.
    pub host: String,
    /// The port; 0 for any that is free.
    pub port: u16,
    /// An address beyond loopback to find the local route to, for [`LocalNetwork::route`]; nothing is to be sent there.
    pub route_target: Option<SocketAddr>,
    /// The most time that finding the addresses of `host` and waiting for one to tell may take together.
    pub timeout: Duration,
    /// Whether the node's host is chosen from the machine's addresses.
    chooses: bool,
    /// Whether a seed is beyond loopback, where a loopback address is good for nothing.
    far_seeds: bool,
}

impl ListenOn {
    pub(crate) fn new(config: &ClusterConfig, settings: &Settings) -> Self {
        Self {
            host: config.host_to_look_up(&settings.host),
            port: settings.port,
            route_target: config.route_target(),
            timeout: settings.start_timeout,
            chooses: settings.advertise_host.is_none() && settings.host.is_unspecified(),
            far_seeds: settings.seeds.iter().any(|seed| !seed.is_loopback()),
        }
    }

    /// The addresses of which the first becomes the node's host; none where the configuration names the host, or where there is none
    /// beyond loopback. `listener` is the address listened on.
    #[must_use]
    pub fn candidates(&self, listener: IpAddr, network: &LocalNetwork) -> Vec<IpAddr> {
        if self.chooses { network.candidates(listener) } else { Vec::new() }
    }

    /// Whether the node had better look at its network again in a moment, for [`timeout`](Self::timeout) at most: it has seeds beyond
    /// loopback, and no address to tell them.
    #[must_use]
    pub fn awaits_address(&self, listener: IpAddr, network: &LocalNetwork) -> bool {
        self.chooses && self.far_seeds && network.candidates(listener).is_empty()
    }
}

impl fmt::Display for ListenOn {
    /// The host and the port, an IPv6 address in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, self.port).fmt(f),
            Err(_) => write!(f, "{}:{}", self.host, self.port),
        }
    }
}
