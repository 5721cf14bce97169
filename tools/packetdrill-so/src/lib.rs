//! ustack behind the interface of packetdrill's `--so_filename`.
//!
//! `packetdrill_interface_init` fills a table of C functions shaped like system calls; `calls` has
//! them, over a `machine` that puts packetdrill's two threads on one virtual clock. `memory` is
//! where pointers become values, `preload` the functions that only count under `LD_PRELOAD`.
//!
//! The README beside this crate says how to run it.

mod calls;
mod flags;
pub mod interface;
mod machine;
mod memory;
pub mod preload;
mod sysctls;
