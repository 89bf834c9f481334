//! What came of measuring libraries by turns.

use crate::table::{Samples, row};

/// What is measured, and how many digits of it to show.
pub(crate) type Figure = (&'static str, usize);

/// Prints a row for each figure and library; of a library there is a list of all figures for each round.
pub(crate) fn print(figures: &[Figure], measured: &[(&str, Vec<Vec<f64>>)]) {
    for (place, (what, digits)) in figures.iter().enumerate() {
        for (library, rounds) in measured {
            let column = rounds.iter().map(|round| round[place]).collect();
            row(&format!("{what}: {library}"), *digits, &Samples::new(column));
        }
    }
}
