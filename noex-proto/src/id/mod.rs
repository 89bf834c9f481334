//! What names a node, and one start of it.

pub(crate) mod contact;
pub(crate) mod host;
pub(crate) mod incarnation;
pub(crate) mod node_id;
