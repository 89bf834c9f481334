//! The system's resolver, on a thread of its own. It may block for minutes, and nothing waits for it: neither a stop nor the end of a runtime or
//! of `main`.

use std::net::{IpAddr, SocketAddr};
use std::{io, thread};

use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType, getaddrinfo};

/// The default of [`Runtime::resolve`](crate::Runtime::resolve).
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
