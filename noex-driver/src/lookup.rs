//! Name lookups, each on a thread of its own. The system's resolver may block for minutes, and nothing waits for it: neither a stop nor the
//! end of a runtime or of `main`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::{io, thread};

use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType, getaddrinfo};
use noex_proto::{Cause, Input, LookupId};

use crate::Runtime;
use crate::shared::{Run, Shared};

/// The default of [`Runtime::resolve`].
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let (answer, answered) = async_channel::bounded(1);
    let host = host.to_owned();
    thread::Builder::new().name("noex-lookup".into()).spawn(move || {
        let _gone = answer.try_send(ask(&host, port));
    })?;
    answered.recv().await.unwrap_or_else(|_| Err(io::Error::other("the resolver panicked")))
}

/// Asks the system's resolver.
fn ask(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    let addrs = match getaddrinfo(Some(host), None, Some(hints)) {
        Ok(found) => found.map(|found| found.map(|found| found.sockaddr)).collect::<io::Result<Vec<_>>>()?,
        Err(error) if matches!(error.kind(), LookupErrorKind::NoData | LookupErrorKind::NoName) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    Ok(addrs
        .into_iter()
        .map(|mut addr| {
            addr.set_port(port);
            addr
        })
        .collect())
}

/// A lookup that the machine asked for. It answers even if its task is dropped with its runtime.
pub(crate) struct Lookup<R: Runtime> {
    host: String,
    id: LookupId,
    run: Arc<Run<R>>,
    shared: Arc<Shared<R>>,
    answer: Option<Result<Vec<SocketAddr>, Cause>>,
}

impl<R: Runtime> Lookup<R> {
    pub(crate) fn new(shared: &Arc<Shared<R>>, run: &Arc<Run<R>>, id: LookupId, host: String) -> Self {
        Self { host, id, run: run.clone(), shared: shared.clone(), answer: None }
    }

    pub(crate) fn spawn(mut self) {
        let rt = self.run.rt.clone();
        rt.spawn(async move {
            let addrs = self.run.rt.resolve(&self.host, 0).await;
            self.answer.replace(addrs.map_err(Cause::new));
        });
    }
}

impl<R: Runtime> Drop for Lookup<R> {
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
