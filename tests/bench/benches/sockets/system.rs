//! What the system says of this process.

use std::fs;
use std::ops::Sub;

/// Ticks of `/proc/self/stat` in a second; the same on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// Seconds of processor time of all threads of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    pub(crate) kernel: f64,
    pub(crate) user: f64,
}

impl Cpu {
    pub(crate) fn now() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").expect("on Linux");
        // The name of the program, in parentheses, may have blanks.
        let (_, rest) = stat.rsplit_once(") ").expect("a name");
        let mut times = rest.split(' ').skip(11).map(|ticks| ticks.parse::<f64>().expect("a number") / TICKS);
        let user = times.next().expect("a time");
        let kernel = times.next().expect("a time");
        Self { kernel, user }
    }

    pub(crate) fn total(self) -> f64 {
        self.user + self.kernel
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { kernel: self.kernel - earlier.kernel, user: self.user - earlier.user }
    }
}

/// Makes room for so many open files, or ends the program.
pub(crate) fn allow_open_files(count: u64) {
    let limit = rlimit::increase_nofile_limit(count).expect("a limit");
    assert!(limit >= count, "it takes {count} open files, and the limit is {limit}: use more processes");
}
