//! What all nodes print, and what has to hold of it.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// The lines of each node, over all of its processes.
#[derive(Debug, Default)]
pub(crate) struct Log {
    changed: Condvar,
    nodes: Mutex<Vec<Vec<Line>>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) word: Word,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Word {
    /// A new process: it begins with nobody.
    Began,
    Down {
        id: String,
        reason: String,
    },
    Message,
    Other,
    Up(String),
}

impl Line {
    fn parse(text: String) -> Self {
        let words: Vec<&str> = text.splitn(5, ' ').collect();
        let word = match words[..] {
            [_, "up", id, ..] => Word::Up(id.to_owned()),
            [_, "down", id, reason] => Word::Down { id: id.to_owned(), reason: reason.to_owned() },
            [_, "message", ..] => Word::Message,
            _ => Word::Other,
        };
        Self { text, word }
    }
}

impl Log {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { changed: Condvar::new(), nodes: Mutex::new(vec![Vec::new(); nodes]) }
    }

    pub(crate) fn began(&self, node: usize) {
        self.nodes.lock().unwrap()[node].push(Line { text: "began".into(), word: Word::Began });
    }

    pub(crate) fn push(&self, node: usize, text: String) {
        self.nodes.lock().unwrap()[node].push(Line::parse(text));
        self.changed.notify_all();
    }

    pub(crate) fn lines(&self) -> MutexGuard<'_, Vec<Vec<Line>>> {
        self.nodes.lock().unwrap()
    }

    /// Waits until something holds of what the nodes have printed.
    pub(crate) fn wait(&self, what: &str, limit: Duration, mut holds: impl FnMut(&[Vec<Line>]) -> bool) {
        let (nodes, timeout) = self.changed.wait_timeout_while(self.lines(), limit, |nodes| !holds(nodes)).unwrap();
        if timeout.timed_out() {
            for (node, lines) in nodes.iter().enumerate() {
                println!("n{node} sees {:?}, and printed at the end", view(lines));
                for line in lines.iter().rev().take(12).rev() {
                    println!("    {}", line.text);
                }
            }
            drop(nodes);
            panic!("not within {limit:?}: {what}");
        }
    }
}

/// Whom a node's present process holds for up. Ups and downs have to alternate, in each process of its own.
pub(crate) fn view(lines: &[Line]) -> BTreeSet<&str> {
    let mut up = BTreeSet::new();
    for line in lines {
        let alternates = match &line.word {
            Word::Began => {
                up.clear();
                true
            }
            Word::Up(id) => up.insert(id.as_str()),
            Word::Down { id, .. } => up.remove(id.as_str()),
            Word::Message | Word::Other => true,
        };
        assert!(alternates, "ups and downs do not alternate: {}", line.text);
    }
    up
}

/// The downs among lines: of whom, and why.
pub(crate) fn downs(lines: &[Line]) -> impl Iterator<Item = (&str, &str)> {
    lines.iter().filter_map(|line| match &line.word {
        Word::Down { id, reason } => Some((id.as_str(), reason.as_str())),
        _ => None,
    })
}
