//! What is dialled.

use crate::NodeId;

/// What has to be dialled until a session with it is up.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Target {
    Node(NodeId),
    /// A configured seed, by its number.
    Seed(usize),
}
