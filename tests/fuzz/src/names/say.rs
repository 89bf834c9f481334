//! What members say of names, as `docs/wire.md` has it. It shares no code with the machine, so that each is a check of the other.

use arbitrary::Arbitrary;

use crate::signal::{ARRAY, NUMBER, TEXT, head, read_head};

/// The names that are claimed.
pub(super) const NAMES: [&str; 3] = ["x", "y", "z"];

const BYTES: u8 = 2;
const FALSE: u8 = 0xF4;

/// A number of a claim: small, so that they meet, or any.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Number {
    Any(u64),
    Small(u8),
}

impl Number {
    pub(super) fn get(self) -> u64 {
        match self {
            Self::Any(number) => number,
            Self::Small(number) => u64::from(number % 16),
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) number: Number,
    pub(super) name: u8,
    pub(super) process: u8,
    /// The witnesses of one that has settled.
    pub(super) settled: Option<u16>,
}

/// What is said of a claim of the machine.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Word {
    Clean,
    Full,
    /// A better one, of a node that there is or not.
    Better {
        node: u8,
        settled: bool,
    },
    /// A code that there is none of.
    Odd(u8),
}

/// The body of NAMES.
pub(super) fn names(begins: bool, ends: bool, withdrawn: &[u64], claims: &[Claim]) -> Vec<u8> {
    let mut body = Vec::new();
    head(&mut body, ARRAY, 3);
    head(&mut body, NUMBER, u64::from(begins) | u64::from(ends) << 1);
    head(&mut body, ARRAY, withdrawn.len() as u64);
    withdrawn.iter().for_each(|number| head(&mut body, NUMBER, *number));
    head(&mut body, ARRAY, claims.len() as u64);
    for claim in claims {
        let name = NAMES[usize::from(claim.name) % NAMES.len()];
        head(&mut body, ARRAY, 5);
        head(&mut body, NUMBER, claim.number.get());
        head(&mut body, TEXT, name.len() as u64);
        body.extend_from_slice(name.as_bytes());
        head(&mut body, NUMBER, claim.process.into());
        head(&mut body, NUMBER, crate::processes::PROTOCOL);
        match claim.settled {
            Some(witnesses) => head(&mut body, NUMBER, witnesses.into()),
            None => body.push(FALSE),
        }
    }
    body
}

/// The body of `NAMES_ACK`.
pub(super) fn acks(acks: &[(u64, Word)]) -> Vec<u8> {
    const NODES: [&str; 4] = ["a@10.0.0.2:4369", "b@10.0.0.4:4369", "c@10.0.0.9:4369", "m@10.0.0.1:4369"];
    let mut body = Vec::new();
    head(&mut body, ARRAY, acks.len() as u64);
    for (number, word) in acks {
        let (items, code) = match word {
            Word::Clean => (2, 0),
            Word::Full => (2, 1),
            Word::Better { settled, .. } => (5, 2 + u64::from(*settled)),
            Word::Odd(code) => (2, u64::from(*code) + 2),
        };
        head(&mut body, ARRAY, items);
        head(&mut body, NUMBER, *number);
        head(&mut body, NUMBER, code);
        if let Word::Better { node, .. } = word {
            let node = NODES[usize::from(*node) % NODES.len()];
            head(&mut body, TEXT, node.len() as u64);
            body.extend_from_slice(node.as_bytes());
            head(&mut body, BYTES, 16);
            body.extend_from_slice(&[7; 16]);
            head(&mut body, NUMBER, 1);
        }
    }
    body
}

/// What the machine tells in a NAMES: what is withdrawn, and the claims, with whether they have settled.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) withdrawn: Vec<u64>,
    pub(super) claims: Vec<(u64, String, bool)>,
}

/// Reads a NAMES of the machine, which keeps to the form.
pub(super) fn read(mut body: &[u8]) -> Told {
    let bytes = &mut body;
    let number = |bytes: &mut &[u8]| match read_head(bytes) {
        Some((NUMBER, number)) => number,
        other => panic!("{other:?} in place of a number"),
    };
    let array = |bytes: &mut &[u8]| match read_head(bytes) {
        Some((ARRAY, count)) => count,
        other => panic!("{other:?} in place of an array"),
    };
    assert_eq!(array(bytes), 3);
    assert!(number(bytes) < 4);
    let withdrawn = (0..array(bytes)).map(|_| number(bytes)).collect();
    let mut claims = Vec::new();
    for _ in 0..array(bytes) {
        assert_eq!(array(bytes), 5);
        let claim = number(bytes);
        let Some((TEXT, len)) = read_head(bytes) else { panic!("a claim without a name") };
        let (name, rest) = bytes.split_at(usize::try_from(len).expect("short"));
        *bytes = rest;
        let name = String::from_utf8(name.to_vec()).expect("text");
        let _process = number(bytes);
        assert_eq!(number(bytes), crate::processes::PROTOCOL);
        let settled = bytes.first() != Some(&FALSE);
        if settled {
            assert!(number(bytes) <= 4096, "more witnesses than count");
        } else {
            *bytes = &bytes[1..];
        }
        claims.push((claim, name, settled));
    }
    assert!(bytes.is_empty(), "bytes behind the end of NAMES");
    Told { withdrawn, claims }
}
