//! `pcaps/README.md` names every capture once, with tests that read it; and every test of a capture
//! stands in the README.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The tests that replay captures: their bodies by their names.
fn tests() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let folders = ["tests", "tests/captures"].map(|folder| here().join(folder));
    for path in folders.iter().flat_map(|folder| files(folder)) {
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let source = fs::read_to_string(path).unwrap();
        for test in source.split("#[test]\n").skip(1) {
            // What stands between the two is another attribute, such as that it is ignored.
            let name = test
                .strip_prefix("fn ")
                .and_then(|rest| rest.split_once("()"));
            let (body, _) = test.split_once("\n}\n").unwrap();
            if let Some((name, _)) = name {
                let before = found.insert(name.to_owned(), body.to_owned());
                assert_eq!(before, None, "{name} twice");
            }
        }
    }
    found
}

/// The tests that each row names, by the name of its capture.
fn rows() -> BTreeMap<String, BTreeSet<String>> {
    let mut rows = BTreeMap::new();
    let page = fs::read_to_string(here().join("../../pcaps/README.md")).unwrap();
    for line in page.lines() {
        let Some(row) = line.strip_prefix("| `") else {
            continue;
        };
        let columns: Vec<&str> = row.split(" | ").collect();
        let [file, shows, how, tests] = columns[..] else {
            panic!("{line}")
        };
        assert!(!shows.is_empty() && !how.is_empty(), "{line}");
        let name = file.trim_end_matches(".pcapng`").to_owned();
        let tests = tests.trim_end_matches(" |").split(", ");
        let tests = tests.map(|test| test.trim_matches('`').to_owned());
        let before = rows.insert(name, tests.collect());
        assert_eq!(before, None, "{file} twice");
    }
    rows
}

#[test]
fn every_capture_has_its_row_and_every_row_its_capture() {
    let captures = files(&here().join("../../pcaps"));
    let captures = captures.iter().filter(|path| path.is_file());
    let names = captures.map(|path| path.file_name().unwrap());
    let names: BTreeSet<String> = names
        .filter(|name| *name != "README.md")
        .map(|name| name.to_str().unwrap().replace(".pcapng", ""))
        .collect();
    assert_eq!(rows().into_keys().collect::<BTreeSet<_>>(), names);
}

#[test]
fn every_row_names_tests_that_read_its_capture() {
    let tests = tests();
    let mut wrong = Vec::new();
    for (capture, named) in rows() {
        for test in named {
            let body = tests.get(&test);
            if body.is_none_or(|body| !body.contains(&format!("\"{capture}\""))) {
                wrong.push(format!("{capture}: no test {test} reads it"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_test_named_after_a_capture_stands_in_its_row() {
    let rows = rows();
    let mut missing = Vec::new();
    for test in tests().into_keys() {
        let capture = test.trim_end_matches("_as_client").replace('_', "-");
        if rows.get(&capture).is_some_and(|row| !row.contains(&test)) {
            missing.push(format!("{test} stands not in the row of {capture}"));
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
