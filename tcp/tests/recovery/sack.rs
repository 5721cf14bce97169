//! SACK information that is wrong, or that the peer takes back.

use covers::covers;

use crate::peer::{MS, SEC, Setup};
use crate::{Random, ack, ack_bytes, at, segments, wrote};

/// The peer reports six segments and throws them away: the timeout sends everything again.
#[test]
#[covers("SK-5", "SK-6")]
fn a_peer_that_reneges_gets_everything_again() {
    Setup::each(|setup| {
        let mut peer = wrote(&setup, 10);
        peer.take();
        peer.now += 10 * MS;
        assert_eq!(ack(&mut peer, 0, &[(1, 7)])[0], 0);
        peer.now += 10 * MS;
        // It has only 0 now, and asks for 1.
        let mut seen: Vec<u32> = ack(&mut peer, 1, &[]);
        let mut una = 1;
        for _ in 0..20 {
            let sent = segments(&peer.run_until_sent(SEC));
            for n in sent {
                seen.push(n);
                if n == una {
                    una += 1;
                }
            }
            peer.now += 10 * MS;
            seen.extend(ack(&mut peer, una, &[]));
            while seen.contains(&una) && una < 10 {
                una += 1;
            }
        }
        for n in 1..10 {
            assert!(seen.contains(&n), "{n} never left again: {seen:?}");
        }
        ack(&mut peer, 10, &[]);
        assert!(segments(&peer.run(5 * SEC)).is_empty());
    });
}

/// After a timeout the first to leave is SND.UNA's, SACK blocks or not.
#[test]
#[covers("SK-6")]
fn a_timeout_sends_the_oldest_first() {
    Setup::each(|setup| {
        let mut peer = wrote(&setup, 4);
        peer.take();
        peer.now += 10 * MS;
        // One SACKed segment, repaired by the reordering timer; the repair is lost.
        assert_eq!(ack(&mut peer, 0, &[(3, 4)]), []);
        let repair = peer.run_until_sent(20 * MS);
        assert_eq!(segments(&repair)[0], 0);
        peer.run(100 * MS);
        let timeout = peer.run_until_sent(SEC);
        assert_eq!(segments(&timeout)[0], 0);
    });
}

/// Blocks that are inverted, empty, below SND.UNA or above SND.NXT change nothing.
#[test]
#[covers("SK-10")]
fn senseless_blocks_are_passed_over() {
    Setup::each(|setup| {
        for bad in [
            [(at(5), at(3)), (at(4), at(4))],
            [(at(8), at(11)), (at(20), at(30))],
            [(at(9), at(10) + 1), (at(10), at(12))],
            [(at(2) - 5_000, at(1) - 4_000), (i32::MIN / 2, i32::MAX / 2)],
        ] {
            let mut peer = wrote(&setup, 10);
            peer.take();
            peer.now += 10 * MS;
            for _ in 0..5 {
                assert_eq!(ack_bytes(&mut peer, at(1), &bad), [], "{bad:?}");
            }
            let info = peer.tcp.info(peer.now, peer.id).unwrap();
            assert_eq!((info.sacked, info.lost), (0, 0), "{bad:?}");
        }
    });
}

/// A hundred thousand random blocks: whatever they say, the transfer ends, and nothing is sent that
/// was not written.
#[test]
#[covers("SK-10")]
fn random_blocks_do_no_damage() {
    for seed in 0..60u64 {
        let mut random = Random(seed);
        let isn = [0x1234_5678, 0u32.wrapping_sub(100), 0][(seed / 2 % 3) as usize];
        let mut peer = wrote(&Setup::new(seed % 2 == 0, isn), 30);
        let mut end = 0;
        for _ in 0..420 {
            let mut blocks = Vec::new();
            for _ in 0..4 {
                let edge = |random: &mut Random| match random.below(4) {
                    0 => random.next() as i32,
                    1 => random.below(40_000) as i32 - 5_000,
                    _ => at(random.below(32) as u32),
                };
                blocks.push((edge(&mut random), edge(&mut random)));
            }
            peer.now += random.below(3) as u32 * MS;
            for n in ack_bytes(&mut peer, at(0), &blocks) {
                assert!(n < 30, "seed {seed}");
                end = end.max(n);
            }
            let info = peer.tcp.info(peer.now, peer.id).unwrap();
            assert!(
                info.sacked + info.lost <= info.unacked + 2,
                "seed {seed}: {info:?}"
            );
        }
        // An honest receiver that has nothing but 0.
        let mut una = 1;
        for _ in 0..400 {
            let mut sent = ack(&mut peer, una, &[]);
            sent.extend(segments(&peer.run(200 * MS)));
            for n in sent {
                una = una.max(if n == una { n + 1 } else { una });
            }
            if una == 30 {
                break;
            }
        }
        assert_eq!(una, 30, "seed {seed}");
    }
}
