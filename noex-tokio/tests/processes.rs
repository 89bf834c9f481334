//! Processes whose tasks and runtimes end in ways of their own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use futures_lite::{FutureExt, future};
use noex_conformance::common::{config, eventually, patient};
use noex_conformance::processes::Counter;
use noex_tokio::{CallError, Cluster, ExitReason, Limits, Mailbox, Reply, run};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn start(limits: Limits) -> Cluster {
    let cluster = Cluster::new();
    cluster.start(config("a").limits(limits)).await.unwrap();
    cluster
}

/// The port of the next call.
async fn port(mailbox: &mut Mailbox<Counter>) -> Reply<u64> {
    match patient(mailbox.next()).await {
        Some(Counter::Get(reply)) => reply,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_runtime_that_ends_under_them_ends_calls_monitors_and_mailboxes() {
    let rt = runtime();
    let cluster = rt.block_on(start(Limits::default()));
    let mut mailbox = cluster.open::<Counter>().unwrap();
    let address = mailbox.address();
    let (mut taken, mut waits) = (Box::pin(address.call(Counter::Get)), Box::pin(address.call(Counter::Get)));
    let mut exited = Box::pin(address.exited());
    future::block_on(async {
        assert_eq!(future::poll_once(&mut taken).await, None);
        assert_eq!(future::poll_once(&mut waits).await, None);
        assert_eq!(future::poll_once(&mut exited).await, None);
        let reply = port(&mut mailbox).await;
        let reader = thread::spawn(move || future::block_on(async move { (mailbox.next_item().await.is_none(), mailbox) }));
        drop(rt);
        // Each wait is over, in whatever runtime it is waited.
        assert!(patient(taken).await.unwrap_err().may_have_run());
        assert!(patient(waits).await.is_err());
        assert!(patient(exited).await.is_ok());
        patient(reply.cancelled()).await;
        reply.send(1);
        // The second call was in the batch that the mailbox had taken, and may be given yet.
        let (ended, mut mailbox) = reader.join().unwrap();
        if !ended {
            assert!(patient(mailbox.next_item()).await.is_none());
        }
        assert!(matches!(patient(address.call(Counter::Get)).await, Err(CallError::NotStarted(_))));
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_aborted_or_panics_ends_its_process_with_its_calls() {
    let cluster = start(Limits::default()).await;
    for (panics, reason) in [(false, ExitReason::error("mailbox dropped")), (true, ExitReason::error("panicked"))] {
        let mut mailbox = cluster.open::<Counter>().unwrap();
        let address = mailbox.address();
        let task = tokio::spawn(async move {
            let _reply = port(&mut mailbox).await;
            assert!(!panics, "as it was told");
            pending::<()>().await;
        });
        let watch = {
            let address = address.clone();
            tokio::spawn(async move { address.exited().await })
        };
        let mut call = Box::pin(address.call(Counter::Get));
        if !panics {
            assert_eq!(future::poll_once(&mut call).await, None);
            eventually("it was taken", || cluster.counters().requests > 0).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            task.abort();
        }
        // The port is dropped first, and tells the same.
        assert_eq!(patient(call).await, Err(CallError::Exited(reason.clone())));
        let heard = patient(watch).await.unwrap().unwrap();
        assert!(heard == reason || heard == ExitReason::NoProcess, "{heard}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_may_be_a_function_on_any_thread() {
    let cluster = start(Limits::default()).await;
    let mailbox = cluster.open::<Counter>().unwrap();
    let address = mailbox.address();
    let process = tokio::spawn(run(mailbox, async |mailbox| {
        while let Some(message) = mailbox.next().await {
            match message {
                Counter::Get(reply) => reply.send(1),
                other => return Err(format!("{other:?} is not for me")),
            }
        }
        Ok(())
    }));
    assert_eq!(address.call(Counter::Get).await, Ok(1));
    address.cast(Counter::Put(2)).unwrap();
    assert_eq!(patient(process).await.unwrap(), ExitReason::error("Put(2) is not for me"));
}

#[test]
fn a_mailbox_may_be_read_in_another_runtime_than_its_nodes() {
    let (home, elsewhere) = (runtime(), runtime());
    let cluster = home.block_on(start(Limits::default()));
    let mut mailbox = cluster.open::<Counter>().unwrap();
    let address = mailbox.address();
    elsewhere.spawn(async move { port(&mut mailbox).await.send(4) });
    assert_eq!(home.block_on(patient(address.call(Counter::Get))), Ok(4));
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_message_to_one_of_many_idle_processes_wakes_one_task() {
    // Where every input is audited, that many would take minutes.
    const COUNT: usize = if cfg!(debug_assertions) { 10_000 } else { 100_000 };
    let cluster = start(Limits::default().processes(COUNT)).await;
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut mailboxes: Vec<Mailbox<Counter>> = (0..COUNT).map(|_| cluster.open().unwrap()).collect();
    let addresses: Vec<_> = mailboxes.iter().map(Mailbox::address).collect();
    for mailbox in &mut mailboxes {
        assert!(Box::pin(mailbox.next()).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    for (number, chosen) in [7, COUNT / 2, COUNT - 1].into_iter().enumerate() {
        addresses[chosen].cast(Counter::Put(3)).unwrap();
        assert_eq!(woken.0.load(Ordering::Relaxed), number + 1);
        let next = Box::pin(mailboxes[chosen].next()).poll(&mut Context::from_waker(&waker));
        assert!(matches!(next, Poll::Ready(Some(Counter::Put(3)))));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_given_up_at_random_all_end_and_leave_nothing() {
    const COUNT: u64 = 20_000;
    let cluster = start(Limits::default()).await;
    let mut mailbox = cluster.open::<Counter>().unwrap();
    let address = mailbox.address();
    let server = tokio::spawn(async move {
        while let Some(message) = mailbox.next().await {
            match message {
                Counter::Add { by, reply } if by % 5 == 0 => drop(reply),
                // From a task of its own, late.
                Counter::Add { by, reply } if by % 7 == 0 => {
                    tokio::spawn(async move {
                        tokio::task::yield_now().await;
                        reply.send(by);
                    });
                }
                Counter::Add { by, reply } => reply.send(by),
                Counter::Get(reply) => reply.send(0),
                other => panic!("{other:?}"),
            }
        }
    });
    let mut tasks = Vec::new();
    for task in 0..100 {
        let address = address.clone();
        tasks.push(tokio::spawn(async move {
            for number in (task..COUNT).step_by(100) {
                let call = address.call(|reply| Counter::Add { by: number, reply });
                let outcome = if number % 3 == 0 {
                    let given_up = async {
                        tokio::task::yield_now().await;
                        None
                    };
                    async { Some(call.await) }.or(given_up).await
                } else {
                    Some(call.await)
                };
                match outcome {
                    Some(Ok(answer)) => assert_eq!(answer, number),
                    Some(Err(error)) => assert!(matches!(error, CallError::Dropped | CallError::Busy), "{error}"),
                    None => {}
                }
            }
        }));
    }
    for task in tasks {
        patient(task).await.unwrap();
    }
    assert_eq!(address.call(Counter::Get).await, Ok(0));
    let counters = cluster.counters();
    let ended = counters.calls_answered + counters.calls_failed + counters.calls_timed_out + counters.calls_cancelled;
    assert_eq!((counters.calls, counters.calls_timed_out), (ended, 0));
    address.stop(ExitReason::Shutdown).unwrap();
    patient(server).await.unwrap();
}
