//! Under which host this node is known to the others, and whether it can be reached there.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::id::host::{self, Host};

/// What a node that listens knows of its machine's network.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct LocalNetwork {
    /// The addresses from which packets leave by the default routes, the preferred one first.
    pub default_routes: Vec<IpAddr>,
    /// Whether a listener on the unspecified IPv6 address serves IPv4 too.
    pub dual_stack: bool,
    /// The addresses of the interfaces that are up and have a carrier.
    pub interfaces: Vec<IpAddr>,
    /// All addresses of the machine. A peer that comes from one is on this machine.
    pub own: Vec<IpAddr>,
    /// The local address that routes to [`ClusterConfig::route_target`](crate::ClusterConfig::route_target), if there is one.
    pub route: Option<IpAddr>,
}

impl LocalNetwork {
    /// The addresses that others may reach a node at which listens on the unspecified address `listener`, the best first.
    pub(crate) fn candidates(&self, listener: IpAddr) -> Vec<IpAddr> {
        let found = self.default_routes.iter().chain(&self.interfaces).filter(|ip| !is_link_local(**ip));
        let mut candidates = Vec::new();
        for ip in self.route.iter().chain(found).map(IpAddr::to_canonical) {
            if !host::is_loopback_ip(ip) && self.serves(listener, ip) && !candidates.contains(&ip) {
                candidates.push(ip);
            }
        }
        candidates
    }

    /// The host that goes into the local node's identity; none where only loopback is left, for want of anything better.
    ///
    /// `advertised` and `host` are the configured ones, `listener` is the address listened on.
    pub(crate) fn choose(&self, advertised: Option<&Host>, host: &Host, listener: IpAddr) -> Option<Host> {
        let configured = advertised.or_else(|| Some(host).filter(|host| !host.is_unspecified()));
        configured.cloned().or_else(|| self.candidates(listener).first().copied().map(Host::Ip))
    }

    /// Whether who dials `told` is known to miss a node that listens on `listener`: it leads to another of the machine's addresses, or
    /// to another machine while only loopback is listened on. Where else a name leads is not known here.
    pub(crate) fn misses(&self, told: &Host, listener: IpAddr) -> bool {
        let listener = listener.to_canonical();
        match told {
            Host::Name(_) if listener.is_unspecified() => false,
            Host::Name(name) => listener.is_loopback() != host::is_loopback_name(name),
            Host::Ip(ip) => {
                let ip = ip.to_canonical();
                let own = ip.is_loopback() || self.own.contains(&ip);
                match listener.is_unspecified() {
                    true => own && !self.serves(listener, ip),
                    false => (own || listener.is_loopback()) && ip != listener,
                }
            }
        }
    }

    /// Whether a socket that listens on the unspecified address `listener` can be reached at `ip`, as far as their families go.
    fn serves(&self, listener: IpAddr, ip: IpAddr) -> bool {
        serves(listener, ip) && (self.dual_stack || listener.to_canonical().is_ipv4() || ip.is_ipv6())
    }
}

/// The loopback address of the family that is listened on.
pub(crate) fn loopback(listener: IpAddr) -> Host {
    Host::Ip(if listener.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() })
}

/// Whether a socket that listens on the unspecified address `listener` may be reached at `ip`: one for IPv4 has no IPv6 addresses.
pub(crate) fn serves(listener: IpAddr, ip: IpAddr) -> bool {
    listener.to_canonical().is_ipv6() || ip.to_canonical().is_ipv4()
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

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().copied().map(ip).collect()
    }

    /// A machine with one address for IPv4 behind a bridge that every machine has.
    fn machine(route: Option<&str>, default: &[&str], interfaces: &[&str]) -> LocalNetwork {
        let (interfaces, default_routes) = (ips(interfaces), ips(default));
        LocalNetwork { default_routes, dual_stack: true, own: interfaces.clone(), interfaces, route: route.map(ip) }
    }

    fn chosen(network: &LocalNetwork, advertise: Option<&str>, host: &str) -> Option<String> {
        let host: Host = host.parse().expect(host);
        let listener = match host {
            Host::Ip(ip) => ip,
            Host::Name(_) => Ipv4Addr::LOCALHOST.into(),
        };
        let advertise: Option<Host> = advertise.map(|host| host.parse().expect(host));
        network.choose(advertise.as_ref(), &host, listener).map(|host| host.to_string())
    }

    #[test]
    fn the_first_source_that_has_a_host_decides() {
        let (bridge, card) = ("172.17.0.1", "192.0.2.7");
        let full = machine(Some("10.0.0.5"), &[card], &[bridge, card]);
        let by_default = machine(None, &[card], &[bridge, card]);
        let bare = machine(None, &[], &[bridge, card]);
        for (network, advertise, host, expected) in [
            (&full, Some("app.example.org"), "10.0.0.1", "app.example.org"),
            (&full, Some("127.0.0.1"), "0.0.0.0", "127.0.0.1"),
            (&full, None, "10.0.0.1", "10.0.0.1"),
            (&full, None, "db.example.org", "db.example.org"),
            (&full, None, "127.0.0.1", "127.0.0.1"),
            (&full, None, "localhost", "localhost"),
            (&full, None, "0.0.0.0", "10.0.0.5"),
            (&full, None, "::", "10.0.0.5"),
            (&by_default, None, "0.0.0.0", card),
            (&bare, None, "0.0.0.0", bridge),
            (&machine(None, &[], &["2001:db8::7"]), None, "::", "2001:db8::7"),
        ] {
            assert_eq!(chosen(network, advertise, host).as_deref(), Some(expected));
        }
    }

    #[test]
    fn who_chooses_knows_all_that_it_chose_from_once() {
        let network = machine(None, &["192.0.2.7"], &["172.17.0.1", "192.0.2.7", "fe80::1", "::1", "2001:db8::7"]);
        assert_eq!(network.candidates(ip("0.0.0.0")), ips(&["192.0.2.7", "172.17.0.1"]));
        assert_eq!(network.candidates(ip("::")), ips(&["192.0.2.7", "172.17.0.1", "2001:db8::7"]));
    }

    #[test]
    fn only_loopback_for_want_of_better_is_no_choice() {
        let lonely = machine(None, &[], &["127.0.0.1", "::1"]);
        assert_eq!(chosen(&lonely, None, "0.0.0.0"), None);
        assert_eq!(chosen(&lonely, None, "::"), None);
        assert_eq!(loopback(ip("0.0.0.0")), Host::Ip(ip("127.0.0.1")));
        assert_eq!(loopback(ip("::")), Host::Ip(ip("::1")));
    }

    #[test]
    fn what_nobody_can_dial_is_passed_over() {
        let found = |route, interfaces: &[&str], host| chosen(&machine(route, &[], interfaces), None, host);
        assert_eq!(found(Some("127.0.0.1"), &["10.0.0.5"], "0.0.0.0").as_deref(), Some("10.0.0.5"));
        assert_eq!(found(Some("0.0.0.0"), &[], "0.0.0.0"), None);
        assert_eq!(found(Some("2001:db8::7"), &["10.0.0.5"], "0.0.0.0").as_deref(), Some("10.0.0.5"));
        assert_eq!(found(Some("::ffff:10.0.0.5"), &[], "::").as_deref(), Some("10.0.0.5"));
        let all = ["127.0.0.1", "::1", "169.254.0.1", "fe80::1", "2001:db8::7", "10.0.0.5"];
        assert_eq!(found(None, &all, "0.0.0.0").as_deref(), Some("10.0.0.5"));
        assert_eq!(found(None, &all, "::").as_deref(), Some("2001:db8::7"));
    }

    #[test]
    fn a_family_that_is_not_served_is_not_told() {
        let mut network = machine(Some("10.0.0.5"), &["10.0.0.5"], &["10.0.0.5", "2001:db8::7"]);
        assert_eq!(chosen(&network, None, "::").as_deref(), Some("10.0.0.5"));
        network.dual_stack = false;
        assert_eq!(chosen(&network, None, "::").as_deref(), Some("2001:db8::7"));
        assert_eq!(chosen(&network, None, "0.0.0.0").as_deref(), Some("10.0.0.5"));
    }

    #[test]
    fn what_is_told_and_not_listened_on_is_noticed() {
        let mut network = machine(None, &[], &["10.0.0.5", "192.0.2.7", "2001:db8::7"]);
        network.dual_stack = false;
        for (told, listener) in [
            // A machine's own name that its hosts file gives a loopback address.
            ("db-1.example", "127.0.1.1"),
            ("db-1", "::1"),
            ("203.0.113.1", "127.0.0.1"),
            ("127.0.0.1", "127.0.1.1"),
            ("127.0.0.1", "10.0.0.5"),
            ("localhost", "10.0.0.5"),
            ("192.0.2.7", "10.0.0.5"),
            ("2001:db8::7", "0.0.0.0"),
            ("10.0.0.5", "::"),
        ] {
            assert!(network.misses(&told.parse().expect(told), ip(listener)), "{told}, and {listener} is listened on");
        }
        for (told, listener) in [
            ("localhost", "127.0.0.1"),
            ("127.0.0.1", "127.0.0.1"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
            ("127.0.0.1", "0.0.0.0"),
            ("10.0.0.5", "10.0.0.5"),
            ("10.0.0.5", "::ffff:10.0.0.5"),
            ("10.0.0.5", "0.0.0.0"),
            ("2001:db8::7", "::"),
            // Translations of addresses, and names that lead anywhere.
            ("203.0.113.1", "10.0.0.5"),
            ("203.0.113.1", "::"),
            ("db-1.example", "10.0.0.5"),
            ("db-1.example", "0.0.0.0"),
        ] {
            assert!(!network.misses(&told.parse().expect(told), ip(listener)), "{told}, and {listener} is listened on");
        }
    }
}
