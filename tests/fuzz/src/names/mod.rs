//! A member that knows the secret and lies of names: it claims what it likes, acknowledges what it was not told or never, says that others
//! have better claims, goes and comes back. What it costs is bounded, its lies end its session and no other one, nothing of it outlives that,
//! and claims of the application come to an end, each once.

mod say;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use noex_proto::{
    Action, ClaimError, ClaimId, ClaimOptions, ClusterStatus, ConnId, ExitReason, Input, Instant, Machine, MailboxItem,
    ProcessAction, ProcessName, ProtocolHash,
};

use crate::driven::Driven;
use crate::member::{HARM as LIAR, HONEST, Line, MEMBERS, Members, id};
use crate::peer::{Announcement, SECRET, body, kind, message};
use crate::processes::PROTOCOL;
use crate::{Taken, victim};
use say::{Claim, NAMES, Number, Word};

#[derive(Arbitrary, Debug)]
enum Op<'a> {
    // The member that lies
    Ack([Option<(Number, Word)>; 3]),
    /// It says something of the last claims that it was told.
    AckLast(Word),
    Gone,
    Join,
    /// Bytes in place of what is due.
    Raw {
        acks: bool,
        bytes: Taken<'a>,
    },
    Read(u16),
    Tell {
        begins: bool,
        ends: bool,
        withdrawn: Option<Number>,
        claims: [Option<Claim>; 3],
    },
    // The honest member
    HonestClaim {
        name: u8,
        settled: Option<u8>,
    },
    HonestWithdraw,
    // The application
    Claim {
        name: u8,
        process: u8,
        when_free: bool,
        min_nodes: u8,
        keep: bool,
        seconds: u8,
    },
    DropClaim(u8),
    Exit(u8),
    Open,
    Release {
        name: u8,
        process: u8,
    },
    /// A claim that has settled returns.
    Return(u8),
    Stop,
    Take(u8),
    Unwatch(u8),
    Watch(u8),
    Tick(u16),
}

struct World {
    now: Instant,
    driven: Driven,
    lines: [Option<Line<()>>; 2],
    joins: [u8; 2],
    /// The last claims that the liar was told.
    heard: Vec<u64>,
    /// What the honest member is to acknowledge.
    due: Vec<u64>,
    /// The number of the honest member's last claim, and its claims by their names.
    honest: (u64, BTreeMap<u8, u64>),
    processes: BTreeSet<u64>,
    /// Claims that are open: the process, the name, and whether it has settled.
    claims: BTreeMap<ClaimId, (u64, ProcessName, bool)>,
    /// Who has which name, as the processes were told.
    held: BTreeMap<ProcessName, u64>,
    watched: Vec<ProcessName>,
}

static MACHINE: LazyLock<Machine> = LazyLock::new(|| {
    let config = victim::config("m", 1, Some(SECRET));
    let limits = victim::limits().names(4).names_of_others(4).watched_names(2);
    victim::running(config.limits(limits), 1, 5)
});

/// What the members and the application do.
pub(crate) fn run(data: &[u8]) -> Option<()> {
    let mut input = Unstructured::new(data);
    let mut world = World {
        now: Instant::START,
        driven: Driven::new(MACHINE.clone()),
        lines: [None, None],
        joins: [0; 2],
        heard: Vec::new(),
        due: Vec::new(),
        honest: (0, BTreeMap::new()),
        processes: BTreeSet::new(),
        claims: BTreeMap::new(),
        held: BTreeMap::new(),
        watched: Vec::new(),
    };
    world.called();
    world.join(LIAR);
    world.join(HONEST);
    for _ in 0..2 {
        world.open();
    }
    while !input.is_empty() {
        let op = input.arbitrary().ok()?;
        world.step(op);
        world.settle();
    }
    world.end();
    Some(())
}

fn name(number: u8) -> ProcessName {
    ProcessName::new(NAMES[usize::from(number) % NAMES.len()]).expect("valid")
}

impl World {
    fn step(&mut self, op: Op<'_>) {
        match op {
            Op::Ack(words) => {
                let words: Vec<(u64, Word)> = words.into_iter().flatten().map(|(number, word)| (number.get(), word)).collect();
                self.record(LIAR, &message(kind::NAMES_ACK, &say::acks(&words)));
            }
            Op::AckLast(word) => {
                let words: Vec<(u64, Word)> = self.heard.iter().map(|number| (*number, word)).collect();
                self.record(LIAR, &message(kind::NAMES_ACK, &say::acks(&words)));
            }
            Op::Gone => {
                if let Some(line) = self.lines[LIAR].take() {
                    self.feed(Input::Closed { conn: line.conn });
                }
            }
            Op::Join => self.join(LIAR),
            Op::Raw { acks, bytes } => {
                let kind = if acks { kind::NAMES_ACK } else { kind::NAMES };
                self.record(LIAR, &message(kind, bytes.0));
            }
            Op::Read(bytes) => {
                if let Some(line) = &mut self.lines[LIAR] {
                    let leaves = line.let_leave(bytes);
                    self.feed(leaves);
                }
            }
            Op::Tell { begins, ends, withdrawn, claims } => {
                let withdrawn: Vec<u64> = withdrawn.into_iter().map(Number::get).collect();
                let claims: Vec<Claim> = claims.into_iter().flatten().collect();
                self.record(LIAR, &message(kind::NAMES, &say::names(begins, ends, &withdrawn, &claims)));
            }
            Op::HonestClaim { name, settled } => {
                let name = name % 3;
                self.honest.0 += 1;
                let number = self.honest.0;
                // Of its claims to one name the later takes the place of the earlier.
                let withdrawn: Vec<u64> = self.honest.1.insert(name, number).into_iter().collect();
                let claim = Claim { number: Number::Any(number), name, process: 1, settled: settled.map(u16::from) };
                self.record(HONEST, &message(kind::NAMES, &say::names(false, false, &withdrawn, &[claim])));
            }
            Op::HonestWithdraw => {
                if let Some((_, number)) = self.honest.1.pop_first() {
                    self.record(HONEST, &message(kind::NAMES, &say::names(false, false, &[number], &[])));
                }
            }
            Op::Stop => self.feed(Input::Stop),
            Op::Tick(millis) => self.tick(millis.into()),
            op => self.act(op),
        }
    }

    /// The application does something.
    fn act(&mut self, op: Op<'_>) {
        match op {
            Op::Claim { name: of, process, when_free, min_nodes, keep, seconds } => {
                let Some(process) = self.process(process) else { return };
                let options = ClaimOptions::default()
                    .min_nodes(usize::from(min_nodes % 4))
                    .keep_on_loss(keep)
                    .timeout(Duration::from_secs(u64::from(seconds) + 1));
                let (name, machine) = (name(of), &mut self.driven.machine);
                let begun = if when_free {
                    machine.claim_when_free(self.now, process, &name, &options)
                } else {
                    machine.claim(self.now, process, &name, &options)
                };
                match begun {
                    Ok(claim) => drop(self.claims.insert(claim, (process, name, false))),
                    Err(
                        ClaimError::NotStarted(_) | ClaimError::Stopped | ClaimError::TooMany { .. } | ClaimError::Taken { .. },
                    ) => {}
                    Err(error) => panic!("a claim cannot begin: {error}"),
                }
            }
            Op::DropClaim(number) => {
                if let Some(claim) = self.claims.keys().nth(number.into()).copied() {
                    self.claims.remove(&claim);
                    self.driven.machine.drop_claim(self.now, claim);
                }
            }
            Op::Exit(process) => {
                let Some(process) = self.process(process) else { return };
                self.exit(process, ExitReason::Normal);
            }
            Op::Open => self.open(),
            Op::Release { name: of, process } => {
                let Some(process) = self.process(process) else { return };
                let name = name(of);
                let released = self.driven.machine.release(self.now, process, &name);
                if self.held.get(&name) == Some(&process) {
                    self.held.remove(&name);
                } else if released {
                    let claimed = self.claims.values().any(|(by, of, _)| *by == process && *of == name);
                    assert!(claimed, "a name is released that its process neither has nor claims");
                }
            }
            Op::Return(number) => {
                let settled = self.claims.iter().filter(|(_, (.., settled))| *settled);
                let Some((claim, (process, name, _))) =
                    settled.clone().nth(number.into()).map(|(claim, open)| (*claim, open.clone()))
                else {
                    return;
                };
                if self.driven.machine.claim_returned(self.now, claim) {
                    self.claims.remove(&claim);
                    self.held.insert(name, process);
                } else if let Some((.., settled)) = self.claims.get_mut(&claim) {
                    *settled = false;
                }
            }
            Op::Take(process) => {
                if let Some(process) = self.process(process) {
                    self.take(process);
                }
            }
            Op::Unwatch(number) => {
                let count = self.watched.len().max(1);
                if let Some(name) = self.watched.get(usize::from(number) % count).cloned() {
                    self.watched.remove(usize::from(number) % count);
                    self.driven.machine.unwatch_name(self.now, &name);
                }
            }
            Op::Watch(of) => {
                let name = name(of);
                if self.driven.machine.watch_name(self.now, &name).is_ok() {
                    self.watched.push(name);
                }
            }
            op => unreachable!("{op:?}"),
        }
        self.called();
    }

    fn process(&self, number: u8) -> Option<u64> {
        let count = self.processes.len().max(1);
        self.processes.iter().nth(usize::from(number) % count).copied()
    }

    fn open(&mut self) {
        if let Ok(process) = self.driven.machine.open(self.now, ProtocolHash(PROTOCOL.to_be_bytes())) {
            self.processes.insert(process.number());
        }
        self.called();
    }

    fn exit(&mut self, process: u64, reason: ExitReason) {
        self.processes.remove(&process);
        self.held.retain(|_, by| *by != process);
        self.driven.machine.exit(self.now, process, reason, 0);
        self.called();
    }

    fn take(&mut self, process: u64) {
        let items = self.driven.machine.take(self.now, process, 8);
        self.called();
        for item in items {
            match item {
                MailboxItem::NameLost { name, .. } => {
                    // One that its process had claimed anew meanwhile is not told of.
                    assert_eq!(self.held.remove(&name), Some(process), "a process loses a name that it does not have");
                }
                MailboxItem::Stop(reason) => return self.exit(process, reason),
                item => panic!("{item:?}, which nobody sent"),
            }
        }
    }

    // The machine

    fn called(&mut self) {
        let actions = self.driven.called();
        self.perform(actions);
    }

    fn runs(&self) -> bool {
        self.driven.status() == ClusterStatus::Running
    }

    fn perform(&mut self, actions: Vec<Action>) {
        let mut inputs = Vec::new();
        for action in actions {
            match self.perform_on_network(action) {
                Ok(input) => inputs.extend(input),
                Err(Action::Process(action)) => self.notice(action),
                Err(Action::Event(_) | Action::Message | Action::Stopped) => {}
                Err(action) => unreachable!("{action:?} is about the network"),
            }
        }
        for input in inputs {
            self.feed(input);
        }
    }

    fn notice(&mut self, action: ProcessAction) {
        match action {
            ProcessAction::ClaimEnded { claim, outcome: Ok(()) } => {
                self.claims.get_mut(&claim).expect("a claim that is open").2 = true;
            }
            ProcessAction::ClaimEnded { claim, outcome: Err(_) } => {
                assert!(self.claims.remove(&claim).is_some(), "a claim ends twice");
            }
            ProcessAction::Ended(process) => {
                self.processes.remove(&process);
                self.held.retain(|_, by| *by != process);
            }
            ProcessAction::NameChanged(name) => assert!(self.watched.contains(&name), "nobody watches {name}"),
            ProcessAction::Mailbox(_) | ProcessAction::NamesSynced | ProcessAction::Stopping(_) => {}
            action => panic!("{action:?}, which nobody asked for"),
        }
    }

    // Members

    fn join(&mut self, member: usize) {
        if self.lines[member].is_some() || !self.runs() {
            return;
        }
        self.joins[member] = self.joins[member].wrapping_add(1);
        let mut announcement = Announcement::new(MEMBERS[member].0, self.joins[member], self.joins[member]);
        announcement.caps = 1;
        self.greet(member, &announcement);
        if member == HONEST {
            self.record(HONEST, &message(kind::NAMES, &say::names(true, true, &[], &[])));
        }
    }

    // What holds

    /// The honest member acknowledges what it was told, and then all holds that has to.
    fn settle(&mut self) {
        while !self.due.is_empty() {
            let acks: Vec<(u64, Word)> = self.due.drain(..).map(|number| (number, Word::Clean)).collect();
            self.record(HONEST, &message(kind::NAMES_ACK, &say::acks(&acks)));
        }
        assert!(!self.runs() || self.lines[HONEST].is_some(), "an honest session ends");
        let usage = self.driven.machine.usage();
        assert!(usage.names <= 4 && usage.names_of_others <= 4 && usage.watched_names <= 2, "{usage:?}");
        for (name, holder) in self.driven.machine.names() {
            let node = holder.process.node();
            let member = [LIAR, HONEST].into_iter().find(|member| id(*member) == *node);
            let is_there = match member {
                Some(member) => self.lines[member].is_some(),
                None => self.processes.contains(&holder.process.number()),
            };
            assert!(is_there, "{name} is {}, which is no more", holder.process);
        }
    }

    /// The members show that they live, and time passes, in steps that the machine looks at.
    fn tick(&mut self, millis: u64) {
        const STEP: u64 = 500;
        let steps = (millis / STEP).max(1);
        for _ in 0..steps {
            self.now = self.now + Duration::from_millis(millis / steps);
            for member in [LIAR, HONEST] {
                self.record(member, &message(kind::HEARTBEAT, &body::array(&[1, 2, 3], None)));
            }
            self.feed(Input::Tick);
            self.settle();
        }
    }

    /// The liar goes, and all of it. What the application claims comes to an end, by its deadline or by the stop; and of the whole nothing is left.
    fn end(&mut self) {
        if let Some(line) = self.lines[LIAR].take() {
            self.feed(Input::Closed { conn: line.conn });
        }
        self.settle();
        self.feed(Input::Stop);
        while let Some(due) = self.driven.machine.poll_timeout() {
            assert!(due < self.now + Duration::from_secs(60), "a stop is bounded");
            self.now = self.now.max(due);
            self.feed(Input::Tick);
        }
        assert_eq!(self.driven.machine.status(), ClusterStatus::Stopped, "a stop is bounded");
        assert!(self.claims.is_empty() && self.processes.is_empty(), "claims or processes are left");
    }
}

impl Members for World {
    type Talk = ();

    fn driven(&mut self) -> &mut Driven {
        &mut self.driven
    }

    fn lines(&mut self) -> &mut [Option<Line<()>>; 2] {
        &mut self.lines
    }

    fn feed(&mut self, input: Input) {
        let actions = self.driven.feed(self.now, input);
        self.perform(actions);
    }

    fn transmitted(&mut self, conn: ConnId, data: &[u8]) -> Option<usize> {
        let member = self.lines.iter().position(|line| line.as_ref().is_some_and(|line| line.conn == conn))?;
        let Self { lines, due, heard, .. } = self;
        let line = lines[member].as_mut()?;
        line.hear(data, |(), kind, body| {
            if kind != kind::NAMES {
                return;
            }
            let told = say::read(body);
            let numbers = told.claims.iter().filter(|(.., settled)| !settled).map(|(number, ..)| *number);
            if member == HONEST {
                due.retain(|number| !told.withdrawn.contains(number));
                due.extend(numbers);
            } else {
                *heard = numbers.collect();
            }
        });
        if member == LIAR && line.has_session() {
            line.waiting += data.len();
            return None;
        }
        Some(data.len())
    }
}
