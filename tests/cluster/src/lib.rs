//! Tests over all adapters, and over clusters that mix them. Here is nothing but the programs that some of them run, one per runtime.
