//! Arbitrary operations on a machine: those of its driver, right and wrong ones, those of its application, and those of peers
//! that sign their records well and say anything in any order.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use noex_proto::testing::Phase;
use noex_proto::{Action, ConnId, ConnectError, Input, Instant, LocalFault, Machine, NodeId, Secret};

use crate::Taken;
use crate::driven::{self, Driven};
use crate::peer::{Announcement, Keys, OTHER_SECRET, SECRET, Session, body, framed, frames, kind, message};
use crate::processes::{Do, Known, Saying};
use crate::victim::{self, GREATER, ID, LESSER};

/// Whoever may turn up: lesser and greater than the machine, the machine itself, on loopback, and more than it may know.
const IDS: [&str; 10] = [
    LESSER,
    GREATER,
    ID,
    "b@10.0.0.4:4369",
    "y@[2001:db8::1]:1",
    "n@127.0.0.1:9",
    "c@10.0.0.5:1",
    "d@h.example:2",
    "x@10.0.0.6:3",
    "w@10.0.0.7:4",
];

/// One who speaks: an identity of the table, and an instance of it.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Who {
    capable: bool,
    id: u8,
    instance: u8,
    interval: u8,
    secret: u8,
}

impl Who {
    fn id(self) -> &'static str {
        IDS[usize::from(self.id) % IDS.len()]
    }

    fn announcement(self) -> Announcement<'static> {
        let mut announcement = Announcement::new(self.id(), self.instance % 3, self.id);
        announcement.caps = self.capable.into();
        announcement.interval_ms = [100, 1000, 600_000][usize::from(self.interval % 3)];
        announcement
    }

    /// Mostly the right one.
    fn secret(self) -> &'static str {
        if self.secret % 8 == 7 { OTHER_SECRET } else { SECRET }
    }
}

/// A message of a peer.
#[derive(Arbitrary, Clone, Debug)]
enum Say {
    Any { body: [u8; 4], kind: u8, len: u8 },
    Goodbye,
    Heartbeat { count: u8, digest: u8, uptime: u64 },
    Intro { count: u8, digest: u8, members: u8 },
    Members { first: u8, instance: u8, last: bool, len: u8 },
    MembersRequest(u8),
    Offer { holds: bool, n: u8 },
    Payload { more: bool, size: u8 },
    Ping(u64),
    Pong { echo: u64, leaving: bool },
    Refused(u8),
    Signal { more: bool, saying: Saying },
}

impl Say {
    fn encode(&self) -> Vec<u8> {
        match *self {
            Self::Any { body, kind, len } => message(kind, &body[..usize::from(len % 5)]),
            Self::Goodbye => message(kind::GOODBYE, &body::map(&[])),
            Self::Heartbeat { count, digest, uptime } => {
                message(kind::HEARTBEAT, &body::array(&[count.into(), uptime, digest.into()], None))
            }
            Self::Intro { count, digest, members } => {
                let entries = [
                    (b'c', count.into()),
                    (b'd', digest.into()),
                    (b'm', members.into()),
                    (b'p', 3),
                    (b'u', u64::from(digest) << 56),
                ];
                message(kind::INTRO, &body::map(&entries))
            }
            Self::Members { first, instance, last, len } => {
                let members = (0..len % 12).map(|number| {
                    let id = IDS[usize::from(first.wrapping_add(number)) % IDS.len()];
                    (id.to_owned(), instance % 3)
                });
                message(kind::MEMBERS, &body::members(first.into(), last, &members.collect::<Vec<_>>()))
            }
            Self::MembersRequest(digest) => message(kind::MEMBERS_REQUEST, &body::map(&[(b'd', digest.into())])),
            Self::Offer { holds, n } => message(kind::OFFER, &body::array(&[n.into()], Some(holds))),
            Self::Payload { more, size } => {
                message(if more { kind::PIECE } else { kind::PAYLOAD }, &vec![7; usize::from(size) * 200])
            }
            Self::Ping(echo) => message(kind::PING, &body::array(&[echo], None)),
            Self::Pong { echo, leaving } => message(kind::PONG, &body::array(&[echo], Some(leaving))),
            Self::Signal { more, saying } => {
                message(if more { kind::SIGNAL_PIECE } else { kind::SIGNAL }, &saying.signal().encode())
            }
            Self::Refused(code) => message(kind::REFUSED, &body::map(&[(b'c', code.into())])),
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Op<'a> {
    Accept(u8),
    /// Time passes, and nobody looks.
    Advance(u16),
    /// Time runs backwards.
    Back(u16),
    Closed(u8),
    /// The end of a dial.
    Dialled {
        error: u8,
        line: u8,
        succeeds: bool,
    },
    Halt,
    /// Everything up to a session, as far as the machine goes along; with the admission or without.
    Join {
        admit: bool,
        line: u8,
        who: Who,
    },
    Listen(bool),
    Process(Do),
    ProcessCount(u64),
    /// A record with up to three messages.
    Record {
        line: u8,
        say: [Option<Say>; 3],
    },
    Raw {
        bytes: Taken<'a>,
        line: u8,
    },
    Read(u8),
    ReadMessages(u8),
    Report,
    Secrets(bool),
    Send {
        size: u16,
        to: u8,
    },
    /// All or some of the bytes on their way have left.
    Sent {
        bytes: u16,
        line: u8,
    },
    /// An input for a connection that may be another one, or none.
    Stale {
        conn: u8,
        input: u8,
    },
    Start(u8),
    Stop,
    Subscribe,
    /// Time passes, and the driver looks.
    Tick(u16),
}

/// What the peer at the other end of a connection knows of it.
#[derive(Debug, Default)]
struct Line {
    dialled: bool,
    /// What the machine said that was not read yet.
    unread: Vec<u8>,
    session: Option<Session>,
}

struct World {
    driven: Driven,
    now: Instant,
    lines: BTreeMap<ConnId, Line>,
    messages: noex_proto::SubscriptionId,
    /// What the application has heard of processes.
    known: Known,
}

static MACHINES: LazyLock<[Machine; 3]> = LazyLock::new(|| {
    let seeded = victim::config("m", 1, Some(SECRET)).seeds([LESSER, "y@[2001:db8::1]:1"]);
    [victim::running(victim::config("m", 1, Some(SECRET)), 1, 5), victim::running(seeded, 1, 5), Machine::new()]
});

/// How the machine begins, and what is done with it.
pub(crate) fn run(data: &[u8]) -> Option<()> {
    let mut input = Unstructured::new(data);
    let start: u8 = input.arbitrary().ok()?;
    let mut machine = MACHINES[usize::from(start) % MACHINES.len()].clone();
    let messages = machine.subscribe_messages();
    let driven = Driven::new(machine);
    let mut world = World { driven, now: Instant::START, lines: BTreeMap::new(), messages, known: Known::default() };
    let actions = world.driven.called();
    world.perform(actions);
    while !input.is_empty() {
        world.step(input.arbitrary().ok()?);
    }
    world.end();
    Some(())
}

fn pick<T>(mut from: impl Iterator<Item = T> + Clone, number: u8) -> Option<T> {
    let count = from.clone().count();
    if count == 0 { None } else { from.nth(usize::from(number) % count) }
}

impl World {
    fn feed(&mut self, input: Input) {
        let actions = self.driven.feed(self.now, input);
        self.perform(actions);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        let mut lookups = Vec::new();
        for action in actions {
            match action {
                Action::Resolve { lookup, .. } => lookups.push(lookup),
                Action::Connect { conn, .. } => {
                    self.lines.insert(conn, Line { dialled: true, ..Line::default() });
                }
                Action::Transmit { conn, data } => {
                    if let Some(line) = self.lines.get_mut(&conn) {
                        line.unread.extend_from_slice(&data);
                    }
                }
                Action::Close { conn, .. } => {
                    self.lines.remove(&conn);
                }
                Action::Event(_) | Action::Message | Action::Process(_) | Action::Stopped => {}
            }
        }
        for lookup in lookups {
            self.feed(driven::resolved(lookup));
        }
    }

    fn open(&self, number: u8) -> Option<ConnId> {
        let open: Vec<ConnId> = self.driven.conns(Phase::Open).collect();
        pick(open.into_iter(), number)
    }

    /// What the machine said last on this connection, frame by frame; records are verified.
    fn hear(&mut self, conn: ConnId) -> Vec<Vec<u8>> {
        let Some(line) = self.lines.get_mut(&conn) else { return Vec::new() };
        let heard = std::mem::take(&mut line.unread);
        let frames = frames(&heard);
        if let Some(session) = &mut line.session {
            frames.iter().for_each(|record| drop(session.open(record)));
        }
        frames.into_iter().map(<[u8]>::to_vec).collect()
    }

    fn say(&mut self, conn: ConnId, bytes: &[u8]) {
        self.feed(victim::received(conn, bytes));
    }

    fn record(&mut self, conn: ConnId, messages: &[u8]) {
        self.hear(conn);
        let Some(session) = self.lines.get_mut(&conn).and_then(|line| line.session.as_mut()) else { return };
        let record = session.seal(messages);
        self.say(conn, &record);
    }

    /// A peer makes a session of a connection.
    fn join(&mut self, conn: ConnId, who: Who, admit: bool) {
        let Some(line) = self.lines.get(&conn) else { return };
        if line.session.is_none() {
            let heard = self.hear(conn);
            let dialled = self.lines.get(&conn).is_some_and(|line| line.dialled);
            let keys = if dialled {
                let [hello] = &heard[..] else { return };
                let challenge = who.announcement().challenge();
                self.say(conn, &framed(&challenge));
                Keys::new(Some(who.secret()), hello, &challenge)
            } else {
                let hello = who.announcement().hello("");
                self.say(conn, &framed(&hello));
                let heard = self.hear(conn);
                let [challenge] = &heard[..] else { return };
                Keys::new(Some(who.secret()), &hello, challenge)
            };
            self.hear(conn);
            self.say(conn, &framed(if dialled { &keys.auth_ok } else { &keys.auth }));
            let Some(line) = self.lines.get_mut(&conn) else { return };
            line.session = Some(keys.session(!dialled));
            if !dialled {
                // AUTH_OK, before any record.
                let len = 4 + keys.auth_ok.len();
                assert_eq!(line.unread.get(..len), Some(&framed(&keys.auth_ok)[..]), "the machine proves itself back");
                line.unread.drain(..len);
            }
        }
        if admit {
            let lesser = who.id() < ID;
            if lesser {
                self.record(conn, &Say::Offer { holds: false, n: 0 }.encode());
            }
            self.record(conn, &Say::Intro { count: who.instance, digest: 0, members: who.interval }.encode());
        }
    }

    fn step(&mut self, op: Op<'_>) {
        match op {
            Op::Accept(from) => {
                let conn = self.driven.machine.next_conn();
                self.lines.insert(conn, Line::default());
                self.feed(Input::Accepted { conn, remote: victim::address(100 + from % 4) });
            }
            Op::Advance(millis) => self.now = self.now + Duration::from_millis(millis.into()),
            Op::Back(millis) => {
                let earlier = self.now.since_start().saturating_sub(Duration::from_millis(millis.into()));
                let actions = self.driven.feed(Instant::new(earlier), Input::Tick);
                self.perform(actions);
            }
            Op::Closed(number) => {
                let conns = self.driven.conns(Phase::Open).chain(self.driven.conns(Phase::Closing));
                let conns: Vec<ConnId> = conns.collect();
                if let Some(conn) = pick(conns.into_iter(), number) {
                    self.feed(Input::Closed { conn });
                    assert!(self.driven.is(conn, Phase::Closed), "{conn} ended and is not closed");
                }
            }
            Op::Dialled { error, line, succeeds } => {
                let dialling: Vec<ConnId> = self.driven.conns(Phase::Dialling).collect();
                let Some(conn) = pick(dialling.into_iter(), line) else { return };
                if succeeds {
                    return self.feed(Input::Connected { conn, remote: victim::address(error % 8) });
                }
                let errors = [
                    ConnectError::Local("no descriptors".into()),
                    ConnectError::Refused,
                    ConnectError::TimedOut,
                    ConnectError::Unreachable,
                ];
                self.feed(Input::DialFailed { conn, error: errors[usize::from(error) % errors.len()].clone() });
            }
            Op::Halt => self.feed(Input::Halt),
            Op::Join { admit, line, who } => {
                if let Some(conn) = self.open(line) {
                    self.join(conn, who, admit);
                }
            }
            Op::Listen(succeeds) => self.feed(if succeeds { victim::listening(1, 6) } else { Input::Halt }),
            Op::Process(what) => {
                let node = |number: u8| IDS[usize::from(number) % IDS.len()].parse().expect("valid");
                self.known.act(&mut self.driven.machine, self.now, what, node);
                let actions = self.driven.called();
                self.perform(actions);
            }
            Op::ProcessCount(count) => self.feed(Input::SetProcessCount(count)),
            Op::Record { line, say } => {
                let messages: Vec<u8> = say.iter().flatten().flat_map(Say::encode).collect();
                if !messages.is_empty()
                    && let Some(conn) = self.open(line)
                {
                    self.record(conn, &messages);
                }
            }
            Op::Raw { bytes, line } => {
                if let Some(conn) = self.open(line) {
                    // Whatever it begins, the peer has lost its place.
                    self.hear(conn);
                    self.lines.remove(&conn);
                    self.say(conn, bytes.0);
                }
            }
            Op::Read(most) => self.driven.read(most.into()),
            Op::ReadMessages(most) => {
                let limit = victim::limits().message_bytes_per_subscriber;
                let messages = self.messages;
                let got = (0..most).map_while(|_| self.driven.machine.poll_message(messages));
                let bytes: usize = got.flatten().map(|message| message.payload.len()).sum();
                assert!(bytes <= limit, "{bytes} bytes were kept for a reader");
            }
            Op::Report => self.feed(Input::Report(LocalFault::LoopbackAdvertised)),
            Op::Secrets(new) => {
                let [primary, other] = if new { [OTHER_SECRET, SECRET] } else { [SECRET, OTHER_SECRET] };
                self.feed(Input::SetSecrets { accepted: vec![Secret::from(other)], primary: Secret::from(primary) });
            }
            Op::Send { size, to } => {
                let to: NodeId = IDS[usize::from(to) % IDS.len()].parse().expect("valid");
                let _refused = self.driven.machine.send(self.now, &to, Bytes::from(vec![3; usize::from(size)]));
                let actions = self.driven.called();
                self.perform(actions);
            }
            Op::Sent { bytes, line } => {
                if let Some(conn) = self.open(line) {
                    self.feed(Input::Transmitted { bytes: if bytes == 0 { usize::MAX } else { bytes.into() }, conn });
                }
            }
            Op::Stale { conn, input } => {
                let conn = ConnId(conn.into());
                self.lines.remove(&conn);
                let remote = victim::address(9);
                self.feed(match input % 6 {
                    0 if conn != self.driven.machine.next_conn() => Input::Accepted { conn, remote },
                    1 => Input::Connected { conn, remote },
                    2 => Input::DialFailed { conn, error: ConnectError::Refused },
                    3 => victim::received(conn, &[0, 0, 0]),
                    4 => Input::Transmitted { bytes: 1, conn },
                    _ => Input::Closed { conn },
                });
            }
            Op::Start(which) => {
                let mut config = victim::config("m", 1, Some(SECRET));
                if which & 1 != 0 {
                    config = config.seeds([GREATER]);
                }
                let _running = self.driven.machine.start(self.now, config);
                let actions = self.driven.called();
                self.perform(actions);
            }
            Op::Stop => self.feed(Input::Stop),
            Op::Subscribe => self.driven.subscribe(),
            Op::Tick(millis) => {
                self.now = self.now + Duration::from_millis(millis.into());
                self.feed(Input::Tick);
            }
        }
    }

    /// A reader that reads on is up to date, and a stop ends in time, whatever came before.
    fn end(&mut self) {
        self.driven.read(usize::MAX);
        self.feed(Input::Stop);
        self.now = self.now.max(self.driven.now()) + Duration::from_secs(60);
        self.feed(Input::Tick);
        assert_eq!(self.driven.machine.status(), noex_proto::ClusterStatus::Stopped, "a stop is bounded");
        assert_eq!(self.driven.machine.poll_timeout(), None, "nothing is left to do");
    }
}
