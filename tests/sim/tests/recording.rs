//! The replay of a recording, and what it says where that goes wrong.

use bytes::Bytes;
use noex_proto::{ClusterConfig, Input, Instant, Machine, RecordingError, Secret};
use noex_sim::{Replay, ReplayError};

/// The recording of a node that starts, reports a fault and stops, without ever having had a peer.
fn recording() -> Bytes {
    let mut machine = Machine::with_recorder(1 << 20);
    let config = ClusterConfig::new("a").host("127.0.0.1").cluster_secret("a secret of the test");
    machine.start(Instant::START, config).expect("a valid configuration");
    let local = ([127, 0, 0, 1], 4369).into();
    machine.handle(Instant::from_millis(1), Input::Listening { entropy: [1; 32], local, network: Box::default() });
    machine.handle(Instant::from_millis(2500), Input::Stop);
    machine.take_recording()
}

fn secrets() -> [Secret; 1] {
    ["a secret of the test".into()]
}

#[test]
fn a_replay_tells_what_the_recorded_node_was_told_and_when() {
    let replay = Replay::run(&recording(), &secrets()).expect("a recording");
    assert_eq!((replay.error.as_ref(), replay.inputs, replay.full), (None, 3, false));
    let lines: Vec<String> = replay.text(100).lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let wanted = [
        "time 0",
        "0.000000 * status: starting",
        "0.001000 * status: running",
        "2.500000 * status: stopping",
        "2.500000 * status: stopped",
    ];
    assert_eq!(lines, wanted);
    assert_eq!(replay.text(1).lines().count(), 2);
}

#[test]
fn a_missing_secret_is_named() {
    let error = Replay::run(&recording(), &[]).expect("a recording").error;
    assert_eq!(error, Some(ReplayError::SecretMissing { input: 1, at: "noex-recording 2 0.1.0\n".len() }));
}

#[test]
fn what_the_recorded_machine_did_not_do_is_noticed() {
    // The last byte is the number of actions that the last input led to: two statuses, and that it stopped.
    let mut bytes = recording().to_vec();
    assert_eq!(bytes.pop(), Some(3));
    let replay = Replay::run(&bytes, &secrets()).expect("a recording");
    assert_eq!(replay.error, Some(ReplayError::Panicked { input: 3 }));
    bytes.push(4);
    let replay = Replay::run(&bytes, &secrets()).expect("a recording");
    assert!(matches!(replay.error, Some(ReplayError::Diverged { input: 3, actions: (3, 4), .. })), "{:?}", replay.error);
    assert_eq!(replay.events.len(), 4, "what came before stays");
}

#[test]
fn a_damaged_recording_is_an_error_that_says_where_after_what_came_before() {
    let bytes = recording();
    let replay = Replay::run(&bytes[..bytes.len() - 4], &secrets()).expect("a recording");
    assert_eq!((replay.inputs, replay.events.len()), (2, 2));
    let error = replay.error.expect("an error");
    assert!(matches!(error, ReplayError::Recording { input: 3, error: RecordingError::Truncated { .. } }), "{error}");
    assert_eq!(Replay::run(b"{}", &[]).expect_err("no recording"), RecordingError::NotARecording);
}
