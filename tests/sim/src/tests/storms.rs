//! More of something in a second than a node may do, and what of it is no storm.

use noex_proto::{Action, ClusterError, ClusterEvent, ClusterStatus, Limits, Unreached};

use super::invariants::{broken_pair, id, of};
use crate::Invariant;
use crate::safety::{Activity, Monitor};

#[test]
pub(super) fn a_storm_of_records() {
    let violation = broken_pair(|_, _, action| match action {
        Action::Transmit { ref data, .. } if data.len() < 50 => vec![action; 6000],
        action => vec![action],
    });
    assert_eq!(violation.invariant, Invariant::NoStorm, "{violation}");
    for what in [Activity::Dial, Activity::Report, Activity::Send, Activity::Tick] {
        let mut monitor = Monitor::default();
        let limits = Limits::default();
        assert!((0..100_000).any(|_| of(monitor.count(5, what, 3, Some(&limits))) == Some(Invariant::NoStorm)), "{what:?}");
    }
    // Between two whole seconds too, and not over more than one.
    let limits = Limits::default().dials_per_second(2);
    let dials = |times: [u64; 5]| {
        let mut monitor = Monitor::default();
        let check = |ms| of(monitor.count(ms * 1_000_000, Activity::Dial, 3, Some(&limits)));
        times.map(check)
    };
    assert_eq!(dials([700, 800, 900, 1000, 1699]), [None, None, None, None, Some(Invariant::NoStorm)]);
    assert_eq!(dials([700, 800, 900, 1000, 1700]), [None; 5]);
    let mut monitor = Monitor::default();
    let error = ClusterError::SeedUnreachable { seed: id("a").into(), why: Unreached::Closed };
    let told: Vec<_> = (0..2).map(|_| of(monitor.event(&ClusterEvent::Error(error.clone())))).collect();
    assert_eq!(told, [None, Some(Invariant::NoStorm)]);
}

#[test]
fn a_storm_of_dials_of_one_run_of_a_node() {
    let limits = Limits::default().dials_per_second(4);
    let statuses = [ClusterStatus::Starting, ClusterStatus::Running, ClusterStatus::Stopping, ClusterStatus::Stopped];
    let mut monitor = Monitor::default();
    // Two runs within a second, each with all the dials that it may make.
    for _ in 0..2 {
        for status in statuses {
            assert_eq!(monitor.event(&ClusterEvent::StatusChange(status)), Ok(()));
            let dials = if status == ClusterStatus::Running { 8 } else { 0 };
            assert!((0..dials).all(|_| monitor.count(5, Activity::Dial, 3, Some(&limits)).is_ok()));
        }
    }
    assert_eq!(of(monitor.count(5, Activity::Dial, 3, Some(&limits))), Some(Invariant::NoStorm));
}
