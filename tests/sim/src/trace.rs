//! What a run leaves behind: a hash of everything, and the last transitions as text.

use std::collections::VecDeque;
use std::fmt::Write;
use std::time::Duration;

use crate::HostId;

/// One transition.
#[derive(Clone, Debug)]
pub struct Line {
    /// When, in virtual time.
    pub at: Duration,
    /// At which host; `None` for what concerns several.
    pub host: Option<HostId>,
    /// What.
    pub what: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Trace {
    hash: u64,
    lines: VecDeque<Line>,
    keep: usize,
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: VecDeque::new(), keep: 400 }
    }

    pub(crate) fn keep(&mut self, lines: usize) {
        self.keep = lines;
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    /// Takes a number into the hash.
    pub(crate) const fn mix(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    /// Takes bytes into the hash, eight at a time.
    pub(crate) fn mix_bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.mix(u64::from_le_bytes(last) ^ bytes.len() as u64);
    }

    pub(crate) fn line(&mut self, at: u64, host: Option<HostId>, what: String) {
        if self.keep == 0 {
            return;
        }
        if self.lines.len() == self.keep {
            self.lines.pop_front();
        }
        self.lines.push_back(Line { at: Duration::from_nanos(at), host, what });
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter()
    }
}

/// Lines as text, one per transition, with a column per host that marks where it happened.
#[must_use]
pub fn text<'a>(lines: impl Iterator<Item = &'a Line>, hosts: usize) -> String {
    let mut out = String::from("        time  ");
    for host in 0..hosts {
        let _infallible = write!(out, "{:<3}", host % 100);
    }
    out.push('\n');
    for line in lines {
        let _infallible = write!(out, "{:>12.6}  ", line.at.as_secs_f64());
        for host in 0..hosts {
            out.push_str(if line.host == Some(host) { "*  " } else { ".  " });
        }
        out.push_str(&line.what);
        out.push('\n');
    }
    out
}
