//! A run: the start, then one task that accepts connections and keeps the time, and the end.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future;
use noex_proto::{ClusterConfig, ClusterStatus, Input, ListenOn, LocalFault, StartError};

use crate::connection::{self, addresses};
use crate::shared::Shared;
use crate::{Runtime, handlers};

/// How long to wait after a failed accept: at first, doubling, and at most. One report in the longest.
const ACCEPT_BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Starts the cluster; returns once it listens. A start that is dropped on the way leaves it stopped.
pub(crate) async fn start<R: Runtime>(shared: &Arc<Shared<R>>, config: ClusterConfig) -> Result<(), StartError> {
    let rt = R::current().map_err(|cause| StartError::Runtime { cause })?;
    // The machine has stopped a little before the task of that run has freed the port.
    shared.until(|state| (!state.listening || !state.is_stopped()).then_some(())).await;
    let (on, run, slots) = shared.drive(|state, now| {
        if state.listening {
            return Err(StartError::AlreadyRunning);
        }
        let on = state.machine.start(now, config)?;
        state.set_clock(rt.clone());
        Ok((on, state.run, state.handlers.values().cloned().collect::<Vec<_>>()))
    })?;
    handlers::attend(shared, slots);
    let _unless_listening = Starting { run, shared };

    let listener = bind(&rt, &on).await?;
    let cause = |error: io::Error| StartError::Runtime { cause: error.to_string() };
    let local = rt.local_addr(&listener).map_err(cause)?;
    let listening = Input::Listening {
        entropy: rt.entropy().map_err(cause)?,
        interface: if local.ip().is_unspecified() { interface(local.ip()) } else { None },
        local,
        route: on.route_target.and_then(|target| route(target).ok()),
    };
    let task = shared.drive(|state, now| {
        if state.run != run || state.machine.status() != ClusterStatus::Starting {
            return Err(StartError::Stopped);
        }
        state.listening = true;
        state.machine.handle(now, listening);
        Ok(Run { listener: Some(listener), shared: shared.clone() })
    })?;
    rt.spawn(task.serve(rt.clone()));
    match shared.lock().is_stopped() {
        true => Err(StartError::Stopped),
        false => Ok(()),
    }
}

/// A start on its way: dropped before the node listens, it is over.
struct Starting<'a, R: Runtime> {
    run: u64,
    shared: &'a Arc<Shared<R>>,
}

impl<R: Runtime> Drop for Starting<'_, R> {
    fn drop(&mut self) {
        self.shared.drive(|state, now| {
            if state.run == self.run && !state.listening && !state.is_stopped() {
                state.machine.handle(now, Input::BindFailed);
            }
        });
    }
}

/// What a run's task holds. However the task ends, the port is free and the machine is stopped thereafter, also where the runtime
/// is shut down and drops it.
struct Run<R: Runtime> {
    listener: Option<R::Listener>,
    shared: Arc<Shared<R>>,
}

impl<R: Runtime> Drop for Run<R> {
    fn drop(&mut self) {
        self.listener = None;
        self.shared.drive(|state, now| {
            state.listening = false;
            if !state.is_stopped() {
                state.machine.handle(now, Input::Halt);
            }
        });
        self.shared.events.notify(usize::MAX);
    }
}

impl<R: Runtime> Run<R> {
    async fn serve(self, rt: R) {
        if let Some(listener) = &self.listener {
            future::or(keep_time(&self.shared, &rt), accept(&self.shared, &rt, listener)).await;
        }
    }
}

/// Wakes the machine when it is due, until the run is over.
async fn keep_time<R: Runtime>(shared: &Arc<Shared<R>>, rt: &R) {
    loop {
        let changed = shared.timer.listen();
        let due = {
            let mut state = shared.lock();
            state.armed = state.machine.poll_timeout();
            let Some(clock) = &state.clock else { return };
            state.armed.map(|due| clock.real(due))
        };
        match due {
            Some(due) if due <= rt.now() => shared.feed(Input::Tick),
            Some(due) => future::or(rt.sleep_until(due), changed).await,
            None => changed.await,
        }
    }
}

/// Accepts connections for ever.
async fn accept<R: Runtime>(shared: &Arc<Shared<R>>, rt: &R, listener: &R::Listener) {
    let (shortest, longest) = ACCEPT_BACKOFF;
    let (mut backoff, mut quiet_until) = (shortest, rt.now());
    loop {
        match rt.accept(listener).await {
            Ok((stream, remote)) => {
                backoff = shortest;
                accepted(shared, rt, stream, remote);
                future::yield_now().await;
            }
            // The peer was gone before it was accepted: no fault of this system.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => future::yield_now().await,
            Err(error) => {
                if quiet_until <= rt.now() {
                    quiet_until = rt.now() + longest;
                    shared.feed(Input::Report(LocalFault::Accept { cause: error.to_string() }));
                }
                rt.sleep_until(rt.now() + backoff).await;
                backoff = (backoff * 2).min(longest);
            }
        }
    }
}

fn accepted<R: Runtime>(shared: &Arc<Shared<R>>, rt: &R, stream: R::Stream, remote: SocketAddr) {
    let (conn, link) = shared.drive(|state, now| {
        let conn = state.machine.next_conn();
        // In its place before the machine hears of it, since that may close it at once.
        let link = state.links.entry(conn).or_default().clone();
        state.machine.handle(now, Input::Accepted { conn, remote });
        (conn, link)
    });
    rt.spawn(connection::serve(shared.clone(), rt.clone(), conn, link, stream));
}

/// Listens on the first address of the host that can be listened on.
async fn bind<R: Runtime>(rt: &R, on: &ListenOn) -> Result<R::Listener, StartError> {
    let ip = on.host.parse::<IpAddr>();
    let addr = ip.map_or_else(|_| format!("{}:{}", on.host, on.port), |ip| SocketAddr::new(ip, on.port).to_string());
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    match addresses(rt, &on.host, on.port).await {
        Ok(candidates) => {
            for candidate in candidates {
                match rt.bind(candidate).await {
                    Ok(listener) => return Ok(listener),
                    Err(cause) => error = cause,
                }
            }
        }
        Err(cause) => error = cause,
    }
    Err(StartError::Bind { addr, cause: error.to_string() })
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
