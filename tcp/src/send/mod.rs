//! The sending half of a connection.

mod buffer;

#[allow(unused_imports)]
pub(crate) use buffer::SendBuffer;
