use super::*;

fn stop(world: &mut World, n: usize, to: &ProcessId, reason: ExitReason) {
    world.command(n, ProcessInput::RequestStop { reason, to: Box::new(Destination::Process(to.clone())) });
}

#[test]
fn a_request_to_stop_comes_in_its_place_and_is_the_last_that_is_taken() {
    let mut world = World::new();
    let process = world.open(B);
    world.cast(A, &process, "before").expect("connected");
    stop(&mut world, A, &process, ExitReason::Shutdown);
    stop(&mut world, A, &process, ExitReason::Normal);
    world.call(A, &process, b"behind it");
    world.settle();
    let before = MailboxItem::Cast { body: Bytes::from_static(b"before") };
    assert_eq!(world.take(&process), [before, MailboxItem::Stop(ExitReason::Shutdown)]);
    assert_eq!(world.take(&process), []);
    world.exit(&process, ExitReason::Shutdown, 0);
    world.settle();
    assert_eq!(world.outcomes(A), [Err(CallError::NoProcess)]);
    world.assert_nothing_is_open();
}

#[test]
fn a_node_that_stops_asks_its_processes_first_and_lets_them_speak() {
    // Given: a process with something in its mailbox, and a call that it handles.
    let mut world = World::new();
    let (process, watcher) = (world.open(B), world.open(A));
    let monitor = world.monitor(A, Some(&watcher), &process);
    world.call(A, &process, b"handled");
    world.settle();
    let [request] = world.requests(&process)[..] else { panic!("one call") };
    world.cast(A, &process, "not looked at").expect("connected");
    world.settle();
    world.with(B, Processes::drain);
    assert!(world.actions(B).contains(&ProcessAction::Stopping(process.number())));
    // Nothing is opened, and what comes finds no process.
    assert!(matches!(world.command(B, ProcessInput::Open { protocol: P }), Done::Opened(Err(OpenError::NotStarted(_)))));
    world.call(A, &process, b"too late");
    world.settle();
    assert_eq!(world.outcomes(A), [Err(CallError::NoProcess)]);
    // The request to stop stands before what is queued, and the process has the last word.
    assert_eq!(world.take(&process), [MailboxItem::Stop(ExitReason::Shutdown)]);
    assert_eq!(world.answer(B, request, b"answered"), Ok(()));
    world.cast(B, &watcher, "last words").expect("sends are allowed");
    world.exit(&process, ExitReason::Shutdown, 0);
    world.settle();
    assert_eq!(world.outcomes(A), [Ok(Bytes::from_static(b"answered"))]);
    let last_words = MailboxItem::Cast { body: Bytes::from_static(b"last words") };
    assert_eq!(world.take(&watcher), [last_words, MailboxItem::Down { monitor, reason: ExitReason::Shutdown }]);
    world.assert_nothing_is_open();
}

#[test]
fn a_process_that_does_not_end_in_time_is_ended_and_what_it_had_may_have_run() {
    let mut world = World::new();
    let process = world.open(B);
    world.call(A, &process, b"handled");
    world.settle();
    assert_eq!(world.take(&process).len(), 1);
    world.call(A, &process, b"waits");
    world.settle();
    world.with(B, Processes::drain);
    world.with(B, Processes::end_all);
    assert!(world.actions(B).contains(&ProcessAction::Ended(process.number())));
    world.settle();
    assert_eq!(world.outcomes(A), [Err(CallError::NoProcess), Err(CallError::Exited(ExitReason::Shutdown))]);
}

#[test]
fn what_is_open_when_the_node_says_no_more_ends() {
    let mut world = World::new();
    let (process, own) = (world.open(B), world.open(A));
    world.call(A, &process, b"sent");
    let monitor = world.monitor(A, None, &process);
    world.settle();
    world.call(A, &process, b"waits");
    world.with(A, Processes::stop);
    let actions = world.actions(A);
    let outcomes =
        actions.iter().filter(|action| matches!(action, ProcessAction::CallEnded { outcome: Err(CallError::Stopped), .. }));
    assert_eq!(outcomes.count(), 2);
    assert!(actions.contains(&ProcessAction::Ended(own.number())));
    assert!(actions.contains(&ProcessAction::MonitorFired { monitor, reason: ExitReason::NoConnection }));
    assert!(matches!(world.cast(A, &process, ""), Err(CastError::NotStarted(_))));
}

#[test]
fn a_process_is_watched_until_it_ends_while_its_node_stops() {
    let mut world = World::new();
    let (process, watcher) = (world.open(B), world.open(A));
    world.with(B, Processes::drain);
    let monitor = world.monitor(A, Some(&watcher), &process);
    world.settle();
    assert_eq!(world.take(&watcher), [], "it lives");
    world.exit(&process, ExitReason::Shutdown, 0);
    world.settle();
    assert_eq!(world.take(&watcher), [MailboxItem::Down { monitor, reason: ExitReason::Shutdown }]);
}

#[test]
fn what_goes_ahead_of_all_is_taken_beside_a_batch_that_was_begun() {
    let mut world = World::new();
    let process = world.open(B);
    let ahead = |world: &mut World| match world.command(B, ProcessInput::TakeAhead { process: process.number() }) {
        Done::Taken(items) => items,
        done => unreachable!("{done:?}"),
    };
    // Given: two calls in a batch of which one was looked at, one that waits, and a name that was lost.
    world.call(A, &process, b"looked at");
    world.call(A, &process, b"in the batch");
    world.settle();
    assert_eq!(world.take(&process).len(), 2);
    world.call(A, &process, b"waits");
    world.settle();
    let name = ProcessName::new("leader").expect("valid");
    world.with(B, |processes, _| processes.table.mailbox(process.number(), |mailbox| mailbox.lose(name.clone(), None)));
    assert_eq!(ahead(&mut world), [], "it does not end before what waits");
    // When it is to end, the name and the reason come before the rest of the batch, which is not passed by that.
    world.with(B, Processes::drain);
    assert_eq!(ahead(&mut world), [MailboxItem::NameLost { name, winner: None }, MailboxItem::Stop(ExitReason::Shutdown)]);
    assert_eq!(ahead(&mut world), [], "nothing follows");
    world.exit(&process, ExitReason::Shutdown, 1);
    world.settle();
    let no_process = || Err(CallError::NoProcess);
    assert_eq!(world.outcomes(A), [no_process(), no_process(), Err(CallError::Exited(ExitReason::Shutdown))]);
}
