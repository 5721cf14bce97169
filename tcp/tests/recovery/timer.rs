//! The retransmission timer and its estimator (RFC 6298).

use covers::covers;
use ustack_tcp::time::Duration;

use crate::peer::{MS, Peer, SEC, Setup};
use crate::{Random, ack, wrote};

/// RFC 6298 in milliseconds, written from its text.
#[derive(Clone, Copy)]
struct Model {
    srtt: Option<f64>,
    rttvar: f64,
    rto: f64,
    floor: f64,
    doublings: i32,
}

impl Model {
    fn new(floor: f64) -> Self {
        Self {
            srtt: None,
            rttvar: 0.0,
            rto: 1000.0,
            floor,
            doublings: 0,
        }
    }

    fn sample(&mut self, r: f64) {
        match self.srtt {
            None => {
                self.srtt = Some(r);
                self.rttvar = r / 2.0;
            }
            Some(srtt) => {
                self.rttvar = 0.75 * self.rttvar + 0.25 * (srtt - r).abs();
                self.srtt = Some(0.875 * srtt + 0.125 * r);
            }
        }
        let rto = self.srtt.unwrap_or(0.0) + (4.0 * self.rttvar).max(1.0);
        self.rto = rto.clamp(self.floor, 120_000.0);
        self.doublings = 0;
    }

    fn armed(&self) -> f64 {
        (self.rto * 2f64.powi(self.doublings)).min(120_000.0)
    }
}

fn plain(setup: &Setup) -> Peer {
    let mut setup = setup.clone();
    setup.syn.sack_permitted = false;
    setup.config.rto_granularity = MS;
    wrote(&setup, 0)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Writes one segment and measures its round trip as `r` milliseconds.
fn sample(peer: &mut Peer, n: u32, r: u32) {
    peer.write(1000);
    peer.take();
    peer.now += r * MS;
    ack(peer, n + 1, &[]);
}

/// The time from writing a segment to its first retransmission.
fn timeout(peer: &mut Peer) -> f64 {
    let start = peer.now;
    peer.write(1000);
    peer.take();
    let sent = peer.run_until_sent(200 * SEC);
    ms(sent[0].at - start)
}

/// Twenty samples after the handshake's 10 ms; the first ten are a published table's (100 ms first).
const SAMPLES: [u32; 20] = [
    100, 100, 100, 200, 200, 100, 50, 50, 50, 300, 300, 20, 20, 20, 900, 40, 40, 41, 39, 40,
];

#[test]
#[covers("RT-2", "RT-3")]
fn twenty_samples_give_the_timeouts_of_the_formula() {
    Setup::each(|mut setup| {
        setup.config.rto_min = Duration::ZERO;
        for count in 0..=SAMPLES.len() {
            let mut peer = plain(&setup);
            let mut model = Model::new(0.0);
            model.sample(10.0);
            for (n, &r) in SAMPLES[..count].iter().enumerate() {
                sample(&mut peer, n as u32, r);
                model.sample(f64::from(r));
            }
            let got = timeout(&mut peer);
            assert!(
                got >= model.armed() - 0.001 && got <= model.armed() + 1.0,
                "after {count} samples: {got}, not {}",
                model.armed()
            );
        }
    });
}

/// A floor of 200 ms, or of a second where that is wanted.
#[test]
#[covers("RT-4", "RT-2")]
fn the_timeout_has_a_floor() {
    Setup::each(|setup| {
        for (floor, wanted) in [(200, 200.0), (1_000, 1_000.0)] {
            let mut setup = setup.clone();
            setup.config.rto_min = floor * MS;
            let got = timeout(&mut plain(&setup));
            assert!((got - wanted).abs() < 1.0, "{got}");
        }
    });
}

/// On a steady path RTTVAR decays to nothing; 200 ms above the round trip are left all the same.
#[test]
#[covers("RT-3")]
fn a_steady_path_leaves_room_for_a_queue() {
    Setup::each(|mut setup| {
        setup.syn.sack_permitted = false;
        let mut peer = wrote(&setup, 0);
        (0..60).for_each(|n| sample(&mut peer, n, 300));
        let got = timeout(&mut peer);
        assert!((got - 500.0).abs() < 2.0, "{got}");
    });
}

/// Doubling ends at 120 s.
#[test]
#[covers("RT-5", "RT-7")]
fn back_off_doubles_to_two_minutes() {
    Setup::each(|mut setup| {
        setup.config.rto_min = SEC;
        let mut peer = plain(&setup);
        let mut last = peer.now;
        peer.write(1000);
        peer.take();
        for wanted in [1, 2, 4, 8, 16, 32, 64, 120, 120, 120] {
            let sent = peer.run_until_sent(200 * SEC);
            let gap = ms(sent[0].at - last);
            assert!((gap - 1e3 * f64::from(wanted)).abs() < 1.0, "{gap}");
            last = sent[0].at;
        }
    });
}

/// Without timestamps the answer to what was sent twice says nothing: the estimate stays.
#[test]
#[covers("RT-6")]
fn what_was_sent_twice_gives_no_sample() {
    Setup::each(|setup| {
        let mut peer = plain(&setup);
        let before = peer.tcp.info(peer.now, peer.id).unwrap();
        peer.write(1000);
        peer.take();
        assert_eq!(peer.run_until_sent(SEC).len(), 1);
        peer.now += 3 * MS;
        ack(&mut peer, 1, &[]);
        let after = peer.tcp.info(peer.now, peer.id).unwrap();
        assert_eq!((before.rtt, before.rttvar), (after.rtt, after.rttvar));
        // Nor does what waited behind it for the repair.
        let mut peer = plain(&setup);
        peer.write(4000);
        peer.take();
        peer.now += 10 * MS;
        for _ in 0..3 {
            ack(&mut peer, 0, &[]);
        }
        peer.now += 50 * MS;
        ack(&mut peer, 4, &[]);
        let after = peer.tcp.info(peer.now, peer.id).unwrap();
        assert_eq!((before.rtt, before.rttvar), (after.rtt, after.rttvar));
    });
}

/// What answers a segment that was sent twice is no sample: the next one waits as long. The first
/// sample ends that.
#[test]
#[covers("RT-9", "RT-7")]
fn a_backed_off_timeout_lasts_until_a_sample() {
    Setup::each(|setup| {
        let mut peer = plain(&setup);
        peer.write(1000);
        peer.take();
        for _ in 0..2 {
            assert_eq!(peer.run_until_sent(SEC).len(), 1);
        }
        ack(&mut peer, 1, &[]);
        let kept = timeout(&mut peer);
        assert!((kept - 800.0).abs() < 1.0, "{kept}");
        ack(&mut peer, 2, &[]);
        sample(&mut peer, 2, 10);
        let fresh = timeout(&mut peer);
        assert!((fresh - 200.0).abs() < 1.0, "{fresh}");
    });
}

/// A thousand random sequences of writes, ACKs and silence: every timeout comes when RFC 6298 §5
/// says, with the value of §2, and none else.
#[test]
#[covers("RT-7", "RT-3", "RT-6")]
fn random_traces_follow_the_model() {
    for seed in 0..1_000u64 {
        let mut random = Random(seed);
        let isn = [0x1234_5678, 0u32.wrapping_sub(100), 0][(seed / 2 % 3) as usize];
        let mut setup = Setup::new(seed % 2 == 0, isn);
        let floor = [0, 200][(seed / 6 % 2) as usize];
        setup.config.rto_min = floor * MS;
        let mut peer = plain(&setup);
        let mut model = Model::new(f64::from(floor));
        model.sample(10.0);
        // When each outstanding segment left; the oldest first. And when the timer is due.
        let (mut out, mut una, mut nxt) = (Vec::new(), 0u32, 0u32);
        let mut due: Option<f64> = None;
        let start = peer.now;
        let mut clock = 0.0f64;
        for _ in 0..60 {
            match random.below(3) {
                0 if out.len() < 4 => {
                    peer.write(1000);
                    assert_eq!(peer.take().len(), 1, "seed {seed}");
                    out.push(clock);
                    nxt += 1;
                    due = due.or(Some(clock + model.armed()));
                }
                1 if !out.is_empty() => {
                    let acked = 1 + random.below(out.len() as u64) as usize;
                    una += acked as u32;
                    model.sample(clock - out[acked - 1]);
                    out.drain(..acked);
                    ack(&mut peer, una, &[]);
                    due = (!out.is_empty()).then(|| clock + model.armed());
                }
                _ => {
                    let step = f64::from(random.below(120) as u32);
                    let end = clock + step;
                    let sent = peer.run((step * 1e6) as u32 * Duration::from_nanos(1));
                    let Some(at) = due.filter(|&at| at + 1.0 < end) else {
                        if due.is_some_and(|at| at < end) {
                            break; // within a tick of the end
                        }
                        assert!(sent.is_empty(), "seed {seed}: {sent:?}, due {due:?}");
                        clock = end;
                        continue;
                    };
                    let got = ms(sent.first().expect("a timeout").at - start);
                    assert!(
                        got >= at - 0.001 && got <= at + 1.0,
                        "seed {seed}: {got}, {at}"
                    );
                    assert_eq!(sent[0].seq, crate::at(una), "seed {seed}: the oldest");
                    // The peer answers now, without a sample; the back-off stays until there is one.
                    model.doublings += sent
                        .iter()
                        .filter(|sent| sent.seq == crate::at(una))
                        .count() as i32;
                    ack(&mut peer, nxt, &[]);
                    peer.take();
                    let before = peer.now;
                    peer.write(1000);
                    peer.take();
                    let again = peer.run_until_sent(500 * SEC);
                    let got = ms(again[0].at - before);
                    let wanted = model.armed();
                    assert!(
                        got >= wanted - 0.001 && got <= wanted + 1.0,
                        "seed {seed}: {got}, not {wanted}"
                    );
                    break;
                }
            }
        }
    }
}
