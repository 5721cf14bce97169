//! Receivers that hold senders back, and senders that hold themselves back.

use std::time::Duration;

use super::{Finding, Severity};
use crate::conversation::Conversation;
use crate::window::Closed;
use crate::words::{ENDS, bytes, clock, rate, time, times};

/// A window that is closed for as long is one that stays closed.
const FOR_EVER: Duration = Duration::from_secs(5);
/// Short enough for a program that had something else to do.
const SHORT: Duration = Duration::from_millis(200);
/// Waits that are no accident.
const WAITS: u32 = 3;

pub(super) fn find(one: &Conversation, findings: &mut Vec<Finding>) {
    for side in 0..2 {
        let before = findings.len();
        findings.extend(stays_closed(one, side));
        if findings.len() == before {
            findings.extend(closed(one, side));
        }
        findings.extend(silly(one, side));
        if findings.len() == before {
            findings.extend(tiny(one, side));
        }
        findings.extend(waits(one, side));
    }
}

fn stays_closed(one: &Conversation, side: usize) -> Option<Finding> {
    let closed = one.sides[side].window.closed_now()?;
    let lasted = one.last.since(closed.began);
    if closed.probes < 2 && lasted < FOR_EVER {
        return None;
    }
    let (by, other) = (ENDS[side], ENDS[1 - side]);
    Some(Finding {
        name: "zero-window",
        severity: Severity::Broken,
        cause: format!("zero window for ever: the {by} closes its window and never opens it again"),
        evidence: vec![format!(
            "packet {} at {} announces a window of 0, and so does everything for {} until the end; the {other} \
             probes {} and is answered {}",
            closed.began.packet,
            clock(closed.began.at),
            time(lasted),
            times(closed.probes),
            times(closed.answers)
        )],
        packets: vec![closed.began.packet],
        source: "RFC 9293 §3.8.6.1",
        advice: "the program at that end does not read: look there for what it waits for",
        weight: 89,
    })
}

/// The window was closed, and opened again.
fn closed(one: &Conversation, side: usize) -> Option<Finding> {
    let window = &one.sides[side].window;
    let length = |closed: &Closed| closed.ended.unwrap_or(one.last).since(closed.began);
    let longest = window.closed.iter().max_by_key(|closed| length(closed))?;
    let total: Duration = window.closed.iter().map(length).sum();
    if total < SHORT {
        return None;
    }
    let (by, other) = (ENDS[side], ENDS[1 - side]);
    let opened = match longest.ended {
        Some(end) if longest.by_probe => {
            format!(
                "packet {} tells so in answer to a probe: an earlier update may have been lost",
                end.packet
            )
        }
        Some(end) => format!("packet {} opens it", end.packet),
        None => "it does not open before the end".to_owned(),
    };
    Some(Finding {
        name: "window-closed",
        severity: Severity::Slow,
        cause: format!(
            "the {by}'s window is closed for {} in all: its program reads too slowly for the {other}",
            time(total)
        ),
        evidence: vec![format!(
            "packet {} at {} announces a window of 0; after {} {opened}; {} in all",
            longest.began.packet,
            clock(longest.began.at),
            time(length(longest)),
            times(window.closed.len() as u32)
        )],
        packets: vec![longest.began.packet],
        source: "RFC 9293 §3.8.6.1",
        advice: "let the program read sooner, or give its socket a larger buffer (SO_RCVBUF, tcp_rmem)",
        weight: 62,
    })
}

/// RFC 9293 §3.8.6.2: the window opens in small steps, and small segments fill it.
fn silly(one: &Conversation, side: usize) -> Option<Finding> {
    let window = &one.sides[side].window;
    let mss = one.mss(1 - side);
    let first = window.first_small?;
    if window.small_steps < 8 || window.small_fills < 8 || window.small_steps * 3 < window.steps {
        return None;
    }
    let (by, other) = (ENDS[side], ENDS[1 - side]);
    let sender = &one.sides[1 - side];
    let mean = sender.payload / sender.data_segments.max(1);
    Some(Finding {
        name: "silly-window",
        severity: Severity::Slow,
        cause: format!(
            "silly window: the {by} opens its window in small steps, and the {other} fills each with a small segment"
        ),
        evidence: vec![format!(
            "{} of {} steps of the window, from packet {} at {} on, are smaller than an MSS ({mss}) and half of the \
             largest window ({}); {} segments fill them, {mean} bytes long on average",
            window.small_steps,
            window.steps,
            first.packet,
            clock(first.at),
            bytes(window.largest),
            window.small_fills
        )],
        packets: vec![first.packet],
        source: "RFC 9293 §3.8.6.2 (MUST-38, MUST-39), RFC 813",
        advice: "the receiver should wait until an MSS or half of its buffer is free, the sender until it can fill \
                 one; look for a stack, or a middlebox that writes windows, that does neither",
        weight: 72,
    })
}

/// The window holds less than the path.
fn tiny(one: &Conversation, side: usize) -> Option<Finding> {
    let window = &one.sides[side].window;
    let full = window.full;
    let sender = &one.sides[1 - side];
    let round_trip = one.round_trip()?;
    let lasted = sender.last_data?.since(sender.first_data?);
    // An update passes here, the sender reacts, and that passes.
    let waited = full.time + sender.answers.least() * full.times;
    let share = waited.as_secs_f64() / lasted.as_secs_f64().max(1e-6);
    let is_kept_small = sender.growth.largest >= window.largest.saturating_sub(one.mss(1 - side));
    if full.times < 8 || share < 0.5 || !is_kept_small || round_trip < Duration::from_millis(1) {
        return None;
    }
    let first = full.first?;
    let (by, other) = (ENDS[side], ENDS[1 - side]);
    Some(Finding {
        name: "small-window",
        severity: Severity::Slow,
        cause: format!(
            "tiny window: the {by} announces at most {}, so that the {other} can send {} at most over {}",
            bytes(window.largest),
            rate(window.largest, round_trip),
            time(round_trip)
        ),
        evidence: vec![format!(
            "the {other} fills the window {}, first in packet {} at {}, and waits for room during {:.0} % of the \
             time it sends",
            times(full.times),
            first.packet,
            clock(first.at),
            100.0 * share.min(1.0)
        )],
        packets: vec![first.packet],
        source: "RFC 9293 §3.8.6, RFC 7323 §2",
        advice: "give the receiving socket a larger buffer (SO_RCVBUF, tcp_rmem), and let window scaling pass if the \
                 handshake shows that it was not agreed on",
        weight: 60,
    })
}

/// RFC 896 against RFC 1122 §4.2.3.2.
fn waits(one: &Conversation, side: usize) -> Option<Finding> {
    let waits = one.sides[side].waits;
    let first = waits
        .first
        .filter(|_| waits.times >= WAITS && waits.times > waits.idle)?;
    let (by, other) = (ENDS[side], ENDS[1 - side]);
    Some(Finding {
        name: "nagle-delayed-ack",
        severity: Severity::Slow,
        cause: format!(
            "Nagle against delayed acknowledgments: small writes of the {by} wait for the {other}'s acknowledgments, \
             {} in all",
            time(waits.time)
        ),
        evidence: vec![format!(
            "{}, first with packet {} at {}, an acknowledgment comes {} late on average, and the {by} sends the rest \
             of its words right after it",
            times(waits.times),
            first.packet,
            clock(first.at),
            time(waits.time / waits.times.max(1))
        )],
        packets: vec![first.packet],
        source: "RFC 9293 §3.7.4, §3.8.6.3, RFC 896",
        advice: "write a message in one call, or set TCP_NODELAY",
        weight: 68,
    })
}
