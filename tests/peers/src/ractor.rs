//! ractor_cluster: an actor that is reached over the connection of two node servers, with a cookie and defaults for the rest.
//!
//! What is not answered is a cast, and what is answered a call. Its registries belong to the process, so both node servers tell each
//! other of the same actor; messages to a remote actor go over their connection all the same.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use noex_tokio::Bytes;
use ractor::concurrency::{OneshotReceiver, oneshot};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, pg};
use ractor_cluster::{NetworkStream, NodeServer, NodeServerMessage, RactorClusterMessage};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::calls::Caller;
use crate::messages::{Pair, SMALL, is_asked};
use crate::raw;

const GROUP: &str = "comparison";
const LOOK: Duration = Duration::from_millis(5);

pub(crate) struct RactorPair {
    answers: VecDeque<OneshotReceiver<Vec<u8>>>,
    far: ActorRef<Request>,
}

#[derive(RactorClusterMessage)]
pub(crate) enum Request {
    #[rpc]
    Ask(Vec<u8>, RpcReplyPort<Vec<u8>>),
    Tell(Vec<u8>),
}

struct Answerer;

impl Actor for Answerer {
    type Arguments = ();
    type Msg = Request;
    type State = ();

    async fn pre_start(&self, _: ActorRef<Request>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<Request>, request: Request, (): &mut ()) -> Result<(), ActorProcessingErr> {
        if let Request::Ask(mut message, port) = request {
            message.truncate(SMALL);
            port.send(message)?;
        }
        Ok(())
    }
}

/// The actor, as seen from another node.
#[derive(Clone)]
pub(crate) struct RactorCaller(ActorRef<Request>);

impl Caller for RactorCaller {
    async fn open() -> Self {
        Self(RactorPair::open().await.far)
    }

    async fn call(self, message: Bytes) {
        let (port, answer) = oneshot();
        self.0.cast(Request::Ask(message.to_vec(), port.into())).expect("it is there");
        answer.await.expect("it answers");
    }
}

impl Pair for RactorPair {
    async fn open() -> Self {
        let (answerer, _) = Actor::spawn(None, Answerer, ()).await.expect("it starts");
        pg::join(GROUP.into(), vec![answerer.get_cell()]);
        let (near, far) = raw::connection().await;
        serve("near", near, false).await;
        serve("far", far, true).await;
        loop {
            if let Some(remote) = pg::get_members(&GROUP.into()).into_iter().find(|member| !member.get_id().is_local()) {
                return Self { answers: VecDeque::new(), far: remote.into() };
            }
            sleep(LOOK).await;
        }
    }

    async fn send(&mut self, message: &Bytes) {
        let request = if is_asked(message) {
            let (port, answer) = oneshot();
            self.answers.push_back(answer);
            Request::Ask(message.to_vec(), port.into())
        } else {
            Request::Tell(message.to_vec())
        };
        self.far.cast(request).expect("it is there");
    }

    async fn answer(&mut self) {
        self.answers.pop_front().expect("one was asked for").await.expect("it answers");
    }
}

/// Starts a node server that has one end of a connection.
async fn serve(name: &str, stream: TcpStream, is_server: bool) {
    // Nobody dials it: its port is any.
    let server = NodeServer::new(0, "a secret of the comparison".into(), name.into(), name.into(), None, None);
    let (server, _) = Actor::spawn(None, server.with_listen_addr(Ipv4Addr::LOCALHOST.into()), ()).await.expect("it can listen");
    let peer_addr = stream.peer_addr().expect("an address");
    let local_addr = stream.local_addr().expect("an address");
    let stream = Box::new(NetworkStream::Raw { local_addr, peer_addr, stream });
    server.cast(NodeServerMessage::ConnectionOpened { is_server, stream }).expect("it runs");
}
