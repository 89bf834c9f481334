//! A node that prints what happens as lines, and sends the lines that it is given.
//!
//! A line is the wall-clock time in seconds, a word, and what belongs to it:
//!
//! ```text
//! 1763912345.120 status running
//! 1763912345.121 self a@127.0.0.1:4001
//! 1763912345.123 up b@127.0.0.1:4002 processes=0
//! 1763912345.400 message from b@127.0.0.1:4002: hello
//! 1763912345.500 sent 1
//! 1763912345.600 member b@127.0.0.1:4002 connected processes=0 uptime_ms=512
//! 1763912345.700 error seed c@127.0.0.1:4003 is unreachable: connection refused
//! 1763912345.800 lagged 12
//! 1763912345.900 down b@127.0.0.1:4002 connection_closed
//! ```
//!
//! A line that is typed goes to all connected nodes; an empty one lists the known nodes. The end of the input does not end the node.
//!
//! With `--echo` it has a process named `echo`, which any node can call.
//!
//! With `--record FILE` the node writes down all that it is fed, secrets apart. `noex-sim replay FILE --secret-file SECRET` repeats what
//! it did.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, error, fs, thread};

use clap::Parser;
use futures_lite::{StreamExt, future, stream};
use noex_driver::{
    Broadcast, Bytes, Cluster, ClusterConfig, ClusterEvent, ClusterNotStartedError, ClusterStatus, Message, MessagesLagged,
    Protocol, Reply, Runtime, SendError, StartError, WeakCluster, defaults,
};
use serde::{Deserialize, Serialize};

/// How many bytes of a message are shown.
const SHOWN: usize = 1_000;

/// A node of a noex cluster. It prints members and events, and sends each line that is typed to all the others; an empty line lists
/// the known nodes. Ctrl-C leaves the cluster.
///
/// The secret that all members share is read from --secret-file, or else from the environment variable CLUSTER_SECRET; without
/// either, anyone who reaches the port can join.
#[derive(Debug, Parser)]
struct Options {
    /// The node's name: a letter or digit, then letters, digits, _ and -
    #[arg(long)]
    name: String,
    /// The address or name to listen on
    #[arg(long, default_value = defaults::HOST)]
    host: String,
    /// The TCP port to listen on; 0 lets the system choose
    #[arg(long, default_value_t = defaults::PORT)]
    port: u16,
    /// The address or name to tell the others, if it is another one than that to listen on
    #[arg(long, value_name = "HOST")]
    advertise_host: Option<String>,
    /// The port to tell the others, if it is another one than that to listen on
    #[arg(long, value_name = "PORT")]
    advertise_port: Option<u16>,
    /// A node to contact first, as name@host:port; may be repeated
    #[arg(long = "seed", value_name = "NODE")]
    seeds: Vec<String>,
    /// The cluster's name
    #[arg(long, default_value = defaults::CLUSTER_NAME)]
    cluster_name: String,
    /// The time between two heartbeats
    #[arg(long, value_name = "MS", default_value_t = millis(defaults::HEARTBEAT_INTERVAL))]
    heartbeat_ms: u64,
    /// How many heartbeats in a row a node may miss
    #[arg(long, value_name = "N", default_value_t = defaults::HEARTBEAT_MISS_THRESHOLD)]
    miss_threshold: u32,
    /// The longest time between two tries to reach a node
    #[arg(long, value_name = "MS", default_value_t = millis(defaults::RECONNECT_MAX_DELAY))]
    reconnect_max_ms: u64,
    /// A file with the secret, instead of CLUSTER_SECRET; one line end after it does not count
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// The number of processes to announce
    #[arg(long, value_name = "N", default_value_t = 0)]
    processes: u64,
    /// Open a process named echo, which answers each call with what it says; it counts as one more
    #[arg(long)]
    echo: bool,
    /// A file to record the run in, for noex-sim replay; it holds all messages, but no secret
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// The largest size of the recording, at which it ends
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    record_limit_mib: usize,
    /// The most time to wait for an address to tell the others, and for the lookup of the host
    #[arg(long, value_name = "MS", default_value_t = millis(defaults::START_TIMEOUT))]
    start_timeout_ms: u64,
    /// The most time that leaving may take
    #[arg(long, value_name = "MS", default_value_t = millis(defaults::STOP_TIMEOUT))]
    stop_timeout_ms: u64,
}

/// What the process named `echo` understands.
#[derive(Deserialize, Serialize)]
struct Echo {
    text: String,
    reply: Reply<String>,
}

impl Protocol for Echo {
    const NAME: &'static str = "echo/1";
}

/// Runs a node as the command line says, until it is interrupted.
pub async fn run<R: Runtime>() -> ExitCode {
    match node::<R>(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn node<R: Runtime>(options: Options) -> Result<(), Box<dyn error::Error>> {
    let (cluster, recording) = match &options.record {
        Some(path) => {
            let cluster = Cluster::<R>::with_recorder(options.record_limit_mib.saturating_mul(1 << 20));
            let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
            let recording = Arc::new(RecordingFile { cluster: cluster.downgrade(), file: Mutex::new(Some(file)) });
            (cluster, Some(recording))
        }
        None => (Cluster::new(), None),
    };
    cluster.set_process_count(options.processes);
    let echoes = options.echo;
    let events = cluster.events().map(Heard::Event);
    let messages = cluster.messages().map(Heard::Message);
    // Before the start, so that it leaves whenever it is asked. Its own thread may wait for the stop; the loop below sees the end of it as
    // an event.
    let (leaving, asked) = (cluster.clone(), Arc::new(AtomicBool::new(false)));
    let asked_to_end = asked.clone();
    ctrlc::set_handler(move || {
        asked_to_end.store(true, Ordering::SeqCst);
        future::block_on(leaving.stop());
    })?;
    match cluster.start(config(options)?).await {
        Err(StartError::Stopped) => return Ok(()),
        started => started?,
    }
    if asked.load(Ordering::SeqCst) {
        // It was asked before there was anything to stop.
        cluster.stop().await;
    }
    if echoes {
        let mut mailbox = cluster.open::<Echo>()?;
        mailbox.register("echo")?;
        R::current().map_err(|cause| StartError::Runtime { cause })?.spawn(async move {
            while let Some(Echo { text, reply }) = mailbox.next().await {
                reply.send(text);
            }
        });
    }
    let sender = cluster.downgrade();
    thread::spawn(move || read_input(&sender));
    if let Some(recording) = recording.clone() {
        thread::spawn(move || {
            loop {
                recording.write();
                thread::sleep(Duration::from_millis(100));
            }
        });
    }

    let mut heard = stream::or(events, messages);
    while let Some(heard) = heard.next().await {
        // Whatever is printed stands in the recording too, even if the process is killed.
        recording.iter().for_each(|recording| recording.write());
        match heard {
            Heard::Event(ClusterEvent::NodeUp(node)) => say("up", format_args!("{} processes={}", node.id, node.process_count)),
            Heard::Event(ClusterEvent::NodeDown { id, reason }) => say("down", format_args!("{id} {reason}")),
            Heard::Event(ClusterEvent::StatusChange(status)) => {
                say("status", status);
                match status {
                    // Unknown again where it was stopped meanwhile.
                    ClusterStatus::Running => cluster.local_node_id().iter().for_each(|id| say("self", id)),
                    ClusterStatus::Stopped => break,
                    _ => {}
                }
            }
            Heard::Event(ClusterEvent::Error(error)) => say("error", error),
            Heard::Event(ClusterEvent::Lagged { missed }) => say("lagged", missed),
            Heard::Event(other) => say("event", other),
            Heard::Message(Ok(Message { from, payload, .. })) => say("message", format_args!("from {from}: {}", shown(&payload))),
            Heard::Message(Err(lagged)) => say("error", lagged),
        }
    }
    // Returns when the port is free.
    cluster.stop().await;
    recording.iter().for_each(|recording| recording.write());
    Ok(())
}

/// Where a recording goes; without a file after the first error.
struct RecordingFile<R: Runtime> {
    cluster: WeakCluster<R>,
    file: Mutex<Option<File>>,
}

impl<R: Runtime> RecordingFile<R> {
    /// Writes what was recorded since the last time.
    fn write(&self) {
        // Held while the recording is taken, so that the pieces are written in their order.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(cluster), Some(open)) = (self.cluster.upgrade(), &mut *file)
            && let Err(error) = open.write_all(&cluster.take_recording())
        {
            say("error", format_args!("recording: {error}"));
            *file = None;
        }
    }
}

enum Heard {
    Event(ClusterEvent),
    Message(Result<Message, MessagesLagged>),
}

fn config(options: Options) -> Result<ClusterConfig, Box<dyn error::Error>> {
    let secret = match options.secret_file {
        Some(file) => {
            let mut secret = fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            secret.pop_if(|last| *last == b'\n');
            secret.pop_if(|last| *last == b'\r');
            Some(secret)
        }
        None => match env::var("CLUSTER_SECRET") {
            Ok(secret) => Some(secret.into_bytes()),
            Err(env::VarError::NotPresent) => None,
            Err(error) => return Err(format!("CLUSTER_SECRET: {error}").into()),
        },
    };
    let config = ClusterConfig::new(options.name)
        .host(options.host)
        .port(options.port)
        .seeds(options.seeds)
        .cluster_name(options.cluster_name)
        .cluster_secret(secret)
        .heartbeat_interval(Duration::from_millis(options.heartbeat_ms))
        .heartbeat_miss_threshold(options.miss_threshold)
        .reconnect_base_delay(defaults::RECONNECT_BASE_DELAY.min(Duration::from_millis(options.reconnect_max_ms)))
        .reconnect_max_delay(Duration::from_millis(options.reconnect_max_ms))
        .start_timeout(Duration::from_millis(options.start_timeout_ms))
        .stop_timeout(Duration::from_millis(options.stop_timeout_ms));
    let config = match options.advertise_host {
        Some(host) => config.advertise_host(host),
        None => config,
    };
    Ok(match options.advertise_port {
        Some(port) => config.advertise_port(port),
        None => config,
    })
}

/// Sends each line of the standard input to all, until it ends.
fn read_input<R: Runtime>(cluster: &WeakCluster<R>) {
    for line in io::stdin().lock().split(b'\n') {
        let Some(cluster) = cluster.upgrade() else { return };
        let done = match line {
            Ok(mut line) => {
                line.pop_if(|last| *last == b'\r');
                if line.is_empty() { list(&cluster).map_err(SendError::NotStarted) } else { send(&cluster, line.into()) }
            }
            Err(error) => return say("error", format_args!("standard input: {error}")),
        };
        if let Err(error) = done {
            say("error", error);
        }
    }
}

fn list<R: Runtime>(cluster: &Cluster<R>) -> Result<(), ClusterNotStartedError> {
    for node in cluster.nodes()? {
        let uptime = node.uptime.as_millis();
        say("member", format_args!("{} {} processes={} uptime_ms={uptime}", node.id, node.status, node.process_count));
    }
    Ok(())
}

fn send<R: Runtime>(cluster: &Cluster<R>, payload: Bytes) -> Result<(), SendError> {
    let Broadcast { queued, refused, .. } = cluster.broadcast(payload)?;
    refused.iter().for_each(|(_, error)| say("error", error));
    say("sent", queued);
    Ok(())
}

fn say(word: &str, rest: impl Display) {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Written at the end of each line, whatever it is written to. That nobody reads it is no reason to leave the cluster.
    let _unread = writeln!(io::stdout(), "{}.{:03} {word} {rest}", time.as_secs(), time.subsec_millis());
}

/// What a peer sent, on one line and harmless to a terminal; the beginning where it is long.
fn shown(payload: &[u8]) -> String {
    let (begin, rest) = payload.split_at(payload.len().min(SHOWN));
    let text = String::from_utf8_lossy(begin);
    let text: String =
        text.chars().flat_map(|one| if one.is_control() { one.escape_default().collect() } else { vec![one] }).collect();
    if rest.is_empty() { text } else { format!("{text}... and {} bytes more", rest.len()) }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
