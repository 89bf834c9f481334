//! One dial of a host that may have several addresses.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::DialError;

/// The most addresses of one host that a dial tries.
const ADDRESSES_MAX: usize = 16;

/// How long a dial may take, with all addresses of its host.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an address may take to answer while there are others to try: less where there are so many that the last would have no time.
const PATIENCE: Duration = Duration::from_secs(2);

/// Which addresses a dial tries, for how long each, and what their failures come to: the policy behind
/// [`Action::Connect`](crate::Action::Connect), for drivers.
///
/// Say what the host [`resolved`](Self::resolved) to. Then take [`next`](Iterator::next) and connect; on failure tell
/// [`failed`](Self::failed) and go on; at the end [`error`](Self::error) is what to report.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DialPlan {
    addrs: VecDeque<SocketAddr>,
    /// How often a dial of this host met an address that took the connection and led to no session.
    dead_ends: u32,
    error: DialError,
    patience: Duration,
    /// Addresses that are this node itself.
    skip: Vec<SocketAddr>,
}

impl DialPlan {
    pub(crate) const fn new(skip: Vec<SocketAddr>, dead_ends: u32) -> Self {
        Self { addrs: VecDeque::new(), dead_ends, error: DialError::Unresolved, patience: PATIENCE, skip }
    }

    /// What the host resolved to, in the resolver's order; none where it did not. An address is its own.
    ///
    /// After a connection that led to no session the next dial begins at another address. It goes by the order of the addresses then,
    /// as a resolver that rotates them could put the same one first again.
    pub fn resolved(&mut self, addrs: Vec<SocketAddr>) {
        let mut addrs = addrs;
        if !addrs.is_empty() {
            self.error = DialError::Exhausted;
        }
        addrs.retain(|addr| !self.skip.contains(addr));
        addrs.truncate(ADDRESSES_MAX);
        let count = u32::try_from(addrs.len().max(1)).expect("they are few");
        if self.dead_ends > 0 {
            addrs.sort_unstable();
            addrs.rotate_left((self.dead_ends % count) as usize);
        }
        self.patience = PATIENCE.min(CONNECT_TIMEOUT / count);
        self.addrs = addrs.into();
    }

    /// Why the dial failed, once no address is left.
    #[must_use]
    pub const fn error(&self) -> DialError {
        self.error
    }

    /// The address taken last did not answer, or not in time.
    pub fn failed(&mut self, error: DialError) {
        // A refusal says that nobody is there, so it stands only where every address refused.
        if self.error == DialError::Exhausted || error != DialError::Refused {
            self.error = error;
        }
    }
}

impl Default for DialPlan {
    /// The resolver's order, and none of the addresses passed over.
    fn default() -> Self {
        Self::new(Vec::new(), 0)
    }
}

impl Iterator for DialPlan {
    /// An address, and how long it may take. The last one may take as long as it likes: the machine gives up the dial as a whole.
    type Item = (SocketAddr, Duration);

    fn next(&mut self) -> Option<Self::Item> {
        let addr = self.addrs.pop_front()?;
        Some((addr, if self.addrs.is_empty() { Duration::MAX } else { self.patience }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addrs(ports: impl IntoIterator<Item = u16>) -> Vec<SocketAddr> {
        ports.into_iter().map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect()
    }

    fn plan(resolved: Vec<SocketAddr>, skip: Vec<SocketAddr>, dead_ends: u32) -> DialPlan {
        let mut plan = DialPlan::new(skip, dead_ends);
        plan.resolved(resolved);
        plan
    }

    #[test]
    fn addresses_are_tried_in_order_and_only_the_last_with_patience() {
        let tried: Vec<_> = plan(addrs([3, 1, 4, 2]), addrs([1, 5]), 0).map(|(addr, patience)| (addr.port(), patience)).collect();
        assert_eq!(tried, [(3, PATIENCE), (4, PATIENCE), (2, Duration::MAX)]);
        assert_eq!(plan(addrs(1..100), addrs([1]), 0).count(), ADDRESSES_MAX);
    }

    #[test]
    fn the_last_of_many_addresses_has_time_too() {
        for count in 1..=20 {
            let tried: Vec<_> = plan(addrs(1..=count), Vec::new(), 0).map(|(_, patience)| patience).collect();
            let (_, others) = tried.split_last().expect("an address");
            let left = CONNECT_TIMEOUT - others.iter().sum::<Duration>();
            assert!(others.iter().all(|patience| left >= *patience), "{count}: {tried:?}");
        }
    }

    #[test]
    fn after_a_dead_end_the_next_address_comes_first_however_the_resolver_rotates_them() {
        let mut resolved = addrs([5, 1, 3]);
        let mut first = Vec::new();
        for dead_ends in 1..=3 {
            resolved.rotate_right(1);
            first.extend(plan(resolved.clone(), Vec::new(), dead_ends).next().map(|(addr, _)| addr.port()));
        }
        first.sort_unstable();
        assert_eq!(first, [1, 3, 5]);
        assert_eq!(plan(addrs([7]), Vec::new(), u32::MAX).count(), 1);
    }

    #[test]
    fn a_refusal_stands_only_where_every_address_refused() {
        use DialError::{Exhausted, Refused, TimedOut, Unreachable, Unresolved};
        let outcome = |failures: &[DialError]| {
            let mut plan = plan(addrs(0..4), addrs([3]), 0);
            for error in failures {
                plan.next();
                plan.failed(*error);
            }
            plan.error()
        };
        assert_eq!(outcome(&[Refused, Refused, Refused]), Refused);
        assert_eq!(outcome(&[Refused, TimedOut, Refused]), TimedOut);
        assert_eq!(outcome(&[TimedOut, Refused, Refused]), TimedOut);
        assert_eq!(outcome(&[TimedOut, Unreachable, Refused]), Unreachable);
        assert_eq!(plan(addrs([7]), addrs([7]), 0).error(), Exhausted);
        assert_eq!(plan(Vec::new(), Vec::new(), 1).error(), Unresolved);
    }
}
