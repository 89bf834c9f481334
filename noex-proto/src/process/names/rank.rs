//! Which of two claims to a name is the better one.

use core::cmp::Ordering;

use crate::NodeId;

/// What decides between claims to one name. All nodes decide alike: the least has the name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Rank<'a> {
    /// The witnesses of a claim that has settled.
    pub(super) settled: Option<u32>,
    pub(super) node: &'a NodeId,
}

impl Ord for Rank<'_> {
    /// What has settled goes before what has not; of two that have, the one with more witnesses; then the lesser node.
    fn cmp(&self, other: &Self) -> Ordering {
        // None is less than any number.
        other.settled.cmp(&self.settled).then_with(|| self.node.cmp(other.node))
    }
}

impl PartialOrd for Rank<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settled_the_better_attested_and_then_the_lesser_node_has_the_name() {
        let [a, b] = ["a@h:1", "b@h:1"].map(|id| id.parse::<NodeId>().expect("valid"));
        let rank = |settled, node| Rank { settled, node };
        let in_order =
            [rank(Some(2), &b), rank(Some(1), &a), rank(Some(1), &b), rank(Some(0), &a), rank(None, &a), rank(None, &b)];
        assert!(in_order.is_sorted_by(|first, second| first < second));
    }
}
