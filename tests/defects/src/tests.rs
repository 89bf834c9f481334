//! Which defects are drawn from a small source, and what becomes of it where they are planted.

use crate::draw::shuffled;
use crate::plant::{edited, planted};
use crate::sites::{Defect, Kind, sites};
use crate::source::{Declared, Source};
use crate::table;

fn source(text: &str) -> Source {
    Source::parse("src/sample.rs", text.into()).expect("it parses")
}

/// All defects of a kind.
fn defects(text: &str, kind: Kind) -> Vec<Defect> {
    let sources = [source(text)];
    let declared = Declared::in_all(&sources);
    sites(&sources[0], &declared).into_iter().flatten().filter(|defect| defect.kind == kind).collect()
}

/// The body of the only function with each defect of a kind, given what is declared beside it.
fn bodies(declared: &str, body: &str, kind: Kind) -> Vec<String> {
    let text = format!("{declared} fn f() {{ {body} }}");
    let defects = defects(&text, kind);
    let body = |defect: &Defect| {
        let text = edited(&text, &defect.edits);
        text[defect.function.body.start + 2..text.len() - 2].to_owned()
    };
    defects.iter().map(body).collect()
}

#[test]
fn two_arguments_change_places() {
    assert_eq!(bodies("", "g(a, b, 1)", Kind::Arguments), ["g(b, a, 1)", "g(1, b, a)", "g(a, 1, b)"]);
    assert_eq!(bodies("", "x.g(a, a)", Kind::Arguments), [""; 0]);
}

#[test]
fn two_values_of_one_type_change_places_where_a_struct_is_made() {
    let declared = "struct S { a: u8, b: u8, c: u16 } enum E { V { a: u8, b: u8 } }";
    assert_eq!(bodies(declared, "S { a: 1, b, c }", Kind::Arguments), ["S { a: b, b: 1, c }"]);
    assert_eq!(bodies(declared, "S { a: 1, b: 1, c }", Kind::Arguments), [""; 0]);
    assert_eq!(bodies(declared, "E::V { a, b }", Kind::Arguments), ["E::V { a: b, b: a }"]);
}

#[test]
fn an_assignment_or_a_call_is_gone() {
    assert_eq!(bodies("", "a = 1; if b { c()?; } d", Kind::Drop), [" if b { c()?; } d", "a = 1; if b {  } d"]);
    assert_eq!(bodies("", "let a = b(); return; c()", Kind::Drop), [""; 0]);
}

#[test]
fn a_call_or_what_adds_stands_there_twice() {
    assert_eq!(bodies("", "a += 1; b = 1; c()", Kind::Duplicate), ["a += 1; a += 1; b = 1; c()"]);
    assert_eq!(bodies("", "a.b();", Kind::Duplicate), ["a.b(); a.b();"]);
}

#[test]
fn a_statement_stands_behind_the_next_one() {
    assert_eq!(bodies("", "let a = 1; b(); c", Kind::Move), ["b(); let a = 1; c"]);
    assert_eq!(bodies("", "b(); if c { d } ", Kind::Move), ["if c { d } b(); "]);
    assert_eq!(bodies("", "let a = 1; let b = 1; c", Kind::Move), [""; 0]);
}

#[test]
fn a_field_of_the_same_type_takes_the_place_of_another() {
    let declared = "struct S { a: u8, b: u8, c: u16 }";
    assert_eq!(bodies(declared, "x.y.a + z.c + z.d", Kind::Field), ["x.y.b + z.c + z.d"]);
}

#[test]
fn a_field_of_self_is_one_of_its_type() {
    let text = "struct S { a: u8, b: u8 } struct T { a: u8, c: u8 } impl S { fn f(&self) { self.a; } }";
    let what: Vec<String> = defects(text, Kind::Field).into_iter().map(|defect| defect.what).collect();
    assert_eq!(what, ["`b` in place of `self.a`"]);
}

#[test]
fn a_constant_or_variant_takes_the_place_of_a_sibling() {
    let declared = "const A: u8 = 1; const B: u8 = 2; const C: u16 = 3; mod m { const D: u8 = 4; } enum E { X, Y, Z(u8) }";
    assert_eq!(bodies(declared, "m::A + C", Kind::Sibling), ["m::B + C"]);
    assert_eq!(
        bodies(declared, "match x { E::X => E::Y, _ => E::Z(1) }", Kind::Sibling),
        ["match x { E::X => E::X, _ => E::Z(1) }"]
    );
}

#[test]
fn tests_and_what_people_read_have_no_defects() {
    for text in [
        "#[cfg(test)] mod tests { fn f() { g(); } }",
        "#[cfg(test)] fn f() { g(); }",
        "impl fmt::Display for S { fn fmt(&self) { g(); } }",
        "fn hash_abstraction() { g(); }",
        "fn f() -> impl Iterator { g(); a }",
    ] {
        assert_eq!(defects(text, Kind::Drop), [], "{text}");
    }
}

#[test]
fn the_same_seed_draws_the_same_defects() {
    let sources = [source("fn f() { a(); b(); c(); d(); e(); } fn g() { h(); i(); j(); k(); }")];
    assert_eq!(shuffled(&sources, 1), shuffled(&sources, 1));
    assert_ne!(shuffled(&sources, 1), shuffled(&sources, 2));
    let all = |seed| shuffled(&sources, seed).values().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(all(1), [9, 9, 7], "drop, duplicate, move");
}

#[test]
fn a_change_elsewhere_leaves_the_order_of_the_rest() {
    let before = [source("fn f() { a(); b(); c(); d(); e(); }")];
    let after = [source("fn g() { h(); } fn f() { a(); b(); c(); d(); e(); }")];
    let what = |sources: &[Source]| {
        let drops = shuffled(sources, 1).remove(&Kind::Drop).expect("there are calls").into_iter();
        drops.map(|defect| defect.what).filter(|what| what != "no `h();`").collect::<Vec<_>>()
    };
    assert_eq!(what(&before), what(&after));
}

#[test]
fn a_function_with_defects_has_a_body_for_each() {
    let text = "fn e() {}\nconst fn f() {\n    a();\n    b();\n}\n";
    let defects = defects(text, Kind::Drop);
    let numbered: Vec<(usize, &Defect)> = defects.iter().enumerate().map(|(number, defect)| (number + 7, defect)).collect();
    let planted = planted(text, &numbered);
    let (without_a, without_b) = ("{\n    \n    b();\n}", "{\n    a();\n    \n}");
    let body = format!(
        "{{ match crate::defect::active() {{\n7 => {without_a}\n8 => {without_b}\n_ => {{\n    a();\n    b();\n}}\n}} }}"
    );
    assert_eq!(planted.text, format!("fn e() {{}}\n fn f() {body}\n"));
    assert_eq!(planted.bodies, [(7, 3..7), (8, 7..11)]);
    syn::parse_file(&planted.text).expect("it parses");
}

#[test]
fn a_defect_reads_as_a_diff() {
    let text = "fn f() {\n    a();\n    b();\n    c();\n}\n";
    let defects = defects(text, Kind::Move);
    assert_eq!(table::diff(&source(text), &defects[1]), "src/sample.rs:3\n-    b();\n-    c();\n+    c();\n+    b();\n");
}
