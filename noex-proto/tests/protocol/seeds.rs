//! Contact addresses: their forms, and how they change while a node runs.

use noex_proto::{ClusterError, ClusterNotStartedError, Contact, DialError, Input, NodeStatus, SetSeedsError, Unreached};

use crate::net::{MS, Net, SECOND, address, config, id};

fn set_seeds(net: &mut Net, host: usize, seeds: &[&str]) -> Result<(), SetSeedsError> {
    let seeds: Vec<String> = seeds.iter().map(ToString::to_string).collect();
    let now = net.now;
    let outcome = net.nodes[host].machine.set_seeds(now, &seeds);
    net.perform(host);
    outcome
}

#[test]
fn a_contact_without_a_name_leads_to_whoever_is_there() {
    let mut net = Net::new(3);
    net.names.insert("seed.example".into(), vec![address(1)]);
    net.start(0, config("a", 0));
    net.start(1, config("b", 1).seeds(["10.0.0.1:4369"]));
    net.start(2, config("c", 2).seeds(["seed.example"]));
    net.run(SECOND);
    assert!(net.is_mesh(&[0, 1, 2]));
    // Another node takes the address: no mismatch, since nobody was expected.
    net.crash(0);
    net.start(0, config("z", 0));
    net.run(20 * SECOND);
    assert!(net.is_up(1, &id("z", 0)));
    let mismatch = |error: &ClusterError| matches!(error, ClusterError::SeedMismatch { .. });
    assert_eq!(net.errors(1).into_iter().filter(mismatch).collect::<Vec<_>>(), []);
}

#[test]
fn an_unnamed_contact_that_does_not_answer_is_told_of_by_its_address() {
    let mut net = Net::new(2);
    net.start(0, config("a", 0).seeds(["10.0.0.2:4369"]));
    net.run(5 * SECOND);
    let seed: Contact = "10.0.0.2:4369".parse().unwrap();
    let error = ClusterError::SeedUnreachable { seed, why: Unreached::Dial(DialError::Refused) };
    assert_eq!(error.to_string(), "seed 10.0.0.2:4369 is unreachable: connection refused");
    assert_eq!(net.errors(0), [error]);
    assert_eq!(net.nodes[0].machine.node_ids(), Ok(vec![]), "it is no node before it has proved its identity");
}

#[test]
fn a_seed_that_is_added_is_dialled_at_once_and_one_that_stays_is_left_alone() {
    let mut net = Net::new(4);
    for (host, name) in [(1, "b"), (2, "c"), (3, "d")] {
        net.start(host, config(name, host));
    }
    net.start(0, config("a", 0).seeds(["10.0.0.2"]));
    net.run(SECOND);
    assert!(net.is_up(0, &id("b", 1)));
    let dials = net.nodes[0].dials.len();
    assert_eq!(set_seeds(&mut net, 0, &["10.0.0.2:4369", "c@10.0.0.3:4369"]), Ok(()));
    net.run(20 * MS);
    assert!(net.is_up(0, &id("b", 1)) && net.is_up(0, &id("c", 2)));
    assert_eq!(net.nodes[0].dials.len(), dials + 1);
    assert_eq!(net.total_downs(), 0);
}

#[test]
fn a_node_whose_seed_is_removed_stays_and_is_dialled_at_its_own_address_when_it_is_lost() {
    for lost_first in [false, true] {
        let mut net = Net::new(2);
        net.no_dial(1, 0);
        net.start(1, config("b", 1));
        net.start(0, config("a", 0).seeds(["10.0.0.2"]));
        net.run(SECOND);
        if lost_first {
            net.crash(1);
            net.run(2 * SECOND);
        }
        assert_eq!(set_seeds(&mut net, 0, &[]), Ok(()));
        net.run(SECOND);
        assert_eq!(net.is_up(0, &id("b", 1)), !lost_first);
        if !lost_first {
            net.crash(1);
            net.run(2 * SECOND);
        }
        net.start(1, config("b", 1));
        net.run(30 * SECOND);
        assert!(net.is_up(0, &id("b", 1)), "{lost_first}: {:#?}", net.story(0));
    }
}

#[test]
fn a_seed_that_was_never_reached_is_forgotten_when_it_is_removed() {
    let mut net = Net::new(3);
    net.no_dial(0, 1);
    net.names.insert("slow.example".into(), vec![address(2)]);
    net.start(0, config("a", 0).seeds(["b@10.0.0.2:4369", "nowhere.example"]));
    net.run(SECOND);
    assert_eq!(net.nodes[0].machine.usage().dials_in_flight, 1);
    net.lookup_time = 5 * SECOND;
    assert_eq!(set_seeds(&mut net, 0, &["slow.example"]), Ok(()));
    assert_eq!(net.nodes[0].machine.usage().dials_in_flight, 0);
    // The lookup's answer is for nobody then.
    assert_eq!(set_seeds(&mut net, 0, &[]), Ok(()));
    let dials = net.nodes[0].dials.len();
    net.run(120 * SECOND);
    assert_eq!(net.nodes[0].dials.len(), dials);
    assert_eq!((net.nodes[0].machine.node_ids(), net.nodes[0].machine.usage().lookups_in_flight), (Ok(vec![]), 0));
}

#[test]
fn a_seed_at_the_address_of_a_node_takes_the_place_of_its_dial() {
    let mut net = Net::new(2);
    net.no_dial(1, 0);
    net.start(1, config("b", 1));
    net.start(0, config("a", 0).seeds(["10.0.0.2"]));
    net.run(SECOND);
    assert_eq!(set_seeds(&mut net, 0, &[]), Ok(()));
    net.crash(1);
    net.run(2 * SECOND);
    // Given: a dial of the lost node's own address. Packets to it vanish from here on, so that a dial takes ten seconds.
    net.no_dial(0, 1);
    assert_eq!(set_seeds(&mut net, 0, &[id("b", 1).as_str()]), Ok(()));
    net.run(40 * SECOND);
    assert_eq!(net.nodes[0].machine.usage().dials_in_flight, 1);
    let mut dials: Vec<_> = net.nodes[0].dials.iter().map(|(at, ..)| *at).collect();
    dials.retain(|at| *at > 3 * SECOND);
    assert!(dials.windows(2).all(|pair| pair[1] - pair[0] >= 10 * SECOND), "{dials:?}");
}

#[test]
fn a_node_that_others_told_of_is_dialled_though_a_seed_at_its_address_is_removed() {
    let mut net = Net::new(3);
    net.no_dial(2, 0);
    net.no_dial(0, 2);
    net.start(0, config("a", 0).seeds([id("c", 2).to_string()]));
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    net.start(2, config("c", 2).seeds([id("b", 1).to_string()]));
    net.run(5 * SECOND);
    assert!(!net.is_up(0, &id("c", 2)));
    assert_eq!(set_seeds(&mut net, 0, &[]), Ok(()));
    net.heal();
    net.no_dial(2, 0);
    net.run(60 * SECOND);
    assert!(net.is_up(0, &id("c", 2)), "{:?}", net.nodes[0].machine.node(&id("c", 2)).map(|node| node.map(|node| node.status)));
    assert_ne!(net.nodes[0].machine.node(&id("c", 2)).unwrap().unwrap().status, NodeStatus::Connecting);
}

#[test]
fn a_lost_node_whose_seed_is_removed_is_dialled_though_a_name_led_to_it_once() {
    // Given: a node behind two seeds, its own address and a name that takes a minute to look up from here on.
    let mut net = Net::new(2);
    net.names.insert("cluster.example".into(), vec![address(1)]);
    net.no_dial(1, 0);
    net.start(1, config("b", 1));
    net.start(0, config("a", 0).seeds(["cluster.example", "b@10.0.0.2:4369"]));
    net.run(SECOND);
    assert!(net.is_up(0, &id("b", 1)));
    net.lookup_time = 60 * SECOND;
    // When: it is lost, and its seed is removed before it is dialled again.
    net.crash(1);
    net.start(1, config("b", 1));
    net.run(10 * MS);
    assert_eq!(set_seeds(&mut net, 0, &["cluster.example"]), Ok(()));
    // Then: its own address is dialled without the name.
    net.run(3 * SECOND);
    assert!(net.is_up(0, &id("b", 1)), "{:?}", net.nodes[0].dials);
}

#[test]
fn a_node_that_is_lost_behind_a_seed_is_dialled_though_the_seed_leads_to_another_by_then() {
    // Given: one name that leads to all nodes, which all of them have, and two that lose each other while both keep the third.
    let hosts = [0, 1, 2];
    let mut net = Net::new(3);
    net.names.insert("cluster.example".into(), hosts.map(address).to_vec());
    for host in hosts {
        let config = config(["a", "b", "c"][host], host).advertise_host("cluster.example").seeds(["cluster.example"]);
        net.start(host, config);
    }
    net.run(5 * SECOND);
    assert!(net.is_mesh(&hosts));
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        net.cut_both(one, other);
        net.run(120 * SECOND);
        assert!(!net.is_mesh(&hosts));
        net.heal();
        net.run(90 * SECOND);
        assert!(net.is_mesh(&hosts), "{one} and {other}: {:#?}", (net.story(one), net.story(other)));
    }
}

#[test]
fn a_node_that_left_is_not_dialled_when_its_seed_is_removed() {
    let mut net = Net::new(2);
    net.start(1, config("b", 1));
    net.start(0, config("a", 0).seeds([id("b", 1).as_str()]));
    net.run(SECOND);
    net.feed(1, Input::Stop);
    net.run(SECOND);
    let dials = net.nodes[0].dials.len();
    assert_eq!(set_seeds(&mut net, 0, &[]), Ok(()));
    net.run(120 * SECOND);
    assert_eq!(net.nodes[0].dials.len(), dials, "{:#?}", net.story(0));
}

#[test]
fn seeds_that_are_none_are_refused_and_change_nothing() {
    let mut net = Net::new(1);
    assert_eq!(set_seeds(&mut net, 0, &["b"]), Err(SetSeedsError::NotStarted(ClusterNotStartedError::default())));
    net.start(0, config("a", 0).limits(noex_proto::Limits::default().members(1)));
    let error = set_seeds(&mut net, 0, &["b@h"]).unwrap_err();
    let text = "seeds not changed: seeds hold an invalid address \"b@h\": the `:port` at the end is missing; \
                name@host:port, host:port and host are valid";
    assert_eq!(error.to_string(), text);
    assert!(matches!(set_seeds(&mut net, 0, &["b", "c"]), Err(SetSeedsError::Invalid(_))));
    net.run(SECOND);
    assert_eq!(net.nodes[0].lookups, []);
}

#[test]
fn nodes_behind_one_name_that_each_met_another_first_are_one_cluster() {
    // Given: a resolver that gives the addresses in another order each time, and pairs that find each other.
    let mut net = Net::new(4);
    for (host, name, addresses) in
        [(0, "a", [0, 1, 2, 3]), (1, "b", [0, 1, 2, 3]), (2, "c", [2, 3, 0, 1]), (3, "d", [2, 3, 0, 1])]
    {
        net.names.insert("cluster.example".into(), addresses.map(address).to_vec());
        net.start(host, config(name, host).seeds(["cluster.example"]));
    }
    net.run(10 * SECOND);
    assert!(net.is_mesh(&[0, 1, 2, 3]), "{:#?}", [0, 1, 2, 3].map(|host| net.story(host)));
    assert_eq!((net.total_ups(), net.total_downs()), (12, 0));
    // Whoever has met all of them dials nobody.
    let dials = |net: &Net| net.nodes.iter().map(|node| node.dials.len()).sum::<usize>();
    let before = dials(&net);
    net.run(600 * SECOND);
    assert_eq!(dials(&net), before);
}
