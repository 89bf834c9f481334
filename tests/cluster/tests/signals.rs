//! Examples leave when they are asked to end, as by whoever runs them in a container.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use noex_conformance::common::{Watch, id, patient};
use noex_tokio::{Cluster, ClusterConfig, NodeDownReason};

const SECRET: &str = "the secret of these examples";

/// Each with the arguments by which it finds the worker at that port. A coordinator knows where its workers are.
const PROGRAMS: [(&str, &[&str]); 5] = [
    (env!("CARGO_BIN_EXE_async-std-coordinator"), &[]),
    (env!("CARGO_BIN_EXE_async-std-node"), &NODE),
    (env!("CARGO_BIN_EXE_smol-node"), &NODE),
    (env!("CARGO_BIN_EXE_tokio-coordinator"), &[]),
    (env!("CARGO_BIN_EXE_tokio-node"), &NODE),
];

const NODE: [&str; 8] = ["--name", "leaver", "--host", "127.0.0.1", "--port", "0", "--seed", "worker1@127.0.0.1:4370"];

/// Killed where the test fails.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _over = self.0.kill();
        let _over = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn examples_leave_on_sigterm() {
    for (program, args) in PROGRAMS {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let worker = Cluster::new();
            let mut watch = Watch::new(&worker);
            // Its port is fixed, and may still be another test's.
            let config = || ClusterConfig::new("worker1").host("127.0.0.1").port(4370).cluster_secret(SECRET);
            patient(async {
                while worker.start(config()).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            })
            .await;
            let mut command = Command::new(program);
            command.args(args).env("CLUSTER_SECRET", SECRET).stdin(Stdio::null()).stdout(Stdio::null());
            let mut running = Program(command.spawn().unwrap());
            patient(worker.wait_for_nodes(1, Duration::from_secs(60))).await.unwrap();
            let leaver = worker.node_ids().unwrap()[0].clone();
            kill(Pid::from_raw(running.0.id().try_into().unwrap()), signal).unwrap();
            assert_eq!(watch.down(&leaver).await, NodeDownReason::GracefulShutdown, "{program}, {signal}");
            let ended = patient(tokio::task::spawn_blocking(move || running.0.wait())).await.unwrap().unwrap();
            assert!(ended.success(), "{program}, {signal}: {ended}");
            assert_eq!(id(&worker).name(), "worker1");
            patient(worker.stop()).await;
        }
    }
}
