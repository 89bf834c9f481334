//! Keeps state outside of any value.

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicIsize, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize};

pub static BOOL: AtomicBool = AtomicBool::new(false);
pub static I32: AtomicI32 = AtomicI32::new(0);
pub static I64: AtomicI64 = AtomicI64::new(0);
pub static ISIZE: AtomicIsize = AtomicIsize::new(0);
pub static PTR: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
pub static U32: AtomicU32 = AtomicU32::new(0);
pub static U64: AtomicU64 = AtomicU64::new(0);
pub static USIZE: AtomicUsize = AtomicUsize::new(0);

pub static LAZY: std::sync::LazyLock<u32> = std::sync::LazyLock::new(|| 0);
pub static ONCE: std::sync::Once = std::sync::Once::new();
pub static ONCE_LOCK: std::sync::OnceLock<u32> = std::sync::OnceLock::new();

std::thread_local! {
    static PER_THREAD: u32 = const { 0 };
}

pub fn per_thread(key: &'static std::thread::LocalKey<u32>) -> u32 {
    key.with(|value| *value)
}
