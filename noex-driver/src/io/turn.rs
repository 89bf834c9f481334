//! How long a task goes on before others run.

/// How many bytes make a turn. Few, as a runtime may look for further readiness and for timers only after dozens of tasks: what each of
/// them does meanwhile delays heartbeats.
const TURN: usize = 64 * 1024;

/// What a small read or write counts at least.
const LEAST: usize = 4 * 1024;

/// When a task that could read or write for ever lets others run, on a runtime that does not interrupt tasks.
#[derive(Debug, Default)]
pub(crate) struct Turn(usize);

impl Turn {
    /// Whether the turn is over with a read or write of so many bytes, and the next begins.
    pub(crate) fn is_over(&mut self, bytes: usize) -> bool {
        self.0 = self.0.saturating_add(bytes.max(LEAST));
        let over = self.0 >= TURN;
        if over {
            self.0 = 0;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_over_after_sixteen_small_reads_or_one_large_one() {
        let mut turn = Turn::default();
        let over: Vec<usize> = (1..=40).filter(|_| turn.is_over(1)).collect();
        assert_eq!(over, [16, 32]);
        assert!(turn.is_over(usize::MAX) && turn.is_over(TURN) && !turn.is_over(TURN - 1) && turn.is_over(1));
    }
}
