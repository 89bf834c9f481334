//! Which bytes are in flight.

use std::vec::Vec;

use super::{ADDRESS, Bench, node};
use crate::{Action, Input, Limits};

#[test]
fn a_handshake_that_leaves_late_is_no_credit_for_records() {
    // Given: a peer with a greater id, whose AUTH_OK has not left the driver when the offer follows it.
    let mut bench = Bench::new(Limits::default());
    bench.clogged = true;
    let conn = bench.authenticate(&node("z"), 1, ADDRESS);
    let sent: Vec<usize> = bench
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Transmit { conn: on, data } if *on == conn => Some(data.len()),
            _ => None,
        })
        .collect();
    let [challenge, auth_ok, offer] = sent[..] else { panic!("{sent:?}") };
    assert_eq!(bench.machine.usage().send_window_bytes, challenge + auth_ok + offer);
    // When the handshake leaves, the offer is still in flight.
    bench.feed(Input::Transmitted { bytes: challenge + auth_ok, conn });
    assert_eq!(bench.machine.usage().send_window_bytes, offer);
    bench.feed(Input::Transmitted { bytes: offer, conn });
    assert_eq!(bench.machine.usage().send_window_bytes, 0);
}
