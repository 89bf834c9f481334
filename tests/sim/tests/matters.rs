//! The table of what matters: it lists what there is, and says why something matters nowhere.

use noex_sim::Matters;

const TABLE: &str = include_str!("../matters.txt");

/// The lines of the table: the share of seeds, in percent, the name, and the reason where there is one.
fn lines() -> impl Iterator<Item = (&'static str, &'static str, Option<&'static str>)> {
    TABLE.lines().map(|line| {
        let (share, rest) = line.trim_start().split_once(" %  ").expect("a share");
        match rest.split_once(": a hole: ") {
            Some((name, why)) => (share, name, Some(why)),
            None => (share, rest, None),
        }
    })
}

#[test]
fn the_table_lists_what_there_is() {
    let listed: Vec<&str> = lines().map(|(_, name, _)| name).collect();
    let known: Vec<&str> = Matters::names().collect();
    assert_eq!(listed, known, "noex-sim matters --seeds 0..60 --jobs 2 >tests/sim/matters.txt");
}

#[test]
fn what_matters_nowhere_is_a_hole_with_a_reason_and_nothing_else_is() {
    for (share, name, why) in lines() {
        assert_eq!(share == "0.0", why.is_some(), "{name} matters in {share} % of seeds");
        assert_eq!(why, Matters::hole(name), "{name}");
    }
}
