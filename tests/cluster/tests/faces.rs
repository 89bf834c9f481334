//! The public faces of the adapters: what an application names must be the same whichever it takes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use syn::{Attribute, ImplItem, Item, ItemImpl, Type, UseTree, Visibility};

/// Name, crate root and manifest of each adapter.
const ADAPTERS: [(&str, &str, &str); 3] = [
    ("Tokio", include_str!("../../../noex-tokio/src/lib.rs"), include_str!("../../../noex-tokio/Cargo.toml")),
    ("AsyncStd", include_str!("../../../noex-async-std/src/lib.rs"), include_str!("../../../noex-async-std/Cargo.toml")),
    ("Smol", include_str!("../../smol/src/lib.rs"), include_str!("../../smol/Cargo.toml")),
];

/// Each public item as a line, in which the adapter's own type is called `Runtime`.
///
/// Only such items are understood as an adapter consists of; any other is an error, so that none goes unseen.
fn face(source: &str, runtime: &str) -> Result<BTreeSet<String>, String> {
    let mut face = BTreeSet::new();
    let file = syn::parse_file(source).map_err(|error| error.to_string())?;
    for item in &file.items {
        let lines = match item {
            Item::Impl(item) if private(item) => vec![],
            Item::Impl(item) => vec![implementation(item, runtime)?],
            Item::Struct(item) => match &item.vis {
                Visibility::Public(_) if item.ident == runtime && item.generics.params.is_empty() => {
                    if item.fields.iter().any(|field| !matches!(field.vis, Visibility::Inherited)) {
                        return Err(format!("{runtime} has a public field"));
                    }
                    vec![format!("struct Runtime {}", derives(&item.attrs)?)]
                }
                Visibility::Public(_) => return Err(format!("a struct {}", item.ident)),
                Visibility::Inherited => vec![],
                Visibility::Restricted(_) => return Err(format!("a struct {}", item.ident)),
            },
            Item::Type(item) if matches!(item.vis, Visibility::Public(_)) => {
                vec![format!("type {} = {}", item.ident, alias(&item.ty, runtime)?)]
            }
            Item::Use(item) if matches!(item.vis, Visibility::Public(_)) => {
                let mut names = Vec::new();
                leaves(&item.tree, "", &mut names)?;
                names
            }
            Item::Const(item) if matches!(item.vis, Visibility::Inherited) => vec![],
            Item::Fn(item) if matches!(item.vis, Visibility::Inherited) => vec![],
            Item::Type(item) if matches!(item.vis, Visibility::Inherited) => vec![],
            Item::Use(item) if matches!(item.vis, Visibility::Inherited) => vec![],
            _ => return Err("an item of a kind that no adapter needs".to_owned()),
        };
        for line in lines {
            if !face.insert(line.clone()) {
                return Err(format!("twice: {line}"));
            }
        }
    }
    Ok(face)
}

/// `noex_driver::Name<Runtime>`.
fn alias(ty: &Type, runtime: &str) -> Result<String, String> {
    let Type::Path(path) = ty else { return Err("an alias of no path".to_owned()) };
    let segments: Vec<_> = path.path.segments.iter().collect();
    let [root, name] = segments[..] else { return Err("an alias of another depth".to_owned()) };
    let syn::PathArguments::AngleBracketed(arguments) = &name.arguments else {
        return Err("an alias without a runtime".to_owned());
    };
    match arguments.args.first() {
        Some(syn::GenericArgument::Type(Type::Path(path))) if path.path.is_ident(runtime) && arguments.args.len() == 1 => {
            Ok(format!("{}::{}<Runtime>", root.ident, name.ident))
        }
        _ => Err(format!("{} is not of {runtime}", name.ident)),
    }
}

fn derives(attrs: &[Attribute]) -> Result<String, String> {
    let mut derives = BTreeSet::new();
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("derive")) {
        attr.parse_nested_meta(|meta| {
            derives.extend(meta.path.get_ident().map(ToString::to_string));
            Ok(())
        })
        .map_err(|error| error.to_string())?;
    }
    Ok(format!("{derives:?}"))
}

fn implementation(item: &ItemImpl, runtime: &str) -> Result<String, String> {
    let of_trait = item.trait_.as_ref().and_then(|(_, path, _)| path.segments.last());
    match (&*item.self_ty, of_trait) {
        (Type::Path(ty), Some(name)) if ty.path.is_ident(runtime) && item.generics.params.is_empty() => {
            Ok(format!("impl {} for Runtime", name.ident))
        }
        _ => Err("an impl block of its own".to_owned()),
    }
}

/// Whether nobody outside can name anything in it.
fn private(item: &ItemImpl) -> bool {
    let inherited = |part: &ImplItem| matches!(part, ImplItem::Fn(part) if matches!(part.vis, Visibility::Inherited));
    item.trait_.is_none() && item.items.iter().all(inherited)
}

fn leaves(tree: &UseTree, path: &str, names: &mut Vec<String>) -> Result<(), String> {
    match tree {
        UseTree::Glob(_) => return Err(format!("a glob of {path}")),
        UseTree::Group(group) => group.items.iter().try_for_each(|tree| leaves(tree, path, names))?,
        UseTree::Name(name) => names.push(format!("use {path}{}", name.ident)),
        UseTree::Path(inner) => leaves(&inner.tree, &format!("{path}{}::", inner.ident), names)?,
        UseTree::Rename(rename) => return Err(format!("{} under another name", rename.ident)),
    }
    Ok(())
}

/// The features of a manifest, with what they turn on.
fn features(manifest: &str) -> Vec<&str> {
    let lines = manifest.lines().skip_while(|line| *line != "[features]").skip(1);
    lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

#[test]
fn adapters_have_the_same_public_items() {
    let [expected, others @ ..] = ADAPTERS.map(|(runtime, source, _)| (runtime, face(source, runtime).unwrap()));
    for known in [
        "impl Runtime for Runtime",
        "struct Runtime {\"Clone\", \"Debug\"}",
        "type Cluster = noex_driver::Cluster<Runtime>",
        "type WeakCluster = noex_driver::WeakCluster<Runtime>",
        "use noex_driver::EventStream",
        "use noex_driver::ClusterConfig",
        "use noex_driver::StartError",
    ] {
        assert!(expected.1.contains(known), "{known} is not seen in {:#?}", expected.1);
    }
    assert!(expected.1.len() > 30, "only {} items are seen", expected.1.len());
    for (runtime, face) in others {
        let differences: Vec<_> = face.symmetric_difference(&expected.1).collect();
        assert!(differences.is_empty(), "{runtime} and {} differ: {differences:#?}", expected.0);
    }
}

/// The text of an item's documentation as it stands in the source, with the names of macros that write some of it.
fn documentation(attrs: &[Attribute]) -> String {
    let docs = attrs.iter().filter(|attr| attr.path().is_ident("doc"));
    let texts = docs.map(|attr| match &attr.meta.require_name_value().unwrap().value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => text.value(),
        syn::Expr::Macro(syn::ExprMacro { mac, .. }) => {
            mac.path.segments.iter().map(|part| part.ident.to_string()).collect::<Vec<_>>().join("::") + "!"
        }
        _ => panic!("a documentation of another kind"),
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// Rustdoc shows nothing of what an alias stands for but its methods.
#[test]
fn aliases_say_what_one_has_to_know() {
    let alias = |source: &str, name: &str| {
        let file = syn::parse_file(source).unwrap();
        let mut aliases = file.items.iter().filter_map(|item| match item {
            Item::Type(item) if item.ident == name => Some(documentation(&item.attrs)),
            _ => None,
        });
        aliases.next().unwrap()
    };
    for (runtime, source, _) in ADAPTERS {
        let text = alias(source, "Cluster");
        assert!(text.ends_with("noex_driver::cluster_doc!"), "{runtime}: {text}");
    }
    let streams = include_str!("../../../noex-driver/src/streams.rs");
    for name in ["EventStream", "MessageStream"] {
        let text = alias(streams, name);
        assert!(text.contains("[`next`](Subscribed::next)"), "{text}");
    }
}

/// Of several blocks of methods rustdoc shows the last one first where an adapter's alias has them.
#[test]
fn starting_and_stopping_come_first() {
    let file = syn::parse_file(include_str!("../../../noex-driver/src/cluster.rs")).unwrap();
    let blocks = file.items.iter().filter_map(|item| match item {
        Item::Impl(item) if item.trait_.is_none() => match &*item.self_ty {
            Type::Path(ty) if ty.path.segments.last().unwrap().ident == "Cluster" => Some(item),
            _ => None,
        },
        _ => None,
    });
    let [block] = blocks.collect::<Vec<_>>()[..] else { panic!("the methods are in one block") };
    let methods = block.items.iter().filter_map(|item| match item {
        ImplItem::Fn(method) if matches!(method.vis, Visibility::Public(_)) => Some(method.sig.ident.to_string()),
        _ => None,
    });
    assert_eq!(methods.take(4).collect::<Vec<_>>(), ["new", "with_recorder", "start", "stop"]);
}

#[test]
fn adapters_have_the_same_features() {
    let [expected, others @ ..] = ADAPTERS.map(|(_, _, manifest)| features(manifest));
    assert!(expected.contains(&"tracing = [\"noex-driver/tracing\"]"), "{expected:?}");
    for other in others {
        assert_eq!(other, expected);
    }
}

/// What the comparison has to notice.
#[test]
fn differences_are_seen() {
    let whole = "pub use noex_driver::{ClusterConfig, Limits}; use std::io; pub type Cluster = noex_driver::Cluster<X>; \
                 #[derive(Clone)] pub struct X(()); impl noex_driver::Runtime for X {}";
    let expected = face(whole, "X").unwrap();
    assert_eq!(expected.len(), 5, "{expected:?}");
    for (from, to) in [
        (", Limits", ""),
        ("noex_driver::{", "noex_proto::{"),
        ("type Cluster ", "type Node "),
        ("= noex_driver::Cluster<", "= noex_driver::WeakCluster<"),
        ("#[derive(Clone)]", ""),
        ("impl noex_driver::Runtime for X {}", ""),
        ("impl noex_driver::Runtime", "impl Default"),
        ("pub type", "type"),
    ] {
        let changed = whole.replace(from, to);
        assert_ne!(changed, whole);
        assert_ne!(face(&changed, "X").unwrap(), expected, "{changed}");
    }
    for (more, refused) in [
        ("pub use noex_driver::defaults::*;", "a glob"),
        ("pub use noex_driver::Message as Letter;", "another name"),
        ("pub fn start() {}", "no adapter needs"),
        ("pub mod more {}", "no adapter needs"),
        ("more!();", "no adapter needs"),
        ("impl X { pub fn more(&self) {} }", "of its own"),
        ("pub struct More;", "a struct"),
        ("pub type More = noex_driver::More<Y>;", "is not of X"),
        ("pub use noex_driver::Limits;", "twice"),
    ] {
        let error = face(&format!("{whole} {more}"), "X").unwrap_err();
        assert!(error.contains(refused), "{more}: {error}");
    }
    assert_eq!(face(&format!("{whole} impl X {{ fn own(&self) {{}} }}"), "X").unwrap(), expected);
    let open = whole.replace("X(())", "X(pub ())");
    assert!(face(&open, "X").unwrap_err().contains("public field"));
}

/// A message of an application may hold any of these, whichever runtime its nodes run in.
#[test]
fn streams_and_subscriptions_name_no_runtime() {
    let (tokio, other) = (noex_tokio::Cluster::new(), noex_async_std::Cluster::new());
    let streams: [noex_tokio::EventStream; 2] = [tokio.events(), other.events()];
    let handlers: [noex_async_std::Subscription; 2] = [tokio.on_error(|_| ()), other.on_error(|_| ())];
    drop(streams);
    handlers.iter().for_each(noex_tokio::Subscription::unsubscribe);
}
