//! Who collects the records: what a flow looked like before and after tells what has happened.

#![expect(
    clippy::inline_always,
    reason = "what is read goes where it is compared or written, not to memory in between"
)]

use crate::config::Config;
use crate::connection::{Connection, Resting, State};
use crate::error::{CloseReason, Dropped};
use crate::segment::{Flags, FlowKey, Options, Segment, TxMeta};
use crate::send::Ever;
use crate::seq::{SeqNum, WindowScale, WireWindow};
use crate::time::Instant;

use super::{Blocks, Evidence, Outcome, Packed, Packet, Records, Timer, Variables, What, Why};

/// Records that wait for [`Tcp::take_records`](crate::Tcp::take_records); more are dropped and
/// counted. A turn makes some hundreds, unless thousands of timers fire at once.
const MAX_RECORDS: usize = 8192;

/// What a flow looks like.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) state: State,
    /// How it ended.
    pub(crate) reason: Option<CloseReason>,
    /// Past the handshake.
    pub(crate) connection: Option<Seen<'a>>,
}

/// A connection that is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seen<'a> {
    /// One that is awake.
    Awake(&'a Connection),
    /// One at rest, its flow, and what wakes it.
    Resting(FlowKey, &'a Resting, &'a Config),
}

impl Seen<'_> {
    #[inline(always)]
    fn variables(self) -> Variables {
        match self {
            Self::Awake(connection) => connection.variables(),
            Self::Resting(flow, rest, config) => woken(flow, rest, config),
        }
    }

    #[cold]
    #[inline(never)]
    fn rare_variables(self) -> Variables {
        self.variables()
    }
}

/// The variables of a connection at rest.
#[cold]
#[inline(never)]
fn woken(flow: FlowKey, rest: &Resting, config: &Config) -> Variables {
    rest.connection(flow, config).variables()
}

/// What is kept of a flow while it is called: as much as tells afterwards what has happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) state: State,
    /// Past the handshake: `connection` means something.
    pub(crate) has_connection: bool,
    pub(crate) connection: ConnectionMark,
}

/// What is kept of a connection. Sequence numbers count from the initial ones, as in [`Variables`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionMark {
    pub(crate) snd_una: u64,
    pub(crate) rcv_nxt: u64,
    pub(crate) out_of_order: u32,
    /// The controller's window, whatever that of a recovery is.
    pub(crate) cwnd: u32,
    pub(crate) ssthresh: u32,
    pub(crate) ever: Ever,
    /// How many round trips were measured.
    pub(crate) rtts: u32,
    /// Where the recovery under way ends, and what began it.
    pub(crate) recovery: Option<(SeqNum, Evidence)>,
    /// False alarms so far.
    pub(crate) undone: u8,
    /// How the peer's window field is scaled.
    pub(crate) peer_scale: WindowScale,
    /// What was ever counted is not kept at rest, where nothing happens.
    pub(crate) is_resting: bool,
}

impl ConnectionMark {
    /// There is none.
    const NONE: Self = Self {
        snd_una: 0,
        rcv_nxt: 0,
        out_of_order: 0,
        cwnd: 0,
        ssthresh: 0,
        ever: Ever { lost: 0, sacked: 0 },
        rtts: 0,
        recovery: None,
        undone: 0,
        peer_scale: WindowScale::new(0),
        is_resting: false,
    };
}

impl View<'_> {
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

    /// What is kept of it. Inlined, only what is asked for is read.
    #[inline(always)]
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            state: self.state,
            has_connection: self.connection.is_some(),
            connection: match self.connection {
                Some(Seen::Awake(connection)) => connection.mark(),
                Some(Seen::Resting(flow, rest, _)) => rest.mark(&flow),
                None => ConnectionMark::NONE,
            },
        }
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
    #[inline]
    const fn scaled(&self, scale: WindowScale) -> Self {
        let mut scaled = *self;
        if !self.flags.contains(Flags::SYN) {
            scaled.window = WireWindow(self.window as u16).bytes(scale);
        }
        scaled
    }
}

fn blocks(options: &Options) -> Blocks {
    match options {
        Options::Segment(options) => Blocks::new(&options.sack),
        Options::Syn(_) => Blocks::new(&[]),
    }
}

/// A flow at a moment of which something may be told.
pub(crate) struct Scene<'a> {
    at: Instant,
    flow: &'a FlowKey,
    view: &'a View<'a>,
    /// Time, flow and variables are written.
    is_set: bool,
}

impl<'a> Scene<'a> {
    pub(crate) const fn new(at: Instant, flow: &'a FlowKey, view: &'a View<'a>) -> Self {
        Self {
            at,
            flow,
            view,
            is_set: false,
        }
    }
}

/// Collects records.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    records: Records,
    dropped: u64,
}

impl Observer {
    /// What there is.
    pub(crate) const fn records(&self) -> &Records {
        &self.records
    }

    /// Moves what there is to `into`; returns how many records have been dropped since the last
    /// time.
    pub(crate) fn take(&mut self, into: &mut Records) -> u64 {
        if into.is_empty() {
            core::mem::swap(into, &mut self.records);
        } else {
            into.append(&self.records);
        }
        self.records.clear();
        core::mem::take(&mut self.dropped)
    }

    #[inline(never)]
    fn tell(&mut self, scene: &mut Scene<'_>, what: &What) {
        if self.records.len() >= MAX_RECORDS {
            self.dropped += 1;
            return;
        }
        if !scene.is_set {
            scene.is_set = true;
            let now = scene.view.connection.map(Seen::variables);
            let (at, state) = (scene.at, scene.view.state);
            self.records.begin(at, scene.flow, state, now.as_ref());
        }
        self.records.tell(what);
        debug_assert!(
            self.records.last_len() <= Packed::MAX,
            "more than a ring has room for"
        );
    }

    /// A segment left; the scene is since.
    #[inline]
    pub(crate) fn on_sent(&mut self, scene: &mut Scene<'_>, packet: &Packet, why: Why) {
        let scale = match scene.view.connection {
            Some(Seen::Awake(connection)) => connection.window_scale(),
            _ => WindowScale::default(),
        };
        self.tell(scene, &What::Sent(packet.scaled(scale), why));
    }

    /// A segment arrived; the scene is since.
    #[inline]
    pub(crate) fn on_received(
        &mut self,
        scene: &mut Scene<'_>,
        packet: &Packet,
        dropped: Option<Dropped>,
        before: &Mark,
    ) {
        let after = scene.view.mark();
        let known = if after.has_connection { &after } else { before };
        let packet = packet.scaled(known.connection.peer_scale);
        let outcome = outcome(&packet, dropped, (before, &after), scene.view);
        self.tell(scene, &What::Received(packet, outcome));
        self.tell_changes(scene, (before, &after));
    }

    /// A timer fired.
    pub(crate) fn on_timer(&mut self, scene: &mut Scene<'_>, timer: Timer) {
        self.tell(scene, &What::Timer(timer));
    }

    /// Tells what is different from before.
    #[inline]
    pub(crate) fn compare(&mut self, scene: &mut Scene<'_>, before: &Mark) {
        let after = scene.view.mark();
        self.tell_changes(scene, (before, &after));
    }

    #[inline(always)]
    fn tell_changes(&mut self, scene: &mut Scene<'_>, (before, after): (&Mark, &Mark)) {
        let (old, new) = (&before.connection, &after.connection);
        let both = before.has_connection && after.has_connection;
        if both && after.state != State::Closed && !new.is_resting {
            self.compare_connection(scene, (old, new));
        }
        if before.state != after.state {
            let (from, reason) = (before.state, scene.view.reason);
            self.tell(scene, &What::State { from, reason });
        }
    }

    #[inline(always)]
    fn compare_connection(
        &mut self,
        scene: &mut Scene<'_>,
        (old, new): (&ConnectionMark, &ConnectionMark),
    ) {
        let bytes = new.ever.lost.wrapping_sub(old.ever.lost);
        if bytes > 0 {
            self.tell(scene, &What::Lost { bytes });
        }
        if old.recovery.is_some() || new.recovery.is_some() || old.undone != new.undone {
            self.compare_recovery(scene, old);
        }
        let (cwnd, ssthresh) = (old.cwnd, old.ssthresh);
        if new.cwnd < cwnd || new.ssthresh < ssthresh {
            self.tell(scene, &What::Reduced { cwnd, ssthresh });
        }
    }

    #[inline(never)]
    fn compare_recovery(&mut self, scene: &mut Scene<'_>, old: &ConnectionMark) {
        let view = scene.view;
        let new = view.mark().connection;
        let count = |at: SeqNum| {
            let now = view.connection.map(Seen::rare_variables);
            now.map_or(0, |now| now.sent(at.wire()))
        };
        let undone = old.undone != new.undone;
        if undone {
            self.tell(scene, &What::RecoveryUndone);
        }
        let over = old
            .recovery
            .is_some_and(|(until, _)| new.snd_una >= count(until));
        if over && !undone {
            self.tell(scene, &What::RecoveryEnded);
        }
        if let Some((until, by)) = new.recovery.filter(|_| old.recovery != new.recovery) {
            let until = count(until);
            self.tell(scene, &What::RecoveryBegun { by, until });
        }
    }
}

/// What became of a segment, from what its flow looked like before and after.
#[inline]
fn outcome(
    packet: &Packet,
    dropped: Option<Dropped>,
    (before, after): (&Mark, &Mark),
    view: &View<'_>,
) -> Outcome {
    let (old, new) = (&before.connection, &after.connection);
    if !(before.has_connection && after.has_connection) {
        // It opened its connection, or there is none.
        let most = packet.len + u32::from(packet.flags.contains(Flags::FIN));
        let opened = most > 0 && !before.has_connection;
        let began = view.connection.filter(|_| opened);
        let in_order = began.map_or(0, |began| {
            let now = began.rare_variables();
            let first = now.received(packet.seq);
            now.rcv_nxt.saturating_sub(first.max(1)) as u32
        });
        return Outcome {
            in_order: in_order.min(most),
            dropped,
            ..Outcome::default()
        };
    }
    let in_order = (new.rcv_nxt - old.rcv_nxt) as u32;
    let kept = (in_order + new.out_of_order).saturating_sub(old.out_of_order);
    let rtt = match view.connection {
        Some(Seen::Awake(connection)) if old.rtts != new.rtts => Some(connection.latest_rtt()),
        _ => None,
    };
    Outcome {
        in_order,
        out_of_order: new.out_of_order.saturating_sub(old.out_of_order),
        refused: packet.sequence_len().saturating_sub(kept),
        acked: (new.snd_una - old.snd_una) as u32,
        sacked: new.ever.sacked.wrapping_sub(old.ever.sacked),
        rtt,
        dropped,
    }
}
