//! Conversations that begin and end in unusual ways.

use replay::conversation::Role;
use replay::stream::Plan;
use ustack_tcp::State::*;

use crate::common::{replay, replay_each};

#[test]
fn simultaneous_open_ipv6_as_client() {
    let report = replay("simultaneous-open-ipv6", &Plan::new(Role::Client));
    assert_eq!(report.states[..3], [SynSent, SynReceived, Established]);
    assert_eq!((report.received, report.sent), (15, 15 + 1));
    assert_eq!(report.syn.mss, Some(1440));
}

#[test]
fn port_reuse() {
    let reports = replay_each("port-reuse", Role::Server);
    let sent: Vec<usize> = reports.iter().map(|report| report.sent - 1).collect();
    assert_eq!(sent, ["first".len(), "second".len()]);
    for report in reports {
        assert_eq!(
            report.states,
            [SynReceived, Established, FinWait1, TimeWait]
        );
    }
}

#[test]
fn port_reuse_as_client() {
    let reports = replay_each("port-reuse", Role::Client);
    let received: Vec<usize> = reports.iter().map(|report| report.received).collect();
    assert_eq!(received, ["first".len(), "second".len()]);
    for report in reports {
        assert_eq!(report.states, [SynSent, Established, CloseWait, LastAck]);
    }
}
