//! Names of the cluster: who gets one, who finds it, and how it is lost.

#![expect(missing_docs, reason = "the name of a scenario says what must hold")]

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use futures_lite::{FutureExt, future};
use noex_driver::{
    Address, CallError, Claim, ClaimError, Cluster, ClusterEvent, ClusterNotStartedError, ExitReason, HolderStream, Item, Limits,
    Mailbox, ProcessId, Protocol, Reply, Runtime, WatchNameError, WhereisError,
};
use serde::{Deserialize, Serialize};

use crate::common::*;
use crate::processes::{Counter, counter_id, spawn};
use crate::proxy::Proxy;

const SECOND: Duration = Duration::from_secs(1);

/// Where the node that can be cut off says that it is.
const FAR: Ipv4Addr = Ipv4Addr::new(127, 9, 9, 8);

/// A mailbox of the node.
fn open<R: Runtime>(cluster: &Cluster<R>) -> Mailbox<Counter> {
    cluster.open().unwrap()
}

/// A process that has a name.
async fn claimed<R: Runtime>(cluster: &Cluster<R>, name: &str) -> Mailbox<Counter> {
    let mailbox = open(cluster);
    assert_eq!(patient(mailbox.claim(name)).await, Ok(()));
    mailbox
}

/// A claim that has begun, and has not settled.
async fn begun(mut claim: Claim) -> Claim {
    assert_eq!(future::poll_once(&mut claim).await, None);
    claim
}

/// Who has a name, as a node knows.
fn holder<R: Runtime>(cluster: &Cluster<R>, name: &str) -> Option<ProcessId> {
    cluster.whereis::<Counter>(name).unwrap().as_ref().map(counter_id)
}

/// Waits until all of these nodes say that the same process has a name.
async fn found<R: Runtime>(clusters: &[&Cluster<R>], name: &str, wanted: Option<&ProcessId>) {
    eventually("all agree", || clusters.iter().all(|cluster| holder(cluster, name).as_ref() == wanted)).await;
}

async fn seen(holders: &mut HolderStream) -> Option<Option<ProcessId>> {
    patient(holders.next()).await
}

/// The next item of a mailbox is that it has lost a name; to whom, if to anybody.
async fn lost(mailbox: &mut Mailbox<Counter>, lost: &str) -> Option<ProcessId> {
    match patient(mailbox.next_item()).await {
        Some(Item::NameLost { name, winner }) if name.as_str() == lost => winner,
        other => panic!("{other:?}"),
    }
}

/// A network between a node and others that can be broken off for as long as one likes.
struct Line {
    port: u16,
    proxy: Option<Proxy>,
}

impl Line {
    fn heal(&mut self) {
        let addr = |ip| SocketAddr::from((ip, self.port));
        self.proxy = Some(Proxy::between(addr(FAR), addr(Ipv4Addr::LOCALHOST)));
    }

    fn part(&mut self) {
        self.proxy = None;
    }

    fn freeze(&self) {
        self.proxy.as_ref().unwrap().freeze();
    }

    fn thaw(&self) {
        self.proxy.as_ref().unwrap().thaw();
    }
}

/// A node to which nobody gets but by the line, and that gets to nobody else.
async fn far<R: Runtime>(name: &str) -> (Cluster<R>, Line) {
    let far = start::<R>(lively(name).advertise_host(FAR.to_string())).await;
    let mut line = Line { port: id(&far).port(), proxy: None };
    line.heal();
    (far, line)
}

/// A node that the one at the end of the line cannot dial.
async fn near<R: Runtime>(name: &str, seeds: &[String]) -> Cluster<R> {
    start(lively(name).advertise_host("127.9.9.9").seeds(seeds)).await
}

/// Two nodes, and the line between them.
async fn parted<R: Runtime>() -> (Cluster<R>, Cluster<R>, Line) {
    let (b, line) = far("b").await;
    let a = near("a", &[seed(&b)]).await;
    meet(&a, &b).await;
    (a, b, line)
}

// The example

/// The protocol of the first example.
#[derive(Deserialize, Serialize)]
enum Sketch {
    Add { by: u64, reply: Reply<u64> },
    Get(Reply<u64>),
    Reset,
}

impl Protocol for Sketch {
    const NAME: &'static str = "counter/1";
}

async fn count<R: Runtime>(cluster: Cluster<R>) -> Result<(), Box<dyn std::error::Error>> {
    let mut counter = cluster.open::<Sketch>()?;
    counter.claim("counter").await?;
    let mut n = 0;
    while let Some(message) = counter.next().await {
        match message {
            Sketch::Add { by, reply } => {
                n += by;
                reply.send(n)
            }
            Sketch::Get(reply) => reply.send(n),
            Sketch::Reset => n = 0,
        }
    }
    Ok(())
}

async fn use_it<R: Runtime>(cluster: &Cluster<R>) -> Result<(), Box<dyn std::error::Error>> {
    let counter = cluster.whereis::<Sketch>("counter")?.ok_or("no counter")?;
    let n: u64 = counter.call(|reply| Sketch::Add { by: 2, reply }).timeout(50 * SECOND).await?;
    assert_eq!(n, 2);
    let n = counter.call(Sketch::Get).await?;
    assert_eq!(n, 2);
    counter.cast(Sketch::Reset)?;
    assert_eq!(counter.call(Sketch::Get).await?, 0);
    counter.stop(ExitReason::error("enough"))?;
    let why: ExitReason = counter.exited().await?;
    assert!(matches!(why.as_error(), Some("enough" | "mailbox dropped")) || why == ExitReason::NoProcess, "{why}");
    Ok(())
}

pub async fn a_process_is_found_by_its_name_and_called<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    let counting = a.clone();
    spawn::<R>(async move { count(counting).await.unwrap() });
    eventually("it is there", || b.whereis::<Sketch>("counter").unwrap().is_some()).await;
    patient(use_it(&b)).await.unwrap();
    eventually("it is gone", || b.whereis::<Sketch>("counter") == Ok(None)).await;
}

// Getting a name

pub async fn a_name_is_of_one_process_of_the_cluster_until_that_gives_it_back_or_ends<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    let first = claimed(&a, "counter").await;
    found(&[&a, &b], "counter", Some(first.id())).await;
    assert_eq!(b.names().unwrap(), [("counter".parse().unwrap(), first.id().clone())]);
    // One of either node is refused at once.
    let taken = Err(ClaimError::Taken { by: first.id().clone(), settled: true });
    let (second, third) = (open(&b), open(&a));
    assert_eq!(patient(second.claim("counter")).await, taken);
    assert_eq!(patient(third.claim("counter")).await, taken);
    // Only its own process gives it back.
    assert_eq!((second.release("counter"), third.release("counter")), (Ok(false), Ok(false)));
    assert_eq!((first.release("counter"), first.release("counter")), (Ok(true), Ok(false)));
    found(&[&a, &b], "counter", None).await;
    assert_eq!(patient(second.claim("counter")).await, Ok(()));
    found(&[&a, &b], "counter", Some(second.id())).await;
    // An end gives it back too.
    drop(second);
    found(&[&a, &b], "counter", None).await;
    assert_eq!(patient(third.claim("counter")).await, Ok(()));
    found(&[&a, &b], "counter", Some(third.id())).await;
    assert_eq!(b.names().unwrap().len(), 1);
}

pub async fn a_name_that_is_none_or_of_another_protocol_is_said_to_be<R: Runtime>() {
    #[derive(Debug, Deserialize, Serialize)]
    struct Other;
    impl Protocol for Other {
        const NAME: &'static str = "other/1";
    }
    let a = Cluster::<R>::new();
    let not_started = ClusterNotStartedError::default();
    assert_eq!(a.whereis::<Counter>("counter"), Err(WhereisError::NotStarted(not_started)));
    assert_eq!(a.names(), Err(not_started));
    assert_eq!(patient(a.names_synced()).await, Err(not_started));
    assert_eq!(a.watch_name("counter").unwrap_err(), WatchNameError::NotStarted(not_started));
    patient(a.start(lively("a").limits(Limits::default().names(1)))).await.unwrap();
    let counter = claimed(&a, "counter").await;
    assert_eq!(a.whereis::<Other>("counter"), Err(WhereisError::WrongProtocol { process: counter.id().clone() }));
    for name in ["", "a\nb", &"x".repeat(256)] {
        assert!(matches!(a.whereis::<Counter>(name), Err(WhereisError::InvalidName(_))));
        assert!(matches!(a.watch_name(name), Err(WatchNameError::InvalidName(_))));
        assert!(matches!(patient(counter.claim(name)).await, Err(ClaimError::InvalidName(_))));
        assert!(matches!(patient(counter.claim_when_free(name)).await, Err(ClaimError::InvalidName(_))));
        assert!(counter.release(name).is_err());
    }
    assert_eq!(patient(counter.claim("another")).await, Err(ClaimError::TooMany { limit: 1 }));
}

pub async fn of_many_who_claim_a_name_at_once_one_has_it<R: Runtime>() {
    let a = start::<R>(lively("a")).await;
    let mut clusters = vec![a.clone()];
    for name in ["b", "c", "d"] {
        clusters.push(start(lively(name).seeds([seed(&a)])).await);
    }
    for cluster in &clusters {
        cluster.wait_for_nodes(3, PATIENCE).await.unwrap();
    }
    let mailboxes: Vec<_> = clusters.iter().map(open).collect();
    let mut winners = 0;
    while winners == 0 {
        // Where all see each other's claims before one has settled, none may be left.
        let outcomes = patient(all(mailboxes.iter().map(|mailbox| mailbox.claim("leader")))).await;
        winners = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert!(winners <= 1, "{outcomes:?}");
        for error in outcomes.into_iter().filter_map(Result::err) {
            assert!(matches!(error, ClaimError::Taken { .. }), "{error}");
        }
    }
    let all: Vec<_> = clusters.iter().collect();
    eventually("all know", || all.iter().all(|cluster| holder(cluster, "leader").is_some())).await;
    found(&all, "leader", holder(&a, "leader").as_ref()).await;
}

pub async fn a_claim_that_is_dropped_before_it_has_returned_is_withdrawn<R: Runtime>() {
    let (a, b, line) = parted::<R>().await;
    let (first, second) = (open(&a), open(&b));
    // One that was never polled never was.
    drop(first.claim("counter"));
    line.freeze();
    drop(begun(first.claim("counter")).await);
    line.thaw();
    let claims = || future::block_on(future::poll_once(second.claim("counter")));
    eventually("it is gone", || matches!(claims(), None | Some(Ok(())))).await;
    // It has settled, as its node knows, and was not polled again.
    line.freeze();
    let claim = begun(first.claim("settled")).await;
    line.thaw();
    eventually("it has settled", || holder(&a, "settled").is_some()).await;
    drop(claim);
    found(&[&a, &b], "settled", None).await;
    // One that has returned stands.
    assert_eq!(patient(first.claim("settled")).await, Ok(()));
    found(&[&a, &b], "settled", Some(first.id())).await;
}

pub async fn a_claim_ends_with_its_process_and_its_node<R: Runtime>() {
    let (a, _b) = pair::<R>(lively("a"), lively("b")).await;
    let held = claimed(&a, "held").await;
    let (mailbox, other) = (open(&a), open(&a));
    let standing_by = begun(mailbox.claim_when_free("held")).await;
    let refused = Err(ClaimError::Taken { by: mailbox.id().clone(), settled: false });
    assert_eq!(patient(other.claim_when_free("held")).await, refused, "one of a node stands by for a name");
    // Whoever gives it back does not wait for it any more.
    assert_eq!(mailbox.release("held"), Ok(true));
    assert_eq!(patient(standing_by).await, Err(ClaimError::Released));
    let standing_by = begun(mailbox.claim_when_free("held")).await;
    let late = mailbox.claim_when_free("held");
    drop(mailbox);
    assert_eq!(patient(standing_by).await, Err(ClaimError::NoProcess));
    assert_eq!(patient(late).await, Err(ClaimError::NoProcess));
    let standing_by = begun(other.claim_when_free("held")).await;
    let port = id(&a).port();
    let stop = future::zip(patient(standing_by), patient(a.stop()));
    assert_eq!(stop.await.0, Err(ClaimError::Stopped));
    assert_eq!(patient(held.claim("held")).await, Err(ClaimError::NotStarted(ClusterNotStartedError::default())));
    // A mailbox of before claims nothing for the process that has its number now.
    patient(a.start(lively("a").port(port))).await.unwrap();
    let _now = open(&a);
    assert_eq!(patient(held.claim("held")).await, Err(ClaimError::NoProcess));
    assert_eq!(held.release("held"), Ok(false));
}

// Standing by

pub async fn a_process_that_stands_by_has_the_name_once_it_is_free<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    let holder = claimed(&a, "leader").await;
    let mut standby = open(&b);
    let mut claim = begun(standby.claim_when_free("leader")).await;
    // Meanwhile it serves.
    let to = a.address::<Counter>(standby.id().clone());
    to.cast(Counter::Put(1)).unwrap();
    let message = async { standby.next().await };
    let got = async {
        assert_eq!((&mut claim).await, Ok(()));
        None
    };
    assert!(matches!(patient(message.or(got)).await, Some(Counter::Put(1))));
    drop(holder);
    assert_eq!(patient(claim).await, Ok(()));
    found(&[&a, &b], "leader", Some(standby.id())).await;
    // One that is given up leaves the name to others.
    let other = open(&a);
    drop(begun(other.claim_when_free("leader")).await);
    drop(standby);
    found(&[&a, &b], "leader", None).await;
    assert_eq!(patient(other.claim("leader")).await, Ok(()));
}

pub async fn a_process_that_stands_by_takes_over_when_the_holders_node_is_lost<R: Runtime>() {
    let (c, mut line) = far::<R>("c").await;
    let a = near("a", &[seed(&c)]).await;
    let b = near("b", &[seed(&c), format!("127.0.0.1:{}", id(&a).port())]).await;
    for (one, other) in [(&a, &b), (&a, &c), (&b, &c)] {
        meet(one, other).await;
    }
    let mut holder = open(&c);
    assert_eq!(patient(holder.claim("leader").min_nodes(1)).await, Ok(()));
    let (first, second) = (open(&a), open(&b));
    let claims = [begun(first.claim_when_free("leader").min_nodes(1)).await, begun(second.claim_when_free("leader")).await];
    line.part();
    // One of the two has it. The other one stands by on.
    let [mut one, mut other] = claims;
    assert_eq!(patient(async { (&mut one).await }.or(async { (&mut other).await })).await, Ok(()));
    eventually("they agree", || self::holder(&a, "leader").is_some() && self::holder(&a, "leader") == self::holder(&b, "leader"))
        .await;
    let now = self::holder(&a, "leader").unwrap();
    assert!(now == *first.id() || now == *second.id());
    // The old one is alone, which is fewer than it asked for.
    assert_eq!(lost(&mut holder, "leader").await, None);
    assert!(patient(holder.next_item()).await.is_none());
    drop(holder);
    line.heal();
    meet(&a, &c).await;
    meet(&b, &c).await;
    found(&[&a, &b, &c], "leader", Some(&now)).await;
}

// Too few, and too many

pub async fn a_claim_that_too_few_nodes_agree_to_fails<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    let mut mailbox = open(&a);
    assert_eq!(patient(mailbox.claim("leader").min_nodes(2)).await, Err(ClaimError::TooFew { found: 1, min_nodes: 2 }));
    assert_eq!(patient(mailbox.claim("leader").min_nodes(1).keep_on_loss()).await, Ok(()));
    // Fewer are left, and the process goes on without the name.
    patient(b.stop()).await;
    assert_eq!(lost(&mut mailbox, "leader").await, None);
    assert_eq!(holder(&a, "leader"), None);
    mailbox.address().cast(Counter::Put(1)).unwrap();
    assert!(matches!(patient(mailbox.next()).await, Some(Counter::Put(1))));
    assert_eq!(patient(mailbox.claim("leader")).await, Ok(()));
}

pub async fn of_two_who_claimed_a_name_apart_one_loses_it_when_they_meet<R: Runtime>() {
    let (a, b, mut line) = parted::<R>().await;
    line.part();
    for cluster in [&a, &b] {
        eventually("they part", || cluster.connected_node_count() == Ok(0)).await;
    }
    // Neither knows of the other, and noex does not decide which side is the right one.
    let mut mailboxes = [claimed(&a, "leader").await, claimed(&b, "leader").await];
    let addresses: Vec<Address<Counter>> = mailboxes.iter().map(Mailbox::address).collect();
    let mut watches = [Watch::new(&a), Watch::new(&b)];
    line.heal();
    meet(&a, &b).await;
    eventually("they agree", || holder(&a, "leader").is_some() && holder(&a, "leader") == holder(&b, "leader")).await;
    let winner = holder(&a, "leader").unwrap();
    let loser = usize::from(winner == *mailboxes[0].id());
    // It is told, in its mailbox and as an event, and asked to stop.
    let mailbox = &mut mailboxes[loser];
    assert_eq!(lost(mailbox, "leader").await, Some(winner.clone()));
    let is_conflict = |event: &ClusterEvent| match event {
        ClusterEvent::NameConflict { name, winner, loser } if name.as_str() == "leader" => Some((winner.clone(), loser.clone())),
        _ => None,
    };
    let conflict = watches[loser].find("a conflict", is_conflict).await;
    assert_eq!(conflict, (winner, mailbox.id().clone()));
    assert!(patient(mailbox.next()).await.is_none());
    let mut exited = Box::pin(addresses[loser].exited());
    assert_eq!(future::poll_once(&mut exited).await, None);
    drop(mailboxes);
    assert_eq!(patient(exited).await, Ok(ExitReason::error("lost the name leader")));
    found(&[&a, &b], "leader", None).await;
}

pub async fn a_process_that_loses_its_name_does_not_see_what_waited<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    let mut mailbox = open(&a);
    assert_eq!(patient(mailbox.claim("leader").min_nodes(1)).await, Ok(()));
    // Both are in the batch of which it has taken one.
    let to = mailbox.address();
    let (mut taken, mut waits) = (to.call(Counter::Get), to.call(Counter::Get));
    assert_eq!(future::poll_once(&mut taken).await, None);
    assert_eq!(future::poll_once(&mut waits).await, None);
    let Some(Counter::Get(reply)) = patient(mailbox.next()).await else { panic!("a call") };
    patient(b.stop()).await;
    eventually("it is alone", || a.connected_node_count() == Ok(0)).await;
    assert_eq!(lost(&mut mailbox, "leader").await, None);
    assert!(patient(mailbox.next_item()).await.is_none());
    reply.send(1);
    drop(mailbox);
    assert_eq!((patient(taken).await, patient(waits).await), (Ok(1), Err(CallError::NoProcess)));
}

// Watching

pub async fn who_has_a_name_is_watched_on_every_node<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a").limits(Limits::default().watched_names(1)), lively("b")).await;
    let (mut here, mut there) = (a.watch_name("leader").unwrap(), b.watch_name("leader").unwrap());
    let mut again = a.watch_name("leader").unwrap();
    assert_eq!(a.watch_name("another").unwrap_err(), WatchNameError::TooMany { limit: 1 });
    assert_eq!((seen(&mut here).await, seen(&mut there).await), (Some(None), Some(None)));
    assert!(future::poll_once(pin!(here.next())).await.is_none());
    let holder = claimed(&b, "leader").await;
    let told = Some(Some(holder.id().clone()));
    assert_eq!((seen(&mut here).await, seen(&mut there).await), (told.clone(), told.clone()));
    // One that reads late hears the last of it.
    assert_eq!(seen(&mut again).await, told);
    drop(here);
    drop(holder);
    assert_eq!((seen(&mut again).await, seen(&mut there).await), (Some(None), Some(None)));
    // One that is dropped leaves its room.
    drop(again);
    let mut another = a.watch_name("another").unwrap();
    assert_eq!(seen(&mut another).await, Some(None));
    // All end with the node.
    let waits = async { seen(&mut another).await };
    assert_eq!(future::zip(waits, patient(a.stop())).await.0, None);
    assert_eq!(seen(&mut another).await, None);
}

pub async fn the_names_of_a_node_that_comes_up_are_known_once_they_are_synced<R: Runtime>() {
    let a = start::<R>(lively("a")).await;
    let holder = claimed(&a, "leader").await;
    assert_eq!(patient(a.names_synced()).await, Ok(()), "it is alone, and knows all");
    let b = Cluster::<R>::new();
    let (told, tells) = async_channel::unbounded();
    let weak = b.downgrade();
    b.on_node_up(move |_| {
        // A handler has a thread of its own, and may wait. Without that it may be too early.
        let Some(b) = weak.upgrade() else { return };
        let found = future::block_on(async {
            b.names_synced().await?;
            b.whereis::<Counter>("leader")
        });
        let _gone = told.try_send(found.map(|found| found.as_ref().map(counter_id)));
    });
    patient(b.start(lively("b").seeds([seed(&a)]))).await.unwrap();
    assert_eq!(patient(tells.recv()).await.unwrap(), Ok(Some(holder.id().clone())));
    // A wait ends with the node.
    patient(b.stop()).await;
    assert!(patient(b.names_synced()).await.is_err());
}
