//! Every test that a document names as evidence exists.

mod source;

use std::fs;

/// The tests named in a document: in each of its tables that has one, the column `tests`.
fn named(text: &str) -> Vec<&str> {
    let mut tests = Vec::new();
    let mut column = None;
    for line in text.lines() {
        let Some(row) = line.strip_prefix('|') else {
            column = None;
            continue;
        };
        let mut cells = row.split('|').map(str::trim);
        match column {
            None => column = Some(cells.position(|cell| cell == "tests")),
            Some(Some(place)) => tests.extend(cells.nth(place).expect("as many cells as heads").split('`').skip(1).step_by(2)),
            Some(None) => {}
        }
    }
    tests
}

fn assert_exist(document: &str, least: usize) {
    let code: String = source::files().iter().map(|path| fs::read_to_string(path).expect("Rust is text")).collect();
    let text = fs::read_to_string(source::root().join("docs").join(document)).expect("a document");
    let tests = named(&text);
    assert!(tests.len() >= least, "only {} tests are named", tests.len());
    let missing: Vec<&str> = tests
        .into_iter()
        .filter(|test| !code.contains(&format!("fn {test}(")) && !code.contains(&format!("fn {test}<")))
        .collect();
    assert_eq!(missing, Vec::<&str>::new(), "no such test");
}

#[test]
fn the_tests_behind_the_rules_exist() {
    assert_exist("rules.md", 100);
}

#[test]
fn the_tests_behind_the_threats_exist() {
    assert_exist("security.md", 50);
}

#[test]
fn the_column_of_tests_is_found_in_any_table() {
    let text = "| a | tests |\n|---|---|\n| `no` | `one`, `two` |\n\n| tests | b |\n|---|---|\n| `three` | `no` |\n\n| c |\n|---|\n| `no` |\n";
    assert_eq!(named(text), ["one", "two", "three"]);
}
