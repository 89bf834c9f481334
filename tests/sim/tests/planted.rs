//! The measure of the simulator: each planted defect is found within 500 seeds.
//!
//! `RUSTFLAGS="--cfg noex_planted" cargo test -p noex-sim --profile sim --test planted -- --nocapture` prints the table of
//! docs/simulation.md.
#![cfg(noex_planted)]

use noex_sim::{Defect, Plan};

/// Runs seeds until the defect shows itself.
fn find(defect: Defect) -> Option<(u64, Plan, noex_sim::Violation)> {
    (0..500).find_map(|seed| {
        let mut plan = Plan::draw(seed);
        plan.planted = Some(defect);
        let violation = plan.run_keeping(0).violation?;
        Some((seed, plan, violation))
    })
}

#[test]
fn each_planted_defect_is_found_within_500_seeds() {
    let mut missed = Vec::new();
    let mut sizes = Vec::new();
    println!("| defect | seeds | invariant | operations left | nodes left |\n|---|---|---|---|---|");
    for defect in Defect::ALL {
        match find(defect) {
            Some((seed, plan, violation)) => {
                let small = plan.shrink(violation.invariant, 150);
                sizes.push((small.steps.len(), small.nodes.len()));
                let (steps, nodes) = (small.steps.len(), small.nodes.len());
                println!("| {defect:?} | {} | {} | {steps} | {nodes} |", seed + 1, violation.invariant);
            }
            None => {
                println!("| {defect:?} | not found | | | |");
                missed.push(defect);
            }
        }
    }
    sizes.sort_unstable();
    println!("median: {:?}", sizes.get(sizes.len() / 2));
    assert_eq!(missed, [], "not found within 500 seeds");
}
