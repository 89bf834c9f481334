//! Machines that break what holds of names.

use std::time::Duration;

use noex_proto::{Action, ClaimError, MailboxItem, ProcessAction};

use super::invariants::{bent, broken_plan};
use super::{quiet, run};
use crate::world::{Bend, BendAction, BendHolder};
use crate::{Invariant, Op, Plan, Script, Step};

fn plan(steps: impl IntoIterator<Item = (u64, Op)>) -> Plan {
    let mut plan = quiet();
    plan.nodes.iter_mut().for_each(|node| node.processes = vec![Script::Echo]);
    plan.steps = steps.into_iter().map(|(at_ms, op)| Step { at_ms, op }).collect();
    plan
}

const fn claim(node: usize, when_free: bool) -> Op {
    Op::Claim { node, process: 0, name: 0, when_free, min_nodes: 0, keep: false, timeout_ms: 5000, drop_ms: None }
}

fn broken(steps: impl IntoIterator<Item = (u64, Op)>, action: BendAction) -> Invariant {
    broken_plan(&plan(steps), bent(action)).invariant
}

type Outcome = Result<(), ClaimError>;

/// The bent form of what comes of claims.
fn outcomes(action: Action, bend: fn(Outcome) -> Vec<Outcome>) -> Vec<Action> {
    match action {
        Action::Process(ProcessAction::ClaimEnded { claim, outcome }) => {
            let ended = |outcome| Action::Process(ProcessAction::ClaimEnded { claim, outcome });
            bend(outcome).into_iter().map(ended).collect()
        }
        action => vec![action],
    }
}

#[test]
fn who_claims_a_name_has_it_and_who_stands_by_has_it_next() {
    let world = run(&plan([(5000, claim(1, false)), (6000, claim(2, true)), (7000, Op::Exit { node: 1, process: 0, ms: 100 })]));
    let told = world.lines().filter(|line| line.host == Some(0) && line.at < Duration::from_secs(9));
    let mut told: Vec<&str> = told.filter_map(|line| line.what.strip_prefix("n0 is ")?.split('@').next()).collect();
    // A change is told whenever there may be one.
    told.dedup();
    assert_eq!(told, ["nobody", "b", "nobody", "c"]);
}

#[test]
pub(super) fn a_name_that_two_have() {
    // Whoever judges goes by what two machines show, and no action can be bent so that both show it.
    assert_eq!(crate::explore::two_holders(), Some(Invariant::OneHolder));
}

#[test]
pub(super) fn what_is_not_so_of_a_name() {
    let twice: BendAction = |_, _, action| outcomes(action, |outcome| vec![outcome.clone(), outcome]);
    assert_eq!(broken([(5000, claim(1, false)), (5000, claim(2, false))], twice), Invariant::NamesAreTrue);
    let early: BendAction = |_, _, action| outcomes(action, |_| vec![Err(ClaimError::TimedOut { waiting_for: Vec::new() })]);
    assert_eq!(broken([(5000, claim(1, false))], early), Invariant::NamesAreTrue);
    let holder: BendHolder = |_, holder| {
        let holder = serde_json::to_string(&holder?).expect("written").replace("\"number\":1", "\"number\":77");
        serde_json::from_str(&holder).expect("a process")
    };
    let another = broken_plan(&plan([(5000, claim(1, false))]), Bend { holder: Some(holder), ..Bend::default() });
    assert_eq!(another.invariant, Invariant::NamesAreTrue, "{another}");
    // A notice of a name that its process does not have.
    let lost = |items: &mut Vec<MailboxItem>| {
        let name = noex_proto::ProcessName::new("n0").expect("a name");
        items.insert(0, MailboxItem::NameLost { name, winner: None });
    };
    let call = Op::Cast { from: 0, to: 1, process: 0, named: false, size: 32, count: 1 };
    let told = broken_plan(&plan([(5000, call)]), Bend { items: Some(lost), ..Bend::default() });
    assert_eq!(told.invariant, Invariant::NamesAreTrue, "{told}");
}

#[test]
pub(super) fn nodes_that_do_not_agree_on_a_name() {
    let blind = broken_plan(&plan([]), Bend { holder: Some(|host, holder| holder.filter(|_| host != 1)), ..Bend::default() });
    assert_eq!(blind.invariant, Invariant::NamesAgree, "{blind}");
    // Whoever stands by is never told.
    let never: BendAction = |_, _, action| outcomes(action, |_| Vec::new());
    assert_eq!(broken([], never), Invariant::NamesAgree);
}
