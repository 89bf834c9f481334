//! The conformance suite on async-std.

noex_conformance::conformance!(noex_async_std::AsyncStd, async_std::task::block_on);
