//! `docs/adapter.md` shows this crate; what it shows must be what is tested.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

const TEXT: &str = include_str!("../../../docs/adapter.md");

/// The blocks of code in a language, without their fences.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("\n```{language}\n");
    text.split(&fence).skip(1).map(|rest| &rest[..=rest.find("\n```").unwrap()]).collect()
}

#[test]
fn the_text_shows_the_source() {
    let source = include_str!("../src/lib.rs");
    assert!(source.contains("impl noex_driver::Runtime for Smol"));
    assert!(blocks(TEXT, "rust").contains(&source), "copy tests/smol/src/lib.rs into docs/adapter.md");
}

#[test]
fn the_text_shows_the_dependencies_and_features() {
    let manifest = include_str!("../Cargo.toml");
    let shown = blocks(TEXT, "toml").into_iter().find(|block| block.contains("name = \"noex-smol\"")).unwrap();
    let shown = &shown[shown.find("[features]").unwrap()..];
    // In the workspace it is the driver beside it; the version is its own.
    let version = concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));
    let here = shown.replace(&format!("noex-driver = \"{version}\""), "noex-driver.workspace = true");
    assert_ne!(here, shown);
    assert!(manifest.contains(&here), "{shown}");
}

#[test]
fn the_text_names_each_method_of_the_trait() {
    let source = include_str!("../src/lib.rs");
    let mut methods = 0;
    let named = |line: &str| line.trim_start().trim_start_matches("async ").strip_prefix("fn ").map(str::to_owned);
    for name in source.lines().filter_map(named) {
        let name = name.split(['(', '<']).next().unwrap();
        assert!(TEXT.contains(&format!("`{name}`")), "{name}");
        methods += 1;
    }
    assert!(methods >= 10, "only {methods} are seen");
}

#[test]
fn blocks_are_found_to_their_end() {
    let text = "a\n```rust\nfn a() {}\n\nfn b() {}\n```\nb\n```rust,ignore\nc\n```\n```rust\nd\n```\n";
    assert_eq!(blocks(text, "rust"), ["fn a() {}\n\nfn b() {}\n", "d\n"]);
}
