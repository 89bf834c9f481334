//! Connections as the search sees them: two ends, and what is under way between them.

use std::collections::VecDeque;

use bytes::Bytes;
use noex_proto::ConnId;

use crate::HostId;

/// One connection. Each end learns of what the other does when the search delivers it, if ever.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// Its number in the text of a trace.
    pub(super) number: u32,
    /// The dialler first.
    pub(super) ends: [End; 2],
    /// What is under way, by the end that sent it.
    pub(super) ways: [Way; 2],
    /// The network reset it.
    pub(super) cut: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) host: HostId,
    pub(super) conn: ConnId,
    pub(super) state: EndState,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum EndState {
    /// Nobody has it: it was closed, or its process is gone.
    Gone,
    /// The machine closed it gracefully; the driver waits for the other end.
    Lingering,
    Open,
    /// The dial is under way.
    Pending,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Way {
    /// Frames, as they were sent.
    pub(super) data: VecDeque<Bytes>,
    pub(super) end: Option<StreamEnd>,
    /// Nothing arrives on it any more, not even its end.
    pub(super) lost: bool,
}

impl Way {
    fn finish(&mut self, end: StreamEnd) {
        if !self.lost {
            self.end = Some(end);
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum StreamEnd {
    /// It comes after all data.
    Fin,
    /// It may overtake data, which is lost then.
    Reset,
}

impl Link {
    pub(super) fn new(number: u32, dialler: HostId, conn: ConnId, acceptor: HostId) -> Self {
        let dialler = End { host: dialler, conn, state: EndState::Pending };
        let acceptor = End { host: acceptor, conn: ConnId(0), state: EndState::Pending };
        Self { number, ends: [dialler, acceptor], ways: Default::default(), cut: false }
    }

    pub(super) fn is_pending(&self) -> bool {
        self.ends[0].state == EndState::Pending
    }

    pub(super) fn is_open(&self) -> bool {
        self.ends.iter().all(|end| end.state == EndState::Open)
    }

    /// Whether no process has an end of it any more.
    pub(super) fn is_over(&self) -> bool {
        let states = self.ends.map(|end| end.state);
        states == [EndState::Gone; 2] || states == [EndState::Gone, EndState::Pending]
    }

    /// Takes a frame on its way, unless nobody will read it.
    pub(super) fn send(&mut self, end: usize, data: Bytes) -> bool {
        let read = self.ends[1 - end].state == EndState::Open && !self.ways[end].lost;
        if read {
            self.ways[end].data.push_back(data);
        }
        read
    }

    /// What is on its way to this end, the end of the stream included, never arrives: the end goes on to believe in the connection.
    pub(super) fn lose(&mut self, end: usize) {
        self.ways[1 - end] = Way { lost: true, ..Way::default() };
    }

    /// Whether this end believes in a connection on which nothing comes any more.
    pub(super) fn is_deaf(&self, end: usize) -> bool {
        self.ways[1 - end].lost && self.ends[end].state != EndState::Gone
    }

    /// The machine closed this end gracefully: what comes is read to its end, and dropped.
    pub(super) fn finish(&mut self, end: usize) {
        self.ends[end].state = EndState::Lingering;
        self.ways[end].finish(StreamEnd::Fin);
        self.ways[1 - end].data.clear();
    }

    /// This end is closed at once: the other end gets a reset.
    pub(super) fn abort(&mut self, end: usize) {
        self.ways[end].finish(StreamEnd::Reset);
        self.leave(end);
    }

    /// This end is done with; what it sent is still on its way.
    pub(super) fn leave(&mut self, end: usize) {
        self.ends[end].state = EndState::Gone;
        self.ways[1 - end] = Way::default();
    }

    /// The network resets the connection. Each end learns of it in its own time, if ever; what is under way may arrive before.
    pub(super) fn reset(&mut self) {
        self.cut = true;
        for way in &mut self.ways {
            way.finish(StreamEnd::Reset);
        }
    }
}
