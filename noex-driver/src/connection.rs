//! Connections: one task each, which dials where the connection is outgoing, then reads and writes at the same time.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_channel::{Receiver, Sender};
use bytes::{Buf, Bytes};
use futures_lite::future;
use noex_proto::{Close, ConnId, DialError, DialPlan, Input};

use crate::shared::Shared;
use crate::time::{sleep, wall};
use crate::{Runtime, log};

/// The bounds of the read buffer, which grows while reads fill it and shrinks while they do not.
const READ_BUFFER: (usize, usize) = (2 * 1024, 64 * 1024);
/// A side that could go on for ever lets the other side and other tasks run after this many bytes. Few, as a runtime may look for
/// further readiness and for timers only after dozens of tasks: what each of them does meanwhile delays heartbeats.
const TURN: usize = 64 * 1024;
/// What a small read or write counts at least.
const TURN_LEAST: usize = 4 * 1024;

/// The machine's end of a connection that it has not closed.
pub(crate) struct Link {
    pub(crate) close: Sender<Close>,
    /// What to write; the machine bounds how much by the credit that it has. Dropped, it ends the stream once that is written.
    pub(crate) data: Sender<Bytes>,
}

/// The task's end of a connection.
pub(crate) struct Connection<R: Runtime> {
    close: Receiver<Close>,
    conn: ConnId,
    data: Receiver<Bytes>,
    rt: R,
    shared: Arc<Shared<R>>,
}

impl<R: Runtime> Connection<R> {
    /// Links a new connection to the machine; before the machine hears of it, since that may close it at once.
    pub(crate) fn link(shared: &Arc<Shared<R>>, rt: &R, conn: ConnId, links: &mut BTreeMap<ConnId, Link>) -> Self {
        let (close, closed) = async_channel::bounded(1);
        let (data, queued) = async_channel::unbounded();
        links.insert(conn, Link { close, data });
        Self { close: closed, conn, data: queued, rt: rt.clone(), shared: shared.clone() }
    }

    /// The task of an outgoing connection.
    pub(crate) async fn dial(self, host: String, port: u16, skip: Vec<SocketAddr>) {
        let Self { conn, ref rt, ref shared, .. } = self;
        let given_up = async { self.close.recv().await.map_or(None, |_| None) };
        match future::or(given_up, async { Some(connect(rt, &host, port, &skip).await) }).await {
            Some(Ok((stream, remote))) => {
                shared.feed(Input::Connected { conn, remote });
                self.serve(stream).await;
            }
            Some(Err(error)) => shared.drive(|state, now| {
                state.links.remove(&conn);
                state.machine.handle(now, Input::DialFailed { conn, error });
            }),
            None => shared.feed(Input::Closed { conn }),
        }
    }

    /// The task of a connection that is there.
    pub(crate) async fn serve(self, stream: R::Stream) {
        let (mut reader, mut writer) = self.rt.split(stream);
        let closed = async {
            if let Ok(Close::Graceful { linger }) = self.close.recv().await {
                sleep(&self.rt, linger).await;
            }
        };
        let exchange = async {
            future::zip(self.receive(&mut reader), self.transmit(&mut writer)).await;
        };
        future::or(closed, exchange).await;
        drop((reader, writer));
        // The machine waits for this after a graceful close alone, and otherwise ignores it.
        self.shared.feed(Input::Closed { conn: self.conn });
    }

    /// Reads to the end. What comes after a close is read too, since closing a socket with unread bytes makes TCP discard what was
    /// sent; the machine ignores it.
    async fn receive(&self, reader: &mut R::Reader) {
        let (least, most) = READ_BUFFER;
        let mut buffer = vec![0; least];
        let mut turn = 0;
        while let Ok(length @ 1..) = self.rt.read(reader, &mut buffer).await {
            log::bytes("read", self.conn, length);
            let data = Bytes::copy_from_slice(&buffer[..length]);
            self.shared.feed(Input::Received { conn: self.conn, data, wall: wall() });
            if length == buffer.len() && length < most {
                buffer = vec![0; length * 2];
            } else if length < buffer.len() / 4 && buffer.len() > least {
                buffer = vec![0; buffer.len() / 2];
            }
            take_turn(&mut turn, length).await;
        }
        self.shared.drive(|state, now| {
            // After a graceful close this input would say that the writing is done with too.
            if state.links.contains_key(&self.conn) {
                state.machine.handle(now, Input::Closed { conn: self.conn });
            }
        });
    }

    /// Writes what is queued until the close, then shuts the write side down. An error is left to the reader to meet, after what the
    /// peer sent before.
    async fn transmit(&self, writer: &mut R::Writer) {
        let mut turn = 0;
        while let Ok(mut data) = self.data.recv().await {
            while !data.is_empty() {
                let Ok(length @ 1..) = self.rt.write(writer, &data).await else { return };
                log::bytes("written", self.conn, length);
                data.advance(length);
                self.shared.feed(Input::Sent { bytes: length, conn: self.conn });
                take_turn(&mut turn, length).await;
            }
        }
        // Fails only where the connection is broken, which the reader meets too.
        let _broken = self.rt.shutdown(writer).await;
    }
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
    let mut plan = DialPlan::new(addresses(rt, host, port).await.unwrap_or_default(), skip);
    while let Some((addr, patience)) = plan.next() {
        let late = async {
            sleep(rt, patience).await;
            Err(io::ErrorKind::TimedOut.into())
        };
        match future::or(rt.connect(addr), late).await {
            Ok(stream) => return Ok((stream, addr)),
            Err(cause) => plan.failed(match cause.kind() {
                io::ErrorKind::ConnectionRefused => DialError::Refused,
                io::ErrorKind::TimedOut => DialError::TimedOut,
                _ => DialError::Unreachable,
            }),
        }
    }
    Err(plan.error())
}

/// The addresses of a host; those of an address need no resolver.
pub(crate) async fn addresses<R: Runtime>(rt: &R, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    match host.parse::<IpAddr>() {
        Ok(ip) => Ok(vec![SocketAddr::new(ip, port)]),
        Err(_) => rt.resolve(host, port).await,
    }
}
