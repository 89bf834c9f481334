//! A coordinator that hands jobs to workers on other nodes, and gives a job away again where its call says
//! that it was certainly not handled.
//!
//! The first terminal runs the coordinator, each further one a worker:
//!
//! ```sh
//! cargo run -p noex-tokio --example workers -- coordinator 100
//!
//! cargo run -p noex-tokio --example workers -- worker anna
//! cargo run -p noex-tokio --example workers -- worker ben
//! ```
//!
//! Workers may come and go meanwhile. One that is asked to end (Ctrl-C) finishes the job that it has, and
//! what waits in its mailbox goes to others. Of one that is killed nobody knows how far it came: its jobs
//! are set aside, and not done twice. So is a job that crossed the goodbye of a worker.
//!
//! Workers find the coordinator by its name, on whichever node of the cluster it is; the node that they are given is
//! their seed. The last argument may be the port to listen on (`coordinator 100 4400`), or the coordinator's node
//! (`worker anna coordinator@127.0.0.1:4400`). All need the same `CLUSTER_SECRET`, or none.

use std::collections::{HashMap, VecDeque};
use std::env;
use std::error::Error;
use std::io;
use std::time::Duration;

use noex_tokio::{Address, CallError, Cluster, ClusterConfig, ExitReason, Item, Monitor, MonitorId, Protocol, Reply};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

/// How many jobs a worker has at a time: the one that it does, and the next one, so that it need not wait
/// for that.
const AT_ONCE: usize = 2;
/// How long a job may take, with the wait for the one before it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a job takes: what stands here for work.
const WORK: Duration = Duration::from_millis(300);

/// What a worker understands: squares a number.
#[derive(Serialize, Deserialize)]
struct Job {
    number: u64,
    reply: Reply<u64>,
}

impl Protocol for Job {
    const NAME: &'static str = "workers/job/1";
}

/// What the coordinator understands: a worker wants jobs.
#[derive(Serialize, Deserialize)]
struct Join {
    worker: Address<Job>,
    reply: Reply<()>,
}

impl Protocol for Join {
    const NAME: &'static str = "workers/join/1";
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let cluster = Cluster::new();
    let leaving = cluster.clone();
    tokio::spawn(async move {
        asked_to_end().await.expect("this system has signals");
        leaving.stop().await;
    });
    let done = match arguments[..] {
        ["coordinator", jobs] => coordinator(&cluster, jobs.parse()?, 4369).await,
        ["coordinator", jobs, port] => coordinator(&cluster, jobs.parse()?, port.parse()?).await,
        ["worker", name] => worker(&cluster, name, "coordinator@127.0.0.1:4369").await,
        ["worker", name, coordinator] => worker(&cluster, name, coordinator).await,
        _ => Err("say what: coordinator JOBS, or worker NAME".into()),
    };
    cluster.stop().await;
    done
}

async fn worker(cluster: &Cluster, name: &str, coordinator: &str) -> Result<(), Box<dyn Error>> {
    cluster.start(config(name).port(0).seeds([coordinator])).await?;
    let mut mailbox = cluster.open::<Job>()?;
    tokio::spawn(ask_for_jobs(cluster.clone(), mailbox.address()));
    while let Some(Job { number, reply }) = mailbox.next().await {
        println!("job {number}");
        tokio::time::sleep(WORK).await;
        reply.send(number * number);
    }
    Ok(())
}

/// Asks for jobs, again and again: the coordinator may have been started anew, or may have given this worker
/// up.
async fn ask_for_jobs(cluster: Cluster, worker: Address<Job>) {
    loop {
        match cluster.whereis::<Join>("pool") {
            Ok(Some(pool)) => {
                // To ask twice does no harm, so it does not matter here whether a call that failed was handled.
                if let Err(error) = pool.call(|reply| Join { worker: worker.clone(), reply }).await {
                    println!("not joined: {error}");
                }
            }
            Ok(None) => println!("there is no pool"),
            Err(error) => return println!("no further jobs: {error}"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn coordinator(cluster: &Cluster, jobs: u64, port: u16) -> Result<(), Box<dyn Error>> {
    cluster.start(config("coordinator").port(port)).await?;
    let mut mailbox = cluster.open::<Join>()?;
    // On whichever node it is, the workers find it by this.
    mailbox.claim("pool").await?;
    println!("the pool is on {}", cluster.local_node_id()?);

    let mut pool =
        Pool { done: 0, set_aside: 0, running: JoinSet::new(), waiting: (1..=jobs).collect(), workers: HashMap::new() };
    while pool.done + pool.set_aside < jobs {
        tokio::select! {
            item = mailbox.next_item() => match item {
                Some(Item::Message(Join { worker, reply })) => {
                    if pool.workers.values().all(|known| known.address != worker) {
                        // It fires when the worker ends, and when the session with its node does.
                        pool.came(mailbox.monitor(&worker)?, worker);
                    }
                    reply.send(());
                }
                Some(Item::Down { monitor, reason }) => pool.went(monitor, &reason),
                // Whoever is not answered asks again.
                Some(_) => {}
                // The node was stopped.
                None => break,
            },
            Some(ended) = pool.running.join_next() => pool.ended(ended?),
        }
        pool.hand_out();
    }
    println!("of {jobs} jobs {} are done, and {} may be", pool.done, pool.set_aside);
    Ok(())
}

/// What the coordinator knows.
struct Pool {
    done: u64,
    set_aside: u64,
    /// The calls that are open.
    running: JoinSet<Ended>,
    /// The jobs that nobody has.
    waiting: VecDeque<u64>,
    workers: HashMap<MonitorId, Worker>,
}

struct Worker {
    address: Address<Job>,
    /// How many jobs it has.
    jobs: usize,
    /// As long as this is there, the worker is watched.
    _monitor: Monitor,
}

/// A call has ended.
struct Ended {
    number: u64,
    outcome: Result<u64, CallError>,
    worker: MonitorId,
}

impl Pool {
    fn came(&mut self, monitor: Monitor, address: Address<Job>) {
        println!("{} has joined", address.node());
        self.workers.insert(monitor.id(), Worker { address, jobs: 0, _monitor: monitor });
    }

    fn went(&mut self, monitor: MonitorId, reason: &ExitReason) {
        if let Some(worker) = self.workers.remove(&monitor) {
            println!("{} is gone: {reason}", worker.address.node());
        }
    }

    /// Gives each worker as many jobs as it may have.
    fn hand_out(&mut self) {
        for (id, worker) in &mut self.workers {
            while worker.jobs < AT_ONCE
                && let Some(number) = self.waiting.pop_front()
            {
                println!("job {number} goes to {}", worker.address.node());
                worker.jobs += 1;
                let call = worker.address.call(|reply| Job { number, reply }).timeout(PATIENCE);
                let worker = *id;
                self.running.spawn(async move { Ended { number, outcome: call.await, worker } });
            }
        }
    }

    fn ended(&mut self, Ended { number, outcome, worker }: Ended) {
        match outcome {
            Ok(square) => {
                println!("job {number} is done: {square}");
                self.done += 1;
            }
            Err(error) if error.may_have_run() => {
                println!("job {number} may have been done, and is set aside: {error}");
                self.set_aside += 1;
            }
            Err(error) => {
                // So it can be given away again. The worker is about to end, or cannot keep up: it asks
                // again when it wants more.
                println!("job {number} was not done: {error}");
                self.waiting.push_front(number);
                self.workers.remove(&worker);
            }
        }
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.jobs -= 1;
        }
    }
}

/// A node for this machine alone.
fn config(name: &str) -> ClusterConfig {
    ClusterConfig::new(name).host("127.0.0.1").cluster_secret(env::var("CLUSTER_SECRET").ok())
}

/// Ends on Ctrl-C, and on SIGTERM, by which containers and service managers end a process.
async fn asked_to_end() -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            asked = tokio::signal::ctrl_c() => asked,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
