//! Processes under load, on two nodes: nothing hangs, each call ends once, and nothing is left.
//!
//! The short forms run with all other tests, the full ones by
//! `cargo test --release -p noex-tokio --test process_loads -- --include-ignored --nocapture --test-threads=1`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_lite::FutureExt;
use noex_conformance::common::{Watch, config, eventually, id, lively, meet, patient, seed};
use noex_tokio::{
    Address, Bytes, CallError, Cluster, ClusterConfig, Counters, ExitReason, Item, Limits, Mailbox, Monitor, ProcessName,
    Protocol, Reply,
};
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// So many calls to a node are open at most, and it serves as many.
const OPEN: usize = 2_000;

#[derive(Deserialize, Serialize)]
enum Work {
    /// Answered with the same.
    Echo(u64, Reply<u64>),
    /// Never answered.
    Keep(Reply<u64>),
    /// Answered by so many bytes.
    Large(usize, Reply<Bytes>),
    /// Ends the process: by a panic, or by the end of its task.
    End {
        panics: bool,
    },
    Wake,
}

impl Protocol for Work {
    const NAME: &'static str = "work/1";
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn limits() -> Limits {
    Limits::default().calls_per_peer(OPEN).calls_served_per_peer(OPEN).mailbox_messages(2 * OPEN)
}

async fn start(config: ClusterConfig) -> Cluster {
    let cluster = Cluster::new();
    patient(cluster.start(config)).await.unwrap();
    cluster
}

async fn pair(limits: Limits) -> (Cluster, Cluster) {
    let a = start(config("a").limits(limits.clone())).await;
    let b = start(config("b").limits(limits).seeds([seed(&a)])).await;
    meet(&a, &b).await;
    (a, b)
}

/// Answers as it is told: at once, or each third request from a task of its own, late.
async fn serve(mut mailbox: Mailbox<Work>) {
    let mut kept = Vec::new();
    while let Some(work) = mailbox.next().await {
        match work {
            Work::Echo(number, reply) if number % 3 == 0 => {
                tokio::spawn(async move {
                    tokio::task::yield_now().await;
                    reply.send(number);
                });
            }
            Work::Echo(number, reply) => reply.send(number),
            Work::Keep(reply) => kept.push(reply),
            Work::Large(size, reply) => reply.send(vec![7; size].into()),
            Work::End { panics: false } => return,
            // Without a word to the log.
            Work::End { panics: true } => std::panic::resume_unwind(Box::new("as it was told")),
            Work::Wake => {}
        }
    }
}

fn server(of: &Cluster, seen_from: &Cluster) -> Address<Work> {
    let mailbox = of.open::<Work>().unwrap();
    let process = mailbox.id().clone();
    tokio::spawn(serve(mailbox));
    seen_from.address(process)
}

/// Calls without an outcome, if each has one at most.
const fn open_calls(of: &Counters) -> i128 {
    of.calls as i128
        - of.calls_answered as i128
        - of.calls_failed as i128
        - of.calls_timed_out as i128
        - of.calls_cancelled as i128
}

/// Each call has ended, and once.
async fn assert_all_ended(node: &Cluster) {
    eventually("all calls have ended", || open_calls(&node.counters()) == 0).await;
}

/// No call is left in the tables of either node: as many as there may be are made at once, and none finds them full.
async fn assert_nothing_is_left(a: &Cluster, b: &Cluster) {
    assert_all_ended(a).await;
    assert_all_ended(b).await;
    // The last cancels have left, and what the other node still had of those calls is gone.
    let server = server(b, a);
    assert_eq!(patient(server.call(|reply| Work::Echo(1, reply))).await, Ok(1));
    let kept: Vec<_> = (0..OPEN).map(|_| tokio::spawn(server.call(Work::Keep).timeout(Duration::from_secs(600)))).collect();
    eventually("as many calls as there may be are open", || open_calls(&a.counters()) == OPEN as i128).await;
    assert!(matches!(patient(server.call(|reply| Work::Echo(1, reply))).await, Err(CallError::QueueFull { .. })));
    server.stop(ExitReason::Shutdown).unwrap();
    for call in kept {
        let outcome = patient(call).await.unwrap();
        assert!(matches!(outcome, Err(CallError::Dropped | CallError::Exited(_))), "{outcome:?}");
    }
    assert_all_ended(a).await;
}

/// Processes in tasks of their own, of which one is sent a message from another node.
async fn wake_one_of(count: usize) {
    let (a, b) = pair(Limits::default().processes(count)).await;
    let polls = Arc::new(AtomicUsize::new(0));
    let mut addresses = Vec::new();
    for _ in 0..count {
        let mut mailbox = b.open::<Work>().unwrap();
        addresses.push(a.address::<Work>(mailbox.id().clone()));
        let polls = polls.clone();
        tokio::spawn(async move {
            loop {
                let mut next = pin!(mailbox.next());
                let next = poll_fn(|cx| {
                    polls.fetch_add(1, Ordering::Relaxed);
                    next.as_mut().poll(cx)
                });
                if next.await.is_none() {
                    break;
                }
            }
        });
    }
    eventually("all wait", || polls.load(Ordering::Relaxed) == count).await;
    for (number, address) in [0, count / 2, count - 1].into_iter().enumerate() {
        addresses[address].cast(Work::Wake).unwrap();
        // It is woken once, and looks twice: at the message, and for the next one.
        let expected = count + 2 * (number + 1);
        eventually("one is woken", || polls.load(Ordering::Relaxed) >= expected).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(polls.load(Ordering::Relaxed), expected, "tasks were polled that had no message");
    }
    patient(b.stop()).await;
}

/// Monitors of processes on a node that dies, while a third one has a session with the watcher.
fn monitors_fire(count: usize) {
    let (home, doomed) = (runtime(), runtime());
    home.block_on(home.spawn(async move {
        let a = start(lively("a")).await;
        let c = start(lively("c").seeds([seed(&a)])).await;
        meet(&a, &c).await;
        let (a_seed, processes) = (seed(&a), count / 64);
        let (b, mailboxes) = doomed
            .spawn(async move {
                let b = start(lively("b").seeds([a_seed]).limits(Limits::default().processes(processes + 1))).await;
                let mailboxes: Vec<_> = (0..processes).map(|_| b.open::<Work>().unwrap()).collect();
                (b, mailboxes)
            })
            .await
            .unwrap();
        meet(&a, &b).await;
        let mut watch = Watch::new(&a);
        let mut watcher = a.open::<Work>().unwrap();
        let begin = Instant::now();
        let mut monitors: Vec<Monitor> = Vec::new();
        for mailbox in &mailboxes {
            let address = a.address::<Work>(mailbox.id().clone());
            monitors.extend((0..64).map(|_| watcher.monitor(&address).unwrap()));
        }
        let set = begin.elapsed();
        // What is answered behind them says that all of them have reached it.
        let echo = b.open::<Work>().unwrap();
        let address = a.address::<Work>(echo.id().clone());
        doomed.spawn(serve(echo));
        assert_eq!(patient(address.call(|reply| Work::Echo(1, reply))).await, Ok(1));
        let reached = begin.elapsed();
        let b_id = id(&b);
        // As if its host were gone, but for the end of its connections.
        let begin = Instant::now();
        doomed.shutdown_background();
        let mut fired = 0;
        while fired < count {
            match patient(watcher.next_item()).await {
                Some(Item::Down { reason, .. }) => {
                    assert_eq!(reason, ExitReason::NoConnection);
                    fired += 1;
                }
                other => panic!("{:?}", other.is_some()),
            }
        }
        println!(
            "{count} monitors: set in {set:?}, at the other node after {reached:?}, all taken {:?} after its end",
            begin.elapsed()
        );
        watch.down(&b_id).await;
        assert_eq!(watch.downs().len(), 1, "no heartbeat of the third is missed");
        drop((monitors, mailboxes, b));
        patient(a.stop()).await;
        patient(c.stop()).await;
    }))
    .unwrap();
}

/// Answers of 10 MiB, one at a time and several at once.
async fn large_answers(count: usize) {
    const SIZE: usize = 10 << 20;
    let (a, b) = pair(limits()).await;
    let to = server(&b, &a);
    let call = || to.call(|reply| Work::Large(SIZE, reply)).timeout(Duration::from_secs(60));
    for _ in 0..count {
        let answer = patient(call()).await.unwrap();
        assert!(answer.len() == SIZE && answer.iter().all(|byte| *byte == 7));
    }
    // What finds no room in the queue of answers is dropped, and says so; the first does.
    let calls: Vec<_> = (0..count).map(|_| tokio::spawn(call())).collect();
    let mut answered = 0;
    for call in calls {
        match patient(call).await.unwrap() {
            Ok(answer) => {
                assert_eq!(answer.len(), SIZE);
                answered += 1;
            }
            Err(error) => assert_eq!(error, CallError::AnswerDropped),
        }
    }
    assert!(answered > 0);
    assert_nothing_is_left(&a, &b).await;
}

async fn calls_in_a_row(count: u64) {
    let (a, b) = pair(limits()).await;
    let to = server(&b, &a);
    for number in 0..count {
        assert_eq!(patient(to.call(|reply| Work::Echo(number, reply))).await, Ok(number));
    }
    assert_eq!((a.counters().calls_answered, b.counters().requests), (count, count));
    assert_nothing_is_left(&a, &b).await;
}

/// More tasks than there may be open calls, at once.
async fn tasks_call_at_once(count: u64) {
    let (a, b) = pair(limits()).await;
    let to = server(&b, &a);
    let call = |number| {
        let to = to.clone();
        tokio::spawn(async move { to.call(|reply| Work::Echo(number, reply)).timeout(Duration::from_secs(60)).await })
    };
    let calls: Vec<JoinHandle<_>> = (0..count).map(call).collect();
    let (mut answered, mut refused) = (0, 0);
    for (number, call) in (0..).zip(calls) {
        match patient(call).await.unwrap() {
            Ok(answer) => {
                assert_eq!(answer, number);
                answered += 1;
            }
            Err(error) => {
                assert!(matches!(error, CallError::QueueFull { .. } | CallError::Busy), "{error}");
                refused += 1;
            }
        }
    }
    assert_eq!(answered + refused, count);
    assert!(answered >= OPEN as u64, "{answered}");
    assert_eq!(a.counters().calls_answered, answered);
    assert_nothing_is_left(&a, &b).await;
}

/// Callers on both nodes that give up at random, and servers that answer from other tasks, panic, are aborted, and come back.
async fn disorder(callers: u64, calls: u64) {
    let (a, b) = pair(limits()).await;
    let name = |n: u64| ProcessName::try_from(format!("server {n}").as_str()).unwrap();
    // Each server is a task that opens a process by its name, again and again.
    let servers: Vec<JoinHandle<()>> = (0..4)
        .map(|n| {
            let b = b.clone();
            tokio::spawn(async move {
                loop {
                    let mailbox = b.open::<Work>().unwrap();
                    mailbox.register(name(n)).unwrap();
                    let process = tokio::spawn(serve(mailbox));
                    if n == 3 {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        process.abort();
                    }
                    // It has ended by itself, by a panic, or by the abort.
                    let _how = process.await;
                }
            })
        })
        .collect();
    let mut tasks = Vec::new();
    for caller in 0..callers {
        let near = if caller % 4 == 0 { b.clone() } else { a.clone() };
        let node = id(&b);
        tasks.push(tokio::spawn(async move {
            let (mut outcomes, mut given_up) = (0_u64, 0_u64);
            for number in (caller * calls..).take(usize::try_from(calls).unwrap()) {
                let to = near.named::<Work>(node.clone(), name(number % 4)).unwrap();
                if number % 97 == 0 {
                    to.cast(Work::End { panics: number % 2 == 0 }).unwrap();
                }
                let call = to.call(|reply| Work::Echo(number, reply)).timeout(Duration::from_secs(60));
                // Dropped before it was sent, on its way, or after its answer has come.
                let patience = number % 5;
                let give_up = async {
                    for _ in 0..patience {
                        tokio::task::yield_now().await;
                    }
                    None
                };
                let give_up = async { if patience == 4 { pending().await } else { give_up.await } };
                match async { Some(call.await) }.or(give_up).await {
                    Some(outcome) => {
                        outcomes += 1;
                        match outcome {
                            Ok(answer) => assert_eq!(answer, number),
                            Err(error) => assert!(
                                matches!(
                                    error,
                                    CallError::NoProcess | CallError::Busy | CallError::Dropped | CallError::Exited(_)
                                ),
                                "{error}"
                            ),
                        }
                    }
                    None => given_up += 1,
                }
            }
            (outcomes, given_up)
        }));
    }
    let (mut outcomes, mut given_up) = (0, 0);
    for task in tasks {
        let (heard, dropped) = patient(task).await.unwrap();
        outcomes += heard;
        given_up += dropped;
    }
    assert_eq!(outcomes + given_up, callers * calls);
    assert!(outcomes > 0 && given_up > 0);
    for server in servers {
        server.abort();
        let _aborted = server.await;
    }
    println!("{outcomes} outcomes, {given_up} given up: {}", a.counters().calls + b.counters().calls);
    for n in 0..4 {
        a.named::<Work>(id(&b), name(n)).unwrap().stop(ExitReason::Shutdown).unwrap();
    }
    assert_nothing_is_left(&a, &b).await;
}

/// A runtime that is shut down while tasks of another one call what is in it, or by what is in it.
fn shut_down(callers: u64, of_callers: bool) {
    let (near, far, elsewhere) = (runtime(), runtime(), runtime());
    let a = near.block_on(start(config("a").limits(limits())));
    let seed = seed(&a);
    let (b, to) = {
        let a = a.clone();
        far.block_on(async move {
            let b = start(config("b").limits(limits()).seeds([seed])).await;
            meet(&a, &b).await;
            let to = server(&b, &a);
            (b, to)
        })
    };
    let begun = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<JoinHandle<u64>> = (0..callers)
        .map(|caller| {
            let (to, begun) = (to.clone(), begun.clone());
            elsewhere.spawn(async move {
                let (mut answered, mut number) = (0, caller);
                loop {
                    match to.call(|reply| Work::Echo(number, reply)).timeout(Duration::from_secs(600)).await {
                        Ok(answer) => {
                            assert_eq!(answer, number);
                            answered += 1;
                        }
                        Err(CallError::Busy | CallError::QueueFull { .. }) => {}
                        // The end of the runtime: of the caller's node, or of the other one.
                        Err(_) => return answered,
                    }
                    number += callers;
                    begun.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let survivor = elsewhere.block_on(async {
        eventually("they call", || begun.load(Ordering::Relaxed) > 2 * usize::try_from(callers).unwrap()).await;
        let (ends, survivor) = if of_callers { (near, far) } else { (far, near) };
        ends.shutdown_background();
        let mut answered = 0;
        for task in tasks {
            answered += patient(task).await.unwrap();
        }
        assert!(answered > 0);
        assert_all_ended(&a).await;
        survivor
    });
    drop(to);
    let lives = if of_callers { b } else { a };
    // The other node goes on.
    survivor.block_on(async {
        let own = server(&lives, &lives);
        assert_eq!(patient(own.call(|reply| Work::Echo(1, reply))).await, Ok(1));
        patient(lives.stop()).await;
    });
}

/// The short and the full form of a load.
macro_rules! forms {
    ($($short:ident, $full:ident => $load:expr, $few:expr, $many:expr;)+) => {
        $(
            #[test]
            fn $short() {
                $load($few);
            }

            #[test]
            #[ignore = "takes long: run it alone and in release, with --ignored"]
            fn $full() {
                $load($many);
            }
        )+
    };
}

fn on_runtime<F: Future<Output = ()> + Send + 'static>(load: F) {
    let runtime = runtime();
    runtime.block_on(runtime.spawn(load)).unwrap();
}

forms! {
    a_message_to_one_of_a_thousand_processes_wakes_one_task, a_message_to_one_of_a_hundred_thousand_processes_wakes_one_task
        => |count| on_runtime(wake_one_of(count)), 1_000, 100_000;
    thousands_of_monitors_fire_when_their_node_dies, as_many_monitors_as_there_may_be_fire_when_their_node_dies
        => monitors_fire, 4_096, 65_536;
    answers_of_ten_mib_come, many_answers_of_ten_mib_come => |count| on_runtime(large_answers(count)), 3, 50;
    a_thousand_calls_in_a_row_are_answered, a_million_calls_in_a_row_are_answered
        => |count| on_runtime(calls_in_a_row(count)), 1_000, 1_000_000;
    thousands_of_tasks_call_at_once, ten_thousand_tasks_call_at_once
        => |count| on_runtime(tasks_call_at_once(count)), 3_000, 10_000;
    callers_that_give_up_and_servers_that_fail_leave_nothing, many_callers_that_give_up_and_servers_that_fail_leave_nothing
        => |(callers, calls)| on_runtime(disorder(callers, calls)), (20, 200), (200, 5_000);
    a_callees_runtime_that_is_shut_down_ends_calls, a_callees_runtime_that_is_shut_down_ends_many_calls
        => |callers| shut_down(callers, false), 50, 1_000;
    a_callers_runtime_that_is_shut_down_ends_calls, a_callers_runtime_that_is_shut_down_ends_many_calls
        => |callers| shut_down(callers, true), 50, 1_000;
}
