//! The sources that defects are drawn from, and what is declared in them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::{Attribute, Fields, ImplItem, Item, Type};

/// What decides nothing: it tells or compares for tests, or shows a fuzz target what is not public.
const APART: [&str; 4] = ["abstraction.rs", "audit.rs", "fuzzing.rs", "usage.rs"];

/// A file of the machine.
pub(crate) struct Source {
    /// Its path below the workspace.
    pub(crate) path: String,
    pub(crate) syntax: syn::File,
    pub(crate) text: String,
}

impl Source {
    /// Reads a source.
    ///
    /// # Errors
    /// Where it does not parse.
    pub(crate) fn parse(path: &str, text: String) -> Result<Self, String> {
        let syntax = syn::parse_file(&text).map_err(|error| format!("{path}: {error}"))?;
        Ok(Self { path: path.into(), syntax, text })
    }

    /// The sources of the machine in the order of their paths, without tests and what decides nothing.
    ///
    /// # Errors
    /// Where one cannot be read or does not parse.
    pub(crate) fn all(workspace: &Path) -> Result<Vec<Self>, String> {
        let mut paths = Vec::new();
        files(&workspace.join("noex-proto/src"), &mut paths).map_err(|error| format!("noex-proto/src: {error}"))?;
        let names = paths.iter().filter_map(|path| path.strip_prefix(workspace).ok()?.to_str());
        let mut names: Vec<&str> = names.filter(|name| is_of_the_machine(name)).collect();
        names.sort_unstable();
        let read = |name: &str| {
            let text = fs::read_to_string(workspace.join(name)).map_err(|error| format!("{name}: {error}"))?;
            Self::parse(name, text)
        };
        names.into_iter().map(read).collect()
    }

    /// What stands at `span`.
    pub(crate) fn at(&self, span: Span) -> &str {
        &self.text[span.byte_range()]
    }
}

fn files(folder: &Path, paths: &mut Vec<std::path::PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, paths)?;
        } else {
            paths.push(path);
        }
    }
    Ok(())
}

fn is_of_the_machine(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.ends_with(".rs")
        && name != "tests.rs"
        && !path.contains("/tests/")
        && !path.contains("/testing/")
        && !APART.contains(&name)
}

/// Whether an item is compiled only under a condition, as tests are.
pub(crate) fn is_conditional(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident("cfg"))
}

/// A constant, and where it stands beside others: in a module, or in the implementation of a type.
#[derive(Debug)]
struct Constant {
    group: String,
    name: String,
    of: String,
}

/// What the sources declare.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    constants: Vec<Constant>,
    /// Of each struct, and of each variant with named fields, the fields with their types.
    fields: BTreeMap<String, Vec<(String, String)>>,
    /// Of each enum, the variants without fields.
    variants: BTreeMap<String, Vec<String>>,
}

impl Declared {
    pub(crate) fn in_all(sources: &[Source]) -> Self {
        let mut declared = Self::default();
        for source in sources {
            declared.items(source, &source.path, &source.syntax.items);
        }
        declared
    }

    fn items(&mut self, source: &Source, group: &str, items: &[Item]) {
        for item in items {
            match item {
                Item::Const(item) => self.constant(group, item.ident.to_string(), source.at(item.ty.span())),
                Item::Enum(item) => {
                    let variants = item.variants.iter();
                    let plain = variants.filter(|variant| variant.fields.is_empty()).map(|variant| variant.ident.to_string());
                    self.variants.insert(item.ident.to_string(), plain.collect());
                    for variant in &item.variants {
                        self.named(source, variant.ident.to_string(), &variant.fields);
                    }
                }
                Item::Impl(item) => {
                    let group = owner(&item.self_ty).unwrap_or_default();
                    for item in &item.items {
                        if let ImplItem::Const(item) = item {
                            self.constant(&group, item.ident.to_string(), source.at(item.ty.span()));
                        }
                    }
                }
                Item::Mod(item) if !is_conditional(&item.attrs) => {
                    let group = format!("{group} {}", item.ident);
                    self.items(source, &group, item.content.as_ref().map_or(&[], |(_, items)| items));
                }
                Item::Struct(item) => self.named(source, item.ident.to_string(), &item.fields),
                _ => {}
            }
        }
    }

    fn constant(&mut self, group: &str, name: String, of: &str) {
        self.constants.push(Constant { group: group.into(), name, of: of.into() });
    }

    fn named(&mut self, source: &Source, name: String, fields: &Fields) {
        let named = |field: &syn::Field| Some((field.ident.as_ref()?.to_string(), source.at(field.ty.span()).into()));
        let fields: Vec<_> = fields.iter().filter_map(named).collect();
        if !fields.is_empty() {
            self.fields.insert(name, fields);
        }
    }

    /// The other fields of the same type in the struct `owner`, or in each that has a field of this name: the compiler knows which it is.
    pub(crate) fn sibling_fields(&self, owner: Option<&str>, name: &str) -> Vec<String> {
        let of = |fields: &[(String, String)]| {
            let kind = fields.iter().find(|(field, _)| field == name).map(|(_, kind)| kind.clone());
            let others = fields.iter().filter(move |(field, of)| field != name && Some(of) == kind.as_ref());
            others.map(|(field, _)| field.clone()).collect::<Vec<_>>()
        };
        let structs = self.fields.iter().filter(|(name, _)| owner.is_none_or(|owner| owner == *name));
        unique(structs.flat_map(|(_, fields)| of(fields)).collect())
    }

    /// Whether two fields of a struct or variant are of one type.
    pub(crate) fn are_of_one_type(&self, owner: &str, one: &str, other: &str) -> bool {
        let Some(fields) = self.fields.get(owner) else { return false };
        let of = |name| fields.iter().find(|(field, _)| field == name).map(|(_, kind)| kind);
        of(one).is_some() && of(one) == of(other)
    }

    /// The other constants of the same type that stand beside one of this name.
    pub(crate) fn sibling_constants(&self, name: &str) -> Vec<String> {
        let named = self.constants.iter().filter(|constant| constant.name == name);
        let beside = |one: &&Constant| {
            let (group, of) = (one.group.clone(), one.of.clone());
            self.constants.iter().filter(move |other| other.group == group && other.of == of && other.name != name)
        };
        let named: Vec<&Constant> = named.collect();
        unique(named.iter().flat_map(beside).map(|constant| constant.name.clone()).collect())
    }

    /// The other variants without fields.
    pub(crate) fn sibling_variants(&self, of: &str, name: &str) -> Vec<String> {
        let variants = self.variants.get(of).map_or(&[][..], Vec::as_slice);
        if !variants.iter().any(|variant| variant == name) {
            return Vec::new();
        }
        variants.iter().filter(|variant| *variant != name).cloned().collect()
    }
}

fn unique(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names.dedup();
    names
}

/// The name of the type that is implemented.
pub(crate) fn owner(of: &Type) -> Option<String> {
    match of {
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
        _ => None,
    }
}
