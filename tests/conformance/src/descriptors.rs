//! The limit on open files. It is the process's, so this is for a test that is alone in its file.
//!
//! ```ignore
//! #[test]
//! fn the_limit_on_open_files_is_survived() {
//!     my_runtime::block_on(noex_conformance::descriptors::the_limit_on_open_files_is_survived::<MyRuntime>());
//! }
//! ```

use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use noex_driver::{ClusterError, LocalFault, Runtime};
use rlimit::Resource;

use crate::common::*;

const LIMIT: u64 = 128;

/// While it lasts, connections wait, it is said once and tried again each second, and sessions live on. After it, those are accepted that waited.
pub async fn the_limit_on_open_files_is_survived<R: Runtime>() {
    let (_, hard) = Resource::NOFILE.get().unwrap();
    Resource::NOFILE.set(LIMIT, hard).unwrap();
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    let (mut at_a, mut at_b) = (Watch::new(&a), Watch::new(&b));
    at_a.forget().await;
    at_b.forget().await;
    let accepted = a.counters().accepted;

    let mut files: Vec<_> = std::iter::from_fn(|| UdpSocket::bind("127.0.0.1:0").ok()).collect();
    // One is left for this, and none to accept it.
    files.pop();
    let begin = Instant::now();
    let _waiting = TcpStream::connect(("127.0.0.1", id(&a).port())).unwrap();
    let is_said = |error: &&ClusterError| matches!(error, ClusterError::Local(LocalFault::Accept { .. }));
    eventually("it is tried again", || a.counters().reports_held_back >= 2).await;
    assert!(begin.elapsed() >= Duration::from_secs(2), "three tries within {:?}", begin.elapsed());
    at_a.read().await;
    assert_eq!(at_a.errors().iter().filter(is_said).count(), 1, "{:?}", at_a.errors());
    heartbeats(&[&a, &b], 2).await;
    assert_eq!(a.counters().accepted, accepted);

    drop(files);
    eventually("what waited is accepted", || a.counters().accepted > accepted).await;
    let c = start(lively("c").seeds([seed(&a)])).await;
    meet(&c, &a).await;
    at_a.read().await;
    at_b.read().await;
    assert_eq!((at_a.downs(), at_b.downs()), (vec![], vec![]));
}
