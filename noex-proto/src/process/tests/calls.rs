use super::*;

#[test]
fn a_call_is_answered_and_nothing_is_left_of_it() {
    for caller in [A, B] {
        // Given: a process on b, called from the other node and from its own.
        let mut world = World::new();
        let process = world.open(B);
        let call = world.call(caller, &process, b"ping");
        world.settle();
        let items = world.take(&process);
        let [MailboxItem::Call { body, request, .. }] = items.as_slice() else { panic!("{items:?}") };
        assert_eq!(body, "ping");
        assert_eq!(world.answer(B, *request, b"pong"), Ok(()));
        world.settle();
        let ended = ProcessAction::CallEnded { call, outcome: Ok(Bytes::from_static(b"pong")) };
        assert!(world.actions(caller).contains(&ended));
        world.assert_nothing_is_open();
        // A second answer is nobody's.
        assert_eq!(world.answer(B, *request, b"pong"), Err(AnswerError::Over));
    }
}

#[test]
fn what_cannot_begin_fails_at_once() {
    let mut world = World::new();
    let process = world.open(B);
    let to = Destination::Process(process.clone());
    // A node that is not connected, one without processes, and an incarnation that is gone.
    let nowhere = Destination::Named { node: "c@10.0.0.3:4369".parse().expect("valid"), name: "x".try_into().expect("valid") };
    assert!(matches!(world.try_call(A, &nowhere, b""), Err(CallError::NotConnected { .. })));
    let gone = ProcessId::new(process.node().clone(), Incarnation([9; 16]), 1);
    assert_eq!(world.try_call(A, &Destination::Process(gone), b""), Err(CallError::NoProcess));
    world.limits = Limits::default().message_bytes(3);
    assert_eq!(world.try_call(A, &to, b"four"), Err(CallError::TooLarge { limit: 3, size: 4 }));
    world.limits = Limits::default().calls_per_peer(1);
    world.call(A, &process, b"");
    assert!(matches!(world.try_call(A, &to, b""), Err(CallError::QueueFull { .. })));
    world.disconnect();
    world.connect();
    world.sides[A].capable = false;
    assert!(matches!(world.try_call(A, &to, b""), Err(CallError::Unsupported { .. })));
}

#[test]
fn a_call_that_its_node_does_not_hand_to_a_process_says_so_and_has_not_run() {
    let mut world = World::with_limits(Limits::default().mailbox_messages(1));
    let (process, other) = (world.open(B), world.open(B));
    world.exit(&other, ExitReason::Normal, 0);
    world.call(A, &other, b"");
    world.call(A, &process, b"fills the mailbox");
    world.call(A, &process, b"finds it full");
    let (to, deadline) = (Box::new(Destination::Process(process)), world.now + SECOND);
    world.command(A, ProcessInput::Call { body: Bytes::new(), deadline, protocol: OTHER, to });
    world.settle();
    let outcomes = world.outcomes(A);
    assert_eq!(outcomes, [Err(CallError::NoProcess), Err(CallError::Busy), Err(CallError::WrongProtocol)]);
    assert!(outcomes.iter().flat_map(|outcome| outcome.as_ref().err()).all(|error| !error.may_have_run()));
}

#[test]
fn a_request_that_is_not_understood_or_whose_port_is_dropped_fails_alone() {
    let mut world = World::new();
    let process = world.open(B);
    for failure in [RequestFailure::NotUnderstood("no such variant".into()), RequestFailure::Dropped] {
        world.call(A, &process, b"");
        world.settle();
        let [request] = world.requests(&process)[..] else { panic!("one call") };
        world.command(B, ProcessInput::Fail { failure, request });
        world.settle();
    }
    let outcomes = world.outcomes(A);
    assert_eq!(outcomes, [Err(CallError::NotUnderstood("no such variant".into())), Err(CallError::Dropped)]);
    world.assert_nothing_is_open();
}

#[test]
fn a_call_that_expires_before_it_leaves_is_never_sent() {
    let mut world = World::new();
    let process = world.open(B);
    world.call(A, &process, b"");
    world.pass(6 * SECOND);
    assert_eq!(world.outcomes(A), [Err(CallError::Expired)]);
    world.settle();
    assert_eq!(world.take(&process), []);
    world.assert_nothing_is_open();

    // The same where nobody looked at the clock before it was its turn.
    world.call(A, &process, b"");
    world.now = world.now + 6 * SECOND;
    world.settle();
    assert_eq!(world.outcomes(A), [Err(CallError::Expired)]);
    assert_eq!(world.take(&process), []);
    world.assert_nothing_is_open();
}

#[test]
fn a_deadline_that_passes_ends_the_call_at_both_ends() {
    for taken in [false, true] {
        let mut world = World::new();
        let process = world.open(B);
        world.call(A, &process, b"");
        world.settle();
        let requests = if taken { world.requests(&process) } else { Vec::new() };
        world.pass(6 * SECOND);
        assert_eq!(world.outcomes(A), [Err(CallError::TimedOut)]);
        let over: Vec<_> = requests.iter().map(|request| ProcessAction::RequestOver(*request)).collect();
        assert!(over.iter().all(|over| world.actions(B).contains(over)), "who handles it is told");
        world.settle();
        assert_eq!(world.take(&process), [], "it is never taken after its deadline");
        world.assert_nothing_is_open();
        if let [request] = requests[..] {
            assert_eq!(world.answer(B, request, b"late"), Err(AnswerError::Over));
        }
    }
}

#[test]
fn a_call_whose_deadline_has_passed_is_not_taken_even_where_the_timer_is_late() {
    let mut world = World::new();
    let process = world.open(B);
    world.call(A, &process, b"");
    world.settle();
    world.now = world.now + 6 * SECOND;
    assert_eq!(world.take(&process), []);
    world.pass(Duration::ZERO);
    world.settle();
    assert_eq!(world.outcomes(A), [Err(CallError::TimedOut)]);
    world.assert_nothing_is_open();
}

#[test]
fn the_callee_counts_the_time_that_was_left_when_the_call_left() {
    // Given: a call that has waited for three of its five seconds.
    let mut world = World::new();
    let process = world.open(B);
    world.call(A, &process, b"");
    world.now = world.now + 3 * SECOND;
    world.settle();
    let [MailboxItem::Call { deadline, .. }] = world.take(&process)[..] else { panic!("one call") };
    assert_eq!(deadline - world.now, 2 * SECOND);
}

#[test]
fn a_cancelled_call_is_gone_wherever_it_is() {
    // Where it still waits here, it is not sent.
    let mut world = World::new();
    let process = world.open(B);
    let call = world.call(A, &process, b"");
    world.command(A, ProcessInput::Cancel { call });
    world.settle();
    assert_eq!(world.take(&process), []);
    world.assert_nothing_is_open();
    // Where it waits in the mailbox, it is taken out of it.
    let call = world.call(A, &process, b"");
    world.settle();
    world.command(A, ProcessInput::Cancel { call });
    world.settle();
    assert_eq!(world.take(&process), []);
    world.assert_nothing_is_open();
    // Where it is being handled, that is told.
    let call = world.call(A, &process, b"");
    world.settle();
    let [request] = world.requests(&process)[..] else { panic!("one call") };
    world.command(A, ProcessInput::Cancel { call });
    world.settle();
    assert!(world.actions(B).contains(&ProcessAction::RequestOver(request)));
    world.assert_nothing_is_open();
    assert_eq!(world.outcomes(A), [], "nobody waits for an outcome");
    assert_eq!(world.sides[A].host.counters.calls_cancelled, 3);
}

#[test]
fn an_answer_that_crosses_the_cancel_is_late_and_no_fault() {
    let mut world = World::new();
    let process = world.open(B);
    let call = world.call(A, &process, b"");
    world.settle();
    let [request] = world.requests(&process)[..] else { panic!("one call") };
    world.answer(B, request, b"late").expect("it is open here");
    world.release(B);
    world.command(A, ProcessInput::Cancel { call });
    world.settle();
    assert_eq!(world.outcomes(A), []);
    assert_eq!(world.sides[A].host.counters.late_answers, 1);
    world.assert_nothing_is_open();
}

#[test]
fn a_place_is_used_again_only_behind_the_cancel_of_its_call() {
    let mut world = World::new();
    let process = world.open(B);
    for _ in 0..3 {
        let call = world.call(A, &process, b"given up");
        world.release(A);
        world.command(A, ProcessInput::Cancel { call });
        world.release(A);
        world.call(A, &process, b"the next one with this place");
        world.release(A);
        world.deliver(B);
        let [request] = world.requests(&process)[..] else { panic!("one call") };
        world.answer(B, request, b"").expect("open");
        world.settle();
        assert_eq!(world.outcomes(A), [Ok(Bytes::new())]);
    }
    world.assert_nothing_is_open();
}

#[test]
fn the_end_of_a_session_ends_its_calls_and_tells_whether_they_had_left() {
    let mut world = World::new();
    let process = world.open(B);
    world.call(A, &process, b"sent");
    world.settle();
    let [request] = world.requests(&process)[..] else { panic!("one call") };
    world.call(A, &process, b"waits to be sent");
    world.disconnect();
    let to = world.sides[B].id.clone();
    let outcomes = world.outcomes(A);
    assert_eq!(outcomes, [Err(CallError::Disconnected(NodeDownReason::ConnectionClosed)), Err(CallError::NotConnected { to })]);
    assert!(world.actions(B).contains(&ProcessAction::RequestOver(request)));
    // Nothing of the old session reaches the new one.
    world.connect();
    assert_eq!(world.answer(B, request, b"of another epoch"), Err(AnswerError::Over));
    world.settle();
    assert_eq!(world.outcomes(A), []);
    world.assert_nothing_is_open();
}

#[test]
fn the_end_of_a_process_fails_what_it_has_not_taken_and_what_it_has_not_answered() {
    // Given: a process that was handed two calls and has looked at one, while a third waits.
    let mut world = World::new();
    let process = world.open(B);
    world.call(A, &process, b"taken");
    world.call(A, &process, b"in the batch");
    world.settle();
    let [MailboxItem::Call { request: taken, .. }, _] = world.take(&process)[..] else { panic!("two calls") };
    world.call(A, &process, b"waits");
    world.settle();
    world.exit(&process, ExitReason::error("oh"), 1);
    let over: Vec<_> = world.actions(B).into_iter().filter(|action| matches!(action, ProcessAction::RequestOver(_))).collect();
    assert_eq!(over, [ProcessAction::RequestOver(taken)], "its port may still be with a task");
    world.settle();
    let outcomes = world.outcomes(A);
    let exited = Err(CallError::Exited(ExitReason::error("oh")));
    assert_eq!(outcomes, [Err(CallError::NoProcess), Err(CallError::NoProcess), exited]);
    world.assert_nothing_is_open();
}

#[test]
fn answers_that_find_no_room_are_dropped_or_wait_and_the_first_always_has_room() {
    let mut world = World::with_limits(Limits::default().message_bytes(1000).send_queue_bytes(1000));
    let process = world.open(B);
    for _ in 0..4 {
        world.call(A, &process, b"");
    }
    world.settle();
    let [first, dropped, waits, later] = world.requests(&process)[..] else { panic!("four calls") };
    let large = || Bytes::from(std::vec![7; 1000]);
    assert_eq!(world.answer_with(B, first, large(), false), Ok(()));
    assert_eq!(world.answer_with(B, dropped, large(), false), Err(AnswerError::Dropped));
    assert_eq!(world.answer_with(B, waits, large(), true), Err(AnswerError::Full));
    assert_eq!(world.answer_with(B, later, large(), true), Err(AnswerError::Full));
    world.release_one(B);
    assert_eq!(
        world.actions(B).last(),
        Some(&ProcessAction::AnswerRoom(waits)),
        "the first that waits is the first that goes on"
    );
    assert_eq!(world.answer_with(B, waits, large(), true), Ok(()));
    world.settle();
    assert!(world.actions(B).contains(&ProcessAction::AnswerRoom(later)));
    assert_eq!(world.answer_with(B, later, Bytes::from(std::vec![7; 1001]), true), Err(AnswerError::Dropped));
    world.settle();
    let dropped = Err(CallError::AnswerDropped);
    assert_eq!(world.outcomes(A), [Ok(large()), dropped.clone(), Ok(large()), dropped]);
    world.assert_nothing_is_open();
}

#[test]
fn what_was_never_asked_for_is_a_fault() {
    let mut world = World::new();
    let process = world.open(B);
    world.call(A, &process, b"");
    // Before it has left, too.
    let never = 1 << 16;
    assert_eq!(world.forge(A, &Signal::Answer { number: never, body: Bytes::new() }), Err(PeerFault::NeverAsked));
    world.settle();
    for number in [0, 1, 2 << 16, u64::MAX] {
        assert_eq!(world.forge(A, &Signal::Answer { number, body: Bytes::new() }), Err(PeerFault::NeverAsked), "{number}");
        assert_eq!(world.forge(A, &Signal::Down { number, reason: ExitReason::Normal }), Err(PeerFault::NeverAsked), "{number}");
    }
    let call = |number| Signal::Call {
        number,
        to: super::super::super::wire::signal::To::Number(1),
        protocol: P,
        left: 9,
        body: Bytes::new(),
    };
    assert_eq!(world.forge(B, &call(never)), Err(PeerFault::NumberInUse));
    assert_eq!(world.forge(B, &call(5 << 16)), Err(PeerFault::NumberInUse), "the same place");
    assert_eq!(world.forge(B, &Signal::Cancel { number: 77 }), Ok(()), "a cancel may come late");
}

#[test]
fn a_local_name_is_resolved_where_the_call_arrives() {
    let mut world = World::new();
    let (first, second) = (world.open(B), world.open(B));
    let name: ProcessName = "db".try_into().expect("valid");
    let named = Destination::Named { node: first.node().clone(), name: name.clone() };
    let register = |world: &mut World, process: &ProcessId| match world
        .command(B, ProcessInput::Register { process: process.number(), name: name.clone() })
    {
        Done::Registered(registered) => registered,
        done => unreachable!("{done:?}"),
    };
    assert_eq!(register(&mut world, &first), Ok(()));
    assert_eq!(register(&mut world, &first), Ok(()), "it has it already");
    assert_eq!(register(&mut world, &second), Err(RegisterError::Taken { by: first.clone() }));
    world.try_call(A, &named, b"for the first").expect("connected");
    world.settle();
    assert_eq!(world.requests(&first).len(), 1);
    // Its end frees the name.
    world.exit(&first, ExitReason::Normal, 1);
    assert_eq!(register(&mut world, &second), Ok(()));
    world.try_call(A, &named, b"for the second").expect("connected");
    world.settle();
    assert_eq!(world.requests(&second).len(), 1);
    world.command(B, ProcessInput::Unregister { name: name.clone() });
    world.try_call(A, &named, b"for nobody").expect("connected");
    world.settle();
    assert_eq!(world.outcomes(A).last(), Some(&Err(CallError::NoProcess)));
    assert_eq!(register(&mut world, &first), Err(RegisterError::NoProcess));
}

#[test]
fn a_call_of_another_run_is_never_mistaken_for_one_of_this() {
    let mut world = World::new();
    let process = world.open(A);
    let call = world.call(A, &process, b"local");
    world.with(A, Processes::stop);
    assert_eq!(world.outcomes(A), [Err(CallError::NoProcess)], "nobody has looked at it");
    let (id, incarnation) = (world.sides[A].id.clone(), Incarnation([8; 16]));
    world.sides[A].processes.start(begin(&id, incarnation));
    let next = world.open(A);
    assert_ne!(next.number(), process.number());
    assert_ne!(world.call(A, &next, b"local"), call);
    assert_eq!(world.try_call(A, &Destination::Process(process), b""), Err(CallError::NoProcess));
}
