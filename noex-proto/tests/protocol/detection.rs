//! Failure detection: silence, the node's own pauses, closed connections, the port of a silent peer, heartbeats.

use std::time::Duration;

use super::condition::{network, watching};
use crate::net::faults::Thaw;
use crate::net::{MS, Net, SECOND, config, id};
use bytes::Bytes;
use noex_proto::{ClusterEvent, Input, NodeDownReason, NodeStatus, WallTime};

use NodeDownReason::{ConnectionClosed, ConnectionRefused, HeartbeatTimeout};

/// `a` on host 0, and `b` on host 1, which dialled it and watches it.
fn pair() -> Net {
    pair_watched_by(1, 3)
}

/// The same where the host with this number watches the other.
fn pair_watched_by(watching_host: usize, threshold: u32) -> Net {
    let mut net = network(2);
    let interval = |host| if host == watching_host { watching(SECOND) } else { SECOND };
    let of = |name, host| config(name, host).heartbeat_interval(interval(host)).heartbeat_miss_threshold(threshold);
    net.start(0, of("a", 0));
    net.start(1, of("b", 1).seeds([id("a", 0).to_string()]));
    net.run(5 * SECOND);
    assert_eq!((net.total_ups(), net.total_downs()), (2, 0));
    net
}

fn mesh(n: usize) -> Net {
    let mut net = network(n);
    for host in 0..n {
        net.start(host, config("n", host).seeds([id("n", 0).to_string()]).reconnect_max_delay(4 * SECOND));
    }
    net.run(5 * SECOND);
    assert_eq!((net.total_ups(), net.total_downs()), (n * (n - 1), 0));
    net
}

/// When this host last heard of a peer, where it has only one.
fn last_heard(net: &Net, host: usize) -> Duration {
    net.nodes[host].received.last().unwrap().0
}

/// When and why nodes went down for this host.
fn downs_at(net: &Net, host: usize) -> Vec<(Duration, NodeDownReason)> {
    let downs = net.nodes[host].events.iter().filter_map(|(at, event)| match event {
        ClusterEvent::NodeDown { reason, .. } => Some((*at, *reason)),
        _ => None,
    });
    downs.collect()
}

fn send(net: &mut Net, from: usize, to: noex_proto::NodeId) {
    net.feed(from, Input::Send { payload: Bytes::from_static(b"x"), to });
}

/// `a` sends no heartbeats any more, and its port refuses. When `b` heard of it last.
fn fall_silent(net: &mut Net) -> Duration {
    net.close_port(0);
    net.nodes[0].tickless = true;
    net.run(2 * MS);
    net.clear_events();
    last_heard(net, 1)
}

// Silence

#[test]
fn silence_is_the_senders_interval_times_the_receivers_threshold_and_half_an_interval() {
    let (fast, slow) = (100 * MS, 10 * SECOND);
    let sides = [((SECOND, 3), (SECOND, 3)), ((fast, 1), (slow, 1)), ((fast, 7), (slow, 2)), ((slow, 1), (fast, 3))];
    for ((interval_a, threshold_a), (interval_b, threshold_b)) in sides {
        let mut net = network(2);
        net.start(0, config("a", 0).heartbeat_interval(interval_a).heartbeat_miss_threshold(threshold_a));
        let b = config("b", 1).heartbeat_interval(interval_b).heartbeat_miss_threshold(threshold_b);
        net.start(1, b.seeds([id("a", 0).to_string()]));
        net.run(45 * SECOND);
        assert_eq!((net.total_ups(), net.total_downs()), (2, 0), "{interval_a:?} {interval_b:?}");
        net.cut_both(0, 1);
        net.run(10 * MS);
        let heard = [last_heard(&net, 0), last_heard(&net, 1)];
        net.run(90 * SECOND);
        let limits = [interval_b * threshold_a + interval_b / 2, interval_a * threshold_b + interval_a / 2];
        for host in 0..2 {
            // Silence has to be longer than the limit: the first moment of the clock after it.
            assert_eq!(downs_at(&net, host), [(heard[host] + limits[host] + MS, HeartbeatTimeout)], "host {host}");
        }
    }
}

#[test]
fn any_verified_record_is_life() {
    let mut net = pair();
    // Given: a's heartbeats have ceased, and it sends a payload from time to time.
    net.nodes[0].tickless = true;
    net.run(10 * MS);
    let heartbeat = net.nodes[1].machine.node(&id("a", 0)).unwrap().unwrap().last_heartbeat_at;
    for _ in 0..20 {
        send(&mut net, 0, id("b", 1));
        net.run(3400 * MS);
    }
    assert_eq!(net.nodes[1].messages.len(), 20);
    assert_eq!(net.nodes[1].machine.node(&id("a", 0)).unwrap().unwrap().last_heartbeat_at, heartbeat);
    assert_eq!(downs_at(&net, 1), []);
    // When that ceases too, the last payload counts.
    let heard = last_heard(&net, 1);
    net.run(200 * MS);
    assert_eq!(downs_at(&net, 1), [(heard + 3501 * MS, HeartbeatTimeout)]);
}

#[test]
fn a_reset_is_a_down_at_once() {
    let mut net = pair();
    let now = net.now.since_start();
    net.reset(0, 1);
    assert_eq!(downs_at(&net, 0), [(now, ConnectionClosed)]);
    assert_eq!(downs_at(&net, 1), [(now, ConnectionClosed)]);
}

// The node's own pauses

#[test]
fn a_node_that_was_frozen_accuses_nobody_and_all_come_up_again() {
    for order in [Thaw::TickFirst, Thaw::InputFirst, Thaw::InputLate] {
        let mut net = mesh(4);
        net.clear_events();
        net.freeze(1);
        net.run(35 * SECOND);
        for peer in [0, 2, 3] {
            assert_eq!(net.downs(peer), [(id("n", 1), HeartbeatTimeout)], "{order:?}");
        }
        net.thaw_in(1, order);
        net.run(20 * SECOND);
        let mut downs = net.downs(1);
        downs.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(downs, [0, 2, 3].map(|peer| (id("n", peer), ConnectionClosed)), "{order:?}");
        assert!(net.is_mesh(&[0, 1, 2, 3]), "{order:?}");
        assert_eq!((net.total_ups(), net.total_downs()), (6, 6), "{order:?}");
    }
}

#[test]
fn a_pause_shorter_than_the_detection_time_is_noticed_by_nobody() {
    for order in [Thaw::TickFirst, Thaw::InputFirst, Thaw::InputLate] {
        for pause in [400, 501, 700, 1500, 2300] {
            let mut net = mesh(3);
            for _ in 0..5 {
                net.freeze(1);
                net.run(pause * MS);
                net.thaw_in(1, order);
                net.run(2 * SECOND);
            }
            assert_eq!(net.total_downs(), 0, "{order:?}, {pause} ms: {:#?}", net.all_events());
        }
    }
}

#[test]
fn a_throttled_node_accuses_nobody_who_lives_and_finds_the_dead() {
    for order in [Thaw::TickFirst, Thaw::InputFirst] {
        let mut net = mesh(4);
        let throttled = |net: &mut Net| {
            net.freeze(1);
            net.run(690 * MS);
            net.thaw_in(1, order);
            net.run(10 * MS);
        };
        for _ in 0..100 {
            throttled(&mut net);
        }
        assert_eq!(net.total_downs(), 0, "{order:?}");
        // Of every 700 ms, 510 count as running time: 10 and half an interval.
        for peer in 0..3 {
            net.cut_both(3, peer);
        }
        let rounds = (3 * SECOND + 2 * SECOND).as_millis().div_ceil(510);
        for _ in 0..rounds {
            throttled(&mut net);
        }
        for peer in 0..3 {
            assert_eq!(net.downs(peer), [(id("n", 3), HeartbeatTimeout)], "{order:?}, {peer}");
        }
    }
}

#[test]
fn nodes_that_were_all_frozen_accuse_nobody() {
    let mut net = mesh(4);
    // Given: nothing waits when they go on, and what they then send takes longer than a look at the clock.
    net.latency = 300 * MS;
    net.run(5 * SECOND);
    for host in 0..4 {
        net.freeze(host);
    }
    net.run(35 * SECOND);
    for host in 0..4 {
        net.thaw(host);
    }
    net.run(20 * SECOND);
    assert_eq!(net.total_downs(), 0);
}

#[test]
fn what_waits_is_read_before_anyone_is_judged() {
    for phase in 0..40 {
        let mut net = network(2);
        // Given: the tightest limit, and a pause that begins at any point of the silence between two heartbeats.
        net.start(0, config("a", 0).heartbeat_miss_threshold(1));
        net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
        net.run(5 * SECOND + phase * 25 * MS);
        net.feed(0, Input::Tick);
        net.freeze(0);
        net.run(2 * SECOND);
        net.thaw_in(0, Thaw::InputLate);
        net.run(5 * SECOND);
        assert_eq!(net.total_downs(), 0, "{phase}");
    }
}

#[test]
fn a_throttled_node_joins() {
    let mut net = network(2);
    net.start(0, config("a", 0));
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    for _ in 0..20 {
        net.freeze(1);
        net.run(690 * MS);
        net.thaw(1);
        net.run(10 * MS);
    }
    assert_eq!((net.total_ups(), net.total_downs()), (2, 0));
}

// The port of a silent peer

#[test]
fn a_dialled_peer_whose_port_refuses_twice_is_gone() {
    let mut net = pair();
    net.lose_power(0);
    net.run(2 * MS);
    let heard = last_heard(&net, 1);
    net.clear_events();
    net.run(2 * SECOND);
    // Two bare connects, each refused after a round trip, half an interval after the first's refusal.
    let dials: Vec<_> = net.nodes[1].dials.iter().map(|(at, ..)| *at - heard).take(2).collect();
    assert_eq!(dials, [SECOND, 1502 * MS]);
    assert_eq!(downs_at(&net, 1), [(heard + 1504 * MS, ConnectionRefused)]);
}

#[test]
fn a_peer_that_was_not_dialled_is_not_asked_for_its_port() {
    let mut net = pair_watched_by(0, 3);
    net.lose_power(1);
    net.run(2 * MS);
    let heard = last_heard(&net, 0);
    net.clear_events();
    net.run(heard + 3501 * MS - net.now.since_start());
    assert_eq!(net.nodes[0].dials, []);
    assert_eq!(downs_at(&net, 0), [(heard + 3501 * MS, HeartbeatTimeout)]);
}

#[test]
fn a_silent_peer_whose_port_accepts_is_given_its_time() {
    let mut net = pair();
    net.freeze(0);
    net.run(2 * MS);
    let heard = last_heard(&net, 1);
    net.clear_events();
    net.run(heard + 3501 * MS - net.now.since_start());
    let dials: Vec<_> = net.nodes[1].dials.iter().map(|(at, ..)| *at - heard).collect();
    assert_eq!(dials, [SECOND, 2002 * MS, 3004 * MS]);
    assert_eq!(downs_at(&net, 1), [(heard + 3501 * MS, HeartbeatTimeout)]);
}

#[test]
fn a_peer_that_speaks_between_two_refusals_is_not_gone() {
    let mut net = pair();
    // Given: a sends no heartbeats, its port refuses, and it says a word after each first refusal.
    net.close_port(0);
    net.nodes[0].tickless = true;
    net.run(2 * MS);
    net.clear_events();
    for _ in 0..10 {
        send(&mut net, 0, id("b", 1));
        net.run(1300 * MS);
    }
    assert_eq!(downs_at(&net, 1), []);
    assert_eq!(net.nodes[1].dials.len(), 10, "one refusal in each silence");
    let heard = last_heard(&net, 1);
    net.run(SECOND);
    assert_eq!(downs_at(&net, 1), [(heard + 1504 * MS, ConnectionRefused)]);
}

#[test]
fn a_word_that_comes_before_the_second_refusal_outweighs_it() {
    let mut net = pair();
    net.set_latency(1, 0, 200 * MS);
    let heard = fall_silent(&mut net);
    // Refused after 1.2 s; half an interval later the port is asked again, and meanwhile a speaks.
    net.run(heard + 1800 * MS - net.now.since_start());
    assert_eq!(net.nodes[1].dials.len(), 2);
    send(&mut net, 0, id("b", 1));
    net.run(SECOND);
    assert_eq!(downs_at(&net, 1), []);
}

#[test]
fn two_failures_of_which_one_is_no_refusal_are_no_proof() {
    let mut net = pair_watched_by(1, 30);
    let heard = fall_silent(&mut net);
    // Given: the port refuses once, and then nobody answers for ten seconds.
    net.run(heard + 1200 * MS - net.now.since_start());
    assert_eq!(net.nodes[1].dials.len(), 1);
    net.cut_both(0, 1);
    net.run(11 * SECOND);
    assert_eq!(net.nodes[1].dials.len(), 2);
    assert_eq!(downs_at(&net, 1), []);
}

#[test]
fn an_answer_of_the_port_between_two_refusals_begins_anew() {
    let mut net = pair();
    let heard = fall_silent(&mut net);
    net.run(heard + 1300 * MS - net.now.since_start());
    net.open_port(0);
    net.run(300 * MS);
    net.close_port(0);
    net.run(10 * SECOND);
    // Refused at 1.0 s, accepted at 1.5 s; an interval later refused again, and half an interval after that.
    let dials: Vec<_> = net.nodes[1].dials.iter().map(|(at, ..)| *at - heard).take(4).collect();
    assert_eq!(dials, [SECOND, 1502 * MS, 2504 * MS, 3006 * MS]);
    assert_eq!(downs_at(&net, 1), [(heard + 3008 * MS, ConnectionRefused)]);
}

#[test]
fn a_dial_that_fails_otherwise_is_no_refusal() {
    let mut net = pair_watched_by(1, 30);
    net.clear_events();
    net.no_dial(1, 0);
    net.lose_power(0);
    net.run(2 * MS);
    let heard = last_heard(&net, 1);
    net.run(heard + 11_500 * MS - net.now.since_start());
    net.heal();
    net.run(10 * SECOND);
    // Nobody answered for 10 s; an interval later the port refuses, and half an interval after that again.
    let dials: Vec<_> = net.nodes[1].dials.iter().map(|(at, ..)| *at - heard).take(3).collect();
    assert_eq!(dials, [SECOND, 12 * SECOND, 12_502 * MS]);
    assert_eq!(downs_at(&net, 1), [(heard + 12_504 * MS, ConnectionRefused)]);
}

#[test]
fn a_bare_connect_sends_nothing_and_troubles_nobody() {
    let mut net = pair();
    net.clear_events();
    let before = net.nodes[0].machine.counters();
    net.nodes[0].tickless = true;
    let known = net.nodes[0].machine.next_conn();
    for _ in 0..10 {
        send(&mut net, 0, id("b", 1));
        net.run(3300 * MS);
    }
    net.nodes[0].tickless = false;
    net.feed(0, Input::Tick);
    net.run(20 * SECOND);
    let after = net.nodes[0].machine.counters();
    assert_eq!(after.accepted - before.accepted, 30, "three in each silence");
    assert_eq!((after.handshakes, after.faults), (before.handshakes, before.faults));
    assert!(net.nodes[0].received.iter().all(|(_, conn, _)| *conn < known), "nothing came on them");
    assert_eq!(net.all_events(), []);
}

#[test]
fn of_many_silent_peers_four_are_asked_at_a_time_and_the_others_later() {
    let mut net = network(10);
    for host in 1..10 {
        net.start(host, config("a", host).heartbeat_miss_threshold(30));
        net.no_dial(host, 0);
    }
    net.start(0, config("b", 0).seeds((1..10).map(|host| id("a", host).to_string())).heartbeat_miss_threshold(30));
    net.run(5 * SECOND);
    assert_eq!(net.nodes[0].machine.connected_node_count(), Ok(9));
    // When all ways from and to it are cut, its connects are answered by nobody, and end after ten seconds.
    for host in 1..10 {
        net.cut_both(0, host);
    }
    net.clear_events();
    net.run(3 * SECOND);
    assert_eq!(net.nodes[0].dials.len(), 4);
    // When connects are answered again, but all are silent, each is asked.
    net.heal();
    for host in 1..10 {
        net.nodes[host].tickless = true;
    }
    net.run(13 * SECOND);
    let asked: std::collections::BTreeSet<&str> = net.nodes[0].dials.iter().map(|(_, host, _)| host.as_str()).collect();
    assert_eq!(asked.len(), 9);
    assert_eq!(net.downs(0), []);
}

#[test]
fn a_silent_peer_for_which_there_is_no_room_is_asked_within_half_an_interval_of_there_being_some() {
    // Of which the time that a connect may take is no multiple.
    let interval = 1500 * MS;
    let mut net = network(6);
    for host in 1..6 {
        net.start(host, config("a", host).heartbeat_interval(interval).heartbeat_miss_threshold(30));
        net.no_dial(host, 0);
    }
    net.start(0, config("b", 0).seeds((1..6).map(|host| id("a", host).to_string())).heartbeat_miss_threshold(30));
    net.run(5 * SECOND);
    for host in 1..6 {
        net.cut_both(0, host);
    }
    net.clear_events();
    net.run(15 * SECOND);
    // The first of four ends after ten seconds.
    let dials: Vec<Duration> = net.nodes[0].dials.iter().map(|(at, ..)| *at).collect();
    let room = dials[0] + 10 * SECOND;
    assert!((room..=room + interval / 2).contains(&dials[4]), "{dials:?}");
}

// Heartbeats

#[test]
fn the_shortest_interval_is_that_of_those_who_are_up() {
    // A node looks up four times in the shortest interval of those it watches.
    let longest_sleep = |net: &mut Net| {
        let sleeps = (0..200).map(|_| {
            net.run(50 * MS);
            net.timeout(0).unwrap() - net.now
        });
        sleeps.max().unwrap()
    };
    let mut net = network(3);
    for (host, interval) in [(0, 10 * SECOND), (1, 100 * MS), (2, 5 * SECOND)] {
        net.start(host, config("n", host).heartbeat_interval(interval).seeds([id("n", 0).to_string()]));
    }
    net.run(SECOND);
    assert!(net.is_mesh(&[0, 1, 2]));
    assert!(longest_sleep(&mut net) <= 25 * MS);
    net.feed(1, Input::Stop);
    net.run(SECOND);
    let longest = longest_sleep(&mut net);
    assert!((1200 * MS..=1250 * MS).contains(&longest), "{longest:?}");
}

#[test]
fn heartbeats_are_small_and_spread_whatever_the_number_of_nodes() {
    let n = 26;
    let mut net = mesh(n);
    for node in &mut net.nodes {
        node.received.clear();
    }
    let begin = net.now.since_start();
    net.run(32 * SECOND);
    let mut fifths = [0; 5];
    for host in 1..n {
        let received = &net.nodes[host].received;
        assert!(received.iter().all(|(.., size)| *size <= 64));
        let mut per_peer = std::collections::BTreeMap::<_, Vec<Duration>>::new();
        for (at, conn, _) in received {
            per_peer.entry(*conn).or_default().push(*at);
        }
        assert_eq!(per_peer.len(), n - 1);
        for times in per_peer.values() {
            // Early by a thirty-second part to a sixteenth: 33 to 35 in 32 intervals.
            assert!((32..=35).contains(&times.len()), "{}", times.len());
            for gap in times.windows(2).map(|pair| pair[1] - pair[0]) {
                assert!((937 * MS..=970 * MS).contains(&gap), "{gap:?}");
            }
        }
    }
    // Host 1 is heard by all others over the whole of an interval.
    net.nodes[1].records.clear();
    let mut last = 0;
    for fifth in &mut fifths {
        net.run(200 * MS);
        *fifth = net.nodes[1].records.len() - last;
        last += *fifth;
    }
    assert!(fifths.iter().all(|fifth| (1..=12).contains(fifth)), "{fifths:?}");
    assert!(net.now.since_start() - begin == 33 * SECOND && net.total_downs() == 0);
}

#[test]
fn a_heartbeat_that_waits_is_not_followed_by_another() {
    let mut net = network(2);
    net.start(0, config("a", 0));
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]).heartbeat_miss_threshold(100));
    net.run(5 * SECOND);
    // Given: b reads nothing, and the window is full.
    net.clog(0, 1);
    net.feed(0, Input::Send { payload: Bytes::from(vec![0; 256 << 10]), to: id("b", 1) });
    net.nodes[0].records.clear();
    net.run(30 * SECOND);
    assert_eq!(net.nodes[0].records, []);
    // When it reads again, one heartbeat follows what it has not read.
    net.nodes[1].received.clear();
    net.unclog();
    net.run(3 * MS);
    let sizes: Vec<usize> = net.nodes[1].received.iter().map(|(.., size)| *size).collect();
    assert_eq!(sizes.iter().filter(|size| **size > 64).count(), 4);
    assert_eq!(sizes.iter().filter(|size| **size <= 64).count(), 1, "{sizes:?}");
    assert_eq!((net.nodes[1].messages.len(), net.total_downs()), (1, 0));
}

#[test]
fn what_is_known_of_a_node_is_as_of_its_last_heartbeat() {
    let mut net = pair();
    let a = id("a", 0);
    let info = |net: &Net| net.nodes[1].machine.node(&a).unwrap().unwrap();
    net.feed(0, Input::SetProcessCount(7));
    net.clear_events();
    let old = info(&net);
    let count = net.nodes[1].received.len();
    net.run_until(SECOND, |net| net.nodes[1].received.len() > count);
    // Nothing changed before the heartbeat, and its arrival tells all.
    let heard = last_heard(&net, 1);
    let new = info(&net);
    assert_eq!(old.process_count, 0);
    assert!(old.last_heartbeat_at.unwrap() < WallTime(heard - 900 * MS));
    assert_eq!((new.process_count, new.status), (7, NodeStatus::Connected));
    assert_eq!(new.last_heartbeat_at, Some(WallTime(heard - MS)), "the net stamps what it carries when it is sent");
    let sent = net.clock(0).since_start() - (net.now.since_start() - (heard - MS));
    assert_eq!(new.uptime, Duration::from_millis(u64::try_from(sent.as_millis()).unwrap()));
    // Payloads are life, but no heartbeat.
    net.nodes[0].tickless = true;
    net.run(SECOND);
    send(&mut net, 0, id("b", 1));
    net.run(SECOND);
    assert_eq!(info(&net), new);
    assert_eq!(net.all_events(), []);
}
