//! The measure of the simulator: how soon it finds defects that are planted in the machine.
//!
//! Each `planted/*.patch` is a sentence and a unified diff of at most three lines against `noex-proto`. An ordinary test sees to it that
//! all of them fit the present sources. The measurement builds a copy of the workspace once per defect, so it is run by hand:
//!
//! ```sh
//! # One after the other: they share the copy. NOEX_PLANTED=down-twice,nonce-reused for some of the defects.
//! cargo test -p noex-sim --test planted -- --ignored --nocapture --test-threads=1
//! ```

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A hunk of a diff: lines of a file, and what stands there instead of them where the defect is planted.
struct Hunk {
    file: String,
    before: String,
    after: String,
    /// The greater of the numbers of lines removed and added.
    changed: usize,
}

struct Defect {
    name: String,
    hunks: Vec<Hunk>,
}

impl Defect {
    /// All defects in the order of their names.
    fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("planted");
        let paths = fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path());
        let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension() == Some(OsStr::new("patch"))).collect();
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    fn read(path: &Path) -> Self {
        let (mut hunks, mut file, mut removed, mut added) = (Vec::<Hunk>::new(), "", 0, 0);
        let text = fs::read_to_string(path).expect("a readable file");
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("--- ") {
                file = name;
            } else if line.starts_with("@@ ") {
                (removed, added) = (0, 0);
                hunks.push(Hunk { file: file.into(), before: String::new(), after: String::new(), changed: 0 });
            } else if let Some(hunk) = hunks.last_mut().filter(|_| !line.starts_with("+++ ")) {
                let (sign, code) = line.split_at_checked(1).unwrap_or((" ", ""));
                if sign != "+" {
                    hunk.before.extend([code, "\n"]);
                }
                if sign != "-" {
                    hunk.after.extend([code, "\n"]);
                }
                removed += usize::from(sign == "-");
                added += usize::from(sign == "+");
                hunk.changed = removed.max(added);
            }
        }
        Self { name: path.file_stem().expect("a name").to_string_lossy().into(), hunks }
    }

    /// Plants the defect in the workspace at `root`. Gives the files as they were.
    fn plant(&self, root: &Path) -> Vec<(PathBuf, String)> {
        let mut originals = Vec::new();
        for hunk in &self.hunks {
            let path = root.join(&hunk.file);
            let source = fs::read_to_string(&path).expect("a readable file");
            fs::write(&path, replaced(&source, &hunk.before, &hunk.after)).expect("a file that can be written");
            originals.push((path, source));
        }
        // The last change of a file is the first to be undone.
        originals.reverse();
        originals
    }
}

/// The source with one of its passages, made of whole lines, replaced.
fn replaced(source: &str, before: &str, after: &str) -> String {
    let source = format!("\n{source}");
    let before = format!("\n{before}");
    assert_eq!(source.matches(&before).count(), 1, "it stands there exactly once:{before}");
    source.replacen(&before, &format!("\n{after}"), 1)[1..].into()
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace")
}

#[test]
fn each_defect_fits_the_present_sources_and_has_a_row_in_the_guide() {
    let guide = fs::read_to_string(workspace().join("docs/simulation.md")).expect("the guide");
    let defects = Defect::all();
    assert!(defects.len() >= 12, "{} defects", defects.len());
    for defect in &defects {
        let changed: usize = defect.hunks.iter().map(|hunk| hunk.changed).sum();
        assert!((1..=3).contains(&changed), "{} changes {changed} lines", defect.name);
        for hunk in &defect.hunks {
            let source = fs::read_to_string(workspace().join(&hunk.file)).expect("a readable file");
            assert_ne!(replaced(&source, &hunk.before, &hunk.after), source, "{}", defect.name);
        }
        assert!(guide.contains(&format!("\n| {} |", defect.name)), "no row for {}", defect.name);
    }
}

// The measurement

/// A copy of the workspace in which defects are planted, one at a time.
struct Copy {
    root: PathBuf,
    target: PathBuf,
}

impl Copy {
    fn new() -> Self {
        let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("planted");
        let (root, target) = (scratch.join("workspace"), scratch.join("target"));
        copy(&workspace(), &root);
        Self { root, target }
    }

    /// Runs `measure` with the simulator built over a machine that has the defect.
    fn with<T>(&self, defect: &Defect, measure: impl FnOnce(&Path) -> T) -> T {
        let originals = defect.plant(&self.root);
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--locked", "--profile", "sim", "--package", "noex-sim", "--bin", "noex-sim"]);
        build.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target).env("CARGO_INCREMENTAL", "1");
        let built = build.output().expect("cargo runs");
        for (path, source) in originals {
            fs::write(path, source).expect("a file that can be written");
        }
        assert!(built.status.success(), "{} does not build:\n{}", defect.name, String::from_utf8_lossy(&built.stderr));
        measure(&self.target.join("sim/noex-sim"))
    }
}

/// Copies a folder without what is built or hidden.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name();
        if name == "target" || name.to_string_lossy().starts_with('.') {
            continue;
        }
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(name));
        } else {
            fs::copy(entry.path(), to.join(name)).expect("a file that can be copied");
        }
    }
}

/// What a simulator has to say, on both of its streams.
fn output(simulator: &Path, arguments: &[&str]) -> (String, String) {
    let output = Command::new(simulator).args(arguments).output().expect("the simulator runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr))
}

/// The first of 500 seeds that fails, and the invariant that it breaks.
fn first_failure(simulator: &Path) -> Option<(u64, String)> {
    let (found, _) = output(simulator, &["run", "--seeds", "0..500", "--failures", "1", "--jobs", "2"]);
    let failures = found.lines().filter_map(|line| line.strip_prefix("seed ")?.split_once(": "));
    let failures = failures.filter_map(|(seed, what)| Some((seed.parse().ok()?, what.split(' ').next()?.into())));
    failures.min()
}

/// The defects that the environment names; all where it names none.
fn wanted() -> Vec<Defect> {
    let all = Defect::all();
    let Ok(names) = std::env::var("NOEX_PLANTED") else { return all };
    let unknown: Vec<&str> = names.split(',').filter(|name| all.iter().all(|defect| defect.name != *name)).collect();
    assert!(unknown.is_empty(), "NOEX_PLANTED: there is no {unknown:?}");
    all.into_iter().filter(|defect| names.split(',').any(|name| name == defect.name)).collect()
}

#[test]
fn each_invariant_has_a_row_in_the_guide() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(folder.join(path)).expect("a readable file");
    let (source, guide) = (read("src/safety.rs"), read("../../docs/simulation.md"));
    let declared = source.split("pub enum Invariant {").nth(1).and_then(|rest| rest.split("\n}").next()).expect("the invariants");
    let variants = declared.lines().filter_map(|line| line.trim().strip_suffix(',').filter(|_| !line.contains("///")));
    let snake = |name: &str| {
        let lower = name.chars().flat_map(|letter| {
            let gap = letter.is_uppercase().then_some('_');
            gap.into_iter().chain(letter.to_lowercase())
        });
        lower.skip(1).collect::<String>()
    };
    let missing: Vec<String> = variants.map(snake).filter(|name| !guide.contains(&format!("\n| `{name}` |"))).collect();
    assert_eq!(missing, [""; 0], "docs/simulation.md, What must hold");
    assert!(declared.contains("Agreement,"));
}

#[test]
#[ignore = "builds the simulator once per defect"]
fn each_defect_is_found_within_500_seeds_or_by_exploration() {
    let (copy, mut missed, mut sizes) = (Copy::new(), Vec::new(), Vec::new());
    println!("| defect | seeds | invariant | operations left | nodes left |\n|---|---|---|---|---|");
    for defect in &wanted() {
        copy.with(defect, |simulator| {
            let Some((seed, invariant)) = first_failure(simulator) else {
                println!("| {} | not within 500 | | | |", defect.name);
                if explored(simulator).is_none() {
                    missed.push(defect.name.clone());
                }
                return;
            };
            let (plan, size) = output(simulator, &["shrink", &seed.to_string()]);
            let numbers: Vec<usize> = size.split(' ').filter_map(|word| word.parse().ok()).collect();
            let &[operations, _, nodes, _] = &numbers[..] else { panic!("{size}") };
            println!("| {} | {} | {invariant} | {operations} | {nodes} |", defect.name, seed + 1);
            fs::write(copy.root.with_file_name(format!("{}.json", defect.name)), plan).expect("a file that can be written");
            sizes.push((operations, nodes));
        });
    }
    let median = |mut numbers: Vec<usize>| {
        numbers.sort_unstable();
        numbers.get(numbers.len() / 2).copied().unwrap_or_default()
    };
    let (operations, nodes) = sizes.into_iter().unzip();
    let (operations, nodes) = (median(operations), median(nodes));
    println!("median: {operations} operations, {nodes} nodes");
    assert_eq!(missed, [""; 0], "found neither within 500 seeds nor by exploration");
    assert!(operations <= 10 && nodes <= 3);
}

/// What an exploration of all scenarios has found: in which one, after how many states, and how many moves lead to which invariant.
fn explored(simulator: &Path) -> Option<(String, String, String, String)> {
    let (text, _) = output(simulator, &["explore", "--states", "200000"]);
    let (table, trace) = text.split_once("        time")?;
    let mut row = table.lines().rfind(|line| !line.starts_with(' '))?.split_whitespace().map(String::from);
    let mut end = trace.lines().last()?.split(' ').map(String::from);
    Some((row.next()?, row.next()?, end.next()?, end.nth(2)?))
}

#[test]
#[ignore = "builds the simulator once per defect"]
fn defects_of_order_are_found_by_exploration() {
    let (copy, mut count) = (Copy::new(), 0);
    println!("| defect | scenario | states | moves | invariant |\n|---|---|---|---|---|");
    for defect in &wanted() {
        match copy.with(defect, explored) {
            Some((scenario, states, moves, invariant)) => {
                count += 1;
                println!("| {} | {scenario} | {states} | {moves} | {invariant} |", defect.name);
            }
            None => println!("| {} | none | | | |", defect.name),
        }
    }
    assert!(count >= wanted().len().min(3), "{count} found");
}
