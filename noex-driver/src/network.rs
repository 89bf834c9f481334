//! What there is of the machine's network: addresses and default routes, found without sending anything.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use if_addrs::Interface;
use noex_proto::LocalNetwork;

/// How much of a table of routes is read; with more, as on a router, a default route behind that is not found.
const TABLE_BYTES: u64 = 1 << 20;

/// The flag of a route that is in use, and that of one that refuses.
const UP: u32 = 0x1;
const REJECT: u32 = 0x200;

/// What there is at this moment. `route_target` is an address to find the route to.
pub(crate) fn look(route_target: Option<SocketAddr>, dual_stack: bool) -> LocalNetwork {
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    let usable: Vec<&Interface> = all.iter().filter(|interface| interface.is_oper_up()).collect();
    let beyond_links = usable.iter().filter(|interface| !interface.is_link_local());
    let addresses: Vec<_> = beyond_links.map(|interface| (&*interface.name, interface.ip())).collect();
    let v4 = source(&default_interfaces("/proc/net/route", route_v4), &addresses, IpAddr::is_ipv4);
    let v6 = source(&default_interfaces("/proc/net/ipv6_route", route_v6), &addresses, IpAddr::is_ipv6);
    LocalNetwork {
        default_routes: v4.into_iter().chain(v6).collect(),
        dual_stack,
        interfaces: usable.iter().map(|interface| interface.ip()).collect(),
        own: all.iter().map(Interface::ip).collect(),
        route: route_target.and_then(|target| route(target).ok()),
    }
}

/// The local address that routes to `target`. To connect a UDP socket sends nothing.
fn route(target: SocketAddr) -> io::Result<IpAddr> {
    let any = if target.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip())
}

/// A default route: its metric and its interface.
type DefaultRoute<'a> = (u32, &'a str);

/// The first address of a family at the first of these interfaces that has one: another may be unplugged, and its route still there.
fn source(interfaces: &[String], addresses: &[(&str, IpAddr)], family: fn(&IpAddr) -> bool) -> Option<IpAddr> {
    let at = |interface: &String| addresses.iter().find(|(name, ip)| *name == *interface && family(ip)).map(|(_, ip)| *ip);
    interfaces.iter().find_map(at)
}

/// The interfaces of the default routes in a table of the kernel, the preferred one first; none on systems without this table.
fn default_interfaces(table: &str, parse: fn(&str) -> Option<DefaultRoute<'_>>) -> Vec<String> {
    File::open(table).map_or_else(|_| Vec::new(), |table| by_metric(BufReader::new(table.take(TABLE_BYTES)), parse))
}

fn by_metric(table: impl BufRead, parse: fn(&str) -> Option<DefaultRoute<'_>>) -> Vec<String> {
    let lines = table.lines().map_while(Result::ok);
    let routes = lines.filter_map(|line| parse(&line).map(|(metric, interface)| (metric, interface.to_owned())));
    let mut routes: Vec<_> = routes.collect();
    routes.sort_by_key(|(metric, _)| *metric);
    routes.into_iter().map(|(_, interface)| interface).collect()
}

/// A line of `/proc/net/route`: interface, destination, gateway, flags, three counts of which the last is the metric, and mask.
fn route_v4(line: &str) -> Option<DefaultRoute<'_>> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [interface, "00000000", _, flags, _, _, metric, "00000000", ..] = fields[..] else { return None };
    is_used(flags)?;
    Some((metric.parse().ok()?, interface))
}

/// A line of `/proc/net/ipv6_route`: destination and its length, source and its length, gateway, metric, two counts, flags, interface.
fn route_v6(line: &str) -> Option<DefaultRoute<'_>> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [destination, "00", _, "00", _, metric, _, _, flags, interface] = fields[..] else { return None };
    is_used(flags)?;
    let metric = u32::from_str_radix(metric, 16).ok()?;
    destination.bytes().all(|digit| digit == b'0').then_some((metric, interface))
}

fn is_used(flags: &str) -> Option<()> {
    let flags = u32::from_str_radix(flags, 16).ok()?;
    (flags & (UP | REJECT) == UP).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_routes_are_found_the_one_of_the_least_metric_first() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                     br0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
                     down0\t00000000\t010200C0\t0002\t0\t0\t0\t00000000\t0\t0\t0\n\
                     none0\t00000000\t00000000\t0201\t0\t0\t1\t00000000\t0\t0\t0\n\
                     half0\t00000000\t010200C0\t0003\t0\t0\t1\t00000080\t0\t0\t0\n\
                     wlan0\t00000000\t010200C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
                     eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                     rubbish";
        assert_eq!(by_metric(table.as_bytes(), route_v4), ["eth0", "wlan0"]);
        assert!(by_metric("Iface\tDestination\n".as_bytes(), route_v4).is_empty());
        assert!(by_metric(&[0xff, b'\n'][..], route_v4).is_empty());
    }

    #[test]
    fn so_are_those_of_ipv6() {
        let (any, net) = ("0".repeat(32), "fd".to_owned() + &"0".repeat(30));
        let line = |dest: &str, len: &str, metric: &str, flags: &str, interface: &str| {
            format!("{dest} {len} {any} 00 {any} {metric} 00000001 00000000 {flags} {interface:>8}\n")
        };
        let table = line(&net, "40", "00000100", "00000001", "net0")
            + &line(&any, "00", "00000400", "00000003", "wlan0")
            + &line(&any, "00", "000000ff", "00000003", "eth0")
            + &line(&any, "01", "00000001", "00000003", "half0")
            + &line(&any, "00", "ffffffff", "00200200", "lo");
        assert_eq!(by_metric(table.as_bytes(), route_v6), ["eth0", "wlan0"]);
        assert!(by_metric(line(&any, "00", "ffffffff", "00200200", "lo").as_bytes(), route_v6).is_empty());
    }

    #[test]
    fn a_default_route_whose_interface_has_no_address_is_passed_over() {
        let ip = |text: &str| text.parse::<IpAddr>().expect(text);
        let addresses = [("docker0", ip("172.17.0.1")), ("wlan0", ip("2001:db8::7")), ("wlan0", ip("10.0.0.5"))];
        let routes = ["eth0", "wlan0"].map(String::from);
        assert_eq!(source(&routes, &addresses, IpAddr::is_ipv4), Some(ip("10.0.0.5")));
        assert_eq!(source(&routes, &addresses, IpAddr::is_ipv6), Some(ip("2001:db8::7")));
        assert_eq!(source(&routes[..1], &addresses, IpAddr::is_ipv4), None);
    }

    #[test]
    fn what_there_is_is_of_this_machine() {
        let network = look(None, false);
        assert!(network.interfaces.iter().chain(&network.default_routes).all(|ip| network.own.contains(ip)), "{network:?}");
        assert_eq!(network.route, None);
    }
}
