//! What losses, marks and timeouts do, and what an undo brings back.

use super::super::filters::{NO_BOUND, NO_RATE_BOUND};
use super::super::{Bbr, State};
use super::link::{MSS, Net, Path};
use super::{SECOND, feed, until};
use crate::congestion::{
    CongestionController, CongestionEvent, CongestionKind, LostSample, Setup, initial_window,
};
use crate::time::{Duration, Instant};

fn event(now: Instant, kind: CongestionKind) -> CongestionEvent {
    CongestionEvent {
        now,
        kind,
        in_flight: 0,
    }
}

/// A tenth of all packets is lost long before the pipe is full.
fn startup_that_loses() -> Net {
    let mut net = Net::bulk(Path::new(1_000, 50), 1);
    net.path.loss = 1_000;
    net
}

#[test]
fn startup_ends_on_losses() {
    let mut net = startup_that_loses();
    until(&mut net, State::Drain);
    let bbr = net.bbr();
    assert!(
        bbr.path.max_bw.max() < net.path.rate / 2,
        "it was the plateau"
    );
    assert!(bbr.full_pipe.now && bbr.full_pipe.reached);
    let least = bbr.bdp(100).max(bbr.signals.inflight_latest);
    assert!(bbr.bounds.inflight_longterm <= least);
}

/// Even if the application holds back.
#[test]
fn startup_ends_on_losses_of_a_slow_application() {
    let mut net = Net::bulk(Path::new(100, 100), 1);
    net.path.loss = 1_500;
    feed(&mut net, 3_000_000, 4 * SECOND);
    assert!(net.bbr().full_pipe.reached);
    assert!(net.senders[0].states().contains(&State::Drain));
}

/// One loss in a hundred is no sign of a full pipe.
#[test]
fn startup_goes_on_through_few_losses() {
    let mut path = Path::new(100, 66);
    path.loss = 100;
    let mut net = Net::bulk(path, 3);
    until(&mut net, State::Drain);
    assert!(net.bbr().path.max_bw.max() > path.rate * 9 / 10);
}

/// A queue of a fifth of a BDP: probing finds where it ends, and stays below.
#[test]
fn losses_above_two_percent_set_the_longterm_bound() {
    let mut path = Path::new(100, 40);
    path.queue = path.bdp() / 5;
    let mut net = Net::bulk(path, 1);
    net.run(10 * SECOND);
    let bound = u64::from(net.bbr().bounds.inflight_longterm);
    assert!(
        (path.bdp()..path.bdp() * 13 / 10).contains(&bound),
        "{bound}"
    );
    let before = (net.senders[0].lost, net.senders[0].delivered);
    let share = net.share(0, 10 * SECOND);
    let lost = net.senders[0].lost - before.0;
    let delivered = net.senders[0].delivered - before.1;
    assert!(share >= 90, "{share} %");
    assert!(lost * 100 < delivered, "{lost} of {delivered}");
}

#[test]
fn losses_in_cruise_lower_the_shortterm_bounds_until_refill() {
    let mut net = Net::bulk(Path::new(100, 40), 1);
    until(&mut net, State::ProbeBwCruise);
    let (bw, cwnd) = (net.bbr().path.bw, net.bbr().cwnd);
    net.path.loss = 1_000;
    net.run(Duration::from_millis(200));
    let bounds = net.bbr().bounds;
    assert!((bw / 2..bw * 97 / 100).contains(&bounds.bw_shortterm));
    assert!((cwnd / 4..cwnd).contains(&bounds.inflight_shortterm));
    assert_eq!(net.bbr().path.bw, bounds.bw_shortterm);
    assert_eq!(bounds.inflight_longterm, NO_BOUND);
    net.path.loss = 0;
    until(&mut net, State::ProbeBwRefill);
    assert_eq!(net.bbr().bounds.bw_shortterm, NO_RATE_BOUND);
}

/// Each round with losses takes another three tenths off, the first of them off what is known.
#[test]
fn rounds_with_losses_lower_the_bounds_one_after_another() {
    let mut net = Net::bulk(Path::new(100, 40), 1);
    until(&mut net, State::ProbeBwCruise);
    let mut bbr = net.bbr().clone();
    (bbr.signals.bw_latest, bbr.signals.inflight_latest) = (0, 0);
    let (mut bw, mut inflight) = (bbr.path.max_bw.max(), bbr.cwnd);
    bbr.bounds.reset_shortterm();
    for _ in 0..4 {
        bbr.lower_shortterm_bounds();
        (bw, inflight) = (bw * 7 / 10, (u64::from(inflight) * 7 / 10) as u32);
        assert_eq!(bbr.bounds.bw_shortterm, bw);
        assert_eq!(bbr.bounds.inflight_shortterm, inflight);
    }
    // What was delivered all the same is no less than a bound.
    (bbr.signals.bw_latest, bbr.signals.inflight_latest) = (bw, inflight);
    bbr.lower_shortterm_bounds();
    assert_eq!(bbr.bounds.bw_shortterm, bw);
    assert_eq!(bbr.bounds.inflight_shortterm, inflight);
}

/// A probe in which too much is lost ends at once, and an undo begins it anew.
#[test]
fn a_spurious_loss_while_probing() {
    let mut net = Net::bulk(Path::new(100, 40), 1);
    until(&mut net, State::ProbeBwUp);
    let (now, delivered) = (net.now, net.senders[0].delivered);
    let bbr = &mut net.senders[0].bbr;
    let cwnd = bbr.cwnd();
    bbr.on_congestion(&event(now, CongestionKind::Loss));
    let mut lost = LostSample::new(now, 20 * MSS, 400 * MSS);
    lost.delivered = delivered;
    bbr.on_lost(&lost);
    assert_eq!(bbr.state, State::ProbeBwDown);
    // 7.76 segments of the twenty made it two percent.
    let at = 380 * MSS + 380 * MSS * 2 / 98;
    let least = bbr.target_inflight() * 7 / 10;
    assert!(bbr.bounds.inflight_longterm.abs_diff(at.max(least)) <= 1);
    bbr.undo();
    assert_eq!(bbr.state, State::ProbeBwRefill);
    assert_eq!(bbr.bounds.inflight_longterm, NO_BOUND);
    assert!(bbr.cwnd() >= cwnd);
}

#[test]
fn a_spurious_loss_in_startup() {
    let mut net = startup_that_loses();
    until(&mut net, State::Drain);
    net.senders[0].bbr.undo();
    let bbr = net.bbr();
    assert_eq!((bbr.state, bbr.full_pipe.reached), (State::Startup, false));
    assert_eq!(bbr.bounds.inflight_longterm, NO_BOUND);
    net.path.loss = 0;
    until(&mut net, State::ProbeBwCruise);
    assert!(net.bbr().path.max_bw.max() > net.path.rate * 9 / 10);
}

#[test]
fn a_timeout_leaves_one_segment_and_gives_the_window_back() {
    let mut net = Net::bulk(Path::new(100, 40), 1);
    until(&mut net, State::ProbeBwCruise);
    let now = net.now;
    let bbr = &mut net.senders[0].bbr;
    let cwnd = bbr.cwnd();
    bbr.on_congestion(&event(now, CongestionKind::Timeout));
    assert_eq!(bbr.cwnd(), MSS);
    let mut lost = LostSample::new(now, MSS, 300 * MSS);
    lost.in_flight = 5 * MSS;
    bbr.on_lost(&lost);
    assert_eq!(bbr.cwnd(), 6 * MSS);
    bbr.on_exit_recovery();
    assert_eq!(bbr.cwnd(), cwnd);
}

/// The draft leaves open how much a mark counts, not that it counts.
#[test]
fn marks_end_a_probe() {
    let mut net = Net::bulk(Path::new(100, 40), 1);
    until(&mut net, State::ProbeBwUp);
    let now = net.now;
    net.senders[0]
        .bbr
        .on_congestion(&event(now, CongestionKind::Ecn));
    net.run(Duration::from_millis(5));
    assert_eq!(net.bbr().state, State::ProbeBwDown);
    assert!(net.bbr().bounds.inflight_longterm < NO_BOUND);
}

#[test]
fn marks_lower_the_shortterm_bounds() {
    let mut net = Net::bulk(Path::new(100, 40), 1);
    until(&mut net, State::ProbeBwCruise);
    let now = net.now;
    net.senders[0]
        .bbr
        .on_congestion(&event(now, CongestionKind::Ecn));
    net.run(Duration::from_millis(100));
    assert!(net.bbr().bounds.inflight_shortterm < NO_BOUND);
}

#[test]
fn marks_end_startup() {
    let mut net = Net::bulk(Path::new(1_000, 50), 1);
    net.run(Duration::from_millis(220));
    let now = net.now;
    assert_eq!(net.bbr().state, State::Startup);
    net.senders[0]
        .bbr
        .on_congestion(&event(now, CongestionKind::Ecn));
    net.run(Duration::from_millis(5));
    assert!(net.bbr().full_pipe.reached);
}

/// Losses of no consequence while the flow probes: 1 % of a round.
#[test]
fn few_losses_do_not_end_a_probe() {
    let mut net = Net::bulk(Path::new(100, 40), 1);
    until(&mut net, State::ProbeBwUp);
    let now = net.now;
    let bbr = &mut net.senders[0].bbr;
    bbr.on_congestion(&event(now, CongestionKind::Loss));
    bbr.on_lost(&LostSample::new(now, 4 * MSS, 400 * MSS));
    assert_eq!(bbr.state, State::ProbeBwUp);
    assert_eq!(bbr.bounds.inflight_longterm, NO_BOUND);
}

/// Without SACK a round shows one loss, so that each counts.
#[test]
fn without_sack_any_loss_is_too_much() {
    let mut setup = Setup::new(MSS, initial_window(MSS));
    setup.sack = false;
    let bbr = Bbr::new(&setup);
    assert!(bbr.is_inflight_too_high(400 * MSS, 1));
    assert!(!bbr.is_inflight_too_high(400 * MSS, 0));
    setup.sack = true;
    let bbr = Bbr::new(&setup);
    assert!(!bbr.is_inflight_too_high(400 * MSS, u64::from(8 * MSS)));
    assert!(bbr.is_inflight_too_high(400 * MSS, u64::from(8 * MSS) + 1));
}

/// A policer that drops what is above its rate: the flow settles near it.
#[test]
fn a_policer() {
    let mut path = Path::new(20, 40);
    path.bucket = Some(100_000);
    let mut net = Net::bulk(path, 1);
    net.run(10 * SECOND);
    let before = (net.senders[0].lost, net.senders[0].delivered);
    let share = net.share(0, 20 * SECOND);
    let lost = net.senders[0].lost - before.0;
    let delivered = net.senders[0].delivered - before.1;
    assert!(share >= 80, "{share} %");
    assert!(lost * 100 < delivered * 4, "{lost} of {delivered}");
}
