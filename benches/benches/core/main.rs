//! The benches, one program: `cargo bench -p core-bench -- counts | time | sizes | threads`.

mod counts;
mod sizes;
mod threads;
mod time;

use std::env;
use std::process::ExitCode;

use core_bench::allocator::Counting;

/// Counts nothing before it is told to, so that it is in nobody's way.
#[global_allocator]
static ALLOCATOR: Counting = Counting;

const HELP: &str = "\
What TCP costs in memory; benches/README.md says more.

    cargo bench -p core-bench -- COMMAND

    counts    instructions and allocations per unit
    time      nanoseconds per unit
    sizes     bytes per connection
    threads   what a second core is worth

COMMAND --help tells the options.
";

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1).filter(|argument| argument != "--bench");
    let command = arguments.next().unwrap_or_default();
    let arguments: Vec<_> = arguments.collect();
    let done = match command.as_str() {
        "counts" => counts::main(arguments),
        "time" => time::main(arguments),
        "sizes" => sizes::main(&arguments),
        "threads" => threads::main(&arguments),
        _ => {
            print!("{HELP}");
            Ok(true)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
