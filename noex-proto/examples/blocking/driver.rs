//! A driver for the machine: one thread that owns it, one that accepts, and two for each connection.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant as Clock, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use noex_proto::{
    Action, Cause, Close, ClusterConfig, ClusterEvent, ConnId, ConnectError, Input, Instant, LookupId, Machine, Message, WallTime,
};

/// How long to wait after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What the threads tell the one that owns the machine.
pub(crate) enum Work {
    Accepted(TcpStream),
    /// Written to the end and read to the end.
    Done(ConnId),
    Dialled(ConnId, SocketAddr, TcpStream),
    /// Read to the end.
    End(ConnId),
    Input(Input),
}

/// What the node tells the application.
pub(crate) enum Heard {
    Event(ClusterEvent),
    Message(Message),
}

/// A connection that the machine has not closed: the socket, the way to the thread that writes, and, for the one that reads, how much it
/// may still read once the machine has.
type Conn = (TcpStream, Sender<Bytes>, Arc<OnceLock<usize>>);

struct Driver {
    begin: Clock,
    conns: BTreeMap<ConnId, Conn>,
    /// Dials that have not been given up.
    dials: BTreeSet<ConnId>,
    machine: Machine,
    work: Sender<Work>,
}

/// Starts a node. Feed it commands by the sender, and read until the end of the other one, which is that of the node.
///
/// # Errors
/// What keeps it from listening.
pub(crate) fn start(config: ClusterConfig) -> Result<(Sender<Work>, Receiver<Heard>), Box<dyn std::error::Error>> {
    let (work, todo) = mpsc::channel();
    let (hear, heard) = mpsc::channel();
    let mut machine = Machine::new();
    let (events, messages) = (machine.subscribe_events(), machine.subscribe_messages());
    let on = machine.start(Instant::START, config)?;
    let listener = TcpListener::bind((on.host, on.port))?;
    let local = listener.local_addr()?;
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy)?;
    machine.handle(Instant::START, Input::Listening { entropy, local, network: Box::default() });

    let accepted = work.clone();
    thread::spawn(move || {
        // Ends with the driver: what it accepts then can be told to nobody.
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                // Mostly a want of descriptors, which fails at once, again and again.
                thread::sleep(ACCEPT_PAUSE);
                continue;
            };
            if accepted.send(Work::Accepted(stream)).is_err() {
                break;
            }
        }
    });
    let mut driver = Driver { begin: Clock::now(), conns: BTreeMap::new(), dials: BTreeSet::new(), machine, work: work.clone() };
    thread::spawn(move || {
        loop {
            let stopped = driver.act();
            while let Some(event) = driver.machine.poll_event(events) {
                let _unheard = hear.send(Heard::Event(event));
            }
            while let Some(Ok(message)) = driver.machine.poll_message(messages) {
                let _unheard = hear.send(Heard::Message(message));
            }
            if stopped {
                drop(todo);
                let _woken = TcpStream::connect(local);
                return;
            }
            driver.wait(&todo);
        }
    });
    Ok((work, heard))
}

impl Driver {
    fn now(&self) -> Instant {
        Instant::new(self.begin.elapsed())
    }

    /// Waits for work until the machine is due, and feeds it.
    fn wait(&mut self, todo: &Receiver<Work>) {
        let patience = self.machine.poll_timeout().map_or(Duration::MAX, |due| due - self.now());
        let work = match todo.recv_timeout(patience) {
            Ok(work) => work,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Work::Input(Input::Tick),
        };
        let input = match work {
            Work::Accepted(stream) => {
                let Ok(remote) = stream.peer_addr() else { return };
                let conn = self.machine.next_conn();
                self.connect(conn, stream);
                Input::Accepted { conn, remote }
            }
            // Before the machine closes a connection its end is news; after that only that all is done.
            Work::Done(conn) if !self.conns.contains_key(&conn) => Input::Closed { conn },
            Work::Dialled(conn, remote, stream) if self.dials.remove(&conn) => {
                self.connect(conn, stream);
                Input::Connected { conn, remote }
            }
            Work::End(conn) if self.conns.contains_key(&conn) => Input::Closed { conn },
            Work::Done(_) | Work::Dialled(..) | Work::End(_) => return,
            Work::Input(input) => input,
        };
        self.machine.handle(self.now(), input);
    }

    /// Does what the machine asks for; whether it has stopped.
    fn act(&mut self) -> bool {
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Close { conn, how } => self.close(conn, how),
                Action::Connect { conn, remote } => {
                    self.dials.insert(conn);
                    let work = self.work.clone();
                    thread::spawn(move || work.send(dial(conn, remote)));
                }
                Action::Event(_) | Action::Message | Action::Process(_) => {}
                Action::Resolve { host, lookup } => {
                    let work = self.work.clone();
                    thread::spawn(move || work.send(resolve(lookup, &host)));
                }
                Action::Transmit { conn, data } => {
                    if let Some((_, writer, _)) = self.conns.get(&conn) {
                        let _broken = writer.send(data);
                    }
                }
                Action::Stopped => return true,
            }
        }
        false
    }

    fn connect(&mut self, conn: ConnId, stream: TcpStream) {
        let (write, data) = mpsc::channel();
        let closing = Arc::new(OnceLock::new());
        let _slower = stream.set_nodelay(true);
        if let (Ok(reader), Ok(writer)) = (stream.try_clone(), stream.try_clone()) {
            let (to_reader, to_writer) = (self.work.clone(), self.work.clone());
            let closing = closing.clone();
            let reader = thread::spawn(move || read(conn, reader, &to_reader, &closing));
            thread::spawn(move || {
                // The reader meets what breaks the connection.
                let _broken = transmit(conn, writer, &data, &to_writer);
                let _panicked = reader.join();
                let _stopped = to_writer.send(Work::Done(conn));
            });
        }
        self.conns.insert(conn, (stream, write, closing));
    }

    fn close(&mut self, conn: ConnId, how: Close) {
        self.dials.remove(&conn);
        // Without its sender the writing thread comes to an end once it has written what is queued.
        match (self.conns.remove(&conn), how) {
            (Some((stream, ..)), Close::Abort) => {
                let _broken = stream.shutdown(Shutdown::Both);
            }
            (Some((stream, _, closing)), Close::Graceful { linger, read_at_most }) => {
                let _once = closing.set(read_at_most);
                thread::spawn(move || {
                    thread::sleep(linger);
                    stream.shutdown(Shutdown::Both)
                });
            }
            (None, Close::Graceful { .. }) => {
                let _stopped = self.work.send(Work::Done(conn));
            }
            (None, Close::Abort) => {}
        }
    }
}

fn dial(conn: ConnId, remote: SocketAddr) -> Work {
    // The machine gives it up before.
    match TcpStream::connect_timeout(&remote, Duration::from_secs(10)) {
        Ok(stream) => Work::Dialled(conn, remote, stream),
        Err(cause) => {
            let error = match cause.kind() {
                io::ErrorKind::ConnectionRefused => ConnectError::Refused,
                io::ErrorKind::TimedOut => ConnectError::TimedOut,
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => ConnectError::Unreachable,
                _ => ConnectError::Local(Cause::new(cause)),
            };
            Work::Input(Input::DialFailed { conn, error })
        }
    }
}

fn resolve(lookup: LookupId, host: &str) -> Work {
    let addrs = (host, 0).to_socket_addrs().map(Iterator::collect).map_err(Cause::new);
    Work::Input(Input::Resolved { addrs, lookup })
}

/// Reads to the end. What comes after a close is thrown away, up to the bound that the machine has set.
fn read(conn: ConnId, mut stream: TcpStream, work: &Sender<Work>, closing: &OnceLock<usize>) {
    let (mut buffer, mut thrown_away) = (vec![0; 16 * 1024], 0);
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if let Some(most) = closing.get() {
            thrown_away += length;
            if thrown_away > *most {
                let _broken = stream.shutdown(Shutdown::Both);
                break;
            }
            continue;
        }
        let wall = WallTime(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let data = Bytes::copy_from_slice(&buffer[..length]);
        let _stopped = work.send(Work::Input(Input::Received { conn, data, wall }));
    }
    let _stopped = work.send(Work::End(conn));
}

fn transmit(conn: ConnId, mut stream: TcpStream, data: &Receiver<Bytes>, work: &Sender<Work>) -> io::Result<()> {
    for data in data {
        stream.write_all(&data)?;
        let _stopped = work.send(Work::Input(Input::Transmitted { bytes: data.len(), conn }));
    }
    stream.shutdown(Shutdown::Write)
}
