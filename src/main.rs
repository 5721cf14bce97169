//! The `ustack` program.

fn main() {}
