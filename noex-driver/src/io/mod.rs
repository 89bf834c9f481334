//! How a connection's task reads, and when it lets others run.

mod read_buffer;
mod turn;

pub(crate) use read_buffer::ReadBuffer;
pub(crate) use turn::Turn;
