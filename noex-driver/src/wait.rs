//! Waits for nodes, with a time limit, and for room in the queue to one.

use std::sync::Arc;
use std::time::Duration;

use event_listener::EventListener;
use futures_lite::future;
use noex_proto::{ClusterNotStartedError, ConnId, Machine, NodeId, SendError};

use crate::drive::{Shared, State};
use crate::error::WaitError;

/// Waits until nothing is missing: `missing` says what to report should the time be over, and `None` once there is nothing. It is called where
/// members or the status may have changed.
pub(crate) async fn wait(
    shared: &Arc<Shared>,
    timeout: Duration,
    missing: impl Fn(&Machine) -> Result<Option<WaitError>, WaitError>,
) -> Result<(), WaitError> {
    let not_started = ClusterNotStartedError::default();
    let run = shared.lock().run.clone().ok_or(not_started)?;
    // Of this run: the next one may have begun meanwhile.
    let missing = |state: &State| match run.end.get() {
        None => missing(&state.machine),
        Some(_) => Err(not_started.into()),
    };
    let over = shared.until(&shared.events, |state| match missing(state) {
        Ok(None) => Some(Ok(())),
        Ok(Some(_)) => None,
        Err(error) => Some(Err(error)),
    });
    // In the runtime, whose timers may panic elsewhere once it is shut down.
    let rung = run.rt.alarm(timeout);
    let late = async {
        // It ends without a word where its runtime does, and then the run is over soon.
        if rung.recv().await.is_err() {
            future::pending().await
        }
        missing(&shared.lock())?.map_or(Ok(()), Err)
    };
    future::or(over, late).await
}

/// Waits until the queue to a node has room, while one session lasts.
pub(crate) async fn ready(shared: &Arc<Shared>, to: &NodeId) -> Result<(), SendError> {
    let mut session = None;
    loop {
        let full = full(&mut shared.lock(), to, &mut session)?;
        match full {
            Some(room) => room.await,
            None => return Ok(()),
        }
    }
}

/// What is notified when the queue to a node may have room, where it has none. `session` is the one that it was waited for at first: what was
/// queued in it is lost with it, and who waits has to hear of that.
fn full(state: &mut State, to: &NodeId, session: &mut Option<ConnId>) -> Result<Option<EventListener>, SendError> {
    let has_room = state.machine.has_room(to)?;
    let not_connected = || SendError::NotConnected { to: to.clone() };
    let conn = state.machine.session(to).map_err(SendError::NotStarted)?.ok_or_else(not_connected)?;
    if *session.get_or_insert(conn) != conn {
        return Err(not_connected());
    }
    match has_room {
        true => Ok(None),
        false => state.room(conn, to).ok_or_else(not_connected).map(Some),
    }
}
