//! What may be expected of a plan, by what is in it.

use std::time::Duration;

use super::{Fault, Plan};

impl Plan {
    /// How long the healed nodes may take to agree.
    pub(super) fn agreement_bound(&self) -> Duration {
        let heartbeat = self.nodes.iter().map(|node| node.heartbeat_ms).max().unwrap_or(0);
        let threshold = self.nodes.iter().map(|node| u64::from(node.threshold)).max().unwrap_or(0);
        let backoff = self.nodes.iter().map(|node| node.max_ms).max().unwrap_or(0);
        let latencies = self.path_latencies.iter().map(|(_, _, latency)| latency.longest());
        let latency = latencies.chain([self.latency.longest()]).max().unwrap_or_default();
        let mut bound = heartbeat * threshold + heartbeat / 2 + 10_000 + backoff + 3 * heartbeat + 20_000;
        if self.small_limits {
            // Dials that lead nowhere hold the few places for as long as a dial may take.
            bound += 10_000 * self.nodes.len() as u64;
        }
        if let Some(rate) = self.bytes_per_second {
            // What is queued goes first.
            bound += (4 << 20) * 1000 / rate.max(20_000) / 4;
        }
        Duration::from_millis(bound) + 4 * latency
    }

    /// Whether nothing in the plan is a reason for any node to go down, but that it leaves.
    pub(super) fn is_calm(&self) -> bool {
        self.is_calm_but(None)
    }

    /// The same, where one kind of fault is left aside.
    pub(super) fn is_calm_but(&self, but: Option<Fault>) -> bool {
        self.faults.iter().filter(|fault| Some(**fault) != but).all(|fault| {
            matches!(
                fault,
                Fault::DuplicateId
                    | Fault::Fragmentation
                    | Fault::Latency
                    | Fault::Leave
                    | Fault::MixedIntervals
                    | Fault::MixedSecrets
                    | Fault::Misuse
                    | Fault::OneWayDials
                    | Fault::Rogues
                    | Fault::Rotation
                    | Fault::Seeds
                    | Fault::WallClock
            )
        })
    }
}

/// A fault's name, for the counters.
pub(super) fn name(fault: Fault) -> &'static str {
    match fault {
        Fault::Adversary => "fault: adversary",
        Fault::Bandwidth => "fault: bandwidth",
        Fault::ClockRate => "fault: clock rate",
        Fault::Crash => "fault: crash",
        Fault::CrashLoop => "fault: crash loop",
        Fault::DialFaults => "fault: dial faults",
        Fault::DuplicateId => "fault: duplicate id",
        Fault::Fragmentation => "fault: fragmentation",
        Fault::Freeze => "fault: freeze",
        Fault::HalfOpen => "fault: half-open",
        Fault::Latency => "fault: latency",
        Fault::Leave => "fault: leave",
        Fault::SmallLimits => "fault: small limits",
        Fault::MixedIntervals => "fault: mixed intervals",
        Fault::MixedSecrets => "fault: mixed secrets",
        Fault::Misuse => "fault: misuse",
        Fault::OneWayDials => "fault: one-way dials",
        Fault::Partition => "fault: partition",
        Fault::PowerOff => "fault: power off",
        Fault::Reset => "fault: reset",
        Fault::Rogues => "fault: rogues",
        Fault::Rotation => "fault: rotation",
        Fault::Seeds => "fault: seeds",
        Fault::Stall => "fault: stall",
        Fault::WallClock => "fault: wall clock",
    }
}
