//! Programs as people run them. Files may hold several connections; each is replayed on its own,
//! and the replay itself checks every byte both ways.

use std::time::Duration;

use crate::common::replay_each;
use replay::conversation::Role;
use replay::stream::Report;
use ustack_tcp::State::{self, *};
use ustack_tcp::{CloseReason, SocketError};

/// A clean link: next to nothing was sent twice, and nothing waited long for the stack.
fn clean(reports: &[Report]) {
    for report in reports {
        assert!(report.tally.retransmissions <= 1, "{:?}", report.tally);
        assert!(!report.tally.reset, "{:?}", report.tally);
        let waited = report.delay;
        assert!(waited < Duration::from_millis(100), "waited {waited:?}");
    }
}

const CLOSED_BY_CLIENT: [State; 4] = [SynReceived, Established, CloseWait, LastAck];
const CLOSED_BY_US: [State; 4] = [SynReceived, Established, FinWait1, TimeWait];

/// Bytes received and sent in each conversation, the FIN not counted.
fn bytes(reports: &[Report]) -> Vec<(usize, usize)> {
    reports
        .iter()
        .map(|report| (report.received, report.sent - 1))
        .collect()
}

fn as_server(name: &str) -> Vec<Report> {
    replay_each(name, Role::Server)
}

fn as_client(name: &str) -> Vec<Report> {
    replay_each(name, Role::Client)
}

#[test]
fn wget_download() {
    let reports = as_server("wget-download");
    clean(&reports);
    assert_eq!(bytes(&reports), [(133, 60_203)]);
    assert_eq!(reports[0].states, CLOSED_BY_US);
}

#[test]
fn wget_download_as_client() {
    let reports = as_client("wget-download");
    clean(&reports);
    assert_eq!(bytes(&reports), [(60_203, 133)]);
    assert_eq!(
        reports[0].states,
        [SynSent, Established, CloseWait, LastAck]
    );
}

#[test]
fn wget_ipv6() {
    let reports = as_server("wget-ipv6");
    clean(&reports);
    assert_eq!(reports[0].syn.mss, Some(1440));
    assert_eq!(bytes(&reports), [(128, 60_256)]);
    assert_eq!(reports[0].states, CLOSED_BY_CLIENT);
}

#[test]
fn wget_ipv6_as_client() {
    let reports = as_client("wget-ipv6");
    clean(&reports);
    assert_eq!(bytes(&reports), [(60_256, 128)]);
}

/// Every connection gets its own file, of 3000 bytes and 1500 more from one to the next.
#[test]
fn curl_parallel() {
    let reports = as_server("curl-parallel");
    clean(&reports);
    assert_eq!(reports.len(), 8);
    for (index, report) in reports.iter().enumerate() {
        let head = report.sent - (3000 + 1500 * index);
        assert!((200..300).contains(&head), "{head} bytes of header");
        assert_eq!(report.states, CLOSED_BY_CLIENT);
    }
}

#[test]
fn curl_parallel_as_client() {
    let reports = as_client("curl-parallel");
    clean(&reports);
    assert_eq!(reports.len(), 8);
    assert!(
        reports
            .windows(2)
            .all(|two| two[0].received < two[1].received)
    );
}

/// Chromium opens as many as six connections and asks for several things on some of them.
#[test]
fn chromium_page() {
    let reports = as_server("chromium-page");
    clean(&reports);
    assert_eq!(reports.len(), 6);
    let several = reports.iter().filter(|report| report.received > 700);
    assert!(several.count() >= 4, "{:?}", bytes(&reports));
}

#[test]
fn chromium_page_as_client() {
    let reports = as_client("chromium-page");
    clean(&reports);
    assert_eq!(reports.len(), 6);
    assert!(reports.iter().all(|report| report.received > 5000));
}

#[test]
fn ssh_command() {
    let reports = as_server("ssh-command");
    clean(&reports);
    assert_eq!(bytes(&reports), [(3681, 7629)]);
    assert_eq!(reports[0].states, CLOSED_BY_CLIENT);
}

#[test]
fn ssh_command_as_client() {
    let reports = as_client("ssh-command");
    clean(&reports);
    assert_eq!(bytes(&reports), [(7629, 3681)]);
}

#[test]
fn git_clone() {
    let reports = as_server("git-clone");
    clean(&reports);
    let [(asked, answered)] = bytes(&reports)[..] else {
        panic!("{reports:?}");
    };
    assert!(asked > 1000 && answered > 25_000, "{asked} {answered}");
    assert_eq!(reports[0].states, CLOSED_BY_CLIENT);
}

#[test]
fn git_clone_as_client() {
    let reports = as_client("git-clone");
    clean(&reports);
    let [(answered, asked)] = bytes(&reports)[..] else {
        panic!("{reports:?}");
    };
    assert!(asked > 1000 && answered > 25_000, "{asked} {answered}");
}

/// The server has seen enough and closes with bytes unread: its data connection ends by a reset,
/// the control connection in good order.
#[test]
fn iperf3_upload() {
    let reports = as_server("iperf3-upload");
    clean(&reports[..1]);
    assert!(reports[1].tally.reset && reports[1].received > 17_000);
}

#[test]
fn iperf3_upload_as_client() {
    let reports = as_client("iperf3-upload");
    clean(&reports);
    assert!(reports[1].sent > 17_000);
    let reset = CloseReason::Reset;
    let closed = reports[1].error == Some(SocketError::Closed(reset));
    assert!(closed || reports[1].closed == Some(reset));
}

#[test]
fn iperf3_download() {
    let reports = as_server("iperf3-download");
    clean(&reports);
    assert_eq!(bytes(&reports)[1], (37, 61_440));
    assert_eq!(reports.len(), 2);
}

#[test]
fn iperf3_download_as_client() {
    let reports = as_client("iperf3-download");
    clean(&reports);
    assert_eq!(bytes(&reports)[1], (61_440, 37));
    assert_eq!(reports.len(), 2);
}

/// Four questions, four answers, one connection.
#[test]
fn dns_tcp() {
    let reports = as_server("dns-tcp");
    clean(&reports);
    assert_eq!(bytes(&reports), [(251, 231)]);
}

#[test]
fn dns_tcp_as_client() {
    let reports = as_client("dns-tcp");
    clean(&reports);
    assert_eq!(bytes(&reports), [(231, 251)]);
}

/// The file's second half: what did not fit into a datagram.
#[test]
fn dns_truncated() {
    let reports = as_server("dns-truncated");
    clean(&reports);
    assert!(reports[0].sent > 24 * 200, "{:?}", bytes(&reports));
}

#[test]
fn dns_truncated_as_client() {
    let reports = as_client("dns-truncated");
    clean(&reports);
    assert!(reports[0].received > 24 * 200, "{:?}", bytes(&reports));
}
