//! Recordings: reading one costs no more than its size, and a machine bears whatever one holds.

use std::iter;

use noex_proto::{Action, Input, Machine, Recorded, Recording, Secret};

/// What an input is put behind that is no recording of this format: most of them would not be looked at otherwise.
const HEAD: &[u8] = b"noex-recording 2 0.1.0\n";

/// The most that a recording of the replay may take. An input is a few kilobytes, and is written much as it was read.
const LIMIT: usize = 1 << 24;

/// A recording, or its inputs alone.
pub(crate) fn run(data: &[u8]) {
    let bytes = if Recording::new(data).is_ok() { data.to_vec() } else { [HEAD, data].concat() };
    let mut machine = Machine::with_recorder(LIMIT);
    let actions = replay(&mut machine, &bytes, |_, _| {});
    // A recording of the replay is that replay.
    let again = machine.take_recording();
    let noted = |recorded: &Recorded, count| assert_eq!(recorded.actions, Some(count), "{:?}", recorded.input);
    assert_eq!(replay(&mut Machine::new(), &again, noted), actions);
}

/// Feeds what can be read of a recording to a machine.
fn replay(machine: &mut Machine, bytes: &[u8], check: impl Fn(&Recorded, usize)) -> Vec<Action> {
    let mut secrets = iter::repeat_with(|| Secret::from("correct horse battery staple"));
    let mut actions = Vec::new();
    let mut reader = Recording::new(bytes).expect("a recording");
    let mut offset = reader.offset();
    while let Some(Ok(recorded)) = reader.next() {
        assert!(reader.offset() > offset, "an input has a size");
        offset = reader.offset();
        let input = recorded.clone().into_input(&mut secrets).expect("there are as many as can be");
        let is_tick = matches!(input, Input::Tick);
        machine.handle(recorded.at, input);
        let before = actions.len();
        actions.extend(iter::from_fn(|| machine.poll_action()));
        check(&recorded, actions.len() - before);
        let due = machine.poll_timeout();
        assert!(!is_tick || due.is_none_or(|due| due > machine.now()), "a busy loop: {due:?} at {:?}", machine.now());
    }
    actions
}
