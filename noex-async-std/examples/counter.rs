//! A process that counts, and programs on other nodes that call it.
//!
//! The first terminal runs the counter, the second one uses it:
//!
//! ```sh
//! cargo run -p noex-async-std --example async-std-counter -- open
//!
//! cargo run -p noex-async-std --example async-std-counter -- add 2
//! cargo run -p noex-async-std --example async-std-counter -- get
//! cargo run -p noex-async-std --example async-std-counter -- reset
//! cargo run -p noex-async-std --example async-std-counter -- watch
//! ```
//!
//! `watch` waits until the counter ends, and says why: press Ctrl-C in the first terminal, or kill its
//! program. The last argument may be the port to listen on (`open 4400`), or the node to call (`get
//! counter@127.0.0.1:4400`). Both terminals need the same `CLUSTER_SECRET`, or none.

use std::env;
use std::error::Error;
use std::time::Duration;

use async_std::task;
use noex_async_std::{Address, Cluster, ClusterConfig, NodeId, Protocol, Reply};
use serde::{Deserialize, Serialize};

const SECOND: Duration = Duration::from_secs(1);

/// All that a counter understands. A request holds the port for its answer.
#[derive(Serialize, Deserialize)]
enum Counter {
    Add { by: u64, reply: Reply<u64> },
    Get(Reply<u64>),
    Reset,
}

impl Protocol for Counter {
    const NAME: &'static str = "counter/1";
}

fn main() -> Result<(), Box<dyn Error>> {
    task::block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (what, rest) = arguments.split_first().ok_or("say what: open, add N, get, reset or watch")?;
    if what == "open" {
        return open(rest.first().map_or(Ok(4369), |port| port.parse())?).await;
    }
    let (by, rest) = match (what.as_str(), rest) {
        ("add", [by, rest @ ..]) => (by.parse()?, rest),
        (_, rest) => (0, rest),
    };
    let node: NodeId = rest.first().map_or("counter@127.0.0.1:4369", String::as_str).parse()?;

    let cluster = Cluster::new();
    cluster.start(config("caller").port(0).seeds([node.clone()])).await?;
    cluster.wait_for_node(&node, 10 * SECOND).await?;
    let counter = cluster.named::<Counter>(node, "counter")?;
    let done = call(&counter, what, by).await;
    cluster.stop().await;
    done
}

/// The counter: a process is whoever owns a mailbox.
async fn open(port: u16) -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::new();
    cluster.start(config("counter").port(port)).await?;
    let mut counter = cluster.open::<Counter>()?;
    counter.register("counter")?;
    println!("counting on {}", cluster.local_node_id()?);

    // On Ctrl-C, and on SIGTERM, by which containers and service managers end a process. Stopping the node
    // asks its processes to stop: the loop below ends.
    let leaving = cluster.clone();
    ctrlc::set_handler(move || task::block_on(leaving.stop()))?;
    let mut n = 0;
    while let Some(message) = counter.next().await {
        match message {
            Counter::Add { by, reply } => {
                n += by;
                reply.send(n);
            }
            Counter::Get(reply) => reply.send(n),
            Counter::Reset => n = 0,
        }
    }
    println!("counted to {n}");
    drop(counter);
    cluster.stop().await;
    Ok(())
}

async fn call(counter: &Address<Counter>, what: &str, by: u64) -> Result<(), Box<dyn Error>> {
    match what {
        // Dropping the future would cancel the call.
        "add" => println!("{}", counter.call(|reply| Counter::Add { by, reply }).timeout(SECOND).await?),
        "get" => println!("{}", counter.call(Counter::Get).await?),
        "reset" => {
            counter.cast(Counter::Reset)?;
            println!("sent");
        }
        "watch" => {
            println!("watching");
            println!("the counter ended: {}", counter.exited().await?);
        }
        _ => return Err(format!("{what}: say open, add N, get, reset or watch").into()),
    }
    Ok(())
}

/// A node for this machine alone.
fn config(name: &str) -> ClusterConfig {
    ClusterConfig::new(name).host("127.0.0.1").cluster_secret(env::var("CLUSTER_SECRET").ok())
}
