//! A process as a function.

use std::fmt::Display;
use std::panic::AssertUnwindSafe;

use futures_lite::FutureExt;
use noex_proto::ExitReason;

use super::mailbox::Mailbox;
use crate::handlers::panic_text;

/// Runs a function as the process that owns this mailbox, and ends it with what becomes of the function, which is an [`Ending`]: with
/// [`ExitReason::Normal`] where that gives nothing or `Ok`, with [`ExitReason::Error`] and the text of its error or panic, or with the reason
/// that it gives. Where the process was asked to stop, nothing and `Ok` stand for the reason of that request. `run` gives the reason, and
/// panics never.
///
/// ```
/// # use noex_driver::{ExitReason, Mailbox, Protocol, Reply, run};
/// # use serde::{Deserialize, Serialize};
/// # use std::num::ParseIntError;
/// # #[derive(Serialize, Deserialize)]
/// # enum Counter { Get(Reply<u64>), Parse(String) }
/// # impl Protocol for Counter { const NAME: &'static str = "counter/1"; }
/// async fn count(mailbox: Mailbox<Counter>) -> ExitReason {
///     run(mailbox, async |mailbox| -> Result<(), ParseIntError> {
///         let mut n = 0;
///         while let Some(message) = mailbox.next().await {
///             match message {
///                 Counter::Get(reply) => reply.send(n),
///                 Counter::Parse(text) => n = text.parse::<u64>()?,
///             }
///         }
///         Ok(())
///     })
///     .await
/// }
/// ```
pub async fn run<M, T: Ending>(mut mailbox: Mailbox<M>, body: impl AsyncFnOnce(&mut Mailbox<M>) -> T) -> ExitReason {
    let reason = match AssertUnwindSafe(body(&mut mailbox)).catch_unwind().await {
        Ok(ending) => ending.into_reason().or_else(|| mailbox.reason().cloned()).unwrap_or(ExitReason::Normal),
        Err(panic) => ExitReason::error(panic_text(panic)),
    };
    mailbox.exit(reason.clone());
    reason
}

/// What the function of a process gives to [`run`]: nothing, a `Result` with an error that can be shown, or the reason itself.
#[diagnostic::on_unimplemented(
    message = "the function of a process gives `()`, `Result<(), E>` with `E: Display`, or `ExitReason`, and not `{Self}`",
    label = "gives `{Self}`",
    note = "what a process has to say, it says to others by `cast`, or in an answer; what it gives at its end is why it ended"
)]
pub trait Ending {
    /// Why the process ends, where that is not by having done its work or what it was asked to.
    fn into_reason(self) -> Option<ExitReason>;
}

impl Ending for () {
    fn into_reason(self) -> Option<ExitReason> {
        None
    }
}

impl<E: Display> Ending for Result<(), E> {
    fn into_reason(self) -> Option<ExitReason> {
        self.err().map(ExitReason::error)
    }
}

impl Ending for ExitReason {
    fn into_reason(self) -> Option<ExitReason> {
        Some(self)
    }
}
