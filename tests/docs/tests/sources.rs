//! An error that holds another one gives it as its source.

mod source;

use std::collections::BTreeSet;
use std::fs;

use syn::{Fields, GenericArgument, ImplItem, Item, PathArguments, Type};

/// The types that a file declares an error, each with whether it says what its source is.
fn errors(text: &str) -> Vec<(String, bool)> {
    let file = syn::parse_file(text).expect("Rust");
    let found = file.items.iter().filter_map(|item| {
        let Item::Impl(item) = item else { return None };
        let of = item.trait_.as_ref()?.1.segments.last()?;
        let Type::Path(path) = &*item.self_ty else { return None };
        let tells = item.items.iter().any(|item| matches!(item, ImplItem::Fn(function) if function.sig.ident == "source"));
        let name = path.path.segments.last()?.ident.to_string();
        // Of `impl de::Error for X` there is no source to tell.
        (of.ident == "Error" && item.trait_.as_ref()?.1.segments.first()?.ident != "de").then_some((name, tells))
    });
    found.collect()
}

/// The names of the types in a field, also within an `Option` or the like.
fn names(of: &Type, found: &mut BTreeSet<String>) {
    let Type::Path(path) = of else { return };
    let Some(last) = path.path.segments.last() else { return };
    found.insert(last.ident.to_string());
    if let PathArguments::AngleBracketed(arguments) = &last.arguments {
        for argument in &arguments.args {
            if let GenericArgument::Type(inner) = argument {
                names(inner, found);
            }
        }
    }
}

/// The types of a file, each with the names of the types that its fields have.
fn parts(text: &str) -> Vec<(String, BTreeSet<String>)> {
    let file = syn::parse_file(text).expect("Rust");
    let held = |fields: Vec<Fields>| {
        let mut found = BTreeSet::new();
        fields.iter().flatten().for_each(|field| names(&field.ty, &mut found));
        found
    };
    let found = file.items.into_iter().filter_map(|item| match item {
        Item::Enum(item) => {
            Some((item.ident.to_string(), held(item.variants.into_iter().map(|variant| variant.fields).collect())))
        }
        Item::Struct(item) => Some((item.ident.to_string(), held(vec![item.fields]))),
        _ => None,
    });
    found.collect()
}

/// The errors in these files that hold another one and keep it to themselves.
fn silent(texts: &[String]) -> Vec<String> {
    let errors: Vec<(String, bool)> = texts.iter().flat_map(|text| errors(text)).collect();
    let mut causes: BTreeSet<String> = errors.iter().map(|(name, _)| name.clone()).collect();
    causes.insert("Cause".into());
    let parts: Vec<(String, BTreeSet<String>)> = texts.iter().flat_map(|text| parts(text)).collect();
    let holds = |error: &str| parts.iter().any(|(name, held)| name == error && !held.is_disjoint(&causes));
    errors.iter().filter(|(name, tells)| !tells && holds(name)).map(|(name, _)| name.clone()).collect()
}

#[test]
fn each_error_that_holds_another_gives_it_as_its_source() {
    let crates = ["noex-driver", "noex-proto"].map(|name| source::root().join(name).join("src"));
    let sources = source::files().into_iter().filter(|path| crates.iter().any(|source| path.starts_with(source)));
    let texts: Vec<String> = sources.map(|path| fs::read_to_string(path).expect("Rust is text")).collect();
    let count = texts.iter().flat_map(|text| errors(text)).count();
    assert!(count >= 20, "only {count} errors");
    assert_eq!(silent(&texts), Vec::<String>::new());
}

#[test]
fn an_error_that_keeps_its_cause_to_itself_is_found() {
    let text = "impl Error for Gone {}
                pub struct Gone;
                impl core::error::Error for SendError {}
                pub enum SendError { Gone(Gone) }
                impl Error for StartError {}
                pub enum StartError { Bind { cause: Option<Cause> } }
                impl Error for WaitError { fn source(&self) -> Option<&dyn Error> { Some(&self.0) } }
                pub struct WaitError(Gone);
                struct NoError { cause: Cause }";
    assert_eq!(silent(&[text.into()]), ["SendError", "StartError"]);
}
