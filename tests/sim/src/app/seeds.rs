//! Running a test for many seeds.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;
use std::{env, fs, thread};

use super::failure::{Failure, Key};
use super::panics::{self, Whose};
use super::report::{Report, difference};
use super::script::Script;
use super::shrink::shrink;
use super::stage::Stage;
use super::watchdog::Watch;
use super::{App, report};
use crate::Line;

/// How many transitions are kept of a run that is reported.
const LINES: usize = 200_000;

/// The seeds that a test is run for, from [`App::seeds`].
#[derive(Clone, Debug)]
#[must_use = "call run"]
pub struct Seeds(Range<u64>);

/// What came of a run.
pub(super) struct Outcome {
    pub(super) failure: Option<Failure>,
    pub(super) hash: u64,
    pub(super) html: Option<String>,
    pub(super) lines: Vec<Line>,
    pub(super) names: Vec<String>,
    /// What was run, with what was drawn and picked.
    pub(super) script: Script,
}

/// How a script is run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum How {
    /// It is to be drawn.
    Drawn,
    /// It was read: its hosts have to be there.
    Read,
    /// It was shrunk.
    Shrunk,
}

impl Seeds {
    pub(super) fn new(seeds: Range<u64>) -> Self {
        Self(seeds)
    }

    /// Runs the test, once for each seed, each on a thread of its own. A run fails by an error that the test returns, a panic in the test or in
    /// any task of any host, a program that ends with an error, a condition that does not hold, or a broken invariant of noex.
    ///
    /// The first seed is run twice, and so is one that fails: where the two differ, that is said. Of a failure the smallest plan is looked for. With
    /// `NOEX_SEED` in the environment one seed is run, with `NOEX_PLAN` the plan in a file.
    ///
    /// # Panics
    /// A seed fails: with a report. It is called within an asynchronous runtime, or one of the variables makes no sense.
    pub fn run(self, test: impl Fn(&App) -> Result<(), Failure> + Sync) {
        assert!(
            tokio::runtime::Handle::try_current().is_err(),
            "each host of an `App` has a tokio runtime of its own, and its test none: use a plain #[test] in place of #[tokio::test]"
        );
        panics::install();
        let variable = |name: &str| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        if let Some(path) = variable("NOEX_PLAN") {
            let script = read(Path::new(&path)).unwrap_or_else(|why| panic!("NOEX_PLAN={path}: {why}"));
            let outcome = run(&test, script, How::Read, true);
            if let Some(failure) = &outcome.failure {
                panic!("{}", Report { failure, outcome: &outcome, note: None, shrunk: None }.text());
            }
            return;
        }
        let seeds = match variable("NOEX_SEED") {
            None => self.0,
            Some(seed) => {
                let seed: u64 = seed.parse().unwrap_or_else(|_| {
                    panic!("NOEX_SEED={seed}: it has to be a number, that of the seed to run, as in NOEX_SEED=4711")
                });
                seed..seed.saturating_add(1)
            }
        };
        let first = seeds.start;
        for seed in seeds {
            let outcome = run(&test, Script::new(seed), How::Drawn, false);
            if outcome.failure.is_some() {
                fail(&test, seed, &outcome);
            }
            if seed == first {
                let again = run(&test, Script::new(seed), How::Drawn, false);
                if again.hash != outcome.hash || again.failure.is_some() {
                    panic!("seed {seed} passes, and {}", difference_of(&test, seed));
                }
            }
        }
    }
}

/// Reports the failure of a seed.
fn fail(test: &(impl Fn(&App) -> Result<(), Failure> + Sync), seed: u64, outcome: &Outcome) -> ! {
    let failure = outcome.failure.as_ref().expect("it has failed");
    let again = run(test, Script::new(seed), How::Drawn, true);
    if again.hash != outcome.hash || again.failure.as_ref().map(|failure| &failure.key) != Some(&failure.key) {
        let note = Some(difference_of(test, seed));
        panic!("{}", Report { failure, outcome: &again, note, shrunk: None }.text());
    }
    let fails = |script: Script| {
        let run = run(test, script, How::Shrunk, false);
        run.failure.is_some_and(|found| found.key == failure.key).then_some(run.script)
    };
    let shrunk = shrink(again.script.clone(), fails);
    let shrunk = run(test, shrunk, How::Shrunk, true);
    let shrunk = shrunk.failure.is_some().then_some(&shrunk);
    panic!("{}", Report { failure, outcome: &again, note: None, shrunk }.text());
}

/// Where two runs of a seed differ.
fn difference_of(test: &(impl Fn(&App) -> Result<(), Failure> + Sync), seed: u64) -> String {
    let [one, other] = [(); 2].map(|()| run(test, Script::new(seed), How::Drawn, true));
    difference(&one, &other)
}

fn read(path: &Path) -> Result<Script, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    Script::from_text(&text)
}

/// Runs a script, on a thread of its own. `whole`: it is drawn, and all its transitions are kept.
fn run(test: &(impl Fn(&App) -> Result<(), Failure> + Sync), script: Script, how: How, whole: bool) -> Outcome {
    let name = report::test_name();
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(name);
        let run = thread.spawn_scoped(scope, || run_here(test, script, how, whole)).expect("the system gives a thread");
        run.join().expect("what can panic is caught")
    })
}

fn run_here(test: &impl Fn(&App) -> Result<(), Failure>, script: Script, how: How, whole: bool) -> Outcome {
    let whose = Whose::test(script.seed);
    let mut stage = Stage::new(script, whose.clone(), Watch::begin());
    stage.world.keep_lines(if whole { LINES } else { 0 });
    if whole {
        stage.world.set_drawing();
    }
    let given = match how {
        How::Drawn => None,
        How::Read => Some(true),
        How::Shrunk => Some(false),
    };
    let app = App::new(stage, given);
    let result = panics::within(&whose, || catch_unwind(AssertUnwindSafe(|| test(&app))));
    let mut stage = app.stage.borrow_mut();
    stage.take_all();
    let now = stage.world.now();
    let mut failure = match result {
        Ok(Ok(())) => stage.panicked().err(),
        Ok(Err(failure)) => Some(failure),
        Err(_) => {
            let panic = whose.take().pop();
            panic.map(|panic| {
                let message = format!("panicked at {}: {}", panic.place, panic.message);
                stage.failure(Key::Panic(panic.place), panic.host, message)
            })
        }
    };
    if let Some(failure) = failure.as_mut().filter(|failure| failure.at == Duration::MAX) {
        failure.at = now;
    }
    if !panics::is_installed() {
        let message = "another panic hook has taken the place of noex-sim's, so that panics of tasks would not be seen";
        failure.get_or_insert(stage.failure(Key::Test("hook".into()), None, message.into()));
    }
    let names: Vec<String> = stage.places.iter().map(|place| place.name.clone()).collect();
    stage.script.hosts.clone_from(&names);
    let html = if whole { picture(&stage, failure.as_ref()) } else { None };
    let outcome = Outcome {
        hash: stage.world.hash(),
        html,
        lines: stage.world.lines().cloned().collect(),
        names,
        script: stage.script.clone(),
        failure,
    };
    for host in 0..stage.places.len() {
        stage.crash(host);
    }
    drop(stage);
    outcome
}

/// The picture of a run. What failed stands in its title, unless it is an invariant of noex, which the page explains.
fn picture(stage: &Stage, failure: Option<&Failure>) -> Option<String> {
    let title = failure.map_or_else(|| "A run that passes".to_owned(), ToString::to_string);
    let facts = vec![("seed", stage.script.seed.to_string()), ("hosts", stage.script.hosts.join(", "))];
    let mut page = stage.world.page(title, "An application on simulated hosts, in virtual time.".into(), facts)?;
    if stage.world.violation().is_none() {
        page.checked = failure.is_none().then_some(None);
    }
    Some(page.html())
}
