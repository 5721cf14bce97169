//! Bytes that vanish: nothing of them arrives, or nobody says so.

use super::{Finding, Severity, is_established};
use crate::conversation::Conversation;
use crate::flight::Sent;
use crate::words::{ENDS, bytes, clock, many, time, times};

pub(super) fn find(one: &Conversation, findings: &mut Vec<Finding>) {
    for side in 0..2 {
        let found = large_vanish(one, side)
            .or_else(|| acknowledgments_vanish(one, side))
            .or_else(|| all_vanishes(one, side))
            .or_else(|| nobody_there(one, side));
        findings.extend(found);
    }
}

/// The first range that is sent over and over and never acknowledged.
fn stuck(one: &Conversation, side: usize) -> Option<&Sent> {
    let end = &one.sides[side];
    let peer = &one.sides[1 - side];
    let first = end.flight.first()?;
    let timeouts = end
        .repeats
        .current()
        .map_or(0, |episode| episode.timeouts + episode.probes);
    let is_stuck = first.times >= 3 || (first.times >= 2 && timeouts >= 2);
    (is_stuck && is_established(one) && !peer.window.is_closed()).then_some(first)
}

/// RFC 2923 §2.1: large packets vanish, and nobody tells the sender.
fn large_vanish(one: &Conversation, side: usize) -> Option<Finding> {
    let end = &one.sides[side];
    let peer = &one.sides[1 - side];
    let (size, first, since) = if let Some(shrunk) = end.shrunk.filter(|shrunk| shrunk.arrived) {
        (shrunk.from, shrunk.now, None)
    } else {
        let first = stuck(one, side)?;
        (first.wire, first.first, Some(first))
    };
    if size < 600 || end.arrived_wire + 40 >= size {
        return None;
    }
    // Small packets of the same sender arrive: bytes, or the acknowledgments that its peer needs.
    let small_pass = end.flight.una > 1 || end.arrived_wire > 0 || peer.flight.una > 1;
    let both_ways = peer.last.is_some_and(|last| last.packet > first.packet) || since.is_none();
    let is_acknowledged = peer.flight.size() == 0 && peer.bytes() > 0;
    if !small_pass || !(both_ways || is_acknowledged) {
        return None;
    }
    let told = one
        .icmp
        .iter()
        .any(|error| error.about == side && error.mtu.is_some());
    let mut evidence = vec![match since {
        Some(range) => format!(
            "packet {} at {} ({size} bytes) is sent {} and never arrives; the largest of the {}'s packets \
             with data that did has {} bytes",
            first.packet,
            clock(first.at),
            times(range.times),
            ENDS[side],
            end.arrived_wire
        ),
        None => format!(
            "packets of {size} bytes never arrive; from packet {} at {} on smaller ones are sent ({} bytes), and \
             these do",
            first.packet,
            clock(first.at),
            end.shrunk.map_or(0, |shrunk| shrunk.to)
        ),
    }];
    if !told {
        evidence
            .push("no ICMP error (Fragmentation Needed, Packet Too Big) passes here".to_owned());
    }
    Some(Finding {
        name: "mtu-black-hole",
        severity: Severity::Broken,
        cause: format!(
            "MTU black hole: large packets of the {} vanish, small ones arrive",
            ENDS[side]
        ),
        evidence,
        packets: vec![first.packet],
        source: "RFC 2923 §2.1, RFC 4821, RFC 9293 §3.7.2",
        advice: "let ICMP 3/4 and ICMPv6 type 2 pass the firewalls, or clamp the MSS at the router with the \
                 smaller MTU (iptables … TCPMSS --clamp-mss-to-pmtu)",
        weight: 91,
    })
}

/// What arrives is acknowledged, and the sender goes on repeating it.
fn acknowledgments_vanish(one: &Conversation, side: usize) -> Option<Finding> {
    let end = &one.sides[side];
    let repeats = &end.repeats;
    let since = repeats.unheard_since.filter(|_| repeats.unheard >= 3)?;
    // Whoever says something else has heard something.
    if end.last != repeats.unheard_last {
        return None;
    }
    Some(Finding {
        name: "acknowledgments-lost",
        severity: Severity::Broken,
        cause: format!(
            "black hole on the way back: the {}'s acknowledgments do not reach the {}",
            ENDS[1 - side],
            ENDS[side]
        ),
        evidence: vec![format!(
            "from packet {} at {} on the {} repeats {} what was acknowledged here already, and sends nothing new",
            since.packet,
            clock(since.at),
            ENDS[side],
            times(repeats.unheard)
        )],
        packets: vec![since.packet],
        source: "RFC 9293 §3.8.1, RFC 6298 §5",
        advice: "follow the way from this capture to the sender: a router or firewall drops what comes back \
                 (asymmetric routes, lost state of a NAT)",
        weight: 86,
    })
}

/// Nothing arrives any more.
fn all_vanishes(one: &Conversation, side: usize) -> Option<Finding> {
    let end = &one.sides[side];
    let peer = &one.sides[1 - side];
    let first = stuck(one, side)?;
    let heard = peer.last.filter(|last| last.packet > first.first.packet);
    // Whoever speaks without acknowledging does not get what is sent to it.
    if heard.is_some() && peer.repeats.segments == 0 && end.flight.una > 1 {
        return None;
    }
    let is_fresh = end.flight.una <= 1 && peer.bytes() == 0;
    let when = if is_fresh {
        "after the handshake nothing".to_owned()
    } else {
        format!("from {} on nothing", clock(first.first.at))
    };
    let last = one.last;
    let mut evidence = vec![format!(
        "packet {} at {} ({}) is sent {} until {}, and never acknowledged",
        first.first.packet,
        clock(first.first.at),
        bytes(first.end - first.start),
        times(first.times),
        clock(first.last.at)
    )];
    evidence.push(match peer.last {
        Some(heard) if heard.packet > first.first.packet => format!(
            "the {} is alive, and repeats what it has to say itself, last in packet {}",
            ENDS[1 - side],
            heard.packet
        ),
        Some(heard) => format!(
            "the {} is last heard in packet {} at {}, {} before the end",
            ENDS[1 - side],
            heard.packet,
            clock(heard.at),
            time(last.since(heard))
        ),
        None => format!("the {} is never heard here", ENDS[1 - side]),
    });
    Some(Finding {
        name: "black-hole",
        severity: Severity::Broken,
        cause: format!(
            "black hole: {when} that the {} sends is answered",
            ENDS[side]
        ),
        evidence,
        packets: vec![first.first.packet, first.last.packet],
        source: "RFC 9293 §3.8.3 (R1, R2), RFC 1122 §4.2.3.5",
        advice: "capture at the other end to see whether packets arrive there: a firewall, NAT or route on the \
                 way drops them, or the host is gone",
        weight: 88,
    })
}

/// Keep-alives that nobody answers.
fn nobody_there(one: &Conversation, side: usize) -> Option<Finding> {
    let end = &one.sides[side];
    if end.unanswered < 2 {
        return None;
    }
    let last = end.keepalives.last?;
    Some(Finding {
        name: "peer-gone",
        severity: Severity::Broken,
        cause: format!("the {} is gone: keep-alives get no answer", ENDS[1 - side]),
        evidence: vec![format!(
            "the last {} of the {} get none, up to packet {} at {}",
            many(end.unanswered, "keep-alive"),
            ENDS[side],
            last.packet,
            clock(last.at)
        )],
        packets: vec![last.packet],
        source: "RFC 9293 §3.8.4",
        advice: "the host was switched off or lost its network without a word, or a NAT or firewall has \
                 forgotten the connection: make keep-alives more frequent than its timeout",
        weight: 87,
    })
}
