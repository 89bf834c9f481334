//! A network that can be cut, frozen, slowed down and broken: a proxy of blocking sockets and threads, for any runtime.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

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
    connections: BTreeMap<u64, Connection>,
    /// How long each piece is held back.
    delay: Duration,
    frozen: bool,
    /// The number of the last connection.
    last: u64,
    /// The bytes that pass to the address in one second, if their number is limited.
    rate: Option<usize>,
    /// Each byte is a write of its own.
    trickles: bool,
}

#[derive(Debug)]
struct Connection {
    ends: [Arc<TcpStream>; 2],
    fate: Fate,
    /// Directions that have not ended.
    open: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// The one end is gone, and the other hears nothing of it.
    HalfOpen,
    /// Reset in the middle of what it forwards next.
    Torn,
    Whole,
}

impl Proxy {
    /// Listens on a port of its own.
    pub fn new(port: u16) -> Self {
        Self::between((Ipv4Addr::LOCALHOST, 0).into(), (Ipv4Addr::LOCALHOST, port).into())
    }

    /// Listens on one address, and forwards to another.
    pub fn between(addr: SocketAddr, onward: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr).unwrap();
        let addr = listener.local_addr().unwrap();
        let network = Arc::new(Network::default());
        let of_listener = network.clone();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if of_listener.state.lock().unwrap().closed {
                    break;
                }
                if let Ok(onward) = TcpStream::connect(onward) {
                    of_listener.connect(stream, onward);
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

    /// Holds back each piece for a while. The pieces of one direction wait one after the other.
    pub fn delay(&self, delay: Duration) {
        self.network.change(|state| state.delay = delay);
    }

    /// Forwards each byte by a write of its own.
    pub fn trickle(&self, trickles: bool) {
        self.network.change(|state| state.trickles = trickles);
    }

    /// Resets each connection in the middle of what it forwards next.
    pub fn tear(&self) {
        self.doom(Fate::Torn);
    }

    /// Ends the connections for those who dialled; the others hear nothing of it, and nothing more.
    pub fn half_open(&self) {
        self.doom(Fate::HalfOpen);
        self.network.change(|state| {
            for connection in state.connections.values().filter(|connection| connection.fate == Fate::HalfOpen) {
                let _broken = connection.ends[0].shutdown(Shutdown::Both);
            }
        });
    }

    fn doom(&self, fate: Fate) {
        let mut state = self.network.state.lock().unwrap();
        for connection in state.connections.values_mut().filter(|connection| connection.fate == Fate::Whole) {
            connection.fate = fate;
        }
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

    fn connect(self: &Arc<Self>, near: TcpStream, far: TcpStream) {
        let ends = [Arc::new(near), Arc::new(far)];
        for end in &ends {
            let _gone = end.set_nodelay(true);
        }
        let number = {
            let mut state = self.state.lock().unwrap();
            state.last += 1;
            let number = state.last;
            state.connections.insert(number, Connection { ends: ends.clone(), fate: Fate::Whole, open: 2 });
            number
        };
        let [near, far] = ends;
        for (from, to, slow) in [(near.clone(), far.clone(), true), (far, near, false)] {
            let network = self.clone();
            thread::spawn(move || {
                network.forward(number, &from, &to, slow);
                network.ended(number, &to);
            });
        }
    }

    fn forward(&self, number: u64, mut from: &TcpStream, mut to: &TcpStream, slow: bool) {
        let mut chunk = vec![0; CHUNK];
        let mut due = Instant::now();
        loop {
            let length = match from.read(&mut chunk) {
                Ok(0) => return,
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let (rate, delay, trickles) = {
                let mut state = self.changed.wait_while(self.state.lock().unwrap(), |state| state.frozen).unwrap();
                let Some(connection) = state.connections.get(&number) else { return };
                if connection.fate == Fate::Torn {
                    let _broken = to.write_all(&chunk[..length / 2]);
                    return state.reset(number);
                }
                (state.rate.filter(|_| slow), state.delay, state.trickles)
            };
            if let Some(rate) = rate {
                // What a late wake-up has cost is made up for, so that the rate is kept on a busy machine too.
                due = due.max(Instant::now() - LATE) + Duration::from_secs_f64(length as f64 / rate as f64);
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            thread::sleep(delay);
            let mut pieces = chunk[..length].chunks(if trickles { 1 } else { CHUNK });
            if !pieces.all(|piece| to.write_all(piece).is_ok()) {
                return;
            }
        }
    }

    /// Passes the end of a direction on, unless the connection has ended otherwise.
    fn ended(&self, number: u64, to: &TcpStream) {
        let mut state = self.changed.wait_while(self.state.lock().unwrap(), |state| state.frozen).unwrap();
        if let Some(connection) = state.connections.get_mut(&number)
            && connection.fate != Fate::HalfOpen
        {
            let _broken = to.shutdown(Shutdown::Write);
            connection.open -= 1;
            if connection.open == 0 {
                state.connections.remove(&number);
            }
        }
    }
}

impl State {
    fn cut(&mut self) {
        for connection in std::mem::take(&mut self.connections).into_values() {
            for end in connection.ends {
                let _broken = end.shutdown(Shutdown::Both);
            }
        }
    }

    /// Ends a connection by a reset in place of an end of the stream, once the threads that wait for it have let go.
    fn reset(&mut self, number: u64) {
        for end in self.connections.remove(&number).into_iter().flat_map(|connection| connection.ends) {
            let _gone = SockRef::from(&*end).set_linger(Some(Duration::ZERO));
            // Wakes the reader, and sends nothing.
            let _gone = end.shutdown(Shutdown::Read);
        }
    }
}
