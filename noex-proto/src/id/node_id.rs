//! Identities: `name@host:port`, in one canonical form.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt::{self, Write as _};
use core::net::IpAddr;
use core::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

use crate::id::host::{self, Host};

/// The longest name of a node, in bytes.
const NAME_MAX: usize = 64;

/// The identity of a node, `name@host:port`: its name, and where the others reach it.
///
/// It is always valid and in canonical form: the host in lower case and without the dot that may end a name, an IPv6 address compressed
/// and in brackets. So equality, order and hash are those of the text, byte by byte. Clones share the text.
///
/// ```
/// use noex_proto::NodeId;
///
/// let id: NodeId = "app1@DB.example.org:4369".parse()?;
/// assert_eq!(id, NodeId::new("app1", "db.example.org", 4369)?);
/// assert_eq!(NodeId::new("app1", "::1", 4369)?.to_string(), "app1@[::1]:4369");
/// # Ok::<(), noex_proto::InvalidNodeIdError>(())
/// ```
// The text comes first and decides every comparison: the other fields follow from it.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeId {
    text: Arc<str>,
    name_end: u8,
    host_end: u16,
    port: u16,
}

impl NodeId {
    /// The identity with these parts; an IPv6 host with or without brackets.
    ///
    /// # Errors
    ///
    /// Says which part breaks which rule.
    pub fn new(name: &str, host: &str, port: u16) -> Result<Self, InvalidNodeIdError> {
        let id = host.parse().and_then(|host| Self::from_parts(name, &host, port));
        id.map_err(|fault| InvalidNodeIdError::new(&format!("{name}@{host}:{port}"), fault))
    }

    /// The identity with a host that is valid already.
    pub(crate) fn from_parts(name: &str, host: &Host, port: u16) -> Result<Self, NodeIdFault> {
        check_name(name)?;
        if port == 0 {
            return Err(NodeIdFault::PortRange);
        }
        // One allocation beside the text's own: a page of members has thousands of these.
        let mut text = String::with_capacity(name.len() + "@[]:65535".len() + host.len_max());
        match host {
            Host::Ip(IpAddr::V6(ip)) => write!(text, "{name}@[{ip}]"),
            _ => write!(text, "{name}@{host}"),
        }
        .expect("a string takes everything");
        let host_end = u16::try_from(text.len()).expect("a valid host is short");
        write!(text, ":{port}").expect("a string takes everything");
        let name_end = u8::try_from(name.len()).expect("a valid name is short");
        Ok(Self { text: text.into(), name_end, host_end, port })
    }

    /// Whether `text` is an identity, canonical or not.
    #[must_use]
    pub fn is_valid(text: &str) -> bool {
        text.parse::<Self>().is_ok()
    }

    /// The part before the `@`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.text[..usize::from(self.name_end)]
    }

    /// The address or name, an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.text[usize::from(self.name_end) + 1..usize::from(self.host_end)].trim_matches(['[', ']'])
    }

    /// The port, never 0.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host, where it is an address.
    #[must_use]
    pub fn host_ip(&self) -> Option<IpAddr> {
        self.host().parse().ok()
    }

    /// Whether the host means nothing but the machine that dials it: a loopback or unspecified address (IPv6 forms of IPv4 included),
    /// `localhost`, or a name below it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host_ip().map_or_else(|| host::is_loopback_name(self.host()), host::is_loopback_ip)
    }
}

impl AsRef<str> for NodeId {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl FromStr for NodeId {
    type Err = InvalidNodeIdError;

    /// Reads `name@host:port`. The last colon is the one before the port, so an IPv6 host needs no brackets.
    fn from_str(text: &str) -> Result<Self, InvalidNodeIdError> {
        parse(text).map_err(|fault| InvalidNodeIdError::new(text, fault))
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = NodeId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a node id of the form name@host:port")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<NodeId, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// A text that is no node id.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidNodeIdError {
    value: Box<str>,
    reason: NodeIdFault,
}

impl InvalidNodeIdError {
    fn new(value: &str, reason: NodeIdFault) -> Self {
        Self { value: excerpt(value).into(), reason }
    }

    /// The text, cut with an ellipsis where it is longer than any that helps to find the fault.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The rule that it breaks.
    #[must_use]
    pub fn reason(&self) -> NodeIdFault {
        self.reason
    }
}

impl fmt::Display for InvalidNodeIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid node id {:?}: {}", self.value, self.reason)
    }
}

impl core::error::Error for InvalidNodeIdError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.reason)
    }
}

/// The rule that makes a text no node id.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum NodeIdFault {
    /// Brackets hold something other than an IPv6 address, or do not close.
    HostBrackets,
    /// Numbers and dots that are no IPv4 address, also hexadecimal ones.
    HostDotted,
    /// No host.
    HostEmpty,
    /// A host with colons that is no IPv6 address; zone ids are none.
    HostIpv6,
    /// A label of the host's name is empty, too long, has another character than letters, digits, `_` and `-`, or a hyphen at an end.
    HostLabel,
    /// A host name of more than 253 bytes.
    HostTooLong,
    /// No `@`.
    MissingAt,
    /// No `:port` at the end.
    MissingPort,
    /// A character in the name other than ASCII letters, digits, `_` and `-`.
    NameCharacter,
    /// No name.
    NameEmpty,
    /// A name that starts with neither a letter nor a digit.
    NameStart,
    /// A name of more than 64 bytes.
    NameTooLong,
    /// A port with another character than digits, or none.
    PortDigits,
    /// A port with leading zeros.
    PortLeadingZero,
    /// A port outside 1 to 65535.
    PortRange,
}

impl core::error::Error for NodeIdFault {}

impl fmt::Display for NodeIdFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::HostBrackets => "brackets in a host must hold an IPv6 address",
            Self::HostDotted => "a host of numbers and dots must be an IPv4 address",
            Self::HostEmpty => "the host is empty",
            Self::HostIpv6 => "a host with colons must be an IPv6 address without a zone",
            Self::HostLabel => {
                "each label of a host name must be 1 to 63 letters, digits, `_` and `-`, without a `-` at either end"
            }
            Self::HostTooLong => "a host name must be at most 253 bytes long",
            Self::MissingAt => "the `@` between name and host is missing",
            Self::MissingPort => "the `:port` at the end is missing",
            Self::NameCharacter => "a name must consist of ASCII letters, digits, `_` and `-`; dots are for hosts",
            Self::NameEmpty => "the name is empty",
            Self::NameStart => "a name must start with an ASCII letter or digit",
            Self::NameTooLong => "a name must be at most 64 bytes long",
            Self::PortDigits => "the port must consist of digits",
            Self::PortLeadingZero => "the port must have no leading zeros",
            Self::PortRange => "the port must be 1 to 65535",
        })
    }
}

/// The rule for the name of a node.
pub(crate) fn check_name(name: &str) -> Result<(), NodeIdFault> {
    let first = name.bytes().next().ok_or(NodeIdFault::NameEmpty)?;
    if !first.is_ascii_alphanumeric() {
        return Err(NodeIdFault::NameStart);
    }
    if name.len() > NAME_MAX {
        return Err(NodeIdFault::NameTooLong);
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
        return Err(NodeIdFault::NameCharacter);
    }
    Ok(())
}

/// The start of a value that an error quotes: what a stranger sent, or a file pasted into a field, must not fill a log.
pub(crate) fn excerpt(value: &str) -> String {
    const CHARS: usize = 80;
    match value.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.into(),
    }
}

fn parse(text: &str) -> Result<NodeId, NodeIdFault> {
    let (name, address) = text.split_once('@').ok_or(NodeIdFault::MissingAt)?;
    // A colon that a closing bracket follows belongs to the host.
    let (host, port) = address.rsplit_once(':').filter(|_| !address.ends_with(']')).ok_or(NodeIdFault::MissingPort)?;
    NodeId::from_parts(name, &host.parse()?, parse_port(port)?)
}

pub(crate) fn parse_port(text: &str) -> Result<u16, NodeIdFault> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NodeIdFault::PortDigits);
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(NodeIdFault::PortLeadingZero);
    }
    // `from_parts` refuses 0.
    text.parse().map_err(|_| NodeIdFault::PortRange)
}
