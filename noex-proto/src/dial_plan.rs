//! One dial of a host that may have several addresses.

use alloc::vec::{self, Vec};
use core::net::SocketAddr;
use core::time::Duration;

use crate::DialError;

/// The most addresses of one host that a dial tries.
const ADDRESSES_MAX: usize = 16;

/// How long an address may take to answer while there are others to try.
const PATIENCE: Duration = Duration::from_secs(2);

/// Which addresses a dial tries, for how long each, and what their failures come to: the policy behind
/// [`Action::Connect`](crate::Action::Connect), for drivers.
///
/// Take [`next`](Iterator::next) and connect; on failure tell [`failed`](Self::failed) and go on; at the end
/// [`error`](Self::error) is what to report.
#[derive(Clone, Debug)]
pub struct DialPlan {
    addrs: vec::IntoIter<SocketAddr>,
    error: DialError,
}

impl DialPlan {
    /// A plan for what the host resolved to, in the resolver's order; none where it did not.
    #[must_use]
    pub fn new(resolved: Vec<SocketAddr>, skip: &[SocketAddr]) -> Self {
        let error = if resolved.is_empty() { DialError::Unresolved } else { DialError::Exhausted };
        let mut addrs = resolved;
        addrs.retain(|addr| !skip.contains(addr));
        addrs.truncate(ADDRESSES_MAX);
        Self { addrs: addrs.into_iter(), error }
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

impl Iterator for DialPlan {
    /// An address, and how long it may take. The last one may take as long as it likes: the machine gives up the dial as a whole.
    type Item = (SocketAddr, Duration);

    fn next(&mut self) -> Option<Self::Item> {
        let addr = self.addrs.next()?;
        let patience = if self.addrs.as_slice().is_empty() { Duration::MAX } else { PATIENCE };
        Some((addr, patience))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addrs(ports: impl IntoIterator<Item = u16>) -> Vec<SocketAddr> {
        ports.into_iter().map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect()
    }

    #[test]
    fn addresses_are_tried_in_order_and_only_the_last_with_patience() {
        let plan = DialPlan::new(addrs([3, 1, 4, 2]), &addrs([1, 5]));
        let tried: Vec<_> = plan.map(|(addr, patience)| (addr.port(), patience)).collect();
        assert_eq!(tried, [(3, PATIENCE), (4, PATIENCE), (2, Duration::MAX)]);
        assert_eq!(DialPlan::new(addrs(1..100), &addrs([1])).count(), ADDRESSES_MAX);
    }

    #[test]
    fn a_refusal_stands_only_where_every_address_refused() {
        use DialError::{Exhausted, Refused, TimedOut, Unreachable, Unresolved};
        let outcome = |failures: &[DialError]| {
            let mut plan = DialPlan::new(addrs(0..4), &addrs([3]));
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
        assert_eq!(DialPlan::new(addrs([7]), &addrs([7])).error(), Exhausted);
        assert_eq!(DialPlan::new(Vec::new(), &[]).error(), Unresolved);
    }
}
