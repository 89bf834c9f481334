//! A copy of the workspace with defects, each of which the environment turns on.
//!
//! Of a function with defects there are several bodies, and a `match` picks one at each call. So a single build serves all defects.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::sites::{Defect, Edit};
use crate::source::Source;

/// What the machine of the copy asks which defect is on: none where the environment names none.
const SWITCH: &str = r#"
mod defect {
    extern crate std;

    static ACTIVE: std::sync::OnceLock<usize> = std::sync::OnceLock::new();

    pub(crate) fn active() -> usize {
        *ACTIVE.get_or_init(|| std::env::var("NOEX_DEFECT").ok().and_then(|number| number.parse().ok()).unwrap_or(usize::MAX))
    }
}
"#;
const ROOT: &str = "noex-proto/src/lib.rs";

/// A file with the defects that are in it, and the lines on which each one's body stands.
#[derive(Debug)]
pub(crate) struct Planted {
    pub(crate) bodies: Vec<(usize, Range<usize>)>,
    pub(crate) text: String,
}

/// `text` with all edits made, which are in its order.
pub(crate) fn edited<'a>(text: &str, edits: impl IntoIterator<Item = &'a Edit>) -> String {
    let (mut edited, mut end) = (String::new(), 0);
    for edit in edits {
        edited.push_str(&text[end..edit.at.start]);
        edited.push_str(&edit.text);
        end = edit.at.end;
    }
    edited + &text[end..]
}

/// Plants defects in the text of their file. Each comes with its number.
pub(crate) fn planted(text: &str, defects: &[(usize, &Defect)]) -> Planted {
    let mut functions = BTreeMap::<usize, Vec<(usize, &Defect)>>::new();
    for (number, defect) in defects {
        functions.entry(defect.function.body.start).or_default().push((*number, defect));
    }
    let mut planted = Planted { bodies: Vec::new(), text: String::new() };
    let mut end = 0;
    for defects in functions.values() {
        let function = &defects[0].1.function;
        let mut copy_to = |planted: &mut Planted, to: usize, next: usize| {
            planted.text.push_str(&text[end..to]);
            end = next;
        };
        if let Some(word) = &function.constness {
            copy_to(&mut planted, word.start, word.end);
        }
        copy_to(&mut planted, function.body.start, function.body.end);
        planted.text.push_str("{ match crate::defect::active() {\n");
        for (number, defect) in defects {
            let line = |planted: &Planted| planted.text.lines().count() + 1;
            let first = line(&planted);
            let body = edited(&text[function.body.clone()], &shifted(&defect.edits, function.body.start));
            writeln!(planted.text, "{number} => {body}").expect("a string takes all");
            planted.bodies.push((*number, first..line(&planted)));
        }
        planted.text.push_str("_ => ");
        planted.text.push_str(&text[function.body.clone()]);
        planted.text.push_str("\n} }");
    }
    planted.text.push_str(&text[end..]);
    planted
}

fn shifted(edits: &[Edit], by: usize) -> Vec<Edit> {
    let shift = |edit: &Edit| Edit { at: edit.at.start - by..edit.at.end - by, text: edit.text.clone() };
    edits.iter().map(shift).collect()
}

/// The copy, and what cargo builds of it.
#[derive(Debug)]
pub(crate) struct Copy {
    root: PathBuf,
    target: PathBuf,
}

impl Copy {
    /// Makes or renews the copy in `folder`.
    ///
    /// # Errors
    /// Where a file cannot be read or written.
    pub(crate) fn new(workspace: &Path, folder: &Path) -> Result<Self, String> {
        let copy = Self { root: folder.join("workspace"), target: folder.join("target") };
        renew(workspace, &copy.root).map_err(|error| format!("{}: {error}", copy.root.display()))?;
        Ok(copy)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Puts these defects, and no others, into the copy.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub(crate) fn plant(&self, sources: &[Source], defects: &[(usize, &Defect)]) -> Result<Vec<(String, Planted)>, String> {
        let mut all = Vec::new();
        for source in sources {
            let here: Vec<_> = defects.iter().filter(|(_, defect)| defect.file == source.path).copied().collect();
            let mut planted = planted(&source.text, &here);
            if source.path == ROOT {
                planted.text.push_str(SWITCH);
            }
            let path = self.root.join(&source.path);
            write(&path, planted.text.as_bytes()).map_err(|error| format!("{}: {error}", path.display()))?;
            all.push((source.path.clone(), planted));
        }
        Ok(all)
    }

    /// Runs cargo in the copy.
    ///
    /// # Errors
    /// Where it does not run.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Result<Output, String> {
        cargo(&self.root, Some(&self.target), arguments)
    }
}

/// Runs cargo in a workspace, in the way that rebuilds the simulator quickly.
///
/// # Errors
/// Where it does not run.
pub(crate) fn cargo(root: &Path, target: Option<&Path>, arguments: &[&str]) -> Result<Output, String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).current_dir(root).env("CARGO_TERM_COLOR", "never");
    cargo.envs([("CARGO_PROFILE_SIM_INCREMENTAL", "true"), ("CARGO_PROFILE_SIM_DEBUG", "none")]);
    if let Some(target) = target {
        cargo.env("CARGO_TARGET_DIR", target);
    }
    cargo.output().map_err(|error| format!("cargo: {error}"))
}

/// Copies a folder without what is built or hidden, cargo's configuration apart. What is equal stays untouched, so that it is not built again.
fn renew(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_hidden = name.to_string_lossy().starts_with('.') && name != ".cargo";
        if is_hidden || name == "target" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            renew(&entry.path(), &to.join(name))?;
        } else {
            write(&to.join(name), &fs::read(entry.path())?)?;
        }
    }
    // What the workspace no longer has.
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if !from.join(entry.file_name()).exists() {
            if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
        }
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) { Ok(()) } else { fs::write(path, bytes) }
}
