//! Names: what the resolvers of hosts say, and drivers that cannot connect.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use noex_proto::{ClusterError, ConnectError, Contact, DialError, Input, LocalFault, LookupId, NodeId, Unreached};
use serde::{Deserialize, Serialize};

use super::host::Waiting;
use super::queue::Happening;
use super::{HostId, World, network};
use crate::safety::{Check, Invariant};

/// After so long a lookup may be called slow.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// How many addresses a dial tries.
const TRIED_AT_ONCE: usize = 16;
/// What a lookup takes where nothing else was said.
pub(crate) const USUAL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));
/// What it takes at most, in a resolver that is slow.
pub(crate) const SLOWEST: Duration = Duration::from_secs(20);

/// What the resolver of a host does.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolving {
    /// It says: try again.
    Fails,
    /// It answers.
    #[default]
    Normal,
    /// It says that the name has no address.
    Nothing,
    /// It gives some of the addresses only.
    Partly,
    /// It takes up to 20 s.
    Slow,
}

/// What a name leads to.
#[derive(Clone, Debug)]
pub(super) struct Name {
    pub(super) addrs: Vec<IpAddr>,
    /// Another order each time.
    pub(super) shuffled: bool,
    pub(super) takes: (Duration, Duration),
    /// Whether at most one seed of each node has it, so that what is tried of it can be judged.
    pub(super) judged: bool,
}

impl Name {
    pub(super) fn of(addrs: Vec<IpAddr>) -> Self {
        Self { addrs, shuffled: false, takes: USUAL, judged: false }
    }
}

/// A lookup that was asked for: by which process of a host, and what.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    host: HostId,
    process: u32,
    id: LookupId,
    name: String,
}

/// How a connection failed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Failing {
    /// The system had no descriptor for it.
    Local,
    Refused,
    TimedOut,
    Unreachable,
}

impl From<Failing> for ConnectError {
    fn from(failing: Failing) -> Self {
        match failing {
            Failing::Local => Self::Local("no descriptors left".into()),
            Failing::Refused => Self::Refused,
            Failing::TimedOut => Self::TimedOut,
            Failing::Unreachable => Self::Unreachable,
        }
    }
}

/// What a host's driver knows of names and addresses: by it is judged what the machine makes of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inquiry {
    /// By number: what is looked up, and since when on the host's own clock. Also for a run of the node that is over.
    under_way: BTreeMap<LookupId, (String, Duration)>,
    names: BTreeMap<String, Answers>,
    /// How many addresses were tried of late that were not the first of a dial.
    pub(super) further: u64,
    /// How connections to addresses have failed.
    failed: BTreeSet<(IpAddr, Failing)>,
    /// Where nodes were met at the address of a seed under another name: what is said of them later may be about that address.
    met_at: BTreeSet<(NodeId, IpAddr)>,
}

/// What is known of a name.
#[derive(Clone, Debug, Default)]
struct Answers {
    /// All that it ever led to.
    addrs: BTreeSet<IpAddr>,
    /// It was said to have no address.
    nothing: bool,
    /// A lookup of it was slow.
    late: bool,
    /// What it led to last.
    course: BTreeSet<IpAddr>,
    /// How many dials of the same addresses there were in a row which came to nothing, the present one included.
    dials: usize,
    /// In which of them each address was tried last.
    tried: BTreeMap<IpAddr, usize>,
    /// The present dial has met somebody, or was not needed: it may leave addresses out.
    met: bool,
}

impl Inquiry {
    /// A new run of the node: what it is told by the driver begins anew, but for the lookups that go on.
    pub(super) fn started(&mut self) {
        let under_way = std::mem::take(&mut self.under_way);
        *self = Self { under_way, ..Self::default() };
    }

    /// Other seeds: what was dialled for one may not be dialled on.
    pub(super) fn seeds_changed(&mut self) {
        self.up();
    }

    /// A node is up: dials that lead there end early.
    pub(super) fn up(&mut self) {
        self.names.values_mut().for_each(|name| name.met = true);
    }

    /// A lookup begins. The dials before it are over.
    pub(crate) fn asked(&mut self, id: LookupId, name: &str, now: Duration) -> Check {
        self.under_way.insert(id, (name.into(), now));
        self.names.entry(name.into()).or_default().dial_over(name)
    }

    /// A lookup ends.
    pub(crate) fn answered(&mut self, id: LookupId, addrs: Option<&[IpAddr]>, up: &[IpAddr], now: Duration) {
        let Some((name, since)) = self.under_way.remove(&id) else { return };
        let name = self.names.entry(name).or_default();
        name.late |= now - since >= LOOKUP_TIMEOUT;
        let Some(addrs) = addrs else { return };
        name.nothing |= addrs.is_empty();
        name.addrs.extend(addrs);
        let course: BTreeSet<IpAddr> = addrs.iter().copied().collect();
        if name.course != course {
            (name.course, name.dials, name.tried) = (course, 0, BTreeMap::new());
        }
        name.dials += 1;
        // Who is up already is not dialled.
        name.met |= up.iter().any(|ip| name.addrs.contains(ip));
    }

    /// An address is tried. Whether it comes after sixteen others of a name.
    pub(crate) fn tries(&mut self, addr: IpAddr) -> bool {
        let (mut late, mut further) = (false, false);
        for name in self.names.values_mut().filter(|name| name.course.contains(&addr)) {
            late |= name.dials > 1 && name.tried.len() >= TRIED_AT_ONCE && !name.tried.contains_key(&addr);
            further |= name.tried.values().any(|dial| *dial == name.dials);
            name.tried.insert(addr, name.dials);
        }
        self.further += u64::from(further);
        late
    }

    pub(super) fn connected(&mut self, addr: IpAddr) {
        self.names.values_mut().filter(|name| name.course.contains(&addr)).for_each(|name| name.met = true);
    }

    pub(super) fn failed(&mut self, addr: IpAddr, how: Failing) {
        self.failed.insert((addr, how));
    }

    /// A node was met at the address of a seed that has another name.
    pub(super) fn met_in_place_of(&mut self, found: &NodeId, seed: &NodeId) {
        self.met_at.extend(seed.host_ip().map(|ip| (found.clone(), ip)));
    }

    /// What is said of a node or a seed that was not reached is what the network, or the resolver, said.
    pub(crate) fn check_error(&self, error: &ClusterError, now: Duration) -> Check {
        let (contact, why) = match error {
            ClusterError::NodeUnreachable { id, why } => (Contact::from(id.clone()), why),
            ClusterError::SeedUnreachable { seed, why } => (seed.clone(), why),
            _ => return Ok(()),
        };
        let Unreached::Dial(why) = why else { return Ok(()) };
        let text = contact.to_string();
        let host = text.rsplit('@').next().unwrap_or(&text);
        let name = host.rsplit_once(':').map_or(host, |(host, _)| host);
        // A seed by name may be what was dialled for a node that was found there.
        let leads_there = |of: &str, known: &Answers| match contact.host_ip() {
            Some(ip) => known.addrs.contains(&ip),
            None => of == name,
        };
        let known: Vec<(&String, &Answers)> = self.names.iter().filter(|(of, known)| leads_there(of, known)).collect();
        let failed = |how| {
            let met_at = self.met_at.iter().filter(|(id, _)| contact.id() == Some(id)).map(|(_, ip)| *ip);
            let addrs = known.iter().flat_map(|(_, known)| &known.addrs).copied().chain(contact.host_ip()).chain(met_at);
            addrs.into_iter().any(|ip| self.failed.contains(&(ip, how)))
        };
        let is_true = match why {
            DialError::LookupTimedOut => {
                // One that an earlier run of the node began counts too.
                let late =
                    |of: &String| self.under_way.values().any(|(name, since)| name == of && now - *since >= LOOKUP_TIMEOUT);
                late(&name.to_string()) || known.iter().any(|(of, known)| known.late || late(of))
            }
            DialError::Refused => failed(Failing::Refused),
            DialError::TimedOut => failed(Failing::TimedOut),
            DialError::Unreachable => failed(Failing::Unreachable),
            DialError::Unresolved => known.iter().any(|(_, known)| known.nothing),
            other => unreachable!("{other:?} is new"),
        };
        if is_true { Ok(()) } else { Err((Invariant::BlameIsTrue, format!("{error}, which nobody said"))) }
    }
}

impl Answers {
    /// A dial of the name is over, since it is looked up again. Of `n` addresses each was tried in the last `ceil(n / 16)`.
    fn dial_over(&mut self, name: &str) -> Check {
        if std::mem::take(&mut self.met) {
            (self.dials, self.tried) = (0, BTreeMap::new());
            return Ok(());
        }
        let window = self.course.len().div_ceil(TRIED_AT_ONCE);
        if self.dials < window {
            return Ok(());
        }
        let first = self.dials - window;
        match self.course.iter().find(|addr| self.tried.get(addr).is_none_or(|dial| *dial <= first)) {
            Some(addr) => {
                let detail = format!("{addr} of {name} was not tried in the last {window} of {} dials", self.dials);
                Err((Invariant::AddressesTried, detail))
            }
            None => Ok(()),
        }
    }
}

impl World {
    /// Lets a name lead to hosts.
    pub fn set_name(&mut self, name: &str, hosts: &[HostId]) {
        let addrs = hosts.iter().map(|host| network::ip(*host)).collect();
        self.names.insert(name.into(), Name::of(addrs));
    }

    /// Lets a name that at most one seed of each node has lead to addresses; lookups of it take a time between the two.
    pub(crate) fn set_addresses(&mut self, name: &str, addrs: Vec<IpAddr>, shuffled: bool, takes: (Duration, Duration)) {
        self.names.insert(name.into(), Name { addrs, shuffled, takes, judged: true });
    }

    /// What the resolver of a host does from now on.
    pub fn set_resolving(&mut self, host: HostId, how: Resolving) {
        self.hosts[host].resolving = how;
    }

    /// Whether the driver on a host has no descriptors from now on, which it says: no connection can be begun.
    pub fn set_exhausted(&mut self, host: HostId, exhausted: bool) {
        if exhausted && !self.hosts[host].exhausted {
            self.command(host, Input::Report(LocalFault::Accept { cause: "no descriptors left".into() }));
        }
        self.hosts[host].exhausted = exhausted;
    }

    /// The driver of a host asks its resolver.
    pub(super) fn resolve(&mut self, host: HostId, id: LookupId, name: String) {
        let at = &mut self.hosts[host];
        let name = name.trim_end_matches('.').to_string();
        let now = at.local(self.now).since_start();
        let mut check = at.inquiry.asked(id, &name, now);
        if matches!(check, Err((Invariant::AddressesTried, _))) && !self.names.get(&name).is_some_and(|name| name.judged) {
            check = Ok(());
        }
        self.judge(host, check);
        self.line(Some(host), &format!("looks {name} up"));
        let (mut least, mut most) = self.names.get(&name).map_or(USUAL, |name| name.takes);
        if self.hosts[host].resolving == Resolving::Slow {
            (least, most) = (SLOWEST / 2, SLOWEST);
        }
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let delay = self.latency_random.within(nanos(least), nanos(most).max(nanos(least)));
        self.queue.push(self.now + delay, Happening::Lookup(self.lookups.len() as u32));
        self.lookups.push(Lookup { host, process: self.hosts[host].process, id, name });
    }

    /// The resolver answers, unless the process that asked is gone.
    pub(super) fn lookup_over(&mut self, number: u32) {
        let Lookup { host, process, id, name } = self.lookups[number as usize].clone();
        if !self.hosts[host].alive || self.hosts[host].process != process {
            return;
        }
        if self.hosts[host].frozen {
            self.hosts[host].waiting.push_back(Waiting::Lookup(number));
            return;
        }
        let now = self.hosts[host].local(self.now).since_start();
        let of = self.names.get(&name);
        let mut addrs = of.map_or_else(Vec::new, |name| name.addrs.clone());
        let shuffled = of.is_some_and(|name| name.shuffled);
        match self.hosts[host].resolving {
            Resolving::Fails => {
                self.coverage.note("lookup failed");
                self.line(Some(host), &format!("is given no answer about {name}"));
                self.hosts[host].inquiry.answered(id, None, &[], now);
                return self.feed(host, Input::Resolved { addrs: Err("try again".into()), lookup: id });
            }
            Resolving::Nothing => addrs.clear(),
            Resolving::Partly => addrs.retain(|_| self.latency_random.permille(500)),
            Resolving::Normal | Resolving::Slow => {}
        }
        if shuffled {
            for place in 1..addrs.len() {
                addrs.swap(place, self.latency_random.index(place + 1));
            }
        }
        self.line(Some(host), &format!("is given {} addresses of {name}", addrs.len()));
        let at = &mut self.hosts[host];
        let up: Vec<IpAddr> = at.monitor.up.keys().filter_map(noex_proto::NodeId::host_ip).collect();
        at.inquiry.answered(id, Some(&addrs), &up, now);
        let addrs = Ok(addrs.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect());
        self.feed(host, Input::Resolved { addrs, lookup: id });
    }
}
