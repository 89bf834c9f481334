//! The processes that calls and casts go to.

use noex_tokio::{Address, Bytes, Cluster, Protocol, Reply};
use serde::{Deserialize, Serialize};

/// The bytes of a message or answer that is no more than bytes.
pub(crate) const SIZE: usize = 64;

/// What they understand.
#[derive(Serialize, Deserialize)]
pub(crate) enum Message {
    /// Answered with the same bytes.
    Echo(Bytes, Reply<Bytes>),
    /// Answered with the sum.
    Order { number: u64, item: String, amount: f64, reply: Reply<Receipt> },
}

impl Protocol for Message {
    const NAME: &'static str = "message/1";
}

/// The answer to an order.
#[derive(Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) number: u64,
    pub(crate) sum: f64,
}

/// Bytes, of whose meaning the application's own code knows.
#[derive(Serialize, Deserialize)]
pub(crate) struct Raw(pub(crate) Bytes);

impl Protocol for Raw {
    const NAME: &'static str = "raw/1";
}

/// A message with fields, of about as many bytes.
#[derive(Serialize, Deserialize)]
pub(crate) enum Typed {
    Moved { number: u64, item: String, x: f64, y: f64 },
}

impl Protocol for Typed {
    const NAME: &'static str = "typed/1";
}

impl Typed {
    pub(crate) fn new(number: u64) -> Self {
        Self::Moved { number, item: "a pallet".into(), x: 12.5, y: -3.25 }
    }
}

/// Opens a process of this node that answers all that it is asked, in the current runtime, as seen from another node.
pub(crate) fn answerer(of: &Cluster, seen_from: &Cluster) -> Address<Message> {
    let mut mailbox = of.open::<Message>().expect("there is room");
    let process = mailbox.id().clone();
    tokio::spawn(async move {
        while let Some(message) = mailbox.next().await {
            match message {
                Message::Echo(bytes, reply) => reply.send(bytes),
                Message::Order { number, item, amount, reply } => {
                    reply.send(Receipt { number, sum: amount * item.len() as f64 });
                }
            }
        }
    });
    seen_from.address(process)
}
