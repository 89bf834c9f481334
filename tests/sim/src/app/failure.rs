//! What fails a run, and by what two failures are the same.

use std::fmt;
use std::time::Duration;

use crate::Invariant;

/// By what a failure is known again while its plan is shrunk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Key {
    /// A condition that was to hold always.
    Always(String),
    /// The tasks of a host never come to an end.
    Busy,
    /// A program ended with an error: the host's name.
    Err(String),
    /// A condition that was to come true, or an error that the test returned.
    Test(String),
    /// An invariant of noex.
    Invariant(Invariant),
    /// A panic, by its place.
    Panic(String),
}

/// Why a run failed. It is what the methods of [`App`](super::App) give, for `?`; any other error becomes one.
#[derive(Clone)]
pub struct Failure {
    pub(super) key: Key,
    pub(super) message: String,
    /// The virtual time.
    pub(super) at: Duration,
    /// The name of the host.
    pub(super) host: Option<String>,
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let message = error.to_string();
        Self { key: Key::Test(message.clone()), message, at: Duration::MAX, host: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.as_ref().map(|host| format!(" on {host}")).unwrap_or_default();
        write!(f, "at {:.3} s{host}: {}", self.at.as_secs_f64(), self.message)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
