//! Pauses of the node, which nobody is blamed for, and idleness, which is no pause. Intervals are of all that the configuration allows.

use std::net::SocketAddr;
use std::time::Duration;

use super::condition::network;
use crate::net::faults::Thaw;
use crate::net::{Host, MS, Net, SECOND, address, config, id};
use noex_proto::{ConnId, NodeDownReason, bounds};
use proptest::prelude::*;

const FAR: Duration = Duration::from_secs(1000);

/// Any heartbeat interval that the configuration allows, each order of magnitude as likely as another.
pub(crate) fn interval() -> impl Strategy<Value = Duration> {
    let (least, most) = (bounds::HEARTBEAT_INTERVAL.start().as_millis(), bounds::HEARTBEAT_INTERVAL.end().as_millis());
    let of_magnitude = move |share: f64| (least as f64 * (most as f64 / least as f64).powf(share)) as u32 * MS;
    prop_oneof![1 => Just(least as u32 * MS), 1 => Just(most as u32 * MS), 6 => (0.0..1.0).prop_map(of_magnitude)]
}

/// An unauthenticated peer comes, and says nothing.
fn mute(net: &mut Net) -> ConnId {
    net.stranger(0, SocketAddr::from(([10, 9, 9, 9], 1)))
}

/// After what time something holds.
fn time_until(net: &mut Net, most: Duration, holds: impl Fn(&Net) -> bool) -> Duration {
    let begin = net.now;
    net.run_until(most, holds);
    net.now - begin
}

/// How long the host at 0 says that `n` on that host is up after it heard of it last, before it says that it was silent.
fn noticed(net: &mut Net, host: Host, limit: Duration) -> Duration {
    let conn = net.nodes[0].machine.session(&id("n", host)).unwrap().unwrap();
    net.lose_power(host);
    net.run(2 * net.latency(host, 0));
    let heard = net.nodes[0].received.iter().rfind(|(_, on, _)| *on == conn).unwrap().0;
    let before = (heard + limit).saturating_sub(net.now.since_start());
    net.run(before.saturating_sub(MS));
    net.run_until(limit + FAR, |net| !net.is_up(0, &id("n", host)));
    assert_eq!(net.downs(0).last(), Some(&(id("n", host), NodeDownReason::HeartbeatTimeout)));
    net.now.since_start() - heard
}

#[test]
fn an_idle_node_judges_by_what_was_promised() {
    for interval in [SECOND, 60 * SECOND, 600 * SECOND] {
        let mut net = network(3);
        let patient = config("n", 0).heartbeat_interval(interval).seeds([id("n", 2).to_string()]);
        net.cut_both(0, 2);
        net.start(0, patient.reconnect_base_delay(FAR).reconnect_max_delay(FAR));
        net.run(20 * SECOND);
        // A dial: its time begins after a long delay, in which nobody was waited for.
        net.run_until(FAR, |net| net.nodes[0].dials.len() == 2);
        let closed = net.nodes[0].closes.len();
        let dialled = time_until(&mut net, FAR, |net| net.nodes[0].closes.len() > closed);
        assert_eq!(dialled, 10 * SECOND, "a dial, at {interval:?}");

        net.run(300 * SECOND);
        let conn = mute(&mut net);
        let mute = time_until(&mut net, FAR, |net| net.is_closed(0, conn));
        assert_eq!(mute, 5 * SECOND, "a handshake, at {interval:?}");

        net.run(300 * SECOND);
        net.start(1, config("n", 1).seeds([id("n", 0).to_string()]));
        net.run(2 * SECOND);
        assert_eq!(noticed(&mut net, 1, 3500 * MS), 3501 * MS, "a peer with an interval of a second, at {interval:?}");
    }
}

#[test]
fn who_waits_for_seconds_notices_a_pause_of_seconds_whatever_its_interval() {
    for interval in [SECOND, 60 * SECOND, 600 * SECOND] {
        for order in [Thaw::TickFirst, Thaw::InputFirst, Thaw::InputLate] {
            let mut net = network(2);
            net.latency = 100 * MS;
            net.start(0, config("n", 0).heartbeat_interval(interval));
            net.run(100 * SECOND);
            net.start(1, config("n", 1).heartbeat_interval(interval).seeds([id("n", 0).to_string()]));
            // In the middle of the handshake, which may take five seconds.
            net.run(350 * MS);
            net.freeze(0);
            net.freeze(1);
            net.run(60 * SECOND);
            net.thaw_in(0, order);
            net.thaw_in(1, order);
            net.run(SECOND);
            assert!(net.is_mesh(&[0, 1]), "{order:?}, at {interval:?}: {:#?}", net.all_events());
            assert_eq!(net.nodes[1].dials.len(), 1, "{order:?}, at {interval:?}");
        }
    }
}

#[test]
fn a_pause_after_a_hold_that_is_over_is_held_too() {
    // Given: b, which paused a while ago, and asks m for a sign of life since another claims to be m.
    let mut net = network(3);
    let patient = |name, host| config(name, host).heartbeat_interval(60 * SECOND);
    net.start(0, patient("b", 0));
    net.start(1, patient("m", 1).seeds([id("b", 0).to_string()]));
    net.run(5 * SECOND);
    net.freeze(0);
    net.run(40 * SECOND);
    net.thaw(0);
    net.run(5 * SECOND);
    net.set_latency(1, 0, 500 * MS);
    net.start(2, patient("m", 2).advertise_host(address(1).ip().to_string()).seeds([id("b", 0).to_string()]));
    net.run_until(SECOND, |net| net.nodes[0].machine.counters().probes == 1);
    // When it pauses again, the answer comes meanwhile, and it looks at its clock before it reads.
    net.freeze(0);
    net.run(40 * SECOND);
    net.thaw(0);
    net.run(5 * SECOND);
    assert_eq!(net.downs(0), [], "{:#?}", net.story(0));
    assert!(net.is_up(0, &id("m", 1)));
}

#[test]
fn a_pause_in_a_dial_takes_no_time_from_the_names_last_address() {
    // Given: a name whose first address swallows packets, and whose last one takes six of the dial's ten seconds.
    let mut net = network(3);
    net.names.insert("seed.example".into(), vec![address(2), address(1)]);
    net.no_dial(0, 2);
    net.no_dial(1, 0);
    for (from, to) in [(0, 1), (1, 0)] {
        net.set_latency(from, to, 3 * SECOND);
    }
    net.start(1, config("b", 1).heartbeat_miss_threshold(30));
    net.start(0, config("a", 0).heartbeat_miss_threshold(30).seeds(["b@seed.example:4369"]));
    // When the node pauses at the first,
    net.run(500 * MS);
    net.freeze(0);
    net.run(20 * SECOND);
    net.thaw(0);
    // the last one has its time.
    net.run(10 * SECOND);
    assert_eq!(net.nodes[0].machine.counters().dial_failures, 0);
    assert_eq!(net.nodes[0].dials.len(), 2);
    assert_eq!(net.nodes[0].closes.len(), 1, "the first one's");
}

#[test]
fn a_pause_puts_no_silence_off_that_begins_after_it() {
    let mut net = network(3);
    let slow = |host| config("n", host).heartbeat_interval(10 * SECOND).heartbeat_miss_threshold(1);
    net.start(0, slow(0));
    net.start(1, slow(1).seeds([id("n", 0).to_string()]));
    net.run(20 * SECOND);
    net.freeze(0);
    net.run(6 * SECOND);
    net.thaw(0);
    net.start(2, config("n", 2).heartbeat_interval(100 * MS).seeds([id("n", 0).to_string()]));
    net.run(20 * MS);
    assert_eq!(noticed(&mut net, 2, 150 * MS), 151 * MS);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// No deadline that waits for a peer depends on pauses before it was set, nor on how idle the node was.
    #[test]
    fn what_is_waited_for_is_judged_at_its_time_whatever_was_before(
        intervals in prop::array::uniform3(interval()),
        thresholds in prop::array::uniform3(1..3_u32),
        idle in 0..2_000_u32,
        pauses in prop::collection::vec((0..100_000_u64, 0..3000_u64), 0..3),
        order in prop::sample::select(vec![Thaw::TickFirst, Thaw::InputFirst]),
        company: bool,
    ) {
        let mut net = network(3);
        let of = |host: Host| {
            let config = config("n", host).heartbeat_interval(intervals[host]).heartbeat_miss_threshold(thresholds[host]);
            config.reconnect_base_delay(3600 * SECOND).reconnect_max_delay(3600 * SECOND)
        };
        net.start(0, of(0));
        if company {
            net.start(1, of(1).seeds([id("n", 0).to_string()]));
        }
        net.run(idle * SECOND / 10);
        for (pause, rest) in pauses {
            net.freeze(0);
            net.run(Duration::from_millis(pause));
            net.thaw_in(0, order);
            net.run(Duration::from_millis(rest));
        }
        let conn = mute(&mut net);
        prop_assert_eq!(time_until(&mut net, FAR, |net| net.is_closed(0, conn)), 5 * SECOND);

        // From here on the one that was there before may do as it likes: a pause can have cost its session.
        net.freeze(0);
        net.run(7 * SECOND);
        net.thaw_in(0, order);
        net.start(2, of(2).seeds([id("n", 0).to_string()]));
        net.run(50 * MS);
        prop_assert!(net.is_up(0, &id("n", 2)));
        let limit = intervals[2] * thresholds[0] + intervals[2] / 2;
        prop_assert_eq!(noticed(&mut net, 2, limit), limit + MS);
    }
}
