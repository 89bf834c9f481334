//! What processes and calls hold, counted by the allocator.

use allocation_counter::measure;

use super::*;

/// How much of it there is.
const COUNT: usize = 10_000;
/// The most bytes that a process may hold which does nothing.
const PROCESS: i64 = 512;
/// The most bytes that an open call may hold at both ends together, without its body: tables that grow by doubling, and a tree that
/// is half empty, among them.
const CALL: i64 = 416;

/// Bytes for each of so many.
const fn each(held: i64) -> i64 {
    held / COUNT as i64
}

fn world() -> World {
    let mut world = World::with_limits(Limits::default().mailbox_messages(COUNT));
    world.audits = false;
    world
}

#[test]
#[expect(clippy::disallowed_macros, reason = "`.ci/compare` reads it")]
fn an_idle_process_holds_at_most_512_bytes() {
    let mut world = world();
    let opened = measure(|| {
        for _ in 0..COUNT {
            world.open(A);
        }
    });
    let processes: Vec<ProcessId> = world.sides[A]
        .processes
        .table
        .iter()
        .map(|(number, _)| number)
        .map(|number| world.sides[A].processes.process_id(number).expect("it runs"))
        .collect();
    // What has had a burst of calls and has answered is idle again.
    let called = measure(|| {
        for process in &processes {
            for _ in 0..20 {
                world.call(A, process, b"");
            }
            for request in world.requests(process) {
                world.answer(A, request, b"").expect("it waits");
            }
            assert!(world.requests(process).is_empty());
        }
        world.sides[A].host.actions = VecDeque::new();
    });
    let (new, used) = (each(opened.bytes_current), each(opened.bytes_current + called.bytes_current));
    std::println!("{new} bytes are held by an idle process, {used} by one that was called");
    assert!((100..=PROCESS).contains(&new), "{new} bytes");
    assert!(used <= PROCESS, "{used} bytes");
}

#[test]
#[expect(clippy::disallowed_macros, reason = "`.ci/compare` reads it")]
fn an_open_call_holds_at_most_416_bytes_at_both_ends() {
    let mut world = world();
    let process = world.open(B);
    let settle = |world: &mut World| {
        world.release(A);
        world.deliver(B);
        for side in &mut world.sides {
            side.host.actions = VecDeque::new();
        }
        world.wires = Default::default();
    };
    let queued = measure(|| {
        for _ in 0..COUNT {
            world.call(A, &process, b"");
        }
    });
    let waits = measure(|| settle(&mut world));
    let mut requests = Vec::with_capacity(COUNT);
    let taken = measure(|| {
        while requests.len() < COUNT {
            requests.extend(world.requests(&process));
        }
    });
    let queued = queued.bytes_current;
    let waits = queued + waits.bytes_current;
    let taken = waits + taken.bytes_current;
    let [queued, waits, taken] = [queued, waits, taken].map(each);
    std::println!(
        "{queued} bytes are held by a call that was not sent, {waits} by one that waits, {taken} by one that was taken"
    );
    for held in [queued, waits, taken] {
        assert!((50..=CALL).contains(&held), "{held} bytes");
    }
    for request in requests {
        world.answer(B, request, b"").expect("it waits");
    }
    world.settle();
    assert_eq!(world.outcomes(A).len(), COUNT);
    world.assert_nothing_is_open();
}
