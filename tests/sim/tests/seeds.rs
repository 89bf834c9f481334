//! Seeds, committed plans, and what a seed promises.

use std::path::Path;

use noex_sim::{Fault, Plan};

#[test]
fn the_first_seeds_break_no_invariant() {
    for seed in 0..12 {
        let outcome = Plan::draw(seed).run();
        assert_eq!(outcome.violation, None, "seed {seed}\n{}", outcome.text);
    }
}

#[test]
fn a_seed_leads_to_the_same_run_each_time() {
    for seed in [3, 7] {
        let (one, other) = (Plan::draw(seed).run(), Plan::draw(seed).run());
        assert_eq!((one.hash, one.steps, one.time), (other.hash, other.steps, other.time), "seed {seed}");
    }
    assert_ne!(Plan::draw(3).run().hash, Plan::draw(4).run().hash);
}

#[test]
fn every_plan_can_be_ordered_and_survives_being_written_down() {
    for seed in 0..300 {
        let plan = Plan::draw(seed);
        assert_eq!(Plan::from_text(&plan.to_text()), Ok(plan), "seed {seed}");
    }
}

#[test]
fn each_kind_of_fault_is_on_in_a_fair_share_of_seeds() {
    let plans: Vec<Plan> = (0..400).map(Plan::draw).collect();
    for fault in [Fault::Adversary, Fault::Crash, Fault::Freeze, Fault::Partition, Fault::SmallLimits, Fault::WallClock] {
        let count = plans.iter().filter(|plan| plan.faults.contains(&fault)).count();
        assert!((80..320).contains(&count), "{fault:?} in {count} of 400");
    }
    assert!(plans.iter().any(|plan| plan.faults.is_empty()));
}

#[test]
fn the_plans_of_mended_defects_break_no_invariant() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans");
    let mut paths: Vec<_> = std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|end| end == "json")) {
        let text = std::fs::read_to_string(path).expect("a readable file");
        let plan = Plan::from_text(&text).expect("a plan");
        let outcome = plan.run();
        assert_eq!(outcome.violation, None, "{}\n{}", path.display(), outcome.text);
    }
}

#[test]
fn a_plan_that_cannot_be_run_is_an_error_that_says_where() {
    let text = Plan::draw(1).to_text();
    let unknown = text.replacen("\"core\"", "\"kore\"", 1);
    let error = Plan::from_text(&unknown).expect_err("an error").to_string();
    assert!(error.contains("kore") && error.contains("line"), "{error}");
    let mut plan = Plan::draw(1);
    plan.core.push(99);
    assert!(Plan::from_text(&plan.to_text()).expect_err("an error").to_string().contains("node 99"));
}

#[test]
fn what_a_plan_holds_changes_its_run() {
    let matters = Plan::draw(1).what_matters();
    for part in ["config heartbeat_interval", "input Send", "config node_name", "config cluster_secret", "message HELLO"] {
        assert!(matters.contains(&part), "{part}: {matters:?}");
    }
}
