//! Names of the cluster, claimed by processes of nodes that talk over the network of these tests.

use std::time::Duration;

use noex_proto::{
    Bytes, ClaimError, ClaimId, ClaimOptions, ClusterEvent, Destination, ExitReason, Input, MailboxItem, ProcessAction,
    ProcessId, ProcessName, ProtocolHash,
};

use crate::net::{Host, MS, Net, SECOND, config, id};

const P: ProtocolHash = ProtocolHash(*b"protocol");

/// So many nodes that are up with each other.
fn mesh(nodes: usize) -> Net {
    let mut net = Net::new(nodes);
    for host in 0..nodes {
        net.start(host, config("n", host).seeds([id("n", 0).to_string()]));
    }
    net.run(6 * SECOND);
    assert!(net.is_mesh(&(0..nodes).collect::<Vec<_>>()));
    net
}

fn name(text: &str) -> ProcessName {
    text.parse().expect("valid")
}

fn open(net: &mut Net, host: Host) -> ProcessId {
    let now = net.clock(host);
    net.nodes[host].machine.open(now, P).expect("a process can be opened")
}

fn claim_with(net: &mut Net, host: Host, process: &ProcessId, text: &str, options: &ClaimOptions) -> ClaimId {
    let now = net.clock(host);
    let claim = net.nodes[host].machine.claim(now, process.number(), &name(text), options).expect("it is free");
    net.perform(host);
    claim
}

/// A process has a name, of which its caller has heard.
fn hold_with(net: &mut Net, host: Host, text: &str, options: &ClaimOptions) -> ProcessId {
    let process = open(net, host);
    let claim = claim_with(net, host, &process, text, options);
    net.run(100 * MS);
    assert_eq!(outcomes(net, host), [(claim, Ok(()))]);
    let now = net.clock(host);
    assert!(net.nodes[host].machine.claim_returned(now, claim));
    process
}

fn hold(net: &mut Net, host: Host, text: &str) -> ProcessId {
    hold_with(net, host, text, &ClaimOptions::default())
}

fn outcomes(net: &mut Net, host: Host) -> Vec<(ClaimId, Result<(), ClaimError>)> {
    let ended = |action| if let ProcessAction::ClaimEnded { claim, outcome } = action { Some((claim, outcome)) } else { None };
    net.nodes[host].of_processes.drain(..).filter_map(ended).collect()
}

fn take(net: &mut Net, host: Host, process: &ProcessId) -> Vec<MailboxItem> {
    let now = net.clock(host);
    let items = net.nodes[host].machine.take(now, process.number(), 64);
    net.perform(host);
    items
}

fn exit(net: &mut Net, host: Host, process: &ProcessId) {
    let now = net.clock(host);
    net.nodes[host].machine.exit(now, process.number(), ExitReason::Normal, usize::MAX);
    net.perform(host);
}

fn whereis(net: &Net, host: Host, text: &str) -> Option<ProcessId> {
    net.nodes[host].machine.whereis(&name(text)).map(|holder| holder.process)
}

#[test]
fn a_name_leads_every_node_to_its_process_until_that_ends() {
    let mut net = mesh(3);
    let process = hold(&mut net, 1, "counter");
    for host in 0..3 {
        assert!(net.nodes[host].machine.names_synced());
        let holder = net.nodes[host].machine.whereis(&name("counter")).expect("all know it");
        assert_eq!((&holder.process, holder.protocol), (&process, P));
        assert_eq!(net.nodes[host].machine.names(), [(name("counter"), holder)]);
    }
    // A call to whom the name leads to.
    let now = net.clock(0);
    let to = Destination::Process(process.clone());
    net.nodes[0].machine.call(now, &to, P, Bytes::new(), now + SECOND).expect("the call can begin");
    net.perform(0);
    net.run(100 * MS);
    assert!(matches!(take(&mut net, 1, &process)[..], [MailboxItem::Call { .. }]));

    exit(&mut net, 1, &process);
    net.run(100 * MS);
    assert_eq!((0..3).map(|host| whereis(&net, host, "counter")).collect::<Vec<_>>(), [None, None, None]);
    let counters = net.nodes[1].machine.counters();
    assert_eq!((counters.claims, counters.claims_settled), (1, 1));
}

#[test]
fn ten_nodes_that_claim_one_name_at_once_have_one_holder_and_nobody_loses_it() {
    let mut net = mesh(10);
    let claims: Vec<ClaimId> = (0..10)
        .map(|host| {
            let process = open(&mut net, host);
            claim_with(&mut net, host, &process, "leader", &ClaimOptions::default())
        })
        .collect();
    net.run(SECOND);
    let mut settled = 0;
    for (host, claim) in claims.into_iter().enumerate() {
        let [(ended, outcome)] = &outcomes(&mut net, host)[..] else { panic!("one outcome") };
        assert_eq!(*ended, claim);
        settled += usize::from(outcome.is_ok());
        assert!(matches!(outcome, Ok(()) | Err(ClaimError::Taken { .. })), "{outcome:?}");
        assert_eq!(whereis(&net, host, "leader"), whereis(&net, 0, "leader"));
    }
    assert_eq!((settled, whereis(&net, 0, "leader").is_some()), (1, true));
}

#[test]
fn one_that_stands_by_has_the_name_within_a_round_trip_and_20_ms_of_the_holders_end() {
    for dies in [true, false] {
        let mut net = mesh(3);
        let holder = hold(&mut net, 0, "leader");
        for host in [1, 2] {
            let process = open(&mut net, host);
            let now = net.clock(host);
            let options = ClaimOptions::default();
            net.nodes[host].machine.claim_when_free(now, process.number(), &name("leader"), &options).expect("it can");
            net.perform(host);
        }
        net.run(SECOND);
        if dies {
            net.crash(0);
            net.run(10 * MS);
        } else {
            exit(&mut net, 0, &holder);
        }
        net.run(30 * MS);
        let found = whereis(&net, 1, "leader").expect("one of them has it");
        assert_eq!(whereis(&net, 2, "leader"), Some(found));
    }
}

#[test]
fn a_process_that_loses_its_name_hears_so_before_all_else_and_is_asked_to_stop() {
    for keeps in [false, true] {
        let mut net = mesh(3);
        net.cut_both(0, 1);
        net.cut_both(0, 2);
        net.run(30 * SECOND);
        let loser = hold_with(&mut net, 0, "db", &ClaimOptions::default().keep_on_loss(keeps));
        let winner = hold(&mut net, 1, "db");
        let now = net.clock(0);
        net.nodes[0].machine.cast(now, &Destination::Process(loser.clone()), P, Bytes::from("cast")).expect("it is local");
        net.perform(0);
        net.nodes[0].of_processes.clear();
        net.heal();
        net.run(60 * SECOND);
        assert_eq!(whereis(&net, 0, "db"), Some(winner.clone()));
        let lost = MailboxItem::NameLost { name: name("db"), winner: Some(winner.clone()) };
        let stopping = ProcessAction::Stopping(loser.number());
        assert_eq!(net.nodes[0].of_processes.contains(&stopping), !keeps);
        let items = take(&mut net, 0, &loser);
        if keeps {
            assert_eq!(items, [lost, MailboxItem::Cast { body: Bytes::from("cast") }]);
        } else {
            assert_eq!(items, [lost, MailboxItem::Stop(ExitReason::error("lost the name db"))]);
        }
        let conflict = ClusterEvent::NameConflict { name: name("db"), winner, loser };
        for host in [0, 1] {
            assert!(net.nodes[host].events.iter().any(|(_, event)| *event == conflict), "node {host}");
        }
        let text = "name conflict: n@10.0.0.2:4369/1.";
        assert!(conflict.to_string().starts_with(text), "{conflict}");
    }
}

#[test]
fn a_loss_of_which_a_process_has_not_heard_counts_until_it_hears_claims_anew_or_ends() {
    let mut net = mesh(2);
    let options = ClaimOptions::default().min_nodes(1).keep_on_loss(true);
    let process = hold_with(&mut net, 0, "db", &options);
    net.crash(1);
    net.run(SECOND);
    assert_eq!(net.nodes[0].machine.usage().names, 1);
    assert_eq!(net.nodes[0].machine.counters().names_lost, 1);
    // It claims the name anew, and hears nothing of the loss.
    claim_with(&mut net, 0, &process, "db", &ClaimOptions::default());
    assert_eq!((take(&mut net, 0, &process), net.nodes[0].machine.usage().names), (vec![], 1));
    exit(&mut net, 0, &process);
    assert_eq!(net.nodes[0].machine.usage().names, 0);
}

#[test]
fn no_process_is_told_to_have_ended_before_its_names_are_free() {
    let mut net = mesh(2);
    let process = hold(&mut net, 1, "db");
    let watcher = open(&mut net, 0);
    let now = net.clock(0);
    let to = Destination::Process(process.clone());
    net.nodes[0].machine.monitor(now, Some(watcher.number()), &to).expect("it can be set");
    net.perform(0);
    net.run(100 * MS);
    // Given: large payloads, so that names and signals wait for their turns.
    for _ in 0..20 {
        net.send(1, &id("n", 0), vec![0; 60_000]).expect("there is room");
    }
    exit(&mut net, 1, &process);
    for _ in 0..1000 {
        net.run(MS);
        if !take(&mut net, 0, &watcher).is_empty() {
            assert_eq!(whereis(&net, 0, "db"), None);
            return;
        }
        assert!(net.nodes[0].machine.whereis(&name("db")).is_none_or(|holder| holder.process == process));
    }
    panic!("the watcher is not told");
}

#[test]
fn names_are_gone_before_a_node_is_told_to_be_down() {
    let mut net = mesh(2);
    hold(&mut net, 1, "db");
    let now = net.clock(0);
    net.nodes[0].machine.watch_name(now, &name("db")).expect("there is room");
    net.nodes[0].of_processes.clear();
    net.crash(1);
    net.run(SECOND);
    let changed = ProcessAction::NameChanged(name("db"));
    assert!(net.nodes[0].of_processes.contains(&changed));
    assert_eq!((net.downs(0).len(), whereis(&net, 0, "db")), (1, None));
    net.nodes[0].machine.unwatch_name(now, &name("db"));
}

#[test]
fn a_stop_ends_claims_and_gives_names_back() {
    let mut net = mesh(2);
    let process = hold(&mut net, 0, "db");
    let waiting = open(&mut net, 0);
    let now = net.clock(0);
    let other = hold(&mut net, 1, "web");
    let stands = net.nodes[0].machine.claim_when_free(now, waiting.number(), &name("web"), &ClaimOptions::default());
    net.feed(0, Input::Stop);
    assert_eq!(outcomes(&mut net, 0), [(stands.expect("it can"), Err(ClaimError::Stopped))]);
    let now = net.clock(0);
    let claim = net.nodes[0].machine.claim(now, process.number(), &name("late"), &ClaimOptions::default());
    assert_eq!(claim, Err(ClaimError::Stopped));
    net.run(50 * MS);
    assert_eq!(whereis(&net, 1, "db"), Some(process.clone()), "while the process ends its work");
    exit(&mut net, 0, &process);
    net.run(20 * MS);
    assert_eq!((whereis(&net, 1, "db"), whereis(&net, 1, "web")), (None, Some(other)));
    exit(&mut net, 0, &waiting);
    net.run(SECOND);
    let now = net.clock(0);
    let claim = net.nodes[0].machine.claim(now, process.number(), &name("db"), &ClaimOptions::default());
    assert!(matches!(claim, Err(ClaimError::NotStarted(_))), "{claim:?}");
}

#[test]
fn a_process_that_is_not_there_claims_nothing() {
    let mut net = mesh(2);
    let now = net.clock(0);
    let claim = net.nodes[0].machine.claim(now, 77, &name("db"), &ClaimOptions::default());
    assert_eq!(claim, Err(ClaimError::NoProcess));
    let machine = &mut net.nodes[0].machine;
    assert!(!machine.release(now, 77, &name("db")));
    let unknown = ClaimOptions::default().timeout(Duration::from_secs(1)).grace(Duration::ZERO);
    assert_eq!(machine.claim_when_free(now, 77, &name("db"), &unknown), Err(ClaimError::NoProcess));
}

#[test]
fn ten_thousand_names_of_two_nodes_come_to_one_that_joins() {
    let mut net = Net::new(3);
    for host in 0..2 {
        net.start(host, config("n", host).seeds([id("n", 0).to_string()]));
    }
    net.run(6 * SECOND);
    for host in 0..2 {
        let process = open(&mut net, host);
        for number in 0..5000 {
            claim_with(&mut net, host, &process, &format!("name {host} {number:04}"), &ClaimOptions::default());
        }
    }
    net.run(SECOND);
    assert_eq!(net.nodes[0].machine.names().len(), 10_000);
    net.start(2, config("n", 2).seeds([id("n", 0).to_string()]));
    net.run(SECOND);
    assert!(net.nodes[2].machine.names_synced());
    assert_eq!(net.nodes[2].machine.names().len(), 10_000);
    assert_eq!(net.nodes[2].machine.usage().names_of_others, 10_000);
}
