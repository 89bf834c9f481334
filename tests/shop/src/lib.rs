//! A shop: orders in a database, a shop that hands them out, and workers that do them, each once, whatever fails.
//!
//! The workers offer themselves to the shop, which is a process with a name; whoever loses the other by a monitor begins anew. A call that fails may
//! have been handled: then an order is handed out again only as another attempt, which the database tells from the one before.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use noex_tokio::{Address, Cluster, ClusterConfig, Mailbox, NodeId, Protocol, Reply, mark};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::sleep;

/// How long it takes to do an order.
const WORK: Duration = Duration::from_secs(2);
/// How long after a failure it is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// What is to be done: the number of the order, and how often it was handed out before.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Order {
    number: u64,
    attempt: u64,
}

/// The database, which outlives every process.
#[derive(Clone, Debug, Default)]
pub struct Database(Arc<Mutex<Tables>>);

#[derive(Debug, Default)]
struct Tables {
    /// The attempts at the orders that are not done.
    open: BTreeMap<u64, u64>,
    done: Vec<u64>,
}

impl Database {
    /// A database with orders that are to be done.
    #[must_use]
    pub fn with_orders(count: u64) -> Self {
        let tables = Tables { open: (0..count).map(|number| (number, 0)).collect(), done: Vec::new() };
        Self(Arc::new(Mutex::new(tables)))
    }

    /// The orders that were done, in that order.
    #[must_use]
    pub fn done(&self) -> Vec<u64> {
        self.tables().done.clone()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another attempt at an order, unless it is done: none of those before can end any more.
    fn retry(&self, number: u64) -> Option<Order> {
        let mut tables = self.tables();
        let attempt = tables.open.get_mut(&number)?;
        *attempt += 1;
        Some(Order { number, attempt: *attempt })
    }

    /// An order is done, unless it was handed out again meanwhile.
    fn finish(&self, order: Order, bug: Option<Bug>) {
        let mut tables = self.tables();
        if bug == Some(Bug::RetriesBlindly) || tables.open.get(&order.number) == Some(&order.attempt) {
            tables.open.remove(&order.number);
            tables.done.push(order.number);
        }
    }

    fn open(&self) -> Vec<u64> {
        self.tables().open.keys().copied().collect()
    }
}

/// A mistake that is made on purpose, for a test to find.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bug {
    /// A worker that has found the shop again does not watch it any more.
    ForgetsMonitor,
    /// An order is handed out again after a call that failed, though it may have been handled.
    RetriesBlindly,
}

/// What the shop is told.
#[derive(Deserialize, Serialize)]
enum ToShop {
    /// A worker wants orders.
    Offer { worker: Address<ToWorker>, reply: Reply<()> },
}

impl Protocol for ToShop {
    const NAME: &'static str = "shop/1";
}

/// What a worker is told.
#[derive(Deserialize, Serialize)]
enum ToWorker {
    Do { order: Order, reply: Reply<()> },
}

impl Protocol for ToWorker {
    const NAME: &'static str = "worker/1";
}

/// Orders that wait for a worker.
#[derive(Debug, Default)]
struct Waiting(Mutex<VecDeque<Order>>, Notify);

impl Waiting {
    fn put(&self, order: Order) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(order);
        self.1.notify_one();
    }

    async fn next(&self) -> Order {
        loop {
            let changed = self.1.notified();
            let next = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match next {
                Some(order) => return order,
                None => changed.await,
            }
        }
    }
}

/// Runs the shop.
///
/// # Errors
/// The node cannot be started.
pub async fn shop(config: ClusterConfig, database: Database, bug: Option<Bug>) -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::new();
    cluster.start(config).await?;
    let mut mailbox: Mailbox<ToShop> = cluster.open()?;
    mailbox.register("shop")?;
    // Whatever was handed out before this process began may still be done.
    let waiting = Arc::new(Waiting::default());
    database.open().into_iter().filter_map(|number| database.retry(number)).for_each(|order| waiting.put(order));
    while let Some(ToShop::Offer { worker, reply }) = mailbox.next().await {
        tokio::spawn(feed(worker, waiting.clone(), database.clone(), bug));
        reply.send(());
    }
    Ok(())
}

/// Hands orders to a worker, one after the other, as long as it lives and can be reached.
async fn feed(worker: Address<ToWorker>, waiting: Arc<Waiting>, database: Database, bug: Option<Bug>) {
    let mut gone = std::pin::pin!(worker.exited());
    loop {
        let order = tokio::select! {
            biased;
            _ = &mut gone => return,
            order = waiting.next() => order,
        };
        match worker.call(|reply| ToWorker::Do { order, reply }).await {
            Ok(()) => {}
            Err(error) if !error.may_have_run() || bug == Some(Bug::RetriesBlindly) => {
                waiting.put(order);
                sleep(PAUSE).await;
            }
            Err(_) => database.retry(order.number).into_iter().for_each(|order| waiting.put(order)),
        }
    }
}

/// Runs a worker of the shop on a node.
///
/// # Errors
/// The node cannot be started.
pub async fn worker(config: ClusterConfig, shop: NodeId, database: Database, bug: Option<Bug>) -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::new();
    cluster.start(config).await?;
    let mut mailbox: Mailbox<ToWorker> = cluster.open()?;
    let (own, shop) = (mailbox.address(), cluster.named::<ToShop>(shop, "shop")?);
    tokio::spawn(async move {
        let mut offers = 0;
        loop {
            if shop.call(|reply| ToShop::Offer { worker: own.clone(), reply }).await.is_ok() {
                offers += 1;
                mark!("offers", offers);
                if offers > 1 && bug == Some(Bug::ForgetsMonitor) {
                    return;
                }
                // It ends with the process of the shop, and with the session to its node.
                let _reason = shop.exited().await;
            }
            sleep(PAUSE).await;
        }
    });
    while let Some(ToWorker::Do { order, reply }) = mailbox.next().await {
        sleep(WORK).await;
        database.finish(order, bug);
        mark!("does", order.number);
        reply.send(());
    }
    Ok(())
}
