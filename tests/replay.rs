//! `ustack replay`, through the program: what it says and with which exit code.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn capture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps");
    folder.join(name).with_extension("pcapng")
}

fn replay(file: &Path, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ustack"))
        .arg("replay")
        .arg(file)
        .args(options)
        .output()
        .expect("ustack starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What it refuses, without the beginning that every message has.
fn refused(file: &Path, options: &[&str]) -> String {
    let output = replay(file, options);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    let message = stderr.strip_prefix("ustack: error: ");
    message.unwrap_or_else(|| panic!("{stderr}")).to_owned()
}

#[test]
fn a_conversation_is_told_in_words() {
    let output = replay(&capture("loss-tail"), &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "1  TCP 10.88.0.1:55806 > 10.88.0.2:80: 34 packets, 1 to 34, 0.266 s"
    );
    assert_eq!(
        lines[2],
        "   server: 18 segments (1 lost), 18508 bytes; SYN with MSS 1460, window scale 10, SACK, \
         timestamps; FIN in packet 33"
    );
    assert_eq!(lines.last(), Some(&"   no divergence that matters"));
}

#[test]
fn either_end_is_played() {
    for end in ["server", "client"] {
        for name in ["http-get", "upload", "half-close", "loss-download"] {
            let output = replay(&capture(name), &["--as", end]);
            let text = stdout(&output);
            assert_eq!(output.status.code(), Some(0), "{name} as {end}: {text}");
            let ours = format!("ustack as the {end}: ");
            assert!(text.contains(&ours), "{text}");
        }
    }
}

#[test]
fn a_dialogue_shows_all_three() {
    let text = stdout(&replay(&capture("http-get"), &["--show"]));
    let lines = |what: &str| text.lines().filter(|line| line.contains(what)).count();
    assert_eq!(lines("client -> SYN seq 0 win 64240 mss 1460"), 1, "{text}");
    assert_eq!(lines("server <- SYN,ACK seq 0 ack 1"), 1, "{text}");
    assert_eq!(lines("ustack <= SYN,ACK seq 0 ack 1"), 1, "{text}");
}

#[test]
fn what_holds_no_conversation_is_refused() {
    let none = refused(Path::new("no-such-file.pcap"), &[]);
    assert_eq!(
        none,
        "cannot read no-such-file.pcap: No such file or directory\n"
    );
    let text = refused(Path::new("README.md"), &[]);
    assert!(text.starts_with("README.md after packet 0: "), "{text}");
    let folder = refused(Path::new("pcaps"), &[]);
    assert!(folder.starts_with("cannot read pcaps: "), "{folder}");
}

#[test]
fn a_choice_that_fits_nothing_lists_what_is_there() {
    for choice in [
        ["--port", "443"],
        ["--host", "10.88.0.9"],
        ["--conversation", "2"],
    ] {
        let text = refused(&capture("http-get"), &choice);
        assert!(
            text.contains("holds no conversation like this, but these:\n  1  TCP 10.88.0.1:"),
            "{text}"
        );
    }
}

#[test]
fn a_conversation_is_chosen() {
    let all = stdout(&replay(&capture("curl-parallel"), &[]));
    let count = all.lines().filter(|line| line.contains("  TCP ")).count();
    assert!(count > 1, "{all}");
    let one = stdout(&replay(&capture("curl-parallel"), &["--conversation", "2"]));
    assert!(one.starts_with("2  TCP "), "{one}");
    let count = one.lines().filter(|line| line.contains("  TCP ")).count();
    assert_eq!(count, 1, "{one}");
}

/// Servers made on purpose: which rule, in which packet.
#[test]
fn broken_rules_are_named() {
    for (name, words) in [
        (
            "broken-window",
            "packet 6: outside-window: ends at 3421, the window at 2921 (RFC 9293 §3.8.6",
        ),
        ("broken-bytes", "packet 9: other-bytes: "),
        (
            "broken-ack",
            "packet 5: ack-unseen: acknowledges 101, only 6 arrived (RFC 9293 §3.4)",
        ),
        (
            "broken-shrink",
            "packet 5: window-shrunk: takes its window back from 20001 to 2001 (RFC 9293 §3.8.6",
        ),
    ] {
        let output = replay(&capture(name), &[]);
        let text = stdout(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        let line = format!("RULE BROKEN by the server in {words}");
        assert!(text.contains(&line), "{line}\n{text}");
        assert!(text.contains("no divergence that matters"), "{text}");
    }
}

/// What README shows is what the program prints.
#[test]
fn readme_tells_the_truth() {
    let readme = include_str!("../README.md");
    let output = readme.split_once("$ ustack replay pcaps/broken-window.pcapng\n");
    let (shown, _) = output.unwrap().1.split_once("```").unwrap();
    assert_eq!(stdout(&replay(&capture("broken-window"), &[])), shown);
}
