//! What an observer is told agrees with what is on the wire, and being told changes nothing of it.

use std::collections::BTreeMap;
use std::time::Duration;

use ustack_tcp::observe::{Packet, Record, Records, Timer, Variables, What, Why};
use ustack_tcp::testing::{Link, Pair, Side};
use ustack_tcp::{
    Config, CongestionAlgorithm, EcnMode, Flags, Keepalive, LossDetection, Read, State,
};

const LIMIT: Duration = Duration::from_secs(3_000);
/// Bytes of a round.
const LENGTH: u64 = 200_000;

/// Settings and a link that depend on the seed.
fn setting(seed: u64) -> (Config, Link) {
    let mut config = Config::default();
    config.tso = seed.is_multiple_of(2);
    config.congestion = match seed % 3 {
        0 => CongestionAlgorithm::Cubic,
        1 => CongestionAlgorithm::Reno,
        _ => CongestionAlgorithm::Bbr,
    };
    if seed % 5 == 4 {
        config.loss_detection = LossDetection::Rfc6675;
    }
    if seed % 4 == 1 {
        config.ecn = EcnMode::On;
    }
    config.timestamps = seed % 7 != 3;
    let link = Link {
        delay: Duration::from_micros(100 + seed * 977 % 30_000),
        loss: [0, 100, 500, 1_500][seed as usize % 4],
        reorder: [0, 300][seed as usize / 2 % 2],
        duplicate: [0, 100][seed as usize / 4 % 2],
        ce: [0, 200][seed as usize % 2],
        ..Link::default()
    };
    (config, link)
}

/// A transfer and its end: the wire, and each end's records.
fn transfer(seed: u64, observed: bool) -> (Vec<String>, [Vec<Record>; 2]) {
    let (config, link) = setting(seed);
    let mut pair = Pair::new(seed, &config, link);
    for tcp in &mut pair.tcp {
        tcp.observe(observed);
    }
    let (client, server) = pair.open();
    pair.transfer((Side::Client, client), server, 400_000, LIMIT);
    let now = pair.now;
    pair.end(Side::Client).release(now, client);
    pair.end(Side::Server).release(now, server);
    while pair.now - now < Duration::from_secs(90) && pair.step() {}
    let mut records = [Vec::new(), Vec::new()];
    for (tcp, records) in pair.tcp.iter_mut().zip(&mut records) {
        let mut packed = Records::default();
        let dropped = tcp.take_records(&mut packed);
        assert_eq!(dropped, 0, "seed {seed}: none was dropped");
        records.extend(packed.iter());
    }
    let wire = pair.log.iter().map(|(at, side, sent)| {
        let segment = &sent.segment;
        let (seq, ack, window) = (segment.seq.0, segment.ack.0, segment.window.0);
        let (len, flags, ecn) = (segment.payload.len(), segment.flags, sent.ecn);
        let options = &segment.options;
        format!("{at:?} {side:?} {flags:?} {seq}+{len} {ack} {window} {ecn:?} {options:?}")
    });
    (wire.collect(), records)
}

#[test]
fn the_wire_is_the_same_whether_anybody_looks_or_not() {
    for seed in 0..40 {
        let (seen, records) = transfer(seed, true);
        let (unseen, none) = transfer(seed, false);
        assert_eq!(seen, unseen, "seed {seed}");
        assert!(none.iter().all(Vec::is_empty));
        assert!(
            records.iter().all(|records| records.len() > 20),
            "seed {seed}"
        );
    }
}

#[test]
fn every_segment_on_the_wire_has_its_record() {
    for seed in 0..40 {
        let (wire, records) = transfer(seed, true);
        for (side, records) in ["Client", "Server"].iter().zip(&records) {
            let sent = wire.iter().filter(|line| line.contains(side)).count();
            let told = records.iter().map(|record| match record.what {
                What::Sent(packet, _) => usize::from(packet.segments),
                _ => 0,
            });
            assert_eq!(told.sum::<usize>(), sent, "seed {seed}, {side}");
        }
    }
}

/// What the headers alone tell of a sender.
#[derive(Default)]
struct Reckoner {
    una: u64,
    nxt: u64,
    /// Ranges that SACK blocks have reported, by their start.
    sacked: BTreeMap<u64, u64>,
}

impl Reckoner {
    /// Whether a packet of ours repeats what was sent before.
    fn on_sent(&mut self, now: &Variables, packet: &Packet) -> bool {
        let seq = now.sent(packet.seq);
        let flags = packet.flags;
        let end = seq + u64::from(packet.len) + u64::from(flags.contains(Flags::FIN));
        let again = end > seq && seq < self.nxt;
        self.nxt = self.nxt.max(end);
        again
    }

    fn on_received(&mut self, now: &Variables, packet: &Packet) {
        let ack = now.sent(packet.ack);
        if ack > self.nxt {
            return;
        }
        self.una = self.una.max(ack);
        for block in packet.sack.as_slice() {
            let (left, right) = (now.sent(block.left), now.sent(block.right));
            if left >= self.una && left < right && right <= self.nxt {
                self.report(left, right);
            }
        }
        let una = self.una;
        self.sacked = self
            .sacked
            .iter()
            .filter(|&(_, &end)| end > una)
            .map(|(&start, &end)| (start.max(una), end))
            .collect();
    }

    fn report(&mut self, mut left: u64, mut right: u64) {
        self.sacked.retain(|&start, &mut end| {
            let touches = start <= right && left <= end;
            if touches {
                (left, right) = (left.min(start), right.max(end));
            }
            !touches
        });
        self.sacked.insert(left, right);
    }

    fn sacked(&self) -> u64 {
        self.sacked.iter().map(|(start, end)| end - start).sum()
    }
}

#[test]
fn variables_agree_with_a_reckoning_from_headers_alone() {
    let (mut again, mut lost) = (0, 0);
    let (mut exact, mut all) = (0, 0);
    for seed in 0..40 {
        for records in transfer(seed, true).1 {
            let mut reckoner = Reckoner {
                una: 1,
                nxt: 1,
                ..Reckoner::default()
            };
            let mut loss = 0;
            for record in records {
                let (Some(now), State::Established | State::FinWait1 | State::CloseWait) =
                    (record.now, record.state)
                else {
                    continue;
                };
                match record.what {
                    What::Sent(packet, why) => {
                        let repeats = reckoner.on_sent(&now, &packet);
                        assert_eq!(repeats, why.is_retransmission(), "seed {seed}: {record:?}");
                        again += u32::from(repeats);
                    }
                    What::Received(packet, _) => reckoner.on_received(&now, &packet),
                    What::Lost { bytes } => {
                        loss += u64::from(bytes);
                        lost += 1;
                        continue;
                    }
                    _ => continue,
                }
                let context = format!("seed {seed}: {record:?}");
                assert_eq!(
                    (now.snd_una, now.snd_nxt),
                    (reckoner.una, reckoner.nxt),
                    "{context}"
                );
                // A SACK of part of a segment says nothing of it, so that less may be counted.
                let uncounted = reckoner.sacked().checked_sub(now.sacked.into());
                assert!(uncounted.is_some_and(|bytes| bytes < 4 * 1460), "{context}");
                exact += u32::from(uncounted == Some(0));
                all += 1;
                let outstanding = now.snd_nxt - now.snd_una;
                let counted = outstanding + u64::from(now.twice);
                let missing = now.sacked + now.lost + now.dup_acked;
                assert_eq!(
                    u64::from(now.in_flight),
                    counted - u64::from(missing),
                    "{context}"
                );
                assert!(u64::from(now.lost) <= loss + 400_000, "{context}");
            }
        }
    }
    assert!(exact > all / 100 * 99, "{exact} of {all}");
    assert!(again > 200 && lost > 100, "{again} repeated, {lost} losses");
}

/// A received packet's outcome adds up to what the receiver got.
#[test]
fn outcomes_add_up_to_the_stream() {
    for seed in 0..40 {
        let [client, server] = transfer(seed, true).1;
        let in_order = server.iter().map(|record| match record.what {
            What::Received(_, outcome) => u64::from(outcome.in_order),
            _ => 0,
        });
        // The FIN counts as one.
        assert_eq!(in_order.sum::<u64>(), 400_001, "seed {seed}");
        let acked = client.iter().map(|record| match record.what {
            What::Received(_, outcome) => u64::from(outcome.acked),
            _ => 0,
        });
        assert_eq!(acked.sum::<u64>(), 400_001, "seed {seed}");
    }
}

#[test]
fn states_follow_each_other() {
    for seed in 0..40 {
        for (records, expected) in transfer(seed, true).1.iter().zip([
            vec![State::SynSent, State::Established],
            vec![State::SynReceived, State::Established],
        ]) {
            let mut last = State::Closed;
            let mut seen = Vec::new();
            for record in records {
                if let What::State { from, .. } = record.what {
                    assert_eq!(from, last, "seed {seed}: {record:?}");
                    last = record.state;
                    seen.push(last);
                }
            }
            assert_eq!(seen[..2], expected, "seed {seed}");
            assert_eq!(last, State::Closed, "seed {seed}: {seen:?}");
        }
    }
}

/// Every episode begins before it ends, and timeouts are told.
#[test]
fn episodes_begin_and_end() {
    let (mut begun, mut timeouts) = (0, 0);
    for seed in 0..40 {
        for records in transfer(seed, true).1 {
            let mut open = false;
            for record in records {
                match record.what {
                    What::RecoveryBegun { until, .. } => {
                        open = true;
                        begun += 1;
                        assert!(record.now.is_some_and(|now| now.snd_nxt >= until));
                    }
                    What::RecoveryEnded | What::RecoveryUndone => {
                        assert!(open, "seed {seed}: {record:?}");
                        open = false;
                    }
                    What::Sent(_, Why::FastRetransmit) => assert!(open, "seed {seed}"),
                    What::Sent(_, Why::TimeoutRetransmit(_)) => {
                        assert!(open, "seed {seed}");
                        timeouts += 1;
                    }
                    _ => {}
                }
            }
        }
    }
    assert!(
        begun > 50 && timeouts > 5,
        "{begun} episodes, {timeouts} timeouts"
    );
}

/// A connection that goes to rest after losses, or wakes, tells of nothing that did not happen: what
/// is counted while it is awake is not kept.
#[test]
fn rest_is_no_event() {
    let mut losses = 0;
    for seed in 0..20 {
        let (config, link) = setting(seed);
        let mut pair = Pair::new(seed, &config, link);
        for tcp in &mut pair.tcp {
            tcp.observe(true);
        }
        let (client, server) = pair.open();
        for round in 1..=2 {
            let (mut written, mut read) = (0, 0);
            while read < LENGTH {
                let now = pair.now;
                let text = ustack_tcp::testing::pattern(written, (LENGTH - written) as usize);
                let taken = pair.end(Side::Client).write(now, client, &text);
                written += taken.expect("open") as u64;
                while let Ok(Read::Data(data)) = pair.end(Side::Server).read(now, server, 1 << 20) {
                    read += data.len() as u64;
                }
                assert!(read == LENGTH || pair.step(), "seed {seed}: stuck");
            }
            let end = pair.now + Duration::from_secs(5);
            while pair.now < end && pair.step() {}
            let mut records = [Vec::new(), Vec::new()];
            for (tcp, records) in pair.tcp.iter_mut().zip(&mut records) {
                let mut packed = Records::default();
                tcp.take_records(&mut packed);
                records.extend(packed.iter());
            }
            for record in records.iter().flatten() {
                match record.what {
                    What::Lost { bytes } => {
                        assert!(u64::from(bytes) <= LENGTH, "seed {seed}: {record:?}");
                        losses += 1;
                    }
                    What::RecoveryUndone => assert_ne!(link.loss + link.reorder, 0, "{record:?}"),
                    _ => {}
                }
            }
            let in_order = records[1].iter().map(|record| match record.what {
                What::Received(_, outcome) => u64::from(outcome.in_order),
                _ => 0,
            });
            assert_eq!(
                in_order.sum::<u64>(),
                LENGTH,
                "seed {seed}, round {round}: what woke it counts too"
            );
        }
    }
    assert!(losses > 50, "{losses}");
}

/// Who is asked by keep-alive has rested until then: its timer is told of all the same.
#[test]
fn the_timer_that_ends_a_rest_is_told_of() {
    let mut pair = Pair::new(1, &Config::default(), Link::default());
    let (client, _) = pair.open();
    let now = pair.now;
    let tcp = pair.end(Side::Client);
    let keepalive = Some(Keepalive::default());
    tcp.set_options(now, client, |options| options.keepalive = keepalive)
        .expect("open");
    tcp.observe(true);
    while pair.now - now < Duration::from_secs(5 * 7200) && pair.step() {}
    let mut packed = Records::default();
    pair.end(Side::Client).take_records(&mut packed);
    let records: Vec<Record> = packed.iter().collect();
    let count = |is: fn(&What) -> bool| records.iter().filter(|record| is(&record.what)).count();
    let asked = count(|what| matches!(what, What::Sent(_, Why::KeepAlive)));
    let fired = count(|what| matches!(what, What::Timer(Timer::KeepAlive)));
    assert_eq!((asked, fired), (4, 4));
}
