//! Running a plan and drawing the run.

use super::{Outcome, Plan, STEP_BOUND};
use crate::World;

impl Plan {
    /// Runs the plan as [`run_keeping`](Self::run_keeping) does, and draws it: a page of HTML that needs nothing but itself and a browser.
    #[must_use]
    pub fn run_drawn(&self, lines: usize) -> (Outcome, String) {
        let mut world = World::new(self.seed);
        world.set_drawing();
        world.set_recording(false);
        world.keep_lines(lines);
        let outcome = self.run_in(&mut world, STEP_BOUND);
        let title = format!("noex: a simulated cluster of {} nodes, seed {}", self.nodes.len(), self.seed);
        let lead = "A deterministic simulation: every node runs the real protocol, time and network are virtual, and a plan orders what \
                    goes wrong. After every step the simulator checks rules that must always hold."
            .into();
        let faults: Vec<&str> = self.faults.iter().map(|fault| fault.name().trim_start_matches("fault: ")).collect();
        let facts = vec![
            ("kinds of trouble", if faults.is_empty() { "none".into() } else { faults.join(", ") }),
            ("length", format!("{:.1} s of virtual time, {} inputs", outcome.time.as_secs_f64(), outcome.steps)),
            ("hash of the run", format!("{:016x}", outcome.hash)),
            ("to repeat it", format!("noex-sim replay {}, or the same with the file of the plan", self.seed)),
        ];
        let html = world.page(title, lead, facts).map(|page| page.html()).unwrap_or_default();
        (outcome, html)
    }
}
