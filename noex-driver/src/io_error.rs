//! Tells faults of the local system from those of the network.

use std::io::{Error, ErrorKind};

use noex_proto::{Cause, ConnectError};

/// Why a connection was not made. Only errors that are known to come from the network or the peer are blamed on the address. Anything else,
/// such as a lack of descriptors or ports, or a local firewall, is a fault of the local system.
pub(crate) fn connect(error: Error) -> ConnectError {
    match error.kind() {
        ErrorKind::ConnectionRefused => ConnectError::Refused,
        ErrorKind::TimedOut => ConnectError::TimedOut,
        // An address that no connection can be made to, such as one of a link that it does not name, is invalid input.
        ErrorKind::ConnectionAborted
        | ErrorKind::ConnectionReset
        | ErrorKind::HostUnreachable
        | ErrorKind::InvalidInput
        | ErrorKind::NetworkDown
        | ErrorKind::NetworkUnreachable => ConnectError::Unreachable,
        _ => ConnectError::Local(Cause::new(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_network_says_is_told_of_the_address() {
        for (kind, expected) in [
            (ErrorKind::ConnectionRefused, ConnectError::Refused),
            (ErrorKind::TimedOut, ConnectError::TimedOut),
            (ErrorKind::HostUnreachable, ConnectError::Unreachable),
            (ErrorKind::NetworkUnreachable, ConnectError::Unreachable),
            (ErrorKind::ConnectionReset, ConnectError::Unreachable),
        ] {
            assert_eq!(connect(kind.into()), expected);
        }
        for kind in [ErrorKind::AddrNotAvailable, ErrorKind::OutOfMemory, ErrorKind::PermissionDenied] {
            assert!(matches!(connect(kind.into()), ConnectError::Local(_)), "{kind}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_want_of_descriptors_or_buffers_is_local() {
        // EMFILE and ENFILE everywhere; ENOBUFS on Linux.
        for code in [24, 23].into_iter().chain(cfg!(target_os = "linux").then_some(105)) {
            let ConnectError::Local(cause) = connect(Error::from_raw_os_error(code)) else { panic!("{code}") };
            let kept = cause.get_ref().downcast_ref::<Error>().and_then(Error::raw_os_error);
            assert_eq!(kept, Some(code));
        }
    }
}
