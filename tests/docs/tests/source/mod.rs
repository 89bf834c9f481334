//! The repository's own files.
#![expect(unreachable_pub, reason = "support of several tests")]

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the repository, canonical.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

/// All Rust files of the crates and the tests.
pub fn files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in ["noex-async-std", "noex-driver", "noex-proto", "noex-tokio", "tests"] {
        collect(&root().join(folder), &mut files);
    }
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            // A crate that is a workspace of its own builds within itself.
            if path.file_name().is_none_or(|name| name != "target") {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
