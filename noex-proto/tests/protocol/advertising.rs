//! What a node tells others about where it is.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::net::{Net, SECOND, address, config, id};
use noex_proto::{
    ClusterConfig, ClusterError, ClusterEvent, Input, Instant, ListenOn, LocalFault, LocalNetwork, Machine, PeerFault, Refusal,
    Unreached, defaults,
};

const FAR: &str = "s@seed.example:4369";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn secret(config: ClusterConfig) -> ClusterConfig {
    config.cluster_secret("correct horse battery staple")
}

/// A machine with these addresses, all of them of interfaces that are up.
fn network(ips: &[&str]) -> LocalNetwork {
    let ips: Vec<IpAddr> = ips.iter().copied().map(ip).collect();
    LocalNetwork { dual_stack: true, interfaces: ips.clone(), own: ips, ..LocalNetwork::default() }
}

/// The identity of a node that listens on an address of such a machine, and its errors.
fn started(config: ClusterConfig, local: &str, network: LocalNetwork) -> (String, Vec<ClusterError>) {
    let mut machine = Machine::new();
    let events = machine.subscribe_events();
    machine.start(Instant::START, secret(config)).unwrap();
    machine
        .handle(Instant::START, Input::Listening { entropy: [1; 32], local: local.parse().unwrap(), network: Box::new(network) });
    let errors = std::iter::from_fn(|| machine.poll_event(events)).filter_map(ClusterEvent::into_error).collect();
    (machine.local_node_id().unwrap().to_string(), errors)
}

#[test]
fn a_node_that_does_not_listen_where_others_are_told_says_so() {
    let named = || ClusterConfig::new("a").host("db-1.example");
    let elsewhere = |advertised: &str, listening: &str| {
        ClusterError::Local(LocalFault::AdvertisedElsewhere { advertised: advertised.into(), listening: ip(listening) })
    };
    let named_id = || "a@db-1.example:4369".to_owned();
    let missed = started(named(), "127.0.1.1:4369", network(&["10.0.0.5"]));
    assert_eq!(missed, (named_id(), vec![elsewhere("db-1.example", "127.0.1.1")]));
    assert_eq!(started(named(), "10.0.0.5:4369", network(&["10.0.0.5"])), (named_id(), vec![]));
    let other = ClusterConfig::new("a").host("10.0.0.5").advertise_host("192.0.2.7");
    let (_, errors) = started(other.clone(), "10.0.0.5:4369", network(&["10.0.0.5", "192.0.2.7"]));
    assert_eq!(errors, [elsewhere("192.0.2.7", "10.0.0.5")]);
    // The address may be that of a translation, and a port that is translated says that it is.
    assert_eq!(started(other, "10.0.0.5:4369", network(&["10.0.0.5"])).1, []);
    let proxied = ClusterConfig::new("a").host("127.0.0.1").advertise_host("app.example").advertise_port(443);
    assert_eq!(started(proxied, "127.0.0.1:4369", network(&[])), ("a@app.example:443".to_owned(), vec![]));
}

#[test]
fn an_advertised_port_is_that_of_the_identity() {
    let config = || ClusterConfig::new("a").advertise_host("app.example");
    assert_eq!(started(config(), "0.0.0.0:4369", network(&[])).0, "a@app.example:4369");
    assert_eq!(started(config().advertise_port(31_000), "0.0.0.0:4369", network(&[])).0, "a@app.example:31000");
    // The port is known before it is listened on.
    assert_eq!(started(config().port(0).advertise_port(65_535), "0.0.0.0:40001", network(&[])).0, "a@app.example:65535");
}

#[test]
fn only_who_has_seeds_beyond_loopback_and_no_address_for_them_waits_for_one() {
    let listen_on = |config: ClusterConfig| -> ListenOn { Machine::new().start(Instant::START, config).unwrap() };
    let waits = |config: ClusterConfig, local: &str, ips: &[&str]| listen_on(config).awaits_address(ip(local), &network(ips));
    let node = || ClusterConfig::new("a");
    let lonely = &["127.0.0.1", "::1", "fe80::1", "169.254.0.1"];
    assert!(waits(node().seeds([FAR]), "0.0.0.0", lonely));
    assert!(waits(node().seeds(["s@127.0.0.1:1", "s@10.0.0.9:1"]), "0.0.0.0", lonely));
    assert!(waits(node().host("::").seeds([FAR]), "::", lonely));
    // For the family that is listened on.
    assert!(waits(node().seeds([FAR]), "0.0.0.0", &["2001:db8::7"]));
    assert!(!waits(node().seeds([FAR]), "0.0.0.0", &["10.0.0.5"]));
    assert!(!waits(node().seeds(["s@localhost:1", "s@[::1]:1"]), "0.0.0.0", lonely));
    assert!(!waits(node(), "0.0.0.0", lonely));
    assert!(!waits(node().advertise_host("app.example").seeds([FAR]), "0.0.0.0", lonely));
    assert!(!waits(node().host("127.0.0.1").seeds([FAR]), "127.0.0.1", lonely));
    assert!(!waits(node().host("localhost").seeds([FAR]), "127.0.0.1", lonely));
}

#[test]
fn who_listens_is_told_for_how_long_to_wait_and_what_there_was_to_choose_from() {
    let mut on = Machine::new().start(Instant::START, ClusterConfig::new("a")).unwrap();
    assert_eq!(on.timeout, defaults::START_TIMEOUT);
    let machine = network(&["172.17.0.1", "10.0.0.5"]);
    assert_eq!(on.candidates(ip("0.0.0.0"), &machine), [ip("172.17.0.1"), ip("10.0.0.5")]);
    let config = ClusterConfig::new("a").advertise_host("app.example").start_timeout(Duration::from_micros(100_999));
    on = Machine::new().start(Instant::START, config).unwrap();
    assert_eq!(on.timeout, Duration::from_millis(100));
    assert_eq!(on.candidates(ip("0.0.0.0"), &machine), Vec::<IpAddr>::new());
}

#[test]
fn a_dot_at_the_end_of_the_own_host_is_for_the_lookup_alone() {
    let config = || ClusterConfig::new("a").host("DB-1.example.").port(4369);
    let on = Machine::new().start(Instant::START, config()).unwrap();
    assert_eq!((&*on.host, &*on.to_string()), ("db-1.example.", "db-1.example.:4369"));
    assert_eq!(started(config(), "10.0.0.5:4369", network(&[])).0, "a@db-1.example:4369");
    let on = Machine::new().start(Instant::START, ClusterConfig::new("a").host("[::1]")).unwrap();
    assert_eq!(&*on.host, "::1");
}

/// The node listens for others and tells them an address of theirs.
#[test]
fn an_identity_on_loopback_is_refused_on_another_machine() {
    for (greeter, greeted) in [("a", "z"), ("z", "a")] {
        let mut net = Net::new(2);
        net.start(0, config(greeter, 0));
        net.start(1, config(greeted, 1).advertise_host("127.0.0.1").seeds([id(greeter, 0).to_string()]));
        net.run(100 * SECOND);
        assert_eq!(net.nodes[0].machine.node_ids(), Ok(vec![]));
        let lost: ClusterError = ClusterError::Peer {
            addr: SocketAddr::from((address(1).ip(), 0)),
            claimed: None,
            fault: PeerFault::LoopbackIdentity,
            id: Some(format!("{greeted}@127.0.0.1:4369").parse().unwrap()),
            wanted: None,
        };
        assert_eq!(net.errors(0).len(), 1, "once, however often it comes");
        for error in net.errors(0) {
            let ClusterError::Peer { mut addr, claimed, fault, id, wanted } = error else { panic!("{error}") };
            addr.set_port(0);
            assert_eq!(ClusterError::Peer { addr, claimed, fault, id, wanted }, lost);
        }
        // Of itself it is told what to do, once however often it tries, which is at the longest delay.
        let seed = id(greeter, 0);
        assert_eq!(
            net.errors(1),
            [
                ClusterError::Local(LocalFault::AdvertisedElsewhere {
                    advertised: "127.0.0.1".into(),
                    listening: address(1).ip()
                }),
                ClusterError::Refused { addr: address(0), reason: Refusal::LoopbackIdentity },
                ClusterError::SeedUnreachable { seed: seed.into(), why: Unreached::Refused(Refusal::LoopbackIdentity) },
            ]
        );
        let dials = net.nodes[1].dials.len();
        assert!((4..=7).contains(&dials), "{dials} dials in 100 s, one each 15 to 30 s");
    }
}

/// The seed is the one that may not be met: it is dialled, refused, and dialled again with growing delays.
#[test]
fn a_seed_that_tells_a_loopback_address_is_reported_once() {
    let mut net = Net::new(2);
    net.start(0, config("a", 0).advertise_host("127.0.0.1"));
    net.start(1, config("z", 1).seeds([id("x", 0).to_string()]));
    net.run(100 * SECOND);
    assert_eq!(net.nodes[1].machine.node_ids(), Ok(vec![]));
    let fault = PeerFault::LoopbackIdentity;
    let told = Some("a@127.0.0.1:4369".parse().unwrap());
    assert_eq!(
        net.errors(1),
        [
            ClusterError::Peer { addr: address(0), claimed: None, fault, id: told, wanted: None },
            ClusterError::SeedUnreachable { seed: id("x", 0).into(), why: Unreached::Fault(fault) },
        ]
    );
}
