//! Iterates in an order that differs from run to run.

pub fn first(map: &std::collections::HashMap<u32, u32>, set: &std::collections::HashSet<u32>) -> Option<u32> {
    map.keys().chain(set).next().copied()
}

pub fn hasher() -> (std::hash::RandomState, std::hash::DefaultHasher) {
    (std::hash::RandomState::new(), std::hash::DefaultHasher::new())
}
