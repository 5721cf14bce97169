//! What the application at the stack's end does, read off the recording.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use crate::conversation::Conversation;
use crate::packet::{ACK, RST, SYN};

/// One call of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// Writes these bytes of the recorded stream.
    Write(Range<usize>),
    /// Says that no more bytes follow.
    Shutdown,
    /// Resets the connection (by closing it, where it has not read everything).
    Reset,
}

/// A call and what must have happened first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) call: Call,
    /// Positions of the other end's that the recorded end had when it made the call.
    pub(crate) after: u64,
    /// The recorded time, where nothing but the application can have held the recorded end back.
    pub(crate) at: Option<Duration>,
}

/// The calls that explain what the recorded end said.
///
/// Bytes that follow others not yet acknowledged were held back by congestion or window, so they
/// belong to the write before; what the recorded end says with nothing in flight and a window to
/// say it in, its application said at that moment.
pub(crate) fn steps(conversation: &Conversation) -> VecDeque<Step> {
    let mut steps: VecDeque<Step> = VecDeque::new();
    let (mut next, mut acked, mut arrived) = (1, 1, 0);
    let (mut is_fin_said, mut is_reset, mut is_shut) = (false, false, false);
    for said in &conversation.said {
        if !said.ours {
            if !said.lost {
                acked = acked.max(said.ack.unwrap_or(0));
                is_shut |= said.tcp.window == 0 && !said.tcp.has(RST);
                arrived = arrived.max(said.end());
            }
            continue;
        }
        if said.tcp.has(SYN) {
            continue;
        }
        let after = if said.tcp.has(ACK) {
            said.ack.unwrap_or(0).min(arrived)
        } else {
            0
        };
        let at = (acked >= next && !is_shut).then_some(said.time);
        if said.tcp.has(RST) {
            // After FIN, a RST without ACK answers what came for a connection that is gone.
            if !is_reset && (!is_fin_said || said.tcp.has(ACK)) {
                steps.push_back(Step {
                    call: Call::Reset,
                    after,
                    at: Some(said.time),
                });
                is_reset = true;
            }
            continue;
        }
        let payload_end = said.seq + said.tcp.payload.len() as u64;
        if payload_end > next && !said.tcp.payload.is_empty() {
            let range = next as usize - 1..payload_end as usize - 1;
            push_write(&mut steps, range, after, at);
            next = payload_end;
            is_shut = false;
        }
        if conversation.ours.fin == Some(payload_end)
            && said.end() > payload_end
            && !is_fin_said
            && !is_reset
        {
            is_fin_said = true;
            steps.push_back(Step {
                call: Call::Shutdown,
                after,
                at,
            });
        }
    }
    steps
}

/// Adds a write, to the one before it where nothing tells them apart.
fn push_write(steps: &mut VecDeque<Step>, range: Range<usize>, after: u64, at: Option<Duration>) {
    match steps.back_mut() {
        Some(Step {
            call: Call::Write(held),
            after: before,
            ..
        }) if at.is_none() && *before == after => {
            held.end = range.end;
        }
        _ => steps.push_back(Step {
            call: Call::Write(range),
            after,
            at,
        }),
    }
}

/// When the recorded end's application began to read: where it had closed its window, at the
/// first sign of room afterwards.
pub(crate) fn reading_begins(conversation: &Conversation) -> Option<Duration> {
    let ours = conversation
        .said
        .iter()
        .filter(|said| said.ours && !said.tcp.has(SYN | RST));
    let mut after = ours.skip_while(|said| said.tcp.window != 0);
    after
        .find(|said| said.tcp.window != 0)
        .map(|said| said.time)
}
