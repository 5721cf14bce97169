//! Segments that are wrong in themselves: options, checksums, rules of the wire.

use referee::Violation;

use super::{Finding, Severity};
use crate::conversation::Conversation;
use crate::side::Side;
use crate::words::{ENDS, clock, many};

/// Violations that are told; the rest is counted.
const TOLD: usize = 3;

pub(super) fn find(one: &Conversation, findings: &mut Vec<Finding>) {
    for side in 0..2 {
        findings.extend(bad_options(one, side));
        findings.extend(damaged(one, side));
    }
    findings.extend(rules(one));
}

fn bad_options(one: &Conversation, side: usize) -> Option<Finding> {
    let end = &one.sides[side];
    let first = end.bad_options.first?;
    let count = end.bad_options.times;
    let what = if end.bad_syn { "SYN" } else { "segment" };
    let mut evidence = vec![format!(
        "packet {} at {}: {}; {} in all",
        first.packet,
        clock(first.at),
        end.bad_option,
        many(count, "such segment")
    )];
    if end.bad_syn && end.syn_count > 1 {
        evidence.push(format!("the SYN is sent {} times", end.syn_count));
    }
    Some(Finding {
        name: "corrupted-option",
        severity: Severity::Broken,
        cause: format!("corrupted TCP options in a {what} from the {}", ENDS[side]),
        evidence,
        packets: vec![first.packet],
        source: "RFC 9293 §3.1 MUST-7",
        advice: "a stack would not write this: look for a middlebox that rewrites options between \
                 the ends, such as a firewall that clamps the MSS or strips options",
        weight: 100,
    })
}

fn damaged(one: &Conversation, side: usize) -> Option<Finding> {
    let end = &one.sides[side];
    let first = end.damaged.first?;
    // A device that sums for the stack leaves all of them unfinished, and they arrive.
    if u64::from(end.damaged.times) * 2 > end.segments || end.repeats.segments == 0 {
        return None;
    }
    Some(Finding {
        name: "damaged",
        severity: Severity::Slow,
        cause: format!("segments of the {} are damaged on their way", ENDS[side]),
        evidence: vec![format!(
            "{} of {} have a wrong checksum, the first is packet {} at {}; a receiver drops them, \
             and {} sent again",
            end.damaged.times,
            many(end.segments, "segment"),
            first.packet,
            clock(first.at),
            many(end.repeats.segments, "segment")
        )],
        packets: vec![first.packet],
        source: "RFC 9293 §3.1 MUST-3",
        advice: "look for a faulty cable, radio link, memory or device before the capture",
        weight: 82,
    })
}

fn rules(one: &Conversation) -> Option<Finding> {
    let violations = &one.rules.violations;
    let first = violations.first()?;
    // What the recorder missed looks like acknowledgments of nothing, and gaps.
    let is_whole = |side: &Side| side.segments > 0 && side.flight.missed == 0;
    if !one.sides.iter().all(is_whole) {
        return None;
    }
    let by = one.side(first.flow.source);
    let describe = |violation: &Violation| {
        let Violation { packet, what, .. } = violation;
        let at = clock(violation.at);
        let name = ENDS[one.side(violation.flow.source)];
        format!("packet {packet} at {at}: the {name}'s segment {what}")
    };
    let mut evidence = vec![describe(first)];
    let more = violations.iter().take(TOLD).skip(1);
    evidence.extend(more.map(|it| format!("{} ({}, {})", describe(it), it.rule, it.rule.source())));
    if one.rules.count > TOLD {
        evidence.push(format!(
            "{} in all",
            many(one.rules.count as u64, "broken rule")
        ));
    }
    Some(Finding {
        name: "broken-rule",
        severity: Severity::Minor,
        cause: format!("the {} breaks a rule of the wire: {}", ENDS[by], first.rule),
        evidence,
        packets: violations.iter().take(TOLD).map(|one| one.packet).collect(),
        source: first.rule.source(),
        advice: "the sender's stack is at fault, or something between it and the capture",
        weight: 40,
    })
}
