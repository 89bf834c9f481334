//! A network that can be cut, frozen and slowed down: a proxy of blocking sockets and threads, for any runtime.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What is read at once: little, so that not much is under way in the proxy itself.
const CHUNK: usize = 16 * 1024;
/// The lateness that a limited rate makes up for.
const LATE: Duration = Duration::from_millis(500);

/// Forwards each connection to one port of loopback, until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    network: Arc<Network>,
}

#[derive(Debug, Default)]
struct Network {
    changed: Condvar,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    frozen: bool,
    /// The bytes that pass to the address in one second, if their number is limited.
    rate: Option<usize>,
    streams: Vec<TcpStream>,
}

impl Proxy {
    /// Listens on a port of its own.
    pub fn new(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let network = Arc::new(Network::default());
        let of_listener = network.clone();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if of_listener.state.lock().unwrap().closed {
                    break;
                }
                if let Ok(onward) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                    of_listener.connect(&stream, &onward);
                }
            }
        });
        Self { addr, network }
    }

    /// What to seed to reach a node through the proxy.
    pub fn seed(&self, name: &str) -> String {
        format!("{name}@{}", self.addr)
    }

    /// Forwards nothing, and ends no connection.
    pub fn freeze(&self) {
        self.network.change(|state| state.frozen = true);
    }

    /// Forwards again, also what came meanwhile.
    pub fn thaw(&self) {
        self.network.change(|state| state.frozen = false);
    }

    /// Lets only so many bytes pass to the address in one second. The way back is free.
    pub fn limit(&self, rate: Option<usize>) {
        self.network.change(|state| state.rate = rate);
    }

    /// Ends every connection.
    pub fn cut(&self) {
        self.network.change(|state| state.cut());
    }

    /// Refuses connections from now on, and leaves those that there are.
    pub fn close(&self) {
        self.network.change(|state| state.closed = true);
        // Wakes the listener. It may be gone already.
        let _gone = TcpStream::connect(self.addr);
        while TcpStream::connect(self.addr).is_ok() {
            thread::yield_now();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.thaw();
        self.close();
        self.cut();
    }
}

impl Network {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    fn connect(self: &Arc<Self>, stream: &TcpStream, onward: &TcpStream) {
        for (from, to, slow) in [(stream, onward, true), (onward, stream, false)] {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            self.state.lock().unwrap().streams.push(from.try_clone().unwrap());
            let network = self.clone();
            thread::spawn(move || network.forward(from, to, slow));
        }
    }

    fn forward(&self, mut from: TcpStream, mut to: TcpStream, slow: bool) {
        let mut chunk = vec![0; CHUNK];
        let mut due = Instant::now();
        loop {
            let length = match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            let rate = self.changed.wait_while(self.state.lock().unwrap(), |state| state.frozen).unwrap().rate;
            if let Some(rate) = rate
                && slow
            {
                // What a late wake-up has cost is made up for, so that the rate is kept on a busy machine too.
                due = due.max(Instant::now() - LATE) + Duration::from_secs_f64(length as f64 / rate as f64);
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            if to.write_all(&chunk[..length]).is_err() {
                break;
            }
        }
        drop(self.changed.wait_while(self.state.lock().unwrap(), |state| state.frozen).unwrap());
        let _broken = to.shutdown(Shutdown::Write);
    }
}

impl State {
    fn cut(&mut self) {
        for stream in self.streams.drain(..) {
            let _broken = stream.shutdown(Shutdown::Both);
        }
    }
}
