//! The table of what matters in simulations has a line for each input, field of a configuration, limit and message that there is.

use std::fs;
use std::path::{Path, PathBuf};

use syn::{Fields, Item};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn items(path: &str) -> Vec<Item> {
    let text = fs::read_to_string(root().join("noex-proto/src").join(path)).expect("Rust is text");
    syn::parse_file(&text).expect("Rust").items
}

fn variants(path: &str, name: &str) -> Vec<String> {
    let of = |item| if let Item::Enum(item) = item { Some(item) } else { None };
    let found = items(path).into_iter().filter_map(of).find(|item| item.ident == name).expect("an enum");
    found.variants.iter().map(|variant| variant.ident.to_string()).collect()
}

fn fields(path: &str, name: &str) -> Vec<String> {
    let of = |item| if let Item::Struct(item) = item { Some(item) } else { None };
    let found = items(path).into_iter().filter_map(of).find(|item| item.ident == name).expect("a struct");
    let Fields::Named(fields) = found.fields else { panic!("{name} has no names") };
    fields.named.iter().filter_map(|field| Some(field.ident.as_ref()?.to_string())).collect()
}

/// The names of constants that are bytes.
fn bytes(items: &[Item]) -> impl Iterator<Item = String> {
    items.iter().filter_map(|item| match item {
        Item::Const(item) if matches!(&*item.ty, syn::Type::Path(of) if of.path.is_ident("u8")) => Some(item.ident.to_string()),
        _ => None,
    })
}

/// All that the protocol has, by the names of the table.
fn known() -> Vec<String> {
    // The limits have lines of their own.
    let config = fields("config/mod.rs", "ClusterConfig").into_iter().filter(|field| field != "limits");
    let kinds = items("wire/message.rs").into_iter().find_map(|item| match item {
        Item::Mod(item) if item.ident == "kind" => item.content.map(|(_, items)| items),
        _ => None,
    });
    // One marks the pieces of a payload, and one says who has a secret.
    let marks = ["MORE", "FLAG_AUTHENTICATED"];
    let frames = items("wire/handshake/frames.rs");
    let all = [kinds.expect("the kinds"), frames].concat();
    let messages = bytes(&all).filter(|name| !marks.contains(&name.as_str()));
    let with = |prefix: &'static str| move |name: String| format!("{prefix} {name}");
    let messages: Vec<String> = messages.map(with("message")).collect();
    let inputs = variants("io.rs", "Input").into_iter().map(with("input"));
    let limits = fields("config/limits.rs", "Limits").into_iter().map(with("limit"));
    config.map(with("config")).chain(inputs).chain(limits).chain(messages).collect()
}

#[test]
fn all_that_the_protocol_has_is_in_the_table() {
    let table = fs::read_to_string(root().join("tests/sim/matters.txt")).expect("the table");
    let listed = table.lines().filter_map(|line| Some(line.split_once(" %  ")?.1.split(':').next()?.to_string()));
    let of_protocol = |name: &String| ["config ", "input ", "limit ", "message "].iter().any(|prefix| name.starts_with(prefix));
    let mut listed: Vec<String> = listed.filter(of_protocol).collect();
    let mut known = known();
    listed.sort();
    known.sort();
    assert!(known.len() > 60, "only {}", known.len());
    assert_eq!(listed, known);
}
