//! Breaks no rule: shows that the checks accept what the machine may use.

extern crate alloc;

use alloc::collections::BTreeMap;
use core::net::{IpAddr, SocketAddr};

pub fn hosts(addresses: &[SocketAddr]) -> BTreeMap<IpAddr, u16> {
    addresses.iter().map(|address| (address.ip(), address.port())).collect()
}
