//! The program: see the README.

#![forbid(unsafe_code)]

use std::fs::{create_dir_all, write};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bench::journal::{Entry, Journal, read};
use bench::load::Load;
use bench::machine::{Machine, newer_source};
use bench::rounds::{Plan, check, measure};
use bench::subject::{PEERS, Programs, Subject};
use bench::table::{self, Row};
use bench::work::{FILE, Work};
use bench::{arena, during, host, kernel, load, probe, report};
use clap::{Args, Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  tools/bench/peers/build                      build the peers, once
  cargo build --release                        build ustack, which is measured as it lies there
  sudo target/release/bench all                the whole table, and docs/performance.md
  sudo target/release/bench row bulk-up http   these rows only
  target/release/bench report                  write docs/performance.md again";

/// Measures ustack, its peers and the limit of the device in turns, end to end.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Measure all rows and write the report; goes on where it stopped
    All {
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        report: ReportArgs,
    },
    /// Measure some rows
    Row {
        /// Names, as `rows` lists them
        #[arg(required = true, value_parser = row)]
        names: Vec<RowArg>,
        #[command(flatten)]
        how: How,
    },
    /// List the rows
    Rows,
    /// Write the report from what was measured
    Report {
        /// Where samples are kept [default: target/bench/journal.jsonl]
        #[arg(long, value_name = "FILE.jsonl")]
        journal: Option<PathBuf>,
        #[command(flatten)]
        report: ReportArgs,
    },
    /// A part: work a stack through the kernel's sockets
    Load {
        #[command(subcommand)]
        load: Load,
    },
    /// A part: the stack without protocol, the limit of a device
    Probe {
        /// Name of the TUN device to make
        device: String,
        /// How to use it
        #[arg(value_enum)]
        mode: probe::Mode,
    },
    /// A part: the reference services on kernel sockets
    Kernel {
        /// Directory that HTTP serves
        #[arg(long, value_name = "DIR")]
        http_root: Option<PathBuf>,
    },
    /// A part: the library as a host whose datagram services count
    Host {
        /// Name of the TUN device to make
        device: String,
        /// Without offload
        #[arg(long)]
        plain: bool,
    },
}

#[derive(Debug, Args)]
struct How {
    /// Rounds that must count
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    pairs: u16,
    /// Seconds of a run
    #[arg(long, default_value_t = 3.0, value_parser = load::seconds)]
    seconds: f64,
    /// The program under test [default: `ustack` next to this one]
    #[arg(long, value_name = "PATH")]
    ustack: Option<PathBuf>,
    /// Peers to leave out
    #[arg(long, value_name = "PEER", value_delimiter = ',', value_parser = peer)]
    without: Vec<Subject>,
    /// Where samples are kept [default: target/bench/journal.jsonl]
    #[arg(long, value_name = "FILE.jsonl")]
    journal: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ReportArgs {
    /// Where the report goes; `-` prints it
    #[arg(long, value_name = "FILE.md", default_value = "docs/performance.md")]
    out: PathBuf,
}

#[derive(Clone, Debug)]
struct RowArg(Row);

fn row(name: &str) -> Result<RowArg, String> {
    let names = || {
        table::rows()
            .iter()
            .map(|row| row.name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    table::row(name)
        .map(RowArg)
        .ok_or_else(|| format!("there are {}", names()))
}

fn peer(name: &str) -> Result<Subject, String> {
    let found = PEERS.into_iter().find(|peer| peer.is_named(name));
    found.ok_or_else(|| {
        let names: Vec<String> = PEERS
            .iter()
            .map(|peer| peer.to_string().replace(", ", "-"))
            .collect();
        format!("peers are {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(action: Action) -> io::Result<()> {
    match action {
        Action::All { how, report } => {
            let journal = measure_rows(&table::rows(), &how)?;
            write_report(journal.entries(), &report)
        }
        Action::Row { names, how } => {
            let rows: Vec<Row> = names.into_iter().map(|RowArg(row)| row).collect();
            let journal = measure_rows(&rows, &how)?;
            print!("{}", report::verdicts(journal.entries(), &rows)?);
            Ok(())
        }
        Action::Rows => {
            for row in table::rows() {
                println!("{:<16} {}", row.name, row.title);
            }
            Ok(())
        }
        Action::Report { journal, report } => {
            let path = journal.unwrap_or_else(default_journal);
            let entries = if path.exists() {
                read(&path)?
            } else {
                Vec::new()
            };
            write_report(&entries, &report)
        }
        Action::Load { load } => load::main(&load),
        Action::Probe { device, mode } => probe::main(&device, mode),
        Action::Kernel { http_root } => kernel::main(http_root.as_deref()),
        Action::Host { device, plain } => host::main(&device, !plain),
    }
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

fn default_journal() -> PathBuf {
    root().join("target/bench/journal.jsonl")
}

fn measure_rows(rows: &[Row], how: &How) -> io::Result<Journal> {
    check_machine(rows)?;
    let http_root = root().join("target/bench/www");
    create_dir_all(&http_root)?;
    write(http_root.join(FILE.0), vec![b'x'; FILE.1])?;
    let programs = Programs::find(how.ustack.as_deref(), &http_root)?;
    if how.ustack.is_none()
        && let Some(path) = newer_source(&programs.ustack)?
    {
        return Err(io::Error::other(format!(
            "{} is older than {}: `cargo build --release` first",
            programs.ustack.display(),
            path.display()
        )));
    }
    let machine = Machine::this(&programs)?;
    let mut journal = Journal::open(&how.journal.clone().unwrap_or_else(default_journal))?;
    let plan = Plan {
        pairs: how.pairs.into(),
        max_rounds: usize::from(how.pairs) * 3,
        seconds: how.seconds,
        without: how.without.clone(),
        build: machine.build.clone(),
    };
    for row in rows {
        check(row, &plan, &programs)?;
    }
    journal.push(Entry::Machine(machine))?;
    for row in rows {
        measure(row, &plan, &programs, &mut journal)?;
    }
    Ok(journal)
}

/// What every row needs, so that nobody learns it an hour later.
fn check_machine(rows: &[Row]) -> io::Result<()> {
    let refuse = |text: &str| Err(io::Error::other(text.to_owned()));
    if !rustix::process::geteuid().is_root() {
        return refuse("network namespaces and TUN devices take root: run with sudo");
    }
    if std::thread::available_parallelism()?.get() < 2 {
        return refuse("two CPUs are needed: one for the client, one for the stack under test");
    }
    let node = "/dev/net/tun";
    std::fs::File::options()
        .read(true)
        .write(true)
        .open(node)
        .map_err(during(format_args!(
            "{node} (`modprobe tun`; in a container, start it with --device {node})"
        )))?;
    let needed = [
        ("ip", "iproute2"),
        ("setpriv", "util-linux"),
        ("taskset", "util-linux"),
        ("timeout", "coreutils"),
    ];
    let http = rows
        .iter()
        .flat_map(|row| &row.contestants)
        .any(|one| one.work == Work::Http);
    for (program, package) in needed.into_iter().chain(http.then_some(("wrk", "wrk"))) {
        if !is_in_path(program) {
            return refuse(&format!("{program} is missing: apt-get install {package}"));
        }
    }
    debug_assert_ne!(arena::CLIENT_CPU, arena::STACK_CPU);
    Ok(())
}

fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn write_report(entries: &[Entry], args: &ReportArgs) -> io::Result<()> {
    let text = report::markdown(entries)?;
    if args.out == Path::new("-") {
        print!("{text}");
        return Ok(());
    }
    let path = root().join(&args.out);
    write(&path, text).map_err(during(path.display()))?;
    eprintln!("{} written", args.out.display());
    Ok(())
}
