//! A run: the start, then one task that listens, accepts connections and keeps the time, and the end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use std::{io, mem};

use async_channel::Receiver;
use futures_lite::future;
use noex_proto::{Cause, ClusterConfig, ClusterStatus, Input, ListenOn, LocalFault, LookupId};

use crate::connection::Connection;
use crate::drive::{AnyRuntime, Run, Shared, State};
use crate::error::StartError;
use crate::link::Orders;
use crate::lookup::Lookup;
use crate::time::sleep;
use crate::{Bound, Runtime, log, network};

/// How long to wait after a failed accept, which mostly is a want of descriptors. Each is reported.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// How many peers in a row may be gone before they are accepted. More, with none accepted, are a fault of this system after all.
const GONE_MAX: usize = 128;

/// How often a node that waits for an address looks for one.
const NETWORK_POLL: Duration = Duration::from_millis(250);

/// Starts the cluster; returns once it listens. A start that is dropped on the way leaves it stopped.
pub(crate) async fn start<R: Runtime>(shared: &Arc<Shared>, config: ClusterConfig) -> Result<(), StartError> {
    #[cfg(feature = "sim")]
    if let Some(simulated) = crate::sim::start::<R>(shared, &config) {
        return simulated.await;
    }
    let rt = R::current().map_err(|cause| StartError::Runtime { cause })?;
    // The last run may hold the last handle of its runtime: it is dropped outside the lock.
    let (node, _last) = loop {
        let begun = shared.drive(|state| (!state.is_ending()).then(|| Node::begin(shared, state, &config, &rt)));
        if let Some(begun) = begun {
            break begun?;
        }
        shared.until(&shared.events, |state| (!state.is_ending()).then_some(())).await;
    };
    let run = node.run.clone();
    // A task, as a start need not be polled to its end, and a stop waits until the port is free.
    rt.spawn(node.serve());
    let pending = Pending(shared, &run);
    let outcome = shared.until(&shared.events, |state| match run.end.get() {
        Some(error) => Some(Err(error.clone())),
        None => (state.machine.status() == ClusterStatus::Running).then_some(Ok(())),
    });
    let outcome = outcome.await;
    mem::forget(pending);
    outcome
}

// What is dropped here may be dropped as a thread ends, where a runtime's clock can be gone: the time is the machine's last.

/// A start that is waited for. Dropped, it stops the node.
struct Pending<'a>(&'a Arc<Shared>, &'a Run);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.drive(|state| {
            if self.1.end.get().is_none() {
                state.machine.handle(state.machine.now(), Input::Stop);
            }
        });
    }
}

/// What a run's task holds. However it ends, also where it panics or is dropped with its runtime, the port is free and the machine is
/// stopped thereafter.
struct Node<R: Runtime> {
    /// What a start is told that waits for the run.
    end: StartError,
    on: ListenOn,
    rt: R,
    run: Arc<Run>,
    shared: Arc<Shared>,
}

/// A run that begins, and the one before it.
type Begun<R> = (Node<R>, Option<Arc<Run>>);

impl<R: Runtime> Drop for Node<R> {
    fn drop(&mut self) {
        self.shared.drive(|state| {
            state.machine.handle(state.machine.now(), Input::Halt);
            self.run.end.get_or_init(|| self.end.clone());
        });
        self.shared.wake();
    }
}

impl<R: Runtime> Node<R> {
    /// Begins a run.
    fn begin(shared: &Arc<Shared>, state: &mut State, config: &ClusterConfig, rt: &R) -> Result<Begun<R>, StartError> {
        let (began, rt) = (rt.now(), rt.clone());
        let on = state.machine.start(state.now(), config.clone()).map_err(refused)?;
        let any = Arc::new(Any(rt.clone()));
        let run = Arc::new(Run { began, end: OnceLock::new(), machine_began: state.machine.now(), rt: any });
        let end = StartError::Runtime { cause: "it ended, or panicked, before the node listened: has it I/O and timers?".into() };
        let last = state.run.replace(run.clone());
        Ok((Self { end, on, rt, run, shared: shared.clone() }, last))
    }

    async fn serve(mut self) {
        let Err(end) = future::or(self.keep_time(), self.accept()).await;
        self.end = end;
    }

    /// Wakes the machine when it is due, until it has stopped; stops it where the last handle is gone.
    async fn keep_time(&self) -> Result<Infallible, StartError> {
        loop {
            let changed = self.shared.timer.listen();
            if self.shared.lock().orphaned {
                self.shared.feed(Input::Stop);
            }
            let wait = {
                let mut state = self.shared.lock();
                if state.is_stopped() {
                    return Err(StartError::Stopped);
                }
                state.armed = state.machine.poll_timeout();
                state.armed.map(|due| due - state.now())
            };
            match wait {
                Some(Duration::ZERO) => self.shared.feed(Input::Tick),
                Some(wait) => future::or(sleep(&self.rt, wait), changed).await,
                None => changed.await,
            }
        }
    }

    /// Listens, and accepts connections for ever.
    async fn accept(&self) -> Result<Infallible, StartError> {
        let (shared, rt) = (&self.shared, &self.rt);
        // A runtime without timers says so before the port is open, and not when the first one is needed.
        drop(rt.sleep_until(rt.now()));
        let (listener, listening) = listen(rt, &self.on).await?;
        shared.feed(listening);
        let mut gone = 0;
        loop {
            match rt.accept(&listener).await {
                Ok((reader, writer, remote)) => {
                    gone = 0;
                    let orders = shared.drive(|state| {
                        let conn = state.machine.next_conn();
                        let orders = state.link(conn);
                        state.handle(Input::Accepted { conn, remote });
                        orders
                    });
                    let connection = Connection { orders, rt: rt.clone(), shared: shared.clone() };
                    rt.spawn(connection.serve((reader, writer)));
                }
                Err(error) if gone < GONE_MAX && is_of_peer(error.kind()) => gone += 1,
                Err(error) => {
                    gone = 0;
                    shared.feed(Input::Report(LocalFault::Accept { cause: Cause::new(error) }));
                    sleep(rt, ACCEPT_PAUSE).await;
                }
            }
            future::yield_now().await;
        }
    }
}

/// The runtime of a run, for those who do not know its type.
#[derive(Debug)]
struct Any<R>(R);

impl<R: Runtime> AnyRuntime for Any<R> {
    fn alarm(&self, after: Duration) -> Receiver<()> {
        let (alarm, rung) = async_channel::bounded(1);
        let rt = self.0.clone();
        self.0.spawn(async move {
            future::or(alarm.closed(), sleep(&rt, after)).await;
            let _gone = alarm.try_send(());
        });
        rung
    }

    fn dial(&self, shared: &Arc<Shared>, orders: Orders, remote: SocketAddr) {
        self.0.spawn(Connection { orders, rt: self.0.clone(), shared: shared.clone() }.dial(remote));
    }

    fn enter(&self, code: &mut dyn FnMut()) {
        self.0.enter(code);
    }

    fn look_up(&self, shared: &Arc<Shared>, run: &Arc<Run>, lookup: LookupId, host: String) {
        self.0.spawn(Lookup::new(shared, run, lookup, host).ask(self.0.clone()));
    }

    fn now(&self) -> Instant {
        self.0.now()
    }
}

/// A runtime, for those who do not know its type.
#[cfg(feature = "sim")]
pub(crate) fn any<R: Runtime>(rt: R) -> Arc<dyn AnyRuntime> {
    Arc::new(Any(rt))
}

/// A start that the machine refused.
pub(crate) fn refused(error: noex_proto::StartError) -> StartError {
    match error {
        noex_proto::StartError::AlreadyRunning => StartError::AlreadyRunning,
        noex_proto::StartError::Config(error) => StartError::Config(error),
        error => unreachable!("{error:?} is new"),
    }
}

/// Listens on the first address of the host that can be listened on, and says which, with the real port, and what there is of the network.
async fn listen<R: Runtime>(rt: &R, on: &ListenOn) -> Result<(R::Listener, Input), StartError> {
    let deadline = rt.now() + on.timeout;
    let bind = async {
        let overdue = async {
            rt.sleep_until(deadline).await;
            Err(io::Error::new(io::ErrorKind::TimedOut, "name lookup timed out"))
        };
        let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for addr in future::or(rt.resolve(&on.host, on.port), overdue).await? {
            match rt.bind(addr).await {
                Ok(bound) => return Ok(bound),
                Err(cause) => error = cause,
            }
        }
        Err(error)
    };
    let bound = bind.await.map_err(|cause| StartError::Bind { addr: on.to_string(), cause: Cause::new(cause) });
    let Bound { dual_stack, listener, local } = bound?;
    let entropy = rt.entropy().map_err(|cause| StartError::Entropy { cause: Cause::new(cause) })?;
    loop {
        let network = network::look(on.route_target, dual_stack);
        let left = deadline.saturating_duration_since(rt.now());
        if left.is_zero() || !on.awaits_address(local.ip(), &network) {
            log::candidates(&on.candidates(local.ip(), &network));
            return Ok((listener, Input::Listening { entropy, local, network: Box::new(network) }));
        }
        sleep(rt, left.min(NETWORK_POLL)).await;
    }
}

/// Whether a failed accept says that the peer was gone or cut off before it was accepted, which is no fault of this system: the next
/// connection may be fine. Linux passes on what it met on the way, and has another error for what a firewall forbids.
const fn is_of_peer(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, NetworkDown, NetworkUnreachable, PermissionDenied, TimedOut,
    };
    matches!(
        kind,
        ConnectionAborted | ConnectionReset | HostUnreachable | NetworkDown | NetworkUnreachable | PermissionDenied | TimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_was_gone_before_it_was_accepted_is_the_peers_affair_and_a_want_of_descriptors_is_not() {
        #[cfg(target_os = "linux")]
        for (code, of_peer) in [
            // EPERM, ECONNABORTED, ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, ENETDOWN
            (1, true),
            (103, true),
            (104, true),
            (110, true),
            (113, true),
            (101, true),
            (100, true),
            // EMFILE, ENFILE, ENOBUFS, ENOMEM, EINVAL
            (24, false),
            (23, false),
            (105, false),
            (12, false),
            (22, false),
        ] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(is_of_peer(error.kind()), of_peer, "{error}");
        }
        assert!(is_of_peer(io::ErrorKind::ConnectionReset) && !is_of_peer(io::ErrorKind::OutOfMemory));
    }
}
