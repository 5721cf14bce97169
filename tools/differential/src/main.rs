//! Plays application scripts between two stacks and checks what came of it.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use differential::real;
use differential::sim::cli::{self, KnownArgs, OneArgs, PlayArgs, RunArgs};

/// Plays seeded application scripts between two stacks over bad links
#[derive(Debug, Parser)]
enum Command {
    /// Plays many scripts between ustack and smoltcp in virtual time
    Run(RunArgs),
    /// Plays the script of one seed, and makes it smaller if it fails
    One(OneArgs),
    /// Plays a case that stands in a file
    Play(PlayArgs),
    /// Looks for the known faults of smoltcp, and keeps a small case and a capture of each
    Known(KnownArgs),
    Linux(real::Args),
}

fn main() -> io::Result<ExitCode> {
    match Command::parse() {
        Command::Run(args) => cli::run(&args),
        Command::One(args) => cli::one(&args),
        Command::Play(args) => cli::play(&args),
        Command::Known(args) => cli::known_faults(&args),
        Command::Linux(args) => real::main(&args),
    }
}
