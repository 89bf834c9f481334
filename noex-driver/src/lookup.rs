//! Name lookups that the machine asked for: each is a task, and answers whatever becomes of it.

use std::net::SocketAddr;
use std::sync::Arc;

use noex_proto::{Cause, Input, LookupId};

use crate::Runtime;
use crate::drive::{Run, Shared};

/// A lookup that the machine asked for. It answers even if its task is dropped with its runtime.
pub(crate) struct Lookup {
    host: String,
    id: LookupId,
    run: Arc<Run>,
    shared: Arc<Shared>,
    answer: Option<Result<Vec<SocketAddr>, Cause>>,
}

impl Lookup {
    pub(crate) fn new(shared: &Arc<Shared>, run: &Arc<Run>, id: LookupId, host: String) -> Self {
        Self { host, id, run: run.clone(), shared: shared.clone(), answer: None }
    }

    /// The task of the lookup.
    pub(crate) async fn ask(mut self, rt: impl Runtime) {
        let addrs = rt.resolve(&self.host, 0).await;
        self.answer.replace(addrs.map_err(Cause::new));
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        let answer = self.answer.take();
        self.shared.drive(|state| {
            // As a thread ends, a runtime's clock can be gone: the time is the machine's last.
            let now = state.machine.now();
            // Without an answer the runtime has ended, and the run with it. Otherwise the next lookup that waits would begin in that
            // runtime, be dropped at once, and so on, each inside of the one before.
            if answer.is_none() && Arc::ptr_eq(state.run(), &self.run) {
                state.machine.handle(now, Input::Halt);
            }
            let addrs = answer.unwrap_or_else(|| Err(Cause::from("the runtime ended before the lookup did")));
            state.machine.handle(now, Input::Resolved { addrs, lookup: self.id });
        });
    }
}
