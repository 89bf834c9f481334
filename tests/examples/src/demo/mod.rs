//! Five nodes on loopback that find each other, fail and heal, as a live view or as lines.

mod board;
mod gated;
mod kettle;
mod lines;
mod script;
mod view;

use std::future::Future;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;

use clap::Parser;
use noex_driver::Runtime;

use board::Board;
use script::Ending;

pub use gated::Gated;

/// Something to run one node in, which can fail as a process does, and alone.
pub trait Host: Sized + 'static {
    /// What the nodes of the adapter run on.
    type Runtime: Runtime;

    /// Something that runs.
    ///
    /// # Errors
    /// Fails as the operating system does.
    fn new() -> io::Result<Self>;

    /// Makes everything in it stand still, with its connections open, until the sender of `until` is gone. Returns at once.
    fn freeze(&self, until: Receiver<()>);

    /// Ends everything in it, now or soon, without another word to anyone; its connections close.
    fn kill(self);

    /// Runs a future in it, and waits for that.
    fn run<T>(&self, future: impl Future<Output = T>) -> T;
}

/// Five nodes on loopback: they find each other, one calls a process of another, one is killed, one freezes, both
/// come back, one leaves. It takes half a minute, and succeeds only if all of that was seen to happen.
#[derive(Debug, Parser)]
struct Options {
    /// Print lines, also where the output is a terminal
    #[arg(long)]
    plain: bool,
}

/// Plays the demonstration, and succeeds if all that it tells was seen.
pub fn run<H: Host>() -> ExitCode {
    let options = Options::parse();
    let drawn = !options.plain && io::stdout().is_terminal() && io::stdin().is_terminal();
    match play::<H>(drawn) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(Ending::Quit)) => ExitCode::from(130),
        Ok(Err(Ending::Failed(_))) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn play<H: Host>(drawn: bool) -> Result<Result<(), Ending>, Box<dyn std::error::Error>> {
    let board = Arc::new(Board::<H::Runtime>::new());
    let quitting = board.clone();
    ctrlc::set_handler(move || quitting.quit())?;
    let listening = board.clone();
    thread::spawn(move || listening.listen());
    let playing = board.clone();
    let script = thread::spawn(move || script::play::<H>(&playing));

    let shown = if drawn {
        view::show(&board, &script)
    } else {
        lines::follow(&board, &script);
        Ok(())
    };
    board.quit();
    let ending = script.join().unwrap_or_else(|_| Err(Ending::Failed("the script panicked".into())));
    if drawn {
        // What was seen stays on the screen after the view is gone.
        lines::summary(&board, matches!(ending, Err(Ending::Failed(_))));
    }
    shown?;
    Ok(ending)
}
