//! Name lookups for dials: when one is asked for, and what its answer or its delay leads to.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::dialling::SLOW;
use super::node::{Ended, Node, Target, Wait};
use crate::{Action, Cause, DialError, LocalFault, LookupId, Unreached};

/// How long a lookup may take before the targets that wait for it are reported as unreachable. The lookup itself goes on: a resolver that
/// asks a dead name server first takes longer than this.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

impl Node {
    /// A target's name has to be looked up before it can be dialled.
    pub(super) fn look_up(&mut self, target: Target, host: &str) {
        let hint = self.is_hint(&target);
        let Some(dial) = self.dials.get_mut(&target) else { return };
        dial.looking = true;
        let likely = !hint && !dial.slow_lookup;
        if let Some(lookup) = self.out.lookups.want(host, target, likely)
            && self.waits.get(&Wait::Lookup(lookup)).is_none()
        {
            self.waits.set(Wait::Lookup(lookup), self.run + LOOKUP_TIMEOUT);
        }
        self.begin_lookups();
    }

    fn begin_lookups(&mut self) {
        while let Some((lookup, host)) = self.out.lookups.begin(self.now, self.settings.limits.lookups_in_flight) {
            self.waits.set(Wait::Lookup(lookup), self.run + LOOKUP_TIMEOUT);
            self.out.actions.push_back(Action::Resolve { host, lookup });
        }
    }

    /// A target is no longer dialled, or is up: it needs no lookup.
    pub(super) fn leave_lookup(&mut self, target: &Target) {
        let Some(dial) = self.dials.get_mut(target) else { return };
        if core::mem::take(&mut dial.looking)
            && let (Err(host), _) = self.address_of(target)
        {
            self.out.lookups.leave(&host, target);
        }
    }

    /// A lookup is overdue: the targets that wait for it are reported, and go on waiting.
    pub(super) fn lookup_overdue(&mut self, lookup: LookupId) {
        for target in self.out.lookups.waiting(lookup).to_vec() {
            if let Some(dial) = self.dials.get_mut(&target) {
                dial.slow_lookup = true;
            }
            self.dial_missed(&target, Unreached::Dial(DialError::LookupTimedOut));
        }
    }

    /// A lookup has ended: the targets that waited are dialled at its addresses.
    pub(super) fn resolved(&mut self, lookup: LookupId, addrs: Result<Vec<SocketAddr>, Cause>) {
        self.waits.cancel(&Wait::Lookup(lookup));
        let Some(answered) = self.out.lookups.answered(lookup) else { return };
        let slow = self.now - answered.since >= SLOW;
        if let Err(cause) = &addrs
            && !answered.waiting.is_empty()
        {
            self.out.report_local(LocalFault::Lookup { cause: cause.clone(), host: answered.host });
        }
        for target in answered.waiting {
            let Some(dial) = self.dials.get_mut(&target) else { continue };
            dial.looking = false;
            dial.slow_lookup = slow;
            // It is news again after a quick one only where another failure was told meanwhile.
            dial.lookup_reported &= slow || dial.reported.is_none();
            match &addrs {
                Ok(addrs) if addrs.is_empty() => self.retry(&target, Ended::Failed(Unreached::Dial(DialError::Unresolved))),
                Ok(addrs) => self.queue_dial(target, addrs.clone()),
                Err(_) => self.retry(&target, Ended::Local),
            }
        }
        self.begin_lookups();
    }
}
