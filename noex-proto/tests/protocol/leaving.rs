//! Leaving: what is queued, then GOODBYE; who hears what; how long a stop takes; and what a failure is not.

use std::time::Duration;

use crate::net::{Host, MS, Net, SECOND, address, config, id};
use bytes::Bytes;
use noex_proto::{Action, ClusterError, ClusterEvent, ClusterStatus, Input, Machine, Refusal};

/// `a` on host 0, which dials `b` on host 1 and `c` on host 2.
fn trio() -> Net {
    let mut net = Net::new(4);
    net.start(1, config("b", 1));
    net.start(2, config("c", 2).seeds([id("b", 1).to_string()]));
    net.start(0, leaver());
    net.run(5 * SECOND);
    assert_eq!((net.total_ups(), net.total_downs()), (6, 0));
    net.clear_events();
    net
}

fn leaver() -> noex_proto::ClusterConfig {
    config("a", 0).seeds([id("b", 1).to_string(), id("c", 2).to_string()]).stop_timeout(2400 * MS)
}

/// The statuses of a host's cluster, each with its moment.
fn statuses(net: &Net, host: Host) -> Vec<(Duration, ClusterStatus)> {
    let statuses = net.nodes[host].events.iter().filter_map(|(at, event)| match event {
        ClusterEvent::StatusChange(status) => Some((*at, *status)),
        _ => None,
    });
    statuses.collect()
}

/// Nothing comes from a stopped machine any more, and it waits for nothing.
fn assert_over(net: &mut Net, host: Host) {
    let events = net.nodes[host].events.len();
    let (sent, dials) = (net.nodes[host].sent, net.nodes[host].dials.len());
    net.run(100 * SECOND);
    let node = &mut net.nodes[host];
    assert_eq!((node.events.len(), node.sent, node.dials.len(), node.stopped), (events, sent, dials, 1));
    assert_eq!((node.machine.poll_timeout(), node.machine.poll_action()), (None, None));
    assert_eq!(node.machine.status(), ClusterStatus::Stopped);
}

#[test]
fn a_stop_sends_what_is_queued_then_says_goodbye_and_nobody_dials_afterwards() {
    let mut net = trio();
    let payloads: Vec<Bytes> = (0..20).map(|number| Bytes::from(vec![number; 100_000])).collect();
    for payload in &payloads {
        net.feed(0, Input::Send { payload: payload.clone(), to: id("b", 1) });
    }
    let now = net.now.since_start();
    net.feed(0, Input::Stop);
    net.run(SECOND);
    // A trip there and one back until the connection is closed on both sides.
    assert_eq!(statuses(&net, 0), [(now, ClusterStatus::Stopping), (now + 2 * MS, ClusterStatus::Stopped)]);
    assert_eq!(net.story(0), Vec::<String>::new(), "its own subscribers get no downs");
    let received: Vec<Bytes> = net.nodes[1].messages.iter().map(|(_, payload)| payload.clone()).collect();
    assert!(received == payloads);
    assert_over(&mut net, 0);
    for peer in [1, 2] {
        assert_eq!(net.story(peer), ["down a graceful_shutdown"]);
        assert_eq!(net.nodes[peer].dials, [], "{peer}");
    }
}

#[test]
fn a_seed_that_left_is_dialled_at_the_longest_delay() {
    let mut net = Net::new(2);
    net.start(0, config("a", 0));
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]).reconnect_max_delay(8 * SECOND));
    net.run(5 * SECOND);
    net.clear_events();
    let left = net.now.since_start() + MS;
    net.feed(0, Input::Stop);
    net.run(60 * SECOND);
    let times: Vec<Duration> = std::iter::once(left).chain(net.nodes[1].dials.iter().map(|(at, ..)| *at)).collect();
    assert!(times.len() > 7);
    for delay in times.windows(2).map(|pair| pair[1] - pair[0]) {
        // A refusal takes a trip there and one back.
        assert!((4 * SECOND..=8 * SECOND + 2 * MS).contains(&delay), "{delay:?}");
    }
    assert_eq!(net.story(1), ["down a graceful_shutdown"], "no error for one that was up");
    net.start(0, config("a", 0));
    net.run(8 * SECOND + 20 * MS);
    assert_eq!(net.story(1), ["down a graceful_shutdown", "up a"]);
}

#[test]
fn a_stop_is_bounded_whatever_a_peer_reads() {
    // Whether all that is left fits the window, or waits for it.
    for size in [10, 1_000_000] {
        let mut net = trio();
        net.clog(0, 2);
        net.feed(0, Input::Send { payload: Bytes::from(vec![0; size]), to: id("c", 2) });
        let now = net.now.since_start();
        net.feed(0, Input::Stop);
        net.run(MS);
        assert_eq!(net.story(1), ["down a graceful_shutdown"], "who reads hears at once");
        net.run(10 * SECOND);
        assert_eq!(statuses(&net, 0), [(now, ClusterStatus::Stopping), (now + 2400 * MS, ClusterStatus::Stopped)], "{size}");
        assert_eq!(net.story(0), Vec::<String>::new());
        assert_eq!(net.story(2), ["down a connection_closed"], "who does not read cannot know better");
        assert_over(&mut net, 0);
    }
}

#[test]
fn a_stopping_node_refuses_newcomers() {
    let mut net = trio();
    net.clog(0, 2);
    net.feed(0, Input::Stop);
    net.run(10 * MS);
    net.start(3, config("d", 3).seeds([id("a", 0).to_string()]));
    net.run(20 * MS);
    let refused = ClusterError::Refused { addr: address(0), reason: Refusal::Leaving };
    assert_eq!(net.errors(3), [refused]);
    assert_eq!((net.story(0), net.story(2)), (vec![], vec![]));
    net.run(10 * SECOND);
    assert_eq!(net.nodes[0].stopped, 1);
}

#[test]
fn who_is_refused_by_a_leaving_node_waits_for_the_longest_delay() {
    let mut net = trio();
    net.clog(0, 2);
    net.feed(0, Input::Stop);
    net.start(3, config("d", 3).seeds([id("a", 0).to_string()]));
    net.run(14 * SECOND);
    assert_eq!(net.nodes[3].dials.len(), 1);
    net.run(17 * SECOND);
    assert_eq!(net.nodes[3].dials.len(), 2);
}

#[test]
fn a_node_that_left_and_is_started_again_is_seen_at_once() {
    let mut net = trio();
    net.feed(0, Input::Stop);
    net.run(SECOND);
    assert_eq!(net.nodes[0].stopped, 1);
    net.start(0, leaver());
    net.run(20 * MS);
    assert!(net.is_mesh(&[0, 1, 2]));
    net.run(60 * SECOND);
    for peer in [1, 2] {
        assert_eq!(net.story(peer), ["down a graceful_shutdown", "up a"]);
    }
    assert_eq!(net.story(0).len(), 2);
    // And once more: a stop works after a restart as before it.
    net.feed(0, Input::Stop);
    net.run(SECOND);
    assert_eq!(net.nodes[0].stopped, 2);
    assert_eq!(net.downs(1).len(), 2);
}

#[test]
fn a_second_stop_changes_nothing() {
    let mut net = trio();
    net.clog(0, 2);
    let now = net.now.since_start();
    net.feed(0, Input::Stop);
    net.run(SECOND);
    net.feed(0, Input::Stop);
    net.run(SECOND);
    net.feed(0, Input::Stop);
    net.run(SECOND);
    net.feed(0, Input::Stop);
    assert_eq!(statuses(&net, 0), [(now, ClusterStatus::Stopping), (now + 2400 * MS, ClusterStatus::Stopped)]);
    assert_over(&mut net, 0);
}

#[test]
fn a_start_that_is_stopped_or_cannot_listen_is_over_at_once() {
    for outcome in [Input::Stop, Input::Halt] {
        let mut machine = Machine::new();
        machine.start(noex_proto::Instant::START, leaver()).unwrap();
        machine.handle(noex_proto::Instant::START, outcome);
        // What comes too late changes nothing.
        let listening = Input::Listening { entropy: [7; 32], local: address(0), network: Box::default() };
        for late in [Input::Stop, Input::Halt, listening] {
            machine.handle(noex_proto::Instant::START, late);
        }
        let actions: Vec<Action> = std::iter::from_fn(|| machine.poll_action()).collect();
        let status = |status| Action::Event(ClusterEvent::StatusChange(status));
        assert_eq!(actions, [status(ClusterStatus::Starting), status(ClusterStatus::Stopped), Action::Stopped]);
        assert_eq!(machine.poll_timeout(), None);
        assert!(machine.start(noex_proto::Instant::START, leaver()).is_ok());
    }
}

#[test]
fn a_stop_of_a_node_that_knows_nobody_is_over_at_once() {
    let mut net = Net::new(3);
    // Given: a dial that nobody answers, one that waits for its delay, and strangers that say nothing.
    net.no_dial(0, 1);
    net.start(0, leaver());
    net.run(10 * MS);
    for _ in 0..3 {
        let conn = net.nodes[0].machine.next_conn();
        net.nodes[0].machine.handle(net.now, Input::Accepted { conn, remote: address(2) });
    }
    let mut closed = 0;
    net.nodes[0].machine.handle(net.now, Input::Stop);
    while let Some(action) = net.nodes[0].machine.poll_action() {
        closed += usize::from(matches!(action, Action::Close { .. }));
    }
    assert_eq!(closed, 4, "the dial and the strangers");
    assert_eq!(net.nodes[0].machine.status(), ClusterStatus::Stopped);
    assert_eq!(net.nodes[0].machine.poll_timeout(), None);
}

#[test]
fn a_stop_at_any_moment_of_a_join_leaves_no_trace() {
    for leaver in 0..2 {
        for moment in 0..30 {
            let mut net = Net::new(2);
            net.latency = 2 * MS;
            net.start(0, config("a", 0));
            net.start(1, config("b", 1).seeds([id("a", 0).to_string()]).reconnect_max_delay(2 * SECOND));
            net.run(moment * MS);
            net.feed(leaver, Input::Stop);
            net.run(10 * MS);
            let other = 1 - leaver;
            assert_eq!(net.nodes[leaver].stopped, 1, "{moment}");
            assert_eq!(net.downs(leaver), []);
            let name = if leaver == 0 { "a" } else { "b" };
            let downs = net.downs(other);
            assert_eq!(downs.len(), net.ups(other), "{moment}");
            assert!(downs.iter().all(|(id, reason)| id.name() == name && reason.to_string() == "graceful_shutdown"), "{moment}");
            if leaver == 1 {
                let refused = |error: &ClusterError| matches!(error, ClusterError::Refused { reason: Refusal::Leaving, .. });
                assert!(net.errors(0).iter().all(refused), "{moment}");
            }
            net.run(10 * SECOND);
            // Both can go on as if nothing had been.
            let seeds = (leaver == 1).then(|| id("a", 0).to_string());
            net.start(leaver, config(name, leaver).seeds(seeds));
            net.run(3 * SECOND);
            assert!(net.is_mesh(&[0, 1]), "{moment} {leaver}: {:#?}", net.all_events());
        }
    }
}

#[test]
fn nodes_that_stop_at_once_all_stop_and_the_rest_hears_of_each() {
    let mut net = trio();
    net.feed(0, Input::Stop);
    net.feed(1, Input::Stop);
    net.run(10 * MS);
    assert_eq!((net.story(0), net.story(1)), (vec![], vec![]));
    assert_eq!((net.nodes[0].stopped, net.nodes[1].stopped), (1, 1));
    let mut story = net.story(2);
    story.sort();
    assert_eq!(story, ["down a graceful_shutdown", "down b graceful_shutdown"]);
}

#[test]
fn a_plain_close_is_no_leave() {
    let mut net = trio();
    net.crash(0);
    net.run(60 * SECOND);
    for peer in [1, 2] {
        assert_eq!(net.story(peer), ["down a connection_closed"]);
        assert!(net.nodes[peer].dials.len() > 3, "it is dialled again and again");
    }
}

#[test]
fn a_stranger_who_says_nothing_does_not_hold_up_a_stop() {
    let mut net = trio();
    net.stranger(0, address(5));
    net.feed(0, Input::Stop);
    net.stranger(0, address(6));
    net.run(10 * MS);
    assert_over(&mut net, 0);
}
