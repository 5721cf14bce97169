//! Script files: found, run over the families, counted by folder.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Family, Options, Report, Verdict};

/// The scripts (`*.pkt`) that `paths` name, folders searched, in order.
pub fn find(paths: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            search(path, &mut found)?;
        } else {
            found.push(path.clone());
        }
    }
    Ok(found)
}

fn search(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            search(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "pkt") {
            found.push(path);
        }
    }
    Ok(())
}

/// One run of a script.
#[derive(Clone, Debug)]
pub struct Run {
    /// Over which family.
    pub family: Family,
    /// With which initial sequence number of the peer.
    pub peer_isn: u32,
    /// What came of it.
    pub report: Report,
}

/// Runs a script with every one of `ways`.
pub fn run_all(text: &str, ways: &[Options]) -> Vec<Run> {
    ways.iter()
        .map(|options| Run {
            family: options.family,
            peer_isn: options.peer_isn,
            report: crate::run(text, options),
        })
        .collect()
}

/// What a file's runs amount to: one that fails is enough to fail it; it is not runnable only
/// when no run was.
pub fn verdict(runs: &[Run]) -> &Verdict {
    let find = |wanted: fn(&Verdict) -> bool| {
        runs.iter()
            .map(|run| &run.report.verdict)
            .find(|v| wanted(v))
    };
    find(|v| matches!(v, Verdict::Failed { .. }))
        .or_else(|| find(|v| *v == Verdict::Passed))
        .or_else(|| find(|_| true))
        .unwrap_or(&Verdict::Passed)
}

/// Counts per folder.
#[derive(Clone, Debug, Default)]
pub struct Summary(BTreeMap<String, [usize; 3]>);

impl Summary {
    /// Counts a file.
    pub fn add(&mut self, path: &Path, verdict: &Verdict) {
        let folder = path
            .parent()
            .map_or_else(String::new, |p| p.display().to_string());
        let counts = self.0.entry(folder).or_default();
        counts[0] += 1;
        counts[1] += usize::from(!matches!(verdict, Verdict::NotRunnable { .. }));
        counts[2] += usize::from(*verdict == Verdict::Passed);
    }

    /// Files, those that could be run, those that passed.
    pub fn total(&self) -> [usize; 3] {
        self.0.values().fold([0; 3], |sum, counts| {
            [sum[0] + counts[0], sum[1] + counts[1], sum[2] + counts[2]]
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| folder | files | runnable | passed |")?;
        writeln!(f, "|---|--:|--:|--:|")?;
        for (folder, [files, runnable, passed]) in &self.0 {
            writeln!(f, "| {folder} | {files} | {runnable} | {passed} |")?;
        }
        let [files, runnable, passed] = self.total();
        writeln!(f, "| all | {files} | {runnable} | {passed} |")
    }
}
