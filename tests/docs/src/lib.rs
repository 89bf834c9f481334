//! The README and the guides as documentation, so that `cargo test` compiles their code.
//!
//! This crate is not published: the published ones cannot include files from outside their own folders.

#[doc = include_str!("../../../README.md")]
pub mod readme {}

#[doc = include_str!("../../../docs/guide.md")]
pub mod guide {}

#[doc = include_str!("../../../docs/deployment.md")]
pub mod deployment {}

#[doc = include_str!("../../../docs/simulation.md")]
pub mod simulation {}

#[doc = include_str!("../../../docs/testing-your-application.md")]
pub mod testing_your_application {}
