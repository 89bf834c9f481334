//! Names of processes, as applications give them.

use noex_proto::{InvalidProcessNameError, ProcessName};

/// A name out of whatever an application has: a text of its own, or one that was checked before.
pub(crate) fn process_name(
    name: impl TryInto<ProcessName, Error: Into<InvalidProcessNameError>>,
) -> Result<ProcessName, InvalidProcessNameError> {
    name.try_into().map_err(Into::into)
}
