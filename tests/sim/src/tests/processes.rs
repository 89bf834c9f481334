//! Machines that break what holds of processes.

use noex_proto::{Action, CallError, ExitReason, MailboxItem, OpenWith, ProcessAction};

use super::invariants::{bent, broken_plan};
use super::{quiet, run};
use crate::world::{Bend, BendAction};
use crate::{Invariant, Op, Plan, Script, Step};

/// Where all of the processes are.
const B: usize = 1;
/// Where all of the callers are.
const FROM: usize = 0;

/// A quiet plan, in which the second node has a process that answers, one that ends at each call, one that keeps the port, and one that drops it.
fn plan(steps: impl IntoIterator<Item = (u64, Op)>) -> Plan {
    let mut plan = quiet();
    plan.nodes[B].processes = vec![Script::Echo, Script::Exits, Script::Silent, Script::Drops];
    plan.nodes[0].processes = vec![Script::Echo];
    plan.steps = steps.into_iter().map(|(at_ms, op)| Step { at_ms, op }).collect();
    plan
}

fn call(process: usize) -> Op {
    let (named, foreign, cancel_ms) = (false, false, None);
    Op::Call { from: FROM, to: B, process, named, foreign, size: 100, answer: 100, count: 1, timeout_ms: 1000, cancel_ms }
}

fn cast(count: usize) -> Op {
    Op::Cast { from: FROM, to: B, process: 0, named: false, size: 100, count }
}

fn watch(by: Option<usize>, process: usize) -> Op {
    Op::Monitor { from: FROM, by, to: B, process, named: false, ms: None }
}

fn exit(process: usize) -> Op {
    Op::Exit { node: B, process, ms: 100 }
}

fn broken(steps: impl IntoIterator<Item = (u64, Op)>, action: BendAction) -> Invariant {
    broken_plan(&plan(steps), bent(action)).invariant
}

fn broken_items(steps: impl IntoIterator<Item = (u64, Op)>, items: fn(&mut Vec<MailboxItem>)) -> Invariant {
    broken_plan(&plan(steps), Bend { items: Some(items), ..Bend::default() }).invariant
}

/// The bent form of what calls come to.
fn outcomes(
    action: Action,
    bend: fn(Result<noex_proto::Bytes, CallError>) -> Result<noex_proto::Bytes, CallError>,
) -> Vec<Action> {
    match action {
        Action::Process(ProcessAction::CallEnded { call, outcome }) => {
            vec![Action::Process(ProcessAction::CallEnded { call, outcome: bend(outcome) })]
        }
        action => vec![action],
    }
}

#[test]
pub(super) fn a_call_that_ends_twice() {
    let twice: BendAction = |_, _, action| match action {
        Action::Process(ProcessAction::CallEnded { .. }) => vec![action.clone(), action],
        action => vec![action],
    };
    assert_eq!(broken([(5000, call(0))], twice), Invariant::CallsEndOnce);
}

#[test]
pub(super) fn an_answer_of_another() {
    let other: BendAction = |_, _, action| {
        outcomes(action, |outcome| {
            outcome.map(|bytes| {
                let mut bytes = bytes.to_vec();
                bytes[15] ^= 1;
                bytes.into()
            })
        })
    };
    assert_eq!(broken([(5000, call(0))], other), Invariant::AnswersAreTrue);
    let invented: BendAction = |_, _, action| outcomes(action, |_| Ok(vec![0; 100].into()));
    assert_eq!(broken([(5000, call(3))], invented), Invariant::AnswersAreTrue);
}

#[test]
pub(super) fn a_call_that_is_handled_and_said_not_to_be() {
    let denied: BendAction =
        |_, _, action| outcomes(action, |outcome| outcome.or(Err(CallError::Busy)).and(Err(CallError::Busy)));
    assert_eq!(broken([(5000, call(0))], denied), Invariant::HandledAsSaid);
    // One that is handed out twice.
    let twice = broken_items([(5000, call(0))], |items| {
        let again = items.clone();
        items.extend(again);
    });
    assert_eq!(twice, Invariant::HandledAsSaid);
}

#[test]
pub(super) fn an_outcome_that_is_not_so() {
    for (process, bend) in [(0, CallError::Dropped), (3, CallError::TimedOut), (0, CallError::Stopped)].map(|(process, error)| {
        let bend: BendAction = match error {
            CallError::Dropped => |_, _, action| outcomes(action, |_| Err(CallError::Dropped)),
            CallError::TimedOut => |_, _, action| outcomes(action, |_| Err(CallError::TimedOut)),
            _ => |_, _, action| outcomes(action, |_| Err(CallError::Stopped)),
        };
        (process, bend)
    }) {
        assert_eq!(broken([(5000, call(process))], bend), Invariant::OutcomesAreTrue);
    }
    // The session lives.
    let lost: BendAction =
        |_, _, action| outcomes(action, |_| Err(CallError::Disconnected(noex_proto::NodeDownReason::ConnectionClosed)));
    assert_eq!(broken([(5000, call(0))], lost), Invariant::OutcomesAreTrue);
}

#[test]
pub(super) fn a_call_that_does_not_end() {
    let never: BendAction = |_, _, action| match action {
        Action::Process(ProcessAction::CallEnded { outcome: Err(CallError::TimedOut), .. }) => Vec::new(),
        action => vec![action],
    };
    assert_eq!(broken([(5000, call(2))], never), Invariant::CallsEndInTime);
}

/// The bent form of what tasks are told of processes that they watch.
fn downs(action: Action, bend: fn(ExitReason) -> Vec<ExitReason>) -> Vec<Action> {
    match action {
        Action::Process(ProcessAction::MonitorFired { monitor, reason }) => {
            let fired = |reason| Action::Process(ProcessAction::MonitorFired { monitor, reason });
            bend(reason).into_iter().map(fired).collect()
        }
        action => vec![action],
    }
}

#[test]
pub(super) fn a_monitor_that_fires_twice_or_never() {
    let steps = || [(5000, watch(None, 0)), (5100, exit(0))];
    let twice: BendAction = |_, _, action| downs(action, |reason| vec![reason.clone(), reason]);
    assert_eq!(broken(steps(), twice), Invariant::MonitorsFireOnce);
    let never: BendAction = |_, _, action| downs(action, |_| Vec::new());
    assert_eq!(broken(steps(), never), Invariant::MonitorsFireOnce);
}

#[test]
pub(super) fn a_down_for_another_reason() {
    let steps = || [(5000, watch(None, 0)), (5100, exit(0))];
    let other: BendAction = |_, _, action| downs(action, |_| vec![ExitReason::error("another")]);
    assert_eq!(broken(steps(), other), Invariant::DownsAreTrue);
    // The session lives.
    let lost: BendAction = |_, _, action| downs(action, |_| vec![ExitReason::NoConnection]);
    assert_eq!(broken(steps(), lost), Invariant::OutcomesAreTrue);
}

#[test]
pub(super) fn messages_out_of_order() {
    assert_eq!(broken_items([(5000, cast(5))], |items| items.reverse()), Invariant::MessagesInOrder);
    let lost = |items: &mut Vec<MailboxItem>| {
        // The process goes on with what is left.
        if items.len() > 1 {
            items.pop_if(|item| matches!(item, MailboxItem::Cast { .. }));
        }
    };
    assert_eq!(broken_items([(5000, cast(5)), (6000, cast(5))], lost), Invariant::MessagesInOrder);
    // A notice that overtakes the last words of the process that it is about.
    let overtakes = |items: &mut Vec<MailboxItem>| items.sort_by_key(|item| !matches!(item, MailboxItem::Down { .. }));
    let last_words = Op::Cast { from: B, to: FROM, process: 0, named: false, size: 100, count: 3 };
    let steps = [(5000, watch(Some(0), 2)), (5100, last_words), (5100, exit(2))];
    assert_eq!(broken_items(steps, overtakes), Invariant::MessagesInOrder);
}

#[test]
pub(super) fn calls_that_are_left() {
    let left: [fn(OpenWith) -> OpenWith; 3] = [
        |open| OpenWith { calls: open.calls + 1, ..open },
        |open| OpenWith { handed: open.handed + 1, ..open },
        |open| OpenWith { calls: 0, ..open },
    ];
    for open in left {
        let violation = broken_plan(&plan([(5000, call(2))]), Bend { open: Some(open), ..Bend::default() });
        assert_eq!(violation.invariant, Invariant::BooksBalance, "{violation}");
    }
    let at_rest: [fn(OpenWith) -> OpenWith; 2] =
        [|open| OpenWith { owed: open.owed + 1, ..open }, |open| OpenWith { requests: open.requests + 1, ..open }];
    for open in at_rest {
        let violation = broken_plan(&plan([]), Bend { open: Some(open), ..Bend::default() });
        assert_eq!(violation.invariant, Invariant::NothingIsLeft, "{violation}");
    }
}

#[test]
pub(super) fn a_process_that_is_not_woken() {
    let asleep: BendAction = |world, _, action| match action {
        Action::Process(ProcessAction::Mailbox(_)) if world.now().as_secs() > 20 => Vec::new(),
        action => vec![action],
    };
    assert_eq!(broken([], asleep), Invariant::ProcessesServe);
}

#[test]
fn what_scripts_do_is_what_callers_hear() {
    let steps = (0..4).map(|process| (5000 + process * 100, call(usize::try_from(process).expect("small"))));
    let world = run(&plan(steps));
    let ends = world.lines().filter(|line| line.at.as_secs() < 10).filter_map(|line| line.what.strip_prefix("call "));
    let ends: Vec<&str> = ends.filter_map(|end| end.split_once(": ").map(|(_, end)| end)).collect();
    let expected = [
        "100 bytes",
        "the process ended before it answered: at call 1",
        "the process dropped the call without an answer",
        "the call timed out",
    ];
    assert_eq!(ends, expected);
}
