//! Plays application scripts between two stacks and checks what came of it.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use differential::real;

/// Plays seeded application scripts between two stacks over bad links
#[derive(Debug, Parser)]
enum Command {
    Linux(real::Args),
}

fn main() -> io::Result<ExitCode> {
    match Command::parse() {
        Command::Linux(args) => real::main(&args),
    }
}
