//! Connections: what the kernels at both ends and the network between them hold.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;
use noex_proto::ConnId;
use serde::{Deserialize, Serialize};

use super::HostId;
use super::resolver::Failing;

/// How a byte stream is cut into reads and writes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Chunking {
    /// What has arrived is read in one piece.
    Coalesced,
    /// Writes and reads take at most this many bytes, for the first 4 KiB of each direction; later at most 512.
    Pieces {
        /// At least 1.
        most: usize,
    },
    /// As it was written.
    #[default]
    Whole,
}

/// What an adversary on the wire does to bytes on their way.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tampering {
    /// A part is left out.
    Drop,
    /// A bit is flipped.
    Flip,
    /// Bytes are put in.
    Insert,
    /// A write is replaced by one of its receiver.
    Reflect,
    /// A part comes twice.
    Replay,
    /// A write is replaced by one of another connection.
    Splice,
    /// The rest of a write is lost.
    Truncate,
}

#[derive(Clone, Debug)]
pub(super) enum Item {
    Data(Bytes),
    Fin,
    Reset,
}

/// One end of a connection.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) host: HostId,
    /// The run of the process that owns it.
    pub(super) process: u32,
    pub(super) id: ConnId,
    pub(super) state: EndState,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum EndState {
    /// The driver dials, or the kernel has not handed it to the driver yet.
    Pending,
    Open,
    /// The machine closed it gracefully; the driver is not done with it yet.
    Lingering,
    /// No process owns it. `silent`: not even a reset answers.
    Gone {
        silent: bool,
    },
}

/// The way from one end to the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Pipe {
    /// What the machine handed to the driver and the kernel has not taken yet.
    pub(super) out: VecDeque<Bytes>,
    pub(super) out_bytes: usize,
    /// What is on its way, each with the time of its arrival.
    pub(super) flight: VecDeque<(u64, Item)>,
    /// What has arrived and is not read yet.
    pub(super) inbox: VecDeque<Item>,
    /// Bytes in flight and in the inbox.
    pub(super) unread: usize,
    pub(super) last_arrival: u64,
    /// An arrival is in the queue.
    pub(super) scheduled: bool,
    /// The end of the stream was sent.
    pub(super) ended: bool,
    /// The kernel takes nothing from the writer.
    pub(super) writer_stalled: bool,
    /// The reader reads nothing.
    pub(super) reader_stalled: bool,
    /// Bytes taken so far.
    pub(super) taken: u64,
    /// Bytes that the machine has handed over, and where in them each frame ends that was not read yet; bytes that were read.
    pub(super) given: u64,
    pub(super) ends: VecDeque<u64>,
    pub(super) read: u64,
    /// The reader's host is frozen, and this pipe is noted in its backlog.
    pub(super) noted: bool,
}

/// How far a dial has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum DialStep {
    /// The request is on its way.
    Request,
    /// The answer is on its way.
    Answer,
    /// The dialler's confirmation is on its way.
    Confirm,
    /// Both ends have it.
    Done,
    /// A failure is on its way to the dialler.
    Fail(Failing),
    /// The request is lost, and so is each that the kernel sends after it.
    Lost,
}

#[derive(Clone, Debug)]
pub(super) struct Conn {
    /// The dialler first.
    pub(super) ends: [End; 2],
    /// By the end that sends.
    pub(super) pipes: [Pipe; 2],
    pub(super) step: DialStep,
    pub(super) retries: u32,
    pub(super) remote: SocketAddr,
    pub(super) tampering: Option<(Tampering, u32)>,
    /// Somebody has touched it, so that a reader may wait for bytes that do not come.
    pub(super) tampered: bool,
    /// How much is still read of each end that lingers.
    pub(super) lingering: [usize; 2],
    /// When it was dialled.
    pub(super) begun: u64,
    /// When each end came to be open.
    pub(super) opened: [u64; 2],
    /// When each end last read what completes a frame.
    pub(super) heard: [u64; 2],
}

impl Pipe {
    /// Forgets what is not on the wire yet.
    pub(super) fn drop_unsent(&mut self) {
        self.out = VecDeque::new();
        self.out_bytes = 0;
    }

    /// So many bytes are read. Whether a frame ends with them.
    pub(super) fn reads(&mut self, bytes: usize) -> bool {
        self.read += bytes as u64;
        let frames = self.ends.len();
        while self.ends.front().is_some_and(|end| *end <= self.read) {
            self.ends.pop_front();
        }
        self.ends.len() < frames
    }

    /// Cuts the bytes on their way down to the first `keep`.
    pub(super) fn truncate_flight(&mut self, keep: usize) {
        let mut left = keep;
        let mut kept = VecDeque::new();
        let mut is_reset = false;
        for (at, item) in std::mem::take(&mut self.flight) {
            match item {
                // Nothing is read behind a reset.
                Item::Data(data) if is_reset => self.unread -= data.len(),
                Item::Data(data) if data.len() <= left => {
                    left -= data.len();
                    kept.push_back((at, Item::Data(data)));
                }
                Item::Data(data) => {
                    self.unread -= data.len() - left;
                    if left > 0 {
                        kept.push_back((at, Item::Data(data.slice(..left))));
                    }
                    left = 0;
                }
                Item::Reset if !is_reset => {
                    is_reset = true;
                    kept.push_back((at, Item::Reset));
                }
                Item::Fin | Item::Reset => {}
            }
        }
        self.flight = kept;
    }
}
