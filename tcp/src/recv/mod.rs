//! The receiving half of a connection.

mod reassembler;

#[allow(unused_imports)]
pub(crate) use reassembler::{Inserted, Reassembler};
