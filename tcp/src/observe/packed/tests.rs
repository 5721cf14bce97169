use core::net::{Ipv4Addr, Ipv6Addr};

use super::super::{Blocks, Timer};
use super::codes::{timer, why};
use super::*;
use crate::segment::{Flags, SackBlock};
use crate::seq::{WindowScale, WireSeq};

/// Numbers without a pattern.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u8) -> u8 {
        (self.next() % u64::from(end)) as u8
    }

    fn some(&mut self) -> u32 {
        self.next() as u32
    }

    fn one<T: Code>(&mut self) -> T {
        loop {
            if let Some(one) = T::of(self.below(16)) {
                return one;
            }
        }
    }

    /// Now and then nothing.
    fn maybe<T>(&mut self, one: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(3) > 0).then(|| one(self))
    }

    fn address(&mut self, is_ipv6: bool) -> SocketAddr {
        let ip: IpAddr = if is_ipv6 {
            Ipv6Addr::from_bits(u128::from(self.next()) << 64 | 7).into()
        } else {
            Ipv4Addr::from_bits(self.some()).into()
        };
        SocketAddr::new(ip, self.some() as u16)
    }

    fn packet(&mut self) -> Packet {
        let mut block = || SackBlock {
            left: WireSeq(self.some()),
            right: WireSeq(self.some()),
        };
        let blocks = [block(), block(), block(), block()];
        let count = usize::from(self.below(5));
        Packet {
            seq: WireSeq(self.some()),
            ack: WireSeq(self.some()),
            flags: Flags(self.some() as u16 & 0x1ff),
            len: self.some(),
            segments: self.some() as u16,
            size: self.some() as u16,
            window: self.some(),
            sack: Blocks::new(&blocks[..count]),
        }
    }

    fn outcome(&mut self) -> Outcome {
        Outcome {
            in_order: self.some(),
            out_of_order: self.some(),
            refused: self.some(),
            acked: self.some(),
            sacked: self.some(),
            rtt: self.maybe(Self::next),
            dropped: self.maybe(Self::one),
        }
    }

    fn what(&mut self) -> What {
        match self.below(9) {
            0 => loop {
                let code = [self.below(17), self.below(12)];
                if let Some(why) = why(code) {
                    return What::Sent(self.packet(), why);
                }
            },
            1 => What::Received(self.packet(), self.outcome()),
            2 => What::State {
                from: self.one(),
                reason: self.maybe(Self::one),
            },
            3 => {
                let code = [self.below(9), self.below(200)];
                What::Timer(timer(code).expect("nine timers"))
            }
            4 => What::Lost { bytes: self.some() },
            5 => What::RecoveryBegun {
                by: self.one(),
                until: self.next(),
            },
            6 => What::RecoveryEnded,
            7 => What::RecoveryUndone,
            _ => What::Reduced {
                cwnd: self.some(),
                ssthresh: self.some(),
            },
        }
    }

    fn variables(&mut self) -> Variables {
        let srtt = self.maybe(|random| NonZeroU64::MIN.saturating_add(random.next()));
        let losses = self.maybe(|random| [(); 6].map(|()| random.some()));
        let [sacked, lost, resent, twice, dup_acked, out_of_order] = losses.unwrap_or_default();
        Variables {
            iss: WireSeq(self.some()),
            irs: WireSeq(self.some()),
            snd_una: self.next(),
            snd_nxt: self.next(),
            snd_wnd: self.some(),
            rcv_nxt: self.next(),
            rcv_wnd: self.some(),
            window_scale: WindowScale::new(self.below(15)),
            cwnd: self.some(),
            ssthresh: self.some(),
            in_flight: self.some(),
            sacked,
            lost,
            resent,
            twice,
            dup_acked,
            unsent: self.some(),
            unread: self.some(),
            out_of_order,
            mss: self.some(),
            srtt,
            rttvar: srtt.map_or(0, |_| self.next()),
            rto: self.next(),
            backoff: self.below(20),
            stalled_since: self.maybe(|random| Instant::from_nanos(random.next() >> 1)),
            phase: self.one(),
        }
    }

    fn record(&mut self) -> Record {
        let is_ipv6 = self.below(2) == 0;
        Record {
            at: Instant::from_nanos(self.next() >> 1),
            flow: FlowKey {
                local: self.address(is_ipv6),
                remote: self.address(is_ipv6),
            },
            what: self.what(),
            state: self.one(),
            now: self.maybe(Self::variables),
        }
    }
}

#[test]
fn records_are_read_as_they_were_written() {
    let mut random = Random(0x5eed);
    let (mut records, mut written) = (Records::default(), Vec::new());
    while written.len() < 20_000 {
        let record = random.record();
        written.push(record);
        records.begin(record.at, &record.flow, record.state, record.now.as_ref());
        records.tell(&record.what);
        for _ in 0..random.below(4) {
            let what = random.what();
            written.push(Record { what, ..record });
            records.tell(&what);
        }
    }
    assert_eq!(records.len(), written.len());
    assert!(records.iter().eq(written.iter().copied()));
    let longest = records.packed().map(|packed| packed.as_bytes().len());
    assert!(longest.max() > Some(200));
    let mut twice = records.clone();
    twice.append(&records);
    twice.tell(&What::RecoveryEnded); // goes on with what was appended
    let last = written.last().map(|last| Record {
        what: What::RecoveryEnded,
        ..*last
    });
    let expected = written.iter().chain(&written).copied().chain(last);
    assert!(twice.iter().eq(expected));
}

#[test]
fn segments_and_alarms_are_known_unread() {
    let mut random = Random(7);
    let mut kinds = [0; 4];
    for _ in 0..1_000 {
        let record = random.record();
        let mut records: Records = [&record].into_iter().collect();
        let packed = records.packed().next().expect("one");
        let is = [packed.is_sent(), packed.is_received(), packed.has_alarms()];
        let kind = match record.what {
            What::Sent(..) => 0,
            What::Received(..) => 1,
            What::Timer(_)
            | What::State {
                reason: Some(_), ..
            } => 2,
            _ => 3,
        };
        assert_eq!(is, [0, 1, 2].map(|of| of == kind));
        assert_eq!(records.has_alarms(), kind == 2);
        kinds[kind] += 1;
        records.tell(&What::Timer(Timer::DelayedAck));
        assert!(records.has_alarms() && records.packed().all(Packed::has_alarms));
    }
    assert!(kinds.iter().all(|&count| count > 50), "{kinds:?}");
}

#[test]
fn noise_is_no_record_and_no_panic() {
    let mut random = Random(0xbad);
    for _ in 0..20_000 {
        let mut bytes: [u8; 256] = core::array::from_fn(|_| random.some() as u8);
        let len = usize::from(random.below(255));
        bytes[1] = 0; // else nearly all would be longer than this
        if let Some(packed) = Packed::read(&bytes[..len]) {
            assert!(packed.as_bytes().len() <= len);
            assert!(packed.records().count() <= usize::from(bytes[2]));
        }
    }
}
