//! Every test that `docs/rules.md` names exists.

use std::fs;
use std::path::Path;

/// The text of all Rust files below a folder.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).expect("Rust is text"));
        }
    }
}

#[test]
fn the_tests_behind_the_rules_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let rules = fs::read_to_string(root.join("docs/rules.md")).expect("docs/rules.md");
    let mut code = String::new();
    for package in ["noex-async-std", "noex-driver", "noex-proto", "noex-tokio", "tests/cluster", "tests/conformance"] {
        for folder in ["src", "tests"] {
            let folder = root.join(package).join(folder);
            if folder.is_dir() {
                sources(&folder, &mut code);
            }
        }
    }
    let mut named = 0;
    for row in rules.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what ")) {
        let tests = row.split('|').nth(2).expect("three columns");
        for test in tests.split('`').skip(1).step_by(2) {
            named += 1;
            assert!(code.contains(&format!("fn {test}(")) || code.contains(&format!("fn {test}<")), "no test {test}");
        }
    }
    assert!(named > 100, "only {named} tests are named");
}
