//! What people read: a defect as a diff, and the table of the verdicts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::draw::Drawn;
use crate::judges::{Judge, Verdict};
use crate::plant::edited;
use crate::sites::Defect;
use crate::source::Source;

/// The lines that a defect changes, as they are and as it has them.
pub(crate) fn diff(source: &Source, defect: &Defect) -> String {
    let after = edited(&source.text, &defect.edits);
    let (before, after): (Vec<&str>, Vec<&str>) = (source.text.lines().collect(), after.lines().collect());
    let alike = before.iter().zip(&after).take_while(|(one, other)| one == other).count();
    let rest = before.len().min(after.len()) - alike;
    let alike_behind = before.iter().rev().zip(after.iter().rev()).take(rest).take_while(|(one, other)| one == other).count();
    let mut diff = format!("{}:{}\n", source.path, alike + 1);
    for (sign, lines) in [('-', &before), ('+', &after)] {
        for line in &lines[alike..lines.len() - alike_behind] {
            writeln!(diff, "{sign}{line}").expect("a string takes all");
        }
    }
    diff
}

/// A row for each defect with what each judge found, or why it changes nothing; and what they found together.
pub(crate) fn table(drawn: &Drawn, verdicts: &[Verdict], equivalent: &BTreeMap<String, String>) -> String {
    let mut table = format!("Seed {}:\n\n", drawn.seed);
    table.push_str("| | defect | simulator | exploration | tests | sockets |\n|---|---|---|---|---|---|\n");
    let said =
        |number: usize, judge: Judge| verdicts.iter().find(|verdict| verdict.defect == Some(number) && verdict.judge == judge);
    let found = |number: usize, judges: &[Judge]| {
        judges.iter().any(|judge| said(number, *judge).is_some_and(|verdict| verdict.found.is_some()))
    };
    for (number, defect) in drawn.defects.iter().enumerate() {
        let title = defect.title();
        write!(table, "| {number} | {} |", title.replace('|', "\\|")).expect("a string takes all");
        if let Some(reason) = equivalent.get(&title) {
            writeln!(table, " equivalent: {reason} | | | |").expect("a string takes all");
            continue;
        }
        for judge in Judge::ALL {
            let text = said(number, judge).map_or("", |verdict| verdict.found.as_deref().unwrap_or("no"));
            write!(table, " {text} |").expect("a string takes all");
        }
        table.push('\n');
    }
    let count = |judges: &[Judge]| (0..drawn.defects.len()).filter(|number| found(*number, judges)).count();
    let (simulator, all) = (count(&[Judge::Simulator]), count(&Judge::ALL));
    let different = drawn.defects.iter().filter(|defect| !equivalent.contains_key(&defect.title())).count();
    writeln!(table, "\nOf {different} that change something, the simulator finds {simulator}, all judges together {all}.")
        .expect("a string takes all");
    table
}
