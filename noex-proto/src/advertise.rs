//! Under which host this node is known to the others.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::host::{self, Host};

/// The host that goes into the local node's identity, and whether to warn that it is loopback for want of anything better.
///
/// `advertise_host` and `host` are the configured ones, `local` the address listened on, `route` the local address that routes to the
/// first seed beyond loopback, and `interfaces` the machine's addresses.
pub(crate) fn choose(
    advertise_host: Option<&Host>,
    host: &Host,
    local: SocketAddr,
    route: Option<IpAddr>,
    interfaces: &[IpAddr],
) -> (Host, bool) {
    let configured = advertise_host.or_else(|| Some(host).filter(|host| !host.is_unspecified()));
    if let Some(host) = configured {
        return (host.clone(), false);
    }
    let interfaces = interfaces.iter().copied().filter(|&ip| !is_link_local(ip));
    let mut found = route.into_iter().chain(interfaces).map(|ip| ip.to_canonical());
    if let Some(ip) = found.find(|&ip| !host::is_loopback_ip(ip) && serves(local.ip(), ip)) {
        return (Host::Ip(ip), false);
    }
    let loopback = if local.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    (Host::Ip(loopback), true)
}

/// Whether a socket that listens on the unspecified address `listener` can be reached at `ip`: one for IPv4 has no IPv6 addresses.
pub(crate) fn serves(listener: IpAddr, ip: IpAddr) -> bool {
    listener.is_ipv6() || ip.to_canonical().is_ipv4()
}

/// Whether an address is good on one link only, so that it needs more than itself to be dialled.
fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use super::*;

    fn chosen(advertise: Option<&str>, host: &str, route: Option<&str>, interfaces: &[&str]) -> (String, bool) {
        let host: Host = host.parse().expect(host);
        let local = match host {
            Host::Ip(ip) => ip,
            Host::Name(_) => Ipv4Addr::LOCALHOST.into(),
        };
        let advertise: Option<Host> = advertise.map(|host| host.parse().expect(host));
        let ip = |text: &str| text.parse().expect(text);
        let interfaces: Vec<IpAddr> = interfaces.iter().copied().map(ip).collect();
        let (host, warn) = choose(advertise.as_ref(), &host, SocketAddr::new(local, 4369), route.map(ip), &interfaces);
        (host.to_string(), warn)
    }

    #[test]
    fn the_first_source_that_has_a_host_decides() {
        let (route, interface) = (Some("10.0.0.5"), ["192.0.2.7"].as_slice());
        for (advertise, host, route, interface, expected) in [
            (Some("app.example.org"), "10.0.0.1", route, interface, "app.example.org"),
            (Some("127.0.0.1"), "0.0.0.0", route, interface, "127.0.0.1"),
            (None, "10.0.0.1", route, interface, "10.0.0.1"),
            (None, "db.example.org", route, interface, "db.example.org"),
            (None, "0.0.0.0", route, interface, "10.0.0.5"),
            (None, "::", route, interface, "10.0.0.5"),
            (None, "0.0.0.0", None, interface, "192.0.2.7"),
            (None, "::", None, &["2001:db8::7"], "2001:db8::7"),
        ] {
            assert_eq!(chosen(advertise, host, route, interface), (expected.into(), false));
        }
    }

    #[test]
    fn only_loopback_for_want_of_better_is_a_warning() {
        assert_eq!(chosen(None, "0.0.0.0", None, &[]), ("127.0.0.1".into(), true));
        assert_eq!(chosen(None, "::", None, &[]), ("::1".into(), true));
        assert_eq!(chosen(None, "127.0.0.1", None, &[]), ("127.0.0.1".into(), false));
        assert_eq!(chosen(None, "localhost", None, &[]), ("localhost".into(), false));
    }

    #[test]
    fn what_nobody_can_dial_is_passed_over() {
        assert_eq!(chosen(None, "0.0.0.0", Some("127.0.0.1"), &["10.0.0.5"]), ("10.0.0.5".into(), false));
        assert_eq!(chosen(None, "0.0.0.0", Some("0.0.0.0"), &[]), ("127.0.0.1".into(), true));
        assert_eq!(chosen(None, "0.0.0.0", Some("2001:db8::7"), &["10.0.0.5"]), ("10.0.0.5".into(), false));
        assert_eq!(chosen(None, "::", Some("::ffff:10.0.0.5"), &[]), ("10.0.0.5".into(), false));
        let all = ["127.0.0.1", "::1", "169.254.0.1", "fe80::1", "2001:db8::7", "10.0.0.5"];
        assert_eq!(chosen(None, "0.0.0.0", None, &all), ("10.0.0.5".into(), false));
        assert_eq!(chosen(None, "::", None, &all), ("2001:db8::7".into(), false));
    }
}
