//! The changes of `changes.txt`: that they can be made, and, by hand, that each makes its test fail.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const CHANGES: &str = include_str!("changes.txt");
/// How long a test may take. One that a change makes hang has noticed it.
const PATIENCE: Duration = Duration::from_secs(150);

/// One change: in `file`, `before` becomes `after`, and the `cargo test` of these arguments must fail.
#[derive(Debug, Default)]
struct Change<'a> {
    rule: &'a str,
    file: &'a str,
    test: Vec<&'a str>,
    before: String,
    after: String,
}

fn changes() -> Vec<Change<'static>> {
    let mut changes: Vec<Change> = Vec::new();
    for line in CHANGES.lines() {
        if let Some(rule) = line.strip_prefix("# ") {
            changes.push(Change { rule, ..Change::default() });
            continue;
        }
        let Some(change) = changes.last_mut() else { continue };
        let extend = |text: &mut String, line: &str| {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(line);
        };
        match line.split_once(' ') {
            Some(("file", file)) => change.file = file,
            Some(("test", arguments)) => change.test = arguments.split(' ').collect(),
            Some(("-", before)) => extend(&mut change.before, before),
            Some(("+", after)) => extend(&mut change.after, after),
            _ => assert!(line.is_empty() || line == "+", "what is this? {line}"),
        }
    }
    changes
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn each_change_can_be_made_and_is_about_a_rule() {
    let rules = fs::read_to_string(root().join("docs/rules.md")).expect("docs/rules.md");
    let rows: Vec<Vec<&str>> = rules.lines().map(|line| line.split('|').map(str::trim).collect()).collect();
    let changes = changes();
    for Change { rule, file, test, before, after } in &changes {
        let source = fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{rule}: {file}: {error}"));
        assert_eq!(source.matches(before.as_str()).count(), 1, "{rule}: it has to stand once in {file}: {before}");
        assert_ne!(before, after, "{rule}");
        let row = rows.iter().find(|row| row.get(1) == Some(rule)).unwrap_or_else(|| panic!("docs/rules.md has no row {rule}"));
        let name = test.last().and_then(|path| path.rsplit("::").next()).expect("a test");
        assert!(row[2].contains(&format!("`{name}`")), "{rule}: the row does not name {name}");
    }
    // The table of the interface has a change for each row.
    let table = rows.iter().skip_while(|row| row[0] != "## The API table").filter(|row| row.len() > 3);
    for row in table.skip(2) {
        assert!(changes.iter().any(|change| change.rule == row[1]), "no change for {}", row[1]);
    }
}

/// What came of a test.
#[derive(Debug, Eq, PartialEq)]
enum Outcome {
    Failed,
    Hung,
    NotCompiled,
    Passed,
}

/// A copy of the repository to make changes in. It has build products of its own: cargo would take those of one tree for the other's.
struct Copy {
    log: PathBuf,
    target: PathBuf,
    tree: PathBuf,
}

impl Copy {
    fn new() -> io::Result<Self> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("changes");
        let (log, target, tree) = (folder.join("log"), folder.join("target"), folder.join("tree"));
        if tree.exists() {
            fs::remove_dir_all(&tree)?;
        }
        let files = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output()?;
        assert!(files.status.success(), "the list of files is git's");
        for file in String::from_utf8_lossy(&files.stdout).split_terminator('\0') {
            let to = tree.join(file);
            fs::create_dir_all(to.parent().expect("a folder"))?;
            fs::copy(root().join(file), to)?;
        }
        Ok(Self { log, target, tree })
    }

    fn cargo_test(&self, arguments: &[&str]) -> io::Result<Outcome> {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.arg("test").arg("--locked").args(arguments).current_dir(&self.tree);
        cargo.env("CARGO_TARGET_DIR", &self.target);
        cargo.stdin(Stdio::null()).stdout(File::create(&self.log)?).stderr(File::options().append(true).open(&self.log)?);
        // A group of its own, so that a test that hangs can be ended together with cargo.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut cargo, 0);
        let mut running = cargo.spawn()?;
        let building = arguments.contains(&"--no-run");
        let begin = Instant::now();
        loop {
            match running.try_wait()? {
                Some(status) if status.success() => return Ok(Outcome::Passed),
                Some(_) if building => return Ok(Outcome::NotCompiled),
                Some(_) => return Ok(Outcome::Failed),
                None if begin.elapsed() > PATIENCE && !building => {
                    Command::new("kill").args(["-KILL", "--", &format!("-{}", running.id())]).status()?;
                    running.wait()?;
                    return Ok(Outcome::Hung);
                }
                None => thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Builds a test, and runs it if that went well.
    fn build_and_test(&self, arguments: &[&str]) -> io::Result<Outcome> {
        let (_name, build) = arguments.split_last().expect("a test");
        match self.cargo_test(&[build, &["--no-run"]].concat())? {
            Outcome::Passed => self.cargo_test(arguments),
            built => Ok(built),
        }
    }

    fn try_change(&self, change: &Change) -> io::Result<Outcome> {
        let file = self.tree.join(change.file);
        let source = fs::read_to_string(&file)?;
        fs::write(&file, source.replacen(&change.before, &change.after, 1))?;
        let outcome = self.build_and_test(&change.test);
        fs::write(&file, source)?;
        outcome
    }
}

#[test]
#[ignore = "builds the workspace anew for each change; run by hand, after changes to the rules or to what upholds them"]
fn each_change_is_noticed() {
    // Only those about whose rule the variable says something, if it is there.
    let wanted = std::env::var("RULE").unwrap_or_default();
    let changes: Vec<_> = changes().into_iter().filter(|change| change.rule.contains(&wanted)).collect();
    let copy = Copy::new().expect("a copy of the repository");
    let mut missed = Vec::new();
    for change in &changes {
        let outcome = copy.try_change(change).expect("cargo runs");
        println!("{outcome:?}: {}", change.rule);
        if !matches!(outcome, Outcome::Failed | Outcome::Hung) {
            missed.push(change.rule);
        }
    }
    println!("{} of {} noticed", changes.len() - missed.len(), changes.len());
    assert!(missed.is_empty(), "missed: {missed:#?}");
    // A test that fails anyhow has noticed nothing.
    for test in changes.iter().map(|change| &change.test).collect::<BTreeSet<_>>() {
        let outcome = copy.build_and_test(test).expect("cargo runs");
        assert_eq!(outcome, Outcome::Passed, "{test:?} without a change; see {}", copy.log.display());
    }
}
