//! A reset in every state. The RST reaches the stack in the state that the capture is named after,
//! and nothing is left of the connection.

use crate::common::{read, replay};
use crate::stack::Stack;
use replay::conversation::Role;
use replay::ports;
use replay::stream::{Plan, Report};
use replay::{Reads, Services};
use ustack_tcp::State::{self, *};
use ustack_tcp::{CloseReason, SocketError};

/// The last state was `last`, and the RST ended it.
fn ended(report: &Report, states: &[State]) {
    assert_eq!(report.states, states);
    let reset = CloseReason::Reset;
    let is_told = report.closed == Some(reset) || report.error == Some(SocketError::Closed(reset));
    assert!(is_told, "{:?}, {:?}", report.closed, report.error);
    assert!(!report.tally.reset, "a RST was answered by a RST");
    assert_eq!(report.last_state, None);
}

/// After both FINs a RST takes nothing from anyone: it only deletes the connection (RFC 9293
/// §3.10.7.4, CLOSING and LAST-ACK).
fn finished(report: &Report, states: &[State]) {
    assert_eq!(report.states, states);
    assert_eq!(report.closed, Some(CloseReason::Finished));
    assert!(!report.tally.reset, "a RST was answered by a RST");
    assert_eq!(report.last_state, None);
}

fn as_server(name: &str) -> Report {
    replay(name, &Plan::new(Role::Server))
}

#[test]
fn reset_in_syn_sent_as_client() {
    let report = replay("reset-in-syn-sent", &Plan::new(Role::Client));
    assert_eq!(report.states, [SynSent]);
    assert_eq!(report.closed, Some(CloseReason::Refused));
    assert_eq!(report.last_state, None);
    assert_eq!(report.tally.segments, 2, "a SYN and its repetition");
}

/// A closed port answers the SYN that came, and not the one that was lost.
#[test]
fn reset_in_syn_sent() {
    let address = "10.88.0.2".parse().unwrap();
    let packets = read("reset-in-syn-sent");
    let report = ports::replay::<Stack>(&packets, address, &[], Services::None).unwrap();
    assert_eq!((report.probes, report.same), (1, 1));
    assert_eq!(report.differences, []);
}

#[test]
fn reset_in_syn_received() {
    let report = as_server("reset-in-syn-received");
    assert_eq!(report.states, [SynReceived]);
    // Nobody ever accepted it, so nobody is told (RFC 9293 §3.10.7.4); the SYN,ACK is not repeated.
    assert_eq!((report.closed, report.error), (None, None));
    assert_eq!(report.last_state, None);
    assert_eq!(report.tally.segments, 1);
}

#[test]
fn reset_in_established() {
    let report = as_server("reset-in-established");
    ended(&report, &[SynReceived, Established]);
    assert!(report.tally.max_in_flight >= 6000, "{:?}", report.tally);
}

#[test]
fn reset_in_fin_wait_1() {
    let report = as_server("reset-in-fin-wait-1");
    ended(&report, &[SynReceived, Established, FinWait1]);
}

#[test]
fn reset_in_fin_wait_2() {
    let report = as_server("reset-in-fin-wait-2");
    ended(&report, &[SynReceived, Established, FinWait1, FinWait2]);
    assert_eq!(report.received, 20);
}

#[test]
fn reset_in_close_wait() {
    // An application that does not look learns of no end of file, and does not close.
    let plan = Plan {
        reads: Reads::Never,
        ..Plan::new(Role::Server)
    };
    let report = replay("reset-in-close-wait", &plan);
    ended(&report, &[SynReceived, Established, CloseWait]);
    assert_eq!(report.sent, 25);
}

#[test]
fn reset_in_closing() {
    let report = as_server("reset-in-closing");
    finished(&report, &[SynReceived, Established, FinWait1, Closing]);
}

#[test]
fn reset_in_last_ack() {
    let report = as_server("reset-in-last-ack");
    finished(&report, &[SynReceived, Established, CloseWait, LastAck]);
}

/// TIME-WAIT was reached, and nothing was said to the RST.
fn waited(report: &Report) {
    let states = [SynReceived, Established, FinWait1, TimeWait];
    assert_eq!(report.states, states);
    let segments = report.tally.segments;
    assert!(segments <= 5 && !report.tally.reset, "{segments} segments");
}

/// It lies one below the window, so that it is dropped without a word (RFC 9293 §3.10.7.4).
#[test]
fn reset_in_time_wait() {
    for rfc1337 in [true, false] {
        let mut plan = Plan::new(Role::Server);
        plan.config.rfc1337 = rfc1337;
        let report = replay("reset-in-time-wait", &plan);
        waited(&report);
        assert_eq!(report.last_state, Some(TimeWait));
    }
}

/// TIME-WAIT is not assassinated, unless one asks for what RFC 9293 §3.10.7.4 says (RFC 1337 §3).
#[test]
fn reset_in_time_wait_exact() {
    for (rfc1337, left) in [(true, Some(TimeWait)), (false, None)] {
        let mut plan = Plan::new(Role::Server);
        plan.config.rfc1337 = rfc1337;
        let report = replay("reset-in-time-wait-exact", &plan);
        waited(&report);
        assert_eq!(report.last_state, left);
    }
}
