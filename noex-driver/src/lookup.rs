//! Name lookups, on threads of their own: the system's resolver blocks for as long as it likes, and nothing waits for its end, neither a
//! stop nor the end of a runtime or of `main`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::{io, thread};

use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType, getaddrinfo};
use noex_proto::{Cause, Input, LookupId};

use crate::Runtime;
use crate::shared::Shared;

/// What [`Runtime::resolve`] does where a runtime has nothing better.
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

/// A lookup that the machine asked for. It is answered also where its task is dropped with its runtime.
pub(crate) struct Lookup<R: Runtime> {
    host: String,
    id: LookupId,
    rt: R,
    shared: Arc<Shared<R>>,
    answer: Option<Result<Vec<SocketAddr>, Cause>>,
}

impl<R: Runtime> Lookup<R> {
    pub(crate) fn new(shared: &Arc<Shared<R>>, rt: R, id: LookupId, host: String) -> Self {
        Self { host, id, rt, shared: shared.clone(), answer: None }
    }

    pub(crate) fn spawn(mut self) {
        let rt = self.rt.clone();
        rt.spawn(async move {
            let addrs = self.rt.resolve(&self.host, 0).await;
            self.answer.replace(addrs.map_err(Cause::new));
        });
    }
}

impl<R: Runtime> Drop for Lookup<R> {
    fn drop(&mut self) {
        let ended = || Err(Cause::from("the runtime ended before the lookup did"));
        let addrs = self.answer.take().unwrap_or_else(ended);
        // As a thread ends, a runtime's clock can be gone: the time is the machine's last.
        self.shared.drive(|state| {
            state.machine.handle(state.machine.now(), Input::Resolved { addrs, lookup: self.id });
        });
    }
}
