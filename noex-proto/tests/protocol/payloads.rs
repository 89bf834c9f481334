//! What applications send: whole, in order, once; and what overtakes it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::net::{MS, Net, SECOND, config, id};
use bytes::Bytes;
use noex_proto::{ClusterNotStartedError, Limits, NodeInfo, SendError, WallTime};

fn pair(limits: Limits) -> Net {
    let mut net = Net::new(2);
    net.start(0, config("a", 0).limits(limits.clone()));
    net.start(1, config("b", 1).limits(limits).seeds([id("a", 0).to_string()]));
    net.run(20 * MS);
    assert!(net.is_mesh(&[0, 1]));
    net
}

/// Bytes that differ from place to place and from message to message.
fn payload(size: usize, salt: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(size + 8);
    for word in 0..size.div_ceil(8) {
        bytes.extend_from_slice(&(word * 31 + salt * 7).to_be_bytes());
    }
    bytes.truncate(size);
    bytes.into()
}

fn heard(net: &Net, host: usize, of: (&str, usize)) -> WallTime {
    let info: NodeInfo = net.nodes[host].machine.node(&id(of.0, of.1)).unwrap().unwrap();
    info.last_heartbeat_at.unwrap()
}

#[test]
fn payloads_of_all_sizes_arrive_whole_and_in_order() {
    let mut net = pair(Limits::default().send_queue_bytes(64 << 20).message_bytes_per_subscriber(64 << 20));
    let sizes = [0, 1, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 0, 1 << 20, (1 << 20) + 1, 16 << 20, 0, 7];
    let sent: Vec<Bytes> = sizes.iter().enumerate().map(|(salt, size)| payload(*size, salt)).collect();
    for message in &sent {
        net.send(0, &id("b", 1), message.clone()).unwrap();
    }
    net.run(100 * MS);
    let received: Vec<Bytes> = net.nodes[1].messages.iter().map(|(_, payload)| payload.clone()).collect();
    assert_eq!(received.iter().map(Bytes::len).collect::<Vec<_>>(), sizes);
    assert!(received == sent);
    assert!(net.nodes[1].messages.iter().all(|(from, _)| *from == id("a", 0)));
    let counters = |host: usize| net.nodes[host].machine.counters();
    assert_eq!((counters(0).messages_sent, counters(1).messages_received), (11, 11));
}

#[test]
fn a_heartbeat_overtakes_a_transfer_that_takes_longer_than_a_peer_may_be_silent() {
    // 16 KiB in each 10 ms: the whole takes more than ten seconds.
    let mut net = pair(Limits::default().send_window_bytes(16 << 10));
    net.nodes[0].slow = 40 * MS;
    net.send(0, &id("b", 1), payload(16 << 20, 1)).unwrap();
    let begin = net.now.since_start();
    let mut beats: Vec<Duration> = vec![];
    while net.nodes[1].messages.is_empty() {
        net.run(10 * MS);
        let WallTime(at) = heard(&net, 1, ("a", 0));
        if at > begin && beats.last() != Some(&at) {
            beats.push(at);
        }
        assert!(net.now.since_start() < begin + 60 * SECOND);
    }
    let took = net.now.since_start() - begin;
    assert!(took > 10 * SECOND, "{took:?}");
    assert!(beats.len() as u64 >= took.as_secs() - 1, "{beats:?}");
    for pair in beats.windows(2) {
        assert!(pair[1] - pair[0] <= 1100 * MS, "one window late at most: {pair:?}");
    }
    assert_eq!(net.total_downs(), 0);
    assert!(net.nodes[1].messages[0].1 == payload(16 << 20, 1));
}

#[test]
fn a_broadcast_says_for_whom_it_was_queued_and_for_whom_not() {
    let limits = Limits::default().message_bytes(1000).send_queue_bytes(1500).send_window_bytes(1);
    let mut net = Net::new(4);
    let seed = id("n", 0).to_string();
    for host in 0..4 {
        net.start(host, config("n", host).limits(limits.clone()).seeds([&seed]));
    }
    net.run(SECOND);
    net.crash(3);
    net.run(SECOND);
    let to_all = |net: &mut Net, payload| {
        let sent = net.broadcast(0, payload).unwrap();
        (sent.queued, sent.refused)
    };
    assert_eq!(to_all(&mut net, payload(9, 1)), (2, vec![]), "the lost and the sender are not counted");
    net.run(SECOND);
    let heard = |net: &Net| -> Vec<usize> { net.nodes.iter().map(|node| node.messages.len()).collect() };
    assert_eq!(heard(&net), [0, 1, 1, 0]);

    // One takes nothing: its queue is full after two messages, and the other's is not.
    net.clog(0, 1);
    for _ in 0..2 {
        assert_eq!(to_all(&mut net, payload(1000, 2)), (2, vec![]));
        net.run(SECOND);
    }
    let full = (id("n", 1), SendError::QueueFull { limit: 1500, to: id("n", 1) });
    assert_eq!(to_all(&mut net, payload(1000, 3)), (1, vec![full]));

    // What holds for all is queued for nobody.
    let sent = net.nodes[0].machine.counters().messages_sent;
    assert_eq!(net.broadcast(0, payload(1001, 4)), Err(SendError::TooLarge { limit: 1000, size: 1001 }));
    assert_eq!(net.nodes[0].machine.counters().messages_sent, sent);
    assert_eq!(net.send(0, &id("n", 0), "to itself"), Err(SendError::ToSelf));
    assert_eq!(net.broadcast(3, payload(1, 5)), Err(SendError::NotStarted(ClusterNotStartedError::default())));
}

#[test]
fn small_messages_queued_while_bytes_are_on_their_way_share_one_record() {
    let mut net = pair(Limits::default());
    net.run(MS);
    net.nodes[0].slow = 5 * MS;
    let before = net.nodes[0].records.len();
    for number in 0..101 {
        net.send(0, &id("b", 1), payload(20, number)).unwrap();
    }
    assert_eq!(net.nodes[0].records.len() - before, 1, "the first goes at once");
    net.run(8 * MS);
    let sizes: Vec<usize> = net.nodes[0].records[before..].iter().map(|(_, record)| record.len()).collect();
    assert_eq!(sizes, [4 + 25 + 16, 4 + 100 * 25 + 16]);
    assert_eq!(net.nodes[1].messages.len(), 101);
    assert!(net.nodes[1].messages.iter().enumerate().all(|(number, (_, found))| *found == payload(20, number)));
}

#[test]
fn what_waits_is_not_held_back_longer_than_until_the_bytes_on_their_way_are_gone() {
    let mut net = pair(Limits::default());
    net.nodes[0].slow = 5 * MS;
    // Above 16 KiB a record is worth its tag, and nothing waits for company.
    net.send(0, &id("b", 1), payload(1, 0)).unwrap();
    net.send(0, &id("b", 1), payload(20_000, 1)).unwrap();
    net.run(MS);
    assert_eq!(net.nodes[1].messages.len(), 2);
}

#[test]
fn from_the_first_up_on_nothing_is_lost_among_eight_that_seed_each_other() {
    let hosts = 8;
    let mut net = Net::new(hosts);
    let seeds: Vec<String> = (0..hosts).map(|host| id("n", host).to_string()).collect();
    for host in 0..hosts {
        net.start(host, config("n", host).seeds(&seeds));
    }
    let pairs = || (0..hosts).flat_map(|from| (0..hosts).map(move |to| (from, to))).filter(|(from, to)| from != to);
    let mut sent: BTreeMap<(usize, usize), u32> = BTreeMap::new();
    for _ in 0..200 {
        net.run(MS);
        for (from, to) in pairs() {
            let count = sent.entry((from, to)).or_default();
            let size = if *count % 5 == 4 { 70_000 } else { *count as usize % 50 };
            if net.is_up(from, &id("n", to)) {
                let payload = [&count.to_be_bytes()[..], &vec![9; size]].concat();
                net.send(from, &id("n", to), payload).unwrap();
                *count += 1;
            }
        }
    }
    net.run(100 * MS);
    assert_eq!((net.total_ups(), net.total_downs()), (hosts * (hosts - 1), 0));
    for (from, to) in pairs() {
        assert!(sent[&(from, to)] > 150, "from the first up on");
        let counts = net.nodes[to].messages.iter().filter(|(sender, _)| *sender == id("n", from));
        let counts: Vec<u32> = counts.map(|(_, payload)| u32::from_be_bytes(payload[..4].try_into().unwrap())).collect();
        assert_eq!(counts, (0..sent[&(from, to)]).collect::<Vec<_>>());
    }
}

#[test]
fn what_arrives_before_the_connection_breaks_is_a_prefix_and_nothing_is_sent_again() {
    for broken_at in [1, 3, 10, 40] {
        let mut net = pair(Limits::default().send_window_bytes(4 << 10));
        net.nodes[0].slow = MS;
        for number in 0..1000 {
            net.send(0, &id("b", 1), payload(5000, number)).unwrap();
        }
        net.run(broken_at * MS);
        net.reset(0, 1);
        net.run_until(10 * SECOND, |net| net.is_mesh(&[0, 1]));
        net.run(SECOND);
        let received = net.nodes[1].messages.len();
        assert!(0 < received && received < 1000);
        assert!(net.nodes[1].messages.iter().enumerate().all(|(number, (_, found))| *found == payload(5000, number)));
        net.send(0, &id("b", 1), payload(5, 5)).unwrap();
        net.run(10 * MS);
        assert_eq!(net.nodes[1].messages.len(), received + 1, "in the new up-period only what is new");
    }
}

#[test]
fn a_full_queue_has_room_again_once_it_has_drained_to_half_and_any_message_fits() {
    // One fills a record.
    const SIZE: usize = 60_000;
    let limits = Limits::default().message_bytes(SIZE).send_queue_bytes(4 * (SIZE + 64)).send_window_bytes(1);
    let mut net = pair(limits);
    let (own, peer, stranger) = (id("a", 0), id("b", 1), id("c", 2));
    let has_room = |net: &Net, to| net.nodes[0].machine.has_room(to);
    assert_eq!(has_room(&net, &peer), Ok(true));
    assert_eq!(has_room(&net, &own), Err(SendError::ToSelf));
    assert_eq!(has_room(&net, &stranger), Err(SendError::NotConnected { to: stranger.clone() }));

    // One message is on its way, and four wait.
    net.withhold_credit(0);
    let sent = (0..).find(|byte| net.send(0, &peer, payload(SIZE, *byte)).is_err()).unwrap();
    assert_eq!((sent, has_room(&net, &peer)), (5, Ok(false)));
    // Each report that one is written lets the next one go.
    for room in [false, true] {
        let (conn, bytes) = net.nodes[0].withheld.as_mut().unwrap().pop().unwrap();
        net.feed(0, noex_proto::Input::Transmitted { bytes, conn });
        assert_eq!(has_room(&net, &peer), Ok(room));
    }
    net.give_credit(0);

    net.crash(1);
    net.run(SECOND);
    assert_eq!(has_room(&net, &peer), Err(SendError::NotConnected { to: peer.clone() }));
    net.feed(0, noex_proto::Input::Stop);
    assert_eq!(has_room(&net, &peer), Err(SendError::NotStarted(ClusterNotStartedError::default())));
}
