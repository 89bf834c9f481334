//! The flight recorder, on a real runtime.

#![expect(missing_docs, reason = "the name of a scenario says what must hold")]

use noex_driver::{Cluster, ClusterEvent, ClusterStatus, Runtime, Secret};
use noex_proto::{Action, Machine, Recording};

use crate::common::*;

const OLD: &str = "the old secret of this cluster";
const NEW: &str = "the new secret of this cluster";

pub async fn a_replayed_recording_tells_what_the_node_was_told<R: Runtime>() {
    let a = Cluster::<R>::with_recorder(1 << 20);
    let mut events = a.events();
    let mut messages = a.messages();
    patient(a.start(lively("a").cluster_secret(OLD))).await.unwrap();
    let b = start::<R>(lively("b").cluster_secret(OLD).seeds([seed(&a)])).await;
    meet(&a, &b).await;
    a.set_secrets(OLD, [NEW]).unwrap();
    a.send(&id(&b), "a message").unwrap();
    b.send(&id(&a), "an answer").unwrap();
    assert_eq!(message(&mut messages).await.payload, "an answer");
    // It may be taken in pieces.
    let mut recording = a.take_recording().to_vec();
    patient(b.stop()).await;
    patient(a.stop()).await;
    recording.extend_from_slice(&a.take_recording());

    let mut told = Vec::new();
    while told.last() != Some(&ClusterEvent::StatusChange(ClusterStatus::Stopped)) {
        told.push(patient(events.next()).await.unwrap());
    }
    assert!(told.len() >= 6, "{told:?}");
    let mut machine = Machine::new();
    let mut secrets = [OLD, OLD, NEW].into_iter().map(Secret::from);
    let mut replayed = Vec::new();
    for recorded in Recording::new(&recording).unwrap() {
        let recorded = recorded.unwrap();
        machine.handle(recorded.at, recorded.into_input(&mut secrets).unwrap());
        replayed.extend(std::iter::from_fn(|| machine.poll_action()).filter_map(|action| match action {
            Action::Event(event) => Some(event.into_format()),
            _ => None,
        }));
    }
    assert_eq!(replayed, told);
    let holds = |text: &str| recording.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("a message") && !holds(OLD) && !holds(NEW));
    assert!(b.take_recording().is_empty(), "nobody asked for one");
}
