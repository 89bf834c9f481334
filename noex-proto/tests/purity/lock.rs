//! Locks, blocks and communicates between threads.

pub struct All {
    pub barrier: std::sync::Barrier,
    pub condvar: std::sync::Condvar,
    pub mutex: std::sync::Mutex<u32>,
    pub receiver: std::sync::mpsc::Receiver<u32>,
    pub rw_lock: std::sync::RwLock<u32>,
    pub sender: std::sync::mpsc::Sender<u32>,
}
