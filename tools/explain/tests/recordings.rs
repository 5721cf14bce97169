//! The recordings of `pcaps`: what is healthy, and what is found in the others.

mod common;

use common::{explain, read};
use explain::text;

/// Conversations between kernels in which nothing went wrong.
const HEALTHY: &[&str] = &[
    "http-get",
    "http-keepalive-ipv6",
    "handshake-bare",
    "handshake-fastopen",
    "upload",
    "download",
    "server-closes",
    "half-close",
    "interactive",
    "wget-ipv6",
    "curl-parallel",
    "chromium-page",
    "ssh-command",
    "git-clone",
    "dns-tcp",
    "ecn-download",
    "keepalive",
    "urgent",
    "simultaneous-open",
    "simultaneous-close",
    "port-reuse",
    "long-fat-download",
    "window-scaling",
    "fastopen-data",
];

/// The first finding of the first conversation of a file, and a word of its evidence.
const FOUND: &[(&str, &str, &str)] = &[
    ("refused", "refused", "is answered by a RST in packet 2"),
    ("reset-by-client", "reset", "nobody had said FIN"),
    ("loss-syn-ack", "syn-lost", "is sent 3 times"),
    ("loss-tail", "loss", "1 repetition by timeout"),
    ("loss-download", "loss", "all mended without a timeout"),
    (
        "loss-download-no-sack",
        "loss",
        "all mended without a timeout",
    ),
    ("loss-retransmission", "loss", "by timeout"),
    ("loss-upload", "loss", "after it came by here"),
    (
        "late-acknowledgments",
        "spurious-timeout",
        "shows that it was needless",
    ),
    (
        "reorder-upload",
        "reordering",
        "came by here after later ones",
    ),
    ("cubic-reorder", "reordering", "shows that it was needless"),
    (
        "zero-window-client",
        "window-closed",
        "announces a window of 0",
    ),
    (
        "zero-window-server",
        "window-closed",
        "announces a window of 0",
    ),
    ("path-mtu", "path-mtu", "is an ICMP error that names it"),
    (
        "path-mtu-ipv6",
        "path-mtu",
        "is an ICMP error that names it",
    ),
    (
        "broken-window",
        "broken-rule",
        "ends at 3421, the window at 2921",
    ),
    ("broken-shrink", "broken-rule", "takes its window back"),
    (
        "broken-ack",
        "broken-rule",
        "acknowledges 101, only 6 arrived",
    ),
];

#[test]
fn nothing_is_unusual_in_healthy_conversations() {
    for name in HEALTHY {
        let reports = explain(&read(name));
        assert!(!reports.is_empty(), "{name}");
        for report in reports {
            let told = text::describe(&report);
            assert!(report.findings.is_empty(), "{name}:\n{told}");
            let second = told.lines().nth(1).map(str::trim);
            assert_eq!(second, Some("nothing unusual"), "{name}");
        }
    }
}

#[test]
fn what_went_wrong_is_found() {
    for (name, finding, evidence) in FOUND {
        let reports = explain(&read(name));
        let told = text::describe(&reports[0]);
        let first = reports[0].findings.first();
        let first = first.unwrap_or_else(|| panic!("{name}: nothing found:\n{told}"));
        assert_eq!(first.name, *finding, "{name}:\n{told}");
        assert!(
            first.evidence.concat().contains(evidence),
            "{name}:\n{told}"
        );
        assert!(
            told.lines()
                .nth(2)
                .is_some_and(|line| line.contains("RFC ")),
            "{name}:\n{told}"
        );
    }
}

/// The recorder has noted which packets the link lost: these are what was sent again.
#[test]
fn losses_are_those_that_the_link_made() {
    for name in [
        "loss-download",
        "loss-upload",
        "loss-tail",
        "loss-download-no-sack",
        "cubic-loss",
    ] {
        let packets = read(name);
        let lost = packets.iter().filter(|packet| packet.recorded.lost).count() as u64;
        let report = &explain(&packets)[0];
        let repeated: u64 = report.ends.iter().map(|end| end.repeated).sum();
        let needless = report.ends.iter().flat_map(|end| &end.episodes);
        let needless: u32 = needless.map(explain::Episode::needless).sum();
        assert!(lost > 0);
        assert_eq!(
            repeated - u64::from(needless),
            lost,
            "{name}:\n{}",
            text::describe(report)
        );
    }
}

/// Handshakes, phases and closing are told in order.
#[test]
fn a_story_has_a_beginning_a_middle_and_an_end() {
    let report = &explain(&read("zero-window-client"))[0];
    let kinds: Vec<_> = report.phases.iter().map(|phase| phase.kind).collect();
    use explain::report::Kind::*;
    assert_eq!(kinds, [Handshake, Recovery, ZeroWindow, Closing]);
    let told = text::describe(report);
    for words in [
        "agreed: window scaling, SACK and timestamps; fastest round trip 10 ms",
        "the client closes its window; probed twice; it opens after 1.407 s",
        "the server closes first (FIN in packet 52); the client closes in packet 56",
    ] {
        assert!(told.contains(words), "{told}");
    }
}
