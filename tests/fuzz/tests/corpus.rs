//! Replays the committed corpus through the functions that the fuzz targets run.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use noex_fuzz_harness::TARGETS;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    files
}

#[test]
fn the_corpus_holds() {
    let mut broken = Vec::new();
    for (name, target) in TARGETS {
        let inputs = files(&fuzz().join("corpus").join(name));
        assert!(inputs.len() > 10, "{name} has a corpus");
        for path in inputs {
            let input = fs::read(&path).expect("readable");
            if catch_unwind(|| target(&input)).is_err() {
                broken.push(path);
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_target_is_a_program_and_has_a_corpus() {
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    for directory in ["corpus", "fuzz_targets"] {
        let found = files(&fuzz().join(directory))
            .iter()
            .map(|path| path.file_stem().expect("a name").to_string_lossy().into())
            .collect();
        assert_eq!(names, found, "{directory}");
    }
}
