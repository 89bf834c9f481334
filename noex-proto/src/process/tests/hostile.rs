//! What a member can cost that says whatever it likes, and where it ends.

use super::*;
use crate::process::slots::SLOTS_MAX;
use crate::wire::signal::To;

fn call(number: u64, process: u64) -> Signal {
    Signal::Call { number, to: To::Number(process), protocol: P, left: 5000, body: Bytes::new() }
}

fn number(place: usize) -> u64 {
    1 << 16 | u64::try_from(place).expect("few places")
}

#[test]
fn a_peer_that_calls_and_reads_nothing_holds_a_call_for_each_place_and_no_more() {
    let mut world = World::new();
    world.audits = false;
    // Given: each call fails at once, and nothing leaves.
    for place in 0..SLOTS_MAX {
        assert_eq!(world.forge(B, &call(number(place), 99)), Ok(()));
    }
    for more in [number(0), 2 << 16 | 7, u64::MAX] {
        assert_eq!(world.forge(B, &call(more, 99)), Err(PeerFault::NumberInUse), "{more:#x}");
    }
    // What has been cancelled is owed no failure, and its place is free.
    assert_eq!(world.forge(B, &Signal::Cancel { number: number(5) }), Ok(()));
    assert_eq!(world.forge(B, &call(2 << 16 | 5, 99)), Ok(()));
    world.disconnect_one(B);
    world.sides[B].processes.audit();
}

#[test]
fn more_calls_than_are_served_are_busy_until_some_are_over() {
    let mut world = World::with_limits(Limits::default().calls_served_per_peer(2));
    let process = world.open(B);
    for place in 0..3 {
        assert_eq!(world.forge(B, &call(number(place), process.number())), Ok(()));
    }
    // The node's own calls are not the peer's.
    world.call(B, &process, b"");
    let requests = world.requests(&process);
    assert_eq!(requests.len(), 3);
    assert_eq!(world.sides[B].host.counters.requests_failed, 1);
    assert_eq!(world.answer(B, requests[0], b""), Ok(()));
    // An answer counts until it has left.
    world.forge(B, &call(number(3), process.number())).expect("a call may be made");
    assert_eq!(world.sides[B].host.counters.requests_failed, 2);
    world.release(B);
    world.forge(B, &call(number(4), process.number())).expect("a call may be made");
    assert_eq!(world.requests(&process).len(), 1);
}

#[test]
fn monitors_of_a_peer_are_served_for_each_place_and_all_are_told() {
    let mut world = World::new();
    world.audits = false;
    let process = world.open(B);
    let monitor = |number, process: &ProcessId| Signal::Monitor { number, to: To::Number(process.number()) };
    for place in 0..SLOTS_MAX {
        assert_eq!(world.forge(B, &monitor(number(place), &process)), Ok(()));
    }
    assert_eq!(world.forge(B, &monitor(9 << 16, &process)), Err(PeerFault::NumberInUse));
    world.exit(&process, ExitReason::Normal, 0);
    world.release(B);
    assert_eq!(world.wires[A].len(), SLOTS_MAX);
    world.sides[B].processes.audit();
}

#[test]
fn who_watches_calls_and_is_gone_again_and_again_leaves_nothing() {
    let mut world = World::new();
    let process = world.open(B);
    for _ in 0..50 {
        for place in 0..20 {
            let number = number(place);
            world.forge(B, &Signal::Monitor { number, to: To::Number(process.number()) }).expect("it may watch");
            world.forge(B, &call(number, process.number())).expect("it may call");
        }
        world.requests(&process);
        world.disconnect();
        let row = world.sides[B].processes.table.get(process.number()).expect("it is open");
        assert_eq!((row.watchers.len(), row.requests.len(), row.mailbox().waiting().count()), (0, 0, 0));
        world.connect();
    }
    world.take(&process);
    assert_eq!(world.sides[B].processes.table.bytes(), 0);
}

#[test]
fn there_are_as_many_processes_and_local_names_as_there_may_be() {
    let mut world = World::with_limits(Limits::default().processes(2).local_names(1));
    let first = world.open(B);
    world.open(B);
    assert!(matches!(world.command(B, ProcessInput::Open { protocol: P }), Done::Opened(Err(OpenError::TooMany { limit: 2 }))));
    let mut register = |name: &str| {
        let (process, name) = (first.number(), name.try_into().expect("valid"));
        match world.command(B, ProcessInput::Register { process, name }) {
            Done::Registered(registered) => registered,
            done => unreachable!("{done:?}"),
        }
    };
    assert_eq!(register("a"), Ok(()));
    assert_eq!(register("b"), Err(RegisterError::TooMany { limit: 1 }));
    // There is room again once one has gone.
    world.exit(&first, ExitReason::Normal, 0);
    world.open(B);
}

#[test]
fn the_answer_to_another_members_call_is_a_lie() {
    let mut world = World::new();
    let process = world.open(B);
    let other = ConnId(99);
    let call = world.call(A, &process, b"");
    world.settle();
    for lie in
        [Signal::Answer { number: call.number, body: Bytes::new() }, Signal::Down { number: 1 << 16, reason: ExitReason::Normal }]
    {
        let mut bytes = Vec::new();
        lie.encode_head(&mut bytes);
        let now = world.now;
        let heard = world.with(A, |processes, cx| processes.received(cx, other, &bytes.into(), now));
        assert_eq!(heard, Err(PeerFault::NeverAsked));
    }
    assert_eq!(world.outcomes(A), []);
}
