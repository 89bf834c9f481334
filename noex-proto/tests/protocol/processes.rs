//! Processes of nodes that talk over the network of these tests.

use std::time::Duration;

use noex_proto::{
    Bytes, CallError, CallId, ClusterError, ClusterStatus, Destination, ExitReason, Input, MailboxItem, MonitorId,
    NodeDownReason, ProcessAction, ProcessId, ProtocolHash, RequestId,
};

use crate::net::{Host, MS, Net, SECOND, config, id};

const P: ProtocolHash = ProtocolHash(*b"protocol");

/// Two nodes that are up.
fn pair() -> Net {
    let mut net = Net::new(2);
    net.start(0, config("a", 0));
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    net.run(SECOND);
    assert!(net.is_mesh(&[0, 1]));
    net
}

fn open(net: &mut Net, host: Host) -> ProcessId {
    let now = net.clock(host);
    net.nodes[host].machine.open(now, P).expect("a process can be opened")
}

fn call(net: &mut Net, host: Host, to: &ProcessId, body: impl Into<Bytes>, timeout: Duration) -> CallId {
    let now = net.clock(host);
    let to = Destination::Process(to.clone());
    let call = net.nodes[host].machine.call(now, &to, P, body.into(), now + timeout).expect("the call can begin");
    net.perform(host);
    call
}

fn take(net: &mut Net, host: Host, process: &ProcessId) -> Vec<MailboxItem> {
    let now = net.clock(host);
    let items = net.nodes[host].machine.take(now, process.number(), 64);
    net.perform(host);
    items
}

fn requests(net: &mut Net, host: Host, process: &ProcessId) -> Vec<(Bytes, RequestId)> {
    let request = |item| if let MailboxItem::Call { body, request, .. } = item { Some((body, request)) } else { None };
    take(net, host, process).into_iter().filter_map(request).collect()
}

fn answer(net: &mut Net, host: Host, request: RequestId, body: impl Into<Bytes>) {
    let now = net.clock(host);
    net.nodes[host].machine.answer(now, request, body.into(), false).expect("it is open");
    net.perform(host);
}

fn monitor(net: &mut Net, host: Host, watcher: &ProcessId, to: &ProcessId) -> MonitorId {
    let now = net.clock(host);
    let to = Destination::Process(to.clone());
    let monitor = net.nodes[host].machine.monitor(now, Some(watcher.number()), &to).expect("it can be set");
    net.perform(host);
    monitor
}

fn outcomes(net: &mut Net, host: Host) -> Vec<Result<Bytes, CallError>> {
    let ended = |action| if let ProcessAction::CallEnded { outcome, .. } = action { Some(outcome) } else { None };
    net.nodes[host].of_processes.drain(..).filter_map(ended).collect()
}

#[test]
fn a_call_crosses_the_network_whatever_its_size() {
    let mut net = pair();
    let process = open(&mut net, 1);
    for size in [0, 64, 65_000, 65_536, 300_000, 2_000_000] {
        call(&mut net, 0, &process, vec![7; size], 5 * SECOND);
        net.run(SECOND);
        let [(body, request)] = &requests(&mut net, 1, &process)[..] else { panic!("one call of {size} bytes") };
        assert_eq!(body.len(), size);
        answer(&mut net, 1, *request, vec![8; size]);
        net.run(SECOND);
        assert_eq!(outcomes(&mut net, 0), [Ok(Bytes::from(vec![8; size]))]);
    }
    let counters = net.nodes[0].machine.counters();
    assert_eq!((counters.calls, counters.calls_answered), (6, 6));
}

#[test]
fn signals_and_payloads_share_a_session() {
    let mut net = pair();
    let process = open(&mut net, 1);
    for _ in 0..5 {
        net.send(0, &id("b", 1), vec![1; 200_000]).unwrap();
        call(&mut net, 0, &process, vec![2; 100_000], 5 * SECOND);
        call(&mut net, 0, &process, "small", 5 * SECOND);
    }
    net.run(2 * SECOND);
    assert_eq!(net.nodes[1].messages.len(), 5);
    let sizes: Vec<usize> = requests(&mut net, 1, &process).iter().map(|(body, _)| body.len()).collect();
    assert_eq!(sizes, [100_000, 5].repeat(5));
}

#[test]
fn a_node_that_dies_fails_its_calls_and_fires_its_monitors_before_its_down_is_told() {
    let mut net = pair();
    let (watcher, process) = (open(&mut net, 0), open(&mut net, 1));
    let monitor = monitor(&mut net, 0, &watcher, &process);
    call(&mut net, 0, &process, "", 50 * SECOND);
    net.run(SECOND);
    net.crash(1);
    net.run(SECOND);
    assert_eq!(outcomes(&mut net, 0), [Err(CallError::Disconnected(NodeDownReason::ConnectionClosed))]);
    let down = MailboxItem::Down { monitor, reason: ExitReason::NoConnection };
    assert_eq!(take(&mut net, 0, &watcher), [down]);
    let to = Destination::Process(process);
    let now = net.clock(0);
    let error = net.nodes[0].machine.call(now, &to, P, Bytes::new(), now + SECOND).unwrap_err();
    assert!(matches!(error, CallError::NotConnected { .. }) && !error.may_have_run());
}

#[test]
fn a_stop_waits_for_processes_half_of_its_time_and_lets_them_speak() {
    for ends in [true, false] {
        let mut net = pair();
        let (watcher, process) = (open(&mut net, 0), open(&mut net, 1));
        let monitor = monitor(&mut net, 0, &watcher, &process);
        call(&mut net, 0, &process, "", 50 * SECOND);
        net.run(SECOND);
        let [(_, request)] = requests(&mut net, 1, &process)[..] else { panic!("one call") };
        let stopped_at = net.clock(1);
        net.feed(1, Input::Stop);
        net.run(100 * MS);
        assert_eq!(take(&mut net, 1, &process), [MailboxItem::Stop(ExitReason::Shutdown)]);
        assert_eq!(net.nodes[1].machine.status(), ClusterStatus::Stopping);
        if ends {
            answer(&mut net, 1, request, "last words");
            let now = net.clock(1);
            net.nodes[1].machine.exit(now, process.number(), ExitReason::Shutdown, 1);
            net.perform(1);
        }
        net.run_until(60 * SECOND, |net| net.nodes[1].machine.status() == ClusterStatus::Stopped);
        let took = net.clock(1) - stopped_at;
        let outcome = if ends { Ok(Bytes::from_static(b"last words")) } else { Err(CallError::Exited(ExitReason::Shutdown)) };
        assert_eq!(outcomes(&mut net, 0), [outcome], "it took {took:?}");
        assert!(if ends { took < SECOND } else { took < 4 * SECOND }, "{took:?}");
        assert_eq!(take(&mut net, 0, &watcher), [MailboxItem::Down { monitor, reason: ExitReason::Shutdown }]);
        assert_eq!(net.downs(0), [(id("b", 1), NodeDownReason::GracefulShutdown)]);
    }
}

#[test]
fn casts_that_a_process_cannot_decode_are_counted_and_reported_at_a_bounded_rate() {
    let mut net = pair();
    let process = open(&mut net, 1);
    let told =
        |net: &Net| net.errors(1).into_iter().filter(|error| matches!(error, ClusterError::CastNotUnderstood { .. })).collect();
    for _ in 0..100 {
        let now = net.clock(1);
        net.nodes[1].machine.cast_not_understood(now, process.number(), "unknown variant `X`".into());
    }
    net.run(SECOND);
    let once = ClusterError::CastNotUnderstood { cause: "unknown variant `X`".into(), process: process.clone() };
    let reports: Vec<ClusterError> = told(&net);
    assert_eq!(reports, [once]);
    assert_eq!(net.nodes[1].machine.counters().casts_not_understood, 100);

    // A process that has ended says nothing.
    let now = net.clock(1);
    net.nodes[1].machine.exit(now, process.number(), ExitReason::Normal, 0);
    net.run(60 * SECOND);
    let now = net.clock(1);
    net.nodes[1].machine.cast_not_understood(now, process.number(), "again".into());
    net.run(SECOND);
    let reports: Vec<ClusterError> = told(&net);
    assert_eq!(reports.len(), 1);
}

#[test]
fn open_processes_are_counted_for_other_nodes() {
    let mut net = pair();
    net.feed(1, Input::SetProcessCount(5));
    let process = open(&mut net, 1);
    open(&mut net, 1);
    net.run(10 * SECOND);
    assert_eq!(net.nodes[0].machine.node(&id("b", 1)).unwrap().unwrap().process_count, 7);
    let now = net.clock(1);
    net.nodes[1].machine.exit(now, process.number(), ExitReason::Normal, 0);
    net.run(10 * SECOND);
    assert_eq!(net.nodes[0].machine.node(&id("b", 1)).unwrap().unwrap().process_count, 6);
}
