//! A configuration that breaks a rule.

use alloc::format;
use alloc::string::String;
use core::error::Error;
use core::fmt;

use crate::Cause;

/// A configuration that no node can start with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidClusterConfigError {
    /// What a value that is read from a text says of it.
    cause: Option<Cause>,
    field: &'static str,
    reason: String,
}

impl InvalidClusterConfigError {
    /// `rule` continues a sentence that begins with the field's name.
    pub(crate) fn new(field: &'static str, rule: &str) -> Self {
        Self { cause: None, field, reason: format!("{field} {rule}") }
    }

    /// The same, because of another error.
    pub(super) fn caused_by(self, cause: impl Error + Send + Sync + 'static) -> Self {
        Self { cause: Some(Cause::new(cause)), ..self }
    }

    /// The field at fault, as its builder method is called; one of [`Limits`](crate::Limits) as `limits.` and its name.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// The field, the rule that it breaks, and its value unless that is a secret.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for InvalidClusterConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid cluster configuration: {}", self.reason)
    }
}

impl Error for InvalidClusterConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| cause.get_ref() as _)
    }
}
