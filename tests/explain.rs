//! `ustack explain`, through the program: what it says and with which exit code.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn pcaps(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps");
    folder.join(name).with_extension("pcapng")
}

fn explain(file: &Path, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ustack"))
        .arg("explain")
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
    let output = explain(file, options);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    let message = stderr.strip_prefix("ustack: error: ");
    message.unwrap_or_else(|| panic!("{stderr}")).to_owned()
}

#[test]
fn a_healthy_conversation_is_told_in_words() {
    let output = explain(&pcaps("http-get"), &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(
        output.stderr.is_empty(),
        "no bar without a terminal: {output:?}"
    );
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "1  TCP 10.88.0.1:49366 > 10.88.0.2:80: 12 packets, 1 to 12, 35 ms"
    );
    assert_eq!(lines[1], "   nothing unusual");
    assert!(lines[4].contains("handshake: SYN with MSS 1460"), "{text}");
}

#[test]
fn what_went_wrong_stands_in_the_first_three_lines() {
    let output = explain(&pcaps("faults/mtu-black-hole-1"), &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().take(3).collect();
    assert!(
        lines[1].contains("MTU black hole: large packets of the server vanish"),
        "{text}"
    );
    assert!(lines[2].contains("RFC 2923 §2.1"), "{text}");
}

#[test]
fn json_is_an_object_a_line() {
    let output = explain(&pcaps("loss-download"), &["--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = stdout(&output);
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [report, last] = &lines[..] else {
        panic!("{text}");
    };
    assert_eq!(report["findings"][0]["name"], "loss");
    assert_eq!(report["findings"][0]["severity"], "slow");
    assert_eq!(report["ends"][1]["repeated"], 3);
    assert_eq!(report["ends"][1]["episodes"][0]["cause"], "signal");
    assert_eq!(report["client"], "10.88.0.1:36754");
    assert_eq!(last["totals"]["packets"], 108);
    assert_eq!(last["breaks_off"], Value::Null);
}

#[test]
fn conversations_are_chosen() {
    let file = pcaps("curl-parallel");
    let all = stdout(&explain(&file, &[]));
    assert!(
        all.ends_with("8 conversations: 8 with nothing unusual, 0 with something\n"),
        "{all}"
    );
    let third = stdout(&explain(&file, &["--conversation", "3"]));
    let first_line = third.lines().next().unwrap();
    assert!(first_line.starts_with("3  TCP "), "{third}");
    let (client, server) = first_line[7..]
        .split_once(": ")
        .unwrap()
        .0
        .split_once(" > ")
        .unwrap();
    for flow in [format!("{client},{server}"), format!("{server}, {client}")] {
        assert_eq!(stdout(&explain(&file, &["--flow", &flow])), third);
    }
    let port = client.rsplit_once(':').unwrap().1;
    assert_eq!(stdout(&explain(&file, &["--port", port])), third);
    assert_eq!(stdout(&explain(&file, &["--host", "10.88.0.2"])), all);
}

#[test]
fn what_cannot_be_told_is_refused() {
    let none = refused(Path::new("no-such-file.pcap"), &[]);
    assert_eq!(
        none,
        "cannot read no-such-file.pcap: No such file or directory\n"
    );
    let text = refused(Path::new("README.md"), &[]);
    assert!(text.starts_with("README.md is no capture: "), "{text}");
    let text = refused(&pcaps("http-get"), &["--port", "443"]);
    assert!(
        text.contains("holds no conversation like this, but these:\n  1  TCP 10.88.0.1:"),
        "{text}"
    );
    let text = refused(&pcaps("ping"), &[]);
    assert!(text.contains("holds no conversation over TCP\n"), "{text}");
    let text = explain(&pcaps("http-get"), &["--flow", "10.0.0.1"]);
    assert_eq!(text.status.code(), Some(2), "{text:?}");
}

#[test]
fn a_file_that_breaks_off_is_told_as_far_as_it_goes() {
    let whole = std::fs::read(pcaps("download")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cut.pcapng");
    std::fs::write(&file, &whole[..whole.len() - 700]).unwrap();
    let text = stdout(&explain(&file, &[]));
    assert!(text.starts_with("1  TCP 10.88.0.1:"), "{text}");
    let last = text.lines().last().unwrap();
    assert!(
        last.starts_with("the file is damaged after packet "),
        "{text}"
    );
}
