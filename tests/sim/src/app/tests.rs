//! Tests of applications in the simulator: programs, their turns, and what fails a run. `runs` is about many seeds.

mod runs;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use noex_tokio::{Address, CallError, Cluster, ClusterConfig, ExitReason, Mailbox, Protocol, Reply, StartError, mark};
use serde::{Deserialize, Serialize};

use super::panics::Whose;
use super::script::Script;
use super::stage::Stage;
use super::watchdog::Watch;
use super::{App, Host, SECOND, here};
use crate::{Replay, World};

fn app(seed: u64) -> App {
    super::panics::install();
    App::new(Stage::new(Script::new(seed), Whose::test(seed), Watch::begin()), None)
}

fn config(host: usize) -> ClusterConfig {
    ClusterConfig::new(format!("n{host}")).host(format!("10.0.0.{}", host + 1)).seeds(["n0@10.0.0.1:4369"])
}

async fn started(host: usize) -> Cluster {
    let cluster = Cluster::new();
    cluster.start(config(host)).await.expect("a valid configuration");
    cluster
}

/// What programs tell the test, which runs in the same thread.
type Shared<T> = Rc<RefCell<T>>;

async fn listener(host: usize, heard: Shared<Vec<String>>) {
    let cluster = if host == 0 { Cluster::with_recorder(1 << 20) } else { Cluster::new() };
    let ups = Arc::new(Mutex::new(0));
    let counted = ups.clone();
    cluster.on_node_up(move |_| *counted.lock().expect("no test panics") += 1);
    let mut events = cluster.events();
    cluster.start(config(host)).await.expect("a valid configuration");
    while let Some(event) = events.next().await {
        heard.borrow_mut().push(event.to_string());
        let connected = cluster.connected_node_count().expect("it runs");
        assert!(connected <= 4 && *ups.lock().expect("no test panics") <= 4, "{connected}");
    }
}

#[test]
fn a_world_whose_programs_start_nodes_and_read_events_goes_as_without_programs() {
    let heard: Vec<Shared<Vec<String>>> = (0..5).map(|_| Rc::default()).collect();
    let app = app(7);
    for (host, heard) in heard.iter().cloned().enumerate() {
        app.host(format!("n{host}"), move || listener(host, heard.clone()));
    }
    app.run_for(20 * SECOND).expect("nothing is wrong");

    let mut world = World::new(7);
    (0..5).for_each(|host| assert_eq!(world.add_host(), host));
    (0..5).for_each(|host| world.start(host, config(host)).expect("a valid configuration"));
    world.run_for(20 * SECOND).expect("nothing is wrong");
    assert!(world.is_mesh(&[0, 1, 2, 3, 4]));
    for (host, heard) in heard.iter().enumerate() {
        let events: Vec<String> = world.events(host).iter().map(|(_, event)| event.to_string()).collect();
        assert_eq!(*heard.borrow(), events, "host {host}");
    }
    app.order(|stage| {
        assert_eq!((stage.world.hash(), stage.world.steps()), (world.hash(), world.steps()));
        let recorded = stage.world.machine_mut(0).take_recording();
        let replay = Replay::run(&recorded, &[]).expect("a recording");
        assert_eq!(replay.error, None);
        assert_eq!(replay.events.len(), world.events(0).len());
    });
}

#[derive(Deserialize, Serialize)]
enum Counter {
    Add { by: u64, reply: Reply<u64> },
    Never(Reply<()>),
}

impl Protocol for Counter {
    const NAME: &'static str = "counter/1";
}

thread_local! {
    static COUNTER: RefCell<Option<Address<Counter>>> = const { RefCell::new(None) };
}

async fn counter(host: usize) {
    let cluster = started(host).await;
    let mut mailbox: Mailbox<Counter> = cluster.open().expect("it runs");
    mailbox.register("counter").expect("it is free");
    COUNTER.set(Some(mailbox.address()));
    let (mut count, mut kept) = (0, Vec::new());
    while let Some(message) = mailbox.next().await {
        match message {
            Counter::Add { by, reply } => {
                count += by;
                reply.send(count);
            }
            Counter::Never(reply) => kept.push(reply),
        }
    }
}

fn counter_of(cluster: &Cluster, host: usize) -> Address<Counter> {
    let node = format!("n{host}@10.0.0.{}:4369", host + 1).parse().expect("an identity");
    cluster.named(node, "counter").expect("a name")
}

#[test]
fn programs_call_and_monitor_each_other_by_virtual_time() {
    let app = app(1);
    app.host("n0", || counter(0));
    let told: Shared<Vec<String>> = Rc::default();
    let say = told.clone();
    let client = app.host("n1", move || {
        let say = say.clone();
        async move {
            let cluster = started(1).await;
            cluster.wait_for_nodes(1, 10 * SECOND).await.expect("they meet");
            let counter = counter_of(&cluster, 0);
            assert_eq!(counter.call(|reply| Counter::Add { by: 2, reply }).await, Ok(2));
            assert_eq!(counter.call(|reply| Counter::Add { by: 3, reply }).await, Ok(5));
            let began = tokio::time::Instant::now();
            assert_eq!(counter.call(Counter::Never).timeout(3 * SECOND).await, Err(CallError::TimedOut));
            let took = began.elapsed();
            assert!(took >= 3 * SECOND && took < 3 * SECOND + Duration::from_millis(150), "{took:?}");
            // A call whose future is dropped is cancelled.
            let given_up = tokio::time::timeout(SECOND, counter.call(Counter::Never)).await;
            assert!(given_up.is_err());
            mark!("waits");
            let reason = counter.exited().await.expect("it can be watched");
            say.borrow_mut().push(reason.to_string());
            assert_eq!(began.elapsed().as_millis() / 1000, 6);
        }
    });
    app.at(7 * SECOND, |app| app.crash(&Host { name: "n0".into(), number: 0 }));
    app.run_until(client.finished(), 60 * SECOND).expect("it ends");
    assert_eq!(*told.borrow(), [ExitReason::NoConnection.to_string()]);
    assert!(app.now() >= 7 * SECOND && app.now() < 8 * SECOND, "{:?}", app.now());
}

#[test]
fn a_crashed_program_starts_anew_with_what_its_closure_has_captured() {
    let app = app(2);
    let lives: Shared<Vec<(Option<usize>, Duration)>> = Rc::default();
    let noted = lives.clone();
    app.host("n0", || counter(0));
    let host = app.host("n1", move || {
        let noted = noted.clone();
        async move {
            let cluster = started(1).await;
            noted.borrow_mut().push((here(), cluster.uptime().expect("it runs")));
            cluster.wait_for_nodes(1, 10 * SECOND).await.expect("they meet");
            std::future::pending::<()>().await;
        }
    });
    app.run_for(5 * SECOND).expect("nothing is wrong");
    app.crash(&host);
    app.run_for(5 * SECOND).expect("nothing is wrong");
    app.run(app.now(), |view| {
        assert!(!view.is_alive(&host) && view.members(&Host { name: "n0".into(), number: 0 }).is_empty());
        true
    })
    .expect("it is looked at once");
    app.restart(&host);
    app.run_until(|view| view.members(&host).len() == 1, 5 * SECOND).expect("it is back");
    assert_eq!(*lives.borrow(), [(Some(1), Duration::ZERO); 2]);
    assert_eq!(here(), None);
}

#[test]
fn the_clock_of_a_frozen_program_jumps() {
    let app = app(3);
    let times: Shared<Vec<u128>> = Rc::default();
    let noted = times.clone();
    let host = app.host("n0", move || {
        let noted = noted.clone();
        async move {
            let began = tokio::time::Instant::now();
            let mut interval = tokio::time::interval(SECOND);
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            // On the runtime itself, and not in its set of tasks.
            let late = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(4500)).await;
                began.elapsed().as_millis()
            });
            for _ in 0..5 {
                interval.tick().await;
                noted.borrow_mut().push(began.elapsed().as_millis());
            }
            let late = late.await.expect("it ends");
            noted.borrow_mut().push(late);
        }
    });
    app.run_for(Duration::from_millis(2500)).expect("nothing is wrong");
    app.freeze(&host);
    app.run_for(10 * SECOND).expect("nothing is wrong");
    app.thaw(&host);
    app.run_for(10 * SECOND).expect("nothing is wrong");
    assert_eq!(*times.borrow(), [0, 1000, 2000, 12_500, 13_500, 12_500]);
}

#[test]
fn a_program_that_runs_on_a_clock_of_another_rate_sleeps_by_that() {
    let app = app(4);
    app.host("n0", || async {
        tokio::time::sleep(10 * SECOND).await;
        mark!("awake", tokio::time::Instant::now().elapsed().as_millis());
    });
    app.order(|stage| stage.world.set_clock_rate(0, 2000));
    app.run_until(|view| view.marks("awake").count() == 1, 6 * SECOND).expect("it is awake");
    assert_eq!(app.now(), 5 * SECOND);
}

/// How a run of one host fails.
fn fails<E: super::End + 'static, P: Future<Output = E> + 'static>(program: impl FnMut() -> P + 'static) -> String {
    let app = app(5);
    app.host("n0", program);
    app.run_for(10 * SECOND).expect_err("it fails").to_string()
}

#[test]
fn a_panic_in_any_task_fails_the_run_with_its_place_and_time() {
    async fn later(panics: impl Future<Output = ()>) {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        panics.await;
    }
    let place = |text: &str| assert!(text.starts_with("at 1.500 s on n0: panicked at tests/sim/src/app/tests.rs:"), "{text}");
    place(&fails(|| later(async { panic!("in the program") })));
    let spawned = fails(|| async {
        tokio::spawn(later(async { panic!("in a task") }));
        std::future::pending::<()>().await;
    });
    place(&spawned);
    assert!(spawned.ends_with(": in a task"), "{spawned}");
    place(&fails(|| async {
        tokio::task::spawn_local(later(async { panic!("in a local task") }));
        std::future::pending::<()>().await;
    }));
    place(&fails(|| async {
        later(async {}).await;
        tokio::task::spawn_blocking(|| panic!("on a thread")).await.expect_err("it panics");
        std::future::pending::<()>().await;
    }));
    let ended = fails(|| async { Err::<(), _>("no luck") });
    assert_eq!(ended, "at 0.000 s on n0: its program ended with an error: \"no luck\"");
}

#[test]
fn a_panic_can_be_tolerated() {
    let app = app(5);
    app.tolerate_panics(|message| message.contains("by design"));
    app.host("n0", || async {
        tokio::spawn(async { panic!("by design") }).await.expect_err("it panics");
    });
    app.run_for(SECOND).map(drop).expect("it is tolerated");
}

#[test]
fn one_node_runs_on_a_host_at_a_time() {
    let app = app(6);
    let host = app.host("n0", || async {
        let first = started(0).await;
        assert_eq!(first.start(config(0)).await, Err(StartError::AlreadyRunning));
        let second = Cluster::new();
        let refused = second.start(config(0)).await.expect_err("one runs");
        assert!(refused.to_string().contains("runs one node"), "{refused}");
        let wrong = Cluster::new().start(ClusterConfig::new("no@name")).await;
        assert!(matches!(wrong, Err(StartError::Runtime { .. })), "{wrong:?}");
        first.stop().await;
        assert!(matches!(second.start(ClusterConfig::new("no@name")).await, Err(StartError::Config(_))));
        second.start(config(0)).await.expect("none runs any more");
        second.stop().await;
        second.start(config(0)).await.expect("once more");
        drop(second);
        tokio::time::sleep(SECOND).await;
        started(0).await.stop().await;
    });
    app.run_until(host.finished(), 60 * SECOND).expect("it ends");
}

#[test]
fn a_handle_is_lent_while_the_simulation_runs_and_the_tests_own_between() {
    let app = app(8);
    let kept: Arc<Mutex<Option<Cluster>>> = Arc::default();
    let (put, taken) = (kept.clone(), kept.clone());
    app.host("n0", move || {
        let put = put.clone();
        async move {
            *put.lock().expect("no test panics") = Some(started(0).await);
            std::future::pending::<()>().await;
        }
    });
    app.host("n1", || counter(1));
    app.run_for(5 * SECOND).expect("nothing is wrong");
    let cluster = kept.lock().expect("no test panics").clone().expect("it has started");
    assert_eq!(cluster.connected_node_count(), Ok(1));
    assert_eq!(cluster.uptime(), Ok(5 * SECOND));
    cluster.set_process_count(7);
    app.host("n2", move || {
        let taken = taken.lock().expect("no test panics").clone();
        async move { drop(taken.expect("it is there").nodes()) }
    });
    let lent = app.run_for(SECOND).expect_err("it is another host's").to_string();
    assert!(lent.contains("on n2: panicked") && lent.contains("machine is lent to the simulation"), "{lent}");
}

#[test]
fn blocking_threads_of_a_host_hold_its_clock() {
    let app = app(9);
    let host = app.host("n0", || async {
        let cluster = started(0).await;
        let began = tokio::time::Instant::now();
        let status = tokio::task::spawn_blocking(move || {
            std::thread::sleep(Duration::from_millis(30));
            cluster.status()
        });
        assert_eq!(status.await.expect("it ends"), noex_tokio::ClusterStatus::Running);
        assert!(began.elapsed() <= Duration::from_millis(1), "{:?}", began.elapsed());
    });
    app.run_until(host.finished(), SECOND).expect("it ends");
}

#[test]
fn tasks_that_never_rest_and_sockets_are_said_to_be_wrong() {
    let busy = fails(|| async {
        tokio::task::spawn_local(counter(0));
        tokio::time::sleep(SECOND).await;
        let counter = COUNTER.take().expect("it is open");
        while counter.call(|reply| Counter::Add { by: 1, reply }).await.is_ok() {}
    });
    assert!(busy.starts_with("at 1.000 s on n0: its tasks and its node keep each other busy"), "{busy}");
    let socket = fails(|| async { drop(tokio::net::TcpListener::bind("127.0.0.1:0").await) });
    assert!(socket.contains("A Tokio 1.x context was found, but IO is disabled"), "{socket}");
}
