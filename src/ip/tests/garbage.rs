use proptest::test_runner::{RngAlgorithm, TestRng};

use super::*;

/// A sequence that a printed seed repeats.
struct Dice(TestRng);

impl Dice {
    fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
    }

    fn below(&mut self, bound: usize) -> usize {
        use proptest::prelude::Rng;
        self.0.next_u64() as usize % bound
    }

    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }
}

/// Packets of every kind that the stack reads, all of them right.
fn corpus() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (us, them) in FAMILIES {
        all.extend([tcp(them, us, &pattern(60)), udp(them, us, &pattern(60))]);
        let echo = if us == US4 { 8 } else { 128 };
        all.push(icmp_message(
            them,
            us,
            [echo, 0, 0, 0, 0, 1, 0, 1],
            &pattern(60),
        ));
        let quoted = tcp(us, them, &pattern(60));
        for (kind, code) in [(3, 4), (3, 3), (2, 0), (1, 4), (11, 0), (4, 1)] {
            all.push(icmp_message(
                them,
                us,
                [kind, code, 0, 0, 0, 0, 5, 0],
                &quoted,
            ));
        }
        let mut tx = TxBatch::new();
        send_datagram(&mut peer(), &mut tx, (them, us), &pattern(3000));
        all.extend(packets(&tx));
    }
    let inner = &udp(PEER6, US6, b"x")[40..];
    for next in [0, 43, 44, 60] {
        let header = [17, 0, 1, 0, 0, 0, 0, 0];
        all.push(raw(PEER6, US6, next, &[&header[..], inner].concat()));
    }
    all
}

fn mutate(dice: &mut Dice, packet: &mut Vec<u8>) {
    match dice.below(5) {
        0 => {
            for _ in 0..=dice.below(4) {
                let bit = dice.below(packet.len() * 8);
                packet[bit / 8] ^= 1 << (bit % 8);
            }
        }
        1 => packet.truncate(dice.below(packet.len() + 1)),
        2 => {
            let at = dice.below(packet.len());
            packet[at] = [0, 1, 0x7f, 0x80, 0xff][dice.below(5)];
        }
        3 => packet.extend((0..dice.below(64)).map(|n| n as u8)),
        _ => {
            let at = dice.below(packet.len().min(64));
            for byte in packet.iter_mut().skip(at).take(4) {
                *byte = dice.byte();
            }
        }
    }
    // Half of them get past the header checksum.
    if dice.below(2) == 0 && packet.len() >= 20 && packet[0] >> 4 == 4 {
        let end = (usize::from(packet[0] & 0xf) * 4).clamp(20, packet.len());
        packet[10..12].fill(0);
        let sum = checksum(&packet[..end]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

fn offload(dice: &mut Dice) -> Offload {
    let checksum = match dice.below(4) {
        0 => Checksum::Verified,
        1 => Checksum::Partial {
            start: dice.below(65_536) as u16,
            offset: dice.below(65_536) as u16,
        },
        _ => Checksum::Complete,
    };
    let gso = NonZeroU16::new(dice.below(65_536) as u16)
        .filter(|_| dice.below(8) == 0)
        .map(|size| Gso {
            kind: [GsoKind::TcpV4, GsoKind::TcpV6, GsoKind::Udp][dice.below(3)],
            header_len: dice.below(65_536) as u16,
            size,
        });
    Offload { checksum, gso }
}

/// Random bytes and bent packets raise counters and nothing else: no panic, bounded memory, every
/// frame in one counter. `GARBAGE_SEED` repeats a run.
#[test]
fn garbage_raises_counters_and_nothing_else() {
    let seed = std::env::var("GARBAGE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(0x5eed);
    println!("GARBAGE_SEED={seed}");
    let mut dice = Dice::new(seed);
    let corpus = corpus();
    let mut ip = transparent();
    let mut delivered = 0;
    for n in 0..100_000_u64 {
        let mut packet = corpus[dice.below(corpus.len())].clone();
        if dice.below(4) == 0 {
            let len = dice.below(200);
            packet = (0..len).map(|_| dice.byte()).collect();
            if let Some(first) = packet.first_mut() {
                *first = [0x45, 0x60, *first][dice.below(3)];
            }
        } else {
            for _ in 0..dice.below(3) {
                if packet.is_empty() {
                    break;
                }
                mutate(&mut dice, &mut packet);
            }
        }
        let now = Instant::from_micros(n * 700);
        let offload = offload(&mut dice);
        let data: Bytes = packet.into();
        let quoted = data.clone();
        if let Ok(Some(_)) = ip.on_frame(now, Frame { data, offload }) {
            delivered += 1;
            ip.send_unreachable(now, Unreachable::Port, &quoted);
        }
        if n % 64 == 0 {
            ip.on_timeout(now);
            for answer in answers(&mut ip, now) {
                dissect(&answer);
            }
        }
        assert!(ip.reassembler.charged() <= 4 << 20);
        assert!(ip.messages.charged <= 4 << 20);
    }
    assert!(delivered > 5_000, "{delivered} got through");
    assert_counters_add_up(&ip);
    assert!(ip.counters().dropped() > 20_000);
    ip.on_timeout(Instant::from_millis(1_000_000));
    assert_eq!(ip.reassembler.charged(), 0);
    assert_eq!(ip.poll_timeout(), None);
}
