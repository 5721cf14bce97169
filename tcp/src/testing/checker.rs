//! The referee: sees segments leave and arrive, and knows nothing of what is inside an endpoint.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use crate::segment::{Flags, Options, Segment};
use crate::seq::{SeqNum, WindowScale};

/// What a bystander knows of one end of a connection.
#[derive(Debug, Default)]
struct End {
    iss: Option<SeqNum>,
    scale: Option<WindowScale>,
    mss: Option<u16>,
    /// Every byte it ever sent, from ISS+1 on.
    stream: Vec<u8>,
    fin: Option<SeqNum>,
    /// Ranges of the peer's numbers that were delivered to it, SYN and FIN included.
    received: Vec<Range<SeqNum>>,
    /// The peer's right edge, as far as it was told.
    peer_edge: Option<SeqNum>,
    /// Acknowledgment and right edge it sent last.
    ack: Option<SeqNum>,
    edge: Option<SeqNum>,
    segments: u64,
    retransmitted: u64,
}

/// Watches one connection from its first SYN on.
///
/// It holds both ends to what RFC 9293 lets nobody do: send outside the peer's window, send other
/// bytes the second time, acknowledge what has not arrived, take back an offered window.
#[derive(Debug, Default)]
pub struct Checker {
    ends: [End; 2],
}

impl Checker {
    /// Segments that end `side` sent, and how many of them sent something again.
    pub fn segments(&self, side: usize) -> (u64, u64) {
        (self.ends[side].segments, self.ends[side].retransmitted)
    }

    /// End `side` sends `segment`; says what is wrong with that.
    pub fn on_sent(&mut self, side: usize, segment: &Segment) -> Result<(), String> {
        self.check_sent(side, segment).map_err(|what| {
            let Segment {
                seq,
                ack,
                window,
                flags,
                payload,
                ..
            } = segment;
            let len = payload.len();
            format!("side {side} {what}: seq {seq:?} len {len} ack {ack:?} {window:?} {flags:?}")
        })
    }

    fn check_sent(&mut self, side: usize, segment: &Segment) -> Result<(), String> {
        if segment.has(Flags::RST) {
            return Ok(());
        }
        self.note_syn(side, segment)?;
        let Some(iss) = self.ends[side].iss else {
            return Err("sends before its SYN".into());
        };
        self.ends[side].segments += 1;
        self.check_text(side, iss, segment)?;
        if segment.has(Flags::ACK) {
            self.check_ack(side, segment)?;
        }
        Ok(())
    }

    fn note_syn(&mut self, side: usize, segment: &Segment) -> Result<(), String> {
        let Options::Syn(options) = &segment.options else {
            return Ok(());
        };
        let end = &mut self.ends[side];
        let iss = SeqNum::first(segment.seq);
        if *end.iss.get_or_insert(iss) != iss {
            return Err("changes its ISN".into());
        }
        end.scale = options.window_scale;
        end.mss = options.mss;
        Ok(())
    }

    /// Window, MSS, and the same bytes in the same places.
    fn check_text(&mut self, side: usize, iss: SeqNum, segment: &Segment) -> Result<(), String> {
        let peer_mss = self.ends[1 - side].mss.unwrap_or(536);
        let end = &mut self.ends[side];
        let start = end.expand(iss, segment);
        let text = start + u32::from(segment.has(Flags::SYN));
        let last = text + segment.payload.len();
        if segment.payload.is_empty() && !segment.has(Flags::FIN) {
            return Ok(());
        }
        if segment.mss.get() > peer_mss && !segment.payload.is_empty() {
            return Err(format!("sends {} with an MSS of {peer_mss}", segment.mss));
        }
        let edge = end.peer_edge.ok_or("sends text before it knows a window")?;
        if last > edge {
            return Err(format!("sends {} past the window's edge", last - edge));
        }
        let at = (text - (iss + 1u32)) as usize;
        if at > end.stream.len() {
            return Err("leaves a hole in its stream".into());
        }
        let old = &end.stream[at..];
        let again = old.len().min(segment.payload.len());
        end.retransmitted += u64::from(again > 0);
        if old[..again] != segment.payload[..again] {
            return Err("sends other bytes the second time".into());
        }
        end.stream.extend_from_slice(&segment.payload[again..]);
        if segment.has(Flags::FIN) && *end.fin.get_or_insert(last) != last {
            return Err("moves its FIN".into());
        }
        let stream_end = iss + 1u32 + end.stream.len();
        if end.fin.is_some_and(|fin| stream_end > fin) {
            return Err("sends text after its FIN".into());
        }
        Ok(())
    }

    /// Nothing acknowledged that did not arrive, nothing taken back.
    fn check_ack(&mut self, side: usize, segment: &Segment) -> Result<(), String> {
        let peer_iss = self.ends[1 - side].iss.ok_or("acknowledges nothing")?;
        let scaled = self.ends.iter().all(|end| end.scale.is_some());
        let end = &mut self.ends[side];
        let scale = match end.scale {
            Some(scale) if scaled && !segment.has(Flags::SYN) => scale,
            _ => WindowScale::default(),
        };
        let ack = end.ack.unwrap_or(peer_iss).expand(segment.ack);
        let edge = ack + segment.window.bytes(scale);
        let whole = end.received.first().map_or(peer_iss, |range| range.end);
        if ack > whole {
            return Err(format!("acknowledges {} too many", ack - whole));
        }
        if end.ack.is_some_and(|before| ack < before) {
            return Err("takes back an acknowledgment".into());
        }
        if let Some(before) = end.edge
            && edge < before
        {
            return Err(format!("takes back {} of its window", before - edge));
        }
        (end.ack, end.edge) = (Some(ack), Some(edge));
        if let Options::Segment(options) = &segment.options {
            for block in &options.sack {
                let (left, right) = (ack.expand(block.left), ack.expand(block.right));
                let arrived = end
                    .received
                    .iter()
                    .any(|range| range.start <= left && left < right && right <= range.end);
                if !arrived {
                    return Err(format!("SACKs {left:?}..{right:?}, which did not arrive"));
                }
            }
        }
        Ok(())
    }

    /// `segment` arrives at end `side`.
    pub fn on_delivered(&mut self, side: usize, segment: &Segment) {
        let scaled = self.ends.iter().all(|end| end.scale.is_some());
        let Some(peer_iss) = self.ends[1 - side].iss else {
            return;
        };
        let start = self.ends[1 - side].expand(peer_iss, segment);
        let peer_scale = self.ends[1 - side].scale;
        let end = &mut self.ends[side];
        if !segment.is_empty() {
            end.add(start..start + segment.len());
        }
        if let Some(iss) = end.iss
            && segment.has(Flags::ACK)
        {
            let scale = match peer_scale {
                Some(scale) if scaled && !segment.has(Flags::SYN) => scale,
                _ => WindowScale::default(),
            };
            let near = iss + end.stream.len();
            let edge = near.expand(segment.ack) + segment.window.bytes(scale);
            end.peer_edge = end.peer_edge.max(Some(edge));
        }
    }
}

impl End {
    /// The place of `segment` in this end's numbers.
    fn expand(&self, iss: SeqNum, segment: &Segment) -> SeqNum {
        (iss + self.stream.len()).expand(segment.seq)
    }

    fn add(&mut self, mut new: Range<SeqNum>) {
        self.received.retain(|range| {
            let apart = range.end < new.start || range.start > new.end;
            if !apart {
                new = new.start.min(range.start)..new.end.max(range.end);
            }
            apart
        });
        let at = self
            .received
            .partition_point(|range| range.start < new.start);
        self.received.insert(at, new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::{SackBlock, SegmentOptions, SynOptions};
    use crate::seq::{WireSeq, WireWindow};
    use bytes::Bytes;
    use core::num::NonZeroU16;

    fn segment(seq: u32, ack: u32, flags: Flags, payload: &'static [u8]) -> Segment {
        Segment {
            seq: WireSeq(seq),
            ack: WireSeq(ack),
            window: WireWindow(10),
            flags: flags | Flags::ACK,
            options: if flags.contains(Flags::SYN) {
                Options::Syn(SynOptions::default())
            } else {
                Options::none()
            },
            payload: Bytes::from_static(payload),
            urgent: 0,
            mss: NonZeroU16::new(payload.len().max(1) as u16).unwrap(),
        }
    }

    /// Sides with ISNs 100 and 500; side 0 has sent "abcd", of which side 1 got "ab".
    fn begun() -> Checker {
        let mut checker = Checker::default();
        let mut pass = |side: usize, segment: Segment, arrives: bool| {
            checker.on_sent(side, &segment).unwrap();
            if arrives {
                checker.on_delivered(1 - side, &segment);
            }
        };
        let syn = Segment {
            flags: Flags::SYN,
            ..segment(100, 0, Flags::SYN, b"")
        };
        pass(0, syn, true);
        pass(1, segment(500, 101, Flags::SYN, b""), true);
        pass(0, segment(101, 501, Flags::NONE, b"ab"), true);
        pass(0, segment(103, 501, Flags::NONE, b"cd"), false);
        checker
    }

    #[test]
    fn a_fair_conversation_passes() {
        let mut checker = begun();
        checker
            .on_sent(0, &segment(102, 501, Flags::FIN, b"bcd"))
            .unwrap();
        checker
            .on_sent(1, &segment(501, 103, Flags::NONE, b"x"))
            .unwrap();
        assert_eq!(checker.segments(0), (4, 1));
    }

    #[test]
    fn foul_play_is_named() {
        let sack = Options::Segment(SegmentOptions {
            timestamps: None,
            sack: [SackBlock {
                left: WireSeq(103),
                right: WireSeq(105),
            }]
            .into_iter()
            .collect(),
        });
        let cases = [
            (0, segment(103, 501, Flags::NONE, b"cX"), "other bytes"),
            (
                0,
                segment(105, 501, Flags::NONE, b"0123456789"),
                "past the window",
            ),
            (0, segment(106, 501, Flags::NONE, b"f"), "hole"),
            (1, segment(501, 105, Flags::NONE, b""), "too many"),
            (1, segment(501, 100, Flags::NONE, b""), "takes back an ack"),
            (
                1,
                Segment {
                    window: WireWindow(7),
                    ..segment(501, 103, Flags::NONE, b"")
                },
                "of its window",
            ),
            (
                1,
                Segment {
                    options: sack,
                    ..segment(501, 103, Flags::NONE, b"")
                },
                "did not arrive",
            ),
            (0, segment(103, 501, Flags::SYN, b""), "ISN"),
        ];
        for (side, foul, what) in cases {
            let error = begun().on_sent(side, &foul).unwrap_err();
            assert!(error.contains(what), "{error} should say {what}");
        }
        let mut checker = begun();
        checker
            .on_sent(0, &segment(105, 501, Flags::FIN, b""))
            .unwrap();
        let error = checker
            .on_sent(0, &segment(105, 501, Flags::NONE, b"e"))
            .unwrap_err();
        assert!(error.contains("after its FIN"), "{error}");
    }
}
