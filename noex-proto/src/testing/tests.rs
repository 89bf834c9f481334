//! One test per rule, with a machine or a list of actions that breaks it.

use std::boxed::Box;
use std::format;
use std::net::SocketAddr;
use std::time::Duration;
use std::vec;
use std::vec::Vec;

use bytes::Bytes;

use super::bounds::{check_limits, check_list, check_stopped, check_timeout};
use super::{Checked, Contract, Phase, Rule, Told};
use crate::{
    Action, Books, Close, ClusterConfig, ClusterEvent, ClusterStatus, ConnId, ConnectError, Counters, Input, Instant, Limits,
    LookupId, Machine, NodeDownReason, NodeId, NodeInfo, NodeStatus, Usage,
};

const START: Instant = Instant::START;
const ABORT: Close = Close::Abort;
const GRACEFUL: Close = Close::Graceful { linger: Duration::from_secs(1), read_at_most: 0 };

/// A new rule does not compile before it has a test.
const _: fn(Rule) -> fn() = |rule| match rule {
    Rule::ActionsOnOpenConnections => actions_are_about_open_connections,
    Rule::BooksBalance => the_counts_of_both_sides_are_equal,
    Rule::Bounded => what_waits_is_bounded,
    Rule::CountersGrow => counters_never_go_back,
    Rule::EventsAlternate => ups_and_downs_alternate,
    Rule::EventsMatchView => what_is_told_can_be_read,
    Rule::NoDuplicate | Rule::NoSelf => lists_name_each_node_once_and_never_the_own,
    Rule::NothingAfterStop => nothing_begins_or_is_left_after_a_stop,
    Rule::Timers => timeouts_are_neither_lost_nor_busy,
};

fn of(checked: Checked) -> Option<Rule> {
    checked.err().map(|violation| violation.rule)
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 4369))
}

fn id(name: &str) -> NodeId {
    format!("{name}@10.0.0.1:4369").parse().expect("an id")
}

/// A node that runs, and what its driver knows.
fn running() -> (Machine, Contract) {
    let (mut machine, mut contract) = (Machine::new(), Contract::default());
    machine.start(START, ClusterConfig::new("m").host("10.0.0.1")).expect("valid");
    let listening = Input::Listening { entropy: [1; 32], local: address(1), network: Box::default() };
    contract.feed(&mut machine, START, listening).expect("a machine that keeps all rules");
    assert_eq!(contract.status(), ClusterStatus::Running);
    (machine, contract)
}

/// Which rule these actions of a node that runs break. Some are followed by an input.
fn broken(steps: impl IntoIterator<Item = Step>) -> Option<Rule> {
    let (machine, mut contract) = running();
    steps.into_iter().find_map(|step| match step {
        Step::Asks(action) => of(contract.action(&machine, &action)),
        Step::Gets(input) => {
            contract.input(&input);
            None
        }
    })
}

enum Step {
    Asks(Action),
    Gets(Input),
}

fn dial(conn: u64) -> Step {
    Step::Asks(Action::Connect { conn: ConnId(conn), remote: address(2) })
}

fn connected(conn: u64) -> Step {
    Step::Gets(Input::Connected { conn: ConnId(conn), remote: address(2) })
}

fn close(conn: u64, how: Close) -> Step {
    Step::Asks(Action::Close { conn: ConnId(conn), how })
}

fn transmit(conn: u64, bytes: usize) -> Step {
    Step::Asks(Action::Transmit { conn: ConnId(conn), data: Bytes::from(vec![7; bytes]) })
}

fn resolve(host: &str, lookup: u64) -> Step {
    Step::Asks(Action::Resolve { host: host.into(), lookup: LookupId(lookup) })
}

fn told(event: ClusterEvent) -> Step {
    Step::Asks(Action::Event(event))
}

fn becomes(status: ClusterStatus) -> Step {
    told(ClusterEvent::StatusChange(status))
}

fn up(name: &str) -> ClusterEvent {
    ClusterEvent::NodeUp(NodeInfo {
        id: id(name),
        last_down: None,
        last_heartbeat_at: None,
        process_count: 0,
        started_at: None,
        status: NodeStatus::Connected,
        uptime: Duration::ZERO,
    })
}

fn down(name: &str) -> ClusterEvent {
    ClusterEvent::NodeDown { id: id(name), reason: NodeDownReason::ConnectionClosed }
}

#[test]
fn a_machine_that_is_dialled_and_stopped_keeps_all_rules() {
    let (mut machine, mut contract) = running();
    let conn = machine.next_conn();
    let feed = |machine: &mut Machine, contract: &mut Contract, input| contract.feed(machine, START, input).expect("kept");
    feed(&mut machine, &mut contract, Input::Accepted { conn, remote: address(2) });
    assert_eq!((contract.phase(conn), contract.open()), (Some(Phase::Open), 1));
    let actions = feed(&mut machine, &mut contract, Input::Stop);
    assert_eq!(actions.last(), Some(&Action::Stopped));
    assert_eq!((contract.phase(conn), contract.open()), (Some(Phase::Closed), 0));
    // What is accepted too late is closed, and what comes for it then is as good as not fed.
    let late = machine.next_conn();
    let closed = [Action::Close { conn: late, how: ABORT }];
    assert_eq!(feed(&mut machine, &mut contract, Input::Accepted { conn: late, remote: address(2) }), closed);
    assert_eq!(feed(&mut machine, &mut contract, Input::Closed { conn: late }), []);
}

#[test]
fn actions_are_about_open_connections() {
    let broken_by = |steps: Vec<Step>| broken(steps) == Some(Rule::ActionsOnOpenConnections);
    assert_eq!(broken([dial(1), connected(1), transmit(1, 5), close(1, GRACEFUL)]), None);
    assert!(broken_by([dial(2)].into()), "a number out of turn");
    assert!(broken_by([dial(1), dial(1)].into()), "a number that is used again");
    assert!(broken_by([close(1, ABORT)].into()), "a close of what never was");
    assert!(broken_by([dial(1), close(1, ABORT), close(1, ABORT)].into()), "a second close");
    assert!(broken_by([dial(1), close(1, GRACEFUL), close(1, ABORT)].into()), "a close after a graceful one");
    let failed = Input::DialFailed { conn: ConnId(1), error: ConnectError::Refused };
    assert!(broken_by([dial(1), Step::Gets(failed), close(1, ABORT)].into()), "a close of a dial that failed");
    assert!(broken_by([dial(1), transmit(1, 5)].into()), "bytes before the dial has succeeded");
    assert!(broken_by([dial(1), connected(1), transmit(1, 0)].into()), "no bytes");
    assert!(broken_by([dial(1), connected(1), close(1, GRACEFUL), transmit(1, 5)].into()), "bytes after the close");
    let late = Step::Gets(Input::Closed { conn: ConnId(1) });
    assert!(broken_by([dial(1), close(1, ABORT), late, dial(2)].into()), "an answer to an input that nobody waits for");
    assert!(broken_by([resolve("a", 2), resolve("b", 2)].into()), "the number of a lookup that is used again");
}

#[test]
fn the_counts_of_both_sides_are_equal() {
    let (mut machine, mut contract) = running();
    let conn = machine.next_conn();
    contract.feed(&mut machine, START, Input::Accepted { conn, remote: address(2) }).expect("kept");
    let books = machine.books();
    assert_eq!((books.connections, books.half_open), (1, 1));
    let balance = |contract: &Contract, books| of(contract.balance(books, |_| None));
    assert_eq!(balance(&contract, books), None);
    let drifts: [fn(&mut Books) -> &mut usize; 6] = [
        |books| &mut books.closing,
        |books| &mut books.connections,
        |books| &mut books.dials,
        |books| &mut books.half_open,
        |books| &mut books.lookups,
        |books| &mut books.sessions,
    ];
    for count in drifts {
        let mut books = books;
        *count(&mut books) += 1;
        assert_eq!(balance(&contract, books), Some(Rule::BooksBalance), "{books:?}");
    }
    assert_eq!(balance(&contract, Books { connections: 0, half_open: 0, ..books }), Some(Rule::BooksBalance));
    let usage = machine.usage();
    for half_open_per_address in [0, 2] {
        let usage = Usage { half_open_per_address, ..usage };
        assert_eq!(of(contract.origins(&usage)), Some(Rule::BooksBalance));
    }

    // Bytes that were handed over and not reported, of a connection that is open and of one that was closed.
    let say = Action::Transmit { conn, data: Bytes::from_static(b"hello") };
    contract.action(&machine, &say).expect("an open connection");
    contract.input(&Input::Transmitted { bytes: 2, conn });
    let balance = |contract: &Contract, bytes| of(contract.balance(books, |_| bytes));
    assert_eq!(
        [Some(3), Some(5), None].map(|bytes| balance(&contract, bytes)),
        [None, Some(Rule::BooksBalance), Some(Rule::BooksBalance)]
    );
    contract.action(&machine, &Action::Close { conn, how: GRACEFUL }).expect("an open connection");
    let closed = |closing| of(contract.balance(Books { closing, connections: 0, half_open: 0, ..books }, |_| None));
    assert_eq!([1, 0].map(closed), [None, Some(Rule::BooksBalance)]);
    assert_eq!(
        of(contract.balance(Books { closing: 1, connections: 0, half_open: 0, ..books }, |_| Some(3))),
        Some(Rule::BooksBalance)
    );
    // A graceful close is confirmed once, and not waited for by a node that stops.
    let confirm = |contract: &mut Contract| contract.input(&Input::Closed { conn });
    let mut confirmed = contract.clone();
    (0..2).for_each(|_| confirm(&mut confirmed));
    assert_eq!(of(confirmed.balance(Books::default(), |_| None)), None);
    contract.action(&machine, &Action::Event(ClusterEvent::StatusChange(ClusterStatus::Stopping))).expect("a node that runs");
    assert_eq!(of(contract.balance(Books::default(), |_| None)), None);
    confirm(&mut contract);
    assert_eq!(of(contract.balance(Books::default(), |_| None)), None);
}

#[test]
fn what_waits_is_bounded() {
    let window = Limits::default().send_window_bytes;
    assert_eq!(broken([dial(1), connected(1), transmit(1, window), transmit(1, 60_000)]), None);
    assert_eq!(broken([dial(1), connected(1), transmit(1, window), transmit(1, 70_000)]), Some(Rule::Bounded));
    assert_eq!(broken([resolve("a", 1), resolve("a.", 2)]), None, "with a dot it is another name");
    assert_eq!(broken([resolve("a", 1), resolve("a", 2)]), Some(Rule::Bounded), "two lookups of one host");
    let answered = Step::Gets(Input::Resolved { addrs: Ok(Vec::new()), lookup: LookupId(1) });
    assert_eq!(broken([resolve("a", 1), answered, resolve("a", 2)]), None);
    let many = (1..100).map(|number| resolve(&format!("host{number}"), number));
    assert_eq!(broken(many), Some(Rule::Bounded), "too many lookups");

    let limits = Limits::default();
    let over: [fn(&mut Usage) -> &mut usize; 15] = [
        |usage| &mut usage.closing_connections,
        |usage| &mut usage.connections,
        |usage| &mut usage.control_messages,
        |usage| &mut usage.departed_nodes,
        |usage| &mut usage.dials_in_flight,
        |usage| &mut usage.disconnected_nodes,
        |usage| &mut usage.events_per_subscriber,
        |usage| &mut usage.half_open,
        |usage| &mut usage.half_open_per_address,
        |usage| &mut usage.lookups_in_flight,
        |usage| &mut usage.members,
        |usage| &mut usage.message_bytes_per_subscriber,
        |usage| &mut usage.nodes,
        |usage| &mut usage.send_queue_bytes,
        |usage| &mut usage.send_window_bytes,
    ];
    assert_eq!(check_limits(&Usage::default(), &limits, false), Ok(()));
    for field in over {
        let mut usage = Usage::default();
        *field(&mut usage) = 40 << 20;
        assert_eq!(of(check_limits(&usage, &limits, false)), Some(Rule::Bounded), "{usage:?}");
    }
    let closing = Usage { closing_connections: 40 << 20, ..Usage::default() };
    assert_eq!(check_limits(&closing, &limits, true), Ok(()), "a node that stops closes all it has");
}

#[test]
fn counters_never_go_back() {
    let (machine, mut contract) = running();
    contract.counters = Counters { dials: 1, ..Counters::default() };
    assert_eq!(contract.settled(&machine), Ok(()), "nothing was asked for");
    contract.action(&machine, &Action::Message).expect("a node that runs");
    assert_eq!(of(contract.settled(&machine)), Some(Rule::CountersGrow));
}

#[test]
fn ups_and_downs_alternate() {
    use ClusterStatus::{Running, Starting, Stopped, Stopping};
    let rule = Some(Rule::EventsAlternate);
    assert_eq!(broken([up("a"), up("b"), down("a"), up("a")].map(told)), None);
    assert_eq!(broken([up("a"), up("a")].map(told)), rule);
    assert_eq!(broken([told(down("a"))]), rule);
    assert_eq!(broken([told(ClusterEvent::Lagged { missed: 1 })]), rule);
    assert_eq!(broken([Stopping, Stopped, Starting, Running].map(becomes)), None);
    for status in [Running, Starting] {
        assert_eq!(broken([becomes(status)]), rule, "running to {status}");
    }

    // A subscriber that reads late may have missed a status, and no up.
    let mut late = Told::default();
    let read = [up("a"), ClusterEvent::StatusChange(Stopping), ClusterEvent::Lagged { missed: 9 }, down("a")];
    assert_eq!(read.iter().try_for_each(|event| late.read(event)), Ok(()));
    assert_eq!(of(late.read(&down("a"))), rule);
}

#[test]
fn what_is_told_can_be_read() {
    let (machine, contract) = running();
    assert_eq!(contract.view(&machine), Ok(()));
    let mut told_up = contract.clone();
    told_up.action(&machine, &Action::Event(up("a"))).expect("a node that runs");
    assert_eq!(of(told_up.view(&machine)), Some(Rule::EventsMatchView));
    assert_eq!(of(told_up.settled(&machine)), Some(Rule::EventsMatchView));
    let mut told_stopping = contract;
    let stopping = Action::Event(ClusterEvent::StatusChange(ClusterStatus::Stopping));
    told_stopping.action(&machine, &stopping).expect("a node that runs");
    assert_eq!(of(told_stopping.view(&machine)), Some(Rule::EventsMatchView));
    for event in [up("a"), down("a")] {
        assert_eq!(broken([becomes(ClusterStatus::Stopping), told(event)]), Some(Rule::EventsMatchView));
    }
}

#[test]
fn lists_name_each_node_once_and_never_the_own() {
    assert_eq!(check_list(&[id("a"), id("b")], &id("c")), Ok(()));
    for list in [[id("a"), id("a")], [id("b"), id("a")]] {
        assert_eq!(of(check_list(&list, &id("c"))), Some(Rule::NoDuplicate));
    }
    assert_eq!(of(check_list(&[id("a"), id("b")], &id("b"))), Some(Rule::NoSelf));
    assert_eq!(broken([told(up("m"))]), Some(Rule::NoSelf));
}

#[test]
fn nothing_begins_or_is_left_after_a_stop() {
    let rule = Some(Rule::NothingAfterStop);
    let stopping = || becomes(ClusterStatus::Stopping);
    let stopped = || becomes(ClusterStatus::Stopped);
    let complete = || Step::Asks(Action::Stopped);
    assert_eq!(broken([dial(1), stopping(), close(1, ABORT), stopped(), complete()]), None);
    assert_eq!(broken([stopping(), dial(1)]), rule);
    assert_eq!(broken([stopping(), resolve("a", 1)]), rule);
    assert_eq!(broken([stopping(), stopped(), Step::Asks(Action::Message)]), rule);
    assert_eq!(broken([dial(1), stopping(), stopped(), complete()]), rule, "a connection that is left");
    assert_eq!(broken([stopping(), complete()]), rule, "a stop that is said to be complete and is not");
    assert_eq!(broken([dial(1), connected(1), close(1, GRACEFUL), stopping(), stopped(), complete(), transmit(1, 5)]), rule);

    let left = Usage { connections: 1, ..Usage::default() };
    assert_eq!(of(check_stopped(&left, None)), rule);
    assert_eq!(of(check_stopped(&Usage::default(), Some(START))), rule);
    let readers = Usage { events_per_subscriber: 3, lookups_in_flight: 1, message_bytes_per_subscriber: 7, ..Usage::default() };
    assert_eq!(check_stopped(&readers, None), Ok(()));
}

#[test]
fn timeouts_are_neither_lost_nor_busy() {
    let at = Instant::from_millis;
    for (due, queued, tick, sound) in [
        (Some(at(5)), true, false, true),
        (Some(at(6)), true, false, false),
        (None, true, false, false),
        (Some(at(6)), false, true, true),
        (None, false, true, true),
        (Some(at(5)), false, true, false),
        (Some(at(4)), false, true, false),
        (Some(at(4)), false, false, true),
    ] {
        let expected = (!sound).then_some(Rule::Timers);
        assert_eq!(of(check_timeout(due, at(5), queued, tick)), expected, "{due:?}, {queued}, {tick}");
    }
    // A tick that leaves the machine due.
    let (machine, mut contract) = running();
    contract.input(&Input::Tick);
    contract.due = Some(machine.now());
    assert_eq!(of(contract.settled(&machine)), Some(Rule::Timers));
}
