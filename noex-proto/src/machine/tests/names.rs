//! What a member tells of names, and what it does not.

use std::vec::Vec;

use super::{ADDRESS, Bench, MS, SECOND, intro, live, node};
use crate::machine::Run;
use crate::mesh::cx::SIGNALS;
use crate::wire::message::kind;
use crate::wire::names::{List, encode_names};
use crate::wire::record::RecordBuilder;
use crate::{Action, ClaimError, ClaimOptions, ConnId, Limits, PeerFault, ProcessAction, ProcessName, ProtocolHash};

const P: ProtocolHash = ProtocolHash([7; 8]);

/// A member is up that takes signals, or does not.
fn up(caps: u64) -> (Bench, ConnId) {
    let mut bench = Bench::new(Limits::default());
    bench.caps = caps;
    let conn = bench.authenticate(&node("z"), 1, ADDRESS);
    bench.say(conn, &[intro(1)]);
    bench.actions.clear();
    (bench, conn)
}

fn say(bench: &mut Bench, conn: ConnId, kind: u8, body: &[u8]) {
    let mut record = RecordBuilder::with_capacity(body.len());
    record.push_bytes(kind, body);
    let record = bench.members.get_mut(&conn).expect("a member").sealer.seal(record);
    bench.receive(conn, record);
}

/// A snapshot without names.
fn nothing() -> Vec<u8> {
    let mut body = Vec::new();
    encode_names(&mut body, true, true, &List::default(), &List::default());
    body
}

fn claim(bench: &mut Bench, text: &str) {
    let process = bench.machine.open(bench.now, P).expect("it runs");
    let name: ProcessName = text.parse().expect("valid");
    bench.machine.claim(bench.now, process.number(), &name, &ClaimOptions::default()).expect("it is free");
    bench.feed(crate::Input::Tick);
}

fn outcomes(bench: &Bench) -> Vec<Result<(), ClaimError>> {
    let ended = |action: &Action| match action {
        Action::Process(ProcessAction::ClaimEnded { outcome, .. }) => Some(outcome.clone()),
        _ => None,
    };
    bench.actions.iter().filter_map(ended).collect()
}

#[test]
fn names_are_told_where_both_ends_have_processes_once_the_session_is_up() {
    for kind in [kind::NAMES, kind::NAMES_ACK] {
        let (mut bench, conn) = up(0);
        say(&mut bench, conn, kind, &nothing());
        assert_eq!(bench.faults(), [PeerFault::UnknownMessage]);

        let (mut bench, _) = up(SIGNALS);
        let conn = bench.authenticate(&node("y"), 1, ADDRESS);
        say(&mut bench, conn, kind, &nothing());
        assert_eq!(bench.faults(), [PeerFault::UnexpectedMessage]);
    }
    let (mut bench, conn) = up(SIGNALS);
    assert!(!bench.machine.names_synced());
    say(&mut bench, conn, kind::NAMES, &nothing());
    assert!(bench.machine.names_synced() && bench.actions.contains(&Action::Process(ProcessAction::NamesSynced)));
    say(&mut bench, conn, kind::NAMES_ACK, b"\x81\x82\x01\x00");
    assert_eq!(bench.faults(), [PeerFault::NeverAsked]);
    assert_eq!(bench.machine.is_node_connected(&node("z")), Ok(false));
}

#[test]
fn a_member_that_never_acknowledges_is_closed_in_time_and_holds_a_claim_up_no_longer() {
    // Given: heartbeats of 2 s, so that a silence of 7 s is allowed, and an acknowledgement has 25 s.
    let (mut bench, conn) = up(SIGNALS);
    claim(&mut bench, "db");
    live(&mut bench, &[conn], 25 * SECOND - 10 * MS);
    assert_eq!((bench.faults(), outcomes(&bench)), (Vec::new(), Vec::new()));
    live(&mut bench, &[conn], 30 * MS);
    assert_eq!((bench.faults(), outcomes(&bench)), ([PeerFault::ClaimNotAcknowledged].to_vec(), [Ok(())].to_vec()));
}

#[test]
fn a_pause_of_this_node_is_nobodys_fault() {
    let (mut bench, conn) = up(SIGNALS);
    claim(&mut bench, "db");
    live(&mut bench, &[conn], 5 * SECOND);
    // The machine sleeps for a minute, and the acknowledgement waits in a socket.
    bench.now = bench.now + 60 * SECOND;
    bench.feed(crate::Input::Tick);
    assert_eq!(bench.faults(), []);
    say(&mut bench, conn, kind::NAMES_ACK, b"\x81\x82\x01\x00");
    bench.run(SECOND);
    assert_eq!(bench.faults(), []);
}

#[test]
fn an_idle_node_with_names_waits_for_nobody() {
    let (mut bench, conn) = up(SIGNALS);
    claim(&mut bench, "db");
    say(&mut bench, conn, kind::NAMES_ACK, b"\x81\x82\x01\x00");
    assert_eq!(outcomes(&bench), [Ok(())]);
    let Run::Active(active) = &bench.machine.run else { panic!("it runs") };
    assert!(active.local.waits.iter().all(|(wait, _)| !matches!(wait, crate::mesh::cx::Wait::Above(_))));
}

#[test]
fn a_loss_is_forgotten_once_the_process_has_the_name_again_for_which_it_stood_by() {
    // Given: a process that has a name as long as another node is connected, and stands by for it whoever is.
    let (mut bench, conn) = up(SIGNALS);
    let process = bench.machine.open(bench.now, P).expect("it runs").number();
    let name: ProcessName = "db".parse().expect("valid");
    let guarded = ClaimOptions::default().min_nodes(1).keep_on_loss(true);
    let first = bench.machine.claim(bench.now, process, &name, &guarded).expect("it is free");
    bench.feed(crate::Input::Tick);
    say(&mut bench, conn, kind::NAMES_ACK, b"\x81\x82\x01\x00");
    assert!(bench.machine.claim_returned(bench.now, first));
    let options = ClaimOptions::default().keep_on_loss(true);
    let second = bench.machine.claim_when_free(bench.now, process, &name, &options).expect("it may stand by");

    // That node goes: the name is lost, and had again before the process has looked.
    bench.feed(crate::Input::Closed { conn });
    bench.run(SECOND);
    assert!(bench.machine.claim_returned(bench.now, second));
    assert_eq!(bench.machine.take(bench.now, process, 8), []);
}
