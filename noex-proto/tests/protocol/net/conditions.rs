//! In which conditions tests run: with pauses before they begin, so that running time lags behind real time, and with unlike intervals.

use noex_proto::{ClusterConfig, Input, bounds};

use super::{Duration, Host, MS, Net};

/// How many pauses a worn host has behind it, and how long each was.
const PAUSES: usize = 6;
const PAUSE: Duration = Duration::from_secs(5);

/// Hosts that have just been made.
pub fn fresh(hosts: usize) -> Net {
    Net::new(hosts)
}

/// Hosts that start with pauses behind them.
pub fn worn(hosts: usize) -> Net {
    let mut net = Net::new(hosts);
    net.worn = true;
    net
}

// The interval of a node that watches a peer with this one.

pub fn same(interval: Duration) -> Duration {
    interval
}

pub fn quicker(interval: Duration) -> Duration {
    (interval / 20).max(*bounds::HEARTBEAT_INTERVAL.start())
}

pub fn slower(interval: Duration) -> Duration {
    (interval * 20).min(*bounds::HEARTBEAT_INTERVAL.end())
}

/// The seeds of a configuration, and it without them: a host that dials nobody can pause before anything happens.
pub(super) fn split_seeds(config: ClusterConfig) -> (Vec<String>, ClusterConfig) {
    let seeds = serde_json::to_value(&config).unwrap()["seeds"].as_array().unwrap().clone();
    (seeds.iter().map(|seed| seed.as_str().unwrap().into()).collect(), config.seeds([""; 0]))
}

/// The heartbeat interval of a configuration.
pub(super) fn interval(config: &ClusterConfig) -> Duration {
    let millis = serde_json::to_value(config).unwrap()["heartbeat_interval_ms"].as_u64().unwrap();
    u32::try_from(millis).unwrap() * MS
}

impl Net {
    /// A host that waits for nobody pauses, while no time passes for the others: its clock goes on. Afterwards it judges as ever.
    pub(super) fn wear(&mut self, host: Host, interval: Duration) {
        // Up to half an interval is no pause.
        let gaps = [[interval / 2 + PAUSE; PAUSES].as_slice(), &[interval / 2; 2]].concat();
        for gap in gaps {
            self.nodes[host].clock += gap;
            self.feed(host, Input::Tick);
        }
    }
}
