//! Name lookups for dials: when one is asked for, and what its answer or its delay leads to.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::cx::Cx;
use super::dialling::SLOW;
use super::node::{Ended, Node, Target, Wait};
use crate::{Action, Cause, DialError, LocalFault, LookupId, Unreached};

/// How long a lookup may take before the targets that wait for it are reported as unreachable. The lookup itself goes on: a resolver that
/// asks a dead name server first takes longer than this.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

impl Node {
    /// A target's name has to be looked up before it can be dialled.
    pub(super) fn look_up(&mut self, cx: &mut Cx<'_>, target: Target, host: &str) {
        let hint = self.is_hint(&target);
        let Some(dial) = self.dials.get_mut(&target) else { return };
        dial.looking = true;
        let likely = !hint && !dial.slow_lookup;
        if let Some(lookup) = cx.host.lookups.want(host, target, likely)
            && cx.local.waits.get(&Wait::Lookup(lookup)).is_none()
        {
            cx.local.waits.set(Wait::Lookup(lookup), cx.run() + LOOKUP_TIMEOUT);
        }
        self.begin_lookups(cx);
    }

    fn begin_lookups(&mut self, cx: &mut Cx<'_>) {
        while let Some((lookup, host)) = cx.host.lookups.begin(cx.now(), cx.local.settings.limits.lookups_in_flight) {
            cx.local.waits.set(Wait::Lookup(lookup), cx.run() + LOOKUP_TIMEOUT);
            cx.host.actions.push_back(Action::Resolve { host, lookup });
        }
    }

    /// A target is no longer dialled, or is up: it needs no lookup.
    pub(super) fn leave_lookup(&mut self, cx: &mut Cx<'_>, target: &Target) {
        let Some(dial) = self.dials.get_mut(target) else { return };
        if core::mem::take(&mut dial.looking)
            && let (Err(host), _) = self.address_of(target)
        {
            cx.host.lookups.leave(&host, target);
        }
    }

    /// A lookup is overdue: the targets that wait for it are reported, and go on waiting.
    pub(super) fn lookup_overdue(&mut self, cx: &mut Cx<'_>, lookup: LookupId) {
        for target in cx.host.lookups.waiting(lookup).to_vec() {
            if let Some(dial) = self.dials.get_mut(&target) {
                dial.slow_lookup = true;
            }
            self.dial_missed(cx, &target, Unreached::Dial(DialError::LookupTimedOut));
        }
    }

    /// A lookup has ended: the targets that waited are dialled at its addresses.
    pub(super) fn resolved(&mut self, cx: &mut Cx<'_>, lookup: LookupId, addrs: Result<Vec<SocketAddr>, Cause>) {
        cx.local.waits.cancel(&Wait::Lookup(lookup));
        let Some(answered) = cx.host.lookups.answered(lookup) else { return };
        let slow = cx.now() - answered.since >= SLOW;
        if let Err(cause) = &addrs
            && !answered.waiting.is_empty()
        {
            cx.host.report_local(LocalFault::Lookup { cause: cause.clone(), host: answered.host });
        }
        for target in answered.waiting {
            let Some(dial) = self.dials.get_mut(&target) else { continue };
            dial.looking = false;
            dial.slow_lookup = slow;
            // It is news again after a quick one only where another failure was told meanwhile.
            dial.lookup_reported &= slow || dial.reported.is_none();
            match &addrs {
                Ok(addrs) if addrs.is_empty() => self.retry(cx, &target, Ended::Failed(Unreached::Dial(DialError::Unresolved))),
                Ok(addrs) => self.queue_dial(cx, target, addrs.clone()),
                Err(_) => self.retry(cx, &target, Ended::Local),
            }
        }
        self.begin_lookups(cx);
    }
}
