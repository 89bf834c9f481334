//! Shared secrets, kept out of logs, files and freed memory.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

/// A secret that the members of a cluster share.
///
/// Its memory is overwritten when it is dropped, `Debug` does not show it, and it can be deserialized, from a string, but not
/// serialized. There is no equality either, which would take longer the more bytes agree. Whether a secret is long enough is checked
/// with the configuration.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The bytes, for the key derivation alone.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The error of a text's own place would quote what it found there, such as a number.
        String::deserialize(deserializer).map(Self::from).map_err(|_| D::Error::custom("a secret must be a text"))
    }
}

impl From<&[u8]> for Secret {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

/// What [`ClusterConfig::cluster_secret`](crate::ClusterConfig::cluster_secret) takes: whatever makes a [`Secret`], or an `Option` of
/// it, such as `std::env::var("CLUSTER_SECRET").ok()`.
pub trait IntoSecret {
    /// The secret, if there is one. An empty text is one, though not a valid one.
    fn into_secret(self) -> Option<Secret>;
}

impl<T> IntoSecret for T
where
    Secret: From<T>,
{
    fn into_secret(self) -> Option<Secret> {
        Some(self.into())
    }
}

impl<T> IntoSecret for Option<T>
where
    Secret: From<T>,
{
    fn into_secret(self) -> Option<Secret> {
        self.map(Secret::from)
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn every_source_gives_the_same_bytes() {
        let text = "a secret";
        for secret in [text.into(), String::from(text).into(), text.as_bytes().into(), Vec::from(text).into()] {
            let secret: Secret = secret;
            assert_eq!(secret.as_bytes(), b"a secret");
        }
        assert_eq!(serde_json::from_str::<Secret>("\"a secret\"").expect("a string").as_bytes(), b"a secret");
    }

    #[test]
    fn an_option_keeps_its_absence() {
        assert!(None::<&str>.into_secret().is_none());
        assert_eq!(Some(String::new()).into_secret().expect("a secret").as_bytes(), b"");
        assert!(Secret::from("x").into_secret().is_some());
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?} {:#?}", Secret::from("hunter2"), Some(Secret::from("hunter2"))).matches("hunter").count(), 0);
    }
}
