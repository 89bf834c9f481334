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

#[test]
fn each_variant_of_an_error_is_named_in_a_test() {
    let mut found = Vec::new();
    let mut tests = String::new();
    for path in source::files() {
        let text = fs::read_to_string(&path).expect("Rust is text");
        if path.starts_with(source::root().join("noex-proto/src")) {
            found.extend(variants(&text));
        }
        // This file names none itself.
        if !path.ends_with("tests/docs/tests/variants.rs") {
            tests.push_str(&tests_of(&path, &text));
        }
    }
    assert!(found.len() > 70, "only {} variants", found.len());
    let is_named = |variant: &&String| {
        tests
            .match_indices(variant.as_str())
            .any(|(at, _)| !tests[at + variant.len()..].starts_with(|next: char| next.is_alphanumeric()))
    };
    let unseen: Vec<&String> = found.iter().filter(|variant| !is_named(variant)).collect();
    assert_eq!(unseen, Vec::<&String>::new(), "no test names these");
}
