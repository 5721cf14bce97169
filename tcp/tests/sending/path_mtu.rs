//! The path takes less than the device: reports, black holes, and the way back up.

use covers::covers;
use ustack_tcp::time::{Duration, Instant};

use crate::peer::{MS, Peer, SEC, Sent, Setup, overhead};

const MINUTE: Duration = Duration::from_secs(60);

/// MTU 1500 at the device and at the peer.
fn wide(mut setup: Setup) -> Setup {
    setup.config.mtu = 1500;
    setup.syn.mss = Some(1500 - overhead(setup.ipv6));
    setup
}

fn mss(peer: &Peer) -> usize {
    usize::from(1500 - overhead(peer.flow.is_ipv6()))
}

fn largest(sent: &[Sent]) -> u16 {
    sent.iter().map(|sent| sent.packet).max().unwrap_or(0)
}

/// The other end of a path: drops what is too large, and answers the rest with SACK.
#[derive(Debug)]
struct Path {
    mtu: u16,
    /// Received, as ranges.
    got: Vec<(i32, i32)>,
    /// Everything that was sent.
    log: Vec<Sent>,
}

impl Path {
    fn new(mtu: u16) -> Self {
        Self {
            mtu,
            got: vec![(1, 1)],
            log: Vec::new(),
        }
    }

    fn on_sent(&mut self, sent: &Sent) {
        let mut new = (sent.seq, sent.end());
        self.got.retain(|&(start, end)| {
            let apart = end < new.0 || start > new.1;
            if !apart {
                new = (new.0.min(start), new.1.max(end));
            }
            apart
        });
        // The newest block first, after what is acknowledged.
        let at = usize::from(new.0 > 1);
        self.got.insert(at, new);
    }

    /// What has left arrives after 50 ms, and its ACKs at once.
    fn round(&mut self, peer: &mut Peer) {
        let sent = peer.take();
        peer.now += 50 * MS;
        for sent in sent {
            self.log.push(sent.clone());
            if sent.packet > self.mtu || sent.len == 0 {
                continue;
            }
            self.on_sent(&sent);
            let blocks: Vec<_> = self.got[1..].iter().copied().take(3).collect();
            peer.sack(self.got[0].1, &blocks);
        }
    }

    /// Bulk data for so long; keeps the send buffer filled.
    fn bulk(&mut self, peer: &mut Peer, time: Duration) {
        let end = peer.now + time;
        while peer.now < end {
            peer.fill();
            if peer.sent.is_empty() {
                let next = peer.tcp.poll_timeout().map_or(end, |at| at.min(end));
                peer.now = peer.now.max(next);
                peer.turn();
            }
            self.round(peer);
        }
    }

    /// What is queued arrives, then `time` passes.
    fn pause(&mut self, peer: &mut Peer, time: Duration) {
        for _ in 0..1_000 {
            if peer.sent.is_empty() {
                let Some(next) = peer.tcp.poll_timeout() else {
                    break;
                };
                peer.now = peer.now.max(next);
                peer.turn();
            }
            self.round(peer);
            if self.acked() > 1 && self.acked() as u64 == peer.written + 1 {
                break;
            }
        }
        assert_eq!(self.acked() as u64, peer.written + 1);
        peer.now += time;
        peer.turn();
    }

    fn acked(&self) -> i32 {
        self.got[0].1
    }

    /// When packets larger than `mtu` left.
    fn larger(&self, mtu: u16) -> Vec<&Sent> {
        let larger = |sent: &&Sent| sent.packet > mtu;
        self.log.iter().filter(larger).collect()
    }
}

#[test]
#[covers("PM-1")]
fn a_report_lowers_at_once_and_what_was_lost_leaves_again() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&wide(setup));
        peer.take();
        let len = 4 * mss(&peer);
        peer.write(len);
        assert_eq!(peer.take()[0].packet, 1500);
        let now = peer.now;
        peer.too_big(1, 1400);
        let again = peer.take();
        assert_eq!(again[0].seq, 1);
        assert_eq!(again.last().unwrap().end(), 1 + len as i32);
        assert!(largest(&again) <= 1400, "{again:?}");
        assert!(
            again.iter().all(|sent| sent.at == now),
            "no timer waited for"
        );
        // Routers report each packet; one answer is enough.
        peer.too_big(1 + mss(&peer) as i32, 1400);
        assert!(peer.take().is_empty());
        peer.ack(len as i32 + 1);
        peer.write(3_000);
        let sent = peer.take();
        assert_eq!((sent[0].packet, largest(&sent)), (1400, 1400));
    });
}

#[test]
#[covers("PM-2")]
fn reports_have_a_floor_and_never_raise() {
    Setup::each(|setup| {
        let ipv6 = setup.ipv6;
        for (mtu, v4, v6) in [
            (0, 552, 1500),
            (68, 552, 1500),
            (100, 552, 1500),
            (1279, 1279, 1500),
            (1280, 1280, 1280),
            (9000, 1500, 1500),
        ] {
            let mut peer = Peer::open(&wide(setup.clone()));
            peer.take();
            let len = 4 * mss(&peer);
            peer.write(len);
            peer.take();
            peer.too_big(1, mtu);
            peer.take();
            peer.ack(len as i32 + 1);
            peer.write(5_000);
            let expected = if ipv6 { v6 } else { v4 };
            assert_eq!(largest(&peer.take()), expected, "{mtu}");
            peer.too_big(1 + len as i32, 9000);
            peer.ack(len as i32 + 1);
            peer.take();
            peer.write(20_000);
            assert!(largest(&peer.take()) <= expected);
        }
    });
}

/// What is not in flight was not sent, or has arrived.
#[test]
#[covers("PM-5", "BL-8")]
fn a_report_about_nothing_in_flight_has_no_effect() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&wide(setup));
        peer.take();
        let len = 4 * mss(&peer) as i32;
        peer.write(len as usize);
        peer.take();
        for seq in [0, 1 + len, -50_000, 100_000] {
            peer.too_big(seq, 600);
        }
        assert!(peer.take().is_empty());
        peer.ack(1 + len);
        for seq in [1, len] {
            peer.too_big(seq, 600);
        }
        peer.write(5_000);
        assert_eq!(largest(&peer.take()), 1500);
        assert!(peer.ip.reports.is_empty());
    });
}

/// One flow is told, all others to that destination follow; as many packets as before may be in
/// flight, and slow start goes on.
#[test]
#[covers("PM-6")]
fn the_report_of_one_flow_is_for_all_and_no_congestion() {
    Setup::each(|setup| {
        let mut one = Peer::open(&wide(setup.clone()));
        let mut two = Peer::open(&wide(setup));
        for peer in [&mut one, &mut two] {
            peer.take();
            peer.write(100_000);
        }
        let before = one.take();
        assert_eq!(before.len(), 10);
        one.too_big(1, 1400);
        let again = one.take();
        let info = one.tcp.info(one.now, one.id).unwrap();
        let in_segments = 9 * info.snd_mss + 1..=10 * info.snd_mss;
        assert!(in_segments.contains(&info.snd_cwnd), "{info:?}");
        assert!(
            again.len() <= 11 && largest(&again) <= 1400,
            "{}",
            again.len()
        );
        let bytes = |sent: &[Sent]| sent.iter().map(|sent| sent.len).sum::<usize>();
        assert!(bytes(&again) <= bytes(&before));
        one.now += 10 * MS;
        let last = before.last().unwrap().end();
        one.ack(last);
        let next = one.take().len();
        assert!((15..=22).contains(&next), "slow start goes on: {next}");
        assert_eq!(one.ip.reports, [1400]);
        // IP has told the other flow.
        two.ip.mtu = one.ip.mtu;
        two.take();
        two.now += 10 * MS;
        two.ack(last);
        let next = two.take();
        assert_eq!(largest(&next), 1400);
        assert!((15..=22).contains(&next.len()), "{}", next.len());
        assert!(two.ip.reports.is_empty());
    });
}

#[test]
#[covers("BL-9")]
fn a_report_about_a_size_that_passes_waits_for_a_stall() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&wide(setup));
        let mut path = Path::new(1500);
        path.bulk(&mut peer, SEC);
        for round in 0..5 {
            peer.too_big(path.acked(), 1300);
            path.round(&mut peer);
            peer.fill();
            assert_eq!(largest(&peer.sent), 1500, "round {round}");
        }
        assert!(peer.ip.reports.is_empty());
        // The report was about data that arrived: a stall later has nothing to do with it.
        path.round(&mut peer);
        // Now the path really shrinks.
        path.mtu = 1300;
        peer.too_big(path.acked(), 1300);
        assert_eq!(largest(&peer.sent), 1500);
        let acked = path.acked();
        path.bulk(&mut peer, 50 * MS);
        let mut again = peer.run_until_sent(SEC);
        if again[0].seq != acked {
            assert_eq!(again.len(), 1, "a probe of the tail");
            again = peer.run_until_sent(SEC);
        }
        assert_eq!(again[0].seq, acked, "the first timeout");
        assert_eq!(largest(&again), 1300);
        assert_eq!(peer.ip.reports, [1300]);
        peer.sent = again;
        path.bulk(&mut peer, SEC);
        assert!(path.acked() > acked + 100_000);
    });
}

/// Ten minutes without anything larger; then a probe finds that the path takes more again.
#[test]
#[covers("PM-7")]
fn a_report_is_forgotten_after_ten_minutes() {
    for ipv6 in [false, true] {
        let mut peer = Peer::open(&wide(Setup::new(ipv6, 0)));
        peer.take();
        peer.write(100_000);
        peer.take();
        peer.too_big(1, 1400);
        let reported = peer.now;
        let mut path = Path::new(1400);
        for _ in 0..14 {
            path.bulk(&mut peer, SEC / 2);
            path.pause(&mut peer, MINUTE);
            peer.ip.mtu = if peer.now - reported < 10 * MINUTE {
                1400
            } else {
                1500 // IP has forgotten, too
            };
            peer.turn();
        }
        let larger: Vec<_> = path
            .larger(1400)
            .iter()
            .map(|sent| sent.at - reported)
            .collect();
        assert!(!larger.is_empty());
        assert!(
            larger[0] >= 5 * MINUTE && larger[0] <= 15 * MINUTE,
            "{larger:?}"
        );
        assert!(path.larger(1500).is_empty());
        // The path takes more by now: the next search finds it.
        path.mtu = 1500;
        for _ in 0..12 {
            path.bulk(&mut peer, SEC / 2);
            path.pause(&mut peer, MINUTE);
        }
        path.log.clear();
        path.bulk(&mut peer, SEC);
        assert!(path.log.iter().filter(|sent| sent.packet == 1500).count() > 100);
    }
}

/// Without probes the old MTU is tried on trust.
#[test]
#[covers("PM-7")]
fn without_probes_the_mtu_comes_back_too() {
    for (probing, sack) in [(false, true), (true, false)] {
        let mut setup = wide(Setup::new(false, 0));
        setup.config.mtu_probing = probing;
        setup.syn.sack_permitted = sack;
        let mut peer = Peer::open(&setup);
        peer.take();
        let len = 4 * mss(&peer) as i32;
        peer.write(len as usize);
        peer.take();
        peer.too_big(1, 1400);
        peer.ack(1 + len);
        peer.ip.mtu = 1500;
        peer.now += 9 * MINUTE;
        peer.take();
        peer.write(3_000);
        assert_eq!(largest(&peer.take()), 1400);
        peer.ack(1 + len + 3_000 - 3_000 % 1_360);
        peer.run(2 * MINUTE);
        peer.take();
        peer.ack(1 + len + 3_000);
        peer.write(5_000);
        assert_eq!(largest(&peer.take()), 1500);
    }
}

/// Large packets vanish without a word: within three RTOs the transfer goes on, and soon at the
/// size that the path takes.
#[test]
#[covers("PM-8")]
fn a_black_hole_is_left_and_measured() {
    Setup::each(|setup| {
        let rto = Duration::from_millis(200);
        let mut peer = Peer::open(&wide(setup));
        let mut path = Path::new(1400);
        peer.take();
        let start = peer.now;
        peer.fill();
        while path.acked() == 1 {
            path.round(&mut peer);
            if peer.sent.is_empty() {
                peer.now = peer.tcp.poll_timeout().expect("a timer");
                peer.turn();
            }
        }
        let stall = peer.now - start;
        assert!(stall <= 3 * rto + 20 * MS, "{stall:?}");
        path.bulk(&mut peer, 10 * SEC);
        path.log.clear();
        path.bulk(&mut peer, SEC / 2);
        let size = largest(&path.log);
        assert!((1392..=1400).contains(&size), "{size}");
        // And after an hour or so it has asked again, and knows no better.
        for _ in 0..15 {
            path.pause(&mut peer, MINUTE);
            path.bulk(&mut peer, SEC / 4);
        }
        assert!(!path.larger(1400).is_empty());
        path.log.clear();
        path.bulk(&mut peer, SEC / 2);
        assert!((1392..=1400).contains(&largest(&path.log)));
    });
}

/// When smaller segments go unanswered, too, it was not their size.
#[test]
#[covers("PM-8")]
fn a_dead_path_does_not_keep_segments_small() {
    let setups = [5 * SEC, 2 * MINUTE].map(|time| [false, true].map(|ipv6| (time, ipv6)));
    for (time, ipv6) in setups.into_iter().flatten() {
        let mut peer = Peer::open(&wide(Setup::new(ipv6, 0)));
        peer.take();
        let len = 4 * mss(&peer);
        peer.write(len);
        let sizes: Vec<_> = peer.run(time).iter().map(|sent| sent.packet).collect();
        let base = if peer.flow.is_ipv6() { 1280 } else { 1064 };
        assert!(sizes.contains(&base), "{sizes:?}");
        peer.ack(1 + len as i32);
        peer.write(10_000);
        assert_eq!(largest(&peer.take()), 1500);
    }
}

/// A request that fits any path times out for other reasons.
#[test]
fn a_small_segment_is_no_sign_of_a_black_hole() {
    let mut peer = Peer::open(&wide(Setup::new(false, 0)));
    peer.write(100);
    peer.run(3 * SEC);
    peer.ack(101);
    peer.write(5_000);
    assert_eq!(largest(&peer.take()), 1500);
}

/// Ten minutes after a report of 1300 on a path that takes 1400, when the search for more begins.
fn before_the_search(setup: Setup) -> (Peer, Path) {
    let mut peer = Peer::open(&wide(setup));
    peer.take();
    peer.write(100_000);
    peer.take();
    peer.too_big(1, 1300);
    let mut path = Path::new(1400);
    path.bulk(&mut peer, SEC);
    assert_eq!(largest(&path.log), 1300);
    peer.ip.mtu = 1500;
    path.pause(&mut peer, 10 * MINUTE);
    path.log.clear();
    (peer, path)
}

/// A router's word about a probe ends the search: the next one has the size that it named.
#[test]
#[covers("PM-9")]
fn a_report_about_a_probe_names_the_size_of_the_next() {
    Setup::each(|setup| {
        let (mut peer, mut path) = before_the_search(setup);
        let probe = loop {
            peer.fill();
            if let Some(probe) = peer.sent.iter().find(|sent| sent.packet > 1400) {
                break probe.clone();
            }
            path.round(&mut peer);
        };
        peer.too_big(probe.seq, 1400);
        path.bulk(&mut peer, SEC);
        let larger: Vec<_> = path.larger(1300).iter().map(|sent| sent.packet).collect();
        let after = larger
            .iter()
            .skip_while(|&&size| size != probe.packet)
            .skip(1);
        assert!(
            larger.len() > 10 && after.clone().all(|&size| size == 1400),
            "{larger:?}"
        );
    });
}

/// The search costs nothing but the probes: no loss response, one probe at a time, a congestion
/// epoch between a lost one and the next, ten minutes after the last.
#[test]
#[covers("PM-9")]
fn lost_probes_are_no_congestion() {
    Setup::each(|setup| {
        let (mut peer, mut path) = before_the_search(setup);
        // Round by round: what is in flight, and when probes leave.
        let mut probes: Vec<(Instant, u16)> = Vec::new();
        let (mut most, mut size) = (0, 1300);
        let end = peer.now + 20 * SEC;
        while peer.now < end {
            peer.fill();
            let sent = &peer.sent;
            let larger: Vec<_> = sent.iter().filter(|sent| sent.packet > size).collect();
            assert!(larger.len() <= 1, "one at a time: {larger:?}");
            if let Some(probe) = larger.first() {
                probes.push((probe.at, probe.packet));
                if probe.packet <= path.mtu {
                    size = probe.packet;
                }
            }
            let cwnd = peer.tcp.info(peer.now, peer.id).unwrap().snd_cwnd;
            assert!(cwnd >= most, "{cwnd} after {most}: {probes:?}");
            most = cwnd;
            path.round(&mut peer);
        }
        let failed = probes.iter().filter(|(_, size)| *size > 1400).count();
        assert!(failed >= 2 && probes.len() > failed, "{probes:?}");
        for pair in probes.windows(2) {
            if pair[0].1 > 1400 {
                // At least the round trip in which it showed, and more with a larger window.
                assert!(pair[1].0 - pair[0].0 >= 100 * MS, "{probes:?}");
            }
        }
        let last = probes.last().unwrap().0;
        assert!(last + 5 * SEC < end, "the search ends");
        // No probe for at least five minutes, and then there is one.
        path.log.clear();
        for _ in 0..15 {
            path.pause(&mut peer, MINUTE);
            path.bulk(&mut peer, SEC / 5);
        }
        let next = path.larger(size).first().expect("it tries again").at;
        assert!(next - last >= 5 * MINUTE, "{:?}", next - last);
    });
}
