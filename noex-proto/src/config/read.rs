//! How a configuration is read with serde.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use serde::de::{self, Error as _, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Secret, defaults};

/// A key that is there means a secret: `null`, which a template may write for want of one, would open the cluster without a word.
pub(super) fn given_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    let rule = "cluster_secret must not be null: leave the key out for a cluster that anyone can join";
    Option::deserialize(deserializer)?.map(Some).ok_or_else(|| D::Error::custom(rule))
}

/// An error of a secret's place says what is due there, and nothing of what was found.
pub(super) fn secret_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Secret>, D::Error> {
    Vec::deserialize(deserializer).map_err(|_| D::Error::custom("accepted_secrets must be a list of texts"))
}

/// An error names the field and the number, whatever the format says of numbers that are too large.
pub(super) fn advertised_port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    struct Port;

    impl<'de> Visitor<'de> for Port {
        type Value = Option<u16>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a port in advertise_port")
        }

        fn visit_i64<E: de::Error>(self, port: i64) -> Result<Option<u16>, E> {
            let valid = u16::try_from(port).map(Some);
            valid.map_err(|_| E::custom(format_args!("advertise_port must be 1 to 65535, not {port}")))
        }

        fn visit_none<E: de::Error>(self) -> Result<Option<u16>, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<u16>, D::Error> {
            deserializer.deserialize_u16(self)
        }

        fn visit_u64<E: de::Error>(self, port: u64) -> Result<Option<u16>, E> {
            self.visit_i64(i64::try_from(port).unwrap_or(i64::MAX))
        }

        fn visit_unit<E: de::Error>(self) -> Result<Option<u16>, E> {
            Ok(None)
        }
    }

    deserializer.deserialize_option(Port)
}

pub(super) fn default_cluster_name() -> String {
    defaults::CLUSTER_NAME.into()
}

pub(super) fn default_forget_after() -> Duration {
    defaults::FORGET_AFTER
}

pub(super) fn default_heartbeat_interval() -> Duration {
    defaults::HEARTBEAT_INTERVAL
}

pub(super) fn default_heartbeat_miss_threshold() -> u32 {
    defaults::HEARTBEAT_MISS_THRESHOLD
}

pub(super) fn default_host() -> String {
    defaults::HOST.into()
}

pub(super) fn default_port() -> u16 {
    defaults::PORT
}

pub(super) fn default_reconnect_base_delay() -> Duration {
    defaults::RECONNECT_BASE_DELAY
}

pub(super) fn default_reconnect_max_delay() -> Duration {
    defaults::RECONNECT_MAX_DELAY
}

pub(super) fn default_start_timeout() -> Duration {
    defaults::START_TIMEOUT
}

pub(super) fn default_stop_timeout() -> Duration {
    defaults::STOP_TIMEOUT
}
