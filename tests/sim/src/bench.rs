//! How fast clusters are simulated, and how fast they could be at most.

use std::hint::black_box;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use noex_proto::ClusterConfig;
use noex_sim::{Chunking, Latency, Violation, World};
use sha2::Sha256;

/// The most nodes and the most virtual time that one line of the table takes are about those of 5 nodes for this long.
const PEERS: u64 = 5;

/// Nodes that seed the first one, with a secret, and heartbeats of a second.
fn cluster(nodes: usize) -> World {
    let mut world = World::new(1);
    world.set_recording(false);
    world.keep_lines(0);
    for host in 0..nodes {
        start(&mut world, host);
    }
    world
}

fn start(world: &mut World, host: usize) {
    let seed = world.id("n0", 0).to_string();
    let config = ClusterConfig::new(format!("n{host}"))
        .host(world.id("x", host).host().to_string())
        .seeds((host > 0).then_some(seed))
        .cluster_secret("a secret for the benchmark")
        .heartbeat_interval(Duration::from_secs(1));
    world.start(host, config).expect("a valid configuration");
}

/// Prints a table: for each number of nodes, without faults and with them, the virtual node-hours per second on one core, beside what
/// they would be if records had to be signed, verified, encoded and decoded, and nothing else were done.
pub(crate) fn bench(nodes: &[usize], seconds: u64) -> Result<(), String> {
    let per_record = record_cost();
    println!("one record signed and verified, a heartbeat encoded and decoded: {} ns\n", per_record.as_nanos());
    println!("| nodes | faults | node-hours/s | bound | inputs/s | records |\n|---|---|---|---|---|---|");
    for &count in nodes {
        for faults in [false, true] {
            let mut world = cluster(count);
            run(&mut world, 10, false).map_err(|violation| violation.to_string())?;
            let (inputs, records) = (world.steps(), world.records());
            let seconds = (seconds * PEERS * PEERS / (count * count) as u64).max(10);
            let began = Stopwatch::start();
            run(&mut world, seconds, faults).map_err(|violation| violation.to_string())?;
            let busy = began.elapsed().as_secs_f64();
            let (inputs, records) = (world.steps() - inputs, world.records() - records);
            let hours = (seconds * count as u64) as f64 / 3600.0;
            println!(
                "| {count} | {} | {:.1} | {:.1} | {:.0} | {records} |",
                if faults { "yes" } else { "no" },
                hours / busy,
                hours / (records as f64 * per_record.as_secs_f64()),
                inputs as f64 / busy,
            );
        }
    }
    Ok(())
}

/// Virtual time, in seconds. The faults: latency with a tail, small reads, each second a payload and a reset, each fifth a crash.
fn run(world: &mut World, seconds: u64, faults: bool) -> Result<(), Violation> {
    let hosts = world.hosts();
    if faults {
        world.set_latency(Latency::HeavyTail { scale_us: 1000, max_us: 100_000 });
        world.set_transport(Chunking::Pieces { most: 100 }, 128 << 10, None);
    }
    for second in 0..seconds {
        world.run_for(Duration::from_secs(1))?;
        let second = usize::try_from(second).unwrap_or(0);
        let (one, other) = (second % hosts, (second * 7 + 1) % hosts);
        if faults && one != other {
            let to = world.id(&format!("n{other}"), other);
            world.send_checked(one, &to, 10_000);
            world.reset(one, other);
            if second % 5 == 4 {
                world.crash(other);
                start(world, other);
            }
        }
    }
    Ok(())
}

/// What one record costs at least: its tag on both sides, and a heartbeat's body. By the same crates, on records of the same size.
fn record_cost() -> Duration {
    const ROUNDS: u32 = 100_000;
    let key = Hmac::<Sha256>::new_from_slice(&[7; 32]).expect("a key of any length");
    let heartbeat = (3_u64, 3_600_000_u64, u64::MAX / 3);
    let began = Stopwatch::start();
    for seq in 0..u64::from(ROUNDS) {
        let mut record = vec![0; 9];
        ciborium::into_writer(&heartbeat, &mut record).expect("a vector takes all");
        let tag = key.clone().chain_update(seq.to_be_bytes()).chain_update(&record).finalize().into_bytes();
        let again = key.clone().chain_update(seq.to_be_bytes()).chain_update(black_box(&record));
        again.verify_truncated_left(&tag[..16]).expect("the same");
        let body: (u64, u64, u64) = ciborium::from_reader(&record[9..]).expect("what was written");
        black_box(body);
    }
    began.elapsed() / ROUNDS
}

/// Forms one cluster from one seed, and prints what that took.
pub(crate) fn form(nodes: usize) -> Result<(), String> {
    let (began, busy) = (Instant::now(), Stopwatch::start());
    let mut world = cluster(nodes);
    world.set_latency(Latency::Constant { us: 1000 });
    let ups = |world: &World| (0..nodes).map(|host| world.machine(host).counters().ups).sum::<u64>();
    let wanted = (nodes * (nodes - 1)) as u64;
    // Views are compared once, at the end: that takes a look at every pair.
    let mut until = Duration::ZERO;
    while ups(&world) < wanted && until < Duration::from_secs(60) {
        until += Duration::from_millis(20);
        while world.step(until) {}
    }
    world.check().map_err(|violation| violation.to_string())?;
    let downs: u64 = (0..nodes).map(|host| world.machine(host).counters().downs).sum();
    println!(
        "{nodes} nodes: {} of {wanted} ups, {downs} downs after {:?} of virtual time; {:.1} s of real time, {:.1} s of it on a core, {} inputs{}",
        ups(&world),
        world.now(),
        began.elapsed().as_secs_f64(),
        busy.elapsed().as_secs_f64(),
        world.steps(),
        peak_memory().map_or_else(String::new, |mib| format!(", {mib} MiB at most")),
    );
    if ups(&world) == wanted && downs == 0 { Ok(()) } else { Err("the cluster did not form, or lost somebody".into()) }
}

/// The time that this process was on a core, where the operating system says, so that other load does not count; else real time.
struct Stopwatch {
    began: Instant,
    on_core: Option<Duration>,
}

impl Stopwatch {
    fn start() -> Self {
        Self { began: Instant::now(), on_core: Self::on_core() }
    }

    fn elapsed(&self) -> Duration {
        match (self.on_core, Self::on_core()) {
            (Some(before), Some(after)) => after.saturating_sub(before),
            _ => self.began.elapsed(),
        }
    }

    fn on_core() -> Option<Duration> {
        let text = std::fs::read_to_string("/proc/self/schedstat").ok()?;
        text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    }
}

/// The most memory that the process has held, in MiB, where the operating system says.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
}
