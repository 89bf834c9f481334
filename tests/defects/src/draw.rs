//! Which defects a seed draws.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::plant::{Copy, Planted};
use crate::sites::{Defect, Kind, Site, sites};
use crate::source::{Declared, Source};

/// The defects of a seed, and of which sources.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Drawn {
    pub(crate) defects: Vec<Defect>,
    pub(crate) digest: u64,
    pub(crate) seed: u64,
}

/// SplitMix64: a seed has to lead to the same list with every version of every crate.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * end as u128) >> 64) as usize
    }
}

/// What a list of defects belongs to.
pub(crate) fn digest(sources: &[Source]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for source in sources {
        (&source.path, &source.text).hash(&mut hasher);
    }
    hasher.finish()
}

/// For each kind, all places in the order of the seed, with one of the defects that are possible there.
pub(crate) fn shuffled(sources: &[Source], seed: u64) -> BTreeMap<Kind, Vec<Defect>> {
    let declared = Declared::in_all(sources);
    let mut of_kind = BTreeMap::<Kind, Vec<Site>>::new();
    for site in sources.iter().flat_map(|source| sites(source, &declared)) {
        of_kind.entry(site[0].kind).or_default().push(site);
    }
    let mut random = Random(seed);
    let mut shuffle = |mut sites: Vec<Site>| {
        for place in (1..sites.len()).rev() {
            sites.swap(place, random.below(place + 1));
        }
        let pick = |mut site: Site| site.swap_remove(random.below(site.len()));
        sites.into_iter().map(pick).collect()
    };
    of_kind.into_iter().map(|(kind, sites)| (kind, shuffle(sites))).collect()
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

    #[test]
    fn numbers_stay_below_their_end_and_come_again_from_the_same_seed() {
        let numbers = |seed| {
            let mut random = Random(seed);
            (0..100).map(|_| random.below(7)).collect::<Vec<_>>()
        };
        assert!(numbers(1).iter().all(|number| *number < 7));
        assert!((0..7).all(|number| numbers(1).contains(&number)));
        assert_eq!(numbers(1), numbers(1));
        assert_ne!(numbers(1), numbers(2));
    }
}
