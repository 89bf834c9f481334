//! A recorded session, changed on its way: bytes flipped, inserted, dropped, repeated, exchanged, taken from another session or
//! from the other direction, or cut off. What is accepted is what came before the first change, and nothing of what follows it.

use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use noex_proto::{Action, ClusterEvent, ConnId, Input, Instant, Machine, NodeDownReason, NodeId, SubscriptionId};

use crate::Taken;
use crate::peer::SECRET;
use crate::victim::{self, ID, LESSER};

/// The sizes of the payloads that each side sends.
const PAYLOADS: [usize; 6] = [0, 1, 40, 300, 1500, 7];

/// A place in the stream: any, or the beginning of a frame.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Place {
    aligned: bool,
    at: u16,
}

/// Where a piece of a stream comes from.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Source {
    OtherDirection,
    OtherSession,
    Same,
}

#[derive(Arbitrary, Debug)]
enum Edit<'a> {
    Copy { from: Place, source: Source, to: Place, until: Place },
    Drop { from: Place, until: Place },
    Flip { at: u16, bits: u8 },
    Insert { at: Place, bytes: Taken<'a> },
    Swap { first: Place, second: Place, third: Place },
    Truncate(Place),
}

/// What one side has made of what came.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Accepted {
    leaves: usize,
    payloads: usize,
    ups: usize,
}

/// One side of a session: the machine before the first byte of its peer, and what its peer sends it.
struct Side {
    machine: Machine,
    conn: ConnId,
    messages: SubscriptionId,
    stream: Vec<u8>,
    /// Where frames begin, and the end.
    boundaries: Vec<usize>,
    payloads: Vec<Vec<u8>>,
    /// What is accepted by each place in the stream.
    accepted: Vec<Accepted>,
}

/// The initiator and the responder.
type Session = [Side; 2];

static SESSIONS: LazyLock<[Session; 2]> = LazyLock::new(|| [record(1), record(3)]);

fn record(entropy: u8) -> Session {
    let initiator = victim::config("a", 2, Some(SECRET)).seeds([ID]);
    let responder = victim::config("m", 1, Some(SECRET));
    let mut machines = [victim::running(initiator, 2, entropy), victim::running(responder, 1, entropy + 1)];
    let messages = [0, 1].map(|side| machines[side].subscribe_messages());
    let conn = ConnId(1);
    victim::actions(&mut machines[0]);
    victim::actions(&mut machines[1]);
    machines[1].handle(Instant::START, Input::Accepted { conn, remote: victim::address(2) });
    let responder = machines[1].clone();
    machines[0].handle(Instant::START, Input::Connected { conn, remote: victim::address(1) });
    let initiator = machines[0].clone();

    let mut streams = [Vec::new(), Vec::new()];
    exchange(&mut machines, conn, &mut streams);
    let ids = [LESSER, ID].map(|id| id.parse::<NodeId>().expect("valid"));
    let payloads =
        [0, 1].map(|side| PAYLOADS.map(|size| vec![side + 10 * u8::try_from(size % 20).expect("small"); size]).to_vec());
    for (first, second) in payloads[0].iter().zip(&payloads[1]) {
        for (side, payload) in [first, second].into_iter().enumerate() {
            machines[side].send(Instant::START, &ids[1 - side], payload.clone().into()).expect("the session is up");
        }
        exchange(&mut machines, conn, &mut streams);
    }
    machines[0].handle(Instant::START, Input::Stop);
    exchange(&mut machines, conn, &mut streams);

    let [to_initiator, to_responder] = streams;
    let [sent_by_initiator, sent_by_responder] = payloads;
    [
        Side::new(initiator, conn, messages[0], to_initiator, sent_by_responder),
        Side::new(responder, conn, messages[1], to_responder, sent_by_initiator),
    ]
}

/// Lets both sides say what they have to say; `streams` takes what each is told.
fn exchange(machines: &mut [Machine; 2], conn: ConnId, streams: &mut [Vec<u8>; 2]) {
    loop {
        let said = [0, 1].map(|side| victim::sent(&victim::actions(&mut machines[side]), conn));
        if said.iter().all(Vec::is_empty) {
            return;
        }
        for (side, data) in said.into_iter().enumerate() {
            machines[side].handle(Instant::START, Input::Transmitted { bytes: data.len(), conn });
            streams[1 - side].extend_from_slice(&data);
            machines[1 - side].handle(Instant::START, victim::received(conn, &data));
        }
    }
}

impl Side {
    fn new(machine: Machine, conn: ConnId, messages: SubscriptionId, stream: Vec<u8>, payloads: Vec<Vec<u8>>) -> Self {
        let mut boundaries = vec![0];
        while let Some(len) = stream[*boundaries.last().expect("not empty")..].first_chunk() {
            let len = usize::try_from(u32::from_be_bytes(*len)).expect("32 bits");
            boundaries.push(boundaries.last().expect("not empty") + 4 + len);
        }
        let mut side = Self { machine, conn, messages, stream, boundaries, payloads, accepted: Vec::new() };
        let mut reader = Reader::new(&side);
        let mut accepted = vec![Accepted::default()];
        for byte in &side.stream {
            reader.read(std::slice::from_ref(byte));
            accepted.push(reader.accepted);
        }
        assert_eq!(accepted.last().map(|all| (all.payloads, all.ups)), Some((PAYLOADS.len(), 1)));
        side.accepted = accepted;
        side
    }

    fn place(&self, place: Place) -> usize {
        let at = usize::from(place.at);
        if place.aligned { self.boundaries[at % self.boundaries.len()] } else { at % (self.stream.len() + 1) }
    }
}

/// The machine of one side, as it takes a stream.
struct Reader<'a> {
    side: &'a Side,
    machine: Machine,
    accepted: Accepted,
}

impl<'a> Reader<'a> {
    fn new(side: &'a Side) -> Self {
        Self { side, machine: side.machine.clone(), accepted: Accepted::default() }
    }

    fn read(&mut self, bytes: &[u8]) {
        self.feed(victim::received(self.side.conn, bytes));
    }

    fn feed(&mut self, input: Input) {
        self.machine.handle(Instant::START, input);
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Event(ClusterEvent::NodeUp(_)) => self.accepted.ups += 1,
                Action::Event(ClusterEvent::NodeDown { reason: NodeDownReason::GracefulShutdown, .. }) => {
                    self.accepted.leaves += 1
                }
                _ => {}
            }
        }
        while let Some(message) = self.machine.poll_message(self.side.messages) {
            let payload = message.expect("the queue is large enough").payload;
            assert_eq!(
                self.side.payloads.get(self.accepted.payloads).map(|sent| &sent[..]),
                Some(&payload[..]),
                "not what was sent"
            );
            self.accepted.payloads += 1;
        }
    }
}

/// Which side, how the stream is cut into chunks, and what is done to it.
pub(crate) fn run(data: &[u8]) -> Option<()> {
    let mut input = Unstructured::new(data);
    let which: u8 = input.arbitrary().ok()?;
    let [session, other] = if which & 2 == 0 { [&SESSIONS[0], &SESSIONS[1]] } else { [&SESSIONS[1], &SESSIONS[0]] };
    let side = usize::from(which & 1);
    let (victim, others) = (&session[side], [&session[1 - side], &other[side]]);
    let chunk = usize::from(input.arbitrary::<u8>().ok()?);

    let mut stream = victim.stream.clone();
    for _ in 0..8 {
        if input.is_empty() {
            break;
        }
        edit(&mut stream, victim, others, input.arbitrary().ok()?);
    }
    let untouched = stream.iter().zip(&victim.stream).take_while(|(came, sent)| came == sent).count();

    let mut reader = Reader::new(victim);
    for piece in stream.chunks(if chunk == 0 { stream.len().max(1) } else { chunk }) {
        reader.read(piece);
    }
    reader.feed(Input::Closed { conn: victim.conn });
    assert_eq!(reader.accepted, victim.accepted[untouched], "{untouched} bytes came as they were sent");
    assert_eq!(reader.machine.connected_node_count().unwrap_or(0), 0);
    Some(())
}

fn edit(stream: &mut Vec<u8>, victim: &Side, [opposite, elsewhere]: [&Side; 2], edit: Edit<'_>) {
    let place = |place: Place| victim.place(place).min(stream.len());
    match edit {
        Edit::Copy { from, source, to, until } => {
            let source = match source {
                Source::OtherDirection => opposite,
                Source::OtherSession => elsewhere,
                Source::Same => victim,
            };
            let (from, until) = (source.place(from), source.place(until));
            let piece = source.stream.get(from..until).unwrap_or_default();
            let to = place(to);
            stream.splice(to..to, piece.iter().copied());
        }
        Edit::Drop { from, until } => {
            let (from, until) = (place(from), place(until));
            if from < until {
                stream.drain(from..until);
            }
        }
        Edit::Flip { at, bits } => {
            let at = usize::from(at) % stream.len().max(1);
            if let Some(byte) = stream.get_mut(at) {
                *byte ^= bits;
            }
        }
        Edit::Insert { at, bytes } => {
            let at = place(at);
            stream.splice(at..at, bytes.0.iter().copied());
        }
        Edit::Swap { first, second, third } => {
            let mut places = [place(first), place(second), place(third)];
            places.sort_unstable();
            let [first, second, third] = places;
            stream[first..third].rotate_left(second - first);
        }
        Edit::Truncate(at) => {
            let at = place(at);
            stream.truncate(at);
        }
    }
}
