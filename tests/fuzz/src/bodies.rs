//! The bodies of messages: what is read is written and read again alike, and a machine that gets one in a well-signed record
//! closes its session where it cannot be read or may not come, and only there.

use std::sync::LazyLock;

use noex_proto::fuzzing::Body;
use noex_proto::{Action, ClusterError, ClusterEvent, ConnId, Instant, Machine, PeerFault, SubscriptionId};

use crate::peer::{BODY_MAX, Session, frames, kind, message};
use crate::signal::Signal;
use crate::victim;

/// What becomes of the session on which a message comes.
#[derive(Debug, Eq, PartialEq)]
enum End {
    Closed,
    Fault(PeerFault),
}

struct Victim {
    machine: Machine,
    messages: SubscriptionId,
    session: Session,
    conn: ConnId,
}

static VICTIM: LazyLock<Victim> = LazyLock::new(|| {
    let (mut machine, session, conn) = victim::with_session();
    let messages = machine.subscribe_messages();
    Victim { machine, messages, session, conn }
});

/// A kind and a body.
pub(crate) fn run(data: &[u8]) -> Option<()> {
    let (&kind, body) = data.split_first()?;
    if matches!(kind, kind::NAMES | kind::NAMES_ACK) {
        // The target `names` has these.
        return None;
    }
    let body = &body[..body.len().min(BODY_MAX)];
    let decoded = Body::decode(kind, body);
    if let Ok(Some(control)) = &decoded {
        assert_eq!(control.kind(), kind);
        let encoded = control.encode();
        assert_eq!(Body::decode(kind, &encoded), decoded, "{control:?} is not read as it is written");
        let short = Body::decode(kind, &encoded[..encoded.len() - 1]);
        assert_eq!(short, Err(PeerFault::MalformedBody), "{control:?} needs all its bytes");
    }
    let piece = matches!(kind, kind::PAYLOAD | kind::PIECE | kind::SIGNAL_PIECE);
    let signal = Signal::decode(body).filter(|_| kind == kind::SIGNAL);
    let expected = match &decoded {
        _ if matches!(kind, kind::PIECE | kind::SIGNAL_PIECE) && body.is_empty() => Some(End::Fault(PeerFault::MalformedRecord)),
        _ if piece => None,
        _ if kind == kind::SIGNAL => match &signal {
            None => Some(End::Fault(PeerFault::MalformedBody)),
            Some(Signal::Answer { .. } | Signal::Failure { .. } | Signal::Down { .. }) => Some(End::Fault(PeerFault::NeverAsked)),
            Some(_) => None,
        },
        Err(fault) => Some(End::Fault(*fault)),
        Ok(Some(_)) => match kind {
            kind::GOODBYE | kind::REFUSED => Some(End::Closed),
            kind::INTRO => Some(End::Fault(PeerFault::UnexpectedMessage)),
            kind::OFFER => Some(End::Fault(PeerFault::UnexpectedOffer)),
            _ => None,
        },
        Ok(None) => None,
    };

    let Victim { machine, messages, session, conn } = &*VICTIM;
    let (mut machine, mut session) = (machine.clone(), session.clone());
    machine.handle(Instant::START, victim::received(*conn, &session.seal(&message(kind, body))));
    let actions = victim::actions(&mut machine);
    let mut end = None;
    for action in &actions {
        match action {
            Action::Close { conn: closed, .. } if closed == conn => end = end.or(Some(End::Closed)),
            Action::Event(ClusterEvent::Error(ClusterError::Peer { fault, .. })) => end = Some(End::Fault(*fault)),
            _ => {}
        }
    }
    assert_eq!(end, expected, "{decoded:?}");
    assert_eq!(machine.connected_node_count(), Ok(usize::from(end.is_none())));
    let got = machine.poll_message(*messages).map(|message| message.expect("the queue is not full").payload);
    assert_eq!(got.as_deref(), (kind == kind::PAYLOAD).then_some(body), "a payload comes as it was sent, and nothing else does");
    let answers = victim::sent(&actions, *conn);
    for record in frames(&answers) {
        for (answer, answer_body) in session.open(record) {
            match (kind, answer) {
                // The number of the PING, repeated: in the shortest form, which is how it may not have come.
                (kind::PING, kind::PONG) => assert_eq!(pong(&decoded), answer_body),
                (kind::MEMBERS_REQUEST, kind::MEMBERS) => assert!(answer_body.starts_with(&[0xA3, 0x61, b'd'])),
                // The machine has no names, which it says once. That may have waited for a record.
                (_, kind::NAMES) => assert_eq!(answer_body, [0x83, 3, 0x80, 0x80]),
                // There is no process.
                (kind::SIGNAL, kind::SIGNAL) => match (&signal, Signal::decode(answer_body)) {
                    (Some(Signal::Call { number, .. }), Some(Signal::Failure { number: answered, code: 0, .. }))
                    | (Some(Signal::Monitor { number, .. }), Some(Signal::Down { number: answered, reason: 3, .. })) => {
                        assert_eq!(*number, answered);
                    }
                    (signal, answer) => panic!("{answer:?} answers {signal:?}"),
                },
                _ => panic!("{answer:#x} answers {kind:#x}"),
            }
        }
    }
    Some(())
}

/// The body of the PONG that answers this PING.
fn pong(ping: &Result<Option<Body>, PeerFault>) -> Vec<u8> {
    let ping = ping.as_ref().ok().and_then(Option::as_ref).map(Body::encode).unwrap_or_default();
    let number = ping.get(1..).unwrap_or_default();
    [&[0x82], number, &[0xF4]].concat()
}
