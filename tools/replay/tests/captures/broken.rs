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
    for role in [Role::Server, Role::Client] {
        let review = review::<Stack>(talk, role);
        let [violation] = &review.broken[..] else {
            panic!("{:?}", review.broken);
        };
        assert_eq!(violation.rule.name(), rule);
        assert_eq!(violation.packet, packet);
        assert_eq!(violation.flow.source, talk.server);
        let agrees = matches!(review.outcome, Outcome::Agrees(_));
        assert!(agrees, "{role:?}: {:?}", review.outcome);
    }
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
