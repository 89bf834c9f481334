use super::*;

fn bodies(items: &[MailboxItem]) -> Vec<&[u8]> {
    items.iter().filter_map(|item| if let MailboxItem::Cast { body } = item { Some(&**body) } else { None }).collect()
}

#[test]
fn casts_arrive_in_order_and_wake_the_owner_once() {
    for sender in [A, B] {
        let mut world = World::new();
        let process = world.open(B);
        for body in ["one", "two", "three"] {
            assert_eq!(world.cast(sender, &process, body), Ok(()));
        }
        world.settle();
        assert_eq!(world.actions(B), [ProcessAction::Mailbox(process.number())]);
        assert_eq!(bodies(&world.take(&process)), [b"one".as_slice(), b"two", b"three"]);
        // It is woken again by the first that comes to an empty mailbox.
        world.cast(sender, &process, "four").expect("connected");
        world.settle();
        assert_eq!(world.actions(B), [ProcessAction::Mailbox(process.number())]);
    }
}

#[test]
fn what_finds_a_mailbox_full_is_counted_in_its_place() {
    let mut world = World::with_limits(Limits::default().mailbox_messages(2));
    let process = world.open(B);
    for body in ["one", "two", "lost", "lost"] {
        world.cast(A, &process, body).expect("connected");
    }
    world.settle();
    // A batch counts until the next one is taken.
    let items = world.take(&process);
    assert_eq!(bodies(&items), [b"one".as_slice(), b"two"]);
    assert_eq!(items.last(), Some(&MailboxItem::Overrun { missed: 2 }));
    world.cast(A, &process, "lost").expect("connected");
    world.settle();
    assert_eq!(world.take(&process), [MailboxItem::Overrun { missed: 1 }]);
    world.cast(A, &process, "three").expect("connected");
    world.settle();
    assert_eq!(bodies(&world.take(&process)), [b"three"]);
    assert_eq!(world.sides[B].host.counters.casts_dropped, 3);
}

#[test]
fn who_cancels_calls_between_casts_piles_nothing_up_in_a_full_mailbox() {
    let mut world = World::with_limits(Limits::default().mailbox_messages(3));
    let process = world.open(B);
    world.cast(A, &process, "one").expect("connected");
    world.cast(A, &process, "two").expect("connected");
    world.settle();
    for _ in 0..1000 {
        // Given: one place left. The call takes it, the cast finds none, and the call goes again.
        let call = world.call(A, &process, b"");
        world.cast(A, &process, "lost").expect("connected");
        world.settle();
        world.command(A, ProcessInput::Cancel { call });
        world.settle();
        let waiting = world.sides[B].processes.table.get(process.number()).expect("it is open").mailbox().waiting().count();
        assert!(waiting <= 12, "{waiting} items wait in a mailbox of three messages");
    }
    let missed = |item: &MailboxItem| if let MailboxItem::Overrun { missed } = item { Some(*missed) } else { None };
    let items = world.take(&process);
    assert_eq!(bodies(&items), [b"one".as_slice(), b"two"]);
    assert_eq!(items.iter().filter_map(missed).sum::<u64>(), 1000, "what was lost is counted");
}

#[test]
fn bytes_are_bounded_for_each_mailbox_and_for_all() {
    let overhead = super::super::mailbox::MESSAGE_OVERHEAD;
    for limits in [Limits::default().mailbox_bytes(200 + 2 * overhead), Limits::default().mailboxes_bytes(200 + 2 * overhead)] {
        let mut world = World::with_limits(limits);
        let process = world.open(B);
        for _ in 0..2 {
            world.cast(A, &process, std::vec![1; 100]).expect("connected");
        }
        world.settle();
        world.cast(A, &process, "").expect("connected");
        world.settle();
        let items = world.take(&process);
        assert_eq!((bodies(&items).len(), items.last()), (2, Some(&MailboxItem::Overrun { missed: 1 })));
    }
    // The limit of all is not one mailbox's own.
    let mut world = World::with_limits(Limits::default().mailboxes_bytes(100 + overhead));
    let (first, second) = (world.open(B), world.open(B));
    world.cast(B, &first, std::vec![1; 100]).expect("local");
    world.cast(B, &second, "").expect("local");
    assert_eq!(world.take(&second), [MailboxItem::Overrun { missed: 1 }]);
    world.exit(&first, ExitReason::Normal, 0);
    world.cast(B, &second, std::vec![1; 100]).expect("local");
    assert_eq!(world.take(&second).len(), 1);
}

#[test]
fn a_queue_that_is_full_takes_no_cast_but_a_first_one() {
    let mut world = World::with_limits(Limits::default().message_bytes(100).send_queue_bytes(100));
    let process = world.open(B);
    assert_eq!(world.cast(A, &process, std::vec![1; 100]), Ok(()));
    let to = world.sides[B].id.clone();
    assert_eq!(world.cast(A, &process, ""), Err(CastError::QueueFull { to }));
    world.release(A);
    assert_eq!(world.cast(A, &process, ""), Ok(()));
}

#[test]
fn a_cast_to_nobody_or_of_another_protocol_is_counted() {
    let mut world = World::new();
    let process = world.open(B);
    let to = Box::new(Destination::Process(process.clone()));
    world.command(A, ProcessInput::Cast { body: Bytes::new(), protocol: OTHER, to });
    let nobody = ProcessId::new(process.node().clone(), process.incarnation(), 99);
    world.cast(A, &nobody, "").expect("connected");
    let gone = ProcessId::new(process.node().clone(), Incarnation([9; 16]), 1);
    world.cast(A, &gone, "").expect("it is known to be gone, and nobody hears");
    world.settle();
    assert_eq!(world.take(&process), []);
    assert_eq!(world.sides[B].host.counters.casts_dropped + world.sides[A].host.counters.casts_dropped, 3);
}

#[test]
fn a_large_signal_is_sent_in_pieces_and_is_whole_at_the_other_end() {
    use crate::wire::message::{Assembler, kind};
    use crate::wire::record::{Opener, RecordBuilder, Sealer};

    let mut world = World::new();
    let process = world.open(B);
    let body: Vec<u8> = (0..300_000_u32).map(|n| u8::try_from(n % 251).expect("small")).collect();
    world.cast(A, &process, body.clone()).expect("connected");
    world.cast(A, &process, "behind it").expect("connected");
    let (mut sealer, mut opener) = (Sealer::new(crate::wire::keys::hmac(&[])), Opener::new(crate::wire::keys::hmac(&[])));
    let (mut assembler, peer, mut records) = (Assembler::default(), world.sides[A].peer, 0);
    loop {
        let mut record = RecordBuilder::with_capacity(0);
        while world.with(A, |processes, cx| processes.write(cx, peer, &mut record)) {}
        if record.is_empty() {
            break;
        }
        records += 1;
        let sealed = sealer.seal(record).slice(4..);
        let messages: Vec<(u8, Vec<u8>)> = opener
            .open(&sealed)
            .expect("sealed")
            .map(|message| message.map(|(kind, body)| (kind, body.to_vec())).expect("whole"))
            .collect();
        for (kind, piece) in messages {
            assert_eq!(kind & !kind::MORE, kind::SIGNAL);
            let record = Bytes::from(piece);
            if let Some(signal) = assembler.push(&record, &record, kind & kind::MORE != 0, 1 << 20).expect("within the limit") {
                assert_eq!(world.receive(B, &signal), Ok(()));
            }
        }
    }
    assert_eq!(records, 5);
    assert_eq!(bodies(&world.take(&process)), [body.as_slice(), b"behind it"]);
}
