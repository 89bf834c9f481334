//! Failure detection: heartbeats, silence, and the node's own pauses.
//!
//! Silence is measured in the node's own running time. Of each gap between two inputs at most half of the shortest heartbeat interval
//! counts, and after a longer gap nobody is judged before what waits has been read: so a node that was frozen blames nobody for it. A node
//! that waits for nobody sleeps for as long as it likes: no wait that begins after a gap is put off by it.

use core::hash::Hasher;
use core::mem::discriminant;
use core::time::Duration;

use rand_chacha::rand_core::Rng;

use super::cx::{Cx, Local};
use crate::mesh::abstraction::{Abstract, Abstraction};
use crate::time::timers::Queue;
use crate::time::{Moment, RunTime};
use crate::{ConnId, Instant, defaults};

/// A heartbeat comes early by one to two of these parts of an interval: early, so that a healthy peer is never silent for a whole
/// interval, and by chance, so that the heartbeats of many nodes do not fall into step.
const HEARTBEAT_EARLY: u32 = 32;

/// The most that counts as the shortest interval where answers are concerned: those have to come within seconds, however long the
/// intervals are, so that a pause of seconds has to be noticed, and a hold must be over before they are due.
const PULSE_OF_WAITS: Duration = defaults::HEARTBEAT_INTERVAL;

/// The node's pauses, and what is due on the sessions that are up.
#[derive(Clone, Debug)]
pub(crate) struct Detector {
    /// Until then no peer is judged: after a pause, what waits is read first.
    held: Option<RunTime>,
    /// The shortest heartbeat interval of this node and of all that are up.
    pulse: Duration,
    /// When a heartbeat is due on each session that is up.
    heartbeats: Queue<ConnId, Instant>,
    /// When to look whether the session is silent.
    looks: Queue<ConnId, RunTime>,
}

/// How one session is watched. What a peer promised is measured by its own interval: here no other is in reach.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    /// The peer's heartbeat interval, in milliseconds.
    interval_ms: u32,
    /// What the bare connects to a silent peer's address have shown.
    reach: Reach,
    /// When the last verified record came.
    heard: RunTime,
    /// When a heartbeat is due on it, while it is up.
    heartbeat_at: Instant,
    /// When to look whether it is silent, while it is up.
    look_at: RunTime,
    /// When to ask by a bare connect whether its address still accepts; none where the peer dialled, or while one is under way.
    reach_at: Option<RunTime>,
}

/// The bare connects to a silent peer's address.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Reach {
    /// The peer is not silent, or its address accepts.
    #[default]
    Open,
    /// The address refused once since the peer fell silent.
    RefusedOnce,
}

/// What an idle check of a session leads to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Checked {
    /// Nothing: it is looked at again later.
    Alive,
    /// Its peer's port is to be asked whether it still accepts.
    AskPort,
    /// It has been silent for longer than it may.
    Silent,
}

impl Watch {
    pub(crate) const fn new(interval_ms: u32, run: RunTime) -> Self {
        let (heartbeat_at, look_at) = (Instant::NEVER, RunTime::NEVER);
        Self { interval_ms, reach: Reach::Open, heard: run, heartbeat_at, look_at, reach_at: None }
    }

    /// The peer's heartbeat interval.
    pub(crate) const fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms as u64)
    }

    /// A verified record came.
    pub(crate) const fn heard(&mut self, run: RunTime) {
        self.heard = run;
        self.reach = Reach::Open;
    }

    /// The longest silence that is no failure: the peer's interval times the local threshold and half an interval. A millisecond more,
    /// since only longer silence counts.
    pub(super) fn allowed_silence(&self, threshold: u32) -> Duration {
        self.interval() * threshold + self.interval() / 2 + Duration::from_millis(1)
    }

    /// When the peer will have been silent for an interval.
    fn silent_at(&self) -> RunTime {
        self.heard + self.interval()
    }

    /// Its port is asked an interval from now.
    fn reach_in_an_interval(&mut self, run: RunTime) {
        self.reach_at = Some(run + self.interval());
    }

    /// Its port is asked half an interval from now.
    fn reach_in_half_an_interval(&mut self, run: RunTime) {
        self.reach_at = Some(run + self.interval() / 2);
    }

    /// The peer may have been silent for an interval: whether to ask its port now. `full`: too many are asked.
    fn reach_due(&mut self, run: RunTime, full: bool) -> bool {
        self.reach_at = None;
        if self.silent_at() > run {
            self.reach_at = Some(self.silent_at());
        } else if full {
            self.reach_in_half_an_interval(run);
        }
        self.reach_at.is_none()
    }
}

impl Detector {
    /// `interval` is that of this node's own heartbeats.
    pub(crate) const fn new(interval: Duration) -> Self {
        Self { held: None, pulse: interval, heartbeats: Queue::new(), looks: Queue::new() }
    }

    /// The shortest heartbeat interval of this node and of all that are up.
    pub(crate) const fn pulse(&self) -> Duration {
        self.pulse
    }

    // Clocks

    /// Brings both clocks to the time of the present input.
    pub(crate) fn advance_clocks(&mut self, cx: &mut Cx<'_>) {
        // A hold that is over, also where no tick came to end it, keeps no other pause from being held.
        self.held = self.held.filter(|until| cx.run() < *until);
        let gap = cx.host.now - cx.now();
        cx.local.now = cx.host.now;
        let longest = self.waiting_pulse(cx.local) / 2;
        cx.local.run = cx.run() + gap.min(longest);
        // Who waits for nobody looks at no clock, which is no pause.
        let waits = cx.local.waits.next().min(self.looks.next()) < RunTime::NEVER;
        if waits && gap > longest && self.held.is_none() {
            self.held = Some(cx.run() + self.hold());
        }
    }

    /// The interval that tells a pause from a wait.
    fn waiting_pulse(&self, local: &Local) -> Duration {
        if local.waits.next() < RunTime::NEVER { self.pulse.min(PULSE_OF_WAITS) } else { self.pulse }
    }

    /// How long nobody is judged after a pause, so that what waits is read: less than any wait that begins after it.
    fn hold(&self) -> Duration {
        self.pulse.min(PULSE_OF_WAITS) / 4
    }

    /// Whether nobody is judged yet, since what waits is read first. A hold that is over ends.
    pub(crate) fn is_holding(&mut self, run: RunTime) -> bool {
        self.held = self.held.filter(|until| run < *until);
        self.held.is_some()
    }

    /// When the next deadline of either clock falls due, in real time, and no later than `other`. `judged`: a moment in real time that is
    /// judged behind a hold. While a peer is waited for, the node looks up at least four times in the shortest interval: a gap that is
    /// longer is a pause.
    pub(crate) fn next_deadline(&self, local: &Local, other: Instant, judged: Option<Instant>) -> Option<Instant> {
        let wait = local.waits.next().min(self.looks.next());
        let mut next = local.timers.next().min(other).min(self.heartbeats.next());
        if wait < RunTime::NEVER {
            let judged = self.held.map_or(wait, |held| held.max(wait));
            next = next.min(judged.at(local.run, local.now)).min(local.now + self.waiting_pulse(local) / 4);
        }
        if let Some(judged) = judged {
            let held = self.held.map_or(local.now, |held| held.at(local.run, local.now));
            next = next.min(judged.max(held)).min(local.now + self.waiting_pulse(local) / 4);
        }
        (next < Instant::NEVER).then(|| next.max(local.now))
    }

    /// The shortest interval became shorter with this peer: what is left of a hold is not longer than one of such intervals would be.
    fn quicken(&mut self, run: RunTime, interval: Duration) {
        self.pulse = self.pulse.min(interval);
        let most = run + self.hold();
        self.held = self.held.map(|until| until.min(most));
    }

    // Sessions

    /// Begins to watch a session that has come up, and to send heartbeats on it. `dialled`: this node dialled, so that the peer's port is
    /// known.
    pub(crate) fn up(&mut self, cx: &mut Cx<'_>, conn: ConnId, watch: &mut Watch, dialled: bool) {
        // What came before was no silence: until then nothing had to be said.
        watch.heard = cx.run();
        self.quicken(cx.run(), watch.interval());
        // The first heartbeat comes at a random point of the interval, so that those to many peers are spread over it.
        let first = fraction(cx.local.settings.heartbeat_interval, cx.local.rng.next_u32()).max(Duration::from_millis(1));
        watch.heartbeat_at = cx.now() + first;
        self.heartbeats.insert(conn, watch.heartbeat_at);
        watch.reach_at = dialled.then(|| watch.silent_at());
        self.look_later(cx, conn, watch);
    }

    /// A session that was up has ended. `left`: the intervals of those that are still up.
    pub(crate) fn down(&mut self, own: Duration, conn: ConnId, watch: &Watch, left: impl Iterator<Item = Duration>) {
        self.heartbeats.remove(conn, watch.heartbeat_at);
        self.looks.remove(conn, watch.look_at);
        // The shortest interval may have gone with this one.
        let gone = watch.interval();
        if gone <= self.pulse && gone != own {
            self.pulse = left.fold(own, Duration::min);
        }
    }

    /// Takes a session on which a heartbeat is due.
    pub(crate) fn due_heartbeat(&mut self, now: Instant) -> Option<ConnId> {
        self.heartbeats.pop_due(now)
    }

    /// The heartbeat that was due is sent: sets when the next one is.
    pub(crate) fn next_heartbeat(&mut self, cx: &mut Cx<'_>, conn: ConnId, watch: &mut Watch) {
        let interval = cx.local.settings.heartbeat_interval;
        let period = interval - interval / HEARTBEAT_EARLY - fraction(interval / HEARTBEAT_EARLY, cx.local.rng.next_u32());
        watch.heartbeat_at = cx.now() + period;
        self.heartbeats.insert(conn, watch.heartbeat_at);
    }

    // Silence

    /// Takes a session that is due to be looked at.
    pub(crate) fn due_look(&mut self, run: RunTime) -> Option<ConnId> {
        self.looks.pop_due(run)
    }

    /// It is time to look at a session: is it silent? `full`: no further port may be asked.
    pub(crate) fn check(&mut self, cx: &Cx<'_>, conn: ConnId, watch: &mut Watch, full: bool) -> Checked {
        let (run, threshold) = (cx.run(), cx.local.settings.heartbeat_miss_threshold);
        watch.look_at = RunTime::NEVER;
        if watch.heard + watch.allowed_silence(threshold) <= run {
            return Checked::Silent;
        }
        let ask = watch.reach_at.is_some_and(|at| at <= run) && watch.reach_due(run, full);
        self.look_later(cx, conn, watch);
        if ask { Checked::AskPort } else { Checked::Alive }
    }

    /// Sets when to look at a session next: both deadlines move on with every record, which is looked at only then.
    fn look_later(&mut self, cx: &Cx<'_>, conn: ConnId, watch: &mut Watch) {
        let silence = watch.heard + watch.allowed_silence(cx.local.settings.heartbeat_miss_threshold);
        let next = watch.reach_at.map_or(silence, |at| at.min(silence));
        let set = core::mem::replace(&mut watch.look_at, next);
        self.looks.remove(conn, set);
        self.looks.insert(conn, next);
    }

    // The port of a silent peer

    /// The port is open: the process may be alive. It is asked again if the silence goes on.
    pub(crate) fn port_accepts(&mut self, cx: &Cx<'_>, conn: ConnId, watch: &mut Watch) {
        watch.reach = Reach::Open;
        watch.reach_in_an_interval(cx.run());
        self.look_later(cx, conn, watch);
    }

    /// The bare connect failed. Refused twice, half an interval apart and with silence between: the process is gone, and this is true.
    pub(crate) fn port_fails(&mut self, cx: &Cx<'_>, conn: ConnId, watch: &mut Watch, refused: bool) -> bool {
        let run = cx.run();
        let silent = watch.silent_at() <= run;
        match watch.reach {
            Reach::RefusedOnce if silent && refused => return true,
            Reach::Open if silent && refused => {
                watch.reach = Reach::RefusedOnce;
                watch.reach_in_half_an_interval(run);
                self.look_later(cx, conn, watch);
            }
            _ => self.port_accepts(cx, conn, watch),
        }
        false
    }
}

/// A random share of a duration, uniform from none of it to all.
fn fraction(whole: Duration, random: u32) -> Duration {
    whole.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(debug_assertions)]
impl Detector {
    /// Panics where a session that is up is not watched, another one is, or the shortest interval is not that of one of them.
    pub(super) fn audit<'a>(&self, own: Duration, up: impl Iterator<Item = (ConnId, &'a Watch)>) {
        self.heartbeats.audit();
        self.looks.audit();
        let (mut count, mut pulse) = (0, own);
        for (conn, watch) in up {
            assert!(self.heartbeats.contains(conn, watch.heartbeat_at), "{conn} is up and has no heartbeat");
            assert!(self.looks.contains(conn, watch.look_at), "{conn} is up and is not looked at");
            count += 1;
            pulse = pulse.min(watch.interval());
        }
        assert_eq!((self.heartbeats.len(), self.looks.len()), (count, count), "heartbeats and looks");
        assert_eq!(self.pulse, pulse, "the shortest interval");
    }

    /// How the books of this part can drift.
    #[cfg(test)]
    pub(crate) const DRIFTS: [fn(&mut Self); 3] = [
        |detector| detector.pulse *= 2,
        |detector| detector.heartbeats.insert(ConnId(99), Instant::START),
        |detector| detector.looks.insert(ConnId(99), RunTime::START),
    ];
}

impl Abstract for Detector {
    fn write(&self, to: &mut Abstraction<'_, impl Hasher>) {
        let Self { held, pulse, heartbeats, looks } = self;
        to.write((held.is_some(), pulse));
        for (conn, at) in heartbeats.iter() {
            to.write((to.place(*conn), to.until(at)));
        }
        for (conn, at) in looks.iter() {
            to.write((to.place(*conn), to.run_until(at)));
        }
    }
}

impl Abstract for Watch {
    fn write(&self, to: &mut Abstraction<'_, impl Hasher>) {
        let Self { interval_ms, reach, heard, heartbeat_at: _, look_at: _, reach_at } = self;
        to.write((interval_ms, discriminant(reach), to.run_age(*heard)));
        to.write(reach_at.map(|at| to.run_until(at)));
    }
}
