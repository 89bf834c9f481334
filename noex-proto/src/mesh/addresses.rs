//! The addresses of one host: the order in which dials try them, the time that each gets, and the one error that a failed dial reports.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::{Cause, DialError, Unreached};

/// How many addresses of one host are kept; a resolver's further ones are passed over.
const ADDRESSES_MAX: usize = 256;

/// How many of them one dial tries.
const TRIED_AT_ONCE: usize = 16;

/// How long a dial may take to connect, with all the addresses that it tries.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an address may take to answer while there are others to try: less where there are so many that the last would have no time.
const PATIENCE: Duration = Duration::from_secs(2);

/// The result of trying one address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Miss {
    /// The local system could not try it.
    Local(Cause),
    /// It is this node itself.
    ToSelf,
    /// It was tried and led to no session.
    Unreached(Unreached),
}

impl Miss {
    /// How much it tells; a dial reports the miss that tells most. A refusal says that nobody listens, so it stands only if no address
    /// told anything else.
    const fn rank(&self) -> u8 {
        match self {
            Self::ToSelf => 0,
            Self::Local(_) => 1,
            Self::Unreached(Unreached::Dial(DialError::Refused)) => 2,
            Self::Unreached(_) => 3,
        }
    }
}

/// The addresses of one host, over all dials of it since a session was up.
///
/// Each dial starts with the addresses that were tried longest ago, so every address gets its turn, whatever happens at the others and in
/// whatever order the resolver lists them. Untried addresses come first, in the resolver's order.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    /// The addresses that the present dial has left to try.
    course: VecDeque<SocketAddr>,
    miss: Option<Miss>,
    patience: Duration,
    /// The addresses of the last answer that were tried, least recently tried first.
    tried: Vec<SocketAddr>,
}

impl Addresses {
    pub(crate) const fn new() -> Self {
        Self { course: VecDeque::new(), miss: None, patience: PATIENCE, tried: Vec::new() }
    }

    /// Begins a dial of the addresses that the host resolved to, all on `port`.
    pub(crate) fn begin(&mut self, answer: Vec<SocketAddr>, port: u16) {
        let mut known: Vec<SocketAddr> = Vec::with_capacity(answer.len().min(ADDRESSES_MAX));
        for mut addr in answer {
            addr.set_port(port);
            if known.len() < ADDRESSES_MAX && !known.contains(&addr) {
                known.push(addr);
            }
        }
        self.tried.retain(|addr| known.contains(addr));
        known.retain(|addr| !self.tried.contains(addr));
        let count = TRIED_AT_ONCE.min(known.len() + self.tried.len());
        self.course = known.into_iter().chain(self.tried.iter().copied()).take(count).collect();
        self.patience = PATIENCE.min(CONNECT_TIMEOUT / u32::try_from(count.max(1)).expect("they are few"));
        self.miss = None;
    }

    /// The next address of the dial, and how long it may take to connect. The last one gets what is `left` of the dial's time, and at least
    /// as much as the others.
    pub(crate) fn next_address(&mut self, left: Duration) -> Option<(SocketAddr, Duration)> {
        let addr = self.course.pop_front()?;
        self.tried.retain(|tried| *tried != addr);
        self.tried.push(addr);
        Some((addr, if self.course.is_empty() { left.max(self.patience) } else { self.patience }))
    }

    /// Whether the dial has an address left to try.
    pub(crate) fn has_next(&self) -> bool {
        !self.course.is_empty()
    }

    /// Leaves the dial only those addresses that were not tried yet, and for which this holds.
    pub(crate) fn keep_untried(&mut self, holds: impl Fn(&SocketAddr) -> bool) {
        let Self { course, tried, .. } = self;
        course.retain(|addr| !tried.contains(addr) && holds(addr));
    }

    /// The address taken last led to no session.
    pub(crate) fn missed(&mut self, miss: Miss) {
        if self.miss.as_ref().is_none_or(|before| miss.rank() >= before.rank()) {
            self.miss = Some(miss);
        }
    }

    /// Why the dial failed, once it has tried its addresses; `None` if there were none.
    pub(crate) fn outcome(&mut self) -> Option<Miss> {
        self.miss.take()
    }

    /// A session is up: the next dial follows the resolver's order.
    pub(crate) fn reset(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addrs(last: impl IntoIterator<Item = u8>) -> Vec<SocketAddr> {
        last.into_iter().map(|last| SocketAddr::from(([10, 0, 0, last], 0))).collect()
    }

    /// One dial to the end: what it tried.
    fn dial(addresses: &mut Addresses, answer: Vec<SocketAddr>) -> Vec<(u8, Duration)> {
        addresses.begin(answer, 4369);
        let mut left = CONNECT_TIMEOUT;
        let mut tried = Vec::new();
        while let Some((addr, patience)) = addresses.next_address(left) {
            let SocketAddr::V4(v4) = addr else { unreachable!() };
            assert_eq!(v4.port(), 4369);
            tried.push((v4.ip().octets()[3], patience));
            left = left.saturating_sub(patience);
        }
        tried
    }

    fn order(tried: &[(u8, Duration)]) -> Vec<u8> {
        tried.iter().map(|(last, _)| *last).collect()
    }

    #[test]
    fn addresses_are_tried_in_the_resolvers_order_and_only_the_last_with_patience() {
        let mut addresses = Addresses::new();
        let tried = dial(&mut addresses, addrs([3, 1, 4, 1]));
        assert_eq!(tried, [(3, PATIENCE), (1, PATIENCE), (4, CONNECT_TIMEOUT - 2 * PATIENCE)]);
        addresses.reset();
        assert_eq!(order(&dial(&mut addresses, addrs([1, 3, 4]))), [1, 3, 4]);
        assert_eq!(dial(&mut Addresses::new(), addrs([7])), [(7, CONNECT_TIMEOUT)]);
    }

    #[test]
    fn the_last_of_many_addresses_has_time_too() {
        for count in 1..=20 {
            let tried = dial(&mut Addresses::new(), addrs(1..=count));
            assert_eq!(tried.len(), usize::from(count).min(TRIED_AT_ONCE));
            assert_eq!(tried.iter().map(|(_, patience)| *patience).sum::<Duration>(), CONNECT_TIMEOUT, "{tried:?}");
            assert!(tried.iter().all(|(_, patience)| *patience >= CONNECT_TIMEOUT / 16), "{count}: {tried:?}");
        }
    }

    #[test]
    fn after_an_address_that_led_nowhere_the_others_come_first_however_the_resolver_rotates_them() {
        let mut addresses = Addresses::new();
        let mut resolved = addrs([5, 1, 3]);
        let mut first = Vec::new();
        for _ in 0..3 {
            resolved.rotate_right(1);
            addresses.begin(resolved.clone(), 1);
            // It takes the connection, and no session comes of it: the dial is over.
            first.extend(addresses.next_address(CONNECT_TIMEOUT).map(|(addr, _)| addr.ip()));
        }
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), 3);
    }

    #[test]
    fn what_a_resolver_gives_is_bounded() {
        let mut addresses = Addresses::new();
        let many = (0..1000).map(|number: u16| SocketAddr::from(([10, 1, (number / 250) as u8, (number % 250) as u8], 0)));
        for _ in 0..200 {
            addresses.begin(many.clone().collect(), 1);
            assert_eq!(addresses.course.len(), TRIED_AT_ONCE);
            while addresses.next_address(CONNECT_TIMEOUT).is_some() {}
        }
        assert_eq!(addresses.tried.len(), ADDRESSES_MAX);
    }

    proptest! {
        /// Of `n` addresses each is tried within `ceil(n / 16)` dials in a row, from any dial on, in whatever order the resolver gives them.
        #[test]
        fn each_of_many_addresses_has_its_turn(count in 1_u8..=100, orders: [(u8, bool); 12]) {
            let mut addresses = Addresses::new();
            let mut answer = addrs(1..=count);
            let mut dials: Vec<Vec<u8>> = Vec::new();
            for (turn, reverse) in orders {
                answer.rotate_left(usize::from(turn % count));
                if reverse {
                    answer.reverse();
                }
                dials.push(order(&dial(&mut addresses, answer.clone())));
            }
            for window in dials.windows(usize::from(count).div_ceil(TRIED_AT_ONCE)) {
                let mut tried: Vec<u8> = window.concat();
                tried.sort_unstable();
                tried.dedup();
                prop_assert_eq!(tried.len(), usize::from(count));
            }
        }
    }

    #[test]
    fn a_refusal_stands_only_where_nothing_else_was_found_out() {
        use Miss::ToSelf;
        let unreached = |error| Miss::Unreached(Unreached::Dial(error));
        let [refused, timed_out, unreachable] = [DialError::Refused, DialError::TimedOut, DialError::Unreachable].map(unreached);
        let local = Miss::Local("no descriptors".into());
        for (misses, outcome) in [
            (alloc::vec![&refused, &refused], &refused),
            (alloc::vec![&refused, &timed_out, &refused], &timed_out),
            (alloc::vec![&timed_out, &unreachable, &refused], &unreachable),
            (alloc::vec![&ToSelf, &ToSelf], &ToSelf),
            (alloc::vec![&refused, &ToSelf], &refused),
            (alloc::vec![&local, &ToSelf], &local),
            (alloc::vec![&refused, &local], &refused),
        ] {
            let mut addresses = Addresses::new();
            misses.into_iter().cloned().for_each(|miss| addresses.missed(miss));
            assert_eq!(addresses.outcome().as_ref(), Some(outcome));
        }
        assert_eq!(Addresses::new().outcome(), None);
    }
}
