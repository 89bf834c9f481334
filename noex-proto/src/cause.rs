//! The cause of a fault outside this crate, such as an error of the operating system.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::error::Error;
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An error of any type within another one: what a driver says of a fault of the local system, mostly a `std::io::Error`.
///
/// Clones share the error. [`get_ref`](Self::get_ref) gives it, and so does [`source`](Error::source) of the error that holds this cause,
/// for a downcast. Causes with the same text are equal; serde keeps the text alone.
#[derive(Clone)]
pub struct Cause(Arc<dyn Error + Send + Sync>);

impl Cause {
    /// The cause that is this error.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::from(error.into()))
    }

    /// The error.
    #[must_use]
    pub fn get_ref(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Eq for Cause {}

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || alloc::format!("{self}") == alloc::format!("{other}")
    }
}

impl From<&str> for Cause {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Cause {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for Cause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_cause_keeps_its_error_and_is_equal_by_its_text() {
        let error = io::Error::from(io::ErrorKind::AddrInUse);
        let text = alloc::format!("{error}");
        let cause = Cause::new(error);
        let kept = cause.get_ref().downcast_ref::<io::Error>().map(io::Error::kind);
        assert_eq!(kept, Some(io::ErrorKind::AddrInUse));
        assert_eq!(cause, Cause::from(text));
        assert_ne!(cause, "another".into());
    }

    #[test]
    fn serde_keeps_the_text() {
        let mut bytes = alloc::vec::Vec::new();
        ciborium::into_writer(&Cause::from("no room"), &mut bytes).expect("a vector takes everything");
        let back: Cause = ciborium::from_reader(&*bytes).expect("a text");
        assert_eq!(back, "no room".into());
    }
}
