//! Identities: whatever is accepted has one canonical text, which leads back to it.

use core::cmp::Ordering;
use std::str;

use noex_proto::NodeId;

/// One or two texts, of which a line feed ends the first.
pub(crate) fn run(data: &[u8]) -> Option<()> {
    let mut texts = str::from_utf8(data).ok()?.splitn(2, '\n');
    let first = check(texts.next()?);
    let second = texts.next().and_then(check);
    if let (Some(a), Some(b)) = (first, second) {
        assert_eq!(a.cmp(&b), a.as_str().cmp(b.as_str()), "the order is that of the texts");
        assert_eq!(a == b, a.cmp(&b) == Ordering::Equal);
    }
    Some(())
}

fn check(text: &str) -> Option<NodeId> {
    let parsed = text.parse::<NodeId>();
    assert_eq!(NodeId::is_valid(text), parsed.is_ok());
    let id = match parsed {
        Ok(id) => id,
        Err(error) => {
            assert!(error.value().len() <= text.len().max(512), "an error repeats no more than it got");
            assert!(!error.to_string().is_empty());
            return None;
        }
    };
    let canonical = id.to_string();
    assert_eq!(canonical, id.as_str());
    let again: NodeId = canonical.parse().expect("a canonical text is an id");
    assert_eq!(again, id);
    assert_eq!(again.as_str(), canonical, "the canonical text stays as it is");
    assert_eq!((again.name(), again.host(), again.port()), (id.name(), id.host(), id.port()));
    assert_eq!(NodeId::new(id.name(), id.host(), id.port()).expect("its parts are valid"), id);
    assert!(id.port() != 0 && id.name().len() <= 64 && canonical.len() <= 64 + 1 + 255 + 1 + 5);
    assert_eq!(canonical.to_ascii_lowercase()[id.name().len()..], canonical[id.name().len()..], "the host is in lower case");
    assert!(id.is_loopback() || !id.host_ip().is_some_and(|ip| ip.is_loopback()), "{id}");
    Some(id)
}
