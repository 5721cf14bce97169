//! Linux's congestion controllers under loss and reordering, and Explicit Congestion Notification.

use std::time::Duration;

use replay::conversation::Role;
use replay::stream::{Plan, Report};
use ustack_tcp::State::{self, *};
use ustack_tcp::{CongestionAlgorithm, EcnMode};

use crate::common::{read, replay};

const LENGTH: usize = 100_000;
const ENDED_BY_US: [State; 5] = [SynSent, Established, FinWait1, FinWait2, TimeWait];

/// Receives what a kernel's controller sends: at least so many segments tell of holes by SACK, and
/// so many of what came twice.
fn as_server(name: &str, sacks: usize, dsacks: usize) {
    let report = replay(name, &Plan::new(Role::Server));
    assert_eq!(report.received, LENGTH);
    assert_eq!(
        report.states,
        [SynReceived, Established, CloseWait, LastAck]
    );
    let tally = report.tally;
    assert!(tally.sacks >= sacks && tally.dsacks >= dsacks, "{tally:?}");
    // A hole is told of at once, segment by segment (RFC 9293 MUST-58, SHLD-19).
    assert!(tally.segments > LENGTH / 1448 / 2, "{tally:?}");
}

/// Sends in the place of the kernel, with the same controller, over what the link did to the
/// kernel's segments. What was lost comes again without waiting long for it.
fn as_client(name: &str, congestion: CongestionAlgorithm) -> Report {
    let mut plan = Plan::new(Role::Client);
    plan.config.congestion = congestion;
    let report = replay(name, &plan);
    assert_eq!(report.sent, LENGTH + 1);
    assert_eq!(report.states, ENDED_BY_US);
    // Where the kernel sat out a timeout, so may the stack.
    let (waited, bound) = (
        report.delay,
        Duration::from_millis(75) + longest_silence(name),
    );
    assert!(waited < bound, "waited {waited:?}, not {bound:?}");
    report
}

/// The longest time in which nobody said anything.
fn longest_silence(name: &str) -> Duration {
    let packets = read(name);
    let silences = packets
        .windows(2)
        .map(|pair| pair[1].time.saturating_sub(pair[0].time));
    silences.max().unwrap()
}

/// Three or more segments were lost, and each came again.
fn repeated(report: &Report) {
    let times = report.tally.retransmissions;
    assert!((3..=30).contains(&times), "{times} retransmissions");
}

#[test]
fn cubic_loss() {
    as_server("cubic-loss", 10, 0);
}

#[test]
fn cubic_loss_as_client() {
    repeated(&as_client("cubic-loss", CongestionAlgorithm::Cubic));
}

#[test]
fn reno_loss() {
    as_server("reno-loss", 10, 0);
}

#[test]
fn reno_loss_as_client() {
    repeated(&as_client("reno-loss", CongestionAlgorithm::Reno));
}

#[test]
fn bbr_loss() {
    as_server("bbr-loss", 10, 0);
}

#[test]
fn bbr_loss_as_client() {
    repeated(&as_client("bbr-loss", CongestionAlgorithm::Bbr));
}

#[test]
fn cubic_reorder() {
    as_server("cubic-reorder", 10, 2);
}

#[test]
fn cubic_reorder_as_client() {
    as_client("cubic-reorder", CongestionAlgorithm::Cubic);
}

#[test]
fn reno_reorder_no_sack() {
    as_server("reno-reorder-no-sack", 0, 0);
}

#[test]
fn reno_reorder_no_sack_as_client() {
    let report = as_client("reno-reorder-no-sack", CongestionAlgorithm::Reno);
    assert_eq!(report.tally.sacks, 0);
}

#[test]
fn bbr_reorder_ipv6() {
    as_server("bbr-reorder-ipv6", 10, 2);
}

#[test]
fn bbr_reorder_ipv6_as_client() {
    as_client("bbr-reorder-ipv6", CongestionAlgorithm::Bbr);
}

#[test]
fn everything_at_once() {
    as_server("everything-at-once", 10, 3);
}

#[test]
fn everything_at_once_as_client() {
    repeated(&as_client("everything-at-once", CongestionAlgorithm::Cubic));
}

/// The timer goes off, the first segment is repeated, and then all ACKs come: the rest need not be
/// sent again (RFC 5682, RFC 3522).
#[test]
fn late_acknowledgments() {
    let report = replay("late-acknowledgments", &Plan::new(Role::Server));
    let tally = report.tally;
    assert!((1..=2).contains(&tally.retransmissions), "{tally:?}");
    assert!(report.sent > 60_000);
    let waited = report.delay;
    assert!(waited < Duration::from_millis(20), "waited {waited:?}");
}

fn with_ecn(role: Role) -> Plan {
    let mut plan = Plan::new(role);
    plan.config.ecn = EcnMode::On;
    plan
}

/// Two marks, each echoed until the kernel's CWR comes; without ECN nothing is echoed.
#[test]
fn ecn_upload() {
    let report = replay("ecn-upload", &with_ecn(Role::Server));
    let echoes = report.tally.ece;
    assert!(
        (4..report.tally.segments - 10).contains(&echoes),
        "{echoes} echoes"
    );
    assert_eq!(report.received, LENGTH);
    let mut plain = Plan::new(Role::Server);
    plain.config.ecn = EcnMode::Off;
    assert_eq!(replay("ecn-upload", &plain).tally.ece, 0);
}

/// The client's echoes bring the window down, and CWR says so.
#[test]
fn ecn_download() {
    let report = replay("ecn-download", &with_ecn(Role::Server));
    let tally = report.tally;
    assert!(tally.cwr >= 2 && tally.retransmissions == 0, "{tally:?}");
    assert_eq!(tally.ece, 0);
}

#[test]
fn ecn_echo_as_client() {
    let report = replay("ecn-echo", &with_ecn(Role::Client));
    let echoes = report.tally.ece;
    assert!(
        (4..report.tally.segments - 10).contains(&echoes),
        "{echoes} echoes"
    );
    assert!(report.received > 60_000);
}
