//! Faults made on purpose are found, made small, and leave a capture.

use std::fs;
use std::path::Path;

use differential::sim::{Case, Fault, PAIRS, Stack, keep, known, shrink};

/// The first script of ustack with itself in which the fault shows, made small.
#[track_caller]
fn find(fault: Fault, words: &str) -> Case {
    let with_fault = |seed| Case {
        fault: Some(fault),
        ..Case::generate(seed, Some(PAIRS[0]))
    };
    for seed in 0..20 {
        let case = with_fault(seed);
        let (known, unexplained) = known::sort(&case, &case.run());
        assert!(known.is_empty(), "nothing excuses ustack");
        let is_it = |found: &&differential::sim::Finding| found.what.contains(words);
        let Some(finding) = unexplained.iter().find(is_it) else {
            continue;
        };
        let small = shrink(&case, std::slice::from_ref(finding));
        let size = |case: &Case| (case.script.flows.len(), case.to_toml().len());
        assert!(
            size(&small) < size(&case),
            "seed {seed}:\n{}",
            small.to_toml()
        );
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let kept = keep(&small, &format!("planted-{fault:?}"), folder, usize::MAX).expect("files");
        let found = |what: &str| what.contains(words);
        assert!(
            kept.outcome
                .findings
                .iter()
                .any(|finding| found(&finding.what))
        );
        let again = Case::parse(&fs::read_to_string(&kept.file).expect("the case"));
        assert_eq!(again.expect("a case"), small);
        let packets = referee::capture::read(&kept.capture).expect("a capture");
        assert!(packets.len() > 3, "{} packets", packets.len());
        return small;
    }
    panic!("{fault:?} was not found in 20 scripts");
}

#[test]
fn other_text() {
    find(Fault::OtherText, "read another byte");
}

#[test]
fn other_text_where_it_is_sent_again() {
    find(Fault::OtherTextAgain, "other-bytes");
}

#[test]
fn no_end() {
    find(Fault::NoFin, "gap");
}

#[test]
fn an_acknowledgment_of_what_did_not_come() {
    find(Fault::EarlyAck, "ack-unseen");
}

#[test]
fn a_window_taken_back() {
    find(Fault::ClosedWindow, "window-shrunk");
}

#[test]
fn wrong_checksums() {
    find(Fault::BadChecksum, "checksum");
}

/// What smoltcp is known to do is no excuse for ustack.
#[test]
fn no_known_fault_is_one_of_ustack() {
    let mut case = Case::generate(7, Some(PAIRS[0]));
    let mut outcome = case.run();
    let broken = |rule| differential::sim::Finding {
        what: "made up".into(),
        rule,
        by: Some(differential::End::A),
        packet: Some(1),
    };
    outcome.findings = known::ALL.iter().map(|known| broken(known.rule)).collect();
    for stacks in [PAIRS[0], PAIRS[1]] {
        case.stacks = stacks;
        assert_eq!(case.stacks[0], Stack::Ustack);
        assert!(known::sort(&case, &outcome).0.is_empty());
    }
}
