//! Machines of which one count drifts.

use std::time::Duration;

use noex_proto::{Books, Usage};

use super::{pair, start};
use crate::world::Bend;
use crate::{Invariant, World};

/// What comes of two nodes that meet, lose each other, meet again and stop.
fn found(bend: Bend) -> Option<Invariant> {
    let mut world = pair();
    world.bend = bend;
    let run = |world: &mut World| {
        world.run_for(Duration::from_secs(3))?;
        world.crash(1);
        world.run_for(Duration::from_secs(1))?;
        start(world, 1, "b", &[("a", 0)]);
        world.run_for(Duration::from_secs(10))?;
        (0..2).for_each(|host| world.stop(host));
        world.run_for(Duration::from_secs(6))?;
        (0..2).for_each(|host| world.check_nothing_left(host));
        world.check()
    };
    run(&mut world).err().map(|violation| violation.invariant)
}

#[test]
pub(super) fn counts_that_drift() {
    assert_eq!(found(Bend::default()), None);
    let drifts: [fn(Books) -> Books; 6] = [
        |books| Books { closing: books.closing + 1, ..books },
        |books| Books { connections: books.connections + 1, ..books },
        |books| Books { dials: books.dials + 1, ..books },
        |books| Books { half_open: books.half_open + 1, ..books },
        |books| Books { lookups: books.lookups + 1, ..books },
        |books| Books { sessions: books.sessions + 1, ..books },
    ];
    for (count, drift) in drifts.into_iter().enumerate() {
        let bend = Bend { books: Some(drift), ..Bend::default() };
        assert_eq!(found(bend), Some(Invariant::BooksBalance), "count {count}");
    }
    // A count that loses what it should keep.
    let lost: [fn(Books) -> Books; 5] = [
        |books| Books { closing: 0, ..books },
        |books| Books { connections: 0, ..books },
        |books| Books { dials: 0, ..books },
        |books| Books { half_open: 0, ..books },
        |books| Books { sessions: 0, ..books },
    ];
    for (count, lost) in lost.into_iter().enumerate() {
        let bend = Bend { books: Some(lost), ..Bend::default() };
        assert_eq!(found(bend), Some(Invariant::BooksBalance), "count {count}");
    }
    // Credit that is counted short, and a connection that was never taken out.
    let bytes: [fn(Option<usize>) -> Option<usize>; 2] = [|bytes| bytes.map(|bytes| bytes.saturating_sub(4)), |_| None];
    for in_flight in bytes {
        let bend = Bend { in_flight: Some(in_flight), ..Bend::default() };
        assert_eq!(found(bend), Some(Invariant::BooksBalance));
    }
    let usages: [fn(&mut Usage); 3] = [
        |usage| usage.half_open_per_address += 1,
        |usage| usage.half_open_per_address = 0,
        |usage| usage.message_bytes_per_subscriber += 1,
    ];
    for usage in usages {
        let bend = Bend { usage: Some(usage), ..Bend::default() };
        assert_eq!(found(bend), Some(Invariant::BooksBalance));
    }
}
