//! A machine, and the contract that each of its drivers relies on.

use noex_proto::testing::{Contract, Phase, Told};
use noex_proto::{Action, ClusterStatus, ConnId, Input, Instant, LookupId, Machine, SubscriptionId};

use crate::victim;

/// More actions than this from one input would be a storm: the limits of the targets are small.
const ACTIONS_MAX: usize = 400;

#[derive(Clone, Debug)]
pub(crate) struct Driven {
    pub(crate) machine: Machine,
    contract: Contract,
    /// The latest time that was handed in.
    now: Instant,
    /// A reader of events, and what it was told.
    reader: Option<(SubscriptionId, Told)>,
}

/// What a resolver says: it differs from lookup to lookup.
pub(crate) fn resolved(lookup: LookupId) -> Input {
    let addrs = match lookup.0 % 4 {
        0 => Err("try again".into()),
        1 => Ok(Vec::new()),
        many => Ok((1..20 * many as u8).map(victim::address).collect()),
    };
    Input::Resolved { addrs, lookup }
}

impl Driven {
    /// A machine whose actions, since it was made, are all still to be taken.
    pub(crate) fn new(machine: Machine) -> Self {
        Self { machine, contract: Contract::default(), now: Instant::START, reader: None }
    }

    /// The latest time that was handed in.
    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    pub(crate) fn status(&self) -> ClusterStatus {
        self.contract.status()
    }

    /// The connections in this phase.
    pub(crate) fn conns(&self, phase: Phase) -> impl Iterator<Item = ConnId> {
        self.contract.conns(phase)
    }

    pub(crate) fn is(&self, conn: ConnId, phase: Phase) -> bool {
        self.contract.phase(conn) == Some(phase)
    }

    /// Feeds an input and returns the actions.
    pub(crate) fn feed(&mut self, now: Instant, input: Input) -> Vec<Action> {
        self.contract.input(&input);
        self.machine.handle(now, input);
        self.drain(now)
    }

    /// The actions that follow from a method of the machine. One that was refused has not told the machine the time.
    pub(crate) fn called(&mut self) -> Vec<Action> {
        self.drain(self.machine.now())
    }

    fn drain(&mut self, now: Instant) -> Vec<Action> {
        self.now = self.now.max(now);
        let actions = self.contract.drain(&mut self.machine).unwrap_or_else(|broken| panic!("{broken}"));
        assert!(actions.len() <= ACTIONS_MAX, "{} actions from one input", actions.len());
        actions
    }

    /// A reader of events takes its place, begins to read if there was none, or goes away.
    pub(crate) fn subscribe(&mut self) {
        if let Some((subscription, _)) = self.reader.take() {
            self.machine.unsubscribe(subscription);
        } else {
            let told = Told { status: self.status(), ..Told::default() };
            self.reader = Some((self.machine.subscribe_events(), told));
        }
    }

    /// The reader takes at most this many events. Once it has all, it has the same picture as the machine.
    pub(crate) fn read(&mut self, most: usize) {
        let Some((subscription, told)) = &mut self.reader else { return };
        for _ in 0..most {
            let Some(event) = self.machine.poll_event(*subscription) else {
                let own = self.contract.told();
                assert_eq!(told.status, own.status, "a reader that has all is up to date");
                // While the machine stops nobody goes down: who is gone may be missing from what a late reader is told.
                let agrees = if own.status == ClusterStatus::Running { told.up == own.up } else { told.up.is_subset(&own.up) };
                assert!(agrees, "{:?} are up to a reader that has all, not {:?}", told.up, own.up);
                return;
            };
            told.read(&event).unwrap_or_else(|broken| panic!("a reader is told: {broken}"));
        }
    }
}
