//! What names a process.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::convert::Infallible;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::NodeId;
use crate::id::incarnation::Incarnation;

/// The longest name of a process, in bytes.
pub(crate) const NAME_MAX: usize = 255;

/// One process: the node that runs it, which start of that node, and its number there. It is never given to another process.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct ProcessId {
    node: NodeId,
    number: u64,
    #[serde(with = "by_format")]
    incarnation: Incarnation,
}

/// An incarnation is 32 hexadecimal digits in formats for people, such as JSON, and bytes in others.
mod by_format {
    use alloc::format;
    use alloc::string::String;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Incarnation;

    pub(super) fn serialize<S: Serializer>(incarnation: &Incarnation, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() { to.serialize_str(&format!("{incarnation:?}")) } else { incarnation.serialize(to) }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Incarnation, D::Error> {
        if !from.is_human_readable() {
            return Incarnation::deserialize(from);
        }
        let text = String::deserialize(from)?;
        let is_hex = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let number = is_hex.then(|| u128::from_str_radix(&text, 16).ok()).flatten();
        let number = number.ok_or_else(|| D::Error::custom("an incarnation must be 32 hexadecimal digits"))?;
        Ok(Incarnation(number.to_be_bytes()))
    }
}

impl ProcessId {
    pub(crate) const fn new(node: NodeId, incarnation: Incarnation, number: u64) -> Self {
        Self { node, number, incarnation }
    }

    /// The node that runs it.
    #[must_use]
    pub const fn node(&self) -> &NodeId {
        &self.node
    }

    /// Its number on its node. A node that is stopped and started again in one program goes on counting.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    pub(crate) const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }
}

/// The node, the process's number there, and the first digits of the node's incarnation: `a@10.0.0.1:4369/17.5f3a09c2`.
impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Incarnation([a, b, c, d, ..]) = self.incarnation;
        write!(f, "{}/{}.{:08x}", self.node, self.number, u32::from_be_bytes([a, b, c, d]))
    }
}

/// A name of a process, local or of the cluster: 1 to 255 bytes without control characters. Clones share the text.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct ProcessName(Arc<str>);

impl ProcessName {
    /// A name.
    ///
    /// # Errors
    /// Says which rule the text breaks.
    pub fn new(name: &str) -> Result<Self, InvalidProcessNameError> {
        let fault = if name.is_empty() {
            "must not be empty"
        } else if name.len() > NAME_MAX {
            "must have at most 255 bytes"
        } else if name.chars().any(char::is_control) {
            "must not contain control characters"
        } else {
            return Ok(Self(name.into()));
        };
        Err(InvalidProcessNameError { name: cut(name), fault })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProcessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for ProcessName {
    type Err = InvalidProcessNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

impl From<&Self> for ProcessName {
    fn from(name: &Self) -> Self {
        name.clone()
    }
}

impl TryFrom<&str> for ProcessName {
    type Error = InvalidProcessNameError;

    fn try_from(name: &str) -> Result<Self, Self::Error> {
        Self::new(name)
    }
}

impl TryFrom<String> for ProcessName {
    type Error = InvalidProcessNameError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(&name)
    }
}

impl TryFrom<&String> for ProcessName {
    type Error = InvalidProcessNameError;

    fn try_from(name: &String) -> Result<Self, Self::Error> {
        Self::new(name)
    }
}

/// A text that is no name of a process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidProcessNameError {
    /// Cut where it is long.
    name: Arc<str>,
    fault: &'static str,
}

impl fmt::Display for InvalidProcessNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid process name {:?}: it {}", self.name, self.fault)
    }
}

impl core::error::Error for InvalidProcessNameError {}

/// For what takes either a text or a name: a name is valid.
impl From<Infallible> for InvalidProcessNameError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Where a call, a cast, a monitor or a request to stop goes.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// This process.
    Process(ProcessId),
    /// The process that has this local name on that node when the message arrives there.
    Named {
        /// The node.
        node: NodeId,
        /// The name.
        name: ProcessName,
    },
}

impl Destination {
    /// The node that it is on.
    #[must_use]
    pub const fn node(&self) -> &NodeId {
        match self {
            Self::Process(process) => process.node(),
            Self::Named { node, .. } => node,
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(process) => process.fmt(f),
            Self::Named { node, name } => write!(f, "{name} on {node}"),
        }
    }
}

/// Which protocol a message is of: the first eight bytes of the SHA-256 of the protocol's name.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct ProtocolHash(pub [u8; 8]);

/// Why a process has ended.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExitReason {
    /// It had done its work.
    Normal,
    /// It was asked to stop.
    Shutdown,
    /// It failed.
    Error(Arc<str>),
    /// There is no such process.
    NoProcess,
    /// The session with its node has ended, so that nobody knows.
    NoConnection,
}

/// The longest text of an [`ExitReason::Error`] or of another failure that a peer is told of, in bytes.
pub(crate) const REASON_MAX: usize = 256;

/// A text cut at 256 bytes, at the edge of a character.
pub(crate) fn cut(text: &str) -> Arc<str> {
    let most = text.len().min(REASON_MAX);
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    text[..end].into()
}

impl ExitReason {
    /// A failure, told by a text, of which the first 256 bytes are kept.
    #[must_use]
    pub fn error(text: impl fmt::Display) -> Self {
        Self::Error(cut(&text.to_string()))
    }

    /// The text of a failure: what [`Error`](Self::Error) holds.
    #[must_use]
    pub fn as_error(&self) -> Option<&str> {
        if let Self::Error(text) = self { Some(text) } else { None }
    }

    /// The reason as the machine takes it: its text is cut, and what only noex can know is no process's own word.
    pub(super) fn of_a_process(self) -> Self {
        match self {
            Self::Error(text) if text.len() <= REASON_MAX => Self::Error(text),
            Self::Error(text) => Self::Error(cut(&text)),
            Self::NoProcess | Self::NoConnection => Self::error(self),
            Self::Normal | Self::Shutdown => self,
        }
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Normal => "normal",
            Self::Shutdown => "shutdown",
            Self::Error(text) => text,
            Self::NoProcess => "no such process",
            Self::NoConnection => "no connection",
        })
    }
}

/// A call of this node. Never given again.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct CallId {
    pub(super) peer: u64,
    pub(super) number: u64,
}

/// A claim of this node to a name of the cluster, or a wait for one. Never given again.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct ClaimId(pub(super) u64);

/// A call that a process of this node was handed. Never given again.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct RequestId {
    pub(super) peer: u64,
    pub(super) number: u64,
}

/// A monitor of this node. Never given again.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct MonitorId {
    pub(super) peer: u64,
    pub(super) number: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_shown_by_its_node_its_number_and_the_start_of_its_node() {
        let node = "a@10.0.0.1:4369".parse().expect("valid");
        let process = ProcessId::new(node, Incarnation([0x5f; 16]), 17);
        assert_eq!(process.to_string(), "a@10.0.0.1:4369/17.5f5f5f5f");
    }

    #[test]
    fn a_process_can_be_written_as_json() {
        let text = r#"{"node":"a@10.0.0.1:4369","number":17,"incarnation":"0123456789abcdef0123456789abcdef"}"#;
        let process: ProcessId = serde_json::from_str(text).expect("valid");
        assert_eq!(process.to_string(), "a@10.0.0.1:4369/17.01234567");
        assert_eq!(serde_json::to_string(&process).expect("written"), text);
        for bad in ["0123456789abcdef0123456789abcde", "+123456789abcdef0123456789abcdef", "012345678"] {
            let bad = text.replace("0123456789abcdef0123456789abcdef", bad);
            assert!(serde_json::from_str::<ProcessId>(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_has_1_to_255_bytes_without_control_characters() {
        for (name, fault) in [("", "empty"), (&"ü".repeat(128), "255"), ("a\nb", "control"), ("a\u{85}", "control")] {
            let error = ProcessName::new(name).expect_err("invalid").to_string();
            assert!(error.contains(fault), "{error}");
        }
        for name in ["a", "tür 1", &"x".repeat(255)] {
            assert_eq!(ProcessName::new(name).expect("valid").as_str(), name);
        }
    }

    #[test]
    fn a_name_is_made_of_a_text_or_of_a_name() {
        fn name(name: impl TryInto<ProcessName, Error: Into<InvalidProcessNameError>>) -> Result<ProcessName, String> {
            name.try_into().map_err(|error| Into::into(error).to_string())
        }
        let counter = ProcessName::new("counter").expect("valid");
        let owned = String::from("counter");
        let made = [name("counter"), name(&owned), name(owned), name(&counter), name(counter.clone())];
        assert!(made.into_iter().all(|name| name.as_ref() == Ok(&counter)));
        assert_eq!(name(""), Err("invalid process name \"\": it must not be empty".into()));
    }

    #[test]
    fn a_reason_is_cut_at_the_edge_of_a_character_and_cannot_say_what_only_noex_knows() {
        let long = "x".repeat(255) + "ü";
        assert_eq!(ExitReason::error(&long), ExitReason::Error("x".repeat(255).into()));
        assert_eq!(ExitReason::Error(long.into()).of_a_process(), ExitReason::Error("x".repeat(255).into()));
        assert_eq!(ExitReason::NoConnection.of_a_process(), ExitReason::Error("no connection".into()));
        assert_eq!((ExitReason::error("late").as_error(), ExitReason::Normal.as_error()), (Some("late"), None));
    }
}
