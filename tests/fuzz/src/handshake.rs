//! Handshakes with a machine, by peers that know the secret or do not: arbitrary bytes, and well-made frames that are changed on
//! their way. Who does not know the secret never comes through; who does, comes through by the right proof alone; and strangers
//! hold no more of the machine than the limits for them allow.

use std::sync::LazyLock;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use noex_proto::{Action, Close, ConnId, ConnectError, Input, Instant, Machine};

use crate::Taken;
use crate::peer::{Announcement, CHALLENGE, HELLO, Keys, OTHER_SECRET, SECRET, framed, frames};
use crate::victim::{self, GREATER, ID, LESSER};

/// The most that the frames of a handshake may take, and what may be held of a further one.
const FED_MAX: usize = 2048 + 4 + 1024;
/// REJECT, CHALLENGE and AUTH_OK are all that a responder says, HELLO and AUTH all that an initiator does.
const ANSWER_MAX: usize = 1024;

/// The steps of an input that count. They suffice for more connections than may be half open, and for several handshakes; longer inputs
/// cost more time than they find.
const STEPS: usize = 16;
/// How many addresses connections come in from.
const ADDRESSES: u8 = 4;

/// Which side the machine is on, at least at first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    Initiator,
    Responder,
}

/// One byte or a few that are not as they should be.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Change {
    Cut(u16),
    Flip(u16, u8),
    Grow(u16, u8),
    None,
    Number(u16, u16),
}

impl Change {
    fn apply(self, frame: &mut Vec<u8>) {
        let place = |at: u16| usize::from(at) % frame.len().max(1);
        match self {
            Self::Cut(at) => frame.truncate(place(at)),
            Self::Flip(at, bits) => {
                let at = place(at);
                if let Some(byte) = frame.get_mut(at) {
                    *byte ^= bits;
                }
            }
            Self::Grow(at, len) => {
                let at = place(at);
                frame.splice(at..at, std::iter::repeat_n(len, usize::from(len)));
            }
            Self::None => {}
            Self::Number(at, number) => {
                let at = place(at);
                if let Some(bytes) = frame[at..].first_chunk_mut() {
                    *bytes = number.to_be_bytes();
                }
            }
        }
    }
}

/// What the peer says of itself.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Said {
    flags: u8,
    id: u8,
    interval_ms: u16,
    nonce: u8,
    plain: bool,
    target: u8,
}

impl Said {
    /// The frame, and whether there is nothing wrong with it.
    fn frame(self, kind: u8, authenticated: bool, change: Change) -> (Vec<u8>, bool) {
        const IDS: [&str; 8] = [LESSER, GREATER, ID, "", "a@h:0", "A@HOST:1", "b@[::1]:1", "c@very.long.name.example.org:65535"];
        let id = IDS[usize::from(self.id) % IDS.len()];
        let flags = u8::from(authenticated);
        let mut from = Announcement::new(if self.plain { LESSER } else { id }, self.id, self.nonce);
        from.flags = flags;
        let mut target = "";
        if !self.plain {
            from.flags = self.flags;
            from.interval_ms = u32::from(self.interval_ms) * 10;
            target = ["", ID, LESSER, "?"][usize::from(self.target % 4)];
        }
        let right = if kind == HELLO { from.hello(target) } else { from.challenge() };
        let mut frame = right.clone();
        change.apply(&mut frame);
        let good = self.plain && frame == right;
        (frame, good)
    }
}

/// What a proof is made with.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum By {
    Nothing,
    OtherSecret,
    Secret,
    TheOtherSidesProof,
}

#[derive(Arbitrary, Debug)]
enum Op<'a> {
    /// A connection comes in from one of a few addresses.
    Accept(u8),
    /// Time passes.
    Advance(u16),
    /// HELLO or CHALLENGE.
    Announce { change: Change, line: u8, other: bool, piece: u8, said: Said },
    /// A connection ends.
    Close(u8),
    /// A dial succeeds or fails.
    Dialled { line: u8, succeeds: bool },
    /// AUTH or AUTH_OK.
    Prove { by: By, change: Change, line: u8, other: bool, piece: u8 },
    /// Bytes.
    Raw { bytes: Taken<'a>, line: u8 },
    /// What the machine sent last comes back to it.
    Reflect(u8),
    /// REJECT.
    Reject { code: u8, line: u8 },
    /// What once made a session is sent again.
    Replay { line: u8, proof: bool },
}

/// A connection.
#[derive(Debug)]
struct Line {
    conn: ConnId,
    dialled: bool,
    /// Which of the addresses it comes from.
    from: u8,
    state: State,
    /// How many bytes the machine has taken.
    fed: usize,
    /// Whether something came that is no frame of this handshake.
    spoilt: bool,
    /// What the harness announced, once the machine has answered that.
    announced: Option<Vec<u8>>,
    /// What the machine has sent.
    sent: Vec<u8>,
    /// What it has sent since the harness last said something.
    answer: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Authenticated,
    Closed,
    Dialling,
    Open,
}

/// The machine's peer's part of another handshake, as a listener on the path has it.
struct Recording {
    announcement: Vec<u8>,
    proof: Vec<u8>,
}

struct Scene {
    machine: Machine,
    /// Those of a peer that dialled and of one that was dialled.
    recordings: [Recording; 2],
}

fn scene(role: Role, secret: Option<&str>) -> Scene {
    let mut config = victim::config("m", 1, secret);
    if secret.is_some() {
        config = config.accepted_secrets(["an older secret, which still holds"]);
    }
    if role == Role::Initiator {
        config = config.seeds([LESSER, GREATER]);
    }
    let machine = victim::running(config, 1, 7);
    // The nonces and the instance are not those that the machine draws.
    let (theirs, its) = (Announcement::new(LESSER, 1, 1), Announcement::new(ID, 9, 9));
    let dialled = Keys::new(secret, &theirs.hello(""), &its.challenge());
    let accepted = Keys::new(secret, &its.hello(""), &theirs.challenge());
    let recordings = [
        Recording { announcement: theirs.hello(""), proof: dialled.auth },
        Recording { announcement: theirs.challenge(), proof: accepted.auth_ok },
    ];
    Scene { machine, recordings }
}

static SCENES: LazyLock<[[Scene; 2]; 2]> =
    LazyLock::new(|| [Role::Initiator, Role::Responder].map(|role| [Some(SECRET), None].map(|secret| scene(role, secret))));

struct Attack<'a> {
    machine: Machine,
    recordings: &'a [Recording; 2],
    now: Instant,
    lines: Vec<Line>,
    /// Whether the peers know the secret.
    knows: bool,
    secret: Option<&'a str>,
    handshakes: u64,
    /// Connections that the machine closes gracefully.
    closing: Vec<ConnId>,
}

/// What the peers know, and what they do.
pub(crate) fn run(data: &[u8], role: Role) -> Option<()> {
    let mut input = Unstructured::new(data);
    let mode: u8 = input.arbitrary().ok()?;
    let secret = (mode & 2 == 0).then_some(SECRET);
    let scene = &SCENES[usize::from(role == Role::Responder)][usize::from(secret.is_none())];
    let mut attack = Attack {
        machine: scene.machine.clone(),
        recordings: &scene.recordings,
        now: Instant::START,
        lines: Vec::new(),
        knows: mode & 1 != 0 || secret.is_none(),
        secret,
        handshakes: 0,
        closing: Vec::new(),
    };
    attack.drain();
    match role {
        Role::Initiator => attack.step(Op::Dialled { line: 0, succeeds: true }),
        Role::Responder => attack.step(Op::Accept(0)),
    }
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        attack.step(input.arbitrary().ok()?);
        attack.check();
    }
    let counters = attack.machine.counters();
    assert_eq!((counters.handshakes, counters.ups), (attack.handshakes, 0), "nobody else came through, and nobody was admitted");
    Some(())
}

impl Attack<'_> {
    fn step(&mut self, op: Op<'_>) {
        match op {
            Op::Accept(from) => {
                let (conn, from) = (self.machine.next_conn(), from % ADDRESSES);
                self.lines.push(Line::new(conn, from, State::Open));
                self.feed(Input::Accepted { conn, remote: victim::address(100 + from) });
            }
            Op::Advance(millis) => {
                self.now = self.now + Duration::from_millis(millis.into());
                for conn in std::mem::take(&mut self.closing) {
                    self.feed(Input::Closed { conn });
                }
                self.feed(Input::Tick);
            }
            Op::Announce { change, line, other, piece, said } => {
                let Some(line) = self.open_line(line) else { return };
                let kind = if self.lines[line].dialled ^ other { CHALLENGE } else { HELLO };
                let (frame, good) = said.frame(kind, self.secret.is_some(), change);
                let Line { state, spoilt, ref announced, .. } = self.lines[line];
                let first = state == State::Open && !spoilt && announced.is_none();
                self.say(line, &framed(&frame), piece);
                let Line { state, spoilt, announced, answer, .. } = &mut self.lines[line];
                if first && *state == State::Open && !answer.is_empty() {
                    *announced = Some(frame);
                } else {
                    assert!(!(first && good && !other), "a good announcement is not answered");
                    *spoilt = true;
                }
            }
            Op::Close(line) => {
                if let Some(line) = self.open_line(line) {
                    self.feed(Input::Closed { conn: self.lines[line].conn });
                    assert_eq!(self.lines[line].state, State::Closed, "a connection that ended is closed");
                }
            }
            Op::Dialled { line, succeeds } => {
                let dialling: Vec<usize> = self.lines_that_are(State::Dialling).collect();
                if dialling.is_empty() {
                    return;
                }
                let line = &mut self.lines[dialling[usize::from(line) % dialling.len()]];
                line.state = if succeeds { State::Open } else { State::Closed };
                let (conn, remote, error) = (line.conn, victim::address(2), ConnectError::Refused);
                self.feed(if succeeds { Input::Connected { conn, remote } } else { Input::DialFailed { conn, error } });
            }
            Op::Prove { by, change, line, other, piece } => {
                if let Some(line) = self.open_line(line) {
                    self.prove(line, by, change, other, piece);
                }
            }
            Op::Raw { bytes, line } => self.spoil(line, |_| bytes.0.to_vec()),
            Op::Reflect(line) => self.spoil(line, |line| line.answer.clone()),
            Op::Reject { code, line } => self.spoil(line, |_| framed(&[5, code])),
            Op::Replay { line, proof } => {
                let recordings = self.recordings;
                self.spoil(line, |line| {
                    let recording = &recordings[usize::from(line.dialled)];
                    framed(if proof { &recording.proof } else { &recording.announcement })
                });
            }
        }
    }

    /// A proof, and what has to come of it.
    fn prove(&mut self, line: usize, by: By, change: Change, other: bool, piece: u8) {
        let Line { dialled, state, spoilt, ref announced, ref sent, .. } = self.lines[line];
        let theirs = frames(sent).first().map(|frame| frame.to_vec()).unwrap_or_default();
        let ours = announced.clone().unwrap_or_default();
        let secret = match by {
            By::OtherSecret => Some(OTHER_SECRET),
            _ if self.knows => self.secret,
            _ => None,
        };
        let keys = if dialled { Keys::new(secret, &theirs, &ours) } else { Keys::new(secret, &ours, &theirs) };
        let (right, wrong) = if dialled { (&keys.auth_ok, &keys.auth) } else { (&keys.auth, &keys.auth_ok) };
        let mut proof = match by {
            By::Nothing => right[..right.len() - 32].to_vec(),
            By::OtherSecret | By::Secret => right.clone(),
            // The bytes of the other side's proof, in the frame that belongs here.
            By::TheOtherSidesProof => [&right[..right.len() - 32], &wrong[wrong.len() - 32..]].concat(),
        };
        if other {
            proof.clone_from(wrong);
        }
        change.apply(&mut proof);
        let due = state == State::Open && !spoilt && announced.is_some();
        let good = due && self.knows && matches!(by, By::Secret) && proof == *right;
        if good && dialled {
            assert_eq!(frames(sent).get(1), Some(&&keys.auth[..]), "the machine's own proof");
        }
        self.say(line, &framed(&proof), piece);
        let Line { answer, state, spoilt, .. } = &mut self.lines[line];
        *spoilt = true;
        if good {
            self.handshakes += 1;
            if !dialled {
                assert_eq!(frames(answer).first(), Some(&&keys.auth_ok[..]), "the machine proves itself back");
            }
            if *state == State::Open {
                *state = State::Authenticated;
            }
        }
        assert_eq!(self.machine.counters().handshakes, self.handshakes, "good proofs are accepted, and no others");
    }

    fn lines_that_are(&self, state: State) -> impl Iterator<Item = usize> {
        (0..self.lines.len()).filter(move |line| self.lines[*line].state == state)
    }

    /// One of the connections on which something can be said.
    fn open_line(&self, number: u8) -> Option<usize> {
        let open: Vec<usize> = self.lines_that_are(State::Open).collect();
        (!open.is_empty()).then(|| open[usize::from(number) % open.len()])
    }

    /// Says something that is no part of a good handshake, unless it is nothing.
    fn spoil(&mut self, number: u8, bytes: impl FnOnce(&Line) -> Vec<u8>) {
        if let Some(line) = self.open_line(number) {
            let bytes = bytes(&self.lines[line]);
            self.lines[line].spoilt |= !bytes.is_empty();
            self.say(line, &bytes, 0);
        }
    }

    /// Sends bytes to the machine, in pieces of this size unless it is 0.
    fn say(&mut self, line: usize, bytes: &[u8], piece: u8) {
        self.lines[line].answer.clear();
        for piece in bytes.chunks(if piece == 0 { bytes.len().max(1) } else { piece.into() }) {
            if self.lines[line].state == State::Open {
                self.lines[line].fed += piece.len();
                let conn = self.lines[line].conn;
                self.feed(victim::received(conn, piece));
                let Line { fed, state, .. } = self.lines[line];
                assert!(state != State::Open || fed <= FED_MAX, "{fed} bytes were taken from a stranger");
            }
        }
    }

    fn feed(&mut self, input: Input) {
        self.machine.handle(self.now, input);
        self.drain();
    }

    /// Does what the machine asks for.
    fn drain(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Close { conn, how } => {
                    let line = self.lines.iter_mut().find(|line| line.conn == conn).expect("a known connection");
                    assert_ne!(line.state, State::Closed, "a second close");
                    line.state = State::Closed;
                    if matches!(how, Close::Graceful { .. }) {
                        self.closing.push(conn);
                    }
                }
                Action::Resolve { .. } => unreachable!("its seeds are addresses"),
                Action::Connect { conn, .. } => {
                    self.lines.push(Line { dialled: true, ..Line::new(conn, 0, State::Dialling) });
                }
                Action::Transmit { conn, data } => {
                    let line = self.lines.iter_mut().find(|line| line.conn == conn).expect("a known connection");
                    assert!(matches!(line.state, State::Authenticated | State::Open), "a send on a closed connection");
                    line.sent.extend_from_slice(&data);
                    line.answer.extend_from_slice(&data);
                    let told = line.sent.len() <= ANSWER_MAX && frames(&line.sent).len() <= 2 + usize::from(self.knows);
                    assert!(told || line.state == State::Authenticated, "a stranger is told too much");
                }
                Action::Event(_) | Action::Message | Action::Process(_) => {}
                Action::Stopped => panic!("nobody stops the machine"),
            }
        }
    }

    /// What strangers hold of the machine.
    fn check(&self) {
        let limits = victim::limits();
        assert!(self.knows || self.machine.counters().handshakes == 0, "a stranger came through");
        assert!(self.closing.len() <= limits.closing_connections, "{} connections linger", self.closing.len());
        let (mut half_open, mut of_address) = (0, [0; ADDRESSES as usize]);
        for line in self.lines.iter().filter(|line| line.state == State::Open && !line.dialled) {
            half_open += 1;
            let count = &mut of_address[usize::from(line.from)];
            *count += 1;
            assert!(*count <= limits.half_open_per_address, "too many of one address");
        }
        assert!(half_open <= limits.half_open, "{half_open} strangers are connected");
    }
}

impl Line {
    fn new(conn: ConnId, from: u8, state: State) -> Self {
        let (announced, sent, answer) = Default::default();
        Self { conn, dialled: false, from, state, fed: 0, spoilt: false, announced, sent, answer }
    }
}
