//! A member that knows the secret and does harm: it says to the processes of a machine whatever it likes, floods them, answers what it
//! was not asked, takes nothing, and comes back. Its lies end its session, what it costs is bounded, everything of it ends with its session,
//! and an honest member beside it is served at any time.

mod application;
mod say;
mod talk;
mod world;

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use noex_proto::{ClusterStatus, ExitReason, Input, Instant, Machine};

use crate::Taken;
use crate::driven::Driven;
use crate::member::{HARM, HONEST, Members};
use crate::peer::{SECRET, body, kind, message};
use crate::signal::Signal;
use crate::victim;
use application::{Application, Script};
use say::{NAMES, Say, Target};
use world::World;

/// Whom the application means.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Whom {
    Harm,
    Honest,
    Own(Target),
}

#[derive(Arbitrary, Debug)]
enum Op<'a> {
    // The member that does harm
    /// The same thing again and again, in one record.
    Burst {
        count: u8,
        say: Say,
    },
    /// It is gone, and may have said so.
    Gone {
        goodbye: bool,
    },
    /// It comes back.
    Join,
    /// A signal in pieces, and something between two of them.
    Large {
        between: bool,
        say: Say,
        size: u16,
    },
    /// A piece of anything.
    Piece {
        kind: u8,
        size: u8,
    },
    /// Some of what the machine said leaves it.
    Read(u16),
    Raw(Taken<'a>),
    Record([Option<Say>; 3]),
    // The application
    Call {
        left: u16,
        size: u8,
        whom: Whom,
    },
    Cancel(u8),
    Cast {
        size: u8,
        whom: Whom,
    },
    Demonitor(u8),
    Exit(u8),
    Monitor {
        watcher: Option<u8>,
        whom: Whom,
    },
    Open(Script),
    Register {
        name: u8,
        process: u8,
    },
    RequestStop(Whom),
    /// A process does something with a call that it has.
    Settle {
        deliver: bool,
        process: u8,
        request: u8,
        size: u16,
    },
    Stop,
    Take {
        most: u8,
        process: u8,
    },
    // The rest of the world
    Serve,
    Tick(u16),
}

static MACHINE: LazyLock<Machine> = LazyLock::new(|| victim::running(victim::config("m", 1, Some(SECRET)), 1, 5));

/// What the members and the application do.
pub(crate) fn run(data: &[u8]) -> Option<()> {
    let mut input = Unstructured::new(data);
    let start: u8 = input.arbitrary().ok()?;
    let mut world = World {
        now: Instant::START,
        driven: Driven::new(MACHINE.clone()),
        application: Application::default(),
        lines: [None, None],
        joins: [0; 2],
        capable: !start.is_multiple_of(16) || start == 0,
        garbled: false,
        fault: None,
        replies: Vec::new(),
        answers: BTreeMap::new(),
        unique: 0,
    };
    let actions = world.driven.called();
    world.perform(actions);
    world.join(HARM);
    world.join(HONEST);
    for script in [Script::Deaf, Script::Keeps] {
        world.open(script);
    }
    world.settle();
    while !input.is_empty() {
        let op = input.arbitrary().ok()?;
        world.step(op);
        world.settle();
    }
    world.end();
    Some(())
}

impl World {
    fn step(&mut self, op: Op<'_>) {
        match op {
            Op::Burst { count, say } => {
                let Some(line) = &self.lines[HARM] else { return };
                let signals: Vec<Vec<u8>> = (0..count.min(120))
                    .map(|plus| say.signal(&line.talk, &self.application, &mut self.unique, plus).encode())
                    .collect();
                let fits = 65_000 / signals.iter().map(Vec::len).max().unwrap_or(1).max(1);
                if let Some(signals) = signals.get(..signals.len().min(fits)).filter(|signals| !signals.is_empty()) {
                    self.say(signals);
                }
            }
            Op::Gone { goodbye } => {
                if goodbye {
                    self.record(HARM, &message(kind::GOODBYE, &body::map(&[])));
                } else if let Some(line) = self.lines[HARM].take() {
                    self.feed(Input::Closed { conn: line.conn });
                }
            }
            Op::Join => self.join(HARM),
            Op::Large { between, say, size } => self.large(between, say, size),
            Op::Piece { kind, size } => {
                self.garbled = true;
                let kind = [kind::SIGNAL, kind::SIGNAL_PIECE, kind::PAYLOAD, kind::PIECE][usize::from(kind % 4)];
                self.record(HARM, &message(kind, &vec![0x82; usize::from(size) * 200]));
            }
            Op::Raw(bytes) => self.say(&[bytes.0.to_vec()]),
            Op::Read(bytes) => {
                if let Some(line) = &mut self.lines[HARM] {
                    let leaves = line.let_leave(bytes);
                    self.feed(leaves);
                }
            }
            Op::Record(says) => {
                let Some(line) = &self.lines[HARM] else { return };
                let says = says.iter().flatten().zip(0..);
                let signals: Vec<Vec<u8>> =
                    says.map(|(say, plus)| say.signal(&line.talk, &self.application, &mut self.unique, plus).encode()).collect();
                if !signals.is_empty() {
                    self.say(&signals);
                }
            }
            Op::Serve => {
                if self.runs() {
                    self.serve();
                }
            }
            Op::Stop => self.feed(Input::Stop),
            Op::Tick(millis) => self.tick(millis.into()),
            op => self.act(op),
        }
    }

    /// A signal in pieces of which the first has all but the end of its body.
    fn large(&mut self, between: bool, say: Say, size: u16) {
        let Some(line) = &self.lines[HARM] else { return };
        let mut signal = say.signal(&line.talk, &self.application, &mut self.unique, 0);
        if let Signal::Answer { body, .. } | Signal::Call { body, .. } | Signal::Cast { body, .. } = &mut signal {
            body.resize(body.len() + usize::from(size), 9);
        }
        let signal = signal.encode();
        let Some(verdicts) = self.judge(std::slice::from_ref(&signal)) else { return };
        self.fault = None;
        let (first, last) = signal.split_at(signal.len() - 1);
        for piece in first.chunks(60_000) {
            self.record(HARM, &message(kind::SIGNAL_PIECE, piece));
            if between {
                self.record(HARM, &message(kind::HEARTBEAT, &body::array(&[1, 2, 3], None)));
            }
        }
        self.record(HARM, &message(kind::SIGNAL, last));
        self.check(&verdicts);
    }

    /// The application does something.
    fn act(&mut self, op: Op<'_>) {
        match op {
            Op::Call { left, size, whom } => {
                let (to, body) = (self.destination(whom), say::body(&mut self.unique, size));
                if let Some(process) = self.own(&to) {
                    self.application.said(process, body.clone());
                }
                let deadline = self.now + Duration::from_millis(left.into());
                let called = self.driven.machine.call(self.now, &to, world::protocol(), Bytes::from(body), deadline);
                if let Ok(call) = called {
                    self.application.called(call, to);
                }
                self.called();
            }
            Op::Cancel(number) => {
                let Some(call) = self.application.call(number) else { return };
                self.driven.machine.cancel(self.now, call);
                self.application.cancelled(call);
                self.called();
            }
            Op::Cast { size, whom } => {
                let (to, body) = (self.destination(whom), say::body(&mut self.unique, size));
                if let Some(process) = self.own(&to) {
                    self.application.said(process, body.clone());
                }
                let _refused = self.driven.machine.cast(self.now, &to, world::protocol(), Bytes::from(body));
                self.called();
            }
            Op::Demonitor(number) => {
                let Some((monitor, watcher)) = self.application.monitor(number) else { return };
                self.driven.machine.demonitor(self.now, watcher, monitor);
                self.application.demonitored(monitor);
                self.called();
            }
            Op::Exit(process) => {
                if let Some(process) = self.process(process) {
                    self.exit(process, ExitReason::error("asked to"), 0);
                }
            }
            Op::Monitor { watcher, whom } => {
                let (to, watcher) = (self.destination(whom), watcher.and_then(|watcher| self.process(watcher)));
                if let Ok(monitor) = self.driven.machine.monitor(self.now, watcher, &to) {
                    self.application.monitored(monitor, watcher, to);
                }
                self.called();
            }
            Op::Open(script) => {
                self.open(script);
            }
            Op::Register { name, process } => {
                if let Some(process) = self.process(process) {
                    self.register(process, NAMES[1 + usize::from(name % 2)]);
                }
            }
            Op::RequestStop(whom) => {
                let to = self.destination(whom);
                let _refused = self.driven.machine.request_stop(self.now, &to, ExitReason::Shutdown);
                self.called();
            }
            Op::Settle { deliver, process, request, size } => {
                let Some(process) = self.process(process) else { return };
                let Some(request) = self.application.request(process, request) else { return };
                self.answer(process, request, vec![5; usize::from(size) * 2].into(), deliver);
            }
            Op::Take { most, process } => {
                if let Some(process) = self.process(process) {
                    self.take(process, most.into());
                }
            }
            op => unreachable!("{op:?}"),
        }
    }

    /// The member that does harm goes, and all of it; the honest one is served; and of the whole nothing is left.
    fn end(&mut self) {
        if let Some(line) = self.lines[HARM].take() {
            self.feed(Input::Closed { conn: line.conn });
        }
        self.settle();
        if self.runs() {
            self.serve();
        }
        self.feed(Input::Stop);
        self.settle();
        while let Some(due) = self.driven.machine.poll_timeout() {
            assert!(due < self.now + Duration::from_secs(60), "a stop is bounded");
            self.now = self.now.max(due);
            self.feed(Input::Tick);
            self.settle();
        }
        assert_eq!(self.driven.machine.status(), ClusterStatus::Stopped, "a stop is bounded");
        assert_eq!(self.driven.machine.poll_timeout(), None, "nothing is left to do");
        self.application.assert_nothing_is_open();
    }
}
