//! Connections: one task each, which dials where the connection is outgoing, then reads and writes at the same time.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use bytes::Buf;
use futures_lite::future;
use noex_proto::{Close, Input};

use crate::drive::Shared;
use crate::io::{ReadBuffer, Turn};
use crate::link::Orders;
use crate::time::{sleep, wall};
use crate::{Runtime, io_error, log};

/// After a graceful close more came than the machine wants read.
#[derive(Debug)]
struct Overrun;

/// What the task of a connection has.
pub(crate) struct Connection<R: Runtime> {
    pub(crate) orders: Orders,
    pub(crate) rt: R,
    pub(crate) shared: Arc<Shared>,
}

impl<R: Runtime> Connection<R> {
    /// The task of an outgoing connection.
    pub(crate) async fn dial(self, remote: SocketAddr) {
        let Self { ref orders, ref rt, ref shared } = self;
        let conn = orders.conn;
        let given_up = async { orders.close.recv().await.map_or(None, |_| None) };
        match future::or(given_up, async { Some(rt.connect(remote).await) }).await {
            Some(Ok(stream)) => {
                shared.feed(Input::Connected { conn, remote });
                self.serve(stream).await;
            }
            Some(Err(error)) => shared.drive(|state| {
                state.links.remove(&conn);
                state.handle(Input::DialFailed { conn, error: io_error::connect(error) });
            }),
            None => shared.feed(Input::Closed { conn }),
        }
    }

    /// The task of a connection that is there.
    pub(crate) async fn serve(self, (mut reader, mut writer): (R::Reader, R::Writer)) {
        let closing = OnceLock::new();
        let closed = async {
            if let Ok(Close::Graceful { linger, read_at_most }) = self.orders.close.recv().await {
                closing.get_or_init(|| read_at_most);
                sleep(&self.rt, linger).await;
            }
        };
        let transmit = async {
            self.transmit(&mut writer, &closing).await;
            Ok(())
        };
        let exchange = async {
            // An overrun ends both.
            let _done = future::try_zip(self.receive(&mut reader, &closing), transmit).await;
        };
        future::or(closed, exchange).await;
        drop((reader, writer));
        // The machine waits for this after a graceful close alone, and otherwise ignores it.
        self.shared.feed(Input::Closed { conn: self.orders.conn });
    }

    /// Reads to the end. What comes after a close is read too, since closing a socket with unread bytes makes TCP discard what was
    /// sent: it is thrown away, up to the bound that the machine has set.
    async fn receive(&self, reader: &mut R::Reader, closing: &OnceLock<usize>) -> Result<(), Overrun> {
        let (mut buffer, mut turn, mut thrown_away) = (ReadBuffer::new(), Turn::default(), 0);
        while let Ok(length @ 1..) = self.rt.read(reader, buffer.space()).await {
            log::bytes("read", self.orders.conn, length);
            match closing.get() {
                None => self.shared.feed(Input::Received { conn: self.orders.conn, data: buffer.take(length), wall: wall() }),
                Some(most) => {
                    thrown_away += length;
                    if thrown_away > *most {
                        return Err(Overrun);
                    }
                }
            }
            if turn.is_over(length) {
                future::yield_now().await;
            }
        }
        self.shared.drive(|state| {
            // After a graceful close this input would say that the writing is done with too.
            if state.links.contains_key(&self.orders.conn) {
                state.handle(Input::Closed { conn: self.orders.conn });
            }
        });
        Ok(())
    }

    /// Writes what is queued until the close, then shuts the write side down. An error is left to the reader to meet, after what the
    /// peer sent before.
    async fn transmit(&self, writer: &mut R::Writer, closing: &OnceLock<usize>) {
        let mut turn = Turn::default();
        while let Ok(mut data) = self.orders.data.recv().await {
            while !data.is_empty() {
                let Ok(length @ 1..) = self.rt.write(writer, &data).await else { return };
                log::bytes("written", self.orders.conn, length);
                data.advance(length);
                if closing.get().is_none() {
                    self.shared.feed(Input::Transmitted { bytes: length, conn: self.orders.conn });
                }
                if turn.is_over(length) {
                    future::yield_now().await;
                }
            }
        }
        // Fails only where the connection is broken, which the reader meets too.
        let _broken = self.rt.shutdown(writer).await;
    }
}
