//! The machine under attack: where it runs, and how it comes to a session with a peer of the harness.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use noex_proto::{Action, ClusterConfig, ConnId, Input, Instant, Limits, Machine, WallTime};

use crate::peer::{Announcement, Keys, SECRET, Session, body, framed, frames, kind, message};

/// The identity of the machine under attack.
pub(crate) const ID: &str = "m@10.0.0.1:4369";
/// An identity that is less, and so offers its sessions to the machine.
pub(crate) const LESSER: &str = "a@10.0.0.2:4369";
/// An identity that is greater, and so decides on its sessions with the machine.
pub(crate) const GREATER: &str = "z@10.0.0.3:4369";

/// The limits of the machine under attack: small, so that they are reached.
pub(crate) fn limits() -> Limits {
    Limits::default()
        .calls_per_peer(6)
        .calls_served_per_peer(6)
        .closing_connections(2)
        .control_messages(4)
        .departed_nodes(2)
        .dials_in_flight(3)
        .dials_per_second(8)
        .disconnected_nodes(3)
        .error_reports_per_second(3)
        .events_per_subscriber(6)
        .half_open(4)
        .half_open_per_address(2)
        .local_names(4)
        .lookups_in_flight(2)
        .mailbox_bytes(100_000)
        .mailbox_messages(5)
        .mailboxes_bytes(150_000)
        .members(3)
        .message_bytes(100_000)
        .message_bytes_per_subscriber(100_000)
        .monitors_per_process(4)
        .processes(6)
        .send_queue_bytes(100_000)
        .send_window_bytes(4096)
}

/// A configuration of the node with this name at this address, with small limits.
pub(crate) fn config(name: &str, last: u8, secret: Option<&str>) -> ClusterConfig {
    ClusterConfig::new(name)
        .host(address(last).ip().to_string())
        .cluster_secret(secret)
        .heartbeat_interval(Duration::from_secs(1))
        .forget_after(Duration::from_secs(30))
        .limits(limits())
}

pub(crate) fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 4369))
}

/// What a driver says once it listens.
pub(crate) fn listening(last: u8, entropy: u8) -> Input {
    Input::Listening { entropy: [entropy; 32], local: address(last), network: Box::default() }
}

/// A machine that runs, at the start of time.
pub(crate) fn running(config: ClusterConfig, last: u8, entropy: u8) -> Machine {
    let mut machine = Machine::new();
    machine.start(Instant::START, config).expect("a valid configuration");
    machine.handle(Instant::START, listening(last, entropy));
    machine
}

pub(crate) fn received(conn: ConnId, bytes: &[u8]) -> Input {
    Input::Received { conn, data: Bytes::copy_from_slice(bytes), wall: WallTime::default() }
}

/// All that the machine asks for now.
pub(crate) fn actions(machine: &mut Machine) -> Vec<Action> {
    std::iter::from_fn(|| machine.poll_action()).collect()
}

/// The bytes that are sent on this connection.
pub(crate) fn sent(actions: &[Action], conn: ConnId) -> Vec<u8> {
    let data = actions.iter().filter_map(|action| match action {
        Action::Transmit { conn: on, data } if *on == conn => Some(&data[..]),
        _ => None,
    });
    data.collect::<Vec<_>>().concat()
}

/// A machine with a session that is up with the peer [`LESSER`], the peer's side of that session, and its connection.
pub(crate) fn with_session() -> (Machine, Session, ConnId) {
    let mut machine = running(config("m", 1, Some(SECRET)), 1, 1);
    actions(&mut machine);
    let conn = machine.next_conn();
    let mut say = |input: Input| {
        machine.handle(Instant::START, input);
        sent(&actions(&mut machine), conn)
    };
    say(Input::Accepted { conn, remote: address(2) });
    let hello = Announcement::new(LESSER, 1, 1).hello("");
    let challenge = say(received(conn, &framed(&hello)));
    let keys = Keys::new(Some(SECRET), &hello, frames(&challenge)[0]);
    let auth_ok = say(received(conn, &framed(&keys.auth)));
    assert_eq!(frames(&auth_ok), [&keys.auth_ok[..]], "the machine and the harness have the same keys");
    let mut session = keys.session(true);
    let offer = session.seal(&message(kind::OFFER, &body::array(&[0], Some(false))));
    let intro = say(received(conn, &offer));
    assert_eq!(session.open(frames(&intro)[0])[0].0, kind::INTRO);
    let intro = [(b'c', 1), (b'd', 0), (b'm', 1), (b'p', 0), (b'u', 0)];
    let request = say(received(conn, &session.seal(&message(kind::INTRO, &body::map(&intro)))));
    assert_eq!(session.open(frames(&request)[0])[0].0, kind::MEMBERS_REQUEST);
    assert_eq!(machine.connected_node_count(), Ok(1));
    (machine, session, conn)
}
