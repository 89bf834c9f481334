//! Defects that nobody chose: a program draws them from the source of the machine, and each judge is asked about each.
#![forbid(unsafe_code)]

mod draw;
mod judges;
mod plant;
mod sites;
mod source;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::{Parser, Subcommand};
use serde::Serialize;
use serde::de::DeserializeOwned;

use draw::Drawn;
use judges::{Judge, Programs, Verdict};
use plant::Copy;
use source::Source;

/// Draw defects from the source of noex-proto, and ask the judges about them. All that it makes is in target/defects.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Draw defects that compile. Verdicts on others are forgotten.
    Draw {
        /// The same seed draws the same defects from the same sources.
        #[arg(long)]
        seed: u64,
        /// How many.
        #[arg(long, default_value_t = 48, value_parser = clap::value_parser!(u16).range(1..=1000))]
        count: u16,
    },
    /// Build the judges over a machine with all defects, and see that it is the sound one while none is on.
    Build,
    /// Ask the judges what they were not asked yet, but for defects that `equivalent.json` says change nothing. It can be ended at any time,
    /// and goes on there.
    Run {
        /// How many at the same time.
        #[arg(long, default_value_t = 1)]
        jobs: usize,
    },
    /// Print a defect as a diff.
    Show {
        /// Its number.
        number: usize,
    },
    /// Print what was found.
    Table,
}

fn main() -> ExitCode {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let place = Place { folder: workspace.join("target/defects"), workspace };
    let done = match Arguments::parse().command {
        Command::Draw { seed, count } => place.draw(seed, usize::from(count)),
        Command::Build => place.build(),
        Command::Run { jobs } => place.run(jobs),
        Command::Show { number } => place.show(number),
        Command::Table => place.table(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Where the sources are, and where everything is kept between sittings.
#[derive(Debug)]
struct Place {
    folder: PathBuf,
    workspace: PathBuf,
}

impl Place {
    fn draw(&self, seed: u64, count: usize) -> Result<(), String> {
        let drawn = draw::draw(&self.workspace, &self.folder, seed, count)?;
        for name in ["programs.json", "verdicts.jsonl"] {
            let path = self.folder.join(name);
            if path.exists() {
                fs::remove_file(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            }
        }
        for (number, defect) in drawn.defects.iter().enumerate() {
            println!("{number}: {:?}, {}, {}: {}", defect.kind, defect.file, defect.function.name, defect.what);
        }
        self.write("defects.json", &drawn)
    }

    fn build(&self) -> Result<(), String> {
        let (drawn, sources) = (self.drawn()?, Source::all(&self.workspace)?);
        if draw::digest(&sources) != drawn.digest {
            return Err("the sources have changed since the defects were drawn: draw again".into());
        }
        let copy = Copy::new(&self.workspace, &self.folder)?;
        let numbered: Vec<_> = drawn.defects.iter().enumerate().collect();
        copy.plant(&sources, &numbered)?;
        let programs = Programs::build(&copy)?;
        let hashes =
            ["run", "--quiet", "--locked", "--profile", "sim", "--package", "noex-sim", "--", "hashes", "--seeds", "0..10"];
        let sound = plant::cargo(&self.workspace, None, &hashes)?;
        if !sound.status.success() || copy.cargo(&hashes)?.stdout != sound.stdout {
            return Err("with no defect on, the machine is another one".into());
        }
        self.write("programs.json", &programs)
    }

    fn run(&self, jobs: usize) -> Result<(), String> {
        let (drawn, programs) = (self.drawn()?, self.read::<Programs>("programs.json")?);
        let path = self.folder.join("verdicts.jsonl");
        let equivalent = self.equivalent()?;
        let asked: Vec<usize> =
            (0..drawn.defects.len()).filter(|number| !equivalent.contains_key(&drawn.defects[*number].title())).collect();
        for judge in Judge::ALL {
            let before = judges::verdicts(&path);
            let is_open = |defect: &Option<usize>| {
                let of = |verdict: &&Verdict| verdict.defect == *defect;
                let is_seen = || before.iter().filter(of).any(|verdict| verdict.found.is_some());
                let is_asked = before.iter().filter(of).any(|verdict| verdict.judge == judge);
                // Tests over sockets take long, and are asked about the rest only.
                !(is_asked || judge == Judge::Sockets && is_seen())
            };
            // The sound machine first.
            let open: Vec<Option<usize>> = [None].into_iter().chain(asked.iter().copied().map(Some)).filter(is_open).collect();
            let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
            let ask = || {
                while let Some(defect) = open.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let verdict = programs.ask(judge, *defect).and_then(|verdict| accept(&path, verdict));
                    if let Err(error) = verdict {
                        next.store(open.len(), Ordering::Relaxed);
                        *failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
                    }
                }
            };
            std::thread::scope(|scope| {
                for _ in 0..jobs.max(1) {
                    scope.spawn(ask);
                }
            });
            if let Some(error) = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
                return Err(error);
            }
        }
        Ok(())
    }

    fn show(&self, number: usize) -> Result<(), String> {
        let (drawn, sources) = (self.drawn()?, Source::all(&self.workspace)?);
        let defect = drawn.defects.get(number).ok_or("there is no such defect")?;
        if draw::digest(&sources) != drawn.digest {
            return Err("the sources have changed since the defects were drawn".into());
        }
        let source = sources.iter().find(|source| source.path == defect.file).ok_or("its file is gone")?;
        println!("{}: {}", defect.function.name, defect.what);
        print!("{}", table::diff(source, defect));
        Ok(())
    }

    fn table(&self) -> Result<(), String> {
        let verdicts = judges::verdicts(&self.folder.join("verdicts.jsonl"));
        print!("{}", table::table(&self.drawn()?, &verdicts, &self.equivalent()?));
        Ok(())
    }

    /// The defects that change nothing, each with the reason.
    fn equivalent(&self) -> Result<BTreeMap<String, String>, String> {
        let path = self.workspace.join("tests/defects/equivalent.json");
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn drawn(&self) -> Result<Drawn, String> {
        self.read("defects.json")
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T, String> {
        let path = self.folder.join(name);
        let error = |error: &dyn std::fmt::Display| format!("{}: {error}; draw and build come first", path.display());
        let text = fs::read_to_string(&path).map_err(|cause| error(&cause))?;
        serde_json::from_str(&text).map_err(|cause| error(&cause))
    }

    fn write(&self, name: &str, what: &impl Serialize) -> Result<(), String> {
        let path = self.folder.join(name);
        let text = serde_json::to_string_pretty(what).map_err(|error| error.to_string())?;
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// Notes a verdict. One against the sound machine is a defect of the judge, and the end of the sitting.
fn accept(path: &Path, verdict: Verdict) -> Result<(), String> {
    let Verdict { defect, found, judge, seconds } = &verdict;
    let name = defect.map_or_else(|| "none".into(), |number| number.to_string());
    println!("{judge:?}, defect {name}: {}, {seconds} s", found.as_deref().unwrap_or("nothing"));
    match (defect, found) {
        (None, Some(found)) => Err(format!("{judge:?} found {found} where no defect is on")),
        _ => judges::note(path, &verdict),
    }
}
