//! Programs of applications on hosts: their machines change hands, and what the machines ask for is performed here.

use noex_proto::testing::Violation;
use noex_proto::{Action, Instant, Machine, ProcessAction};

use super::application::Subscriber;
use super::{HostId, World};

/// What the programs of a host are told, and have not heard yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Told(Vec<Action>);

impl World {
    /// A process of an application runs on a host: it may start a node there.
    pub(crate) fn begin_program(&mut self, host: HostId) {
        let at = &mut self.hosts[host];
        (at.alive, at.powered) = (true, true);
        at.told = Some(Told::default());
    }

    /// The machine of a program's node becomes that of its host. It has never run.
    pub(crate) fn adopt(&mut self, host: HostId, machine: Machine) {
        if self.hosts[host].origin != 0 {
            // The second node of this process: the first one is stopped.
            let (rate, told) = (self.hosts[host].clock.permille, self.hosts[host].told.take());
            self.end_process(host, false);
            let at = &mut self.hosts[host];
            at.clock.set_rate(self.now, rate);
            (at.alive, at.told) = (true, told);
        }
        let at = &mut self.hosts[host];
        at.machine = machine;
        at.messages_of = at.machine.subscribe_messages();
        at.slow = Subscriber::new(&mut at.machine);
    }

    /// The machine of a host, which is to be back before anything else is done with the world.
    pub(crate) fn machine_mut(&mut self, host: HostId) -> &mut Machine {
        &mut self.hosts[host].machine
    }

    /// A program has asked its machine for something, as often as `drives` says: performs what the machine asks for.
    pub(crate) fn drain(&mut self, host: HostId, drives: u64) {
        self.trace.mix(self.now ^ (host as u64) << 48);
        self.trace.mix(drives << 4 | 10);
        self.hosts[host].closed.clear();
        self.settle(host);
    }

    /// What the program of a host is to be told.
    pub(crate) fn take_told(&mut self, host: HostId) -> Vec<Action> {
        self.hosts[host].told.as_mut().map(|told| std::mem::take(&mut told.0)).unwrap_or_default()
    }

    /// Keeps what a program is to be told. Whether that is its own affair alone.
    pub(super) fn tell_program(&mut self, host: HostId, action: &Action) -> bool {
        let Some(told) = &mut self.hosts[host].told else { return false };
        match action {
            Action::Event(_) | Action::Message | Action::Stopped => told.0.push(action.clone()),
            Action::Process(process) => {
                // That all names are known is told to whoever waits for it, which changes nothing.
                if !matches!(process, ProcessAction::NamesSynced) {
                    self.trace.mix_bytes(format!("{process:?}").as_bytes());
                }
                told.0.push(action.clone());
                return true;
            }
            _ => {}
        }
        false
    }

    /// Whether a program runs on a host, which sends as it likes.
    pub(super) fn has_program(&self, host: HostId) -> bool {
        self.hosts[host].told.is_some()
    }

    /// The rule that a program's driver found broken.
    pub(crate) fn judge_program(&mut self, host: HostId, told: Result<(), String>) {
        let of = |detail| Violation { rule: noex_proto::testing::Rule::BooksBalance, detail };
        self.kept(host, told.map_err(of));
    }

    /// A program made a mark.
    pub(crate) fn note_mark(&mut self, host: HostId, name: &str, value: &str) {
        let text = format!("marks {name} {value}");
        self.trace.mix_bytes(text.as_bytes());
        self.line(Some(host), text.trim_end());
    }

    // Time

    /// Lets everything happen that happens until this moment, in nanoseconds, which is then the time.
    pub(crate) fn advance(&mut self, until: u64) {
        while self.step(std::time::Duration::from_nanos(until)) {}
        self.now = self.now.max(until);
    }

    /// The time, in nanoseconds.
    pub(crate) const fn nanos(&self) -> u64 {
        self.now
    }

    /// The time on a host's own clock.
    pub(crate) fn local(&self, host: HostId) -> Instant {
        self.hosts[host].local(self.now)
    }

    /// When a host's own clock shows this many nanoseconds.
    pub(crate) fn when(&self, host: HostId, local: u64) -> u64 {
        self.hosts[host].clock.when(local).max(self.now)
    }
}
