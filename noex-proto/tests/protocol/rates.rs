//! The law of rates: in any second there is at most twice of what a limit allows, after an hour of idling too. What is saved up while there
//! is nothing to do is never spent.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use noex_proto::{
    Action, ClusterError, ClusterEvent, ConnId, ConnectError, Contact, Input, Instant, Limits, LocalFault, Machine, WallTime,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::net::{address, config, id};

const DIALS: usize = 3;
const REPORTS: usize = 2;
/// Of local faults there are at most so many in any minute.
const FAULTS: usize = 16;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// What happens to a node that has nobody.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// All dials under way fail.
    Fail,
    /// So many faults of the system, each with another cause.
    Faults(u32),
    /// It has this many new seeds.
    Seeds(u16),
    /// So many strangers say what makes no sense, each from another address.
    Strangers(u8),
    /// Time passes, in which the node is looked after, or stands still.
    Wait { ms: u64, stands_still: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let ms = prop_oneof![0..300_u64, 700..1300_u64, Just(60_000), Just(3_600_000)];
    prop_oneof![
        Just(Step::Fail),
        (1..40_u32).prop_map(Step::Faults),
        (1..10_u16).prop_map(Step::Seeds),
        (1..10_u8).prop_map(Step::Strangers),
        (ms, any::<bool>()).prop_map(|(ms, stands_still)| Step::Wait { ms, stands_still }),
    ]
}

/// A machine without a network, and when it did what has a rate.
struct Rated {
    machine: Machine,
    now: Instant,
    made: u32,
    dialling: Vec<ConnId>,
    dials: Vec<Instant>,
    reports: Vec<Instant>,
    faults: Vec<Instant>,
}

impl Rated {
    fn new() -> Self {
        let limits = Limits::default().dials_per_second(DIALS).error_reports_per_second(REPORTS);
        let mut machine = Machine::new();
        machine.start(Instant::START, config("a", 0).limits(limits)).unwrap();
        let (dialling, dials, reports, faults) = (vec![], vec![], vec![], vec![]);
        let mut rated = Self { machine, now: Instant::START, made: 0, dialling, dials, reports, faults };
        rated.feed(Input::Listening { entropy: [1; 32], local: address(0), network: Box::default() });
        rated.faults.clear();
        rated
    }

    fn feed(&mut self, input: Input) {
        self.machine.handle(self.now, input);
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Connect { conn, .. } => {
                    self.dialling.push(conn);
                    self.dials.push(self.now);
                }
                Action::Event(ClusterEvent::Error(ClusterError::Local(_))) => self.faults.push(self.now),
                Action::Event(ClusterEvent::Error(ClusterError::Peer { .. })) => self.reports.push(self.now),
                _ => {}
            }
        }
    }

    fn next(&mut self) -> u32 {
        self.made += 1;
        self.made
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Fail => {
                for conn in std::mem::take(&mut self.dialling) {
                    self.feed(Input::DialFailed { conn, error: ConnectError::Refused });
                }
            }
            Step::Faults(count) => {
                for _ in 0..count {
                    let cause = format!("cause {}", self.next());
                    self.feed(Input::Report(LocalFault::Accept { cause: cause.as_str().into() }));
                }
            }
            Step::Seeds(count) => {
                let seeds = (0..count).map(|number| Contact::from(id("n", 1 + usize::from(number) + self.made as usize % 7)));
                let seeds = seeds.collect();
                self.made += 1;
                self.feed(Input::SetSeeds(seeds));
            }
            Step::Strangers(count) => {
                for _ in 0..count {
                    let [_, high, mid, low] = self.next().to_be_bytes();
                    let conn = self.machine.next_conn();
                    self.feed(Input::Accepted { conn, remote: SocketAddr::from(([11, high, mid, low], 1)) });
                    let data = Bytes::from_static(&[0xff; 4]);
                    self.feed(Input::Received { conn, data, wall: WallTime(Duration::ZERO) });
                }
            }
            Step::Wait { ms, stands_still } => {
                let until = self.now + Duration::from_millis(ms);
                while let Some(due) = self.machine.poll_timeout().filter(|due| *due <= until && !stands_still) {
                    self.now = self.now.max(due);
                    self.feed(Input::Tick);
                }
                self.now = until;
                self.feed(Input::Tick);
            }
        }
    }
}

/// The first moment at which there had been more than this many within such a time.
fn crowded(times: &[Instant], within: Duration, most: usize) -> Option<Instant> {
    times.windows(most + 1).find(|times| times[most] - times[0] < within).map(|times| times[0])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rates_hold_in_any_second_after_any_time(steps in vec(step(), 1..30)) {
        let mut rated = Rated::new();
        for step in steps {
            rated.take(step);
        }
        prop_assert_eq!(crowded(&rated.dials, SECOND, 2 * DIALS), None);
        prop_assert_eq!(crowded(&rated.reports, SECOND, 2 * REPORTS), None);
        prop_assert_eq!(crowded(&rated.faults, MINUTE, FAULTS), None);
    }
}

#[test]
fn an_hour_of_idling_saves_up_nothing() {
    let mut rated = Rated::new();
    for ms in [3_600_000, 999, 1] {
        rated.take(Step::Wait { ms, stands_still: false });
        rated.take(Step::Seeds(9));
        rated.take(Step::Strangers(9));
        rated.take(Step::Faults(20));
    }
    let hour = 3_600_000;
    let at = |times: &[Instant], ms| times.iter().filter(|at| **at == Instant::from_millis(ms)).count();
    // In the first moment what a limit allows, and as much once the second is over.
    let all = [&rated.dials, &rated.reports, &rated.faults].map(|times| [hour, hour + 999, hour + 1000].map(|ms| at(times, ms)));
    assert_eq!(all, [[DIALS, 0, DIALS], [REPORTS, 0, REPORTS], [FAULTS, 0, 0]]);
}
