//! What is said of a run that fails.

use std::fmt::Write;
use std::path::PathBuf;
use std::{env, fs, thread};

use super::failure::Failure;
use super::seeds::Outcome;
use crate::Line;
use crate::trace::text;

/// How many of the last transitions are shown.
const SHOWN: usize = 40;

/// A failure, and all that is known of it.
pub(super) struct Report<'a> {
    pub(super) failure: &'a Failure,
    /// The whole run.
    pub(super) outcome: &'a Outcome,
    /// What else is to be said.
    pub(super) note: Option<String>,
    /// The run of the smallest script that fails alike.
    pub(super) shrunk: Option<&'a Outcome>,
}

impl Report<'_> {
    pub(super) fn text(&self) -> String {
        let Self { failure, outcome, note, shrunk } = self;
        let seed = outcome.script.seed;
        let mut out = format!("\nseed {seed} fails {failure}\n");
        match note {
            Some(note) => push(&mut out, &format!("nondeterminism: {note}")),
            None => push(&mut out, "run twice, it fails the same way"),
        }
        let test = test_name();
        push(&mut out, &format!("again:   NOEX_SEED={seed} cargo test {test}"));
        let least = shrunk.unwrap_or(outcome);
        let (left, of) = (least.script.words(), outcome.script.steps.len());
        let picks = least.script.picks.iter().map(|(name, value)| match outcome.script.picks.get(name) {
            Some(before) if before != value => format!(", {value} {name} of {before}"),
            _ => format!(", {value} {name}"),
        });
        let picks: String = picks.collect();
        let faults = if shrunk.is_some() { format!("{} of {of} faults suffice", left.len()) } else { format!("{of} faults") };
        push(&mut out, &format!("plan:    {faults}{picks}"));
        for word in left {
            push(&mut out, &format!("           {word}"));
        }
        if let Some(path) = keep(&format!("{test}-{seed}.json"), &least.script.to_text()) {
            push(&mut out, &format!("         NOEX_PLAN={} cargo test {test}", path.display()));
        }
        if let Some(path) = least.html.as_ref().and_then(|html| keep(&format!("{test}-{seed}.html"), html)) {
            push(&mut out, &format!("picture: {}", path.display()));
        }
        push(&mut out, &format!("hosts:   {}", least.names.join(", ")));
        let skipped = least.lines.len().saturating_sub(SHOWN);
        out.push_str(&text(least.lines[skipped..].iter(), least.names.len()));
        out
    }
}

/// Says where two runs of a seed differ.
pub(super) fn difference(one: &Outcome, other: &Outcome) -> String {
    let line = |line: Option<&Line>| match line {
        None => "nothing any more".to_owned(),
        Some(line) => {
            let host = line.host.and_then(|host| one.names.get(host)).map(|host| format!(" on {host}")).unwrap_or_default();
            format!("at {:.6} s{host}: {}", line.at.as_secs_f64(), line.what)
        }
    };
    let mut pairs = (0..one.lines.len().max(other.lines.len())).map(|place| (one.lines.get(place), other.lines.get(place)));
    let same = |one: &Line, other: &Line| (one.at, one.host, &one.what) == (other.at, other.host, &other.what);
    let differs = pairs.find(|(one, other)| !one.zip(*other).is_some_and(|(one, other)| same(one, other)));
    let what = match differs {
        Some((first, second)) => format!("first\n    {}\n  and then\n    {}", line(first), line(second)),
        None => "in nothing but bytes".into(),
    };
    format!(
        "run again, it goes another way: {what}\n  A program differs from run to run by `select!` without `biased`, the order of a \
         HashMap or HashSet, rand::rng(), Instant::now() or SystemTime::now() of std, threads, or a static that outlives a run."
    )
}

/// The name of the test that runs, by which it is run again.
pub(super) fn test_name() -> String {
    thread::current().name().unwrap_or("main").to_owned()
}

/// Writes a file beside what cargo builds. Where it lies.
fn keep(name: &str, content: &str) -> Option<PathBuf> {
    let exe = env::current_exe().ok()?;
    let target = exe.ancestors().find(|path| path.join("CACHEDIR.TAG").exists());
    let folder = target.map_or_else(env::temp_dir, PathBuf::from).join("noex-sim");
    fs::create_dir_all(&folder).ok()?;
    let path = folder.join(name.replace("::", "-"));
    fs::write(&path, content).ok()?;
    Some(path)
}

fn push(out: &mut String, line: &str) {
    let _infallible = writeln!(out, "{line}");
}
