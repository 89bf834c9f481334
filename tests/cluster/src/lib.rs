//! Tests over all adapters, and over clusters that mix them; there is no code of its own.
