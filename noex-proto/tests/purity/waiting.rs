//! Waits as asynchronous code does.

pub fn poll(future: core::pin::Pin<&mut dyn core::future::Future<Output = ()>>, waker: &core::task::Waker) -> bool {
    future.poll(&mut core::task::Context::from_waker(waker)).is_ready()
}

pub async fn ready() {}

pub async fn wait() {
    ready().await;
}
