//! Windows that close, long paths, probes of ends that are gone.

use std::time::Duration;

use replay::conversation::Role;
use replay::stream::Plan;
use ustack_tcp::State::*;
use ustack_tcp::{CloseReason, Keepalive};

use crate::common::replay;

/// The kernel's answer to a probe is the first to tell of the open window.
#[test]
fn zero_window_lost_update() {
    let report = replay("zero-window-lost-update", &Plan::new(Role::Server));
    assert!((2..=6).contains(&report.tally.probes), "{:?}", report.tally);
    assert_eq!(report.sent, 20_000 + 1);
    let waited = report.delay;
    assert!(waited < Duration::from_secs(1), "waited {waited:?}");
}

/// Slow start fills a path of 240 ms without losing what it learned from one flight to the next.
#[test]
fn long_fat_download() {
    let report = replay("long-fat-download", &Plan::new(Role::Server));
    assert_eq!(report.tally.retransmissions, 0);
    assert!(report.tally.max_in_flight > 60_000, "{:?}", report.tally);
    let waited = report.delay;
    assert!(waited < Duration::from_millis(100), "waited {waited:?}");
}

#[test]
fn long_fat_download_as_client() {
    let report = replay("long-fat-download", &Plan::new(Role::Client));
    assert!(report.received > 120_000);
    assert_eq!(report.states, [SynSent, Established, FinWait1, TimeWait]);
}

#[test]
fn keepalive_dead_peer_as_client() {
    let second = Duration::from_secs(1);
    let mut plan = Plan::new(Role::Client);
    plan.socket.keepalive = Some(Keepalive {
        idle: second,
        interval: second,
        count: 3,
    });
    let report = replay("keepalive-dead-peer", &plan);
    assert_eq!(report.states, [SynSent, Established]);
    assert_eq!(report.closed, Some(CloseReason::TimedOut));
    // Handshake, the words, their ACK; a probe that is answered, three that are not, the RST.
    assert_eq!(report.tally.segments, 2 + 2 + 1 + 3 + 1);
    assert!(report.tally.reset);
}
