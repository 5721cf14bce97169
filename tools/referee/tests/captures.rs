//! What Linux said in every capture breaks no rule, wherever the referee stands.

mod common;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use common::play_ends;
use referee::{Options, Referee, View, Violation, capture};

/// Recorded at the client's device; all others at the server's.
const SEEN_BY_THE_CLIENT: [&str; 4] = [
    "ecn-echo",
    "keepalive-dead-peer",
    "simultaneous-open",
    "simultaneous-open-ipv6",
];

/// The client's packets were made by hand in these: only what the kernel answers counts.
fn is_crafted(name: &str) -> bool {
    name.starts_with("odd-") || name.starts_with("scan-")
}

/// With one round trip and no reordering, so that it can be told when the client sent what.
const FROM_BOTH_ENDS: [&str; 24] = [
    "download",
    "half-close",
    "handshake-bare",
    "handshake-ecn",
    "handshake-fastopen",
    "handshake-no-sack",
    "handshake-no-timestamps",
    "handshake-no-wscale",
    "handshake-small-mss",
    "http-keepalive-ipv6",
    "interactive",
    "keepalive",
    "loss-download",
    "loss-download-no-sack",
    "loss-fin",
    "loss-retransmission",
    "loss-retransmission-sack",
    "loss-syn-ack",
    "loss-tail",
    "loss-upload",
    "simultaneous-close",
    "window-scaling",
    "zero-window-client",
    "zero-window-server",
];

fn captures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pcaps");
    let paths = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = paths.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.ends_with(".pcapng") && !name.starts_with("broken-")
    });
    paths.sort();
    paths
}

/// Those at whose device the file was recorded.
fn near(path: &Path) -> Vec<IpAddr> {
    let name = path.file_stem().unwrap().to_str().unwrap();
    let host = if SEEN_BY_THE_CLIENT.contains(&name) {
        1
    } else {
        2
    };
    let of_host = [format!("10.88.0.{host}"), format!("fd88::{host}")];
    of_host.map(|address| address.parse().unwrap()).to_vec()
}

fn judge(path: &Path, near: Vec<IpAddr>) -> Vec<String> {
    let packets = capture::read(path).unwrap();
    let mut referee = Referee::new(View::Point { near }, Options::default());
    for packet in &packets {
        referee.on_seen(packet.number, packet.time, &packet.data, packet.lost);
    }
    referee.finish(packets.last().unwrap().time);
    let name = path.file_stem().unwrap().to_str().unwrap();
    let crafted = is_crafted(name);
    let judged =
        |violation: &&Violation| !crafted || common::server().contains(&violation.flow.source.ip());
    let violations = referee.violations().iter().filter(judged);
    violations
        .map(|violation| format!("{name}: {violation}"))
        .collect()
}

#[test]
fn linux_keeps_every_rule() {
    let paths = captures();
    assert!(paths.len() >= 40, "only {} captures", paths.len());
    let mut found = Vec::new();
    for path in paths {
        found.extend(judge(&path, Vec::new()));
        found.extend(judge(&path, near(&path)));
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn linux_keeps_every_rule_seen_from_both_ends() {
    let mut found = Vec::new();
    for name in FROM_BOTH_ENDS {
        let lines = play_ends(&common::read(name));
        found.extend(lines.iter().map(|violation| format!("{name}: {violation}")));
    }
    assert_eq!(found, Vec::<String>::new());
}
