//! A node without an asynchronous runtime: joins a cluster, prints what happens, and leaves when its input ends.
//!
//! ```sh
//! cargo run -p noex-proto --example blocking -- app2 app1@127.0.0.1:4369
//! ```

#![expect(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a driver with its sockets, clocks and threads, not the machine"
)]

mod driver;

use std::io;
use std::thread;

use driver::{Heard, Work};
use noex_proto::{ClusterConfig, Input};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "blocking".into());
    let (work, heard) = driver::start(ClusterConfig::new(name).host("127.0.0.1").port(0).seeds(args))?;
    thread::spawn(move || {
        for _line in io::stdin().lines() {}
        work.send(Work::Input(Input::Stop))
    });
    for heard in heard {
        match heard {
            Heard::Event(event) => println!("{event}"),
            Heard::Message(message) => println!("{} says {:?}", message.from, message.payload),
        }
    }
    Ok(())
}
