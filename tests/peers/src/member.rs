//! What the comparison asks of a library.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};

use crate::network::Network;

/// What is to be formed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) network: Network,
    pub(crate) nodes: usize,
}

/// A member of a cluster. It is driven by the runtime that it was started in.
pub(crate) trait Member: Send + Sync + Sized + 'static {
    /// Starts a node at [`address`] of its number. Node 0 is the seed of all others.
    fn start(number: usize, plan: Plan) -> impl Future<Output = Self> + Send;

    /// How many files a process with so many nodes may have open for them.
    fn open_files(nodes: usize) -> usize;

    /// How many others it takes to be up.
    fn live(&self) -> usize;

    /// How often it has said of another one that it is down.
    fn downs(&self) -> usize;
}

/// Where a node listens. All ports are free in a namespace of one's own.
pub(crate) fn address(number: usize) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 10_000 + u16::try_from(number).expect("few nodes")).into()
}
