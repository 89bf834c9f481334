//! Random clusters of honest nodes to which much happens: in the end all of them meet.
//!
//! Of some pairs only one side can dial, as through a firewall, so that a node may depend on one message that tells of it. What stays away
//! for long after all is well was missed for good, or until a long time has passed. `PROPTEST_CASES` is the number of clusters.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::net::{Host, MS, Net, SECOND, address, config, id};
use noex_proto::{ClusterConfig, ClusterStatus, Input, Limits};

/// By when all have met once all is well: the longest delay, a dial that nobody answers and what it takes to notice a dead session, and
/// that again for who is learned of then. With a dial at a time, each waits for others.
const ALL_HAVE_MET: Duration = Duration::from_secs(120);

/// Who can dial whom, of a pair.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Firewall {
    Open,
    LesserIsClosed,
    GreaterIsClosed,
}

#[derive(Clone, Debug)]
enum Seed {
    Node(Index),
    WrongName(Index),
    NameOfOne,
    NameOfAll,
}

#[derive(Clone, Debug)]
struct Site {
    interval: Duration,
    /// An earlier host, which this one has as a seed, or is a seed of, where it is closed.
    way_in: Index,
    seeds: Vec<Seed>,
    starts_at_once: bool,
    wait: Duration,
}

#[derive(Clone, Debug)]
enum Happening {
    BreakUnnoticed(Index, Index),
    Crash(Index),
    Cut(Index, Index),
    CutBoth(Index, Index),
    FreezeOrThaw(Index),
    Heal,
    LosePower(Index),
    Reset(Index, Index),
    Start(Index),
    Stop(Index),
}

#[derive(Clone, Debug)]
struct Arrangement {
    sites: Vec<Site>,
    firewalls: Vec<Vec<Firewall>>,
    latencies: Vec<Vec<Duration>>,
    longest_delay: Duration,
    forget_after: Duration,
    dials_in_flight: usize,
    happenings: Vec<(Happening, Duration)>,
}

fn millis(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

fn site() -> impl Strategy<Value = Site> {
    let seed = prop_oneof![
        1 => any::<Index>().prop_map(Seed::Node),
        1 => any::<Index>().prop_map(Seed::WrongName),
        1 => select(vec![Seed::NameOfOne, Seed::NameOfAll]),
    ];
    let interval = select(vec![200 * MS, SECOND, 3 * SECOND]);
    let wait = prop_oneof![Just(Duration::ZERO), millis(0..300)];
    (interval, any::<Index>(), vec(seed, 0..4), prop::bool::weighted(0.7), wait)
        .prop_map(|(interval, way_in, seeds, starts_at_once, wait)| Site { interval, way_in, seeds, starts_at_once, wait })
}

fn happening() -> impl Strategy<Value = (Happening, Duration)> {
    use Happening::{BreakUnnoticed, Crash, Cut, CutBoth, FreezeOrThaw, Heal, LosePower, Reset, Start, Stop};
    let what = (any::<Index>(), any::<Index>()).prop_flat_map(|(a, b)| {
        prop_oneof![
            1 => select(vec![Crash(a), LosePower(a), Stop(a)]),
            1 => Just(Start(a)),
            1 => select(vec![BreakUnnoticed(a, b), Reset(a, b), Cut(a, b), CutBoth(a, b)]),
            1 => select(vec![FreezeOrThaw(a), Heal]),
        ]
    });
    (what, prop_oneof![Just(Duration::ZERO), millis(0..100), millis(0..3000), millis(0..30_000)])
}

fn arrangement() -> impl Strategy<Value = Arrangement> {
    (3..7_usize).prop_flat_map(|n| {
        let firewall = prop_oneof![
            3 => Just(Firewall::Open),
            1 => Just(Firewall::LesserIsClosed),
            1 => Just(Firewall::GreaterIsClosed),
        ];
        let latency = prop_oneof![Just(MS), millis(1..200)];
        let delays =
            (select(vec![2 * SECOND, 5 * SECOND, 10 * SECOND]), prop_oneof![4 => Just(3600 * SECOND), 1 => Just(30 * SECOND)]);
        let dials = prop_oneof![Just(64_usize), 1..4_usize];
        (vec(site(), n), vec(vec(firewall, n), n), vec(vec(latency, n), n), delays, dials, vec(happening(), 0..15)).prop_map(
            |(sites, firewalls, latencies, (longest_delay, forget_after), dials_in_flight, happenings)| Arrangement {
                sites,
                firewalls,
                latencies,
                longest_delay,
                forget_after,
                dials_in_flight,
                happenings,
            },
        )
    })
}

impl Arrangement {
    fn can_dial(&self, from: Host, to: Host) -> bool {
        match self.firewalls[from.max(to)][from.min(to)] {
            Firewall::Open => true,
            Firewall::LesserIsClosed => to > from,
            Firewall::GreaterIsClosed => to < from,
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (Host, Host)> + use<> {
        let n = self.sites.len();
        (0..n).flat_map(move |from| (0..n).filter(move |to| *to != from).map(move |to| (from, to)))
    }

    /// What there is of the network in the end, and at first.
    fn heal(&self, net: &mut Net) {
        net.heal();
        for (from, to) in self.pairs().filter(|(from, to)| !self.can_dial(*from, *to)) {
            net.no_dial(from, to);
        }
    }

    fn config(&self, host: Host) -> ClusterConfig {
        let n = self.sites.len();
        let site = &self.sites[host];
        let mut seeds: BTreeSet<String> = BTreeSet::new();
        // Of each host and the one that is its way in, whichever can dial the other.
        for later in 1..n {
            let earlier = self.sites[later].way_in.index(later);
            let (from, to) = if self.can_dial(later, earlier) { (later, earlier) } else { (earlier, later) };
            if from == host {
                seeds.insert(id("n", to).to_string());
            }
        }
        seeds.extend(site.seeds.iter().map(|seed| match seed {
            Seed::Node(to) => id("n", to.index(n)).to_string(),
            Seed::WrongName(to) => id("wrong", to.index(n)).to_string(),
            Seed::NameOfOne => "y@one:4369".into(),
            Seed::NameOfAll => "x@cluster:4369".into(),
        }));
        config("n", host)
            .seeds(seeds)
            .heartbeat_interval(site.interval)
            .reconnect_max_delay(self.longest_delay)
            .forget_after(self.forget_after)
            .limits(Limits::default().dials_in_flight(self.dials_in_flight))
    }

    fn happen(&self, net: &mut Net, frozen: &mut BTreeSet<Host>, happening: &Happening) {
        let n = self.sites.len();
        let status = |net: &Net, host: Host| net.nodes[host].machine.status();
        let pair = |a: &Index, b: &Index| (a.index(n), (a.index(n) + 1 + b.index(n - 1)) % n);
        match happening {
            Happening::BreakUnnoticed(a, b) => net.break_unnoticed(pair(a, b).0, pair(a, b).1),
            Happening::Cut(a, b) => net.cut(pair(a, b).0, pair(a, b).1),
            Happening::CutBoth(a, b) => net.cut_both(pair(a, b).0, pair(a, b).1),
            Happening::Reset(a, b) => net.reset(pair(a, b).0, pair(a, b).1),
            Happening::Heal => self.heal(net),
            Happening::Crash(host) if !frozen.contains(&host.index(n)) => net.crash(host.index(n)),
            Happening::LosePower(host) if !frozen.contains(&host.index(n)) => net.lose_power(host.index(n)),
            Happening::FreezeOrThaw(host) if frozen.remove(&host.index(n)) => net.thaw(host.index(n)),
            Happening::FreezeOrThaw(host) if status(net, host.index(n)) == ClusterStatus::Running => {
                net.freeze(host.index(n));
                frozen.insert(host.index(n));
            }
            Happening::Start(host) if status(net, host.index(n)) == ClusterStatus::Stopped => {
                net.start(host.index(n), self.config(host.index(n)));
            }
            Happening::Stop(host) if status(net, host.index(n)) == ClusterStatus::Running => net.feed(host.index(n), Input::Stop),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_meet_whatever_happened_before_and_whoever_can_dial_whom(arrangement in arrangement()) {
        // Given: hosts that can dial each other in one direction at least, each with a way to the first of them.
        let n = arrangement.sites.len();
        let mut net = Net::new(n);
        for (from, to) in arrangement.pairs() {
            net.set_latency(from, to, arrangement.latencies[from][to]);
        }
        net.names.insert("cluster".into(), (0..n).map(address).collect());
        net.names.insert("one".into(), vec![address(0)]);
        arrangement.heal(&mut net);
        // When nodes crash, stop, start and freeze, and connections break.
        for (host, site) in arrangement.sites.iter().enumerate() {
            if site.starts_at_once {
                net.start(host, arrangement.config(host));
            }
            net.run(site.wait);
        }
        let mut frozen = BTreeSet::new();
        for (happening, wait) in &arrangement.happenings {
            arrangement.happen(&mut net, &mut frozen, happening);
            net.run(*wait);
        }
        // And then all is well.
        for host in frozen {
            net.thaw(host);
        }
        arrangement.heal(&mut net);
        net.run(6 * SECOND);
        for host in 0..n {
            if net.nodes[host].machine.status() == ClusterStatus::Stopped {
                net.start(host, arrangement.config(host));
            }
        }
        let apart = |net: &Net| arrangement.pairs().find(|(a, b)| !net.is_up(*a, &id("n", *b)));
        let end = net.now + ALL_HAVE_MET;
        while apart(&net).is_some() && net.now < end {
            net.run(100 * MS);
        }
        prop_assert_eq!(apart(&net), None, "{:#?}", net.all_events());
    }
}
