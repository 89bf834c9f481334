//! Names: lookups that take long or fail, and names with many addresses.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use noex_proto::{ClusterError, DialError, Limits, LocalFault, NodeId, Unreached};

use crate::net::{MS, Net, SECOND, address, config, id};

/// The seed that all these tests know by its name.
fn unreachable(why: DialError) -> ClusterError {
    ClusterError::SeedUnreachable { seed: "b@seed.example:4369".parse().unwrap(), why: Unreached::Dial(why) }
}

/// `a`, whose seed is a name, and `b`, which it leads to.
fn named() -> Net {
    let mut net = Net::new(2);
    net.no_dial(1, 0);
    net.names.insert("seed.example".into(), vec![address(1)]);
    net.start(1, config("b", 1));
    net.start(0, config("a", 0).seeds(["b@seed.example:4369"]));
    net
}

#[test]
fn a_name_whose_lookup_takes_long_is_dialled_as_soon_as_it_has_an_answer() {
    for time in [10_100 * MS, 15 * SECOND, 90 * SECOND] {
        let mut net = Net::new(2);
        net.lookup_time = time;
        net.no_dial(1, 0);
        net.names.insert("seed.example".into(), vec![address(1)]);
        net.start(1, config("b", 1));
        net.start(0, config("a", 0).seeds(["b@seed.example:4369"]));
        net.run(10 * SECOND + 50 * MS);
        assert_eq!(net.errors(0), [unreachable(DialError::LookupTimedOut)]);
        assert!(net.errors(0)[0].to_string().ends_with("name lookup timed out"));
        net.run(time - 10 * SECOND);
        assert!(net.is_up(0, &id("b", 1)), "{time:?}: {:?}", net.story(0));
        assert_eq!(net.nodes[0].lookups.len(), 1);
    }
}

#[test]
fn a_lookup_that_never_ends_piles_nothing_up() {
    let mut net = Net::new(1);
    net.lookup_time = Duration::MAX;
    let named = |port| format!("b@seed.example:{port}");
    net.start(0, config("a", 0).seeds((1..20).map(named).chain((0..600).map(|n| format!("b@never-{n}.example:1")))));
    net.run(600 * SECOND);
    assert_eq!(net.nodes[0].lookups.len(), Limits::default().lookups_in_flight);
    assert_eq!(net.nodes[0].machine.usage().lookups_in_flight, 32);
    // Neither does a restart: the lookups of the last run count.
    net.feed(0, noex_proto::Input::Stop);
    net.start(0, config("a", 0).seeds(["b@seed.example:1", "b@another.example:1"]));
    net.run(600 * SECOND);
    assert_eq!(net.nodes[0].lookups.len(), 32);
    assert_eq!(net.errors(0).iter().filter(|error| error.to_string().contains("lookup timed out")).count() % 51, 0);
}

#[test]
fn all_seeds_of_one_host_wait_for_one_lookup() {
    let mut net = Net::new(2);
    net.lookup_time = 3 * SECOND;
    net.names.insert("seed.example".into(), vec![address(1)]);
    net.start(1, config("b", 1));
    // One with a dot at its end is asked for as it is written, which keeps the resolver from its search domains.
    net.start(0, config("a", 0).seeds(["seed.example:1", "b@seed.example:2", "seed.example", "x@seed.example.:4"]));
    net.run(2 * SECOND);
    assert_eq!(net.nodes[0].lookups.iter().map(|(_, host)| host.as_str()).collect::<Vec<_>>(), ["seed.example", "seed.example."]);
    net.run(2 * SECOND);
    assert_eq!(net.nodes[0].dials.iter().map(|(.., port)| *port).collect::<Vec<_>>(), [1, 2, 4369, 4]);
}

#[test]
fn a_lookup_that_took_long_leaves_a_quarter_to_others() {
    for time in [36 * SECOND, 3 * SECOND] {
        let mut net = Net::new(2);
        let limits = Limits::default().lookups_in_flight(4);
        let slow = || (0..8).map(|n| format!("b@slow-{n}.example:1"));
        net.lookup_time = time;
        net.no_dial(1, 0);
        net.start(1, config("b", 1));
        net.start(0, config("a", 0).limits(limits).reconnect_max_delay(SECOND).seeds(slow()));
        // All have had an answer.
        net.run(5 * time);
        net.lookup_time = MS;
        net.names.insert("good.example".into(), vec![address(1)]);
        let now = net.now;
        let seeds: Vec<String> = slow().chain(["good.example".into()]).collect();
        net.nodes[0].machine.set_seeds(now, &seeds).unwrap();
        net.perform(0);
        net.run(100 * MS);
        assert!(net.is_up(0, &id("b", 1)), "{:?}", net.nodes[0].lookups);
    }
}

#[test]
fn an_answer_that_comes_after_the_stop_ends_its_lookup() {
    let mut net = Net::new(1);
    net.lookup_time = 5 * SECOND;
    net.start(0, config("a", 0).seeds(["seed.example"]));
    net.run(SECOND);
    net.feed(0, noex_proto::Input::Stop);
    assert_eq!(net.nodes[0].machine.usage().lookups_in_flight, 1);
    net.run(5 * SECOND);
    assert_eq!(net.nodes[0].machine.usage().lookups_in_flight, 0);
    net.start(0, config("a", 0).seeds(["seed.example"]));
    assert_eq!(net.nodes[0].lookups.len(), 2);
}

#[test]
fn a_dial_of_many_addresses_is_over_after_ten_seconds() {
    let mut net = Net::new(5);
    for host in 1..5 {
        net.no_dial(0, host);
    }
    net.names.insert("seed.example".into(), (1..5).map(address).collect());
    net.start(0, config("a", 0).seeds(["b@seed.example:4369"]));
    net.run(9_900 * MS);
    assert_eq!((net.nodes[0].dials.len(), net.errors(0)), (4, vec![]));
    net.run(200 * MS);
    assert_eq!(net.errors(0), [unreachable(DialError::TimedOut)]);
}

#[test]
fn of_many_addresses_each_is_tried_in_its_turn() {
    for (count, dials) in [(17, 2), (40, 3), (100, 7)] {
        // Given: a name with this many addresses in a fixed order, of which only the last one lives.
        let mut net = Net::new(2);
        net.no_dial(1, 0);
        let dead = (1..count).map(|last| SocketAddr::new(IpAddr::from([10, 9, 9, last]), 4369));
        net.names.insert("seed.example".into(), dead.chain([address(1)]).collect());
        net.start(1, config("b", 1));
        net.start(0, config("a", 0).seeds(["b@seed.example:4369"]));
        // Delays of 1, 2, 4, 8, 16 and 30 s at most.
        net.run(65 * SECOND);
        assert!(net.is_up(0, &id("b", 1)), "{count}: {:?}", net.story(0));
        assert_eq!((net.nodes[0].lookups.len(), net.nodes[0].dials.len()), (dials, usize::from(count)));
    }
}

#[test]
fn addresses_that_swallow_packets_leave_time_for_the_others() {
    for dead in [1, 4, 15] {
        let mut net = Net::new(2 + dead);
        net.no_dial(1, 0);
        for host in 2..2 + dead {
            net.no_dial(0, host);
        }
        net.names.insert("seed.example".into(), (2..2 + dead).chain([1]).map(address).collect());
        net.start(1, config("b", 1));
        net.start(0, config("a", 0).seeds(["b@seed.example:4369"]));
        net.run(10 * SECOND + 50 * MS);
        assert!(net.is_up(0, &id("b", 1)), "{dead}: {:?}", net.story(0));
    }
}

#[test]
fn a_dial_that_meets_another_node_goes_on_to_the_names_next_address_at_once() {
    // Given: one name that leads to all nodes, and that all of them advertise.
    let hosts = [0, 1, 2, 3];
    let mut net = Net::new(4);
    net.names.insert("cluster.example".into(), hosts.map(address).to_vec());
    for host in hosts {
        let config = config(["a", "b", "c", "d"][host], host).advertise_host("cluster.example").seeds(["cluster.example"]);
        net.start(host, config);
    }
    net.run(SECOND);
    assert!(net.is_mesh(&hosts), "{:#?}", net.all_events());
    for host in hosts {
        assert_eq!(net.errors(host), [], "who is met on the way to another is no error");
    }
    // One that is dead is told of once, as what was found instead.
    net.crash(3);
    net.run(60 * SECOND);
    assert!(net.story(1).contains(&"down d connection_closed".into()));
    assert!(net.errors(1).len() <= 1, "{:#?}", net.story(1));
}

#[test]
fn a_fault_of_this_machine_says_nothing_of_the_seed_and_the_real_reason_is_told_after_it() {
    let mut net = Net::new(2);
    net.names.insert("seed.example".into(), vec![address(1)]);
    net.resolver_fails = Some("try again".into());
    net.start(0, config("a", 0).seeds(["b@seed.example:4369"]));
    net.run(50 * SECOND);
    let lookup = || ClusterError::Local(LocalFault::Lookup { cause: "try again".into(), host: "seed.example".into() });
    assert_eq!(net.errors(0), [lookup()]);
    assert!(net.nodes[0].lookups.len() > 4, "it is tried again");
    net.resolver_fails = None;
    net.nodes[0].cannot_connect = Some("no descriptors".into());
    net.run(40 * SECOND);
    let dial = || ClusterError::Local(LocalFault::Dial { cause: "no descriptors".into() });
    assert_eq!(net.errors(0), [lookup(), dial()]);
    net.nodes[0].cannot_connect = None;
    net.run(40 * SECOND);
    assert_eq!(net.errors(0), [lookup(), dial(), unreachable(DialError::Refused)]);
    net.no_dial(1, 0);
    net.start(1, config("b", 1));
    net.run(40 * SECOND);
    assert!(net.is_up(0, &id("b", 1)));
}

#[test]
fn a_seed_that_fails_for_another_reason_is_told_again() {
    let mut net = named();
    net.run(SECOND);
    assert!(net.is_up(0, &id("b", 1)));
    // The loss itself was told by the down, so its first failure is not.
    net.crash(1);
    net.run(60 * SECOND);
    let mismatch = ClusterError::SeedMismatch { found: id("b", 1), seed: "b@seed.example:4369".parse().unwrap() };
    assert_eq!(net.errors(0), std::slice::from_ref(&mismatch));
    net.names.clear();
    net.run(60 * SECOND);
    assert_eq!(net.errors(0), [mismatch, unreachable(DialError::Unresolved)]);
}

#[test]
fn a_slow_lookup_of_a_seed_that_does_not_answer_is_told_once() {
    let mut net = Net::new(2);
    net.lookup_time = 12 * SECOND;
    net.names.insert("seed.example".into(), vec![address(1)]);
    net.start(0, config("a", 0).seeds(["b@seed.example:4369"]));
    net.run(600 * SECOND);
    assert_eq!(net.errors(0), [unreachable(DialError::LookupTimedOut), unreachable(DialError::Refused)]);
    // What was told last is no news when lookups are quick again.
    net.lookup_time = MS;
    net.run(100 * SECOND);
    assert_eq!(net.errors(0).len(), 2);
    net.lookup_time = 12 * SECOND;
    net.run(100 * SECOND);
    assert_eq!(net.errors(0)[2..], [unreachable(DialError::LookupTimedOut), unreachable(DialError::Refused)]);
}

#[test]
fn a_slow_lookup_is_told_once_though_the_resolver_fails_quickly_in_between() {
    let mut net = Net::new(2);
    net.lookup_time = 12 * SECOND;
    net.resolver_fails = Some("try again".into());
    net.names.insert("seed.example".into(), vec![address(1)]);
    net.start(0, config("a", 0).seeds(["b@seed.example:4369"]));
    for time in [MS, 12 * SECOND] {
        net.run(40 * SECOND);
        net.lookup_time = time;
    }
    net.run(100 * SECOND);
    let told = net.errors(0).into_iter().filter(|error| *error == unreachable(DialError::LookupTimedOut));
    assert_eq!(told.count(), 1);
}

#[test]
fn an_address_that_has_another_owner_is_dialled_at_the_longest_delay_until_the_node_is_gossiped_again() {
    // Given: a, b and the old owner of an address; a new one takes its place.
    let mut net = Net::new(4);
    net.start(0, config("a", 0));
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    net.start(2, config("old", 2).seeds([id("a", 0).to_string()]));
    net.run(SECOND);
    assert!(net.is_mesh(&[0, 1, 2]));
    net.crash(2);
    net.start(2, config("new", 2).seeds([id("a", 0).to_string()]));
    net.run(5 * SECOND);
    assert!(net.is_up(0, &id("new", 2)));
    net.run(600 * SECOND);
    let since = net.now.since_start() - 600 * SECOND;
    let dials = |net: &Net| net.nodes[0].dials.iter().filter(|(at, host, _)| *at > since && *host == "10.0.0.3").count();
    // 600 s at 15 to 30 s each.
    assert!((19..=41).contains(&dials(&net)), "{}", dials(&net));
    let refusals = net.errors(0).iter().filter(|error| matches!(error, ClusterError::Refused { .. })).count();
    assert_eq!(refusals, 1, "it is told once: {:?}", net.errors(0));
    // The old one comes back at its address, and finds b: a hears of it by gossip, and dials it at once.
    net.crash(2);
    net.no_dial(2, 0);
    net.start(2, config("old", 2).seeds([id("b", 1).to_string()]));
    net.run(6 * SECOND);
    assert!(net.is_up(0, &id("old", 2)), "{:#?}", net.story(0));
}

#[test]
fn an_id_with_an_underscore_and_a_digit_first_is_dialled_by_gossip_too() {
    let mut net = Net::new(3);
    net.names.insert("stack_service".into(), vec![address(2)]);
    net.start(0, config("a", 0));
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    net.start(2, config("4c0ffee", 2).advertise_host("stack_service").seeds([id("a", 0).to_string()]));
    net.run(SECOND);
    let named: NodeId = "4c0ffee@stack_service:4369".parse().unwrap();
    assert!(net.is_up(1, &named));
}
