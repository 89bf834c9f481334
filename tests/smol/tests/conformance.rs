//! The conformance suite on smol.

noex_conformance::conformance!(noex_smol::Smol, smol::block_on);
