//! The codes of a REFUSED message.

use crate::Refusal;

/// Why this node refuses an authenticated session. Each reason has a code: what has none cannot be said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RefuseCode {
    /// A session exists already.
    Duplicate,
    /// Another running process has the peer's identity.
    IdentityConflict,
    /// This node leaves.
    Leaving,
    /// This node has as many members as it may.
    LimitReached,
    /// The peer tells a loopback address, and is on another machine.
    LoopbackIdentity,
    /// The peer is this node itself.
    ToSelf,
}

impl RefuseCode {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::IdentityConflict => 1,
            Self::ToSelf => 2,
            Self::Leaving => 3,
            Self::LimitReached => 4,
            Self::Duplicate => 6,
            Self::LoopbackIdentity => 7,
        }
    }
}

impl From<RefuseCode> for Refusal {
    fn from(code: RefuseCode) -> Self {
        refusal(code.code())
    }
}

/// What a REFUSED with this code means to the one who gets it.
pub(crate) const fn refusal(code: u8) -> Refusal {
    match code {
        1 => Refusal::IdentityConflict,
        2 => Refusal::ToSelf,
        3 => Refusal::Leaving,
        4 => Refusal::LimitReached,
        5 => Refusal::NotAdmitted,
        6 => Refusal::Duplicate,
        7 => Refusal::LoopbackIdentity,
        code => Refusal::Unknown(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_means_one_refusal() {
        let known = [
            Refusal::Unknown(0),
            Refusal::IdentityConflict,
            Refusal::ToSelf,
            Refusal::Leaving,
            Refusal::LimitReached,
            Refusal::NotAdmitted,
            Refusal::Duplicate,
            Refusal::LoopbackIdentity,
            Refusal::Unknown(8),
        ];
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7, 8].map(refusal), known);
        // Both ways.
        assert_eq!(RefuseCode::Duplicate.code(), 6);
        assert_eq!(Refusal::from(RefuseCode::Leaving), Refusal::Leaving);
    }
}
