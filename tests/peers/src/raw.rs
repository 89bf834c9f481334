//! A bare connection of tokio: lengths before the messages, buffers, and nothing else.

use std::io;

use noex_tokio::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::messages::{Pair, SMALL, is_asked};

/// About what noex gathers before it writes a record.
const BUFFER: usize = 16 << 10;

pub(crate) struct RawPair {
    reader: BufReader<OwnedReadHalf>,
    writer: BufWriter<OwnedWriteHalf>,
}

impl Pair for RawPair {
    async fn open() -> Self {
        let (near, far) = connection().await;
        tokio::spawn(async move {
            let (mut reader, mut writer) = buffered(far);
            let mut message = Vec::new();
            while let Ok(true) = reader.fill_buf().await.map(|data| !data.is_empty()) {
                receive(&mut reader, &mut message).await.expect("it is open");
                if is_asked(&message) {
                    send(&mut writer, &message[..SMALL]).await.expect("it is open");
                    writer.flush().await.expect("it is open");
                }
            }
        });
        let (reader, writer) = buffered(near);
        Self { reader, writer }
    }

    async fn send(&mut self, message: &Bytes) {
        send(&mut self.writer, message).await.expect("it is open");
        if is_asked(message) {
            self.writer.flush().await.expect("it is open");
        }
    }

    async fn answer(&mut self) {
        receive(&mut self.reader, &mut Vec::new()).await.expect("it is open");
    }
}

/// The two ends of a connection over loopback.
pub(crate) async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("it can listen");
    let near = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("it listens");
    let (far, _) = listener.accept().await.expect("a peer");
    for end in [&near, &far] {
        end.set_nodelay(true).expect("an option");
    }
    (near, far)
}

fn buffered(stream: TcpStream) -> (BufReader<OwnedReadHalf>, BufWriter<OwnedWriteHalf>) {
    let (reader, writer) = stream.into_split();
    (BufReader::with_capacity(BUFFER, reader), BufWriter::with_capacity(BUFFER, writer))
}

async fn send(writer: &mut BufWriter<OwnedWriteHalf>, message: &[u8]) -> io::Result<()> {
    writer.write_u32(message.len() as u32).await?;
    writer.write_all(message).await
}

async fn receive(reader: &mut BufReader<OwnedReadHalf>, message: &mut Vec<u8>) -> io::Result<()> {
    message.resize(reader.read_u32().await? as usize, 0);
    reader.read_exact(message).await?;
    Ok(())
}
