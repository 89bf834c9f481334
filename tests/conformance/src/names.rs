//! Names: lookups that take long, fail or never end, names with many addresses, and seeds that change.

#![expect(missing_docs, reason = "the name of a scenario says what must hold")]

use std::error::Error as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use noex_driver::{ClusterError, DialError, LocalFault, Runtime, Unreached};

use crate::common::*;
use crate::named::{Answer, Named, name};

const LOOPBACK: &[IpAddr] = &[IpAddr::V4(Ipv4Addr::LOCALHOST)];

/// Seventeen addresses on loopback; nobody listens on any but the last.
const SEVENTEEN: &[IpAddr] = &{
    let mut addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST); 17];
    let mut place = 0;
    while place < 16 {
        addresses[place] = IpAddr::V4(Ipv4Addr::new(127, 9, 9, place as u8 + 1));
        place += 1;
    }
    addresses
};

/// The name is unique among the runs of the suite in one process.
fn unique(host: &str) -> String {
    format!("{host}-{}.test", free_port())
}

pub async fn a_name_whose_lookup_takes_long_is_joined_when_it_ends<R: Runtime>() {
    let host = unique("slow");
    name(&host, Answer::Addresses(LOOPBACK, Duration::from_millis(10_300)));
    let a = start::<Named<R>>(config("a")).await;
    let b = start::<Named<R>>(config("b")).await;
    let mut watch = Watch::new(&b);
    b.set_seeds([format!("{host}:{}", id(&a).port())]).unwrap();
    let late = Unreached::Dial(DialError::LookupTimedOut);
    watch.error("it is said", |error| matches!(error, ClusterError::SeedUnreachable { why, .. } if *why == late)).await;
    assert_eq!(late.to_string(), "name lookup timed out");
    meet(&a, &b).await;
}

pub async fn a_lookup_that_never_ends_holds_up_neither_others_nor_a_stop<R: Runtime>() {
    let (host, good) = (unique("never"), unique("good"));
    name(&host, Answer::Never);
    name(&good, Answer::Addresses(LOOPBACK, Duration::ZERO));
    let a = start::<Named<R>>(config("a")).await;
    let seeds = (0..40).map(|n| format!("{host}:{}", 1000 + n)).chain([format!("{good}:{}", id(&a).port())]);
    let b = start::<Named<R>>(config("b").seeds(seeds.collect::<Vec<_>>())).await;
    meet(&a, &b).await;
    patient(b.stop()).await;
    patient(b.start(config("b").seeds([format!("{host}:1000"), seed(&a)]))).await.unwrap();
    meet(&a, &b).await;
    patient(b.stop()).await;
}

pub async fn of_many_addresses_of_a_name_each_is_tried<R: Runtime>() {
    let host = unique("many");
    name(&host, Answer::Addresses(SEVENTEEN, Duration::ZERO));
    let a = start::<Named<R>>(config("a")).await;
    let b = start::<Named<R>>(config("b").seeds([format!("{host}:{}", id(&a).port())])).await;
    meet(&a, &b).await;
}

pub async fn a_resolver_that_fails_says_nothing_of_the_name<R: Runtime>() {
    let host = unique("fails");
    name(&host, Answer::Fails);
    let a = start::<Named<R>>(config("a")).await;
    let b = start::<Named<R>>(config("b")).await;
    let mut watch = Watch::new(&b);
    b.set_seeds([format!("{host}:{}", id(&a).port())]).unwrap();
    watch.error("it is said", |error| matches!(error, ClusterError::Local(LocalFault::Lookup { .. }))).await;
    let error = watch.errors().pop().unwrap();
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    assert_eq!(cause.map(ToString::to_string).as_deref(), Some("try again"));
    assert!(error.to_string().contains(&host), "{error}");
    name(&host, Answer::Addresses(LOOPBACK, Duration::ZERO));
    meet(&a, &b).await;
    watch.read().await;
    assert!(!watch.errors().iter().any(|error| matches!(error, ClusterError::SeedUnreachable { .. })), "{:?}", watch.errors());
}

pub async fn seeds_are_replaced_while_a_node_runs<R: Runtime>() {
    let a = start::<R>(config("a")).await;
    let b = start::<R>(config("b")).await;
    let c = start::<R>(config("c")).await;
    let contact = |port: u16| format!("127.0.0.1:{port}");
    c.set_seeds([contact(id(&a).port())]).unwrap();
    meet(&a, &c).await;
    let mut watch = Watch::new(&c);
    c.set_seeds([contact(id(&b).port())]).unwrap();
    meet(&b, &c).await;
    meet(&a, &b).await;
    watch.read().await;
    assert_eq!(watch.downs(), []);
    assert!(c.set_seeds(["no port:"]).unwrap_err().to_string().contains("name@host:port"));
    c.stop().await;
    assert!(c.set_seeds([contact(1)]).is_err());
}
