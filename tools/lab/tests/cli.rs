//! The program as a user runs it.

use std::process::{Command, Output};

const FILE: &str = r#"
[experiment]
name = "mine"
title = "A try"
duration = "1s"

[[link]]
name = "l"
rate = "10mbit"
delay = "5ms"
queue = 50

[[flow]]
name = "f"

[[sweep]]
name = "loss"
set = "link.l.loss"
values = ["0%", "1%"]
"#;

fn lab(arguments: &[&str]) -> Output {
    let program = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(arguments)
        .output();
    program.expect("the program")
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn complaint(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn experiments_are_listed_and_shown() {
    let list = out(&lab(&["list"]));
    assert!(
        list.lines().any(|line| line.starts_with("one-flow ")),
        "{list}"
    );
    let shown = out(&lab(&["show", "one-flow"]));
    assert!(
        shown.starts_with("[experiment]\nname = \"one-flow\"\n"),
        "{shown}"
    );
}

#[test]
fn a_file_of_ones_own_runs_and_leaves_its_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("mine.toml");
    std::fs::write(&file, FILE).expect("a file");
    let results = directory.path().join("out");
    let (file, results) = (file.display().to_string(), results.display().to_string());
    let arguments = [
        "run",
        &file,
        "--set",
        "link.l.rate=5mbit",
        "--seed",
        "9",
        "--out",
        &results,
    ];
    let shown = out(&lab(&arguments));
    assert!(
        shown.starts_with("mine: A try (seed 9)\n\nloss  flow  algorithm"),
        "{shown}"
    );
    assert_eq!(shown, out(&lab(&arguments)), "the same again");
    let read = |name: &str| std::fs::read_to_string(format!("{results}/mine-{name}.csv"));
    let series = read("series").expect("series");
    assert!(
        series.starts_with("loss,subject,quantity,unit,seconds,value\n0%,f,cwnd,kB,"),
        "{series}"
    );
    let flows = read("flows").expect("flows");
    assert_eq!(flows.lines().count(), 3, "{flows}");
    let links = read("links").expect("links");
    assert_eq!(links.lines().count(), 5, "{links}");
    assert!(read("events").is_ok() && read("messages").is_err());
}

#[test]
fn mistakes_are_told_with_what_would_be_right() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("bad.toml");
    std::fs::write(&file, FILE.replace("10mbit", "10")).expect("a file");
    let bad = file.display().to_string();
    for (arguments, words) in [
        (
            vec!["run", &bad],
            "bad.toml: line 9: rate: `10` is not a rate",
        ),
        (
            vec!["run", "nothing"],
            "no experiment is called `nothing`: there are ",
        ),
        (vec!["run", "nothing.toml"], "nothing.toml: No such file"),
        (
            vec!["run", "one-flow", "--set", "x"],
            "write it as KEY=VALUE",
        ),
        (
            vec!["run", "one-flow", "--set", "link.bottleneck.los=1%"],
            "--set link.bottleneck.los=1%: with link.bottleneck.los = 1%: unknown field `los`, expected one of",
        ),
        (vec!["run", "one-flow", "--jobs", "0"], "0 is not in"),
    ] {
        let complaint = complaint(&lab(&arguments));
        assert!(complaint.contains(words), "{complaint}");
    }
}
