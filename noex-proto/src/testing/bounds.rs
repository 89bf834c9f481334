//! Timeouts, lists, the limits of a machine's tables, and what is left when it is stopped.

use alloc::format;

use super::{Checked, Rule, check};
use crate::{Counters, Instant, Limits, NodeId, Usage};

/// The longest record, with its length prefix: what may be handed over beside a window that has a byte of room.
pub(super) const RECORD: usize = 4 + (64 << 10) + 64;

/// Whether no counter went back.
pub(super) fn grow(before: &Counters, now: &Counters) -> bool {
    let values = |c: &Counters| {
        [
            c.accepted,
            c.evicted,
            c.dials,
            c.dial_failures,
            c.faults,
            c.handshakes,
            c.duplicates,
            c.replaced,
            c.stale_admissions,
            c.offers_deferred,
            c.probes,
            c.ups,
            c.downs,
            c.messages_sent,
            c.messages_received,
            c.member_answers,
            c.calls,
            c.calls_answered,
            c.calls_failed,
            c.calls_timed_out,
            c.calls_cancelled,
            c.late_answers,
            c.requests,
            c.requests_failed,
            c.casts_sent,
            c.casts_received,
            c.casts_dropped,
            c.reports_held_back,
        ]
    };
    values(before).iter().zip(values(now)).all(|(before, now)| *before <= now)
}

/// The nodes that a machine lists: in order, each once, and never itself.
pub(super) fn check_list(ids: &[NodeId], own: &NodeId) -> Checked {
    check(!ids.contains(own), Rule::NoSelf, || format!("{own} is among its own members"))?;
    let wrong = ids.windows(2).find(|pair| pair[0] >= pair[1]);
    check(wrong.is_none(), Rule::NoDuplicate, || format!("these are listed side by side: {wrong:?}"))
}

/// The timeout while an action is queued, and once all are taken, those of a tick in particular.
pub(super) fn check_timeout(due: Option<Instant>, now: Instant, queued: bool, tick: bool) -> Checked {
    let is_due = due.is_some_and(|due| due <= now);
    check(is_due || !queued, Rule::Timers, || format!("an action is queued, and the timeout at {now} is {due:?}"))?;
    check(queued || !tick || !is_due, Rule::Timers, || format!("the timeout after a tick at {now} is {due:?} once more"))
}

/// A machine that is stopped: nothing is left.
pub(super) fn check_stopped(usage: &Usage, due: Option<Instant>) -> Checked {
    let subscribers = Usage {
        events_per_subscriber: usage.events_per_subscriber,
        // A lookup cannot be taken back.
        lookups_in_flight: usage.lookups_in_flight,
        message_bytes_per_subscriber: usage.message_bytes_per_subscriber,
        ..Usage::default()
    };
    check(due.is_none() && *usage == subscribers, Rule::NothingAfterStop, || {
        format!("stopped, and {usage:?} and the deadline {due:?} are left")
    })
}

/// No table holds more than its limit, with what one more record or answer may take where whole ones are counted.
pub(super) fn check_limits(usage: &Usage, limits: &Limits, stopping: bool) -> Checked {
    // Beside what peers ask for, a node has at most an offer, an INTRO, a heartbeat, a request and a probe to say.
    const OWN: usize = 8;
    const ENTRY: usize = 64;
    let closing = if stopping { usize::MAX } else { limits.closing_connections };
    let sessions = limits.members.saturating_mul(2).saturating_add(1);
    let catch_up = 2 * usage.nodes + 3;
    for (what, used, limit) in [
        ("calls to one peer", usage.calls_per_peer, limits.calls_per_peer),
        ("calls of one peer", usage.calls_served_per_peer, limits.calls_served_per_peer),
        ("local names", usage.local_names, limits.local_names),
        ("bytes in one mailbox", usage.mailbox_bytes, limits.mailbox_bytes),
        ("messages in one mailbox", usage.mailbox_messages, limits.mailbox_messages),
        ("bytes in all mailboxes", usage.mailboxes_bytes, limits.mailboxes_bytes),
        ("monitors of one process", usage.monitors_per_process, limits.monitors_per_process),
        ("processes", usage.processes, limits.processes),
        ("bytes of signals", usage.signal_bytes, limits.send_queue_bytes + ENTRY),
        ("closing connections", usage.closing_connections, closing),
        ("connections", usage.connections, limits.half_open.saturating_add(limits.dials_in_flight).saturating_add(sessions)),
        ("control messages", usage.control_messages, limits.control_messages + OWN),
        ("departed nodes", usage.departed_nodes, limits.departed_nodes),
        ("dials in flight", usage.dials_in_flight, limits.dials_in_flight),
        ("disconnected nodes", usage.disconnected_nodes, limits.disconnected_nodes),
        ("events", usage.events_per_subscriber, limits.events_per_subscriber + catch_up),
        ("half-open connections", usage.half_open, limits.half_open),
        ("half-open connections of one address", usage.half_open_per_address, limits.half_open_per_address),
        ("lookups in flight", usage.lookups_in_flight, limits.lookups_in_flight),
        ("members", usage.members, limits.members),
        ("message bytes", usage.message_bytes_per_subscriber, limits.message_bytes_per_subscriber + ENTRY),
        ("nodes", usage.nodes, limits.members + limits.disconnected_nodes),
        ("queued bytes", usage.send_queue_bytes, limits.send_queue_bytes + ENTRY),
        ("released bytes", usage.send_window_bytes, limits.send_window_bytes + RECORD),
    ] {
        check(used <= limit, Rule::Bounded, || format!("{used} {what}, {limit} allowed"))?;
    }
    Ok(())
}
