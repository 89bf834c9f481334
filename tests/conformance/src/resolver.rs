//! A lookup that the system's resolver takes minutes for. It needs a process of its own, in a network and a file system of its own, with a
//! name server that swallows queries.

use std::env;
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use noex_driver::{Cluster, Runtime};

use crate::common::*;

/// Set in the process where the resolver is like that.
const INSIDE: &str = "NOEX_TEST_WITHOUT_RESOLVER";

const SCRIPT: &str = r#"
set -e
ip link set lo up
conf=$(mktemp)
printf 'nameserver 127.0.0.1\noptions timeout:30 attempts:5\n' >"$conf"
mount --bind "$conf" /etc/resolv.conf
rm "$conf"
exec "$0" --exact "$1" --nocapture
"#;

/// The body of a test called `test` that is alone in its program: names of seeds are being looked up, the node is stopped, and the runtime
/// in which `block_on` runs a future ends; and so does the process, though the resolver would take minutes more.
pub fn a_stop_and_the_end_of_the_runtime_wait_for_no_lookup<R: Runtime>(test: &str, block_on: impl FnOnce(Inside<R>)) {
    if env::var_os(INSIDE).is_some() {
        let server = UdpSocket::bind("127.0.0.1:53").unwrap();
        block_on(Inside { server, runtime: std::marker::PhantomData });
        println!("the runtime has ended");
        return;
    }
    let program = env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--", "sh", "-c", SCRIPT]).arg(program).arg(test).env(INSIDE, "1");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut child) = child else { return println!("skipped: it needs unshare") };
    let (over, is_over) = mpsc::channel();
    let id = child.id();
    let output = thread::spawn(move || {
        let status = child.wait();
        let _late = over.send(());
        (status, child)
    });
    if is_over.recv_timeout(PATIENCE).is_err() {
        let _gone = Command::new("kill").args(["-9", &id.to_string()]).status();
        panic!("the process waits for lookups");
    }
    let (status, child) = output.join().unwrap();
    let read = |stream: Option<&mut dyn std::io::Read>| {
        let mut text = String::new();
        let _cut = stream.map(|stream| stream.read_to_string(&mut text));
        text
    };
    let (mut out, mut err) = (child.stdout, child.stderr);
    let (out, err) = (read(out.as_mut().map(|out| out as _)), read(err.as_mut().map(|err| err as _)));
    if !out.contains("running 1 test") {
        return println!("skipped: no namespaces here: {err}");
    }
    assert!(status.unwrap().success() && out.contains("the runtime has ended"), "{out}\n{err}");
}

/// What runs where the resolver is like that.
#[derive(Debug)]
pub struct Inside<R> {
    server: UdpSocket,
    runtime: std::marker::PhantomData<R>,
}

impl<R: Runtime> Inside<R> {
    /// The scenario, to be run in a runtime of its own.
    pub async fn run(self) {
        let cluster = Cluster::<R>::new();
        patient(cluster.start(config("a").seeds((0..40).map(|n| format!("seed-{n}.example"))))).await.unwrap();
        // The name server has heard of it.
        self.server.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        self.server.recv(&mut [0; 512]).unwrap();
        assert_eq!(cluster.counters().dials, 0);
        patient(cluster.stop()).await;
        patient(cluster.start(config("a").seeds(["seed-0.example"]))).await.unwrap();
        patient(cluster.stop()).await;
    }
}
