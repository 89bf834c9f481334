//! What a process understands.

use noex_proto::ProtocolHash;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// The messages that a process understands: one type, as a rule an enum, which is sent and received whole.
///
/// A request is a variant that holds a [`Reply`](crate::Reply) of the type of its answer.
///
/// ```
/// use noex_driver::{Protocol, Reply};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum Counter {
///     Add { by: u64, reply: Reply<u64> },
///     Get(Reply<u64>),
///     Reset,
/// }
///
/// impl Protocol for Counter {
///     const NAME: &'static str = "counter/1";
/// }
/// ```
///
/// On the wire a message is CBOR with the names of variants and fields, nested at most 128 levels deep, where each array, map, variant and
/// [`Some`] is a level. A newer program may add fields with `#[serde(default)]` and variants: an older one skips fields that it does not know,
/// and a call with a variant that it does not know fails alone.
pub trait Protocol: Serialize + DeserializeOwned + Send + 'static {
    /// What tells this protocol from any other, by convention with a version: `"counter/1"`. A message reaches a process only if both have
    /// the same name. Change it where a message of the old type must not be understood as one of the new.
    const NAME: &'static str;
}

/// What stands for a protocol on the wire: the first bytes of the SHA-256 of its name.
pub(crate) fn hash<M: Protocol>() -> ProtocolHash {
    ProtocolHash(*Sha256::digest(M::NAME).first_chunk().expect("a SHA-256 has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Counter;

    impl Protocol for Counter {
        const NAME: &'static str = "counter/1";
    }

    #[test]
    fn a_protocol_is_the_first_eight_bytes_of_the_hash_of_its_name() {
        // printf counter/1 | sha256sum
        assert_eq!(hash::<Counter>(), ProtocolHash([0x46, 0xdf, 0xc0, 0xb9, 0xfc, 0xe7, 0x23, 0xbd]));
    }
}
