//! Contact addresses: where a node looks for its cluster.

use alloc::format;
use alloc::string::String;
use core::error::Error;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr};
use core::str::FromStr;

use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};

use crate::id::host::{self, Host};
use crate::id::node_id::{excerpt, parse_port};
use crate::{NodeId, NodeIdFault, defaults};

/// Where to look for a cluster: `name@host:port`, `host:port`, or `host`, with the default port.
///
/// With a name it is the identity of the node that is expected there, and another one is reported. An IPv6 address before a port stands in
/// brackets. A dot at the end of a host name keeps the resolver from its search domains; it is the same contact with and without.
///
/// ```
/// use noex_proto::Contact;
///
/// for (text, canonical) in [
///     ("app2@192.168.1.2:4369", "app2@192.168.1.2:4369"),
///     ("10.0.0.1:7000", "10.0.0.1:7000"),
///     ("Seed.example", "seed.example:4369"),
///     ("2001:db8::1", "[2001:db8::1]:4369"),
/// ] {
///     assert_eq!(text.parse::<Contact>()?.to_string(), canonical);
/// }
/// # Ok::<(), noex_proto::InvalidContactError>(())
/// ```
#[derive(Clone)]
pub struct Contact {
    /// Whether the host was written with the dot at its end.
    absolute: bool,
    host: Host,
    id: Option<NodeId>,
    port: u16,
}

impl Contact {
    /// The identity that is expected there, if the contact has a name.
    #[must_use]
    pub fn id(&self) -> Option<&NodeId> {
        self.id.as_ref()
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host, where it is an address.
    #[must_use]
    pub fn host_ip(&self) -> Option<IpAddr> {
        if let Host::Ip(ip) = self.host { Some(ip) } else { None }
    }

    /// Whether the host means nothing but the machine that dials it, as [`NodeId::is_loopback`] says.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Ip(ip) => host::is_loopback_ip(*ip),
            Host::Name(name) => host::is_loopback_name(name),
        }
    }

    /// The host as a resolver is to be asked for it.
    pub(crate) fn lookup(&self) -> String {
        let dot = if self.absolute { "." } else { "" };
        format!("{}{dot}", self.host)
    }

    /// Whether a node with this identity would be dialled at this very address.
    pub(crate) fn is_address_of(&self, id: &NodeId) -> bool {
        self.port == id.port()
            && match &self.host {
                Host::Ip(ip) => id.host_ip() == Some(*ip),
                Host::Name(name) => **name == *id.host(),
            }
    }
}

impl From<NodeId> for Contact {
    fn from(id: NodeId) -> Self {
        let host = id.host().parse().expect("an identity has a valid host");
        Self { absolute: false, host, port: id.port(), id: Some(id) }
    }
}

impl Eq for Contact {}

impl PartialEq for Contact {
    fn eq(&self, other: &Self) -> bool {
        (&self.host, &self.id, self.port) == (&other.host, &other.id, other.port)
    }
}

impl fmt::Debug for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", format!("{self}"))
    }
}

impl fmt::Display for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.id, &self.host) {
            (Some(id), _) => id.fmt(f),
            (None, Host::Ip(IpAddr::V6(ip))) => write!(f, "[{ip}]:{}", self.port),
            (None, host) => write!(f, "{host}:{}", self.port),
        }
    }
}

impl FromStr for Contact {
    type Err = InvalidContactError;

    fn from_str(text: &str) -> Result<Self, InvalidContactError> {
        parse(text).map_err(|reason| InvalidContactError { reason, value: excerpt(text) })
    }
}

fn parse(text: &str) -> Result<Contact, NodeIdFault> {
    let (named, address) = text.rsplit_once('@').map_or((false, text), |(_, address)| (true, address));
    // Without a port, the last colon is the host's.
    let is_host = address.ends_with(']') || address.parse::<Ipv6Addr>().is_ok();
    let (host, port) = match address.rsplit_once(':').filter(|_| named || !is_host) {
        Some((host, port)) => (host, parse_port(port)?),
        None if named => return Err(NodeIdFault::MissingPort),
        None => (address, defaults::PORT),
    };
    if port == 0 {
        return Err(NodeIdFault::PortRange);
    }
    let id = if named { Some(text.parse::<NodeId>().map_err(|error| error.reason())?) } else { None };
    Ok(Contact { absolute: host.ends_with('.'), host: host.parse()?, id, port })
}

impl<'de> Deserialize<'de> for Contact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Contact {
    /// As it is to be looked up, so that the dot is kept.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.id {
            Some(id) => serializer.collect_str(&format_args!("{}@{}:{}", id.name(), Bracketed(self), self.port)),
            None => serializer.collect_str(&format_args!("{}:{}", Bracketed(self), self.port)),
        }
    }
}

/// The host as it stands before a port.
struct Bracketed<'a>(&'a Contact);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            _ => f.write_str(&self.0.lookup()),
        }
    }
}

/// A text that is no contact address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidContactError {
    reason: NodeIdFault,
    value: String,
}

impl InvalidContactError {
    /// The rule that the text breaks.
    #[must_use]
    pub fn reason(&self) -> NodeIdFault {
        self.reason
    }

    /// The text, cut with an ellipsis where it is longer than any that helps to find the fault.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Display for InvalidContactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid address {:?}: {}; name@host:port, host:port and host are valid", self.value, self.reason)
    }
}

impl Error for InvalidContactError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.reason)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn contact(text: &str) -> Contact {
        text.parse().expect(text)
    }

    #[test]
    fn contacts_have_three_forms() {
        for (text, id, lookup, port) in [
            ("b@h:1", Some("b@h:1"), "h", 1),
            ("b@[::1]:1", Some("b@[::1]:1"), "::1", 1),
            ("b@::1:1", Some("b@[::1]:1"), "::1", 1),
            ("b@Seed.example.:1", Some("b@seed.example:1"), "seed.example.", 1),
            ("10.0.0.1:7000", None, "10.0.0.1", 7000),
            ("10.0.0.1", None, "10.0.0.1", 4369),
            ("seed.example.:7000", None, "seed.example.", 7000),
            ("stack_seed", None, "stack_seed", 4369),
            ("[2001:db8::1]:7000", None, "2001:db8::1", 7000),
            ("[2001:db8::1]", None, "2001:db8::1", 4369),
            ("2001:db8::1", None, "2001:db8::1", 4369),
        ] {
            let contact = contact(text);
            assert_eq!(contact.id().map(NodeId::as_str), id, "{text}");
            assert_eq!((contact.lookup().as_str(), contact.port()), (lookup, port), "{text}");
            // A recording keeps all of it.
            let mut bytes = alloc::vec::Vec::new();
            ciborium::into_writer(&contact, &mut bytes).expect("a vector takes everything");
            let back: Contact = ciborium::from_reader(&*bytes).expect("a contact");
            assert_eq!((&back, back.lookup()), (&contact, contact.lookup()), "{text}");
        }
    }

    #[test]
    fn the_dot_at_the_end_makes_no_other_contact() {
        assert_eq!(contact("seed.example."), contact("Seed.Example:4369"));
        assert_ne!(contact("seed.example"), contact("a@seed.example:4369"));
        assert_ne!(contact("seed.example"), contact("seed.example:1"));
    }

    #[test]
    fn anything_else_is_refused_with_the_rule_that_it_breaks() {
        use NodeIdFault::*;
        for (text, fault) in [
            ("", HostEmpty),
            ("a@h", MissingPort),
            ("@h:1", NameEmpty),
            ("a@b@h:1", HostLabel),
            (":1", HostEmpty),
            ("h:", PortDigits),
            ("h:0", PortRange),
            ("h:65536", PortRange),
            ("h:01", PortLeadingZero),
            ("h:1:2", HostIpv6),
            ("127.1", HostDotted),
            ("[::1", HostBrackets),
            ("h h", HostLabel),
        ] {
            let error = text.parse::<Contact>().expect_err(text);
            assert_eq!(error.reason(), fault, "{text}");
            assert!(error.to_string().contains("name@host:port, host:port and host"), "{error}");
        }
    }

    #[test]
    fn a_contact_is_the_address_of_who_is_dialled_there() {
        let id: NodeId = "b@seed.example:1".parse().expect("an id");
        assert!(contact("seed.example.:1").is_address_of(&id));
        assert!(contact("b@seed.example:1").is_address_of(&id));
        assert!(!contact("seed.example:2").is_address_of(&id));
        assert!(!contact("other.example:1").is_address_of(&id));
        assert!(contact("[::1]:1").is_address_of(&"b@[::1]:1".parse().expect("an id")));
    }
}
