//! Processes: mailboxes, names, monitors, and how processes end.

#![expect(missing_docs, reason = "the name of a scenario says what must hold")]

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use futures_lite::future;
use noex_driver::{
    Address, CallError, CastError, Cluster, ClusterNotStartedError, Ending, ExitReason, InvalidProcessNameError, Item, Limits,
    Mailbox, MonitorError, OpenError, ProcessId, Protocol, RegisterError, Reply, Runtime, run,
};
use serde::{Deserialize, Serialize};

use crate::common::*;

/// The protocol of the scenarios: a counter that can do a little more.
#[derive(Debug, Deserialize, Serialize)]
pub enum Counter {
    Add { by: u64, reply: Reply<u64> },
    Get(Reply<u64>),
    Put(u64),
    Echo { text: String, reply: Reply<String> },
    Whoami(Reply<ProcessId>),
}

impl Protocol for Counter {
    const NAME: &'static str = "counter/1";
}

/// Runs a task in the background; for the test's own thread alone.
pub fn spawn<R: Runtime>(task: impl Future<Output = ()> + Send + 'static) {
    R::current().unwrap().spawn(task);
}

/// A process that counts until it is asked to stop.
pub fn counter<R: Runtime>(cluster: &Cluster<R>) -> Address<Counter> {
    let mut mailbox = cluster.open::<Counter>().unwrap();
    let address = mailbox.address();
    spawn::<R>(async move {
        let mut n = 0;
        while let Some(message) = mailbox.next().await {
            match message {
                Counter::Add { by, reply } => {
                    n += by;
                    reply.send(n);
                }
                Counter::Get(reply) => reply.send(n),
                Counter::Put(to) => n = to,
                Counter::Echo { text, reply } => reply.send(text),
                Counter::Whoami(reply) => reply.send(mailbox.id().clone()),
            }
        }
    });
    address
}

/// Two nodes, and for each of them the same process's address as seen from there: it runs on the first.
pub(crate) async fn seen_from_both<R: Runtime, M: Protocol>(
    a: &Cluster<R>,
    b: &Cluster<R>,
    of_a: &Address<M>,
) -> [Address<M>; 2] {
    meet(a, b).await;
    let noex_driver::Destination::Process(id) = of_a.destination().clone() else { panic!("it is a process's") };
    [of_a.clone(), b.address(id)]
}

pub async fn a_process_is_opened_called_and_named_from_both_nodes<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    let mut n = 0;
    for counter in seen_from_both(&a, &b, &counter(&a)).await {
        assert_eq!(patient(counter.call(|reply| Counter::Add { by: 2, reply })).await, Ok(n + 2));
        assert_eq!(patient(counter.call(Counter::Get)).await, Ok(n + 2));
        counter.cast(Counter::Put(40 + n)).unwrap();
        // From one node to one process everything arrives in order.
        n += 40;
        assert_eq!(patient(counter.call(Counter::Get)).await, Ok(n));
        let id = patient(counter.call(Counter::Whoami)).await.unwrap();
        assert_eq!((id.node(), counter.node()), (&seed(&a).parse().unwrap(), id.node()));
        assert_eq!(counter, a.address(id));
    }
}

pub async fn messages_from_one_node_arrive_in_order<R: Runtime>() {
    const COUNT: u64 = 3_000;
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    let mut mailbox = a.open::<Counter>().unwrap();
    let addresses = seen_from_both(&a, &b, &mailbox.address()).await;
    for address in addresses {
        let tell = async {
            for number in 0..COUNT {
                eventually("there is room", || match address.cast(Counter::Put(number)) {
                    Ok(()) => true,
                    Err(CastError::QueueFull { .. }) => false,
                    Err(error) => panic!("{error}"),
                })
                .await;
                if number % 500 == 499 {
                    // The mailbox holds no more than a thousand.
                    patient(address.call(Counter::Get)).await.unwrap();
                }
            }
        };
        let hear = async {
            let mut next = 0;
            while next < COUNT {
                match patient(mailbox.next()).await.unwrap() {
                    Counter::Put(number) => {
                        assert_eq!(number, next);
                        next += 1;
                    }
                    Counter::Get(reply) => {
                        assert_eq!(next % 500, 0);
                        reply.send(next);
                    }
                    other => panic!("{other:?}"),
                }
            }
            match patient(mailbox.next()).await.unwrap() {
                Counter::Get(reply) => reply.send(next),
                other => panic!("{other:?}"),
            }
        };
        future::zip(tell, hear).await;
    }
}

/// How a process ends, with what those hear who watch it.
type End = (fn(Mailbox<Counter>), ExitReason);

pub async fn a_process_ends_with_a_true_reason<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    let endings: [End; 5] = [
        (drop, ExitReason::error("mailbox dropped")),
        (|mailbox| mailbox.exit(ExitReason::Normal), ExitReason::Normal),
        (|mailbox| mailbox.exit(ExitReason::error("over")), ExitReason::error("over")),
        (
            |mailbox| {
                let panics = AssertUnwindSafe(|| {
                    let _mailbox = mailbox;
                    panic!("a handler's")
                });
                catch_unwind(panics).unwrap_err();
            },
            ExitReason::error("panicked"),
        ),
        // A text is cut at 256 bytes.
        (|mailbox| mailbox.exit(ExitReason::Error("x".repeat(1000).into())), ExitReason::error("x".repeat(256))),
    ];
    for (end, reason) in endings {
        let mailbox = a.open::<Counter>().unwrap();
        let [here, there] = seen_from_both(&a, &b, &mailbox.address()).await;
        let (mut one, mut other) = (Box::pin(here.exited()), Box::pin(there.exited()));
        assert_eq!(future::poll_once(&mut one).await, None);
        assert_eq!(future::poll_once(&mut other).await, None);
        // The monitor of the other node is there before a call behind it.
        assert_eq!(patient(b.address::<Counter>(counter_id(&counter(&a))).call(Counter::Get)).await, Ok(0));
        end(mailbox);
        assert_eq!((patient(one).await, patient(other).await), (Ok(reason.clone()), Ok(reason)));
        for gone in [here, there] {
            assert_eq!(patient(gone.exited()).await, Ok(ExitReason::NoProcess));
            assert_eq!(patient(gone.call(Counter::Get)).await, Err(CallError::NoProcess));
            assert_eq!(gone.cast(Counter::Put(1)), Ok(()));
            assert_eq!(gone.stop(ExitReason::Shutdown), Ok(()));
        }
    }
}

/// The process of an address.
pub(crate) fn counter_id(counter: &Address<Counter>) -> ProcessId {
    match counter.destination() {
        noex_driver::Destination::Process(id) => id.clone(),
        other => panic!("{other} is a process"),
    }
}

pub async fn a_function_that_is_a_process_ends_it_with_its_result<R: Runtime>() {
    type Outcome = Result<(), String>;
    let a = start::<R>(lively("a")).await;
    let cases: [(fn() -> Outcome, ExitReason); 3] = [
        (|| Ok(()), ExitReason::Normal),
        (|| Err("no such job".into()), ExitReason::error("no such job")),
        (|| panic!("{} jobs", 3), ExitReason::error("3 jobs")),
    ];
    for (result, reason) in cases {
        ends_with(&a, result, reason).await;
    }
    // One that gives nothing, and one that gives the reason itself.
    ends_with(&a, || (), ExitReason::Normal).await;
    ends_with(&a, || ExitReason::Shutdown, ExitReason::Shutdown).await;
}

async fn ends_with<R: Runtime, T: Ending + 'static>(a: &Cluster<R>, result: fn() -> T, reason: ExitReason) {
    let mailbox = a.open::<Counter>().unwrap();
    let address = mailbox.address();
    spawn::<R>(async move {
        run(mailbox, async |mailbox| {
            let Some(Counter::Put(1)) = mailbox.next().await else { panic!("a message") };
            result()
        })
        .await;
    });
    let mut exited = Box::pin(address.exited());
    assert_eq!(future::poll_once(&mut exited).await, None);
    address.cast(Counter::Put(1)).unwrap();
    assert_eq!(patient(exited).await, Ok(reason));
}

pub async fn what_a_function_gives_after_a_request_to_stop_is_the_reason_or_that_of_the_request<R: Runtime>() {
    let a = start::<R>(lively("a")).await;
    let cases: [(Result<(), &str>, ExitReason); 2] =
        [(Ok(()), ExitReason::error("too old")), (Err("not saved"), ExitReason::error("not saved"))];
    for (result, reason) in cases {
        let mailbox = a.open::<Counter>().unwrap();
        mailbox.address().stop(ExitReason::error("too old")).unwrap();
        let body = async |mailbox: &mut Mailbox<Counter>| {
            assert!(mailbox.next().await.is_none());
            result
        };
        assert_eq!(patient(run(mailbox, body)).await, reason);
    }
}

pub async fn the_end_of_a_process_is_waited_for_in_a_task_of_its_own<R: Runtime>() {
    let a = start::<R>(lively("a")).await;
    let mailbox = a.open::<Counter>().unwrap();
    let exited = mailbox.address().exited();
    let (told, tells) = async_channel::bounded(1);
    spawn::<R>(async move { told.send(exited.await).await.unwrap() });
    mailbox.exit(ExitReason::error("out of paper"));
    let reason = patient(tells.recv()).await.unwrap().unwrap();
    // It watches from the first poll on, which may have been too late.
    assert!(matches!(reason.as_error(), Some("out of paper")) || reason == ExitReason::NoProcess, "{reason}");
}

pub async fn a_request_to_stop_ends_the_loop_behind_what_was_sent_before<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    for there in [false, true] {
        let mut mailbox = a.open::<Counter>().unwrap();
        let address = seen_from_both(&a, &b, &mailbox.address()).await[usize::from(there)].clone();
        let mut exited = Box::pin(address.exited());
        assert_eq!(future::poll_once(&mut exited).await, None);
        address.cast(Counter::Put(1)).unwrap();
        address.stop(ExitReason::error("too old")).unwrap();
        let mut behind = Box::pin(address.call(Counter::Get));
        assert_eq!(future::poll_once(&mut behind).await, None);
        assert!(matches!(patient(mailbox.next()).await, Some(Counter::Put(1))));
        assert!(patient(mailbox.next()).await.is_none());
        assert!(patient(mailbox.next_item()).await.is_none(), "and ever after");
        drop(mailbox);
        assert_eq!(patient(behind).await, Err(CallError::NoProcess));
        assert_eq!(patient(exited).await, Ok(ExitReason::error("too old")));
    }
}

pub async fn a_monitor_tells_once_behind_the_last_words_and_not_after_it_was_removed<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    for there in [false, true] {
        let watcher_at = if there { &b } else { &a };
        let mut watcher = watcher_at.open::<Counter>().unwrap();
        let back: Address<Counter> = a.address(watcher.id().clone());
        let mut watched = a.open::<Counter>().unwrap();
        let address = watcher_at.address::<Counter>(watched.id().clone());
        let monitor = watcher.monitor(&address).unwrap();
        let removed = watcher.monitor(&address).unwrap();
        drop(removed);
        // The monitors are set once a message behind them has come.
        address.cast(Counter::Put(0)).unwrap();
        assert!(matches!(patient(watched.next()).await, Some(Counter::Put(0))));
        for number in 1..=3 {
            back.cast(Counter::Put(number)).unwrap();
        }
        watched.exit(ExitReason::Normal);
        for expected in 1..=3 {
            match patient(watcher.next_item()).await {
                Some(Item::Message(Counter::Put(number))) => assert_eq!(number, expected),
                other => panic!("{other:?}"),
            }
        }
        match patient(watcher.next_item()).await {
            Some(Item::Down { monitor: told, reason }) => assert_eq!((told, reason), (monitor.id(), ExitReason::Normal)),
            other => panic!("{other:?}"),
        }
        // One of what is gone tells at once; and there is no other.
        let gone = watcher.monitor(&address).unwrap();
        match patient(watcher.next_item()).await {
            Some(Item::Down { monitor: told, reason }) => assert_eq!((told, reason), (gone.id(), ExitReason::NoProcess)),
            other => panic!("{other:?}"),
        }
        back.cast(Counter::Put(4)).unwrap();
        assert!(matches!(patient(watcher.next_item()).await, Some(Item::Message(Counter::Put(4)))));
    }
}

pub async fn a_monitor_that_is_removed_while_its_notice_waits_tells_nothing<R: Runtime>() {
    let a = start::<R>(lively("a")).await;
    let mut watcher = a.open::<Counter>().unwrap();
    let watched = a.open::<Counter>().unwrap();
    let monitor = watcher.monitor(&watched.address()).unwrap();
    watcher.address().cast(Counter::Put(1)).unwrap();
    watched.exit(ExitReason::Normal);
    // Both are taken in one batch by then.
    assert!(matches!(patient(watcher.next_item()).await, Some(Item::Message(Counter::Put(1)))));
    drop(monitor);
    watcher.address().cast(Counter::Put(2)).unwrap();
    assert!(matches!(patient(watcher.next_item()).await, Some(Item::Message(Counter::Put(2)))));
}

pub async fn the_end_of_a_node_is_no_connection_for_those_who_watch_its_processes<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    let mut watcher = b.open::<Counter>().unwrap();
    let watched = counter(&a);
    let [_, there] = seen_from_both(&a, &b, &watched).await;
    let monitor = watcher.monitor(&there).unwrap();
    let exited = async { patient(there.exited()).await };
    let stop = async {
        assert_eq!(patient(there.call(Counter::Get)).await, Ok(0));
        patient(a.stop()).await;
    };
    // It left in order: its processes ended before.
    let (reason, ()) = future::zip(exited, stop).await;
    assert_eq!(reason, Ok(ExitReason::Shutdown));
    match patient(watcher.next_item()).await {
        Some(Item::Down { monitor: told, reason }) => assert_eq!((told, reason), (monitor.id(), ExitReason::Shutdown)),
        other => panic!("{other:?}"),
    }
    // Without a session nobody knows.
    assert_eq!(patient(there.exited()).await, Ok(ExitReason::NoConnection));
    let _monitor = watcher.monitor(&there).unwrap();
    assert!(matches!(patient(watcher.next_item()).await, Some(Item::Down { reason: ExitReason::NoConnection, .. })));
}

pub async fn a_name_is_of_one_process_of_its_node_until_that_ends<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a").limits(Limits::default().local_names(1)), lively("b")).await;
    let here = a.named::<Counter>(id(&a), "counter").unwrap();
    let there = b.named::<Counter>(id(&a), "counter").unwrap();
    for named in [&here, &there] {
        assert_eq!(patient(named.call(Counter::Get)).await, Err(CallError::NoProcess));
    }
    let mut first = a.open::<Counter>().unwrap();
    let second = a.open::<Counter>().unwrap();
    first.register("counter").unwrap();
    assert_eq!(a.registered("counter"), Ok(Some(first.id().clone())));
    assert_eq!(b.registered("counter"), Ok(None));
    assert_eq!(second.register("counter"), Err(RegisterError::Taken { by: first.id().clone() }));
    assert_eq!(second.register("another"), Err(RegisterError::TooMany { limit: 1 }));
    // What is no name is said to be none, and nothing is sent.
    let invalid = |error: &InvalidProcessNameError| error.to_string().ends_with("it must not be empty");
    assert!(matches!(second.register(""), Err(RegisterError::InvalidName(error)) if invalid(&error)));
    assert!(second.unregister("").is_err_and(|error| invalid(&error)));
    assert!(a.registered("").is_err_and(|error| invalid(&error)));
    assert!(a.named::<Counter>(id(&a), String::new()).is_err_and(|error| invalid(&error)));
    // A name of another process is not given up.
    second.unregister("counter").unwrap();
    for named in [&here, &there] {
        let serve = async {
            match patient(first.next()).await {
                Some(Counter::Get(reply)) => reply.send(7),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(future::zip(patient(named.call(Counter::Get)), serve).await.0, Ok(7));
    }
    drop(first);
    assert_eq!(a.registered("counter"), Ok(None));
    second.register("counter").unwrap();
    second.unregister("counter").unwrap();
    assert_eq!(a.registered("counter"), Ok(None));
}

pub async fn a_full_mailbox_is_busy_for_calls_and_says_what_casts_it_missed<R: Runtime>() {
    let limits = || Limits::default().mailbox_messages(3);
    let (a, b) = pair::<R>(lively("a").limits(limits()), lively("b")).await;
    let mut mailbox = a.open::<Counter>().unwrap();
    for address in seen_from_both(&a, &b, &mailbox.address()).await {
        for number in 0..5 {
            address.cast(Counter::Put(number)).unwrap();
        }
        assert_eq!(patient(address.call(Counter::Get)).await, Err(CallError::Busy));
        for expected in 0..3 {
            assert!(matches!(patient(mailbox.next_item()).await, Some(Item::Message(Counter::Put(n))) if n == expected));
        }
        match patient(mailbox.next_item()).await {
            Some(Item::Overrun { missed }) => assert_eq!(missed, 2),
            other => panic!("{other:?}"),
        }
        // It has room again once its owner asks for more.
        assert!(future::poll_once(mailbox.next_item()).await.is_none());
        address.cast(Counter::Put(9)).unwrap();
        assert!(matches!(patient(mailbox.next_item()).await, Some(Item::Message(Counter::Put(9)))));
        assert!(future::poll_once(mailbox.next_item()).await.is_none());
    }
}

pub async fn a_node_that_does_not_run_has_no_processes<R: Runtime>() {
    let a = Cluster::<R>::new();
    let not_started = ClusterNotStartedError::default();
    assert_eq!(a.open::<Counter>().unwrap_err(), OpenError::NotStarted(not_started));
    a.start(lively("a").limits(Limits::default().processes(2))).await.unwrap();
    let (mut mailbox, _other) = (a.open::<Counter>().unwrap(), a.open::<Counter>().unwrap());
    assert_eq!(a.open::<Counter>().unwrap_err(), OpenError::TooMany { limit: 2 });
    let (address, port) = (mailbox.address(), id(&a).port());
    let mut open = Box::pin(address.call(Counter::Get));
    assert_eq!(future::poll_once(&mut open).await, None);
    let loop_ends = async {
        while patient(mailbox.next()).await.is_some() {}
        // A process that stays is ended by its node.
        mailbox
    };
    let ((), mailbox) = future::zip(patient(a.stop()), loop_ends).await;
    assert_eq!(patient(open).await, Err(CallError::NoProcess));
    assert_eq!(patient(address.call(Counter::Get)).await, Err(CallError::NotStarted(not_started)));
    assert_eq!(address.cast(Counter::Put(1)), Err(CastError::NotStarted(not_started)));
    assert_eq!(patient(address.exited()).await, Err(MonitorError::NotStarted(not_started)));
    assert!(matches!(mailbox.monitor(&address), Err(MonitorError::NotStarted(_))));
    assert_eq!(mailbox.register("n"), Err(RegisterError::NotStarted(not_started)));

    // An old mailbox ends nothing of the next run, whatever numbers that has.
    a.start(lively("a").port(port)).await.unwrap();
    let now = counter(&a);
    assert_eq!(patient(address.call(Counter::Get)).await, Err(CallError::NoProcess), "of another start");
    drop(mailbox);
    assert_eq!(patient(now.call(Counter::Get)).await, Ok(0));
}

pub async fn peers_see_how_many_processes_there_are<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    a.set_process_count(5);
    let mailboxes: Vec<_> = (0..3).map(|_| a.open::<Counter>().unwrap()).collect();
    let count = || b.node(&id(&a)).unwrap().map(|node| node.process_count);
    eventually("three mailboxes and five others", || count() == Some(8)).await;
    drop(mailboxes);
    eventually("five others", || count() == Some(5)).await;
}

/// Has each process tell by a channel that it was woken.
async fn tell_wakes(mut mailbox: Mailbox<Counter>, woken: Sender<u64>) {
    while let Some(message) = mailbox.next().await {
        if let Counter::Put(number) = message {
            woken.send(number).await.unwrap();
        }
    }
}

pub async fn a_message_reaches_its_process_among_many<R: Runtime>() {
    const COUNT: u64 = 1_000;
    let a = start::<R>(lively("a")).await;
    let (woken, wakes): (Sender<u64>, Receiver<u64>) = async_channel::unbounded();
    let mut addresses = Vec::new();
    for _ in 0..COUNT {
        let mailbox = a.open::<Counter>().unwrap();
        addresses.push(mailbox.address());
        spawn::<R>(tell_wakes(mailbox, woken.clone()));
    }
    let ids: BTreeSet<ProcessId> = addresses.iter().map(counter_id).collect();
    assert_eq!(ids.len() as u64, COUNT);
    for (number, address) in (0..COUNT).zip(&addresses) {
        address.cast(Counter::Put(number)).unwrap();
    }
    let mut heard = BTreeSet::new();
    for _ in 0..COUNT {
        heard.insert(patient(wakes.recv()).await.unwrap());
    }
    assert_eq!(heard, (0..COUNT).collect());
}

pub async fn a_mailbox_may_be_read_on_any_thread<R: Runtime>() {
    let a = start::<R>(lively("a")).await;
    let mut mailbox = a.open::<Counter>().unwrap();
    let address = mailbox.address();
    let reader = thread::spawn(move || {
        future::block_on(async {
            match mailbox.next().await {
                Some(Counter::Get(reply)) => reply.send(3),
                other => panic!("{other:?}"),
            }
        });
    });
    assert_eq!(patient(address.call(Counter::Get).timeout(Duration::from_secs(30))).await, Ok(3));
    reader.join().unwrap();
}
