//! Names of nodes that talk over a network of queues.

mod life;
mod model;
mod net;
mod peers;

use std::vec;
use std::vec::Vec;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::process::id::ProtocolHash;
use crate::time::RunTime;
use crate::wire::keys::hmac;
use crate::wire::message::kind;
use crate::wire::names::{Ack, Told, read_acks, read_names};
use crate::wire::record::{Opener, RecordBuilder, Sealer};

/// Something that one node tells another of names.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Said {
    Told(Told),
    Ack(Ack),
}

/// What a record says of names, item by item.
fn said(record: RecordBuilder) -> Vec<Said> {
    if record.is_empty() {
        return Vec::new();
    }
    let sealed = Sealer::new(hmac(&[])).seal(record);
    let mut all = Vec::new();
    for message in Opener::new(hmac(&[])).open(&sealed[4..]).expect("well sealed") {
        let (kind, body) = message.expect("well formed");
        let read = match kind {
            kind::NAMES => read_names(body, |told| {
                all.push(Said::Told(told));
                Ok(())
            }),
            _ => read_acks(body, |ack| {
                all.push(Said::Ack(ack));
                Ok(())
            }),
        };
        read.expect("what is written can be read");
    }
    all
}

fn id(node: usize) -> NodeId {
    std::format!("n{node}@10.0.0.{}:4369", node + 1).parse().expect("valid")
}

/// The names of a node that has just started, with seeds or without.
fn started(node: usize, has_seeds: bool) -> Names {
    let mut names = Names::default();
    start(&mut names, node, 0, has_seeds, Instant::START);
    names
}

fn start(names: &mut Names, node: usize, times: u8, has_seeds: bool, now: Instant) {
    let incarnation = Incarnation([times; 16]);
    let random = ChaCha12Rng::from_seed([u8::try_from(node).expect("few"); 32]);
    names.start(Begin { id: &id(node), incarnation, interval: Duration::from_secs(5), has_seeds, now, random });
}
