//! The command.

use std::path::Path;
use std::process::{Command, Output};

fn referee(arguments: &[&str]) -> Output {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pcaps");
    let mut command = Command::new(env!("CARGO_BIN_EXE_referee"));
    command
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn a_capture_without_violations() {
    let output = referee(&["--near", "10.88.0.2", "download.pcapng"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.ends_with(" 0 violations\n"), "{text}");
}

#[test]
fn the_broken_rule_and_its_packet_are_named() {
    let broken = [
        ("broken-ack", "ack-unseen"),
        ("broken-bytes", "other-bytes"),
        ("broken-shrink", "window-shrunk"),
        ("broken-window", "outside-window"),
    ];
    for (name, rule) in broken {
        let output = referee(&[&format!("{name}.pcapng")]);
        assert_eq!(output.status.code(), Some(1), "{name}");
        let text = String::from_utf8(output.stdout).unwrap();
        let first = text.lines().next().unwrap();
        assert!(
            first.starts_with("packet ") && first.contains(&format!(": {rule}: ")),
            "{first}"
        );
    }
}

#[test]
fn what_cannot_be_read_is_said() {
    for (arguments, why) in [
        (&["none.pcapng"][..], "cannot read none.pcapng"),
        (&[], "which file?"),
        (
            &["--near", "here", "download.pcapng"],
            "this is no IP address",
        ),
        (&["--far", "download.pcapng"], "there is no option --far"),
        (&["download.pcapng", "upload.pcapng"], "one file at a time"),
    ] {
        let output = referee(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(why), "{text}");
    }
    assert_eq!(referee(&["--help"]).status.code(), Some(0));
}
