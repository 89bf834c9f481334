//! The places of a source where a defect can be made, and the defects of each.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    BinOp, Block, Expr, ExprPath, ExprStruct, ImplItemFn, ItemFn, ItemImpl, ItemMod, Member, ReturnType, Signature, Stmt, Token,
    TraitItemFn, Type,
};

use crate::source::{Declared, Source, is_conditional, owner};

/// What people read, and what tells only whether states are alike.
const APART: [&str; 3] = ["Debug", "Display", "Error"];
const FUNCTIONS_APART: [&str; 2] = ["expecting", "hash_abstraction"];
/// The most characters of the source that a defect's description repeats of one place.
const QUOTED: usize = 60;

/// What a defect does to a statement or an expression.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) enum Kind {
    /// Two arguments of a call, or two fields of one type where a struct is made, change places.
    Arguments,
    /// An assignment or a call is gone.
    Drop,
    /// A call, or an assignment that reads what it changes, stands there twice.
    Duplicate,
    /// Another field of the same type.
    Field,
    /// A statement stands behind the next one.
    Move,
    /// Another constant of the same type, or another variant.
    Sibling,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] = [Self::Arguments, Self::Drop, Self::Duplicate, Self::Field, Self::Move, Self::Sibling];
}

/// A passage of a file by its bytes, and what stands there instead.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Edit {
    pub(crate) at: Range<usize>,
    pub(crate) text: String,
}

/// One mistake.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Defect {
    /// In the order of the file.
    pub(crate) edits: Vec<Edit>,
    pub(crate) file: String,
    pub(crate) function: Function,
    pub(crate) kind: Kind,
    /// It in words.
    pub(crate) what: String,
}

impl Defect {
    /// Where it is, and what.
    pub(crate) fn title(&self) -> String {
        let file = self.file.trim_start_matches("noex-proto/src/").trim_end_matches(".rs");
        format!("`{file}`, `{}`: {}", self.function.name, self.what)
    }
}

/// The function that a defect is in.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Function {
    /// With its braces.
    pub(crate) body: Range<usize>,
    /// The word `const`.
    pub(crate) constness: Option<Range<usize>>,
    pub(crate) name: String,
}

/// A place, with the defects that are possible there: at least one.
pub(crate) type Site = Vec<Defect>;

/// All places in the order of the file.
pub(crate) fn sites(source: &Source, declared: &Declared) -> Vec<Site> {
    let mut sites = Sites { declared, function: None, owner: None, sites: Vec::new(), source };
    sites.visit_file(&source.syntax);
    sites.sites
}

struct Sites<'a> {
    declared: &'a Declared,
    /// The outermost function here.
    function: Option<Function>,
    /// The type that is implemented here.
    owner: Option<String>,
    sites: Vec<Site>,
    source: &'a Source,
}

/// What one alternative of a site changes, and how that reads.
type Change = (Vec<Edit>, String);

impl Sites<'_> {
    fn push(&mut self, kind: Kind, changes: Vec<Change>) {
        let Some(function) = self.function.as_ref().filter(|_| !changes.is_empty()) else { return };
        let defect = |(mut edits, what): Change| {
            edits.sort_by_key(|edit| edit.at.start);
            Defect { edits, file: self.source.path.clone(), function: function.clone(), kind, what }
        };
        self.sites.push(changes.into_iter().map(defect).collect());
    }

    fn text(&self, of: &impl Spanned) -> &str {
        self.source.at(of.span())
    }

    /// What stands there, in one line.
    fn quoted(&self, of: &impl Spanned) -> String {
        quote(self.text(of))
    }

    /// Visits what is in a function. One within another belongs to that.
    fn within(&mut self, signature: &Signature, body: &Block, visit: impl FnOnce(&mut Self)) {
        // Each of its bodies would return a type of its own.
        let is_opaque = matches!(&signature.output, ReturnType::Type(_, of) if matches!(**of, Type::ImplTrait(_)));
        if is_opaque || FUNCTIONS_APART.iter().any(|name| signature.ident == name) {
            return;
        }
        if self.function.is_some() {
            return visit(self);
        }
        let name = self.owner.iter().map(|owner| format!("{owner}::")).chain([signature.ident.to_string()]).collect();
        let constness = signature.constness.map(|word| word.span().byte_range());
        self.function = Some(Function { body: body.span().byte_range(), constness, name });
        visit(self);
        self.function = None;
    }

    fn drop_or_duplicate(&mut self, statement: &Stmt) {
        let Stmt::Expr(expr, Some(_)) = statement else { return };
        let place = || statement.span().byte_range();
        let quoted = self.quoted(statement);
        if is_call(expr) || matches!(expr, Expr::Assign(_)) || is_compound(expr) {
            let edit = Edit { at: place(), text: String::new() };
            self.push(Kind::Drop, vec![(vec![edit], format!("no `{quoted}`"))]);
        }
        if is_call(expr) || is_compound(expr) {
            let edit = Edit { at: place(), text: format!("{0} {0}", self.text(statement)) };
            self.push(Kind::Duplicate, vec![(vec![edit], format!("`{quoted}` twice"))]);
        }
    }

    fn move_behind(&mut self, one: &Stmt, next: &Stmt) {
        let both_bind = matches!((one, next), (Stmt::Local(_), Stmt::Local(_)));
        if both_bind || !is_whole(one) || !is_whole(next) {
            return;
        }
        let what = format!("`{}` behind `{}`", self.quoted(one), self.quoted(next));
        self.push(Kind::Move, vec![(self.swapped(one, next), what)]);
    }

    /// The edits that let two passages change places.
    fn swapped(&self, one: &impl Spanned, other: &impl Spanned) -> Vec<Edit> {
        let edit = |at: proc_macro2::Span, text: &str| Edit { at: at.byte_range(), text: text.into() };
        vec![edit(one.span(), self.text(other)), edit(other.span(), self.text(one))]
    }

    fn arguments(&mut self, arguments: &Punctuated<Expr, Token![,]>) {
        let mut changes = Vec::new();
        for (place, one) in arguments.iter().enumerate() {
            for other in arguments.iter().skip(place + 1) {
                if self.text(one) != self.text(other) {
                    let what = format!("`{}` and `{}` change places", self.quoted(one), self.quoted(other));
                    changes.push((self.swapped(one, other), what));
                }
            }
        }
        self.push(Kind::Arguments, changes);
    }

    fn initialisers(&mut self, of: &ExprStruct) {
        let Some(name) = of.path.segments.last().map(|segment| segment.ident.to_string()) else { return };
        let name = if name == "Self" { self.owner.clone().unwrap_or(name) } else { name };
        let mut changes = Vec::new();
        for (place, one) in of.fields.iter().enumerate() {
            for other in of.fields.iter().skip(place + 1) {
                let (Member::Named(first), Member::Named(second)) = (&one.member, &other.member) else { continue };
                let is_same = self.text(&one.expr) == self.text(&other.expr);
                if is_same || !self.declared.are_of_one_type(&name, &first.to_string(), &second.to_string()) {
                    continue;
                }
                let edit = |field: &syn::FieldValue, name: &syn::Ident, value: &Expr| {
                    let text = format!("{name}: {}", self.text(value));
                    Edit { at: field.span().byte_range(), text }
                };
                let edits = vec![edit(one, first, &other.expr), edit(other, second, &one.expr)];
                changes.push((edits, format!("the values of `{first}` and `{second}` in `{name}` change places")));
            }
        }
        self.push(Kind::Arguments, changes);
    }

    fn field(&mut self, expr: &syn::ExprField) {
        let Member::Named(name) = &expr.member else { return };
        let is_self = matches!(&*expr.base, Expr::Path(path) if path.path.is_ident("self"));
        let owner = self.owner.as_deref().filter(|_| is_self);
        let siblings = self.declared.sibling_fields(owner, &name.to_string());
        self.replace(Kind::Field, &self.quoted(expr), name.span().byte_range(), siblings);
    }

    fn path(&mut self, expr: &ExprPath) {
        let segments: Vec<String> = expr.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let Some((name, before)) = segments.split_last() else { return };
        let of = before.last().map(String::as_str);
        let of = if of == Some("Self") { self.owner.as_deref() } else { of };
        let mut siblings = of.map_or_else(Vec::new, |of| self.declared.sibling_variants(of, name));
        siblings.extend(self.declared.sibling_constants(name));
        let Some(last) = expr.path.segments.last() else { return };
        self.replace(Kind::Sibling, &self.quoted(expr), last.ident.span().byte_range(), siblings);
    }

    /// One of `names` in the place of a name.
    fn replace(&mut self, kind: Kind, whole: &str, at: Range<usize>, names: Vec<String>) {
        let change = |name: String| {
            let what = format!("`{name}` in place of `{whole}`");
            (vec![Edit { at: at.clone(), text: name }], what)
        };
        self.push(kind, names.into_iter().map(change).collect());
    }
}

impl<'ast> Visit<'ast> for Sites<'_> {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_conditional(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let of = item.trait_.as_ref().and_then(|(_, path, _)| path.segments.last());
        if is_conditional(&item.attrs) || of.is_some_and(|of| APART.iter().any(|name| of.ident == name)) {
            return;
        }
        let outer = std::mem::replace(&mut self.owner, owner(&item.self_ty));
        visit::visit_item_impl(self, item);
        self.owner = outer;
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        if !is_conditional(&item.attrs) {
            self.within(&item.sig, &item.block, |sites| visit::visit_item_fn(sites, item));
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        if !is_conditional(&item.attrs) {
            self.within(&item.sig, &item.block, |sites| visit::visit_impl_item_fn(sites, item));
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let Some(body) = &item.default {
            self.within(&item.sig, body, |sites| visit::visit_trait_item_fn(sites, item));
        }
    }

    fn visit_block(&mut self, block: &'ast Block) {
        for statement in &block.stmts {
            self.drop_or_duplicate(statement);
        }
        for pair in block.stmts.windows(2) {
            self.move_behind(&pair[0], &pair[1]);
        }
        visit::visit_block(self, block);
    }

    fn visit_expr(&mut self, expr: &'ast Expr) {
        match expr {
            Expr::Call(call) => self.arguments(&call.args),
            Expr::Field(field) => self.field(field),
            Expr::MethodCall(call) => self.arguments(&call.args),
            Expr::Path(path) => self.path(path),
            Expr::Struct(of) => self.initialisers(of),
            _ => {}
        }
        visit::visit_expr(self, expr);
    }
}

fn is_call(expr: &Expr) -> bool {
    match expr {
        Expr::Call(_) | Expr::MethodCall(_) => true,
        Expr::Try(of) => is_call(&of.expr),
        _ => false,
    }
}

/// Whether it is an assignment such as `+=`.
fn is_compound(expr: &Expr) -> bool {
    use BinOp::{
        AddAssign, BitAndAssign, BitOrAssign, BitXorAssign, DivAssign, MulAssign, RemAssign, ShlAssign, ShrAssign, SubAssign,
    };
    let Expr::Binary(binary) = expr else { return false };
    matches!(
        binary.op,
        AddAssign(_)
            | BitAndAssign(_)
            | BitOrAssign(_)
            | BitXorAssign(_)
            | DivAssign(_)
            | MulAssign(_)
            | RemAssign(_)
            | ShlAssign(_)
            | ShrAssign(_)
            | SubAssign(_)
    )
}

/// Whether it is a statement and not the value of its block.
fn is_whole(statement: &Stmt) -> bool {
    match statement {
        Stmt::Expr(_, Some(_)) | Stmt::Local(_) => true,
        Stmt::Expr(Expr::If(of), None) => of.else_branch.is_none(),
        Stmt::Expr(Expr::ForLoop(_) | Expr::While(_), None) => true,
        Stmt::Expr(..) | Stmt::Item(_) | Stmt::Macro(_) => false,
    }
}

fn quote(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{} ...", line[..end].trim_end()),
        None => line,
    }
}
