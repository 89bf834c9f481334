//! Signals of the harness's own, as `docs/wire.md` has them. They share no code with the machine, so that each is a check of the other.

/// A process of the receiver.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum To {
    Name(String),
    Number(u64),
}

/// What processes of two nodes say to each other. Codes and reasons are numbers here, since a liar may say any.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Signal {
    Cast { to: To, protocol: u64, body: Vec<u8> },
    Call { number: u64, to: To, protocol: u64, left: u64, body: Vec<u8> },
    Answer { number: u64, body: Vec<u8> },
    Failure { number: u64, code: u64, text: String },
    Cancel { number: u64 },
    Monitor { number: u64, to: To },
    Demonitor { number: u64 },
    Down { number: u64, reason: u64, text: String },
    Stop { to: To, reason: u64, text: String },
}

/// An item of the array at a signal's front.
#[derive(Clone, Debug)]
enum Item<'a> {
    Number(u64),
    Text(&'a str),
}

pub(crate) const NUMBER: u8 = 0;
pub(crate) const TEXT: u8 = 3;
pub(crate) const ARRAY: u8 = 4;

pub(crate) fn head(bytes: &mut Vec<u8>, major: u8, value: u64) {
    let (told, following) = match value {
        0..24 => (value as u8, 0),
        24..0x100 => (24, 1),
        0x100..0x1_0000 => (25, 2),
        0x1_0000..0x1_0000_0000 => (26, 4),
        _ => (27, 8),
    };
    bytes.push(major << 5 | told);
    bytes.extend_from_slice(&value.to_be_bytes()[8 - following..]);
}

pub(crate) fn read_head(bytes: &mut &[u8]) -> Option<(u8, u64)> {
    let (first, rest) = bytes.split_first()?;
    let following = match first & 31 {
        told @ 0..24 => {
            *bytes = rest;
            return Some((first >> 5, told.into()));
        }
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        _ => return None,
    };
    let (number, rest) = rest.split_at_checked(following)?;
    *bytes = rest;
    Some((first >> 5, number.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))))
}

fn read_item<'a>(bytes: &mut &'a [u8]) -> Option<Item<'a>> {
    match read_head(bytes)? {
        (NUMBER, number) => Some(Item::Number(number)),
        (TEXT, len) => {
            let (text, rest) = bytes.split_at_checked(usize::try_from(len).ok()?)?;
            *bytes = rest;
            Some(Item::Text(std::str::from_utf8(text).ok()?))
        }
        _ => None,
    }
}

fn to(item: &Item<'_>) -> Option<To> {
    match *item {
        Item::Number(number) => Some(To::Number(number)),
        Item::Text(name) => {
            let fits = (1..=255).contains(&name.len()) && !name.chars().any(char::is_control);
            fits.then(|| To::Name(name.into()))
        }
    }
}

/// The text of a code or a reason, which says more where `tells` is true.
fn text(item: &Item<'_>, tells: bool) -> Option<String> {
    match *item {
        Item::Text(text) if text.len() <= 256 && (tells || text.is_empty()) => Some(text.into()),
        _ => None,
    }
}

impl Signal {
    /// Its bytes, in the shortest form.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind, items, body) = self.parts();
        let mut bytes = Vec::new();
        head(&mut bytes, ARRAY, 1 + items.len() as u64);
        head(&mut bytes, NUMBER, kind);
        for item in items {
            match item {
                Item::Number(number) => head(&mut bytes, NUMBER, number),
                Item::Text(text) => {
                    head(&mut bytes, TEXT, text.len() as u64);
                    bytes.extend_from_slice(text.as_bytes());
                }
            }
        }
        bytes.extend_from_slice(body);
        bytes
    }

    fn parts(&self) -> (u64, Vec<Item<'_>>, &[u8]) {
        fn process(to: &To) -> Item<'_> {
            match to {
                To::Name(name) => Item::Text(name),
                To::Number(number) => Item::Number(*number),
            }
        }
        let number = |number: &u64| Item::Number(*number);
        match self {
            Self::Cast { to, protocol, body } => (0, vec![process(to), number(protocol)], body),
            Self::Call { number: call, to, protocol, left, body } => {
                (1, vec![number(call), process(to), number(protocol), number(left)], body)
            }
            Self::Answer { number: call, body } => (2, vec![number(call)], body),
            Self::Failure { number: call, code, text } => (3, vec![number(call), number(code), Item::Text(text)], &[]),
            Self::Cancel { number: call } => (4, vec![number(call)], &[]),
            Self::Monitor { number: monitor, to } => (5, vec![number(monitor), process(to)], &[]),
            Self::Demonitor { number: monitor } => (6, vec![number(monitor)], &[]),
            Self::Down { number: monitor, reason, text } => (7, vec![number(monitor), number(reason), Item::Text(text)], &[]),
            Self::Stop { to, reason, text } => (8, vec![process(to), number(reason), Item::Text(text)], &[]),
        }
    }

    /// Reads a signal, in any form of numbers; nothing where it breaks the layout.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let (ARRAY, count) = read_head(&mut bytes)? else { return None };
        let (NUMBER, kind) = read_head(&mut bytes)? else { return None };
        let count = count.checked_sub(1).filter(|count| *count <= 4)?;
        let items: Vec<Item<'_>> = (0..count).map(|_| read_item(&mut bytes)).collect::<Option<_>>()?;
        if kind > 2 && !bytes.is_empty() {
            return None;
        }
        let body = bytes.to_vec();
        Some(match (kind, &items[..]) {
            (0, [process, Item::Number(protocol)]) => Self::Cast { to: to(process)?, protocol: *protocol, body },
            (1, [Item::Number(number), process, Item::Number(protocol), Item::Number(left)]) if u32::try_from(*left).is_ok() => {
                Self::Call { number: *number, to: to(process)?, protocol: *protocol, left: *left, body }
            }
            (2, [Item::Number(number)]) => Self::Answer { number: *number, body },
            (3, [Item::Number(number), Item::Number(code @ 0..=8), told]) => {
                Self::Failure { number: *number, code: *code, text: text(told, matches!(code, 3 | 8))? }
            }
            (4, [Item::Number(number)]) => Self::Cancel { number: *number },
            (5, [Item::Number(number), process]) => Self::Monitor { number: *number, to: to(process)? },
            (6, [Item::Number(number)]) => Self::Demonitor { number: *number },
            (7, [Item::Number(number), Item::Number(reason @ 0..=3), told]) => {
                Self::Down { number: *number, reason: *reason, text: text(told, *reason == 2)? }
            }
            (8, [process, Item::Number(reason @ 0..=2), told]) => {
                Self::Stop { to: to(process)?, reason: *reason, text: text(told, *reason == 2)? }
            }
            _ => return None,
        })
    }

    /// What a signal is whose first piece this is, and its number where that comes next.
    pub(crate) fn kind_and_number(mut piece: &[u8]) -> Option<(u64, Option<u64>)> {
        let (ARRAY, _) = read_head(&mut piece)? else { return None };
        let (NUMBER, kind) = read_head(&mut piece)? else { return None };
        let number = read_head(&mut piece).filter(|(major, _)| *major == NUMBER);
        Some((kind, number.map(|(_, number)| number)))
    }
}
