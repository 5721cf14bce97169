//! `LossDetection::Rfc6675` against the rules of RFC 6675, and against a model of them.

use std::collections::{BTreeSet, VecDeque};

use covers::covers;
use ustack_tcp::LossDetection;

use crate::peer::{MS, Peer, Setup};
use crate::{Random, ack, ack_bytes, segments, wrote};

fn counting(mut setup: Setup, count: usize) -> Peer {
    setup.config.loss_detection = LossDetection::Rfc6675;
    wrote(&setup, count)
}

#[test]
#[covers("SR-1")]
fn the_third_range_or_the_third_segment_shows_a_loss() {
    Setup::each(|setup| {
        let mut peer = counting(setup.clone(), 10);
        assert_eq!(segments(&peer.take()).len(), 10);
        peer.now += 10 * MS;
        assert_eq!(ack(&mut peer, 0, &[(4, 5)]), []);
        assert_eq!(ack(&mut peer, 0, &[(6, 7), (4, 5)]), []);
        // 0 to 3 have three ranges above them, 5 has two.
        assert_eq!(ack(&mut peer, 0, &[(8, 9), (6, 7), (4, 5)]), [0, 1]);
        assert_eq!(peer.tcp.info(peer.now, peer.id).unwrap().lost, 4);

        let mut peer = counting(setup, 10);
        peer.take();
        peer.now += 10 * MS;
        assert_eq!(ack(&mut peer, 0, &[(1, 3)]), []);
        assert_eq!(ack(&mut peer, 0, &[(1, 4)]), [0]);
    });
}

/// One range counts by its bytes: four halves of a segment are no more than two segments, the fifth
/// is.
#[test]
#[covers("SR-1")]
fn small_segments_count_by_their_bytes() {
    Setup::each(|setup| {
        let mut peer = counting(setup, 0);
        for _ in 0..6 {
            peer.write(500);
        }
        let sent: Vec<_> = peer
            .take()
            .iter()
            .map(|sent| (sent.seq, sent.len))
            .collect();
        assert_eq!(sent.len(), 6, "{sent:?}");
        peer.now += 10 * MS;
        assert_eq!(ack_bytes(&mut peer, 1, &[(501, 2501)]), []);
        let again = ack_bytes(&mut peer, 1, &[(501, 3001)]);
        assert_eq!(again.first(), Some(&0), "{again:?}");
    });
}

/// Rules (1) to (4), each when those before it have nothing.
#[test]
#[covers("SR-3")]
fn the_next_segment_by_the_rules_in_order() {
    Setup::each(|setup| {
        // (1): the lowest lost; what was sent again is not sent twice.
        let mut peer = counting(setup.clone(), 10);
        peer.take();
        peer.now += 10 * MS;
        assert_eq!(ack(&mut peer, 0, &[(2, 8)]), [0, 1, 9]); // (4) for 9: nothing else to send
        assert_eq!(ack(&mut peer, 1, &[(2, 8)]), []);

        // (2): new data when nothing else is lost.
        let mut peer = counting(setup.clone(), 20);
        peer.take();
        peer.now += 10 * MS;
        assert_eq!(ack(&mut peer, 0, &[(1, 8)]), [0, 10, 11]);

        // (3): a hole with less than three segments above it, when there is nothing new.
        let mut peer = counting(setup.clone(), 10);
        peer.take();
        peer.now += 10 * MS;
        assert_eq!(ack(&mut peer, 0, &[(1, 5), (6, 8)]), [0, 5]);

        // (4): the end of the flight, once an episode.
        let mut peer = counting(setup.clone(), 10);
        peer.take();
        peer.now += 10 * MS;
        assert_eq!(ack(&mut peer, 0, &[(1, 7)]), [0, 9]);
        assert_eq!(ack(&mut peer, 0, &[(1, 8)]), []);
        assert_eq!(ack(&mut peer, 1, &[]), []);

        // (2) is for what the window takes: beyond it, (3).
        let mut narrow = setup.clone();
        narrow.win = 10_000;
        let mut peer = counting(narrow, 20);
        assert_eq!(segments(&peer.take()).len(), 10);
        peer.now += 10 * MS;
        assert_eq!(ack(&mut peer, 0, &[(1, 5), (6, 8)]), [0, 5]);

        // Nothing without room for a whole segment.
        let mut peer = counting(setup, 10);
        peer.take();
        peer.now += 10 * MS;
        assert_eq!(ack(&mut peer, 0, &[(1, 4)]), [0]);
        assert_eq!(ack(&mut peer, 0, &[(1, 5)]), []);
    });
}

/// RFC 6675 in whole segments, written from its text.
struct Model {
    una: u32,
    nxt: u32,
    written: u32,
    sacked: BTreeSet<u32>,
    high_rxt: Option<u32>,
    rescued: bool,
    recovery_point: Option<u32>,
    /// In half segments.
    cwnd: u32,
}

impl Model {
    fn is_lost(&self, segment: u32) -> bool {
        let above: Vec<u32> = self.sacked.range(segment + 1..).copied().collect();
        let starts = above.iter().filter(|&&n| !self.sacked.contains(&(n - 1)));
        above.len() > 2 || starts.count() >= 3
    }

    fn pipe(&self) -> u32 {
        (self.una..self.nxt)
            .filter(|n| !self.sacked.contains(n))
            .map(|n| u32::from(!self.is_lost(n)) + u32::from(self.high_rxt >= Some(n)))
            .sum()
    }

    fn next_segment(&mut self) -> Option<u32> {
        let top = self.sacked.last().copied().unwrap_or(0);
        let beyond = self.high_rxt.map_or(self.una, |n| n + 1).max(self.una);
        let holes: Vec<u32> = (beyond..top).filter(|n| !self.sacked.contains(n)).collect();
        if let Some(&lost) = holes.iter().find(|&&n| self.is_lost(n)) {
            self.high_rxt = Some(lost);
            return Some(lost);
        }
        if self.nxt < self.written {
            self.nxt += 1;
            return Some(self.nxt - 1);
        }
        if let Some(&hole) = holes.first() {
            self.high_rxt = Some(hole);
            return Some(hole);
        }
        let last = (self.una..self.nxt)
            .rev()
            .find(|n| !self.sacked.contains(n))
            .filter(|_| !self.rescued);
        self.rescued |= last.is_some();
        last
    }

    /// What an ACK lets out; `None` when recovery is over.
    fn on_ack(&mut self, una: u32, blocks: &[(u32, u32)]) -> Option<Vec<u32>> {
        let mut sent = Vec::new();
        self.una = una;
        self.sacked.extend(blocks.iter().flat_map(|&(l, r)| l..r));
        self.sacked.retain(|&n| n >= una);
        match self.recovery_point {
            Some(point) if una >= point => return None,
            Some(_) => {}
            None if self.is_lost(una) => {
                self.recovery_point = Some(self.nxt);
                // Without what limited transmit sent (RFC 5681 §3.2).
                self.cwnd = (self.nxt - una).min(10);
                self.high_rxt = Some(una);
                sent.push(una);
            }
            None => {
                while 2 * self.pipe() + 2 <= self.cwnd && self.nxt < self.written {
                    sent.push(self.nxt);
                    self.nxt += 1;
                }
                return Some(sent);
            }
        }
        while 2 * self.pipe() + 2 <= self.cwnd
            && let Some(next) = self.next_segment()
        {
            sent.push(next);
        }
        Some(sent)
    }
}

/// Ten thousand random paths: after each ACK exactly what the model sends leaves.
#[test]
#[covers("SR-2", "SR-3")]
fn random_traces_follow_the_model() {
    for seed in 0..10_000u64 {
        let mut random = Random(seed);
        let isn = [0x1234_5678, 0u32.wrapping_sub(100), 0][(seed / 2 % 3) as usize];
        let written = 10 + random.below(20) as u32;
        let mut peer = counting(Setup::new(seed % 2 == 0, isn), written as usize);
        let mut path: VecDeque<u32> = segments(&peer.take()).into();
        path.pop_front(); // the first is lost
        peer.now += 10 * MS;
        let mut model = Model {
            una: 0,
            nxt: 10,
            written,
            sacked: BTreeSet::new(),
            high_rxt: None,
            rescued: false,
            recovery_point: None,
            cwnd: 20,
        };
        let (mut una, mut held) = (0, BTreeSet::new());
        let loss = random.below(6);
        while !path.is_empty() {
            let pick = if random.below(5) == 0 {
                random.below(path.len() as u64)
            } else {
                0
            };
            let Some(arrived) = path.remove(pick as usize) else {
                break;
            };
            if random.below(10) < loss {
                continue;
            }
            held.insert(arrived);
            while held.remove(&una) {
                una += 1;
            }
            held.retain(|&n| n > una);
            let mut blocks: Vec<(u32, u32)> = Vec::new();
            for &n in &held {
                match blocks.last_mut() {
                    Some(block) if block.1 == n => block.1 += 1,
                    _ => blocks.push((n, n + 1)),
                }
            }
            blocks.sort_by_key(|block| !(block.0..block.1).contains(&arrived));
            blocks.truncate(4);
            let Some(expected) = model.on_ack(una, &blocks) else {
                break;
            };
            let got = ack(&mut peer, una, &blocks);
            assert_eq!(got, expected, "seed {seed}, ACK {una} with {blocks:?}");
            path.extend(got);
        }
    }
}

/// A timeout inside recovery: SACKs still count, and no other reduction before what was sent by
/// then is acknowledged.
#[test]
#[covers("SR-4", "SK-6")]
fn a_timeout_in_recovery_is_the_last_reduction() {
    Setup::each(|setup| {
        for detection in [LossDetection::Rack, LossDetection::Rfc6675] {
            let mut setup = setup.clone();
            setup.config.loss_detection = detection;
            let mut peer = wrote(&setup, 10);
            peer.take();
            peer.now += 10 * MS;
            // 0, 3 and 6 are lost; then the retransmissions, too.
            let first = ack(&mut peer, 0, &[(7, 10), (4, 6), (1, 3)]);
            assert_eq!(first[0], 0);
            peer.run(150 * MS);
            let again = peer.run_until_sent(100 * MS);
            assert_eq!(segments(&again), [0], "SND.UNA again, alone");
            let ssthresh = peer.tcp.info(peer.now, peer.id).unwrap().snd_ssthresh;
            peer.now += 10 * MS;
            // What is SACKed is not sent again.
            let mut seen = ack(&mut peer, 3, &[(7, 10), (4, 6)]);
            seen.extend(ack(&mut peer, 4, &[(7, 10), (4, 6)]));
            seen.extend(ack(&mut peer, 6, &[(7, 10)]));
            seen.dedup();
            assert_eq!(seen, [3, 6], "{detection:?}");
            // Further SACKs of what was sent before reduce nothing.
            assert_eq!(
                peer.tcp.info(peer.now, peer.id).unwrap().snd_ssthresh,
                ssthresh
            );
            assert_eq!(ack(&mut peer, 10, &[]), []);
        }
    });
}
