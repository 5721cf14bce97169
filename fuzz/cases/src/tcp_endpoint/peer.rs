//! The peer: segments near to what could be, and far from it.

use std::num::NonZeroU16;

use bytes::Bytes;
use ustack_tcp::segment::{FastOpen, SackBlock, SegmentOptions, SynOptions, Timestamps};
use ustack_tcp::seq::{WindowScale, WireSeq, WireWindow};
use ustack_tcp::{Flags, Options, Segment};

use super::ledger::{Ledger, byte_at};
use crate::input::Input;

/// What the peer remembers besides the ledger.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) isn: u32,
    /// What its SYN says.
    pub(super) syn: SynOptions,
    /// The last timestamp of the endpoint, and its own clock.
    pub(super) tsecr: u32,
    pub(super) clock: u32,
    pub(super) uses_timestamps: bool,
    pub(super) uses_sack: bool,
}

impl Peer {
    pub(super) fn new(input: &mut Input<'_>) -> Self {
        let (shape, mss) = (input.byte(), input.byte());
        let fast_open = (mss & 8 != 0).then(|| FastOpen::new(&[7; 8]));
        let mss = match mss & 7 {
            0 => None,
            1 => Some(u16::from(mss)),
            2 => Some(65_535),
            3 => Some(536),
            _ => Some(1460),
        };
        let timestamps = (shape & 1 == 0).then_some(Timestamps {
            tsval: 1000,
            tsecr: 0,
        });
        let scale = (shape & 2 == 0).then(|| WindowScale::new(shape >> 4));
        Self {
            isn: [0, 1_000_000, 0xffff_ff00, 0x7fff_fff0][usize::from(shape >> 2 & 3)],
            syn: SynOptions {
                mss,
                window_scale: scale,
                sack_permitted: shape & 0x80 == 0,
                timestamps,
                fast_open,
            },
            tsecr: 0,
            clock: 1000,
            uses_timestamps: timestamps.is_some(),
            uses_sack: shape & 0x80 == 0,
        }
    }

    /// A segment as it should be: in order, acknowledging everything.
    pub(super) fn plain(&mut self, ledger: Option<&Ledger>, flags: Flags, len: usize) -> Segment {
        let (seq, ack) = match ledger {
            Some(ledger) if flags.contains(Flags::SYN) => (self.isn, ledger.ours(ledger.next)),
            Some(ledger) => (ledger.theirs(ledger.ack), ledger.ours(ledger.next)),
            None => (self.isn, 0),
        };
        let options = if flags.contains(Flags::SYN) {
            Options::Syn(self.syn_options())
        } else {
            Options::Segment(SegmentOptions {
                timestamps: self.timestamps(0),
                ..SegmentOptions::default()
            })
        };
        segment(seq, ack, flags, 0xffff, options, len)
    }

    fn syn_options(&self) -> SynOptions {
        let timestamps = Timestamps {
            tsval: self.clock,
            tsecr: self.tsecr,
        };
        SynOptions {
            timestamps: self.syn.timestamps.and(Some(timestamps)),
            ..self.syn
        }
    }

    fn timestamps(&mut self, late: u32) -> Option<Timestamps> {
        self.clock = self.clock.wrapping_add(1);
        self.uses_timestamps.then_some(Timestamps {
            tsval: self.clock.wrapping_sub(late),
            tsecr: self.tsecr,
        })
    }

    /// A segment near to one that could be.
    pub(super) fn bent(&mut self, ledger: Option<&Ledger>, input: &mut Input<'_>) -> Segment {
        let shape = input.byte();
        let flags = match shape & 7 {
            0..=2 => Flags::ACK,
            3 => Flags::ACK | Flags::PSH,
            4 => Flags::ACK | Flags::FIN,
            5 => Flags(u16::from(input.byte() & 0x17)),
            6 => Flags::ACK | Flags(u16::from(input.byte() & 0xe8)),
            _ => Flags(input.u16() & 0x1ff),
        };
        let len = match shape >> 3 & 3 {
            0 => 0,
            1 => usize::from(input.byte()),
            2 => 1460,
            _ => input.below(9000),
        };
        let bend = input.byte();
        let seq = match ledger {
            None => self.isn,
            Some(ledger) => match bend & 3 {
                0 | 1 => ledger.theirs(ledger.ack),
                2 => ledger.theirs(ledger.window_end),
                _ => ledger.theirs(0),
            },
        };
        let ack = match ledger {
            None => 0,
            Some(ledger) => ledger.ours(if bend & 4 == 0 { ledger.next } else { 1 }),
        };
        let seq = seq.wrapping_add(delta(bend >> 3, input));
        let ack = ack.wrapping_add(delta(bend >> 5, input));
        let window = match shape >> 5 & 3 {
            0 | 1 => 0xffff,
            2 => u16::from(input.byte() & 3),
            _ => input.u16(),
        };
        let unusual = shape & 0x80 != 0;
        let options = self.options(ledger, flags, unusual, input);
        let mut segment = segment(seq, ack, flags, window, options, len);
        if unusual {
            segment.urgent = input.u16();
            let size = NonZeroU16::new(input.u16()).unwrap_or(NonZeroU16::MIN);
            // A joined segment has a size below its own.
            segment.mss = size.min(segment.mss);
        }
        segment
    }

    fn options(
        &mut self,
        ledger: Option<&Ledger>,
        flags: Flags,
        unusual: bool,
        input: &mut Input<'_>,
    ) -> Options {
        let shape = if unusual { input.byte() } else { 0 };
        if flags.contains(Flags::SYN) {
            let mut options = self.syn_options();
            if shape & 1 != 0 {
                options.fast_open = Some(FastOpen::new(input.take(usize::from(shape >> 4) & !1)));
            }
            if shape & 2 != 0 {
                options.timestamps = None;
            }
            return Options::Syn(options);
        }
        let timestamps = match shape & 3 {
            0 => self.timestamps(0),
            1 => None,
            2 => self.timestamps(u32::from(input.byte())),
            _ => self.timestamps(input.u32()),
        };
        let blocks = if self.uses_sack { input.below(8) } else { 0 };
        // Three fit beside timestamps.
        let blocks = if blocks > 3 { 0 } else { blocks };
        let base = ledger.map_or(0, |ledger| ledger.ours(1));
        let span = ledger.map_or(0, |ledger| ledger.next as u32);
        let place = |input: &mut Input<'_>| {
            let unit = if shape & 4 == 0 { 365 } else { 1 };
            let offset = u32::from(input.byte()) * unit;
            WireSeq(base.wrapping_add(offset.min(span.saturating_add(8))))
        };
        let sack = (0..blocks).map(|_| SackBlock {
            left: place(input),
            right: place(input),
        });
        Options::Segment(SegmentOptions {
            timestamps,
            sack: sack.collect(),
        })
    }
}

/// How far a number is from where it should be.
fn delta(shape: u8, input: &mut Input<'_>) -> u32 {
    match shape & 3 {
        0 | 1 => 0,
        2 => i32::from(input.byte() as i8) as u32,
        _ => match input.byte() {
            0xff => input.u32(),
            high => (u32::from(high) << 8 | u32::from(input.byte())).wrapping_sub(0x4000),
        },
    }
}

/// A segment whose payload is what belongs there.
fn segment(seq: u32, ack: u32, flags: Flags, window: u16, options: Options, len: usize) -> Segment {
    let text = seq.wrapping_add(u32::from(flags.contains(Flags::SYN)));
    let payload: Bytes = (0..len)
        .map(|n| byte_at(text.wrapping_add(n as u32)))
        .collect();
    Segment {
        seq: WireSeq(seq),
        ack: WireSeq(ack),
        window: WireWindow(window),
        flags,
        options,
        urgent: 0,
        mss: NonZeroU16::new(len as u16).unwrap_or(NonZeroU16::MIN),
        payload,
    }
}
