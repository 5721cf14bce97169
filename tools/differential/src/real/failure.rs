//! What is said of a failure.

use std::fmt::Write as _;
use std::fs::{File, create_dir_all};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use super::case::Case;
use super::run::Outcome;
use super::shrink::shrink;
use super::tap::Place;
use crate::{Seen, write_capture};

/// A failure may take some luck: it is tried so often.
const TRIES: usize = 3;

/// Describes a failure, with a capture in `folder`; repeats it, and makes it smaller if it can be
/// repeated.
pub fn examine(
    seed: u64,
    case: &Case,
    outcome: &Outcome,
    wrong: &[String],
    folder: &Path,
) -> String {
    let mut text = format!("seed {seed} failed:\n");
    describe(&mut text, case, outcome, wrong);
    let line = format!("cargo run -p differential -- linux --seed {seed} --scripts 1");
    let _ = writeln!(text, "again: {line}");
    let comment = format!("{line}\n{case}\n{}", wrong.join("\n"));
    match save(folder, seed, case, outcome, &comment) {
        Ok(file) => _ = writeln!(text, "capture: {}", file.display()),
        Err(error) => _ = writeln!(text, "no capture in {}: {error}", folder.display()),
    }
    let fails = |case: &Case| (0..TRIES).any(|_| failure(case).is_some());
    if !fails(case) {
        let _ = writeln!(text, "it did not happen again in {TRIES} runs");
        return text;
    }
    let small = shrink(case, fails);
    if let Some((outcome, wrong)) = (0..TRIES).find_map(|_| failure(&small)) {
        text.push_str("made smaller:\n");
        describe(&mut text, &small, &outcome, &wrong);
    }
    text
}

fn failure(case: &Case) -> Option<(Outcome, Vec<String>)> {
    let outcome = case.run().ok()?;
    let wrong = case.check(&outcome).wrong;
    (!wrong.is_empty()).then_some((outcome, wrong))
}

fn describe(text: &mut String, case: &Case, outcome: &Outcome, wrong: &[String]) {
    let _ = writeln!(text, "{case}");
    for (index, reports) in outcome.reports.iter().enumerate() {
        for (end, report) in ["A", "B"].iter().zip(reports) {
            let _ = writeln!(text, "connection {index}, {end}: {report:?}");
        }
    }
    let (played, stalled) = (outcome.played, outcome.stalled);
    let _ = writeln!(
        text,
        "took {played:.1?}, was kept from a processor for {stalled:.1?}"
    );
    for what in wrong {
        let _ = writeln!(text, "  {what}");
    }
}

fn save(
    folder: &Path,
    seed: u64,
    case: &Case,
    outcome: &Outcome,
    comment: &str,
) -> io::Result<PathBuf> {
    create_dir_all(folder)?;
    let path = folder.join(format!("linux-{seed}.pcapng"));
    let passages = outcome.wire.passages.iter();
    let seen = passages.map(|passage| Seen {
        end: match passage.place {
            Place::Ustack => case.setting.ustack,
            Place::Kernel => case.setting.ustack.peer(),
        },
        sent: passage.sent,
        at: passage.at,
        data: passage.packet.clone(),
    });
    let file = BufWriter::new(File::create(&path)?);
    write_capture(file, &seen.collect::<Vec<_>>(), usize::MAX, comment, &[])?;
    Ok(path)
}
