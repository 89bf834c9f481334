//! A process on a simulated host: a paused tokio runtime, and a program in it that has a turn once in a millisecond of its host's clock.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use noex_driver::sim::Port;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{self, Sleep};

use super::panics::{self, Whose};

/// How often within one moment a host's tasks and its node may lead to something new for each other.
const ROUNDS: usize = 10_000;

/// What became of a program that has ended.
pub(super) type End = Result<(), String>;

/// What a program is: it is made anew at each start.
pub(super) type Program = Box<dyn FnMut() -> Pin<Box<dyn Future<Output = End>>>>;

/// A process.
pub(super) struct Process {
    // Dropped in this order.
    tasks: Option<LocalSet>,
    runtime: Runtime,
    gate: Arc<Gate>,
    main: JoinHandle<()>,
    end: Rc<RefCell<Option<End>>>,
    pub(super) port: Port,
}

/// Who has the turn: it is asked by the runtime when that has nothing to do.
#[derive(Default)]
struct Gate {
    /// The runtime has nothing to do.
    idle: AtomicBool,
    /// The clock stands still, and whoever is polled first is to hear when the runtime is idle.
    settling: AtomicBool,
    root: Mutex<Option<Waker>>,
    /// Something is to be done in the set of tasks.
    tasks: AtomicBool,
}

impl Gate {
    fn wake_root(&self) {
        let root = self.root.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(root) = root {
            root.wake();
        }
    }

    /// The runtime is about to wait. Woken, it does not, and leaves the clock alone.
    fn waits(&self) {
        if self.settling.load(Ordering::Relaxed) {
            self.idle.store(true, Ordering::Relaxed);
            self.wake_root();
        }
    }
}

/// It wakes the set of tasks.
impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.tasks.store(true, Ordering::Relaxed);
        self.wake_root();
    }
}

impl Process {
    /// Begins a process; its program has its first turn later.
    pub(super) fn begin(whose: &Whose, program: &mut Program) -> Self {
        let gate = Arc::new(Gate::default());
        let (parking, of_threads) = (gate.clone(), whose.clone());
        let mut builder = Builder::new_current_thread();
        builder.enable_time().start_paused(true).on_thread_park(move || parking.waits()).on_thread_start(move || {
            // One of the threads that may block.
            panics::note_thread(&of_threads);
            Port::wait_for_lent();
        });
        #[cfg(tokio_unstable)]
        builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&whose.seed().to_le_bytes()));
        let runtime = builder.build().expect("a runtime without I/O needs nothing of the system");
        let tasks = LocalSet::new();
        let port = Port::new(|task| drop(spawn_local(task)));
        let end = Rc::new(RefCell::new(None));
        let (program, of_task) = (program(), end.clone());
        let main = tasks.spawn_local(async move {
            let result = program.await;
            *of_task.borrow_mut() = Some(result);
        });
        gate.tasks.store(true, Ordering::Relaxed);
        Self { tasks: Some(tasks), runtime, gate, main, end, port }
    }

    /// Runs all tasks that have something to do, and then moves the clock by a millisecond. `exchange` carries what they and their node have for
    /// each other, and says whether there was anything. Before, the clock jumps by `jump`: the process was frozen.
    ///
    /// # Errors
    /// Tasks and node keep each other busy.
    pub(super) fn turn(&mut self, jump: Duration, mut exchange: impl FnMut(&Port) -> bool) -> Result<(), String> {
        let Self { tasks, runtime, gate, port, .. } = self;
        let tasks = tasks.as_mut().expect("it is taken at the end");
        let waker = Waker::from(gate.clone());
        let _entered = port.enter();
        gate.settling.store(true, Ordering::Relaxed);
        let mut sleep: Option<Pin<Box<Sleep>>> = None;
        let mut rounds = 0;
        gate.idle.store(false, Ordering::Relaxed);
        let mut jump = (!jump.is_zero()).then_some(jump);
        // What has become due by a jump is known once the runtime was idle.
        let mut due = jump.is_none();
        let turn = std::future::poll_fn(|cx| {
            *gate.root.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
            if let Some(jump) = jump.take() {
                // It moves the clock at once, and would then let others run.
                let _moved = std::pin::pin!(time::advance(jump)).poll(cx);
            }
            loop {
                // At the end of the millisecond its tasks are left for the next turn.
                if let Some(sleep) = &mut sleep
                    && sleep.as_mut().poll(cx).is_ready()
                {
                    return Poll::Ready(Ok(()));
                }
                if gate.tasks.swap(false, Ordering::Relaxed) {
                    gate.idle.store(false, Ordering::Relaxed);
                    let _all_ended = Pin::new(&mut *tasks).poll(&mut Context::from_waker(&waker));
                    continue;
                }
                if sleep.is_some() || !gate.idle.swap(false, Ordering::Relaxed) {
                    return Poll::Pending;
                }
                if !std::mem::replace(&mut due, true) {
                    continue;
                }
                if exchange(port) {
                    rounds += 1;
                    if rounds == ROUNDS {
                        return Poll::Ready(Err(format!(
                            "its tasks and its node keep each other busy: {ROUNDS} rounds at one moment"
                        )));
                    }
                    continue;
                }
                gate.settling.store(false, Ordering::Relaxed);
                sleep = Some(Box::pin(time::sleep(Duration::from_millis(1))));
            }
        });
        runtime.block_on(turn)
    }

    /// What became of the program, once it has ended. A program that panicked has ended.
    pub(super) fn ended(&self) -> Option<End> {
        self.main.is_finished().then(|| self.end.borrow_mut().take().unwrap_or(Ok(())))
    }

    /// Drops all tasks, and gives their node's machine back for good. Destructors may spawn, which needs the runtime.
    pub(super) fn drop_tasks(&mut self) {
        let _entered = self.port.enter();
        let _inside = self.runtime.enter();
        drop(self.tasks.take());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.drop_tasks();
    }
}
