//! The demonstration as lines of text.

use std::fmt;
use std::io::{self, Write};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use noex_driver::Runtime;

use super::board::{Board, Entry, NAMES, Report, What};
use super::script::STEPS;

/// Prints what happens, as it happens, until the script has ended.
pub(super) fn follow<T, R: Runtime>(board: &Board<R>, script: &JoinHandle<T>) {
    let mut printed = 0;
    loop {
        // Asked first, so that nothing is left when it has ended.
        let ended = script.is_finished();
        let entries = board.entries(printed);
        printed += entries.len();
        entries.iter().for_each(print);
        if ended {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Prints what was played and seen; all that happened, where that was not what should have.
pub(super) fn summary<R: Runtime>(board: &Board<R>, failed: bool) {
    let log = board.entries(0);
    if failed {
        return log.iter().for_each(print);
    }
    for entry in &log {
        match &entry.what {
            What::Deed { .. } | What::Heard { .. } => {}
            What::Step { number, title, .. } => write(format_args!("{number}. {title}")),
            what => write(format_args!("   {}", words(what))),
        }
    }
}

/// A deed or a report, in words.
pub(super) fn words(what: &What) -> String {
    match what {
        What::Deed { node, text } => format!("{:<6}{text}", NAMES[*node]),
        What::Heard { node, report } => {
            let report = match report {
                Report::Answer { from, text } => format!("gets the answer of {}'s kettle: {text}", NAMES[*from]),
                Report::Down { who, reason } => format!("sees {} down: {reason}", NAMES[*who]),
                Report::Ended { who, reason } => format!("is told that {}'s kettle ended: {reason}", NAMES[*who]),
                Report::Error(error) => format!("says: {error}"),
                Report::Message { from, text } => format!("hears from {}: {text}", NAMES[*from]),
                Report::Up { who } => format!("sees {} up", NAMES[*who]),
            };
            format!("{:<6}{report}", NAMES[*node])
        }
        What::Seen(what) => format!("ok: {what}"),
        What::Step { number, title, about } => format!("step {number} of {STEPS}: {title}. {about}"),
        What::Ended(how) => format!("demo: {how}"),
    }
}

fn print(entry: &Entry) {
    let blank = if matches!(entry.what, What::Step { .. }) { "\n" } else { "" };
    write(format_args!("{blank}{:6.3}  {}", entry.at.as_secs_f64(), words(&entry.what)));
}

fn write(line: fmt::Arguments<'_>) {
    // A reader that is gone needs no output; the exit code still tells how it ended.
    let _unread = writeln!(io::stdout(), "{line}");
}
