//! Who collects the records: what a flow looked like before and after tells what has happened.

use alloc::vec::Vec;

use crate::connection::State;
use crate::error::{CloseReason, Dropped};
use crate::segment::{Flags, FlowKey, Options, Segment, TxMeta};
use crate::send::Ever;
use crate::seq::{WindowScale, WireWindow};
use crate::time::Instant;

use super::{Blocks, Evidence, Outcome, Packet, Record, Timer, Variables, What, Why};

/// Records that wait for [`Tcp::take_records`](crate::Tcp::take_records); more are dropped and
/// counted. A turn makes some hundreds, unless thousands of timers fire at once.
const MAX_RECORDS: usize = 8192;

/// What a flow looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) state: State,
    /// How it ended.
    pub(crate) reason: Option<CloseReason>,
    /// Past the handshake.
    pub(crate) connection: Option<ConnectionView>,
}

/// What a connection looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionView {
    pub(crate) now: Variables,
    /// The controller's window, whatever that of a recovery is.
    pub(crate) cwnd: u32,
    pub(crate) ever: Ever,
    /// The last round trip measured, and how many there were.
    pub(crate) rtt: (u64, u32),
    /// Where the recovery under way ends, and what began it.
    pub(crate) recovery: Option<(u64, Evidence)>,
    /// False alarms so far.
    pub(crate) undone: u8,
    /// How the peer's window field is scaled.
    pub(crate) peer_scale: WindowScale,
}

impl View {
    /// No connection.
    pub(crate) const NONE: Self = Self::of(State::Closed);

    /// A flow of which no more is known.
    pub(crate) const fn of(state: State) -> Self {
        Self {
            state,
            reason: None,
            connection: None,
        }
    }

    /// A handshake under way, begun here or not.
    pub(crate) const fn opening(is_answer: bool) -> Self {
        Self::of(if is_answer {
            State::SynReceived
        } else {
            State::SynSent
        })
    }

    pub(crate) const fn is_connection(&self) -> bool {
        self.connection.is_some()
    }

    fn now(&self) -> Option<Variables> {
        self.connection.map(|connection| connection.now)
    }
}

impl Packet {
    pub(crate) fn sent(meta: &TxMeta<'_>) -> Self {
        let size = meta
            .gso_size
            .map_or(meta.payload_len, |size| size.get().into());
        Self {
            seq: meta.segment.seq,
            ack: meta.segment.ack,
            flags: meta.segment.flags,
            len: meta.payload_len,
            segments: meta.payload_len.div_ceil(size.max(1)).max(1) as u16,
            size: size as u16,
            window: meta.segment.window.0.into(),
            sack: blocks(&meta.segment.options),
        }
    }

    /// `segments` that were taken for one, `len` bytes in all.
    pub(crate) fn received(segment: &Segment, segments: u32, len: u32) -> Self {
        let size = (segment.payload.len() as u32).min(segment.mss.get().into());
        Self {
            seq: segment.seq,
            ack: segment.ack,
            flags: segment.flags,
            len,
            segments: segments as u16,
            size: size as u16,
            window: segment.window.0.into(),
            sack: blocks(&segment.options),
        }
    }

    /// SEG.LEN: payload, SYN and FIN counted.
    const fn sequence_len(&self) -> u32 {
        let syn = self.flags.contains(Flags::SYN) as u32;
        self.len + syn + self.flags.contains(Flags::FIN) as u32
    }

    /// The same with its window field scaled, as all but a SYN's is.
    const fn scaled(mut self, scale: WindowScale) -> Self {
        if !self.flags.contains(Flags::SYN) {
            self.window = WireWindow(self.window as u16).bytes(scale);
        }
        self
    }
}

fn blocks(options: &Options) -> Blocks {
    match options {
        Options::Segment(options) => Blocks::new(&options.sack),
        Options::Syn(_) => Blocks::new(&[]),
    }
}

/// Collects records.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    records: Vec<Record>,
    dropped: u64,
}

impl Observer {
    /// Moves what there is to `into`; returns how many records have been dropped since the last
    /// time.
    pub(crate) fn take(&mut self, into: &mut Vec<Record>) -> u64 {
        if into.is_empty() {
            core::mem::swap(into, &mut self.records);
        } else {
            into.append(&mut self.records);
        }
        core::mem::take(&mut self.dropped)
    }

    fn push(&mut self, at: Instant, flow: &FlowKey, what: What, view: &View) {
        if self.records.len() >= MAX_RECORDS {
            self.dropped += 1;
            return;
        }
        self.records.push(Record {
            at,
            flow: *flow,
            what,
            state: view.state,
            now: view.now(),
        });
    }

    /// A segment left; `view` is what its flow looks like since.
    pub(crate) fn on_sent(
        &mut self,
        at: Instant,
        flow: &FlowKey,
        packet: Packet,
        why: Why,
        view: &View,
    ) {
        let scale = view
            .connection
            .map_or(WindowScale::default(), |connection| {
                connection.now.window_scale
            });
        self.push(at, flow, What::Sent(packet.scaled(scale), why), view);
    }

    /// A segment arrived.
    pub(crate) fn on_received(
        &mut self,
        at: Instant,
        flow: &FlowKey,
        packet: Packet,
        dropped: Option<Dropped>,
        (before, after): (&View, &View),
    ) {
        let known = after.connection.or(before.connection);
        let packet = packet.scaled(known.map(|known| known.peer_scale).unwrap_or_default());
        let outcome = outcome(&packet, dropped, before, after);
        self.push(at, flow, What::Received(packet, outcome), after);
        self.compare(at, flow, before, after);
    }

    /// A timer fired.
    pub(crate) fn on_timer(&mut self, at: Instant, flow: &FlowKey, timer: Timer, view: &View) {
        self.push(at, flow, What::Timer(timer), view);
    }

    /// Tells what is different.
    pub(crate) fn compare(&mut self, at: Instant, flow: &FlowKey, before: &View, after: &View) {
        if let (Some(old), Some(new)) = (&before.connection, &after.connection)
            && after.state != State::Closed
        {
            self.compare_connection(at, flow, (old, new), after);
        }
        if before.state != after.state {
            let (from, reason) = (before.state, after.reason);
            self.push(at, flow, What::State { from, reason }, after);
        }
    }

    fn compare_connection(
        &mut self,
        at: Instant,
        flow: &FlowKey,
        (old, new): (&ConnectionView, &ConnectionView),
        view: &View,
    ) {
        let bytes = new.ever.lost.wrapping_sub(old.ever.lost);
        if bytes > 0 {
            self.push(at, flow, What::Lost { bytes }, view);
        }
        let undone = old.undone != new.undone;
        if undone {
            self.push(at, flow, What::RecoveryUndone, view);
        }
        let over = old
            .recovery
            .is_some_and(|(until, _)| new.now.snd_una >= until);
        if over && !undone {
            self.push(at, flow, What::RecoveryEnded, view);
        }
        if let Some((until, by)) = new.recovery.filter(|_| old.recovery != new.recovery) {
            self.push(at, flow, What::RecoveryBegun { by, until }, view);
        }
        let (cwnd, ssthresh) = (old.cwnd, old.now.ssthresh);
        if new.cwnd < cwnd || new.now.ssthresh < ssthresh {
            self.push(at, flow, What::Reduced { cwnd, ssthresh }, view);
        }
    }
}

/// What became of a segment, from what its flow looked like before and after.
fn outcome(packet: &Packet, dropped: Option<Dropped>, before: &View, after: &View) -> Outcome {
    let (Some(old), Some(new)) = (&before.connection, &after.connection) else {
        // It opened its connection, or there is none.
        let began = after.connection.filter(|_| before.connection.is_none());
        let in_order = began.map_or(0, |began| {
            let first = began.now.received(packet.seq);
            began.now.rcv_nxt.saturating_sub(first.max(1)) as u32
        });
        return Outcome {
            in_order: in_order.min(packet.len + u32::from(packet.flags.contains(Flags::FIN))),
            dropped,
            ..Outcome::default()
        };
    };
    let in_order = (new.now.rcv_nxt - old.now.rcv_nxt) as u32;
    let kept = (in_order + new.now.out_of_order).saturating_sub(old.now.out_of_order);
    Outcome {
        in_order,
        out_of_order: new.now.out_of_order.saturating_sub(old.now.out_of_order),
        refused: packet.sequence_len().saturating_sub(kept),
        acked: (new.now.snd_una - old.now.snd_una) as u32,
        sacked: new.ever.sacked.wrapping_sub(old.ever.sacked),
        rtt: (old.rtt.1 != new.rtt.1).then_some(new.rtt.0),
        dropped,
    }
}
