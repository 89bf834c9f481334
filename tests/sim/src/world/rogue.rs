//! Strangers: peers without the secret, which speak as they like.

use std::net::SocketAddr;

use bytes::Bytes;
use noex_proto::{ConnId, Input};
use serde::{Deserialize, Serialize};

use super::wire::EndState;
use super::{HostId, World};

/// What a stranger does on its connections.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rogue {
    /// Random bytes behind a plausible length.
    Garbage,
    /// A length prefix that announces too much, or nothing.
    Lengths,
    /// What comes is sent back.
    Reflect,
    /// What others once sent is sent again.
    Replay,
    /// Nothing: the connection is held open.
    Silent,
}

impl World {
    /// Makes a host a stranger that listens, and answers as `rogue` says.
    pub fn add_rogue(&mut self, rogue: Rogue) -> HostId {
        let host = self.add_host();
        self.hosts[host].rogue = Some(rogue);
        if let Some(timeline) = &mut self.timeline {
            timeline.stranger(host, &format!("{rogue:?}").to_lowercase());
        }
        self.hosts[host].listening = Some(noex_proto::defaults::PORT);
        host
    }

    /// A stranger opens connections to a host.
    pub fn rogue_dials(&mut self, rogue: HostId, target: HostId, count: usize) {
        self.line(Some(rogue), &format!("a stranger dials {target} {count} times"));
        let remote = SocketAddr::new(super::network::ip(target), noex_proto::defaults::PORT);
        for _ in 0..count {
            let id = ConnId(self.hosts[rogue].conns.len() as u64 + 1);
            self.connect(rogue, id, remote);
        }
    }

    /// What a stranger does with what its kernel tells it.
    pub(super) fn rogue_input(&mut self, host: HostId, rogue: Rogue, input: &Input) {
        self.hosts[host].credits.clear();
        match input {
            Input::Accepted { conn, .. } | Input::Connected { conn, .. } => match rogue {
                Rogue::Garbage => {
                    let size = self.wire_random.within(1, 200) as usize;
                    let mut bytes = vec![0; size];
                    self.wire_random.fill(&mut bytes);
                    if self.wire_random.permille(700) && size > 8 {
                        bytes[..4].copy_from_slice(&((size - 4) as u32).to_be_bytes());
                        bytes[4] = self.wire_random.within(1, 5) as u8;
                    }
                    self.rogue_sends(host, *conn, bytes.into());
                }
                Rogue::Lengths => {
                    let length: u32 = self.wire_random.pick(&[0, 1025, 65_601, u32::MAX]);
                    self.rogue_sends(host, *conn, Bytes::copy_from_slice(&length.to_be_bytes()));
                }
                Rogue::Replay => {
                    let pieces: Vec<Bytes> = self.captured.iter().map(|(_, _, data)| data.clone()).collect();
                    for piece in pieces {
                        self.rogue_sends(host, *conn, piece);
                    }
                }
                Rogue::Reflect | Rogue::Silent => {}
            },
            Input::Received { conn, data, .. } if rogue == Rogue::Reflect => self.rogue_sends(host, *conn, data.clone()),
            Input::Closed { conn } => {
                if let Some((place, end)) = self.hosts[host].conn(*conn)
                    && self.conns[place].ends[end].state == EndState::Open
                {
                    self.reset_end(place, end, false);
                }
            }
            _ => {}
        }
        self.hosts[host].credits.clear();
    }

    fn rogue_sends(&mut self, host: HostId, conn: ConnId, data: Bytes) {
        let Some((place, end)) = self.hosts[host].conn(conn) else { return };
        if self.conns[place].ends[end].state == EndState::Open {
            let pipe = &mut self.conns[place].pipes[end];
            pipe.out_bytes += data.len();
            pipe.out.push_back(data);
            self.pump(place, end);
        }
    }
}
