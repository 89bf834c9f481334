//! Tests of many seeds, of reports, and of shrinking.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use noex_tokio::{Cluster, mark};

use super::super::script::Script;
use super::super::{App, Failure, Faults, Host, SECOND, View};
use super::config;

/// The report of a test that fails.
fn report(seeds: std::ops::Range<u64>, test: impl Fn(&App) -> Result<(), Failure> + Sync) -> String {
    let run = catch_unwind(AssertUnwindSafe(|| App::seeds(seeds).run(test)));
    let panic = run.expect_err("it fails");
    panic.downcast_ref::<String>().expect("its text").clone()
}

/// It marks whom it loses.
async fn watcher(host: usize) {
    let cluster = Cluster::new();
    let mut events = cluster.events();
    cluster.start(config(host).heartbeat_interval(SECOND / 5)).await.expect("a valid configuration");
    while let Some(event) = events.next().await {
        if let Some((id, _)) = event.into_node_down() {
            mark!("lost", id);
        }
    }
}

fn watchers(app: &App) -> Vec<Host> {
    let hosts = app.pick("nodes", 2..=3);
    (0..hosts).map(|host| app.host(format!("n{host}"), move || watcher(host))).collect()
}

#[test]
fn what_passes_passes_for_all_seeds_each_once_but_for_the_first() {
    let runs = AtomicU64::new(0);
    App::seeds(3..6).run(|app| {
        runs.fetch_add(1, Ordering::Relaxed);
        let nodes = watchers(app);
        app.faults(Faults::drawn().partitions().crashes().freezes().latency().resets().among(&nodes).until(8 * SECOND));
        app.run_for(8 * SECOND)?;
        app.heal()
    });
    assert_eq!(runs.into_inner(), 4);
}

#[test]
fn a_failure_is_shrunk_and_reported_with_all_that_replays_it() {
    let never_two_lost = |view: &View<'_>| view.marks("lost").count() < 2;
    let text = report(0..40, |app| {
        let nodes = watchers(app);
        app.faults(Faults::drawn().partitions().crashes().freezes().clock_rates().among(&nodes).until(4 * SECOND));
        app.always("never are two lost", never_two_lost);
        app.run_for(5 * SECOND)?;
        Ok(())
    });
    let line = |start: &str| {
        let found = text.lines().find(|line| line.trim_start().starts_with(start));
        found.unwrap_or_else(|| panic!("no line with {start} in\n{text}")).trim_start().to_owned()
    };
    assert!(line("seed ").contains("this does not hold always: never are two lost"), "{text}");
    line("run twice, it fails the same way");
    assert!(line("again:").contains("NOEX_SEED="), "{text}");
    let plan = line("plan:");
    let left: u64 = plan.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
    assert!(left <= 2 && plan.contains("faults suffice"), "{text}");
    let path = line("NOEX_PLAN=");
    let path = path.strip_prefix("NOEX_PLAN=").and_then(|path| path.split(' ').next()).expect("a path");
    let script = Script::from_text(&std::fs::read_to_string(path).expect("it was written")).expect("it can be read");
    assert_eq!(script.steps.len() as u64, left);
    assert_eq!(Script::from_text(&script.to_text()), Ok(script));
    let picture = line("picture:");
    let picture = picture.strip_prefix("picture: ").expect("a path");
    let html = std::fs::read_to_string(picture).expect("it was written");
    assert!(html.contains("never are two lost") && !html.contains("No rule was broken"), "the picture says what failed");
    assert!(text.contains("marks lost"), "{text}");
}

#[test]
fn a_program_that_differs_from_run_to_run_is_said_to() {
    let text = report(0..1, |app| {
        app.host("n0", || async {
            for number in (0..20).collect::<HashSet<u64>>() {
                mark!("visits", number);
            }
        });
        app.run_for(SECOND)
    });
    assert!(text.starts_with("seed 0 passes, and run again, it goes another way: first"), "{text}");
    assert!(text.contains("on n0: marks visits") && text.contains("the order of a HashMap"), "{text}");
}

#[test]
fn a_plan_that_names_other_hosts_is_refused() {
    let mut script = Script::new(1);
    script.hosts = vec!["a".into(), "b".into()];
    let names = ["a".to_owned(), "c".to_owned()];
    let refused = script.clone().fit(&names, true).expect_err("b is missing");
    assert_eq!(refused, "the plan names b, which the test does not make: it makes a, c");
    let step = |text: &str| {
        let text = script.to_text().replace("\"steps\": []", &format!("\"steps\": [{text}]"));
        Script::from_text(&text)
    };
    assert!(step("{\"at_ms\": 5, \"op\": {\"freeze\": {\"node\": 1, \"ms\": 5}}}").is_ok());
    for wrong in ["{\"freeze\": {\"node\": 2, \"ms\": 5}}", "{\"misuse\": {\"node\": 0}}"] {
        let refused = step(&format!("{{\"at_ms\": 5, \"op\": {wrong}}}")).expect_err(wrong);
        assert!(refused.starts_with("step 0, counted from 0, cannot happen"), "{refused}");
    }
}

#[test]
fn a_script_fits_fewer_hosts_without_what_is_about_the_others() {
    let mut script = Script::new(1);
    let names: Vec<String> = (0..5).map(|host| format!("n{host}")).collect();
    script.draw(&Faults::drawn().partitions().crashes().freezes().resets().until(60 * SECOND), &names);
    let drawn = script.steps.len();
    assert!(drawn >= 4, "{drawn}");
    script.fit(&names[..3], false).expect("it need not be whole");
    assert!(script.steps.iter().all(|step| step.op.clone().nodes_mut().iter().all(|host| **host < 3)));
    let kept = script.clone();
    script.fit(&names[..3], true).expect("it fits");
    assert_eq!(script, kept);
}

#[tokio::test]
async fn an_app_within_a_runtime_says_what_to_do() {
    let text = catch_unwind(|| App::seeds(0..1).run(|_| Ok(()))).expect_err("it is refused");
    let text = text.downcast_ref::<&str>().map(ToString::to_string).or_else(|| text.downcast_ref::<String>().cloned());
    assert!(text.is_some_and(|text| text.contains("use a plain #[test]")));
}

#[test]
fn errors_and_panics_of_the_test_itself_fail_its_run() {
    let text = report(4..5, |_| "no number".parse::<u64>().map(drop).map_err(Failure::from));
    assert!(text.starts_with("\nseed 4 fails at 0.000 s: invalid digit found in string\n"), "{text}");
    let text = report(4..5, |app| {
        app.run_for(Duration::from_millis(20))?;
        assert_eq!(app.now(), SECOND, "too early");
        Ok(())
    });
    assert!(text.starts_with("\nseed 4 fails at 0.020 s: panicked at tests/sim/src/app/tests/runs.rs:"), "{text}");
    assert!(text.contains("too early"), "{text}");
}
