//! Twelve ways in which conversations between two kernels go wrong, recorded at five round trips
//! each: the cause stands in the first three lines. Between hosts of our own: `faults.rs`.

mod common;

use common::{explain, headline, pcaps, read};

/// The recordings of a fault, the name of the cause, and words of the headline.
const FAULTS: &[(&str, &str, &str)] = &[
    (
        "black-hole",
        "black-hole",
        "black hole: after the handshake",
    ),
    ("zero-window", "zero-window", "zero window for ever"),
    (
        "spurious-timeout",
        "spurious-timeout",
        "spurious retransmission timeout",
    ),
    ("reordering", "reordering", "reordering taken for loss"),
    ("forged-reset", "forged-reset", "RST from a middlebox"),
    ("mtu-black-hole", "mtu-black-hole", "MTU black hole"),
    ("tiny-window", "small-window", "tiny window"),
    (
        "nagle",
        "nagle-delayed-ack",
        "Nagle against delayed acknowledgments",
    ),
    ("syn-lost", "syn-lost", "SYN loss"),
    ("half-open", "half-open", "half-open connection"),
    (
        "corrupted-option",
        "corrupted-option",
        "corrupted TCP options",
    ),
    ("silly-window", "silly-window", "silly window"),
];

#[test]
fn the_cause_is_in_the_first_three_lines() {
    let mut failures = Vec::new();
    for (file, name, words) in FAULTS {
        for run in 1..=5 {
            let reports = explain(&read(&format!("faults/{file}-{run}")));
            let report = reports.first().expect("there is a conversation");
            let found = report.findings.first().map(|finding| finding.name);
            if found != Some(*name) || !headline(report).contains(words) {
                failures.push(format!(
                    "{file}-{run}:\n{}",
                    explain::text::describe(report)
                ));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_recording_is_read() {
    let folder = pcaps("faults/none").with_file_name("");
    let files = std::fs::read_dir(folder).expect("pcaps/faults is there");
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".pcapng")).collect();
    names.sort();
    let runs = FAULTS
        .iter()
        .flat_map(|(file, ..)| (1..=5).map(move |run| format!("{file}-{run}.pcapng")));
    let mut expected: Vec<String> = runs.collect();
    expected.sort();
    assert_eq!(names, expected);
}
