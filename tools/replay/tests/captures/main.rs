//! Captures against the stack, by kind as `pcaps/README.md` has them. The replay itself checks every
//! byte both ways and every segment's numbers, window, options and checksum; each test says what
//! else its capture is for.

mod broken;
mod closing;
mod common;
mod congestion;
mod fastopen;
mod path;
mod programs;
mod resets;
mod scans;
#[path = "../common/mod.rs"]
mod stack;
mod windows;
