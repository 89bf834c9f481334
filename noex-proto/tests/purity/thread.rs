//! Starts threads and waits for them.

pub fn all() -> std::thread::Thread {
    let handle: std::thread::JoinHandle<()> = std::thread::spawn(|| {});
    drop(handle);
    std::thread::scope(|_| {});
    std::thread::sleep(core::time::Duration::ZERO);
    std::thread::park();
    std::thread::yield_now();
    std::thread::current()
}

pub fn builder() -> std::thread::Builder {
    std::thread::Builder::new()
}
