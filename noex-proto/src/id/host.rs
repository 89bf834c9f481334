//! Hosts: an IP address or a DNS name, by one rule wherever a host is written.

use alloc::boxed::Box;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

use crate::NodeIdFault;

/// The longest name that DNS can carry, in bytes.
const NAME_MAX: usize = 253;
/// The longest label of such a name, in bytes.
const LABEL_MAX: usize = 63;

/// A valid host in canonical form. `Display` and `FromStr` are inverse; an IPv6 address is written without brackets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Host {
    /// An address.
    Ip(IpAddr),
    /// A DNS name in lower case, without the dot that may end it.
    Name(Box<str>),
}

impl Host {
    /// Whether this is the address that stands for every interface.
    pub(crate) fn is_unspecified(&self) -> bool {
        matches!(self, Self::Ip(ip) if ip.to_canonical().is_unspecified())
    }

    /// The most that it takes as a text, without brackets.
    pub(crate) fn len_max(&self) -> usize {
        match self {
            Self::Ip(IpAddr::V4(_)) => "255.255.255.255".len(),
            Self::Ip(IpAddr::V6(_)) => "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len(),
            Self::Name(name) => name.len(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.pad(name),
        }
    }
}

impl FromStr for Host {
    type Err = NodeIdFault;

    fn from_str(text: &str) -> Result<Self, NodeIdFault> {
        if text.is_empty() {
            return Err(NodeIdFault::HostEmpty);
        }
        if let Some(rest) = text.strip_prefix('[') {
            let ip = rest.strip_suffix(']').and_then(|inner| inner.parse::<Ipv6Addr>().ok());
            return ip.map(|ip| Self::Ip(ip.into())).ok_or(NodeIdFault::HostBrackets);
        }
        if text.contains(':') {
            return text.parse::<Ipv6Addr>().map(|ip| Self::Ip(ip.into())).map_err(|_| NodeIdFault::HostIpv6);
        }
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Ip(ip.into()));
        }
        // A dot at the end keeps a resolver from its search domains: it is no part of the name.
        let name = text.strip_suffix('.').unwrap_or(text);
        // Resolvers read `127.1`, `2130706433` or `0x7f.1` as addresses, each in its own way, and some do with a dot at the end.
        if name.split('.').all(is_number) {
            return Err(NodeIdFault::HostDotted);
        }
        if name.len() > NAME_MAX {
            return Err(NodeIdFault::HostTooLong);
        }
        if name.split('.').all(is_label) { Ok(Self::Name(name.to_ascii_lowercase().into())) } else { Err(NodeIdFault::HostLabel) }
    }
}

/// Whether connecting to `ip` can reach nothing but the own machine: loopback, or the unspecified address, which systems take for it.
pub(crate) fn is_loopback_ip(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || ip.is_unspecified()
}

/// Whether a lower-case `name` is reserved for loopback (RFC 6761).
pub(crate) fn is_loopback_name(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// Whether this is a part of an address as `inet_aton` reads it, in decimal, octal or hexadecimal.
fn is_number(part: &str) -> bool {
    match part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => part.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// Whether this is a label of a name. RFC 1123 has no underscores; container networks and service records do.
fn is_label(label: &str) -> bool {
    (1..=LABEL_MAX).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn host(text: &str) -> Host {
        text.parse().expect(text)
    }

    #[test]
    fn addresses_and_names_have_one_form() {
        for (input, canonical) in [
            ("10.0.0.1", "10.0.0.1"),
            ("[0:0:0:0:0:0:0:1]", "::1"),
            ("2001:DB8::0:1", "2001:db8::1"),
            ("DB-1.Example.org", "db-1.example.org"),
            ("4u", "4u"),
            ("0x7f.example", "0x7f.example"),
            ("db.1", "db.1"),
            ("0xfeh", "0xfeh"),
            ("Stack_service", "stack_service"),
            ("_noex._tcp.example", "_noex._tcp.example"),
            ("Seed.example.", "seed.example"),
            ("seed.", "seed"),
        ] {
            assert_eq!(host(input).to_string(), canonical);
            assert_eq!(host(canonical), host(input));
        }
    }

    #[test]
    fn a_dot_at_the_end_makes_no_name_of_an_address() {
        for text in [".", "127.1.", "10.0.0.1.", "2130706433.", "0x7f.1.", "0x."] {
            assert_eq!(text.parse::<Host>(), Err(NodeIdFault::HostDotted), "{text}");
        }
        for text in ["h..", "..", "h_.-."] {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
        let longest = "label.".repeat(42) + "l";
        assert_eq!(longest.len(), NAME_MAX);
        assert_eq!(host(&(longest.clone() + ".")), host(&longest));
        assert_eq!((longest + "l.").parse::<Host>(), Err(NodeIdFault::HostTooLong));
        // However long it is, it reads as an address.
        assert_eq!("1.".repeat(NAME_MAX).parse::<Host>(), Err(NodeIdFault::HostDotted));
    }

    fn loops(text: &str) -> bool {
        match host(text) {
            Host::Ip(ip) => is_loopback_ip(ip),
            Host::Name(name) => is_loopback_name(&name),
        }
    }

    #[test]
    fn only_the_own_machine_is_loopback() {
        for text in
            ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "localhost", "localhost.", "a.LocalHost"]
        {
            assert!(loops(text), "{text}");
        }
        for text in ["10.0.0.1", "::2", "::ffff:10.0.0.1", "localhost.example.org", "notlocalhost"] {
            assert!(!loops(text), "{text}");
        }
    }

    #[test]
    fn only_the_unspecified_address_is_unspecified() {
        for text in ["0.0.0.0", "::", "::ffff:0.0.0.0"] {
            assert!(host(text).is_unspecified(), "{text}");
        }
        for text in ["127.0.0.1", "::1", "localhost"] {
            assert!(!host(text).is_unspecified(), "{text}");
        }
    }
}
