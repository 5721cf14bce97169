//! Runs every script under `tests/scripts/`, over IPv4 and IPv6 and around the wrap of sequence
//! numbers.

use std::fs;
use std::path::{Path, PathBuf};

use ustack_tcp::testing::run_script;

fn scripts(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            scripts(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "pkt") {
            found.push(path);
        }
    }
}

#[test]
fn every_script_passes() {
    let mut found = Vec::new();
    scripts(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts"),
        &mut found,
    );
    found.sort();
    assert!(found.len() >= 30, "only {} scripts found", found.len());
    let failures: Vec<_> = found
        .iter()
        .filter_map(|path| {
            let text = fs::read_to_string(path).unwrap();
            run_script(&text)
                .err()
                .map(|why| format!("{}: {why}", path.display()))
        })
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {} failed:\n{}",
        failures.len(),
        found.len(),
        failures.join("\n")
    );
}
