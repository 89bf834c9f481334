//! What the examples of the adapters share: all of them but the runtime.
//!
//! An adapter's example starts its runtime and calls [`node::run`] or [`demo::run`].

pub mod demo;
pub mod node;
