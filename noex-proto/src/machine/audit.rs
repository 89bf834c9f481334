//! Audits a node now and then. Only builds with debug assertions hold this.

use super::{Active, Machine, Run};

/// The entries of a node's tables that an audit may read for each input, on average: in the unit tests of this crate, where nodes are
/// small, all of them are read after each.
const ENTRIES_PER_INPUT: usize = if cfg!(test) { 64 } else { 1 };

/// What an audit costs beside that, in entries.
const FIXED_COST: usize = if cfg!(test) { 0 } else { 8 };

impl Machine {
    /// Audits a node now and then: what has drifted stays so.
    pub(super) fn audit_in_turn(&mut self) {
        let Run::Active(active) = &self.run else { return };
        let Active { local, node, .. } = &**active;
        self.host.unaudited += 1;
        // There are more entries than processes, each of which counting them would read.
        if self.host.unaudited * ENTRIES_PER_INPUT < FIXED_COST + 4 * self.processes.len() {
            return;
        }
        let entries = node.audited() + self.processes.audited();
        if self.host.unaudited * ENTRIES_PER_INPUT >= FIXED_COST + 4 * entries {
            self.host.unaudited = 0;
            node.audit(&self.host, local);
            self.processes.audit();
        }
    }
}
