//! Plain words, for readers who have never seen noex.

use crate::{Dialling, Invariant, Op, Plan, Resolving};

use super::Fault;

/// What an invariant means, and that it was broken.
pub(super) const fn invariant(invariant: Invariant) -> &'static str {
    match invariant {
        Invariant::ActionsOnOpenConnections => {
            "A node asked for something on a connection that is not open, or closed one twice. Its bookkeeping of connections is wrong."
        }
        Invariant::AddressesTried => {
            "A name may lead to many addresses, of which some are dead. A node that goes on dialling it has to try each of them in its turn. \
             Here it left one out."
        }
        Invariant::Agreement => {
            "After all faults were mended, the nodes that had been healed should see each other as connected within a promised time. \
             They do not."
        }
        Invariant::AnswersAreTrue => {
            "A call was answered by another process than the one that was called, or by one that had not answered it, or after the connection had \
             ended over which it was made."
        }
        Invariant::ApartForACause => {
            "Two nodes that know each other stay apart only while something is in their way, and for as long as it takes to get over it."
        }
        Invariant::BlameIsTrue => {
            "A node reported that another one could not be reached for a reason that neither the network nor a resolver gave. Where its own \
             system fails, as without descriptors, nothing is known of the other node."
        }
        Invariant::BooksBalance => {
            "A node counts its connections and the bytes on their way, and goes by that. Its driver counted otherwise: a count has drifted."
        }
        Invariant::Bounded => "Something that has a limit, such as a queue, grew beyond it.",
        Invariant::CallsEndInTime => {
            "A call has a deadline, at which it ends at the latest, and it ends with its connection. This one did not."
        }
        Invariant::CallsEndOnce => "A call has one outcome. This one had a second one, or one after its caller had given it up.",
        Invariant::ChunkingIsIrrelevant => {
            "A network may cut a stream of bytes anywhere. Here the same bytes, cut in other places, made a node do something else."
        }
        Invariant::ConflictReported => {
            "Two running processes claim one identity. Both should have reported that, and at least one did not."
        }
        Invariant::CountersGrow => "A counter of a node went back. Counters only ever grow.",
        Invariant::DeathReported => {
            "A node died, and another one went on to see it as connected for longer than the failure detector may take."
        }
        Invariant::DepartedStayAway => {
            "A node said that it was leaving. Another one, which heard it, dialled it all the same, though it had not come back."
        }
        Invariant::DownsAreTrue => "A process was said to have ended for a reason for which it had not.",
        Invariant::EventsAlternate => {
            "For each other node, an application is told up, down, up, down, and so on. Here it was told the same twice in a row, or a \
             down before any up."
        }
        Invariant::EventsMatchView => {
            "What an application was told by events differs from what it reads when it asks the node for the list of connected nodes."
        }
        Invariant::FreshNonces => "Two handshakes used the same random number, which would let an attacker replay one of them.",
        Invariant::HandledAsSaid => {
            "A process handled a call that its caller had been told it would certainly not handle, or handled one twice, or too late."
        }
        Invariant::MessagesInOrder => {
            "What one node sends to a process arrives in the order in which it was sent, and what is missing is said to be. The end of a process \
             is told after its last message."
        }
        Invariant::MonitorsFireOnce => {
            "Whoever watches a process is told once that it has ended. Here it was told again, or never, or after it had watched no more."
        }
        Invariant::NothingIsLeft => "What was called, watched or opened is over, and a node keeps something of it all the same.",
        Invariant::OutcomesAreTrue => "A call, a cast or a monitor failed, and the reason that was given is not so.",
        Invariant::ProcessesServe => {
            "While nothing is wrong, a process answers, or fails a call as it always does. This call came to something else."
        }
        Invariant::NoStorm => "A node did far too much within one second: timers, dials or messages.",
        Invariant::NoFalseDown => {
            "A node reported another one down although nothing had happened that would be a cause, or for a reason that cannot be true."
        }
        Invariant::NamesAgree => {
            "When nothing happens any more, all nodes should see the same process behind a name, and whoever waits for a name that is free \
             should have got it. Here they differ, or the name stayed free."
        }
        Invariant::NamesAreTrue => {
            "A process was told something of a name that is not so, or a node sees behind a name a process that never claimed it, or one \
             of a node that is gone."
        }
        Invariant::OneHolder => {
            "Two processes have one name, though their nodes were connected all the time since the later of them asked for it."
        }
        Invariant::NoDuplicate => "A node lists another one twice.",
        Invariant::NoPanic => "The code stopped at a condition that should be impossible.",
        Invariant::NoSelf => "A node lists itself as one of the others.",
        Invariant::NothingAfterStop => {
            "A node that was told to stop still dials, or still acts after it said that it had stopped."
        }
        Invariant::OneSession => {
            "Once everything is calm, each pair of nodes keeps exactly one connection. Here a pair has none, or several."
        }
        Invariant::PayloadsArePrefixes => {
            "While a node is up, the messages that arrive from it are the first ones that were sent, in order, each once. Here one is \
             missing, repeated, out of order or changed."
        }
        Invariant::SlowSubscriber => {
            "An application that reads its events late must end up with the same picture as one that reads at once. It did not."
        }
        Invariant::QuestionsAnswered => {
            "A node asked a peer for its members, over a session that nothing disturbed, and got no answer."
        }
        Invariant::RecoveryWithoutSilence => {
            "Nothing failed any more. Dials, and their own deadlines, should have led all nodes back to each other. They did not, or only \
             once silence had shown that a connection was dead."
        }
        Invariant::RedialInTime => {
            "A node lost another one, with which it had been connected for some time. It should have dialled it again after its shortest \
             delay, and did not."
        }
        Invariant::ReplacedInTime => {
            "A session that was lost, with nothing in the way, is replaced within the delay of a dial and the time that one takes."
        }
        Invariant::SessionBeforeUp => "A node was reported up without any connection to it.",
        Invariant::StepBound => "The run does not come to an end.",
        Invariant::StopInTime => "A node that was told to stop took longer than it may.",
        Invariant::StrangersChangeNothing => {
            "A stranger, who does not know the secret, changed something at a node other than its counters and its table of strangers."
        }
        Invariant::Timers => {
            "A node's timer is wrong: it asks to be woken again and again without cause, or does not ask although it has work to do."
        }
    }
}

/// An operation of a plan, in words, and for how many milliseconds it lasts; `None` for what is no fault.
pub(crate) fn fault(plan: &Plan, op: &Op) -> Option<(Fault, u64)> {
    let name = |node: &usize| plan.nodes.get(*node).map_or_else(|| format!("host {node}"), |node| node.name.clone());
    let names = |nodes: &[usize]| nodes.iter().map(name).collect::<Vec<_>>().join(", ");
    let again = |ms: &Option<u64>| match ms {
        Some(ms) => format!(", starts again {} later", seconds(*ms)),
        None => ", for good".into(),
    };
    let (kind, text, ms) = match op {
        Op::Clock { node, permille, ms } => (
            "clock",
            format!("{}'s clock runs at {}.{:02} of the true rate", name(node), permille / 1000, permille % 1000 / 10),
            *ms,
        ),
        Op::Crash { node, ms } => ("crash", format!("{} crashes{}", name(node), again(ms)), ms.unwrap_or(0)),
        Op::Cut { from, to, ms, reset } => {
            let reset = if *reset { ", connections are reset" } else { "" };
            ("cut", format!("nothing passes from {} to {}{reset}", names(from), names(to)), *ms)
        }
        Op::Descriptors { node, ms } => ("cut", format!("{} has no descriptors for new connections", name(node)), *ms),
        Op::Dials { from, to, how, ms } => {
            let how = match how {
                Dialling::Dropped => "get no answer",
                Dialling::Late => "are answered late",
                Dialling::Normal => "work",
                Dialling::Refused => "are refused",
                Dialling::Unreachable => "find no route",
            };
            ("cut", format!("new connections from {} to {} {how}", name(from), name(to)), *ms)
        }
        Op::FirstSecret { ms, .. } => ("leave", "the nodes are given their first secret, one after another".into(), *ms),
        Op::LateCloses { node, by_ms, ms } => {
            ("freeze", format!("the driver of {} confirms graceful closes {} late", name(node), seconds(*by_ms)), *ms)
        }
        Op::Rename { node, ms } => {
            ("crash", format!("{} crashes, and its host comes back under another name {} later", name(node), seconds(*ms)), *ms)
        }
        Op::Freeze { node, ms } => ("freeze", format!("{} is frozen for {}", name(node), seconds(*ms)), *ms),
        Op::HalfOpen { at, with, .. } => {
            ("reset", format!("the connections of {} end, and {} does not notice", name(at), name(with)), 0)
        }
        Op::Leave { node, ms } => ("leave", format!("{} leaves{}", name(node), again(ms)), ms.unwrap_or(0)),
        Op::Halt { node, ms } => ("crash", format!("{} is halted{}", name(node), again(ms)), ms.unwrap_or(0)),
        Op::SetSeeds { node, .. } => ("leave", format!("{} is given other seeds", name(node)), 0),
        Op::Misuse { node } => ("adversary", format!("the driver of {} feeds it nonsense", name(node)), 0),
        Op::PowerOff { node, ms } => ("crash", format!("{}'s machine loses power{}", name(node), again(ms)), ms.unwrap_or(0)),
        Op::Resolver { node, how, ms } => {
            let how = match how {
                Resolving::Fails => "says: try again",
                Resolving::Normal => "answers",
                Resolving::Nothing => "knows no address",
                Resolving::Partly => "gives some of the addresses only",
                Resolving::Slow => "takes 10 to 20 s",
            };
            ("cut", format!("the resolver of {} {how}", name(node)), *ms)
        }
        Op::Reset { one, other } => ("reset", format!("connections between {} and {} are reset", name(one), name(other)), 0),
        Op::ResetOne { one, other } => ("reset", format!("a connection between {} and {} is reset", name(one), name(other)), 0),
        Op::RogueDials { node, count, .. } => ("adversary", format!("a stranger connects to {} {count} times", name(node)), 0),
        Op::Rotate { ms, .. } => ("leave", "the shared secret is changed, in three steps".into(), 2 * ms),
        Op::StallReader { reader, from, ms } => ("freeze", format!("{} reads nothing from {}", name(reader), name(from)), *ms),
        Op::StallWriter { from, to, ms } => ("freeze", format!("{} cannot write to {}", name(from), name(to)), *ms),
        Op::Tamper { one, other, ms, .. } => {
            ("adversary", format!("an attacker changes bytes between {} and {}", name(one), name(other)), *ms)
        }
        Op::WallClock { node, ms } => ("clock", format!("{}'s calendar clock jumps by {} s", name(node), ms / 1000), 0),
        Op::Broadcast { .. }
        | Op::Call { .. }
        | Op::Cast { .. }
        | Op::Claim { .. }
        | Op::Exit { .. }
        | Op::Monitor { .. }
        | Op::Processes { .. }
        | Op::Release { .. }
        | Op::RequestStop { .. }
        | Op::Send { .. }
        | Op::Subscribe { .. } => return None,
    };
    Some((Fault { kind, text }, ms))
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}
