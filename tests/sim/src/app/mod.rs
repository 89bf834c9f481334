//! Applications in the simulator: a user's own programs, on tokio, on simulated hosts.
//!
//! `docs/testing-your-application.md` in the repository is the guide.
//!
//! ```
//! use noex_sim::app::{App, Faults, SECOND};
//! use noex_tokio::{Cluster, ClusterConfig};
//!
//! async fn program(number: usize) -> Result<(), Box<dyn std::error::Error>> {
//!     let cluster = Cluster::new();
//!     let config = ClusterConfig::new(format!("n{number}")).host(format!("10.0.0.{number}"));
//!     cluster.start(config.seeds(["n1@10.0.0.1:4369"])).await?;
//!     cluster.wait_for_nodes(2, 120 * SECOND).await?;
//!     noex_tokio::mark!("sees all");
//!     std::future::pending().await
//! }
//!
//! App::seeds(0..3).run(|app| {
//!     let nodes: Vec<_> = (1..=3).map(|number| app.host(format!("n{number}"), move || program(number))).collect();
//!     app.faults(Faults::drawn().partitions().freezes().among(&nodes).until(20 * SECOND));
//!     app.run_until(|view| view.marks("sees all").count() == 3, 120 * SECOND)?;
//!     Ok(())
//! });
//! ```

mod failure;
mod panics;
mod process;
mod report;
mod script;
mod seeds;
mod shrink;
mod stage;
#[cfg(test)]
mod tests;
mod view;
mod watchdog;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::panic::Location;
use std::time::Duration;

pub use failure::Failure;
use failure::Key;
use script::Act;
pub use script::Faults;
pub use seeds::Seeds;
use stage::Stage;
pub use view::{Mark, View};

use crate::HostId;
use crate::world::network;

/// A second of virtual time.
pub const SECOND: Duration = Duration::from_secs(1);

/// How long after everything was mended nodes may take to see each other, at most: backoffs of 30 s, and what a silence takes to be noticed.
const MESH: Duration = Duration::from_secs(180);

/// An application in one simulation: hosts with programs, faults, and conditions. [`App::seeds`] makes one for each seed.
pub struct App {
    stage: RefCell<Stage>,
    always: RefCell<Vec<(String, Condition)>>,
    /// The script is one that was read or shrunk; whether it has to fit.
    given: Option<bool>,
    has_faults: Cell<bool>,
}

type Condition = Box<dyn FnMut(&View<'_>) -> bool>;

/// A simulated host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Host {
    name: String,
    number: HostId,
}

/// What a program ends with: nothing, or a result.
pub trait End {
    /// The text of its error.
    ///
    /// # Errors
    /// It ended with one.
    fn end(self) -> Result<(), String>;
}

impl End for () {
    fn end(self) -> Result<(), String> {
        Ok(())
    }
}

impl<T, E: fmt::Debug> End for Result<T, E> {
    fn end(self) -> Result<(), String> {
        self.map(drop).map_err(|error| format!("{error:?}"))
    }
}

/// Where the calling code runs in a simulation: the number of the host, counted from 0 in the order in which they were made. `None` outside of
/// all programs.
#[must_use]
pub fn here() -> Option<usize> {
    panics::host()
}

impl Host {
    /// Its address: 10.0.0.1 for the first that is made, 10.0.0.2 for the next.
    #[must_use]
    pub fn addr(&self) -> IpAddr {
        network::ip(self.number)
    }

    /// The name that it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A condition: its program has come to its end.
    pub fn finished(&self) -> impl Fn(&View<'_>) -> bool + 'static {
        let host = self.clone();
        move |view| view.is_finished(&host)
    }
}

impl App {
    /// Runs a test once for each of these seeds: [`Seeds::run`].
    pub fn seeds(seeds: std::ops::Range<u64>) -> Seeds {
        Seeds::new(seeds)
    }

    fn new(stage: Stage, given: Option<bool>) -> Self {
        Self { stage: RefCell::new(stage), always: RefCell::default(), given, has_faults: Cell::new(false) }
    }

    // Building

    /// Makes a host, and starts a program on it: what a `main` awaits. Where the host crashes and starts again, `program` is called anew: what
    /// survives is what it has captured. A program that ends is a process that exits; one that ends with an error fails the run.
    pub fn host<P, E>(&self, name: impl Into<String>, mut program: impl FnMut() -> P + 'static) -> Host
    where
        P: Future<Output = E> + 'static,
        E: End + 'static,
    {
        let name = name.into();
        let mut stage = self.stage.borrow_mut();
        assert!(stage.places.iter().all(|place| place.name != name), "there are two hosts with the name {name}");
        let program = move || -> std::pin::Pin<Box<dyn Future<Output = Result<(), String>>>> {
            let program = program();
            Box::pin(async move { program.await.end() })
        };
        let number = stage.add(name.clone(), Box::new(program));
        Host { name, number }
    }

    /// A number that differs from seed to seed, such as how many nodes there are. It is kept in the plan, and lower ones are tried where the plan is
    /// shrunk.
    pub fn pick<T: Copy + TryFrom<u64> + TryInto<u64>>(&self, name: &str, range: RangeInclusive<T>) -> T {
        let bound = |bound: &T| (*bound).try_into().ok().expect("a number from 0 on");
        let picked = self.stage.borrow_mut().script.pick(name, bound(range.start()), bound(range.end()));
        T::try_from(picked).ok().expect("it is within the range")
    }

    /// Lets faults happen, from now on. Call it once, when the hosts are made.
    ///
    /// # Panics
    /// A plan that was read names hosts that there are none of.
    pub fn faults(&self, faults: Faults) {
        assert!(!self.has_faults.replace(true), "faults are ordered once in a run");
        let stage = &mut *self.stage.borrow_mut();
        let names: Vec<String> = stage.places.iter().map(|place| place.name.clone()).collect();
        match self.given {
            Some(all) => {
                if let Err(why) = stage.script.fit(&names, all) {
                    panic!("{why}");
                }
            }
            None => stage.script.draw(&faults, &names),
        }
        stage.begin_script();
    }

    /// Does something at this virtual time.
    pub fn at(&self, time: Duration, what: impl FnOnce(&Self) + 'static) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.stage.borrow_mut().at(nanos, Act::App(Box::new(what)));
    }

    /// From now on this has to hold, in every millisecond.
    pub fn always(&self, what: impl Into<String>, condition: impl FnMut(&View<'_>) -> bool + 'static) {
        self.always.borrow_mut().push((what.into(), Box::new(condition)));
    }

    /// Panics whose message fulfils this do not fail the run.
    pub fn tolerate_panics(&self, filter: impl Fn(&str) -> bool + 'static) {
        self.stage.borrow_mut().tolerated.push(Box::new(filter));
    }

    // Faults

    /// Nothing passes between these hosts and those, in both directions.
    pub fn cut<'a>(&self, these: impl IntoIterator<Item = &'a Host>, those: impl IntoIterator<Item = &'a Host>) {
        let (these, those) = (numbers(these), numbers(those));
        self.order(|stage| {
            stage.cut(&these, &those, false);
            stage.cut(&those, &these, false);
        });
    }

    /// What was cut passes again.
    pub fn mend<'a>(&self, these: impl IntoIterator<Item = &'a Host>, those: impl IntoIterator<Item = &'a Host>) {
        let (these, those) = (numbers(these), numbers(those));
        self.order(|stage| {
            stage.mend(&these, &those);
            stage.mend(&those, &these);
        });
    }

    /// The process on a host is gone at once.
    pub fn crash(&self, host: &Host) {
        self.order(|stage| stage.crash(host.number));
    }

    /// The program of a host that has none running starts anew.
    pub fn restart(&self, host: &Host) {
        self.order(|stage| stage.restart(host.number));
    }

    /// The process on a host stands still.
    pub fn freeze(&self, host: &Host) {
        self.order(|stage| stage.freeze(host.number));
    }

    /// It goes on, and finds that time has passed.
    pub fn thaw(&self, host: &Host) {
        self.order(|stage| stage.thaw(host.number));
    }

    fn order(&self, what: impl FnOnce(&mut Stage)) {
        let mut stage = self.stage.borrow_mut();
        stage.take_all();
        what(&mut stage);
        stage.give_all();
    }

    // Time

    /// The virtual time.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.stage.borrow().world.now()
    }

    /// Lets this much time pass.
    ///
    /// # Errors
    /// A task of a host panicked, a program ended with an error, or something does not hold that always has to.
    pub fn run_for(&self, time: Duration) -> Result<(), Failure> {
        let until = self.now() + time;
        self.run(until, |_| false).map(drop)
    }

    /// Runs until the condition holds.
    ///
    /// # Errors
    /// Those of [`run_for`](Self::run_for), or that it does not hold within this time.
    #[track_caller]
    pub fn run_until(&self, condition: impl FnMut(&View<'_>) -> bool, most: Duration) -> Result<(), Failure> {
        let caller = Location::caller();
        let what = format!("what run_until at {}:{} waits for", caller.file(), caller.line());
        self.eventually(most, what, condition)
    }

    /// Runs until the condition holds, which has a name.
    ///
    /// # Errors
    /// Those of [`run_for`](Self::run_for), or that it does not hold within this time.
    pub fn eventually(
        &self,
        most: Duration,
        what: impl Into<String>,
        condition: impl FnMut(&View<'_>) -> bool,
    ) -> Result<(), Failure> {
        let until = self.now() + most;
        if self.run(until, condition)? {
            return Ok(());
        }
        let what = what.into();
        let message = format!("not within {most:?}: {what}");
        Err(self.stage.borrow().failure(Key::Test(what), None, message))
    }

    /// Mends everything: no fault happens any more, what lasted ends, crashed programs start again. Then waits until all nodes that run see each other.
    ///
    /// # Errors
    /// Those of [`run_for`](Self::run_for), or the nodes do not see each other in time.
    pub fn heal(&self) -> Result<(), Failure> {
        self.order(|stage| {
            stage.world.line(None, "all is mended");
            stage.world.draw_phase("all is mended");
            for act in stage.take_acts() {
                match act {
                    Act::App(_) | Act::Restart(_) | Act::Step(_) => {}
                    Act::Undo(undo) => undo(stage),
                }
            }
            let all: Vec<HostId> = (0..stage.places.len()).collect();
            stage.mend(&all, &all);
            for host in all {
                stage.thaw(host);
                if stage.places[host].crashed {
                    stage.restart(host);
                }
            }
        });
        // A program that has just started has no node yet.
        self.run_for(SECOND)?;
        let until = self.now() + MESH;
        if self.run(until, |view| view.is_whole())? {
            return Ok(());
        }
        let mut missing = String::new();
        self.order(|stage| missing = stage.world.missing(&stage.nodes()));
        let message = format!("{MESH:?} after everything was mended, not all nodes see each other: {missing}");
        Err(self.stage.borrow().failure(Key::Test("heal".into()), None, message))
    }

    /// Runs until the condition holds, or the time is there. Whether it holds.
    fn run(&self, until: Duration, mut condition: impl FnMut(&View<'_>) -> bool) -> Result<bool, Failure> {
        self.stage.borrow_mut().take_all();
        let result = self.run_taken(u64::try_from(until.as_nanos()).unwrap_or(u64::MAX), &mut condition);
        self.stage.borrow_mut().give_all();
        result
    }

    fn run_taken(&self, until: u64, condition: &mut impl FnMut(&View<'_>) -> bool) -> Result<bool, Failure> {
        loop {
            self.look()?;
            if condition(&View::of(&self.stage.borrow())) {
                return Ok(true);
            }
            let act = {
                let mut stage = self.stage.borrow_mut();
                if stage.world.nanos() >= until {
                    return Ok(false);
                }
                stage.step(until)?
            };
            match act {
                None => {}
                Some(Act::App(what)) => {
                    self.stage.borrow_mut().give_all();
                    what(self);
                    self.stage.borrow_mut().take_all();
                }
                Some(Act::Restart(host)) => self.stage.borrow_mut().restart(host),
                Some(Act::Step(place)) => self.stage.borrow_mut().order(place),
                Some(Act::Undo(undo)) => undo(&mut self.stage.borrow_mut()),
            }
        }
    }

    /// Whether everything holds that always has to.
    fn look(&self) -> Result<(), Failure> {
        let stage = self.stage.borrow();
        let view = View::of(&stage);
        let mut always = self.always.borrow_mut();
        match always.iter_mut().find_map(|(what, condition)| (!condition(&view)).then(|| what.clone())) {
            None => Ok(()),
            Some(what) => {
                let message = format!("this does not hold always: {what}");
                Err(stage.failure(Key::Always(what), None, message))
            }
        }
    }
}

fn numbers<'a>(hosts: impl IntoIterator<Item = &'a Host>) -> Vec<HostId> {
    hosts.into_iter().map(|host| host.number).collect()
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").finish_non_exhaustive()
    }
}
