//! The `ustack` program.

#![deny(unsafe_code)]

mod cli;
mod namespace;

use std::process::ExitCode;

fn main() -> ExitCode {
    // First, while there is one thread.
    namespace::main_if_inner().unwrap_or_else(cli::main)
}
