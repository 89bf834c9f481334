//! A cluster whose nodes run on different runtimes, for scenarios that know of one.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use noex_driver::{Bound, Cause, Runtime};

/// One of three runtimes, or what belongs to one: each node that a test starts runs on the next, beginning with the first.
#[derive(Clone, Debug)]
pub enum Mixed<A, B, C> {
    /// Of the first.
    A(A),
    /// Of the second.
    B(B),
    /// Of the third.
    C(C),
}

thread_local! {
    /// The number of starts. Each test has a thread of its own, which polls its starts.
    static STARTS: Cell<usize> = const { Cell::new(0) };
}

/// Does what the node's own runtime does, with a part that belongs to it if there is one. Each `wrap` makes a result belong to it.
macro_rules! each {
    ($self:ident as $rt:ident $(, $part:ident)? $(; $wrap:ident)* => $code:expr) => {
        match ($self, $($part)?) {
            (Self::A($rt), $(Mixed::A($part))?) => {
                $(let $wrap = Mixed::A;)*
                $code
            }
            (Self::B($rt), $(Mixed::B($part))?) => {
                $(let $wrap = Mixed::B;)*
                $code
            }
            (Self::C($rt), $(Mixed::C($part))?) => {
                $(let $wrap = Mixed::C;)*
                $code
            }
            $((_, _) => unreachable!("the {} of a node belongs to its runtime", stringify!($part)),)?
        }
    };
}

impl<A: Runtime, B: Runtime, C: Runtime> Runtime for Mixed<A, B, C> {
    type Listener = Mixed<A::Listener, B::Listener, C::Listener>;
    type Reader = Mixed<A::Reader, B::Reader, C::Reader>;
    type Writer = Mixed<A::Writer, B::Writer, C::Writer>;

    fn current() -> Result<Self, Cause> {
        match STARTS.replace(STARTS.get() + 1) % 3 {
            0 => A::current().map(Self::A),
            1 => B::current().map(Self::B),
            _ => C::current().map(Self::C),
        }
    }

    async fn accept(&self, listener: &Self::Listener) -> io::Result<(Self::Reader, Self::Writer, SocketAddr)> {
        each!(self as rt, listener; of_reader; of_writer => {
            rt.accept(listener).await.map(|(reader, writer, remote)| (of_reader(reader), of_writer(writer), remote))
        })
    }

    async fn bind(&self, addr: SocketAddr) -> io::Result<Bound<Self::Listener>> {
        each!(self as rt; wrap => rt.bind(addr).await?.try_map(|listener| Ok(wrap(listener))))
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<(Self::Reader, Self::Writer)> {
        each!(self as rt; of_reader; of_writer => {
            rt.connect(addr).await.map(|(reader, writer)| (of_reader(reader), of_writer(writer)))
        })
    }

    fn enter<T>(&self, code: impl FnOnce() -> T) -> T {
        each!(self as rt => rt.enter(code))
    }

    fn entropy(&self) -> io::Result<[u8; 32]> {
        each!(self as rt => rt.entropy())
    }

    fn now(&self) -> Instant {
        each!(self as rt => rt.now())
    }

    async fn read(&self, reader: &mut Self::Reader, buffer: &mut [u8]) -> io::Result<usize> {
        each!(self as rt, reader => rt.read(reader, buffer).await)
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        each!(self as rt => rt.resolve(host, port).await)
    }

    async fn shutdown(&self, writer: &mut Self::Writer) -> io::Result<()> {
        each!(self as rt, writer => rt.shutdown(writer).await)
    }

    async fn sleep_until(&self, deadline: Instant) {
        each!(self as rt => rt.sleep_until(deadline).await)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        each!(self as rt => rt.spawn(task))
    }

    async fn write(&self, writer: &mut Self::Writer, data: &[u8]) -> io::Result<usize> {
        each!(self as rt, writer => rt.write(writer, data).await)
    }
}
