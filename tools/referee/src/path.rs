//! What ICMP errors tell an end of its path.

use std::time::Duration;

use crate::conversation::Conversation;
use crate::end::{End, Sight};
use crate::judge::{Faults, Seen};
use crate::message::Quote;
use crate::position::position;
use crate::rule::Rule;

/// A larger MTU may be tried again after this (RFC 1191 §6.3).
const AGE: Duration = Duration::from_secs(5 * 60);
/// What a near end may have sent before it knew.
const CROSSING: Duration = Duration::from_millis(50);

/// An MTU, and when it was heard of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PathMtu {
    mtu: usize,
    pub(crate) since: Duration,
}

impl Conversation {
    /// An ICMP error reaches the end that it quotes.
    pub(crate) fn on_error(&mut self, now: Duration, quote: &Quote) {
        let side = self.side(quote.source);
        let (end, _) = self.pair(side);
        end.timer.restart();
        let Some(isn) = end.isn else {
            return;
        };
        // RFC 5927 §4.1: an end believes what quotes something in flight.
        let seq = position(isn, end.sent, quote.seq);
        let in_flight = end.acked <= seq && seq < end.sent;
        // Linux's min_pmtu; RFC 8200 §5.
        let minimum = if quote.source.is_ipv4() { 552 } else { 1280 };
        if let Some(mtu) = quote.mtu.filter(|&mtu| in_flight && mtu >= minimum) {
            end.path = Some(PathMtu { mtu, since: now });
        }
    }
}

impl End {
    /// Bytes leave in a packet that fits the path.
    pub(crate) fn check_path(&self, seen: &Seen<'_>, faults: &mut Faults) {
        let patience = match self.sight {
            Sight::Exact => Duration::ZERO,
            Sight::Near => CROSSING,
            Sight::Passing => return,
        };
        let Some(PathMtu { mtu, since }) = self.path else {
            return;
        };
        let age = seen.now.saturating_sub(since);
        let length = seen.tcp.length;
        if length > mtu && !seen.tcp.may_fragment && (patience..AGE).contains(&age) {
            faults.push(
                Rule::PathMtuExceeded,
                format!("is {length} bytes long, the path takes {mtu}"),
            );
        }
    }
}
