//! A runtime whose tasks can be held up and ended, for a process that has just one runtime and shows several nodes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Instant;

use noex_driver::{Bound, Cause, Runtime, StartError};

/// The part of a runtime that belongs to one node: what befalls its tasks befalls no others.
#[derive(Clone, Debug)]
pub struct Gated<R> {
    gate: Arc<Gate>,
    rt: R,
}

#[derive(Debug, Default)]
struct Gate(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The number of the last task.
    last: u64,
    mood: Mood,
    /// Of each task.
    wakers: BTreeMap<u64, Waker>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Mood {
    Frozen,
    Killed,
    #[default]
    Running,
}

thread_local! {
    /// What the code on this thread runs in.
    static ENTERED: RefCell<Option<Arc<Gate>>> = const { RefCell::new(None) };
}

impl Gate {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, mood: Mood) {
        let wakers = self.change(|state| {
            if state.mood != Mood::Killed {
                state.mood = mood;
            }
            std::mem::take(&mut state.wakers)
        });
        wakers.into_values().for_each(Waker::wake);
    }
}

impl<R: Runtime> Gated<R> {
    /// A part of the runtime that the caller runs in.
    ///
    /// # Errors
    /// Says what is missing where there is none.
    pub fn new() -> io::Result<Self> {
        let rt = R::current().map_err(|cause| io::Error::other(StartError::Runtime { cause }))?;
        Ok(Self { gate: Arc::default(), rt })
    }

    /// Holds all tasks up, with what they own, until the sender of `until` is gone. Returns at once.
    pub fn freeze(&self, until: Receiver<()>) {
        self.gate.set(Mood::Frozen);
        let gate = self.gate.clone();
        thread::spawn(move || {
            let _thawed = until.recv();
            gate.set(Mood::Running);
        });
    }

    /// Drops all tasks, with what they own.
    pub fn kill(&self) {
        self.gate.set(Mood::Killed);
    }
}

impl<R: Runtime> Runtime for Gated<R> {
    type Listener = R::Listener;
    type Reader = R::Reader;
    type Writer = R::Writer;

    fn current() -> Result<Self, Cause> {
        let gate = ENTERED.with_borrow(Clone::clone).ok_or("it was not entered")?;
        Ok(Self { gate, rt: R::current()? })
    }

    async fn accept(&self, listener: &R::Listener) -> io::Result<(R::Reader, R::Writer, SocketAddr)> {
        self.rt.accept(listener).await
    }

    async fn bind(&self, addr: SocketAddr) -> io::Result<Bound<R::Listener>> {
        self.rt.bind(addr).await
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<(R::Reader, R::Writer)> {
        self.rt.connect(addr).await
    }

    fn enter<T>(&self, code: impl FnOnce() -> T) -> T {
        let before = ENTERED.replace(Some(self.gate.clone()));
        let result = self.rt.enter(code);
        ENTERED.set(before);
        result
    }

    fn now(&self) -> Instant {
        self.rt.now()
    }

    async fn read(&self, reader: &mut R::Reader, buffer: &mut [u8]) -> io::Result<usize> {
        self.rt.read(reader, buffer).await
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.rt.resolve(host, port).await
    }

    async fn shutdown(&self, writer: &mut R::Writer) -> io::Result<()> {
        self.rt.shutdown(writer).await
    }

    async fn sleep_until(&self, deadline: Instant) {
        self.rt.sleep_until(deadline).await;
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let gate = self.gate.clone();
        let number = gate.change(|state| {
            state.last += 1;
            state.last
        });
        self.rt.spawn(async move {
            let mut task = pin!(task);
            poll_fn(|cx| {
                let mood = gate.change(|state| {
                    state.wakers.insert(number, cx.waker().clone());
                    state.mood
                });
                match mood {
                    Mood::Frozen => Poll::Pending,
                    Mood::Killed => Poll::Ready(()),
                    Mood::Running => task.as_mut().poll(cx),
                }
            })
            .await;
            gate.change(|state| state.wakers.remove(&number));
        });
    }

    async fn write(&self, writer: &mut R::Writer, data: &[u8]) -> io::Result<usize> {
        self.rt.write(writer, data).await
    }
}
