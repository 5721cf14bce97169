//! Conversations that do not begin, or begin late.

use super::{Finding, Severity};
use crate::conversation::{Began, Conversation};
use crate::words::{clock, time, times};

pub(super) fn find(one: &Conversation, findings: &mut Vec<Finding>) {
    if one.began != Began::Syn {
        return;
    }
    findings.extend(refused(one));
    findings.extend(unreachable(one));
    if one.resets.is_empty() {
        findings.extend(unanswered(one));
        findings.extend(unfinished(one));
    }
    findings.extend(syn_lost(one));
}

fn refused(one: &Conversation) -> Option<Finding> {
    let reset = one
        .resets
        .iter()
        .find(|reset| reset.in_handshake && reset.by == 1)?;
    if one.sides[1].syn_count > 0 {
        return None;
    }
    Some(Finding {
        name: "refused",
        severity: Severity::Broken,
        cause: "the server refuses: nobody listens on this port, or a firewall answers for it"
            .to_owned(),
        evidence: vec![format!(
            "the SYN of packet {} is answered by a RST in packet {}, {} later",
            one.first.packet,
            reset.now.packet,
            time(reset.now.since(one.first))
        )],
        packets: vec![one.first.packet, reset.now.packet],
        source: "RFC 9293 §3.5.2",
        advice: "start the server, or check address and port; ss -ltn on the server lists what listens",
        weight: 95,
    })
}

/// ICMP says that there is no way.
fn unreachable(one: &Conversation) -> Option<Finding> {
    let is_hard = |error: &&crate::conversation::Icmp| {
        error.mtu.is_none() && error.kind.0 == if error.is_v6 { 1 } else { 3 }
    };
    let error = one.icmp.iter().find(is_hard)?;
    if one.established.is_some() && one.sides.iter().all(|side| side.fin.is_some()) {
        return None;
    }
    Some(Finding {
        name: "unreachable",
        severity: Severity::Broken,
        cause: "the network says that the other end cannot be reached".to_owned(),
        evidence: vec![format!(
            "packet {} at {} is an ICMP error of type {}, code {}",
            error.now.packet,
            clock(error.now.at),
            error.kind.0,
            error.kind.1
        )],
        packets: vec![error.now.packet],
        source: "RFC 9293 §3.9.2.2, RFC 1122 §3.2.2.1",
        advice: "check routes, the address, and whether the host is up; a firewall may send this, too",
        weight: 96,
    })
}

fn unanswered(one: &Conversation) -> Option<Finding> {
    let [client, server] = &one.sides;
    // Whoever says more than SYN was answered, seen or not.
    if server.segments > 0 || client.segments > u64::from(client.syn_count) {
        return None;
    }
    let last = client.syns.last()?;
    Some(Finding {
        name: "no-answer",
        severity: Severity::Broken,
        cause: "no answer to the SYN: the host is down, or a firewall drops it".to_owned(),
        evidence: vec![format!(
            "{} sent {} within {}, from packet {} on, and nothing comes back",
            if client.syn_count == 1 {
                "a SYN is"
            } else {
                "SYNs are"
            },
            times(client.syn_count),
            time(last.since(one.first)),
            one.first.packet
        )],
        packets: client.syns.iter().map(|syn| syn.packet).collect(),
        source: "RFC 9293 §3.8.3, RFC 6298 §2",
        advice: "check the address and the firewalls on the way; a capture at the server tells whether \
                 SYNs arrive",
        weight: 95,
    })
}

fn unfinished(one: &Conversation) -> Option<Finding> {
    let server = &one.sides[1];
    if one.established.is_some() || server.syn_count == 0 {
        return None;
    }
    let last = server.syns.last()?;
    Some(Finding {
        name: "handshake-unfinished",
        severity: Severity::Broken,
        cause: "the handshake is never finished: the server's SYN gets no acknowledgment"
            .to_owned(),
        evidence: vec![format!(
            "the server sends its SYN {}, last in packet {} at {}; the client acknowledges none of them",
            times(server.syn_count),
            last.packet,
            clock(last.at)
        )],
        packets: server.syns.iter().map(|syn| syn.packet).collect(),
        source: "RFC 9293 §3.5",
        advice: "the way back is broken, or the client's SYN came from a forged address (a SYN flood)",
        weight: 94,
    })
}

/// A SYN had to be sent again.
fn syn_lost(one: &Conversation) -> Option<Finding> {
    let [client, server] = &one.sides;
    let established = one.established?;
    // Both may open at once: then each sends a SYN, and a SYN,ACK.
    if server.opened || client.syn_count < 2 && server.syn_count < 2 {
        return None;
    }
    let answer = server.syns.first()?;
    let before = client
        .syns
        .iter()
        .filter(|syn| syn.packet < answer.packet)
        .count() as u32;
    let (what, evidence) = if before > 1 {
        (
            "the client's SYN is lost",
            format!(
                "the SYN of packet {} gets no answer and is sent {}; packet {} answers {} after the first",
                one.first.packet,
                times(client.syn_count),
                answer.packet,
                time(answer.since(one.first))
            ),
        )
    } else {
        (
            "the server's SYN,ACK or its acknowledgment is lost",
            format!(
                "the SYN,ACK of packet {} is sent {}, the client's SYN {}; packet {} acknowledges it, {} \
             after the first SYN",
                answer.packet,
                times(server.syn_count),
                times(client.syn_count),
                established.packet,
                time(established.since(one.first))
            ),
        )
    };
    Some(Finding {
        name: "syn-lost",
        severity: Severity::Slow,
        cause: format!(
            "SYN loss: {what}, which makes the connection {} late",
            time(
                established
                    .since(one.first)
                    .saturating_sub(one.round_trip().unwrap_or_default())
            )
        ),
        evidence: vec![evidence],
        packets: client
            .syns
            .iter()
            .chain(&server.syns)
            .map(|syn| syn.packet)
            .collect(),
        source: "RFC 9293 §3.8.1, RFC 6298 §2.1",
        advice: "look for a full accept queue (ss -ltn, nstat TcpExtListenDrops), a rate limit for SYNs, \
                 or loss on the path",
        weight: 90,
    })
}
