//! A packet's comment: what it was for or what became of it, and the connection's variables.

use std::fmt::Write as _;
use std::time::Duration;

use ustack_tcp::State;
use ustack_tcp::observe::{Outcome, Packet, Record, Variables, What, Why};

use super::names;
use super::turn::Part;
use super::{Note, Noted};

/// Writes what is known of a frame to `text`; nothing, if nothing was noted.
///
/// Variables are those after the packet. Of segments that the core sent or took as one, each has
/// its own numbers.
pub fn comment(part: &Part<'_>, text: &mut String) {
    let Some((first, rest)) = part.notes.split_first() else {
        return;
    };
    match &first.what {
        Noted::Tcp(record) => {
            packet(record, part, text);
            // Only the last of several has brought about what follows.
            if part.index + 1 == part.count {
                for note in rest {
                    consequence(note, text);
                }
            }
            if part.index == 0 {
                before(record, part, text);
            }
        }
        Noted::Dropped(reason) => {
            let _ = write!(text, "dropped by IP: {reason:?}");
        }
        Noted::HandedOver(shard) => {
            let _ = write!(text, "handed over to shard {shard}");
        }
    }
}

/// Writes why `--impair` kept a packet from going on.
pub fn discarded(reason: &str, text: &mut String) {
    let _ = write!(text, "dropped by --impair: {reason}");
}

/// What happened to the flow before the packet: timers above all.
fn before(record: &Record, part: &Part<'_>, text: &mut String) {
    let mut is_first = true;
    for note in part.before {
        if let Noted::Tcp(earlier) = &note.what
            && earlier.flow == record.flow
        {
            if is_first {
                text.push_str("; before that");
                if part.left_out > 0 {
                    let _ = write!(text, ", {} earlier left out", part.left_out);
                }
            }
            is_first = false;
            consequence(note, text);
        }
    }
}

fn packet(record: &Record, part: &Part<'_>, text: &mut String) {
    match &record.what {
        What::Sent(packet, why) => {
            let mut now = record.now;
            let (_, after) = share(packet, part);
            if let Some(now) = &mut now
                && packet.len > 0
            {
                let is_new = !why.is_retransmission();
                now.in_flight = now.in_flight.saturating_sub(after);
                if is_new {
                    now.snd_nxt -= u64::from(after);
                } else {
                    now.resent = now.resent.saturating_sub(after);
                    now.lost += after;
                }
            }
            sent(record.state, *why, text);
            variables(now.as_ref(), text);
        }
        What::Received(packet, outcome) => {
            let mut now = record.now;
            let (own, after) = share(packet, part);
            let mut outcome = *outcome;
            if part.count > 1 {
                // They came as what is expected next, each of them.
                outcome.in_order = own;
                if let Some(now) = &mut now {
                    now.rcv_nxt -= u64::from(after);
                    now.rcv_wnd += after;
                    now.unread = now.unread.saturating_sub(after);
                }
            }
            let moves = |note: &Note| match &note.what {
                Noted::Tcp(record) => matches!(record.what, What::State { .. }),
                _ => false,
            };
            let is_news = part.notes.iter().any(moves);
            received(&outcome, is_news, text);
            let _ = write!(text, "; {}", record.state);
            variables(now.as_ref(), text);
        }
        _ => {}
    }
}

/// Payload of a frame that is one of several of one packet, and of those after it.
fn share(packet: &Packet, part: &Part<'_>) -> (u32, u32) {
    if part.count <= 1 {
        return (packet.len, 0);
    }
    let size = u32::from(packet.size);
    let start = (size * part.index).min(packet.len);
    let end = (start + size).min(packet.len);
    (end - start, packet.len - end)
}

fn sent(state: State, why: Why, text: &mut String) {
    let _ = write!(text, "{}", names::why(why));
    let _ = match why {
        Why::TimeoutRetransmit(count) => write!(text, " ×{count}"),
        Why::TailProbeNew => write!(text, " (new data)"),
        Why::TailProbeAgain => write!(text, " (again)"),
        _ => Ok(()),
    };
    let _ = write!(text, "; {state}");
}

/// `is_news`: it has changed the connection's state.
fn received(outcome: &Outcome, is_news: bool, text: &mut String) {
    let before = text.len();
    let mut say = |bytes: u32, what: &str| {
        if bytes > 0 {
            let comma = if text.len() > before { ", " } else { "" };
            let _ = write!(text, "{comma}{what} {bytes}");
        }
    };
    say(outcome.acked, "acknowledges");
    say(outcome.sacked, "reports by SACK");
    say(outcome.in_order, "accepted");
    say(outcome.out_of_order, "queued out of order");
    if outcome.dropped.is_none() {
        say(outcome.refused, "not taken");
    }
    let comma = if text.len() > before { ", " } else { "" };
    if let Some(reason) = outcome.dropped {
        let _ = write!(text, "{comma}dropped: {}", names::dropped(reason));
    } else if let Some(rtt) = outcome.rtt {
        let _ = write!(text, "{comma}RTT ");
        time(rtt, text);
    } else if text.len() == before {
        text.push_str(if is_news { "taken" } else { "nothing new" });
    }
}

fn consequence(note: &Note, text: &mut String) {
    let Noted::Tcp(record) = &note.what else {
        return;
    };
    text.push_str("; ");
    let _ = match record.what {
        What::State { from, reason } => {
            let _ = write!(text, "{from} → {}", record.state);
            match reason {
                Some(reason) => write!(text, " ({})", names::close(reason)),
                None => Ok(()),
            }
        }
        What::Lost { bytes } => write!(text, "{bytes} judged lost"),
        What::RecoveryBegun { by, until } => {
            write!(
                text,
                "recovery begins by {}, until {until}",
                names::evidence(by)
            )
        }
        What::Timer(timer) => {
            let (name, count) = names::timer(timer);
            let times = count.map(|count| format!(" ×{count}")).unwrap_or_default();
            write!(text, "{name} timer{times}")
        }
        What::RecoveryEnded => write!(text, "recovery ends"),
        What::RecoveryUndone => write!(text, "false alarm, window restored"),
        What::Reduced { cwnd, .. } => write!(text, "cwnd reduced from {cwnd}"),
        _ => Ok(()),
    };
}

fn variables(now: Option<&Variables>, text: &mut String) {
    let Some(now) = now else { return };
    let _ = write!(
        text,
        ", {}; snd una {} nxt {} wnd {}; rcv nxt {} wnd {}; flight {} = {} out",
        names::phase(now.phase),
        now.snd_una,
        now.snd_nxt,
        now.snd_wnd,
        now.rcv_nxt,
        now.rcv_wnd,
        now.in_flight,
        now.snd_nxt - now.snd_una,
    );
    for (bytes, sign, what) in [
        (now.sacked, '-', "sacked"),
        (now.lost, '-', "lost"),
        (now.dup_acked, '-', "by duplicate ACKs"),
        (now.twice, '+', "twice"),
    ] {
        if bytes > 0 {
            let _ = write!(text, " {sign} {bytes} {what}");
        }
    }
    let _ = write!(text, "; cwnd {} ssthresh ", now.cwnd);
    let _ = match now.ssthresh {
        u32::MAX => write!(text, "∞"),
        ssthresh => write!(text, "{ssthresh}"),
    };
    text.push_str("; srtt ");
    match now.srtt {
        Some(srtt) => {
            time(srtt.get(), text);
            text.push_str(" rttvar ");
            time(now.rttvar, text);
        }
        None => text.push('-'),
    }
    text.push_str(" RTO ");
    time(now.rto, text);
    if now.backoff > 0 {
        let _ = write!(text, " (×{} timeouts)", now.backoff);
    }
}

/// A time with three digits or so.
fn time(nanos: u64, text: &mut String) {
    let time = Duration::from_nanos(nanos);
    let _ = match nanos {
        0..1_000_000 => write!(text, "{:.0} µs", time.as_secs_f64() * 1e6),
        1_000_000..1_000_000_000 => write!(text, "{:.3} ms", time.as_secs_f64() * 1e3),
        _ => write!(text, "{:.3} s", time.as_secs_f64()),
    };
}
