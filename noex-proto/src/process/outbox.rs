//! What waits to be sent to one peer.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::{Buf, Bytes};

use super::id::{ExitReason, ProtocolHash, RequestId};
use super::line::{Line, Place};
use crate::wire::message::kind;
use crate::wire::record::{PIECE, RecordBuilder};
use crate::wire::signal::{HEAD_MAX, REASON_HEAD_MAX, Signal, To};

/// What a signal costs in the queue beyond its body, so that empty ones are bounded too.
const SIGNAL_OVERHEAD: usize = 64;

/// The longest head of any signal.
const LONGEST_HEAD: usize = if HEAD_MAX > REASON_HEAD_MAX { HEAD_MAX } else { REASON_HEAD_MAX };

/// A signal that waits. What belongs to a call, a request or a monitor is kept there, so that it takes no room of its own and cannot
/// fail for want of it.
#[derive(Clone, Debug)]
pub(super) enum Owed {
    Answer(u64),
    Call(u64),
    Cancel(u64),
    Cast(Box<Cast>),
    Demonitor(u64),
    Down(u64),
    Failure(u64),
    Monitor(u64),
    Stop(Box<(To, ExitReason)>),
}

#[derive(Clone, Debug)]
pub(super) struct Cast {
    pub(super) to: To,
    pub(super) protocol: ProtocolHash,
    pub(super) body: Bytes,
}

impl Owed {
    /// Whether the application started it, so that it counts in the queue's budget.
    const fn is_asked(&self) -> bool {
        matches!(self, Self::Call(_) | Self::Cast(_) | Self::Monitor(_) | Self::Stop(_))
    }
}

/// What waits to be sent to one peer, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox {
    /// With the size of each one's body.
    line: Line<(Owed, usize)>,
    /// What the signals cost that the application started.
    asked: usize,
    /// What the answers cost.
    answers: usize,
    /// Those whose answer found no room, and who wait for it, in order.
    refused: Line<RequestId>,
    /// A large signal that is being sent: what is left of it.
    transit: Option<Transit>,
}

#[derive(Clone, Debug)]
struct Transit {
    head: Vec<u8>,
    body: Bytes,
}

impl Transit {
    fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

const fn cost(size: usize) -> usize {
    size + SIGNAL_OVERHEAD
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.line.is_empty() && self.transit.is_none()
    }

    /// What the signals cost that the application started, or the answers, whichever is more.
    pub(super) const fn fullest(&self) -> usize {
        if self.asked > self.answers { self.asked } else { self.answers }
    }

    /// Whether a signal that the application starts finds room. One always does in an empty queue.
    pub(super) const fn has_room(&self, size: usize, limit: usize) -> bool {
        self.asked == 0 || self.asked + cost(size) <= limit
    }

    /// Whether an answer of this size finds room. One always does where no other waits.
    pub(super) const fn has_room_for_answer(&self, size: usize, limit: usize) -> bool {
        self.answers == 0 || self.answers + cost(size) <= limit
    }

    /// Queues a signal with a body of this size.
    pub(super) fn push(&mut self, owed: Owed, size: usize) -> Place {
        if owed.is_asked() {
            self.asked += cost(size);
        } else if let Owed::Answer(_) = owed {
            self.answers += cost(size);
        }
        self.line.push((owed, size))
    }

    /// Takes a signal that waits out of the queue.
    pub(super) fn take_out(&mut self, place: Place) {
        if let Some((owed, size)) = self.line.take(place) {
            self.left(&owed, size);
        }
    }

    /// Takes the next signal.
    pub(super) fn pop(&mut self) -> Option<Owed> {
        let (owed, size) = self.line.pop()?;
        self.left(&owed, size);
        Some(owed)
    }

    fn left(&mut self, owed: &Owed, size: usize) {
        if owed.is_asked() {
            self.asked -= cost(size);
        } else if let Owed::Answer(_) = owed {
            self.answers -= cost(size);
        }
    }

    // Room for answers

    /// An answer found no room: its caller waits until there is some.
    pub(super) fn refuse(&mut self, request: RequestId) -> Place {
        self.refused.push(request)
    }

    /// Waits no more.
    pub(super) fn give_up(&mut self, place: Place) {
        self.refused.take(place);
    }

    /// The next one of those that wait for room, once half of it is free.
    pub(super) fn readmit(&mut self, limit: usize) -> Option<RequestId> {
        if self.answers <= limit / 2 { self.refused.pop() } else { None }
    }

    /// What waits, by kind, in order.
    pub(super) fn kinds(&self) -> impl Iterator<Item = core::mem::Discriminant<Owed>> {
        self.line.iter().map(|(owed, _)| core::mem::discriminant(owed))
    }

    // To the wire

    /// How many bytes wait, or the size of a piece if it is more.
    pub(super) fn waits(&self) -> usize {
        let transit = self.transit.as_ref().map_or(0, Transit::len);
        (transit + self.asked + self.answers).max(self.line.len() * 8).min(PIECE)
    }

    /// Whether a large signal is being sent.
    pub(super) const fn is_in_transit(&self) -> bool {
        self.transit.is_some()
    }

    /// Whether the next signal fits into a record, or is large and begins this one.
    pub(super) fn is_next_for(&self, record: &RecordBuilder) -> bool {
        let Some((owed, size)) = self.line.front() else { return false };
        let head = if let Owed::Down(_) | Owed::Failure(_) | Owed::Stop(_) = owed { REASON_HEAD_MAX } else { HEAD_MAX };
        let needed = head + size;
        record.room().is_some_and(|room| needed <= room.min(PIECE)) || record.is_empty() && needed > PIECE
    }

    /// Whether the next signal says that a process has ended.
    pub(super) fn is_down_next(&self) -> bool {
        matches!(self.line.front(), Some((Owed::Down(_), _)))
    }

    /// Puts a signal into a record, whole or as much of it as fits one.
    pub(super) fn write(&mut self, record: &mut RecordBuilder, signal: Signal) {
        let room = record.room().unwrap_or(0).min(PIECE);
        if LONGEST_HEAD + signal.body_len() <= room {
            return record.push(kind::SIGNAL, |bytes| {
                signal.encode_head(bytes);
                bytes.extend_from_slice(&signal.into_body());
            });
        }
        let mut head = Vec::new();
        signal.encode_head(&mut head);
        let transit = Transit { head, body: signal.into_body() };
        if transit.len() <= room {
            record.push(kind::SIGNAL, |bytes| {
                bytes.extend_from_slice(&transit.head);
                bytes.extend_from_slice(&transit.body);
            });
        } else {
            self.transit = Some(transit);
            self.write_piece(record);
        }
    }

    /// Puts the next piece of a large signal into a record that has room for it. Whether one was put there.
    pub(super) fn write_piece(&mut self, record: &mut RecordBuilder) -> bool {
        let Some(transit) = &mut self.transit else { return false };
        let room = record.room().unwrap_or(0).min(PIECE);
        if transit.len() > room && !record.is_empty() || room == 0 {
            return false;
        }
        let more = transit.len() > room;
        let piece = if more { room } else { transit.len() };
        let (head, body) = (piece.min(transit.head.len()), piece.saturating_sub(transit.head.len()));
        let kind = if more { kind::SIGNAL | kind::MORE } else { kind::SIGNAL };
        record.push(kind, |bytes| {
            bytes.extend_from_slice(&transit.head[..head]);
            bytes.extend_from_slice(&transit.body[..body]);
        });
        transit.head.drain(..head);
        transit.body.advance(body);
        if !more {
            self.transit = None;
        }
        true
    }

    /// How many signals wait.
    #[cfg(any(debug_assertions, feature = "testing"))]
    pub(super) const fn len(&self) -> usize {
        self.line.len()
    }

    /// Panics where the costs are not what is queued.
    #[cfg(debug_assertions)]
    pub(super) fn audit(&self) {
        let sum =
            |is: fn(&Owed) -> bool| self.line.iter().filter(|(owed, _)| is(owed)).map(|(_, size)| cost(*size)).sum::<usize>();
        assert_eq!(self.asked, sum(Owed::is_asked), "bytes of signals that were asked for");
        assert_eq!(self.answers, sum(|owed| matches!(owed, Owed::Answer(_))), "bytes of answers");
    }
}
