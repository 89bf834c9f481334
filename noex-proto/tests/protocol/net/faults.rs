//! What can go wrong in the network of the tests.

use noex_proto::{Input, WallTime};

use super::{Backlog, Duration, End, Host, MS, Net};

/// In which order a frozen host finds what happened meanwhile.
#[derive(Clone, Copy, Debug)]
pub enum Thaw {
    /// What arrived is read before the timer fires.
    InputFirst,
    /// The timer fires, and what arrived is read a little later.
    InputLate,
    /// The timer fires, then what arrived is read.
    TickFirst,
}

impl Net {
    /// The process goes on, and its port refuses.
    pub fn close_port(&mut self, host: Host) {
        self.nodes[host].listening = false;
    }

    pub fn open_port(&mut self, host: Host) {
        self.nodes[host].listening = true;
    }

    pub fn freeze(&mut self, host: Host) {
        self.nodes[host].frozen = true;
    }

    pub fn is_frozen(&self, host: Host) -> bool {
        self.nodes[host].frozen
    }

    /// The host goes on: its timer is late, and what waited is read after it.
    pub fn thaw(&mut self, host: Host) {
        self.thaw_in(host, Thaw::TickFirst);
    }

    pub fn thaw_in(&mut self, host: Host, order: Thaw) {
        self.nodes[host].frozen = false;
        if !matches!(order, Thaw::InputFirst) {
            self.feed(host, Input::Tick);
        }
        if matches!(order, Thaw::InputLate) {
            self.nodes[host].frozen = true;
            self.run(100 * MS);
            self.nodes[host].frozen = false;
            self.feed(host, Input::Tick);
        }
        for input in std::mem::take(&mut self.nodes[host].waiting) {
            self.feed(host, input);
        }
        for Backlog { from, data, closed } in std::mem::take(&mut self.nodes[host].backlog) {
            let conn = self.accept(from, host);
            if closed {
                self.links.remove(&from);
            }
            let wall = WallTime(self.now.since_start());
            for data in data {
                self.feed(host, Input::Received { conn, data, wall });
            }
            if closed {
                self.feed(host, Input::Closed { conn });
            }
        }
        self.feed(host, Input::Tick);
    }

    /// From now on what one host sends to the other takes this long.
    pub fn set_latency(&mut self, from: Host, to: Host, latency: Duration) {
        self.latencies.insert((from, to), latency);
    }

    /// From now on `reader` reads nothing that `from` sends, and the operating system has no room for it.
    pub fn clog(&mut self, from: Host, reader: Host) {
        self.unread.insert((from, reader));
    }

    /// All is read again.
    pub fn unclog(&mut self) {
        self.unread.clear();
        for ((host, conn), jammed) in std::mem::take(&mut self.jammed) {
            for data in jammed {
                self.transmit((host, conn), data);
            }
        }
    }

    /// From now on the machine gets no credit for what it sends.
    pub fn withhold_credit(&mut self, host: Host) {
        self.nodes[host].withheld = Some(Vec::new());
    }

    pub fn give_credit(&mut self, host: Host) {
        for (conn, bytes) in self.nodes[host].withheld.take().unwrap_or_default() {
            self.feed(host, Input::Transmitted { bytes, conn });
        }
    }

    /// From now on nothing that `from` sends reaches `to`.
    pub fn cut(&mut self, from: Host, to: Host) {
        self.cut.insert((from, to));
    }

    pub fn cut_both(&mut self, one: Host, other: Host) {
        self.cut(one, other);
        self.cut(other, one);
    }

    pub fn heal(&mut self) {
        self.cut.clear();
        self.undialable.clear();
        for (from, to, happening) in std::mem::take(&mut self.lost) {
            self.pass(from, to, happening);
        }
    }

    /// Dials from `from` to `to` vanish.
    pub fn no_dial(&mut self, from: Host, to: Host) {
        self.undialable.insert((from, to));
    }

    /// One side's connections to the other break without the other noticing.
    pub fn break_unnoticed(&mut self, at: Host, with: Host) {
        let broken: Vec<End> =
            self.links.iter().filter(|(from, to)| from.0 == at && to.0 == with).map(|(from, _)| *from).collect();
        for end in broken {
            self.links.remove(&end);
            self.feed(at, Input::Closed { conn: end.1 });
        }
    }

    /// Every connection between two hosts is reset.
    pub fn reset(&mut self, one: Host, other: Host) {
        let broken: Vec<End> =
            self.links.iter().filter(|(from, to)| from.0 == one && to.0 == other).map(|(from, _)| *from).collect();
        for end in broken {
            let Some(peer) = self.links.remove(&end) else { continue };
            self.links.remove(&peer);
            self.feed(end.0, Input::Closed { conn: end.1 });
            self.feed(peer.0, Input::Closed { conn: peer.1 });
        }
    }
}
