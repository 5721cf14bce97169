//! `packetdrill`: plays scripts against ustack.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use packetdrill::files::{self, Summary};
use packetdrill::{Family, Options, Suite, Tolerance, Verdict};

/// Plays packetdrill scripts against ustack, in virtual time.
///
/// The exit code is 0 when every script that could be run passed, 1 when one failed, 2 when none
/// could be run or a file could not be read.
#[derive(Debug, Parser)]
#[command(name = "packetdrill", version)]
struct Args {
    /// IPv4 only.
    #[arg(long, conflicts_with_all = ["ipv6", "mapped"])]
    ipv4: bool,
    /// IPv6 only.
    #[arg(long)]
    ipv6: bool,
    /// IPv4 through IPv6 sockets only.
    #[arg(long, conflicts_with = "ipv6")]
    mapped: bool,
    /// IPv4, then IPv6 (the default).
    #[arg(long, conflicts_with_all = ["ipv4", "ipv6", "mapped"])]
    both: bool,
    /// Whose scripts these are.
    #[arg(long, value_enum, default_value = "linux")]
    suite: SuiteArg,
    /// How early or late things may be, in microseconds; a part of the time since the event
    /// before no longer counts.
    #[arg(long, value_name = "USECS")]
    tolerance_usecs: Option<u32>,
    /// What a word of the script stands for.
    #[arg(short = 'D', long = "define", value_name = "WORD=VALUE")]
    define: Vec<String>,
    /// A sysctl of the host, by its Linux name: `net.ipv4.tcp_rmem="4096 87380 6291456"`.
    #[arg(long, value_name = "KEY=VALUE")]
    sysctl: Vec<String>,
    /// Added to the peer's initial sequence number.
    #[arg(long, default_value_t = 0)]
    peer_isn: u32,
    /// A table of files, runnable and passed by folder, and nothing of the files that passed.
    #[arg(long)]
    summary: bool,
    /// Also what was taken otherwise than the script says it.
    #[arg(long)]
    notes: bool,
    /// Only names and outcomes, without tables.
    #[arg(long)]
    brief: bool,
    /// Scripts, or folders of `*.pkt` files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SuiteArg {
    /// ustack's own scripts.
    Own,
    /// google/packetdrill, Linux selftests.
    Linux,
    /// gVisor's.
    Gvisor,
    /// FreeBSD's tcp-testsuite.
    Freebsd,
}

impl Args {
    fn ways(&self) -> Result<Vec<Options>, String> {
        let suite = match self.suite {
            SuiteArg::Own => Suite::Own,
            SuiteArg::Linux => Suite::Linux,
            SuiteArg::Gvisor => Suite::Gvisor,
            SuiteArg::Freebsd => Suite::Freebsd,
        };
        let families: &[Family] = match (self.ipv4, self.ipv6, self.mapped) {
            (true, ..) => &[Family::V4],
            (_, true, _) => &[Family::V6],
            (_, _, true) => &[Family::V4Mapped],
            _ => &[Family::V4, Family::V6],
        };
        let mut ways = Vec::new();
        for family in families {
            let mut options = Options::new(suite, *family);
            options.peer_isn = self.peer_isn;
            options.tolerance = self.tolerance_usecs.map(|usecs| Tolerance {
                nanos: i64::from(usecs) * 1_000,
                part: 0.0,
            });
            for define in &self.define {
                let (name, value) = define
                    .split_once('=')
                    .ok_or_else(|| format!("-D {define}: WORD=VALUE, please"))?;
                options.defines.retain(|(known, _)| known != name);
                options.defines.push((name.to_string(), value.to_string()));
            }
            for sysctl in &self.sysctl {
                let (key, value) = sysctl
                    .split_once('=')
                    .ok_or_else(|| format!("--sysctl {sysctl}: KEY=VALUE, please"))?;
                options.sysctls.push((key.to_string(), value.to_string()));
            }
            ways.push(options);
        }
        Ok(ways)
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("packetdrill: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<ExitCode, String> {
    let ways = args.ways()?;
    let found = files::find(&args.files).map_err(|error| error.to_string())?;
    if found.is_empty() {
        return Err("no *.pkt files there".to_string());
    }
    let mut summary = Summary::default();
    for path in &found {
        let text = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let runs = files::run_all(&String::from_utf8_lossy(&text), &ways);
        let verdict = files::verdict(&runs);
        summary.add(path, verdict);
        if *verdict == Verdict::Passed && args.summary {
            continue;
        }
        for run in &runs {
            let name = match run.family {
                Family::V4 => "ipv4",
                Family::V6 => "ipv6",
                Family::V4Mapped => "mapped",
            };
            let text = run.report.to_string();
            let text = if args.brief {
                text.lines().next().unwrap_or("")
            } else {
                text.trim_end()
            };
            println!("{} [{name}]: {text}", path.display());
            for note in run.report.notes.iter().filter(|_| args.notes) {
                println!("  note: {note}");
            }
        }
    }
    if args.summary {
        print!("{summary}");
    }
    let [_, runnable, passed] = summary.total();
    Ok(match (runnable, passed) {
        (0, _) => ExitCode::from(2),
        (runnable, passed) if runnable == passed => ExitCode::SUCCESS,
        _ => ExitCode::from(1),
    })
}
