//! Workloads for TCP in memory.
//!
//! `benches/` times them and counts their instructions, `tests/` their allocations; all of them
//! take the rows of [`catalogue`], so that every figure is of the same work. `README.md` says what
//! a row measures and what is the same for smoltcp.

pub mod allocator;
pub mod baseline;
pub mod catalogue;
pub mod peer;
pub mod subject;
pub mod workload;
