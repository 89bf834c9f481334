//! A node as an application has it: it joins, hears who comes and goes, lists the members, calls a process on
//! each of them, and leaves on Ctrl-C or SIGTERM.
//!
//! ```sh
//! CLUSTER_SECRET='at least sixteen bytes' cargo run -p noex-async-std --example async-std-coordinator
//! ```
//!
//! Its seeds are two workers on this machine. They need not run yet; start them in further terminals, with the same secret:
//!
//! ```sh
//! export CLUSTER_SECRET='at least sixteen bytes'
//! cargo run -p noex-async-std --example async-std-node -- --name worker1 --host 127.0.0.1 --port 4370 --echo --processes 11
//! cargo run -p noex-async-std --example async-std-node -- --name worker2 --host 127.0.0.1 --port 4371 --echo
//! ```
//!
//! Without `CLUSTER_SECRET` it runs too, and lets anyone in who reaches its port: here, this machine.

use std::env;
use std::error::Error;
use std::time::Duration;

use noex_async_std::{Cluster, ClusterConfig, Protocol, Reply, WaitError};
use serde::{Deserialize, Serialize};

/// What the process named `echo` of a worker understands.
#[derive(Serialize, Deserialize)]
struct Echo {
    text: String,
    reply: Reply<String>,
}

impl Protocol for Echo {
    const NAME: &'static str = "echo/1";
}

fn main() -> Result<(), Box<dyn Error>> {
    async_std::task::block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    // From here on, so that it leaves whenever it is asked: on Ctrl-C, and on SIGTERM, by which containers and service managers end a process.
    let (tell, told) = async_channel::bounded::<()>(1);
    ctrlc::set_handler(move || {
        tell.close();
    })?;
    let cluster = Cluster::new();

    // Before the start, so that they miss nothing.
    cluster.on_node_up(|node| println!("Node joined: {} ({} processes)", node.id, node.process_count));
    cluster.on_node_down(|id, reason| println!("Node left: {id} ({reason})"));
    cluster.on_error(|error| eprintln!("Error: {error}"));

    let config = ClusterConfig::new("coordinator")
        .host("127.0.0.1")
        .port(4369)
        .seeds(["worker1@127.0.0.1:4370", "worker2@127.0.0.1:4371"])
        .cluster_secret(env::var("CLUSTER_SECRET").ok())
        .heartbeat_interval(Duration::from_secs(3))
        .heartbeat_miss_threshold(2);
    cluster.start(config).await?;
    println!("Started as {}", cluster.local_node_id()?);

    match cluster.wait_for_nodes(2, Duration::from_secs(2)).await {
        // Who is late joins all the same.
        Ok(()) | Err(WaitError::TimedOut { .. }) => {}
        Err(error) => return Err(error.into()),
    }

    let nodes = cluster.connected_nodes()?;
    println!("Connected to {} nodes:", nodes.len());
    for node in nodes {
        println!("  - {}: uptime {} s", node.id, node.uptime.as_secs());
        let echo = cluster.named(node.id, "echo")?;
        match echo.call(|reply| Echo { text: "hello".into(), reply }).timeout(Duration::from_secs(1)).await {
            Ok(text) => println!("    answers: {text}"),
            Err(error) => println!("    does not answer: {error}"),
        }
    }

    // Ends when the channel is closed.
    let _closed = told.recv().await;
    println!("Shutting down...");
    cluster.stop().await;
    Ok(())
}
