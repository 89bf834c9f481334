//! What is written on the methods of [`Runtime`], one method or two at a time.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::thread;
use std::time::Duration;

use futures_lite::future;
use noex_driver::{Bound, Runtime};

use crate::common::patient;

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The runtime that the test runs in.
fn current<R: Runtime>() -> R {
    R::current().expect("the test runs inside the runtime")
}

/// Two ends of one connection: dialled, accepted.
async fn connection<R: Runtime>(rt: &R) -> ((R::Reader, R::Writer), (R::Reader, R::Writer)) {
    let Bound { listener, local: addr, .. } = rt.bind(ANY_PORT).await.unwrap();
    let (dialled, accepted) = patient(future::zip(rt.connect(addr), rt.accept(&listener))).await;
    let (reader, writer, _) = accepted.unwrap();
    (dialled.unwrap(), (reader, writer))
}

async fn write_all<R: Runtime>(rt: &R, writer: &mut R::Writer, mut data: &[u8]) {
    while !data.is_empty() {
        let length = patient(rt.write(writer, data)).await.unwrap();
        assert!((1..=data.len()).contains(&length), "it wrote {length} of {} bytes", data.len());
        data = &data[length..];
    }
}

/// Reads to the end of the stream.
async fn read_all<R: Runtime>(rt: &R, reader: &mut R::Reader) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 1000];
    loop {
        match patient(rt.read(reader, &mut buffer)).await.unwrap() {
            0 => return all,
            length => all.extend_from_slice(&buffer[..length]),
        }
    }
}

/// Bytes that show where one is missing.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

/// `bind`: also where connections to the port ended lately.
pub async fn a_bound_port_is_free_once_the_listener_is_dropped<R: Runtime>() {
    let rt = current::<R>();
    let mut addr = ANY_PORT;
    for _ in 0..20 {
        let listener;
        Bound { listener, local: addr, .. } = rt.bind(addr).await.unwrap();
        assert_ne!(addr.port(), 0);
        let (dialled, accepted) = patient(future::zip(rt.connect(addr), rt.accept(&listener))).await;
        // Closed first on this side, which is the one that the system then remembers the port for.
        drop(accepted);
        let (mut reader, _writer) = dialled.unwrap();
        assert!(read_all(&rt, &mut reader).await.is_empty());
        drop(listener);
    }
}

/// `bind`: the unspecified IPv6 address serves IPv4 too where the system allows, and says whether it does.
pub async fn every_interface_is_of_both_families_where_the_system_allows<R: Runtime>() {
    let rt = current::<R>();
    // Neither is said to serve what it does not.
    for one in ["127.0.0.1", "0.0.0.0", "::1"].map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)) {
        // A system may be without IPv6.
        assert!(rt.bind(one).await.is_ok_and(|bound| !bound.dual_stack) || one.is_ipv6(), "{one}");
    }
    let Ok(Bound { dual_stack, listener, local }) = rt.bind((Ipv6Addr::UNSPECIFIED, 0).into()).await else { return };
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, local.port()));
    if dual_stack {
        let (dialled, accepted) = patient(future::zip(rt.connect(loopback), rt.accept(&listener))).await;
        assert!(dialled.is_ok());
        assert!(accepted.unwrap().2.ip().to_canonical().is_ipv4());
    } else {
        assert!(patient(rt.connect(loopback)).await.is_err());
    }
}

/// `connect`: the kind of the error decides what a node is told.
pub async fn a_connect_that_nobody_listens_for_is_refused<R: Runtime>() {
    let rt = current::<R>();
    // A port that no system hands out, so that no other test is listening there.
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let error = patient(rt.connect(addr)).await.err().expect("nobody listens");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

/// `connect`: where the system chooses the port that is connected to, TCP connects it to itself.
///
/// Linux hands out every second port of its range in turn, so it is met soon; on systems where it is not met this says nothing.
pub async fn a_connection_to_itself_is_refused<R: Runtime>() {
    const TRIES: usize = 16_000;
    let rt = current::<R>();
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let mut ports = (40_000..50_000).step_by(2).filter(free);
    let sample = ports.next().unwrap();
    if !(0..TRIES).any(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, sample)).is_ok()) {
        return;
    }
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.next().unwrap()));
    for _ in 0..TRIES {
        let error = patient(rt.connect(addr)).await.err().expect("only the socket itself can be there");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
    }
}

/// `accept`: a call that is given up takes no connection with it.
pub async fn a_dropped_accept_loses_no_connection<R: Runtime>() {
    let rt = current::<R>();
    let Bound { listener, local: addr, .. } = rt.bind(ANY_PORT).await.unwrap();
    let mut dialled = BTreeSet::new();
    let mut accepted = BTreeSet::new();
    let mut streams = Vec::new();
    for _ in 0..50 {
        if let Some(early) = future::poll_once(pin!(rt.accept(&listener))).await {
            accepted.insert(early.unwrap().2);
        }
        let stream = TcpStream::connect(addr).unwrap();
        dialled.insert(stream.local_addr().unwrap());
        streams.push(stream);
    }
    while accepted.len() < dialled.len() {
        accepted.insert(patient(rt.accept(&listener)).await.unwrap().2);
    }
    assert_eq!(accepted, dialled, "the peers' addresses");
}

/// `read`: a call that is given up takes no byte with it.
pub async fn a_dropped_read_loses_no_byte<R: Runtime>() {
    let rt = current::<R>();
    let ((mut reader, _near_writer), (_far_reader, mut writer)) = connection(&rt).await;
    let sent = pattern(20_000);
    let mut received = Vec::new();
    let mut buffer = [0; 64];
    for chunk in sent.chunks(100) {
        for _ in 0..3 {
            let read = future::poll_once(pin!(rt.read(&mut reader, &mut buffer))).await;
            if let Some(length) = read {
                received.extend_from_slice(&buffer[..length.unwrap()]);
            }
            future::yield_now().await;
        }
        write_all(&rt, &mut writer, chunk).await;
    }
    rt.shutdown(&mut writer).await.unwrap();
    received.extend(read_all(&rt, &mut reader).await);
    assert!(received == sent, "{} of {} bytes, or in another order", received.len(), sent.len());
}

/// `write`: a call that is given up has written nothing, and what was written is what was said.
pub async fn a_dropped_write_wrote_nothing<R: Runtime>() {
    let rt = current::<R>();
    let ((_near_reader, mut writer), (mut reader, _far_writer)) = connection(&rt).await;
    let data = pattern(251 * 1000);
    let mut written = 0;
    let mut blocked = 0;
    let write = async {
        // Given up and tried again until the system takes no more, and then some bytes later again.
        while blocked < 50 {
            match future::poll_once(pin!(rt.write(&mut writer, &data[written % 251..]))).await {
                Some(length) => written += length.unwrap(),
                None => {
                    blocked += 1;
                    future::yield_now().await;
                }
            }
        }
    };
    let mut received = Vec::new();
    let slowly = async {
        let mut buffer = vec![0; 10_000];
        loop {
            let length = rt.read(&mut reader, &mut buffer).await.unwrap();
            received.extend_from_slice(&buffer[..length]);
            rt.sleep_until(rt.now() + Duration::from_millis(1)).await;
        }
    };
    patient(future::or(write, slowly)).await;
    rt.shutdown(&mut writer).await.unwrap();
    received.extend(read_all(&rt, &mut reader).await);
    assert_eq!(received.len(), written);
    assert!(received == pattern(written), "bytes are missing, doubled or in another order");
}

/// `resolve`.
pub async fn a_name_has_addresses_with_the_port<R: Runtime>() {
    let rt = current::<R>();
    let addrs = patient(rt.resolve("localhost", 4369)).await.unwrap();
    assert!(!addrs.is_empty());
    assert!(addrs.iter().all(|addr| addr.ip().is_loopback() && addr.port() == 4369), "{addrs:?}");
    for address in ["127.0.0.1", "127.3.2.1", "::1"] {
        let own = SocketAddr::new(address.parse().unwrap(), 4369);
        assert_eq!(patient(rt.resolve(address, 4369)).await.unwrap(), [own]);
    }
}

/// `bind`: an error, and the system's own.
pub async fn a_port_that_is_taken_is_said_to_be<R: Runtime>() {
    let rt = current::<R>();
    let Bound { listener: _listener, local: addr, .. } = rt.bind(ANY_PORT).await.unwrap();
    let error = rt.bind(addr).await.err().expect("it is taken");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

/// `shutdown`: the peer reads to the end, and can still answer.
pub async fn a_shutdown_ends_one_direction<R: Runtime>() {
    let rt = current::<R>();
    let ((mut near_reader, mut near_writer), (mut far_reader, mut far_writer)) = connection(&rt).await;
    let sent = pattern(1_000_000);
    let write = async {
        write_all(&rt, &mut near_writer, &sent).await;
        rt.shutdown(&mut near_writer).await.unwrap();
    };
    let (received, ()) = future::zip(read_all(&rt, &mut far_reader), write).await;
    assert!(received == sent);
    write_all(&rt, &mut far_writer, b"still there").await;
    rt.shutdown(&mut far_writer).await.unwrap();
    assert_eq!(read_all(&rt, &mut near_reader).await, b"still there");
}

/// `sleep_until` and `now`: one clock, also for deadlines that are past or far away.
pub async fn a_sleep_ends_at_its_deadline<R: Runtime>() {
    let rt = current::<R>();
    let begin = rt.now();
    patient(rt.sleep_until(begin)).await;
    let deadline = begin + Duration::from_millis(30);
    patient(async {
        // Waking early is harmless.
        while rt.now() < deadline {
            rt.sleep_until(deadline).await;
        }
    })
    .await;
    let mut far = pin!(rt.sleep_until(rt.now() + Duration::from_secs(365 * 24 * 3600)));
    assert!(future::poll_once(&mut far).await.is_none());
}

/// `spawn`.
pub async fn a_task_runs_without_being_waited_for<R: Runtime>() {
    let rt = current::<R>();
    let (word, words) = async_channel::unbounded();
    for number in 0..100 {
        let word = word.clone();
        rt.spawn(async move {
            future::yield_now().await;
            word.send(number).await.unwrap();
        });
    }
    let mut heard = BTreeSet::new();
    while heard.len() < 100 {
        heard.insert(patient(words.recv()).await.unwrap());
    }
}

/// All methods: from any thread, and their futures are polled there.
pub async fn a_thread_that_the_runtime_does_not_know_may_use_it<R: Runtime>() {
    let rt = current::<R>();
    let (word, words) = async_channel::bounded(1);
    let other = thread::spawn(move || {
        future::block_on(async {
            let begin = rt.now();
            rt.sleep_until(begin + Duration::from_millis(5)).await;
            let Bound { listener, local: addr, .. } = rt.bind(ANY_PORT).await.unwrap();
            let (dialled, accepted) = future::zip(rt.connect(addr), rt.accept(&listener)).await;
            let (mut reader, _writer, _) = accepted.unwrap();
            let (_reader, mut writer) = dialled.unwrap();
            rt.write(&mut writer, b"!").await.unwrap();
            let mut buffer = [0; 8];
            assert_eq!(rt.read(&mut reader, &mut buffer).await.unwrap(), 1);
            rt.shutdown(&mut writer).await.unwrap();
            assert!(!rt.resolve("localhost", 1).await.unwrap().is_empty());
            let from_spawned = word.clone();
            rt.spawn(async move { from_spawned.send(1).await.unwrap() });
        });
    });
    assert_eq!(patient(words.recv()).await, Ok(1));
    // Its clone of the sender is dropped with it.
    assert!(patient(words.recv()).await.is_err());
    other.join().unwrap();
}

/// `Reader` and `Writer`: dropping both closes the connection at once, whichever goes first.
pub async fn an_end_of_a_connection_is_seen_by_its_peer<R: Runtime>() {
    let rt = current::<R>();
    for reader_first in [false, true] {
        let ((mut near_reader, mut near_writer), (mut reader, _writer)) = connection(&rt).await;
        write_all(&rt, &mut near_writer, b"before the end").await;
        assert!(future::poll_once(pin!(rt.read(&mut near_reader, &mut [0; 8]))).await.is_none());
        match reader_first {
            true => {
                drop(near_reader);
                drop(near_writer);
            }
            false => {
                drop(near_writer);
                drop(near_reader);
            }
        }
        assert_eq!(read_all(&rt, &mut reader).await, b"before the end");
    }
}

/// `enter`: on a thread that the runtime does not know, its own functions work.
pub async fn code_that_entered_finds_the_runtime<R: Runtime>() {
    let rt = current::<R>();
    let (word, words) = async_channel::bounded(1);
    let other = thread::spawn(move || {
        rt.enter(|| {
            let found = R::current().expect("it was entered");
            found.spawn(async move { word.send(1).await.unwrap() });
            2
        })
    });
    assert_eq!(patient(words.recv()).await, Ok(1));
    assert_eq!(other.join().unwrap(), 2);
}

/// `entropy`.
pub async fn entropy_differs<R: Runtime>() {
    let rt = current::<R>();
    let drawn: BTreeSet<_> = (0..10).map(|_| rt.entropy().unwrap()).collect();
    assert_eq!(drawn.len(), 10);
    assert!(drawn.iter().all(|bytes| bytes.iter().collect::<BTreeSet<_>>().len() > 8));
}
