use super::*;

#[test]
fn a_monitor_fires_once_with_the_reason_behind_all_that_was_said_before() {
    for watched_on in [A, B] {
        let mut world = World::new();
        let (watcher, process) = (world.open(A), world.open(watched_on));
        let monitor = world.monitor(A, Some(&watcher), &process);
        let of_a_task = world.monitor(A, None, &process);
        world.settle();
        world.cast(watched_on, &watcher, "last words").expect("connected");
        world.exit(&process, ExitReason::error("oh"), 0);
        world.settle();
        let reason = ExitReason::error("oh");
        assert!(world.actions(A).contains(&ProcessAction::MonitorFired { monitor: of_a_task, reason: reason.clone() }));
        let last_words = MailboxItem::Cast { body: Bytes::from_static(b"last words") };
        assert_eq!(world.take(&watcher), [last_words, MailboxItem::Down { monitor, reason }]);
        world.assert_nothing_is_open();
    }
}

#[test]
fn what_is_not_there_is_down_at_once() {
    let mut world = World::new();
    let (watcher, process) = (world.open(A), world.open(B));
    world.exit(&process, ExitReason::Normal, 0);
    let gone = ProcessId::new(process.node().clone(), Incarnation([9; 16]), 1);
    let elsewhere = ProcessId::new("c@10.0.0.3:4369".parse().expect("valid"), Incarnation([9; 16]), 1);
    let expected = [
        (world.monitor(A, Some(&watcher), &gone), ExitReason::NoProcess),
        (world.monitor(A, Some(&watcher), &elsewhere), ExitReason::NoConnection),
        (world.monitor(A, Some(&watcher), &process), ExitReason::NoProcess),
    ];
    world.settle();
    let down = |(monitor, reason)| MailboxItem::Down { monitor, reason };
    assert_eq!(world.take(&watcher), expected.map(down));
    world.assert_nothing_is_open();
}

#[test]
fn the_end_of_the_session_is_the_end_of_what_is_watched() {
    let mut world = World::new();
    let (watcher, process) = (world.open(A), world.open(B));
    let sent = world.monitor(A, Some(&watcher), &process);
    world.settle();
    let waits = world.monitor(A, Some(&watcher), &process);
    world.disconnect();
    let reason = ExitReason::NoConnection;
    let down = |monitor| MailboxItem::Down { monitor, reason: reason.clone() };
    assert_eq!(world.take(&watcher), [down(sent), down(waits)]);
    // It is not watched again, and its end is told to nobody.
    world.connect();
    world.exit(&process, ExitReason::Normal, 0);
    world.settle();
    assert_eq!(world.take(&watcher), []);
    world.assert_nothing_is_open();
}

#[test]
fn a_monitor_that_was_removed_does_not_fire_wherever_it_is() {
    let mut world = World::new();
    let (watcher, process) = (world.open(A), world.open(B));
    let remove = |world: &mut World, monitor| {
        world.command(A, ProcessInput::Demonitor { monitor, watcher: Some(watcher.number()) });
    };
    // Before it has left; while the process lives; while the notice of its end is on its way; while that waits in the mailbox.
    let monitor = world.monitor(A, Some(&watcher), &process);
    remove(&mut world, monitor);
    world.settle();
    world.assert_nothing_is_open();
    let monitor = world.monitor(A, Some(&watcher), &process);
    world.settle();
    remove(&mut world, monitor);
    world.settle();
    world.assert_nothing_is_open();
    let crossing = world.monitor(A, Some(&watcher), &process);
    let notified = world.monitor(A, Some(&watcher), &process);
    world.settle();
    world.exit(&process, ExitReason::Normal, 0);
    world.release(B);
    remove(&mut world, crossing);
    world.settle();
    remove(&mut world, notified);
    world.settle();
    assert_eq!(world.take(&watcher), []);
    world.assert_nothing_is_open();
    remove(&mut world, notified);
}

#[test]
fn the_end_of_the_watcher_removes_its_monitors() {
    let mut world = World::new();
    let (watcher, process) = (world.open(A), world.open(B));
    world.monitor(A, Some(&watcher), &process);
    world.settle();
    world.exit(&watcher, ExitReason::Normal, 0);
    world.settle();
    world.assert_nothing_is_open();
    world.exit(&process, ExitReason::Normal, 0);
    world.settle();
    world.assert_nothing_is_open();
}

#[test]
fn a_process_has_as_many_monitors_and_untaken_notices_as_it_may() {
    let mut world = World::with_limits(Limits::default().monitors_per_process(2));
    let (watcher, process) = (world.open(A), world.open(B));
    let to = Destination::Process(process.clone());
    world.monitor(A, Some(&watcher), &process);
    world.monitor(A, Some(&watcher), &process);
    assert!(matches!(world.try_monitor(A, Some(&watcher), &to), Err(MonitorError::QueueFull { .. })));
    world.disconnect();
    assert!(matches!(world.try_monitor(A, Some(&watcher), &to), Err(MonitorError::QueueFull { .. })), "notices wait");
    assert_eq!(world.take(&watcher).len(), 2);
    assert!(world.try_monitor(A, Some(&watcher), &to).is_ok());
}

#[test]
fn all_of_many_monitors_fire() {
    let mut world = World::new();
    let (watcher, process) = (world.open(A), world.open(B));
    world.limits = Limits::default().monitors_per_process(usize::MAX);
    world.audits = false;
    for _ in 0..super::super::slots::SLOTS_MAX {
        world.monitor(A, Some(&watcher), &process);
        world.release(A);
        world.deliver(B);
    }
    let to = Destination::Process(process.clone());
    assert!(matches!(world.try_monitor(A, None, &to), Err(MonitorError::QueueFull { .. })));
    world.exit(&process, ExitReason::Normal, 0);
    world.release(B);
    world.deliver(A);
    let mut fired = 0;
    loop {
        let items = world.take(&watcher);
        if items.is_empty() {
            break;
        }
        fired += items.len();
    }
    assert_eq!(fired, super::super::slots::SLOTS_MAX);
    world.assert_nothing_is_open();
}
