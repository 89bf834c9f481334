//! tarpc: a service over a connection, with its serde transport in the Bincode format, and defaults for the rest. It has no messages without an answer.

use std::pin::pin;

use futures_lite::StreamExt;
use noex_tokio::Bytes;
use tarpc::client::Config;
use tarpc::context;
use tarpc::serde_transport::Transport;
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;

use crate::calls::Caller;
use crate::raw;

#[tarpc::service]
trait Echo {
    async fn echo(message: Vec<u8>) -> Vec<u8>;
}

#[derive(Clone)]
struct Echoes;

impl Echo for Echoes {
    async fn echo(self, _: context::Context, message: Vec<u8>) -> Vec<u8> {
        message
    }
}

#[derive(Clone)]
pub(crate) struct Tarpc(EchoClient);

impl Caller for Tarpc {
    async fn open() -> Self {
        let (near, far) = raw::connection().await;
        let server = BaseChannel::with_defaults(Transport::from((far, Bincode::default())));
        tokio::spawn(async move {
            let mut requests = pin!(server.execute(Echoes.serve()));
            while let Some(request) = requests.next().await {
                tokio::spawn(request);
            }
        });
        Self(EchoClient::new(Config::default(), Transport::from((near, Bincode::default()))).spawn())
    }

    async fn call(self, message: Bytes) {
        self.0.echo(context::current(), message.to_vec()).await.expect("it answers");
    }
}
