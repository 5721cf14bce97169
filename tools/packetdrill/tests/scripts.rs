//! Runs every script under `tcp/tests/scripts/` over IPv4 and IPv6, with both ends' initial
//! sequence numbers anywhere, just before the wrap, and at 0.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use packetdrill::{Family, Options, Suite, files};
use ustack::tcp::testing::script;

/// Our scripts.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tcp/tests/scripts")
}

/// `Err` says which run failed, and how.
fn run(text: &str) -> Result<(), String> {
    for family in [Family::V4, Family::V6] {
        let mut options = Options::new(Suite::Own, family);
        options.peer_isn = 0x1234_5678;
        let first = packetdrill::run(text, &options);
        let mut reports = vec![(0x1234_5678, first.clone())];
        for isn in [u32::MAX - 100, 0] {
            options.peer_isn = isn;
            // A script without a SYN of ours knows no ISN.
            let both = first
                .isn
                .map_or_else(|| options.clone(), |was| options.with_isn(was, isn));
            let report = packetdrill::run(text, &both);
            let is_there = report.isn.is_none_or(|got| isn.wrapping_sub(got) < 2);
            if report.isn.is_some() != first.isn.is_some() || !is_there {
                return Err(format!(
                    "over {family:?}: our ISN is {:?}, not {isn}",
                    report.isn
                ));
            }
            reports.push((isn, report));
        }
        if let Some((isn, report)) = reports.iter().find(|(_, report)| !report.passed()) {
            return Err(format!("over {family:?}, ISN {isn}: {report}"));
        }
    }
    Ok(())
}

/// Tells the file that `USTACK_COVERS` names, if any, which requirements a script covers.
fn note(path: &Path, text: &str) {
    let ids = script::covers(text);
    let Some(file) = std::env::var_os("USTACK_COVERS").filter(|_| !ids.is_empty()) else {
        return;
    };
    let root = folder().join("../../..").canonicalize().unwrap();
    let path = path.canonicalize().unwrap();
    let path = path.strip_prefix(&root).unwrap().display().to_string();
    let line = format!("{path}\t{}\n", ids.join("\t"));
    let file = OpenOptions::new().append(true).create(true).open(file);
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .unwrap();
}

#[test]
fn every_script_passes() {
    let found = files::find(&[folder()]).unwrap();
    assert!(found.len() >= 50, "only {} scripts found", found.len());
    let mut failures = Vec::new();
    for path in &found {
        let text = fs::read_to_string(path).unwrap();
        match run(&text) {
            Ok(()) => note(path, &text),
            Err(why) => failures.push(format!("{}: {why}", path.display())),
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} failed:\n{}",
        failures.len(),
        found.len(),
        failures.join("\n")
    );
}
