//! Panics in the tasks of simulated hosts: the runtime catches them, and a hook sees them all the same.

use std::cell::RefCell;
use std::panic;
use std::sync::{Arc, Mutex, Once, PoisonError};

/// A panic, by its message and its place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Panic {
    pub(super) host: Option<usize>,
    pub(super) message: String,
    pub(super) place: String,
}

/// Whose the code is that a thread runs: a host's, or the test's own.
#[derive(Clone, Debug)]
pub(super) struct Whose {
    host: Option<usize>,
    #[cfg_attr(not(tokio_unstable), expect(dead_code, reason = "stable tokio takes no seed"))]
    seed: u64,
    seen: Arc<Mutex<Vec<Panic>>>,
}

thread_local! {
    static WHOSE: RefCell<Option<Whose>> = const { RefCell::new(None) };
}

impl Whose {
    /// The test's own code, of a run.
    pub(super) fn test(seed: u64) -> Self {
        Self { host: None, seed, seen: Arc::default() }
    }

    /// That of a host, in the same run.
    pub(super) fn host(&self, host: usize) -> Self {
        Self { host: Some(host), ..self.clone() }
    }

    #[cfg(tokio_unstable)]
    pub(super) fn seed(&self) -> u64 {
        self.seed ^ self.host.map_or(0, |host| (host as u64 + 1) << 32)
    }

    /// Puts panics back that were taken.
    pub(super) fn put(&self, panics: Vec<Panic>) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).extend(panics);
    }

    /// The panics of all code of the run, since they were taken last.
    pub(super) fn take(&self) -> Vec<Panic> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Runs code for somebody.
pub(super) fn within<T>(whose: &Whose, code: impl FnOnce() -> T) -> T {
    /// Puts back who it was before, also where the code panics.
    struct Before(Option<Whose>);
    impl Drop for Before {
        fn drop(&mut self) {
            WHOSE.replace(self.0.take());
        }
    }
    let _before = Before(WHOSE.replace(Some(whose.clone())));
    code()
}

/// Runs code of the simulator's own in between.
pub(super) fn outside<T>(code: impl FnOnce() -> T) -> T {
    let before = WHOSE.take();
    let result = code();
    WHOSE.set(before);
    result
}

/// All code of this thread is somebody's.
pub(super) fn note_thread(whose: &Whose) {
    WHOSE.set(Some(whose.clone()));
}

/// The host whose code the thread runs.
pub(super) fn host() -> Option<usize> {
    WHOSE.with_borrow(|whose| whose.as_ref().and_then(|whose| whose.host))
}

/// Installs the hook, once in a process, in front of the one that is there. What is of a simulation is noted and not printed.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let whose = WHOSE.try_with(|whose| whose.try_borrow().ok().and_then(|whose| whose.clone())).ok().flatten();
            let Some(whose) = whose else { return before(info) };
            let place = info.location().map_or_else(String::new, |at| format!("{}:{}:{}", at.file(), at.line(), at.column()));
            let payload = info.payload();
            let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
            let message = text.unwrap_or("a value that is no text").to_owned();
            whose.seen.lock().unwrap_or_else(PoisonError::into_inner).push(Panic { host: whose.host, message, place });
        }));
    });
}

/// Whether the hook is still there: another one may have taken its place.
pub(super) fn is_installed() -> bool {
    let probe = Whose::test(0);
    let _caught = within(&probe, || panic::catch_unwind(|| panic!("a probe of noex-sim's")));
    !probe.take().is_empty()
}
