//! Secrets: who gets in, and how they are changed while nodes run.

#![expect(missing_docs, reason = "the name of a scenario says what must hold")]

use noex_driver::{
    Cluster, ClusterConfig, ClusterError, ClusterEvent, NodeDownReason, PeerFault, Refusal, Runtime, SecretUse, SetSecretsError,
};

use crate::common::*;
use crate::proxy::Proxy;

const OLD: &str = "the old secret of this cluster";
const NEW: &str = "the new secret of this cluster";

pub async fn only_who_knows_the_secret_joins<R: Runtime>() {
    let (a, b) = pair::<R>(config("a").cluster_secret(OLD), config("b").cluster_secret(Some(OLD))).await;
    assert_eq!(a.secret_use(&id(&b)), Ok(Some(SecretUse::Primary)));
    let mut at_a = Watch::new(&a);
    at_a.forget().await;
    let rejected = async |config: ClusterConfig, refusal: Refusal, fault: PeerFault| {
        let stranger = Cluster::<R>::new();
        let mut watch = Watch::new(&stranger);
        stranger.start(config.seeds([seed(&a)])).await.unwrap();
        let told = |error: &ClusterError| match error {
            ClusterError::Refused { reason, .. } => *reason == refusal,
            ClusterError::Peer { fault: met, .. } => *met == fault,
            _ => false,
        };
        watch.error("the stranger hears why", told).await;
        assert_eq!((stranger.nodes(), watch.ups()), (Ok(vec![]), vec![]));
    };
    rejected(config("c").cluster_secret(NEW), Refusal::AuthenticationFailed, PeerFault::AuthenticationFailed).await;
    rejected(
        config("d").cluster_secret(OLD).cluster_name("other"),
        Refusal::AuthenticationFailed,
        PeerFault::AuthenticationFailed,
    )
    .await;
    rejected(config("e"), Refusal::AuthenticationRequired, PeerFault::AuthenticationNotOffered).await;
    at_a.error("and so does the node", |error| matches!(error, ClusterError::Peer { id: None, .. })).await;
    assert_eq!((at_a.ups(), at_a.downs()), (vec![], vec![]));
}

pub async fn secrets_are_rotated_without_a_down<R: Runtime>() {
    let b = start::<R>(config("b").cluster_secret(OLD)).await;
    let proxy = Proxy::new(id(&b).port());
    let a = start(config("a").advertise_host("127.9.9.9").cluster_secret(OLD).seeds([proxy.seed("b")])).await;
    meet(&a, &b).await;
    let (a_id, b_id) = (id(&a), id(&b));
    let uses = || (a.secret_use(&b_id).unwrap(), b.secret_use(&a_id).unwrap());
    let mut at_a = Watch::new(&a);
    let reconnect = async |watch: &mut Watch| {
        watch.forget().await;
        proxy.cut();
        assert_eq!(watch.down(&b_id).await, NodeDownReason::ConnectionClosed);
        watch.up(&b_id).await;
        meet(&a, &b).await;
    };
    assert_eq!(uses(), (Some(SecretUse::Primary), Some(SecretUse::Primary)));

    // Everyone accepts the new one, then everyone proves it, then nobody accepts the old one.
    for node in [&a, &b] {
        node.set_secrets(OLD, [NEW]).unwrap();
    }
    b.set_secrets(NEW, [OLD]).unwrap();
    assert_eq!(uses(), (Some(SecretUse::Primary), Some(SecretUse::Accepted(0))));
    a.set_secrets(NEW, [OLD]).unwrap();
    assert_eq!(uses(), (Some(SecretUse::Accepted(0)), Some(SecretUse::Accepted(0))));
    reconnect(&mut at_a).await;
    assert_eq!(uses(), (Some(SecretUse::Primary), Some(SecretUse::Primary)));
    b.set_secrets(OLD, [""; 0]).unwrap();
    assert_eq!(uses().1, Some(SecretUse::Retired), "the session stays up");
    b.set_secrets(NEW, [""; 0]).unwrap();
    a.set_secrets(NEW, [""; 0]).unwrap();
    let mut messages = b.messages();
    a.send(&b_id, "still there").unwrap();
    assert_eq!(message(&mut messages).await.payload, "still there");
    at_a.read().await;
    assert_eq!(at_a.downs().len(), 1, "the one that was made");

    let refusals = [
        (a.set_secrets("short", [""; 0]), "primary", "secrets not changed: primary must have 16 to 1024 bytes, not 5"),
        (
            a.set_secrets(OLD, [NEW, ""]),
            "accepted",
            "secrets not changed: accepted must have 16 to 1024 bytes each; number 2 has 0",
        ),
        (a.set_secrets(OLD, [NEW; 9]), "accepted", "secrets not changed: accepted must be at most 8, not 9"),
    ];
    for (refused, field, text) in refusals {
        assert!(
            matches!(&refused, Err(error @ SetSecretsError::Invalid(why)) if why.field() == field && error.to_string() == text),
            "{refused:?}"
        );
    }
    a.stop().await;
    assert!(matches!(a.set_secrets(OLD, [""; 0]), Err(SetSecretsError::NotStarted(_))));
}

pub async fn a_session_without_a_secret_is_open<R: Runtime>() {
    let (a, b) = pair::<R>(config("a"), config("b").cluster_secret(None::<String>)).await;
    assert_eq!(a.secret_use(&id(&b)), Ok(Some(SecretUse::Open)));
    assert_eq!(a.secret_use(&id(&a)), Ok(None));
}

/// Nobody gets in by a wrong one; the right one, set while the node runs, is enough.
pub async fn a_wrong_secret_is_refused_and_can_be_mended<R: Runtime>() {
    let a = start::<R>(config("a").cluster_secret(NEW)).await;
    let b = Cluster::<R>::new();
    // Before the start, since a fault that lasts is reported once.
    let mut at_b = Watch::new(&b);
    patient(b.start(config("b").cluster_secret(OLD).seeds([seed(&a)]))).await.unwrap();
    at_b.find("it is refused", |event| matches!(event, ClusterEvent::Error(_)).then_some(())).await;
    assert_eq!((a.connected_node_count(), b.connected_node_count()), (Ok(0), Ok(0)));
    b.set_secrets(NEW, [OLD]).unwrap();
    meet(&a, &b).await;
    assert_eq!(b.secret_use(&id(&a)), Ok(Some(SecretUse::Primary)));
}
