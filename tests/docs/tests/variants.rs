//! Every variant of every error that the protocol knows is named in a test, so that none is left that nobody has seen.

mod source;

use std::fs;

use syn::Item;

/// Whether an enum says what went wrong.
fn is_error(name: &str) -> bool {
    name.ends_with("Error") || name.ends_with("Fault") || ["NodeDownReason", "Refusal", "Unreached"].contains(&name)
}

/// The variants of the error enums in a file, as `Enum::Variant`.
fn variants(text: &str) -> Vec<String> {
    let file = syn::parse_file(text).expect("Rust");
    let enums = file.items.into_iter().filter_map(|item| match item {
        Item::Enum(item) if is_error(&item.ident.to_string()) => Some(item),
        _ => None,
    });
    let names = enums.flat_map(|item| {
        let name = item.ident;
        item.variants.into_iter().map(move |variant| format!("{name}::{}", variant.ident))
    });
    names.collect()
}

/// The part of a source file that is tests.
fn tests_of(path: &std::path::Path, text: &str) -> String {
    let is_test = path.components().any(|part| ["tests", "tests.rs"].iter().any(|name| part.as_os_str() == *name));
    if is_test {
        return text.into();
    }
    text.split_once("#[cfg(test)]\nmod tests {").map(|(_, tests)| tests.into()).unwrap_or_default()
}

/// Whether a text has a variant's whole name.
fn names(text: &str, variant: &str) -> bool {
    let mut places = text.match_indices(variant);
    places.any(|(at, _)| !text[at + variant.len()..].starts_with(|next: char| next.is_alphanumeric()))
}

#[test]
fn each_variant_of_an_error_is_named_in_a_test() {
    let mut found = Vec::new();
    let mut tests = String::new();
    for path in source::files() {
        let text = fs::read_to_string(&path).expect("Rust is text");
        if ["noex-driver/src", "noex-proto/src"].iter().any(|source| path.starts_with(source::root().join(source))) {
            found.extend(variants(&text));
        }
        // This file names none itself.
        if !path.ends_with("tests/docs/tests/variants.rs") {
            tests.push_str(&tests_of(&path, &text));
        }
    }
    assert!(found.len() > 70, "only {} variants", found.len());
    let unseen: Vec<&String> = found.iter().filter(|variant| !names(&tests, variant)).collect();
    assert_eq!(unseen, Vec::<&String>::new(), "no test names these");
}

/// The match behind it names all, so that a new one has an answer; this test has it written down a second time.
#[test]
fn each_variant_of_an_error_event_is_known_to_pass_by_itself_or_not() {
    let root = source::root().join("noex-proto");
    let read = |path: &str| fs::read_to_string(root.join(path)).expect("Rust is text");
    let answers = read("tests/protocol/transience.rs");
    let parts = ["ClusterError", "DialError", "LocalFault", "PeerFault", "Refusal", "Unreached"];
    let found: Vec<String> = ["src/error.rs", "src/io.rs"].iter().flat_map(|path| variants(&read(path))).collect();
    for part in parts {
        assert!(found.iter().any(|variant| variant.starts_with(&format!("{part}::"))), "where is {part}?");
    }
    let of_events = found.iter().filter(|variant| parts.iter().any(|part| variant.starts_with(&format!("{part}::"))));
    let unanswered: Vec<&String> = of_events.filter(|variant| !names(&answers, variant)).collect();
    assert_eq!(unanswered, Vec::<&String>::new(), "transience.rs does not name these");
}
