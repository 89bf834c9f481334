//! noex beside other libraries, the same work in one run. `docs/performance.md` says what came of it.
//!
//! `members` is about membership: forming, noticing a crash, and what it costs at rest. `loss` and `delay` are about downs of nodes that
//! are well, on a network that loses, or delays. For these three, each library runs in a process and a network namespace of its own, so
//! that the bytes of the loopback interface are its own; that takes Linux, root, and `unshare` and `ip`. `messages` is about messages
//! between two nodes of one process, and `calls` about calls.
#![forbid(unsafe_code)]

mod calls;
mod chitchat;
mod foca;
mod impaired;
mod member;
mod members;
mod messages;
mod network;
mod noex;
mod processes;
mod ractor;
mod raw;
mod report;
#[path = "../../bench/benches/sockets/system.rs"]
mod system;
#[path = "../../bench/benches/sockets/table.rs"]
mod table;
mod tarpc;

use std::process::ExitCode;
use std::time::Duration;

use noex_tokio::Tokio;

use crate::chitchat::Chitchat;
use crate::foca::Foca;
use crate::impaired::Impaired;
use crate::member::Plan;
use crate::members::Library;
use crate::network::Network;
use crate::noex::Noex;

const USAGE: &str = "members <nodes> [rounds [library ..]]
loss <nodes> <percent> [rounds [library ..]]
delay <nodes> <milliseconds> [rounds [library ..]]
messages [rounds]
calls [rounds]
libraries: \"noex\" \"noex at 1 s\" \"foca\" \"chitchat\"";

/// The libraries, by the names that their rows have.
const LIBRARIES: [Library; 4] = [
    Library::new::<Noex<Tokio, 5>, Noex<Impaired, 5>>("noex"),
    Library::new::<Noex<Tokio, 1>, Noex<Impaired, 1>>("noex at 1 s"),
    Library::new::<Foca, Foca>("foca"),
    Library::new::<Chitchat, Chitchat>("chitchat"),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if run(&args).is_none() {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Does what the arguments say, if they say something.
fn run(args: &[String]) -> Option<()> {
    let (command, args) = args.split_first()?;
    let number = |place: usize| args.get(place)?.parse::<u32>().ok();
    let rounds =
        |place: usize, default| if args.len() > place { number(place).filter(|rounds| *rounds > 0) } else { Some(default) };
    // Two nodes are lost, and one is left that can notice.
    let nodes = || number(0).filter(|nodes| *nodes > 2).map(|nodes| nodes as usize);
    let delay = || number(1).map(|millis| Duration::from_millis(millis.into()));
    let loss = || number(1).filter(|percent| *percent < 100).map(|percent| f64::from(percent) / 100.0);
    let compare = |network, place| {
        members::compare(&chosen(args.get(place + 1..))?, Plan { network, nodes: nodes()? }, rounds(place, 3)?);
        Some(())
    };
    match command.as_str() {
        "members" => compare(Network::default(), 1)?,
        "loss" => compare(Network { loss: loss()?, ..Network::default() }, 2)?,
        "delay" => compare(Network { delay: delay()?, ..Network::default() }, 2)?,
        "calls" => calls::compare(rounds(0, 15)?),
        "messages" => messages::compare(rounds(0, 15)?),
        "part" => {
            let [library] = chosen(args.get(3..))?[..] else { return None };
            library.part(Plan { network: Network { delay: delay()?, loss: args.get(2)?.parse().ok()? }, nodes: nodes()? });
        }
        _ => return None,
    }
    Some(())
}

/// The libraries of these names, or all of them where there is no name.
fn chosen(names: Option<&[String]>) -> Option<Vec<&'static Library>> {
    match names {
        None | Some([]) => Some(LIBRARIES.iter().collect()),
        Some(names) => names.iter().map(|name| LIBRARIES.iter().find(|library| library.name == name)).collect(),
    }
}
