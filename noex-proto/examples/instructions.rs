//! The work of one step against a stranger or a forger, done many times, to be counted by an instruction counter.
//!
//! ```sh
//! cargo build --release -p noex-proto --example instructions
//! tests/scenarios/instructions target/release/examples/instructions
//! ```
//!
//! `instructions CASE COUNT` does it COUNT times; the difference between two counts is the cost of as many steps, free of what
//! surrounds them. Without arguments the cases are listed. `docs/security.md` has the figures.

#![expect(clippy::disallowed_macros, clippy::disallowed_methods, reason = "a program around the machine, not the machine")]

use std::env;
use std::net::SocketAddr;
use std::process::ExitCode;

use bytes::Bytes;
use noex_proto::{Action, ClusterConfig, ConnId, Input, Instant, Machine, NodeId, WallTime};

/// The secrets that the responder accepts, its own first.
const SECRETS: [&str; 5] = [
    "the first of five secrets",
    "the second of the five",
    "the third of all five",
    "the fourth of the five",
    "the fifth and last one",
];

const CASES: [&str; 12] = [
    "nothing",
    "forged-hello",
    "stranger",
    "attacker",
    "proof-first",
    "proof-middle",
    "proof-last",
    "secret-first",
    "secret-last",
    "tag-first",
    "tag-middle",
    "tag-last",
];

/// The responder in two states, and what is said to it there.
struct Stage {
    /// Before anyone came.
    fresh: Machine,
    /// It has sent its CHALLENGE.
    challenged: Machine,
    /// A session is up.
    up: Machine,
    hello: Bytes,
    auth: Bytes,
    record: Bytes,
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 4369))
}

fn start(name: &str, last: u8, config: impl FnOnce(ClusterConfig) -> ClusterConfig) -> Machine {
    let mut machine = Machine::new();
    let config = config(ClusterConfig::new(name).host(address(last).ip().to_string()));
    machine.start(Instant::START, config).expect("valid");
    let listening = Input::Listening { entropy: [last; 32], local: address(last), network: Box::default() };
    machine.handle(Instant::START, listening);
    machine
}

fn sent(machine: &mut Machine) -> Vec<Bytes> {
    let actions = std::iter::from_fn(|| machine.poll_action());
    let sent = actions.filter_map(|action| match action {
        Action::Transmit { data, .. } => Some(data),
        _ => None,
    });
    sent.collect()
}

fn say(machine: &mut Machine, conn: ConnId, data: Bytes) -> Vec<Bytes> {
    machine.handle(Instant::START, Input::Received { conn, data, wall: WallTime::default() });
    sent(machine)
}

/// A dialler that proves this one of the secrets goes through all that there is.
fn stage(secret: usize) -> Stage {
    let accepted = SECRETS[1..].iter().copied();
    let mut responder = start("b", 2, |config| config.cluster_secret(SECRETS[0]).accepted_secrets(accepted));
    let seed = ["b@10.0.0.2:4369"];
    let mut dialler = start("a", 1, |config| config.cluster_secret(SECRETS[secret]).seeds(seed));
    sent(&mut responder);
    sent(&mut dialler);
    // It is the first connection at both ends.
    let conn = responder.next_conn();
    dialler.handle(Instant::START, Input::Connected { conn, remote: address(2) });
    let hello = sent(&mut dialler).remove(0);
    let fresh = responder.clone();
    responder.handle(Instant::START, Input::Accepted { conn, remote: address(1) });
    let challenge = say(&mut responder, conn, hello.clone()).remove(0);
    let challenged = responder.clone();
    let auth = say(&mut dialler, conn, challenge).remove(0);
    let mut to_dialler = say(&mut responder, conn, auth.clone());
    while !to_dialler.is_empty() {
        let replies: Vec<Bytes> = to_dialler.drain(..).flat_map(|data| say(&mut dialler, conn, data)).collect();
        to_dialler = replies.into_iter().flat_map(|data| say(&mut responder, conn, data)).collect();
        for machine in [&mut dialler, &mut responder] {
            machine.handle(Instant::START, Input::Transmitted { bytes: 1 << 20, conn });
        }
        to_dialler.extend(sent(&mut responder));
    }
    let to: NodeId = "b@10.0.0.2:4369".parse().expect("an id");
    dialler.send(Instant::START, &to, Bytes::from_static(b"a payload")).expect("up");
    let record = sent(&mut dialler).remove(0);
    Stage { fresh, challenged, up: responder, hello, auth, record }
}

/// The same with one bit of the last `of` bytes changed, at this place among them.
fn changed(data: &Bytes, of: usize, at: usize) -> Bytes {
    let mut data = data.to_vec();
    let place = data.len() - of + at;
    data[place] ^= 1;
    data.into()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [case, count] = &arguments[..] else {
        println!("{}", CASES.join("\n"));
        return ExitCode::SUCCESS;
    };
    let Ok(count) = count.parse::<usize>() else { return ExitCode::FAILURE };
    let Stage { fresh, challenged, up, hello, auth, record } = stage(if case == "secret-last" { SECRETS.len() - 1 } else { 0 });
    let conn = fresh.next_conn();
    // What is said, and to whom; what a clone costs is the same for all of one machine.
    let (machine, said) = match case.as_str() {
        "nothing" => (fresh, vec![]),
        // What each attempt costs a stranger who takes no part in the proof: two buffers.
        "attacker" => {
            for _ in 0..count {
                let mut bytes = Vec::with_capacity(hello.len() + auth.len());
                bytes.extend_from_slice(&hello);
                bytes.extend_from_slice(&changed(&auth, 32, 0));
                std::hint::black_box(bytes);
            }
            return ExitCode::SUCCESS;
        }
        "forged-hello" => (fresh, vec![changed(&hello, hello.len() - 4, 1)]),
        "stranger" => (fresh, vec![hello, changed(&auth, 32, 0)]),
        "proof-first" => (challenged, vec![changed(&auth, 32, 0)]),
        "proof-middle" => (challenged, vec![changed(&auth, 32, 16)]),
        "proof-last" => (challenged, vec![changed(&auth, 32, 31)]),
        "secret-first" | "secret-last" => (challenged, vec![auth]),
        "tag-first" => (up, vec![changed(&record, 16, 0)]),
        "tag-middle" => (up, vec![changed(&record, 16, 8)]),
        "tag-last" => (up, vec![changed(&record, 16, 15)]),
        _ => return ExitCode::FAILURE,
    };
    for _ in 0..count {
        let mut machine = machine.clone();
        if machine.next_conn() == conn {
            machine.handle(Instant::START, Input::Accepted { conn, remote: address(9) });
        }
        for data in &said {
            std::hint::black_box(say(&mut machine, conn, data.clone()));
        }
    }
    ExitCode::SUCCESS
}
