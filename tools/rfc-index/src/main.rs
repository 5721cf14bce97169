//! Which requirement of which RFC is where in the code, and which tests cover it.
//!
//! `cargo run -p rfc-index` writes `docs/conformance.md`; with `--check` it writes nothing and
//! fails when the document is out of date, when a test names an id that does not exist, or when a
//! P0 or P1 id has no test that ran (`--ran`, the file that `USTACK_COVERS` named). `--disable N`
//! disables N mechanisms, one at a time, and fails unless a covering test fails for each.

mod mechanisms;
mod ran;
mod report;
mod requirements;
mod sources;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use ran::Ran;
use requirements::{Priority, Requirements};
use sources::Sources;

/// Writes or checks docs/conformance.md.
#[derive(Debug, Parser)]
struct Args {
    /// Write nothing; fail when something is missing or out of date.
    #[arg(long)]
    check: bool,
    /// The file that USTACK_COVERS named when the tests ran: with --check, a label counts only if
    /// its test passed.
    #[arg(long, value_name = "FILE", requires = "check")]
    ran: Option<PathBuf>,
    /// Disable this many mechanisms of mechanisms.toml, one at a time: each must make a test fail
    /// that covers it. Takes some ten seconds each.
    #[arg(long, value_name = "N", conflicts_with = "check")]
    disable: Option<usize>,
    /// Which mechanisms --disable draws.
    #[arg(long, default_value_t = 1, requires = "disable")]
    seed: u64,
    /// --disable draws from those only that have this in their name or file, or have this id.
    #[arg(long, value_name = "TEXT", requires = "disable")]
    about: Option<String>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(complaints) => {
            for complaint in complaints {
                eprintln!("rfc-index: {complaint}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<String, Vec<String>> {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = crate_root.ancestors().nth(2).unwrap_or(crate_root);
    let one = |why: String| vec![why];
    let requirements = Requirements::read(&crate_root.join("requirements.toml")).map_err(one)?;
    let mut sources = Sources::read(root).map_err(one)?;
    let mut complaints = unknown_ids(&requirements, &sources);
    let mut mechanisms = mechanisms::read(root, &mechanisms::path(crate_root), &requirements)?;
    if let Some(count) = args.disable {
        let about = args.about.as_deref().unwrap_or_default();
        mechanisms.retain(|mechanism| mechanism.is_about(about));
        return mechanisms::disable(root, mechanisms, &sources, args.seed, count);
    }
    let suites = std::fs::read_to_string(crate_root.join("public-suites.md"))
        .map_err(|error| vec![format!("public-suites.md: {error}")])?;
    let document = report::write(&requirements, &sources, &suites);
    let path = root.join("docs/conformance.md");
    if !args.check {
        std::fs::write(&path, document)
            .map_err(|error| vec![format!("{}: {error}", path.display())])?;
    } else if std::fs::read_to_string(&path).unwrap_or_default() != document {
        complaints.push("docs/conformance.md is out of date: run `cargo run -p rfc-index`".into());
    }
    if let Some(ran) = &args.ran {
        let ran = Ran::read(ran, root).map_err(one)?;
        complaints.extend(never_ran(&sources, &ran));
        sources.labels.retain(|label| ran.has(&label.test));
        println!("{} tests that name requirements passed", ran.len());
    }
    if args.check {
        complaints.extend(without_test(&requirements, &sources));
    }
    if complaints.is_empty() {
        let tests = sources.labels.len();
        Ok(format!(
            "{} requirements, {tests} tests",
            requirements.iter().count()
        ))
    } else {
        Err(complaints)
    }
}

fn unknown_ids(requirements: &Requirements, sources: &Sources) -> Vec<String> {
    let known = requirements.by_id();
    let unknown = |label: &sources::Label| {
        let ids: Vec<_> = label
            .ids
            .iter()
            .filter(|id| !known.contains_key(id.as_str()))
            .cloned()
            .collect();
        (!ids.is_empty()).then(|| {
            format!(
                "{} names {}, which is in no table",
                label.test,
                ids.join(", ")
            )
        })
    };
    sources.labels.iter().filter_map(unknown).collect()
}

fn never_ran(sources: &Sources, ran: &Ran) -> Vec<String> {
    sources
        .labels
        .iter()
        .filter(|label| !ran.has(&label.test))
        .map(|label| format!("{} did not run, or did not pass", label.test))
        .collect()
}

fn without_test(requirements: &Requirements, sources: &Sources) -> Vec<String> {
    let missing = |id: &&String| !sources.labels.iter().any(|label| label.ids.contains(id));
    requirements
        .iter()
        .filter(|row| row.priority != Priority::P2 || row.not_built.is_none())
        .flat_map(|row| row.ids.iter().filter(missing).map(move |id| (row, id)))
        .map(|(row, id)| {
            format!(
                "{id} ({:?}) has no test that ran: {}; {}",
                row.priority, row.text, row.test
            )
        })
        .collect()
}
