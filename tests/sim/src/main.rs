//! The simulator's command line.
#![forbid(unsafe_code)]

mod bench;
mod seeds;

use std::num::ParseIntError;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use clap::{Parser, Subcommand};
use noex_proto::{Recording, Secret};
use noex_sim::{Matters, Outcome, Plan, Replay, Scenario};
use seeds::Seeds;

/// Deterministic simulation of noex clusters.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure how fast clusters are simulated.
    Bench {
        /// How many nodes.
        #[arg(long, value_delimiter = ',', default_value = "3,5,10,50,200", value_parser = cluster_size)]
        nodes: Vec<usize>,
        /// For how much virtual time, in seconds, at 5 nodes; less with more nodes.
        #[arg(long, default_value_t = 7200, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
        seconds: u64,
    },
    /// Explore a small configuration in every order of events, breadth first, and print the shortest trace to a violation.
    Explore {
        /// Which; all of them where none is named.
        #[arg(long, value_parser = scenario)]
        scenario: Option<Scenario>,
        /// How many moves deep.
        #[arg(long, default_value_t = 1000)]
        depth: usize,
        /// At most about this many states; their frontier is held in memory.
        #[arg(long, default_value_t = 300_000)]
        states: usize,
        /// How many calls of the process, in place of the scenario's.
        #[arg(long)]
        calls: Option<u8>,
        /// How many calls that are cancelled.
        #[arg(long)]
        cancels: Option<u8>,
        /// How many claims to the name.
        #[arg(long)]
        claims: Option<u8>,
        /// How many crashes.
        #[arg(long)]
        crashes: Option<u8>,
        /// How many ends of a process.
        #[arg(long)]
        exits: Option<u8>,
        /// How many leaves.
        #[arg(long)]
        leaves: Option<u8>,
        /// How many resets that never arrive at one of the ends.
        #[arg(long)]
        losses: Option<u8>,
        /// How many pauses of a process.
        #[arg(long)]
        pauses: Option<u8>,
        /// How many dials that fail though somebody listens.
        #[arg(long)]
        refusals: Option<u8>,
        /// How many resets.
        #[arg(long)]
        resets: Option<u8>,
        /// How many phases of a rotation of secrets, of all nodes together.
        #[arg(long)]
        rotations: Option<u8>,
        /// How many messages to all, beside one to each node that comes up.
        #[arg(long)]
        sends: Option<u8>,
        /// How many starts after a crash or a leave.
        #[arg(long)]
        starts: Option<u8>,
        /// How many times a clock goes on.
        #[arg(long)]
        waits: Option<u8>,
    },
    /// Form one cluster from one seed, and measure that.
    Form {
        /// How many nodes.
        #[arg(long, default_value_t = 1000, value_parser = cluster_size)]
        nodes: usize,
    },
    /// Print the hash of each seed's run, to compare builds and machines.
    Hashes {
        /// From the first seed to before the last, as in 0..20.
        #[arg(long, value_parser = range)]
        seeds: Range<u64>,
    },
    /// Print in which share of the seeds each kind of fault, input, field of a configuration and limit matters: without it, or with another
    /// value, nodes do something else. And in which share each message is sent.
    Matters {
        /// From the first seed to before the last, as in 0..20; each is run about seventy times.
        #[arg(long, value_parser = range)]
        seeds: Range<u64>,
        /// How many at the same time.
        #[arg(long, default_value_t = 1)]
        jobs: usize,
    },
    /// Print the plan of a seed.
    Plan {
        /// The seed.
        seed: u64,
    },
    /// Run a plan file, the plan of a seed, or the recording of a real node, and print its last transitions.
    Replay {
        /// A file, or a number.
        plan: String,
        /// How many of the last transitions to print.
        #[arg(long, default_value_t = 60)]
        lines: usize,
        /// For a recording: a file with the secret, less one line end. Where the node was given several, name each as often as it was
        /// given, in that order; the last one stands for all further ones.
        #[arg(long, value_name = "FILE")]
        secret_file: Vec<PathBuf>,
        /// Draw the run into this file.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// Run many seeds.
    Run(Seeds),
    /// Shrink the failing plan of a file or a seed, and print what is left.
    Shrink {
        /// A file, or a number.
        plan: String,
        /// How many runs to spend on it.
        #[arg(long, default_value_t = 2000)]
        runs: usize,
        /// Draw the run that is left into this file.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (start, end) = text.split_once("..").ok_or("two numbers with .. between them")?;
    let parse = |number: &str| number.parse::<u64>().map_err(|error| error.to_string());
    let range = parse(start)?..parse(end)?;
    if range.is_empty() { Err("there is no seed in it".into()) } else { Ok(range) }
}

fn cluster_size(text: &str) -> Result<usize, String> {
    let nodes = text.parse().map_err(|error: ParseIntError| error.to_string())?;
    if nodes < 2 { Err("a cluster has two nodes or more".into()) } else { Ok(nodes) }
}

fn plan(text: &str) -> Result<Plan, String> {
    if let Ok(seed) = text.parse() {
        return Ok(Plan::draw(seed));
    }
    let path = PathBuf::from(text);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Plan::from_text(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn scenario(name: &str) -> Result<Scenario, String> {
    let names = || Scenario::all().iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
    Scenario::named(name).ok_or_else(|| format!("one of {}", names()))
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Bench { nodes, seconds } => bench::bench(&nodes, seconds),
        Command::Explore {
            scenario,
            depth,
            states,
            calls,
            cancels,
            claims,
            crashes,
            exits,
            leaves,
            losses,
            pauses,
            refusals,
            resets,
            rotations,
            sends,
            starts,
            waits,
        } => {
            let mut scenarios = scenario.map_or_else(Scenario::all, |scenario| vec![scenario]);
            for Scenario { budget, .. } in &mut scenarios {
                budget.calls = calls.unwrap_or(budget.calls);
                budget.cancels = cancels.unwrap_or(budget.cancels);
                budget.claims = claims.unwrap_or(budget.claims);
                budget.exits = exits.unwrap_or(budget.exits);
                budget.crashes = crashes.unwrap_or(budget.crashes);
                budget.leaves = leaves.unwrap_or(budget.leaves);
                budget.losses = losses.unwrap_or(budget.losses);
                budget.pauses = pauses.unwrap_or(budget.pauses);
                budget.refusals = refusals.unwrap_or(budget.refusals);
                budget.resets = resets.unwrap_or(budget.resets);
                budget.rotations = rotations.unwrap_or(budget.rotations);
                budget.sends = sends.unwrap_or(budget.sends);
                budget.starts = starts.unwrap_or(budget.starts);
                budget.waits = waits.unwrap_or(budget.waits);
            }
            explore(&scenarios, depth, states)
        }
        Command::Form { nodes } => bench::form(nodes),
        Command::Hashes { seeds } => {
            for seed in seeds {
                println!("{seed} {:016x}", Plan::draw(seed).run().hash);
            }
            Ok(())
        }
        Command::Matters { seeds, jobs } => {
            matters(&seeds, jobs);
            Ok(())
        }
        Command::Plan { seed } => {
            print!("{}", Plan::draw(seed).to_text());
            Ok(())
        }
        Command::Replay { plan: text, lines, secret_file, html } => match read_recording(&text) {
            Some(bytes) => replay_recording(&text, &bytes, &secret_file, lines, html.as_deref()),
            None => plan(&text).and_then(|plan| replay(&text, &plan, lines, html.as_deref())),
        },
        Command::Run(seeds) => seeds.run(),
        Command::Shrink { plan: text, runs, html } => plan(&text).and_then(|plan| shrink(&plan, runs, html.as_deref())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn matters(seeds: &Range<u64>, jobs: usize) {
    std::panic::set_hook(Box::new(|_| {}));
    let (next, all) = (AtomicU64::new(seeds.start), Mutex::new(Matters::default()));
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds.end) {
                    let what = Plan::draw(seed).what_matters();
                    all.lock().unwrap_or_else(PoisonError::into_inner).add(what);
                }
            });
        }
    });
    print!("{}", all.into_inner().unwrap_or_else(PoisonError::into_inner).to_text());
}

/// `plan` is a seed, or the file of a plan.
fn print_failure(plan: &str, outcome: &Outcome, lines: usize) {
    let Some(violation) = &outcome.violation else { return };
    let kind = if plan.parse::<u64>().is_ok() { "seed" } else { "plan" };
    println!("\n{kind} {plan}: {violation}");
    let mut text: Vec<&str> = outcome.text.lines().collect();
    let head = text.remove(0);
    println!("{head}");
    for line in &text[text.len().saturating_sub(lines)..] {
        println!("{line}");
    }
    println!("replay: noex-sim replay {plan}\nshrink: noex-sim shrink {plan}");
}

fn write(path: &Path, html: &str) -> Result<(), String> {
    std::fs::write(path, html).map_err(|error| format!("{}: {error}", path.display()))
}

fn replay(text: &str, plan: &Plan, lines: usize, html: Option<&Path>) -> Result<(), String> {
    let outcome = match html {
        Some(path) => {
            let (outcome, html) = plan.run_drawn(lines.max(1));
            write(path, &html)?;
            outcome
        }
        None => plan.run_keeping(lines.max(1)),
    };
    println!("hash {:016x}, {} steps, {:?}, agreed after {:?}", outcome.hash, outcome.steps, outcome.time, outcome.agreed_after);
    print_failure(text, &outcome, lines);
    match outcome.violation {
        Some(violation) => Err(violation.to_string()),
        None => Ok(()),
    }
}

/// The bytes of a file that is a recording.
fn read_recording(path: &str) -> Option<Vec<u8>> {
    std::fs::read(path).ok().filter(|bytes| Recording::is_recording(bytes))
}

fn replay_recording(path: &str, bytes: &[u8], secret_files: &[PathBuf], lines: usize, html: Option<&Path>) -> Result<(), String> {
    let mut secrets = Vec::new();
    for file in secret_files {
        let mut secret = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        secret.pop_if(|last| *last == b'\n');
        secret.pop_if(|last| *last == b'\r');
        secrets.push(Secret::from(secret));
    }
    let replay = Replay::run(bytes, &secrets).map_err(|error| format!("{path}: {error}"))?;
    if let Some(path) = html {
        write(path, &replay.html())?;
    }
    print!("{}", replay.text(lines));
    println!("recorded by noex {}: {} inputs, {} events, {:?}", replay.version, replay.inputs, replay.events.len(), replay.end);
    if replay.full {
        println!("the recording ends here because it had grown to its limit");
    }
    replay.error.map_or(Ok(()), |error| Err(format!("{path}: {error}")))
}

fn shrink(plan: &Plan, runs: usize, html: Option<&Path>) -> Result<(), String> {
    std::panic::set_hook(Box::new(|_| {}));
    let violation = plan.run_keeping(0).violation.ok_or("the plan breaks no invariant")?;
    let small = plan.shrink(violation.invariant, runs);
    eprintln!("{} of {} steps, {} of {} nodes left", small.steps.len(), plan.steps.len(), small.nodes.len(), plan.nodes.len());
    print!("{}", small.to_text());
    html.map_or(Ok(()), |path| write(path, &small.run_drawn(0).1))
}

fn explore(scenarios: &[Scenario], depth: usize, states: usize) -> Result<(), String> {
    std::panic::set_hook(Box::new(|_| {}));
    println!("scenario          states     moves  at rest  depth  exhausted  seconds");
    for scenario in scenarios {
        let began = Instant::now();
        let found = scenario.explore(depth, states);
        println!(
            "{:<14} {:>9} {:>9} {:>8} {:>6}  {:<9} {:>8.1}",
            scenario.name,
            found.states,
            found.moves,
            found.at_rest,
            found.depth,
            if found.exhausted { "yes" } else { "no" },
            began.elapsed().as_secs_f64(),
        );
        for (what, states) in found.coverage.iter().filter(|(_, states)| *states > 0) {
            println!("  {what}: in {states} states");
        }
        if let Some(violation) = found.violation {
            print!("{}", found.text);
            return Err(format!("{}: {violation}", scenario.name));
        }
    }
    Ok(())
}
