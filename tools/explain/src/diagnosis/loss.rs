//! Retransmissions: those that mended a loss, and those that were for nothing.

use super::{Finding, Severity};
use crate::conversation::Conversation;
use crate::repeats::{Cause, Episode};
use crate::story::shown_by;
use crate::words::{ENDS, bytes, clock, many, time};

pub(super) fn find(one: &Conversation, findings: &mut Vec<Finding>) {
    for side in 0..2 {
        findings.extend(spurious_timeout(one, side));
        findings.extend(reordering(one, side));
        findings.extend(refused_as_too_big(one, side));
        findings.extend(loss(one, side));
    }
}

fn proof(episode: &Episode) -> String {
    match episode.proof {
        Some((proof, at)) => {
            format!(
                "packet {} at {} shows that it was needless: {}",
                at.packet,
                clock(at.at),
                shown_by(proof)
            )
        }
        None => String::new(),
    }
}

/// RFC 5682, RFC 3522: the timer ran out, and nothing was lost.
fn spurious_timeout(one: &Conversation, side: usize) -> Option<Finding> {
    let episodes = &one.sides[side].repeats.episodes;
    let spurious = || {
        episodes
            .iter()
            .filter(|one| one.needless[0] > 0 && one.signals == 0)
    };
    let first = spurious().next()?;
    let by = ENDS[side];
    let count = spurious().count() as u32;
    Some(Finding {
        name: "spurious-timeout",
        severity: Severity::Slow,
        cause: format!(
            "spurious retransmission timeout: the {by}'s timer ran out though nothing was lost, as acknowledgments \
             were late"
        ),
        evidence: vec![
            format!(
                "packet {} at {} repeats {}..{} of packet {} after {}; {}",
                first.began.packet,
                clock(first.began.at),
                first.range.0,
                first.range.1,
                first.sent.packet,
                time(first.waited),
                proof(first)
            ),
            format!(
                "{} in all, {} repeated",
                many(count, "such timeout"),
                bytes(first.bytes)
            ),
        ],
        packets: vec![first.began.packet],
        source: "RFC 5682 §1, RFC 3522, RFC 6298 §5",
        advice: "look for what delays packets by more than the timer (a radio link, a full queue, a sleeping \
                 receiver); F-RTO and timestamps let the sender undo it",
        weight: 76,
    })
}

/// Segments overtake each other, and the sender takes that for loss.
fn reordering(one: &Conversation, side: usize) -> Option<Finding> {
    let end = &one.sides[side];
    let episodes = &end.repeats.episodes;
    let fooled = |one: &&Episode| one.needless[1] > 0 && one.needless[1] * 2 >= one.signals;
    let first = episodes.iter().find(fooled)?;
    let all = episodes.iter().filter(fooled);
    let needless: u32 = all.map(|one| one.needless[1]).sum();
    let signals: u32 = episodes.iter().map(|one| one.signals).sum();
    // One duplicate among many real losses is no reordering.
    if needless * 3 < signals {
        return None;
    }
    let by = ENDS[side];
    let packet = first.needless_packet.unwrap_or(first.began.packet);
    let mut evidence = vec![format!(
        "packet {packet} repeats what SACK or duplicate acknowledgments made look lost; {}",
        proof(first)
    )];
    if let Some(seen) = end.reordered.first {
        evidence.push(format!(
            "{} came by here after later ones, the first in packet {}, by {} at most",
            many(end.reordered.times, "segment"),
            seen.packet,
            time(end.reordered_by)
        ));
    }
    evidence.push(format!(
        "{needless} of {} were needless",
        many(signals, "fast retransmission")
    ));
    Some(Finding {
        name: "reordering",
        severity: Severity::Slow,
        cause: format!(
            "reordering taken for loss: segments of the {by} overtake each other, and it repeats what was only late"
        ),
        evidence,
        packets: vec![packet],
        source: "RFC 8985 §6.2, RFC 4653, RFC 2883",
        advice: "look for a path with several ways (link aggregation, per-packet load balancing, radio \
                 retransmission); RACK adapts to it, three duplicate acknowledgments do not",
        weight: 74,
    })
}

/// RFC 1191, RFC 8201: a router tells that a packet is too big, and the sender cuts it smaller.
fn refused_as_too_big(one: &Conversation, side: usize) -> Option<Finding> {
    let error = one
        .icmp
        .iter()
        .find(|error| error.about == side && error.mtu.is_some())?;
    let mtu = error.mtu.unwrap_or_default();
    let end = &one.sides[side];
    Some(Finding {
        name: "path-mtu",
        severity: Severity::Minor,
        cause: format!(
            "path MTU discovery: a router takes no packets larger than {mtu} bytes, and the {} has to find out",
            ENDS[side]
        ),
        evidence: vec![format!(
            "packet {} at {} is an ICMP error that names it; {} sent again",
            error.now.packet,
            clock(error.now.at),
            many(end.repeats.segments, "segment")
        )],
        packets: vec![error.now.packet],
        source: "RFC 1191 §3, RFC 8201 §4",
        advice: "this is how it should work; a smaller MTU at the sender saves the first round trip",
        weight: 44,
    })
}

/// Something was lost, and mended.
fn loss(one: &Conversation, side: usize) -> Option<Finding> {
    let end = &one.sides[side];
    let real = |it: &&Episode| it.segments() > it.needless() && it.cause != Cause::TooBig;
    let first = end.repeats.episodes.iter().find(real)?;
    let needed = |one: &Episode| u64::from(one.segments() - one.needless().min(one.segments()));
    let lost: u64 = end.repeats.episodes.iter().filter(real).map(needed).sum();
    let timeouts: u32 = end
        .repeats
        .episodes
        .iter()
        .filter(real)
        .map(|one| one.timeouts)
        .sum();
    let waited: std::time::Duration = (end.repeats.episodes.iter().filter(real))
        .filter(|one| one.cause == Cause::Timeout)
        .map(|one| one.waited)
        .sum();
    let share = 100.0 * lost as f64 / end.data_segments.max(1) as f64;
    let by = ENDS[side];
    let how = if timeouts > 0 {
        format!(
            "{} by timeout, which took {}",
            many(timeouts, "repetition"),
            time(waited)
        )
    } else {
        "all mended without a timeout".to_owned()
    };
    let place = if end.lost_before * 2 > lost {
        "before it came by here"
    } else {
        "after it came by here"
    };
    Some(Finding {
        name: "loss",
        severity: Severity::Slow,
        cause: format!(
            "loss: {lost} of {} of the {by} had to be sent again ({share:.1} %)",
            many(end.data_segments, "data segment")
        ),
        evidence: vec![format!(
            "the first, {}..{} of packet {}, was lost {place} and is repeated in packet {} at {}; {how}",
            first.range.0,
            first.range.1,
            first.sent.packet,
            first.began.packet,
            clock(first.began.at)
        )],
        packets: vec![first.began.packet],
        source: "RFC 5681 §3, RFC 6675, RFC 8985",
        advice: "losses in bursts at a full rate are congestion; single ones at any rate are a bad link",
        weight: if timeouts > 0 { 52 } else { 50 },
    })
}
