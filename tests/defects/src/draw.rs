//! Which defects a seed draws.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::plant::{Copy, Planted};
use crate::sites::{Defect, Kind, sites};
use crate::source::{Declared, Source};

/// The defects of a seed, and of which sources.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Drawn {
    pub(crate) defects: Vec<Defect>,
    pub(crate) digest: u64,
    pub(crate) seed: u64,
}

/// A number as good as a random one from a text: FNV-1a, and the end of SplitMix64. A seed has to lead to the same list for ever, which the
/// standard library's hash does not promise.
fn rank(seed: u64, text: &str) -> u64 {
    let mut mixed = 0xCBF2_9CE4_8422_2325_u64 ^ seed;
    for byte in text.bytes() {
        mixed = (mixed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    }
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// What a list of defects belongs to.
pub(crate) fn digest(sources: &[Source]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for source in sources {
        (&source.path, &source.text).hash(&mut hasher);
    }
    hasher.finish()
}

/// For each kind, all places in the order of the seed, with one of the defects that are possible there. A place has its rank by what stands
/// there, so that a change of the sources elsewhere leaves its defect where it is.
pub(crate) fn shuffled(sources: &[Source], seed: u64) -> BTreeMap<Kind, Vec<Defect>> {
    let declared = Declared::in_all(sources);
    let mut seen = BTreeMap::<String, usize>::new();
    let mut of_kind = BTreeMap::<Kind, Vec<(u64, Defect)>>::new();
    for mut site in sources.iter().flat_map(|source| sites(source, &declared)) {
        let first = &site[0];
        let place = format!("{:?} {} {} {}", first.kind, first.file, first.function.name, first.what);
        // The same may stand in a function more than once.
        let times = seen.entry(place.clone()).or_default();
        *times += 1;
        let rank_of = |what: &str| rank(seed, &format!("{place} {times} {what}"));
        site.sort_by_cached_key(|defect| rank_of(&defect.what));
        of_kind.entry(site[0].kind).or_default().push((rank_of(""), site.swap_remove(0)));
    }
    let in_order = |mut ranked: Vec<(u64, Defect)>| {
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, defect)| defect).collect()
    };
    of_kind.into_iter().map(|(kind, ranked)| (kind, in_order(ranked))).collect()
}

/// Draws `count` defects that compile: the kinds alike, of each kind the places alike.
///
/// # Errors
/// Where the sources cannot be read, or cargo does not run.
pub(crate) fn draw(workspace: &Path, folder: &Path, seed: u64, count: usize) -> Result<Drawn, String> {
    let sources = Source::all(workspace)?;
    let copy = Copy::new(workspace, folder)?;
    let mut of_kind = shuffled(&sources, seed);
    let mut chosen = BTreeMap::<Kind, Vec<Defect>>::new();
    let wanted = |kind: Kind| {
        let place = Kind::ALL.iter().position(|each| *each == kind).unwrap_or(0);
        count / Kind::ALL.len() + usize::from(place < count % Kind::ALL.len())
    };
    let (mut tried, mut compiled) = (0, 0);
    loop {
        // Enough of each that some may be refused.
        let mut batch = Vec::new();
        for (kind, left) in &mut of_kind {
            let missing = wanted(*kind).saturating_sub(chosen.get(kind).map_or(0, Vec::len));
            batch.extend(left.drain(..(2 * missing).min(left.len())));
        }
        if batch.is_empty() {
            break;
        }
        let numbered: Vec<(usize, &Defect)> = batch.iter().enumerate().collect();
        let good = compiling(&copy, &sources, &numbered)?;
        (tried, compiled) = (tried + batch.len(), compiled + good.len());
        eprintln!("{compiled} of {tried} compile");
        for (number, defect) in batch.into_iter().enumerate() {
            let kind = chosen.entry(defect.kind).or_default();
            if good.contains(&number) && kind.len() < wanted(defect.kind) {
                kind.push(defect);
            }
        }
    }
    Ok(Drawn { defects: chosen.into_values().flatten().collect(), digest: digest(&sources), seed })
}

/// Those of the defects that compile.
fn compiling(copy: &Copy, sources: &[Source], defects: &[(usize, &Defect)]) -> Result<BTreeSet<usize>, String> {
    if defects.is_empty() {
        return Ok(BTreeSet::new());
    }
    let planted = copy.plant(sources, defects)?;
    let output = copy.cargo(&["check", "--quiet", "--locked", "--package", "noex-proto", "--message-format", "short"])?;
    if output.status.success() {
        return Ok(defects.iter().map(|(number, _)| *number).collect());
    }
    let refused = refused(&String::from_utf8_lossy(&output.stderr), &planted);
    let part = |is_wanted: &dyn Fn(usize) -> bool| -> Result<BTreeSet<usize>, String> {
        let part: Vec<_> = defects.iter().filter(|(number, _)| is_wanted(*number)).copied().collect();
        compiling(copy, sources, &part)
    };
    if !refused.is_empty() {
        return part(&|number| !refused.contains(&number));
    }
    // The errors are in what the defects have in common, such as a function that is no longer constant.
    let &[(one, _)] = defects else {
        let middle = defects[defects.len() / 2].0;
        let mut both = part(&|number| number < middle)?;
        both.extend(part(&|number| number >= middle)?);
        return Ok(both);
    };
    eprintln!("{one} does not compile:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(BTreeSet::new())
}

/// The defects in whose bodies the compiler has found errors, each a line that begins with its place.
fn refused(errors: &str, planted: &[(String, Planted)]) -> BTreeSet<usize> {
    let mut refused = BTreeSet::new();
    for line in errors.lines() {
        let mut parts = line.splitn(4, ':');
        let (Some(path), Some(at), Some(_), Some(what)) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (Ok(at), true) = (at.parse::<usize>(), what.trim_start().starts_with("error")) else { continue };
        for (_, planted) in planted.iter().filter(|(file, _)| file == path) {
            let bodies = planted.bodies.iter().filter(|(_, lines)| lines.contains(&at));
            refused.extend(bodies.map(|(number, _)| *number));
        }
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_refuses_the_defect_in_whose_body_it_is() {
        let planted = Planted { bodies: vec![(4, 10..13), (5, 13..20)], text: String::new() };
        let planted = [("src/a.rs".to_owned(), planted)];
        let errors =
            "src/a.rs:12:5: error[E0308]: mismatched types: expected\nsrc/a.rs:13:1: warning: unused\nsrc/b.rs:14:1: error: no";
        assert_eq!(refused(errors, &planted), BTreeSet::from([4]));
    }
}
