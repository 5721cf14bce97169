//! Servers that break a rule: it is named with the packet, and the stack serves in their place.

use replay::conversation::Role;
use replay::review::{Outcome, review};
use replay::talks::talks;

use crate::common::read;
use crate::stack::Stack;

/// The server breaks this rule in this packet, and nothing else is wrong, whichever end the stack
/// plays.
fn broken(name: &str, rule: &str, packet: usize) {
    let found = talks(&read(name));
    let [talk] = &found.talks[..] else {
        panic!("{} conversations", found.talks.len());
    };
    let review = review::<Stack>(talk, &[Role::Server, Role::Client]);
    let [violation] = &review.broken[..] else {
        panic!("{:?}", review.broken);
    };
    assert_eq!(violation.rule.name(), rule);
    assert_eq!(violation.packet, packet);
    assert_eq!(violation.flow.source, talk.server);
    for replayed in &review.replays {
        let agrees = matches!(replayed.outcome, Outcome::Agrees(_));
        assert!(agrees, "{replayed:?}");
    }
    assert_eq!(review.replays.len(), 2);
}

#[test]
fn broken_window() {
    broken("broken-window", "outside-window", 6);
}

#[test]
fn broken_bytes() {
    broken("broken-bytes", "other-bytes", 9);
}

#[test]
fn broken_ack() {
    broken("broken-ack", "ack-unseen", 5);
}

#[test]
fn broken_shrink() {
    broken("broken-shrink", "window-shrunk", 5);
}
