//! Calls: one outcome each, on the right side of `may_have_run`.

#![expect(missing_docs, reason = "the name of a scenario says what must hold")]

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_lite::future;
use noex_driver::{Address, CallError, CastError, DeliverError, ExitReason, Limits, Protocol, Reply, Runtime};
use serde::{Deserialize, Serialize};

use crate::common::*;
use crate::processes::{Counter, counter, seen_from_both, spawn};
use crate::proxy::Proxy;

const SECOND: Duration = Duration::from_secs(1);

/// A call that is not waited for in vain, and its outcome, which certainly was not handled.
async fn not_run<T: serde::de::DeserializeOwned + std::fmt::Debug>(call: noex_driver::Call<T>) -> CallError {
    let error = patient(call).await.unwrap_err();
    assert!(!error.may_have_run(), "{error}");
    error
}

/// The same of one that may have been handled.
async fn may_have_run<T: serde::de::DeserializeOwned + std::fmt::Debug>(call: noex_driver::Call<T>) -> CallError {
    let error = patient(call).await.unwrap_err();
    assert!(error.may_have_run(), "{error}");
    error
}

pub async fn a_call_that_cannot_begin_says_why<R: Runtime>() {
    let limits = || Limits::default().message_bytes(1000);
    let (a, b) = pair::<R>(lively("a").limits(limits()), lively("b").limits(limits())).await;
    for counter in seen_from_both(&a, &b, &counter(&a)).await {
        let none = |_: Reply<u64>| Counter::Put(1);
        let cause = "the message does not hold the `Reply` of its call: put it in, or use `cast`";
        assert_eq!(not_run(counter.call(none)).await, CallError::NotEncodable(cause.into()));
        let large = |reply| Counter::Echo { text: "x".repeat(1000), reply };
        assert!(matches!(not_run(counter.call(large)).await, CallError::TooLarge { limit: 1000, size: 1001.. }));
        assert_eq!(not_run(counter.call(Counter::Get).timeout(Duration::ZERO)).await, CallError::Expired);
        assert_eq!(patient(counter.call(Counter::Get)).await, Ok(0), "and it is as it was");
    }
    let nobody = "nobody@127.0.0.1:9".parse().unwrap();
    let to = a.named::<Counter>(nobody, "counter").unwrap();
    assert_eq!(not_run(to.call(Counter::Get)).await, CallError::NotConnected { to: to.node().clone() });
    assert_eq!(to.cast(Counter::Put(1)), Err(CastError::NotConnected { to: to.node().clone() }));
}

pub async fn a_call_beyond_those_that_may_be_open_is_not_sent<R: Runtime>() {
    let limits = || Limits::default().calls_per_peer(2);
    let (a, b) = pair::<R>(lively("a").limits(limits()), lively("b").limits(limits())).await;
    let mailbox = a.open::<Counter>().unwrap();
    for to in seen_from_both(&a, &b, &mailbox.address()).await {
        let (mut first, mut second) = (Box::pin(to.call(Counter::Get)), Box::pin(to.call(Counter::Get)));
        assert_eq!(future::poll_once(&mut first).await, None);
        assert_eq!(future::poll_once(&mut second).await, None);
        assert_eq!(not_run(to.call(Counter::Get)).await, CallError::QueueFull { to: to.node().clone() });
        // One that was given up leaves its room, once the other node was told.
        drop(first);
        let mut third = None;
        eventually("there is room", || {
            let mut call = Box::pin(to.call(Counter::Get));
            let begun = future::block_on(future::poll_once(&mut call)).is_none();
            third = begun.then_some(call);
            begun
        })
        .await;
        drop((second, third));
    }
}

pub async fn a_cast_that_cannot_be_sent_says_why<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a").limits(Limits::default().message_bytes(1000)), lively("b")).await;
    let mut mailbox = b.open::<Counter>().unwrap();
    let to = a.address::<Counter>(mailbox.id().clone());
    let mut call = Box::pin(to.call(Counter::Get));
    assert_eq!(future::poll_once(&mut call).await, None);
    let Some(taken) = patient(mailbox.next()).await else { panic!("a call") };
    // It has a port, which cannot be passed on: it is dropped, as shows at the next look into the mailbox.
    let cause = "a cast or an answer holds no `Reply`: use `call`, and give it the address to answer to";
    assert_eq!(to.cast(taken), Err(CastError::NotEncodable(cause.into())));
    assert!(future::poll_once(mailbox.next()).await.is_none());
    assert_eq!(patient(call).await, Err(CallError::Dropped));
    let list = a.address::<Listed>(mailbox.id().clone());
    assert!(matches!(list.cast(Listed(vec![0; 1000])), Err(CastError::TooLarge { limit: 1000, size: 1001.. })));
    list.cast(Listed(vec![0; 900])).unwrap();
    // Of another protocol, it is dropped and counted.
    eventually("it has come", || b.counters().casts_dropped == 1).await;
}

#[derive(Debug, Deserialize, Serialize)]
struct Listed(Vec<u8>);

impl Protocol for Listed {
    const NAME: &'static str = "listed/1";
}

#[derive(Debug, Deserialize, Serialize)]
struct Other(Reply<()>);

impl Protocol for Other {
    const NAME: &'static str = "other/1";
}

/// A newer counter, of the same name, with what the older one does not know.
#[derive(Debug, Deserialize, Serialize)]
enum Newer {
    Get(Reply<String>),
    Add { by: u64, why: String, reply: Reply<u64> },
    Double(Reply<u64>),
    Double2,
}

impl Protocol for Newer {
    const NAME: &'static str = "counter/1";
}

pub async fn a_request_of_another_protocol_or_version_fails_alone<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    let counter = counter(&a);
    for (at, to) in [&a, &b].into_iter().zip(seen_from_both(&a, &b, &counter).await) {
        let noex_driver::Destination::Process(id) = to.destination().clone() else { panic!("a process") };
        assert_eq!(not_run(at.address::<Other>(id.clone()).call(Other)).await, CallError::WrongProtocol);
        let newer = at.address::<Newer>(id);
        match not_run(newer.call(Newer::Double)).await {
            CallError::NotUnderstood(cause) => assert!(cause.contains("unknown variant `Double`"), "{cause}"),
            other => panic!("{other}"),
        }
        newer.cast(Newer::Double2).unwrap();
        // A field that it does not know is none of its business.
        let add = |reply| Newer::Add { by: 1, why: "more".into(), reply };
        assert!(patient(newer.call(add)).await.is_ok());
        // The answer is a number, and no text.
        match may_have_run(newer.call(Newer::Get)).await {
            CallError::AnswerNotUnderstood(cause) => assert!(cause.contains("str"), "{cause}"),
            other => panic!("{other}"),
        }
    }
    assert_eq!(patient(counter.call(Counter::Get)).await, Ok(2), "the process goes on");
}

pub async fn a_call_that_a_process_takes_and_does_not_answer_may_have_run<R: Runtime>() {
    let limits = || Limits::default().message_bytes(1000);
    let (a, b) = pair::<R>(lively("a").limits(limits()), lively("b").limits(limits())).await;
    for there in [false, true] {
        let mut mailbox = a.open::<Counter>().unwrap();
        let to = seen_from_both(&a, &b, &mailbox.address()).await[usize::from(there)].clone();
        let serve = async {
            // Dropped.
            drop(patient(mailbox.next()).await);
            // Answered with what is too large.
            match patient(mailbox.next()).await {
                Some(Counter::Echo { reply, .. }) => reply.send("x".repeat(1000)),
                other => panic!("{other:?}"),
            }
            match patient(mailbox.next()).await {
                Some(Counter::Echo { reply, .. }) => {
                    assert_eq!(reply.deliver("x".repeat(1000)).await, Err(DeliverError::TooLarge))
                }
                other => panic!("{other:?}"),
            }
            // Never answered.
            let kept = patient(mailbox.next()).await;
            let exited = patient(mailbox.next()).await;
            mailbox.exit(ExitReason::error("out of counters"));
            (kept, exited)
        };
        let echo = |reply| Counter::Echo { text: String::new(), reply };
        let call = async {
            assert_eq!(may_have_run(to.call(Counter::Get)).await, CallError::Dropped);
            assert_eq!(may_have_run(to.call(echo)).await, CallError::AnswerDropped);
            assert_eq!(may_have_run(to.call(echo)).await, CallError::AnswerDropped);
            assert_eq!(may_have_run(to.call(Counter::Get).timeout(SECOND / 5)).await, CallError::TimedOut);
            assert_eq!(may_have_run(to.call(Counter::Get)).await, CallError::Exited(ExitReason::error("out of counters")));
        };
        future::zip(call, serve).await;
    }
}

pub async fn a_call_that_its_process_has_not_taken_certainly_has_not_run<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    for there in [false, true] {
        let mut mailbox = a.open::<Counter>().unwrap();
        let to = seen_from_both(&a, &b, &mailbox.address()).await[usize::from(there)].clone();
        let mut calls: Vec<_> = (0..4).map(|_| Box::pin(to.call(Counter::Get))).collect();
        for call in &mut calls {
            assert_eq!(future::poll_once(call).await, None);
        }
        // All four are in one batch by then, of which one is taken.
        eventually("all have come", || a.counters().requests == 4 * (1 + u64::from(there))).await;
        let taken = patient(mailbox.next()).await;
        mailbox.exit(ExitReason::Normal);
        let mut outcomes = Vec::new();
        for call in calls {
            outcomes.push(patient(call).await);
        }
        let mut expected = vec![Err(CallError::Exited(ExitReason::Normal))];
        expected.extend((1..4).map(|_| Err(CallError::NoProcess)));
        assert_eq!(outcomes, expected);
        drop(taken);
    }
}

pub async fn a_call_that_is_dropped_is_cancelled_at_its_process<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    for there in [false, true] {
        let mut mailbox = a.open::<Counter>().unwrap();
        let to = seen_from_both(&a, &b, &mailbox.address()).await[usize::from(there)].clone();
        // One that was never polled was never made.
        drop(to.call(Counter::Get));
        // A handler hears of it.
        let mut taken = Box::pin(to.call(Counter::Get));
        assert_eq!(future::poll_once(&mut taken).await, None);
        let Some(Counter::Get(reply)) = patient(mailbox.next()).await else { panic!("a call") };
        let left = reply.deadline().saturating_duration_since(Instant::now());
        assert!(left > SECOND && left <= 5 * SECOND + SECOND / 10, "{left:?} of 5 s");
        assert_eq!(future::poll_once(pin!(reply.cancelled())).await, None);
        drop(taken);
        patient(reply.cancelled()).await;
        reply.send(1);
        // One that waits is not given any more.
        let mut waits = Box::pin(to.call(Counter::Get));
        assert_eq!(future::poll_once(&mut waits).await, None);
        drop(waits);
        to.cast(Counter::Put(1)).unwrap();
        // What was said before it has come too.
        eventually("it has come", || a.counters().casts_received == 1 + u64::from(there)).await;
        assert!(matches!(patient(mailbox.next()).await, Some(Counter::Put(1))));
    }
}

pub async fn a_call_that_has_timed_out_is_not_given_to_its_process<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    let mut mailbox = a.open::<Counter>().unwrap();
    for (number, to) in (1..).zip(seen_from_both(&a, &b, &mailbox.address()).await) {
        let late = may_have_run(to.call(Counter::Get).timeout(SECOND / 10)).await;
        assert_eq!(late, CallError::TimedOut);
        to.cast(Counter::Put(1)).unwrap();
        eventually("it has come, behind the word that nobody waits", || a.counters().casts_received == number).await;
        assert!(matches!(patient(mailbox.next()).await, Some(Counter::Put(1))));
    }
}

pub async fn a_reply_is_answered_later_and_elsewhere_and_its_deadline_is_passed_on<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    let counter = counter(&b);
    // A process that passes requests on, each in a task of its own, with what time is left.
    let mut front = a.open::<Counter>().unwrap();
    let to = b.address::<Counter>(front.id().clone());
    let [_, back] = seen_from_both(&b, &a, &counter).await;
    let rt = R::current().unwrap();
    spawn::<R>(async move {
        while let Some(message) = front.next().await {
            let back = back.clone();
            match message {
                Counter::Add { by, reply } => rt.spawn(async move {
                    let call = back.call(|reply| Counter::Add { by, reply }).deadline(reply.deadline());
                    if let Ok(n) = call.await {
                        let _over = reply.deliver(n).await;
                    }
                }),
                // Nobody is left of those who would have waited.
                Counter::Get(reply) => rt.spawn(async move {
                    reply.cancelled().await;
                    back.cast(Counter::Put(1000)).unwrap();
                }),
                other => panic!("{other:?}"),
            }
        }
    });
    let answers = all((0..100).map(|_| to.call(|reply| Counter::Add { by: 1, reply }))).await;
    let mut numbers: Vec<u64> = answers.into_iter().map(Result::unwrap).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
    assert_eq!(may_have_run(to.call(Counter::Get).timeout(SECOND / 10)).await, CallError::TimedOut);
    patient(async {
        while counter.call(Counter::Get).await != Ok(1000) {
            future::yield_now().await;
        }
    })
    .await;
}

pub async fn a_process_that_calls_itself_in_its_own_loop_times_out<R: Runtime>() {
    let a = start::<R>(lively("a")).await;
    let mut mailbox = a.open::<Counter>().unwrap();
    let myself = mailbox.address();
    myself.cast(Counter::Put(1)).unwrap();
    assert!(patient(mailbox.next()).await.is_some());
    assert_eq!(may_have_run(myself.call(Counter::Get).timeout(SECOND / 10)).await, CallError::TimedOut);
}

pub async fn open_calls_end_with_the_session_and_with_the_node<R: Runtime>() {
    let b = start::<R>(lively("b")).await;
    let proxy = Proxy::new(id(&b).port());
    // Nobody can go round the proxy.
    let a = start(lively("a").advertise_host("127.9.9.9").seeds([proxy.seed("b")])).await;
    meet(&a, &b).await;
    let mut mailbox = b.open::<Counter>().unwrap();
    let to = a.address::<Counter>(mailbox.id().clone());
    let mut taken = Box::pin(to.call(Counter::Get).timeout(30 * SECOND));
    let mut waits = Box::pin(to.call(Counter::Get).timeout(30 * SECOND));
    assert_eq!(future::poll_once(&mut taken).await, None);
    assert_eq!(future::poll_once(&mut waits).await, None);
    let Some(Counter::Get(reply)) = patient(mailbox.next()).await else { panic!("a call") };
    proxy.cut();
    for call in [taken, waits] {
        assert!(matches!(patient(call).await, Err(CallError::Disconnected(_))));
    }
    patient(reply.cancelled()).await;
    // An answer to nobody is no error, and answers no call of the next session.
    meet(&a, &b).await;
    reply.send(5);
    let mut again = Box::pin(to.call(Counter::Get).timeout(30 * SECOND));
    assert_eq!(future::poll_once(&mut again).await, None);
    let Some(Counter::Get(reply)) = patient(mailbox.next()).await else { panic!("the next call, and not the one of before") };
    reply.send(6);
    assert_eq!(patient(again).await, Ok(6));
    // The caller's own node stops.
    let mut open = Box::pin(to.call(Counter::Get).timeout(30 * SECOND));
    assert_eq!(future::poll_once(&mut open).await, None);
    let Some(Counter::Get(reply)) = patient(mailbox.next()).await else { panic!("a call") };
    patient(a.stop()).await;
    assert_eq!(patient(open).await, Err(CallError::Stopped));
    patient(reply.cancelled()).await;
}

pub async fn large_requests_and_answers_arrive_whole<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    let counter = counter(&a);
    for to in seen_from_both(&a, &b, &counter).await {
        for size in [0, 1, 100, 1 << 16, 1 << 20, 5 << 20] {
            let text: String = "abcdefghijklmnopqrstuvwxyz0".chars().cycle().take(size).collect();
            let sent = text.clone();
            let answer = patient(to.call(|reply| Counter::Echo { text: sent, reply }).timeout(30 * SECOND)).await;
            assert!(answer == Ok(text), "{size} bytes");
        }
    }
}

pub async fn answers_wait_for_a_caller_that_reads_slowly_where_they_are_delivered<R: Runtime>() {
    const SIZE: usize = 1 << 20;
    const COUNT: usize = 12;
    let limits = Limits::default().message_bytes(2 * SIZE).send_queue_bytes(2 * SIZE);
    let b = start::<R>(lively("b").limits(limits)).await;
    let proxy = Proxy::new(id(&b).port());
    let a = start(lively("a").advertise_host("127.9.9.9").seeds([proxy.seed("b")])).await;
    meet(&a, &b).await;
    let mut mailbox = b.open::<Counter>().unwrap();
    let to = a.address::<Counter>(mailbox.id().clone());
    let rt = R::current().unwrap();
    spawn::<R>(async move {
        while let Some(message) = mailbox.next().await {
            if let Counter::Echo { reply, .. } = message {
                rt.spawn(async move { reply.deliver("x".repeat(SIZE)).await.unwrap() });
            }
        }
    });
    let call = |_| to.call(|reply| Counter::Echo { text: String::new(), reply }).timeout(50 * SECOND);
    let answers = all((0..COUNT).map(call)).await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|text| text.len() == SIZE)));
}

/// The message of an address in a message: whom to tell.
#[derive(Debug, Deserialize, Serialize)]
struct Subscribe {
    to: Address<Counter>,
    reply: Reply<Address<Subscribe>>,
}

impl Protocol for Subscribe {
    const NAME: &'static str = "subscribe/1";
}

pub async fn an_address_travels_in_a_message_and_in_an_answer<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    let mut news = b.open::<Subscribe>().unwrap();
    let mut mine = a.open::<Counter>().unwrap();
    let to = a.address::<Subscribe>(news.id().clone());
    let serve = async {
        let Some(Subscribe { to, reply }) = patient(news.next()).await else { panic!("a call") };
        to.cast(Counter::Put(8)).unwrap();
        reply.send(news.address());
    };
    let subscribe = to.call(|reply| Subscribe { to: mine.address(), reply });
    let (answer, ()) = future::zip(patient(subscribe), serve).await;
    assert!(matches!(patient(mine.next()).await, Some(Counter::Put(8))));
    assert_eq!(answer, Ok(to));
}

pub async fn ten_thousand_calls_at_once_end_once_each<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    let mut mailbox = a.open::<Counter>().unwrap();
    let addresses = seen_from_both(&a, &b, &mailbox.address()).await;
    spawn::<R>(async move {
        let mut n = 0_u64;
        while let Some(message) = mailbox.next().await {
            if let Counter::Add { reply, .. } = message {
                n += 1;
                // Some are dropped, some answered.
                if n.is_multiple_of(7) { drop(reply) } else { reply.send(n) }
            }
        }
    });
    for to in addresses {
        let calls = all((0..10_000_u64).map(|number| {
            let call = to.call(|reply| Counter::Add { by: number, reply }).timeout(30 * SECOND);
            async move {
                // Some callers lose interest.
                if number.is_multiple_of(11) { future::poll_once(call).await } else { Some(call.await) }
            }
        }));
        for outcome in patient(calls).await.into_iter().flatten() {
            assert!(matches!(outcome, Ok(_) | Err(CallError::Dropped | CallError::Busy)), "{outcome:?}");
        }
    }
}
