//! How the end of one process reaches another host.

use std::time::Duration;

use super::judge::host_of;
use super::network::Dialling;
use super::wire::{EndState, Item};
use super::{HostId, World};

/// What tells a host that the process at the other end of a connection is gone.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Sign {
    /// A reset, or the end of the stream, that is under way and arrives after this time.
    Underway(Duration),
    /// What it writes is answered by a reset; what it wrote before takes this long to arrive.
    Answer(Duration),
    /// The port that it dialled refuses. The last bytes from there arrive after this time.
    Port(Duration),
    /// Nothing but silence, after the same.
    Silence(Duration),
}

impl World {
    /// What tells a host that the process on a peer, which has just ended, is gone. Of several connections, of which the machine uses one, the
    /// one that takes longest counts. None where bytes between the two are held up.
    pub(crate) fn sign_of_end(&self, host: HostId, peer: HostId) -> Option<Sign> {
        let cut = [(host, peer), (peer, host)].iter().any(|(from, to)| self.network.path(*from, *to).cut);
        let open = self.open_to(host, peer).filter(|(place, end)| self.conns[*place].ends[*end].state == EndState::Open);
        let signs: Option<Vec<Sign>> = open.map(|(place, end)| self.sign_on(place, end)).collect();
        signs.filter(|_| !cut)?.into_iter().max()
    }

    fn sign_on(&self, place: usize, end: usize) -> Option<Sign> {
        let conn = &self.conns[place];
        let (peer, own, theirs) = (&conn.ends[1 - end], &conn.pipes[end], &conn.pipes[1 - end]);
        let powered = self.hosts[peer.host].powered;
        let left = |at: u64| Duration::from_nanos(at.saturating_sub(self.now));
        let sign = match (theirs.flight.back(), peer.state) {
            (Some((at, Item::Fin | Item::Reset)), _) => Sign::Underway(left(*at)),
            // Where bytes wait for the kernel, nothing more is written.
            (_, EndState::Gone { silent: false }) if powered && own.out.is_empty() => Sign::Answer(left(own.last_arrival)),
            _ if end == 0 && powered => Sign::Port(left(theirs.last_arrival)),
            _ => Sign::Silence(left(theirs.last_arrival)),
        };
        (!own.writer_stalled && !theirs.reader_stalled).then_some(sign)
    }

    /// Whether a dial from one host to another would lead to it, and none begun before is under way.
    pub(crate) fn can_dial(&self, from: HostId, to: HostId) -> bool {
        self.is_open(from, to)
            && self.open_to(from, to).all(|(place, end)| self.conns[place].ends[end].state != EndState::Pending)
    }

    /// Whether the network and the driver lead dials from one host to another.
    pub(crate) fn is_open(&self, from: HostId, to: HostId) -> bool {
        let [there, back] = [(from, to), (to, from)].map(|(from, to)| self.network.path(from, to));
        there.dialling == Dialling::Normal && !there.cut && !back.cut && !self.hosts[from].exhausted
    }

    /// Whether anything that one of two hosts writes to the other waits for a reader or a writer that stalls.
    pub(crate) fn is_stalled(&self, one: HostId, other: HostId) -> bool {
        let of =
            |(place, _): (usize, usize)| self.conns[place].pipes.iter().any(|pipe| pipe.reader_stalled || pipe.writer_stalled);
        self.open_to(one, other).any(of) || self.open_to(other, one).any(of)
    }

    /// Whether somebody has touched a connection between two hosts that one of them has open.
    pub(crate) fn is_tampered(&self, one: HostId, other: HostId) -> bool {
        self.open_to(one, other).chain(self.open_to(other, one)).any(|(place, _)| self.conns[place].tampered)
    }

    /// Whether neither of two hosts has a connection to the other, or has one under way, but for the sessions in use. One with a former run of
    /// a node, of whose end nothing tells, or a reset that is sent again, is asked for a sign of life before the present one comes up.
    pub(crate) fn is_clear(&self, one: HostId, other: HostId) -> bool {
        let used = |at: HostId, of: HostId| usize::from(self.hosts[at].monitor.up.keys().any(|id| host_of(id) == Some(of)));
        let dead = |at: HostId, of: HostId| {
            self.open_to(at, of).any(|(place, end)| {
                let conn = &self.conns[place];
                let usual = self.now + u64::try_from(self.network.path(of, at).latency.longest().as_nanos()).unwrap_or(u64::MAX);
                let again = conn.pipes[1 - end].flight.back().is_some_and(|(arrives, _)| *arrives > usual);
                let gone = |silent| conn.ends[1 - end].state == EndState::Gone { silent };
                conn.begun < self.hosts[of].since && (gone(true) || gone(false) && again)
            })
        };
        [(one, other), (other, one)].iter().all(|(at, of)| self.live(*at, *of) <= used(*at, *of) && !dead(*at, *of))
    }

    /// How a host's clock runs, in thousandths.
    pub(crate) fn clock_rate(&self, host: HostId) -> u64 {
        self.hosts[host].clock.permille
    }
}
