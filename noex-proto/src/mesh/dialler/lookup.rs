//! Name lookups for dials: when one is asked for, and what its answer or its delay leads to.

use alloc::vec::Vec;
use core::time::Duration;

use super::{Dialler, Known, SLOW, Target};
use crate::mesh::cx::{Cx, Wait};
use crate::{Action, Cause, LocalFault, LookupId};

/// How long a lookup may take before the targets that wait for it are reported as unreachable. The lookup itself goes on: a resolver that
/// asks a dead name server first takes longer than this.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

impl Dialler {
    /// A target's name has to be looked up before it can be dialled.
    pub(super) fn look_up(&mut self, cx: &mut Cx<'_>, target: Target, host: &str, known: &impl Known) {
        let hint = Self::is_hint(&target, known);
        let Some(dial) = self.dials.get_mut(&target) else { return };
        dial.looking = true;
        let likely = !hint && !dial.slow_lookup;
        if let Some(lookup) = cx.host.lookups.want(host, target, likely)
            && cx.local.waits.get(&Wait::Lookup(lookup)).is_none()
        {
            cx.local.waits.set(Wait::Lookup(lookup), cx.local.run + LOOKUP_TIMEOUT);
        }
        Self::begin_lookups(cx);
    }

    /// Begins the lookups that wait, as far as their number allows.
    pub(in crate::mesh) fn begin_lookups(cx: &mut Cx<'_>) {
        while let Some((lookup, host)) = cx.host.lookups.begin(cx.local.now, cx.local.settings.limits.lookups_in_flight) {
            cx.local.waits.set(Wait::Lookup(lookup), cx.local.run + LOOKUP_TIMEOUT);
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

    /// The lookup that a target waits for is overdue.
    pub(in crate::mesh) fn lookup_overdue(&mut self, target: &Target) {
        if let Some(dial) = self.dials.get_mut(target) {
            dial.slow_lookup = true;
        }
    }

    /// A lookup has ended, by a fault of the local system or not. The targets that waited for it, and whether it took long.
    pub(in crate::mesh) fn lookup_ended(cx: &mut Cx<'_>, lookup: LookupId, fault: Option<&Cause>) -> Option<(Vec<Target>, bool)> {
        cx.local.waits.cancel(&Wait::Lookup(lookup));
        let answered = cx.host.lookups.answered(lookup)?;
        let slow = cx.now() - answered.since >= SLOW;
        if let Some(cause) = fault
            && !answered.waiting.is_empty()
        {
            cx.host.report_local(LocalFault::Lookup { cause: cause.clone(), host: answered.host });
        }
        Some((answered.waiting, slow))
    }

    /// A target waits for its lookup no more. Whether it is still dialled.
    pub(in crate::mesh) fn looked_up(&mut self, target: &Target, slow: bool) -> bool {
        let Some(dial) = self.dials.get_mut(target) else { return false };
        dial.looking = false;
        dial.slow_lookup = slow;
        // It is news again after a quick one only where another failure was told meanwhile.
        dial.lookup_reported &= slow || dial.reported.is_none();
        true
    }
}
