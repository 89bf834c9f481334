//! Connections: one task each, which dials where the connection is outgoing, then reads and writes at the same time.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_lite::future;
use noex_proto::{Close, ConnId, DialError, Input};

use crate::shared::{Shared, wall};
use crate::{Runtime, log};

/// The bounds of the read buffer, which grows while reads fill it and shrinks while they do not.
const READ_BUFFER: (usize, usize) = (2 * 1024, 64 * 1024);
/// The most addresses of one name that a dial tries.
const DIAL_ADDRESSES: usize = 16;
/// How long an address may take to answer while the name has others to try.
const DIAL_PATIENCE: Duration = Duration::from_secs(2);
/// A side that could go on for ever lets the other side and other tasks run after this many bytes. Few, as a runtime may look for
/// further readiness and for timers only after dozens of tasks: what each of them does meanwhile delays heartbeats.
const TURN: usize = 64 * 1024;
/// What a small read or write counts at least.
const TURN_LEAST: usize = 4 * 1024;

/// What the machine wants of one connection, on its way to the connection's task.
#[derive(Debug)]
pub(crate) struct Link(Mutex<Outbox>);

#[derive(Debug)]
struct Outbox {
    close: Option<Close>,
    queue: VecDeque<Bytes>,
    /// The task's. Both of its sides are polled by the one task, so one waker serves both.
    waker: Waker,
}

impl Default for Link {
    fn default() -> Self {
        Self(Mutex::new(Outbox { close: None, queue: VecDeque::new(), waker: Waker::noop().clone() }))
    }
}

impl Link {
    /// Queues bytes to be written. The machine bounds how many by the credit that it has.
    pub(crate) fn push(&self, data: Bytes) {
        let mut outbox = self.outbox();
        outbox.queue.push_back(data);
        outbox.waker.wake_by_ref();
    }

    pub(crate) fn close(&self, how: Close) {
        let mut outbox = self.outbox();
        outbox.close = Some(how);
        outbox.waker.wake_by_ref();
    }

    async fn closed(&self) -> Close {
        poll_fn(|cx| self.poll(cx, |outbox| outbox.close)).await
    }

    /// The next bytes to write; `None` once there will be no more.
    async fn next(&self) -> Option<Bytes> {
        poll_fn(|cx| self.poll(cx, |outbox| outbox.queue.pop_front().map(Some).or(outbox.close.map(|_| None)))).await
    }

    fn poll<T>(&self, cx: &Context<'_>, take: impl FnOnce(&mut Outbox) -> Option<T>) -> Poll<T> {
        let mut outbox = self.outbox();
        let taken = take(&mut outbox);
        if taken.is_none() {
            outbox.waker.clone_from(cx.waker());
        }
        taken.map_or(Poll::Pending, Poll::Ready)
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task of an outgoing connection.
pub(crate) async fn dial<R: Runtime>(
    shared: Arc<Shared<R>>,
    rt: R,
    conn: ConnId,
    link: Arc<Link>,
    (host, port, skip): (String, u16, Vec<SocketAddr>),
) {
    let given_up = async {
        link.closed().await;
        None
    };
    match future::or(given_up, async { Some(connect(&rt, &host, port, &skip).await) }).await {
        Some(Ok((stream, remote))) => {
            shared.feed(Input::Connected { conn, remote });
            serve(shared, rt, conn, link, stream).await;
        }
        Some(Err(error)) => shared.drive(|state, now| {
            state.links.remove(&conn);
            state.machine.handle(now, Input::DialFailed { conn, error });
        }),
        None => finish(&shared, conn, &link).await,
    }
}

/// The task of a connection that is there.
pub(crate) async fn serve<R: Runtime>(shared: Arc<Shared<R>>, rt: R, conn: ConnId, link: Arc<Link>, stream: R::Stream) {
    let (mut reader, mut writer) = rt.split(stream);
    let abort = async {
        if let Close::Graceful { linger } = link.closed().await {
            rt.sleep_until(rt.now() + linger).await;
        }
    };
    let exchange = async {
        future::zip(receive(&shared, &rt, conn, &mut reader), transmit(&shared, &rt, conn, &link, &mut writer)).await;
        link.closed().await;
    };
    future::or(abort, exchange).await;
    drop((reader, writer));
    finish(&shared, conn, &link).await;
}

/// Reports the end of a connection where the machine waits for it.
async fn finish<R: Runtime>(shared: &Arc<Shared<R>>, conn: ConnId, link: &Link) {
    if let Close::Graceful { .. } = link.closed().await {
        shared.feed(Input::Closed { conn });
    }
}

/// Reads to the end. What comes after a close is read too, since closing a socket with unread bytes makes TCP discard what was
/// sent; the machine ignores it.
async fn receive<R: Runtime>(shared: &Arc<Shared<R>>, rt: &R, conn: ConnId, reader: &mut R::Reader) {
    let (least, most) = READ_BUFFER;
    let mut buffer = vec![0; least];
    let mut turn = 0;
    while let Ok(length @ 1..) = rt.read(reader, &mut buffer).await {
        log::bytes("read", conn, length);
        let data = Bytes::copy_from_slice(&buffer[..length]);
        shared.feed(Input::Received { conn, data, wall: wall() });
        if length == buffer.len() && length < most {
            buffer = vec![0; length * 2];
        } else if length < buffer.len() / 4 && buffer.len() > least {
            buffer = vec![0; buffer.len() / 2];
        }
        take_turn(&mut turn, length).await;
    }
    shared.drive(|state, now| {
        // After a graceful close this input would say that the writing is done with too.
        if state.links.contains_key(&conn) {
            state.machine.handle(now, Input::Closed { conn });
        }
    });
}

/// Writes what is queued until the close, then shuts the write side down. An error is left to the reader to meet, after what the
/// peer sent before.
async fn transmit<R: Runtime>(shared: &Arc<Shared<R>>, rt: &R, conn: ConnId, link: &Link, writer: &mut R::Writer) {
    let mut turn = 0;
    while let Some(mut data) = link.next().await {
        while !data.is_empty() {
            let Ok(length @ 1..) = rt.write(writer, &data).await else { return };
            log::bytes("written", conn, length);
            data.advance(length);
            shared.feed(Input::Sent { bytes: length, conn });
            take_turn(&mut turn, length).await;
        }
    }
    // Fails only where the connection is broken, which the reader meets too.
    let _broken = rt.shutdown(writer).await;
}

async fn take_turn(turn: &mut usize, length: usize) {
    *turn += length.max(TURN_LEAST);
    if *turn >= TURN {
        *turn = 0;
        future::yield_now().await;
    }
}

/// Connects to the first address that answers.
async fn connect<R: Runtime>(rt: &R, host: &str, port: u16, skip: &[SocketAddr]) -> Result<(R::Stream, SocketAddr), DialError> {
    let mut addrs = addresses(rt, host, port).await.map_err(|_| DialError::Unresolved)?;
    if addrs.is_empty() {
        return Err(DialError::Unresolved);
    }
    addrs.retain(|addr| !skip.contains(addr));
    addrs.truncate(DIAL_ADDRESSES);
    let mut error = DialError::Exhausted;
    while !addrs.is_empty() {
        let addr = addrs.remove(0);
        let patience = async {
            if addrs.is_empty() {
                future::pending::<()>().await;
            }
            rt.sleep_until(rt.now() + DIAL_PATIENCE).await;
            Err(io::ErrorKind::TimedOut.into())
        };
        match future::or(rt.connect(addr), patience).await {
            Ok(stream) => return Ok((stream, addr)),
            Err(cause) => {
                let cause = match cause.kind() {
                    io::ErrorKind::ConnectionRefused => DialError::Refused,
                    io::ErrorKind::TimedOut => DialError::TimedOut,
                    _ => DialError::Unreachable,
                };
                // A refusal says that nobody is there, so it stands only where every address refused.
                if error == DialError::Exhausted || cause != DialError::Refused {
                    error = cause;
                }
            }
        }
    }
    Err(error)
}

/// The addresses of a host; those of an address need no resolver.
pub(crate) async fn addresses<R: Runtime>(rt: &R, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    match host.parse::<IpAddr>() {
        Ok(ip) => Ok(vec![SocketAddr::new(ip, port)]),
        Err(_) => rt.resolve(host, port).await,
    }
}
