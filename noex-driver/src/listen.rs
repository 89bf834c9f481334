//! A run: the start, then one task that accepts connections and keeps the time, and the end.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future;
use noex_proto::{ClusterConfig, Input, ListenOn, LocalFault, StartError};

use crate::Runtime;
use crate::connection::{Connection, addresses};
use crate::shared::{Run, Shared};
use crate::time::sleep;

/// How long to wait after a failed accept, which mostly is a want of descriptors. Each is reported.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Starts the cluster; returns once it listens. A start that is dropped on the way leaves it stopped.
pub(crate) async fn start<R: Runtime>(shared: &Arc<Shared<R>>, config: ClusterConfig) -> Result<(), StartError> {
    let rt = R::current().map_err(|cause| StartError::Runtime { cause })?;
    // The machine has stopped a little before the task of that run has freed the port.
    shared.until(|state| (!state.open || !state.is_stopped()).then_some(())).await;
    let (on, mut node) = shared.drive(|state, now| {
        let on = state.machine.start(now, config)?;
        Ok((on, Node { listener: None, run: state.begin_run(rt.clone()), shared: shared.clone() }))
    })?;
    let (listener, local) = bind(&rt, &on).await?;
    let listening = Input::Listening {
        entropy: rt.entropy().map_err(|cause| StartError::Entropy { cause: cause.to_string() })?,
        interface: if local.ip().is_unspecified() { interface(local.ip()) } else { None },
        local,
        route: on.route_target.and_then(|target| route(target).ok()),
    };
    node.listener = Some(listener);
    shared.drive(|state, now| {
        if !state.is_open(&node.run) {
            return Err(StartError::Stopped);
        }
        state.machine.handle(now, listening);
        Ok(())
    })?;
    rt.spawn(node.serve());
    Ok(())
}

/// What a run holds: the future of its start, then its task. However they end, also where they are dropped on the way or with their
/// runtime, the port is free and the machine is stopped thereafter.
struct Node<R: Runtime> {
    listener: Option<R::Listener>,
    run: Arc<Run<R>>,
    shared: Arc<Shared<R>>,
}

impl<R: Runtime> Drop for Node<R> {
    fn drop(&mut self) {
        self.listener = None;
        self.shared.drive(|state, now| {
            if state.is_open(&self.run) {
                state.machine.handle(now, Input::Halt);
                state.open = false;
            }
        });
        self.shared.wake();
    }
}

impl<R: Runtime> Node<R> {
    async fn serve(self) {
        if let Some(listener) = &self.listener {
            future::or(keep_time(&self.shared, &self.run.rt), accept(&self.shared, &self.run.rt, listener)).await;
        }
    }
}

/// Wakes the machine when it is due, until it has stopped.
async fn keep_time<R: Runtime>(shared: &Arc<Shared<R>>, rt: &R) {
    loop {
        let changed = shared.timer.listen();
        let wait = {
            let state = shared.lock();
            if state.is_stopped() {
                return;
            }
            state.machine.poll_timeout().map(|due| due - state.now())
        };
        match wait {
            Some(Duration::ZERO) => shared.feed(Input::Tick),
            Some(wait) => future::or(sleep(rt, wait), changed).await,
            None => changed.await,
        }
    }
}

/// Accepts connections for ever.
async fn accept<R: Runtime>(shared: &Arc<Shared<R>>, rt: &R, listener: &R::Listener) {
    loop {
        match rt.accept(listener).await {
            Ok((stream, remote)) => {
                let connection = shared.drive(|state, now| {
                    let conn = state.machine.next_conn();
                    let connection = Connection::link(shared, rt, conn, &mut state.links);
                    state.machine.handle(now, Input::Accepted { conn, remote });
                    connection
                });
                rt.spawn(connection.serve(stream));
            }
            // The peer was gone before it was accepted: no fault of this system.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                shared.feed(Input::Report(LocalFault::Accept { cause: error.to_string() }));
                sleep(rt, ACCEPT_PAUSE).await;
            }
        }
        future::yield_now().await;
    }
}

/// Listens on the first address of the host that can be listened on, and says which, with the real port.
async fn bind<R: Runtime>(rt: &R, on: &ListenOn) -> Result<(R::Listener, SocketAddr), StartError> {
    let listen = async {
        let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for addr in addresses(rt, &on.host, on.port).await? {
            match rt.bind(addr).await.and_then(|listener| rt.local_addr(&listener).map(|local| (listener, local))) {
                Ok(listening) => return Ok(listening),
                Err(cause) => error = cause,
            }
        }
        Err(error)
    };
    listen.await.map_err(|cause| StartError::Bind { addr: on.to_string(), cause: cause.to_string() })
}

/// The local address that routes to `target`. To connect a UDP socket sends nothing.
fn route(target: SocketAddr) -> io::Result<IpAddr> {
    let any = if target.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip())
}

/// The first address of an interface that other machines may reach, of a family that a listener on `any` hears.
fn interface(any: IpAddr) -> Option<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().ok()?;
    let mut reachable = interfaces.iter().filter(|one| !one.is_loopback() && !one.is_link_local()).map(if_addrs::Interface::ip);
    reachable.find(|ip| any.is_ipv6() || ip.is_ipv4())
}
