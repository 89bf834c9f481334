//! Waits with a time limit.

use std::sync::Arc;
use std::time::Duration;

use futures_lite::future;
use noex_proto::{ClusterNotStartedError, Machine};

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
