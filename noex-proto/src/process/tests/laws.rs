//! What holds of any two nodes, whatever they do and in whatever order it arrives.

use std::collections::{BTreeMap, BTreeSet};

use std::vec;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Open(usize),
    Call(usize, usize, u64),
    Cancel(usize),
    Cast(usize, usize),
    Take(usize, usize),
    Answer(usize, bool),
    Fail(usize, bool),
    Exit(usize, usize),
    Stop(usize, usize),
    Monitor(usize, bool, usize),
    Demonitor(usize),
    /// Some of what a node has to say leaves it.
    Release(usize, usize),
    /// Some of what is on its way to a node arrives.
    Deliver(usize, usize),
    Pass(u64),
    Disconnect(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let side = || 0..2_usize;
    let at = || 0..1000_usize;
    let step = prop_oneof![
        2 => side().prop_map(Step::Open),
        8 => (side(), at(), prop_oneof![1..50_u64, Just(5000)]).prop_map(|(n, to, left)| Step::Call(n, to, left)),
        3 => at().prop_map(Step::Cancel),
        5 => (side(), at()).prop_map(|(n, to)| Step::Cast(n, to)),
        8 => (at(), 1..4_usize).prop_map(|(process, most)| Step::Take(process, most)),
        8 => (at(), any::<bool>()).prop_map(|(request, wait)| Step::Answer(request, wait)),
        2 => (at(), any::<bool>()).prop_map(|(request, dropped)| Step::Fail(request, dropped)),
        1 => (at(), 0..4_usize).prop_map(|(process, passed)| Step::Exit(process, passed)),
        1 => (side(), at()).prop_map(|(n, to)| Step::Stop(n, to)),
        4 => (side(), any::<bool>(), at()).prop_map(|(n, own, to)| Step::Monitor(n, own, to)),
        2 => at().prop_map(Step::Demonitor),
        10 => (side(), 1..4_usize).prop_map(|(n, most)| Step::Release(n, most)),
        10 => (side(), 1..4_usize).prop_map(|(n, most)| Step::Deliver(n, most)),
        3 => (0..40_u64).prop_map(Step::Pass),
        1 => any::<bool>().prop_map(Step::Disconnect),
    ];
    prop::collection::vec(step, 0..160)
}

type Outcome = Result<Bytes, CallError>;

/// What the application knows, and what it should be told.
#[derive(Default)]
struct Story {
    processes: Vec<ProcessId>,
    /// What each call asked, which no two share; and its outcome.
    calls: BTreeMap<(usize, CallId), (u64, Option<Outcome>)>,
    cancelled: BTreeSet<(usize, CallId)>,
    /// The questions that a process was handed and looked at.
    handled: BTreeSet<u64>,
    /// Open requests, with what they ask.
    requests: Vec<(usize, RequestId, u64)>,
    /// The batch of each process: its calls, and how many items it has.
    batches: BTreeMap<ProcessId, Vec<Option<u64>>>,
    monitors: Vec<(usize, Option<u64>, MonitorId)>,
    removed: BTreeSet<(usize, MonitorId)>,
    fired: BTreeSet<(usize, MonitorId)>,
    asked: u64,
}

fn pick<T: Clone>(from: &[T], at: usize) -> Option<T> {
    from.get(at.checked_rem(from.len())?).cloned()
}

impl Story {
    fn fired(&mut self, n: usize, monitor: MonitorId) {
        assert!(!self.removed.contains(&(n, monitor)), "a monitor that was removed fires");
        assert!(self.fired.insert((n, monitor)), "a monitor fires twice");
    }

    /// What a node was told.
    fn hear(&mut self, world: &mut World, n: usize) {
        for action in world.actions(n) {
            match action {
                ProcessAction::CallEnded { call, outcome } => {
                    let (question, told) = self.calls.get_mut(&(n, call)).expect("a call that was made");
                    assert!(told.is_none() && !self.cancelled.contains(&(n, call)), "an outcome too many");
                    if let Ok(answer) = &outcome {
                        assert_eq!(**answer, question.to_be_bytes(), "the answer to another call");
                    }
                    *told = Some(outcome);
                }
                ProcessAction::MonitorFired { monitor, .. } => self.fired(n, monitor),
                _ => {}
            }
        }
    }

    fn check(&self) {
        for (question, outcome) in self.calls.values() {
            if let Some(Err(error)) = outcome {
                assert!(error.may_have_run() || !self.handled.contains(question), "{error:?} of a call that was handled");
            }
        }
    }

    fn take(&mut self, world: &mut World, process: &ProcessId, most: usize) {
        let n = world.side_of(process);
        let Done::Taken(items) = world.command(n, ProcessInput::Take { process: process.number(), most }) else { panic!() };
        let mut batch = Vec::new();
        for item in items {
            batch.push(None);
            match item {
                MailboxItem::Call { body, request, deadline } => {
                    assert!(deadline > world.now, "taken after its deadline");
                    let question = u64::from_be_bytes(body[..].try_into().expect("a question"));
                    self.requests.push((n, request, question));
                    *batch.last_mut().expect("pushed") = Some(question);
                }
                MailboxItem::Down { monitor, .. } => self.fired(n, monitor),
                _ => {}
            }
        }
        self.batches.insert(process.clone(), batch);
    }

    fn step(&mut self, world: &mut World, step: Step) {
        match step {
            Step::Open(n) => {
                if self.processes.len() < 6 {
                    let process = world.open(n);
                    self.processes.push(process);
                }
            }
            Step::Call(n, to, left) => {
                let Some(process) = pick(&self.processes, to) else { return };
                self.asked += 1;
                let body = Bytes::copy_from_slice(&self.asked.to_be_bytes());
                let (to, deadline) = (Box::new(Destination::Process(process)), world.now + Duration::from_millis(left));
                if let Done::Called(Ok(call)) = world.command(n, ProcessInput::Call { body, deadline, protocol: P, to }) {
                    assert!(self.calls.insert((n, call), (self.asked, None)).is_none(), "a call's number is given twice");
                }
            }
            Step::Cancel(at) => {
                let open: Vec<_> = self.calls.iter().filter(|(_, (_, told))| told.is_none()).map(|(call, _)| *call).collect();
                let Some((n, call)) = pick(&open, at) else { return };
                world.command(n, ProcessInput::Cancel { call });
                self.cancelled.insert((n, call));
            }
            Step::Cast(n, to) => {
                if let Some(process) = pick(&self.processes, to) {
                    let _ = world.cast(n, &process, "cast");
                }
            }
            Step::Take(at, most) => {
                if let Some(process) = pick(&self.processes, at) {
                    // It looks at all of the batch before.
                    let looked = self.batches.remove(&process).unwrap_or_default();
                    let open = |question: &u64| self.requests.iter().any(|(_, _, open)| open == question);
                    self.handled.extend(looked.into_iter().flatten().filter(open));
                    self.take(world, &process, most);
                }
            }
            Step::Answer(at, wait) => {
                let Some((n, request, question)) = pick(&self.requests, at) else { return };
                self.handled.insert(question);
                let body = Bytes::copy_from_slice(&question.to_be_bytes());
                if world.answer_with(n, request, body, wait) != Err(AnswerError::Full) {
                    self.requests.retain(|(_, _, other)| *other != question);
                }
            }
            Step::Fail(at, dropped) => {
                let Some((n, request, question)) = pick(&self.requests, at) else { return };
                if dropped {
                    self.handled.insert(question);
                } else if self.handled.contains(&question) {
                    return;
                }
                let failure = if dropped { RequestFailure::Dropped } else { RequestFailure::NotUnderstood("what?".into()) };
                world.command(n, ProcessInput::Fail { failure, request });
                self.requests.retain(|(_, _, other)| *other != question);
            }
            Step::Exit(at, passed) => {
                let Some(process) = pick(&self.processes, at) else { return };
                let batch = self.batches.remove(&process).unwrap_or_default();
                // It has looked at all up to the last that it has answered, at least.
                let answered = |question: &Option<u64>| question.is_some_and(|question| self.handled.contains(&question));
                let passed = batch.iter().rposition(answered).map_or(0, |last| last + 1).max(passed);
                let open = |question: &u64| self.requests.iter().any(|(_, _, open)| open == question);
                self.handled.extend(batch.iter().take(passed).flatten().copied().filter(open));
                world.exit(&process, ExitReason::error("over"), passed);
                let unseen: Vec<u64> = batch.iter().skip(passed).flatten().copied().collect();
                self.requests.retain(|(_, _, question)| !unseen.contains(question));
                self.processes.retain(|other| *other != process);
            }
            Step::Stop(n, to) => {
                if let Some(process) = pick(&self.processes, to) {
                    let to = Box::new(Destination::Process(process));
                    world.command(n, ProcessInput::RequestStop { reason: ExitReason::Shutdown, to });
                }
            }
            Step::Monitor(n, own, to) => {
                let Some(process) = pick(&self.processes, to) else { return };
                let watcher = self.processes.iter().find(|other| own && world.side_of(other) == n).cloned();
                if let Ok(monitor) = world.try_monitor(n, watcher.as_ref(), &Destination::Process(process)) {
                    self.monitors.push((n, watcher.as_ref().map(ProcessId::number), monitor));
                }
            }
            Step::Demonitor(at) => {
                let Some((n, watcher, monitor)) = pick(&self.monitors, at) else { return };
                self.hear(world, n);
                world.command(n, ProcessInput::Demonitor { monitor, watcher });
                self.removed.insert((n, monitor));
            }
            Step::Release(n, most) => {
                for _ in 0..most {
                    world.release_one(n);
                }
            }
            Step::Deliver(n, most) => {
                for _ in 0..most {
                    let Some(bytes) = world.wires[n].pop_front() else { break };
                    assert_eq!(world.receive(n, &bytes), Ok(()), "{:?}", Signal::decode(&bytes));
                }
            }
            Step::Pass(millis) => world.pass(Duration::from_millis(millis)),
            Step::Disconnect(late) => {
                world.disconnect_one(A);
                if late {
                    // One end goes on for a while.
                    world.release(B);
                    world.wires[A].clear();
                }
                world.disconnect_one(B);
                world.connect();
            }
        }
        for n in [A, B] {
            self.hear(world, n);
        }
        self.check();
    }

    /// All that is said arrives, and all deadlines pass.
    fn end(&mut self, world: &mut World) {
        world.settle();
        world.pass(Duration::from_secs(6));
        world.settle();
        for n in [A, B] {
            self.hear(world, n);
        }
        for process in std::mem::take(&mut self.processes) {
            self.batches.remove(&process);
            while {
                self.take(world, &process, 64);
                self.batches.get(&process).is_some_and(|batch| !batch.is_empty())
            } {}
            world.exit(&process, ExitReason::Normal, usize::MAX);
            world.settle();
        }
        for n in [A, B] {
            self.hear(world, n);
        }
        self.check();
        for (call, (_, told)) in &self.calls {
            assert_eq!(told.is_none(), self.cancelled.contains(call), "a call without its outcome");
        }
        world.assert_nothing_is_open();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_call_ends_once_every_monitor_fires_at_most_once_and_nothing_is_left(steps in steps()) {
        let limits = Limits::default().mailbox_messages(3).message_bytes(100).send_queue_bytes(300).calls_per_peer(5);
        let (mut world, mut story) = (World::with_limits(limits), Story::default());
        for step in steps {
            story.step(&mut world, step);
        }
        story.end(&mut world);
    }
}
