//! Conversations that are reset.

use std::time::Duration;

use super::{Finding, Severity};
use crate::conversation::{Conversation, Reset};
use crate::words::{ENDS, bytes, clock, time};

/// An end that was silent for so long may have been restarted meanwhile.
const SILENT: Duration = Duration::from_millis(500);
/// TTLs that differ by more were not set by one host.
const HOPS: u8 = 1;

pub(super) fn find(one: &Conversation, findings: &mut Vec<Finding>) {
    let Some(reset) = one.resets.first() else {
        return;
    };
    if reset.in_handshake && one.sides[1].syn_count == 0 {
        return; // refused
    }
    let forged = one.resets.iter().find_map(|reset| forged(one, reset));
    let found = forged
        .or_else(|| half_open(reset))
        .or_else(|| aborted(reset));
    findings.extend(found);
}

/// It has another TTL than its sender's other packets.
fn is_odd(reset: &Reset) -> bool {
    let (hops, usual) = reset.hops;
    usual.is_some_and(|usual| usual.abs_diff(hops) > HOPS)
}

/// Signs that somebody else has sent a RST.
fn forged(one: &Conversation, reset: &Reset) -> Option<Finding> {
    let (hops, usual) = reset.hops;
    let mut signs = Vec::new();
    if let Some(usual) = usual.filter(|_| is_odd(reset)) {
        signs.push(format!(
            "it has TTL {hops}, the {}'s other packets have {usual}",
            ENDS[reset.by]
        ));
    }
    if let Some(after) = reset.contradicted {
        signs.push(format!(
            "the {} goes on in packet {} at {} as if it had not sent it",
            ENDS[reset.by],
            after.packet,
            clock(after.at)
        ));
    }
    // Whoever is sent more after a RST answers with one: that is no sign.
    let is_other = |other: &&Reset| other.by != reset.by && other.hops.0 == hops;
    if !signs.is_empty()
        && one
            .resets
            .iter()
            .any(|other| is_other(&other) && is_odd(other))
    {
        signs.push("a RST with the same TTL goes the other way".to_owned());
    }
    let is_denied = reset.contradicted.is_some() && !reset.in_handshake;
    if !is_denied && (reset.in_handshake || !is_odd(reset)) {
        return None;
    }
    let first = format!(
        "packet {} at {} is a RST from the {}'s address: {}",
        reset.now.packet,
        clock(reset.now.at),
        ENDS[reset.by],
        signs.first()?
    );
    let mut evidence = vec![first];
    evidence.extend(signs.drain(1..));
    Some(Finding {
        name: "forged-reset",
        severity: Severity::Broken,
        cause: format!(
            "RST from a middlebox: it ends the connection in the name of the {}, who did not send it",
            ENDS[reset.by]
        ),
        evidence,
        packets: vec![reset.now.packet],
        source: "RFC 9293 §3.10.7.4, RFC 5961 §3",
        advice: "ask whoever runs firewalls, proxies and filters between this capture and that end; captures at \
                 both ends show who never sent it",
        weight: 98,
    })
}

/// RFC 9293 §3.5.1: one end knows of the connection, the other does not.
fn half_open(reset: &Reset) -> Option<Finding> {
    let answered = reset.answers?;
    if reset.in_handshake || reset.fins[reset.by] || reset.silence < SILENT {
        return None;
    }
    let by = ENDS[reset.by];
    Some(Finding {
        name: "half-open",
        severity: Severity::Broken,
        cause: format!("half-open connection: the {by} no longer knows it, and answers with RST"),
        evidence: vec![format!(
            "packet {} at {} is a RST with the number that packet {} acknowledges, as a host without the \
             connection sends it; the {by} had said nothing for {}, and no FIN",
            reset.now.packet,
            clock(reset.now.at),
            answered.packet,
            time(reset.silence)
        )],
        packets: vec![answered.packet, reset.now.packet],
        source: "RFC 9293 §3.5.1, §3.5.2",
        advice: "the host or its program was restarted, or an address moved to another host (failover, load \
                 balancer): connect again; keep-alives find it out sooner",
        weight: 92,
    })
}

/// An end gives up before both have said all.
fn aborted(reset: &Reset) -> Option<Finding> {
    let by = ENDS[reset.by];
    let other = 1 - reset.by;
    let unheard = reset.in_flight[other];
    if reset.fins == [true; 2] || (reset.fins[reset.by] && unheard == 0) {
        return None;
    }
    let state = match reset.fins {
        [false, false] => "nobody had said FIN".to_owned(),
        fins => format!("only the {} had said FIN", ENDS[usize::from(fins[1])]),
    };
    let lost = match unheard {
        0 => format!("nothing of the {} was on its way", ENDS[other]),
        count => format!("{} of the {} were on their way", bytes(count), ENDS[other]),
    };
    Some(Finding {
        name: "reset",
        severity: Severity::Minor,
        cause: format!("the {by} resets the connection"),
        evidence: vec![format!(
            "packet {} at {} is a RST: {state}, {lost}",
            reset.now.packet,
            clock(reset.now.at)
        )],
        packets: vec![reset.now.packet],
        source: "RFC 9293 §3.10.5, §3.6.1",
        advice: "a program that closes with bytes unread, or with SO_LINGER 0, does this; so does one that crashes",
        weight: 45,
    })
}
