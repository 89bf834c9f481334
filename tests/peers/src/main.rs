//! noex beside other libraries, the same work in one run. `docs/performance.md` says what came of it.
//!
//! `members <nodes> [rounds]` is about membership: forming, noticing a crash, and what it costs at rest. `loss <nodes> <percent>` is about
//! downs of nodes that are well, where datagrams are lost. Each library runs in a process of its own, in a network namespace of its
//! own, so that the bytes of the loopback interface are its own; that takes Linux, root, and `unshare` and `ip`.
#![forbid(unsafe_code)]

mod chitchat;
mod foca;
mod member;
mod members;
mod noex;
#[path = "../../bench/benches/sockets/system.rs"]
mod system;
#[path = "../../bench/benches/sockets/table.rs"]
mod table;

use std::process::ExitCode;

use member::Plan;

/// The libraries, by the names that their rows have.
const LIBRARIES: [&str; 4] = ["noex", "noex at 1 s", "foca", "chitchat"];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, default: usize| args.get(place).and_then(|arg| arg.parse().ok()).unwrap_or(default);
    match args.first().map(String::as_str) {
        Some("members") => members::compare(number(1, 10), number(2, 3)),
        Some("loss") => members::compare_loss(number(1, 10), number(2, 5), number(3, 3)),
        Some("part") => {
            let plan = Plan { loss: number(3, 0) as f64 / 100.0, nodes: number(2, 2) };
            match args.get(1).map(String::as_str) {
                Some("chitchat") => members::part::<chitchat::Chitchat>(plan),
                Some("foca") => members::part::<foca::Foca>(plan),
                Some("noex") => members::part::<noex::Noex<5>>(plan),
                Some("noex at 1 s") => members::part::<noex::Noex<1>>(plan),
                _ => return ExitCode::FAILURE,
            }
        }
        _ => {
            eprintln!("members <nodes> [rounds] | loss <nodes> <percent> [rounds]");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
