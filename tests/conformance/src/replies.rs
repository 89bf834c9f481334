//! Ports that are dropped without an answer: a process that ends tells its reason, one that goes on has dropped the call.

#![expect(missing_docs, reason = "the name of a scenario says what must hold")]

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;

use futures_lite::{FutureExt, future};
use noex_driver::{Address, Call, CallError, Cluster, ExitReason, Mailbox, Reply, Runtime, run};

use crate::common::*;
use crate::processes::{Counter, seen_from_both};

/// A mailbox on the first node, and its address as seen from both.
async fn open<R: Runtime>(a: &Cluster<R>, b: &Cluster<R>) -> (Mailbox<Counter>, [Address<Counter>; 2]) {
    let mailbox = a.open::<Counter>().unwrap();
    let addresses = seen_from_both(a, b, &mailbox.address()).await;
    (mailbox, addresses)
}

/// A call that was made.
async fn made(to: &Address<Counter>) -> Call<u64> {
    let mut call = to.call(Counter::Get);
    assert_eq!(future::poll_once(&mut call).await, None);
    call
}

/// The port of the next call.
async fn port(mailbox: &mut Mailbox<Counter>) -> Reply<u64> {
    match patient(mailbox.next()).await {
        Some(Counter::Get(reply)) => reply,
        other => panic!("{other:?}"),
    }
}

pub async fn a_handler_that_fails_or_panics_tells_its_caller_why<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    let fails: fn() -> Result<(), &'static str> = || Err("no such job");
    for (handle, reason) in [(fails, "no such job"), (|| panic!("out of paper"), "out of paper")] {
        for there in [0, 1] {
            let (mailbox, to) = open(&a, &b).await;
            let (taken, waits) = (made(&to[there]).await, made(&to[there]).await);
            let body = async |mailbox: &mut Mailbox<Counter>| -> Result<(), &str> {
                loop {
                    let reply = port(mailbox).await;
                    // The port is dropped by this, and before the mailbox.
                    handle()?;
                    reply.send(1);
                }
            };
            let ended = patient(run(mailbox, body)).await;
            assert_eq!(ended, ExitReason::error(reason));
            assert_eq!(patient(taken).await, Err(CallError::Exited(ended)));
            assert_eq!(patient(waits).await, Err(CallError::NoProcess), "it was not taken");
        }
    }
}

pub async fn a_process_that_is_aborted_tells_its_callers_that_it_ended<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    // While it handles a call, while it waits for another, and by a panic that nothing catches.
    for how in ["handles", "waits", "panics"] {
        for there in [0, 1] {
            let (mailbox, to) = open(&a, &b).await;
            let (first, second) = (made(&to[there]).await, made(&to[there]).await);
            let taken = Cell::new(0);
            let mut process = Box::pin(async {
                let (mut mailbox, mut kept) = (mailbox, Vec::new());
                loop {
                    kept.push(mailbox.next().await);
                    taken.set(kept.len());
                    match (how, kept.len()) {
                        ("handles", 2) => future::pending().await,
                        ("panics", 2) => panic!("out of paper"),
                        _ => {}
                    }
                }
            });
            eventually("it has both", || {
                let _panicked = catch_unwind(AssertUnwindSafe(|| future::block_on(future::poll_once(&mut process))));
                taken.get() == 2
            })
            .await;
            drop(process);
            let reason = ExitReason::error(if how == "panics" { "panicked" } else { "mailbox dropped" });
            assert_eq!(patient(first).await, Err(CallError::Exited(reason.clone())), "{how}");
            assert_eq!(patient(second).await, Err(CallError::Exited(reason)), "{how}");
        }
    }
}

pub async fn a_process_that_is_asked_to_stop_tells_the_callers_that_it_kept_waiting<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    for there in [0, 1] {
        let (mut mailbox, to) = open(&a, &b).await;
        let call = made(&to[there]).await;
        to[there].stop(ExitReason::error("too old")).unwrap();
        let mut kept = Vec::new();
        while let Some(message) = patient(mailbox.next()).await {
            kept.push(message);
        }
        drop(kept);
        drop(mailbox);
        assert_eq!(patient(call).await, Err(CallError::Exited(ExitReason::error("too old"))));
    }
}

pub async fn a_port_that_is_dropped_by_a_process_that_goes_on_fails_at_its_next_wait<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    for there in [0, 1] {
        let (mut mailbox, to) = open(&a, &b).await;
        let mut call = made(&to[there]).await;
        drop(port(&mut mailbox).await);
        // Whether it ends is not known yet: what comes behind an answer of its node says nothing.
        let nobody = [&a, &b][there].named::<Counter>(id(&a), "nobody").unwrap();
        assert_eq!(patient(nobody.call(Counter::Get)).await, Err(CallError::NoProcess));
        assert_eq!(future::poll_once(&mut call).await, None);
        // To begin to wait is enough, as a branch of `select!` that is given up does.
        assert!(patient(async { mailbox.next().await }.or(future::ready(None))).await.is_none());
        assert_eq!(patient(call).await, Err(CallError::Dropped));
    }
}

pub async fn a_port_that_another_task_drops_fails_at_once_where_its_process_waits<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    for there in [0, 1] {
        let (mut mailbox, to) = open(&a, &b).await;
        let call = made(&to[there]).await;
        let reply = port(&mut mailbox).await;
        {
            let mut waits = pin!(mailbox.next());
            assert!(future::poll_once(&mut waits).await.is_none());
            drop(reply);
            assert_eq!(patient(call).await, Err(CallError::Dropped));
        }
        // The wait is over, and the process may be about to end.
        let call = made(&to[there]).await;
        drop(port(&mut mailbox).await);
        mailbox.exit(ExitReason::Normal);
        assert_eq!(patient(call).await, Err(CallError::Exited(ExitReason::Normal)));
    }
}

pub async fn a_port_that_outlives_its_process_is_over<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    for there in [0, 1] {
        let (mut mailbox, to) = open(&a, &b).await;
        let (call, given_up) = (made(&to[there]).await, made(&to[there]).await);
        let (reply, other) = (port(&mut mailbox).await, port(&mut mailbox).await);
        // One that nobody waits for any more is over, and its drop says nothing.
        drop(given_up);
        patient(other.cancelled()).await;
        drop(other);
        mailbox.exit(ExitReason::Normal);
        patient(reply.cancelled()).await;
        drop(reply);
        assert_eq!(patient(call).await, Err(CallError::Exited(ExitReason::Normal)));
    }
    eventually("and nothing is left", || {
        let (of_a, of_b) = (a.counters(), b.counters());
        (of_a.requests, of_a.calls + of_b.calls) == (4, 4)
    })
    .await;
}
