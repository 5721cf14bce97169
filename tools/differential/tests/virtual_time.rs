//! Seeded scripts between ustack and smoltcp, all four pairs, and the cases that were kept.

use std::fs;
use std::path::{Path, PathBuf};

use differential::sim::cli::{case_name, play_all};
use differential::sim::{Case, PAIRS, Stack, keep, known, shrink};

/// Scripts of each pair.
const SCRIPTS: u64 = 125;

/// Cases of one kind, by name.
fn cases(kind: &str) -> Vec<(String, Case)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(kind);
    let entries = fs::read_dir(folder).expect("the directory of cases");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let is_case = |path: &PathBuf| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    };
    let read = |path: PathBuf| {
        let name = path.file_stem().expect("a name").to_string_lossy();
        let text = fs::read_to_string(&path).expect("a case");
        let case = Case::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name.into_owned(), case)
    };
    paths.filter(is_case).map(read).collect()
}

/// Makes a case smaller, and says where to look.
fn explain(case: &Case) {
    let (_, unexplained) = known::sort(case, &case.run());
    let small = shrink(case, &unexplained);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let kept = keep(&small, &case_name(case), folder, usize::MAX).expect("files");
    for finding in known::sort(&small, &kept.outcome).1.iter().take(5) {
        println!("  {finding}");
    }
    println!("  again: differential play {}", kept.file.display());
    println!("  capture: {}", kept.capture.display());
}

fn five_hundred(pair: [Stack; 2], first: u64) {
    let totals = play_all(first..first + SCRIPTS, Some(pair), 2, |case, findings| {
        println!("seed {} of {}: {}", case.seed, case_name(case), findings[0]);
        explain(case);
    });
    println!("{pair:?}: {totals}");
    assert_eq!(totals.failed, 0, "see above");
    assert_eq!(totals.scripts, SCRIPTS);
    assert!(totals.bytes > 1_000_000 && totals.lost > 100, "{totals}");
}

#[test]
fn ustack_with_itself() {
    five_hundred(PAIRS[0], 1_000_000);
}

#[test]
fn ustack_with_smoltcp() {
    five_hundred(PAIRS[1], 2_000_000);
}

#[test]
fn smoltcp_with_ustack() {
    five_hundred(PAIRS[2], 3_000_000);
}

#[test]
fn smoltcp_with_itself() {
    five_hundred(PAIRS[3], 4_000_000);
}

/// What once was wrong.
#[test]
fn cases_that_failed_end_as_they_should() {
    let cases = cases("mended");
    assert!(!cases.is_empty());
    for (name, case) in cases {
        let (_, unexplained) = known::sort(&case, &case.run());
        assert!(unexplained.is_empty(), "{name}: {}", unexplained[0]);
    }
}

/// A known fault is still one: as soon as smoltcp mends it, its entry goes.
#[test]
fn known_cases_show_what_they_are_named_after() {
    let mut faults: Vec<_> = known::ALL.iter().map(|known| known.name).collect();
    for (name, case) in cases("known") {
        let fault = known::ALL.iter().find(|known| known.name == name);
        let fault = fault.unwrap_or_else(|| panic!("{name} is not known"));
        assert!(fault.is_shown(&case, &case.run()), "{name} is not shown");
        let capture =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/known/{name}.pcapng"));
        assert!(capture.exists(), "{name} has no capture");
        faults.retain(|&fault| fault != name);
    }
    assert!(faults.is_empty(), "no case shows {faults:?}");
}
