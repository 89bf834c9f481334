//! No file of the driver uses another one in a circle.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use syn::{Item, UseTree};

/// Each file of a crate, with the names of those that it uses.
type Uses = BTreeMap<String, BTreeSet<String>>;

/// The paths that a use names, as their parts.
fn leaves(tree: &UseTree, before: &[String], found: &mut Vec<Vec<String>>) {
    let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
    match tree {
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, before, found)),
        UseTree::Glob(_) => found.push(before.to_vec()),
        UseTree::Name(name) => found.push(with(&name.ident)),
        UseTree::Path(path) => leaves(&path.tree, &with(&path.ident), found),
        UseTree::Rename(rename) => found.push(with(&rename.ident)),
    }
}

fn uses(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for item in syn::parse_file(text).expect("Rust").items {
        if let Item::Use(item) = item {
            leaves(&item.tree, &[], &mut found);
        }
    }
    found
}

/// Which file uses which, of these names and texts; what a use takes of the crate's root comes from where that has it.
fn graph(root: &str, files: &[(String, String)]) -> Uses {
    let names: BTreeSet<&String> = files.iter().map(|(name, _)| name).collect();
    let exported = uses(root);
    let home = |part: &String| match names.contains(part) {
        true => Some(part.clone()),
        false => exported.iter().find(|path| path.last() == Some(part) && names.contains(&path[0])).map(|path| path[0].clone()),
    };
    let used = |text: &str| {
        let of_crate = uses(text).into_iter().filter(|path| path[0] == "crate" && path.len() > 1);
        of_crate.filter_map(|path| home(&path[1])).collect()
    };
    files.iter().map(|(name, text)| (name.clone(), used(text))).collect()
}

/// The files that are left once those are taken out, one after the other, that use none that is left.
fn circle(mut uses: Uses) -> Vec<String> {
    loop {
        let left: BTreeSet<String> = uses.keys().cloned().collect();
        let before = uses.len();
        uses.retain(|name, used| used.iter().any(|other| other != name && left.contains(other)));
        if uses.len() == before {
            return uses.into_keys().collect();
        }
    }
}

#[test]
fn the_drivers_files_use_each_other_in_one_direction() {
    let folder = source::root().join("noex-driver/src");
    let files = source::files().into_iter().filter(|path| path.starts_with(&folder)).map(|path| {
        let inside = path.strip_prefix(&folder).expect("it is in there").with_extension("");
        let name = inside.iter().next().expect("a file has a name").to_string_lossy().into_owned();
        (name, fs::read_to_string(&path).expect("Rust is text"))
    });
    let (root, files): (Vec<_>, Vec<_>) = files.partition(|(name, _)| name == "lib");
    let uses = graph(&root[0].1, &files);
    assert!(uses["connection"].contains("drive") && uses["run"].contains("runtime"), "{uses:#?}");
    assert_eq!(circle(uses), Vec::<String>::new());
}

#[test]
fn a_circle_is_found() {
    let files = [
        ("cluster", "use crate::drive::Shared;"),
        ("connection", "use crate::drive::{Shared, State};"),
        ("drive", "use std::io; use crate::{Runtime, log};"),
        ("log", "use noex_proto::ClusterEvent;"),
        ("runtime", "use crate::connection::Connection;"),
    ];
    let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let found = circle(graph("mod log; pub use runtime::Runtime;", &files));
    assert_eq!(found, ["cluster", "connection", "drive", "runtime"], "with those that lead there");
}
