//! The process of the demonstration: a kettle, which makes tea for whoever asks, on whichever node.

use std::error::Error;
use std::time::Duration;

use noex_driver::{Address, CallError, Cluster, NodeId, Protocol, Reply, Runtime};
use serde::{Deserialize, Serialize};

/// The local name of each node's kettle.
const NAME: &str = "kettle";

/// What a kettle understands.
#[derive(Deserialize, Serialize)]
pub(super) struct Tea {
    cups: u32,
    reply: Reply<String>,
}

impl Protocol for Tea {
    const NAME: &'static str = "demo/tea/1";
}

/// Starts the kettle of a node, in the runtime that this is called in.
pub(super) fn start<R: Runtime>(cluster: &Cluster<R>) -> Result<(), Box<dyn Error>> {
    let mut mailbox = cluster.open::<Tea>()?;
    mailbox.register(NAME)?;
    R::current().map_err(|cause| cause.to_string())?.spawn(async move {
        while let Some(Tea { cups, reply }) = mailbox.next().await {
            reply.send(format!("{cups} cups of tea"));
        }
    });
    Ok(())
}

/// The kettle of another node.
pub(super) fn of<R: Runtime>(cluster: &Cluster<R>, node: NodeId) -> Address<Tea> {
    cluster.named(node, NAME).expect("the name is short and has no control characters")
}

pub(super) async fn ask(kettle: &Address<Tea>, cups: u32) -> Result<String, CallError> {
    kettle.call(|reply| Tea { cups, reply }).timeout(Duration::from_secs(15)).await
}
