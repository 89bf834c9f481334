//! Rows of a table: medians with their spread.

/// What was measured of one thing.
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn new(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Self(samples)
    }

    pub(crate) fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        if self.0.len() % 2 == 1 { self.0[middle] } else { (self.0[middle - 1] + self.0[middle]) / 2.0 }
    }
}

/// Prints the head of a table, and above it what machine it was measured on.
pub(crate) fn head(title: &str) {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{title} ({cores} cores, load {load})\n");
    println!("| what | median | lowest | highest | rounds |\n|---|---|---|---|---|");
}

/// Prints a row of so many digits after the point.
pub(crate) fn row(what: &str, digits: usize, samples: &Samples) {
    let all = &samples.0;
    let (lowest, highest) = (all[0], all[all.len() - 1]);
    println!("| {what} | {:.digits$} | {lowest:.digits$} | {highest:.digits$} | {} |", samples.median(), all.len());
}
