//! Plans that cannot be run are refused, and the message says where.

use super::{quiet, with};
use crate::{Chunking, Fault, Op, Plan, Seed, Step, Tampering};

fn refusal(text: &str) -> String {
    Plan::from_text(text).expect_err("an error").to_string()
}

/// The number of the line on which `what` stands.
fn line_of(text: &str, what: &str) -> usize {
    text.lines().position(|line| line.contains(what)).expect("it stands there") + 1
}

fn assert_names_line(text: &str, what: &str, says: &str) {
    let (error, line) = (refusal(text), line_of(text, what));
    assert!(error.contains(&format!("line {line}")) && error.contains(says), "{error}\nwanted line {line} and {says}");
}

#[test]
fn what_does_not_parse_is_an_error_with_its_line() {
    let text = with(Fault::Crash, [(5, Op::Crash { node: 1, ms: Some(7) })]).to_text();
    assert_names_line(&text.replace("\"crash\":{\"ms\"", "\"crush\":{\"ms\""), "crush", "crush");
    assert_names_line(&text.replace("\"core\"", "\"kore\""), "kore", "kore");
    assert_names_line(&text.replace("\"heal_ms\": 20000", "\"heal_ms\": -1"), "heal_ms", "-1");
    assert_names_line(&text.replace("\"seed\": 1,", "\"seed\": 1, ,"), "\"seed\": 1", "line");
    assert!(refusal("").contains("line"), "{}", refusal(""));
    assert!(refusal("{").contains("line"), "{}", refusal("{"));
    assert!(refusal("not a plan").contains("line 1"));
}

#[test]
fn who_does_not_exist_is_an_error_with_the_line() {
    let text = with(Fault::Crash, [(5, Op::Processes { node: 0, count: 1 }), (6, Op::Crash { node: 77, ms: None })]).to_text();
    assert_names_line(&text, "77", "node 77");
    let text = with(Fault::Crash, [(5, Op::Reset { one: 0, other: 1 })]).to_text();
    assert_names_line(&text, "\"reset\"", "not among `faults`");
    let plan = Plan { chunking: Chunking::Pieces { most: 0 }, ..quiet() };
    assert_names_line(&plan.to_text(), "\"chunking\"", "pieces of no byte");
    let mut plan = quiet();
    plan.nodes[1].own_secret = Some(3);
    assert_names_line(&plan.to_text(), "\"core\"", "node 1");
    let text = with(Fault::Partition, [(5, Op::Cut { from: vec![0], to: vec![1, 66], ms: 1, reset: false })]).to_text();
    assert_names_line(&text, "66", "node 66");
    let text = with(Fault::Rogues, [(5, Op::RogueDials { rogue: 3, node: 0, count: 1 })]).to_text();
    assert_names_line(&text, "rogue_dials", "stranger 3");
    assert_names_line(&Plan { core: vec![0, 55], ..quiet() }.to_text(), "\"core\"", "node 55");
    assert_names_line(&Plan { undialable: vec![(0, 44)], ..quiet() }.to_text(), "\"undialable\"", "node 44");
    let latency = crate::Latency::Constant { us: 1 };
    assert_names_line(&Plan { path_latencies: vec![(33, 0, latency)], ..quiet() }.to_text(), "\"path_latencies\"", "node 33");
    let mut plan = quiet();
    plan.nodes[1].seeds = vec![Seed::Node(22)];
    assert_names_line(&plan.to_text(), "\"name\":\"b\"", "node 22");
    plan.nodes[1].seeds = vec![Seed::Rogue(0)];
    assert_names_line(&plan.to_text(), "\"name\":\"b\"", "stranger 0");
    plan.nodes[1].seeds = Vec::new();
    plan.nodes[1].twin_of = Some(9);
    assert_names_line(&plan.to_text(), "\"name\":\"b\"", "node 9");
}

#[test]
fn what_is_impossible_is_an_error_with_the_line() {
    let late = with(Fault::Crash, [(20_001, Op::Crash { node: 0, ms: None })]).to_text();
    assert_names_line(&late, "20001", "after the end");
    let still = with(Fault::ClockRate, [(5, Op::Clock { node: 0, permille: 0, ms: 1 })]).to_text();
    assert_names_line(&still, "permille", "clock");
    let tamper = Op::Tamper { one: 1, other: 1, how: Tampering::Flip, permille: 1, ms: 1 };
    assert_names_line(&with(Fault::Adversary, [(5, tamper)]).to_text(), "tamper", "itself");
    let huge = Op::Send { from: 0, to: 1, size: usize::MAX, count: 1 };
    assert_names_line(&with(Fault::Stall, [(5, huge)]).to_text(), "\"send\"", "bytes");
    let mut plan = quiet();
    plan.nodes[2].heartbeat_ms = 1;
    assert_names_line(&plan.to_text(), "\"name\":\"c\"", "heartbeat_interval");
    assert_names_line(&Plan { core: Vec::new(), ..quiet() }.to_text(), "\"core\"", "core");
    assert_names_line(&Plan { nodes: Vec::new(), core: Vec::new(), ..quiet() }.to_text(), "\"nodes\"", "no nodes");
    let mut twice = quiet();
    twice.steps = vec![Step { at_ms: 5, op: Op::Rotate { to: 1, ms: u64::MAX, more: Vec::new() } }];
    assert_names_line(&twice.to_text(), "rotate", "ms");
}
