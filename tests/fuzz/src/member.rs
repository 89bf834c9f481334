//! Members of the cluster that the machine under attack is in: their ends of its sessions, and how they come to them.

use noex_proto::testing::Phase;
use noex_proto::{Action, ConnId, ConnectError, Input, NodeId};

use crate::driven::{self, Driven};
use crate::peer::{Announcement, Keys, SECRET, Session, body, framed, frames, kind, message};
use crate::victim;

/// A member that does harm, and one that is honest.
pub(crate) const MEMBERS: [(&str, u8); 2] = [("a@10.0.0.2:4369", 2), ("b@10.0.0.4:4369", 4)];
pub(crate) const HARM: usize = 0;
pub(crate) const HONEST: usize = 1;

pub(crate) fn id(member: usize) -> NodeId {
    MEMBERS[member].0.parse().expect("valid")
}

/// A member's end of its session, with what is known of what is said there.
#[derive(Debug)]
pub(crate) struct Line<T> {
    pub(crate) conn: ConnId,
    session: Option<Session>,
    pub(crate) talk: T,
    /// What the machine said before there was a session.
    unread: Vec<u8>,
    /// Bytes that have not left the machine.
    pub(crate) waiting: usize,
}

impl<T> Line<T> {
    /// The member gets bytes: it reads the messages in them, once it has a session.
    pub(crate) fn hear(&mut self, data: &[u8], mut heard: impl FnMut(&mut T, u8, &[u8])) {
        let Some(session) = &mut self.session else { return self.unread.extend_from_slice(data) };
        for record in frames(data) {
            for (kind, body) in session.open(record) {
                heard(&mut self.talk, kind, body);
            }
        }
    }

    /// Whether the member has shaken hands.
    pub(crate) const fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// As many of the bytes leave the machine, or all of them where that is 0.
    pub(crate) fn let_leave(&mut self, bytes: u16) -> Input {
        let bytes = if bytes == 0 { self.waiting } else { self.waiting.min(bytes.into()) };
        self.waiting -= bytes;
        Input::Transmitted { bytes, conn: self.conn }
    }
}

/// A machine with members.
pub(crate) trait Members {
    /// What is known of what is said in a session.
    type Talk: Default;

    fn driven(&mut self) -> &mut Driven;
    fn lines(&mut self) -> &mut [Option<Line<Self::Talk>>; 2];
    fn feed(&mut self, input: Input);

    /// A member gets bytes: how many of them leave the machine at once.
    fn transmitted(&mut self, conn: ConnId, data: &[u8]) -> Option<usize>;

    /// Performs an action of the machine's that is about the network: what follows at once. Others are given back.
    fn perform_on_network(&mut self, action: Action) -> Result<Option<Input>, Action> {
        Ok(match action {
            Action::Resolve { lookup, .. } => Some(driven::resolved(lookup)),
            Action::Connect { conn, .. } => Some(Input::DialFailed { conn, error: ConnectError::Unreachable }),
            Action::Transmit { conn, data } => self.transmitted(conn, &data).map(|bytes| Input::Transmitted { bytes, conn }),
            Action::Close { conn, .. } => {
                for line in self.lines() {
                    line.take_if(|line| line.conn == conn);
                }
                self.driven().is(conn, Phase::Closing).then_some(Input::Closed { conn })
            }
            action => return Err(action),
        })
    }

    /// A member makes a connection, and of that a session that is up.
    fn greet(&mut self, member: usize, announcement: &Announcement<'_>) {
        let conn = self.driven().machine.next_conn();
        self.lines()[member] = Some(Line { conn, session: None, talk: Self::Talk::default(), unread: Vec::new(), waiting: 0 });
        self.feed(Input::Accepted { conn, remote: victim::address(MEMBERS[member].1) });
        let hello = announcement.hello("");
        let challenge = self.exchange(member, &framed(&hello));
        let Some(challenge) = frames(&challenge).first().map(|challenge| challenge.to_vec()) else { return };
        let keys = Keys::new(Some(SECRET), &hello, &challenge);
        self.exchange(member, &framed(&keys.auth));
        let Some(line) = &mut self.lines()[member] else { return };
        line.session = Some(keys.session(true));
        self.record(member, &message(kind::OFFER, &body::array(&[0], Some(false))));
        let intro = [(b'c', 1), (b'd', 0), (b'm', 1), (b'p', 0), (b'u', 0)];
        self.record(member, &message(kind::INTRO, &body::map(&intro)));
    }

    /// A member says something in its handshake: what the machine replies.
    fn exchange(&mut self, member: usize, bytes: &[u8]) -> Vec<u8> {
        let Some(conn) = self.lines()[member].as_ref().map(|line| line.conn) else { return Vec::new() };
        self.feed(victim::received(conn, bytes));
        self.lines()[member].as_mut().map(|line| std::mem::take(&mut line.unread)).unwrap_or_default()
    }

    /// A member sends messages, in one record.
    fn record(&mut self, member: usize, messages: &[u8]) {
        let Some(line) = &mut self.lines()[member] else { return };
        let Some(session) = &mut line.session else { return };
        let (conn, record) = (line.conn, session.seal(messages));
        self.feed(victim::received(conn, &record));
    }
}
