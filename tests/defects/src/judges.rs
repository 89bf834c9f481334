//! What each judge says of a defect.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::plant::Copy;

/// How many seeds the simulator has, and in pieces of how many it is run: a piece that does not end names its seeds.
const SEEDS: u64 = 500;
const PIECE: u64 = 50;
/// States of each configuration that is explored.
const STATES: &str = "20000";
/// The seconds on a processor that one program may take: ten times and more of what any takes of a sound machine.
const PROCESSOR: u64 = 300;
/// For a program that waits and does not compute.
const PATIENCE: Duration = Duration::from_secs(1200);
/// In KiB of addresses: what grows for ever is ended before the host's memory is.
const MEMORY: u64 = 8 << 20;

/// Who looks at a defect, in the order in which they are asked.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) enum Judge {
    Simulator,
    Exploration,
    /// The tests of noex-proto.
    Tests,
    /// The tests of the driver on tokio, over sockets.
    Sockets,
}

impl Judge {
    pub(crate) const ALL: [Self; 4] = [Self::Simulator, Self::Exploration, Self::Tests, Self::Sockets];
}

/// What a judge said of a defect; of the sound machine where no defect is named.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) defect: Option<usize>,
    /// What was found, if anything was.
    pub(crate) found: Option<String>,
    pub(crate) judge: Judge,
    pub(crate) seconds: u64,
}

/// The programs that judge, built over the copy.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Programs {
    pub(crate) simulator: PathBuf,
    /// With the folders in which they run.
    pub(crate) sockets: Vec<(PathBuf, PathBuf)>,
    pub(crate) tests: Vec<(PathBuf, PathBuf)>,
}

impl Programs {
    /// Builds all.
    ///
    /// # Errors
    /// Where one does not build.
    pub(crate) fn build(copy: &Copy) -> Result<Self, String> {
        let simulator = built(copy, &["build", "--locked", "--profile", "sim", "--package", "noex-sim", "--bin", "noex-sim"])?;
        let (simulator, _) = simulator.into_iter().next().ok_or("there is no simulator")?;
        // Optimised: they are run once for each defect.
        let tests =
            ["test", "--no-run", "--locked", "--profile", "sim", "--package", "noex-proto", "--lib", "--test", "protocol"];
        let tests = built(copy, &tests)?;
        let sockets = built(copy, &["test", "--no-run", "--locked", "--package", "noex-tokio", "--tests"])?;
        Ok(Self { simulator, sockets, tests })
    }

    /// Asks a judge about a defect.
    ///
    /// # Errors
    /// Where a program does not run.
    pub(crate) fn ask(&self, judge: Judge, defect: Option<usize>) -> Result<Verdict, String> {
        let began = Instant::now();
        let found = match judge {
            Judge::Simulator => self.simulate(defect)?,
            Judge::Exploration => {
                let end = run(&self.simulator, Path::new("."), &["explore", "--states", STATES], defect)?;
                let found = end.errors.lines().find_map(|line| line.split_once(": ")).map(|(scenario, what)| {
                    let invariant = what.split(' ').next().unwrap_or(what);
                    format!("{scenario}: {invariant}")
                });
                found.or(end.trouble)
            }
            Judge::Tests => first_failure(&self.tests, defect)?,
            Judge::Sockets => first_failure(&self.sockets, defect)?,
        };
        Ok(Verdict { defect, found, judge, seconds: began.elapsed().as_secs() })
    }

    fn simulate(&self, defect: Option<usize>) -> Result<Option<String>, String> {
        for start in (0..SEEDS).step_by(PIECE as usize) {
            let seeds = format!("{start}..{}", start + PIECE);
            let end = run(&self.simulator, Path::new("."), &["run", "--failures", "1", "--seeds", &seeds], defect)?;
            let failure = end.output.lines().find_map(|line| line.strip_prefix("seed ")?.split_once(": "));
            if let Some((seed, what)) = failure {
                return Ok(Some(format!("{seed}: {}", what.split(' ').next().unwrap_or(what))));
            }
            if let Some(trouble) = end.trouble {
                return Ok(Some(format!("{seeds}: {trouble}")));
            }
        }
        Ok(None)
    }
}

/// The first test that fails, and how many do. Programs behind it are not asked.
fn first_failure(programs: &[(PathBuf, PathBuf)], defect: Option<usize>) -> Result<Option<String>, String> {
    for (program, folder) in programs {
        let end = run(program, folder, &[], defect)?;
        let failed = end.output.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
        let failed: Vec<&str> = failed.collect();
        match (&failed[..], end.trouble) {
            ([first], _) => return Ok(Some((*first).into())),
            ([first, others @ ..], _) => return Ok(Some(format!("{first} and {} more", others.len()))),
            ([], Some(trouble)) => {
                let name = program.file_stem().unwrap_or_default().to_string_lossy();
                return Ok(Some(format!("{}: {trouble}", name.split('-').next().unwrap_or(&name))));
            }
            ([], None) => {}
        }
    }
    Ok(None)
}

/// The programs that cargo names when it has built, each with the folder of its package.
fn built(copy: &Copy, arguments: &[&str]) -> Result<Vec<(PathBuf, PathBuf)>, String> {
    #[derive(Deserialize)]
    struct Artifact {
        executable: Option<PathBuf>,
        manifest_path: Option<PathBuf>,
    }
    let mut arguments = arguments.to_vec();
    arguments.extend(["--quiet", "--message-format", "json"]);
    let output = copy.cargo(&arguments)?;
    if !output.status.success() {
        return Err(format!("cargo {}:\n{}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)));
    }
    let mut programs = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let artifact: Artifact = serde_json::from_str(line).map_err(|error| format!("cargo: {error}: {line}"))?;
        if let (Some(program), Some(manifest)) = (artifact.executable, artifact.manifest_path) {
            programs.push((program, manifest.parent().unwrap_or(copy.root()).into()));
        }
    }
    // Cargo names first what it has built first.
    programs.sort();
    Ok(programs)
}

/// How a program ended.
struct End {
    errors: String,
    output: String,
    /// What is wrong, if it failed: of a program that tells no more.
    trouble: Option<String>,
}

/// Runs a program with a defect on, within its time and memory.
fn run(program: &Path, folder: &Path, arguments: &[&str], defect: Option<usize>) -> Result<End, String> {
    let error = |error: std::io::Error| format!("{}: {error}", program.display());
    let limited = format!("ulimit -c 0 -t {PROCESSOR} -v {MEMORY} && exec \"$@\"");
    // Into files: a pipe that nobody reads stops who writes.
    let (mut output, mut errors) = (scratch().map_err(error)?, scratch().map_err(error)?);
    let mut command = Command::new("bash");
    command.args(["-c", &limited, "bash"]).arg(program).args(arguments).current_dir(folder).stdin(Stdio::null());
    command.stdout(output.try_clone().map_err(error)?).stderr(errors.try_clone().map_err(error)?);
    // The same cases each time, and none kept.
    command.envs([("PROPTEST_RNG_SEED", "1"), ("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1"), ("RUST_TEST_THREADS", "2")]);
    match defect {
        Some(number) => command.env("NOEX_DEFECT", number.to_string()),
        None => command.env_remove("NOEX_DEFECT"),
    };
    let began = Instant::now();
    let mut child = command.spawn().map_err(error)?;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(error)? {
            break Some(status);
        }
        if began.elapsed() > PATIENCE {
            child.kill().map_err(error)?;
            child.wait().map_err(error)?;
            break None;
        }
        thread::sleep(Duration::from_millis(20));
    };
    let read = |file: &mut File| {
        let mut bytes = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(error)?;
        Ok::<_, String>(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(End {
        output: read(&mut output)?,
        errors: read(&mut errors)?,
        trouble: status.map_or_else(|| Some("does not end".into()), trouble),
    })
}

fn trouble(status: ExitStatus) -> Option<String> {
    const ABORT: i32 = 6;
    const KILL: i32 = 9;
    const SEGMENTATION: i32 = 11;
    const PROCESSOR_TIME: i32 = 24;
    match (status.success(), status.signal()) {
        (true, _) => None,
        (_, Some(ABORT | SEGMENTATION)) => Some("out of memory or stack".into()),
        (_, Some(KILL | PROCESSOR_TIME)) => Some("does not end".into()),
        _ => Some(status.to_string()),
    }
}

/// A file that is gone when it is closed.
fn scratch() -> std::io::Result<File> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = format!("noex-defects-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    let file = File::options().create_new(true).read(true).write(true).open(&path)?;
    fs::remove_file(path)?;
    Ok(file)
}

/// The verdicts of a file, a line each.
pub(crate) fn verdicts(path: &Path) -> Vec<Verdict> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Adds a verdict to the file.
///
/// # Errors
/// Where it cannot be written.
pub(crate) fn note(path: &Path, verdict: &Verdict) -> Result<(), String> {
    let error = |error: std::io::Error| format!("{}: {error}", path.display());
    let line = serde_json::to_string(verdict).map_err(|error| error.to_string())?;
    let mut file = File::options().create(true).append(true).open(path).map_err(error)?;
    writeln!(file, "{line}").map_err(error)
}
