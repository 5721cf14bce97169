//! Packets that nobody would send: whatever comes, every conversation gets its report.

mod common;

use common::{edit, read};
use explain::{Explainer, Limits, text};
use referee::capture::{Cut, Packet};

/// A small generator (xorshift64*), so that a seed gives one run everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit
    }
}

/// Changes a packet somewhere, and mostly finishes its checksums.
fn spoil(random: &mut Random, packet: &mut Packet) {
    let mut data = packet.recorded.data.to_vec();
    for _ in 0..=random.below(4) {
        let range = if random.below(4) == 0 {
            data.len()
        } else {
            60.min(data.len())
        };
        let at = random.below(range);
        data[at] = random.next() as u8;
    }
    // The header must be there for its checksums to be finished.
    let header = usize::from(data[32] >> 4) * 4;
    let is_tcp = data[0] == 0x45 && data[9] == 6 && header >= 20 && 20 + header <= data.len();
    let length = usize::from(u16::from_be_bytes([data[2], data[3]]));
    if is_tcp && length == data.len() && random.below(8) > 0 {
        edit::finish(&mut data);
    }
    packet.recorded.data = data.into();
}

#[test]
fn nothing_makes_it_panic() {
    let files = [
        "loss-download",
        "zero-window-client",
        "everything-at-once",
        "port-reuse",
        "path-mtu",
    ];
    let files = files.map(read);
    for seed in 1..=2000 {
        println!("seed {seed}");
        let mut random = Random(seed);
        let mut packets = files[random.below(files.len())].clone();
        let strength = 1 + random.below(30);
        for _ in 0..packets.len() / 4 {
            let (one, other) = (random.below(packets.len()), random.below(packets.len()));
            match random.below(strength + 3) {
                0 => packets.swap(one, other),
                1 => {
                    packets[one].recorded.time =
                        packets[other].recorded.time * random.below(1 << 20) as u32;
                }
                2 => {
                    packets[one].cut = Some(Cut {
                        held: 60,
                        length: 1500,
                    });
                }
                _ => spoil(&mut random, &mut packets[one]),
            }
        }
        let limits = Limits {
            conversations: 2 + random.below(50),
            bytes: 1 << random.below(20),
            waiting: random.below(20),
        };
        let mut explainer = Explainer::new(limits);
        let mut told = 0;
        for packet in &packets {
            explainer.on_packet(packet);
        }
        explainer.finish();
        while let Some(report) = explainer.poll_report() {
            told += 1;
            let lines = text::describe(&report).lines().count();
            assert!(lines >= 5, "seed {seed}");
        }
        assert_eq!(told, explainer.totals().conversations, "seed {seed}");
    }
}
