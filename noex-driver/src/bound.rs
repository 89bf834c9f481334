//! Listening, as [`Runtime::bind`](crate::Runtime::bind) promises it.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// How many connections may wait to be accepted, where the system allows as many. Nodes that start together all dial their seed at once, and
/// what finds no room is tried again by the system only after a second.
const BACKLOG: i32 = 1024;

/// A bound socket with its address, for [`Runtime::bind`](crate::Runtime::bind); not an end of a range.
#[derive(Debug)]
pub struct Bound<L> {
    /// Whether it listens on the unspecified IPv6 address and serves IPv4 too.
    pub dual_stack: bool,
    /// The listening socket.
    pub listener: L,
    /// The address listened on, with the real port.
    pub local: SocketAddr,
}

impl Bound<TcpListener> {
    /// A socket of the system's, non-blocking, that listens as the contract of [`Runtime::bind`](crate::Runtime::bind) asks for.
    ///
    /// # Errors
    /// As the system gave it.
    pub fn listen(addr: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        // Elsewhere it does not mean what the contract asks for: two listeners would share the port.
        if cfg!(unix) {
            socket.set_reuse_address(true)?;
        }
        // A system that cannot serve both says so, or does not listen to it.
        let both = addr.is_ipv6() && socket.set_only_v6(false).is_ok() && socket.only_v6().is_ok_and(|only| !only);
        let dual_stack = both && addr.ip().is_unspecified();
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        let local = listener.local_addr()?;
        Ok(Self { dual_stack, listener, local })
    }
}

impl<L> Bound<L> {
    /// The same with the listener of a runtime, or whatever is made of it.
    ///
    /// # Errors
    /// That of `wrap`.
    pub fn try_map<M>(self, wrap: impl FnOnce(L) -> io::Result<M>) -> io::Result<Bound<M>> {
        let Self { dual_stack, listener, local } = self;
        Ok(Bound { dual_stack, listener: wrap(listener)?, local })
    }
}
