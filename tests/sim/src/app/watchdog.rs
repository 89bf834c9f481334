//! What ends a simulation whose program never gives its turn back.

use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a turn may take, in real time.
const PATIENCE: Duration = Duration::from_secs(10);

/// The turn of a host that has not ended.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<Option<Turn>>);

#[derive(Clone, Copy, Debug)]
struct Turn {
    began: Instant,
    host: usize,
    nanos: u64,
}

impl Watch {
    /// A watch, as long as it is used.
    pub(super) fn begin() -> Arc<Self> {
        let watch = Arc::new(Self::default());
        let watched = Arc::downgrade(&watch);
        thread::spawn(move || {
            while let Some(watch) = watched.upgrade() {
                let turn = *watch.0.lock().unwrap_or_else(PoisonError::into_inner);
                drop(watch);
                if let Some(Turn { host, nanos, .. }) = turn.filter(|turn| turn.began.elapsed() > PATIENCE) {
                    let at = nanos as f64 / 1e9;
                    eprintln!(
                        "noex-sim: host {host} (counted from 0) has not given its turn back for {PATIENCE:?}, at {at:.3} s of virtual time: \
                         does it loop without an await, or block its thread? This cannot be interrupted, and the test ends here."
                    );
                    process::abort();
                }
                thread::sleep(Duration::from_millis(200));
            }
        });
        watch
    }

    pub(super) fn begins(&self, host: usize, nanos: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Turn { began: Instant::now(), host, nanos });
    }

    pub(super) fn ends(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
