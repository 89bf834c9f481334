//! Does one piece of work, once, for a profiler that counts instructions: `count heartbeat`. Without an argument it lists them.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::process::ExitCode;

use noex_bench::Work;

fn main() -> ExitCode {
    let Some(name) = std::env::args().nth(1) else {
        for (name, _) in Work::ALL {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    };
    let Some((_, work)) = Work::ALL.into_iter().find(|(known, _)| *known == name) else {
        eprintln!("no work is called {name}");
        return ExitCode::FAILURE;
    };
    let mut ready = work.set_up();
    black_box(&mut ready).run();
    black_box(ready);
    ExitCode::SUCCESS
}
