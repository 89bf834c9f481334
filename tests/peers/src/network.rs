//! What the network does to what is sent.
//!
//! It is a model, as a program has no say below its sockets: it loses and delays what has arrived there.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

/// How often TCP repeats a segment before it gives up: Linux's `tcp_retries2`.
const RETRIES: u32 = 15;

/// A network whose losses and delays are independent of each other.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Network {
    /// A packet is late by a time that is uniformly distributed up to this.
    pub(crate) delay: Duration,
    /// The part of packets that is lost.
    pub(crate) loss: f64,
}

impl Network {
    /// Whether nothing is lost or late.
    pub(crate) fn is_calm(self) -> bool {
        self == Self::default()
    }

    /// How late a packet is.
    pub(crate) fn delay(self) -> Duration {
        self.delay.mul_f64(rand::random())
    }

    /// How late packets of TCP are that all have to arrive, where they are repeated after `timeout`, twice that, and so on.
    pub(crate) fn retransmission(self, packets: i32, timeout: Duration) -> Duration {
        let arrives = (1.0 - self.loss).powi(packets);
        (0..RETRIES).take_while(|_| rand::random::<f64>() >= arrives).map(|retry| timeout * (1 << retry)).sum()
    }
}

/// Datagrams that are on their way, and may overtake each other.
pub(crate) struct Datagrams<T> {
    late: JoinSet<T>,
    network: Network,
}

impl<T: Send + 'static> Datagrams<T> {
    pub(crate) fn new(network: Network) -> Self {
        Self { late: JoinSet::new(), network }
    }

    /// Takes a datagram from a socket, and gives it back unless it is lost or late.
    pub(crate) fn pass(&mut self, datagram: T) -> Option<T> {
        if self.network.is_calm() {
            return Some(datagram);
        }
        if rand::random::<f64>() < self.network.loss {
            return None;
        }
        let delay = self.network.delay();
        if delay.is_zero() {
            return Some(datagram);
        }
        self.late.spawn(async move {
            sleep(delay).await;
            datagram
        });
        None
    }

    /// The next datagram that was late, or that none is on its way.
    pub(crate) async fn next(&mut self) -> Option<T> {
        self.late.join_next().await.map(|arrived| arrived.expect("nobody stops it"))
    }
}
