//! The conditions between every two hosts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::HostId;
use crate::random::Random;

/// How long bytes are on their way, in one direction.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Latency {
    /// Always the same.
    Constant {
        /// Microseconds.
        us: u64,
    },
    /// Anything between two bounds, equally likely.
    Uniform {
        /// The least, in microseconds.
        min_us: u64,
        /// The most, in microseconds.
        max_us: u64,
    },
    /// Mostly short, at times long.
    Exponential {
        /// The least, in microseconds.
        min_us: u64,
        /// The mean beyond the least, in microseconds.
        mean_us: u64,
        /// The most, in microseconds.
        max_us: u64,
    },
    /// Short, and now and then very long.
    HeavyTail {
        /// The typical one, in microseconds.
        scale_us: u64,
        /// The most, in microseconds.
        max_us: u64,
    },
}

impl Latency {
    /// The longest that can be drawn.
    #[must_use]
    pub fn longest(&self) -> Duration {
        Duration::from_micros(match *self {
            Self::Constant { us } => us,
            Self::Uniform { min_us, max_us } => max_us.max(min_us),
            Self::Exponential { max_us, .. } | Self::HeavyTail { max_us, .. } => max_us,
        })
    }

    /// What is usual, in milliseconds.
    pub(crate) fn typical_ms(&self) -> u64 {
        let micros = match *self {
            Self::Constant { us } => us,
            Self::Uniform { min_us, max_us } => min_us.midpoint(max_us),
            Self::Exponential { mean_us, .. } => mean_us,
            Self::HeavyTail { scale_us, .. } => scale_us,
        };
        micros / 1000
    }

    /// Nanoseconds.
    pub(super) fn draw(&self, random: &mut Random) -> u64 {
        1000 * match *self {
            Self::Constant { us } => us,
            Self::Uniform { min_us, max_us } => random.within(min_us, max_us.max(min_us)),
            Self::Exponential { min_us, mean_us, max_us } => (min_us + random.exponential(mean_us)).min(max_us),
            Self::HeavyTail { scale_us, max_us } => random.heavy(scale_us).min(max_us),
        }
    }
}

/// What becomes of dials in one direction.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialling {
    /// They vanish, as behind a firewall.
    Dropped,
    /// They take several seconds.
    Late,
    /// Nothing special.
    #[default]
    Normal,
    /// They are refused, though somebody listens.
    Refused,
    /// The network says at once that there is no way.
    Unreachable,
}

/// The conditions from one host to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) latency: Latency,
    /// Nothing passes.
    pub(super) cut: bool,
    pub(super) dialling: Dialling,
}

#[derive(Clone, Debug)]
pub(super) struct Network {
    default: Path,
    /// From host to host, `stride` to a row. Empty while every path is like the default one.
    paths: Vec<Path>,
    stride: usize,
    /// Nanoseconds per byte.
    pub(super) byte_time: u64,
}

impl Network {
    pub(super) fn new() -> Self {
        let default = Path { latency: Latency::Constant { us: 1000 }, cut: false, dialling: Dialling::Normal };
        Self { default, paths: Vec::new(), stride: 0, byte_time: 0 }
    }

    pub(super) fn path(&self, from: HostId, to: HostId) -> Path {
        if from.max(to) < self.stride { self.paths[from * self.stride + to] } else { self.default }
    }

    pub(super) fn path_mut(&mut self, from: HostId, to: HostId) -> &mut Path {
        let needed = from.max(to) + 1;
        if needed > self.stride {
            let stride = needed.next_power_of_two();
            let mut paths = vec![self.default; stride * stride];
            for (row, old) in self.paths.chunks(self.stride.max(1)).enumerate() {
                paths[row * stride..][..old.len()].copy_from_slice(old);
            }
            (self.paths, self.stride) = (paths, stride);
        }
        &mut self.paths[from * self.stride + to]
    }

    /// Sets the latency of every path.
    pub(super) fn set_latency(&mut self, latency: Latency) {
        self.default.latency = latency;
        for path in &mut self.paths {
            path.latency = latency;
        }
    }
}

/// The address of a host.
pub(crate) fn ip(host: HostId) -> IpAddr {
    let number = u32::try_from(host).expect("fewer hosts than addresses");
    Ipv4Addr::from_bits(0x0a00_0001 + ((number / 250) << 8) + number % 250).into()
}

/// A name of a host that is as long as names may be, and with it the identity of a node.
pub(crate) fn long_name(host: HostId) -> String {
    let [most, rest] = [62, 61].map(|len| "a".repeat(len));
    format!("h{host:03}.{most}.{rest}.{rest}.{rest}")
}

/// The host with this name.
pub(super) fn host_named(name: &str) -> Option<HostId> {
    name.get(1..4).filter(|_| name.len() == 253)?.parse().ok()
}

/// What is at an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Target {
    /// This host, if there are so many.
    Host(HostId),
    /// Somebody who refuses.
    Nobody,
    /// The network knows no way.
    Nowhere,
    /// Somebody who does not answer.
    Silence,
}

/// Addresses where no host ever is, by number: the network says so, a machine refuses, or nothing answers.
pub(crate) fn odd_ip(target: Target, number: u16) -> IpAddr {
    let net = match target {
        Target::Silence => 201,
        Target::Nobody => 202,
        Target::Host(_) | Target::Nowhere => 203,
    };
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, net, high, low).into()
}

/// What is at an address.
pub(super) fn target(addr: SocketAddr) -> Target {
    match addr.ip() {
        IpAddr::V4(ip) if ip.octets()[..2] == [10, 201] => Target::Silence,
        IpAddr::V4(ip) if ip.octets()[..2] == [10, 202] => Target::Nobody,
        _ => host_at(addr).map_or(Target::Nowhere, Target::Host),
    }
}

/// The host at an address.
pub(super) fn host_at(addr: SocketAddr) -> Option<HostId> {
    let IpAddr::V4(ip) = addr.ip() else { return None };
    let offset = ip.to_bits().checked_sub(0x0a00_0001)?;
    usize::try_from((offset >> 8) * 250 + (offset & 0xff)).ok()
}
