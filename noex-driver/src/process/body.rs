//! A process as a function.

use std::fmt::Display;
use std::panic::AssertUnwindSafe;

use futures_lite::FutureExt;
use noex_proto::ExitReason;

use super::mailbox::Mailbox;
use crate::handlers::panic_text;

/// Runs a function as the process that owns this mailbox, and ends it with what becomes of the function: [`ExitReason::Normal`] where that gives
/// `Ok`, and [`ExitReason::Error`] with the text of its error or panic. Where the process was asked to stop, `Ok` is the reason of that
/// request. It gives the reason, and panics never.
///
/// ```
/// # use noex_driver::{ExitReason, Mailbox, Protocol, Reply, run};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)]
/// # enum Counter { Get(Reply<u64>), Parse(String) }
/// # impl Protocol for Counter { const NAME: &'static str = "counter/1"; }
/// async fn count(mailbox: Mailbox<Counter>) -> ExitReason {
///     run(mailbox, async |mailbox| {
///         let mut n = 0;
///         while let Some(message) = mailbox.next().await {
///             match message {
///                 Counter::Get(reply) => reply.send(n),
///                 Counter::Parse(text) => n = text.parse::<u64>()?,
///             }
///         }
///         Ok::<_, std::num::ParseIntError>(())
///     })
///     .await
/// }
/// ```
pub async fn run<M, E: Display>(mut mailbox: Mailbox<M>, body: impl AsyncFnOnce(&mut Mailbox<M>) -> Result<(), E>) -> ExitReason {
    let reason = match AssertUnwindSafe(body(&mut mailbox)).catch_unwind().await {
        Ok(Ok(())) => mailbox.reason().cloned().unwrap_or(ExitReason::Normal),
        Ok(Err(error)) => ExitReason::error(error),
        Err(panic) => ExitReason::error(panic_text(panic)),
    };
    mailbox.exit(reason.clone());
    reason
}
