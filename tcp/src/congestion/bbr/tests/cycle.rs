//! The states, and when each ends.

use super::super::State;
use super::super::filters::NO_BOUND;
use super::link::{MSS, Net, Path};
use super::{SECOND, feed, until};
use crate::congestion::CongestionController;
use crate::time::Duration;

#[test]
fn startup_ends_on_a_plateau() {
    for (megabits, rtt) in [(5, 10), (100, 40), (1_000, 5)] {
        let path = Path::new(megabits, rtt);
        let mut net = Net::bulk(path, 1);
        until(&mut net, State::Drain);
        let bbr = net.bbr();
        assert!(bbr.full_pipe.now && bbr.full_pipe.reached);
        let off = bbr.path.max_bw.max().abs_diff(path.rate) * 100 / path.rate;
        assert!(off < 2, "{megabits} Mbit/s: {}", bbr.path.max_bw.max());
        assert_eq!(bbr.bounds.inflight_longterm, NO_BOUND);
    }
}

#[test]
fn startup_doubles_the_rate_each_round() {
    let mut net = Net::bulk(Path::new(1_000, 50), 1);
    let round = Duration::from_millis(50);
    net.run(4 * round);
    for _ in 0..5 {
        let before = net.bbr().path.max_bw.max();
        net.run(round);
        let grown = net.bbr().path.max_bw.max() * 100 / before;
        assert!((170..=290).contains(&grown), "{grown} %");
    }
}

/// Without a loss, what the application held back says nothing of the path.
#[test]
fn startup_lasts_as_long_as_the_application_is_slow() {
    let mut net = Net::bulk(Path::new(100, 40), 1);
    feed(&mut net, 100_000, 10 * SECOND);
    assert!(!net.bbr().full_pipe.reached);
    let only = [State::Startup, State::ProbeRtt];
    assert!(net.senders[0].states().iter().all(|s| only.contains(s)));
}

#[test]
fn drain_ends_at_one_bdp() {
    let path = Path::new(100, 40);
    let mut net = Net::bulk(path, 1);
    until(&mut net, State::Drain);
    assert_eq!(net.bbr().state.pacing_gain(), 50);
    assert!(u64::from(net.senders[0].in_flight) > path.bdp() * 3 / 2);
    until(&mut net, State::ProbeBwCruise);
    let in_flight = u64::from(net.senders[0].in_flight);
    assert!((path.bdp() * 9 / 10..=path.bdp() * 102 / 100).contains(&in_flight));
}

#[test]
fn drain_ends_after_three_rounds() {
    let mut net = Net::bulk(Path::new(100, 40), 1);
    until(&mut net, State::Drain);
    let began = net.bbr().rounds.count;
    // A BDP far below what is in flight when it goes at half the rate.
    net.senders[0].bbr.path.min_rtt = Some(Duration::from_millis(10));
    net.run_until(net.now + 5 * SECOND, |net| net.bbr().state != State::Drain);
    assert_eq!(net.bbr().rounds.count, began + 4);
    assert!(net.bbr().state.is_probe_bw());
}

#[test]
fn the_cycle_has_four_phases() {
    let mut net = Net::bulk(Path::new(50, 20), 1);
    net.run(10 * SECOND);
    let states = net.senders[0].states();
    for pair in states[1..].windows(2) {
        let expected = match pair[0] {
            State::Startup | State::ProbeRtt => continue,
            State::Drain => [State::ProbeBwDown, State::ProbeBwCruise],
            State::ProbeBwDown => [State::ProbeBwCruise, State::ProbeRtt],
            State::ProbeBwCruise => [State::ProbeBwRefill, State::ProbeRtt],
            State::ProbeBwRefill => [State::ProbeBwUp, State::ProbeRtt],
            State::ProbeBwUp => [State::ProbeBwDown, State::ProbeRtt],
        };
        assert!(expected.contains(&pair[1]), "{pair:?}");
    }
    assert!(states.iter().filter(|&&s| s == State::ProbeBwUp).count() > 4);
}

/// At 100 Mbit/s and 66 ms a BDP is more than 63 segments, and 63 rounds more than three seconds:
/// the clock decides, and not in step for every flow.
#[test]
fn probes_come_two_to_three_seconds_apart() {
    let mut waits = std::vec::Vec::new();
    for seed in 1..6 {
        let mut net = Net::bulk(Path::new(100, 66), seed);
        until(&mut net, State::ProbeBwCruise);
        let began = net.now;
        until(&mut net, State::ProbeBwRefill);
        let wait = net.now - began;
        assert!(
            (2 * SECOND..3 * SECOND + SECOND / 10).contains(&wait),
            "{wait:?}"
        );
        waits.push(wait);
    }
    waits.dedup();
    assert!(waits.len() > 1, "{waits:?}");
}

#[test]
fn probe_rtt_halves_the_flight_every_five_seconds() {
    let path = Path::new(100, 40);
    let mut net = Net::bulk(path, 1);
    net.run(SECOND);
    let mut last = None;
    for _ in 0..4 {
        until(&mut net, State::ProbeRtt);
        let began = net.now;
        if let Some(last) = last.replace(began) {
            assert!((5 * SECOND..6 * SECOND).contains(&(began - last)));
        }
        net.run(Duration::from_millis(150));
        let in_flight = u64::from(net.senders[0].in_flight);
        assert!(in_flight <= path.bdp() / 2 + u64::from(MSS));
        until(&mut net, State::ProbeBwCruise);
        let took = net.now - began;
        assert!((200..300).contains(&took.as_millis()), "{took:?}");
        assert!(u64::from(net.bbr().cwnd()) > path.bdp() * 3 / 2);
    }
    assert_eq!(net.bbr().path.min_rtt.unwrap().as_millis(), 40);
}

/// A longer path is found once ten seconds have passed.
#[test]
fn a_longer_path_is_believed_after_probe_rtt() {
    let mut net = Net::bulk(Path::new(50, 20), 1);
    net.run(4 * SECOND);
    net.path.rtt = Duration::from_millis(60);
    net.run(14 * SECOND);
    let min_rtt = net.bbr().path.min_rtt.unwrap().as_millis();
    assert!((60..65).contains(&min_rtt), "{min_rtt} ms");
}

/// A pause is as good as `ProbeRTT`.
#[test]
fn no_probe_rtt_after_a_pause() {
    let mut net = Net::bulk(Path::new(100, 40), 1);
    net.run(3 * SECOND);
    net.senders[0].supply = Some(0);
    net.run(7 * SECOND);
    assert_eq!(net.senders[0].in_flight, 0);
    net.senders[0].supply = None;
    net.run(4 * SECOND);
    assert!(!net.senders[0].states().contains(&State::ProbeRtt));
    let share = net.share(0, SECOND / 2);
    assert!(share > 90, "{share} %");
}

/// It goes back to where it came from.
#[test]
fn probe_rtt_in_startup_returns_there() {
    let mut net = Net::bulk(Path::new(100, 100), 1);
    feed(&mut net, 1_000_000, 8 * SECOND);
    let states = net.senders[0].states();
    assert_eq!(states, [State::Startup, State::ProbeRtt, State::Startup]);
}

/// A BDP of less than a segment: four in flight, and the rate is right.
#[test]
fn a_tiny_bdp() {
    let mut path = Path::new(1, 1);
    path.queue = u64::from(20 * MSS);
    let mut net = Net::bulk(path, 1);
    net.run(5 * SECOND);
    let share = net.share(0, 10 * SECOND);
    assert!(share >= 95, "{share} %");
    assert!(net.bbr().cwnd() >= 4 * MSS);
}

/// ACKs that come in bursts: the window makes up for it.
#[test]
fn aggregated_acks() {
    let mut path = Path::new(100, 20);
    path.ack_slot = Duration::from_millis(20);
    let mut net = Net::bulk(path, 1);
    net.run(5 * SECOND);
    let share = net.share(0, 20 * SECOND);
    assert!(share >= 90, "{share} %");
    assert!(u64::from(net.bbr().aggregation.extra_acked) > path.bdp() / 2);
    assert!(u64::from(net.bbr().cwnd()) > 2 * path.bdp());
}

#[test]
fn ten_times_the_bandwidth() {
    let mut net = Net::bulk(Path::new(10, 40), 1);
    net.run(4 * SECOND);
    net.path = Path::new(100, 40);
    net.run(8 * SECOND);
    let share = net.share(0, 4 * SECOND);
    assert!(share >= 90, "{share} %");
}

#[test]
fn a_tenth_of_the_bandwidth() {
    let mut net = Net::bulk(Path::new(100, 40), 1);
    net.run(4 * SECOND);
    net.path = Path::new(10, 40);
    net.run(12 * SECOND);
    let max_bw = net.bbr().path.max_bw.max();
    assert!(max_bw < net.path.rate * 105 / 100, "{max_bw} B/s");
    net.reset_queue();
    net.run(4 * SECOND);
    assert!(net.queue_mean() <= net.path.bdp() / 2);
}
