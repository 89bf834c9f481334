//! Public types can grow: a new variant or a new field breaks no application.

mod source;

use std::fs;

use syn::{Attribute, Fields, Item, Visibility};

/// Where one new thing must break whoever builds or matches it, or where nothing can be added.
const EXHAUSTIVE: [(&str, &str); 19] = [
    ("Action", "a driver that ignores an action is broken"),
    ("Books", "hidden, and for this repository's simulator alone"),
    ("Bound", "an adapter has to say all of it"),
    ("Close", "a driver has to know each way to close"),
    ("ConnId", "a number"),
    ("Destination", "a driver makes one of what an address names"),
    ("Input", "what happened, as each driver builds it"),
    ("LocalNetwork", "a driver has to look for all of it"),
    ("LookupId", "a number"),
    ("OpenWith", "hidden, and for this repository's simulator alone"),
    ("Phase", "of the feature testing: a driver's tests tell all phases of a connection apart"),
    ("ProcessAction", "a new action has to break every driver"),
    ("ProcessInput", "a new input has to break whoever tells inputs apart"),
    ("ProtocolHash", "eight bytes"),
    ("Rule", "of the feature testing: the simulator has an invariant for each rule"),
    ("SystemTimes", "it has no value"),
    ("Told", "of the feature testing: a test says what a reader knows when it begins"),
    ("Violation", "of the feature testing: a rule and a text"),
    ("WallTime", "a duration"),
];

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn is_marked(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident("non_exhaustive"))
}

/// Whether any crate can build it with a literal: there is no private field.
fn is_open(fields: &Fields) -> bool {
    fields.iter().all(|field| is_public(&field.vis))
}

/// The public types of a file that could be built or matched exhaustively elsewhere.
fn exhaustive(text: &str) -> Vec<String> {
    let file = syn::parse_file(text).expect("Rust");
    let found = file.items.into_iter().filter_map(|item| match item {
        Item::Enum(item) if is_public(&item.vis) && !is_marked(&item.attrs) => Some(item.ident),
        Item::Struct(item) if is_public(&item.vis) && !is_marked(&item.attrs) && is_open(&item.fields) => Some(item.ident),
        _ => None,
    });
    found.map(|name| name.to_string()).collect()
}

#[test]
fn what_applications_read_may_get_more_variants_and_fields() {
    let crates = ["noex-async-std", "noex-driver", "noex-proto", "noex-tokio"].map(|name| source::root().join(name).join("src"));
    let sources = source::files().into_iter().filter(|path| crates.iter().any(|source| path.starts_with(source)));
    let mut found: Vec<String> = sources.flat_map(|path| exhaustive(&fs::read_to_string(path).expect("Rust is text"))).collect();
    found.sort();
    assert_eq!(found, EXHAUSTIVE.map(|(name, _)| name), "mark these as non_exhaustive, or say here why not");
}

#[test]
fn an_open_type_is_found() {
    let text = "pub enum Error { Full }
                pub struct Counters { pub ups: u64 }
                pub struct NotStarted;
                #[non_exhaustive] pub enum Reason { Left }
                #[non_exhaustive] pub struct Usage { pub members: usize }
                pub struct Id(u64);
                pub struct Info { pub id: Id, size: usize }
                enum Private { State }";
    assert_eq!(exhaustive(text), ["Error", "Counters", "NotStarted"]);
}
